//! The repository in memory.

use super::EditError;
use super::events::Events;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::changes::{ChangeSet, KeyHolders};
use crate::command::EnrollmentCommand;
use crate::ids::{EnrollmentId, OrganizationId};
use crate::inbox::{AsyncInbox, Claim, Failure, Inbox, InboxEntry, Removed, Retention};
use crate::query::{ReferenceQuery, SnapshotQuery};
use crate::repository::{AsyncRepository, Repository, RepositoryError};
use crate::snapshot::{ReferenceData, Snapshot, Versioned};
use crate::stored_enrollment::{EnrollmentState, StoredEnrollment};
use crate::time::Timestamp;

/// Organizations in memory, one snapshot each. A clone is another handle on the same organizations.
///
/// A commit is [`ChangeSet::apply`] under a lock. A load returns the matching rows, which it shares with the
/// repository.
///
/// It has no clock: leases and delays of the [`Inbox`] end when the host calls [`set_time`](Self::set_time).
#[derive(Clone, Debug, Default)]
pub struct InMemoryRepository {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
pub(super) struct State {
    organizations: BTreeMap<OrganizationId, Organization>,
    now: Timestamp,
    /// The number of claims, of all organizations.
    claims: u64,
    pub(super) events: Events,
}

impl Default for State {
    fn default() -> Self {
        Self { organizations: BTreeMap::new(), now: Timestamp::EPOCH, claims: 0, events: Events::default() }
    }
}

#[derive(Debug)]
struct Organization {
    snapshot: Snapshot,
    keys: KeyHolders,
    inbox: BTreeMap<EnrollmentId, InboxRow>,
    /// The enrollment with a lease, and the end of the lease.
    lease: Option<(EnrollmentId, Timestamp)>,
    /// The number of the last claim. Zero before the first claim.
    turn: u64,
}

/// What the inbox stores besides the enrollment.
#[derive(Debug)]
struct InboxRow {
    /// Present while it is accepted, or failed and not removed.
    command: Option<EnrollmentCommand>,
    attempts: u32,
    error: Option<String>,
    /// When it may be claimed: now, after a delay, or at the end of a lease.
    due_at: Timestamp,
    /// The number of its latest lease.
    lease: u64,
    /// The number of leases in a row without an answer.
    unanswered: u32,
    /// When it was given up.
    failed_at: Timestamp,
}

impl Organization {
    fn new(snapshot: Snapshot) -> Self {
        let keys = KeyHolders::from_snapshot(&snapshot);
        Self { snapshot, keys, inbox: BTreeMap::new(), lease: None, turn: 0 }
    }

    /// Returns the oldest enrollment that is accepted and due.
    fn oldest_due(&self, now: Timestamp) -> Option<EnrollmentId> {
        let enrollments = &self.snapshot.reference.enrollments;
        let due = self.inbox.iter().filter(|(id, row)| {
            row.due_at <= now && enrollments.get(id).is_some_and(|stored| stored.state == EnrollmentState::Accepted)
        });
        let oldest = due.filter_map(|(id, row)| Some((row.command.as_ref()?.at(), *id))).min();
        oldest.map(|(_, id)| id)
    }

    /// Returns the enrollment of a claim, if the claim is its latest lease and has no answer.
    fn leased(&mut self, claim: &Claim) -> Option<(&mut Arc<StoredEnrollment>, &mut InboxRow)> {
        let stored = self.snapshot.reference.enrollments.get_mut(&claim.enrollment_id)?;
        let row = self.inbox.get_mut(&claim.enrollment_id)?;
        let is_latest = row.lease == claim.lease && row.unanswered > 0;
        (stored.state == EnrollmentState::Accepted && is_latest).then_some((stored, row))
    }

    /// Removes the command of an enrollment that has ended.
    fn complete(&mut self, id: EnrollmentId) {
        if let Some(row) = self.inbox.get_mut(&id) {
            (row.command, row.error) = (None, None);
            row.attempts = row.attempts.saturating_add(1);
        }
        self.end_lease(id);
    }

    fn end_lease(&mut self, id: EnrollmentId) {
        self.lease.take_if(|(leased, _)| *leased == id);
    }
}

impl InMemoryRepository {
    /// Returns a repository without organizations.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Inserts an organization, or replaces it.
    pub fn insert(&self, snapshot: Snapshot) {
        self.lock().organizations.insert(snapshot.reference.organization_id, Organization::new(snapshot));
    }

    /// Returns the ids of the organizations, in order.
    #[must_use]
    pub fn organizations(&self) -> Vec<OrganizationId> {
        self.lock().organizations.keys().copied().collect()
    }

    /// Returns all rows of an organization.
    #[must_use]
    pub fn snapshot(&self, organization_id: OrganizationId) -> Option<Snapshot> {
        self.lock().organizations.get(&organization_id).map(|organization| organization.snapshot.clone())
    }

    /// Sets the instant that leases and delays are measured by. It is [`Timestamp::EPOCH`] at first.
    pub fn set_time(&self, now: Timestamp) {
        self.lock().now = now;
    }

    /// Removes all commands and outcomes that are too old. The rows of the enrollments stay.
    #[expect(clippy::must_use_candidate, reason = "it removes, and the numbers are for logs")]
    pub fn remove_expired(&self, retention: &Retention) -> Removed {
        let mut state = self.lock();
        let State { organizations, now, .. } = &mut *state;
        let is_due =
            |ended_at: Timestamp, age: Option<Duration>| age.is_some_and(|age| ended_at.saturating_add(age) <= *now);
        let mut removed = Removed::default();
        for Organization { snapshot, inbox, .. } in organizations.values_mut() {
            let kept = snapshot.reference.enrollments.iter_mut().filter(|(_, stored)| stored.removed_at.is_none());
            for (id, stored) in kept {
                match (&stored.state, inbox.get_mut(id)) {
                    (EnrollmentState::Failed, Some(row)) if is_due(row.failed_at, retention.failed) => {
                        row.command = None;
                        removed.commands += 1;
                    }
                    (EnrollmentState::Completed { report }, _)
                        if stored.completed_at.is_some_and(|at| is_due(at, retention.completed)) =>
                    {
                        let report = report.without_outcomes();
                        Arc::make_mut(stored).state = EnrollmentState::Completed { report };
                        removed.reports += 1;
                    }
                    _ => continue,
                }
                Arc::make_mut(stored).removed_at = Some(*now);
            }
        }
        removed
    }

    /// Changes rows without the engine, as the rest of a host does. Every aggregate that `edit` changes gets a new
    /// version, as from a database's triggers. A version that `edit` raises itself stays.
    ///
    /// It runs under the lock, so it must not use the repository.
    ///
    /// # Errors
    /// [`EditError`] if the organization does not exist, or if a unique key would occur twice. Then nothing is changed.
    pub fn edit<T>(
        &self,
        organization_id: OrganizationId,
        edit: impl FnOnce(&mut Snapshot) -> T,
    ) -> Result<T, EditError> {
        let mut state = self.lock();
        let organization =
            state.organizations.get_mut(&organization_id).ok_or(EditError::NoOrganization(organization_id))?;
        let before = &organization.snapshot;
        // Edits a copy: if `edit` panics, nothing is changed.
        let mut after = before.clone();
        let answer = edit(&mut after);
        bump_version(&before.reference.sequences, &mut after.reference.sequences);
        bump_version(&before.reference.channels, &mut after.reference.channels);
        bump_version(&before.reference.custom_objects, &mut after.reference.custom_objects);
        bump_version(&before.reference.call_flows, &mut after.reference.call_flows);
        for (id, person) in &mut after.contacts {
            if let Some(before) = before.contacts.get(id)
                && person.version <= before.version
                && !Arc::ptr_eq(person, before)
                && *person != *before
            {
                Arc::make_mut(person).version = before.version.next();
            }
        }
        organization.keys = KeyHolders::from_unique(&after)?;
        organization.snapshot = after;
        Ok(answer)
    }

    /// Ignores a poisoned lock: a commit checks everything before it writes, and an edit works on a copy.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bump_version<K: Ord, T: PartialEq>(before: &BTreeMap<K, Versioned<T>>, after: &mut BTreeMap<K, Versioned<T>>) {
    for (id, row) in after {
        if let Some(before) = before.get(id)
            && row.version <= before.version
            && *row != *before
        {
            row.version = before.version.next();
        }
    }
}

impl Repository for InMemoryRepository {
    fn reference_data(&mut self, query: &ReferenceQuery) -> Result<ReferenceData, RepositoryError> {
        let state = self.lock();
        let organization = state.organizations.get(&query.organization_id);
        Ok(organization
            .map_or_else(|| ReferenceData::new(query.organization_id), |found| found.snapshot.reference.only(query)))
    }

    fn load(&mut self, query: &SnapshotQuery) -> Result<Snapshot, RepositoryError> {
        let state = self.lock();
        let Some(Organization { snapshot, keys, .. }) = state.organizations.get(&query.reference.organization_id)
        else {
            return Ok(Snapshot::new(ReferenceData::new(query.reference.organization_id)));
        };
        Ok(keys.loaded(snapshot, query))
    }

    fn commit(&mut self, changes: &ChangeSet) -> Result<(), RepositoryError> {
        let mut state = self.lock();
        let State { organizations, now, events, .. } = &mut *state;
        let applied = match organizations.get_mut(&changes.organization_id()) {
            Some(organization) => {
                let applied = changes.apply_with(&mut organization.snapshot, &mut organization.keys);
                applied.inspect(|()| {
                    let enrollment = &changes.completion().enrollment;
                    organization.complete(enrollment.id);
                    events.write(changes.organization_id(), enrollment, *now);
                })
            }
            // No row that the change set depends on exists. A failed commit must not create the organization.
            None => changes.apply(&mut Snapshot::new(ReferenceData::new(changes.organization_id()))),
        };
        Ok(applied?)
    }
}

impl Inbox for InMemoryRepository {
    fn insert(&mut self, command: &EnrollmentCommand) -> Result<Option<StoredEnrollment>, RepositoryError> {
        let mut state = self.lock();
        let State { organizations, now, events, .. } = &mut *state;
        let id = command.organization_id();
        let organization =
            organizations.entry(id).or_insert_with(|| Organization::new(Snapshot::new(ReferenceData::new(id))));
        let enrollments = &mut organization.snapshot.reference.enrollments;
        if let Some(existing) = enrollments.get(&command.enrollment_id()) {
            return Ok(Some(StoredEnrollment::clone(existing)));
        }
        let accepted = command.accepted();
        events.write(id, &accepted, *now);
        enrollments.insert(command.enrollment_id(), Arc::new(accepted));
        let row = InboxRow {
            command: Some(command.clone()),
            attempts: 0,
            error: None,
            due_at: Timestamp::EPOCH,
            lease: 0,
            unanswered: 0,
            failed_at: Timestamp::EPOCH,
        };
        organization.inbox.insert(command.enrollment_id(), row);
        Ok(None)
    }

    fn find(
        &mut self,
        organization_id: OrganizationId,
        enrollment_id: EnrollmentId,
    ) -> Result<Option<InboxEntry>, RepositoryError> {
        let state = self.lock();
        let Some(organization) = state.organizations.get(&organization_id) else { return Ok(None) };
        let Some(stored) = organization.snapshot.reference.enrollments.get(&enrollment_id) else { return Ok(None) };
        let row = organization.inbox.get(&enrollment_id);
        let command = row.and_then(|row| row.command.clone()).map(Into::into);
        let mut entry = InboxEntry::new(StoredEnrollment::clone(stored), command);
        if let Some(InboxRow { attempts, error, .. }) = row {
            entry.attempts = *attempts;
            entry.error.clone_from(error);
        }
        Ok(Some(entry))
    }

    fn claim(&mut self, lease: Duration) -> Result<Option<Claim>, RepositoryError> {
        let mut state = self.lock();
        let State { organizations, now, claims, .. } = &mut *state;
        let free =
            organizations.iter_mut().filter(|(_, organization)| organization.lease.is_none_or(|(_, end)| end <= *now));
        let due = free.filter_map(|(id, organization)| Some((*id, organization.oldest_due(*now)?, organization)));
        let Some((organization_id, enrollment_id, organization)) = due.min_by_key(|(_, _, found)| found.turn) else {
            return Ok(None);
        };
        let Some(row) = organization.inbox.get_mut(&enrollment_id) else { return Ok(None) };
        let mut claim = Claim::new(organization_id, enrollment_id, row.lease.saturating_add(1));
        (claim.attempts, claim.lost_leases) = (row.attempts, row.unanswered);
        (row.lease, row.unanswered) = (claim.lease, row.unanswered.saturating_add(1));
        row.due_at = now.saturating_add(lease);
        organization.lease = Some((enrollment_id, row.due_at));
        *claims = claims.saturating_add(1);
        organization.turn = *claims;
        Ok(Some(claim))
    }

    fn record_failure(&mut self, claim: &Claim, failure: &Failure) -> Result<(), RepositoryError> {
        let mut state = self.lock();
        let State { organizations, now, events, .. } = &mut *state;
        let Some(organization) = organizations.get_mut(&claim.organization_id) else { return Ok(()) };
        if let Some((stored, row)) = organization.leased(claim) {
            row.error = Some(failure.error.clone());
            (row.attempts, row.unanswered) = (row.attempts.saturating_add(1), 0);
            match failure.retry_after {
                Some(delay) => row.due_at = now.saturating_add(delay),
                None => {
                    Arc::make_mut(stored).state = EnrollmentState::Failed;
                    row.failed_at = *now;
                    events.write(claim.organization_id, stored, *now);
                }
            }
            organization.end_lease(claim.enrollment_id);
        }
        Ok(())
    }

    fn release(&mut self, claim: &Claim, delay: Duration) -> Result<(), RepositoryError> {
        let mut state = self.lock();
        let State { organizations, now, .. } = &mut *state;
        let Some(organization) = organizations.get_mut(&claim.organization_id) else { return Ok(()) };
        if let Some((_, row)) = organization.leased(claim) {
            (row.due_at, row.unanswered) = (now.saturating_add(delay), 0);
            organization.end_lease(claim.enrollment_id);
        }
        Ok(())
    }

    fn retry(&mut self, organization_id: OrganizationId, enrollment_id: EnrollmentId) -> Result<bool, RepositoryError> {
        let mut state = self.lock();
        let State { organizations, now, events, .. } = &mut *state;
        let Some(organization) = organizations.get_mut(&organization_id) else { return Ok(false) };
        let stored = organization.snapshot.reference.enrollments.get_mut(&enrollment_id);
        let row = organization.inbox.get_mut(&enrollment_id);
        let (Some(stored), Some(row)) = (stored, row) else { return Ok(false) };
        if stored.state != EnrollmentState::Failed || stored.removed_at.is_some() {
            return Ok(false);
        }
        Arc::make_mut(stored).state = EnrollmentState::Accepted;
        (row.attempts, row.unanswered, row.due_at) = (0, 0, *now);
        events.write(organization_id, stored, *now);
        Ok(true)
    }
}

/// Never waits, except for the lock.
impl AsyncRepository for InMemoryRepository {
    async fn reference_data(&mut self, query: &ReferenceQuery) -> Result<ReferenceData, RepositoryError> {
        Repository::reference_data(self, query)
    }

    async fn load(&mut self, query: &SnapshotQuery) -> Result<Snapshot, RepositoryError> {
        Repository::load(self, query)
    }

    async fn commit(&mut self, changes: &ChangeSet) -> Result<(), RepositoryError> {
        Repository::commit(self, changes)
    }
}

/// Never waits, except for the lock.
impl AsyncInbox for InMemoryRepository {
    async fn insert(&mut self, command: &EnrollmentCommand) -> Result<Option<StoredEnrollment>, RepositoryError> {
        Inbox::insert(self, command)
    }

    async fn find(
        &mut self,
        organization_id: OrganizationId,
        enrollment_id: EnrollmentId,
    ) -> Result<Option<InboxEntry>, RepositoryError> {
        Inbox::find(self, organization_id, enrollment_id)
    }

    async fn claim(&mut self, lease: Duration) -> Result<Option<Claim>, RepositoryError> {
        Inbox::claim(self, lease)
    }

    async fn record_failure(&mut self, claim: &Claim, failure: &Failure) -> Result<(), RepositoryError> {
        Inbox::record_failure(self, claim, failure)
    }

    async fn release(&mut self, claim: &Claim, delay: Duration) -> Result<(), RepositoryError> {
        Inbox::release(self, claim, delay)
    }

    async fn retry(
        &mut self,
        organization_id: OrganizationId,
        enrollment_id: EnrollmentId,
    ) -> Result<bool, RepositoryError> {
        Inbox::retry(self, organization_id, enrollment_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::changes::{Completion, Conflict, Guards, RowChanges};
    use crate::contact::{Contact, ContactKeys, KeyKind};
    use crate::ids::ContactId;
    use crate::ids::{ChannelId, EnrollmentId, SequenceId};
    use crate::model::{CommunicationPreference, Sequence, SequenceStatus};
    use crate::report::{EnrollmentReport, Outcomes};
    use crate::repository::RepositoryErrorKind;
    use crate::request::Fingerprint;
    use crate::snapshot::ContactAggregate;
    use crate::snapshot::Version;
    use crate::stored_enrollment::StoredEnrollment;
    use crate::time::Timestamp;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use uuid::Uuid;

    const PHONE: &str = "+12025550123";
    const OTHER_PHONE: &str = "+12025550124";

    fn id<T: From<Uuid>>(n: u128) -> T {
        T::from(Uuid::from_u128(n))
    }

    /// Two organizations, each with sequence 1; contact 1 of the first has the phone.
    fn repository() -> InMemoryRepository {
        let repository = InMemoryRepository::new();
        for n in [1, 2] {
            let mut reference = ReferenceData::new(id(n));
            reference.sequences.insert(id(1), Versioned::new(Version::FIRST, Sequence::new(id(1), "s", Vec::new())));
            repository.insert(Snapshot::new(reference));
        }
        repository
            .edit(id(1), |snapshot| {
                let person = ContactAggregate::new(contact(1, PHONE), Version::FIRST);
                snapshot.contacts.insert(id(1), Arc::new(person));
            })
            .unwrap();
        repository
    }

    fn contact(n: u128, phone: &str) -> Contact {
        let mut contact = Contact::new(id(n));
        contact.phone = Some(phone.into());
        contact
    }

    fn creation(organization_id: OrganizationId, enrollment_id: EnrollmentId, contact: Contact) -> ChangeSet {
        let at = Timestamp::from_millis(1_769_958_000_123).unwrap();
        let report = EnrollmentReport {
            v: crate::report::ReportVersion::FIRST,
            enrollment_id,
            at,
            sequence_id: id(1),
            step_id: id(1),
            channel_id: None,
            upload_tag: None,
            accepted_keys: Vec::new(),
            warnings: Vec::new(),
            outcomes: Outcomes::default(),
        };
        let guards = Guards {
            sequence: (id(1), Some(Version::FIRST)),
            channels: Vec::new(),
            custom_object: None,
            call_flow: None,
            upload_tag: None,
            contacts: Vec::new(),
            unclaimed_keys: ContactKeys::default(),
        };
        let rows = RowChanges { contacts_created: vec![contact], ..RowChanges::default() };
        let completion = Completion::create(StoredEnrollment::completed(Fingerprint::from_bytes([0; 32]), report));
        ChangeSet::new(organization_id, at, guards, rows, completion)
    }

    fn found(repository: &mut InMemoryRepository, organization_id: OrganizationId, phone: &str) -> Vec<ContactId> {
        let reference = ReferenceQuery {
            organization_id,
            enrollment_id: None,
            sequence_id: id(1),
            custom_object_id: None,
            call_flow_id: None,
        };
        let keys = ContactKeys::from_iter([(KeyKind::Phone, phone)]);
        let query = SnapshotQuery { reference, keys, channel_id: None, resource: None, tag_id: None };
        Repository::load(repository, &query).unwrap().contacts.into_keys().collect()
    }

    fn commit(repository: &mut InMemoryRepository, changes: &ChangeSet) -> Result<(), RepositoryErrorKind> {
        Repository::commit(repository, changes).map_err(|e| e.kind())
    }

    #[test]
    fn every_handle_reads_a_commit_of_another_handle() {
        let mut repository = repository();
        commit(&mut repository.clone(), &creation(id(1), id(1), contact(2, OTHER_PHONE))).unwrap();
        assert_eq!(found(&mut repository, id(1), OTHER_PHONE), [id(2)]);
        let repeated = creation(id(1), id(1), contact(3, "+12025550125"));
        assert_eq!(commit(&mut repository, &repeated), Err(RepositoryErrorKind::Conflict));
        let existing = creation(id(1), id(2), contact(2, "+12025550125"));
        assert_eq!(commit(&mut repository, &existing), Err(RepositoryErrorKind::Other));
    }

    #[test]
    fn organizations_are_separate() {
        let mut repository = repository();
        assert_eq!(found(&mut repository, id(1), PHONE), [id(1)]);
        assert_eq!(found(&mut repository, id(2), PHONE), []);
        let same_phone = contact(2, PHONE);
        let taken = commit(&mut repository, &creation(id(1), id(1), same_phone.clone()));
        assert_eq!(taken, Err(RepositoryErrorKind::Conflict));
        commit(&mut repository, &creation(id(2), id(1), same_phone)).unwrap();
        assert_eq!(found(&mut repository, id(1), PHONE), [id(1)]);
        assert_eq!(found(&mut repository, id(2), PHONE), [id(2)]);
    }

    #[test]
    fn a_commit_to_an_unknown_organization_does_not_create_it() {
        let mut repository = repository();
        let refused = commit(&mut repository, &creation(id(3), id(1), contact(1, PHONE)));
        assert_eq!(refused, Err(RepositoryErrorKind::Conflict));
        assert_eq!(repository.organizations(), [id(1), id(2)]);
    }

    #[test]
    fn outcomes_older_than_the_retention_are_removed_once() {
        let mut repository = repository();
        let changes = creation(id(1), id(1), contact(2, OTHER_PHONE));
        commit(&mut repository, &changes).unwrap();
        let mut retention = Retention::keep();
        retention.completed = Some(Duration::from_secs(60));
        repository.set_time(changes.at().saturating_add(Duration::from_secs(59)));
        assert_eq!(repository.remove_expired(&retention), Removed::default());
        let removed_at = changes.at().saturating_add(Duration::from_secs(60));
        repository.set_time(removed_at);
        assert_eq!(repository.remove_expired(&retention).reports, 1);
        assert_eq!(repository.remove_expired(&retention), Removed::default());
        let enrollments = repository.snapshot(id(1)).unwrap().reference.enrollments;
        assert_eq!(enrollments[&id(1)].removed_at, Some(removed_at));
    }

    #[test]
    fn an_edit_raises_the_versions_of_changed_aggregates() {
        let mut repository = repository();
        let (sequence_id, contact_id): (SequenceId, ContactId) = (id(1), id(1));
        let versions = |repository: &InMemoryRepository| {
            let snapshot = repository.snapshot(id(1)).unwrap();
            (snapshot.reference.sequences[&sequence_id].version, snapshot.contacts[&contact_id].version)
        };
        repository
            .edit(id(1), |snapshot| {
                let person = Arc::make_mut(snapshot.contacts.get_mut(&contact_id).unwrap());
                person.preferences.push(CommunicationPreference::new(
                    contact_id,
                    ChannelId::from_uuid(Uuid::nil()),
                    false,
                ));
            })
            .unwrap();
        assert_eq!(versions(&repository), (Version(1), Version(2)));
        repository
            .edit(id(1), |snapshot| {
                let sequence = snapshot.reference.sequences.get_mut(&sequence_id).unwrap();
                Arc::make_mut(&mut sequence.value).status = SequenceStatus::Archived;
                let person = Arc::make_mut(snapshot.contacts.get_mut(&contact_id).unwrap());
                person.contact.phone = Some(OTHER_PHONE.into());
                person.version = Version(9);
            })
            .unwrap();
        assert_eq!(versions(&repository), (Version(2), Version(9)));
        assert_eq!(found(&mut repository, id(1), OTHER_PHONE), [contact_id]);
        assert_eq!(found(&mut repository, id(1), PHONE), []);
        // Versions only grow.
        repository
            .edit(id(1), |snapshot| {
                Arc::make_mut(snapshot.contacts.get_mut(&contact_id).unwrap()).version = Version::FIRST;
            })
            .unwrap();
        assert_eq!(versions(&repository), (Version(2), Version(10)));
    }

    #[test]
    fn an_edit_that_repeats_a_unique_key_changes_nothing() {
        let repository = repository();
        let before = repository.snapshot(id(1));
        let refused = repository.edit(id(1), |snapshot| {
            snapshot.contacts.insert(id(2), Arc::new(ContactAggregate::new(contact(2, PHONE), Version::FIRST)));
        });
        let held = Conflict::KeyHeld { key: KeyKind::Phone, text: PHONE.into(), holder: id(1) };
        assert_eq!(refused, Err(EditError::NotUnique(held)));
        assert_eq!(repository.edit(id(3), |_| ()), Err(EditError::NoOrganization(id(3))));
        assert_eq!(repository.snapshot(id(1)), before);
    }

    #[test]
    fn an_edit_that_panics_changes_nothing() {
        let repository = repository();
        let before = repository.snapshot(id(1));
        let edit = AssertUnwindSafe(|| {
            repository.edit(id(1), |snapshot| {
                snapshot.contacts.clear();
                panic!("half done");
            })
        });
        assert!(catch_unwind(edit).is_err());
        assert_eq!(repository.snapshot(id(1)), before);
    }
}

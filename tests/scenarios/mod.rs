//! Runs generated scenarios in memory, with edits of a host between the calls.

use enroll::contact::{Contact, ContactState, Email, KeyKind};
use enroll::model::{
    Channel, ChannelKind, CommunicationPreference, Conversation, CustomProperty, OnReAdd, PropertyKind, Run, Sequence,
    SequenceStatus, Step, StepContact, StepContactStatus, Tag,
};
use enroll::seed::Seed;
use enroll::snapshot::{ContactAggregate, Version, Versioned};
use enroll::testing::Scenario;
use enroll::{ChangeSet, ReferenceData, ReferenceQuery, RepositoryError, SnapshotQuery, *};
use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;
use uuid::Uuid;

/// The rows of a scenario in memory, and its requests.
pub(crate) struct Host<'s> {
    scenario: &'s Scenario,
    repository: InMemoryRepository,
}

impl<'s> Host<'s> {
    pub(crate) fn new(scenario: &'s Scenario) -> Self {
        let repository = InMemoryRepository::new();
        scenario.given.snapshots().unwrap().into_iter().for_each(|snapshot| repository.insert(snapshot));
        Self { scenario, repository }
    }

    /// Returns a host with the rows of the snapshot.
    pub(crate) fn with_rows(scenario: &'s Scenario, snapshot: &Snapshot) -> Self {
        let repository = InMemoryRepository::new();
        repository.insert(snapshot.clone());
        Self { scenario, repository }
    }

    pub(crate) fn copy(&self) -> Self {
        Self::with_rows(self.scenario, &self.snapshot())
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.repository.snapshot(self.scenario.given.organization_id).unwrap()
    }

    /// Returns the snapshots of all other organizations.
    pub(crate) fn other_organizations(&self) -> Vec<Snapshot> {
        let others =
            self.repository.organizations().into_iter().filter(|id| *id != self.scenario.given.organization_id);
        others.filter_map(|id| self.repository.snapshot(id)).collect()
    }

    pub(crate) fn dump(&self) -> Seed {
        Seed::dump(&[self.snapshot()], self.scenario.given.organization_id)
    }

    fn with<T>(
        &self,
        n: usize,
        body: Option<&[u8]>,
        run: impl FnOnce(&mut OneOrganization, &Engine<'_>, &Enrollment<'_>) -> T,
    ) -> T {
        let request = &self.scenario.requests[n];
        let own = request.body.to_string();
        let enrollment = Enrollment {
            organization_id: self.scenario.given.organization_id,
            sequence_id: request.sequence_id,
            key: EnrollmentKey::Id(request.enrollment_id),
            at: request.at,
            list: request.list,
            request: &EnrollmentRequest::from_json(body.unwrap_or(own.as_bytes())),
        };
        let organization_id = self.scenario.given.organization_id;
        let mut repository = OneOrganization { inner: self.repository.clone(), organization_id };
        run(&mut repository, &Engine::new(&self.scenario.given.policy), &enrollment)
    }

    pub(crate) fn enroll(&self, n: usize) -> EnrollmentReport {
        self.with(n, None, enroll_contacts).unwrap().report
    }

    /// Returns the numbers of reference queries, loads and commits of an enrollment.
    pub(crate) fn calls(&self, n: usize) -> [usize; 3] {
        self.with(n, None, |repository, engine, enrollment| {
            let mut counting = Counting { inner: &mut *repository, calls: [0; 3] };
            enroll_contacts(&mut counting, engine, enrollment).unwrap();
            counting.calls
        })
    }

    /// Returns the reports of a rehearsal of all requests. The rehearsal reads only the rows that its queries name.
    pub(crate) fn rehearse(&self) -> Vec<EnrollmentReport> {
        let mut rehearsal = Rehearsal::new(Narrow(self.repository.clone()));
        let requests = 0..self.scenario.requests.len();
        let rehearse = |n| {
            self.with(n, None, |_, engine, enrollment| {
                enroll_contacts(&mut rehearsal, engine, enrollment).unwrap().report
            })
        };
        requests.map(rehearse).collect()
    }

    pub(crate) fn preview(&self, n: usize) -> EnrollmentReport {
        self.with(n, None, preview).unwrap().report
    }

    /// Checks any body. It can be accepted or rejected, without a panic.
    pub(crate) fn check(&self, body: &[u8]) {
        self.with(0, Some(body), |repository, engine, enrollment| {
            let reference = repository.reference_data(&enrollment.reference_query()).unwrap();
            if let Err(rejection) = EnrollmentCommand::check(enrollment, &reference, engine) {
                assert!(!rejection.errors().is_empty());
            }
        });
    }

    pub(crate) fn plan(&self, n: usize) -> Result<(EnrollmentCommand, Snapshot, EnrollmentPlan), Rejection> {
        self.with(n, None, |repository, engine, enrollment| {
            let reference = repository.reference_data(&enrollment.reference_query()).unwrap();
            let command = EnrollmentCommand::check(enrollment, &reference, engine)?;
            let snapshot = repository.load(&command.snapshot_query()).unwrap();
            let plan = plan_enrollment(&command, &snapshot)?;
            Ok((command, snapshot, plan))
        })
    }

    pub(crate) fn plan_command(&self, command: &EnrollmentCommand) -> Result<EnrollmentPlan, Rejection> {
        let snapshot = Repository::load(&mut self.repository.clone(), &command.snapshot_query()).unwrap();
        plan_enrollment(command, &snapshot)
    }

    pub(crate) fn commit(&self, changes: &ChangeSet) -> Result<(), RepositoryError> {
        Repository::commit(&mut self.repository.clone(), changes)
    }

    pub(crate) fn edit(&self, mutation: &Mutation) {
        self.repository.edit(self.scenario.given.organization_id, |snapshot| (mutation.edit)(snapshot)).unwrap();
    }

    /// Enrolls, with one edit of the host between load and commit.
    pub(crate) fn enroll_while(
        self,
        n: usize,
        mutation: &Mutation,
    ) -> Result<(EnrollmentReport, Snapshot), EnrollError> {
        let edited = Cell::new(false);
        let enrolled = self.with(n, None, |repository, engine, enrollment| {
            let before_commit = || {
                if !edited.replace(true) {
                    self.edit(mutation);
                }
            };
            enroll_contacts(&mut EditedBeforeCommit { inner: repository, before_commit }, engine, enrollment)
        })?;
        Ok((enrolled.report, self.snapshot()))
    }
}

/// Panics for any other organization.
pub(crate) struct OneOrganization {
    inner: InMemoryRepository,
    organization_id: OrganizationId,
}

impl Repository for OneOrganization {
    fn reference_data(&mut self, query: &ReferenceQuery) -> Result<ReferenceData, RepositoryError> {
        assert_eq!(query.organization_id, self.organization_id);
        Repository::reference_data(&mut self.inner, query)
    }

    fn load(&mut self, query: &SnapshotQuery) -> Result<Snapshot, RepositoryError> {
        assert_eq!(query.reference.organization_id, self.organization_id);
        Repository::load(&mut self.inner, query)
    }

    fn commit(&mut self, changes: &ChangeSet) -> Result<(), RepositoryError> {
        assert_eq!(changes.organization_id(), self.organization_id);
        Repository::commit(&mut self.inner, changes)
    }
}

/// Counts the calls.
pub(crate) struct Counting<R> {
    pub(crate) inner: R,
    pub(crate) calls: [usize; 3],
}

impl<R: Repository> Repository for Counting<R> {
    fn reference_data(&mut self, query: &ReferenceQuery) -> Result<ReferenceData, RepositoryError> {
        self.calls[0] += 1;
        self.inner.reference_data(query)
    }

    fn load(&mut self, query: &SnapshotQuery) -> Result<Snapshot, RepositoryError> {
        self.calls[1] += 1;
        self.inner.load(query)
    }

    fn commit(&mut self, changes: &ChangeSet) -> Result<(), RepositoryError> {
        self.calls[2] += 1;
        self.inner.commit(changes)
    }
}

/// Calls a function before each commit.
struct EditedBeforeCommit<'r, F> {
    inner: &'r mut OneOrganization,
    before_commit: F,
}

impl<F: FnMut()> Repository for EditedBeforeCommit<'_, F> {
    fn reference_data(&mut self, query: &ReferenceQuery) -> Result<ReferenceData, RepositoryError> {
        self.inner.reference_data(query)
    }

    fn load(&mut self, query: &SnapshotQuery) -> Result<Snapshot, RepositoryError> {
        self.inner.load(query)
    }

    fn commit(&mut self, changes: &ChangeSet) -> Result<(), RepositoryError> {
        (self.before_commit)();
        self.inner.commit(changes)
    }
}

/// A write of a host.
pub(crate) struct Mutation {
    pub(crate) what: String,
    edit: Box<dyn Fn(&mut Snapshot)>,
}

/// Returns all kinds of host writes that can change a fact behind the command's plan.
pub(crate) fn mutations(command: &EnrollmentCommand, snapshot: &Snapshot) -> Vec<Mutation> {
    let mut all = Vec::new();
    let mut add = |what: String, edit: Box<dyn Fn(&mut Snapshot)>| all.push(Mutation { what, edit });
    let (query, sequence_id, at) = (command.snapshot_query(), command.sequence_id(), command.at());

    add("archive the sequence".into(), sequence(sequence_id, |sequence| sequence.status = SequenceStatus::Archived));
    add("exclude re-adds".into(), sequence(sequence_id, |sequence| sequence.settings.on_re_add = OnReAdd::Exclude));
    add("allow one run".into(), sequence(sequence_id, |sequence| sequence.settings.max_runs = Some(1)));
    add("drop the steps".into(), sequence(sequence_id, |sequence| sequence.steps.clear()));
    for &id in snapshot.reference.channels.keys() {
        add(
            format!("disable channel {id}"),
            Box::new(move |snapshot| {
                let channel = snapshot.reference.channels.get_mut(&id).unwrap();
                Arc::make_mut(&mut channel.value).enabled = false;
            }),
        );
        add(
            format!("delete channel {id}"),
            Box::new(move |snapshot| {
                snapshot.reference.channels.remove(&id);
            }),
        );
    }
    for &id in snapshot.reference.custom_objects.keys() {
        add(
            "require another property".into(),
            Box::new(move |snapshot| {
                let object = snapshot.reference.custom_objects.get_mut(&id).unwrap();
                let mut property = CustomProperty::new("another", PropertyKind::Text);
                property.required = true;
                Arc::make_mut(&mut object.value).properties.push(property);
            }),
        );
        add("delete the object".into(), Box::new(|snapshot| snapshot.reference.custom_objects.clear()));
    }
    for _ in snapshot.reference.call_flows.keys() {
        add("delete the call flow".into(), Box::new(|snapshot| snapshot.reference.call_flows.clear()));
    }
    for (&id, found) in &snapshot.contacts {
        type Edit = fn(&mut ContactAggregate);
        let edits: [(&str, Edit); 6] = [
            ("block", |contact| contact.contact.state = ContactState::Blocked),
            ("merge", |contact| contact.contact.state = ContactState::Merged),
            ("remove the phone of", |contact| contact.contact.phone = None),
            ("remove the email of", |contact| contact.contact.email = None),
            ("remove the external id of", |contact| contact.contact.external_id = None),
            ("name", |contact| contact.contact.profile.name = Some("Someone Else".into())),
        ];
        for (what, edit) in edits {
            add(format!("{what} {id}"), with(id, edit));
        }
        if let Some(channel_id) = query.channel_id {
            add(
                format!("opt out {id}"),
                with(id, move |contact| {
                    contact.preferences.retain(|preference| preference.channel_id != channel_id);
                    contact.preferences.push(CommunicationPreference::new(id, channel_id, false));
                }),
            );
            add(
                format!("start a conversation with {id}"),
                with(id, move |contact| {
                    let mut conversation =
                        Conversation::new(ConversationId::from_uuid(Uuid::from_u128(0x7a1c)), id, channel_id);
                    conversation.created_at = Some(at);
                    if contact.conversations.iter().all(|other| other.channel_id != channel_id) {
                        contact.conversations.push(conversation);
                    }
                }),
            );
        }
        add(
            format!("start a run of {id} in a deleted step"),
            with(id, move |contact| {
                contact.step_contacts.iter_mut().for_each(|row| row.status = StepContactStatus::Finished);
                let run = Run::new(RunId::from_uuid(Uuid::from_u128(0x4a2)), sequence_id, id, at);
                let step_id = StepId::from_uuid(Uuid::from_u128(0x57e9));
                contact.step_contacts.push(StepContact::new(
                    StepContactId::from_uuid(Uuid::from_u128(0x57ec)),
                    &run,
                    step_id,
                ));
                contact.runs.push(run);
            }),
        );
        for n in 0..found.step_contacts.len() {
            for status in [StepContactStatus::Finished, StepContactStatus::Active] {
                add(
                    format!("set step contact {n} of {id} to {status:?}"),
                    with(id, move |contact| {
                        // Like a database, at most one step contact is live in a sequence.
                        let sequence_id = contact.step_contacts[n].sequence_id;
                        for row in contact.step_contacts.iter_mut().filter(|row| row.sequence_id == sequence_id) {
                            if status.is_live() && row.status.is_live() {
                                row.status = StepContactStatus::Finished;
                            }
                        }
                        contact.step_contacts[n].status = status;
                    }),
                );
            }
        }
    }
    if let Some(id) = query.tag_id {
        if snapshot.tags.contains_key(&id) {
            add("delete the tag of the list".into(), Box::new(move |snapshot| delete_tag(snapshot, id)));
        } else {
            add(
                "create the tag of the list".into(),
                Box::new(move |snapshot| drop(snapshot.tags.insert(id, Tag::new(id, "Created")))),
            );
        }
    }
    // A new contact uses an unclaimed key.
    for (kind, keys) in query.keys.iter() {
        for key in keys {
            if snapshot.contacts.values().any(|contact| contact.contact.key(kind) == Some(key)) {
                continue;
            }
            let key = key.clone();
            add(
                format!("create a contact with {kind} {key}"),
                Box::new(move |snapshot| {
                    let mut contact = Contact::new(ContactId::from_uuid(Uuid::from_u128(0x9e4)));
                    match kind {
                        KeyKind::ExternalId => contact.external_id = Some(key.clone()),
                        KeyKind::Phone => contact.phone = Some(key.clone()),
                        KeyKind::Email => contact.email = Some(Email::stored(&key)),
                    }
                    snapshot.contacts.insert(contact.id, Arc::new(ContactAggregate::new(contact, Version::FIRST)));
                }),
            );
        }
    }
    all
}

fn sequence(id: SequenceId, edit: fn(&mut Sequence)) -> Box<dyn Fn(&mut Snapshot)> {
    Box::new(move |snapshot| edit(Arc::make_mut(&mut snapshot.reference.sequences.get_mut(&id).unwrap().value)))
}

/// Deletes a tag as a database does: contacts lose it.
fn delete_tag(snapshot: &mut Snapshot, id: TagId) {
    snapshot.tags.remove(&id);
    for contact in snapshot.contacts.values_mut().filter(|contact| contact.tags.contains(&id)) {
        Arc::make_mut(contact).tags.retain(|tag_id| *tag_id != id);
    }
}

fn with(id: ContactId, edit: impl Fn(&mut ContactAggregate) + 'static) -> Box<dyn Fn(&mut Snapshot)> {
    Box::new(move |snapshot| edit(Arc::make_mut(snapshot.contacts.get_mut(&id).unwrap())))
}

/// Adds to a loaded snapshot all other rows of the organization, and new unrelated ones.
pub(crate) fn unrelated(loaded: Snapshot, whole: &Snapshot) -> Snapshot {
    let mut more = loaded;
    for (id, contact) in &whole.contacts {
        more.contacts.entry(*id).or_insert_with(|| contact.clone());
    }
    more.tags.clone_from(&whole.tags);
    for (id, row) in &whole.reference.sequences {
        more.reference.sequences.entry(*id).or_insert_with(|| row.clone());
    }
    let channel = Channel::new(ChannelId::from_uuid(Uuid::from_u128(0xcccc)), ChannelKind::Fax, "+12025550199");
    let other = SequenceId::from_uuid(Uuid::from_u128(0x5555));
    for contact in more.contacts.values_mut() {
        let contact = Arc::make_mut(contact);
        let id = contact.contact.id;
        contact.preferences.push(CommunicationPreference::new(id, channel.id, false));
        contact.conversations.push(Conversation::new(
            ConversationId::from_uuid(Uuid::from_u128(0xaaaa)),
            id,
            channel.id,
        ));
        let run = Run::new(RunId::from_uuid(Uuid::from_u128(0xbbbb)), other, id, Timestamp::from_millis(0).unwrap());
        let step_id = StepId::from_uuid(Uuid::from_u128(0xdddd));
        contact.step_contacts.push(StepContact::new(StepContactId::from_uuid(Uuid::from_u128(0xeeee)), &run, step_id));
        contact.runs.push(run);
    }
    more.reference.channels.insert(channel.id, Versioned::new(Version(7), channel));
    let mut other_contact = Contact::new(ContactId::from_uuid(Uuid::from_u128(0xffff)));
    other_contact.phone = Some("+12025550198".into());
    more.contacts.insert(other_contact.id, Arc::new(ContactAggregate::new(other_contact, Version(3))));
    more
}

/// Returns the contacts that are new or changed.
pub(crate) fn changed_contacts(before: &Snapshot, after: &Snapshot) -> BTreeSet<ContactId> {
    let changed = after.contacts.iter().filter(|(id, contact)| before.contacts.get(id) != Some(contact));
    changed.map(|(id, _)| *id).collect()
}

/// Returns an organization with one phone channel and one sequence of one step.
pub(crate) fn one_sequence() -> (InMemoryRepository, OrganizationId, SequenceId) {
    let organization_id = OrganizationId::from_uuid(Uuid::from_u128(1));
    let sequence_id = SequenceId::from_uuid(Uuid::from_u128(2));
    let mut reference = ReferenceData::new(organization_id);
    let channel = Channel::new(ChannelId::from_uuid(Uuid::from_u128(3)), ChannelKind::Phone, "+12025550100");
    let mut step = Step::new(StepId::from_uuid(Uuid::from_u128(4)), 0, ChannelKind::Phone);
    step.channel_id = Some(channel.id);
    reference.channels.insert(channel.id, Versioned::new(Version::FIRST, channel));
    reference
        .sequences
        .insert(sequence_id, Versioned::new(Version::FIRST, Sequence::new(sequence_id, "Welcome", vec![step])));
    let repository = InMemoryRepository::new();
    repository.insert(Snapshot::new(reference));
    (repository, organization_id, sequence_id)
}

/// A repository that returns only the related rows that a query names, as a database does. It cannot be written.
struct Narrow(InMemoryRepository);

impl Repository for Narrow {
    fn reference_data(&mut self, query: &ReferenceQuery) -> Result<ReferenceData, RepositoryError> {
        Repository::reference_data(&mut self.0, query)
    }

    fn load(&mut self, query: &SnapshotQuery) -> Result<Snapshot, RepositoryError> {
        let mut snapshot = Repository::load(&mut self.0, query)?;
        let sequence_id = query.reference.sequence_id;
        for aggregate in snapshot.contacts.values_mut() {
            let ContactAggregate { preferences, conversations, runs, step_contacts, tags, records, .. } =
                Arc::make_mut(aggregate);
            preferences.retain(|row| Some(row.channel_id) == query.channel_id);
            conversations.retain(|row| Some(row.channel_id) == query.channel_id);
            runs.retain(|row| row.sequence_id == sequence_id);
            step_contacts.retain(|row| row.sequence_id == sequence_id);
            records.retain(|row| Some(row.custom_object_id) == query.reference.custom_object_id);
            tags.retain(|id| Some(*id) == query.tag_id);
        }
        Ok(snapshot)
    }

    fn commit(&mut self, _: &ChangeSet) -> Result<(), RepositoryError> {
        unreachable!("a rehearsal writes nothing")
    }
}

//! Repositories that violate one clause each. The conformance suite must detect every one, in the given case.

mod memory;

use enroll::changes::{ApplyError, Conflict};
use enroll::contact::ContactKeys;
use enroll::model::StepContactStatus;
use enroll::seed::{HostWrite, Seed};
use enroll::snapshot::{ContactAggregate, Version};
use enroll::testing::Blocking;
use enroll::testing::conformance::{BlockOn, Fixture, all_cases};
use enroll::{
    ChangeSet, ContactId, InMemoryRepository, OrganizationId, ReferenceData, ReferenceQuery, Repository,
    RepositoryError, RepositoryErrorKind as Kind, Snapshot, SnapshotQuery,
};
use memory::Memory;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The methods in which a saboteur differs from a correct repository.
trait Saboteur: Send + Sync + Sized + 'static {
    fn reference_data(
        repository: &mut Sabotaged<Self>,
        query: &ReferenceQuery,
    ) -> Result<ReferenceData, RepositoryError> {
        repository.inner.reference_data(query)
    }

    fn load(repository: &mut Sabotaged<Self>, query: &SnapshotQuery) -> Result<Snapshot, RepositoryError> {
        repository.inner.load(query)
    }

    fn commit(repository: &mut Sabotaged<Self>, changes: &ChangeSet) -> Result<(), RepositoryError> {
        repository.inner.commit(changes)
    }

    fn host_write(memory: &Memory, write: &HostWrite) -> Result<(), RepositoryError> {
        memory.host_write(write)
    }
}

/// A handle to a saboteur.
struct Sabotaged<S> {
    inner: InMemoryRepository,
    /// A cache of the handle.
    kept: Option<Snapshot>,
    commits: usize,
    /// The calls of all handles.
    round_trips: Arc<AtomicU64>,
    saboteur: PhantomData<S>,
}

impl<S: Saboteur> Repository for Sabotaged<S> {
    fn reference_data(&mut self, query: &ReferenceQuery) -> Result<ReferenceData, RepositoryError> {
        self.count_round_trip();
        S::reference_data(self, query)
    }

    fn load(&mut self, query: &SnapshotQuery) -> Result<Snapshot, RepositoryError> {
        self.count_round_trip();
        S::load(self, query)
    }

    fn commit(&mut self, changes: &ChangeSet) -> Result<(), RepositoryError> {
        self.count_round_trip();
        self.commits += 1;
        S::commit(self, changes)
    }
}

impl<S> Sabotaged<S> {
    fn count_round_trip(&self) {
        self.round_trips.fetch_add(1, Ordering::Relaxed);
    }

    /// Writes without checks and without new versions.
    fn tamper(&self, changes: &ChangeSet, tamper: impl FnOnce(&mut Snapshot)) {
        if let Some(mut snapshot) = self.inner.snapshot(changes.organization_id()) {
            tamper(&mut snapshot);
            self.inner.insert(snapshot);
        }
    }

    /// Commits the change set with an edit of its JSON.
    fn commit_edited(&mut self, changes: &ChangeSet, edit: impl FnOnce(&mut Value)) -> Result<(), RepositoryError> {
        let mut value = serde_json::to_value(changes).unwrap();
        edit(&mut value);
        self.inner.commit(&serde_json::from_value(value).unwrap())
    }
}

struct Sabotage<S>(Memory, Arc<AtomicU64>, PhantomData<S>);

impl<S: Saboteur> Fixture for Sabotage<S> {
    type Repository = Blocking<Sabotaged<S>>;

    async fn fresh() -> Self {
        Self(Memory(InMemoryRepository::new()), Arc::default(), PhantomData)
    }

    async fn open(&self) -> Self::Repository {
        let (inner, round_trips) = (self.0.0.clone(), Arc::clone(&self.1));
        Blocking(Sabotaged { inner, kept: None, commits: 0, round_trips, saboteur: PhantomData })
    }

    async fn seed(&self, given: &Seed) {
        self.0.seed(given);
    }

    async fn host_write(&self, write: &HostWrite) -> Result<(), RepositoryError> {
        S::host_write(&self.0, write)
    }

    async fn dump(&self, organization_id: OrganizationId) -> Seed {
        self.0.dump(organization_id)
    }

    fn round_trips(&self) -> Option<u64> {
        Some(self.1.load(Ordering::Relaxed))
    }
}

struct BlockingRuntime;

impl BlockOn for BlockingRuntime {
    fn block_on<T>(future: impl Future<Output = T>) -> T {
        enroll::testing::block_on(future)
    }
}

/// Runs the suite, and checks that the given case fails. Slow clauses run only for their own cases.
fn assert_detected<S: Saboteur>(by: &str) {
    let failed: Vec<String> = all_cases::<Sabotage<S>, BlockingRuntime>()
        .iter()
        .filter(|case| {
            !["any_size", "model", "concurrent_writers"].contains(&case.clause()) || by.starts_with(case.clause())
        })
        .filter(|case| catch_unwind(AssertUnwindSafe(|| case.run())).is_err())
        .map(|case| format!("{case:?}"))
        .collect();
    println!("{}: detected by {} cases\n  {}", std::any::type_name::<S>(), failed.len(), failed.join("\n  "));
    assert!(failed.iter().any(|case| case == by), "`{by}` does not fail; these cases do: {failed:#?}");
}

/// Defines saboteurs: the test, the type, the case that must fail, and the wrong methods.
macro_rules! saboteurs {
    ($($(#[doc = $doc:literal])* $test:ident, $name:ident, $by:literal => { $($method:item)* })*) => {$(
        $(#[doc = $doc])*
        struct $name;

        impl Saboteur for $name {
            $($method)*
        }

        #[test]
        fn $test() {
            assert_detected::<$name>($by);
        }
    )*};
}

saboteurs! {
    /// Clause 1: a handle always returns its first load.
    stale_reads, StaleReads, "read_what_was_written::every_handle_sees_a_host_write" => {
        fn load(repository: &mut Sabotaged<Self>, query: &SnapshotQuery) -> Result<Snapshot, RepositoryError> {
            let fresh = repository.inner.load(query)?;
            Ok(repository.kept.get_or_insert(fresh).clone())
        }
    }

    /// Clause 1: only the first outcomes of a report are stored.
    truncated_report, TruncatedReport, "read_what_was_written::a_long_report_is_returned_completely_and_in_order" => {
        fn commit(repository: &mut Sabotaged<Self>, changes: &ChangeSet) -> Result<(), RepositoryError> {
            repository.commit_edited(changes, |changes| {
                let report = &mut changes["completion"]["enrollment"]["state"]["report"];
                if let Some(outcomes) = report["outcomes"].as_array_mut() {
                    outcomes.truncate(100);
                }
            })
        }
    }

    /// Clause 2: contacts are not found by email.
    missing_key, MissingKey, "complete_load::each_key_finds_its_contact" => {
        fn load(repository: &mut Sabotaged<Self>, query: &SnapshotQuery) -> Result<Snapshot, RepositoryError> {
            let mut query = query.clone();
            let keys = [query.keys.external_ids().to_vec(), query.keys.phones().to_vec(), Vec::new()];
            query.keys = ContactKeys::new(keys);
            repository.inner.load(&query)
        }
    }

    /// Clause 2: runs are not loaded.
    missing_runs, MissingRuns, "read_what_was_written::all_fields_of_all_rows_are_loaded" => {
        fn load(repository: &mut Sabotaged<Self>, query: &SnapshotQuery) -> Result<Snapshot, RepositoryError> {
            let mut snapshot = repository.inner.load(query)?;
            snapshot.contacts.values_mut().for_each(|contact_rows| Arc::make_mut(contact_rows).runs.clear());
            Ok(snapshot)
        }
    }

    /// Clause 2: the tag of a list is not loaded.
    missing_tag, MissingTag, "complete_load::a_contact_in_two_requests_of_a_list_is_tagged_once" => {
        fn load(repository: &mut Sabotaged<Self>, query: &SnapshotQuery) -> Result<Snapshot, RepositoryError> {
            let mut snapshot = repository.inner.load(query)?;
            snapshot.tags.clear();
            Ok(snapshot)
        }
    }

    /// Clause 2: the tags of contacts are not loaded.
    missing_tags_of_contacts, MissingContactTags, "complete_load::a_contact_in_two_requests_of_a_list_is_tagged_once" => {
        fn load(repository: &mut Sabotaged<Self>, query: &SnapshotQuery) -> Result<Snapshot, RepositoryError> {
            let mut snapshot = repository.inner.load(query)?;
            snapshot.contacts.values_mut().for_each(|contact_rows| Arc::make_mut(contact_rows).tags.clear());
            Ok(snapshot)
        }
    }

    /// Clause 2: versions are read after their rows, in a later snapshot.
    version_read_after_its_rows, TornLoad, "concurrent_writers::a_load_during_writes_is_consistent" => {
        fn load(repository: &mut Sabotaged<Self>, query: &SnapshotQuery) -> Result<Snapshot, RepositoryError> {
            let mut rows = repository.inner.load(query)?;
            let versions = |snapshot: &Snapshot| snapshot.contacts.values().map(|contact_rows| contact_rows.version).collect::<Vec<_>>();
            for _ in 0..200 {
                let later = repository.inner.load(query)?;
                if versions(&later) != versions(&rows) {
                    for (id, contact_rows) in &mut rows.contacts {
                        Arc::make_mut(contact_rows).version = later.contacts.get(id).map_or(contact_rows.version, |later| later.version);
                    }
                    break;
                }
                std::thread::yield_now();
            }
            Ok(rows)
        }
    }

    /// Clause 3: a refused commit leaves a contact.
    torn_batch, TornBatch, "all_or_nothing::a_stale_guard_refuses_all_rows" => {
        fn commit(repository: &mut Sabotaged<Self>, changes: &ChangeSet) -> Result<(), RepositoryError> {
            repository.inner.commit(changes).inspect_err(|_| {
                repository.tamper(changes, |snapshot| {
                    if let Some(contact) = changes.rows().contacts_created.first() {
                        let contact_rows = Arc::new(ContactAggregate::new(contact.clone(), Version::FIRST));
                        snapshot.contacts.entry(contact.id).or_insert(contact_rows);
                    }
                });
            })
        }
    }

    /// Clause 4: an archived sequence is not detected.
    ignored_guard_of_the_sequence, UnguardedSequence, "guards_hold::sequence_archived" => {
        fn commit(repository: &mut Sabotaged<Self>, changes: &ChangeSet) -> Result<(), RepositoryError> {
            let (id, _) = changes.guards().sequence;
            let before = repository.inner.snapshot(changes.organization_id());
            let version = before.and_then(|before| Some(before.reference.sequences.get(&id)?.version));
            repository.commit_edited(changes, |changes| {
                if let Some(version) = version {
                    changes["guards"]["sequence"] = json!([id, version]);
                }
            })
        }
    }

    /// Clause 4: a disabled channel is not detected.
    ignored_guard_of_the_channels, UnguardedChannels, "guards_hold::channel_disabled" => {
        fn commit(repository: &mut Sabotaged<Self>, changes: &ChangeSet) -> Result<(), RepositoryError> {
            repository.commit_edited(changes, |changes| changes["guards"]["channels"] = json!([]))
        }
    }

    /// Clause 4: a new channel with an unknown id is not detected.
    ignored_guard_of_an_absent_channel, UnguardedAbsentChannel, "guards_hold::unknown_channel_inserted" => {
        fn commit(repository: &mut Sabotaged<Self>, changes: &ChangeSet) -> Result<(), RepositoryError> {
            repository.commit_edited(changes, |changes| {
                if let Some(channels) = changes["guards"]["channels"].as_array_mut() {
                    channels.retain(|channel| !channel[1].is_null());
                }
            })
        }
    }

    /// Clause 4: a changed custom object is not detected.
    ignored_guard_of_the_object, UnguardedObject, "guards_hold::custom_object_changed" => {
        fn commit(repository: &mut Sabotaged<Self>, changes: &ChangeSet) -> Result<(), RepositoryError> {
            repository.commit_edited(changes, |changes| changes["guards"]["custom_object"] = Value::Null)
        }
    }

    /// Clause 4: the call flow may be gone.
    ignored_guard_of_the_call_flow, UnguardedCallFlow, "guards_hold::call_flow_deleted" => {
        fn commit(repository: &mut Sabotaged<Self>, changes: &ChangeSet) -> Result<(), RepositoryError> {
            repository.commit_edited(changes, |changes| changes["guards"]["call_flow"] = Value::Null)
        }
    }

    /// Clause 4: the tag of a list may be gone.
    ignored_guard_of_the_tag, UnguardedTag, "guards_hold::tag_of_a_list_deleted" => {
        fn commit(repository: &mut Sabotaged<Self>, changes: &ChangeSet) -> Result<(), RepositoryError> {
            repository.commit_edited(changes, |changes| changes["guards"]["upload_tag"] = Value::Null)
        }
    }

    /// Clause 4: a new tag with the id of the list's tag is not detected.
    ignored_guard_of_an_absent_tag, UnguardedAbsentTag, "guards_hold::tag_of_a_list_created_by_another_request" => {
        fn commit(repository: &mut Sabotaged<Self>, changes: &ChangeSet) -> Result<(), RepositoryError> {
            repository.commit_edited(changes, |changes| {
                if changes["guards"]["upload_tag"][1].is_null() {
                    changes["guards"]["upload_tag"] = Value::Null;
                }
            })
        }
    }

    /// Clause 4: a change of a contact that is read and not written is not detected.
    ignored_guard_of_the_others, UnguardedContacts, "guards_hold::ignored_contact_changed" => {
        fn commit(repository: &mut Sabotaged<Self>, changes: &ChangeSet) -> Result<(), RepositoryError> {
            repository.commit_edited(changes, |changes| changes["guards"]["contacts"] = json!([]))
        }
    }

    /// Clause 4: a change of a written contact is not detected.
    ignored_guard_of_those_written, UnguardedUpdates, "guards_hold::opt_out_inserted" => {
        fn commit(repository: &mut Sabotaged<Self>, changes: &ChangeSet) -> Result<(), RepositoryError> {
            let people = repository.inner.snapshot(changes.organization_id()).map_or_else(BTreeMap::new, |now| now.contacts);
            repository.commit_edited(changes, |changes| {
                for update in changes["rows"]["contacts_updated"].as_array_mut().into_iter().flatten() {
                    let id: ContactId = serde_json::from_value(update["id"].clone()).unwrap();
                    if let Some(contact_rows) = people.get(&id) {
                        update["expected"] = json!(contact_rows.version);
                    }
                }
            })
        }
    }

    /// Clause 4: the use of an unclaimed key is not detected.
    ignored_guard_of_unclaimed_keys, UnguardedUnclaimedKeys, "guards_hold::unclaimed_phone_used" => {
        fn commit(repository: &mut Sabotaged<Self>, changes: &ChangeSet) -> Result<(), RepositoryError> {
            repository.commit_edited(changes, |changes| changes["guards"]["unclaimed_keys"] = json!({}))
        }
    }

    /// Clause 5: a host can give two contacts the same key.
    host_write_with_a_duplicate_key, LaxConstraints, "unique_keys::a_host_cannot_give_two_contacts_the_same_key" => {
        fn host_write(memory: &Memory, write: &HostWrite) -> Result<(), RepositoryError> {
            let refused = memory.host_write(write);
            let unique = refused.as_ref().err().map(|error| error.inner().to_string());
            if unique.is_some_and(|text| text.starts_with("/contacts")) { Ok(()) } else { refused }
        }
    }

    /// Clause 5: a key cannot move between contacts in one commit.
    key_that_cannot_move, UnmovableKeys, "unique_keys::a_key_moves_between_contacts_in_one_commit" => {
        fn commit(repository: &mut Sabotaged<Self>, changes: &ChangeSet) -> Result<(), RepositoryError> {
            let before = repository.inner.snapshot(changes.organization_id());
            let used = |phone: &Option<enroll::contact::Text>| {
                let people = before.iter().flat_map(|before| before.contacts.values());
                phone.is_some() && people.clone().any(|contact_rows| contact_rows.contact.phone == *phone)
            };
            if changes.rows().contacts_updated.iter().any(|update| used(&update.set.phone)) {
                return Err(RepositoryError::new(Kind::Conflict, "another contact has the phone"));
            }
            repository.inner.commit(changes)
        }
    }

    /// Clause 5: a contact can be live twice in a sequence.
    second_live_step_contact, TwiceLive, "unique_keys::one_live_step_contact_per_contact_and_sequence" => {
        fn commit(repository: &mut Sabotaged<Self>, changes: &ChangeSet) -> Result<(), RepositoryError> {
            let refused = repository.inner.commit(changes);
            let Err(e) = &refused else { return refused };
            let Some(ApplyError::Conflict(Conflict::StepContactLive { contact_id, .. })) =
                e.inner().downcast_ref() else { return refused };
            let mut lives = Vec::new();
            repository.tamper(changes, |snapshot| {
                let contact_rows = Arc::make_mut(snapshot.contacts.get_mut(contact_id).unwrap());
                for row in contact_rows.step_contacts.iter_mut().filter(|row| row.status.is_live()) {
                    lives.push((row.id, row.status));
                    row.status = StepContactStatus::Finished;
                }
            });
            let committed = repository.inner.commit(changes);
            repository.tamper(changes, |snapshot| {
                let contact_rows = Arc::make_mut(snapshot.contacts.get_mut(contact_id).unwrap());
                for row in &mut contact_rows.step_contacts {
                    row.status = lives.iter().find(|(id, _)| *id == row.id).map_or(row.status, |(_, status)| *status);
                }
            });
            committed
        }
    }

    /// Clause 5: an enrollment is committed twice.
    enrollment_committed_twice, TwiceCommitted, "unique_keys::an_enrollment_is_committed_once" => {
        fn commit(repository: &mut Sabotaged<Self>, changes: &ChangeSet) -> Result<(), RepositoryError> {
            repository.tamper(changes, |snapshot| {
                snapshot.reference.enrollments.remove(&changes.completion().enrollment.id);
                for contact in &changes.rows().contacts_created {
                    snapshot.contacts.remove(&contact.id);
                }
                snapshot.tags.clear();
            });
            repository.inner.commit(changes)
        }
    }

    /// Clause 6: existing contacts are overwritten.
    upsert_instead_of_create, Upserts, "create_never_overwrites::an_existing_contact_is_not_overwritten" => {
        fn commit(repository: &mut Sabotaged<Self>, changes: &ChangeSet) -> Result<(), RepositoryError> {
            repository.tamper(changes, |snapshot| {
                for contact in &changes.rows().contacts_created {
                    snapshot.contacts.remove(&contact.id);
                }
            });
            repository.inner.commit(changes)
        }
    }

    /// Clause 7: a conflict without a reason.
    phantom_conflict, PhantomConflict, "conflict_is_typed::sequential_enrollments_do_not_conflict" => {
        fn commit(repository: &mut Sabotaged<Self>, changes: &ChangeSet) -> Result<(), RepositoryError> {
            if repository.commits % 2 == 1 {
                return Err(RepositoryError::new(Kind::Conflict, "in doubt"));
            }
            repository.inner.commit(changes)
        }
    }

    /// Clause 7: a conflict has the wrong kind.
    untyped_conflict, UntypedConflict, "unique_keys::second_writer_of_a_phone_conflicts_then_reuses_the_contact" => {
        fn commit(repository: &mut Sabotaged<Self>, changes: &ChangeSet) -> Result<(), RepositoryError> {
            repository.inner.commit(changes).map_err(|e| RepositoryError::new(Kind::Other, e))
        }
    }

    /// Clause 8: external ids are unique without regard to case.
    folded_case, FoldedCase, "byte_exact_keys::keys_are_compared_by_bytes" => {
        fn commit(repository: &mut Sabotaged<Self>, changes: &ChangeSet) -> Result<(), RepositoryError> {
            let before = repository.inner.snapshot(changes.organization_id());
            let used: Vec<String> = before.iter().flat_map(|before| before.contacts.values())
                .filter_map(|contact_rows| Some(contact_rows.contact.external_id.as_ref()?.to_lowercase())).collect();
            let claims = changes.rows().contacts_created.iter().filter_map(|contact| contact.external_id.as_ref());
            if claims.into_iter().any(|id| used.contains(&id.to_lowercase())) {
                return Err(RepositoryError::new(Kind::Conflict, "another contact has the external id"));
            }
            repository.inner.commit(changes)
        }
    }

    /// Clause 9: a commit refuses more than a thousand contacts.
    bounded_commit, BoundedCommit, "any_size::four_thousand_contacts_are_created_then_reprocessed" => {
        fn commit(repository: &mut Sabotaged<Self>, changes: &ChangeSet) -> Result<(), RepositoryError> {
            if changes.rows().contacts_created.len() > 1000 {
                return Err(RepositoryError::new(Kind::Other, "too many rows"));
            }
            repository.inner.commit(changes)
        }
    }

    /// Clause 9: contacts are looked up one after the other.
    contacts_one_by_one, OneByOne, "any_size::round_trips_do_not_grow_with_the_recipients" => {
        fn load(repository: &mut Sabotaged<Self>, query: &SnapshotQuery) -> Result<Snapshot, RepositoryError> {
            for _ in query.keys.iter().flat_map(|(_, keys)| keys) {
                repository.count_round_trip();
            }
            repository.inner.load(query)
        }
    }

    /// Clause 9: rows are written in batches of five hundred.
    batched_commit, BatchedCommit, "any_size::round_trips_do_not_grow_with_the_recipients" => {
        fn commit(repository: &mut Sabotaged<Self>, changes: &ChangeSet) -> Result<(), RepositoryError> {
            for _ in changes.rows().contacts_created.chunks(500) {
                repository.count_round_trip();
            }
            repository.inner.commit(changes)
        }
    }

    /// Clause 10: a commit without contacts writes nothing, not even the row of the enrollment.
    lost_empty_commit, LostEmptyCommit, "empty_input::an_enrollment_without_enrolled_recipients_writes_only_its_own_row" => {
        fn commit(repository: &mut Sabotaged<Self>, changes: &ChangeSet) -> Result<(), RepositoryError> {
            let rows = changes.rows();
            if rows.contacts_created.is_empty() && rows.contacts_updated.is_empty() {
                return Ok(());
            }
            repository.inner.commit(changes)
        }
    }

    /// Clause 11: contacts of other organizations are loaded.
    leaking_organization, LeakingOrganization, "organizations_are_separate::rows_of_another_organization_are_not_loaded" => {
        fn load(repository: &mut Sabotaged<Self>, query: &SnapshotQuery) -> Result<Snapshot, RepositoryError> {
            let mut snapshot = repository.inner.load(query)?;
            for organization_id in repository.inner.organizations() {
                let mut other_query = query.clone();
                other_query.reference.organization_id = organization_id;
                for (id, contact_rows) in repository.inner.load(&other_query)?.contacts {
                    snapshot.contacts.entry(id).or_insert(contact_rows);
                }
            }
            Ok(snapshot)
        }
    }

    /// Clause 3: the conversations are not written.
    lost_conversation, LostConversation, "all_or_nothing::a_commit_writes_all_rows_of_its_plan" => {
        fn commit(repository: &mut Sabotaged<Self>, changes: &ChangeSet) -> Result<(), RepositoryError> {
            repository.commit_edited(changes, |changes| changes["rows"]["conversations_created"] = json!([]))
        }
    }

    /// Clause 12: a host's write does not increment the version.
    host_write_without_a_new_version, NoVersionForHostWrites, "one_version_per_aggregate::preferences_of_a_contact" => {
        fn host_write(memory: &Memory, write: &HostWrite) -> Result<(), RepositoryError> {
            let before = memory.0.snapshot(write.organization_id);
            memory.host_write(write)?;
            if let (Some(before), Some(mut after)) = (before, memory.0.snapshot(write.organization_id)) {
                for (id, contact_rows) in &mut after.contacts {
                    if let Some(before) = before.contacts.get(id) {
                        Arc::make_mut(contact_rows).version = before.version;
                    }
                }
                memory.0.insert(after);
            }
            Ok(())
        }
    }

    /// Clause 12: a commit does not increment the versions of its contacts.
    commit_without_new_versions, NoVersionsForCommits, "one_version_per_aggregate::an_enrollment_increments_the_version_of_written_contacts" => {
        fn commit(repository: &mut Sabotaged<Self>, changes: &ChangeSet) -> Result<(), RepositoryError> {
            repository.inner.commit(changes)?;
            repository.tamper(changes, |snapshot| {
                for update in &changes.rows().contacts_updated {
                    Arc::make_mut(snapshot.contacts.get_mut(&update.id).unwrap()).version = update.expected;
                }
            });
            Ok(())
        }
    }
}

/// The same fixture without sabotage passes, so that the failures above come from the saboteurs.
#[test]
fn a_correct_repository_passes() {
    struct Correct;
    impl Saboteur for Correct {}
    static RUN: AtomicUsize = AtomicUsize::new(0);
    for case in all_cases::<Sabotage<Correct>, BlockingRuntime>() {
        case.run();
        RUN.fetch_add(1, Ordering::Relaxed);
    }
    assert!(RUN.load(Ordering::Relaxed) >= 90);
}

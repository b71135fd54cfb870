//! Logs of events that violate one clause each. The conformance suite must detect every one, in the given case.

mod memory;

use enroll::changes::CompletionMode;
use enroll::events::{Event, EventId, EventKind, EventLog, EventPosition};
use enroll::inbox::{Claim, Failure, InboxEntry};
use enroll::seed::{HostWrite, Seed};
use enroll::testing::Blocking;
use enroll::testing::conformance::{BlockOn, EventFixture, Fixture, InboxFixture, all_event_cases};
use enroll::uuid::Uuid;
use enroll::{
    ChangeSet, EnrollmentCommand, EnrollmentId, EnrollmentState, InMemoryRepository, Inbox, OrganizationId,
    ReferenceData, ReferenceQuery, Repository, RepositoryError, RepositoryErrorKind, SequenceId, Snapshot,
    SnapshotQuery, StoredEnrollment, Timestamp,
};
use memory::Memory;
use std::marker::PhantomData;
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::Duration;

type Answer<T> = Result<T, RepositoryError>;

/// A correct log, next to a repository whose own log is off.
#[derive(Default)]
struct Log {
    enabled: bool,
    events: Vec<Event>,
    last: u64,
}

/// An enrollment that changes.
#[allow(clippy::struct_field_names, reason = "each is an id")]
#[derive(Clone, Copy)]
struct Ids {
    organization_id: OrganizationId,
    enrollment_id: EnrollmentId,
    sequence_id: SequenceId,
}

impl Ids {
    fn of(command: &EnrollmentCommand) -> Self {
        Self {
            organization_id: command.organization_id(),
            enrollment_id: command.enrollment_id(),
            sequence_id: command.sequence_id(),
        }
    }
}

impl Log {
    fn reserve(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn write(&mut self, kind: EventKind, ids: Ids) {
        let position = self.reserve();
        self.write_at(position, kind, ids);
    }

    fn write_at(&mut self, position: u64, kind: EventKind, ids: Ids) {
        if self.enabled {
            let id = EventId::from_uuid(Uuid::from_u128(u128::from(position)));
            let Ids { organization_id, enrollment_id, sequence_id } = ids;
            let position = EventPosition::new(position);
            let at = Timestamp::EPOCH;
            self.events.push(Event::new(position, id, kind, organization_id, enrollment_id, sequence_id, at));
        }
    }

    fn write_completion(&mut self, changes: &ChangeSet) {
        let enrollment = &changes.completion().enrollment;
        let (organization_id, enrollment_id) = (changes.organization_id(), enrollment.id);
        let ids = Ids { organization_id, enrollment_id, sequence_id: enrollment.sequence_id };
        let before = self.events.len();
        match &enrollment.state {
            EnrollmentState::Completed { report } => {
                self.write(EventKind::Completed, ids);
                self.events[before..].iter_mut().for_each(|event| event.counts = Some(report.counts()));
            }
            EnrollmentState::Rejected { rejection } => {
                self.write(EventKind::Rejected, ids);
                let codes: Vec<String> = rejection.errors().iter().map(|fault| fault.code.to_string()).collect();
                self.events[before..].iter_mut().for_each(|event| event.codes.clone_from(&codes));
            }
            state => panic!("a commit ends an enrollment: {state:?}"),
        }
    }

    fn read(&self, after: EventPosition, limit: NonZeroU32) -> Vec<Event> {
        let mut events: Vec<_> = self.events.iter().filter(|event| event.position > after).cloned().collect();
        events.sort_by_key(|event| event.position);
        events.truncate(limit.get() as usize);
        events
    }

    fn prune(&mut self, before: Timestamp, limit: NonZeroU32) -> u64 {
        let old = self.events.iter().take_while(|event| event.at < before).count().min(limit.get() as usize);
        self.events.drain(..old);
        old as u64
    }
}

/// The moments in which a saboteur differs from a correct log.
trait Saboteur: Send + Sync + Sized + 'static {
    fn enable(log: &mut Log, enabled: bool) {
        log.enabled = enabled;
    }

    fn committed(log: &mut Log, changes: &ChangeSet, error: Option<RepositoryErrorKind>) {
        if error.is_none() {
            log.write_completion(changes);
        }
    }

    fn inserted(log: &mut Log, ids: Ids, is_new: bool) {
        if is_new {
            log.write(EventKind::Accepted, ids);
        }
    }

    fn failed(log: &mut Log, ids: Ids, given_up: bool) {
        if given_up {
            log.write(EventKind::Failed, ids);
        }
    }

    fn retried(log: &mut Log, ids: Ids, changed: bool) {
        if changed {
            log.write(EventKind::Accepted, ids);
        }
    }

    /// Returns a position that the open transaction reserves.
    fn begun(_: &mut Log, _: Ids) -> Option<u64> {
        None
    }

    fn ended(log: &mut Log, ids: Ids, _reserved: Option<u64>, committed: bool) {
        if committed {
            log.write(EventKind::Accepted, ids);
        }
    }

    fn events(log: &mut Log, after: EventPosition, limit: NonZeroU32) -> Vec<Event> {
        log.read(after, limit)
    }

    fn prune(log: &mut Log, before: Timestamp, limit: NonZeroU32) -> u64 {
        log.prune(before, limit)
    }
}

struct Sabotaged<S> {
    inner: InMemoryRepository,
    log: Arc<Mutex<Log>>,
    saboteur: PhantomData<S>,
}

impl<S> Sabotaged<S> {
    fn state(&mut self, organization_id: OrganizationId, id: EnrollmentId) -> Option<(Ids, &'static str)> {
        let stored = self.inner.find(organization_id, id).unwrap()?.enrollment;
        Some((Ids { organization_id, enrollment_id: id, sequence_id: stored.sequence_id }, stored.state.as_str()))
    }
}

impl<S: Saboteur> Repository for Sabotaged<S> {
    fn reference_data(&mut self, query: &ReferenceQuery) -> Answer<ReferenceData> {
        Repository::reference_data(&mut self.inner, query)
    }

    fn load(&mut self, query: &SnapshotQuery) -> Answer<Snapshot> {
        Repository::load(&mut self.inner, query)
    }

    fn commit(&mut self, changes: &ChangeSet) -> Answer<()> {
        let answer = Repository::commit(&mut self.inner, changes);
        S::committed(&mut self.log.lock().unwrap(), changes, answer.as_ref().err().map(RepositoryError::kind));
        answer
    }
}

impl<S: Saboteur> Inbox for Sabotaged<S> {
    fn insert(&mut self, command: &EnrollmentCommand) -> Answer<Option<StoredEnrollment>> {
        let existing = Inbox::insert(&mut self.inner, command)?;
        S::inserted(&mut self.log.lock().unwrap(), Ids::of(command), existing.is_none());
        Ok(existing)
    }

    fn find(&mut self, organization_id: OrganizationId, id: EnrollmentId) -> Answer<Option<InboxEntry>> {
        Inbox::find(&mut self.inner, organization_id, id)
    }

    fn claim(&mut self, lease: Duration) -> Answer<Option<Claim>> {
        Inbox::claim(&mut self.inner, lease)
    }

    fn record_failure(&mut self, claim: &Claim, failure: &Failure) -> Answer<()> {
        Inbox::record_failure(&mut self.inner, claim, failure)?;
        if let Some((ids, state)) = self.state(claim.organization_id, claim.enrollment_id) {
            S::failed(&mut self.log.lock().unwrap(), ids, state == "failed");
        }
        Ok(())
    }

    fn release(&mut self, claim: &Claim, delay: Duration) -> Answer<()> {
        Inbox::release(&mut self.inner, claim, delay)
    }

    fn retry(&mut self, organization_id: OrganizationId, id: EnrollmentId) -> Answer<bool> {
        let changed = Inbox::retry(&mut self.inner, organization_id, id)?;
        if let Some((ids, _)) = self.state(organization_id, id) {
            S::retried(&mut self.log.lock().unwrap(), ids, changed);
        }
        Ok(changed)
    }
}

impl<S: Saboteur> EventLog for Sabotaged<S> {
    fn events(&mut self, after: EventPosition, limit: NonZeroU32) -> Answer<Vec<Event>> {
        Ok(S::events(&mut self.log.lock().unwrap(), after, limit))
    }

    fn prune_events(&mut self, before: Timestamp, limit: NonZeroU32) -> Answer<u64> {
        Ok(S::prune(&mut self.log.lock().unwrap(), before, limit))
    }
}

struct Sabotage<S> {
    memory: Memory,
    log: Arc<Mutex<Log>>,
    saboteur: PhantomData<S>,
}

impl<S: Saboteur> Fixture for Sabotage<S> {
    type Repository = Blocking<Sabotaged<S>>;

    async fn fresh() -> Self {
        let memory = Memory(InMemoryRepository::new());
        Self { memory, log: Arc::default(), saboteur: PhantomData }
    }

    async fn open(&self) -> Self::Repository {
        Blocking(Sabotaged { inner: self.memory.0.clone(), log: self.log.clone(), saboteur: PhantomData })
    }

    async fn seed(&self, given: &Seed) {
        self.memory.seed(given);
    }

    async fn host_write(&self, write: &HostWrite) -> Answer<()> {
        self.memory.host_write(write)
    }

    async fn dump(&self, organization_id: OrganizationId) -> Seed {
        self.memory.dump(organization_id)
    }

    fn round_trips(&self) -> Option<u64> {
        None
    }
}

impl<S: Saboteur> InboxFixture for Sabotage<S> {
    async fn remove_failed_commands(&self) {
        self.memory.remove_failed_commands();
    }
}

impl<S: Saboteur> EventFixture for Sabotage<S> {
    type Transaction = (EnrollmentCommand, Option<u64>);

    async fn enable_events(&self, enabled: bool) {
        S::enable(&mut self.log.lock().unwrap(), enabled);
    }

    async fn accept_in_transaction(&self, command: &EnrollmentCommand) -> Option<Self::Transaction> {
        let reserved = S::begun(&mut self.log.lock().unwrap(), Ids::of(command));
        Some((command.clone(), reserved))
    }

    async fn end_transaction(&self, (command, reserved): Self::Transaction, commit: bool) {
        if commit {
            Inbox::insert(&mut self.memory.0.clone(), &command).unwrap();
        }
        S::ended(&mut self.log.lock().unwrap(), Ids::of(&command), reserved, commit);
    }
}

struct BlockingRuntime;

impl BlockOn for BlockingRuntime {
    fn block_on<T>(future: impl Future<Output = T>) -> T {
        enroll::testing::block_on(future)
    }
}

/// Returns the cases that fail.
fn failed<S: Saboteur>() -> Vec<String> {
    all_event_cases::<Sabotage<S>, BlockingRuntime>()
        .iter()
        .filter(|case| catch_unwind(AssertUnwindSafe(|| case.run())).is_err())
        .map(|case| format!("{case:?}"))
        .collect()
}

struct Correct;

impl Saboteur for Correct {}

#[test]
fn a_correct_log_passes_all_cases() {
    assert_eq!(failed::<Correct>(), Vec::<String>::new());
}

/// Defines saboteurs: the test, the type, the case that must fail, and the wrong moments.
macro_rules! saboteurs {
    ($($(#[doc = $doc:literal])* $test:ident, $name:ident, $by:literal => { $($method:item)* })*) => {$(
        $(#[doc = $doc])*
        struct $name;

        impl Saboteur for $name {
            $($method)*
        }

        #[test]
        fn $test() {
            let failed = failed::<$name>();
            println!("detected by {} cases\n  {}", failed.len(), failed.join("\n  "));
            assert!(failed.iter().any(|case| case == $by), "`{}` does not fail; these cases do: {failed:#?}", $by);
        }
    )*};
}

saboteurs! {
    /// Clause 1: accepting writes none.
    no_accepted_event, NoAcceptedEvent,
    "events_are_written_with_the_change::an_accepted_enrollment_writes_one_event" => {
        fn inserted(_: &mut Log, _: Ids, _: bool) {}
    }

    /// Clause 1: an enrollment at once writes none.
    no_event_at_once, NoEventAtOnce, "events_are_written_with_the_change::an_enrollment_at_once_writes_one_event" => {
        fn committed(log: &mut Log, changes: &ChangeSet, error: Option<RepositoryErrorKind>) {
            if error.is_none() && changes.completion().mode == CompletionMode::Finish {
                log.write_completion(changes);
            }
        }
    }

    /// Clause 1: processing writes none.
    no_event_of_a_worker, NoEventOfAWorker,
    "events_are_written_with_the_change::a_processed_enrollment_writes_one_event_more" => {
        fn committed(log: &mut Log, changes: &ChangeSet, error: Option<RepositoryErrorKind>) {
            if error.is_none() && changes.completion().mode == CompletionMode::Create {
                log.write_completion(changes);
            }
        }
    }

    /// Clause 1: large commits disable what writes events.
    no_event_of_a_large_commit, NoEventOfALargeCommit,
    "events_are_written_with_the_change::a_large_enrollment_writes_its_event" => {
        fn committed(log: &mut Log, changes: &ChangeSet, error: Option<RepositoryErrorKind>) {
            if error.is_none() && changes.rows().step_contacts_created.len() < 200 {
                log.write_completion(changes);
            }
        }
    }

    /// Clause 1: only completions write events.
    no_rejected_event, NoRejectedEvent,
    "events_are_written_with_the_change::a_rejected_enrollment_writes_one_event" => {
        fn committed(log: &mut Log, changes: &ChangeSet, error: Option<RepositoryErrorKind>) {
            if error.is_none() && changes.completion().enrollment.state.as_str() == "completed" {
                log.write_completion(changes);
            }
        }
    }

    /// Clause 1: giving up writes none.
    no_failed_event, NoFailedEvent,
    "events_are_written_with_the_change::an_enrollment_that_is_given_up_and_retried_writes_an_event_each_time" => {
        fn failed(_: &mut Log, _: Ids, _: bool) {}
    }

    /// Clause 1: a retry writes none.
    no_event_of_a_retry, NoEventOfARetry,
    "events_are_written_with_the_change::an_enrollment_that_is_given_up_and_retried_writes_an_event_each_time" => {
        fn retried(_: &mut Log, _: Ids, _: bool) {}
    }

    /// Clause 1: each failed attempt writes an event.
    event_of_an_attempt, EventOfAnAttempt,
    "events_are_written_with_the_change::an_attempt_that_is_repeated_writes_none" => {
        fn failed(log: &mut Log, ids: Ids, _: bool) {
            log.write(EventKind::Failed, ids);
        }
    }

    /// Clause 1: a repeated request writes its event again.
    event_of_a_repeated_request, EventOfARepeatedRequest,
    "events_are_written_with_the_change::a_repeated_request_writes_none" => {
        fn inserted(log: &mut Log, ids: Ids, _: bool) {
            log.write(EventKind::Accepted, ids);
        }
    }

    /// Clause 1: a retry that changes nothing writes an event.
    event_of_an_idle_retry, EventOfAnIdleRetry,
    "events_are_written_with_the_change::a_repeated_request_writes_none" => {
        fn retried(log: &mut Log, ids: Ids, _: bool) {
            log.write(EventKind::Accepted, ids);
        }
    }

    /// Clause 1: the event is written before the guards are checked.
    event_of_a_conflict, EventOfAConflict, "events_are_written_with_the_change::a_conflict_writes_none" => {
        fn committed(log: &mut Log, changes: &ChangeSet, error: Option<RepositoryErrorKind>) {
            if matches!(error, None | Some(RepositoryErrorKind::Conflict)) {
                log.write_completion(changes);
            }
        }
    }

    /// Clause 1: the event is written in a separate transaction.
    event_of_a_failed_commit, EventOfAFailedCommit,
    "events_are_written_with_the_change::a_failed_commit_writes_none" => {
        fn committed(log: &mut Log, changes: &ChangeSet, error: Option<RepositoryErrorKind>) {
            if !matches!(error, Some(RepositoryErrorKind::Conflict)) {
                log.write_completion(changes);
            }
        }
    }

    /// Clause 1: a rollback keeps the event.
    event_of_a_rollback, EventOfARollback, "events_are_written_with_the_change::a_rollback_leaves_none" => {
        fn ended(log: &mut Log, ids: Ids, _: Option<u64>, _: bool) {
            log.write(EventKind::Accepted, ids);
        }
    }

    /// Clause 1: an event is read before its transaction commits.
    event_of_an_open_transaction, EventOfAnOpenTransaction,
    "events_are_written_with_the_change::a_rollback_leaves_none" => {
        fn begun(log: &mut Log, ids: Ids) -> Option<u64> {
            log.write(EventKind::Accepted, ids);
            None
        }

        fn ended(log: &mut Log, ids: Ids, _: Option<u64>, committed: bool) {
            if !committed {
                log.events.retain(|event| event.enrollment_id != ids.enrollment_id);
            }
        }
    }

    /// Clause 2: all events have the ids of the first organization.
    ids_of_another_organization, IdsOfAnotherOrganization,
    "events_have_ids_counts_and_codes::an_event_has_the_ids_of_its_enrollment" => {
        fn inserted(log: &mut Log, ids: Ids, is_new: bool) {
            let first = log.events.first().map_or(ids.organization_id, |event| event.organization_id);
            if is_new {
                log.write(EventKind::Accepted, Ids { organization_id: first, ..ids });
            }
        }
    }

    /// Clause 2: the event has no counts.
    no_counts, NoCounts, "events_have_ids_counts_and_codes::a_completed_event_has_the_counts_of_the_report" => {
        fn events(log: &mut Log, after: EventPosition, limit: NonZeroU32) -> Vec<Event> {
            let mut events = log.read(after, limit);
            events.iter_mut().for_each(|event| event.counts = None);
            events
        }
    }

    /// Clause 2: the columns of two counts are exchanged.
    exchanged_counts, ExchangedCounts,
    "events_have_ids_counts_and_codes::a_completed_event_has_the_counts_of_the_report" => {
        fn events(log: &mut Log, after: EventPosition, limit: NonZeroU32) -> Vec<Event> {
            let mut events = log.read(after, limit);
            for counts in events.iter_mut().filter_map(|event| event.counts.as_mut()) {
                (counts.ignored, counts.duplicate) = (counts.duplicate, counts.ignored);
            }
            events
        }
    }

    /// Clause 2: the event has no codes.
    no_codes, NoCodes, "events_have_ids_counts_and_codes::a_rejected_event_has_the_codes_of_the_rejection" => {
        fn events(log: &mut Log, after: EventPosition, limit: NonZeroU32) -> Vec<Event> {
            let mut events = log.read(after, limit);
            events.iter_mut().for_each(|event| event.codes.clear());
            events
        }
    }

    /// Clause 2: the event has the instant of the request.
    instant_of_the_request, InstantOfTheRequest,
    "events_have_ids_counts_and_codes::the_clock_of_the_storage_dates_an_event" => {
        fn committed(log: &mut Log, changes: &ChangeSet, error: Option<RepositoryErrorKind>) {
            if error.is_none() {
                log.write_completion(changes);
                log.events.iter_mut().for_each(|event| event.at = changes.at());
            }
        }
    }

    /// Clause 3: a page has one event more.
    limit_of_one_more, LimitOfOneMore, "a_reader_misses_none::pages_have_each_event_once_and_in_order" => {
        fn events(log: &mut Log, after: EventPosition, limit: NonZeroU32) -> Vec<Event> {
            log.read(after, limit.saturating_add(1))
        }
    }

    /// Clause 3: a page begins with the event at the position.
    page_from_the_position, PageFromThePosition, "a_reader_misses_none::pages_have_each_event_once_and_in_order" => {
        fn events(log: &mut Log, after: EventPosition, limit: NonZeroU32) -> Vec<Event> {
            log.read(EventPosition::new(after.number().saturating_sub(1)), limit)
        }
    }

    /// Clause 3: the newest events come first.
    newest_first, NewestFirst, "a_reader_misses_none::pages_have_each_event_once_and_in_order" => {
        fn events(log: &mut Log, after: EventPosition, limit: NonZeroU32) -> Vec<Event> {
            let mut events = log.read(after, NonZeroU32::MAX);
            events.reverse();
            events.truncate(limit.get() as usize);
            events
        }
    }

    /// Clause 3: a large position wraps.
    position_wraps, PositionWraps, "a_reader_misses_none::a_position_behind_all_events_has_none" => {
        fn events(log: &mut Log, after: EventPosition, limit: NonZeroU32) -> Vec<Event> {
            log.read(EventPosition::new(after.number().wrapping_add(1).saturating_sub(1)), limit)
        }
    }

    /// Clause 3: the position comes from a sequence, before the commit.
    position_of_the_insert, PositionOfTheInsert,
    "a_reader_misses_none::writers_may_commit_in_another_order_than_they_began" => {
        fn begun(log: &mut Log, _: Ids) -> Option<u64> {
            Some(log.reserve())
        }

        fn ended(log: &mut Log, ids: Ids, reserved: Option<u64>, committed: bool) {
            if let Some(position) = reserved.filter(|_| committed) {
                log.write_at(position, EventKind::Accepted, ids);
            }
        }
    }

    /// Clause 3: each read numbers the events again.
    positions_of_the_read, PositionsOfTheRead, "events_are_pruned_by_age::the_oldest_are_removed_first_in_pieces" => {
        fn events(log: &mut Log, after: EventPosition, limit: NonZeroU32) -> Vec<Event> {
            for (event, number) in log.events.iter_mut().zip(1..) {
                event.position = EventPosition::new(number);
            }
            log.read(after, limit)
        }
    }

    /// Clause 4: the newest events are removed first.
    newest_removed_first, NewestRemovedFirst,
    "events_are_pruned_by_age::the_oldest_are_removed_first_in_pieces" => {
        fn prune(log: &mut Log, before: Timestamp, limit: NonZeroU32) -> u64 {
            log.events.reverse();
            let removed = log.prune(before, limit);
            log.events.reverse();
            removed
        }
    }

    /// Clause 4: the limit is ignored.
    all_removed_at_once, AllRemovedAtOnce, "events_are_pruned_by_age::the_oldest_are_removed_first_in_pieces" => {
        fn prune(log: &mut Log, before: Timestamp, _: NonZeroU32) -> u64 {
            log.prune(before, NonZeroU32::MAX)
        }
    }

    /// Clause 4: the age is ignored.
    newer_removed, NewerRemoved, "events_are_pruned_by_age::newer_events_stay" => {
        fn prune(log: &mut Log, before: Timestamp, limit: NonZeroU32) -> u64 {
            log.prune(before.max(Timestamp::from_millis(1).unwrap()), limit)
        }
    }

    /// Clause 4: positions begin again in an empty log.
    positions_used_again, PositionsUsedAgain, "events_are_pruned_by_age::a_removed_position_is_not_used_again" => {
        fn prune(log: &mut Log, before: Timestamp, limit: NonZeroU32) -> u64 {
            let removed = log.prune(before, limit);
            log.last = log.events.last().map_or(0, |event| event.position.number());
            removed
        }
    }

    /// Clause 4: events that no reader has seen stay.
    unread_events_stay, UnreadEventsStay,
    "events_are_pruned_by_age::events_that_no_reader_has_seen_are_removed" => {
        fn prune(_: &mut Log, _: Timestamp, _: NonZeroU32) -> u64 {
            0
        }
    }

    /// Clause 5: events are always on.
    always_on, AlwaysOn, "events_are_off_by_default::a_new_database_writes_none" => {
        fn inserted(log: &mut Log, ids: Ids, is_new: bool) {
            log.enabled = true;
            if is_new {
                log.write(EventKind::Accepted, ids);
            }
        }
    }

    /// Clause 5: events that are stored go when events are turned off.
    removed_when_off, RemovedWhenOff,
    "events_are_off_by_default::events_are_written_from_when_they_are_on_until_they_are_off" => {
        fn enable(log: &mut Log, enabled: bool) {
            log.enabled = enabled;
            if !enabled {
                log.events.clear();
            }
        }
    }

    /// Clause 5: events stay on.
    never_off, NeverOff, "events_are_off_by_default::events_are_written_from_when_they_are_on_until_they_are_off" => {
        fn enable(log: &mut Log, enabled: bool) {
            log.enabled |= enabled;
        }
    }
}

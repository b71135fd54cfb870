//! Inboxes that violate one clause each. The conformance suite must detect every one, in the given case.

mod memory;

use enroll::changes::CompletionMode;
use enroll::inbox::{Claim, Failure, InboxEntry};
use enroll::seed::{HostWrite, Seed};
use enroll::testing::Blocking;
use enroll::testing::conformance::{BlockOn, Fixture, all_inbox_cases};
use enroll::{
    ChangeSet, EnrollmentCommand, EnrollmentId, InMemoryRepository, Inbox, OrganizationId, ReferenceData,
    ReferenceQuery, Repository, RepositoryError, Snapshot, SnapshotQuery, StoredEnrollment, Timestamp,
};
use memory::Memory;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

type Answer<T> = Result<T, RepositoryError>;

/// The methods in which a saboteur differs from a correct inbox.
trait Saboteur: Send + Sync + Sized + 'static {
    fn commit(inner: &mut InMemoryRepository, changes: &ChangeSet) -> Answer<()> {
        inner.commit(changes)
    }

    fn insert(inner: &mut InMemoryRepository, command: &EnrollmentCommand) -> Answer<Option<StoredEnrollment>> {
        Inbox::insert(inner, command)
    }

    fn find(inner: &mut InMemoryRepository, of: OrganizationId, id: EnrollmentId) -> Answer<Option<InboxEntry>> {
        inner.find(of, id)
    }

    fn claim(inner: &mut InMemoryRepository, now: Timestamp, lease_end: Timestamp) -> Answer<Option<Claim>> {
        inner.claim(now, lease_end)
    }

    fn record_failure(inner: &mut InMemoryRepository, claim: &Claim, failure: &Failure) -> Answer<()> {
        inner.record_failure(claim, failure)
    }

    fn release(inner: &mut InMemoryRepository, claim: &Claim, due_at: Timestamp) -> Answer<()> {
        inner.release(claim, due_at)
    }

    fn retry(inner: &mut InMemoryRepository, of: OrganizationId, id: EnrollmentId, now: Timestamp) -> Answer<bool> {
        inner.retry(of, id, now)
    }
}

struct Sabotaged<S>(InMemoryRepository, PhantomData<S>);

impl<S: Saboteur> Repository for Sabotaged<S> {
    fn reference_data(&mut self, query: &ReferenceQuery) -> Answer<ReferenceData> {
        self.0.reference_data(query)
    }

    fn load(&mut self, query: &SnapshotQuery) -> Answer<Snapshot> {
        self.0.load(query)
    }

    fn commit(&mut self, changes: &ChangeSet) -> Answer<()> {
        S::commit(&mut self.0, changes)
    }
}

impl<S: Saboteur> Inbox for Sabotaged<S> {
    fn insert(&mut self, command: &EnrollmentCommand) -> Answer<Option<StoredEnrollment>> {
        S::insert(&mut self.0, command)
    }

    fn find(&mut self, organization_id: OrganizationId, id: EnrollmentId) -> Answer<Option<InboxEntry>> {
        S::find(&mut self.0, organization_id, id)
    }

    fn claim(&mut self, now: Timestamp, lease_end: Timestamp) -> Answer<Option<Claim>> {
        S::claim(&mut self.0, now, lease_end)
    }

    fn record_failure(&mut self, claim: &Claim, failure: &Failure) -> Answer<()> {
        S::record_failure(&mut self.0, claim, failure)
    }

    fn release(&mut self, claim: &Claim, due_at: Timestamp) -> Answer<()> {
        S::release(&mut self.0, claim, due_at)
    }

    fn retry(&mut self, organization_id: OrganizationId, id: EnrollmentId, now: Timestamp) -> Answer<bool> {
        S::retry(&mut self.0, organization_id, id, now)
    }
}

struct Sabotage<S>(Memory, PhantomData<S>);

impl<S: Saboteur> Fixture for Sabotage<S> {
    type Repository = Blocking<Sabotaged<S>>;

    async fn fresh() -> Self {
        Self(Memory(InMemoryRepository::new()), PhantomData)
    }

    async fn open(&self) -> Self::Repository {
        Blocking(Sabotaged(self.0.0.clone(), PhantomData))
    }

    async fn seed(&self, given: &Seed) {
        self.0.seed(given);
    }

    async fn host_write(&self, write: &HostWrite) -> Answer<()> {
        self.0.host_write(write)
    }

    async fn dump(&self, organization_id: OrganizationId) -> Seed {
        self.0.dump(organization_id)
    }
}

struct BlockingRuntime;

impl BlockOn for BlockingRuntime {
    fn block_on<T>(future: impl Future<Output = T>) -> T {
        enroll::testing::block_on(future)
    }
}

/// Writes without checks. The stored commands are lost.
fn tamper(inner: &InMemoryRepository, organization_id: OrganizationId, tamper: impl FnOnce(&mut Snapshot)) {
    if let Some(mut snapshot) = inner.snapshot(organization_id) {
        tamper(&mut snapshot);
        inner.insert(snapshot);
    }
}

/// Runs the suite of the inbox, and checks that the given case fails.
fn assert_detected<S: Saboteur>(by: &str) {
    let failed: Vec<String> = all_inbox_cases::<Sabotage<S>, BlockingRuntime>()
        .iter()
        .filter(|case| catch_unwind(AssertUnwindSafe(|| case.run())).is_err())
        .map(|case| format!("{case:?}"))
        .collect();
    println!("{}: detected by {} cases\n  {}", std::any::type_name::<S>(), failed.len(), failed.join("\n  "));
    assert!(failed.iter().any(|case| case == by), "`{by}` does not fail; these cases do: {failed:#?}");
}

/// Defines saboteurs: the test, the type, the case that must fail, and the wrong method.
macro_rules! saboteurs {
    ($($(#[doc = $doc:literal])* $test:ident, $name:ident, $by:literal => { $method:item })*) => {$(
        $(#[doc = $doc])*
        struct $name;

        impl Saboteur for $name {
            $method
        }

        #[test]
        fn $test() {
            assert_detected::<$name>($by);
        }
    )*};
}

saboteurs! {
    /// Clause 1: a stored enrollment is replaced.
    double_insert, DoubleInsert, "inserted_once::the_second_insert_returns_the_stored_enrollment" => {
        fn insert(inner: &mut InMemoryRepository, command: &EnrollmentCommand) -> Answer<Option<StoredEnrollment>> {
            tamper(inner, command.organization_id(), |snapshot| {
                snapshot.reference.enrollments.remove(&command.enrollment_id());
            });
            Inbox::insert(inner, command)
        }
    }

    /// Clause 1: the command is not stored.
    lost_command, LostCommand, "inserted_once::every_handle_finds_an_accepted_command" => {
        fn find(inner: &mut InMemoryRepository, of: OrganizationId, id: EnrollmentId) -> Answer<Option<InboxEntry>> {
            let mut entry = inner.find(of, id)?;
            if let Some(entry) = &mut entry {
                entry.command = None;
            }
            Ok(entry)
        }
    }

    /// Clause 2: the completion is written without its rows.
    completion_without_its_data, CompletionWithoutData,
    "completion_commits_with_its_data::a_refused_completion_leaves_the_enrollment_accepted" => {
        fn commit(inner: &mut InMemoryRepository, changes: &ChangeSet) -> Answer<()> {
            inner.commit(changes).inspect_err(|_| {
                tamper(inner, changes.organization_id(), |snapshot| {
                    let enrollment = &changes.completion().enrollment;
                    snapshot.reference.enrollments.insert(enrollment.id, Arc::new(enrollment.clone()));
                });
            })
        }
    }

    /// Clause 2: an enrollment is completed twice.
    completed_twice, CompletedTwice,
    "completion_commits_with_its_data::the_second_worker_conflicts_then_returns_the_first_report" => {
        fn commit(inner: &mut InMemoryRepository, changes: &ChangeSet) -> Answer<()> {
            let refused = inner.commit(changes);
            match changes.completion().mode {
                CompletionMode::Finish if refused.is_err() => Ok(()),
                _ => refused,
            }
        }
    }

    /// Clause 3: a lease ends at once.
    lease_given_twice, LeaseGivenTwice, "one_worker_per_lease::a_leased_enrollment_is_not_claimed_before_the_lease_ends" => {
        fn claim(inner: &mut InMemoryRepository, now: Timestamp, _: Timestamp) -> Answer<Option<Claim>> {
            inner.claim(now, now)
        }
    }

    /// Clause 3: a lease never ends, so that the enrollment of a crashed worker is lost.
    endless_lease, EndlessLease, "one_worker_per_lease::a_leased_enrollment_is_not_claimed_before_the_lease_ends" => {
        fn claim(inner: &mut InMemoryRepository, now: Timestamp, _: Timestamp) -> Answer<Option<Claim>> {
            inner.claim(now, "9999-12-31T23:59:59Z".parse().unwrap())
        }
    }

    /// Clause 4: a worker with an ended lease records its failure.
    stale_failure, StaleFailure, "failures_belong_to_attempts::an_outdated_attempt_records_no_failure" => {
        fn record_failure(inner: &mut InMemoryRepository, claim: &Claim, failure: &Failure) -> Answer<()> {
            // As if the lease were new.
            let (now, attempts) = (claim.lease_end, inner.find(claim.organization_id, claim.enrollment_id)?);
            let mut latest = *claim;
            latest.attempt = attempts.map_or(claim.attempt, |entry| entry.attempts);
            latest.lease_end = Timestamp::from_millis(now.millis() + 10_000).unwrap();
            inner.record_failure(&latest, failure)?;
            inner.record_failure(claim, failure)
        }
    }

    /// Clause 5: every retry is reported as successful.
    retry_of_anything, RetryOfAnything, "retries_reset_the_attempts::only_a_failed_enrollment_is_retried" => {
        fn retry(inner: &mut InMemoryRepository, of: OrganizationId, id: EnrollmentId, now: Timestamp) -> Answer<bool> {
            inner.retry(of, id, now).map(|_| true)
        }
    }

    /// Clause 6: every organization finds an id.
    leaking_inbox, LeakingInbox, "inbox_organizations_are_separate::an_enrollment_belongs_to_its_organization" => {
        fn find(inner: &mut InMemoryRepository, _: OrganizationId, id: EnrollmentId) -> Answer<Option<InboxEntry>> {
            let found = inner.organizations().into_iter().map(|of| inner.find(of, id)).find_map(Result::transpose);
            found.transpose()
        }
    }

    /// Clause 7: a release counts as a failed attempt.
    release_that_counts, ReleaseThatCounts,
    "releases_take_the_attempt_back::a_released_enrollment_is_claimed_again_with_the_same_attempt" => {
        fn release(inner: &mut InMemoryRepository, claim: &Claim, due_at: Timestamp) -> Answer<()> {
            let error = "left to a newer worker".to_owned();
            inner.record_failure(claim, &Failure::new(error, Some(due_at)))
        }
    }

    /// Clause 7: a release keeps the lease.
    release_without_effect, ReleaseWithoutEffect,
    "releases_take_the_attempt_back::a_released_enrollment_is_claimed_again_with_the_same_attempt" => {
        fn release(_: &mut InMemoryRepository, _: &Claim, _: Timestamp) -> Answer<()> {
            Ok(())
        }
    }

    /// Clause 7: an outdated claim releases the lease of another worker.
    stale_release, StaleRelease, "releases_take_the_attempt_back::an_outdated_claim_releases_nothing" => {
        fn release(inner: &mut InMemoryRepository, claim: &Claim, due_at: Timestamp) -> Answer<()> {
            let mut latest = *claim;
            if let Some(entry) = inner.find(claim.organization_id, claim.enrollment_id)? {
                latest.attempt = entry.attempts;
            }
            // As if the lease were the latest one.
            latest.lease_end = Timestamp::from_millis(claim.lease_end.millis() + 10_000).unwrap();
            inner.release(&latest, due_at)?;
            inner.release(claim, due_at)
        }
    }
}

/// The same fixture without sabotage passes, so that the failures above come from the saboteurs.
#[test]
fn a_correct_inbox_passes() {
    struct Correct;
    impl Saboteur for Correct {}
    let cases = all_inbox_cases::<Sabotage<Correct>, BlockingRuntime>();
    cases.iter().for_each(enroll::testing::conformance::Case::run);
    assert!(cases.len() >= 28);
}

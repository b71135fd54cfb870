//! Inboxes that violate one clause each. The conformance suite must detect every one, in the given case.

mod memory;

use enroll::changes::CompletionMode;
use enroll::inbox::{Claim, Failure, InboxEntry};
use enroll::seed::{HostWrite, Seed};
use enroll::testing::Blocking;
use enroll::testing::conformance::{BlockOn, Fixture, all_inbox_cases};
use enroll::{
    ChangeSet, EnrollmentCommand, EnrollmentId, InMemoryRepository, Inbox, OrganizationId, ReferenceData,
    ReferenceQuery, Repository, RepositoryError, Snapshot, SnapshotQuery, StoredEnrollment,
};
use memory::Memory;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

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

    fn claim(inner: &mut InMemoryRepository, lease: Duration) -> Answer<Option<Claim>> {
        inner.claim(lease)
    }

    fn record_failure(inner: &mut InMemoryRepository, claim: &Claim, failure: &Failure) -> Answer<()> {
        inner.record_failure(claim, failure)
    }

    fn release(inner: &mut InMemoryRepository, claim: &Claim, delay: Duration) -> Answer<()> {
        inner.release(claim, delay)
    }

    fn retry(inner: &mut InMemoryRepository, of: OrganizationId, id: EnrollmentId) -> Answer<bool> {
        inner.retry(of, id)
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

    fn claim(&mut self, lease: Duration) -> Answer<Option<Claim>> {
        S::claim(&mut self.0, lease)
    }

    fn record_failure(&mut self, claim: &Claim, failure: &Failure) -> Answer<()> {
        S::record_failure(&mut self.0, claim, failure)
    }

    fn release(&mut self, claim: &Claim, delay: Duration) -> Answer<()> {
        S::release(&mut self.0, claim, delay)
    }

    fn retry(&mut self, organization_id: OrganizationId, id: EnrollmentId) -> Answer<bool> {
        S::retry(&mut self.0, organization_id, id)
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

/// Returns the id of the organization of the cases.
fn first_organization() -> OrganizationId {
    OrganizationId::from_uuid(Uuid::from_u64_pair(1 << 16 | 0x4000, 1 << 63 | 1))
}

/// Returns the id of the first enrollment in the cases.
fn first_enrollment() -> EnrollmentId {
    EnrollmentId::from_uuid(Uuid::from_u64_pair(13 << 16 | 0x4000, 1 << 63 | 1))
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
        fn claim(inner: &mut InMemoryRepository, _: Duration) -> Answer<Option<Claim>> {
            inner.claim(Duration::ZERO)
        }
    }

    /// Clause 3: a lease never ends, so that the enrollment of a crashed worker is lost.
    endless_lease, EndlessLease, "one_worker_per_lease::a_leased_enrollment_is_not_claimed_before_the_lease_ends" => {
        fn claim(inner: &mut InMemoryRepository, _: Duration) -> Answer<Option<Claim>> {
            inner.claim(Duration::MAX)
        }
    }

    /// Clause 3: two workers process one organization.
    two_leases, TwoLeases, "one_worker_per_lease::an_organization_has_one_lease" => {
        fn claim(inner: &mut InMemoryRepository, lease: Duration) -> Answer<Option<Claim>> {
            // A release and a short lease free the organization. The released enrollment stays unavailable.
            let claim = inner.claim(lease)?;
            if let Some(claim) = &claim {
                inner.release(claim, lease)?;
            }
            Ok(claim)
        }
    }

    /// Clause 3: each completion ends the lease of the organization.
    any_completion_ends_the_lease, AnyCompletionEndsTheLease,
    "one_worker_per_lease::another_completion_does_not_end_the_lease" => {
        fn commit(inner: &mut InMemoryRepository, changes: &ChangeSet) -> Answer<()> {
            inner.commit(changes)?;
            // As if the lease of the oldest enrollment had been released.
            inner.release(&Claim::new(changes.organization_id(), first_enrollment(), 1), Duration::MAX)
        }
    }

    /// Clause 4: the organization with the smallest id is always first.
    no_turns, NoTurns, "organizations_take_turns::organizations_alternate" => {
        fn claim(inner: &mut InMemoryRepository, lease: Duration) -> Answer<Option<Claim>> {
            // Claims for both organizations, and gives the other one back.
            let mut claims: Vec<Claim> = Vec::new();
            for _ in 0..2 {
                claims.extend(inner.claim(lease)?);
            }
            let first = claims.iter().map(|claim| claim.organization_id).min();
            for other in claims.iter().filter(|claim| Some(claim.organization_id) != first) {
                inner.release(other, Duration::ZERO)?;
            }
            Ok(claims.into_iter().find(|claim| Some(claim.organization_id) == first))
        }
    }

    /// Clause 4: an organization with a lease blocks the others.
    blocked_by_a_lease, BlockedByALease, "organizations_take_turns::a_leased_organization_is_passed_over" => {
        fn claim(inner: &mut InMemoryRepository, lease: Duration) -> Answer<Option<Claim>> {
            let claim = inner.claim(lease)?;
            let Some(other) = claim.filter(|claim| claim.organization_id != first_organization()) else { return Ok(claim) };
            let waits = inner.find(first_organization(), first_enrollment())?.is_some_and(|entry| entry.command.is_some());
            if waits {
                inner.release(&other, Duration::ZERO)?;
            }
            Ok(claim.filter(|_| !waits))
        }
    }

    /// Clause 5: a worker with an ended lease records its failure.
    stale_failure, StaleFailure, "answers_belong_to_leases::an_outdated_claim_records_no_failure" => {
        fn record_failure(inner: &mut InMemoryRepository, claim: &Claim, failure: &Failure) -> Answer<()> {
            // As if the lease were the latest one.
            for lease in claim.lease..claim.lease + 4 {
                let mut latest = *claim;
                latest.lease = lease;
                inner.record_failure(&latest, failure)?;
            }
            Ok(())
        }
    }

    /// Clause 5: an outdated claim releases the lease of another worker.
    stale_release, StaleRelease, "answers_belong_to_leases::an_outdated_claim_releases_nothing" => {
        fn release(inner: &mut InMemoryRepository, claim: &Claim, delay: Duration) -> Answer<()> {
            // As if the lease were the latest one.
            for lease in claim.lease..claim.lease + 4 {
                let mut latest = *claim;
                latest.lease = lease;
                inner.release(&latest, delay)?;
            }
            Ok(())
        }
    }

    /// Clause 6: a release counts as a failed attempt.
    release_that_counts, ReleaseThatCounts, "only_failures_count::a_release_is_no_attempt" => {
        fn release(inner: &mut InMemoryRepository, claim: &Claim, delay: Duration) -> Answer<()> {
            let error = "left to a newer worker".to_owned();
            inner.record_failure(claim, &Failure::new(error, Some(delay)))
        }
    }

    /// Clause 6: a release keeps the lease.
    release_without_effect, ReleaseWithoutEffect, "only_failures_count::a_release_is_no_attempt" => {
        fn release(_: &mut InMemoryRepository, _: &Claim, _: Duration) -> Answer<()> {
            Ok(())
        }
    }

    /// Clause 6: a lost lease counts as an attempt.
    lost_lease_that_counts, LostLeaseThatCounts, "only_failures_count::lost_leases_are_counted_until_an_answer" => {
        fn claim(inner: &mut InMemoryRepository, lease: Duration) -> Answer<Option<Claim>> {
            let claim = inner.claim(lease)?;
            Ok(claim.map(|mut claim| {
                claim.attempts += claim.lost_leases;
                claim
            }))
        }
    }

    /// Clause 6: lost leases are not counted.
    uncounted_leases, UncountedLeases, "only_failures_count::lost_leases_are_counted_until_an_answer" => {
        fn claim(inner: &mut InMemoryRepository, lease: Duration) -> Answer<Option<Claim>> {
            let claim = inner.claim(lease)?;
            Ok(claim.map(|mut claim| {
                claim.lost_leases = 0;
                claim
            }))
        }
    }

    /// Clause 7: every retry is reported as successful.
    retry_of_anything, RetryOfAnything, "retries_reset_the_attempts::only_a_failed_enrollment_is_retried" => {
        fn retry(inner: &mut InMemoryRepository, of: OrganizationId, id: EnrollmentId) -> Answer<bool> {
            inner.retry(of, id).map(|_| true)
        }
    }

    /// Clause 8: every organization finds an id.
    leaking_inbox, LeakingInbox, "inbox_organizations_are_separate::an_enrollment_belongs_to_its_organization" => {
        fn find(inner: &mut InMemoryRepository, _: OrganizationId, id: EnrollmentId) -> Answer<Option<InboxEntry>> {
            let found = inner.organizations().into_iter().map(|of| inner.find(of, id)).find_map(Result::transpose);
            found.transpose()
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
    assert!(cases.len() >= 40);
}

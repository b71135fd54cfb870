//! Inboxes that violate one clause each. The conformance suite must detect every one, in the given case.

mod memory;

use enroll::changes::CompletionMode;
use enroll::inbox::{Claim, Failure, InboxEntry};
use enroll::seed::{HostWrite, Seed};
use enroll::testing::Blocking;
use enroll::testing::conformance::{BlockOn, Fixture, InboxFixture, all_inbox_cases};
use enroll::{
    ChangeSet, EnrollmentCommand, EnrollmentId, InMemoryRepository, Inbox, OrganizationId, ReferenceData,
    ReferenceQuery, Repository, RepositoryError, Snapshot, SnapshotQuery, StoredEnrollment, Timestamp,
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

    fn round_trips(&self) -> Option<u64> {
        None
    }
}

impl<S: Saboteur> InboxFixture for Sabotage<S> {
    async fn remove_failed_commands(&self) {
        self.0.remove_failed_commands();
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

/// Claims for both organizations, keeps one of the claims, and gives the others back.
fn claim_one(
    inner: &mut InMemoryRepository,
    lease: Duration,
    choose: impl FnOnce(&mut InMemoryRepository, &[Claim]) -> Option<Claim>,
) -> Answer<Option<Claim>> {
    let mut claims = Vec::new();
    for _ in 0..2 {
        claims.extend(inner.claim(lease)?);
    }
    let chosen = choose(inner, &claims);
    let kept = chosen.map(|claim| claim.organization_id);
    for other in claims.iter().filter(|claim| Some(claim.organization_id) != kept) {
        inner.release(other, Duration::ZERO)?;
    }
    Ok(chosen)
}

/// Returns the enrollment of a claim.
fn claimed(inner: &mut InMemoryRepository, claim: &Claim) -> Answer<InboxEntry> {
    Ok(inner.find(claim.organization_id, claim.enrollment_id)?.unwrap())
}

/// Leases the enrollment of an answered claim once more, also before its delay ends.
fn claim_again(inner: &mut InMemoryRepository, answered: &Claim) -> Answer<Option<Claim>> {
    inner.set_time(Timestamp::from_millis(1 << 40).unwrap());
    let again = inner.claim(Duration::ZERO)?;
    inner.set_time(Timestamp::EPOCH);
    let is_next = |again: &Claim| again.enrollment_id == answered.enrollment_id && again.lease == answered.lease + 1;
    if let Some(other) = again.filter(|again| !is_next(again)) {
        inner.release(&other, Duration::ZERO)?;
    }
    Ok(again.filter(is_next))
}

/// Returns the id of the organization of the cases.
fn first_organization() -> OrganizationId {
    OrganizationId::from_uuid(Uuid::from_u64_pair(1 << 16 | 0x4000, 1 << 63 | 1))
}

/// Returns the id of the first enrollment in the cases.
fn first_enrollment() -> EnrollmentId {
    EnrollmentId::from_uuid(Uuid::from_u64_pair(13 << 16 | 0x4000, 1 << 63 | 1))
}

/// Returns true for an instant long after those of most requests in the cases.
fn is_future(at: Timestamp) -> bool {
    at.millis() > 1 << 42
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

    /// Clause 2: a plan from before an erasure is committed.
    unnoticed_erasure, UnnoticedErasure, "completion_commits_with_its_data::a_plan_from_before_an_erasure_conflicts" => {
        fn commit(inner: &mut InMemoryRepository, changes: &ChangeSet) -> Answer<()> {
            let stored = inner.find(changes.organization_id(), changes.completion().enrollment.id)?;
            let erased = stored.map_or(0, |entry| entry.enrollment.erased_recipients);
            let mut value = serde_json::to_value(changes).unwrap();
            value["completion"]["enrollment"]["erased_recipients"] = erased.into();
            inner.commit(&serde_json::from_value(value).unwrap())
        }
    }

    /// Clause 2: a completion counts no attempt.
    uncounted_completion, UncountedCompletion, "one_worker_per_lease::a_completed_enrollment_is_not_claimed" => {
        fn find(inner: &mut InMemoryRepository, of: OrganizationId, id: EnrollmentId) -> Answer<Option<InboxEntry>> {
            let entry = inner.find(of, id)?;
            Ok(entry.map(|mut entry| {
                if entry.enrollment.state.as_str() == "completed" {
                    entry.attempts -= 1;
                }
                entry
            }))
        }
    }

    /// Clause 2: a rejection counts no attempt.
    uncounted_rejection, UncountedRejection,
    "completion_commits_with_its_data::an_archived_sequence_rejects_the_enrollment" => {
        fn find(inner: &mut InMemoryRepository, of: OrganizationId, id: EnrollmentId) -> Answer<Option<InboxEntry>> {
            let entry = inner.find(of, id)?;
            Ok(entry.map(|mut entry| {
                if entry.enrollment.state.as_str() == "rejected" {
                    entry.attempts -= 1;
                }
                entry
            }))
        }
    }

    /// Clause 2: a completion keeps the lease of the organization.
    completion_keeps_the_lease, CompletionKeepsTheLease, "one_worker_per_lease::an_organization_has_one_lease" => {
        fn commit(inner: &mut InMemoryRepository, changes: &ChangeSet) -> Answer<()> {
            inner.commit(changes)?;
            // A claim that no worker processes has the lease instead.
            inner.claim(Duration::MAX).map(drop)
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
            claim_one(inner, lease, |_, claims| claims.iter().copied().min_by_key(|claim| claim.organization_id))
        }
    }

    /// Clause 4: the oldest enrollment of all organizations is first.
    oldest_of_all, OldestOfAll, "organizations_take_turns::work_that_arrives_waits_for_its_turn" => {
        fn claim(inner: &mut InMemoryRepository, lease: Duration) -> Answer<Option<Claim>> {
            claim_one(inner, lease, |inner, claims| {
                claims.iter().copied().min_by_key(|claim| (claimed(inner, claim).unwrap().enrollment.at, claim.enrollment_id))
            })
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

    /// Clause 5: a claim that was released is released again.
    released_twice, ReleasedTwice, "answers_belong_to_leases::an_answered_claim_has_no_second_answer" => {
        fn release(inner: &mut InMemoryRepository, claim: &Claim, delay: Duration) -> Answer<()> {
            inner.release(claim, delay)?;
            // The second release of the case has no delay. A first one without a delay only gets a second lease.
            if delay.is_zero()
                && let Some(again) = claim_again(inner, claim)?
            {
                inner.release(&again, delay)?;
            }
            Ok(())
        }
    }

    /// Clause 5: a claim that was answered is given up.
    failed_after_an_answer, FailedAfterAnAnswer, "answers_belong_to_leases::an_answered_claim_has_no_second_answer" => {
        fn record_failure(inner: &mut InMemoryRepository, claim: &Claim, failure: &Failure) -> Answer<()> {
            inner.record_failure(claim, failure)?;
            match claim_again(inner, claim)? {
                Some(again) => inner.record_failure(&again, failure),
                None => Ok(()),
            }
        }
    }

    /// Clause 5: an answer after the end of the lease is ignored.
    ignored_late_answer, IgnoredLateAnswer, "answers_belong_to_leases::a_late_answer_counts_if_no_claim_followed" => {
        fn release(inner: &mut InMemoryRepository, claim: &Claim, delay: Duration) -> Answer<()> {
            // Another claim gets the enrollment only if the lease has ended.
            match inner.claim(Duration::ZERO)? {
                Some(next) if next.enrollment_id == claim.enrollment_id => Ok(()),
                Some(other) => inner.release(&other, Duration::ZERO),
                None => inner.release(claim, delay),
            }
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

    /// Clause 6: a failure counts no attempt.
    uncounted_failure, UncountedFailure, "answers_belong_to_leases::a_failure_is_stored_until_the_next_attempt" => {
        fn find(inner: &mut InMemoryRepository, of: OrganizationId, id: EnrollmentId) -> Answer<Option<InboxEntry>> {
            let entry = inner.find(of, id)?;
            Ok(entry.map(|mut entry| {
                entry.attempts = 0;
                entry
            }))
        }

        fn claim(inner: &mut InMemoryRepository, lease: Duration) -> Answer<Option<Claim>> {
            let claim = inner.claim(lease)?;
            Ok(claim.map(|mut claim| {
                claim.attempts = 0;
                claim
            }))
        }
    }

    /// Clause 6: a failure keeps the lost leases.
    failure_keeps_lost_leases, FailureKeepsLostLeases, "only_failures_count::lost_leases_are_counted_until_an_answer" => {
        fn claim(inner: &mut InMemoryRepository, lease: Duration) -> Answer<Option<Claim>> {
            let claim = inner.claim(lease)?;
            Ok(claim.map(|mut claim| {
                if claim.attempts > 0 {
                    claim.lost_leases = u32::try_from(claim.lease - 1).unwrap();
                }
                claim
            }))
        }
    }

    /// Clause 6: a release keeps the lost leases.
    release_keeps_lost_leases, ReleaseKeepsLostLeases,
    "answers_belong_to_leases::a_late_answer_counts_if_no_claim_followed" => {
        fn claim(inner: &mut InMemoryRepository, lease: Duration) -> Answer<Option<Claim>> {
            let claim = inner.claim(lease)?;
            Ok(claim.map(|mut claim| {
                if claim.attempts == 0 {
                    claim.lost_leases = u32::try_from(claim.lease - 1).unwrap();
                }
                claim
            }))
        }
    }

    /// Clauses 6 and 7: neither the last failure nor the retry resets the lost leases.
    retry_keeps_lost_leases, RetryKeepsLostLeases, "only_failures_count::lost_leases_are_counted_until_an_answer" => {
        fn claim(inner: &mut InMemoryRepository, lease: Duration) -> Answer<Option<Claim>> {
            let Some(mut claim) = inner.claim(lease)? else { return Ok(None) };
            // An error without an attempt: it was retried.
            if claim.attempts == 0 && claimed(inner, &claim)?.error.is_some() {
                claim.lost_leases = u32::try_from(claim.lease - 1).unwrap();
            }
            Ok(Some(claim))
        }
    }

    /// Clause 7: a retry keeps the attempts.
    retry_keeps_attempts, RetryKeepsAttempts,
    "retries_reset_the_attempts::a_failed_enrollment_is_accepted_again_without_attempts" => {
        fn retry(inner: &mut InMemoryRepository, of: OrganizationId, id: EnrollmentId) -> Answer<bool> {
            let attempts = inner.find(of, id)?.map_or(0, |entry| entry.attempts);
            let retried = inner.retry(of, id)?;
            for _ in 0..if retried { attempts } else { 0 } {
                let claim = inner.claim(Duration::ZERO)?.unwrap();
                inner.record_failure(&claim, &Failure::new("again", Some(Duration::ZERO)))?;
            }
            Ok(retried)
        }
    }

    /// Clause 7: an enrollment is retried although its command was removed.
    retry_without_a_command, RetryWithoutACommand,
    "retries_reset_the_attempts::an_enrollment_without_its_command_is_not_retried" => {
        fn retry(inner: &mut InMemoryRepository, of: OrganizationId, id: EnrollmentId) -> Answer<bool> {
            let _no_organization = inner.edit(of, |snapshot| {
                if let Some(stored) = snapshot.reference.enrollments.get_mut(&id) {
                    Arc::make_mut(stored).removed_at = None;
                }
            });
            inner.retry(of, id)
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

    /// Clause 9: an enrollment is due at the instant of its request.
    due_at_its_instant, DueAtItsInstant, "one_clock::a_request_instant_in_the_future_is_due_now" => {
        fn claim(inner: &mut InMemoryRepository, lease: Duration) -> Answer<Option<Claim>> {
            let Some(claim) = inner.claim(lease)? else { return Ok(None) };
            if is_future(claimed(inner, &claim)?.enrollment.at) {
                return inner.release(&claim, lease).map(|()| None);
            }
            Ok(Some(claim))
        }
    }

    /// Clause 9: the clock is the instant of the latest request. So a request of a caller with a fast clock ends leases.
    clock_of_the_callers, ClockOfTheCallers, "one_clock::instants_of_requests_change_no_lease" => {
        fn insert(inner: &mut InMemoryRepository, command: &EnrollmentCommand) -> Answer<Option<StoredEnrollment>> {
            inner.set_time(command.at());
            Inbox::insert(inner, command)
        }
    }

    /// Clause 9: the same clock ends delays.
    delays_by_the_clock_of_the_callers, DelaysByTheClockOfTheCallers, "one_clock::instants_of_requests_change_no_delay" => {
        fn insert(inner: &mut InMemoryRepository, command: &EnrollmentCommand) -> Answer<Option<StoredEnrollment>> {
            inner.set_time(command.at());
            Inbox::insert(inner, command)
        }
    }

    /// Clause 9: the turn is an instant of requests: the organization with the oldest one is next.
    turns_by_the_clock_of_the_callers, TurnsByTheClockOfTheCallers, "one_clock::instants_of_requests_change_no_turn" => {
        fn claim(inner: &mut InMemoryRepository, lease: Duration) -> Answer<Option<Claim>> {
            claim_one(inner, lease, |inner, claims| {
                claims.iter().copied().min_by_key(|claim| claimed(inner, claim).unwrap().enrollment.at)
            })
        }
    }

    /// Clause 9: the clock is that of the worker that completed an enrollment.
    clock_of_the_workers, ClockOfTheWorkers, "one_clock::instants_of_completions_change_no_lease" => {
        fn commit(inner: &mut InMemoryRepository, changes: &ChangeSet) -> Answer<()> {
            inner.commit(changes)?;
            changes.completion().enrollment.completed_at.iter().for_each(|at| inner.set_time(*at));
            Ok(())
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
    assert!(cases.len() >= 46);
}

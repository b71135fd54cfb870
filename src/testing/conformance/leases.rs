//! The clauses of the inbox about workers: claims, leases, turns and attempts.
#![allow(clippy::wildcard_imports, reason = "the modules of a file share its imports")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::inbox_setup::{
    ENDED, LEASE, PAST, accepted, accepted_at, at, claimed, claimed_for, fail, found, future, give_up, ok, processed,
    release, request_with_everything,
};
use super::setup::{NEW_PHONE, ORGANIZATION, OTHER_ORGANIZATION, Setup, TestRequest, enrollment};
use super::{BlockOn, Fixture};
use crate::answer::{EnrollError, ProcessOutcome};
use crate::command::Retry;
use crate::enroll::process_async;
use crate::ids::EnrollmentId;
use crate::inbox::{AsyncInbox, Claim};
use crate::stored_enrollment::EnrollmentState;

/// Clause 3.
#[doc(hidden)]
pub mod one_worker_per_lease {
    use super::*;

    pub async fn the_oldest_enrollment_is_claimed_first<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        // The greatest id has the oldest request. Of two requests at one instant, the smaller id is first.
        for (n, seconds) in [(1, 30), (2, 20), (3, 20), (4, 10)] {
            let mut request = TestRequest::phones(n, &[NEW_PHONE]);
            request.at = at(seconds);
            accepted(&setup, &request).await;
        }
        for n in [4, 2, 3, 1] {
            let claim = claimed(&setup).await;
            assert_eq!(claim.map(|claim| claim.enrollment_id), Some(enrollment(n)));
            give_up(&setup, claim, "broken").await;
        }
        assert_eq!(claimed(&setup).await, None);
    }

    pub async fn a_leased_enrollment_is_not_claimed_before_the_lease_ends<
        F: Fixture<Repository: AsyncInbox>,
        B: BlockOn,
    >() {
        let setup = Setup::<F, B>::new().await;
        accepted(&setup, &request_with_everything(1)).await;
        let first = claimed_for(&setup, ENDED).await;
        assert_eq!(
            first.map(|claim| (claim.organization_id, claim.enrollment_id)),
            Some((ORGANIZATION, enrollment(1)))
        );
        // The lease has ended, so another worker claims it.
        let second = claimed(&setup).await;
        assert!(second.map(|claim| claim.lease) > first.map(|claim| claim.lease), "{first:?}, {second:?}");
        assert_eq!(claimed(&setup).await, None, "the second lease has not ended");
    }

    pub async fn an_organization_has_one_lease<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        accepted(&setup, &request_with_everything(1)).await;
        accepted(&setup, &TestRequest::phones(2, &[NEW_PHONE])).await;
        assert_eq!(claimed(&setup).await.map(|claim| claim.enrollment_id), Some(enrollment(1)));
        assert_eq!(claimed(&setup).await, None, "the organization has a lease");
        processed(&setup, enrollment(1), at(1)).await;
        assert_eq!(claimed(&setup).await.map(|claim| claim.enrollment_id), Some(enrollment(2)));
    }

    /// A host can process an enrollment that no worker has claimed.
    pub async fn another_completion_does_not_end_the_lease<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        for n in [1, 2, 3] {
            accepted(&setup, &TestRequest::phones(n, &[NEW_PHONE])).await;
        }
        claimed(&setup).await;
        processed(&setup, enrollment(2), at(1)).await;
        assert_eq!(claimed(&setup).await, None);
        processed(&setup, enrollment(1), at(1)).await;
        assert_eq!(claimed(&setup).await.map(|claim| claim.enrollment_id), Some(enrollment(3)));
    }

    pub async fn a_completed_enrollment_is_not_claimed<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        accepted(&setup, &request_with_everything(1)).await;
        claimed_for(&setup, ENDED).await;
        processed(&setup, enrollment(1), at(1)).await;
        assert_eq!(found(&setup, enrollment(1)).await.attempts, 1);
        assert_eq!(claimed(&setup).await, None);
    }

    pub async fn an_empty_inbox_has_no_claim<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        assert_eq!(claimed(&setup).await, None);
    }

    /// One worker claims and completes each enrollment.
    pub async fn many_workers_complete_each_enrollment_once<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        for n in 0..24 {
            let phones: Vec<String> = (0..10).map(|m| format!("+12025550{:03}", (n * 7 + m * 3) % 100)).collect();
            let phones: Vec<&str> = phones.iter().map(String::as_str).collect();
            let request = TestRequest::phones(100 + n, &phones);
            let organization_id = if n % 2 == 0 { ORGANIZATION } else { OTHER_ORGANIZATION };
            accepted(&setup, &request.in_organization(organization_id)).await;
        }
        let completed = AtomicUsize::new(0);
        let claims: Vec<Claim> = thread::scope(|scope| {
            let (setup, completed) = (&setup, &completed);
            let worker = move || {
                B::block_on(async {
                    let (mut handle, mut claims, mut idle) = (setup.open().await, Vec::new(), 0);
                    while completed.load(Ordering::Relaxed) < 24 && idle < 1000 {
                        let Some(claim) = ok(handle.claim(LEASE).await) else {
                            idle += 1;
                            thread::yield_now();
                            continue;
                        };
                        idle = 0;
                        let (organization_id, id) = (claim.organization_id, claim.enrollment_id);
                        let outcome = process_async(&mut handle, Retry::default(), organization_id, id, at(61)).await;
                        assert!(matches!(outcome, Ok(ProcessOutcome::Completed(_))), "{outcome:?}");
                        claims.push(claim);
                        completed.fetch_add(1, Ordering::Relaxed);
                    }
                    claims
                })
            };
            let workers: Vec<_> = (0..8).map(|_| scope.spawn(worker)).collect();
            let claims = workers
                .into_iter()
                .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
            claims.flatten().collect()
        });
        let by_id: BTreeMap<EnrollmentId, Claim> = claims.iter().map(|claim| (claim.enrollment_id, *claim)).collect();
        assert_eq!((claims.len(), by_id.len()), (24, 24));
        assert!(by_id.values().all(|claim| (claim.attempts, claim.lost_leases) == (0, 0)), "{by_id:?}");
        for (id, claim) in by_id {
            let entry = ok(setup.open().await.find(claim.organization_id, id).await);
            assert_eq!(entry.map(|entry| entry.enrollment.state.as_str()), Some("completed"));
        }
        for organization_id in [ORGANIZATION, OTHER_ORGANIZATION] {
            assert_eq!(setup.fixture.dump(organization_id).await.check_unique(), Ok(()));
        }
    }
}

/// Clause 4.
#[doc(hidden)]
pub mod organizations_take_turns {
    use super::*;

    pub async fn organizations_alternate<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        // The oldest three enrollments belong to one organization.
        for (n, organization_id) in
            [(1, ORGANIZATION), (2, ORGANIZATION), (3, ORGANIZATION), (4, OTHER_ORGANIZATION), (5, OTHER_ORGANIZATION)]
        {
            let mut request = TestRequest::phones(n, &[NEW_PHONE]).in_organization(organization_id);
            request.at = at(i64::try_from(n).unwrap_or_default());
            accepted(&setup, &request).await;
        }
        let mut handle = setup.open().await;
        let mut claims = Vec::new();
        for _ in 0..5 {
            let claim = claimed(&setup).await;
            if let Some(Claim { organization_id, enrollment_id, .. }) = claim {
                ok(process_async(&mut handle, Retry::default(), organization_id, enrollment_id, at(60)).await);
            }
            claims.push(claim.map(|claim| claim.organization_id));
        }
        let [first, second] = [claims[0], claims[1]];
        assert_ne!(first, second);
        let expected = if first == Some(ORGANIZATION) {
            [first, second, first, second, first]
        } else {
            [first, second, first, second, second]
        };
        assert_eq!(claims, expected);
    }

    pub async fn a_leased_organization_is_passed_over<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        accepted(&setup, &request_with_everything(1)).await;
        accepted(&setup, &TestRequest::phones(2, &[NEW_PHONE])).await;
        assert_eq!(claimed(&setup).await.map(|claim| claim.organization_id), Some(ORGANIZATION));
        accepted(&setup, &request_with_everything(1).in_organization(OTHER_ORGANIZATION)).await;
        assert_eq!(claimed(&setup).await.map(|claim| claim.organization_id), Some(OTHER_ORGANIZATION));
        assert_eq!(claimed(&setup).await, None);
    }

    /// An organization that always has work does not keep the others from their turn.
    pub async fn work_that_arrives_waits_for_its_turn<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let mut handle = setup.open().await;
        accepted(&setup, &TestRequest::phones(1, &[NEW_PHONE])).await;
        claimed(&setup).await;
        processed(&setup, enrollment(1), at(1)).await;
        // The organization of the first claim has older work than the other one.
        accepted(&setup, &TestRequest::phones(2, &[NEW_PHONE])).await;
        let mut request = request_with_everything(3).in_organization(OTHER_ORGANIZATION);
        request.at = at(100);
        accepted(&setup, &request).await;
        let claim = ok(handle.claim(LEASE).await);
        assert_eq!(claim.map(|claim| claim.organization_id), Some(OTHER_ORGANIZATION));
    }

    pub async fn an_ended_lease_frees_the_organization<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        accepted(&setup, &request_with_everything(1)).await;
        accepted(&setup, &TestRequest::phones(2, &[NEW_PHONE])).await;
        claimed_for(&setup, ENDED).await;
        assert_eq!(claimed(&setup).await.map(|claim| claim.enrollment_id), Some(enrollment(1)));
    }
}

/// Clause 5.
#[doc(hidden)]
pub mod answers_belong_to_leases {
    use super::*;

    pub async fn a_failure_is_stored_until_the_next_attempt<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        accepted(&setup, &request_with_everything(1)).await;
        let claim = claimed(&setup).await;
        fail(&setup, claim, "the network \u{1f50c}", Some(ENDED)).await;
        let entry = found(&setup, enrollment(1)).await;
        assert_eq!((entry.attempts, entry.error.as_deref()), (1, Some("the network \u{1f50c}")));
        assert_eq!(entry.enrollment.state, EnrollmentState::Accepted);
        let claim = claimed(&setup).await;
        assert_eq!(claim.map(|claim| claim.attempts), Some(1));
        fail(&setup, claim, "the network", Some(LEASE)).await;
        assert_eq!(claimed(&setup).await, None, "it is not due yet");
    }

    pub async fn a_failure_lets_the_next_enrollment_be_claimed<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        accepted(&setup, &request_with_everything(1)).await;
        accepted(&setup, &TestRequest::phones(2, &[NEW_PHONE])).await;
        let claim = claimed(&setup).await;
        fail(&setup, claim, "broken", Some(LEASE)).await;
        assert_eq!(claimed(&setup).await.map(|claim| claim.enrollment_id), Some(enrollment(2)));
    }

    pub async fn an_abandoned_enrollment_is_failed_and_not_claimed<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        accepted(&setup, &request_with_everything(1)).await;
        let claim = claimed(&setup).await;
        give_up(&setup, claim, "broken").await;
        let entry = found(&setup, enrollment(1)).await;
        assert_eq!((entry.enrollment.state, entry.error.as_deref()), (EnrollmentState::Failed, Some("broken")));
        assert!(entry.command.is_some());
        assert_eq!(claimed(&setup).await, None);
        let answer = process_async(&mut setup.open().await, Retry::default(), ORGANIZATION, enrollment(1), at(1)).await;
        assert!(matches!(answer, Err(EnrollError::Unfinished { state: "failed", .. })), "{answer:?}");
    }

    pub async fn an_outdated_claim_records_no_failure<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        accepted(&setup, &request_with_everything(1)).await;
        let first = claimed_for(&setup, ENDED).await;
        let second = claimed(&setup).await;
        give_up(&setup, first, "too late").await;
        let entry = found(&setup, enrollment(1)).await;
        assert_eq!((entry.enrollment.state, entry.error), (EnrollmentState::Accepted, None));
        assert_eq!(claimed(&setup).await, None, "the second claim keeps its lease");
        give_up(&setup, second, "broken").await;
        assert!(ok(setup.open().await.retry(ORGANIZATION, enrollment(1)).await));
        let third = claimed(&setup).await;
        for outdated in [first, second] {
            give_up(&setup, outdated, "before the retry").await;
        }
        assert_eq!(found(&setup, enrollment(1)).await.enrollment.state, EnrollmentState::Accepted);
        processed(&setup, enrollment(1), at(31)).await;
        give_up(&setup, third, "after the end").await;
        assert_eq!(found(&setup, enrollment(1)).await.enrollment.state.as_str(), "completed");
    }

    pub async fn an_answered_claim_has_no_second_answer<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        accepted(&setup, &request_with_everything(1)).await;
        let claim = claimed(&setup).await;
        release(&setup, claim, LEASE).await;
        release(&setup, claim, ENDED).await;
        give_up(&setup, claim, "broken").await;
        let entry = found(&setup, enrollment(1)).await;
        assert_eq!((entry.enrollment.state, entry.attempts), (EnrollmentState::Accepted, 0));
        assert_eq!(claimed(&setup).await, None, "the first release holds");
    }

    /// A worker that was cut off from the storage answers late.
    pub async fn a_late_answer_counts_if_no_claim_followed<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        accepted(&setup, &request_with_everything(1)).await;
        let claim = claimed_for(&setup, ENDED).await;
        release(&setup, claim, ENDED).await;
        assert_eq!(claimed(&setup).await.map(|claim| claim.lost_leases), Some(0));
    }

    pub async fn an_outdated_claim_releases_nothing<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        accepted(&setup, &request_with_everything(1)).await;
        let first = claimed_for(&setup, ENDED).await;
        let second = claimed(&setup).await;
        release(&setup, first, ENDED).await;
        assert_eq!(claimed(&setup).await, None, "the second claim keeps its lease");
        let elsewhere = second.map(|claim| Claim { organization_id: OTHER_ORGANIZATION, ..claim });
        release(&setup, elsewhere, ENDED).await;
        assert_eq!(claimed(&setup).await, None, "an organization releases its own claims only");
        give_up(&setup, second, "broken").await;
        release(&setup, second, ENDED).await;
        let entry = found(&setup, enrollment(1)).await;
        assert_eq!((entry.enrollment.state, entry.attempts), (EnrollmentState::Failed, 1));
    }
}

/// Clause 6.
#[doc(hidden)]
pub mod only_failures_count {
    use super::*;

    pub async fn a_release_is_no_attempt<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        accepted(&setup, &request_with_everything(1)).await;
        let claim = claimed(&setup).await;
        fail(&setup, claim, "the network", Some(ENDED)).await;
        for _ in 0..3 {
            let claim = claimed(&setup).await;
            assert_eq!(claim.map(|claim| (claim.attempts, claim.lost_leases)), Some((1, 0)));
            release(&setup, claim, ENDED).await;
        }
        let entry = found(&setup, enrollment(1)).await;
        assert_eq!((entry.attempts, entry.error.as_deref()), (1, Some("the network")));
        assert_eq!(entry.enrollment.state, EnrollmentState::Accepted);
    }

    pub async fn a_released_enrollment_is_due_after_the_delay<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        accepted(&setup, &request_with_everything(1)).await;
        accepted(&setup, &TestRequest::phones(2, &[NEW_PHONE])).await;
        let first = claimed(&setup).await;
        assert_eq!(first.map(|claim| claim.enrollment_id), Some(enrollment(1)));
        release(&setup, first, LEASE).await;
        let second = claimed(&setup).await;
        assert_eq!(second.map(|claim| claim.enrollment_id), Some(enrollment(2)));
        release(&setup, second, ENDED).await;
        assert_eq!(claimed(&setup).await.map(|claim| claim.enrollment_id), Some(enrollment(2)));
    }

    pub async fn lost_leases_are_counted_until_an_answer<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        accepted(&setup, &request_with_everything(1)).await;
        for lost in 0..3 {
            let claim = claimed_for(&setup, ENDED).await;
            assert_eq!(claim.map(|claim| (claim.attempts, claim.lost_leases)), Some((0, lost)));
        }
        let claim = claimed(&setup).await;
        assert_eq!(claim.map(|claim| claim.lost_leases), Some(3));
        fail(&setup, claim, "broken", Some(ENDED)).await;
        let claim = claimed_for(&setup, ENDED).await;
        assert_eq!(claim.map(|claim| (claim.attempts, claim.lost_leases)), Some((1, 0)));
        let claim = claimed(&setup).await;
        assert_eq!(claim.map(|claim| claim.lost_leases), Some(1));
        give_up(&setup, claim, "broken").await;
        assert!(ok(setup.open().await.retry(ORGANIZATION, enrollment(1)).await));
        assert_eq!(claimed(&setup).await.map(|claim| (claim.attempts, claim.lost_leases)), Some((0, 0)));
    }
}

/// Clause 9. The instants of requests and completions come from the clocks of callers and workers.
#[doc(hidden)]
pub mod one_clock {
    use super::*;

    pub async fn a_request_instant_in_the_future_is_due_now<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let mut request = request_with_everything(1);
        request.at = future();
        accepted(&setup, &request).await;
        assert_eq!(claimed(&setup).await.map(|claim| claim.enrollment_id), Some(enrollment(1)));
    }

    pub async fn instants_of_requests_change_no_lease<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        accepted(&setup, &request_with_everything(1)).await;
        let claim = claimed(&setup).await;
        accepted_at(&setup, 2, future(), ORGANIZATION).await;
        assert_eq!(claimed(&setup).await, None, "the lease ended");
        release(&setup, claim, ENDED).await;
        let claim = claimed_for(&setup, ENDED).await;
        assert_eq!(claim.map(|claim| claim.enrollment_id), Some(enrollment(1)));
        accepted_at(&setup, 3, PAST, ORGANIZATION).await;
        // The ended lease has ended also for the oldest request, and the next one lasts.
        assert_eq!(claimed(&setup).await.map(|claim| claim.enrollment_id), Some(enrollment(3)));
        assert_eq!(claimed(&setup).await, None);
    }

    pub async fn instants_of_requests_change_no_delay<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        accepted(&setup, &request_with_everything(1)).await;
        let claim = claimed(&setup).await;
        release(&setup, claim, LEASE).await;
        accepted_at(&setup, 2, future(), ORGANIZATION).await;
        let claim = claimed(&setup).await;
        assert_eq!(claim.map(|claim| claim.enrollment_id), Some(enrollment(2)), "the delay ended");
        fail(&setup, claim, "the network", Some(LEASE)).await;
        accepted_at(&setup, 3, future(), ORGANIZATION).await;
        accepted_at(&setup, 4, PAST, OTHER_ORGANIZATION).await;
        // The organization that was never claimed for comes first. The two older requests of the other one still wait.
        for n in [4, 3] {
            assert_eq!(claimed(&setup).await.map(|claim| claim.enrollment_id), Some(enrollment(n)), "a delay ended");
        }
    }

    pub async fn instants_of_requests_change_no_turn<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        accepted_at(&setup, 1, future(), ORGANIZATION).await;
        let first = claimed(&setup).await;
        // The organization of the first claim has the oldest request now, and the other one was never claimed for.
        accepted_at(&setup, 2, PAST, ORGANIZATION).await;
        accepted_at(&setup, 3, future(), OTHER_ORGANIZATION).await;
        release(&setup, first, LEASE).await;
        for n in [3, 2] {
            assert_eq!(claimed(&setup).await.map(|claim| claim.enrollment_id), Some(enrollment(n)));
        }
        assert_eq!(claimed(&setup).await, None);
    }

    /// The clock of a worker gives the instants of its completions.
    pub async fn instants_of_completions_change_no_lease<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        for n in [1, 2, 3] {
            accepted(&setup, &TestRequest::phones(n, &[NEW_PHONE])).await;
        }
        assert_eq!(claimed(&setup).await.map(|claim| claim.enrollment_id), Some(enrollment(1)));
        for (n, completed_at) in [(2, future()), (3, PAST)] {
            processed(&setup, enrollment(n), completed_at).await;
            assert_eq!(claimed(&setup).await, None, "the lease ended");
        }
        processed(&setup, enrollment(1), PAST).await;
        accepted(&setup, &TestRequest::phones(4, &[NEW_PHONE])).await;
        assert_eq!(claimed(&setup).await.map(|claim| claim.enrollment_id), Some(enrollment(4)), "the lease holds");
    }
}

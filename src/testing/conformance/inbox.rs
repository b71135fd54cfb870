//! The clauses of the inbox: an accepted enrollment is processed once.
#![allow(clippy::wildcard_imports, reason = "the modules of a file share its imports")]

use serde_json::json;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::setup::{
    BOB, BOBS_PHONE, FAYS_PHONE, NEW_PHONE, ORGANIZATION, OTHER_NEW_PHONE, OTHER_ORGANIZATION, Setup, TestRequest,
    assert_same, chain, commit, enrollment, given, id, load, opt_in, plan,
};
use super::{BlockOn, Fixture, InboxFixture};
use crate::answer::{EnrollError, ProcessOutcome, Receipt};
use crate::command::{EnrollmentCommand, Retry, StoredCommand};
use crate::contact::{ContactKeys, KeyKind};
use crate::enroll::process_async;
use crate::ids::{EnrollmentId, OrganizationId};
use crate::inbox::{AsyncInbox, Claim, Failure, InboxEntry};
use crate::model::{Sequence, SequenceStatus};
use crate::report::EnrollmentReport;
use crate::repository::RepositoryErrorKind;
use crate::seed::{HostRow, WriteKind};
use crate::stored_enrollment::EnrollmentState;
use crate::time::Timestamp;

/// Clause 1.
#[doc(hidden)]
pub mod inserted_once {
    use super::*;

    pub async fn every_handle_finds_an_accepted_command<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let request = request_with_everything(1);
        let command = request.command(&mut setup.open().await).await;
        let before = setup.dump().await;
        let receipt = accepted(&setup, &request).await;
        assert_eq!((receipt.enrollment_id, receipt.accepted_at, receipt.recipients), (request.id, request.at, 3));
        let entry = found(&setup, request.id).await;
        assert_eq!(entry.command.as_ref().and_then(StoredCommand::known), Some(&command));
        assert_eq!((entry.attempts, &entry.error), (0, &None));
        let stored = entry.enrollment;
        assert_eq!((stored.id, stored.sequence_id, stored.at), (request.id, request.sequence_id, request.at));
        assert_eq!((stored.fingerprint, stored.completed_at), (command.fingerprint(), None));
        assert_eq!(stored.state, EnrollmentState::Accepted);
        assert_same(&before, &setup.dump().await, "accepting");
    }

    pub async fn the_same_request_gets_the_first_receipt<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let request = request_with_everything(1);
        let receipt = accepted(&setup, &request).await;
        assert!(!receipt.replayed);
        let again = Receipt { replayed: true, ..receipt.clone() };
        let mut later = request.clone();
        later.at = at(60);
        assert_eq!(accepted(&setup, &later).await, again, "while accepted");
        let claim = claimed(&setup).await;
        assert_eq!(accepted(&setup, &later).await, again, "while claimed");
        give_up(&setup, claim, "broken").await;
        assert_eq!(accepted(&setup, &later).await, again, "after a failure");
        assert!(ok(setup.open().await.retry(ORGANIZATION, request.id).await));
        processed(&setup, request.id, at(11)).await;
        assert_eq!(accepted(&setup, &later).await, again, "after the completion");
    }

    pub async fn another_request_with_the_same_id_is_refused<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        accepted(&setup, &request_with_everything(1)).await;
        let answer = TestRequest::phones(1, &[NEW_PHONE]).accept(&mut setup.open().await).await;
        assert!(matches!(answer, Err(EnrollError::Rejected(ref e)) if e.status() == 409), "{answer:?}");
        let stored = found(&setup, enrollment(1)).await.command;
        assert_eq!(stored.as_ref().and_then(StoredCommand::known).map(EnrollmentCommand::recipient_count), Some(3));
    }

    /// Both commands are checked before the first one is stored.
    pub async fn the_second_insert_returns_the_stored_enrollment<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let (mut first, mut second) = (setup.open().await, setup.open().await);
        let (one, two) = (request_with_everything(1), TestRequest::phones(1, &[NEW_PHONE]));
        let (one, two) = (one.command(&mut first).await, two.command(&mut second).await);
        assert_eq!(ok(first.insert(&one).await), None);
        let stored = ok(second.insert(&two).await);
        assert_eq!(stored.map(|stored| stored.fingerprint), Some(one.fingerprint()));
        assert_eq!(found(&setup, enrollment(1)).await.command, Some(one.into()));
    }

    pub async fn a_completed_enrollment_is_not_accepted_again<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let request = TestRequest::phones(1, &[NEW_PHONE]);
        request.enroll(&mut setup.open().await).await;
        accepted(&setup, &request).await;
        assert_eq!(found(&setup, request.id).await.enrollment.state.as_str(), "completed");
        assert_eq!(claimed(&setup).await, None);
    }

    pub async fn an_unknown_enrollment_is_not_found<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        accepted(&setup, &request_with_everything(1)).await;
        assert_eq!(ok(setup.open().await.find(ORGANIZATION, enrollment(2)).await), None);
        let answer = process_async(&mut setup.open().await, Retry::default(), ORGANIZATION, enrollment(2), at(0)).await;
        assert!(matches!(answer, Err(EnrollError::NotFound(_))), "{answer:?}");
    }

    pub async fn an_accepted_enrollment_is_unfinished<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let request = request_with_everything(1);
        accepted(&setup, &request).await;
        let answer = request.try_enroll(&mut setup.open().await).await;
        assert!(matches!(answer, Err(EnrollError::Unfinished { state: "accepted", .. })), "{answer:?}");
    }
}

/// Clause 2.
#[doc(hidden)]
pub mod completion_commits_with_its_data {
    use super::*;

    pub async fn processing_writes_what_enrolling_writes<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let (setup, other) = (Setup::<F, B>::new().await, Setup::<F, B>::new().await);
        let request = request_with_everything(1);
        accepted(&setup, &request).await;
        let report = processed(&setup, request.id, at(60)).await;
        assert_eq!(report, request.enroll(&mut other.open().await).await);
        assert_same(&other.dump().await, &setup.dump().await, "a processed enrollment");
        let stored = found(&setup, request.id).await;
        assert_eq!(stored.enrollment.completed_at, Some(at(60)));
        assert_eq!(stored.enrollment.state, EnrollmentState::Completed { report });
        assert_eq!(stored.command, None);
    }

    pub async fn processing_twice_writes_once<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        accepted(&setup, &request_with_everything(1)).await;
        let report = processed(&setup, enrollment(1), at(1)).await;
        let before = setup.dump().await;
        assert_eq!(processed(&setup, enrollment(1), at(2)).await, report);
        assert_same(&before, &setup.dump().await, "processing twice");
        assert_eq!(found(&setup, enrollment(1)).await.enrollment.completed_at, Some(at(1)));
    }

    /// Two workers plan the enrollment. One commits, and the other one gets a conflict.
    pub async fn the_second_worker_conflicts_then_returns_the_first_report<
        F: Fixture<Repository: AsyncInbox>,
        B: BlockOn,
    >() {
        let setup = Setup::<F, B>::new().await;
        let request = TestRequest::phones(1, &[NEW_PHONE, FAYS_PHONE]);
        accepted(&setup, &request).await;
        let mut late = setup.open().await;
        let stale = finishing_changes(&request, &mut late).await;
        let report = processed(&setup, request.id, at(1)).await;
        let before = setup.dump().await;
        assert_eq!(commit(&mut late, &stale).await, CONFLICT);
        assert_same(&before, &setup.dump().await, "a second completion");
        assert_eq!(processed(&setup, request.id, at(2)).await, report);
    }

    pub async fn only_an_accepted_enrollment_can_be_finished<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let request = TestRequest::phones(1, &[NEW_PHONE]);
        let mut handle = setup.open().await;
        let changes = finishing_changes(&request, &mut handle).await;
        let before = setup.dump().await;
        assert_eq!(commit(&mut handle, &changes).await, CONFLICT, "no row");
        accepted(&setup, &request).await;
        let claim = claimed(&setup).await;
        give_up(&setup, claim, "broken").await;
        assert_eq!(commit(&mut handle, &changes).await, CONFLICT, "failed");
        assert_same(&before, &setup.dump().await, "an enrollment that is not accepted");
    }

    pub async fn creating_an_accepted_enrollment_conflicts<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let request = TestRequest::phones(1, &[NEW_PHONE]);
        let mut handle = setup.open().await;
        let plan = request.plan(&mut handle).await;
        accepted(&setup, &request).await;
        let before = setup.dump().await;
        assert_eq!(commit(&mut handle, plan.changes()).await, CONFLICT);
        assert_same(&before, &setup.dump().await, "a second row");
    }

    /// The row counts the recipients that were erased from the command. The plan still has them.
    pub async fn a_plan_from_before_an_erasure_conflicts<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let request = TestRequest::phones(1, &[NEW_PHONE, FAYS_PHONE]);
        let mut handle = setup.open().await;
        let stale = finishing_changes(&request, &mut handle).await;
        let mut command = request.command(&mut handle).await;
        assert_eq!(command.erase(&ContactKeys::from_iter([(KeyKind::Phone, NEW_PHONE)])), 1);
        assert_eq!(ok(handle.insert(&command).await), None);
        assert_eq!(found(&setup, request.id).await.enrollment.erased_recipients, 1);
        let before = setup.dump().await;
        assert_eq!(commit(&mut handle, &stale).await, CONFLICT);
        assert_same(&before, &setup.dump().await, "a plan with an erased recipient");
        assert_eq!(processed(&setup, request.id, at(1)).await.outcomes.len(), 1);
    }

    /// The next attempt completes the enrollment.
    pub async fn a_refused_completion_leaves_the_enrollment_accepted<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let request = TestRequest::phones(1, &[BOBS_PHONE, NEW_PHONE]);
        accepted(&setup, &request).await;
        let mut handle = setup.open().await;
        let stale = finishing_changes(&request, &mut handle).await;
        setup.write(WriteKind::Insert, opt_in(BOB, false)).await;
        assert_eq!(commit(&mut handle, &stale).await, CONFLICT);
        assert_eq!(found(&setup, request.id).await.enrollment.state, EnrollmentState::Accepted);
        let report = processed(&setup, request.id, at(1)).await;
        assert_eq!((report.counts().added, report.counts().ignored), (1, 1));
    }

    pub async fn an_archived_sequence_rejects_the_enrollment<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let request = request_with_everything(1);
        accepted(&setup, &request).await;
        let sequence = given().sequences.swap_remove(0).row;
        setup
            .write(
                WriteKind::Update,
                HostRow::Sequence(Sequence { status: SequenceStatus::Archived, ..sequence.clone() }),
            )
            .await;
        let before = setup.dump().await;
        let first = ended(&setup, request.id, at(1)).await;
        let ProcessOutcome::Rejected { rejection, replayed: false } = &first else { panic_with(&first) };
        assert_eq!(rejection.errors()[0].code.code(), "sequence_not_active");
        assert_same(&before, &setup.dump().await, "a rejection");
        // The rejection is final, also if the sequence is active again.
        setup.write(WriteKind::Update, HostRow::Sequence(sequence)).await;
        let replayed = ProcessOutcome::Rejected { rejection: rejection.clone(), replayed: true };
        assert_eq!(ended(&setup, request.id, at(2)).await, replayed);
        let entry = found(&setup, request.id).await;
        assert_eq!(entry.enrollment.state, EnrollmentState::Rejected { rejection: rejection.clone() });
        assert_eq!((entry.enrollment.completed_at, entry.command, entry.attempts), (Some(at(1)), None, 1));
        assert_eq!(claimed(&setup).await, None);
    }

    pub async fn a_deleted_sequence_rejects_the_enrollment<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let request = request_with_everything(1);
        accepted(&setup, &request).await;
        let sequence = given().sequences.swap_remove(0).row;
        setup.write(WriteKind::Delete, HostRow::Sequence(sequence)).await;
        let outcome = ended(&setup, request.id, at(1)).await;
        assert!(
            matches!(&outcome, ProcessOutcome::Rejected { rejection, .. } if rejection.status() == 404),
            "{outcome:?}"
        );
    }
}

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

/// Clause 7.
#[doc(hidden)]
pub mod retries_reset_the_attempts {
    use super::*;

    pub async fn a_failed_enrollment_is_accepted_again_without_attempts<
        F: Fixture<Repository: AsyncInbox>,
        B: BlockOn,
    >() {
        let setup = Setup::<F, B>::new().await;
        accepted(&setup, &request_with_everything(1)).await;
        for _ in 0..3 {
            let claim = claimed(&setup).await;
            fail(&setup, claim, "again", Some(ENDED)).await;
        }
        let claim = claimed(&setup).await;
        give_up(&setup, claim, "broken").await;
        assert_eq!(found(&setup, enrollment(1)).await.attempts, 4);
        assert!(ok(setup.open().await.retry(ORGANIZATION, enrollment(1)).await));
        assert_eq!(claimed(&setup).await.map(|claim| claim.attempts), Some(0));
        assert_eq!(processed(&setup, enrollment(1), at(51)).await.outcomes.len(), 3);
    }

    pub async fn only_a_failed_enrollment_is_retried<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let mut handle = setup.open().await;
        accepted(&setup, &request_with_everything(1)).await;
        claimed(&setup).await;
        assert!(!ok(handle.retry(ORGANIZATION, enrollment(1)).await), "accepted");
        assert_eq!(claimed(&setup).await, None);
        processed(&setup, enrollment(1), at(1)).await;
        assert!(!ok(handle.retry(ORGANIZATION, enrollment(1)).await), "completed");
        assert!(!ok(handle.retry(ORGANIZATION, enrollment(2)).await), "nothing");
        assert_eq!(found(&setup, enrollment(1)).await.enrollment.state.as_str(), "completed");
    }

    pub async fn an_enrollment_without_its_command_is_not_retried<F: InboxFixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let request = request_with_everything(1);
        accepted(&setup, &request).await;
        accepted(&setup, &TestRequest::phones(2, &[NEW_PHONE])).await;
        let claim = claimed(&setup).await;
        give_up(&setup, claim, "broken").await;
        setup.fixture.remove_failed_commands().await;
        assert!(!ok(setup.open().await.retry(ORGANIZATION, enrollment(1)).await));
        let entry = found(&setup, enrollment(1)).await;
        assert_eq!((entry.enrollment.state, entry.command), (EnrollmentState::Failed, None));
        assert!(entry.enrollment.removed_at.is_some());
        assert_eq!((entry.attempts, entry.error.as_deref()), (1, Some("broken")));
        assert!(accepted(&setup, &request).await.replayed, "the request is recognized");
        // Only failed enrollments lose their command.
        assert_eq!(claimed(&setup).await.map(|claim| claim.enrollment_id), Some(enrollment(2)));
        assert_eq!(processed(&setup, enrollment(2), at(1)).await.outcomes.len(), 1);
        assert_eq!(claimed(&setup).await, None);
    }
}

/// Clause 8.
#[doc(hidden)]
pub mod inbox_organizations_are_separate {
    use super::*;

    pub async fn an_enrollment_belongs_to_its_organization<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let mut handle = setup.open().await;
        accepted(&setup, &request_with_everything(1)).await;
        assert_eq!(ok(handle.find(OTHER_ORGANIZATION, enrollment(1)).await), None);
        let answer = process_async(&mut handle, Retry::default(), OTHER_ORGANIZATION, enrollment(1), at(1)).await;
        assert!(matches!(answer, Err(EnrollError::NotFound(_))), "{answer:?}");
        let claim = claimed(&setup).await;
        let other_claim = claim.map(|claim| Claim { organization_id: OTHER_ORGANIZATION, ..claim });
        give_up(&setup, other_claim, "of another organization").await;
        assert!(!ok(handle.retry(OTHER_ORGANIZATION, enrollment(1)).await));
        assert_eq!(found(&setup, enrollment(1)).await.error, None);
        // The other organization can use the same id.
        accepted(&setup, &request_with_everything(1).in_organization(OTHER_ORGANIZATION)).await;
        processed(&setup, enrollment(1), at(1)).await;
        assert_eq!(
            ok(handle.find(OTHER_ORGANIZATION, enrollment(1)).await).map(|entry| entry.enrollment.state),
            Some(EnrollmentState::Accepted)
        );
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

/// A lease or a delay that does not end during a case.
const LEASE: Duration = Duration::from_secs(3600);
/// A lease that has ended when it begins, or no delay.
const ENDED: Duration = Duration::ZERO;
/// An instant before all clocks.
const PAST: Timestamp = Timestamp::EPOCH;
const CONFLICT: Result<(), RepositoryErrorKind> = Err(RepositoryErrorKind::Conflict);

/// Returns an instant after all clocks.
fn future() -> Timestamp {
    at(500 * 365 * 86400)
}

/// Returns the instant of the requests plus a number of seconds.
#[expect(clippy::expect_used, reason = "the case fails")]
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(TestRequest::phones(1, &[]).at.millis() + seconds * 1000).expect("an instant")
}

fn request_with_everything(n: u64) -> TestRequest {
    let entries = json!([
        { "phone": BOBS_PHONE, "name": "Bob", "properties": { "count": 7, "weight": 2.0 } },
        { "phone": NEW_PHONE, "email": "Neu@B\u{fc}cher.example", "external_id": "new-1", "address": { "city": "Lyon" } },
        { "phone": OTHER_NEW_PHONE, "birth_date": { "day": 29, "month": 2 } },
    ]);
    let data = json!({ "custom_object_id": id(10, 1), "resource": "step_contact" });
    TestRequest::new(n, entries).with("custom_data", data).with("schedule_at", json!("2026-03-01T12:00:00+02:00"))
}

/// Returns the changes that another worker would commit for an accepted enrollment.
#[expect(clippy::expect_used, reason = "the case fails")]
async fn finishing_changes<R: AsyncInbox>(request: &TestRequest, handle: &mut R) -> crate::changes::ChangeSet {
    let command = request.command(handle).await;
    let plan = plan(&command, &load(handle, &command.snapshot_query()).await);
    let mut changes = serde_json::to_value(plan.changes()).expect("a change set serializes");
    changes["completion"]["mode"] = json!("finish");
    serde_json::from_value(changes).expect("the edited change set deserializes")
}

async fn accepted<F: Fixture<Repository: AsyncInbox>, B: BlockOn>(
    setup: &Setup<F, B>,
    request: &TestRequest,
) -> Receipt {
    ok(request.accept(&mut setup.open().await).await)
}

/// Accepts a request with a number and an instant.
async fn accepted_at<F: Fixture<Repository: AsyncInbox>, B: BlockOn>(
    setup: &Setup<F, B>,
    n: u64,
    at: Timestamp,
    organization_id: OrganizationId,
) {
    let mut request = TestRequest::phones(n, &[NEW_PHONE]).in_organization(organization_id);
    request.at = at;
    accepted(setup, &request).await;
}

#[expect(clippy::expect_used, reason = "the case fails")]
async fn found<F: Fixture<Repository: AsyncInbox>, B: BlockOn>(setup: &Setup<F, B>, id: EnrollmentId) -> InboxEntry {
    ok(setup.open().await.find(ORGANIZATION, id).await).expect("the enrollment is found")
}

async fn claimed<F: Fixture<Repository: AsyncInbox>, B: BlockOn>(setup: &Setup<F, B>) -> Option<Claim> {
    claimed_for(setup, LEASE).await
}

async fn claimed_for<F: Fixture<Repository: AsyncInbox>, B: BlockOn>(
    setup: &Setup<F, B>,
    lease: Duration,
) -> Option<Claim> {
    ok(setup.open().await.claim(lease).await)
}

#[expect(clippy::expect_used, reason = "the case fails")]
async fn fail<F: Fixture<Repository: AsyncInbox>, B: BlockOn>(
    setup: &Setup<F, B>,
    claim: Option<Claim>,
    error: &str,
    retry_after: Option<Duration>,
) {
    let failure = Failure::new(error, retry_after);
    ok(setup.open().await.record_failure(&claim.expect("a claim"), &failure).await);
}

#[expect(clippy::expect_used, reason = "the case fails")]
async fn release<F: Fixture<Repository: AsyncInbox>, B: BlockOn>(
    setup: &Setup<F, B>,
    claim: Option<Claim>,
    delay: Duration,
) {
    ok(setup.open().await.release(&claim.expect("a claim"), delay).await);
}

async fn give_up<F: Fixture<Repository: AsyncInbox>, B: BlockOn>(
    setup: &Setup<F, B>,
    claim: Option<Claim>,
    error: &str,
) {
    fail(setup, claim, error, None).await;
}

async fn ended<F: Fixture<Repository: AsyncInbox>, B: BlockOn>(
    setup: &Setup<F, B>,
    id: EnrollmentId,
    now: Timestamp,
) -> ProcessOutcome {
    ok(process_async(&mut setup.open().await, Retry::default(), ORGANIZATION, id, now).await)
}

async fn processed<F: Fixture<Repository: AsyncInbox>, B: BlockOn>(
    setup: &Setup<F, B>,
    id: EnrollmentId,
    now: Timestamp,
) -> EnrollmentReport {
    ok(ended(setup, id, now).await.report())
}

#[expect(clippy::panic, reason = "the case fails")]
fn ok<T, E: std::error::Error>(answer: Result<T, E>) -> T {
    answer.unwrap_or_else(|e| panic!("{}", chain(&e)))
}

#[expect(clippy::panic, reason = "the case fails")]
fn panic_with(outcome: &ProcessOutcome) -> ! {
    panic!("another outcome: {outcome:?}")
}

//! The clauses of the inbox about one enrollment: it is accepted, processed and retried once.
#![allow(clippy::wildcard_imports, reason = "the modules of a file share its imports")]

use super::inbox_setup::{
    CONFLICT, ENDED, accepted, at, claimed, ended, fail, finishing_changes, found, give_up, ok, panic_with, processed,
    request_with_everything,
};
use super::setup::{
    BOB, BOBS_PHONE, FAYS_PHONE, NEW_PHONE, ORGANIZATION, OTHER_ORGANIZATION, Setup, TestRequest, assert_same, commit,
    enrollment, given, opt_in,
};
use super::{BlockOn, Fixture, InboxFixture};
use crate::answer::{EnrollError, ProcessOutcome, Receipt};
use crate::command::{EnrollmentCommand, Retry, StoredCommand};
use crate::contact::{ContactKeys, KeyKind};
use crate::enroll::process_async;
use crate::inbox::{AsyncInbox, Claim};
use crate::model::{Sequence, SequenceStatus};
use crate::seed::{HostRow, WriteKind};
use crate::stored_enrollment::EnrollmentState;

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

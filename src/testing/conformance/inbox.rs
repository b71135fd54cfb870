//! The inbox's clauses: what was accepted is processed once.
#![expect(missing_docs, clippy::missing_panics_doc, reason = "a case is its name, and panics where it fails")]
#![allow(clippy::wildcard_imports, reason = "a clause takes what its file has")]

use serde_json::json;
use std::collections::BTreeMap;
use std::thread;

use super::scene::{
    Asked, BOB, BOBS_PHONE, FAYS_PHONE, NEW_PHONE, ORGANIZATION, OTHER_NEW_PHONE, STRANGERS, Scene, chain, commit,
    enrollment, given, id, load, opt_in, plan, same,
};
use super::{BlockOn, Fixture};
use crate::command::Retry;
use crate::enroll::{EnrollError, ProcessOutcome, Receipt, process_async};
use crate::ids::EnrollmentId;
use crate::inbox::{AsyncInbox, Claim, Failure, InboxEntry};
use crate::model::{Sequence, SequenceStatus};
use crate::report::EnrollmentReport;
use crate::repository::RepositoryErrorKind;
use crate::seed::{HostRow, WriteKind};
use crate::stored_enrollment::EnrollmentState;
use crate::time::Timestamp;

/// Clause 1.
pub mod inserted_once {
    use super::*;

    pub async fn what_is_accepted_is_found_whole_by_every_handle<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let asked = everything(1);
        let command = asked.command(&mut scene.open().await).await;
        let before = scene.dump().await;
        let receipt = accepted(&scene, &asked).await;
        assert_eq!((receipt.enrollment_id, receipt.accepted_at, receipt.recipients), (asked.id, asked.at, 3));
        let entry = found(&scene, asked.id).await;
        assert_eq!(entry.command.as_ref(), Some(&command));
        assert_eq!((entry.attempts, &entry.error), (0, &None));
        let stored = entry.enrollment;
        assert_eq!((stored.id, stored.sequence_id, stored.at), (asked.id, asked.sequence_id, asked.at));
        assert_eq!((stored.fingerprint, stored.completed_at), (command.fingerprint(), None));
        assert_eq!(stored.state, EnrollmentState::Accepted);
        same(&before, &scene.dump().await, "accepting");
    }

    pub async fn the_same_request_gets_the_first_receipt<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let asked = everything(1);
        let receipt = accepted(&scene, &asked).await;
        let mut later = asked.clone();
        later.at = at(60);
        assert_eq!(accepted(&scene, &later).await, receipt, "while it waits");
        let claim = claimed(&scene, at(0), at(10)).await;
        assert_eq!(accepted(&scene, &later).await, receipt, "while it runs");
        give_up(&scene, claim, "broken").await;
        assert_eq!(accepted(&scene, &later).await, receipt, "after it failed");
        assert!(ok(scene.open().await.retry(ORGANIZATION, asked.id, at(10)).await));
        processed(&scene, asked.id, at(11)).await;
        assert_eq!(accepted(&scene, &later).await, receipt, "after it is done");
    }

    pub async fn another_request_under_the_same_id_is_refused<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        accepted(&scene, &everything(1)).await;
        let answer = Asked::phones(1, &[NEW_PHONE]).accept(&mut scene.open().await).await;
        assert!(matches!(answer, Err(EnrollError::Rejected(ref e)) if e.status() == 409), "{answer:?}");
        assert!(found(&scene, enrollment(1)).await.command.is_some_and(|command| command.recipient_count() == 3));
    }

    /// Both were checked before either was stored.
    pub async fn the_second_of_two_gets_what_the_first_stored<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let (mut first, mut second) = (scene.open().await, scene.open().await);
        let (one, two) = (everything(1), Asked::phones(1, &[NEW_PHONE]));
        let (one, two) = (one.command(&mut first).await, two.command(&mut second).await);
        assert_eq!(ok(first.insert(&one).await), None);
        let stands = ok(second.insert(&two).await);
        assert_eq!(stands.map(|stored| stored.fingerprint), Some(one.fingerprint()));
        assert_eq!(found(&scene, enrollment(1)).await.command, Some(one));
    }

    pub async fn an_enrollment_that_is_completed_is_not_accepted_again<
        F: Fixture<Repository: AsyncInbox>,
        B: BlockOn,
    >() {
        let scene = Scene::<F, B>::new().await;
        let asked = Asked::phones(1, &[NEW_PHONE]);
        asked.enroll(&mut scene.open().await).await;
        accepted(&scene, &asked).await;
        assert_eq!(found(&scene, asked.id).await.enrollment.state.name(), "completed");
        assert_eq!(claimed(&scene, at(0), at(10)).await, None);
    }

    pub async fn what_is_not_there_is_not_found<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        accepted(&scene, &everything(1)).await;
        assert_eq!(ok(scene.open().await.find(ORGANIZATION, enrollment(2)).await), None);
        let answer = process_async(&mut scene.open().await, Retry::default(), ORGANIZATION, enrollment(2), at(0)).await;
        assert!(matches!(answer, Err(EnrollError::NotFound(_))), "{answer:?}");
    }

    pub async fn accepted_is_not_enrolled_yet<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let asked = everything(1);
        accepted(&scene, &asked).await;
        let answer = asked.try_enroll(&mut scene.open().await).await;
        assert!(matches!(answer, Err(EnrollError::Unfinished { state: "accepted", .. })), "{answer:?}");
    }
}

/// Clause 2.
pub mod completion_commits_with_its_data {
    use super::*;

    pub async fn processing_is_what_enrolling_would_be<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let (scene, other) = (Scene::<F, B>::new().await, Scene::<F, B>::new().await);
        let asked = everything(1);
        accepted(&scene, &asked).await;
        let report = processed(&scene, asked.id, at(60)).await;
        assert_eq!(report, asked.enroll(&mut other.open().await).await);
        same(&other.dump().await, &scene.dump().await, "what was processed");
        let stored = found(&scene, asked.id).await;
        assert_eq!(stored.enrollment.completed_at, Some(at(60)));
        assert_eq!(stored.enrollment.state, EnrollmentState::Completed { report });
        assert_eq!(stored.command, None);
    }

    pub async fn processing_twice_is_processing_once<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        accepted(&scene, &everything(1)).await;
        let report = processed(&scene, enrollment(1), at(1)).await;
        let before = scene.dump().await;
        assert_eq!(processed(&scene, enrollment(1), at(2)).await, report);
        same(&before, &scene.dump().await, "processing twice");
        assert_eq!(found(&scene, enrollment(1)).await.enrollment.completed_at, Some(at(1)));
    }

    /// Two workers have planned it; one commits, and the other is told so.
    pub async fn the_second_worker_conflicts_then_answers_with_the_first_report<
        F: Fixture<Repository: AsyncInbox>,
        B: BlockOn,
    >() {
        let scene = Scene::<F, B>::new().await;
        let asked = Asked::phones(1, &[NEW_PHONE, FAYS_PHONE]);
        accepted(&scene, &asked).await;
        let mut late = scene.open().await;
        let stale = finishing(&asked, &mut late).await;
        let report = processed(&scene, asked.id, at(1)).await;
        let before = scene.dump().await;
        assert_eq!(commit(&mut late, &stale).await, CONFLICT);
        same(&before, &scene.dump().await, "a second completion");
        assert_eq!(processed(&scene, asked.id, at(2)).await, report);
    }

    pub async fn nothing_is_finished_that_does_not_wait<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let asked = Asked::phones(1, &[NEW_PHONE]);
        let mut handle = scene.open().await;
        let changes = finishing(&asked, &mut handle).await;
        let before = scene.dump().await;
        assert_eq!(commit(&mut handle, &changes).await, CONFLICT, "no row");
        accepted(&scene, &asked).await;
        let claim = claimed(&scene, at(0), at(10)).await;
        give_up(&scene, claim, "broken").await;
        assert_eq!(commit(&mut handle, &changes).await, CONFLICT, "failed");
        same(&before, &scene.dump().await, "what does not wait");
    }

    pub async fn a_commit_that_creates_conflicts_with_what_was_accepted<
        F: Fixture<Repository: AsyncInbox>,
        B: BlockOn,
    >() {
        let scene = Scene::<F, B>::new().await;
        let asked = Asked::phones(1, &[NEW_PHONE]);
        let mut handle = scene.open().await;
        let plan = asked.plan(&mut handle).await;
        accepted(&scene, &asked).await;
        let before = scene.dump().await;
        assert_eq!(commit(&mut handle, plan.changes()).await, CONFLICT);
        same(&before, &scene.dump().await, "a second row");
    }

    /// What fails in the middle leaves the enrollment waiting, and its next attempt gives the whole.
    pub async fn a_refused_completion_leaves_it_waiting<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let asked = Asked::phones(1, &[BOBS_PHONE, NEW_PHONE]);
        accepted(&scene, &asked).await;
        let mut handle = scene.open().await;
        let stale = finishing(&asked, &mut handle).await;
        scene.write(WriteKind::Insert, opt_in(BOB, false)).await;
        assert_eq!(commit(&mut handle, &stale).await, CONFLICT);
        assert_eq!(found(&scene, asked.id).await.enrollment.state, EnrollmentState::Accepted);
        let report = processed(&scene, asked.id, at(1)).await;
        assert_eq!((report.counts().added, report.counts().ignored), (1, 1));
    }

    pub async fn a_sequence_archived_since_ends_it_rejected<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let asked = everything(1);
        accepted(&scene, &asked).await;
        let sequence = given().sequences.swap_remove(0).row;
        scene
            .write(
                WriteKind::Update,
                HostRow::Sequence(Sequence { status: SequenceStatus::Archived, ..sequence.clone() }),
            )
            .await;
        let before = scene.dump().await;
        let first = ended(&scene, asked.id, at(1)).await;
        let ProcessOutcome::Rejected(rejection) = &first else { panic_with(&first) };
        assert_eq!(rejection.errors()[0].code.code(), "sequence_not_active");
        same(&before, &scene.dump().await, "a rejection");
        // For good, also when the sequence is back.
        scene.write(WriteKind::Update, HostRow::Sequence(sequence)).await;
        assert_eq!(ended(&scene, asked.id, at(2)).await, first);
        let entry = found(&scene, asked.id).await;
        assert_eq!(entry.enrollment.state, EnrollmentState::Rejected { rejection: rejection.clone() });
        assert_eq!((entry.enrollment.completed_at, entry.command), (Some(at(1)), None));
        assert_eq!(claimed(&scene, at(100), at(200)).await, None);
    }

    pub async fn a_sequence_deleted_since_ends_it_rejected<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let asked = everything(1);
        accepted(&scene, &asked).await;
        let sequence = given().sequences.swap_remove(0).row;
        scene.write(WriteKind::Delete, HostRow::Sequence(sequence)).await;
        let ending = ended(&scene, asked.id, at(1)).await;
        assert!(matches!(&ending, ProcessOutcome::Rejected(rejection) if rejection.status() == 404), "{ending:?}");
    }
}

/// Clause 3.
pub mod a_lease_is_given_once {
    use super::*;

    pub async fn the_oldest_that_waits_is_claimed_first<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        // The newest id is the oldest request; of two at one instant the smaller id is first.
        for (n, seconds) in [(1, 30), (2, 20), (3, 20), (4, 10)] {
            let mut asked = Asked::phones(n, &[NEW_PHONE]);
            asked.at = at(seconds);
            accepted(&scene, &asked).await;
        }
        for n in [4, 2, 3, 1] {
            let claim = claimed(&scene, at(60), at(120)).await;
            assert_eq!(claim, Some(Claim::new(ORGANIZATION, enrollment(n), 1, at(120))));
        }
        assert_eq!(claimed(&scene, at(60), at(120)).await, None);
    }

    pub async fn what_is_leased_is_not_claimed_before_the_lease_ends<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        accepted(&scene, &everything(1)).await;
        let first = claimed(&scene, at(0), at(30)).await;
        assert_eq!(first.map(|claim| claim.attempt), Some(1));
        assert_eq!(claimed(&scene, at(29), at(60)).await, None);
        // Its worker is gone: another takes over, and it is the second attempt.
        let second = claimed(&scene, at(30), at(60)).await;
        assert_eq!(second, Some(Claim::new(ORGANIZATION, enrollment(1), 2, at(60))));
        assert_eq!(found(&scene, enrollment(1)).await.attempts, 2);
    }

    pub async fn what_has_ended_is_never_claimed<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        accepted(&scene, &everything(1)).await;
        processed(&scene, enrollment(1), at(1)).await;
        assert_eq!(claimed(&scene, at(1000), at(2000)).await, None);
    }

    /// A sender's clock may be ahead of the workers'.
    pub async fn an_instant_to_come_is_due_at_once<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let mut asked = everything(1);
        asked.at = at(3600);
        accepted(&scene, &asked).await;
        assert_eq!(claimed(&scene, at(0), at(10)).await.map(|claim| claim.attempt), Some(1));
    }

    pub async fn an_empty_inbox_gives_nothing<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        assert_eq!(claimed(&scene, at(0), at(10)).await, None);
    }

    pub async fn organizations_share_the_workers<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        accepted(&scene, &everything(1)).await;
        accepted(&scene, &everything(1).of(STRANGERS)).await;
        let mut owners = Vec::new();
        for _ in 0..3 {
            owners.extend(claimed(&scene, at(0), at(10)).await.map(|claim| claim.organization_id));
        }
        owners.sort_unstable();
        assert_eq!(owners, [ORGANIZATION, STRANGERS]);
    }

    /// Many workers, and each enrollment is claimed by one of them, completed once, and whole.
    pub async fn many_workers_finish_everything_once<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        for n in 0..24 {
            let phones: Vec<String> = (0..10).map(|m| format!("+12025550{:03}", (n * 7 + m * 3) % 100)).collect();
            let phones: Vec<&str> = phones.iter().map(String::as_str).collect();
            accepted(&scene, &Asked::phones(100 + n, &phones)).await;
        }
        let claims: Vec<Claim> = thread::scope(|scope| {
            let scene = &scene;
            let worker = move || {
                B::block_on(async {
                    let (mut handle, mut claims) = (scene.open().await, Vec::new());
                    while claims.len() <= 24
                        && let Some(claim) = ok(handle.claim(at(60), at(600)).await)
                    {
                        let ending = process_async(
                            &mut handle,
                            Retry::default(),
                            claim.organization_id,
                            claim.enrollment_id,
                            at(61),
                        )
                        .await;
                        assert!(matches!(ending, Ok(ProcessOutcome::Completed(_))), "{ending:?}");
                        claims.push(claim);
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
        let by_id: BTreeMap<EnrollmentId, u32> =
            claims.iter().map(|claim| (claim.enrollment_id, claim.attempt)).collect();
        assert_eq!((claims.len(), by_id.len()), (24, 24));
        assert!(by_id.values().all(|attempt| *attempt == 1));
        assert_eq!(scene.fixture.dump(ORGANIZATION).await.check_unique(), Ok(()));
        for id in by_id.into_keys() {
            assert_eq!(found(&scene, id).await.enrollment.state.name(), "completed");
        }
    }
}

/// Clause 4.
pub mod a_failure_is_of_an_attempt {
    use super::*;

    pub async fn a_failure_is_kept_and_waits_for_its_next_attempt<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        accepted(&scene, &everything(1)).await;
        let claim = claimed(&scene, at(0), at(100)).await;
        note(&scene, claim, "the network \u{1f50c}", Some(at(20))).await;
        let entry = found(&scene, enrollment(1)).await;
        assert_eq!((entry.attempts, entry.error.as_deref()), (1, Some("the network \u{1f50c}")));
        assert_eq!(entry.enrollment.state, EnrollmentState::Accepted);
        assert_eq!(claimed(&scene, at(19), at(100)).await, None);
        assert_eq!(claimed(&scene, at(20), at(100)).await.map(|claim| claim.attempt), Some(2));
    }

    pub async fn what_is_given_up_is_failed_and_not_claimed<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        accepted(&scene, &everything(1)).await;
        let claim = claimed(&scene, at(0), at(10)).await;
        give_up(&scene, claim, "broken").await;
        let entry = found(&scene, enrollment(1)).await;
        assert_eq!((entry.enrollment.state, entry.error.as_deref()), (EnrollmentState::Failed, Some("broken")));
        assert!(entry.command.is_some());
        assert_eq!(claimed(&scene, at(1000), at(2000)).await, None);
        let answer = process_async(&mut scene.open().await, Retry::default(), ORGANIZATION, enrollment(1), at(1)).await;
        assert!(matches!(answer, Err(EnrollError::Unfinished { state: "failed", .. })), "{answer:?}");
    }

    pub async fn an_attempt_that_was_overtaken_says_nothing<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        accepted(&scene, &everything(1)).await;
        let first = claimed(&scene, at(0), at(10)).await;
        let second = claimed(&scene, at(10), at(20)).await;
        give_up(&scene, first, "too late").await;
        let entry = found(&scene, enrollment(1)).await;
        assert_eq!((entry.enrollment.state, entry.error), (EnrollmentState::Accepted, None));
        // A retry counts from the start again, and the first attempt of now is not that of before.
        give_up(&scene, second, "broken").await;
        assert!(ok(scene.open().await.retry(ORGANIZATION, enrollment(1), at(30)).await));
        assert_eq!(claimed(&scene, at(30), at(40)).await.map(|claim| claim.attempt), Some(1));
        give_up(&scene, first, "from before the retry").await;
        assert_eq!(found(&scene, enrollment(1)).await.enrollment.state, EnrollmentState::Accepted);
        processed(&scene, enrollment(1), at(31)).await;
        give_up(&scene, second, "after the end").await;
        assert_eq!(found(&scene, enrollment(1)).await.enrollment.state.name(), "completed");
    }
}

/// Clause 5.
pub mod a_retry_begins_anew {
    use super::*;

    pub async fn what_failed_waits_again_from_its_first_attempt<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        accepted(&scene, &everything(1)).await;
        for _ in 0..3 {
            let claim = claimed(&scene, at(0), at(0)).await;
            note(&scene, claim, "again", Some(at(0))).await;
        }
        let claim = claimed(&scene, at(0), at(10)).await;
        give_up(&scene, claim, "broken").await;
        assert!(ok(scene.open().await.retry(ORGANIZATION, enrollment(1), at(50)).await));
        assert_eq!(claimed(&scene, at(49), at(60)).await, None);
        assert_eq!(claimed(&scene, at(50), at(60)).await.map(|claim| claim.attempt), Some(1));
        assert_eq!(processed(&scene, enrollment(1), at(51)).await.outcomes.len(), 3);
    }

    pub async fn only_what_failed_is_retried<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let mut handle = scene.open().await;
        accepted(&scene, &everything(1)).await;
        claimed(&scene, at(0), at(10)).await;
        assert!(!ok(handle.retry(ORGANIZATION, enrollment(1), at(1)).await), "accepted");
        assert_eq!(claimed(&scene, at(1), at(10)).await, None);
        processed(&scene, enrollment(1), at(1)).await;
        assert!(!ok(handle.retry(ORGANIZATION, enrollment(1), at(1)).await), "completed");
        assert!(!ok(handle.retry(ORGANIZATION, enrollment(2), at(1)).await), "nothing");
        assert_eq!(found(&scene, enrollment(1)).await.enrollment.state.name(), "completed");
    }
}

/// Clause 6.
pub mod an_inbox_has_walls {
    use super::*;

    pub async fn an_enrollment_is_its_organizations<F: Fixture<Repository: AsyncInbox>, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let mut handle = scene.open().await;
        accepted(&scene, &everything(1)).await;
        assert_eq!(ok(handle.find(STRANGERS, enrollment(1)).await), None);
        let answer = process_async(&mut handle, Retry::default(), STRANGERS, enrollment(1), at(1)).await;
        assert!(matches!(answer, Err(EnrollError::NotFound(_))), "{answer:?}");
        let claim = claimed(&scene, at(0), at(10)).await;
        let elsewhere = claim.map(|claim| Claim { organization_id: STRANGERS, ..claim });
        give_up(&scene, elsewhere, "another's").await;
        assert!(!ok(handle.retry(STRANGERS, enrollment(1), at(1)).await));
        assert_eq!(found(&scene, enrollment(1)).await.error, None);
        // The same id may be taken there.
        accepted(&scene, &everything(1).of(STRANGERS)).await;
        processed(&scene, enrollment(1), at(1)).await;
        assert_eq!(
            ok(handle.find(STRANGERS, enrollment(1)).await).map(|entry| entry.enrollment.state),
            Some(EnrollmentState::Accepted)
        );
    }
}

const CONFLICT: Result<(), RepositoryErrorKind> = Err(RepositoryErrorKind::Conflict);

/// So many seconds after the instant of the requests.
#[expect(clippy::expect_used, reason = "an instant that cannot be is a fault to be seen")]
fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(Asked::phones(1, &[]).at.millis() + seconds * 1000).expect("an instant")
}

fn everything(n: u64) -> Asked {
    let entries = json!([
        { "phone": BOBS_PHONE, "name": "Bob", "properties": { "count": 7, "weight": 2.0 } },
        { "phone": NEW_PHONE, "email": "Neu@B\u{fc}cher.example", "external_id": "new-1", "address": { "city": "Lyon" } },
        { "phone": OTHER_NEW_PHONE, "birth_date": { "day": 29, "month": 2 } },
    ]);
    let data = json!({ "custom_object_id": id(10, 1), "resource": "step_contact" });
    Asked::new(n, entries).with("custom_data", data).with("schedule_at", json!("2026-03-01T12:00:00+02:00"))
}

/// What another worker would commit for an accepted enrollment.
#[expect(clippy::expect_used, reason = "the case fails")]
async fn finishing<R: AsyncInbox>(asked: &Asked, handle: &mut R) -> crate::changes::ChangeSet {
    let command = asked.command(handle).await;
    let plan = plan(&command, &load(handle, &command.snapshot_query()).await);
    let mut changes = serde_json::to_value(plan.changes()).expect("a change set can be written");
    changes["completion"]["verb"] = json!("finish");
    serde_json::from_value(changes).expect("and read")
}

async fn accepted<F: Fixture<Repository: AsyncInbox>, B: BlockOn>(scene: &Scene<F, B>, asked: &Asked) -> Receipt {
    ok(asked.accept(&mut scene.open().await).await)
}

#[expect(clippy::expect_used, reason = "the case fails")]
async fn found<F: Fixture<Repository: AsyncInbox>, B: BlockOn>(scene: &Scene<F, B>, id: EnrollmentId) -> InboxEntry {
    ok(scene.open().await.find(ORGANIZATION, id).await).expect("the enrollment is found")
}

async fn claimed<F: Fixture<Repository: AsyncInbox>, B: BlockOn>(
    scene: &Scene<F, B>,
    now: Timestamp,
    lease_end: Timestamp,
) -> Option<Claim> {
    ok(scene.open().await.claim(now, lease_end).await)
}

#[expect(clippy::expect_used, reason = "the case fails")]
async fn note<F: Fixture<Repository: AsyncInbox>, B: BlockOn>(
    scene: &Scene<F, B>,
    claim: Option<Claim>,
    error: &str,
    retry_at: Option<Timestamp>,
) {
    let failure = Failure { error: error.to_owned(), retry_at };
    ok(scene.open().await.record_failure(&claim.expect("a claim"), &failure).await);
}

async fn give_up<F: Fixture<Repository: AsyncInbox>, B: BlockOn>(
    scene: &Scene<F, B>,
    claim: Option<Claim>,
    error: &str,
) {
    note(scene, claim, error, None).await;
}

async fn ended<F: Fixture<Repository: AsyncInbox>, B: BlockOn>(
    scene: &Scene<F, B>,
    id: EnrollmentId,
    now: Timestamp,
) -> ProcessOutcome {
    ok(process_async(&mut scene.open().await, Retry::default(), ORGANIZATION, id, now).await)
}

async fn processed<F: Fixture<Repository: AsyncInbox>, B: BlockOn>(
    scene: &Scene<F, B>,
    id: EnrollmentId,
    now: Timestamp,
) -> EnrollmentReport {
    ok(ended(scene, id, now).await.report())
}

#[expect(clippy::panic, reason = "the case fails")]
fn ok<T, E: std::error::Error>(answer: Result<T, E>) -> T {
    answer.unwrap_or_else(|e| panic!("{}", chain(&e)))
}

#[expect(clippy::panic, reason = "the case fails")]
fn panic_with(ending: &ProcessOutcome) -> ! {
    panic!("it ended otherwise: {ending:?}")
}

//! What the clauses of the inbox share: requests, workers and their answers.

use serde_json::json;
use std::time::Duration;

use super::setup::{BOBS_PHONE, NEW_PHONE, ORGANIZATION, OTHER_NEW_PHONE, Setup, TestRequest, chain, id, load, plan};
use super::{BlockOn, Fixture};
use crate::answer::{ProcessOutcome, Receipt};
use crate::command::Retry;
use crate::enroll::process_async;
use crate::ids::{EnrollmentId, OrganizationId};
use crate::inbox::{AsyncInbox, Claim, Failure, InboxEntry};
use crate::report::EnrollmentReport;
use crate::repository::RepositoryErrorKind;
use crate::time::Timestamp;

/// A lease or a delay that does not end during a case.
pub(super) const LEASE: Duration = Duration::from_secs(3600);
/// A lease that has ended when it begins, or no delay.
pub(super) const ENDED: Duration = Duration::ZERO;
/// An instant before all clocks.
pub(super) const PAST: Timestamp = Timestamp::EPOCH;
pub(super) const CONFLICT: Result<(), RepositoryErrorKind> = Err(RepositoryErrorKind::Conflict);

/// Returns an instant after all clocks.
pub(super) fn future() -> Timestamp {
    at(500 * 365 * 86400)
}

/// Returns the instant of the requests plus a number of seconds.
#[expect(clippy::expect_used, reason = "the case fails")]
pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(TestRequest::phones(1, &[]).at.millis() + seconds * 1000).expect("an instant")
}

pub(super) fn request_with_everything(n: u64) -> TestRequest {
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
pub(super) async fn finishing_changes<R: AsyncInbox>(
    request: &TestRequest,
    handle: &mut R,
) -> crate::changes::ChangeSet {
    let command = request.command(handle).await;
    let plan = plan(&command, &load(handle, &command.snapshot_query()).await);
    let mut changes = serde_json::to_value(plan.changes()).expect("a change set serializes");
    changes["completion"]["mode"] = json!("finish");
    serde_json::from_value(changes).expect("the edited change set deserializes")
}

pub(super) async fn accepted<F: Fixture<Repository: AsyncInbox>, B: BlockOn>(
    setup: &Setup<F, B>,
    request: &TestRequest,
) -> Receipt {
    ok(request.accept(&mut setup.open().await).await)
}

/// Accepts a request with a number and an instant.
pub(super) async fn accepted_at<F: Fixture<Repository: AsyncInbox>, B: BlockOn>(
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
pub(super) async fn found<F: Fixture<Repository: AsyncInbox>, B: BlockOn>(
    setup: &Setup<F, B>,
    id: EnrollmentId,
) -> InboxEntry {
    ok(setup.open().await.find(ORGANIZATION, id).await).expect("the enrollment is found")
}

pub(super) async fn claimed<F: Fixture<Repository: AsyncInbox>, B: BlockOn>(setup: &Setup<F, B>) -> Option<Claim> {
    claimed_for(setup, LEASE).await
}

pub(super) async fn claimed_for<F: Fixture<Repository: AsyncInbox>, B: BlockOn>(
    setup: &Setup<F, B>,
    lease: Duration,
) -> Option<Claim> {
    ok(setup.open().await.claim(lease).await)
}

#[expect(clippy::expect_used, reason = "the case fails")]
pub(super) async fn fail<F: Fixture<Repository: AsyncInbox>, B: BlockOn>(
    setup: &Setup<F, B>,
    claim: Option<Claim>,
    error: &str,
    retry_after: Option<Duration>,
) {
    let failure = Failure::new(error, retry_after);
    ok(setup.open().await.record_failure(&claim.expect("a claim"), &failure).await);
}

#[expect(clippy::expect_used, reason = "the case fails")]
pub(super) async fn release<F: Fixture<Repository: AsyncInbox>, B: BlockOn>(
    setup: &Setup<F, B>,
    claim: Option<Claim>,
    delay: Duration,
) {
    ok(setup.open().await.release(&claim.expect("a claim"), delay).await);
}

pub(super) async fn give_up<F: Fixture<Repository: AsyncInbox>, B: BlockOn>(
    setup: &Setup<F, B>,
    claim: Option<Claim>,
    error: &str,
) {
    fail(setup, claim, error, None).await;
}

pub(super) async fn ended<F: Fixture<Repository: AsyncInbox>, B: BlockOn>(
    setup: &Setup<F, B>,
    id: EnrollmentId,
    now: Timestamp,
) -> ProcessOutcome {
    ok(process_async(&mut setup.open().await, Retry::default(), ORGANIZATION, id, now).await)
}

pub(super) async fn processed<F: Fixture<Repository: AsyncInbox>, B: BlockOn>(
    setup: &Setup<F, B>,
    id: EnrollmentId,
    now: Timestamp,
) -> EnrollmentReport {
    ok(ended(setup, id, now).await.report())
}

#[expect(clippy::panic, reason = "the case fails")]
pub(super) fn ok<T, E: std::error::Error>(answer: Result<T, E>) -> T {
    answer.unwrap_or_else(|e| panic!("{}", chain(&e)))
}

#[expect(clippy::panic, reason = "the case fails")]
pub(super) fn panic_with(outcome: &ProcessOutcome) -> ! {
    panic!("another outcome: {outcome:?}")
}

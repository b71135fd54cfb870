//! The contract of a log of events.
#![allow(clippy::wildcard_imports, reason = "the modules of a file share its imports")]

use std::num::NonZeroU32;
use std::time::Duration;

use super::inbox_setup::{
    CONFLICT, ENDED, accepted, at, claimed, ended, fail, finishing_changes, future, give_up, ok, panic_with, processed,
    release, request_with_everything,
};
use super::setup::{
    BOB, NEW_PHONE, ORGANIZATION, OTHER_NEW_PHONE, OTHER_ORGANIZATION, Setup, TestRequest, commit, contact, enrollment,
    given,
};
use super::{BlockOn, EventFixture};
use crate::answer::ProcessOutcome;
use crate::events::EventKind::{self, Accepted, Completed, Failed, Rejected};
use crate::events::{AsyncEventLog, Event, EventPosition};
use crate::ids::EnrollmentId;
use crate::inbox::AsyncInbox;
use crate::model::{Sequence, SequenceStatus};
use crate::report::Counts;
use crate::repository::RepositoryErrorKind;
use crate::seed::{HostRow, Seed, SeedRow, WriteKind};
use crate::time::Timestamp;
use serde_json::{Value, json};

/// More events than a case writes.
const ALL: NonZeroU32 = NonZeroU32::MAX;
const TWO: NonZeroU32 = NonZeroU32::MIN.saturating_add(1);

/// Returns a seeded database that writes events.
async fn with_events<F: EventFixture, B: BlockOn>() -> Setup<F, B> {
    with_events_of(&given()).await
}

async fn with_events_of<F: EventFixture, B: BlockOn>(seed: &Seed) -> Setup<F, B> {
    let setup = Setup::<F, B>::from_seed(seed).await;
    setup.fixture.enable_events(true).await;
    setup
}

async fn events_after<F: EventFixture, B: BlockOn>(
    setup: &Setup<F, B>,
    after: EventPosition,
    limit: NonZeroU32,
) -> Vec<Event> {
    ok(setup.open().await.events(after, limit).await)
}

async fn all_events<F: EventFixture, B: BlockOn>(setup: &Setup<F, B>) -> Vec<Event> {
    events_after(setup, EventPosition::START, ALL).await
}

async fn kinds<F: EventFixture, B: BlockOn>(setup: &Setup<F, B>) -> Vec<EventKind> {
    all_events(setup).await.iter().map(|event| event.kind).collect()
}

async fn prune<F: EventFixture, B: BlockOn>(setup: &Setup<F, B>, before: Timestamp, limit: NonZeroU32) -> u64 {
    ok(setup.open().await.prune_events(before, limit).await)
}

async fn enroll_one<F: EventFixture, B: BlockOn>(setup: &Setup<F, B>, n: u64) {
    TestRequest::phones(n, &[NEW_PHONE]).enroll(&mut setup.open().await).await;
}

/// Returns the enrollments of events.
fn enrollments(events: &[Event]) -> Vec<EnrollmentId> {
    events.iter().map(|event| event.enrollment_id).collect()
}

/// Archives the sequence of the requests.
async fn archive<F: EventFixture, B: BlockOn>(setup: &Setup<F, B>) {
    let sequence = given().sequences.swap_remove(0).row;
    let archived = Sequence { status: SequenceStatus::Archived, ..sequence };
    setup.write(WriteKind::Update, HostRow::Sequence(archived)).await;
}

/// Clause 1.
#[doc(hidden)]
pub mod events_are_written_with_the_change {
    use super::*;

    pub async fn an_accepted_enrollment_writes_one_event<F: EventFixture, B: BlockOn>() {
        let setup = with_events::<F, B>().await;
        accepted(&setup, &request_with_everything(1)).await;
        assert_eq!(kinds(&setup).await, [Accepted]);
    }

    pub async fn an_enrollment_at_once_writes_one_event<F: EventFixture, B: BlockOn>() {
        let setup = with_events::<F, B>().await;
        request_with_everything(1).enroll(&mut setup.open().await).await;
        assert_eq!(kinds(&setup).await, [Completed]);
    }

    pub async fn a_processed_enrollment_writes_one_event_more<F: EventFixture, B: BlockOn>() {
        let setup = with_events::<F, B>().await;
        accepted(&setup, &request_with_everything(1)).await;
        processed(&setup, enrollment(1), at(1)).await;
        assert_eq!(kinds(&setup).await, [Accepted, Completed]);
    }

    /// A repository may write many rows in another way than a few.
    pub async fn a_large_enrollment_writes_its_event<F: EventFixture, B: BlockOn>() {
        let setup = with_events::<F, B>().await;
        let entry = |n| json!({ "phone": format!("+1202{:07}", 2_000_000 + n) });
        let entries: Vec<Value> = (0..4000).map(entry).collect();
        let request = TestRequest::new(1, json!(entries));
        accepted(&setup, &request).await;
        let report = processed(&setup, request.id, at(1)).await;
        let events = all_events(&setup).await;
        assert_eq!(events.iter().map(|event| event.counts).collect::<Vec<_>>(), [None, Some(report.counts())]);
        // The contacts exist now.
        TestRequest::new(2, json!(entries)).enroll(&mut setup.open().await).await;
        assert_eq!(kinds(&setup).await, [Accepted, Completed, Completed]);
    }

    pub async fn a_rejected_enrollment_writes_one_event<F: EventFixture, B: BlockOn>() {
        let setup = with_events::<F, B>().await;
        accepted(&setup, &request_with_everything(1)).await;
        archive(&setup).await;
        ended(&setup, enrollment(1), at(1)).await;
        ended(&setup, enrollment(1), at(2)).await;
        assert_eq!(kinds(&setup).await, [Accepted, Rejected]);
    }

    pub async fn an_enrollment_that_is_given_up_and_retried_writes_an_event_each_time<F: EventFixture, B: BlockOn>() {
        let setup = with_events::<F, B>().await;
        accepted(&setup, &request_with_everything(1)).await;
        let claim = claimed(&setup).await;
        give_up(&setup, claim, "broken").await;
        assert_eq!(kinds(&setup).await, [Accepted, Failed]);
        assert!(ok(setup.open().await.retry(ORGANIZATION, enrollment(1)).await));
        assert_eq!(kinds(&setup).await, [Accepted, Failed, Accepted]);
        processed(&setup, enrollment(1), at(1)).await;
        assert_eq!(kinds(&setup).await, [Accepted, Failed, Accepted, Completed]);
    }

    pub async fn an_attempt_that_is_repeated_writes_none<F: EventFixture, B: BlockOn>() {
        let setup = with_events::<F, B>().await;
        accepted(&setup, &request_with_everything(1)).await;
        let claim = claimed(&setup).await;
        fail(&setup, claim, "broken", Some(ENDED)).await;
        let claim = claimed(&setup).await;
        release(&setup, claim, Duration::from_secs(60)).await;
        assert_eq!(kinds(&setup).await, [Accepted]);
    }

    pub async fn a_repeated_request_writes_none<F: EventFixture, B: BlockOn>() {
        let setup = with_events::<F, B>().await;
        let request = request_with_everything(1);
        let mut handle = setup.open().await;
        let command = request.command(&mut handle).await;
        accepted(&setup, &request).await;
        accepted(&setup, &request).await;
        assert!(ok(handle.insert(&command).await).is_some());
        assert!(!ok(handle.retry(ORGANIZATION, request.id).await));
        assert_eq!(kinds(&setup).await, [Accepted]);
        processed(&setup, request.id, at(1)).await;
        processed(&setup, request.id, at(2)).await;
        accepted(&setup, &request).await;
        request.enroll(&mut handle).await;
        assert_eq!(kinds(&setup).await, [Accepted, Completed]);
        for _ in 0..2 {
            enroll_one(&setup, 2).await;
        }
        assert_eq!(kinds(&setup).await, [Accepted, Completed, Completed]);
    }

    pub async fn a_conflict_writes_none<F: EventFixture, B: BlockOn>() {
        let setup = with_events::<F, B>().await;
        let mut handle = setup.open().await;
        let stale = TestRequest::phones(1, &[NEW_PHONE]).plan(&mut handle).await;
        let accepted_before = request_with_everything(2);
        accepted(&setup, &accepted_before).await;
        let stale_completion = finishing_changes(&accepted_before, &mut handle).await;
        archive(&setup).await;
        let before = all_events(&setup).await;
        assert_eq!(commit(&mut handle, stale.changes()).await, CONFLICT);
        assert_eq!(commit(&mut handle, &stale_completion).await, CONFLICT);
        assert_eq!(all_events(&setup).await, before);
    }

    /// The commit meets a contact that has an id of the enrollment.
    pub async fn a_failed_commit_writes_none<F: EventFixture, B: BlockOn>() {
        let other = Setup::<F, B>::new().await;
        let mut request = TestRequest::phones(1, &[NEW_PHONE]);
        let plan = request.plan(&mut other.open().await).await;
        let mut seed = given();
        let mut contact = contact(BOB);
        (contact.id, contact.phone) = (plan.changes().rows().contacts_created[0].id, Some(OTHER_NEW_PHONE.into()));
        let row = seed.contacts[0].clone();
        seed.contacts.push(SeedRow { row: contact, ..row });
        let setup = with_events_of::<F, B>(&seed).await;
        let mut handle = setup.open().await;
        let plan = request.plan(&mut handle).await;
        let refused = commit(&mut handle, plan.changes()).await;
        assert_eq!(refused, Err(RepositoryErrorKind::Other));
        assert_eq!(kinds(&setup).await, []);
        // The handle can still enroll.
        request.id = enrollment(2);
        request.enroll(&mut handle).await;
        assert_eq!(kinds(&setup).await, [Completed]);
    }

    pub async fn a_rollback_leaves_none<F: EventFixture, B: BlockOn>() {
        let setup = with_events::<F, B>().await;
        let command = request_with_everything(1).command(&mut setup.open().await).await;
        let Some(open) = setup.fixture.accept_in_transaction(&command).await else {
            return println!("not checked: the fixture keeps no transaction open");
        };
        assert_eq!(kinds(&setup).await, []);
        setup.fixture.end_transaction(open, false).await;
        assert_eq!(kinds(&setup).await, []);
        enroll_one(&setup, 2).await;
        assert_eq!(enrollments(&all_events(&setup).await), [enrollment(2)]);
    }
}

/// Clause 2.
#[doc(hidden)]
pub mod events_have_ids_counts_and_codes {
    use super::*;

    pub async fn an_event_has_the_ids_of_its_enrollment<F: EventFixture, B: BlockOn>() {
        let setup = with_events::<F, B>().await;
        let request = request_with_everything(1);
        for organization_id in [ORGANIZATION, OTHER_ORGANIZATION] {
            accepted(&setup, &request.clone().in_organization(organization_id)).await;
        }
        let events = all_events(&setup).await;
        let organizations: Vec<_> = events.iter().map(|event| event.organization_id).collect();
        assert_eq!(organizations, [ORGANIZATION, OTHER_ORGANIZATION]);
        for event in &events {
            assert_eq!((event.enrollment_id, event.sequence_id), (request.id, request.sequence_id));
            assert_eq!((event.counts, event.codes.as_slice()), (None, &[][..]));
        }
        assert_ne!(events[0].id, events[1].id);
    }

    pub async fn a_completed_event_has_the_counts_of_the_report<F: EventFixture, B: BlockOn>() {
        let setup = with_events::<F, B>().await;
        accepted(&setup, &request_with_everything(1)).await;
        let first = processed(&setup, enrollment(1), at(1)).await.counts();
        // Other counts: the contact exists, one recipient is repeated, and two are ignored.
        let entries =
            json!([{ "phone": NEW_PHONE }, { "phone": NEW_PHONE }, { "phone": "junk" }, { "phone": "rubbish" }]);
        let second = TestRequest::new(2, entries).enroll(&mut setup.open().await).await.counts();
        assert_ne!(first, second);
        let counts: Vec<Option<Counts>> = all_events(&setup).await.iter().map(|event| event.counts).collect();
        assert_eq!(counts, [None, Some(first), Some(second)]);
    }

    pub async fn a_rejected_event_has_the_codes_of_the_rejection<F: EventFixture, B: BlockOn>() {
        let setup = with_events::<F, B>().await;
        accepted(&setup, &request_with_everything(1)).await;
        archive(&setup).await;
        let outcome = ended(&setup, enrollment(1), at(1)).await;
        let ProcessOutcome::Rejected { rejection, .. } = &outcome else { panic_with(&outcome) };
        let codes: Vec<String> = rejection.errors().iter().map(|fault| fault.code.to_string()).collect();
        let events = all_events(&setup).await;
        assert_eq!(events.last().map(|event| (&event.codes, event.counts)), Some((&codes, None)));
    }

    pub async fn the_clock_of_the_storage_dates_an_event<F: EventFixture, B: BlockOn>() {
        let setup = with_events::<F, B>().await;
        let mut request = request_with_everything(1);
        request.at = future();
        accepted(&setup, &request).await;
        processed(&setup, request.id, future()).await;
        for event in all_events(&setup).await {
            assert!(event.at < at(200 * 365 * 86400), "{event:?}");
        }
    }
}

/// Clause 3.
#[doc(hidden)]
pub mod a_reader_misses_none {
    use super::*;

    pub async fn pages_have_each_event_once_and_in_order<F: EventFixture, B: BlockOn>() {
        let setup = with_events::<F, B>().await;
        for n in 1..=5 {
            enroll_one(&setup, n).await;
        }
        let (mut position, mut pages) = (EventPosition::START, Vec::new());
        // A log that does not go on must not run forever.
        while pages.len() < 10 {
            let page = events_after(&setup, position, TWO).await;
            let Some(last) = page.last() else { break };
            position = last.position;
            pages.push(page);
        }
        assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1]);
        let events = pages.concat();
        assert_eq!(enrollments(&events), (1..=5).map(enrollment).collect::<Vec<_>>());
        assert!(events.is_sorted_by(|one, next| one.position < next.position), "{events:?}");
        assert_eq!(events, all_events(&setup).await, "another handle reads the same positions and ids");
        // A later event is behind the position.
        enroll_one(&setup, 6).await;
        assert_eq!(enrollments(&events_after(&setup, position, ALL).await), [enrollment(6)]);
    }

    pub async fn a_position_behind_all_events_has_none<F: EventFixture, B: BlockOn>() {
        let setup = with_events::<F, B>().await;
        enroll_one(&setup, 1).await;
        assert_eq!(events_after(&setup, EventPosition::new(u64::MAX), ALL).await, []);
    }

    /// Two writers write their events in one order, and commit in the other one.
    pub async fn writers_may_commit_in_another_order_than_they_began<F: EventFixture, B: BlockOn>() {
        let setup = with_events::<F, B>().await;
        let mut handle = setup.open().await;
        // The first acceptance of an organization may write rows for which others wait.
        accepted(&setup, &request_with_everything(9)).await;
        let first = all_events(&setup).await;
        let mut open = Vec::new();
        for n in 1..=3 {
            let command = TestRequest::phones(n, &[NEW_PHONE]).command(&mut handle).await;
            let Some(transaction) = setup.fixture.accept_in_transaction(&command).await else {
                return println!("not checked: the fixture keeps no transaction open");
            };
            open.push((enrollment(n), transaction));
        }
        let (mut position, mut read) = (first[0].position, Vec::new());
        let mut committed = Vec::new();
        // The last writer commits first.
        while let Some((enrollment, transaction)) = open.pop() {
            setup.fixture.end_transaction(transaction, true).await;
            committed.push(enrollment);
            let events = events_after(&setup, position, ALL).await;
            position = events.last().map_or(position, |event| event.position);
            read.extend(enrollments(&events));
        }
        assert_eq!(read, committed);
        assert_eq!(enrollments(&all_events(&setup).await)[1..], committed, "the positions stay");
    }
}

/// Clause 4.
#[doc(hidden)]
pub mod events_are_pruned_by_age {
    use super::*;

    pub async fn the_oldest_are_removed_first_in_pieces<F: EventFixture, B: BlockOn>() {
        let setup = with_events::<F, B>().await;
        for n in 1..=5 {
            enroll_one(&setup, n).await;
        }
        let before = all_events(&setup).await;
        assert_eq!(prune(&setup, future(), TWO).await, 2);
        assert_eq!(all_events(&setup).await, before[2..]);
        // A reader whose last event was removed goes on.
        assert_eq!(events_after(&setup, before[0].position, ALL).await, before[2..]);
        assert_eq!(events_after(&setup, before[3].position, ALL).await, before[4..]);
        assert_eq!(prune(&setup, future(), ALL).await, 3);
        assert_eq!(prune(&setup, future(), ALL).await, 0);
        assert_eq!(all_events(&setup).await, []);
    }

    pub async fn newer_events_stay<F: EventFixture, B: BlockOn>() {
        let setup = with_events::<F, B>().await;
        for n in 1..=3 {
            enroll_one(&setup, n).await;
        }
        let before = all_events(&setup).await;
        let oldest = before.iter().map(|event| event.at).fold(before[0].at, Ord::min);
        assert_eq!(prune(&setup, oldest, ALL).await, 0);
        assert_eq!(all_events(&setup).await, before);
    }

    pub async fn a_removed_position_is_not_used_again<F: EventFixture, B: BlockOn>() {
        let setup = with_events::<F, B>().await;
        enroll_one(&setup, 1).await;
        enroll_one(&setup, 2).await;
        let last = all_events(&setup).await[1].position;
        assert_eq!(prune(&setup, future(), ALL).await, 2);
        enroll_one(&setup, 3).await;
        let events = events_after(&setup, last, ALL).await;
        assert_eq!(enrollments(&events), [enrollment(3)]);
    }

    /// An unread event that is old enough is removed too.
    pub async fn events_that_no_reader_has_seen_are_removed<F: EventFixture, B: BlockOn>() {
        let setup = with_events::<F, B>().await;
        enroll_one(&setup, 1).await;
        assert_eq!(prune(&setup, future(), ALL).await, 1);
        assert_eq!(kinds(&setup).await, []);
    }
}

/// Clause 5.
#[doc(hidden)]
pub mod events_are_off_by_default {
    use super::*;

    pub async fn a_new_database_writes_none<F: EventFixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        accepted(&setup, &request_with_everything(1)).await;
        processed(&setup, enrollment(1), at(1)).await;
        assert_eq!(kinds(&setup).await, []);
    }

    pub async fn events_are_written_from_when_they_are_on_until_they_are_off<F: EventFixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let mut handle = setup.open().await;
        let mut enroll = async |n| {
            TestRequest::phones(n, &[NEW_PHONE]).enroll(&mut handle).await;
        };
        enroll(1).await;
        setup.fixture.enable_events(true).await;
        enroll(2).await;
        setup.fixture.enable_events(true).await;
        enroll(3).await;
        setup.fixture.enable_events(false).await;
        enroll(4).await;
        setup.fixture.enable_events(false).await;
        let events = all_events(&setup).await;
        assert_eq!(enrollments(&events), [2, 3].map(enrollment));
        setup.fixture.enable_events(true).await;
        enroll(5).await;
        assert_eq!(enrollments(&all_events(&setup).await), [2, 3, 5].map(enrollment));
        assert_eq!(all_events(&setup).await[..2], events);
    }
}

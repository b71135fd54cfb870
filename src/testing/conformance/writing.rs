//! Clauses 3, 5, 6, 7 and 9: a commit writes all rows of its plan, or none.
#![allow(clippy::wildcard_imports, reason = "the modules of a file share its imports")]

use serde_json::{Value, json};
use std::sync::Arc;

use super::setup::{
    BOB, BOBS_PHONE, CAT, DOT, DOTS_PHONE, EVE, FAY, FAYS_PHONE, MAIL, NEW_PHONE, ORGANIZATION, OTHER_NEW_PHONE, SMS,
    Setup, TestRequest, assert_same, commit, contact, count, given, id, load, must_commit, new_run_and_step_contact,
    plan, request_with_everything, set_expected_versions, snapshot_query, sorted, step, step_contact_row,
};
use super::{BlockOn, Fixture};
use crate::answer::EnrollError;
use crate::changes::{ChangeSet, RowChanges};
use crate::contact::{Contact, ContactState, Email, KeyKind};
use crate::ids::{ConversationId, CustomObjectId, SequenceId};
use crate::model::{Conversation, CustomRecord, Resource, Run, Sequence, Step, StepContact, StepContactStatus, Tag};
use crate::plan::EnrollmentPlan;
use crate::policy::ExistingContact;
use crate::repository::RepositoryErrorKind;
use crate::seed::{HostRow, Seed, SeedRow, WriteKind};
use crate::snapshot::ContactAggregate;

const CONFLICT: Result<(), RepositoryErrorKind> = Err(RepositoryErrorKind::Conflict);
const OTHER: Result<(), RepositoryErrorKind> = Err(RepositoryErrorKind::Other);

/// Clause 3.
#[doc(hidden)]
pub mod all_or_nothing {
    use super::*;

    pub async fn a_commit_writes_all_rows_of_its_plan<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let mut handle = setup.open().await;
        let plan = request_with_everything(1).plan(&mut handle).await;
        let rows = plan.changes().rows();
        // The plan writes rows of every kind.
        assert!(!rows.contacts_created.is_empty() && !rows.contacts_updated.is_empty());
        assert!(!rows.conversations_created.is_empty() && !rows.runs_created.is_empty());
        assert!(!rows.runs_reactivated.is_empty() && !rows.step_contacts_created.is_empty());
        assert!(!rows.step_contacts_updated.is_empty() && !rows.contact_tags_created.is_empty());
        assert!(!rows.records_created.is_empty() && !rows.records_updated.is_empty() && rows.tag_created.is_some());
        must_commit(&mut handle, plan.changes()).await;
        assert_same(&after(&given(), plan.changes()), &setup.dump().await, "a commit");
    }

    pub async fn a_stale_guard_refuses_all_rows<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let mut handle = setup.open().await;
        let plan = request_with_everything(1).plan(&mut handle).await;
        setup.write(WriteKind::Update, step_contact_row(FAY, StepContactStatus::Inactive)).await;
        assert_refused(&setup, &mut handle, &plan, CONFLICT).await;
    }

    /// In turn, a row of each table exists under a derived id.
    pub async fn a_refused_row_of_any_table_refuses_all_rows<F: Fixture, B: BlockOn>() {
        let (other, seed) = (Setup::<F, B>::new().await, given());
        let plan = request_with_everything(1).plan(&mut other.open().await).await;
        for (table, given) in seeds_with_used_ids(&seed, plan.changes().rows()) {
            let setup = Setup::<F, B>::from_seed(&given).await;
            let mut handle = setup.open().await;
            let plan = request_with_everything(1).plan(&mut handle).await;
            let before = setup.dump().await;
            assert_eq!(commit(&mut handle, plan.changes()).await, OTHER, "{table}");
            assert_same(&before, &setup.dump().await, &format!("a assert_not_overwritten id that exists in `{table}`"));
        }
    }

    pub async fn a_used_key_of_the_last_recipient_refuses_all_rows<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let (mut first, mut second) = (setup.open().await, setup.open().await);
        let plan = TestRequest::phones(1, &[FAYS_PHONE, OTHER_NEW_PHONE, NEW_PHONE]).plan(&mut first).await;
        TestRequest::phones(2, &[NEW_PHONE]).enroll(&mut second).await;
        assert_refused(&setup, &mut first, &plan, CONFLICT).await;
    }

    pub async fn a_refused_commit_can_be_planned_again<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let (mut first, mut second) = (setup.open().await, setup.open().await);
        let request = TestRequest::phones(1, &[NEW_PHONE, OTHER_NEW_PHONE]);
        let plan = request.plan(&mut first).await;
        TestRequest::phones(2, &[NEW_PHONE]).enroll(&mut second).await;
        assert_refused(&setup, &mut first, &plan, CONFLICT).await;
        let report = request.enroll(&mut first).await;
        assert_eq!((report.counts().reprocessed, report.counts().added), (1, 1));
    }
}

/// Clause 5.
#[doc(hidden)]
pub mod unique_keys {
    use super::*;

    pub async fn second_writer_of_a_phone_conflicts_then_reuses_the_contact<F: Fixture, B: BlockOn>() {
        assert_second_writer_conflicts::<F, B>(
            &json!({ "phone": NEW_PHONE }),
            &json!({ "phone": "(202) 555-0150", "name": "N" }),
            true,
        )
        .await;
    }

    pub async fn second_writer_of_an_email_conflicts_then_reuses_the_contact<F: Fixture, B: BlockOn>() {
        let (first, second) = (
            json!({ "phone": NEW_PHONE, "email": "new@example.com" }),
            json!({ "phone": OTHER_NEW_PHONE, "email": "NEW@Example.com" }),
        );
        assert_second_writer_conflicts::<F, B>(&first, &second, true).await;
    }

    pub async fn second_writer_of_an_external_id_conflicts_then_reuses_the_contact<F: Fixture, B: BlockOn>() {
        let (first, second) = (
            json!({ "phone": NEW_PHONE, "external_id": "new" }),
            json!({ "phone": OTHER_NEW_PHONE, "external_id": "new" }),
        );
        assert_second_writer_conflicts::<F, B>(&first, &second, true).await;
    }

    pub async fn second_writer_that_fills_the_same_key_conflicts<F: Fixture, B: BlockOn>() {
        // Both recipients would fill the same email.
        let (first, second) = (
            json!({ "phone": BOBS_PHONE, "email": "new@example.com" }),
            json!({ "phone": FAYS_PHONE, "email": "new@example.com" }),
        );
        assert_second_writer_conflicts::<F, B>(&first, &second, false).await;
    }

    /// The storage refuses the row, although the change set has no guard for the key.
    pub async fn keys_are_unique_without_a_guard<F: Fixture, B: BlockOn>() {
        let entries = [
            (
                "external_ids",
                json!({ "external_id": "new", "phone": NEW_PHONE }),
                contact_with(|c| c.external_id = Some("new".into())),
            ),
            ("phones", json!({ "phone": NEW_PHONE }), contact_with(|c| c.phone = Some(NEW_PHONE.into()))),
            (
                "emails",
                json!({ "phone": NEW_PHONE, "email": "new@example.com" }),
                contact_with(|c| c.email = Some(Email::stored("New@example.com"))),
            ),
        ];
        for (key, entry, holder) in entries {
            let setup = Setup::<F, B>::new().await;
            let mut handle = setup.open().await;
            let plan = TestRequest::new(1, json!([entry])).plan(&mut handle).await;
            let changes = edited(plan.changes(), |changes| changes["guards"]["unclaimed_keys"][key] = json!([]));
            setup.write(WriteKind::Insert, HostRow::Contact(holder)).await;
            let before = setup.dump().await;
            assert_eq!(commit(&mut handle, &changes).await, CONFLICT, "{key}");
            assert_same(&before, &setup.dump().await, key);
        }
    }

    pub async fn a_host_cannot_give_two_contacts_the_same_key<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let duplicates = [
            contact_with(|contact| contact.phone = Some(BOBS_PHONE.into())),
            contact_with(|contact| contact.external_id = Some("ann-1".into())),
            contact_with(|contact| contact.email = Some(Email::stored("CAT@Example.com"))),
        ];
        let before = setup.dump().await;
        for contact in duplicates {
            assert!(
                setup.try_write(WriteKind::Insert, HostRow::Contact(contact.clone())).await.is_err(),
                "{contact:?}"
            );
            let update = Contact { id: FAY, ..contact };
            assert!(setup.try_write(WriteKind::Update, HostRow::Contact(update.clone())).await.is_err(), "{update:?}");
        }
        assert_same(&before, &setup.dump().await, "a refused key");
    }

    pub async fn keys_of_a_merged_contact_can_be_used<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let request =
            TestRequest::new(1, json!([{ "phone": DOTS_PHONE, "email": "dot@example.com", "external_id": "dot-1" }]));
        let report = request.enroll(&mut setup.open().await).await;
        assert!(report.outcomes[0].contact_created);
        let query = snapshot_query(&["dot-1"], &[DOTS_PHONE], &["dot@example.com"]);
        let snapshot = load(&mut setup.open().await, &query).await;
        let has_phone = |contact: &&Arc<ContactAggregate>| contact.contact.key(KeyKind::Phone) == Some(DOTS_PHONE);
        let holders: Vec<_> = snapshot.contacts.values().filter(has_phone).map(|contact| contact.contact.id).collect();
        assert_eq!(holders, Vec::from_iter(report.outcomes[0].contact_id));
        // The contact cannot be reopened while another contact has its keys.
        let reopened = Contact { state: ContactState::Open, ..contact(DOT) };
        assert!(setup.try_write(WriteKind::Update, HostRow::Contact(reopened)).await.is_err());
    }

    pub async fn blank_fields_are_not_keys<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        for n in 60..63 {
            let blank = contact_with(|contact| {
                contact.id = id(5, n).into();
                contact.phone = Some(" ".into());
                contact.external_id = Some("\u{a0}\t".into());
            });
            setup.write(WriteKind::Insert, HostRow::Contact(blank)).await;
        }
    }

    /// One contact releases a key and another one gets it. Uniqueness is checked at the end of the commit.
    pub async fn a_key_moves_between_contacts_in_one_commit<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        // Each entry matches its contact by external id, and has the phone of the contact before.
        for (n, holder) in [(1, BOB), (2, CAT), (3, FAY)] {
            let mut row = contact(holder);
            row.external_id = Some(format!("x-{n}").into());
            setup.write(WriteKind::Update, HostRow::Contact(row)).await;
        }
        let entries = json!([
            { "external_id": "x-1", "phone": NEW_PHONE },
            { "external_id": "x-2", "phone": BOBS_PHONE, "email": "new@example.com" },
            { "external_id": "x-3", "phone": OTHER_NEW_PHONE, "email": "cat@example.com" },
            { "phone": FAYS_PHONE },
        ]);
        let mut request = TestRequest::new(1, entries);
        request.policy.existing_contact = ExistingContact::Overwrite;
        let report = request.enroll(&mut setup.open().await).await;
        assert_eq!(report.counts().contacts_created, 1);
        let snapshot = load(
            &mut setup.open().await,
            &snapshot_query(&[], &[NEW_PHONE, BOBS_PHONE, OTHER_NEW_PHONE], &["cat@example.com"]),
        )
        .await;
        let phone = |id| snapshot.contacts[&id].contact.phone.as_deref();
        assert_eq!((phone(BOB), phone(CAT), phone(FAY)), (Some(NEW_PHONE), Some(BOBS_PHONE), Some(OTHER_NEW_PHONE)));
        assert_eq!(snapshot.contacts[&FAY].contact.email.as_ref().map(Email::key), Some("cat@example.com"));
    }

    pub async fn one_conversation_per_contact_and_phone_channel<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let mut handle = setup.open().await;
        let plan = TestRequest::phones(1, &[BOBS_PHONE]).plan(&mut handle).await;
        let conversation = |n| HostRow::Conversation(Conversation::new(id(6, n).into(), BOB, SMS));
        setup.write(WriteKind::Insert, conversation(70)).await;
        assert_refused(&setup, &mut handle, &plan, CONFLICT).await;
        // The storage refuses the row, also with a current version in the guard.
        let version = setup.load_contact(BOB, &snapshot_query(&[], &[BOBS_PHONE], &[])).await.version;
        let changes =
            edited(plan.changes(), |changes| changes["rows"]["contacts_updated"][0]["expected"] = json!(version));
        let before = setup.dump().await;
        assert_eq!(commit(&mut handle, &changes).await, CONFLICT);
        assert_same(&before, &setup.dump().await, "a second conversation");
        assert!(setup.try_write(WriteKind::Insert, conversation(71)).await.is_err());
        // A new plan reuses the existing conversation.
        let report = TestRequest::phones(1, &[BOBS_PHONE]).enroll(&mut handle).await;
        assert_eq!(report.outcomes[0].conversation_id, Some(ConversationId::from_uuid(id(6, 70))));
    }

    pub async fn many_conversations_per_contact_and_email_channel<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        for n in 70..73 {
            setup.write(WriteKind::Insert, HostRow::Conversation(Conversation::new(id(6, n).into(), BOB, MAIL))).await;
        }
    }

    pub async fn one_live_step_contact_per_contact_and_sequence<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let mut handle = setup.open().await;
        let request = TestRequest::phones(1, &[BOBS_PHONE]);
        let plan = request.plan(&mut handle).await;
        let (run, mut row) = new_run_and_step_contact(70, BOB, request.at);
        setup.write(WriteKind::Insert, HostRow::Run(run)).await;
        setup.write(WriteKind::Insert, HostRow::StepContact(row)).await;
        assert_refused(&setup, &mut handle, &plan, CONFLICT).await;
        let version = setup.load_contact(BOB, &snapshot_query(&[], &[BOBS_PHONE], &[])).await.version;
        let changes =
            edited(plan.changes(), |changes| changes["rows"]["contacts_updated"][0]["expected"] = json!(version));
        let before = setup.dump().await;
        assert_eq!(commit(&mut handle, &changes).await, CONFLICT);
        assert_same(&before, &setup.dump().await, "a second live step contact");
        row.id = id(8, 71).into();
        row.step_id = step(1);
        for status in [StepContactStatus::Active, StepContactStatus::Pending] {
            row.status = status;
            assert!(setup.try_write(WriteKind::Insert, HostRow::StepContact(row)).await.is_err(), "{status:?}");
        }
        row.status = StepContactStatus::Moved;
        setup.write(WriteKind::Insert, HostRow::StepContact(row)).await;
        row.status = StepContactStatus::Active;
        assert!(setup.try_write(WriteKind::Update, HostRow::StepContact(row)).await.is_err());
    }

    pub async fn live_step_contacts_in_two_sequences_are_allowed<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let (run, mut row) = new_run_and_step_contact(70, EVE, TestRequest::phones(1, &[]).at);
        row.sequence_id = SequenceId::from_uuid(id(3, 2));
        setup.write(WriteKind::Insert, HostRow::Run(run)).await;
        setup.write(WriteKind::Insert, HostRow::StepContact(row)).await;
    }

    pub async fn an_enrollment_is_committed_once<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let (mut first, mut second) = (setup.open().await, setup.open().await);
        let request = TestRequest::phones(1, &[NEW_PHONE]);
        let (plan, again) = (request.plan(&mut first).await, request.plan(&mut second).await);
        must_commit(&mut first, plan.changes()).await;
        assert_refused(&setup, &mut second, &again, CONFLICT).await;
        assert_eq!(request.enroll(&mut second).await, *plan.report());
        // Another request with the same id is refused and writes nothing.
        let before = setup.dump().await;
        let other = TestRequest::phones(1, &[OTHER_NEW_PHONE]).try_enroll(&mut second).await;
        assert!(matches!(other, Err(EnrollError::Rejected(_))), "{other:?}");
        assert_same(&before, &setup.dump().await, "another request with the same id");
    }
}

/// Clause 6.
#[doc(hidden)]
pub mod create_never_overwrites {
    use super::*;

    pub async fn an_existing_contact_is_not_overwritten<F: Fixture, B: BlockOn>() {
        assert_not_overwritten::<F, B>("contacts").await;
    }

    pub async fn an_existing_conversation_is_not_overwritten<F: Fixture, B: BlockOn>() {
        assert_not_overwritten::<F, B>("conversations").await;
    }

    pub async fn an_existing_run_is_not_overwritten<F: Fixture, B: BlockOn>() {
        assert_not_overwritten::<F, B>("runs").await;
    }

    pub async fn an_existing_step_contact_is_not_overwritten<F: Fixture, B: BlockOn>() {
        assert_not_overwritten::<F, B>("step_contacts").await;
    }

    pub async fn an_existing_tag_is_not_overwritten<F: Fixture, B: BlockOn>() {
        assert_not_overwritten::<F, B>("tags").await;
    }

    pub async fn an_existing_custom_record_is_not_overwritten<F: Fixture, B: BlockOn>() {
        assert_not_overwritten::<F, B>("custom_records").await;
    }

    /// The operation returns the error without a retry: a new plan would derive the same id.
    pub async fn an_existing_derived_id_fails_the_enrollment<F: Fixture, B: BlockOn>() {
        let other = Setup::<F, B>::new().await;
        let plan = request_with_everything(1).plan(&mut other.open().await).await;
        let Some((_, given)) = seeds_with_used_ids(&given(), plan.changes().rows()).into_iter().next() else { return };
        let setup = Setup::<F, B>::from_seed(&given).await;
        let answer = request_with_everything(1).try_enroll(&mut setup.open().await).await;
        let kind = match &answer {
            Err(EnrollError::Repository(e)) => Some(e.kind()),
            _ => None,
        };
        assert_eq!(kind, Some(RepositoryErrorKind::Other), "{answer:?}");
    }

    async fn assert_not_overwritten<F: Fixture, B: BlockOn>(table: &str) {
        let other = Setup::<F, B>::new().await;
        let plan = request_with_everything(1).plan(&mut other.open().await).await;
        let seeds = seeds_with_used_ids(&given(), plan.changes().rows());
        let mut tried = 0;
        for (_, given) in seeds.into_iter().filter(|(name, _)| *name == table) {
            let setup = Setup::<F, B>::from_seed(&given).await;
            let mut handle = setup.open().await;
            let plan = request_with_everything(1).plan(&mut handle).await;
            assert_refused(&setup, &mut handle, &plan, OTHER).await;
            tried += 1;
        }
        assert!(tried > 0, "the plan derives no id for `{table}`");
    }
}

/// Clause 7.
#[doc(hidden)]
pub mod conflict_is_typed {
    use super::*;

    pub async fn sequential_enrollments_do_not_conflict<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let mut handle = setup.open().await;
        for n in 1..4 {
            let plan = request_with_everything(n).plan(&mut handle).await;
            must_commit(&mut handle, plan.changes()).await;
        }
    }

    pub async fn unrelated_writes_do_not_conflict<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let (mut first, mut second) = (setup.open().await, setup.open().await);
        let plan = TestRequest::phones(1, &[NEW_PHONE, BOBS_PHONE]).plan(&mut first).await;
        // Another contact, another sequence, a new contact and another enrollment.
        let mut fay = contact(FAY);
        fay.profile.name = Some("Fay".into());
        setup.write(WriteKind::Update, HostRow::Contact(fay)).await;
        let other =
            Sequence::new(id(3, 70).into(), "Another", vec![Step::new(step(1), 1, crate::model::ChannelKind::Fax)]);
        setup.write(WriteKind::Insert, HostRow::Sequence(other)).await;
        setup
            .write(
                WriteKind::Insert,
                HostRow::Contact(contact_with(|contact| contact.phone = Some("+12025550199".into()))),
            )
            .await;
        TestRequest::phones(2, &[OTHER_NEW_PHONE, FAYS_PHONE]).enroll(&mut second).await;
        must_commit(&mut first, plan.changes()).await;
    }

    pub async fn a_new_load_resolves_a_conflict<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let (mut first, mut second) = (setup.open().await, setup.open().await);
        let request = TestRequest::phones(1, &[BOBS_PHONE]);
        let command = request.command(&mut first).await;
        let stale = plan(&command, &load(&mut first, &command.snapshot_query()).await);
        TestRequest::phones(2, &[BOBS_PHONE]).enroll(&mut second).await;
        assert_eq!(commit(&mut first, stale.changes()).await, CONFLICT);
        let fresh = plan(&command, &load(&mut first, &command.snapshot_query()).await);
        must_commit(&mut first, fresh.changes()).await;
    }
}

/// Clause 9.
#[doc(hidden)]
pub mod any_size {
    use super::*;

    pub async fn four_thousand_contacts_are_created_then_reprocessed<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let mut handle = setup.open().await;
        let entries: Vec<Value> = (0..4000).map(|n| json!({
            "phone": format!("+1202{:07}", 2_000_000 + n), "email": format!("p{n}@example.com"), "external_id": format!("p-{n}"),
            "name": format!("Person {n}"), "properties": { "count": n },
        })).collect();
        let request = |n| {
            TestRequest::new(n, json!(entries))
                .with("custom_data", json!({ "custom_object_id": id(10, 1), "resource": "contact" }))
        };
        let report = request(1).enroll(&mut handle).await;
        assert_eq!((report.counts().added, report.counts().contacts_created), (4000, 4000));
        let dump = setup.dump().await;
        assert_eq!(count(&dump, "contacts"), count(&sorted(&given()), "contacts") + 4000);
        let again = request(2).enroll(&mut handle).await;
        assert_eq!((again.counts().reprocessed, again.counts().contacts_created), (4000, 0));
        let ids = |report: &crate::report::EnrollmentReport| {
            report
                .outcomes
                .iter()
                .map(|o| (o.contact_id, o.step_contact_id, o.conversation_id, o.record_id))
                .collect::<Vec<_>>()
        };
        assert_eq!(ids(&report), ids(&again));
    }

    /// A storage may choose another way for many rows, such as a copy instead of an insert. So the number may differ, but
    /// by no more than a factor of two, for 400 times as many recipients.
    pub async fn round_trips_do_not_grow_with_the_recipients<F: Fixture, B: BlockOn>() {
        let mut counts = Vec::new();
        for recipients in [10, 4000] {
            let setup = Setup::<F, B>::new().await;
            let mut handle = setup.open().await;
            // The first calls of a handle may prepare statements.
            for n in [1, 2] {
                TestRequest::phones(n, &[NEW_PHONE]).enroll(&mut handle).await;
            }
            let entry = |n| json!({ "phone": format!("+1202{:07}", 2_000_000 + n), "name": format!("Person {n}") });
            let entries: Vec<Value> = (0..recipients).map(entry).collect();
            let mut of_requests = Vec::new();
            // The contacts are created, and then they exist.
            for n in [3, 4] {
                let Some(before) = setup.fixture.round_trips() else {
                    return println!("not checked: the fixture counts no round trips");
                };
                TestRequest::new(n, json!(entries)).enroll(&mut handle).await;
                let after = setup.fixture.round_trips().unwrap_or_default();
                assert!(after > before, "the fixture counted no round trip of an enrollment");
                of_requests.push(after - before);
            }
            counts.push(of_requests);
        }
        for (what, (few, many)) in ["new", "existing"].iter().zip(counts[0].iter().zip(&counts[1])) {
            assert!(
                *many <= 2 * few,
                "4000 {what} recipients took {many} round trips, and 10 took {few}: the number must not depend on the recipients"
            );
        }
    }

    pub async fn long_texts_are_stored_unchanged<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let mut handle = setup.open().await;
        // The keys differ in their last character.
        let long = |end: char| format!("{}{end}", "\u{1f33b}a9".repeat(20_000));
        let note = "\u{e9}\"\\\n".repeat(50_000);
        let entry = |n: u32, end| {
            json!({
                "phone": format!("+120255501{n}"), "external_id": long(end), "name": "\u{1f33b}".repeat(255),
                "address": { "city": "c".repeat(100_000) }, "properties": { "note": note, "more": { "deep": vec![n; 5000] } },
            })
        };
        let request = TestRequest::new(1, json!([entry(70, 'a'), entry(71, 'b')]));
        let request = request.with("custom_data", json!({ "custom_object_id": id(10, 1), "resource": "contact" }));
        let plan = request.plan(&mut handle).await;
        assert_eq!(plan.report().counts().contacts_created, 2);
        must_commit(&mut handle, plan.changes()).await;
        assert_same(&after(&given(), plan.changes()), &setup.dump().await, "long texts");
        let again = TestRequest::new(2, json!([{ "external_id": long('b'), "phone": "" }])).enroll(&mut handle).await;
        assert_eq!(again.outcomes[0].contact_id, plan.report().outcomes[1].contact_id);
    }
}

// Helpers of the cases.

/// Returns seeds with one more row each: a row with an id that the plan derives, one seed for each table.
fn seeds_with_used_ids(seed: &Seed, rows: &RowChanges) -> Vec<(&'static str, Seed)> {
    let mut seeds = Vec::new();
    let mut add = |table, change: &dyn Fn(&mut Seed)| {
        let mut given = seed.clone();
        change(&mut given);
        seeds.push((table, given));
    };
    // The last row of each list, so that a check of only the first row would show.
    if let Some(row) = rows.contacts_created.last() {
        add("contacts", &|given| given.contacts.push(SeedRow::from(Contact::new(row.id))));
    }
    if let Some(row) = rows.conversations_created.iter().rev().find(|row| [BOB, FAY].contains(&row.contact_id)) {
        let used = Conversation { channel_id: MAIL, ..*row };
        add("conversations", &|given| given.conversations.push(SeedRow::from(used)));
    }
    let other_sequence = SequenceId::from_uuid(id(3, 2));
    if let Some(row) = rows.runs_created.iter().rev().find(|row| row.contact_id == BOB) {
        let used = Run { sequence_id: other_sequence, ..*row };
        add("runs", &|given| given.runs.push(SeedRow::from(used)));
    }
    if let Some(row) = rows.step_contacts_created.iter().rev().find(|row| row.contact_id == BOB) {
        let used = StepContact { sequence_id: other_sequence, status: StepContactStatus::Finished, ..*row };
        add("step_contacts", &|given| given.step_contacts.push(SeedRow::from(used)));
    }
    if let Some(row) = &rows.tag_created {
        add("tags", &|given| given.tags.push(SeedRow::from(Tag::new(row.id, "Used"))));
    }
    if let Some(row) = rows.records_created.iter().rev().find(|row| row.contact_id == BOB) {
        let other = CustomObjectId::from_uuid(id(10, 70));
        let used = CustomRecord::new(row.record.id, other, Resource::Contact, BOB.as_uuid());
        add("custom_records", &|given| given.custom_records.push(SeedRow::from(used.clone())));
    }
    seeds
}

/// Plans two requests on the same rows and commits both. The second one must conflict. After a new load, it must succeed
/// without a new contact.
async fn assert_second_writer_conflicts<F: Fixture, B: BlockOn>(first: &Value, second: &Value, reuses: bool) {
    let setup = Setup::<F, B>::new().await;
    let (mut a, mut b) = (setup.open().await, setup.open().await);
    let (one, two) = (TestRequest::new(1, json!([first])), TestRequest::new(2, json!([second])));
    let (plan_one, plan_two) = (one.plan(&mut a).await, two.plan(&mut b).await);
    must_commit(&mut a, plan_one.changes()).await;
    assert_refused(&setup, &mut b, &plan_two, CONFLICT).await;
    let report = two.enroll(&mut b).await;
    let holder = plan_one.report().outcomes[0].contact_id;
    assert_eq!(report.outcomes[0].contact_id == holder, reuses, "{report:?}");
    assert!(!report.outcomes[0].contact_created);
    assert_eq!(setup.fixture.dump(ORGANIZATION).await.check_unique(), Ok(()));
}

/// Checks that the commit of the plan is refused and writes nothing.
async fn assert_refused<F: Fixture, B: BlockOn>(
    setup: &Setup<F, B>,
    handle: &mut F::Repository,
    plan: &EnrollmentPlan,
    expected: Result<(), RepositoryErrorKind>,
) {
    let id = plan.report().enrollment_id;
    let before = (setup.dump().await, setup.stored(id).await);
    assert_eq!(commit(handle, plan.changes()).await, expected);
    assert_same(&before.0, &setup.dump().await, "a refused commit");
    assert_eq!(setup.stored(id).await, before.1, "the row of the enrollment");
}

/// Returns the rows after a change set, as `ChangeSet::apply` computes them.
#[expect(clippy::expect_used, reason = "the case fails")]
fn after(given: &Seed, changes: &ChangeSet) -> Value {
    let mut snapshots = given.snapshots().expect("the seed is valid");
    let snapshot =
        snapshots.iter_mut().find(|snapshot| snapshot.reference.organization_id == changes.organization_id());
    // The storage counts versions in its own way, so the versions of the plan are used.
    let snapshot = snapshot.expect("the seed has the organization");
    set_expected_versions(snapshot, changes);
    changes.apply(snapshot).expect("the change set applies");
    sorted(&Seed::dump(&snapshots, ORGANIZATION))
}

/// Returns the change set with an edit of its JSON.
#[expect(clippy::expect_used, reason = "the case fails")]
fn edited(changes: &ChangeSet, edit: impl FnOnce(&mut Value)) -> ChangeSet {
    let mut value = serde_json::to_value(changes).expect("a change set serializes");
    edit(&mut value);
    serde_json::from_value(value).expect("the edited change set deserializes")
}

fn contact_with(set: impl FnOnce(&mut Contact)) -> Contact {
    let mut contact = Contact::new(id(5, 70).into());
    set(&mut contact);
    contact
}

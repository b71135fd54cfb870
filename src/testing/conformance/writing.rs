//! Clauses 3, 5, 6, 7 and 9: what is written.
#![expect(missing_docs, clippy::missing_panics_doc, reason = "a case is its name, and panics where it fails")]
#![allow(clippy::wildcard_imports, reason = "a clause takes what its file has")]

use serde_json::{Value, json};
use std::sync::Arc;

use super::scene::{
    Asked, BOB, BOBS_PHONE, CAT, DOT, DOTS_PHONE, EVE, FAY, FAYS_PHONE, MAIL, NEW_PHONE, ORGANIZATION, OTHER_NEW_PHONE,
    SMS, Scene, at_the_versions_of, commit, commit_freely, contact, count, given, id, load, plan, run_and_stay, same,
    snapshot_query, sorted, stay, step,
};
use super::{BlockOn, Fixture};
use crate::changes::{ChangeSet, RowChanges};
use crate::contact::{Contact, ContactState, Email, KeyKind};
use crate::enroll::EnrollError;
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
pub mod all_or_nothing {
    use super::*;

    pub async fn a_commit_writes_all_that_its_plan_says<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let mut handle = scene.open().await;
        let plan = everything(1).plan(&mut handle).await;
        let rows = plan.changes().rows();
        // The case is worth its name: every list has something in it.
        assert!(!rows.contacts_created.is_empty() && !rows.contacts_updated.is_empty());
        assert!(!rows.conversations_created.is_empty() && !rows.runs_created.is_empty());
        assert!(!rows.runs_reactivated.is_empty() && !rows.step_contacts_created.is_empty());
        assert!(!rows.step_contacts_updated.is_empty() && !rows.contact_tags_created.is_empty());
        assert!(!rows.records_created.is_empty() && !rows.records_updated.is_empty() && rows.tag_created.is_some());
        commit_freely(&mut handle, plan.changes()).await;
        same(&after(&given(), plan.changes()), &scene.dump().await, "a commit");
    }

    pub async fn a_stale_guard_leaves_nothing<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let mut handle = scene.open().await;
        let plan = everything(1).plan(&mut handle).await;
        scene.write(WriteKind::Update, stay(FAY, StepContactStatus::Inactive)).await;
        refused(&scene, &mut handle, &plan, CONFLICT).await;
    }

    /// The last contact of many, and a row of each table in turn, is in the way.
    pub async fn a_refused_row_of_any_table_takes_the_others_with_it<F: Fixture, B: BlockOn>() {
        let (learnt, world) = (Scene::<F, B>::new().await, given());
        let plan = everything(1).plan(&mut learnt.open().await).await;
        for (table, given) in taken_ids(&world, plan.changes().rows()) {
            let scene = Scene::<F, B>::of(&given).await;
            let mut handle = scene.open().await;
            let plan = everything(1).plan(&mut handle).await;
            let before = scene.dump().await;
            assert_eq!(commit(&mut handle, plan.changes()).await, OTHER, "{table}");
            same(&before, &scene.dump().await, &format!("a derived id that exists in `{table}`"));
        }
    }

    pub async fn a_claimed_key_of_the_last_recipient_takes_the_others_with_it<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let (mut first, mut second) = (scene.open().await, scene.open().await);
        let plan = Asked::phones(1, &[FAYS_PHONE, OTHER_NEW_PHONE, NEW_PHONE]).plan(&mut first).await;
        Asked::phones(2, &[NEW_PHONE]).enroll(&mut second).await;
        refused(&scene, &mut first, &plan, CONFLICT).await;
    }

    pub async fn a_refused_commit_can_be_planned_again<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let (mut first, mut second) = (scene.open().await, scene.open().await);
        let asked = Asked::phones(1, &[NEW_PHONE, OTHER_NEW_PHONE]);
        let plan = asked.plan(&mut first).await;
        Asked::phones(2, &[NEW_PHONE]).enroll(&mut second).await;
        refused(&scene, &mut first, &plan, CONFLICT).await;
        let report = asked.enroll(&mut first).await;
        assert_eq!((report.counts().reprocessed, report.counts().added), (1, 1));
    }
}

/// Clause 5.
pub mod unique_for_good {
    use super::*;

    pub async fn a_second_writer_of_the_same_phone_conflicts_then_reuses<F: Fixture, B: BlockOn>() {
        race::<F, B>(&json!({ "phone": NEW_PHONE }), &json!({ "phone": "(202) 555-0150", "name": "N" }), true).await;
    }

    pub async fn a_second_writer_of_the_same_email_conflicts_then_reuses<F: Fixture, B: BlockOn>() {
        let (first, second) = (
            json!({ "phone": NEW_PHONE, "email": "new@example.com" }),
            json!({ "phone": OTHER_NEW_PHONE, "email": "NEW@Example.com" }),
        );
        race::<F, B>(&first, &second, true).await;
    }

    pub async fn a_second_writer_of_the_same_external_id_conflicts_then_reuses<F: Fixture, B: BlockOn>() {
        let (first, second) = (
            json!({ "phone": NEW_PHONE, "external_id": "new" }),
            json!({ "phone": OTHER_NEW_PHONE, "external_id": "new" }),
        );
        race::<F, B>(&first, &second, true).await;
    }

    pub async fn a_second_writer_of_the_same_blank_field_conflicts_then_reuses<F: Fixture, B: BlockOn>() {
        // Both would give their contact the email that nobody has.
        let (first, second) = (
            json!({ "phone": BOBS_PHONE, "email": "new@example.com" }),
            json!({ "phone": FAYS_PHONE, "email": "new@example.com" }),
        );
        race::<F, B>(&first, &second, false).await;
    }

    /// The storage itself refuses, also where a change set has no guard that would.
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
            let scene = Scene::<F, B>::new().await;
            let mut handle = scene.open().await;
            let plan = Asked::new(1, json!([entry])).plan(&mut handle).await;
            let changes = forged(plan.changes(), |changes| changes["guards"]["vacant"][key] = json!([]));
            scene.write(WriteKind::Insert, HostRow::Contact(holder)).await;
            let before = scene.dump().await;
            assert_eq!(commit(&mut handle, &changes).await, CONFLICT, "{key}");
            same(&before, &scene.dump().await, key);
        }
    }

    pub async fn a_host_cannot_give_two_contacts_one_key<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let twice = [
            contact_with(|contact| contact.phone = Some(BOBS_PHONE.into())),
            contact_with(|contact| contact.external_id = Some("ann-1".into())),
            contact_with(|contact| contact.email = Some(Email::stored("CAT@Example.com"))),
        ];
        let before = scene.dump().await;
        for contact in twice {
            assert!(
                scene.try_write(WriteKind::Insert, HostRow::Contact(contact.clone())).await.is_err(),
                "{contact:?}"
            );
            let taken = Contact { id: FAY, ..contact };
            assert!(scene.try_write(WriteKind::Update, HostRow::Contact(taken.clone())).await.is_err(), "{taken:?}");
        }
        same(&before, &scene.dump().await, "a key that was refused");
    }

    pub async fn a_merged_contacts_keys_are_free<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let asked = Asked::new(1, json!([{ "phone": DOTS_PHONE, "email": "dot@example.com", "external_id": "dot-1" }]));
        let report = asked.enroll(&mut scene.open().await).await;
        assert!(report.outcomes[0].contact_created);
        let asked = snapshot_query(&["dot-1"], &[DOTS_PHONE], &["dot@example.com"]);
        let snapshot = load(&mut scene.open().await, &asked).await;
        let holds = |person: &&Arc<ContactAggregate>| person.contact.key(KeyKind::Phone) == Some(DOTS_PHONE);
        let holders: Vec<_> = snapshot.contacts.values().filter(holds).map(|person| person.contact.id).collect();
        assert_eq!(holders, Vec::from_iter(report.outcomes[0].contact_id));
        // She cannot come back while another holds them.
        let back = Contact { state: ContactState::Open, ..contact(DOT) };
        assert!(scene.try_write(WriteKind::Update, HostRow::Contact(back)).await.is_err());
    }

    pub async fn blank_fields_are_no_keys<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        for n in 60..63 {
            let blank = contact_with(|contact| {
                contact.id = id(5, n).into();
                contact.phone = Some(" ".into());
                contact.external_id = Some("\u{a0}\t".into());
            });
            scene.write(WriteKind::Insert, HostRow::Contact(blank)).await;
        }
    }

    /// A key that one contact gives up, another takes in the same commit: what counts is how it stands afterwards.
    pub async fn keys_given_up_and_claimed_in_one_commit_go_over<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        // Each finds its contact by the external id, and brings the phone that the one before it had.
        for (n, holder) in [(1, BOB), (2, CAT), (3, FAY)] {
            let mut row = contact(holder);
            row.external_id = Some(format!("x-{n}").into());
            scene.write(WriteKind::Update, HostRow::Contact(row)).await;
        }
        let entries = json!([
            { "external_id": "x-1", "phone": NEW_PHONE },
            { "external_id": "x-2", "phone": BOBS_PHONE, "email": "new@example.com" },
            { "external_id": "x-3", "phone": OTHER_NEW_PHONE, "email": "cat@example.com" },
            { "phone": FAYS_PHONE },
        ]);
        let mut asked = Asked::new(1, entries);
        asked.policy.existing_contact = ExistingContact::Overwrite;
        let report = asked.enroll(&mut scene.open().await).await;
        assert_eq!(report.counts().contacts_created, 1);
        let snapshot = load(
            &mut scene.open().await,
            &snapshot_query(&[], &[NEW_PHONE, BOBS_PHONE, OTHER_NEW_PHONE], &["cat@example.com"]),
        )
        .await;
        let phone = |id| snapshot.contacts[&id].contact.phone.as_deref();
        assert_eq!((phone(BOB), phone(CAT), phone(FAY)), (Some(NEW_PHONE), Some(BOBS_PHONE), Some(OTHER_NEW_PHONE)));
        assert_eq!(snapshot.contacts[&FAY].contact.email.as_ref().map(Email::key), Some("cat@example.com"));
    }

    pub async fn one_conversation_of_a_contact_on_a_phone_channel<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let mut handle = scene.open().await;
        let plan = Asked::phones(1, &[BOBS_PHONE]).plan(&mut handle).await;
        let conversation = |n| HostRow::Conversation(Conversation::new(id(6, n).into(), BOB, SMS));
        scene.write(WriteKind::Insert, conversation(70)).await;
        refused(&scene, &mut handle, &plan, CONFLICT).await;
        // The storage itself refuses, with the guard brought up to date by force.
        let version = scene.person(BOB, &snapshot_query(&[], &[BOBS_PHONE], &[])).await.version;
        let changes =
            forged(plan.changes(), |changes| changes["rows"]["contacts_updated"][0]["expected"] = json!(version));
        let before = scene.dump().await;
        assert_eq!(commit(&mut handle, &changes).await, CONFLICT);
        same(&before, &scene.dump().await, "a second conversation");
        assert!(scene.try_write(WriteKind::Insert, conversation(71)).await.is_err());
        // Planned again, the one that stands is used.
        let report = Asked::phones(1, &[BOBS_PHONE]).enroll(&mut handle).await;
        assert_eq!(report.outcomes[0].conversation_id, Some(ConversationId::from_uuid(id(6, 70))));
    }

    pub async fn any_number_of_conversations_by_email<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        for n in 70..73 {
            scene.write(WriteKind::Insert, HostRow::Conversation(Conversation::new(id(6, n).into(), BOB, MAIL))).await;
        }
    }

    pub async fn one_live_step_contact_of_a_contact_in_a_sequence<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let mut handle = scene.open().await;
        let asked = Asked::phones(1, &[BOBS_PHONE]);
        let plan = asked.plan(&mut handle).await;
        let (run, mut row) = run_and_stay(70, BOB, asked.at);
        scene.write(WriteKind::Insert, HostRow::Run(run)).await;
        scene.write(WriteKind::Insert, HostRow::StepContact(row)).await;
        refused(&scene, &mut handle, &plan, CONFLICT).await;
        let version = scene.person(BOB, &snapshot_query(&[], &[BOBS_PHONE], &[])).await.version;
        let changes =
            forged(plan.changes(), |changes| changes["rows"]["contacts_updated"][0]["expected"] = json!(version));
        let before = scene.dump().await;
        assert_eq!(commit(&mut handle, &changes).await, CONFLICT);
        same(&before, &scene.dump().await, "a second live step contact");
        row.id = id(8, 71).into();
        row.step_id = step(1);
        for status in [StepContactStatus::Active, StepContactStatus::Pending] {
            row.status = status;
            assert!(scene.try_write(WriteKind::Insert, HostRow::StepContact(row)).await.is_err(), "{status:?}");
        }
        row.status = StepContactStatus::Moved;
        scene.write(WriteKind::Insert, HostRow::StepContact(row)).await;
        row.status = StepContactStatus::Active;
        assert!(scene.try_write(WriteKind::Update, HostRow::StepContact(row)).await.is_err());
    }

    pub async fn live_in_two_sequences_is_no_conflict<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let (run, mut row) = run_and_stay(70, EVE, Asked::phones(1, &[]).at);
        row.sequence_id = SequenceId::from_uuid(id(3, 2));
        scene.write(WriteKind::Insert, HostRow::Run(run)).await;
        scene.write(WriteKind::Insert, HostRow::StepContact(row)).await;
    }

    pub async fn an_enrollment_happens_once<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let (mut first, mut second) = (scene.open().await, scene.open().await);
        let asked = Asked::phones(1, &[NEW_PHONE]);
        let (plan, again) = (asked.plan(&mut first).await, asked.plan(&mut second).await);
        commit_freely(&mut first, plan.changes()).await;
        refused(&scene, &mut second, &again, CONFLICT).await;
        assert_eq!(asked.enroll(&mut second).await, *plan.report());
        // Another request under the same id is told so, and writes nothing.
        let before = scene.dump().await;
        let other = Asked::phones(1, &[OTHER_NEW_PHONE]).try_enroll(&mut second).await;
        assert!(matches!(other, Err(EnrollError::Rejected(_))), "{other:?}");
        same(&before, &scene.dump().await, "another request under the same id");
    }
}

/// Clause 6.
pub mod create_means_create {
    use super::*;

    pub async fn a_contact_under_a_derived_id_is_not_overwritten<F: Fixture, B: BlockOn>() {
        derived::<F, B>("contacts").await;
    }

    pub async fn a_conversation_under_a_derived_id_is_not_overwritten<F: Fixture, B: BlockOn>() {
        derived::<F, B>("conversations").await;
    }

    pub async fn a_run_under_a_derived_id_is_not_overwritten<F: Fixture, B: BlockOn>() {
        derived::<F, B>("runs").await;
    }

    pub async fn a_step_contact_under_a_derived_id_is_not_overwritten<F: Fixture, B: BlockOn>() {
        derived::<F, B>("step_contacts").await;
    }

    pub async fn a_tag_under_a_derived_id_is_not_overwritten<F: Fixture, B: BlockOn>() {
        derived::<F, B>("tags").await;
    }

    pub async fn a_record_under_a_derived_id_is_not_overwritten<F: Fixture, B: BlockOn>() {
        derived::<F, B>("custom_records").await;
    }

    /// The whole operation ends, and tells the error: planning again would derive the same id.
    pub async fn a_derived_id_that_exists_ends_the_enrollment<F: Fixture, B: BlockOn>() {
        let learnt = Scene::<F, B>::new().await;
        let plan = everything(1).plan(&mut learnt.open().await).await;
        let Some((_, given)) = taken_ids(&given(), plan.changes().rows()).into_iter().next() else { return };
        let scene = Scene::<F, B>::of(&given).await;
        let answer = everything(1).try_enroll(&mut scene.open().await).await;
        let kind = match &answer {
            Err(EnrollError::Repository(e)) => Some(e.kind()),
            _ => None,
        };
        assert_eq!(kind, Some(RepositoryErrorKind::Other), "{answer:?}");
    }

    async fn derived<F: Fixture, B: BlockOn>(table: &str) {
        let learnt = Scene::<F, B>::new().await;
        let plan = everything(1).plan(&mut learnt.open().await).await;
        let worlds = taken_ids(&given(), plan.changes().rows());
        let mut tried = 0;
        for (_, given) in worlds.into_iter().filter(|(name, _)| *name == table) {
            let scene = Scene::<F, B>::of(&given).await;
            let mut handle = scene.open().await;
            let plan = everything(1).plan(&mut handle).await;
            refused(&scene, &mut handle, &plan, OTHER).await;
            tried += 1;
        }
        assert!(tried > 0, "no derived id of `{table}`");
    }
}

/// Clause 7.
pub mod conflict_is_typed {
    use super::*;

    pub async fn with_nothing_in_the_way_there_is_none<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let mut handle = scene.open().await;
        for n in 1..4 {
            let plan = everything(n).plan(&mut handle).await;
            commit_freely(&mut handle, plan.changes()).await;
        }
    }

    pub async fn what_a_plan_does_not_rest_on_is_not_in_its_way<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let (mut first, mut second) = (scene.open().await, scene.open().await);
        let plan = Asked::phones(1, &[NEW_PHONE, BOBS_PHONE]).plan(&mut first).await;
        // Other people, another sequence, a channel that is not used, and another enrollment.
        let mut fay = contact(FAY);
        fay.name = Some("Fay".into());
        scene.write(WriteKind::Update, HostRow::Contact(fay)).await;
        let other =
            Sequence::new(id(3, 70).into(), "Another", vec![Step::new(step(1), 1, crate::model::ChannelKind::Fax)]);
        scene.write(WriteKind::Insert, HostRow::Sequence(other)).await;
        scene
            .write(
                WriteKind::Insert,
                HostRow::Contact(contact_with(|contact| contact.phone = Some("+12025550199".into()))),
            )
            .await;
        Asked::phones(2, &[OTHER_NEW_PHONE, FAYS_PHONE]).enroll(&mut second).await;
        commit_freely(&mut first, plan.changes()).await;
    }

    pub async fn a_fresh_load_ends_it<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let (mut first, mut second) = (scene.open().await, scene.open().await);
        let asked = Asked::phones(1, &[BOBS_PHONE]);
        let command = asked.command(&mut first).await;
        let stale = plan(&command, &load(&mut first, &command.snapshot_query()).await);
        Asked::phones(2, &[BOBS_PHONE]).enroll(&mut second).await;
        assert_eq!(commit(&mut first, stale.changes()).await, CONFLICT);
        let fresh = plan(&command, &load(&mut first, &command.snapshot_query()).await);
        commit_freely(&mut first, fresh.changes()).await;
    }
}

/// Clause 9.
pub mod any_size {
    use super::*;

    pub async fn four_thousand_new_people_and_again<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let mut handle = scene.open().await;
        let entries: Vec<Value> = (0..4000).map(|n| json!({
            "phone": format!("+1202{:07}", 2_000_000 + n), "email": format!("p{n}@example.com"), "external_id": format!("p-{n}"),
            "name": format!("ContactAggregate {n}"), "properties": { "count": n },
        })).collect();
        let asked = |n| {
            Asked::new(n, json!(entries))
                .with("custom_data", json!({ "custom_object_id": id(10, 1), "resource": "contact" }))
        };
        let report = asked(1).enroll(&mut handle).await;
        assert_eq!((report.counts().added, report.counts().contacts_created), (4000, 4000));
        let dump = scene.dump().await;
        assert_eq!(count(&dump, "contacts"), count(&sorted(&given()), "contacts") + 4000);
        let again = asked(2).enroll(&mut handle).await;
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

    pub async fn long_texts_come_back_whole<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let mut handle = scene.open().await;
        // Keys that differ at the very end.
        let long = |end: char| format!("{}{end}", "\u{1f33b}a9".repeat(20_000));
        let note = "\u{e9}\"\\\n".repeat(50_000);
        let entry = |n: u32, end| {
            json!({
                "phone": format!("+120255501{n}"), "external_id": long(end), "name": "\u{1f33b}".repeat(255),
                "address": { "city": "c".repeat(100_000) }, "properties": { "note": note, "more": { "deep": vec![n; 5000] } },
            })
        };
        let asked = Asked::new(1, json!([entry(70, 'a'), entry(71, 'b')]));
        let asked = asked.with("custom_data", json!({ "custom_object_id": id(10, 1), "resource": "contact" }));
        let plan = asked.plan(&mut handle).await;
        assert_eq!(plan.report().counts().contacts_created, 2);
        commit_freely(&mut handle, plan.changes()).await;
        same(&after(&given(), plan.changes()), &scene.dump().await, "long texts");
        let again = Asked::new(2, json!([{ "external_id": long('b'), "phone": "" }])).enroll(&mut handle).await;
        assert_eq!(again.outcomes[0].contact_id, plan.report().outcomes[1].contact_id);
    }
}

// ---- What the cases share.

/// A request that writes to every table, and both creates and updates where both can be.
fn everything(n: u64) -> Asked {
    let asked = Asked::new(
        n,
        json!([
            { "external_id": "ann-1", "phone": "+12025550123", "properties": { "weight": 2.5, "note": null } },
            { "phone": BOBS_PHONE, "email": "Bob@Example.com", "name": "Bob", "language": "fr", "default_channel_id": MAIL,
              "address": { "city": "Lyon", "postal_code": "69001" }, "birth_date": { "day": 1, "month": 5 }, "properties": { "count": 7 } },
            { "phone": NEW_PHONE, "external_id": "new-1", "email": "Neu@B\u{fc}cher.example", "name": "N\u{e9}w",
              "birth_date": { "year": 1980 }, "properties": { "count": 0, "tags": [1, 1.0, 1e16, "x"], "more": { "a": { "b": null } } } },
            { "phone": OTHER_NEW_PHONE },
            { "phone": FAYS_PHONE, "name": "Fay" },
            { "phone": "junk" },
        ]),
    );
    let data = json!({ "custom_object_id": id(10, 1), "resource": "contact" });
    asked.with("custom_data", data).with("voice_options", json!({ "default_call_flow_id": id(12, 1) }))
}

/// The world with a row under one of the ids that the plan derives: for each table whose rows it creates.
fn taken_ids(world: &Seed, rows: &RowChanges) -> Vec<(&'static str, Seed)> {
    let mut worlds = Vec::new();
    let mut take = |table, change: &dyn Fn(&mut Seed)| {
        let mut given = world.clone();
        change(&mut given);
        worlds.push((table, given));
    };
    // The last of each list, so that whatever stops at the first would show.
    if let Some(row) = rows.contacts_created.last() {
        take("contacts", &|given| given.contacts.push(SeedRow::from(Contact::new(row.id))));
    }
    if let Some(row) = rows.conversations_created.iter().rev().find(|row| [BOB, FAY].contains(&row.contact_id)) {
        let taken = Conversation { channel_id: MAIL, ..*row };
        take("conversations", &|given| given.conversations.push(SeedRow::from(taken)));
    }
    let elsewhere = SequenceId::from_uuid(id(3, 2));
    if let Some(row) = rows.runs_created.iter().rev().find(|row| row.contact_id == BOB) {
        let taken = Run { sequence_id: elsewhere, ..*row };
        take("runs", &|given| given.runs.push(SeedRow::from(taken)));
    }
    if let Some(row) = rows.step_contacts_created.iter().rev().find(|row| row.contact_id == BOB) {
        let taken = StepContact { sequence_id: elsewhere, status: StepContactStatus::Finished, ..*row };
        take("step_contacts", &|given| given.step_contacts.push(SeedRow::from(taken)));
    }
    if let Some(row) = &rows.tag_created {
        take("tags", &|given| given.tags.push(SeedRow::from(Tag::new(row.id, "Taken"))));
    }
    if let Some(row) = rows.records_created.iter().rev().find(|row| row.resource_id == BOB.as_uuid()) {
        let other = CustomObjectId::from_uuid(id(10, 70));
        let taken = CustomRecord::new(row.id, other, Resource::Contact, row.resource_id);
        take("custom_records", &|given| given.custom_records.push(SeedRow::from(taken.clone())));
    }
    worlds
}

/// Both plan on the same facts; the first commits, the second is refused and plans again. The key is one contact's.
async fn race<F: Fixture, B: BlockOn>(first: &Value, second: &Value, reuses: bool) {
    let scene = Scene::<F, B>::new().await;
    let (mut a, mut b) = (scene.open().await, scene.open().await);
    let (one, two) = (Asked::new(1, json!([first])), Asked::new(2, json!([second])));
    let (plan_one, plan_two) = (one.plan(&mut a).await, two.plan(&mut b).await);
    commit_freely(&mut a, plan_one.changes()).await;
    refused(&scene, &mut b, &plan_two, CONFLICT).await;
    let report = two.enroll(&mut b).await;
    let holder = plan_one.report().outcomes[0].contact_id;
    assert_eq!(report.outcomes[0].contact_id == holder, reuses, "{report:?}");
    assert!(!report.outcomes[0].contact_created);
    assert_eq!(scene.fixture.dump(ORGANIZATION).await.check_unique(), Ok(()));
}

/// A commit that must be refused, as it was planned, and leave all as it was.
async fn refused<F: Fixture, B: BlockOn>(
    scene: &Scene<F, B>,
    handle: &mut F::Repository,
    plan: &EnrollmentPlan,
    expected: Result<(), RepositoryErrorKind>,
) {
    let id = plan.report().enrollment_id;
    let before = (scene.dump().await, scene.stored(id).await);
    assert_eq!(commit(handle, plan.changes()).await, expected);
    same(&before.0, &scene.dump().await, "a commit that was refused");
    assert_eq!(scene.stored(id).await, before.1, "the enrollment's own row");
}

/// The world after a change set, by the engine's own account.
#[expect(clippy::expect_used, reason = "the case fails")]
fn after(given: &Seed, changes: &ChangeSet) -> Value {
    let mut snapshots = given.snapshots().expect("the world can be read");
    let of = snapshots.iter_mut().find(|snapshot| snapshot.reference.organization_id == changes.organization_id());
    // Versions are the storage's own: those that the plan saw are put in place.
    let snapshot = of.expect("the organization is in it");
    at_the_versions_of(snapshot, changes);
    changes.apply(snapshot).expect("the change set applies");
    sorted(&Seed::dump(&snapshots, ORGANIZATION))
}

/// A change set with something in it changed by force.
#[expect(clippy::expect_used, reason = "the case fails")]
fn forged(changes: &ChangeSet, forge: impl FnOnce(&mut Value)) -> ChangeSet {
    let mut value = serde_json::to_value(changes).expect("a change set can be written");
    forge(&mut value);
    serde_json::from_value(value).expect("and read")
}

fn contact_with(set: impl FnOnce(&mut Contact)) -> Contact {
    let mut contact = Contact::new(id(5, 70).into());
    set(&mut contact);
    contact
}

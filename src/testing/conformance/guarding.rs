//! Clauses 4 and 12: what a plan rests on does not change unseen.
#![expect(missing_docs, clippy::missing_panics_doc, reason = "a case is its name, and panics where it fails")]
#![allow(clippy::wildcard_imports, reason = "a clause takes what its file has")]

use serde_json::json;

use super::scene::{
    ANN, Asked, BOB, BOBS_PHONE, CAT, DOT, DOTS_PHONE, EVE, EVES_PHONE, FAY, FAYS_PHONE, MAIL, NEIGHBOURS, NEW_PHONE,
    NO_CHANNEL, OTHER_NEW_PHONE, SEQUENCE, SMS, Scene, commit, commit_freely, contact, enrollment, given, id, load,
    neighbour, neighbours_phone, opt_in, plan, reference_query, run_and_stay, same, snapshot_query, stay, step,
    with_neighbours,
};
use super::{BlockOn, Fixture};
use crate::contact::{Contact, ContactState, Email};
use crate::enroll::EnrollError;
use crate::model::{
    CallFlow, Channel, ChannelKind, ContactTag, Conversation, ConversationStatus, CustomObject, CustomProperty,
    CustomRecord, PropertyKind, Resource, RunStatus, Sequence, SequenceStatus, Step, StepContactStatus, Tag,
};
use crate::repository::{AsyncRepository, RepositoryErrorKind};
use crate::seed::{HostRow, WriteKind};
use crate::snapshot::Version;

/// Clause 4. Each case plans, lets the host write one thing that the plan rests on, and commits.
pub mod guards_hold {
    use super::*;

    pub async fn a_sequence_that_was_archived<F: Fixture, B: BlockOn>() {
        let archived = Sequence { status: SequenceStatus::Archived, ..sequence() };
        changed::<F, B>(added(), WriteKind::Update, HostRow::Sequence(archived)).await;
    }

    pub async fn a_sequence_whose_settings_changed<F: Fixture, B: BlockOn>() {
        let mut changed_settings = sequence();
        changed_settings.settings.max_runs = Some(1);
        changed::<F, B>(added(), WriteKind::Update, HostRow::Sequence(changed_settings)).await;
    }

    pub async fn a_sequence_that_was_deleted<F: Fixture, B: BlockOn>() {
        changed::<F, B>(added(), WriteKind::Delete, HostRow::Sequence(sequence())).await;
    }

    pub async fn a_step_that_was_inserted<F: Fixture, B: BlockOn>() {
        let step = Step::new(step(9), 0, ChannelKind::Email);
        changed::<F, B>(added(), WriteKind::Insert, HostRow::Step { sequence_id: SEQUENCE, step }).await;
    }

    pub async fn a_step_that_was_changed<F: Fixture, B: BlockOn>() {
        let step = Step { channel_kind: ChannelKind::Email, ..sequence().steps[0] };
        changed::<F, B>(added(), WriteKind::Update, HostRow::Step { sequence_id: SEQUENCE, step }).await;
    }

    pub async fn a_step_that_was_deleted<F: Fixture, B: BlockOn>() {
        let step = sequence().steps[0];
        changed::<F, B>(added(), WriteKind::Delete, HostRow::Step { sequence_id: SEQUENCE, step }).await;
    }

    pub async fn a_channel_that_was_disabled<F: Fixture, B: BlockOn>() {
        let mut channel = channel();
        channel.enabled = false;
        changed::<F, B>(added(), WriteKind::Update, HostRow::Channel(channel)).await;
    }

    pub async fn a_channel_that_was_deleted<F: Fixture, B: BlockOn>() {
        changed::<F, B>(added(), WriteKind::Delete, HostRow::Channel(channel())).await;
    }

    pub async fn a_channel_that_was_unknown_and_appears<F: Fixture, B: BlockOn>() {
        let asked = Asked::new(1, json!([{ "phone": NEW_PHONE, "default_channel_id": NO_CHANNEL }]));
        changed::<F, B>(
            asked,
            WriteKind::Insert,
            HostRow::Channel(Channel::new(NO_CHANNEL, ChannelKind::Fax, "+12025550190")),
        )
        .await;
    }

    pub async fn a_custom_object_that_was_changed<F: Fixture, B: BlockOn>() {
        let mut object = object();
        object.properties.push(CustomProperty::new("one more", PropertyKind::Text));
        changed::<F, B>(with_data(), WriteKind::Update, HostRow::CustomObject(object)).await;
    }

    pub async fn a_custom_object_that_was_deleted<F: Fixture, B: BlockOn>() {
        changed::<F, B>(with_data(), WriteKind::Delete, HostRow::CustomObject(object())).await;
    }

    pub async fn a_call_flow_that_was_deleted<F: Fixture, B: BlockOn>() {
        let asked = added().with("voice_options", json!({ "default_call_flow_id": id(12, 1) }));
        changed::<F, B>(asked, WriteKind::Delete, HostRow::CallFlow(CallFlow::new(id(12, 1).into(), ""))).await;
    }

    pub async fn a_contact_that_was_blocked<F: Fixture, B: BlockOn>() {
        let mut bob = contact(BOB);
        bob.state = ContactState::Blocked;
        changed::<F, B>(known(), WriteKind::Update, HostRow::Contact(bob)).await;
    }

    pub async fn a_contact_that_was_merged<F: Fixture, B: BlockOn>() {
        let mut bob = contact(BOB);
        bob.state = ContactState::Merged;
        changed::<F, B>(known(), WriteKind::Update, HostRow::Contact(bob)).await;
    }

    pub async fn a_contact_that_was_given_another_phone<F: Fixture, B: BlockOn>() {
        let mut bob = contact(BOB);
        bob.phone = Some("+12025550195".into());
        changed::<F, B>(known(), WriteKind::Update, HostRow::Contact(bob)).await;
    }

    pub async fn a_contact_that_was_filled<F: Fixture, B: BlockOn>() {
        let mut bob = contact(BOB);
        bob.name = Some("Robert".into());
        changed::<F, B>(known(), WriteKind::Update, HostRow::Contact(bob)).await;
    }

    pub async fn a_contact_that_was_deleted<F: Fixture, B: BlockOn>() {
        changed::<F, B>(known(), WriteKind::Delete, HostRow::Contact(contact(BOB))).await;
    }

    /// One that is looked at and not written: she stays where she is, and what she holds is hers.
    pub async fn a_contact_that_is_ignored_and_changes<F: Fixture, B: BlockOn>() {
        let mut eve = contact(EVE);
        eve.name = Some("Eve".into());
        changed::<F, B>(Asked::phones(1, &[EVES_PHONE, NEW_PHONE]), WriteKind::Update, HostRow::Contact(eve)).await;
    }

    /// One of many whose ids lie side by side, in their middle; and one between them who was not asked for is in nobody's way.
    pub async fn one_of_many_neighbours_that_changes<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::of(&with_neighbours()).await;
        let mut handle = scene.open().await;
        let asked: Vec<_> =
            (0..NEIGHBOURS).filter(|n| *n != 7).map(|n| json!({ "phone": neighbours_phone(n) })).collect();
        for (enrollment, changed, ends) in [(1, 5, CONFLICT), (2, 7, Ok(()))] {
            let plan = Asked::new(enrollment, json!(asked)).plan(&mut handle).await;
            let mut contact = Contact::new(neighbour(changed));
            contact.phone = Some(neighbours_phone(changed).as_str().into());
            contact.name = Some("Someone".into());
            scene.write(WriteKind::Update, HostRow::Contact(contact)).await;
            assert_eq!(commit(&mut handle, plan.changes()).await, ends);
        }
    }

    pub async fn an_opt_out<F: Fixture, B: BlockOn>() {
        changed::<F, B>(known(), WriteKind::Insert, opt_in(BOB, false)).await;
    }

    pub async fn a_conversation_that_begins<F: Fixture, B: BlockOn>() {
        let row = Conversation::new(id(6, 70).into(), BOB, SMS);
        changed::<F, B>(known(), WriteKind::Insert, HostRow::Conversation(row)).await;
    }

    pub async fn a_run_that_begins<F: Fixture, B: BlockOn>() {
        let (run, _) = run_and_stay(70, BOB, known().at);
        changed::<F, B>(known(), WriteKind::Insert, HostRow::Run(run)).await;
    }

    pub async fn a_step_contact_that_goes_on<F: Fixture, B: BlockOn>() {
        let asked = Asked::phones(1, &[FAYS_PHONE]);
        changed::<F, B>(asked, WriteKind::Update, stay(FAY, StepContactStatus::Inactive)).await;
    }

    pub async fn a_step_contact_that_is_deleted<F: Fixture, B: BlockOn>() {
        let asked = Asked::phones(1, &[FAYS_PHONE]);
        changed::<F, B>(asked, WriteKind::Delete, stay(FAY, StepContactStatus::Finished)).await;
    }

    pub async fn a_record_that_appears<F: Fixture, B: BlockOn>() {
        let row = CustomRecord::new(id(11, 70).into(), id(10, 1).into(), Resource::Contact, BOB.as_uuid());
        changed::<F, B>(with_data(), WriteKind::Insert, HostRow::CustomRecord(row)).await;
    }

    pub async fn a_vacant_phone_that_is_taken<F: Fixture, B: BlockOn>() {
        // By someone whom the entry's other key does not name, so that nothing but the vacancy is at stake.
        let asked = Asked::new(1, json!([{ "external_id": "ann-1", "phone": NEW_PHONE }]));
        let mut cat = contact(CAT);
        cat.phone = Some(NEW_PHONE.into());
        changed::<F, B>(asked, WriteKind::Update, HostRow::Contact(cat)).await;
    }

    pub async fn a_vacant_email_that_is_taken<F: Fixture, B: BlockOn>() {
        let asked = Asked::new(1, json!([{ "phone": "+12025550123", "email": "New@Example.com" }]));
        let mut bob = contact(BOB);
        bob.email = Some(Email::stored("new@example.com"));
        changed::<F, B>(asked, WriteKind::Update, HostRow::Contact(bob)).await;
    }

    pub async fn a_vacant_external_id_that_is_taken<F: Fixture, B: BlockOn>() {
        let asked = Asked::new(1, json!([{ "external_id": "new", "phone": BOBS_PHONE }]));
        let mut cat = contact(CAT);
        cat.external_id = Some("new".into());
        changed::<F, B>(asked, WriteKind::Update, HostRow::Contact(cat)).await;
    }

    /// A merge frees keys, and bringing the merged one back takes them.
    pub async fn a_merged_contact_that_comes_back<F: Fixture, B: BlockOn>() {
        let mut dot = contact(DOT);
        dot.state = ContactState::Open;
        let asked = Asked::phones(1, &[DOTS_PHONE]);
        changed::<F, B>(asked, WriteKind::Update, HostRow::Contact(dot)).await;
    }

    /// What is read again for a second try is what stands then.
    pub async fn the_operation_sees_the_change_and_ends<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let mut handle = scene.open().await;
        let asked = Asked::phones(1, &[BOBS_PHONE, NEW_PHONE]);
        let command = asked.command(&mut handle).await;
        let stale = plan(&command, &load(&mut handle, &command.snapshot_query()).await);
        scene.write(WriteKind::Insert, opt_in(BOB, false)).await;
        assert_eq!(commit(&mut handle, stale.changes()).await, CONFLICT);
        let report = asked.enroll(&mut handle).await;
        assert_eq!((report.counts().ignored, report.counts().added), (1, 1));
    }

    fn added() -> Asked {
        Asked::phones(1, &[OTHER_NEW_PHONE, NEW_PHONE])
    }

    fn known() -> Asked {
        Asked::new(1, json!([{ "phone": NEW_PHONE }, { "phone": BOBS_PHONE, "name": "Bob" }]))
    }

    fn with_data() -> Asked {
        known().with("custom_data", json!({ "custom_object_id": id(10, 1), "resource": "contact" }))
    }

    async fn changed<F: Fixture, B: BlockOn>(asked: Asked, kind: WriteKind, row: HostRow) {
        let scene = Scene::<F, B>::new().await;
        let mut handle = scene.open().await;
        let plan = asked.plan(&mut handle).await;
        scene.write(kind, row).await;
        let before = scene.dump().await;
        assert_eq!(commit(&mut handle, plan.changes()).await, CONFLICT);
        same(&before, &scene.dump().await, "a commit that was refused");
        assert_eq!(scene.stored(asked.id).await, None);
        // It is over with a fresh load: the enrollment happens, or is refused for what has changed.
        let answer = asked.try_enroll(&mut handle).await;
        assert!(matches!(answer, Ok(_) | Err(EnrollError::Rejected(_))), "{answer:?}");
    }
}

/// Clause 12. Each case writes as a host does, and looks at the version before and after.
pub mod one_version_an_aggregate {
    use super::*;

    pub async fn an_enrollment_raises_whom_it_writes_by_one<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let mut handle = scene.open().await;
        let asked = snapshot_query(&["ann-1"], &[BOBS_PHONE, EVES_PHONE, FAYS_PHONE, NEW_PHONE], &["cat@example.com"]);
        let before = load(&mut handle, &asked).await;
        let entries = json!([
            { "external_id": "ann-1", "properties": { "count": 9 } }, { "phone": BOBS_PHONE, "properties": { "count": 9 } },
            { "phone": FAYS_PHONE, "name": "Fay", "properties": { "count": 9 } }, { "phone": EVES_PHONE }, { "phone": NEW_PHONE },
        ]);
        let request =
            Asked::new(1, entries).with("custom_data", json!({ "custom_object_id": id(10, 1), "resource": "contact" }));
        // Ann has no phone in this entry, so she is ignored; nobody else is but Eve.
        let report = request.enroll(&mut handle).await;
        let after = load(&mut handle, &asked).await;
        for outcome in &report.outcomes {
            let Some(contact_id) = outcome.contact_id else { continue };
            let version = after.contacts[&contact_id].version;
            match before.contacts.get(&contact_id).map(|person| person.version) {
                None => assert_eq!(version, Version::FIRST),
                Some(before) if outcome.disposition.is_enrolled() => assert_eq!(version, before.next(), "{contact_id}"),
                Some(before) => assert_eq!(version, before, "{contact_id}"),
            }
        }
        assert_eq!(after.contacts[&CAT].version, before.contacts[&CAT].version);
    }

    pub async fn a_contact<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let mut bob = contact(BOB);
        for name in ["Bob", "Rob"] {
            bob.name = Some(name.into());
            raises(&scene, BOB, WriteKind::Update, HostRow::Contact(bob.clone())).await;
        }
        bob.state = ContactState::Archived;
        raises(&scene, BOB, WriteKind::Update, HostRow::Contact(bob)).await;
    }

    pub async fn preferences_round_a_contact<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        raises(&scene, BOB, WriteKind::Insert, opt_in(BOB, true)).await;
        raises(&scene, BOB, WriteKind::Update, opt_in(BOB, false)).await;
        raises(&scene, BOB, WriteKind::Delete, opt_in(BOB, false)).await;
    }

    pub async fn conversations_round_a_contact<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let mut row = Conversation::new(id(6, 70).into(), BOB, MAIL);
        raises(&scene, BOB, WriteKind::Insert, HostRow::Conversation(row)).await;
        row.status = ConversationStatus::Closed;
        raises(&scene, BOB, WriteKind::Update, HostRow::Conversation(row)).await;
        raises(&scene, BOB, WriteKind::Delete, HostRow::Conversation(row)).await;
    }

    pub async fn runs_round_a_contact<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let (mut run, _) = run_and_stay(70, BOB, Asked::phones(1, &[]).at);
        raises(&scene, BOB, WriteKind::Insert, HostRow::Run(run)).await;
        run.status = RunStatus::Finished;
        raises(&scene, BOB, WriteKind::Update, HostRow::Run(run)).await;
        raises(&scene, BOB, WriteKind::Delete, HostRow::Run(run)).await;
    }

    /// Also where the row bears an enrollment's id, as one does that a host moves on to the next step.
    pub async fn step_contacts_round_a_contact<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let (run, mut row) = run_and_stay(70, BOB, Asked::phones(1, &[]).at);
        scene.write(WriteKind::Insert, HostRow::Run(run)).await;
        row.enrollment_id = Some(enrollment(900));
        raises(&scene, BOB, WriteKind::Insert, HostRow::StepContact(row)).await;
        row.status = StepContactStatus::Moved;
        row.enrollment_id = Some(enrollment(901));
        raises(&scene, BOB, WriteKind::Update, HostRow::StepContact(row)).await;
        raises(&scene, BOB, WriteKind::Delete, HostRow::StepContact(row)).await;
    }

    pub async fn tags_on_a_contact<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let row = ContactTag { contact_id: BOB, tag_id: id(9, 1).into() };
        raises(&scene, BOB, WriteKind::Insert, HostRow::ContactTag(row)).await;
        raises(&scene, BOB, WriteKind::Delete, HostRow::ContactTag(row)).await;
        raises(&scene, ANN, WriteKind::Delete, HostRow::Tag(Tag::new(id(9, 1).into(), "VIP"))).await;
    }

    pub async fn records_round_a_contact<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let owners = [(BOB, Resource::Contact, BOB.as_uuid()), (EVE, Resource::StepContact, id(8, 5))];
        for (n, (contact_id, resource, resource_id)) in (70..).zip(owners) {
            let mut row = CustomRecord::new(id(11, n).into(), id(10, 1).into(), resource, resource_id);
            raises(&scene, contact_id, WriteKind::Insert, HostRow::CustomRecord(row.clone())).await;
            row.properties.insert("count", 4.into());
            raises(&scene, contact_id, WriteKind::Update, HostRow::CustomRecord(row.clone())).await;
            raises(&scene, contact_id, WriteKind::Delete, HostRow::CustomRecord(row)).await;
        }
    }

    pub async fn a_row_round_one_contact_raises_no_other<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let asked = snapshot_query(&["ann-1"], &[FAYS_PHONE], &[]);
        let before = load(&mut scene.open().await, &asked).await;
        scene.write(WriteKind::Insert, opt_in(BOB, false)).await;
        let after = load(&mut scene.open().await, &asked).await;
        for contact_id in [ANN, FAY] {
            assert_eq!(before.contacts[&contact_id].version, after.contacts[&contact_id].version);
        }
    }

    pub async fn a_sequence_and_its_steps<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let mut sequence = sequence();
        sequence.title = "Welcome back".into();
        let mut step = Step::new(step(9), 9, ChannelKind::Phone);
        let of_step = |step| HostRow::Step { sequence_id: SEQUENCE, step };
        let mut versions = vec![version_of_sequence(&scene).await];
        scene.write(WriteKind::Update, HostRow::Sequence(sequence)).await;
        versions.push(version_of_sequence(&scene).await);
        scene.write(WriteKind::Insert, of_step(step)).await;
        versions.push(version_of_sequence(&scene).await);
        step.position = 10;
        scene.write(WriteKind::Update, of_step(step)).await;
        versions.push(version_of_sequence(&scene).await);
        scene.write(WriteKind::Delete, of_step(step)).await;
        versions.push(version_of_sequence(&scene).await);
        assert!(versions.windows(2).all(|pair| pair[0] < pair[1]), "{versions:?}");
    }

    pub async fn a_channel<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let mut versions = Vec::new();
        for name in ["a", "b"] {
            versions.push(reference_data(&scene).await.channels[&SMS].version);
            let mut channel = channel();
            channel.name = Some(name.into());
            scene.write(WriteKind::Update, HostRow::Channel(channel)).await;
        }
        versions.push(reference_data(&scene).await.channels[&SMS].version);
        assert!(versions.windows(2).all(|pair| pair[0] < pair[1]), "{versions:?}");
    }

    pub async fn a_custom_object<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let id = object().id;
        let before = reference_data(&scene).await.custom_objects[&id].version;
        let mut object = object();
        object.properties.pop();
        scene.write(WriteKind::Update, HostRow::CustomObject(object)).await;
        assert!(reference_data(&scene).await.custom_objects[&id].version > before);
    }

    pub async fn a_call_flow<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let id = id(12, 1).into();
        let before = reference_data(&scene).await.call_flows[&id].version;
        scene.write(WriteKind::Update, HostRow::CallFlow(CallFlow::new(id, "Night"))).await;
        assert!(reference_data(&scene).await.call_flows[&id].version > before);
    }

    /// Writes of the engine between those of a host, and none is lost.
    pub async fn versions_only_grow<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let mut handle = scene.open().await;
        let mut last = version(&scene, BOB).await;
        for n in 1..5 {
            let plan = Asked::phones(n, &[BOBS_PHONE]).plan(&mut handle).await;
            commit_freely(&mut handle, plan.changes()).await;
            let engine = version(&scene, BOB).await;
            let kind = if n == 1 { WriteKind::Insert } else { WriteKind::Update };
            scene.write(kind, opt_in(BOB, true)).await;
            let host = version(&scene, BOB).await;
            assert!(last < engine && engine < host, "{last:?} {engine:?} {host:?}");
            last = host;
        }
    }

    async fn raises<F: Fixture, B: BlockOn>(
        scene: &Scene<F, B>,
        id: crate::ids::ContactId,
        kind: WriteKind,
        row: HostRow,
    ) {
        let before = version(scene, id).await;
        scene.write(kind, row.clone()).await;
        let after = version(scene, id).await;
        assert!(before < after, "the host's {kind:?} of {row:?} leaves the contact at {before:?}");
    }

    async fn version<F: Fixture, B: BlockOn>(scene: &Scene<F, B>, id: crate::ids::ContactId) -> Version {
        scene.person(id, &snapshot_query(&["ann-1"], &[BOBS_PHONE, EVES_PHONE], &[])).await.version
    }

    async fn version_of_sequence<F: Fixture, B: BlockOn>(scene: &Scene<F, B>) -> Version {
        reference_data(scene).await.sequences[&SEQUENCE].version
    }

    #[expect(clippy::expect_used, reason = "the case fails")]
    async fn reference_data<F: Fixture, B: BlockOn>(scene: &Scene<F, B>) -> crate::snapshot::ReferenceData {
        scene.open().await.reference_data(&reference_query()).await.expect("the reference is told")
    }
}

const CONFLICT: Result<(), RepositoryErrorKind> = Err(RepositoryErrorKind::Conflict);

fn sequence() -> Sequence {
    given().sequences.swap_remove(0).row
}

fn channel() -> Channel {
    given().channels.swap_remove(0).row
}

fn object() -> CustomObject {
    given().custom_objects.swap_remove(0).row
}

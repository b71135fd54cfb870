//! Clauses 4 and 12: a commit detects every change of a fact that its plan depends on.
#![allow(clippy::wildcard_imports, reason = "the modules of a file share its imports")]

use serde_json::json;

use super::setup::{
    ADJACENT_CONTACTS, ANN, BOB, BOBS_PHONE, CAT, DOT, DOTS_PHONE, EVE, EVES_PHONE, FAY, FAYS_PHONE, MAIL, NEW_PHONE,
    NO_CHANNEL, OTHER_NEW_PHONE, SEQUENCE, SMS, Setup, TestRequest, adjacent_contact, adjacent_phone, assert_same,
    commit, contact, enrollment, given, id, load, must_commit, new_run_and_step_contact, opt_in, plan, reference_query,
    seed_with_adjacent_contacts, snapshot_query, step, step_contact_row,
};
use super::{BlockOn, Fixture};
use crate::answer::EnrollError;
use crate::contact::{Contact, ContactState, Email};
use crate::model::{
    CallFlow, Channel, ChannelKind, ContactTag, Conversation, ConversationStatus, CustomObject, CustomProperty,
    CustomRecord, PropertyKind, Resource, RunStatus, Sequence, SequenceStatus, Step, StepContactStatus, Tag,
};
use crate::repository::{AsyncRepository, RepositoryErrorKind};
use crate::seed::{HostRow, WriteKind};
use crate::snapshot::Version;

/// Clause 4. Each case plans, writes one row that the plan depends on as a host, and expects a conflict at the commit.
#[doc(hidden)]
pub mod guards_hold {
    use super::*;

    pub async fn sequence_archived<F: Fixture, B: BlockOn>() {
        let archived = Sequence { status: SequenceStatus::Archived, ..sequence() };
        assert_conflict_after::<F, B>(new_contacts(), WriteKind::Update, HostRow::Sequence(archived)).await;
    }

    pub async fn sequence_settings_changed<F: Fixture, B: BlockOn>() {
        let mut changed_settings = sequence();
        changed_settings.settings.max_runs = Some(1);
        assert_conflict_after::<F, B>(new_contacts(), WriteKind::Update, HostRow::Sequence(changed_settings)).await;
    }

    pub async fn sequence_deleted<F: Fixture, B: BlockOn>() {
        assert_conflict_after::<F, B>(new_contacts(), WriteKind::Delete, HostRow::Sequence(sequence())).await;
    }

    pub async fn step_inserted<F: Fixture, B: BlockOn>() {
        let step = Step::new(step(9), 0, ChannelKind::Email);
        assert_conflict_after::<F, B>(new_contacts(), WriteKind::Insert, HostRow::Step { sequence_id: SEQUENCE, step })
            .await;
    }

    pub async fn step_changed<F: Fixture, B: BlockOn>() {
        let step = Step { channel_kind: ChannelKind::Email, ..sequence().steps[0] };
        assert_conflict_after::<F, B>(new_contacts(), WriteKind::Update, HostRow::Step { sequence_id: SEQUENCE, step })
            .await;
    }

    pub async fn step_deleted<F: Fixture, B: BlockOn>() {
        let step = sequence().steps[0];
        assert_conflict_after::<F, B>(new_contacts(), WriteKind::Delete, HostRow::Step { sequence_id: SEQUENCE, step })
            .await;
    }

    pub async fn channel_disabled<F: Fixture, B: BlockOn>() {
        let mut channel = channel();
        channel.enabled = false;
        assert_conflict_after::<F, B>(new_contacts(), WriteKind::Update, HostRow::Channel(channel)).await;
    }

    pub async fn channel_deleted<F: Fixture, B: BlockOn>() {
        assert_conflict_after::<F, B>(new_contacts(), WriteKind::Delete, HostRow::Channel(channel())).await;
    }

    pub async fn unknown_channel_inserted<F: Fixture, B: BlockOn>() {
        let request = TestRequest::new(1, json!([{ "phone": NEW_PHONE, "default_channel_id": NO_CHANNEL }]));
        assert_conflict_after::<F, B>(
            request,
            WriteKind::Insert,
            HostRow::Channel(Channel::new(NO_CHANNEL, ChannelKind::Fax, "+12025550190")),
        )
        .await;
    }

    pub async fn custom_object_changed<F: Fixture, B: BlockOn>() {
        let mut object = object();
        object.properties.push(CustomProperty::new("added", PropertyKind::Text));
        assert_conflict_after::<F, B>(with_custom_data(), WriteKind::Update, HostRow::CustomObject(object)).await;
    }

    pub async fn custom_object_deleted<F: Fixture, B: BlockOn>() {
        assert_conflict_after::<F, B>(with_custom_data(), WriteKind::Delete, HostRow::CustomObject(object())).await;
    }

    pub async fn call_flow_deleted<F: Fixture, B: BlockOn>() {
        let request = new_contacts().with("voice_options", json!({ "default_call_flow_id": id(12, 1) }));
        assert_conflict_after::<F, B>(
            request,
            WriteKind::Delete,
            HostRow::CallFlow(CallFlow::new(id(12, 1).into(), "")),
        )
        .await;
    }

    pub async fn contact_blocked<F: Fixture, B: BlockOn>() {
        let mut bob = contact(BOB);
        bob.state = ContactState::Blocked;
        assert_conflict_after::<F, B>(known_contact(), WriteKind::Update, HostRow::Contact(bob)).await;
    }

    pub async fn contact_merged<F: Fixture, B: BlockOn>() {
        let mut bob = contact(BOB);
        bob.state = ContactState::Merged;
        assert_conflict_after::<F, B>(known_contact(), WriteKind::Update, HostRow::Contact(bob)).await;
    }

    pub async fn contact_phone_changed<F: Fixture, B: BlockOn>() {
        let mut bob = contact(BOB);
        bob.phone = Some("+12025550195".into());
        assert_conflict_after::<F, B>(known_contact(), WriteKind::Update, HostRow::Contact(bob)).await;
    }

    pub async fn contact_name_filled<F: Fixture, B: BlockOn>() {
        let mut bob = contact(BOB);
        bob.profile.name = Some("Robert".into());
        assert_conflict_after::<F, B>(known_contact(), WriteKind::Update, HostRow::Contact(bob)).await;
    }

    pub async fn contact_deleted<F: Fixture, B: BlockOn>() {
        assert_conflict_after::<F, B>(known_contact(), WriteKind::Delete, HostRow::Contact(contact(BOB))).await;
    }

    /// The plan reads Eve and does not write her.
    pub async fn ignored_contact_changed<F: Fixture, B: BlockOn>() {
        let mut eve = contact(EVE);
        eve.profile.name = Some("Eve".into());
        assert_conflict_after::<F, B>(
            TestRequest::phones(1, &[EVES_PHONE, NEW_PHONE]),
            WriteKind::Update,
            HostRow::Contact(eve),
        )
        .await;
    }

    /// A change of a contact in the middle of adjacent ids conflicts. A change of a contact between them that was not
    /// queried does not.
    pub async fn one_of_many_adjacent_contacts_changed<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::from_seed(&seed_with_adjacent_contacts()).await;
        let mut handle = setup.open().await;
        let request: Vec<_> =
            (0..ADJACENT_CONTACTS).filter(|n| *n != 7).map(|n| json!({ "phone": adjacent_phone(n) })).collect();
        for (enrollment, changed, expected) in [(1, 5, CONFLICT), (2, 7, Ok(()))] {
            let plan = TestRequest::new(enrollment, json!(request)).plan(&mut handle).await;
            let mut contact = Contact::new(adjacent_contact(changed));
            contact.phone = Some(adjacent_phone(changed).as_str().into());
            contact.profile.name = Some("Changed".into());
            setup.write(WriteKind::Update, HostRow::Contact(contact)).await;
            assert_eq!(commit(&mut handle, plan.changes()).await, expected);
        }
    }

    pub async fn opt_out_inserted<F: Fixture, B: BlockOn>() {
        assert_conflict_after::<F, B>(known_contact(), WriteKind::Insert, opt_in(BOB, false)).await;
    }

    pub async fn conversation_inserted<F: Fixture, B: BlockOn>() {
        let row = Conversation::new(id(6, 70).into(), BOB, SMS);
        assert_conflict_after::<F, B>(known_contact(), WriteKind::Insert, HostRow::Conversation(row)).await;
    }

    pub async fn run_inserted<F: Fixture, B: BlockOn>() {
        let (run, _) = new_run_and_step_contact(70, BOB, known_contact().at);
        assert_conflict_after::<F, B>(known_contact(), WriteKind::Insert, HostRow::Run(run)).await;
    }

    pub async fn step_contact_changed<F: Fixture, B: BlockOn>() {
        let request = TestRequest::phones(1, &[FAYS_PHONE]);
        assert_conflict_after::<F, B>(request, WriteKind::Update, step_contact_row(FAY, StepContactStatus::Inactive))
            .await;
    }

    pub async fn step_contact_deleted<F: Fixture, B: BlockOn>() {
        let request = TestRequest::phones(1, &[FAYS_PHONE]);
        assert_conflict_after::<F, B>(request, WriteKind::Delete, step_contact_row(FAY, StepContactStatus::Finished))
            .await;
    }

    pub async fn custom_record_inserted<F: Fixture, B: BlockOn>() {
        let row = CustomRecord::new(id(11, 70).into(), id(10, 1).into(), Resource::Contact, BOB.as_uuid());
        assert_conflict_after::<F, B>(with_custom_data(), WriteKind::Insert, HostRow::CustomRecord(row)).await;
    }

    pub async fn unclaimed_phone_used<F: Fixture, B: BlockOn>() {
        // Another contact uses the phone, so that only the guard of the unclaimed key can refuse the commit.
        let request = TestRequest::new(1, json!([{ "external_id": "ann-1", "phone": NEW_PHONE }]));
        let mut cat = contact(CAT);
        cat.phone = Some(NEW_PHONE.into());
        assert_conflict_after::<F, B>(request, WriteKind::Update, HostRow::Contact(cat)).await;
    }

    pub async fn unclaimed_email_used<F: Fixture, B: BlockOn>() {
        let request = TestRequest::new(1, json!([{ "phone": "+12025550123", "email": "New@Example.com" }]));
        let mut bob = contact(BOB);
        bob.email = Some(Email::stored("new@example.com"));
        assert_conflict_after::<F, B>(request, WriteKind::Update, HostRow::Contact(bob)).await;
    }

    pub async fn unclaimed_external_id_used<F: Fixture, B: BlockOn>() {
        let request = TestRequest::new(1, json!([{ "external_id": "new", "phone": BOBS_PHONE }]));
        let mut cat = contact(CAT);
        cat.external_id = Some("new".into());
        assert_conflict_after::<F, B>(request, WriteKind::Update, HostRow::Contact(cat)).await;
    }

    /// A merge releases the keys of a contact. Reopening the contact uses them again.
    pub async fn merged_contact_reopened<F: Fixture, B: BlockOn>() {
        let mut dot = contact(DOT);
        dot.state = ContactState::Open;
        let request = TestRequest::phones(1, &[DOTS_PHONE]);
        assert_conflict_after::<F, B>(request, WriteKind::Update, HostRow::Contact(dot)).await;
    }

    /// The first request of a list creates the tag while the second one is planned.
    pub async fn tag_of_a_list_created_by_another_request<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let (mut handle, mut other) = (setup.open().await, setup.open().await);
        let first = TestRequest::phones(1, &[NEW_PHONE]).of_list();
        let second = TestRequest::phones(2, &[OTHER_NEW_PHONE]).of_list();
        let (first_plan, second_plan) = (first.plan(&mut other).await, second.plan(&mut handle).await);
        must_commit(&mut other, first_plan.changes()).await;
        let before = setup.dump().await;
        assert_eq!(commit(&mut handle, second_plan.changes()).await, CONFLICT);
        assert_same(&before, &setup.dump().await, "a refused commit");
        let report = second.enroll(&mut handle).await;
        let tag = first.upload_tag();
        assert_eq!(report.upload_tag.as_ref(), first_plan.report().upload_tag.as_ref());
        assert_eq!(report.upload_tag.map(|tag| (tag.id, tag.name)), Some((tag.id, tag.name)));
        assert_eq!(setup.tagged(tag.id).await.len(), 2);
    }

    pub async fn tag_of_a_list_inserted<F: Fixture, B: BlockOn>() {
        let request = TestRequest::phones(2, &[NEW_PHONE]).of_list();
        let tag = HostRow::Tag(request.upload_tag());
        assert_conflict_after::<F, B>(request, WriteKind::Insert, tag).await;
    }

    pub async fn tag_of_a_list_deleted<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let first = TestRequest::phones(1, &[BOBS_PHONE]).of_list();
        first.enroll(&mut setup.open().await).await;
        let second = TestRequest::phones(2, &[NEW_PHONE]).of_list();
        let tag = first.upload_tag();
        assert_conflict(&setup, &second, WriteKind::Delete, HostRow::Tag(tag.clone())).await;
        // The retry creates the tag again. Bob has lost it.
        assert_eq!(setup.tagged(tag.id).await.len(), 1);
        assert_eq!(load(&mut setup.open().await, &tag_query(&first)).await.tags.get(&tag.id), Some(&tag));
    }

    pub async fn tag_of_a_list_renamed<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let first = TestRequest::phones(1, &[BOBS_PHONE]).of_list();
        first.enroll(&mut setup.open().await).await;
        let second = TestRequest::phones(2, &[NEW_PHONE]).of_list();
        let tag = Tag { name: "Fair in Kigali".into(), ..first.upload_tag() };
        assert_conflict(&setup, &second, WriteKind::Update, HostRow::Tag(tag.clone())).await;
        // The tag keeps its new name.
        let report = second.enroll(&mut setup.open().await).await;
        assert_eq!(report.upload_tag.map(|tag| tag.name), Some(tag.name.clone()));
        assert_eq!(load(&mut setup.open().await, &tag_query(&first)).await.tags.get(&tag.id), Some(&tag));
    }

    fn tag_query(request: &TestRequest) -> crate::query::SnapshotQuery {
        let mut query = snapshot_query(&[], &[], &[]);
        query.tag_id = Some(request.upload_tag().id);
        query
    }

    /// The second attempt loads the changed rows.
    pub async fn a_retry_sees_the_change<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let mut handle = setup.open().await;
        let request = TestRequest::phones(1, &[BOBS_PHONE, NEW_PHONE]);
        let command = request.command(&mut handle).await;
        let stale = plan(&command, &load(&mut handle, &command.snapshot_query()).await);
        setup.write(WriteKind::Insert, opt_in(BOB, false)).await;
        assert_eq!(commit(&mut handle, stale.changes()).await, CONFLICT);
        let report = request.enroll(&mut handle).await;
        assert_eq!((report.counts().ignored, report.counts().added), (1, 1));
    }

    fn new_contacts() -> TestRequest {
        TestRequest::phones(1, &[OTHER_NEW_PHONE, NEW_PHONE])
    }

    fn known_contact() -> TestRequest {
        TestRequest::new(1, json!([{ "phone": NEW_PHONE }, { "phone": BOBS_PHONE, "name": "Bob" }]))
    }

    fn with_custom_data() -> TestRequest {
        known_contact().with("custom_data", json!({ "custom_object_id": id(10, 1), "resource": "contact" }))
    }

    async fn assert_conflict_after<F: Fixture, B: BlockOn>(request: TestRequest, kind: WriteKind, row: HostRow) {
        assert_conflict(&Setup::<F, B>::new().await, &request, kind, row).await;
    }

    async fn assert_conflict<F: Fixture, B: BlockOn>(
        setup: &Setup<F, B>,
        request: &TestRequest,
        kind: WriteKind,
        row: HostRow,
    ) {
        let mut handle = setup.open().await;
        let plan = request.plan(&mut handle).await;
        setup.write(kind, row).await;
        let before = setup.dump().await;
        assert_eq!(commit(&mut handle, plan.changes()).await, CONFLICT);
        assert_same(&before, &setup.dump().await, "a refused commit");
        assert_eq!(setup.stored(request.id).await, None);
        // With a new load, the enrollment is committed, or rejected because of the change.
        let answer = request.try_enroll(&mut handle).await;
        assert!(matches!(answer, Ok(_) | Err(EnrollError::Rejected(_))), "{answer:?}");
    }
}

/// Clause 12. Each case writes a row as a host, and compares the version before and after.
#[doc(hidden)]
pub mod one_version_per_aggregate {
    use super::*;

    pub async fn an_enrollment_increments_the_version_of_written_contacts<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let mut handle = setup.open().await;
        let query = snapshot_query(&["ann-1"], &[BOBS_PHONE, EVES_PHONE, FAYS_PHONE, NEW_PHONE], &["cat@example.com"]);
        let before = load(&mut handle, &query).await;
        let entries = json!([
            { "external_id": "ann-1", "properties": { "count": 9 } }, { "phone": BOBS_PHONE, "properties": { "count": 9 } },
            { "phone": FAYS_PHONE, "name": "Fay", "properties": { "count": 9 } }, { "phone": EVES_PHONE }, { "phone": NEW_PHONE },
        ]);
        let request = TestRequest::new(1, entries)
            .with("custom_data", json!({ "custom_object_id": id(10, 1), "resource": "contact" }));
        // Ann's entry has no phone, so she is ignored. Eve is ignored too.
        let report = request.enroll(&mut handle).await;
        let after = load(&mut handle, &query).await;
        for outcome in &report.outcomes {
            let Some(contact_id) = outcome.contact_id else { continue };
            let version = after.contacts[&contact_id].version;
            match before.contacts.get(&contact_id).map(|contact| contact.version) {
                None => assert_eq!(version, Version::FIRST),
                Some(before) if outcome.disposition.is_enrolled() => assert_eq!(version, before.next(), "{contact_id}"),
                Some(before) => assert_eq!(version, before, "{contact_id}"),
            }
        }
        assert_eq!(after.contacts[&CAT].version, before.contacts[&CAT].version);
    }

    pub async fn a_contact<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let mut bob = contact(BOB);
        for name in ["Bob", "Rob"] {
            bob.profile.name = Some(name.into());
            assert_version_grows(&setup, BOB, WriteKind::Update, HostRow::Contact(bob.clone())).await;
        }
        bob.state = ContactState::Archived;
        assert_version_grows(&setup, BOB, WriteKind::Update, HostRow::Contact(bob)).await;
    }

    pub async fn preferences_of_a_contact<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        assert_version_grows(&setup, BOB, WriteKind::Insert, opt_in(BOB, true)).await;
        assert_version_grows(&setup, BOB, WriteKind::Update, opt_in(BOB, false)).await;
        assert_version_grows(&setup, BOB, WriteKind::Delete, opt_in(BOB, false)).await;
    }

    pub async fn conversations_of_a_contact<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let mut row = Conversation::new(id(6, 70).into(), BOB, MAIL);
        assert_version_grows(&setup, BOB, WriteKind::Insert, HostRow::Conversation(row)).await;
        row.status = ConversationStatus::Closed;
        assert_version_grows(&setup, BOB, WriteKind::Update, HostRow::Conversation(row)).await;
        assert_version_grows(&setup, BOB, WriteKind::Delete, HostRow::Conversation(row)).await;
    }

    pub async fn runs_of_a_contact<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let (mut run, _) = new_run_and_step_contact(70, BOB, TestRequest::phones(1, &[]).at);
        assert_version_grows(&setup, BOB, WriteKind::Insert, HostRow::Run(run)).await;
        run.status = RunStatus::Finished;
        assert_version_grows(&setup, BOB, WriteKind::Update, HostRow::Run(run)).await;
        assert_version_grows(&setup, BOB, WriteKind::Delete, HostRow::Run(run)).await;
    }

    /// Also if the row has an enrollment id, as when a host moves a contact to the next step.
    pub async fn step_contacts_of_a_contact<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let (run, mut row) = new_run_and_step_contact(70, BOB, TestRequest::phones(1, &[]).at);
        setup.write(WriteKind::Insert, HostRow::Run(run)).await;
        row.enrollment_id = Some(enrollment(900));
        assert_version_grows(&setup, BOB, WriteKind::Insert, HostRow::StepContact(row)).await;
        row.status = StepContactStatus::Moved;
        row.enrollment_id = Some(enrollment(901));
        assert_version_grows(&setup, BOB, WriteKind::Update, HostRow::StepContact(row)).await;
        assert_version_grows(&setup, BOB, WriteKind::Delete, HostRow::StepContact(row)).await;
    }

    pub async fn tags_of_a_contact<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let row = ContactTag { contact_id: BOB, tag_id: id(9, 1).into() };
        assert_version_grows(&setup, BOB, WriteKind::Insert, HostRow::ContactTag(row)).await;
        assert_version_grows(&setup, BOB, WriteKind::Delete, HostRow::ContactTag(row)).await;
        assert_version_grows(&setup, ANN, WriteKind::Delete, HostRow::Tag(Tag::new(id(9, 1).into(), "VIP"))).await;
    }

    pub async fn records_of_a_contact<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let owners = [(BOB, Resource::Contact, BOB.as_uuid()), (EVE, Resource::StepContact, id(8, 5))];
        for (n, (contact_id, resource, resource_id)) in (70..).zip(owners) {
            let mut row = CustomRecord::new(id(11, n).into(), id(10, 1).into(), resource, resource_id);
            assert_version_grows(&setup, contact_id, WriteKind::Insert, HostRow::CustomRecord(row.clone())).await;
            row.properties.insert("count", 4.into());
            assert_version_grows(&setup, contact_id, WriteKind::Update, HostRow::CustomRecord(row.clone())).await;
            assert_version_grows(&setup, contact_id, WriteKind::Delete, HostRow::CustomRecord(row)).await;
        }
    }

    pub async fn a_related_row_does_not_change_other_contacts<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let query = snapshot_query(&["ann-1"], &[FAYS_PHONE], &[]);
        let before = load(&mut setup.open().await, &query).await;
        setup.write(WriteKind::Insert, opt_in(BOB, false)).await;
        let after = load(&mut setup.open().await, &query).await;
        for contact_id in [ANN, FAY] {
            assert_eq!(before.contacts[&contact_id].version, after.contacts[&contact_id].version);
        }
    }

    pub async fn a_sequence_and_its_steps<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let mut sequence = sequence();
        sequence.title = "Welcome back".into();
        let mut step = Step::new(step(9), 9, ChannelKind::Phone);
        let step_row = |step| HostRow::Step { sequence_id: SEQUENCE, step };
        let mut versions = vec![version_of_sequence(&setup).await];
        setup.write(WriteKind::Update, HostRow::Sequence(sequence)).await;
        versions.push(version_of_sequence(&setup).await);
        setup.write(WriteKind::Insert, step_row(step)).await;
        versions.push(version_of_sequence(&setup).await);
        step.position = 10;
        setup.write(WriteKind::Update, step_row(step)).await;
        versions.push(version_of_sequence(&setup).await);
        setup.write(WriteKind::Delete, step_row(step)).await;
        versions.push(version_of_sequence(&setup).await);
        assert!(versions.windows(2).all(|pair| pair[0] < pair[1]), "{versions:?}");
    }

    pub async fn a_channel<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let mut versions = Vec::new();
        for name in ["a", "b"] {
            versions.push(reference_data(&setup).await.channels[&SMS].version);
            let mut channel = channel();
            channel.name = Some(name.into());
            setup.write(WriteKind::Update, HostRow::Channel(channel)).await;
        }
        versions.push(reference_data(&setup).await.channels[&SMS].version);
        assert!(versions.windows(2).all(|pair| pair[0] < pair[1]), "{versions:?}");
    }

    pub async fn a_custom_object<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let id = object().id;
        let before = reference_data(&setup).await.custom_objects[&id].version;
        let mut object = object();
        object.properties.pop();
        setup.write(WriteKind::Update, HostRow::CustomObject(object)).await;
        assert!(reference_data(&setup).await.custom_objects[&id].version > before);
    }

    pub async fn a_call_flow<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let id = id(12, 1).into();
        let before = reference_data(&setup).await.call_flows[&id].version;
        setup.write(WriteKind::Update, HostRow::CallFlow(CallFlow::new(id, "Night"))).await;
        assert!(reference_data(&setup).await.call_flows[&id].version > before);
    }

    /// The engine and the host write in turn.
    pub async fn versions_only_grow<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let mut handle = setup.open().await;
        let mut last = version(&setup, BOB).await;
        for n in 1..5 {
            let plan = TestRequest::phones(n, &[BOBS_PHONE]).plan(&mut handle).await;
            must_commit(&mut handle, plan.changes()).await;
            let engine = version(&setup, BOB).await;
            let kind = if n == 1 { WriteKind::Insert } else { WriteKind::Update };
            setup.write(kind, opt_in(BOB, true)).await;
            let host = version(&setup, BOB).await;
            assert!(last < engine && engine < host, "{last:?} {engine:?} {host:?}");
            last = host;
        }
    }

    async fn assert_version_grows<F: Fixture, B: BlockOn>(
        setup: &Setup<F, B>,
        id: crate::ids::ContactId,
        kind: WriteKind,
        row: HostRow,
    ) {
        let before = version(setup, id).await;
        setup.write(kind, row.clone()).await;
        let after = version(setup, id).await;
        assert!(before < after, "the host's {kind:?} of {row:?} does not increment the version {before:?}");
    }

    async fn version<F: Fixture, B: BlockOn>(setup: &Setup<F, B>, id: crate::ids::ContactId) -> Version {
        setup.load_contact(id, &snapshot_query(&["ann-1"], &[BOBS_PHONE, EVES_PHONE], &[])).await.version
    }

    async fn version_of_sequence<F: Fixture, B: BlockOn>(setup: &Setup<F, B>) -> Version {
        reference_data(setup).await.sequences[&SEQUENCE].version
    }

    #[expect(clippy::expect_used, reason = "the case fails")]
    async fn reference_data<F: Fixture, B: BlockOn>(setup: &Setup<F, B>) -> crate::snapshot::ReferenceData {
        setup.open().await.reference_data(&reference_query()).await.expect("the reference data loads")
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

//! Clauses 1, 2, 8, 10 and 11: loads are complete, exact and separate for each organization.
#![allow(clippy::wildcard_imports, reason = "the modules of a file share its imports")]

use serde_json::json;

use super::setup::{
    ADJACENT_CONTACTS, ANN, BOB, BOBS_PHONE, CAT, DOTS_PHONE, EVE, EVES_PHONE, FAY, FAYS_PHONE, MAIL, NEW_PHONE,
    ORGANIZATION, OTHER_NEW_PHONE, OTHER_ORGANIZATION, OTHER_SEQUENCE, SEQUENCE, SMS, Setup, TAG, TestRequest,
    adjacent_contact, adjacent_phone, assert_same, contact, count, given, id, load, opt_in, reference_query,
    seed_with_adjacent_contacts, snapshot_query, sorted,
};
use super::{BlockOn, Fixture};
use crate::contact::KeyKind;
use crate::ids::{ContactId, CustomObjectId, SequenceId};
use crate::query::ReferenceQuery;
use crate::report::OutcomeChunk;
use crate::repository::AsyncRepository;
use crate::seed::{HostRow, HostWrite, Seed, WriteKind};
use crate::snapshot::{ContactAggregate, Snapshot};

/// Clause 1.
#[doc(hidden)]
pub mod read_what_was_written {
    use super::*;

    pub async fn every_handle_sees_a_commit<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let (mut writer, mut reader) = (setup.open().await, setup.open().await);
        // The reader loads before the commit, so that a stale cache would show.
        assert_eq!(holder(&mut reader, KeyKind::Phone, NEW_PHONE).await, None);
        let report = TestRequest::phones(1, &[NEW_PHONE]).enroll(&mut writer).await;
        for handle in [&mut writer, &mut reader, &mut setup.open().await] {
            assert_eq!(holder(handle, KeyKind::Phone, NEW_PHONE).await, report.outcomes[0].contact_id);
        }
    }

    pub async fn every_handle_sees_a_host_write<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let mut handle = setup.open().await;
        let query = snapshot_query(&[], &[BOBS_PHONE], &[]);
        assert!(load(&mut handle, &query).await.contacts[&BOB].preferences.is_empty());
        setup.write(WriteKind::Insert, opt_in(BOB, false)).await;
        assert_eq!(load(&mut handle, &query).await.contacts[&BOB].preferences.len(), 1);
    }

    pub async fn all_fields_of_all_rows_are_loaded<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let mut handle = setup.open().await;
        for sequence_id in [SEQUENCE, OTHER_SEQUENCE] {
            let mut query = snapshot_query(&["ann-1"], &[EVES_PHONE, FAYS_PHONE], &["cat@example.com"]);
            query.reference.sequence_id = sequence_id;
            for channel_id in [SMS, MAIL] {
                query.channel_id = Some(channel_id);
                let expected = snapshot_of(&given());
                let found = load(&mut handle, &query).await;
                for (id, contact) in &found.contacts {
                    assert_eq!(related(contact, &query), related(&expected.contacts[id], &query));
                }
                assert!([ANN, CAT, EVE, FAY].iter().all(|id| found.contacts.contains_key(id)));
                let sequence = &found.reference.sequences[&sequence_id].value;
                let mut steps = sequence.steps.clone();
                steps.sort_by_key(|step| step.id);
                let expected_sequence = &expected.reference.sequences[&sequence_id].value;
                assert_eq!((&sequence.title, sequence.status), (&expected_sequence.title, expected_sequence.status));
                assert_eq!(sequence.settings, expected_sequence.settings);
                assert_eq!(steps, expected_sequence.steps);
                for (id, channel) in &expected.reference.channels {
                    assert_eq!(found.reference.channels[id].value, channel.value);
                }
                for (id, object) in &expected.reference.custom_objects {
                    assert_eq!(found.reference.custom_objects[id].value, object.value);
                }
                for (id, call_flow) in &expected.reference.call_flows {
                    assert_eq!(found.reference.call_flows[id].value, call_flow.value);
                }
                assert_eq!(found.tags[&TAG], expected.tags[&TAG]);
            }
        }
    }

    pub async fn a_loaded_seed_is_dumped_unchanged<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        assert_same(&sorted(&given()), &setup.dump().await, "the loaded seed");
    }

    pub async fn a_repeated_enrollment_returns_the_stored_report<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let request = TestRequest::new(
            1,
            json!([{ "phone": "junk \u{1f4de}", "email": "Ünï@exämple.com", "name": "N" }, { "phone": NEW_PHONE }, { "phone": NEW_PHONE }]),
        );
        let report = request.enroll(&mut setup.open().await).await;
        let before = setup.dump().await;
        assert_eq!(request.enroll(&mut setup.open().await).await, report);
        assert_same(&before, &setup.dump().await, "a repeated enrollment");
    }

    /// The report of more recipients than one chunk has.
    pub async fn a_long_report_is_returned_completely_and_in_order<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let phone = |n: usize| match n % 7 {
            0 => "junk".to_owned(),
            _ => format!("+1202{:07}", 2_000_000 + n),
        };
        let to = (0..=3 * OutcomeChunk::LENGTH).map(|n| json!({ "phone": phone(n), "properties": { "junk": n } }));
        let custom_data = json!({ "custom_object_id": id(10, 1), "resource": "contact" });
        let request = TestRequest::new(1, to.collect()).with("custom_data", custom_data);
        let report = request.enroll(&mut setup.open().await).await;
        assert!(report.counts().ignored > 20 && !report.accepted_keys.is_empty(), "{:?}", report.counts());
        assert_eq!(request.enroll(&mut setup.open().await).await, report);
    }
}

/// Clause 2.
#[doc(hidden)]
pub mod complete_load {
    use super::*;

    pub async fn each_key_finds_its_contact<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let mut handle = setup.open().await;
        for contact in snapshot_of(&given()).contacts.values() {
            for kind in KeyKind::ALL {
                let Some(key) = contact.contact.key(kind) else { continue };
                assert_eq!(holder(&mut handle, kind, key).await, Some(contact.contact.id), "{kind} `{key}`");
            }
        }
    }

    pub async fn several_keys_of_one_contact_load_it_once<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let anns_key = snapshot_of(&given()).contacts[&ANN].contact.key(KeyKind::Email).map(str::to_owned);
        let query = snapshot_query(&["ann-1"], &["+12025550123"], &[&anns_key.unwrap_or_default()]);
        let contact = setup.load_contact(ANN, &query).await;
        let snapshot = snapshot_of(&given());
        assert_eq!(related(&contact, &query), related(&snapshot.contacts[&ANN], &query));
    }

    pub async fn a_merged_contact_has_no_keys<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let mut handle = setup.open().await;
        let keys = [(KeyKind::ExternalId, "dot-1"), (KeyKind::Phone, DOTS_PHONE), (KeyKind::Email, "dot@example.com")];
        for (kind, key) in keys {
            assert_eq!(holder(&mut handle, kind, key).await, None, "{kind}");
        }
    }

    pub async fn unknown_ids_are_absent<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let mut handle = setup.open().await;
        let mut query = snapshot_query(&["unknown"], &["+12025550199"], &["unknown@example.com"]);
        let nothing = id(99, 99);
        query.reference = ReferenceQuery {
            organization_id: ORGANIZATION,
            enrollment_id: Some(nothing.into()),
            sequence_id: nothing.into(),
            custom_object_id: Some(nothing.into()),
            call_flow_id: Some(nothing.into()),
        };
        query.channel_id = Some(nothing.into());
        query.tag_id = Some(nothing.into());
        let Snapshot { reference, contacts, tags, .. } = load(&mut handle, &query).await;
        assert!(!reference.sequences.contains_key(&nothing.into()));
        assert!(!reference.custom_objects.contains_key(&nothing.into()));
        assert!(!reference.call_flows.contains_key(&nothing.into()));
        assert!(!reference.enrollments.contains_key(&nothing.into()));
        assert!(!reference.channels.contains_key(&nothing.into()));
        assert!(!tags.contains_key(&nothing.into()));
        assert!(contacts.values().all(|contact| snapshot_of(&given()).contacts.contains_key(&contact.contact.id)));
    }

    pub async fn all_channels_are_in_the_reference_data<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let mut handle = setup.open().await;
        let expected: Vec<_> = snapshot_of(&given()).reference.channels.into_keys().collect();
        let reference = reference_data(&mut handle, &reference_query()).await;
        assert_eq!(reference.channels.into_keys().collect::<Vec<_>>(), expected);
    }

    /// Queries a few adjacent contacts, all of them, and every second or third one.
    pub async fn related_rows_of_adjacent_contacts_are_loaded<F: Fixture, B: BlockOn>() {
        let given = seed_with_adjacent_contacts();
        let setup = Setup::<F, B>::from_seed(&given).await;
        let snapshot = snapshot_of(&given);
        let mut handle = setup.open().await;
        for (count, step) in [(3, 1), (ADJACENT_CONTACTS, 1), (ADJACENT_CONTACTS, 2), (ADJACENT_CONTACTS, 3)] {
            let numbers: Vec<u64> = (0..count).step_by(step).collect();
            let phones: Vec<String> = numbers.iter().map(|n| adjacent_phone(*n)).collect();
            let phones: Vec<&str> = phones.iter().map(String::as_str).collect();
            let query = snapshot_query(&[], &phones, &[]);
            let found = load(&mut handle, &query).await.contacts;
            for id in numbers.into_iter().map(adjacent_contact) {
                assert_eq!(related(&found[&id], &query), related(&snapshot.contacts[&id], &query));
            }
        }
    }

    /// So the second request writes the tag of a contact only once.
    pub async fn a_contact_in_two_requests_of_a_list_is_tagged_once<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let first = TestRequest::phones(1, &[NEW_PHONE, BOBS_PHONE]).of_list();
        let second = TestRequest::phones(2, &[BOBS_PHONE, OTHER_NEW_PHONE]).of_list();
        let mut tagged = Vec::new();
        for request in [&first, &second] {
            let report = request.enroll(&mut setup.open().await).await;
            assert_eq!(report.upload_tag.map(|tag| tag.id), Some(first.upload_tag().id));
            tagged.extend(report.outcomes.into_iter().filter_map(|outcome| outcome.contact_id));
        }
        tagged.sort_unstable();
        tagged.dedup();
        assert_eq!(tagged.len(), 3);
        assert_eq!(setup.tagged(first.upload_tag().id).await, tagged);
        // Without new contacts, the tag stays as it is.
        let third = TestRequest::phones(3, &[BOBS_PHONE]).of_list().enroll(&mut setup.open().await).await;
        assert_eq!(third.upload_tag.map(|tag| tag.id), Some(first.upload_tag().id));
        assert_eq!(setup.tagged(first.upload_tag().id).await, tagged);
    }

    pub async fn committed_rows_are_loaded_with_their_contact<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let request = TestRequest::new(
            1,
            json!([{ "phone": NEW_PHONE, "properties": { "note": "x" } }, { "phone": BOBS_PHONE }]),
        );
        let request = request.with("custom_data", json!({ "custom_object_id": id(10, 1), "resource": "step_contact" }));
        let report = request.enroll(&mut setup.open().await).await;
        for (outcome, phone) in report.outcomes.iter().zip([NEW_PHONE, BOBS_PHONE]) {
            let query = snapshot_query(&[], &[phone], &[]);
            let contact = setup.load_contact(outcome.contact_id.unwrap_or(ANN), &query).await;
            assert_eq!(contact.conversations.first().map(|row| row.id), outcome.conversation_id);
            assert_eq!(contact.step_contacts.first().map(|row| row.id), outcome.step_contact_id);
            assert_eq!(
                contact.runs.first().map(|row| Some(row.id)),
                contact.step_contacts.first().map(|row| Some(row.run_id))
            );
            assert_eq!(contact.records.first().map(|row| row.id), outcome.record_id);
        }
    }
}

/// Clause 8.
#[doc(hidden)]
pub mod byte_exact_keys {
    use super::*;

    /// Keys that a reader or a collation could take for equal. All are different.
    const ALIKE: [&str; 14] = [
        "KEY",
        "key",
        "Key",
        "ｋｅｙ",
        "key\u{200b}",
        "k\u{e9}y",
        "ke\u{301}y",
        "KEY\u{130}",
        "key\u{131}",
        "keyß",
        "keyss",
        "key.",
        "key%",
        "k_y",
    ];

    pub async fn similar_external_ids_are_different_contacts<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let entry =
            |(n, key): (usize, &&str)| json!({ "external_id": key, "phone": format!("+120255501{:02}", 50 + n) });
        let request = TestRequest::new(1, ALIKE.iter().enumerate().map(entry).collect());
        let report = request.enroll(&mut setup.open().await).await;
        assert_eq!(report.counts().contacts_created, ALIKE.len());
        let mut handle = setup.open().await;
        for (key, outcome) in ALIKE.iter().zip(&report.outcomes) {
            assert_eq!(holder(&mut handle, KeyKind::ExternalId, key).await, outcome.contact_id, "`{key}`");
        }
        // One query with all keys.
        let contacts = load(&mut handle, &snapshot_query(&ALIKE, &[], &[])).await.contacts;
        assert!(report.outcomes.iter().all(|outcome| outcome.contact_id.is_some_and(|id| contacts.contains_key(&id))));
    }

    pub async fn keys_are_compared_by_bytes<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let keys = ["ANN-1", "Ann-1", "ann_1", "ann%", "\u{ff41}nn-1", "ann\u{2010}1"];
        let entry =
            |(n, key): (usize, &&str)| json!({ "external_id": key, "phone": format!("+120255501{:02}", 50 + n) });
        let report =
            TestRequest::new(1, keys.iter().enumerate().map(entry).collect()).enroll(&mut setup.open().await).await;
        assert_eq!(report.counts().contacts_created, keys.len(), "{report:?}");
        let mut handle = setup.open().await;
        assert_eq!(holder(&mut handle, KeyKind::ExternalId, "ann-1").await, Some(ANN));
        for email in ["CAT@example.com", "cat@EXAMPLE.com", "c\u{e0}t@example.com"] {
            assert_eq!(holder(&mut handle, KeyKind::Email, email).await, None, "`{email}`");
        }
    }

    pub async fn emails_are_found_by_key_and_stored_as_given<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let request = TestRequest::new(1, json!([{ "phone": NEW_PHONE, "email": "Jörg.Ü@BÜCHER.example" }]));
        let report = request.enroll(&mut setup.open().await).await;
        let query = snapshot_query(&[], &[], &["jörg.Ü@xn--bcher-kva.example"]);
        let contact = setup.load_contact(report.outcomes[0].contact_id.unwrap_or(ANN), &query).await;
        let email = contact.contact.email.as_ref();
        assert_eq!(
            email.map(|email| (email.as_str(), email.key())),
            Some(("Jörg.Ü@BÜCHER.example", "jörg.Ü@xn--bcher-kva.example"))
        );
    }
}

/// Clause 10.
#[doc(hidden)]
pub mod empty_input {
    use super::*;

    pub async fn a_query_without_keys_loads_no_wrong_contact<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let snapshot = load(&mut setup.open().await, &snapshot_query(&[], &[], &[])).await;
        let expected = snapshot_of(&given());
        assert!(snapshot.contacts.iter().all(|(id, contact)| expected.contacts[id].contact == contact.contact));
        assert!(snapshot.reference.sequences.contains_key(&SEQUENCE));
    }

    pub async fn an_unknown_organization_has_no_rows<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let mut query = snapshot_query(&["ann-1"], &[BOBS_PHONE], &["cat@example.com"]);
        query.reference.organization_id = id(1, 77).into();
        let Snapshot { reference, contacts, tags, .. } = load(&mut setup.open().await, &query).await;
        assert_eq!(reference.organization_id, query.reference.organization_id);
        assert!(
            contacts.is_empty() && tags.is_empty() && reference.sequences.is_empty() && reference.channels.is_empty()
        );
    }

    pub async fn an_enrollment_without_enrolled_recipients_writes_only_its_own_row<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let before = setup.dump().await;
        let request = TestRequest::phones(1, &["junk", "more junk"]);
        let report = request.enroll(&mut setup.open().await).await;
        assert_eq!(report.counts().ignored, 2);
        assert_same(&before, &setup.dump().await, "an enrollment without enrolled recipients");
        let mut named = reference_query();
        named.enrollment_id = Some(request.id);
        let reference = reference_data(&mut setup.open().await, &named).await;
        assert!(reference.enrollments.contains_key(&request.id));
    }
}

/// Clause 11.
#[doc(hidden)]
pub mod organizations_are_separate {
    use super::*;

    pub async fn the_same_ids_and_keys_in_another_organization_are_separate<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let bob = HostRow::Contact({
            let mut bob = contact(BOB);
            bob.profile.name = Some("Another Bob".into());
            bob
        });
        let write = HostWrite::new(OTHER_ORGANIZATION, WriteKind::Update, bob);
        assert!(setup.fixture.host_write(&write).await.is_ok());
        let contact = setup.load_contact(BOB, &snapshot_query(&[], &[BOBS_PHONE], &[])).await;
        assert_eq!(contact.contact.profile.name, None);
        let mut query = snapshot_query(&[], &[BOBS_PHONE], &[]);
        query.reference.organization_id = OTHER_ORGANIZATION;
        assert_eq!(setup.load_contact(BOB, &query).await.contact.profile.name.as_deref(), Some("Another Bob"));
    }

    pub async fn rows_of_another_organization_are_not_loaded<F: Fixture, B: BlockOn>() {
        let mut world = given();
        // Everything but one contact belongs to the others.
        world.sequences.retain(|row| row.organization_id.is_some());
        world.channels.retain(|row| row.organization_id.is_some());
        world.custom_objects.retain(|row| row.organization_id.is_some());
        world.call_flows.retain(|row| row.organization_id.is_some());
        world.contacts.retain(|row| row.organization_id.is_some() || row.row.id == BOB);
        world.communication_preferences.retain(|row| row.organization_id.is_some());
        world.conversations.retain(|row| row.organization_id.is_some());
        world.runs.retain(|row| row.organization_id.is_some());
        world.step_contacts.retain(|row| row.organization_id.is_some());
        world.contact_tags.retain(|row| row.organization_id.is_some());
        world.custom_records.retain(|row| row.organization_id.is_some());
        let setup = Setup::<F, B>::from_seed(&world).await;
        let query = snapshot_query(&["ann-1"], &[BOBS_PHONE, FAYS_PHONE], &["cat@example.com"]);
        let Snapshot { reference, contacts, .. } = load(&mut setup.open().await, &query).await;
        assert_eq!(contacts.keys().copied().collect::<Vec<_>>(), [BOB]);
        assert!(reference.sequences.is_empty() && reference.channels.is_empty());
        assert!(reference.custom_objects.is_empty() && reference.call_flows.is_empty());
        let contact = &contacts[&BOB];
        assert!(contact.runs.is_empty() && contact.step_contacts.is_empty() && contact.conversations.is_empty());
    }

    pub async fn a_commit_writes_only_its_own_organization<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let before = setup.fixture.dump(OTHER_ORGANIZATION).await;
        let request = TestRequest::new(
            1,
            json!([{ "external_id": "ann-1" }, { "phone": BOBS_PHONE }, { "phone": FAYS_PHONE }, { "phone": NEW_PHONE }]),
        );
        request.enroll(&mut setup.open().await).await;
        let after = setup.fixture.dump(OTHER_ORGANIZATION).await;
        let (before, after) = (sorted(&before), sorted(&after));
        for table in ["contacts", "conversations", "runs", "step_contacts", "tags", "contact_tags", "custom_records"] {
            assert_eq!(count(&before, table), count(&after, table), "{table}");
        }
        // The same enrollment in the other organization has rows with other ids.
        let report = request.in_organization(OTHER_ORGANIZATION).enroll(&mut setup.open().await).await;
        assert_eq!(report.counts().contacts_created, 1);
    }
}

/// Returns the snapshot of the organization.
#[expect(clippy::expect_used, reason = "the case fails")]
fn snapshot_of(given: &Seed) -> Snapshot {
    let snapshots = given.snapshots().expect("the seed is valid");
    let snapshot = snapshots.into_iter().find(|snapshot| snapshot.reference.organization_id == ORGANIZATION);
    snapshot.expect("the seed has the organization")
}

/// Keeps the related rows that the query covers. A load can return more.
fn related(contact: &ContactAggregate, request: &crate::query::SnapshotQuery) -> ContactAggregate {
    let mut contact = contact.clone();
    let (channel_id, sequence_id): (_, SequenceId) = (request.channel_id, request.reference.sequence_id);
    let object_id: Option<CustomObjectId> = request.reference.custom_object_id.filter(|_| request.resource.is_some());
    contact.version = crate::snapshot::Version::FIRST;
    contact.tags.retain(|tag_id| Some(*tag_id) == request.tag_id);
    contact.preferences.retain(|row| Some(row.channel_id) == channel_id);
    contact.conversations.retain(|row| Some(row.channel_id) == channel_id);
    contact.conversations.sort_by_key(|row| row.id);
    contact.runs.retain(|row| row.sequence_id == sequence_id);
    contact.runs.sort_by_key(|row| row.id);
    contact.step_contacts.retain(|row| row.sequence_id == sequence_id);
    contact.step_contacts.sort_by_key(|row| row.id);
    contact.records.retain(|row| Some(row.custom_object_id) == object_id);
    contact.records.sort_by_key(|row| row.id);
    contact
}

/// Returns the contact with a key, out of all contacts that a query of the key loads.
async fn holder<R: AsyncRepository>(handle: &mut R, kind: KeyKind, key: &str) -> Option<ContactId> {
    let (mut lists, list) = ([&[][..]; 3], [key]);
    lists[kind as usize] = &list;
    let [external_ids, phones, emails] = lists;
    let contacts = load(handle, &snapshot_query(external_ids, phones, emails)).await.contacts;
    let mut holders = contacts.values().filter(|contact| contact.contact.key(kind) == Some(key));
    let holder = holders.next().map(|contact| contact.contact.id);
    assert_eq!(holders.next().map(|contact| contact.contact.id), None, "{kind} `{key}` has a second holder");
    holder
}

#[expect(clippy::expect_used, reason = "the case fails")]
async fn reference_data<R: AsyncRepository>(handle: &mut R, query: &ReferenceQuery) -> crate::snapshot::ReferenceData {
    handle.reference_data(query).await.expect("the reference data loads")
}

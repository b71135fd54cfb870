//! Clauses 1, 2, 8, 10 and 11: what is read.
#![expect(missing_docs, clippy::missing_panics_doc, reason = "a case is its name, and panics where it fails")]
#![allow(clippy::wildcard_imports, reason = "a clause takes what its file has")]

use serde_json::json;

use super::scene::{
    ANN, Asked, BOB, BOBS_PHONE, CAT, DOTS_PHONE, EVE, EVES_PHONE, FAY, FAYS_PHONE, MAIL, NEIGHBOURS, NEW_PHONE,
    ORGANIZATION, OTHER_SEQUENCE, SEQUENCE, SMS, STRANGERS, Scene, contact, count, given, id, load, neighbour,
    neighbours_phone, opt_in, reference_query, same, snapshot_query, sorted, with_neighbours,
};
use super::{BlockOn, Fixture};
use crate::contact::KeyKind;
use crate::ids::{ContactId, CustomObjectId, SequenceId};
use crate::query::ReferenceQuery;
use crate::repository::AsyncRepository;
use crate::seed::{HostRow, HostWrite, Seed, WriteKind};
use crate::snapshot::{ContactAggregate, Snapshot};

/// Clause 1.
pub mod read_what_was_written {
    use super::*;

    pub async fn a_commit_is_seen_by_every_handle<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let (mut writer, mut reader) = (scene.open().await, scene.open().await);
        // The reader has looked before, so what it keeps of that would show.
        assert_eq!(holder(&mut reader, KeyKind::Phone, NEW_PHONE).await, None);
        let report = Asked::phones(1, &[NEW_PHONE]).enroll(&mut writer).await;
        for handle in [&mut writer, &mut reader, &mut scene.open().await] {
            assert_eq!(holder(handle, KeyKind::Phone, NEW_PHONE).await, report.outcomes[0].contact_id);
        }
    }

    pub async fn a_hosts_write_is_seen_by_every_handle<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let mut handle = scene.open().await;
        let asked = snapshot_query(&[], &[BOBS_PHONE], &[]);
        assert!(load(&mut handle, &asked).await.contacts[&BOB].preferences.is_empty());
        scene.write(WriteKind::Insert, opt_in(BOB, false)).await;
        assert_eq!(load(&mut handle, &asked).await.contacts[&BOB].preferences.len(), 1);
    }

    pub async fn every_field_of_every_row_comes_back<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let mut handle = scene.open().await;
        for sequence_id in [SEQUENCE, OTHER_SEQUENCE] {
            let mut asked = snapshot_query(&["ann-1"], &[EVES_PHONE, FAYS_PHONE], &["cat@example.com"]);
            asked.reference.sequence_id = sequence_id;
            for channel_id in [SMS, MAIL] {
                asked.channel_id = Some(channel_id);
                let expected = world(&given());
                let found = load(&mut handle, &asked).await;
                for (id, person) in &found.contacts {
                    assert_eq!(related(person, &asked), related(&expected.contacts[id], &asked));
                }
                assert!([ANN, CAT, EVE, FAY].iter().all(|id| found.contacts.contains_key(id)));
                let sequence = &found.reference.sequences[&sequence_id].value;
                let mut steps = sequence.steps.clone();
                steps.sort_by_key(|step| step.id);
                let stands = &expected.reference.sequences[&sequence_id].value;
                assert_eq!((&sequence.title, sequence.status), (&stands.title, stands.status));
                assert_eq!(sequence.settings, stands.settings);
                assert_eq!(steps, stands.steps);
                for (id, channel) in &expected.reference.channels {
                    assert_eq!(found.reference.channels[id].value, channel.value);
                }
                for (id, object) in &expected.reference.custom_objects {
                    assert_eq!(found.reference.custom_objects[id].value, object.value);
                }
                for (id, call_flow) in &expected.reference.call_flows {
                    assert_eq!(found.reference.call_flows[id].value, call_flow.value);
                }
            }
        }
    }

    pub async fn a_seed_comes_back_whole<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        same(&sorted(&given()), &scene.dump().await, "what was seeded");
    }

    pub async fn the_stored_report_answers_again<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let asked = Asked::new(
            1,
            json!([{ "phone": "junk \u{1f4de}", "email": "Ünï@exämple.com", "name": "N" }, { "phone": NEW_PHONE }, { "phone": NEW_PHONE }]),
        );
        let report = asked.enroll(&mut scene.open().await).await;
        let before = scene.dump().await;
        assert_eq!(asked.enroll(&mut scene.open().await).await, report);
        same(&before, &scene.dump().await, "an enrollment that came again");
    }
}

/// Clause 2.
pub mod complete_load {
    use super::*;

    pub async fn each_key_finds_its_contact<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let mut handle = scene.open().await;
        for person in world(&given()).contacts.values() {
            for kind in KeyKind::ALL {
                let Some(key) = person.contact.key(kind) else { continue };
                assert_eq!(holder(&mut handle, kind, key).await, Some(person.contact.id), "{kind} `{key}`");
            }
        }
    }

    pub async fn several_keys_of_one_contact_find_it_once<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let anns_key = world(&given()).contacts[&ANN].contact.key(KeyKind::Email).map(str::to_owned);
        let asked = snapshot_query(&["ann-1"], &["+12025550123"], &[&anns_key.unwrap_or_default()]);
        let person = scene.person(ANN, &asked).await;
        let world = world(&given());
        assert_eq!(related(&person, &asked), related(&world.contacts[&ANN], &asked));
    }

    pub async fn a_merged_contact_holds_no_keys<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let mut handle = scene.open().await;
        let keys = [(KeyKind::ExternalId, "dot-1"), (KeyKind::Phone, DOTS_PHONE), (KeyKind::Email, "dot@example.com")];
        for (kind, key) in keys {
            assert_eq!(holder(&mut handle, kind, key).await, None, "{kind}");
        }
    }

    pub async fn what_does_not_exist_is_absent<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let mut handle = scene.open().await;
        let mut asked = snapshot_query(&["nobody"], &["+12025550199"], &["nobody@example.com"]);
        let nothing = id(99, 99);
        asked.reference = ReferenceQuery {
            organization_id: ORGANIZATION,
            enrollment_id: Some(nothing.into()),
            sequence_id: nothing.into(),
            custom_object_id: Some(nothing.into()),
            call_flow_id: Some(nothing.into()),
        };
        asked.channel_id = Some(nothing.into());
        let Snapshot { reference, contacts: people, .. } = load(&mut handle, &asked).await;
        assert!(!reference.sequences.contains_key(&nothing.into()));
        assert!(!reference.custom_objects.contains_key(&nothing.into()));
        assert!(!reference.call_flows.contains_key(&nothing.into()));
        assert!(!reference.enrollments.contains_key(&nothing.into()));
        assert!(!reference.channels.contains_key(&nothing.into()));
        assert!(people.values().all(|person| world(&given()).contacts.contains_key(&person.contact.id)));
    }

    pub async fn all_channels_are_in_the_context<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let mut handle = scene.open().await;
        let expected: Vec<_> = world(&given()).reference.channels.into_keys().collect();
        let reference = reference_data(&mut handle, &reference_query()).await;
        assert_eq!(reference.channels.into_keys().collect::<Vec<_>>(), expected);
    }

    /// Whether few are asked for, all of them, or every second one.
    pub async fn what_stands_round_neighbours_is_loaded_with_each<F: Fixture, B: BlockOn>() {
        let given = with_neighbours();
        let scene = Scene::<F, B>::of(&given).await;
        let world = world(&given);
        let mut handle = scene.open().await;
        for (few, apart) in [(3, 1), (NEIGHBOURS, 1), (NEIGHBOURS, 2), (NEIGHBOURS, 3)] {
            let numbers: Vec<u64> = (0..few).step_by(apart).collect();
            let phones: Vec<String> = numbers.iter().map(|n| neighbours_phone(*n)).collect();
            let phones: Vec<&str> = phones.iter().map(String::as_str).collect();
            let asked = snapshot_query(&[], &phones, &[]);
            let found = load(&mut handle, &asked).await.contacts;
            for id in numbers.into_iter().map(neighbour) {
                assert_eq!(related(&found[&id], &asked), related(&world.contacts[&id], &asked));
            }
        }
    }

    pub async fn what_a_commit_wrote_is_loaded_with_its_contact<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let asked =
            Asked::new(1, json!([{ "phone": NEW_PHONE, "properties": { "note": "x" } }, { "phone": BOBS_PHONE }]));
        let asked = asked.with("custom_data", json!({ "custom_object_id": id(10, 1), "resource": "step_contact" }));
        let report = asked.enroll(&mut scene.open().await).await;
        for (outcome, phone) in report.outcomes.iter().zip([NEW_PHONE, BOBS_PHONE]) {
            let asked = snapshot_query(&[], &[phone], &[]);
            let person = scene.person(outcome.contact_id.unwrap_or(ANN), &asked).await;
            assert_eq!(person.conversations.first().map(|row| row.id), outcome.conversation_id);
            assert_eq!(person.step_contacts.first().map(|row| row.id), outcome.step_contact_id);
            assert_eq!(
                person.runs.first().map(|row| Some(row.id)),
                person.step_contacts.first().map(|row| Some(row.run_id))
            );
            assert_eq!(person.records.first().map(|row| row.id), outcome.record_id);
        }
    }
}

/// Clause 8.
pub mod byte_exact_keys {
    use super::*;

    /// Alike to a reader or to a collation, and all different.
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

    pub async fn external_ids_that_look_alike_are_different_people<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let entry =
            |(n, key): (usize, &&str)| json!({ "external_id": key, "phone": format!("+120255501{:02}", 50 + n) });
        let asked = Asked::new(1, ALIKE.iter().enumerate().map(entry).collect());
        let report = asked.enroll(&mut scene.open().await).await;
        assert_eq!(report.counts().contacts_created, ALIKE.len());
        let mut handle = scene.open().await;
        for (key, outcome) in ALIKE.iter().zip(&report.outcomes) {
            assert_eq!(holder(&mut handle, KeyKind::ExternalId, key).await, outcome.contact_id, "`{key}`");
        }
        // All together, and each still its own.
        let people = load(&mut handle, &snapshot_query(&ALIKE, &[], &[])).await.contacts;
        assert!(report.outcomes.iter().all(|outcome| outcome.contact_id.is_some_and(|id| people.contains_key(&id))));
    }

    pub async fn a_key_is_its_very_bytes<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let keys = ["ANN-1", "Ann-1", "ann_1", "ann%", "\u{ff41}nn-1", "ann\u{2010}1"];
        let entry =
            |(n, key): (usize, &&str)| json!({ "external_id": key, "phone": format!("+120255501{:02}", 50 + n) });
        let report = Asked::new(1, keys.iter().enumerate().map(entry).collect()).enroll(&mut scene.open().await).await;
        assert_eq!(report.counts().contacts_created, keys.len(), "{report:?}");
        let mut handle = scene.open().await;
        assert_eq!(holder(&mut handle, KeyKind::ExternalId, "ann-1").await, Some(ANN));
        for email in ["CAT@example.com", "cat@EXAMPLE.com", "c\u{e0}t@example.com"] {
            assert_eq!(holder(&mut handle, KeyKind::Email, email).await, None, "`{email}`");
        }
    }

    pub async fn emails_are_found_by_their_key_and_shown_as_given<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let asked = Asked::new(1, json!([{ "phone": NEW_PHONE, "email": "Jörg.Ü@BÜCHER.example" }]));
        let report = asked.enroll(&mut scene.open().await).await;
        let asked = snapshot_query(&[], &[], &["jörg.Ü@xn--bcher-kva.example"]);
        let person = scene.person(report.outcomes[0].contact_id.unwrap_or(ANN), &asked).await;
        let email = person.contact.email.as_ref();
        assert_eq!(
            email.map(|email| (email.as_str(), email.key())),
            Some(("Jörg.Ü@BÜCHER.example", "jörg.Ü@xn--bcher-kva.example"))
        );
    }
}

/// Clause 10.
pub mod empty_is_nothing {
    use super::*;

    pub async fn a_lookup_without_keys_finds_nobody_it_should_not<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let snapshot = load(&mut scene.open().await, &snapshot_query(&[], &[], &[])).await;
        let world = world(&given());
        assert!(snapshot.contacts.iter().all(|(id, person)| world.contacts[id].contact == person.contact));
        assert!(snapshot.reference.sequences.contains_key(&SEQUENCE));
    }

    pub async fn an_organization_that_does_not_exist_has_nothing<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let mut asked = snapshot_query(&["ann-1"], &[BOBS_PHONE], &["cat@example.com"]);
        asked.reference.organization_id = id(1, 77).into();
        let Snapshot { reference, contacts: people, tags, .. } = load(&mut scene.open().await, &asked).await;
        assert_eq!(reference.organization_id, asked.reference.organization_id);
        assert!(
            people.is_empty() && tags.is_empty() && reference.sequences.is_empty() && reference.channels.is_empty()
        );
    }

    pub async fn an_enrollment_of_nobody_writes_its_own_row_alone<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let before = scene.dump().await;
        let asked = Asked::phones(1, &["junk", "more junk"]);
        let report = asked.enroll(&mut scene.open().await).await;
        assert_eq!(report.counts().ignored, 2);
        same(&before, &scene.dump().await, "an enrollment of nobody");
        let mut named = reference_query();
        named.enrollment_id = Some(asked.id);
        let reference = reference_data(&mut scene.open().await, &named).await;
        assert!(reference.enrollments.contains_key(&asked.id));
    }
}

/// Clause 11.
pub mod tenants_are_walls {
    use super::*;

    pub async fn the_same_ids_and_keys_of_another_organization_stay_there<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let bob = HostRow::Contact({
            let mut bob = contact(BOB);
            bob.name = Some("Another Bob".into());
            bob
        });
        let write = HostWrite::new(STRANGERS, WriteKind::Update, bob);
        assert!(scene.fixture.host_write(&write).await.is_ok());
        let person = scene.person(BOB, &snapshot_query(&[], &[BOBS_PHONE], &[])).await;
        assert_eq!(person.contact.name, None);
        let mut asked = snapshot_query(&[], &[BOBS_PHONE], &[]);
        asked.reference.organization_id = STRANGERS;
        assert_eq!(scene.person(BOB, &asked).await.contact.name.as_deref(), Some("Another Bob"));
    }

    pub async fn nothing_of_another_organization_can_be_named<F: Fixture, B: BlockOn>() {
        let mut world = given();
        // Everything but one person belongs to the others.
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
        let scene = Scene::<F, B>::of(&world).await;
        let asked = snapshot_query(&["ann-1"], &[BOBS_PHONE, FAYS_PHONE], &["cat@example.com"]);
        let Snapshot { reference, contacts: people, .. } = load(&mut scene.open().await, &asked).await;
        assert_eq!(people.keys().copied().collect::<Vec<_>>(), [BOB]);
        assert!(reference.sequences.is_empty() && reference.channels.is_empty());
        assert!(reference.custom_objects.is_empty() && reference.call_flows.is_empty());
        let person = &people[&BOB];
        assert!(person.runs.is_empty() && person.step_contacts.is_empty() && person.conversations.is_empty());
    }

    pub async fn a_commit_touches_its_own_organization_alone<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let before = scene.fixture.dump(STRANGERS).await;
        let asked = Asked::new(
            1,
            json!([{ "external_id": "ann-1" }, { "phone": BOBS_PHONE }, { "phone": FAYS_PHONE }, { "phone": NEW_PHONE }]),
        );
        asked.enroll(&mut scene.open().await).await;
        let after = scene.fixture.dump(STRANGERS).await;
        let (before, after) = (sorted(&before), sorted(&after));
        for table in ["contacts", "conversations", "runs", "step_contacts", "tags", "contact_tags", "custom_records"] {
            assert_eq!(count(&before, table), count(&after, table), "{table}");
        }
        // The same enrollment, for the others: the ids of the rows differ, and none is in the way.
        let report = asked.of(STRANGERS).enroll(&mut scene.open().await).await;
        assert_eq!(report.counts().contacts_created, 1);
    }
}

/// The organization as a snapshot.
#[expect(clippy::expect_used, reason = "a world that cannot be read is a fault to be seen")]
fn world(given: &Seed) -> Snapshot {
    let snapshots = given.snapshots().expect("the world can be read");
    let of = snapshots.into_iter().find(|snapshot| snapshot.reference.organization_id == ORGANIZATION);
    of.expect("the organization is in it")
}

/// What a query names of a person: more is allowed.
fn related(person: &ContactAggregate, asked: &crate::query::SnapshotQuery) -> ContactAggregate {
    let mut person = person.clone();
    let (channel_id, sequence_id): (_, SequenceId) = (asked.channel_id, asked.reference.sequence_id);
    let object_id: Option<CustomObjectId> = asked.reference.custom_object_id.filter(|_| asked.resource.is_some());
    person.version = crate::snapshot::Version::FIRST;
    person.tags.clear();
    person.preferences.retain(|row| Some(row.channel_id) == channel_id);
    person.conversations.retain(|row| Some(row.channel_id) == channel_id);
    person.conversations.sort_by_key(|row| row.id);
    person.runs.retain(|row| row.sequence_id == sequence_id);
    person.runs.sort_by_key(|row| row.id);
    person.step_contacts.retain(|row| row.sequence_id == sequence_id);
    person.step_contacts.sort_by_key(|row| row.id);
    person.records.retain(|row| Some(row.custom_object_id) == object_id);
    person.records.sort_by_key(|row| row.id);
    person
}

/// Who holds a key, of whoever is loaded for it: more may be.
async fn holder<R: AsyncRepository>(handle: &mut R, kind: KeyKind, key: &str) -> Option<ContactId> {
    let (mut lists, list) = ([&[][..]; 3], [key]);
    lists[kind as usize] = &list;
    let [external_ids, phones, emails] = lists;
    let people = load(handle, &snapshot_query(external_ids, phones, emails)).await.contacts;
    let mut holders = people.values().filter(|person| person.contact.key(kind) == Some(key));
    let holder = holders.next().map(|person| person.contact.id);
    assert_eq!(holders.next().map(|person| person.contact.id), None, "{kind} `{key}` has a second holder");
    holder
}

#[expect(clippy::expect_used, reason = "the case fails")]
async fn reference_data<R: AsyncRepository>(handle: &mut R, query: &ReferenceQuery) -> crate::snapshot::ReferenceData {
    handle.reference_data(query).await.expect("the reference is told")
}

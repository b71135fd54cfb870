//! The invariants of spec 7. Each one is a property with its name, over generated scenarios.
#![cfg(feature = "testing")]

mod scenarios;

use enroll::contact::ContactState;
use enroll::model::{CommunicationPreference, CustomProperty, PropertyKind, StepContactStatus};
use enroll::policy::{Consent, ExistingContact};
use enroll::snapshot::{ContactAggregate, Version};
use enroll::testing::{Scenario, scenario};
use enroll::{ChangeSet, ReferenceQuery, RepositoryError, RepositoryErrorKind, SnapshotQuery, *};
use proptest::prelude::*;
use scenarios::{Counting, Host, changed_contacts, mutations, unrelated};
use serde_json::{Value, json};
use std::sync::Arc;
use uuid::Uuid;

/// Returns values of custom data, also long ones.
fn custom_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(Value::from),
        "[\\x01-\\u{10FFFF}]{0,100}".prop_map(Value::from),
        prop::collection::vec(any::<bool>(), 0..1000).prop_map(Value::from),
    ]
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn a_contact_is_live_in_at_most_one_step_of_a_sequence(scenario in scenario()) {
        let host = Host::new(&scenario);
        for n in 0..scenario.requests.len() {
            host.enroll(n);
            for contact_rows in host.snapshot().contacts.values() {
                for sequence in host.snapshot().reference.sequences.keys() {
                    let live = contact_rows.step_contacts.iter().filter(|row| row.sequence_id == *sequence && row.status.is_live());
                    prop_assert!(live.count() <= 1, "{:?}", contact_rows.contact.id);
                }
            }
        }
    }

    #[test]
    fn every_recipient_has_exactly_one_outcome_in_input_order_and_every_ignored_one_has_a_reason(scenario in scenario()) {
        let host = Host::new(&scenario);
        for (n, request) in scenario.requests.iter().enumerate() {
            let report = host.enroll(n);
            let entries = request.body["to"].as_array().unwrap().len();
            let indexes: Vec<usize> = report.outcomes.iter().map(|outcome| outcome.index).collect();
            prop_assert_eq!(indexes, (0..entries).collect::<Vec<_>>());
            prop_assert_eq!(report.counts().total(), entries);
            for outcome in &report.outcomes {
                prop_assert_eq!(outcome.disposition == Disposition::Ignored, !outcome.reasons.is_empty());
                prop_assert_eq!(outcome.disposition == Disposition::Duplicate, outcome.duplicate_of.is_some());
                prop_assert_eq!(outcome.disposition.is_enrolled(), outcome.step_contact_id.is_some());
                prop_assert!(outcome.duplicate_of.is_none_or(|of| report.outcomes[of].disposition.is_enrolled()));
            }
        }
    }

    #[test]
    fn ignored_and_duplicate_recipients_leave_no_trace_but_count_for_the_tag(scenario in scenario()) {
        let host = Host::new(&scenario);
        let before = host.snapshot();
        let report = host.enroll(0);
        let after = host.snapshot();
        let enrolled: Vec<_> = report.outcomes.iter().filter(|outcome| outcome.disposition.is_enrolled()).collect();
        // Every changed contact is enrolled.
        for id in changed_contacts(&before, &after) {
            prop_assert!(enrolled.iter().any(|outcome| outcome.contact_id == Some(id)), "{id:?}");
        }
        let tagged = after.contacts.values().flat_map(|contact_rows| &contact_rows.tags).count()
            - before.contacts.values().flat_map(|contact_rows| &contact_rows.tags).count();
        let list = scenario.requests[0].list;
        let counts_for_the_tag = report.outcomes.len() > 1 || list.is_some();
        // A contact can have the tag of the list already.
        let had_it = |outcome: &&&Outcome| {
            let before = outcome.contact_id.and_then(|id| before.contacts.get(&id));
            let tag = report.upload_tag.as_ref();
            before.zip(tag).is_some_and(|(contact_rows, tag)| contact_rows.tags.contains(&tag.id))
        };
        let untagged = enrolled.len() - enrolled.iter().filter(had_it).count();
        prop_assert_eq!(tagged, if counts_for_the_tag { untagged } else { 0 });
        prop_assert_eq!(report.upload_tag.is_some(), counts_for_the_tag && !enrolled.is_empty());
        // Without them, the other recipients have the same outcomes.
        if !enrolled.is_empty() {
            let mut alone = scenario.clone();
            let entries = scenario.requests[0].body["to"].as_array().unwrap();
            alone.requests[0].body["to"] = enrolled.iter().map(|outcome| entries[outcome.index].clone()).collect();
            let summary = |outcome: &Outcome| (outcome.disposition, outcome.contact_created);
            let others: Vec<_> = Host::new(&alone).enroll(0).outcomes.iter().map(summary).collect();
            prop_assert_eq!(others, enrolled.into_iter().map(summary).collect::<Vec<_>>());
        }
    }

    #[test]
    fn all_requests_of_a_list_have_one_upload_tag(scenario in scenario()) {
        let Some(list) = scenario.requests[0].list else { return Ok(()) };
        let host = Host::new(&scenario);
        let before = host.snapshot().tags;
        let reports: Vec<_> = (0..scenario.requests.len()).map(|n| host.enroll(n)).collect();
        let after = host.snapshot();
        let tags: Vec<_> = reports.iter().filter_map(|report| report.upload_tag.as_ref()).collect();
        prop_assert!(tags.windows(2).all(|pair| pair[0] == pair[1]));
        let new: Vec<_> = after.tags.values().filter(|tag| !before.contains_key(&tag.id)).collect();
        match (tags.first(), &new[..]) {
            (None, []) => {}
            (Some(tag), []) => prop_assert_eq!(&before[&tag.id].name, &tag.name),
            (Some(tag), [new]) => {
                prop_assert_eq!((new.id, &*new.name), (tag.id, &*format!("Upload {}", list.at)));
            }
            other => prop_assert!(false, "{other:?}"),
        }
        for (report, tag) in reports.iter().filter_map(|report| Some((report, report.upload_tag.as_ref()?))) {
            for outcome in report.outcomes.iter().filter(|outcome| outcome.disposition.is_enrolled()) {
                let contact_rows = &after.contacts[&outcome.contact_id.unwrap()];
                prop_assert_eq!(contact_rows.tags.iter().filter(|id| **id == tag.id).count(), 1);
            }
        }
    }

    #[test]
    fn planning_twice_is_the_same_bytes_and_processing_twice_is_processing_once(scenario in scenario()) {
        let host = Host::new(&scenario);
        let (command, snapshot, plan) = host.plan(0).unwrap();
        let bytes = |plan: &EnrollmentPlan| serde_json::to_vec(&(plan.changes(), plan.report())).unwrap();
        prop_assert_eq!(bytes(&plan), bytes(&plan_enrollment(&command, &snapshot).unwrap()));
        // A stored command gives the same plan.
        let stored = serde_json::to_string(&command).unwrap();
        let read: EnrollmentCommand = serde_json::from_str(&stored).unwrap();
        prop_assert_eq!(bytes(&plan), bytes(&plan_enrollment(&read, &snapshot).unwrap()));
        let changes: ChangeSet = serde_json::from_slice(&serde_json::to_vec(plan.changes()).unwrap()).unwrap();
        prop_assert_eq!(&changes, plan.changes());

        let first = host.enroll(0);
        let once = host.snapshot();
        prop_assert_eq!(&first, plan.report());
        prop_assert_eq!(host.enroll(0), first);
        prop_assert_eq!(host.snapshot(), once);
    }

    #[test]
    fn an_enrolled_recipient_that_is_sent_again_is_reprocessed_and_creates_nothing(scenario in scenario()) {
        let host = Host::new(&scenario);
        let report = host.enroll(0);
        let after = host.snapshot();
        for outcome in report.outcomes.iter().filter(|outcome| outcome.disposition.is_enrolled()) {
            let mut again = scenario.clone();
            let request = &mut again.requests[0];
            request.body["to"] = json!([request.body["to"][outcome.index]]);
            request.body["step_id"] = json!(report.step_id);
            request.enrollment_id = EnrollmentId::from_uuid(Uuid::from_u128(0xa6a1));
            let host = Host::with_rows(&again, &after);
            let (command, ..) = host.plan(0).unwrap();
            // The invariant applies only if every valid key is stored on the resolved contact.
            let contact = &after.contacts[&outcome.contact_id.unwrap()].contact;
            let keys = command.snapshot_query().keys;
            if !keys.iter().all(|(kind, keys)| keys.iter().all(|key| contact.key(kind) == Some(key))) {
                continue;
            }
            let second = &host.enroll(0).outcomes[0];
            prop_assert_eq!(second.disposition, Disposition::Reprocessed);
            prop_assert_eq!(second.contact_id, outcome.contact_id);
            prop_assert_eq!(second.step_contact_id, outcome.step_contact_id);
            prop_assert!(!second.contact_created && !second.conversation_created);
            let rows = |snapshot: &Snapshot| {
                let contacts = snapshot.contacts.values();
                let runs: usize = contacts.clone().map(|contact_rows| contact_rows.runs.len()).sum();
                (snapshot.contacts.len(), runs, contacts.map(|contact_rows| contact_rows.conversations.len()).sum::<usize>())
            };
            prop_assert_eq!(rows(&host.snapshot()), rows(&after));
        }
    }

    #[test]
    fn no_two_contacts_of_an_organization_share_an_external_id_phone_or_email(scenario in scenario()) {
        let host = Host::new(&scenario);
        for n in 0..scenario.requests.len() {
            host.enroll(n);
            prop_assert_eq!(host.dump().check_unique(), Ok(()));
        }
    }

    #[test]
    fn nothing_outside_the_organization_is_read_referenced_or_written(scenario in scenario()) {
        let host = Host::new(&scenario);
        let other_organizations = host.other_organizations();
        for n in 0..scenario.requests.len() {
            // The host's handle panics for another organization.
            host.enroll(n);
        }
        prop_assert_eq!(host.other_organizations(), other_organizations);
        let snapshot = host.snapshot();
        for contact_rows in snapshot.contacts.values() {
            let made = contact_rows.step_contacts.iter().filter(|row| scenario.requests.iter().any(|r| Some(r.enrollment_id) == row.enrollment_id));
            for row in made {
                prop_assert!(row.channel_id.is_none_or(|id| snapshot.reference.channels.contains_key(&id)));
            }
            if contact_rows.contact.created_at.is_some_and(|at| at >= scenario.requests[0].at) {
                prop_assert!(contact_rows.contact.profile.default_channel_id.is_none_or(|id| snapshot.reference.channels.contains_key(&id)));
            }
        }
    }

    #[test]
    fn consent_never_weakens(scenario in scenario()) {
        let host = Host::new(&scenario);
        let before = host.snapshot();
        for n in 0..scenario.requests.len() {
            host.enroll(n);
        }
        for (id, after) in host.snapshot().contacts {
            let before = before.contacts.get(&id);
            prop_assert_eq!(&after.preferences[..], before.map_or(&[][..], |contact_rows| &contact_rows.preferences));
            prop_assert_eq!(after.contact.state, before.map_or(ContactState::Open, |contact_rows| contact_rows.contact.state));
        }
    }

    #[test]
    fn facts_that_the_plan_does_not_depend_on_do_not_change_it(scenario in scenario()) {
        let host = Host::new(&scenario);
        let (command, snapshot, plan) = host.plan(0).unwrap();
        let more = unrelated(snapshot, &host.snapshot());
        prop_assert_eq!(plan_enrollment(&command, &more).unwrap(), plan);
    }

    #[test]
    fn every_fact_behind_a_write_is_guarded(scenario in scenario(), pick in any::<prop::sample::Index>()) {
        let host = Host::new(&scenario);
        let (command, snapshot, plan) = host.plan(0).unwrap();
        let mutations = mutations(&command, &snapshot);
        for mutation in &mutations {
            let changed = host.copy();
            changed.edit(mutation);
            let again = changed.plan_command(&command);
            let same = again.is_ok_and(|again| again.changes().rows() == plan.changes().rows());
            let before = changed.snapshot();
            let refused = changed.commit(plan.changes());
            if !same {
                prop_assert_eq!(refused.map_err(|e| e.kind()), Err(RepositoryErrorKind::Conflict), "{}", mutation.what);
                prop_assert_eq!(changed.snapshot(), before, "a refused commit wrote rows: {}", mutation.what);
            }
        }
        // After a conflict, the operation plans again on the changed rows.
        if !mutations.is_empty() {
            let mutation = &mutations[pick.index(mutations.len())];
            let raced = host.copy().enroll_while(0, mutation);
            let changed = host.copy();
            changed.edit(mutation);
            // The command stays the same: the request is not read again after the change.
            let after = changed.plan_command(&command);
            match (raced, after) {
                (Ok((report, snapshot)), Ok(after)) => {
                    if after.changes().rows() != plan.changes().rows() {
                        prop_assert!(changed.commit(after.changes()).is_ok(), "{}", mutation.what);
                        prop_assert_eq!(&report, after.report(), "{}", mutation.what);
                        prop_assert_eq!(snapshot.contacts, changed.snapshot().contacts, "{}", mutation.what);
                    }
                }
                (Err(EnrollError::Rejected(actual)), Err(rejection)) => prop_assert_eq!(actual, rejection),
                (raced, after) => prop_assert!(false, "{}: {raced:?}, {after:?}", mutation.what),
            }
        }
    }

    #[test]
    fn the_number_of_repository_calls_does_not_depend_on_the_number_of_recipients(scenario in scenario()) {
        let host = Host::new(&scenario);
        for n in 0..scenario.requests.len() {
            prop_assert_eq!(host.calls(n), [1, 1, 1]);
        }
    }

    #[test]
    fn a_stored_value_is_never_overwritten_under_fill_blank(mut scenario in scenario()) {
        scenario.given.policy.existing_contact = ExistingContact::FillBlank;
        let host = Host::new(&scenario);
        let before = host.snapshot();
        for n in 0..scenario.requests.len() {
            host.enroll(n);
        }
        let after = host.snapshot();
        for (id, contact_rows) in before.contacts {
            let Value::Object(before) = json!(contact_rows.contact) else { unreachable!() };
            let after = json!(after.contacts[&id].contact);
            for (field, value) in before.iter().filter(|(field, _)| *field != "updated_at") {
                let blank = value.as_str().is_some_and(|text| text.trim().is_empty()) || *value == json!({});
                prop_assert!(blank || after[field] == *value, "{id}: {field} was {value}, is {}", after[field]);
            }
        }
    }

    /// Situation 22 of `tests/vectors/README.md`.
    #[test]
    fn a_preview_is_the_enrollment_without_the_commit(scenario in scenario()) {
        let host = Host::new(&scenario);
        let before = host.snapshot();
        let previewed = host.preview(0);
        prop_assert_eq!(host.snapshot(), before);
        prop_assert_eq!(host.enroll(0), previewed);
    }

    #[test]
    fn a_rehearsal_reports_what_real_enrollments_do(scenario in scenario()) {
        let host = Host::new(&scenario);
        let before = host.snapshot();
        let rehearsed = host.rehearse();
        prop_assert_eq!(host.snapshot(), before);
        let enrolled: Vec<_> = (0..scenario.requests.len()).map(|n| host.enroll(n)).collect();
        prop_assert_eq!(&enrolled, &rehearsed);
        // Another policy: the differences are the recipients whose outcomes differ.
        let mut lenient = scenario.clone();
        lenient.given.policy.consent = Consent::LeaveToSender;
        let other = Host::new(&lenient).rehearse();
        for (report, other) in rehearsed.iter().zip(&other) {
            let differ = |index: &usize| report.outcomes[*index] != other.outcomes[*index];
            prop_assert_eq!(report.differences(other), (0..report.outcomes.len()).filter(differ).collect::<Vec<_>>());
        }
    }

    /// Situation 10 of `tests/vectors/README.md`: the commit succeeds, and the caller does not get the report.
    #[test]
    fn a_retry_after_a_lost_answer_commits_nothing(scenario in scenario()) {
        let host = Host::new(&scenario);
        let (_, _, plan) = host.plan(0).unwrap();
        host.commit(plan.changes()).unwrap();
        let once = host.snapshot();
        prop_assert_eq!(&host.enroll(0), plan.report());
        prop_assert_eq!(host.snapshot(), once);
    }

    /// Situation 6 of `tests/vectors/README.md`.
    #[test]
    fn the_size_of_a_report_is_bounded_by_its_recipients(
        mut scenario in scenario(),
        keys in prop::collection::btree_set("[\\x01-\\u{10FFFF}]{0,100}", 1..80),
        required in any::<bool>(),
        given in prop::collection::btree_map("[\\x01-\\u{10FFFF}]{0,100}", custom_value(), 0..15),
        resource in prop::sample::select(&["contact", "step_contact"][..]),
    ) {
        let property = |key: &String| {
            let mut property = CustomProperty::new(key, PropertyKind::Number);
            property.required = required;
            property
        };
        for object in &mut scenario.given.custom_objects {
            object.row.properties = keys.iter().map(property).collect();
        }
        // Some of the keys are the object's.
        let own = keys.iter().step_by(2).take(15).map(|key| (key, &Value::Null));
        let properties: serde_json::Map<String, Value> =
            given.iter().chain(own).map(|(key, value)| (key.clone(), value.clone())).collect();
        let body = &mut scenario.requests[0].body;
        body["custom_data"] = json!({ "custom_object_id": scenario.given.custom_objects[0].row.id, "resource": resource });
        for entry in body["to"].as_array_mut().unwrap() {
            entry["properties"] = json!(properties);
        }
        let report = Host::new(&scenario).enroll(0);
        let keys: Vec<&String> = keys.iter().collect();
        prop_assert_eq!(report.accepted_keys.iter().collect::<Vec<_>>(), keys);
        let of_keys = serde_json::to_vec(&report.accepted_keys).unwrap().len();
        let bytes = serde_json::to_vec(&report).unwrap().len();
        // In ten faults, each character takes at most six bytes.
        let per_recipient = 2000 + 10 * (2 * 6 * 65 + 100);
        prop_assert!(bytes <= 1000 + of_keys + per_recipient * report.outcomes.len(), "{}", bytes);
    }

    #[test]
    fn a_split_request_enrolls_the_same_contacts(scenario in scenario()) {
        // Only enrolled recipients that share no key with another one, so that there are no duplicates.
        let key_taken = |note: &Note| note.code() == "key_taken";
        let outcomes = Host::new(&scenario).enroll(0).outcomes.into_iter();
        let enrolled = outcomes.filter(|outcome| outcome.disposition.is_enrolled() && !outcome.notes.iter().any(key_taken));
        let mut scenario = scenario;
        let entries = scenario.requests[0].body["to"].clone();
        scenario.requests[0].body["to"] = enrolled.map(|outcome| entries[outcome.index].clone()).collect();
        if scenario.requests[0].body["to"] == json!([]) {
            return Ok(());
        }
        let host = Host::new(&scenario);
        let whole = host.enroll(0);
        let mut split = scenario.clone();
        let entries = scenario.requests[0].body["to"].as_array().unwrap();
        split.requests = entries.iter().enumerate().map(|(n, entry)| {
            let mut request = scenario.requests[0].clone();
            request.body["to"] = json!([entry]);
            request.enrollment_id = request.enrollment_id.part(u32::try_from(n).unwrap());
            request
        }).collect();
        let parts = Host::new(&split);
        for (n, whole) in whole.outcomes.iter().enumerate() {
            let part = &parts.enroll(n).outcomes[0];
            prop_assert_eq!((part.disposition, part.contact_created), (whole.disposition, whole.contact_created));
        }
        let rows = |snapshot: &Snapshot| {
            let contacts = snapshot.contacts.values();
            let runs: usize = contacts.clone().map(|contact_rows| contact_rows.runs.len()).sum();
            (snapshot.contacts.len(), runs, contacts.map(|contact_rows| contact_rows.conversations.len()).sum::<usize>())
        };
        prop_assert_eq!(rows(&parts.snapshot()), rows(&host.snapshot()));
    }

    #[test]
    fn no_body_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[\\[\\]{}\",:a-z0-9 ]{0,80}", scenario in scenario()) {
        let host = Host::new(&scenario);
        let mut cut = scenario.requests[0].body.to_string().into_bytes();
        cut.truncate(bytes.len() * 4);
        let mut corrupted = scenario.requests[0].body.to_string().into_bytes();
        for (n, byte) in bytes.iter().enumerate().filter(|(n, _)| n % 23 == 0) {
            let index = (n * 7919 + usize::from(*byte)) % corrupted.len();
            corrupted[index] = *byte;
        }
        for body in [&bytes[..], text.as_bytes(), &cut, &corrupted] {
            host.check(body);
        }
    }

    #[test]
    fn no_address_panics(text in ".{0,80}", phone in "[+0-9 ()ext;:.=#*/a-z-]{0,40}") {
        for text in [&text, &phone, &format!("{phone};phone-context={text};tel:1"), &format!("{text}@{phone}.com")] {
            for region in [None, Some("US"), Some("AR"), Some("ZZ")] {
                let region = region.map(|region| contact::Region::new(region).unwrap());
                if let Ok(phone) = contact::PhoneNumber::parse(text, region.as_ref()) {
                    prop_assert_eq!(contact::PhoneNumber::parse(phone.as_str(), None), Ok(phone));
                }
            }
            if let Ok(email) = contact::Email::parse(text) {
                // The key of a key is the same key, and a stored email has it too.
                prop_assert_eq!(contact::Email::parse(email.key()).map(|email| email.key().to_owned()), Ok(email.key().to_owned()));
                let stored = contact::Email::stored(text);
                prop_assert_eq!(stored.key(), email.key());
            }
        }
    }
}

#[test]
fn four_thousand_recipients_take_three_calls_like_one() {
    for recipients in [1, 100, 4000] {
        let (inner, organization_id, sequence_id) = scenarios::one_sequence();
        let mut repository = Counting { inner, calls: [0; 3] };
        let request = EnrollmentRequest::new((0..recipients).map(|n| Recipient::new(format!("+1202555{n:04}"))));
        let key = EnrollmentKey::Idempotency("k");
        let at = Timestamp::from_millis(0).unwrap();
        let enrollment = Enrollment { organization_id, sequence_id, key, at, list: None, request: &request };
        let policy = EnrollmentPolicy::default();
        let report = enroll_contacts(&mut repository, &Engine::new(&policy), &enrollment).unwrap().report;
        assert_eq!(report.counts().added, recipients);
        assert_eq!(repository.calls, [1, 1, 1]);
    }
}

/// Refuses every commit with a conflict.
struct AlwaysConflict(InMemoryRepository);

impl Repository for AlwaysConflict {
    fn reference_data(&mut self, query: &ReferenceQuery) -> Result<ReferenceData, RepositoryError> {
        Repository::reference_data(&mut self.0, query)
    }

    fn load(&mut self, query: &SnapshotQuery) -> Result<Snapshot, RepositoryError> {
        Repository::load(&mut self.0, query)
    }

    fn commit(&mut self, _: &ChangeSet) -> Result<(), RepositoryError> {
        Err(RepositoryError::new(RepositoryErrorKind::Conflict, "another writer was first"))
    }
}

#[test]
fn permanent_conflicts_end_after_a_bounded_number_of_attempts() {
    let (inner, organization_id, sequence_id) = scenarios::one_sequence();
    let request = EnrollmentRequest::new([Recipient::new("+12025550123")]);
    let at = Timestamp::from_millis(0).unwrap();
    let enrollment = Enrollment {
        organization_id,
        sequence_id,
        key: EnrollmentKey::Idempotency("k"),
        at,
        list: None,
        request: &request,
    };
    let policy = EnrollmentPolicy::default();
    match enroll_contacts(&mut AlwaysConflict(inner), &Engine::new(&policy), &enrollment) {
        Err(EnrollError::Contended { attempts: 32 }) => {}
        other => panic!("{other:?}"),
    }
}

/// Threads with blocking and async handles enroll the same recipients.
#[test]
fn concurrent_writers_create_each_contact_once() {
    let (repository, organization_id, sequence_id) = scenarios::one_sequence();
    let policy = EnrollmentPolicy::default();
    std::thread::scope(|threads| {
        for writer in 0..16_usize {
            let (mut repository, policy) = (repository.clone(), &policy);
            threads.spawn(move || {
                let contacts = (0..100).map(|n| Recipient::new(format!("+1202555{:04}", (n * 7 + writer) % 100)));
                let request = EnrollmentRequest::new(contacts);
                let key = format!("writer-{writer}");
                let key = EnrollmentKey::Idempotency(&key);
                let at = Timestamp::from_millis(0).unwrap();
                let enrollment = Enrollment { organization_id, sequence_id, key, at, list: None, request: &request };
                let engine = Engine::new(policy);
                let report = if writer % 2 == 0 {
                    enroll_contacts(&mut repository, &engine, &enrollment)
                } else {
                    pollster::block_on(enroll_contacts_async(&mut repository, &engine, &enrollment))
                };
                let counts = report.unwrap().report.counts();
                assert_eq!(counts.added + counts.reprocessed, 100);
            });
        }
    });
    let contacts = repository.snapshot(organization_id).unwrap().contacts;
    assert_eq!(contacts.len(), 100);
    for contact_rows in contacts.values() {
        assert_eq!((contact_rows.runs.len(), contact_rows.step_contacts.len()), (1, 1));
        assert_eq!(contact_rows.step_contacts[0].times_processed, 16);
    }
}

/// Situation 22 of `tests/vectors/README.md`: another request enrolls one recipient between the preview and the commit.
#[test]
fn an_outdated_preview_differs_in_the_changed_recipient() {
    let (mut repository, organization_id, sequence_id) = scenarios::one_sequence();
    let policy = EnrollmentPolicy::default();
    let engine = Engine::new(&policy);
    let at = Timestamp::from_millis(0).unwrap();
    let all = EnrollmentRequest::new((0..3).map(|n| Recipient::new(format!("+1202555000{n}"))));
    let one = EnrollmentRequest::new([Recipient::new("+12025550001")]);
    let enrollment = Enrollment {
        organization_id,
        sequence_id,
        key: EnrollmentKey::Idempotency("all"),
        at,
        list: None,
        request: &all,
    };
    let previewed = preview(&mut repository, &engine, &enrollment).unwrap().report;
    let other = Enrollment { key: EnrollmentKey::Idempotency("one"), request: &one, ..enrollment };
    enroll_contacts(&mut repository, &engine, &other).unwrap();
    let done = enroll_contacts(&mut repository, &engine, &enrollment).unwrap().report;
    let differs: Vec<usize> = (0..3).filter(|n| done.outcomes[*n] != previewed.outcomes[*n]).collect();
    assert_eq!(differs, [1]);
    assert_eq!(done.outcomes[1].disposition, Disposition::Reprocessed);
}

/// With a fixed random seed, the scenarios produce every outcome, reason and note.
#[test]
fn scenarios_cover_every_outcome_reason_and_note() {
    use proptest::strategy::{Strategy, ValueTree};
    use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
    use std::collections::BTreeMap;

    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(cases(1), rng);
    let strategy = scenario();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for _ in 0..1500 {
        let scenario: Scenario = strategy.new_tree(&mut runner).unwrap().current();
        let host = Host::new(&scenario);
        for n in 0..scenario.requests.len() {
            for outcome in host.enroll(n).outcomes {
                *seen.entry(format!("outcome {}", outcome.disposition)).or_default() += 1;
                for reason in &outcome.reasons {
                    *seen.entry(format!("reason {}", reason.code())).or_default() += 1;
                }
                for note in &outcome.notes {
                    *seen.entry(format!("note {}", note.code())).or_default() += 1;
                }
            }
        }
    }
    let outcomes = Disposition::ALL.into_iter().map(|disposition| format!("outcome {disposition}"));
    let reasons = Reason::CODES.iter().map(|(code, _)| format!("reason {code}"));
    let notes = Note::CODES.iter().map(|(code, _)| format!("note {code}"));
    for what in outcomes.chain(reasons).chain(notes) {
        let times = seen.get(&what).copied().unwrap_or_default();
        assert!(times >= 20, "{what}: {times} times of {seen:#?}");
    }
}

/// Checks edits like those of [`mutations`], so that the property above checks something.
#[test]
fn a_changed_contact_conflicts() {
    let (repository, organization_id, sequence_id) = scenarios::one_sequence();
    let at = Timestamp::from_millis(0).unwrap();
    let policy = EnrollmentPolicy::default();
    let engine = Engine::new(&policy);
    let request = EnrollmentRequest::new([Recipient::new("+12025550123")]);
    let enrollment = Enrollment {
        organization_id,
        sequence_id,
        key: EnrollmentKey::Idempotency("a"),
        at,
        list: None,
        request: &request,
    };
    let report = enroll_contacts(&mut repository.clone(), &engine, &enrollment).unwrap().report;
    let id = report.outcomes[0].contact_id.unwrap();
    type Edit = fn(&mut ContactAggregate);
    let edits: [(&str, Edit); 3] = [
        ("opted out", |contact_rows| {
            let channel_id = contact_rows.conversations[0].channel_id;
            contact_rows.preferences.push(CommunicationPreference::new(contact_rows.contact.id, channel_id, false));
        }),
        ("blocked", |contact_rows| contact_rows.contact.state = ContactState::Blocked),
        ("finished", |contact_rows| contact_rows.step_contacts[0].status = StepContactStatus::Finished),
    ];
    for (what, edit) in edits {
        let copy = InMemoryRepository::new();
        copy.insert(repository.snapshot(organization_id).unwrap());
        let mut handle = copy.clone();
        let next = Enrollment { key: EnrollmentKey::Idempotency("b"), ..enrollment };
        let reference = Repository::reference_data(&mut handle, &next.reference_query()).unwrap();
        let command = EnrollmentCommand::check(&next, &reference, &engine).unwrap();
        let snapshot = Repository::load(&mut handle, &command.snapshot_query()).unwrap();
        let plan = plan_enrollment(&command, &snapshot).unwrap();
        let before = copy.snapshot(organization_id).unwrap().contacts[&id].version;
        copy.edit(organization_id, |snapshot| edit(Arc::make_mut(snapshot.contacts.get_mut(&id).unwrap()))).unwrap();
        assert_eq!(copy.snapshot(organization_id).unwrap().contacts[&id].version, Version(before.0 + 1), "{what}");
        let refused = Repository::commit(&mut handle, plan.changes()).map_err(|e| e.kind());
        assert_eq!(refused, Err(RepositoryErrorKind::Conflict), "{what}");
    }
}

//! The invariants of SPEC 7, each a property of that name over generated scenarios and requests.
#![cfg(feature = "testing")]

mod scenarios;

use enroll::changes::ChangeSet;
use enroll::contact::{ContactState, KeyKind};
use enroll::model::{CommunicationPreference, StepContactStatus};
use enroll::policy::ExistingContact;
use enroll::query::{ReferenceQuery, SnapshotQuery};
use enroll::repository::{RepositoryError, RepositoryErrorKind};
use enroll::snapshot::{ContactAggregate, Version};
use enroll::testing::{Scenario, scenario};
use enroll::*;
use proptest::prelude::*;
use scenarios::{Counting, Host, changed_people, mutations, unrelated};
use serde_json::{Value, json};
use std::sync::Arc;
use uuid::Uuid;

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
            for person in host.snapshot().contacts.values() {
                for sequence in host.snapshot().reference.sequences.keys() {
                    let live = person.step_contacts.iter().filter(|row| row.sequence_id == *sequence && row.status.is_live());
                    prop_assert!(live.count() <= 1, "{:?}", person.contact.id);
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
        // Whatever changed belongs to someone who was enrolled.
        for id in changed_people(&before, &after) {
            prop_assert!(enrolled.iter().any(|outcome| outcome.contact_id == Some(id)), "{id:?}");
        }
        let tagged = after.contacts.values().flat_map(|person| &person.tags).count()
            - before.contacts.values().flat_map(|person| &person.tags).count();
        let counts_for_the_tag = report.outcomes.len() > 1;
        prop_assert_eq!(tagged, if counts_for_the_tag { enrolled.len() } else { 0 });
        prop_assert_eq!(report.upload_tag.is_some(), counts_for_the_tag && !enrolled.is_empty());
        // Without them, the others fare the same.
        if !enrolled.is_empty() {
            let mut alone = scenario.clone();
            let entries = scenario.requests[0].body["to"].as_array().unwrap();
            alone.requests[0].body["to"] = enrolled.iter().map(|outcome| entries[outcome.index].clone()).collect();
            let told = |outcome: &report::Outcome| (outcome.disposition, outcome.contact_created);
            let others: Vec<_> = Host::new(&alone).enroll(0).outcomes.iter().map(told).collect();
            prop_assert_eq!(others, enrolled.into_iter().map(told).collect::<Vec<_>>());
        }
    }

    #[test]
    fn planning_twice_is_the_same_bytes_and_processing_twice_is_processing_once(scenario in scenario()) {
        let host = Host::new(&scenario);
        let (command, snapshot, plan) = host.plan(0).unwrap();
        let bytes = |plan: &EnrollmentPlan| serde_json::to_vec(&(plan.changes(), plan.report())).unwrap();
        prop_assert_eq!(bytes(&plan), bytes(&plan_enrollment(&command, &snapshot).unwrap()));
        // What is stored and read again means the same.
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
            let host = Host::standing(&again, &after);
            let (command, ..) = host.plan(0).unwrap();
            // Seed that every valid key of it is stored on the contact that it resolved to.
            let contact = &after.contacts[&outcome.contact_id.unwrap()].contact;
            let SnapshotQuery { external_ids, phones, emails, .. } = command.snapshot_query();
            let stored = KeyKind::ALL.into_iter().zip([external_ids, phones, emails]);
            if !stored.into_iter().all(|(kind, keys)| keys.iter().all(|key| contact.key(kind) == Some(key))) {
                continue;
            }
            let second = &host.enroll(0).outcomes[0];
            prop_assert_eq!(second.disposition, Disposition::Reprocessed);
            prop_assert_eq!(second.contact_id, outcome.contact_id);
            prop_assert_eq!(second.step_contact_id, outcome.step_contact_id);
            prop_assert!(!second.contact_created && !second.conversation_created);
            let rows = |snapshot: &Snapshot| {
                let people = snapshot.contacts.values();
                let runs: usize = people.clone().map(|person| person.runs.len()).sum();
                (snapshot.contacts.len(), runs, people.map(|person| person.conversations.len()).sum::<usize>())
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
        let strangers = host.strangers();
        for n in 0..scenario.requests.len() {
            // The host's handle refuses to answer for another organization.
            host.enroll(n);
        }
        prop_assert_eq!(host.strangers(), strangers);
        let snapshot = host.snapshot();
        for person in snapshot.contacts.values() {
            let made = person.step_contacts.iter().filter(|row| scenario.requests.iter().any(|r| Some(r.enrollment_id) == row.enrollment_id));
            for row in made {
                prop_assert!(row.channel_id.is_none_or(|id| snapshot.reference.channels.contains_key(&id)));
            }
            if person.contact.created_at.is_some_and(|at| at >= scenario.requests[0].at) {
                prop_assert!(person.contact.default_channel_id.is_none_or(|id| snapshot.reference.channels.contains_key(&id)));
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
            prop_assert_eq!(&after.preferences[..], before.map_or(&[][..], |person| &person.preferences));
            prop_assert_eq!(after.contact.state, before.map_or(ContactState::Open, |person| person.contact.state));
        }
    }

    #[test]
    fn facts_that_the_plan_does_not_rest_on_do_not_change_it(scenario in scenario()) {
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
                prop_assert_eq!(changed.snapshot(), before, "a refused commit changed something: {}", mutation.what);
            }
        }
        // Whoever loses the race plans again, on what is true then.
        if !mutations.is_empty() {
            let mutation = &mutations[pick.index(mutations.len())];
            let raced = host.copy().enroll_while(0, mutation);
            let changed = host.copy();
            changed.edit(mutation);
            // The same command: what was read of the request before the change stays read.
            let after = changed.plan_command(&command);
            match (raced, after) {
                (Ok((report, stands)), Ok(after)) => {
                    if after.changes().rows() != plan.changes().rows() {
                        prop_assert!(changed.commit(after.changes()).is_ok(), "{}", mutation.what);
                        prop_assert_eq!(&report, after.report(), "{}", mutation.what);
                        prop_assert_eq!(stands.contacts, changed.snapshot().contacts, "{}", mutation.what);
                    }
                }
                (Err(EnrollError::Rejected(told)), Err(rejection)) => prop_assert_eq!(told, rejection),
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
        for (id, person) in before.contacts {
            let Value::Object(before) = json!(person.contact) else { unreachable!() };
            let after = json!(after.contacts[&id].contact);
            for (field, value) in before.iter().filter(|(field, _)| *field != "updated_at") {
                let blank = value.as_str().is_some_and(|text| text.trim().is_empty()) || *value == json!({});
                prop_assert!(blank || after[field] == *value, "{id}: {field} was {value}, is {}", after[field]);
            }
        }
    }

    /// VECTORS 22.
    #[test]
    fn a_preview_is_the_enrollment_without_the_commit(scenario in scenario()) {
        let host = Host::new(&scenario);
        let before = host.snapshot();
        let foreseen = host.preview(0);
        prop_assert_eq!(host.snapshot(), before);
        prop_assert_eq!(host.enroll(0), foreseen);
    }

    /// VECTORS 10: the commit happened, and the answer was lost.
    #[test]
    fn a_lost_commit_is_done_once_by_the_retry(scenario in scenario()) {
        let host = Host::new(&scenario);
        let (_, _, plan) = host.plan(0).unwrap();
        host.commit(plan.changes()).unwrap();
        let once = host.snapshot();
        prop_assert_eq!(&host.enroll(0), plan.report());
        prop_assert_eq!(host.snapshot(), once);
    }

    /// VECTORS 6: split over several requests, the same people are enrolled.
    #[test]
    fn a_request_that_is_split_enrolls_the_same_people(scenario in scenario()) {
        // No duplicates among them: whoever is enrolled and shares no key with another, and nobody else.
        let taken = |note: &report::Note| note.code() == "key_taken";
        let outcomes = Host::new(&scenario).enroll(0).outcomes.into_iter();
        let enrolled = outcomes.filter(|outcome| outcome.disposition.is_enrolled() && !outcome.notes.iter().any(taken));
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
            let people = snapshot.contacts.values();
            let runs: usize = people.clone().map(|person| person.runs.len()).sum();
            (snapshot.contacts.len(), runs, people.map(|person| person.conversations.len()).sum::<usize>())
        };
        prop_assert_eq!(rows(&parts.snapshot()), rows(&host.snapshot()));
    }

    #[test]
    fn no_body_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), text in "[\\[\\]{}\",:a-z0-9 ]{0,80}", scenario in scenario()) {
        let host = Host::new(&scenario);
        let mut cut = scenario.requests[0].body.to_string().into_bytes();
        cut.truncate(bytes.len() * 4);
        let mut spoiled = scenario.requests[0].body.to_string().into_bytes();
        for (n, byte) in bytes.iter().enumerate().filter(|(n, _)| n % 23 == 0) {
            let place = (n * 7919 + usize::from(*byte)) % spoiled.len();
            spoiled[place] = *byte;
        }
        for body in [&bytes[..], text.as_bytes(), &cut, &spoiled] {
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
                // The key is a fixed point, and a stored address is compared by the same.
                prop_assert_eq!(contact::Email::parse(email.key()).map(|email| email.key().to_owned()), Ok(email.key().to_owned()));
                let stored = contact::Email::stored(text);
                prop_assert_eq!(stored.key(), email.key());
            }
        }
    }
}

#[test]
fn four_thousand_recipients_are_three_calls_as_one_is() {
    for recipients in [1, 100, 4000] {
        let (inner, organization_id, sequence_id) = scenarios::one_sequence();
        let mut repository = Counting { inner, calls: [0; 3] };
        let request = EnrollmentRequest::new((0..recipients).map(|n| Recipient::new(format!("+1202555{n:04}"))));
        let key = EnrollmentKey::Idempotency("k");
        let at = Timestamp::from_millis(0).unwrap();
        let enrollment = Enrollment { organization_id, sequence_id, key, at, request: &request };
        let policy = EnrollmentPolicy::default();
        let report = enroll_contacts(&mut repository, &Engine::new(&policy), &enrollment).unwrap().report;
        assert_eq!(report.counts().added, recipients);
        assert_eq!(repository.calls, [1, 1, 1]);
    }
}

/// Someone else is always first.
struct AlwaysSecond(InMemoryRepository);

impl Repository for AlwaysSecond {
    fn reference_data(&mut self, query: &ReferenceQuery) -> Result<ReferenceData, RepositoryError> {
        Repository::reference_data(&mut self.0, query)
    }

    fn load(&mut self, query: &SnapshotQuery) -> Result<Snapshot, RepositoryError> {
        Repository::load(&mut self.0, query)
    }

    fn commit(&mut self, _: &ChangeSet) -> Result<(), RepositoryError> {
        Err(RepositoryError::new(RepositoryErrorKind::Conflict, "someone else was first"))
    }
}

#[test]
fn whoever_always_loses_the_race_is_told_so_after_a_bounded_number_of_attempts() {
    let (inner, organization_id, sequence_id) = scenarios::one_sequence();
    let request = EnrollmentRequest::new([Recipient::new("+12025550123")]);
    let at = Timestamp::from_millis(0).unwrap();
    let enrollment =
        Enrollment { organization_id, sequence_id, key: EnrollmentKey::Idempotency("k"), at, request: &request };
    let policy = EnrollmentPolicy::default();
    match enroll_contacts(&mut AlwaysSecond(inner), &Engine::new(&policy), &enrollment) {
        Err(EnrollError::Contended { attempts: 32 }) => {}
        other => panic!("{other:?}"),
    }
}

/// Real threads over the same people, in blocking and async hosts alike.
#[test]
fn writers_that_race_for_the_same_people_end_with_one_contact_each() {
    let (repository, organization_id, sequence_id) = scenarios::one_sequence();
    let policy = EnrollmentPolicy::default();
    std::thread::scope(|threads| {
        for writer in 0..16_usize {
            let (mut repository, policy) = (repository.clone(), &policy);
            threads.spawn(move || {
                let people = (0..100).map(|n| Recipient::new(format!("+1202555{:04}", (n * 7 + writer) % 100)));
                let request = EnrollmentRequest::new(people);
                let key = format!("writer-{writer}");
                let key = EnrollmentKey::Idempotency(&key);
                let at = Timestamp::from_millis(0).unwrap();
                let enrollment = Enrollment { organization_id, sequence_id, key, at, request: &request };
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
    let people = repository.snapshot(organization_id).unwrap().contacts;
    assert_eq!(people.len(), 100);
    for person in people.values() {
        assert_eq!((person.runs.len(), person.step_contacts.len()), (1, 1));
        assert_eq!(person.step_contacts[0].times_processed, 16);
    }
}

/// VECTORS 22: between preview and commit someone else enrolls one of the people; that recipient alone differs.
#[test]
fn a_preview_that_was_overtaken_differs_in_the_one_recipient() {
    let (mut repository, organization_id, sequence_id) = scenarios::one_sequence();
    let policy = EnrollmentPolicy::default();
    let engine = Engine::new(&policy);
    let at = Timestamp::from_millis(0).unwrap();
    let all = EnrollmentRequest::new((0..3).map(|n| Recipient::new(format!("+1202555000{n}"))));
    let one = EnrollmentRequest::new([Recipient::new("+12025550001")]);
    let enrollment =
        Enrollment { organization_id, sequence_id, key: EnrollmentKey::Idempotency("all"), at, request: &all };
    let foreseen = preview(&mut repository, &engine, &enrollment).unwrap().report;
    let other = Enrollment { key: EnrollmentKey::Idempotency("one"), request: &one, ..enrollment };
    enroll_contacts(&mut repository, &engine, &other).unwrap();
    let done = enroll_contacts(&mut repository, &engine, &enrollment).unwrap().report;
    let differs: Vec<usize> = (0..3).filter(|n| done.outcomes[*n] != foreseen.outcomes[*n]).collect();
    assert_eq!(differs, [1]);
    assert_eq!(done.outcomes[1].disposition, Disposition::Reprocessed);
}

/// With a seed that does not change: what is generated hits every outcome, reason and note.
#[test]
fn generated_cases_mean_something() {
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
    let reasons = report::Reason::CODES.iter().map(|(code, _)| format!("reason {code}"));
    let notes = report::Note::CODES.iter().map(|(code, _)| format!("note {code}"));
    for what in outcomes.chain(reasons).chain(notes) {
        let times = seen.get(&what).copied().unwrap_or_default();
        assert!(times >= 20, "{what}: {times} times of {seen:#?}");
    }
}

/// The edits of [`mutations`] do what they say; else the property above would check nothing.
#[test]
fn a_fact_that_is_changed_is_refused_by_name() {
    let (repository, organization_id, sequence_id) = scenarios::one_sequence();
    let at = Timestamp::from_millis(0).unwrap();
    let policy = EnrollmentPolicy::default();
    let engine = Engine::new(&policy);
    let request = EnrollmentRequest::new([Recipient::new("+12025550123")]);
    let enrollment =
        Enrollment { organization_id, sequence_id, key: EnrollmentKey::Idempotency("a"), at, request: &request };
    let report = enroll_contacts(&mut repository.clone(), &engine, &enrollment).unwrap().report;
    let id = report.outcomes[0].contact_id.unwrap();
    type Edit = fn(&mut ContactAggregate);
    let edits: [(&str, Edit); 3] = [
        ("opted out", |person| {
            let channel_id = person.conversations[0].channel_id;
            person.preferences.push(CommunicationPreference::new(person.contact.id, channel_id, false));
        }),
        ("blocked", |person| person.contact.state = ContactState::Blocked),
        ("finished", |person| person.step_contacts[0].status = StepContactStatus::Finished),
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

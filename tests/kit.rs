//! The test kit: what a test of a host prints when it fails, and how long it is.
#![cfg(feature = "testing")]

use enroll::contact::{ContactState, Libphonenumber};
use enroll::model::ChannelKind::{Email, Phone, Whatsapp};
use enroll::model::{OnReAdd, SequenceSettings};
use enroll::policy::{Consent, Reprocess, UnknownKeys};
use enroll::seed::Seed;
use enroll::testing::{Request, VectorsError, World, fixture, report_difference, run_vectors, scenario, world_with};
use enroll::vectors::{Vector, run};
use enroll::{Disposition, EnrollmentPolicy, Recipient};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestError, TestRunner};
use serde_json::{Value, json};

fn welcome() -> World {
    fixture().sequence("Welcome").step(Phone)
}

/// Enrolls one person into the last sequence.
fn disposition(world: &World) -> Disposition {
    world.enroll([Recipient::new("+1 202 555 0123")]).outcomes[0].disposition
}

#[test]
fn a_fixture_has_the_rows_that_its_methods_name() {
    assert_eq!(disposition(&welcome()), Disposition::Added);
    let ann = welcome().contact("+12025550123");
    assert_eq!(disposition(&ann), Disposition::Added);
    assert_eq!(disposition(&ann.clone().finished_run()), Disposition::Reprocessed);
    assert_eq!(disposition(&ann.clone().pending_run()), Disposition::Reprocessed);
    assert_eq!(disposition(&ann.clone().state(ContactState::Blocked)), Disposition::Ignored);
    assert_eq!(disposition(&ann.clone().opted_out(Phone)), Disposition::Ignored);
    assert_eq!(disposition(&ann.clone().opted_out(Whatsapp)), Disposition::Added);
    // A finished run in the first step of another sequence changes nothing.
    assert_eq!(disposition(&ann.clone().finished_run().sequence("Other").step(Phone)), Disposition::Added);

    let mut policy = EnrollmentPolicy::default();
    policy.reprocess = Reprocess::LiveOnly;
    let again = ann.clone().policy(policy).finished_run();
    assert_eq!(disposition(&again), Disposition::ReAdded);
    let mut settings = SequenceSettings::default();
    settings.on_re_add = OnReAdd::Exclude;
    assert_eq!(disposition(&again.settings(settings)), Disposition::Ignored);

    let mail = fixture().sequence("News").step(Email).contact("ann@example.com").contact("crm-7");
    let mut recipient = Recipient::new("");
    recipient.email = Some("Ann@Example.com".into());
    let report = mail.enroll([recipient]);
    assert_eq!(report.outcomes[0].contact_id, Some(mail.seed().contacts[0].row.id));
    assert_eq!(mail.seed().contacts[1].row.external_id.as_deref(), Some("crm-7"));
    assert_eq!(mail.contact_id(), mail.seed().contacts[1].row.id);
}

#[test]
fn a_contact_with_keys_of_another_one_loses_them() {
    let world = welcome().contact("+12025550123");
    let twin = world.seed().contacts[0].row.clone();
    let world = world.add_contact(twin);
    let [first, second] = &world.seed().contacts[..] else { panic!("two contacts") };
    assert!(first.row.id != second.row.id && second.row.phone.is_none());
    world.seed().check_unique().unwrap();
}

#[test]
fn a_request_that_is_refused_returns_its_faults() {
    let mut policy = EnrollmentPolicy::default();
    policy.unknown_keys = UnknownKeys::Reject;
    let request = enroll::EnrollmentRequest::from_json(br#"{"to": [{"phone": "+12025550123", "emial": "x"}]}"#);
    let rejection = welcome().policy(policy).enroll_request(&request).unwrap_err();
    assert_eq!(rejection.errors()[0].path, "/to/0/emial");
}

/// A test of a host that fails for each contact that opted out.
fn failure_of_an_opt_out() -> String {
    let config = Config { failure_persistence: None, ..Config::default() };
    let failed = TestRunner::new_with_rng(
        config,
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    )
    .run(&world_with(EnrollmentPolicy::default()), |scenario| {
        let reasons =
            scenario.enroll().into_iter().flat_map(|report| report.outcomes).flat_map(|outcome| outcome.reasons);
        prop_assert!(!reasons.into_iter().any(|reason| reason.code() == "opted_out"), "a contact opted out");
        Ok(())
    });
    match failed {
        Err(TestError::Fail(reason, scenario)) => format!("{reason}\nminimal failing input: scenario = {scenario:?}"),
        other => panic!("the property holds: {other:?}"),
    }
}

#[test]
fn a_failure_of_one_contact_is_readable() {
    let text = failure_of_an_opt_out();
    println!("{text}");
    assert!(text.lines().count() < 40, "{} lines", text.lines().count());
    assert_eq!(text.matches("\"opt_in\":false").count(), 1);
    let contacts = text.split("\"contacts\": [").nth(1).unwrap().split(']').next().unwrap();
    assert_eq!(contacts.trim().lines().count(), 1, "{contacts}");
}

/// Returns JSON without the members that are absent or empty.
fn pruned(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let members = members.into_iter().map(|(name, value)| (name, pruned(value)));
            members
                .filter(|(_, value)| !value.is_null() && *value != json!([]))
                .collect::<serde_json::Map<_, _>>()
                .into()
        }
        Value::Array(items) => items.into_iter().map(pruned).collect(),
        other => other,
    }
}

proptest! {
    #![proptest_config(Config { cases: 32, failure_persistence: None, ..Config::default() })]

    #[test]
    fn a_printed_scenario_is_the_beginning_of_a_vector(scenario in scenario()) {
        let printed: Value = serde_json::from_str(&scenario.to_string()).unwrap();
        let given: Seed = serde_json::from_value(printed["given"].clone()).unwrap();
        prop_assert_eq!(pruned(json!(given)), pruned(json!(scenario.given)));
        let when: Vec<Value> = scenario.requests.iter().map(Request::when).collect();
        prop_assert_eq!(&printed["when"], &json!(when));
        let vector = json!({ "name": "n", "rule": "4", "given": printed["given"], "when": when, "then": [{}, {}] });
        let vector = Vector::from_json(vector.to_string().as_bytes()).unwrap();
        prop_assert_eq!(run(&vector, &Libphonenumber), Ok(()));
    }

    #[test]
    fn a_world_has_its_policy(scenario in world_with({
        let mut policy = EnrollmentPolicy::default();
        (policy.consent, policy.unknown_keys) = (Consent::LeaveToSender, UnknownKeys::Reject);
        policy
    })) {
        prop_assert_eq!(scenario.given.policy.consent, Consent::LeaveToSender);
        for report in scenario.enroll() {
            prop_assert!(report.outcomes.iter().all(|outcome| outcome.reasons.iter().all(|reason| reason.code() != "opted_out")));
        }
    }
}

#[test]
fn a_difference_of_reports_names_recipients_and_codes() {
    let people = || ["+12025550123", "+12025550187", "junk"].map(Recipient::new);
    let before = welcome().contact("+12025550123").enroll(people());
    let after = welcome().contact("+12025550123").active_run().enroll(people());
    assert_eq!(report_difference(&before, &before.clone()), None);
    assert_eq!(
        report_difference(&before, &after).unwrap(),
        "recipient 0: added, conversation created -> reprocessed, conversation created\n"
    );
    let fewer = welcome().contact("+12025550123").enroll(people().into_iter().take(1));
    let text = report_difference(&before, &fewer).unwrap();
    assert!(text.contains("recipient 2: ignored (invalid_phone) -> absent\n"), "{text}");
    assert!(text.contains("upload tag: Upload 2026-02-01T15:00:00.000Z -> none\n"), "{text}");
}

#[test]
fn vectors_in_a_folder_are_run_and_those_that_fail_are_named() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/4.4-duplicates");
    let count = run_vectors(folder, |vector| run(vector, &Libphonenumber)).unwrap();
    assert!(count >= 5, "{count} vectors");
    let error = run_vectors(folder, |vector| {
        let mut wrong = vector.clone();
        wrong.then.iter_mut().for_each(|then| *then = json!({ "counts": { "ignored": 999 } }));
        run(&wrong, &Libphonenumber)
    });
    let error = error.unwrap_err();
    let VectorsError::Failed { count: of, failures } = &error else { panic!("{error}") };
    assert_eq!((*of, failures.len()), (count, count));
    assert!(error.to_string().starts_with(&format!("{count} of {count} vectors fail:\n")), "{error}");
    let error = run_vectors("no such folder", |_| Ok(())).unwrap_err();
    assert!(format!("{error:?}").contains("no such folder"), "{error:?}");
}

/// Returns the visible lines of each example in the chapter, without blank lines.
fn examples() -> Vec<Vec<&'static str>> {
    let chapter = include_str!("../src/testing/mod.rs").lines().filter_map(|line| line.strip_prefix("//!"));
    let (mut examples, mut open) = (Vec::new(), None);
    for line in chapter.map(str::trim) {
        open = match (open, line) {
            (None, "```") => Some(Vec::new()),
            (Some(lines), "```") => {
                examples.push(lines);
                None
            }
            (Some(mut lines), line) => {
                if !line.is_empty() && line != "#" && !line.starts_with("# ") {
                    lines.push(line);
                }
                Some(lines)
            }
            (None, _) => None,
        };
    }
    examples
}

#[test]
fn a_policy_is_tested_in_thirty_lines_and_a_repository_in_fifty() {
    let examples = examples();
    let with = |text: &str| examples.iter().find(|lines| lines.iter().any(|line| line.contains(text))).unwrap().len();
    assert!(with("fn policy()") <= 30, "{} lines", with("fn policy()"));
    assert!(with("conformance_tests!") <= 50, "{} lines", with("conformance_tests!"));
}

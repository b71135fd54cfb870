//! Stored data outlives the code: these files were stored by earlier builds, and every later build reads them.
//!
//! Never change a file of `tests/stored`. A new version gets new files.

use enroll::operation;
use enroll::{
    ChangeSet, EnrollError, EnrollmentCommand, EnrollmentPolicy, EnrollmentReport, Retry, StoredCommand, Timestamp,
};
use enroll::{inbox::InboxEntry, policy::ExistingContact};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

const COMMAND: &str = include_str!("stored/command-v1.json");
const REPORT: &str = include_str!("stored/report-v1.json");
const CHANGE_SET: &str = include_str!("stored/change-set-v1.json");
/// A command of a request of a list.
const COMMAND_2: &str = include_str!("stored/command-v2.json");
/// A change set that creates the tag of a list.
const CHANGE_SET_2: &str = include_str!("stored/change-set-v2.json");

fn command(json: &Value) -> Result<StoredCommand, serde_json::Error> {
    StoredCommand::from_json(json.to_string().as_bytes())
}

fn value(json: &str) -> Value {
    serde_json::from_str(json).unwrap()
}

/// Adds an unknown member to every object in which a struct's fields are stored.
fn with_unknown_fields(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(with_unknown_fields).collect(),
        Value::Object(members) => {
            // The members of `properties` are the sender's own keys; `valid` and `invalid` name a variant.
            let own = |(key, member): (&String, &Value)| {
                let member = if key == "properties" { member.clone() } else { with_unknown_fields(member) };
                (key.clone(), member)
            };
            let mut object: serde_json::Map<_, _> = members.iter().map(own).collect();
            if !["valid", "invalid"].iter().any(|variant| members.contains_key(*variant)) {
                object.insert("a_field_of_the_future".to_owned(), json!({ "deep": [1, "two", null] }));
            }
            Value::Object(object)
        }
        other => other.clone(),
    }
}

/// Checks that `actual` has every member of `expected`, with its value.
#[track_caller]
fn assert_has_all(actual: &Value, expected: &Value) {
    match (actual, expected) {
        (Value::Object(actual), Value::Object(expected)) => {
            for (key, expected) in expected {
                assert_has_all(actual.get(key).unwrap_or_else(|| panic!("`{key}` is lost")), expected);
            }
        }
        (Value::Array(actual), Value::Array(expected)) => {
            assert_eq!(actual.len(), expected.len());
            actual.iter().zip(expected).for_each(|(actual, expected)| assert_has_all(actual, expected));
        }
        _ => assert_eq!(actual, expected),
    }
}

#[track_caller]
fn reads_with_and_without_unknown_fields<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(json: &str) {
    let stored = value(json);
    let read: T = serde_json::from_str(json).unwrap();
    assert_has_all(&serde_json::to_value(&read).unwrap(), &stored);
    let newer = with_unknown_fields(&stored).to_string();
    assert_eq!(serde_json::from_str::<T>(&newer).unwrap(), read);
}

#[test]
fn a_command_of_version_1_is_read() {
    reads_with_and_without_unknown_fields::<EnrollmentCommand>(COMMAND);
    let StoredCommand::Known(read) = StoredCommand::from_json(COMMAND.as_bytes()).unwrap() else {
        panic!("version 1 is known")
    };
    assert_eq!(read.recipient_count(), 10);
    assert_eq!(command(&with_unknown_fields(&value(COMMAND))).unwrap(), StoredCommand::Known(read));
}

#[test]
fn a_report_of_version_1_is_read() {
    reads_with_and_without_unknown_fields::<EnrollmentReport>(REPORT);
    let read: EnrollmentReport = serde_json::from_str(REPORT).unwrap();
    assert_eq!((read.counts().added, read.counts().ignored), (2, 5));
}

#[test]
fn a_change_set_of_version_1_is_read() {
    reads_with_and_without_unknown_fields::<ChangeSet>(CHANGE_SET);
}

#[test]
fn a_command_of_version_2_is_read_with_its_list() {
    reads_with_and_without_unknown_fields::<EnrollmentCommand>(COMMAND_2);
    let read: EnrollmentCommand = serde_json::from_str(COMMAND_2).unwrap();
    assert_eq!(json!(read.list()), value(COMMAND_2)["list"]);
    // The same command without the list is one of version 1.
    let without: EnrollmentCommand = serde_json::from_str(COMMAND).unwrap();
    assert_eq!((without.list(), without.snapshot_query().tag_id), (None, None));
    assert_eq!(json!(without)["v"], 1);
}

#[test]
fn a_change_set_of_version_2_is_read_with_the_guard_of_the_tag() {
    reads_with_and_without_unknown_fields::<ChangeSet>(CHANGE_SET_2);
    let read: ChangeSet = serde_json::from_str(CHANGE_SET_2).unwrap();
    let tag = read.rows().tag_created.as_ref().unwrap();
    assert_eq!(read.guards().upload_tag, Some((tag.id, None)));
    let without: ChangeSet = serde_json::from_str(CHANGE_SET).unwrap();
    assert_eq!(without.guards().upload_tag, None);
}

#[test]
fn a_newer_report_or_change_set_is_refused_with_its_version() {
    for (json, version) in [(REPORT, 2), (CHANGE_SET, 3)] {
        let mut newer = value(json);
        newer["v"] = json!(version);
        let report = serde_json::from_value::<EnrollmentReport>(newer.clone()).map(drop);
        let changes = serde_json::from_value::<ChangeSet>(newer).map(drop);
        let refused = if json == REPORT { report } else { changes }.unwrap_err().to_string();
        assert!(refused.contains(&format!("version {version} is not known")), "{refused}");
    }
}

#[test]
fn a_command_of_a_newer_version_is_newer_in_any_shape() {
    let mut newer = value(COMMAND);
    newer["v"] = json!(3);
    assert_eq!(command(&newer).unwrap(), StoredCommand::Newer { version: 3 });
    newer["policy"]["consent"] = json!("a_value_of_the_future");
    assert_eq!(command(&newer).unwrap(), StoredCommand::Newer { version: 3 });
    assert_eq!(command(&json!({ "v": 7, "shape": "new" })).unwrap(), StoredCommand::Newer { version: 7 });
}

#[test]
fn a_damaged_command_is_an_error() {
    let mut damaged = value(COMMAND);
    damaged["policy"]["consent"] = json!("no_such_value");
    let error = command(&damaged).unwrap_err().to_string();
    assert!(error.contains("no_such_value"), "{error}");
    for damaged in [json!({}), json!({ "v": 1 }), json!({ "v": 0 }), json!({ "v": "2" }), json!(null)] {
        assert!(command(&damaged).is_err(), "{damaged}");
    }
    assert!(StoredCommand::from_json(&COMMAND.as_bytes()[..COMMAND.len() / 2]).is_err());
}

#[test]
fn processing_a_newer_command_is_an_error_with_its_version() {
    let StoredCommand::Known(known) = StoredCommand::from_json(COMMAND.as_bytes()).unwrap() else {
        panic!("version 1 is known")
    };
    let entry = InboxEntry::new(known.accepted(), Some(StoredCommand::Newer { version: 3 }));
    let id = known.enrollment_id();
    let error = operation::process(Retry::default(), id, Some(entry), Timestamp::EPOCH).unwrap_err();
    assert!(matches!(error, EnrollError::NewerVersion { enrollment_id, version: 3 } if enrollment_id == id), "{error}");
}

#[test]
fn a_policy_that_a_host_writes_has_no_unknown_fields() {
    let policy = json!({ "existing_contact": "keep" });
    let read: EnrollmentPolicy = serde_json::from_value(policy.clone()).unwrap();
    assert_eq!(read.existing_contact, ExistingContact::Keep);
    let misspelt = json!({ "existing_contacts": "keep" });
    let error = serde_json::from_value::<EnrollmentPolicy>(misspelt).unwrap_err().to_string();
    assert!(error.contains("existing_contacts"), "{error}");
}

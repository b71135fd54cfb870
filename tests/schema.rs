//! The schemas of the wire types: each value that the engine reads or writes is valid, and a changed one is not.
#![cfg(all(feature = "schema", feature = "testing"))]

use enroll::erase::Erased;
use enroll::fault::FaultCode;
use enroll::model::ChannelKind;
use enroll::report::Counts;
use enroll::testing::{Scenario, fixture, recipient, scenario};
use enroll::utoipa::openapi::{RefOr, Schema};
use enroll::utoipa::{OpenApi, PartialSchema, ToSchema};
use enroll::{
    Disposition, Engine, Enrollment, EnrollmentKey, EnrollmentReport, EnrollmentRequest, InMemoryRepository, Note,
    ReadAs, Reason, Recipient, Rejection, enroll_contacts,
};
use jsonschema::Validator;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use std::collections::BTreeSet;

#[derive(OpenApi)]
#[openapi(components(schemas(EnrollmentRequest, EnrollmentReport, Rejection, Counts, ReadAs, Erased)))]
struct Document;

/// The schema of a type. It refuses members that it does not list, so that a field without a schema is found.
struct Strict {
    document: Value,
    validator: Validator,
}

impl Strict {
    fn of<T: ToSchema>() -> Self {
        let mut document = serde_json::to_value(Document::openapi()).unwrap();
        close_objects(&mut document["components"]);
        document["$ref"] = json!(format!("#/components/schemas/{}", T::name()));
        let validator = jsonschema::options().should_validate_formats(true).build(&document).unwrap();
        Self { document, validator }
    }

    #[track_caller]
    fn accepts(&self, value: &Value) {
        let errors: Vec<String> =
            self.validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{errors:#?}\n{value:#}");
    }

    /// Checks that each part of the value has a schema: with another value in its place, the whole is refused.
    #[track_caller]
    fn refuses_each_change_of(&self, value: &Value) {
        for pointer in pointers(value) {
            let mut changed = value.clone();
            *changed.pointer_mut(&pointer).unwrap() = json!([[0]]);
            assert!(!self.validator.is_valid(&changed), "{pointer} can have any value\n{value:#}");
        }
    }
}

/// Adds `"additionalProperties": false` to each object with members.
fn close_objects(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            if members.get("properties").is_some_and(|properties| properties.get("type").is_none_or(Value::is_object))
                && members.get("type").is_some_and(|kind| *kind == "object")
            {
                members.insert("additionalProperties".to_owned(), json!(false));
            }
            members.values_mut().for_each(close_objects);
        }
        Value::Array(items) => items.iter_mut().for_each(close_objects),
        _ => {}
    }
}

/// Returns the place of each part of a value, except for values that the sender chooses freely.
fn pointers(value: &Value) -> Vec<String> {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(members) => {
            members.iter().map(|(key, member)| (key.replace('~', "~0").replace('/', "~1"), member)).collect()
        }
        Value::Array(items) => items.iter().enumerate().map(|(n, item)| (n.to_string(), item)).collect(),
        _ => Vec::new(),
    };
    let mut all = vec![String::new()];
    for (key, child) in children {
        let inner = if key == "properties" { vec![String::new()] } else { pointers(child) };
        all.extend(inner.into_iter().map(|pointer| format!("/{key}{pointer}")));
    }
    all
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// Returns a request with every member.
fn whole_request() -> Value {
    let mut recipient = json!({
        "default_channel_id": "00000000-0000-0000-0000-0000000000c1",
        "address": {
            "address_line_one": "1 Main St", "address_line_two": "Apt 2", "city": "Springfield", "state": "IL",
            "post_code": "62701", "country": "US",
        },
        "birth_date": {"day": 24, "month": 12, "year": 1990},
        "properties": {"source": "fair", "score": 7, "more": [null, 1.5, {"deep": true}]},
    });
    for name in Recipient::TEXTS {
        recipient[name] = json!("text");
    }
    json!({
        "to": [recipient],
        "from": "+12025550100",
        "step_id": "00000000-0000-0000-0000-000000000052",
        "schedule_at": "2030-01-31T09:00:00Z",
        "custom_data": {"custom_object_id": "00000000-0000-0000-0000-00000000000b", "resource": "step_contact"},
        "voice_options": {"default_call_flow_id": "00000000-0000-0000-0000-0000000000f1"},
    })
}

#[test]
fn a_request_with_every_member_is_valid_and_each_change_is_not() {
    let schema = Strict::of::<EnrollmentRequest>();
    let request = whole_request();
    let read = EnrollmentRequest::from_json(request.to_string().as_bytes()).into_owned();
    assert_eq!(serde_json::to_value(&read).unwrap()["to"], request["to"], "the request has every field");
    schema.accepts(&request);
    schema.accepts(&serde_json::to_value(&read).unwrap());
    schema.refuses_each_change_of(&request);
    let listed: BTreeSet<&str> = names(&schema.document, "Recipient");
    let given: BTreeSet<&str> = request["to"][0].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(listed, given);

    let most = &schema.document["components"]["schemas"]["EnrollmentRequest"]["properties"]["to"]["maxItems"];
    assert_eq!(*most, json!(enroll::request::MAX_RECIPIENTS));

    let change = |pointer: &str, value: Value| {
        let mut changed = request.clone();
        *changed.pointer_mut(pointer).unwrap() = value;
        !schema.validator.is_valid(&changed)
    };
    assert!(change("/to", json!([])), "no recipients");
    assert!(change("/to", json!(vec![json!({"phone": ""}); 4001])), "too many recipients");
    assert!(change("/to/0", json!({"email": "ann@example.com"})), "no phone");
    assert!(change("/to/0/name", json!("x".repeat(256))), "a long name");
    assert!(change("/to/0/birth_date/month", json!(13)), "an impossible month");
    assert!(change("/to/0/default_channel_id", json!("main")), "no uuid");
    assert!(change("/schedule_at", json!("tomorrow")), "no instant");
    assert!(change("/custom_data/resource", json!("sequence")), "no resource");
}

/// Enrolls the requests of a scenario, one after the other. Returns their reports.
fn reports(scenario: &Scenario) -> Vec<Value> {
    let mut repository = InMemoryRepository::new();
    scenario.given.snapshots().unwrap().into_iter().for_each(|snapshot| repository.insert(snapshot));
    let enroll = |request: &enroll::testing::Request| {
        let body = request.body.to_string();
        let enrollment = Enrollment {
            organization_id: scenario.given.organization_id,
            sequence_id: request.sequence_id,
            key: EnrollmentKey::Id(request.enrollment_id),
            at: request.at,
            list: request.list,
            request: &EnrollmentRequest::from_json(body.as_bytes()),
        };
        let enrolled = enroll_contacts(&mut repository, &Engine::new(&scenario.given.policy), &enrollment);
        serde_json::to_value(enrolled.unwrap().report).unwrap()
    };
    scenario.requests.iter().map(enroll).collect()
}

/// Returns the names of the members of a component.
fn names<'d>(document: &'d Value, component: &str) -> BTreeSet<&'d str> {
    let properties = &document["components"]["schemas"][component]["properties"];
    properties.as_object().unwrap().keys().map(String::as_str).collect()
}

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn generated_requests_are_valid_and_each_change_is_not(recipients in prop::collection::vec(recipient(), 1..4)) {
        let schema = Strict::of::<EnrollmentRequest>();
        let request = serde_json::to_value(EnrollmentRequest::new(recipients)).unwrap();
        schema.accepts(&request);
        schema.refuses_each_change_of(&request);
    }

    #[test]
    fn generated_reports_are_valid_and_each_change_is_not(scenario in scenario()) {
        let schema = Strict::of::<EnrollmentReport>();
        for report in reports(&scenario) {
            schema.accepts(&report);
            schema.refuses_each_change_of(&report);
        }
    }
}

/// A reason or a note with members that no value has would mislead clients.
#[test]
fn generated_reports_have_every_member_of_the_schemas() {
    let schema = Strict::of::<EnrollmentReport>();
    let mut seen = BTreeSet::new();
    let mut runner = TestRunner::deterministic();
    for _ in 0..512 {
        let scenario = scenario().new_tree(&mut runner).unwrap().current();
        for report in reports(&scenario) {
            let keys = pointers(&report).into_iter();
            seen.extend(keys.filter_map(|pointer| Some(pointer.rsplit_once('/')?.1.to_owned())));
        }
    }
    for component in ["EnrollmentReport", "Outcome", "UploadTag", "PropertyFault"] {
        for name in names(&schema.document, component) {
            assert!(seen.contains(name), "no report has `{name}` of {component}");
        }
    }
}

#[test]
fn a_stored_report_is_valid() {
    let report: EnrollmentReport = serde_json::from_str(include_str!("stored/report-v1.json")).unwrap();
    Strict::of::<EnrollmentReport>().accepts(&serde_json::to_value(report).unwrap());
}

#[test]
fn a_rejection_is_valid_and_each_change_is_not() {
    let world = fixture().sequence("Welcome").step(ChannelKind::Phone);
    let request = EnrollmentRequest::from_json(br#"{"to": [{"phone": 1}, {}], "schedule_at": "tomorrow"}"#);
    let rejection = world.enroll_request(&request).unwrap_err();
    assert!(rejection.errors().len() > 1);
    let schema = Strict::of::<Rejection>();
    let rejection = serde_json::to_value(rejection).unwrap();
    schema.accepts(&rejection);
    schema.refuses_each_change_of(&rejection);
}

#[test]
fn counts_and_addresses_are_valid() {
    Strict::of::<Counts>().accepts(&json!(Counts::default()));
    Strict::of::<Erased>().accepts(&json!(Erased::default()));
    let mut read_as = ReadAs::default();
    Strict::of::<ReadAs>().accepts(&json!(read_as));
    read_as.phone = "+12025550123".parse().ok();
    read_as.email = enroll::contact::Email::parse("ann@example.com").ok();
    let schema = Strict::of::<ReadAs>();
    schema.accepts(&json!(read_as));
    schema.refuses_each_change_of(&json!(read_as));
}

/// The words of a schema are those of serde, in the same order.
#[test]
fn schemas_list_every_word_and_code() {
    let document = serde_json::to_value(Document::openapi()).unwrap();
    let component = |name: &str| &document["components"]["schemas"][name];
    let codes = |name: &str| -> Vec<Value> {
        let variants = component(name)["oneOf"].as_array().unwrap();
        variants.iter().map(|variant| variant["properties"]["code"]["enum"][0].clone()).collect()
    };
    let known = |codes: &[(&str, &str)]| -> Vec<Value> { codes.iter().map(|(code, _)| json!(code)).collect() };
    assert_eq!(codes("Reason"), known(Reason::CODES));
    assert_eq!(codes("Note"), known(Note::CODES));
    assert_eq!(component("FaultCode")["enum"], json!(FaultCode::ALL));
    assert_eq!(component("Disposition")["enum"], json!(Disposition::ALL));
    assert_eq!(component("Resource")["enum"], json!(enroll::model::Resource::ALL));
    let of_every_code = Reason::CODES.iter().chain(Note::CODES).map(|(_, meaning)| *meaning);
    let described = document["components"]["schemas"].to_string();
    for meaning in of_every_code {
        assert!(described.contains(&serde_json::to_string(meaning).unwrap()), "{meaning}");
    }
}

/// A comment with code or links, or with more for Rust programmers, needs `schema(description = …)`.
#[test]
fn descriptions_are_for_users_of_an_api() {
    fn descriptions<'d>(schema: &'d Value, all: &mut Vec<&'d str>) {
        match schema {
            Value::Object(members) => {
                all.extend(members.get("description").and_then(Value::as_str));
                members.values().for_each(|member| descriptions(member, all));
            }
            Value::Array(items) => items.iter().for_each(|item| descriptions(item, all)),
            _ => {}
        }
    }
    let document = serde_json::to_value(Document::openapi()).unwrap();
    let mut all = Vec::new();
    descriptions(&document["components"], &mut all);
    assert!(all.len() > 100, "{}", all.len());
    for text in all {
        assert!(!text.contains("\n\n") && !text.contains("[`") && !text.contains("::"), "{text}");
    }
}

/// A schema is found by its name: two types with one name would replace each other.
#[test]
fn no_two_schemas_have_one_name() {
    let mut schemas: Vec<(String, RefOr<Schema>)> = Vec::new();
    EnrollmentRequest::schemas(&mut schemas);
    EnrollmentReport::schemas(&mut schemas);
    enroll::model::CustomProperty::schemas(&mut schemas);
    schemas.push((enroll::contact::Address::name().into(), enroll::contact::Address::schema()));
    schemas.push((enroll::contact::BirthDate::name().into(), enroll::contact::BirthDate::schema()));
    for (name, schema) in &schemas {
        assert!(schemas.iter().all(|(other, of_other)| name != other || schema == of_other), "{name}");
    }
}

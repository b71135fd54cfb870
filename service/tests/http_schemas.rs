//! The answers of the service are as its OpenAPI document says, and have no member that the document does not list.

mod support;

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::{Duration, Instant};

use support::service::{ACTIVE, Answer, STEP, Service, id};

/// The OpenAPI document.
struct Document(Value);

impl Document {
    fn of(service: &Service) -> Self {
        Self(service.get("/openapi.json").json)
    }

    /// Checks an answer to a request for a path of the document. Returns its data.
    #[track_caller]
    fn check(&self, method: &str, path: &str, answer: &Answer) -> Value {
        let path = path.replace('~', "~0").replace('/', "~1");
        let place = format!("/paths/{path}/{method}/responses/{}/content/application~1json/schema", answer.status);
        let schema = self.0.pointer(&place).unwrap_or_else(|| panic!("the document has no {place}: {answer:?}"));
        let mut whole = self.0.clone();
        whole["$ref"] = json!(format!("#{}", place.replace('{', "%7B").replace('}', "%7D")));
        let validator = jsonschema::options().should_validate_formats(true).build(&whole).unwrap();
        let errors: Vec<String> =
            validator.iter_errors(&answer.json).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{errors:#?}\n{:#}", answer.json);
        let mut unknown = Vec::new();
        self.add_unknown(&[schema], &answer.json, "", &mut unknown);
        assert!(unknown.is_empty(), "{place} lists no {unknown:?}\n{:#}", answer.json);
        answer.json["data"].clone()
    }

    /// Adds the places of members that none of the schemas lists. An object without listed members can have any.
    fn add_unknown(&self, schemas: &[&Value], value: &Value, at: &str, unknown: &mut Vec<String>) {
        let mut parts = Vec::new();
        schemas.iter().for_each(|schema| self.add_parts(schema, &mut parts));
        match value {
            Value::Object(members) => {
                let is_open = |part: &&Value| {
                    let kind = &part["type"];
                    part["properties"].is_null()
                        && (kind.is_null() || *kind == "object" || *kind == json!(["object", "null"]))
                };
                if parts.iter().any(is_open) {
                    return;
                }
                for (key, member) in members {
                    let of_member: Vec<&Value> = parts.iter().filter_map(|part| part["properties"].get(key)).collect();
                    let at = format!("{at}/{key}");
                    if of_member.is_empty() {
                        unknown.push(at);
                    } else {
                        self.add_unknown(&of_member, member, &at, unknown);
                    }
                }
            }
            Value::Array(items) => {
                let of_items: Vec<&Value> = parts.iter().filter_map(|part| part.get("items")).collect();
                items.iter().for_each(|item| self.add_unknown(&of_items, item, &format!("{at}/_"), unknown));
            }
            _ => {}
        }
    }

    /// Adds the schemas that a schema consists of.
    fn add_parts<'d>(&'d self, schema: &'d Value, parts: &mut Vec<&'d Value>) {
        let of_list = |list: &str| schema[list].as_array().into_iter().flatten();
        let lists: Vec<&Value> = ["allOf", "oneOf", "anyOf"].into_iter().flat_map(of_list).collect();
        match schema["$ref"].as_str().and_then(|reference| self.0.pointer(reference.strip_prefix('#')?)) {
            Some(component) => self.add_parts(component, parts),
            None if lists.is_empty() => parts.push(schema),
            None => lists.into_iter().for_each(|part| self.add_parts(part, parts)),
        }
    }
}

fn wait_for<'s>(service: &'s Service, path: &'s str, waits: &str) -> Answer {
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let answer = service.get(path);
        if answer.json["data"]["state"] != waits {
            return answer;
        }
        assert!(Instant::now() < deadline, "{answer:?}");
        std::thread::yield_now();
    }
}

/// A duplicate, an invalid phone, a person who opted out, a birth date that is left out, a blocked contact, and two columns
/// without a field.
const LIST: &str = "Phone,Name,Unsubscribed,Birthday,Company\n+1 202 555 0150,Ada,,3/4/1990,X\n+1 202 555 0150,Ada again,,,Y\n\
    junk,Bo,,,\n+1 202 555 0151,Cy,yes,,\n+1 202 555 0123,Di,,,\n";

fn options() -> Value {
    json!({"mapping": {"Unsubscribed": "opted_out"}, "edits": [{"edit": "set_cell", "row": 2, "column": 5, "text": "Z"}]})
}

#[test]
fn answers_about_lists_are_as_documented() {
    let service = Service::on_sqlite("schemas-lists", &[]);
    let document = Document::of(&service);
    let inspected = service.upload("/v1/lists/inspect", "people.csv", LIST, None);
    let inspection = document.check("post", "/v1/lists/inspect", &inspected);
    let codes: Vec<&Value> = inspection["warnings"].as_array().unwrap().iter().map(|w| &w["code"]).collect();
    assert_eq!(json!(codes), json!(["consent_not_mapped", "unknown_column"]));

    let target = format!("/v1/lists?sequence_id={ACTIVE}");
    let previewed = service.upload(&format!("{target}&preview=true"), "people.csv", LIST, Some(&options()));
    assert_eq!(previewed.status, 200, "{previewed:?}");
    let preview = document.check("post", "/v1/lists", &previewed);
    let rows = preview["rows"].as_array().unwrap();
    let members: BTreeSet<&str> =
        rows.iter().flat_map(|row| row.as_object().unwrap().keys().map(String::as_str)).collect();
    let all = [
        "cells",
        "column",
        "description",
        "disposition",
        "name",
        "notes",
        "phone",
        "read_as",
        "reasons",
        "repeats_row",
        "row",
    ];
    assert_eq!(members, BTreeSet::from(all), "a row has each member that the document lists, except for an email");

    let accepted = service.upload(&target, "people.csv", LIST, Some(&options()));
    assert_eq!(accepted.status, 202, "{accepted:?}");
    document.check("post", "/v1/lists", &accepted);
    let location = accepted.location.unwrap();
    let detail = document.check("get", "/v1/lists/{id}", &wait_for(&service, &location, "accepted"));
    assert_eq!(detail["rows"].as_array().unwrap().len(), 5);
    document.check("get", "/v1/lists", &service.get("/v1/lists"));
    document.check("get", "/v1/enrollments", &service.get("/v1/enrollments"));
    let again = service.upload(&format!("{target}&preview=true"), "people.csv", LIST, Some(&options()));
    assert_eq!(document.check("post", "/v1/lists", &again)["accepted_before"]["state"], "completed");
    let other = format!("{LIST}+1 202 555 0152,Em,,,\n");
    let other = service.upload(&format!("{target}&preview=true"), "more.csv", other, Some(&options()));
    assert!(document.check("post", "/v1/lists", &other)["enrolled_before"][0]["list_id"].is_string());
    document.check("post", "/v1/lists", &service.upload(&target, "a.csv", "Title\nx\n", None));
    document.check("post", "/v1/lists/{id}/retry", &service.post(&format!("{location}/retry"), "", &[]));
}

#[test]
fn a_preview_in_the_background_is_as_documented() {
    let service = Service::on_sqlite("schemas-preview", &[]);
    let document = Document::of(&service);
    let mut list = "Phone\n".to_owned();
    for number in 0..4001 {
        writeln!(list, "+1 202 556 {number:04}").unwrap();
    }
    let started = service.upload(&format!("/v1/lists?sequence_id={ACTIVE}&preview=true"), "long.csv", list, None);
    assert_eq!(started.status, 202, "{started:?}");
    document.check("post", "/v1/lists", &started);
    let location = started.location.unwrap();
    document.check("get", "/v1/lists/previews/{id}", &service.get(&location));
    let done = document.check("get", "/v1/lists/previews/{id}", &wait_for(&service, &location, "running"));
    assert_eq!((&done["state"], &done["total"]), (&json!("completed"), &json!(4001)));
    assert_eq!(service.delete(&location).status, 204);
    document.check("get", "/v1/lists/previews/{id}", &service.get(&location));
}

#[test]
fn answers_about_enrollments_and_contacts_are_as_documented() {
    let service = Service::on_sqlite("schemas", &[]);
    let document = Document::of(&service);
    let path = format!("/v1/sequences/{ACTIVE}/contacts");
    let template = "/v1/sequences/{id}/contacts";
    let body = json!({
        "to": [
            {"phone": "+12025550150", "properties": {"score": "many"}, "default_channel_id": id(0x99)},
            {"phone": "(202) 555-0150"}, {"phone": "junk"}, {"phone": "+12025550123"},
            {"phone": "+12025550160", "external_id": "crm-9"}, {"phone": "+12025550124", "email": "junk"},
        ],
        "step_id": STEP, "custom_data": {"custom_object_id": id(8), "resource": "contact"}, "colour": "blue",
    });
    let preview = service.post(&format!("{path}?preview=true"), body.to_string(), &[]);
    assert_eq!(preview.status, 200, "{preview:?}");
    let preview = document.check("post", template, &preview);
    assert_eq!(preview["outcomes"][0]["read_as"]["phone"], "+12025550150");
    assert!(preview["outcomes"].as_array().unwrap().iter().any(|outcome| outcome["notes"].is_array()));
    let accepted = service.post(&path, body.to_string(), &[("idempotency-key", "a")]);
    document.check("post", template, &accepted);
    let enrollment = accepted.accepted();
    service.wait_for(&enrollment);
    let again = service.post(&path, body.to_string(), &[("idempotency-key", "a")]);
    assert_eq!(document.check("post", template, &again)["replayed"], true);
    let refused = service.post(&path, r#"{"to": [{"phone": 1}]}"#, &[]);
    assert_eq!(refused.status, 422);
    document.check("post", template, &refused);

    let get = |template: &str, path: &str| {
        let answer = service.get(path);
        assert_eq!(answer.status, 200, "{answer:?}");
        document.check("get", template, &answer)
    };
    get("/v1/enrollments/{id}", &format!("/v1/enrollments/{enrollment}"));
    get("/v1/enrollments", "/v1/enrollments?state=completed");
    get(template, &path);
    get("/v1/contacts", "/v1/contacts");
    assert_eq!(get("/v1/contacts/{id}", &format!("/v1/contacts/{}", id(9)))["address"]["city"], "Graz");
    get("/v1/sequences", "/v1/sequences");
    get("/v1/sequences/{id}", &format!("/v1/sequences/{ACTIVE}"));
    get("/v1/channels", "/v1/channels");
    assert_eq!(get("/v1/custom_objects", "/v1/custom_objects")[0]["properties"][0]["type"], "number");
    get("/v1/sequence_runs", "/v1/sequence_runs");
    get("/v1/organization", "/v1/organization");
    let found = service.post("/v1/contacts/search", r#"{"phone": "+12025550124"}"#, &[]);
    document.check("post", "/v1/contacts/search", &found);
    for confirm in [false, true] {
        let erased = json!({"external_id": "crm-9", "confirm": confirm}).to_string();
        let erased = service.post("/v1/contacts/erase", erased, &[]);
        assert_eq!(erased.status, if confirm { 200 } else { 422 }, "{erased:?}");
        document.check("post", "/v1/contacts/erase", &erased);
    }
    document.check("post", "/v1/enrollments/retry", &service.post("/v1/enrollments/retry", "", &[]));
}

#[test]
fn each_reference_of_the_document_exists() {
    let document = Service::on_sqlite("schemas-references", &[]).get("/openapi.json").json;
    let (mut found, text) = (0, document.to_string());
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let place = reference.split('"').next().unwrap();
        assert!(document.pointer(place).is_some(), "{place}");
        found += 1;
    }
    assert!(found > 100, "{found}");
}

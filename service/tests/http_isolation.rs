//! No route that reads shows anything of another organization. The test goes over the OpenAPI document, so that it has
//! each route.

mod support;

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::{Duration, Instant};
use uuid::Uuid;

use support::service::{ACTIVE, Answer, FORM, Part, SECOND, Service, form, id, on_both};

on_both! {
    nothing_of_another_organization_is_seen;
    the_same_ids_in_two_organizations_are_different_rows;
}

/// A sequence of the first organization, and one of the second: the first ids of paths with two.
const SEQUENCES: [&str; 2] = [ACTIVE, "00000000-0000-0000-0000-0000000000b5"];

/// A route that reads: a GET, or a search.
struct Read {
    path: String,
    is_search: bool,
    /// The names of the filters, and whether their values are ids.
    filters: Vec<(String, bool)>,
    has_cursor: bool,
}

impl Read {
    fn of_document(document: &Value) -> Vec<Self> {
        let mut reads = Vec::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                let is_search = method == "post" && path.ends_with("/search");
                if method != "get" && !is_search {
                    continue;
                }
                let mut filters: Vec<(String, bool)> = Vec::new();
                for parameter in operation["parameters"].as_array().into_iter().flatten() {
                    if parameter["in"] == "query" {
                        let name = parameter["name"].as_str().unwrap().to_owned();
                        filters.push((name, parameter["schema"].to_string().contains("uuid")));
                    }
                }
                if is_search {
                    let reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].clone();
                    let schema = document.pointer(reference.as_str().unwrap().trim_start_matches('#')).unwrap();
                    for (name, schema) in schema["properties"].as_object().unwrap() {
                        filters.push((name.clone(), schema.to_string().contains("uuid")));
                    }
                }
                let has_cursor = filters.iter().any(|(name, _)| name == "cursor");
                filters.retain(|(name, _)| !["limit", "offset", "cursor"].contains(&&**name));
                let paths = if path.contains("{run_id}") {
                    SEQUENCES.map(|sequence| path.replace("{id}", sequence).replace("{run_id}", "{id}")).to_vec()
                } else {
                    vec![path.clone()]
                };
                let reads_at = |path| Self { path, is_search, filters: filters.clone(), has_cursor };
                reads.extend(paths.into_iter().map(reads_at));
            }
        }
        reads
    }

    fn has_id(&self) -> bool {
        let rest = self.path.replace("{id}", "");
        assert!(!rest.contains('{'), "{}: this test knows paths with one `{{id}}`", self.path);
        rest != self.path
    }

    /// Calls the route, with an id if it has one, and with a filter.
    fn call(&self, service: &Service, key: &str, id: &str, filter: Option<(&str, &str)>) -> Answer {
        let path = self.path.replace("{id}", id);
        if self.is_search {
            let body = filter.map_or(json!({}), |(name, value)| json!({ name: value }));
            return service.post_as(key, &path, body.to_string(), &[]);
        }
        let query = filter.map(|(name, value)| {
            let value: String = form_urlencoded::byte_serialize(value.as_bytes()).collect();
            format!("?{name}={value}")
        });
        service.get_as(key, &format!("{path}{}", query.unwrap_or_default()))
    }
}

/// Adds the ids in a JSON value.
fn add_ids(value: &Value, ids: &mut BTreeSet<String>) {
    match value {
        Value::String(text) if text.len() == 36 && Uuid::parse_str(text).is_ok_and(|id| !id.is_nil()) => {
            ids.insert(text.clone());
        }
        Value::Array(items) => items.iter().for_each(|item| add_ids(item, ids)),
        Value::Object(members) => members.values().for_each(|member| add_ids(member, ids)),
        _ => {}
    }
}

/// Returns the ids that the routes show to a key, and for each route with an id one that it finds.
fn seen_by(service: &Service, reads: &[Read], key: &str, mut ids: BTreeSet<String>) -> (BTreeSet<String>, Vec<String>) {
    for read in reads.iter().filter(|read| !read.has_id()) {
        add_ids(&read.call(service, key, "", None).json, &mut ids);
    }
    let known = ids.clone();
    let with_id = reads.iter().filter(|read| read.has_id());
    let found = with_id.map(|read| {
        let mut found = String::new();
        for id in &known {
            let answer = read.call(service, key, id, None);
            if answer.status == 200 {
                add_ids(&answer.json, &mut ids);
                found.clone_from(id);
            }
        }
        found
    });
    let found = found.collect();
    (ids, found)
}

/// Gives the second organization a row of each kind. Returns the id of a preview.
fn fill_second(service: &Service) -> String {
    let contact = json!({"contact_id": id(0xb9)});
    let of_contact = |mut row: Value| {
        row.as_object_mut().unwrap().extend(contact.as_object().unwrap().clone());
        row
    };
    service.load_into(
        SECOND,
        &json!({
            "channels": [{"id": id(0xb2), "kind": "email", "address": "theirs@example.org", "name": "Theirs"}],
            "sequences": [{"id": id(0xb5), "title": "Theirs too", "status": "active",
                "steps": [{"id": id(0xb6), "position": 1, "channel_kind": "email", "channel_id": id(0xb2)}]}],
            "contacts": [{"id": id(0xb9), "name": "Theirs Person", "phone": "+12025550177", "email": "p@theirs.example",
                "external_id": "theirs-1", "default_channel_id": id(0xb2)}],
            "tags": [{"id": id(0xba), "name": "Theirs", "system_created": false}],
            "contact_tags": [of_contact(json!({"tag_id": id(0xba)}))],
            "communication_preferences": [of_contact(json!({"channel_id": id(0xb2), "opt_in": true}))],
            "conversations": [of_contact(json!({"id": id(0xbb), "channel_id": id(0xb2), "status": "open"}))],
            "runs": [of_contact(json!({"id": id(0xbc), "sequence_id": id(0xb5), "status": "finished",
                "started_at": "2026-02-01T15:00:00Z"}))],
            "step_contacts": [of_contact(json!({"id": id(0xbd), "run_id": id(0xbc), "sequence_id": id(0xb5),
                "step_id": id(0xb6), "status": "finished", "scheduled_at": "2026-02-01T15:00:00Z"}))],
            "custom_objects": [{"id": id(0xbe), "key": "theirs", "properties": []}],
        }),
    );
    let theirs = &service.other_key;
    let post = |path: &str, body: String, headers: &[(&str, &str)]| {
        let answer = service.post_as(theirs, path, body, headers);
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.json["data"].clone()
    };
    let upload = |path: &str, text: &str| {
        let part = Part { name: "file", file_name: Some("theirs.csv"), bytes: text.as_bytes() };
        post(path, String::from_utf8(form(&[part])).unwrap(), &[("content-type", FORM)])
    };
    let path = format!("/v1/sequences/{}/contacts", id(0xa5));
    post(&path, json!({"to": [{"phone": "+12025550178", "name": "Theirs One"}]}).to_string(), &[]);
    let lists = format!("/v1/lists?sequence_id={}", id(0xa5));
    upload(&lists, "phone,name\n+12025550179,Theirs Two\n1,Theirs Three\n");
    let long: String = (0..4001).fold("phone\n".to_owned(), |mut text, n| {
        writeln!(text, "+1415555{n:04}").unwrap();
        text
    });
    let preview = upload(&format!("{lists}&preview=true"), &long)["preview_id"].as_str().unwrap().to_owned();
    let deadline = Instant::now() + Duration::from_secs(120);
    let is_done = || {
        let enrollments = service.get_as(theirs, "/v1/enrollments?state=completed").json["total"] == 2;
        let state = service.get_as(theirs, &format!("/v1/lists/previews/{preview}")).json["data"]["state"].clone();
        enrollments && state == "completed"
    };
    while !is_done() {
        assert!(Instant::now() < deadline, "the second organization has its rows");
        std::thread::sleep(Duration::from_millis(50));
    }
    preview
}

fn nothing_of_another_organization_is_seen(service: &mut Service) {
    let reads = Read::of_document(&service.get("/openapi.json").json);
    let preview = fill_second(service);
    service.wait_for(&service.enroll(&json!({"to": [{"phone": "+12025550187"}]}), &[]).accepted());
    let (theirs, found) = seen_by(service, &reads, &service.other_key, BTreeSet::from([preview, SECOND.to_owned()]));
    let with_id: Vec<&Read> = reads.iter().filter(|read| read.has_id()).collect();
    for (read, found) in with_id.iter().zip(&found) {
        let is_ours = read.path.contains(ACTIVE);
        assert_eq!(
            found.is_empty(),
            is_ours,
            "{}: give the second organization a row that this route shows",
            read.path
        );
    }
    for number in [0xa5, 0xb2, 0xb5, 0xb6, 0xb9, 0xba, 0xbb, 0xbc, 0xbd, 0xbe] {
        assert!(theirs.contains(&id(number)), "{number:x} is seen by its organization");
    }
    let (ours, found) = seen_by(service, &reads, &service.key, BTreeSet::new());
    assert!(ours.len() > 5 && theirs.is_disjoint(&ours), "{ours:?}");

    let texts = ["Theirs", "+12025550177", "p@theirs.example", "theirs-1", "theirs.csv"];
    let assert_nothing_seen = |read: &Read, answer: &Answer| {
        for text in theirs.iter().map(String::as_str).chain(texts) {
            assert!(!answer.text.contains(text), "{}: {text} is seen: {answer:?}", read.path);
        }
    };
    let filtered = |read: &Read, our_id: &str| {
        for (name, is_id) in &read.filters {
            let values: Vec<&str> = if *is_id { theirs.iter().map(String::as_str).collect() } else { texts.to_vec() };
            for value in values {
                assert_nothing_seen(read, &read.call(service, &service.key, our_id, Some((name, value))));
            }
        }
        if read.has_cursor {
            let page = read.call(service, &service.other_key, our_id, Some(("limit", "1"))).json;
            if let Some(cursor) = page["metadata"]["next_cursor"].as_str() {
                let answer = read.call(service, &service.key, our_id, Some(("cursor", cursor)));
                answer.assert_error(422, "invalid_parameter", "?cursor");
            }
        }
    };
    for read in reads.iter().filter(|read| !read.has_id()) {
        let answer = read.call(service, &service.key, "", None);
        assert!(answer.status < 500, "{answer:?}");
        assert_nothing_seen(read, &answer);
        filtered(read, "");
    }
    for (read, our_id) in with_id.iter().zip(&found) {
        let unknown = read.call(service, &service.key, &id(0x7777), None);
        assert_eq!(unknown.status, 404, "{}: {unknown:?}", read.path);
        for their_id in &theirs {
            let answer = read.call(service, &service.key, their_id, None);
            assert_eq!((answer.status, &answer.text), (404, &unknown.text), "{}", read.path);
        }
        if !our_id.is_empty() {
            assert_nothing_seen(read, &read.call(service, &service.key, our_id, None));
            filtered(read, our_id);
        }
    }
}

fn the_same_ids_in_two_organizations_are_different_rows(service: &mut Service) {
    let (contact, sequence) = (format!("/v1/contacts/{}", id(9)), format!("/v1/sequences/{ACTIVE}"));
    let of_sequence = format!("{sequence}/contacts");
    let paths = [&*contact, &*sequence, &*of_sequence, "/v1/contacts", "/v1/sequences", "/v1/contacts?name=zo"];
    let read = |key: &str| paths.map(|path| service.get_as(key, path).text);
    let before = read(&service.key);
    service.load_into(
        SECOND,
        &json!({
            "channels": [{"id": id(2), "kind": "fax", "address": "+12025550108"}],
            "sequences": [{"id": ACTIVE, "title": "Theirs", "status": "draft",
                "steps": [{"id": id(0xb6), "position": 1, "channel_kind": "fax"}]}],
            "contacts": [{"id": id(9), "name": "Zoom Theirs"}],
            "tags": [{"id": id(0xba), "name": "Theirs", "system_created": false}],
            "contact_tags": [{"contact_id": id(9), "tag_id": id(0xba)}],
            "communication_preferences": [{"contact_id": id(9), "channel_id": id(2), "opt_in": false}],
            "conversations": [{"id": id(0xbb), "contact_id": id(9), "channel_id": id(2), "status": "open"}],
            "runs": [{"id": id(0xbc), "contact_id": id(9), "sequence_id": ACTIVE, "status": "active",
                "started_at": "2026-02-01T15:00:00Z"}],
            "step_contacts": [{"id": id(0xbd), "contact_id": id(9), "run_id": id(0xbc), "sequence_id": ACTIVE,
                "step_id": id(0xb6), "status": "active", "scheduled_at": "2026-02-01T15:00:00Z"}],
        }),
    );
    assert_eq!(read(&service.key), before);
    let theirs = read(&service.other_key);
    for (path, text) in paths.iter().zip(&theirs) {
        assert!(text.contains("Theirs") && !text.contains("Zo\u{eb}") && !text.contains("Welcome"), "{path}: {text}");
    }
    let contact: Value = serde_json::from_str(&theirs[0]).unwrap();
    let contact = &contact["data"];
    assert_eq!(contact["contact_tags"][0]["tag"]["name"], "Theirs");
    assert_eq!(contact["communication_preferences"][0]["opt_in"], false);
    assert_eq!(contact["conversations"][0]["channel_type"], "fax");
}

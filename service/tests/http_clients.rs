//! The reads of the HTTP API, as published clients of the original send and read them (`docs/compatibility.md`).

mod support;

use serde_json::{Value, json};

use support::service::{ACTIVE, Answer, STEP, Service, id, on_both};

on_both! {
    a_contact_and_a_sequence_are_read_by_id;
    contacts_are_searched_with_a_body;
    a_search_with_faults_lists_all_of_them;
    parts_of_names_and_titles_are_found_page_by_page;
    a_contact_has_its_tags_preferences_and_conversations;
    a_contact_shows_its_newest_tags;
    names_are_split_only_if_no_part_is_stored;
    phones_are_found_in_other_spellings;
    the_mcp_server_reads_its_fields;
    the_community_server_reads_and_enrolls;
    the_workflow_piece_sends_prefilled_fields;
}

fn ids(answer: &Answer) -> Vec<&str> {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json["data"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap()).collect()
}

fn search(service: &Service, body: &Value) -> Answer {
    service.post("/v1/contacts/search", body.to_string(), &[])
}

fn a_contact_and_a_sequence_are_read_by_id(service: &mut Service) {
    for (list, entries) in [("/v1/contacts", 2), ("/v1/sequences", 4)] {
        let all = service.get(list).json;
        let all = all["data"].as_array().unwrap();
        assert_eq!(all.len(), entries);
        for entry in all {
            let one = service.get(&format!("{list}/{}", entry["id"].as_str().unwrap()));
            assert_eq!((one.status, &one.json), (200, &json!({ "data": entry })));
        }
    }
    let sequence = service.get(&format!("/v1/sequences/{ACTIVE}")).json["data"].clone();
    let step = json!({"id": STEP, "position": 1, "channel_kind": "phone", "channel_id": id(2)});
    assert_eq!((&sequence["title"], &sequence["steps"]), (&json!("Welcome"), &json!([step])));
    let mut settings = json!({"on_re_add": "include", "max_contact_sequence_runs": null, "max_add_per_time": null,
        "max_add_time": null, "default_call_flow_id": null});
    assert_eq!(sequence["settings"], settings);

    let limits = json!({"on_re_add": "exclude", "max_runs": 5, "max_adds_per_period": {"count": 2, "seconds": 86400},
        "default_call_flow_id": id(0x30)});
    service
        .load(&json!({"sequences": [{"id": id(0x25), "title": "Limits", "status": "archived", "settings": limits}]}));
    let limited = service.get(&format!("/v1/sequences/{}", id(0x25))).json["data"].clone();
    for (name, value) in [
        ("on_re_add", json!("exclude")),
        ("max_contact_sequence_runs", json!(5)),
        ("max_add_per_time", json!(2)),
        ("max_add_time", json!(86400)),
        ("default_call_flow_id", json!(id(0x30))),
    ] {
        settings[name] = value;
    }
    assert_eq!((&limited["settings"], &limited["status"]), (&settings, &json!("archived")));

    for (list, code, theirs) in
        [("/v1/contacts", "contact_not_found", id(0xa9)), ("/v1/sequences", "sequence_not_found", id(0xa5))]
    {
        for unknown in [id(0x77), theirs, "not-a-uuid".to_owned()] {
            service.get(&format!("{list}/{unknown}")).assert_error(404, code, "");
        }
        let parameter = service.get(&format!("{list}/{}?limit=1", id(9)));
        parameter.assert_error(422, "invalid_parameter", "?limit");
    }
    let urn = format!("/v1/sequences/urn:uuid:{ACTIVE}");
    assert_eq!(service.get(&urn).json["data"], sequence, "another spelling of the same id");
}

fn contacts_are_searched_with_a_body(service: &mut Service) {
    let more = json!({"contacts": [
        {"id": id(0x40), "name": "Ann Lee", "email": "Ann+x@example.org"}, {"id": id(0x41), "name": "Joann"},
        {"id": id(0x42), "name": "ANN", "state": "archived"},
    ]});
    service.load(&more);
    let anns = [id(0x42), id(0x40), id(0x41)];
    let all = [id(0x42), id(0x40), id(0x41), id(9), id(7)];
    for (body, found) in [
        (json!({}), &all[..]),
        (json!({"phone": null, "email": "", "name": " ", "external_id": null, "limit": null, "offset": ""}), &all),
        (json!({"name": "ann"}), &anns),
        (json!({"name": " ann ", "limit": 1, "offset": 1}), &anns[1..2]),
        (json!({"name": "ann", "limit": "2", "offset": 0}), &anns[..2]),
        (json!({"limit": 10.0, "offset": 4}), &all[4..]),
        (json!({"email": "ANN+X@EXAMPLE.ORG"}), &anns[1..2]),
        (json!({"phone": "+12025550124"}), &all[3..4]),
        (json!({"phone": "+12025550124", "name": "ann"}), &[]),
        (json!({"external_id": " crm-9 ", "email": "zoë@example.org"}), &all[3..4]),
        (json!({"external_id": "CRM-9"}), &[]),
        // Fields that a client fills in advance.
        (json!({"name": "ann", "language": "", "default_channel_id": null, "address": {}, "tags": []}), &anns),
    ] {
        let answer = search(service, &body);
        assert_eq!(ids(&answer), *found, "{body}");
        assert_eq!(answer.json.as_object().unwrap().len(), 2, "{answer:?}");
    }
    assert_eq!(search(service, &json!({"name": "ann", "limit": 1})).json["total"], 3);
    let listed = service.get("/v1/contacts?name=ann").json;
    assert_eq!(search(service, &json!({"name": "ann"})).json, listed);
    let with_mark = format!("\u{feff}{}", json!({"name": "zo"}));
    assert_eq!(ids(&service.post("/v1/contacts/search", with_mark, &[])), [id(9)]);
}

fn a_search_with_faults_lists_all_of_them(service: &mut Service) {
    let body = json!({"phone": 12_025_550_124_u64, "name": ["ann"], "email": "a\u{0}b", "limit": 501, "offset": -1,
        "phone_number": "+12025550124", "responded": false, "a/b~c": 1});
    let answer = search(service, &body);
    for (code, path) in [
        ("invalid_type", "/phone"),
        ("invalid_type", "/name"),
        ("invalid_character", "/email"),
        ("invalid_parameter", "/limit"),
        ("invalid_parameter", "/offset"),
        ("invalid_parameter", "/phone_number"),
        ("invalid_parameter", "/responded"),
        ("invalid_parameter", "/a~1b~0c"),
    ] {
        answer.assert_error(422, code, path);
    }
    assert_eq!(answer.json["errors"].as_array().unwrap().len(), 8, "{answer:?}");
    assert!(answer.text.contains("did you mean `phone`?") && answer.text.contains("is not supported"), "{answer:?}");
    for limit in [json!(0), json!(1.5), json!("many"), json!(true), json!({"is": 1})] {
        search(service, &json!({ "limit": limit })).assert_error(422, "invalid_parameter", "/limit");
    }
    for body in ["", "[]", "{", "null", "\"ann\""] {
        service.post("/v1/contacts/search", body, &[]).assert_error(422, "invalid_type", "");
    }
    let of_length = |length: usize| format!("{{\"name\": \"zo\"{}}}", " ".repeat(length - 14));
    service.post("/v1/contacts/search", of_length((64 << 10) + 1), &[]).assert_error(413, "body_too_large", "");
    assert_eq!(ids(&service.post("/v1/contacts/search", of_length(64 << 10), &[])), [id(9)]);
    service.post("/v1/contacts/search?limit=1", "{}", &[]).assert_error(422, "invalid_parameter", "?limit");
    service.post_as("enk_x", "/v1/contacts/search", "{}", &[]).assert_error(401, "not_authenticated", "");
}

fn parts_of_names_and_titles_are_found_page_by_page(service: &mut Service) {
    let names = ["Ann 100%", "ann_b", "Joann", "ÄNN", "änn", "Bo", "O'Ann\\n", ""];
    let numbered = || names.iter().zip(0x1000..);
    let contacts: Vec<Value> = numbered().map(|(name, n)| json!({"id": id(n), "name": name})).collect();
    let sequence = |(title, n): (&&str, u32)| json!({"id": id(n), "title": title, "status": "draft"});
    service.load(&json!({"contacts": contacts, "sequences": numbered().map(sequence).collect::<Vec<_>>()}));
    for (list, filter) in [("/v1/contacts", "name"), ("/v1/sequences", "title")] {
        for (part, count) in [
            ("aNN", 4),
            ("%C3%84NN", 1),
            ("%C3%A4nN", 1),
            ("%25", 1),
            ("_", 1),
            ("%5C", 1),
            ("'", 1),
            ("+ann+", 4),
            ("nn%20", 6),
            ("x", 0),
            ("Ann+100%25", 1),
        ] {
            let filtered = format!("{list}?{filter}={part}");
            let all = service.get(&filtered);
            let found = ids(&all);
            assert_eq!((found.len(), &all.json["total"]), (count, &json!(count)), "{filtered}: {all:?}");
            let (mut walked, mut cursor) = (Vec::new(), String::new());
            loop {
                let page = service.get(&format!("{filtered}&limit=1&cursor={cursor}"));
                assert_eq!(page.json["total"], count, "{filtered}");
                walked.extend(ids(&page).into_iter().map(str::to_owned));
                let Some(next) = page.json["metadata"]["next_cursor"].as_str() else { break };
                next.clone_into(&mut cursor);
            }
            assert_eq!(walked, found, "{filtered}");
            if count > 1 {
                let second = service.get(&format!("{filtered}&limit=1&offset=1"));
                assert_eq!(ids(&second), found[1..2], "{filtered}");
                let cursor = second.json["metadata"]["next_cursor"].as_str().unwrap().to_owned();
                let other = service.get(&format!("{list}?{filter}=b&cursor={cursor}"));
                other.assert_error(422, "invalid_parameter", "?cursor");
            }
        }
        for absent in [format!("?&limit=&{filter}="), format!("?{filter}=%20"), format!("?{filter}")] {
            assert_eq!(service.get(&format!("{list}{absent}")).json, service.get(list).json, "{list}{absent}");
        }
        service.get(&format!("{list}?{filter}=a%00")).assert_error(422, "invalid_character", &format!("?{filter}"));
    }
}

fn a_contact_has_its_tags_preferences_and_conversations(service: &mut Service) {
    let contact = id(0x40);
    service.load(&json!({
        "channels": [{"id": id(0x12), "kind": "fax", "address": "+12025550102"},
            {"id": id(0x13), "kind": "email", "address": "sales@example.org"}],
        "contacts": [{"id": contact, "name": "Ann"}],
        "tags": [{"id": id(0x50), "name": "VIP", "system_created": false},
            {"id": id(0x51), "name": "Upload 2026-02-01T15:00:00.000Z", "system_created": true}],
        "contact_tags": [{"contact_id": contact, "tag_id": id(0x50)}, {"contact_id": contact, "tag_id": id(0x51)}],
        "communication_preferences": [{"contact_id": contact, "channel_id": id(0x12), "opt_in": false},
            {"contact_id": contact, "channel_id": id(0x13), "opt_in": true}],
        "conversations": [
            {"id": id(0x60), "contact_id": contact, "channel_id": id(0x12), "status": "open",
                "created_at": "2026-02-01T15:00:00Z"},
            {"id": id(0x61), "contact_id": contact, "channel_id": id(0x13), "status": "closed"},
            {"id": id(0x62), "contact_id": contact, "channel_id": id(0x13), "status": "spam"},
        ],
    }));
    let ann = service.get(&format!("/v1/contacts/{contact}")).json["data"].clone();
    let tag = |n: u32, name: &str, system_created: bool| {
        let tag = json!({"id": id(n), "name": name, "system_created": system_created});
        json!({"contact_id": contact, "tag_id": id(n), "tag": tag})
    };
    let upload = tag(0x51, "Upload 2026-02-01T15:00:00.000Z", true);
    assert_eq!(ann["contact_tags"], json!([upload, tag(0x50, "VIP", false)]));
    let preference =
        |channel: u32, opt_in: bool| json!({"contact_id": contact, "channel_id": id(channel), "opt_in": opt_in});
    assert_eq!(ann["communication_preferences"], json!([preference(0x13, true), preference(0x12, false)]));
    let conversation = |n: u32, channel: u32, kind: &str, status: &str, created_at: Option<&str>| {
        json!({"id": id(n), "contact_id": contact, "channel_id": id(channel), "channel_type": kind, "status": status,
            "created_at": created_at})
    };
    let conversations = json!([
        conversation(0x62, 0x13, "email", "spam", None),
        conversation(0x61, 0x13, "email", "closed", None),
        conversation(0x60, 0x12, "fax", "open", Some("2026-02-01T15:00:00.000Z")),
    ]);
    assert_eq!(ann["conversations"], conversations);
    assert_eq!((&ann["blocked"], &ann["state"]), (&json!(false), &json!("open")));
    let blocked = service.get(&format!("/v1/contacts/{}", id(7))).json["data"].clone();
    assert_eq!((&blocked["blocked"], &blocked["state"]), (&json!(true), &json!("blocked")));
    for related in ["contact_tags", "communication_preferences", "conversations"] {
        assert_eq!(blocked[related], json!([]), "{related} of a contact without any");
    }
    let listed = service.get("/v1/contacts").json["data"].clone();
    assert_eq!((&listed[0], &listed[2]), (&ann, &blocked));

    // What an enrollment writes.
    let people = json!({"to": [{"phone": "+12025550187"}, {"phone": "+12025550188"}]});
    service.wait_for(&service.enroll(&people, &[]).accepted());
    let new = service.get("/v1/contacts?phone=%2B12025550187").json["data"][0].clone();
    assert_eq!(new["contact_tags"][0]["tag"]["system_created"], true, "{new}");
    let conversation = &new["conversations"][0];
    assert_eq!((&conversation["channel_id"], &conversation["status"]), (&json!(id(2)), &json!("automated")), "{new}");
    assert!(conversation["created_at"].is_string() && new["created_at"].is_string(), "{new}");
}

fn a_contact_shows_its_newest_tags(service: &mut Service) {
    let numbers = 0x1000..0x1070;
    let tags = numbers.clone().map(|n| json!({"id": id(n), "name": format!("{n}"), "system_created": false}));
    let of_contacts = numbers.map(|n| json!({"contact_id": id(0x40), "tag_id": id(n)}));
    let (tags, of_contacts): (Vec<_>, Vec<_>) = (tags.collect(), of_contacts.collect());
    service.load(&json!({"contacts": [{"id": id(0x40)}], "tags": tags, "contact_tags": of_contacts}));
    let contact = service.get(&format!("/v1/contacts/{}", id(0x40))).json["data"].clone();
    let shown = contact["contact_tags"].as_array().unwrap();
    assert_eq!(shown.len(), 100);
    assert_eq!((&shown[0]["tag_id"], &shown[99]["tag_id"]), (&json!(id(0x106f)), &json!(id(0x100c))));
}

fn names_are_split_only_if_no_part_is_stored(service: &mut Service) {
    let cases = [
        (json!({"name": "Ada van Example"}), json!("Ada"), json!("van Example")),
        (json!({"name": "Ada"}), json!("Ada"), Value::Null),
        (json!({}), Value::Null, Value::Null),
        (
            json!({"name": "Ada B Example", "first_name": "Ada B", "last_name": "Example"}),
            json!("Ada B"),
            json!("Example"),
        ),
        (json!({"name": "Ada Example", "last_name": "Example"}), Value::Null, json!("Example")),
        (json!({"name": "Ada Example", "first_name": "Countess"}), json!("Countess"), Value::Null),
    ];
    let contact = |(n, (row, ..)): (u32, &(Value, Value, Value))| {
        let mut row = row.clone();
        row["id"] = json!(id(n));
        row
    };
    service.load(&json!({"contacts": (0x40..).zip(&cases).map(contact).collect::<Vec<_>>()}));
    for (n, (row, first, last)) in (0x40..).zip(&cases) {
        let contact = service.get(&format!("/v1/contacts/{}", id(n))).json["data"].clone();
        assert_eq!((&contact["first_name"], &contact["last_name"]), (first, last), "{row}");
        assert_eq!(contact["name"], row["name"]);
    }
}

fn phones_are_found_in_other_spellings(service: &mut Service) {
    // A number that is not valid is found as it is stored.
    service
        .load(&json!({"contacts": [{"id": id(0x40), "phone": "+15555550123"}, {"id": id(0x41), "phone": "ext. 7"}]}));
    for (phone, found) in [
        ("+12025550124", id(9)),
        ("12025550124", id(9)),
        ("2025550124", id(9)),
        ("(202) 555-0124", id(9)),
        ("+1 (202) 555-0124", id(9)),
        ("tel: 202.555.0124", id(9)),
        ("+15555550123", id(0x40)),
        ("ext. 7", id(0x41)),
    ] {
        assert_eq!(ids(&search(service, &json!({ "phone": phone }))), [&*found], "{phone}");
        let escaped: String = form_urlencoded::byte_serialize(phone.as_bytes()).collect();
        let unescaped = phone.replace(' ', "%20");
        for query in [escaped, unescaped] {
            assert_eq!(ids(&service.get(&format!("/v1/contacts?phone={query}"))), [&*found], "{query}");
        }
    }
    for phone in ["+4930123456", "030 123456", "2025550124x", "*"] {
        assert_eq!(search(service, &json!({ "phone": phone })).json, json!({"data": [], "total": 0}), "{phone}");
    }
    service.load(&json!({"contacts": [{"id": id(0x42), "email": "ann+tag@example.org"}]}));
    for email in ["ann+tag@example.org", "ann%2Btag@EXAMPLE.org", "ann%20tag@example.org"] {
        assert_eq!(ids(&service.get(&format!("/v1/contacts?email={email}"))), [id(0x42)], "{email}");
    }
    // The same number, in an organization without the contact.
    let theirs = service.post_as(&service.other_key, "/v1/contacts/search", r#"{"phone": "2025550124"}"#, &[]);
    assert_eq!(theirs.json, json!({"data": [], "total": 0}));
}

/// Asserts that an object has members of these types. A type with `?` can be null.
fn assert_types(object: &Value, types: &[(&str, &str)]) {
    for (name, wanted) in types {
        let found = match object.get(name) {
            None => "absent",
            Some(Value::Null) if wanted.ends_with('?') => continue,
            Some(Value::Null) => "null",
            Some(Value::Bool(_)) => "bool",
            Some(Value::Number(_)) => "number",
            Some(Value::String(_)) => "text",
            Some(Value::Array(_)) => "list",
            Some(Value::Object(_)) => "map",
        };
        assert_eq!(found, wanted.trim_end_matches('?'), "{name} of {object}");
    }
}

/// The fields that the clients read of a contact.
const CONTACT: &[(&str, &str)] = &[
    ("id", "text"),
    ("name", "text?"),
    ("first_name", "text?"),
    ("last_name", "text?"),
    ("email", "text?"),
    ("phone", "text?"),
    ("external_id", "text?"),
    ("state", "text"),
    ("blocked", "bool"),
    ("address", "map?"),
    ("birth_date", "map?"),
    ("created_at", "text?"),
    ("updated_at", "text?"),
    ("contact_tags", "list"),
    ("communication_preferences", "list"),
    ("conversations", "list"),
];

/// `hellowhippy/whippy-mcp`: it sends the key with a JSON content type also with a GET, and reads `data` and `total`.
fn the_mcp_server_reads_its_fields(service: &mut Service) {
    let person = json!({"to": [{"phone": "+12025550187", "name": "Ann Lee"}, {"phone": "+12025550188"}]});
    service.wait_for(&service.enroll(&person, &[]).accepted());
    let contacts = service.get("/v1/contacts?offset=0&limit=50");
    assert_types(&contacts.json, &[("data", "list"), ("total", "number")]);
    for contact in contacts.json["data"].as_array().unwrap() {
        assert_types(contact, CONTACT);
        let one = service.get(&format!("/v1/contacts/{}", contact["id"].as_str().unwrap()));
        assert_eq!(one.json["data"], *contact);
    }
    let found = search(service, &json!({"name": "Ann", "limit": 50, "offset": 0}));
    assert_types(&found.json, &[("data", "list"), ("total", "number")]);
    let ann = &found.json["data"][0];
    assert_types(&ann["contact_tags"][0], &[("contact_id", "text"), ("tag_id", "text"), ("tag", "map")]);
    let tag = [("id", "text"), ("name", "text"), ("system_created", "bool")];
    assert_types(&ann["contact_tags"][0]["tag"], &tag);
    let conversation =
        [("id", "text"), ("channel_id", "text"), ("channel_type", "text"), ("status", "text"), ("created_at", "text")];
    assert_types(&ann["conversations"][0], &conversation);

    let sequences = service.get("/v1/sequences");
    assert_types(&sequences.json, &[("data", "list"), ("total", "number")]);
    let sequence = [("id", "text"), ("title", "text"), ("status", "text"), ("steps", "list"), ("settings", "map")];
    for row in sequences.json["data"].as_array().unwrap() {
        assert_types(row, &sequence);
        assert_types(&row["settings"], &[("on_re_add", "text"), ("max_contact_sequence_runs", "number?")]);
    }
    assert_types(&service.get(&format!("/v1/sequences/{ACTIVE}")).json["data"], &sequence);
    let channels = service.get("/v1/channels").json;
    assert_types(&channels["data"][0], &[("id", "text"), ("name", "text?"), ("address", "text")]);
    // It shows the first description of an error.
    let unknown = service.get(&format!("/v1/contacts/{}", id(0x77)));
    assert!(unknown.json["errors"][0]["description"].is_string() && unknown.json["status"] == 404, "{unknown:?}");
    // What the service does not do is refused, and not done in part.
    for path in ["/v1/contacts", "/v1/sequences"] {
        service.post(path, r#"{"phone": "+12025550199", "name": "New"}"#, &[]).assert_error(
            405,
            "method_not_allowed",
            "",
        );
    }
    service.delete(&format!("/v1/contacts/{}", id(9))).assert_error(405, "method_not_allowed", "");
    for path in ["/v1/campaigns", "/v1/conversations", "/v1/messaging/sms", "/v1/agents"] {
        service.get(path).assert_error(404, "route_not_found", "");
    }
    assert_eq!(service.get("/v1/contacts").json["total"], 4);
}

/// `NicolayD/whippy-mcp`: any resource with any parameters. Its check of the key reads one contact.
fn the_community_server_reads_and_enrolls(service: &mut Service) {
    assert_eq!(ids(&service.get("/v1/contacts?limit=1")).len(), 1);
    service.get("/v1/contacts?limit=10&search=john").assert_error(422, "invalid_parameter", "?search");
    assert_eq!(ids(&service.get("/v1/sequences")).len(), 4);
    let sequence = service.get(&format!("/v1/sequences/{ACTIVE}")).json;
    assert_eq!(sequence["data"]["id"], ACTIVE);
    let people = json!({"from": "+12025550100", "to": [{"phone": "+12025550187", "first_name": "John"}]});
    service.wait_for(&service.enroll(&people, &[]).accepted());
    let john = search(service, &json!({"phone": "+12025550187"})).json["data"][0].clone();
    assert_eq!((&john["name"], &john["first_name"]), (&json!("John"), &json!("John")));
    // Its example names the people `contacts`.
    let wrong = service.enroll(&json!({"contacts": [{"phone": "+12025550188"}]}), &[]);
    wrong.assert_error(422, "required", "/to");
}

/// The piece of `hellowhippy/activepieces`: forms with fields that are filled in advance, and texts that are not escaped.
fn the_workflow_piece_sends_prefilled_fields(service: &mut Service) {
    // A GET with a body, and the header in another case.
    let get = |target: &str| {
        let key = &service.key;
        let head = format!("GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-Whippy-kEY: {key}\r\n");
        let answer =
            service.raw(format!("{head}content-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}").as_bytes());
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{target}: {answer}");
        serde_json::from_str::<Value>(body).unwrap()
    };
    assert_eq!(get("/v1/sequences?limit=50&offset=0&title=")["total"], 4);
    assert_eq!(get("/v1/sequences?limit=50&offset=0&title=wel")["data"][0]["id"], ACTIVE);
    assert_eq!(get(&format!("/v1/sequences/{ACTIVE}"))["data"]["id"], ACTIVE);
    assert_eq!(get("/v1/contacts?offset=0&name=zo&email=zo%C3%AB@example.org&phone=+12025550124")["total"], 1);
    assert_eq!(get("/v1/contacts?limit=50&offset=0&")["total"], 2);

    let person = json!({"custom_a": "", "custom_b": "", "custom_c": "", "email": "", "first_name": "Bo",
        "last_name": "Berg", "name": "", "phone": "(202) 555-0187"});
    let body = json!({"custom_data": {"custom_object_id": "", "resource": ""}, "from": "12025550100",
        "schedule_at": null, "step_id": "", "to": [person]});
    let accepted = service.enroll(&body, &[("Accept", "application/json")]);
    service.wait_for(&accepted.accepted());
    assert_eq!(accepted.json["data"]["warnings"].as_array().unwrap().len(), 3, "{accepted:?}");
    let bo = get("/v1/contacts?phone=+1%20202-555-0187");
    assert_eq!((&bo["data"][0]["name"], &bo["data"][0]["last_name"]), (&json!("Bo Berg"), &json!("Berg")));

    let of_sequence = format!("/v1/sequences/{ACTIVE}/contacts?limit=50&offset=0&step_ids=");
    for (status, total) in [("active", 1), ("complete", 0), ("in-active", 0), ("", 1)] {
        assert_eq!(get(&format!("{of_sequence}&status={status}"))["total"], total, "{status}");
    }
    // These filters need data that is not stored.
    for (filtered, filter) in [
        (format!("/v1/sequences/{ACTIVE}/contacts?status=removed"), "?status"),
        ("/v1/contacts?channels%5B%5D%5Bid%5D=1".to_owned(), "?channels[][id]"),
    ] {
        let refused = service.get(&filtered);
        refused.assert_error(422, "invalid_parameter", filter);
        assert!(refused.text.contains("not supported"), "{refused:?}");
    }
    let refused = service.get(&format!("{of_sequence}&responded=false&unsubscribed=false&clicked_link=false"));
    for filter in ["?responded", "?unsubscribed", "?clicked_link"] {
        refused.assert_error(422, "invalid_parameter", filter);
    }
}

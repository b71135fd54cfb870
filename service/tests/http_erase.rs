//! Erases a person over HTTP and on the command line, and looks for what is left in every table.

mod support;

use enroll_postgres::tokio_postgres;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

use support::service::{Answer, FORM, Part, Service, create_key, form, id, on_both};
use support::{enroll, error_line, path, text};

const ORGANIZATION: &str = "00000000-0000-0000-0000-0000000000c1";
const SEQUENCE: &str = "00000000-0000-0000-0000-0000000000c5";
/// The person. None of these texts occurs elsewhere.
const PERSON: &str = "00000000-0000-4000-8000-00000feedbee";
const PHONE: &str = "+12025559876";
const MARKERS: [&str; 7] = [
    "0000000000004000800000000feedbee",
    "12025559876",
    "zebulon",
    "quagmire",
    "marker.example",
    "crm4711x",
    "porcupine",
];

/// Tables whose rows belong to one person each. All their columns are personal.
const PERSON_ROWS: &[(&str, &str, &str)] = &[
    (
        "contacts",
        "id",
        "organization_id id version external_id phone email email_key name first_name last_name language \
         default_channel_id address birth_day birth_month birth_year state created_at updated_at held_external_id \
         held_phone held_email listed_name",
    ),
    ("communication_preferences", "contact_id", "organization_id contact_id channel_id opt_in"),
    ("conversations", "contact_id", "organization_id id contact_id channel_id one_at_most status created_at"),
    ("runs", "contact_id", "organization_id id sequence_id contact_id status started_at"),
    (
        "step_contacts",
        "contact_id",
        "organization_id id run_id sequence_id step_id contact_id status scheduled_at channel_id default_call_flow_id \
         times_processed enrollment_id",
    ),
    ("contact_tags", "contact_id", "organization_id contact_id tag_id"),
    ("custom_records", "contact_id", "organization_id id custom_object_id resource resource_id contact_id properties"),
];

/// Columns with texts about several people.
const TEXTS: &[(&str, &str)] = &[
    ("enrollments", "command"),
    ("enrollment_outcomes", "outcomes"),
    ("service.lists", "kept"),
    ("service.list_pieces", "texts"),
];

/// All other columns. They have no personal data.
const NOT_PERSONAL: &[(&str, &str)] = &[
    ("organizations", "organization_id name"),
    ("channels", "organization_id id version kind address enabled name"),
    ("call_flows", "organization_id id version name"),
    ("custom_objects", "organization_id id version key properties"),
    ("sequences", "organization_id id version title status settings"),
    ("steps", "organization_id sequence_id id position channel_kind channel_id"),
    ("tags", "organization_id id name system_created"),
    (
        "enrollments",
        "organization_id id sequence_id fingerprint at state attempts due_at lease unanswered failed_at completed_at \
         removed_at erased_recipients error added re_added reprocessed ignored duplicate contacts_created \
         conversations_created rejection report",
    ),
    ("enrollment_outcomes", "organization_id enrollment_id first_index last_index counts"),
    ("queues", "organization_id due_at turn leased_id lease_end"),
    ("counts", "organization_id list sequence_id step_id status id entries"),
    ("engine", "one writing events"),
    (
        "events",
        "organization_id id position number kind enrollment_id sequence_id at added re_added reprocessed ignored duplicate \
         contacts_created conversations_created codes",
    ),
    ("event_log", "one last_position"),
    ("schema", "version migrated_at"),
    ("schema_version", "version migrated_at"),
    // The service's own tables. An erasure is recorded without the person.
    ("service.keys", "id organization_id hash name created_at revoked_at expires_at used_at last_used_at"),
    ("service.audit", "organization_id subject_id id action key_id at"),
    ("service.write_checks", "filler"),
    (
        "service.lists",
        "organization_id id content_id sequence_id file at recipients set_aside requests options inspection removed_at",
    ),
    ("service.webhook_positions", "id position"),
    (
        "service.webhook_endpoints",
        "organization_id id url secret kinds after_position created_at disabled_at failures failing_since paused_until leased_until \
         lease",
    ),
    (
        "service.webhook_deliveries",
        "organization_id endpoint_id position event_id kind at body state attempts queued_at due_at code ended_at",
    ),
    ("service.list_requests", "organization_id list_id number enrollment_id recipients"),
    ("service.list_pieces", "organization_id list_id number request first_index recipients set_aside entries"),
];

/// Returns the text of each column of each table: lower case, without the `-` of ids.
fn texts(service: &Service) -> BTreeMap<(String, String), String> {
    let mut texts = BTreeMap::new();
    if !service.database.starts_with("postgres") {
        let connection = rusqlite::Connection::open(&service.database).unwrap();
        let columns = "select t.name, c.name from sqlite_schema t join pragma_table_xinfo(t.name) c
            where t.type = 'table' and t.name not glob 'sqlite_*'";
        let mut columns = connection.prepare(columns).unwrap();
        let columns = columns.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))).unwrap();
        for (table, column) in columns.map(Result::unwrap) {
            let sql = format!(
                "select coalesce(group_concat(iif(typeof(\"{column}\") = 'blob', hex(\"{column}\"), \"{column}\"), ' '), '')
                from {table}"
            );
            let text: String = connection.query_row(&sql, [], |row| row.get(0)).unwrap();
            let table = table.trim_start_matches("enroll_").replace("service_", "service.");
            texts.insert((table, column), text.to_lowercase().replace('-', ""));
        }
        return texts;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(&service.database, tokio_postgres::NoTls).await.unwrap();
        let connection = tokio::spawn(connection);
        let columns = "select table_schema::text, table_name::text, column_name::text from information_schema.columns
            where table_schema in ('enroll', 'enroll_service')";
        for row in client.query(columns, &[]).await.unwrap() {
            let [schema, table, column]: [String; 3] = [0, 1, 2].map(|n| row.get(n));
            let sql = format!("select coalesce(string_agg(\"{column}\"::text, ' '), '') from {schema}.{table}");
            let text: String = client.query_one(&sql, &[]).await.unwrap().get(0);
            let table = if schema == "enroll" { table } else { format!("service.{table}") };
            texts.insert((table, column), text.to_lowercase().replace('-', ""));
        }
        drop(client);
        connection.await.unwrap().unwrap();
    });
    texts
}

fn columns_with_markers(service: &Service) -> BTreeSet<(String, String)> {
    let with = texts(service).into_iter().filter(|(_, text)| MARKERS.iter().any(|marker| text.contains(marker)));
    with.map(|(column, _)| column).collect()
}

/// A third organization: the person with all related rows, and another one.
fn organization() -> Value {
    let (step, run) = (id(0xc6), id(0xd1));
    json!({
        "organization_id": ORGANIZATION,
        "channels": [{"id": id(0xc2), "kind": "phone", "address": "+12025550100"},
            {"id": id(0xc3), "kind": "email", "address": "team@example.org"}],
        "sequences": [{"id": SEQUENCE, "title": "Welcome", "status": "active",
            "steps": [{"id": step, "position": 1, "channel_kind": "phone", "channel_id": id(0xc2)}]}],
        "contacts": [
            {"id": PERSON, "phone": PHONE, "email": "Z@Marker.example", "external_id": "CRM-4711x",
             "name": "Zebulon Quagmire", "first_name": "Zebulon", "last_name": "Quagmire", "language": "en",
             "default_channel_id": id(0xc2), "address": {"city": "Quagmire"},
             "birth_date": {"day": 3, "month": 4, "year": 1990},
             "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z"},
            {"id": id(0xd7), "phone": "+12025550177", "name": "Bo"},
        ],
        "communication_preferences": [{"contact_id": PERSON, "channel_id": id(0xc3), "opt_in": false}],
        "conversations": [{"id": id(0xd0), "contact_id": PERSON, "channel_id": id(0xc2), "status": "open",
            "created_at": "2026-01-01T00:00:00Z"}],
        "runs": [{"id": run, "sequence_id": SEQUENCE, "contact_id": PERSON, "status": "active",
            "started_at": "2026-01-01T00:00:00Z"}],
        "step_contacts": [{"id": id(0xd2), "run_id": run, "sequence_id": SEQUENCE, "step_id": step,
            "contact_id": PERSON, "status": "active", "scheduled_at": "2026-01-01T00:00:00Z", "channel_id": id(0xc2)}],
        "tags": [{"id": id(0xd3), "name": "vip", "system_created": false}],
        "contact_tags": [{"contact_id": PERSON, "tag_id": id(0xd3)}],
        "custom_objects": [{"id": id(0xd4), "key": "lead",
            "properties": [{"key": "score", "type": "number", "required": false}, {"key": "pet", "type": "text", "required": false}]}],
        "custom_records": [{"id": id(0xd5), "custom_object_id": id(0xd4), "resource": "contact",
            "resource_id": PERSON, "properties": {"pet": "porcupine"}}],
    })
}

struct Third<'s> {
    service: &'s Service,
    key: String,
}

impl<'s> Third<'s> {
    fn load(service: &'s Service) -> Self {
        let seed = service.file("third.json", &organization().to_string());
        text(&enroll(&["seed", path(&seed), "--database", &service.database], &[]));
        Self { service, key: create_key(&service.database, ORGANIZATION) }
    }

    fn enroll(&self, body: &Value, key: &str) -> Answer {
        let path = format!("/v1/sequences/{SEQUENCE}/contacts");
        self.service.post_as(&self.key, &path, body.to_string(), &[("Idempotency-Key", key)])
    }

    fn work(&self) {
        text(&enroll(&["work", "--database", &self.service.database, "--until-empty"], &[]));
    }

    fn fail_accepted(&self) {
        let now = if self.service.database.starts_with("postgres") {
            "now()"
        } else {
            "cast(unixepoch('subsec') * 1000 as integer)"
        };
        let set = "state = 'failed', due_at = null, error = 'damaged'";
        self.service
            .batch_execute(&format!("update enroll.enrollments set {set}, failed_at = {now} where state = 'accepted'"));
    }

    fn erase(&self, body: &Value) -> Answer {
        self.service.post_as(&self.key, "/v1/contacts/erase", body.to_string(), &[])
    }

    fn get(&self, path: &str) -> Value {
        let answer = self.service.get_as(&self.key, path);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json
    }

    /// Sends a list with the person in a row that is set aside.
    fn send_list(&self) {
        let csv = "Phone,Name,Pet,Unsubscribed\n(202) 555-9876,Zebulon Quagmire,porcupine,yes\n";
        let options = json!({"mapping": {"Unsubscribed": "opted_out"}}).to_string();
        let parts = [
            Part { name: "file", file_name: Some("people.csv"), bytes: csv.as_bytes() },
            Part { name: "options", file_name: None, bytes: options.as_bytes() },
        ];
        let path = format!("/v1/lists?sequence_id={SEQUENCE}");
        let sent = self.service.post_as(&self.key, &path, form(&parts), &[("content-type", FORM)]);
        assert_eq!((sent.status, &sent.json["data"]["set_aside"]), (202, &json!(1)), "{sent:?}");
    }

    /// Fills every personal column. Returns the ids of a completed, a failed and an accepted enrollment.
    fn fill(&self) -> [String; 3] {
        let custom = json!({"custom_object_id": id(0xd4), "resource": "contact"});
        let completed = json!({"custom_data": custom, "to": [
            {"phone": PHONE, "properties": {"score": "porcupine"}},
            {"phone": "+12025550177", "email": "z@marker.example", "properties": {"score": 1}},
        ]});
        let completed = self.enroll(&completed, "completed").accepted();
        self.work();
        let failed = json!({"to": [{"phone": "+12025550178", "name": "Cy"}, {"phone": PHONE, "name": "Zebulon"}]});
        let failed = self.enroll(&failed, "failed").accepted();
        self.fail_accepted();
        let accepted = json!({"to": [{"phone": "+12025550179", "external_id": "CRM-4711x", "last_name": "Quagmire"}]});
        let accepted = self.enroll(&accepted, "accepted").accepted();
        self.send_list();
        [completed, failed, accepted]
    }
}

fn nothing_of_an_erased_person_is_left(service: &mut Service) {
    let third = Third::load(service);
    let [completed, failed, accepted] = third.fill();

    // Every column is known.
    let known = PERSON_ROWS.iter().map(|(table, _, columns)| (*table, *columns)).chain(NOT_PERSONAL.iter().copied());
    let known: BTreeSet<(String, String)> = known
        .chain(TEXTS.iter().copied())
        .flat_map(|(table, columns)| columns.split_whitespace().map(move |column| (table.into(), column.into())))
        .collect();
    let unknown: Vec<_> = texts(service).into_keys().filter(|column| !known.contains(column)).collect();
    assert!(unknown.is_empty(), "say whether it is personal, and let `erase` remove it if it is: {unknown:?}");

    // Every table with personal data has some of this person.
    let before = columns_with_markers(service);
    for (table, column, _) in PERSON_ROWS {
        assert!(before.contains(&((*table).into(), (*column).into())), "{table}.{column}: {before:?}");
    }
    for (table, column) in TEXTS {
        assert!(before.contains(&((*table).into(), (*column).into())), "{table}.{column}: {before:?}");
    }
    let found = before.iter().filter(|(table, column)| {
        !PERSON_ROWS.iter().any(|(known, ..)| known == table) && !TEXTS.contains(&(&**table, &**column))
    });
    assert_eq!(found.collect::<Vec<_>>(), Vec::<&(String, String)>::new());

    // Without confirmation, nothing happens.
    let asked = third.erase(&json!({"phone": "+1 202 555 9876"}));
    asked.assert_error(422, "confirmation_required", "/confirm");
    for part in
        ["1 contacts", "1 communication preferences", "2 recipients of requests", "2 outcomes", "1 files", "opt-out"]
    {
        assert!(asked.text.contains(part), "{part}: {asked:?}");
    }
    assert_eq!(columns_with_markers(service), before);
    let args = ["erase", "--database", &service.database, "--organization", ORGANIZATION, "--contact", PHONE];
    let output = enroll(&args, &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("add `--yes`"));
    assert_eq!(columns_with_markers(service), before);

    let erased = third.erase(&json!({"phone": "+1 202 555 9876", "confirm": true}));
    assert_eq!(erased.status, 200, "{erased:?}");
    assert_eq!((&erased.json["data"]["contacts"], &erased.json["data"]["lists"]), (&json!(1), &json!(1)));
    assert_eq!(columns_with_markers(service), BTreeSet::new());
    third.erase(&json!({"phone": PHONE, "confirm": true})).assert_error(404, "contact_not_found", "");
    // The key that asked is recorded.
    assert_eq!(texts(service)[&("service.audit".to_owned(), "action".to_owned())].matches("erase").count(), 2);
    for list in ["/v1/contacts".to_owned(), format!("/v1/sequences/{SEQUENCE}/contacts")] {
        let page = third.get(&list);
        assert_eq!((&page["total"], page["data"].as_array().unwrap().len()), (&json!(1), 1), "{list}: {page}");
    }

    // The counts of the report stay true, and the other outcome is complete.
    let report = third.get(&format!("/v1/enrollments/{completed}"))["data"].clone();
    assert_eq!((&report["total"], report["outcomes"].as_array().unwrap().len()), (&json!(2), 2), "{report}");
    assert_eq!(report["outcomes"][0]["disposition"], "reprocessed");
    assert_eq!(report["outcomes"][0]["contact_id"], json!(null));
    assert_eq!(report["outcomes"][1]["contact_id"], id(0xd7));
    assert_eq!(report["outcomes"][1]["notes"][0]["contact_id"], id(0));

    // The requests are still recognized, and a retry does not bring the person back.
    let again = json!({"to": [{"phone": "+12025550178", "name": "Cy"}, {"phone": PHONE, "name": "Zebulon"}]});
    assert_eq!(third.enroll(&again, "failed").json["data"]["replayed"], true);
    assert_eq!(service.post_as(&third.key, &format!("/v1/enrollments/{failed}/retry"), "", &[]).status, 202);
    third.work();
    let retried = third.get(&format!("/v1/enrollments/{failed}"))["data"].clone();
    assert_eq!((&retried["state"], &retried["counts"]["added"]), (&json!("completed"), &json!(1)), "{retried}");
    // The only recipient was erased.
    let emptied = third.get(&format!("/v1/enrollments/{accepted}"))["data"].clone();
    assert_eq!((&emptied["state"], &emptied["total"]), (&json!("completed"), &json!(0)), "{emptied}");
    assert_eq!(columns_with_markers(service), BTreeSet::new());
}

fn a_person_is_named_by_one_key_that_must_be_unambiguous(service: &mut Service) {
    let third = Third::load(service);
    for (body, path) in [
        (json!({}), ""),
        (json!({"phone": PHONE, "id": PERSON}), ""),
        (json!({"phone": PHONE, "sure": true}), ""),
        (json!({"phone": "12", "confirm": true}), "/phone"),
        (json!({"email": "no", "confirm": true}), "/email"),
        (json!({"id": "no", "confirm": true}), "/id"),
        (json!({"external_id": " ", "confirm": true}), ""),
        (json!([]), ""),
    ] {
        third.erase(&body).assert_error(422, "invalid_erasure", path);
    }
    // The person of another organization is unknown.
    service.post("/v1/contacts/erase", json!({"id": PERSON, "confirm": true}).to_string(), &[]).assert_error(
        404,
        "contact_not_found",
        "",
    );
    // A merged contact still shows the phone of the contact that it was merged into.
    service.batch_execute(&format!(
        "insert into enroll.contacts (organization_id, id, phone, name, state)
        select organization_id, {}, phone, 'Zebulon', 'merged' from enroll.contacts where phone = '{PHONE}'",
        if service.database.starts_with("postgres") {
            format!("'{}'::uuid", id(0xee))
        } else {
            format!("x'{}'", id(0xee).replace('-', ""))
        }
    ));
    let several = third.erase(&json!({"phone": PHONE, "confirm": true}));
    several.assert_error(409, "contact_ambiguous", "");
    assert!(several.text.contains(PERSON) && several.text.contains("(merged)"), "{several:?}");
    let args = ["erase", "--database", &service.database, "--organization", ORGANIZATION, "--yes", "--contact"];
    let line = error_line(&enroll(&args, &[PHONE]));
    assert!(line.contains("2 contacts match"), "{line}");
    let line = error_line(&enroll(&args, &["nobody"]));
    assert!(line.contains("no contact and no stored request has this id"), "{line}");
    // The phone of the merged contact belongs to the other one, so its requests stay.
    third.enroll(&json!({"to": [{"phone": PHONE}]}), "stays").accepted();
    let merged = third.erase(&json!({"id": id(0xee), "confirm": true}));
    assert_eq!((&merged.json["data"]["contacts"], &merged.json["data"]["recipients"]), (&json!(1), &json!(0)));
    // A person who is only in a request that waits.
    third.enroll(&json!({"to": [{"phone": "+12025550144"}]}), "waits").accepted();
    let waiting = third.erase(&json!({"phone": "+12025550144", "confirm": true}));
    assert_eq!((&waiting.json["data"]["contacts"], &waiting.json["data"]["recipients"]), (&json!(0), &json!(1)));
    let erased = text(&enroll(&args, &["z@MARKER.example"]));
    assert!(erased.contains("  contacts                    1\n"), "{erased}");
}

fn workers_never_bring_an_erased_person_back(service: &mut Service) {
    let third = Third::load(service);
    for n in 0..30 {
        let body = json!({"to": [{"phone": format!("+1202555{:04}", 2000 + n)}, {"phone": PHONE, "name": "Zebulon"}]});
        third.enroll(&body, &format!("key-{n}")).accepted();
    }
    // Workers of another process run while the person is erased.
    std::thread::scope(|scope| {
        let working = scope.spawn(|| third.work());
        let erased = third.erase(&json!({"phone": PHONE, "confirm": true}));
        assert_eq!(erased.status, 200, "{erased:?}");
        working.join().unwrap();
    });
    assert_eq!(columns_with_markers(service), BTreeSet::new());
    let states = third.get("/v1/enrollments?limit=500");
    assert!(states["data"].as_array().unwrap().iter().all(|row| row["state"] == "completed"), "{states}");
}

/// The logs and the recorded errors of enrollments name what failed, and quote no stored value.
fn no_stored_value_is_logged(service: &mut Service) {
    let third = Third::load(service);
    let id = third.enroll(&json!({"to": [{"phone": PHONE}]}), "key").accepted();
    third.work();
    service.batch_execute("update enroll.enrollment_outcomes set outcomes = '[\"zebulon\"]'");
    let path = format!("/v1/enrollments/{id}");
    service.get_as(&third.key, &path).assert_error(500, "internal_error", "");
    let waiting = third.enroll(&json!({"to": [{"phone": PHONE}]}), "other").accepted();
    let command = "'{\"v\": 1, \"recipients\": \"zebulon\"}'";
    service.batch_execute(&format!("update enroll.enrollments set command = {command} where state = 'accepted'"));
    let output = enroll(&["work", "--database", &service.database, "--until-empty", "--attempts", "1"], &[]);
    let printed = String::from_utf8(output.stderr).unwrap();
    assert!(printed.starts_with(&format!("failed {waiting}: ")), "{printed}");
    let errors = texts(service).remove(&("enrollments".into(), "error".into())).unwrap();
    service.terminate();
    let log = service.wait_for_end();
    assert!(log.contains("a stored JSON value is not valid at line 1, column 10"), "{log}");
    for text in [printed.to_lowercase(), log.to_lowercase(), errors] {
        assert!(!text.contains("zebulon"), "{text}");
    }
}

on_both! {
    no_stored_value_is_logged with ["--workers", "0"];
    nothing_of_an_erased_person_is_left with ["--workers", "0"];
    a_person_is_named_by_one_key_that_must_be_unambiguous with ["--workers", "0"];
    workers_never_bring_an_erased_person_back with ["--workers", "0"];
}

/// The bytes are gone from the file and the log next to it, also those of earlier versions of the rows.
#[test]
fn no_bytes_of_an_erased_person_are_left_in_a_file() {
    let service = Service::on_sqlite("erase-bytes", &["--workers", "0"]);
    let third = Third::load(&service);
    third.fill();
    // Other people before and after, so that pages are split and reused.
    for n in 0..3 {
        let to: Vec<Value> = (0..1500).map(|k| json!({"phone": format!("+1312{:07}", 2_000_000 + 7919 * (n * 1500 + k) % 7_000_000), "name": "Someone Else"})).collect();
        third.enroll(&json!({"to": to}), &format!("others-{n}"));
        third.enroll(
            &json!({"to": [{"phone": PHONE, "email": "z@marker.example", "name": "Zebulon Quagmire"}]}),
            &format!("again-{n}"),
        );
        third.work();
    }
    let erased = third.erase(&json!({"id": PERSON, "confirm": true}));
    assert_eq!(erased.status, 200, "{erased:?}");
    for suffix in ["", "-wal", "-shm"] {
        let bytes = std::fs::read(format!("{}{suffix}", service.database)).unwrap_or_default();
        assert_eq!(bytes.is_empty(), suffix == "-wal", "{suffix}");
        for marker in [PHONE, "marker.example", "Zebulon", "Quagmire", "CRM-4711x", PERSON] {
            let found = bytes.windows(marker.len()).filter(|window| window.eq_ignore_ascii_case(marker.as_bytes()));
            assert_eq!(found.count(), 0, "`{marker}` in `{suffix}`");
        }
    }
}

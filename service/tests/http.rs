//! `enroll serve` over real HTTP.

mod support;

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use support::service::{ACTIVE, FIRST, STEP, Service, create_key, id, on_both};
use support::{enroll, error_line, json, path, text};

on_both! {
    a_request_is_accepted_and_completed;
    a_preview_returns_the_report_and_writes_nothing;
    the_same_idempotency_key_returns_the_same_enrollment;
    accepted_enrollments_are_completed_after_a_kill with ["--workers", "0"];
    failed_enrollments_are_retried with ["--workers", "0"];
    lists_are_paged_and_filtered;
    channels_and_custom_objects_are_listed;
    contacts_are_found_by_each_contact_key;
    an_api_key_is_required_and_can_be_revoked;
    an_api_key_is_read_from_each_header;
    an_api_key_expires_and_shows_its_last_use;
    an_accepted_enrollment_records_its_key;
    unknown_parameters_are_refused_and_empty_ones_are_absent;
    responses_forbid_caching_and_guessing;
    writes_above_the_rate_limit_get_429_with_retry_after with ["--rate-limit", "3"];
    the_log_contains_no_personal_data;
    metrics_count_requests_and_recipients;
    a_running_request_is_answered_before_the_service_ends;
}

fn two_people() -> Value {
    json!({"to": [{"phone": "+12025550187", "name": "Ann Lee"}, {"phone": "+12025550123"}]})
}

fn a_request_is_accepted_and_completed(service: &mut Service) {
    let answer = service.enroll(&two_people(), &[]);
    let enrollment = answer.accepted();
    assert_eq!(answer.location, Some(format!("/v1/enrollments/{enrollment}")));
    assert_eq!(answer.json["data"]["recipients"], 2);
    assert!(answer.json["data"]["accepted_at"].is_string() && answer.json["data"]["message"].is_string());

    let done = service.wait_for(&enrollment);
    assert_eq!((&done["state"], &done["attempts"], &done["error"]), (&json!("completed"), &json!(1), &Value::Null));
    assert_eq!((&done["counts"]["added"], &done["counts"]["ignored"]), (&json!(1), &json!(1)));
    assert_eq!((&done["total"], &done["sequence_id"]), (&json!(2), &json!(ACTIVE)));
    assert!(done["upload_tag"]["name"].as_str().unwrap().starts_with("Upload "));
    assert_eq!(done["outcomes"][1]["reasons"], json!([{"code": "blocked"}]));

    for filter in ["disposition=ignored", "reason=blocked,opted_out", "offset=1"] {
        let some = service.get(&format!("/v1/enrollments/{enrollment}?{filter}"));
        assert_eq!(some.json["data"]["outcomes"].as_array().unwrap().len(), 1, "{filter}");
        assert_eq!(some.json["data"]["outcomes"][0]["index"], 1, "{filter}");
    }
    let none = service.get(&format!("/v1/enrollments/{enrollment}?disposition=added&reason=blocked"));
    assert_eq!((&none.json["data"]["total"], &none.json["data"]["outcomes"]), (&json!(0), &json!([])));
}

fn failed_enrollments_are_retried(service: &mut Service) {
    let ids = ["one", "two", "three"].map(|key| service.enroll(&two_people(), &[("Idempotency-Key", key)]).accepted());
    let path = format!("/v1/enrollments/{}/retry", ids[0]);
    service.post(&path, "", &[]).assert_error(409, "enrollment_not_failed", "");
    let failed_at = if service.database.starts_with("postgres") { "now()" } else { "unixepoch() * 1000" };
    service.batch_execute(&format!(
        "update enroll.enrollments set state = 'failed', error = 'e', due_at = null, failed_at = {failed_at}"
    ));
    let other = service.other_key.clone();
    service.post_as(&other, &path, "", &[]).assert_error(404, "enrollment_not_found", "");
    assert_eq!(service.post_as(&other, "/v1/enrollments/retry", "", &[]).json, json!({"data": {"retried": 0}}));

    let retried = service.post(&path, "", &[]);
    assert_eq!((retried.status, &retried.json["data"]["state"]), (202, &json!("accepted")), "{retried:?}");
    let later = "/v1/enrollments/retry?since=2999-01-01T00:00:00Z";
    assert_eq!(service.post(later, "", &[]).json, json!({"data": {"retried": 0}}));
    let all = service.post("/v1/enrollments/retry?since=2026-01-01T00:00:00Z", "", &[]);
    assert_eq!((all.status, &all.json), (202, &json!({"data": {"retried": 2}})));
    service.post("/v1/enrollments/retry?since=today", "", &[]).assert_error(422, "invalid_parameter", "?since");
    for id in &ids {
        assert_eq!(service.get(&format!("/v1/enrollments/{id}")).json["data"]["state"], "accepted");
        let status =
            json(&enroll(&["status", id, "--database", &service.database, "--organization", FIRST, "--json"], &[]));
        let actions: Vec<&str> = status["requested_by"]
            .as_array()
            .unwrap()
            .iter()
            .map(|record| record["action"].as_str().unwrap())
            .collect();
        assert_eq!(actions, ["enroll", "retry"]);
    }
}

fn a_preview_returns_the_report_and_writes_nothing(service: &mut Service) {
    let answer = service.post(&format!("/v1/sequences/{ACTIVE}/contacts?preview=true"), two_people().to_string(), &[]);
    assert_eq!(answer.status, 200, "{answer:?}");
    let report = &answer.json["data"];
    assert_eq!((&report["counts"]["added"], &report["outcomes"][1]["disposition"]), (&json!(1), &json!("ignored")));
    assert_eq!(service.get("/v1/enrollments").json, json!({"data": [], "total": 0}));
    assert_eq!(service.get("/v1/contacts?phone=%2B12025550187").json["total"], 0);
    service.post(&format!("/v1/sequences/{ACTIVE}/contacts?preview=maybe"), "{}", &[]).assert_error(
        422,
        "invalid_parameter",
        "?preview",
    );
}

fn the_same_idempotency_key_returns_the_same_enrollment(service: &mut Service) {
    let key = [("Idempotency-Key", "import-1")];
    let first = service.enroll(&two_people(), &key);
    let done = service.wait_for(&first.accepted());
    let again = service.enroll(&two_people(), &key);
    let mut replayed = first.json["data"].clone();
    assert_eq!(replayed.get("replayed"), None);
    replayed["replayed"] = json!(true);
    assert_eq!((again.accepted(), &again.json["data"]), (first.accepted(), &replayed));
    assert_eq!(service.wait_for(&first.accepted()), done);
    service.enroll(&json!({"to": [{"phone": "+12025550199"}]}), &key).assert_error(409, "idempotency_conflict", "");
    let long = "x".repeat(256);
    for bad in ["two words", "", &long, "ключ"] {
        service.enroll(&two_people(), &[("Idempotency-Key", bad)]).assert_error(422, "invalid_idempotency_key", "");
    }
    let twice = service.enroll(&two_people(), &[("Idempotency-Key", "a"), ("Idempotency-Key", "a")]);
    twice.assert_error(422, "invalid_idempotency_key", "");
    assert!(twice.text.contains("occurs more than once"), "{twice:?}");
    // A body that is not JSON has nothing to compare with the first request.
    let path = format!("/v1/sequences/{ACTIVE}/contacts");
    service.post(&path, "{", &key).assert_error(422, "invalid_type", "");
    assert_eq!(service.get("/v1/enrollments").json["total"], 1);
}

fn accepted_enrollments_are_completed_after_a_kill(service: &mut Service) {
    let people: Vec<Value> = (0..4000).map(|n| json!({"phone": format!("+1415555{n:04}")})).collect();
    let large = json!({ "to": people });
    let mut accepted = Vec::new();
    for n in 0..3 {
        accepted.push(service.enroll(&large, &[("Idempotency-Key", &format!("large-{n}"))]).accepted());
    }
    for enrollment in &accepted {
        assert_eq!(service.get(&format!("/v1/enrollments/{enrollment}")).json["data"]["state"], "accepted");
    }
    service.kill_and_restart(&["--workers", "2"]);
    // Kill it again while it works.
    service.kill_and_restart(&["--workers", "2"]);
    for enrollment in accepted {
        let done = service.wait_for(&enrollment);
        assert_eq!((&done["state"], &done["total"]), (&json!("completed"), &json!(4000)));
    }
    assert_eq!(service.get("/v1/contacts").json["total"], 4002);
}

fn lists_are_paged_and_filtered(service: &mut Service) {
    let first = service.enroll(&two_people(), &[]).accepted();
    service.wait_for(&first);
    let people: Vec<Value> = (0..60).map(|n| json!({"phone": format!("+141555500{n:02}")})).collect();
    let second = service.enroll(&json!({"to": people, "schedule_at": "2200-01-01T00:00:00Z"}), &[]).accepted();
    service.wait_for(&second);

    let list = service.get("/v1/enrollments").json;
    let ids: Vec<&str> = list["data"].as_array().unwrap().iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!((ids, &list["total"]), (vec![&*second, &*first], &json!(2)));
    assert_eq!(service.get("/v1/enrollments?limit=1&offset=1").json["data"][0]["id"], json!(first));
    assert_eq!(service.get("/v1/enrollments?state=accepted&state=failed").json["total"], 0);

    let in_sequence = format!("/v1/sequences/{ACTIVE}/contacts");
    let list = service.get(&in_sequence).json;
    assert_eq!((list["data"].as_array().unwrap().len(), &list["total"]), (50, &json!(61)));
    let list = service.get(&format!("{in_sequence}?status=active&step_ids={STEP}")).json;
    assert_eq!(list["total"], 1);
    let row = &list["data"][0];
    assert_eq!((&row["contact"]["phone"], &row["contact"]["name"]), (&json!("+12025550187"), &json!("Ann Lee")));
    assert_eq!((&row["step_id"], &row["times_processed"]), (&json!(STEP), &json!(1)));
    assert!(row["scheduled_at"].is_string() && row["created_at"] == row["updated_at"]);
    assert_eq!(service.get(&format!("{in_sequence}?status=active,pending&limit=500")).json["total"], 61);
    assert_eq!(service.get(&format!("{in_sequence}?step_ids={}", id(0x24))).json["total"], 0);

    let sequences = service.get("/v1/sequences").json;
    assert_eq!(sequences["total"], 4);
    assert_eq!(
        sequences["data"][3]["steps"],
        json!([{"id": STEP, "position": 1, "channel_kind": "phone", "channel_id": id(2)}])
    );

    for (path, parameter) in [
        ("/v1/enrollments?limit=0", "?limit"),
        ("/v1/enrollments?limit=501", "?limit"),
        ("/v1/enrollments?offset=-1", "?offset"),
        ("/v1/enrollments?state=done", "?state"),
        ("/v1/enrollments?state=,", "?state"),
        (&format!("{in_sequence}?status=gone"), "?status"),
        (&format!("{in_sequence}?step_ids=x"), "?step_ids"),
        (&format!("/v1/enrollments/{first}?disposition=x"), "?disposition"),
        (&format!("/v1/enrollments/{first}?reason=x"), "?reason"),
    ] {
        service.get(path).assert_error(422, "invalid_parameter", parameter);
    }
    service.get("/v1/contacts?external_id=a%00b").assert_error(422, "invalid_character", "?external_id");
}

fn channels_and_custom_objects_are_listed(service: &mut Service) {
    let channels = service.get("/v1/channels").json;
    let addresses: Vec<_> = channels["data"].as_array().unwrap().iter().map(|row| row["address"].clone()).collect();
    assert_eq!(addresses, ["team@example.org", "+12025550100", "+12025550101"]);
    assert_eq!(
        channels["data"][2],
        json!({"id": id(0x10), "kind": "phone", "address": "+12025550101", "enabled": false, "name": null})
    );
    let second = service.get("/v1/channels?limit=1&offset=1").json;
    assert_eq!((&second["data"], &second["total"]), (&json!([channels["data"][1]]), &json!(3)));
    assert_eq!(service.get_as(&service.other_key, "/v1/channels").json["data"][0]["id"], id(0xa2));

    let objects = service.get("/v1/custom_objects").json;
    let lead =
        json!({"id": id(8), "key": "lead", "properties": [{"key": "score", "type": "number", "required": false}]});
    assert_eq!(objects, json!({"data": [lead], "total": 1}));
    assert_eq!(service.get_as(&service.other_key, "/v1/custom_objects").json, json!({"data": [], "total": 0}));
    service.get("/v1/channels?cursor=x").assert_error(422, "invalid_parameter", "?cursor");
}

fn contacts_are_found_by_each_contact_key(service: &mut Service) {
    for filter in [
        "phone=%2B12025550124",
        "phone=+12025550124",
        "phone=%2B1%20(202)%20555-0124",
        "phone=2025550124",
        "email=Zo%C3%AB@EXAMPLE.org",
        "external_id=crm-9",
        "external_id=crm-9&phone=%2B12025550124",
    ] {
        let found = service.get(&format!("/v1/contacts?{filter}")).json;
        assert_eq!((&found["total"], &found["data"][0]["id"]), (&json!(1), &json!(id(9))), "{filter}");
        let contact = &found["data"][0];
        assert_eq!((&contact["address"]["city"], &contact["birth_date"]["year"]), (&json!("Graz"), &json!(1990)));
    }
    for filter in ["phone=2025550199", "email=ann@example.org", "external_id=CRM-9", "external_id=crm-9&phone=1"] {
        assert_eq!(service.get(&format!("/v1/contacts?{filter}")).json, json!({"data": [], "total": 0}), "{filter}");
    }
}

fn an_api_key_is_required_and_can_be_revoked(service: &mut Service) {
    let (right, other) = (service.key.clone(), create_key(&service.database, FIRST));
    assert_ne!(right, other);
    let wrong = format!("enk_{}", "0".repeat(64));
    for key in ["", "enk_", &wrong, &right.to_uppercase(), &right[..67]] {
        let answer = service.get_as(key, "/v1/contacts");
        answer.assert_error(401, "not_authenticated", "");
        let description = answer.json["errors"][0]["description"].as_str().unwrap();
        assert!(description.starts_with("Not authenticated: "), "{description}");
        for header in ["`X-WHIPPY-KEY`", "`X-API-Key`", "`Authorization: Bearer`"] {
            assert!(description.contains(header), "{description}");
        }
        service.post_as(key, &format!("/v1/sequences/{ACTIVE}/contacts"), "{", &[]).assert_error(
            401,
            "not_authenticated",
            "",
        );
    }
    assert!(
        service.raw(b"GET /v1/contacts HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").starts_with("HTTP/1.1 401 ")
    );

    let at = ["--database", &service.database];
    let listed = text(&enroll(&["keys", "list"], &at));
    assert!(!listed.contains("enk_") && listed.lines().count() == 4, "{listed}");
    let last = listed.lines().last().unwrap().split_whitespace().next().unwrap();
    assert_eq!(service.get_as(&other, "/v1/contacts").status, 200);
    assert_eq!(text(&enroll(&["keys", "revoke", last], &at)), format!("revoked {last}\n"));
    service.get_as(&other, "/v1/contacts").assert_error(401, "not_authenticated", "");
    assert_eq!(service.get_as(&right, "/v1/contacts").status, 200);
    let again = enroll(&["keys", "revoke", last], &at);
    assert_eq!(again.status.code(), Some(2));
    assert!(text(&enroll(&["keys", "list", "--organization", FIRST], &at)).lines().nth(2).unwrap().contains('Z'));
}

/// Sends a GET with these header lines. Returns the whole response.
fn get_with(service: &Service, path: &str, headers: &[String]) -> String {
    let lines = [headers, &[String::new()]].concat().join("\r\n");
    service.raw(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{lines}\r\n").as_bytes())
}

fn an_api_key_is_read_from_each_header(service: &mut Service) {
    let (key, other) = (&service.key, &service.other_key);
    let whippy = |key: &str| format!("X-WHIPPY-KEY: {key}");
    let plain = |key: &str| format!("x-api-key: {key}");
    let bearer = |key: &str| format!("Authorization: bearer {key}");
    let basic = "Authorization: Basic YTpi".to_owned();
    for (headers, status) in [
        (vec![whippy(key)], 200),
        (vec![plain(key)], 200),
        (vec![bearer(key)], 200),
        (vec![whippy(key), plain(key), bearer(key), whippy(key)], 200),
        (vec![whippy(key), basic.clone()], 200),
        (vec![basic], 401),
        (vec![whippy(key), plain(other)], 401),
        (vec![whippy(key), bearer(other)], 401),
        (vec![plain(key), plain(other)], 401),
        (vec![bearer("x")], 401),
        (vec![format!("Authorization: {key}")], 401),
    ] {
        let answer = get_with(service, "/v1/contacts", &headers);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{headers:?}: {answer}");
        assert_eq!(answer.contains("www-authenticate: Bearer"), status == 401, "{answer}");
    }
    let answer = get_with(service, "/v1/contacts", &[whippy(key), plain(other)]);
    assert!(answer.contains("two different API keys"), "{answer}");
}

fn an_api_key_expires_and_shows_its_last_use(service: &mut Service) {
    let create = |name: &str, expires: &str| {
        let args = ["keys", "create", "--organization", FIRST, "--name", name, "--expires", expires];
        enroll(&args, &["--database", &service.database])
    };
    let late = text(&create("late", "2200-01-01T00:00:00Z")).trim().to_owned();
    // On a slow machine, an instant in a second may have passed before the command compares it.
    let soon = (0..6).find_map(|power| {
        let created = create("soon", &(Utc::now() + TimeDelta::seconds(1 << power)).to_rfc3339());
        created.status.success().then(|| text(&created).trim().to_owned())
    });
    let soon = soon.unwrap();
    assert_eq!(service.get_as(&late, "/v1/contacts").status, 200);
    until("the key expires", || service.get_as(&soon, "/v1/contacts").status == 401);
    let past = error_line(&create("past", "2020-01-01T00:00:00Z"));
    assert!(past.contains("`2020-01-01T00:00:00.000Z` has passed"), "{past}");

    // The columns are: id, organization, name, created, expires, last used, revoked.
    let columns_of = |name: &str| {
        let listed = text(&enroll(&["keys", "list"], &["--database", &service.database]));
        let rows = listed.lines().map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        rows.into_iter().find(|row| row[2] == name).unwrap()
    };
    until("the use is recorded", || columns_of("late")[5].ends_with('Z'));
    let late = columns_of("late");
    assert_eq!((&*late[4], &*late[6]), ("2200-01-01T00:00:00.000Z", "-"));
    assert!(late[5] >= late[3], "{late:?}");
}

/// Repeats a check until it holds.
fn until(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn an_accepted_enrollment_records_its_key(service: &mut Service) {
    let key = [("Idempotency-Key", "k")];
    let id = service.enroll(&two_people(), &key).accepted();
    // A repeated request is not recorded, also with another key of the organization.
    let other = create_key(&service.database, FIRST);
    let path = format!("/v1/sequences/{ACTIVE}/contacts");
    assert_eq!(service.post_as(&other, &path, two_people().to_string(), &key).accepted(), id);
    let args = ["status", &id, "--database", &service.database, "--organization", FIRST];
    let status = json(&enroll(&args, &["--json"]));
    let records = status["requested_by"].as_array().unwrap();
    assert_eq!((records.len(), &records[0]["action"], &records[0]["key_name"]), (1, &json!("enroll"), &json!("test")));
    assert_eq!(records[0]["at"], status["accepted_at"]);
    let listed = text(&enroll(&["keys", "list", "--organization", FIRST], &["--database", &service.database]));
    let first_key = listed.lines().nth(1).unwrap().split_whitespace().next().unwrap();
    assert_eq!(records[0]["key_id"], first_key);
    let printed = text(&enroll(&args, &[]));
    assert!(printed.contains(&format!("requested by key     test ({first_key}), at ")), "{printed}");
}

fn unknown_parameters_are_refused_and_empty_ones_are_absent(service: &mut Service) {
    let enroll_at = format!("/v1/sequences/{ACTIVE}/contacts");
    for (path, parameter, hint) in [
        ("/v1/enrollments?stat=failed", "?stat", "did you mean `state`?"),
        ("/v1/enrollments?LIMIT=5", "?LIMIT", "did you mean `limit`?"),
        ("/v1/contacts?Phone=1&limit=5", "?Phone", "did you mean `phone`?"),
        ("/v1/sequences?colour=", "?colour", "use one of `title`, `limit`, `offset`"),
        (&format!("{enroll_at}?step_id={STEP}"), "?step_id", "did you mean `step_ids`?"),
        ("/v1/enrollments?state=failed&state=", "?state", "must be one of"),
        ("/v1/contacts?search=ann", "?search", "is not supported"),
        ("/v1/contacts?channels[]=sms", "?channels[]", "is not supported"),
        (&format!("{enroll_at}?responded=true"), "?responded", "is not supported"),
        (&format!("/v1/enrollments/{}?reasons=blocked", id(1)), "?reasons", "did you mean `reason`?"),
    ] {
        let answer = service.get(path);
        answer.assert_error(422, "invalid_parameter", parameter);
        assert!(answer.text.contains(hint), "{answer:?}");
    }
    for (query, parameter) in [("Preview=true", "?Preview"), ("preveiw=1", "?preveiw"), ("preview", "?preview")] {
        let answer = service.post(&format!("{enroll_at}?{query}"), two_people().to_string(), &[]);
        answer.assert_error(422, "invalid_parameter", parameter);
    }
    for path in ["/v1/enrollments?limit=&state=&offset=", "/v1/contacts?phone=&limit"] {
        assert_eq!(service.get(path).status, 200, "{path}");
    }
    assert_eq!(service.get("/v1/enrollments").json["total"], 0);
    // Neither the number of parameters nor their length makes a response large.
    let many: Vec<String> = (0..300).map(|n| format!("{n}{}", "x".repeat(20))).collect();
    let answer = service.get(&format!("/v1/enrollments?{}", many.join("&")));
    assert_eq!(answer.json["errors"].as_array().unwrap().len(), 20);
    let answer = service.get(&format!("/v1/enrollments?{}", "x".repeat(5000)));
    assert_eq!(answer.json["errors"][0]["path"].as_str().unwrap().chars().count(), 65);
}

fn responses_forbid_caching_and_guessing(service: &mut Service) {
    let key = [format!("X-WHIPPY-KEY: {}", service.key)];
    for (path, status, headers) in [
        ("/v1/contacts", 200, &key[..]),
        ("/v1/contacts", 401, &[]),
        ("/v1/nothing", 401, &[]),
        ("/v1/nothing", 404, &key),
        ("/v1/contacts?x=1", 422, &key),
        ("/v1/contacts/x", 404, &key),
        ("/v1/enrollments/x", 404, &key),
        ("/healthz", 200, &[]),
        ("/metrics", 200, &[]),
    ] {
        let answer = get_with(service, path, headers);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
        assert!(answer.contains("cache-control: no-store\r\n"), "{path}: {answer}");
        assert!(answer.contains("x-content-type-options: nosniff\r\n"), "{path}: {answer}");
    }
    let file = get_with(service, "/app.js", &[]);
    assert!(file.contains("cache-control: no-cache\r\n") && file.contains("x-content-type-options: nosniff\r\n"));
}

fn writes_above_the_rate_limit_get_429_with_retry_after(service: &mut Service) {
    for _ in 0..3 {
        service.enroll(&two_people(), &[("Idempotency-Key", "k")]).accepted();
    }
    let answer = service.enroll(&two_people(), &[("Idempotency-Key", "k")]);
    answer.assert_error(429, "rate_limited", "");
    assert!((1..=60).contains(&answer.retry_after.unwrap()));
    assert!((1..=60_000).contains(&answer.remaining_interval.unwrap()));
    // Reads, previews and other keys are not limited.
    assert_eq!(service.get("/v1/contacts").status, 200);
    assert_eq!(service.post("/v1/contacts/search", "{}", &[]).status, 200);
    let preview = format!("/v1/sequences/{ACTIVE}/contacts?preview=1");
    assert_eq!(service.post(&preview, two_people().to_string(), &[]).status, 200);
    let other = format!("/v1/sequences/{}/contacts", id(0xa5));
    assert_eq!(service.post_as(&service.other_key, &other, two_people().to_string(), &[]).status, 202);
}

fn the_log_contains_no_personal_data(service: &mut Service) {
    let body = json!({"to": [
        {"phone": "+12025550187", "name": "Xanthippe", "email": "xanthippe@example.org", "external_id": "crm-77"},
        {"phone": "+1202555018", "name": "Yolanda"}, {"phone": "+12025550123"},
    ]});
    let done = service.enroll(&body, &[("Idempotency-Key", "secret-key-1")]).accepted();
    service.wait_for(&done);
    assert_eq!(service.get("/v1/contacts?phone=%2B12025550187&email=xanthippe@example.org").json["total"], 1);
    service.enroll(&json!({"to": [{"name": "Zacharias", "phone": 12_025_550_188_u64}]}), &[]).assert_error(
        422,
        "invalid_type",
        "/to/0/phone",
    );
    service.terminate();
    let log = service.wait_for_end();
    assert!(log.contains(&done) && log.contains("\"completed\"") && log.contains(ACTIVE), "{log}");
    for personal in
        ["2025550", "anthippe", "Yolanda", "Zacharias", "example.org", "crm-77", "secret-key", "enk_", &service.key]
    {
        assert!(!log.contains(personal), "{personal}: {log}");
    }
}

fn metrics_count_requests_and_recipients(service: &mut Service) {
    let done = service.enroll(&two_people(), &[]).accepted();
    service.wait_for(&done);
    // The database shows the enrollment as completed shortly before the worker counts it.
    let counted = "enroll_enrollment_duration_seconds_count 1";
    let start = Instant::now();
    let metrics = loop {
        let metrics = service.get("/metrics").text;
        if metrics.lines().any(|line| line == counted) {
            break metrics;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "{counted}: {metrics}");
    };
    for line in [
        r#"enroll_http_requests_total{method="POST",route="/v1/sequences/{id}/contacts",status="202"} 1"#,
        r#"enroll_recipients_total{disposition="ignored",reason="blocked"} 1"#,
        r#"enroll_recipients_total{disposition="added",reason="none"} 1"#,
        r#"enroll_enrollments{state="completed"} 1"#,
        "enroll_queue_age_seconds 0.0",
        counted,
    ] {
        assert!(metrics.lines().any(|has| has == line), "{line}: {metrics}");
    }
    assert!(!metrics.contains(&done), "the label must be the route template");
    assert_eq!(service.get("/healthz").json, json!({"status": "ok"}));
    assert_eq!(service.get("/readyz").json, json!({"status": "ready"}));
}

fn a_running_request_is_answered_before_the_service_ends(service: &mut Service) {
    let (body, address) = (two_people().to_string(), service.base.trim_start_matches("http://").to_owned());
    let mut stream = TcpStream::connect(&address).unwrap();
    let path = format!("/v1/sequences/{ACTIVE}/contacts");
    let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\nX-WHIPPY-KEY: {}\r\n", service.key);
    stream.write_all(format!("{head}content-length: {}\r\n\r\n{{", body.len()).as_bytes()).unwrap();
    // The response to a later request shows that the service has started to read the first one.
    assert_eq!(service.get("/v1/contacts").status, 200);
    service.terminate();
    while TcpStream::connect(&address).is_ok() {
        std::thread::sleep(Duration::from_millis(10));
    }
    stream.write_all(&body.as_bytes()[1..]).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 202 "), "{answer}");
    service.wait_for_end();
    service.kill_and_restart(&[]);
    let accepted = service.get("/v1/enrollments").json["data"][0]["id"].clone();
    assert_eq!(service.wait_for(accepted.as_str().unwrap())["state"], "completed");
}

#[test]
fn the_printed_curl_command_works_and_stays_the_same() {
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};

    let folder = support::Folder::new("http-demo");
    let database = folder.0.join("demo.db");
    // Each start uses another port.
    let start = || {
        let mut child = Command::new(env!("CARGO_BIN_EXE_enroll"))
            .args(["serve", "--demo"])
            .env("ENROLL_LISTEN", "127.0.0.1:0")
            .env("ENROLL_DATABASE", path(&database))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let curl = lines.into_iter().find(|line| line.starts_with("curl ")).unwrap();
        let output = Command::new("sh").args(["-c", &curl]).output();
        child.kill().unwrap();
        child.wait().unwrap();
        let answer: Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
        assert_eq!(answer["data"]["recipients"], 2);
        curl.split_whitespace().find(|word| word.starts_with("enk_")).unwrap().to_owned()
    };
    let key = start();
    assert_eq!(start(), key);
    let keys = text(&enroll(&["keys", "list"], &["--database", path(&database)]));
    assert_eq!(keys.lines().count(), 2, "{keys}");
    // A revoked key is replaced.
    let id = keys.lines().last().unwrap().split_whitespace().next().unwrap();
    text(&enroll(&["keys", "revoke", id], &["--database", path(&database)]));
    assert_ne!(start(), key);
}

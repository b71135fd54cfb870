//! `GET /v1/enrollments/{id}`: its states, and the pages of its outcomes.

mod support;

use serde_json::{Value, json};

use support::service::{ACTIVE, Service, id, on_both};

on_both! {
    each_state_has_its_members;
    pages_and_filters_are_exact;
    a_poll_reads_only_the_outcomes_that_it_shows;
    accepted_keys_are_shown_once;
    unused_parts_of_a_request_give_warnings;
}

fn unused_parts_of_a_request_give_warnings(service: &mut Service) {
    let body = json!({"to": [
        {"phone": "(202) 555-0187", "emial": "ann@example.org"},
        {"phone": "202 555 01**", "email": " Ann@Example.org ", "properties": {"score": 1}},
    ]});
    let warnings = json!([{"code": "unknown_key", "path": "/to/0/emial"}, {"code": "properties_unused", "count": 1}]);
    let preview = service.post(&format!("/v1/sequences/{ACTIVE}/contacts?preview=true"), body.to_string(), &[]);
    let data = &preview.json["data"];
    assert_eq!(data["warnings"], warnings, "{data}");
    assert_eq!(data["outcomes"][0]["read_as"], json!({"phone": "+12025550187"}), "{data}");
    assert_eq!(data["outcomes"][1]["read_as"], json!({"email": "Ann@Example.org"}), "{data}");
    assert_eq!(data["outcomes"][1]["reasons"], json!([{"code": "invalid_phone", "fault": "masked"}]), "{data}");

    for replayed in [false, true] {
        let receipt = service.enroll(&body, &[("Idempotency-Key", "warnings")]);
        assert_eq!((receipt.status, &receipt.json["data"]["warnings"]), (202, &warnings), "{replayed}: {receipt:?}");
    }
    let id = service.enroll(&body, &[("Idempotency-Key", "warnings")]).accepted();
    assert_eq!(service.wait_for(&id)["warnings"], warnings);
}

fn each_state_has_its_members(service: &mut Service) {
    let person = json!({"to": [{"phone": "+12025550187"}]});
    let completed = service.enroll(&person, &[]).accepted();
    service.wait_for(&completed);
    service.kill_and_restart(&["--workers", "0"]);
    let [failed, rejected] = [(); 2].map(|()| service.enroll(&person, &[]).accepted());
    let check = |service: &Service, enrollment: &str, state: &str, error: &Value| {
        let path = format!("/v1/enrollments/{enrollment}");
        let data = service.get(&path).json["data"].clone();
        assert_eq!((&data["state"], &data["error"]["errors"][0]["code"]), (&json!(state), error), "{data}");
        let is_completed = state == "completed";
        assert_eq!((data["counts"].is_object(), data["total"] == 1), (is_completed, is_completed), "{data}");
        assert_eq!(data["outcomes"].as_array().unwrap().len(), usize::from(is_completed), "{data}");
        assert_eq!((&data["accepted_keys"], &data["upload_tag"]), (&json!([]), &Value::Null), "{data}");
        service.get_as(&service.other_key, &path).assert_error(404, "enrollment_not_found", "");
    };
    check(service, &completed, "completed", &Value::Null);
    check(service, &rejected, "accepted", &Value::Null);
    service.batch_execute(&format!(
        "update enroll.enrollments set state = 'failed', failed_at = at, due_at = null, error = 'the disk is full' where id = {};
         update enroll.sequences set status = 'archived' where id = {}",
        literal(service, &failed),
        literal(service, ACTIVE)
    ));
    check(service, &failed, "failed", &json!("gave_up"));
    service.kill_and_restart(&[]);
    service.wait_for(&rejected);
    check(service, &rejected, "rejected", &json!("sequence_not_active"));
    for unknown in ["00000000-0000-0000-0000-0000000000ff", "x"] {
        service.get(&format!("/v1/enrollments/{unknown}")).assert_error(404, "enrollment_not_found", "");
    }
}

/// Returns true for an outcome that a filter allows.
type Allows<'a> = &'a dyn Fn(&Value) -> bool;

fn pages_and_filters_are_exact(service: &mut Service) {
    // 230 outcomes: six in seven are added, and the others are ignored for two reasons or are duplicates.
    let phone = |n: usize| match n % 21 {
        0 => "+12025550123".to_owned(),
        7 => "junk".to_owned(),
        14 => "+14155550001".to_owned(),
        _ => format!("+1415555{n:04}"),
    };
    let to: Vec<Value> = (0..230).map(|n| json!({ "phone": phone(n) })).collect();
    let enrollment = service.enroll(&json!({ "to": to }), &[]).accepted();
    service.wait_for(&enrollment);
    let page = |query: &str| {
        let data = service.get(&format!("/v1/enrollments/{enrollment}?{query}")).json["data"].clone();
        (data["outcomes"].as_array().unwrap().clone(), data["total"].clone(), data["counts"].clone())
    };
    let (all, total, counts) = page("limit=500");
    let indexes: Vec<u64> = all.iter().map(|outcome| outcome["index"].as_u64().unwrap()).collect();
    assert_eq!((indexes, total), ((0..230).collect(), json!(230)));
    let of = |disposition: &str| all.iter().filter(|outcome| outcome["disposition"] == disposition).count();
    for disposition in ["added", "re_added", "reprocessed", "ignored", "duplicate"] {
        assert_eq!(counts[disposition], of(disposition), "{disposition}");
    }
    assert_eq!((of("ignored"), of("duplicate")), (22, 11));
    let has = |outcome: &Value, code: &str| {
        outcome["reasons"].as_array().is_some_and(|reasons| reasons.iter().any(|reason| reason["code"] == code))
    };
    let filters: [(&str, Allows<'_>); 7] = [
        ("", &|_| true),
        ("disposition=ignored", &|outcome| outcome["disposition"] == "ignored"),
        ("disposition=duplicate,added", &|outcome| outcome["disposition"] != "ignored"),
        ("reason=blocked", &|outcome| has(outcome, "blocked")),
        ("reason=blocked&reason=invalid_phone", &|outcome| has(outcome, "blocked") || has(outcome, "invalid_phone")),
        ("reason=invalid_phone&disposition=ignored", &|outcome| has(outcome, "invalid_phone")),
        ("reason=blocked&disposition=added", &|_| false),
    ];
    for (filter, allows) in filters {
        let expected: Vec<&Value> = all.iter().filter(|outcome| allows(outcome)).collect();
        for (limit, offset) in [(500, 0), (1, 0), (7, 0), (50, 50), (3, 49), (100, 60), (5, 8), (50, 228), (1, 400)] {
            let (outcomes, total, _) = page(&format!("{filter}&limit={limit}&offset={offset}"));
            let query = format!("{filter} {limit} {offset}");
            assert_eq!(total, expected.len(), "{query}");
            let shown: Vec<&Value> = expected.iter().skip(offset).take(limit).copied().collect();
            assert_eq!(outcomes.iter().collect::<Vec<_>>(), shown, "{query}");
        }
    }
}

/// Outcomes that a page does not show are made unreadable: a request that reads them fails.
fn a_poll_reads_only_the_outcomes_that_it_shows(service: &mut Service) {
    let phone = |n: usize| if n == 1 || n == 3999 { "junk".to_owned() } else { format!("+1415555{n:04}") };
    let to: Vec<Value> = (0..4000).map(|n| json!({ "phone": phone(n) })).collect();
    let enrollment = service.enroll(&json!({ "to": to }), &[]).accepted();
    service.wait_for(&enrollment);
    let get = |query: &str| service.get(&format!("/v1/enrollments/{enrollment}?{query}"));
    service.batch_execute("update enroll.enrollment_outcomes set outcomes = '0' where first_index > 0");
    for (query, index) in
        [("limit=1", 0), ("", 0), ("disposition=ignored&limit=1", 1), ("disposition=added&limit=9", 0)]
    {
        let answer = get(query);
        let (data, filtered) = (&answer.json["data"], query.contains("ignored"));
        assert_eq!(data["outcomes"][0]["index"], index, "{query}: {answer:?}");
        assert_eq!((&data["counts"]["added"], &data["counts"]["ignored"]), (&json!(3998), &json!(2)), "{query}");
        let total = if filtered { 2 } else { 4000 - 2 * usize::from(query.contains("added")) };
        assert_eq!(data["total"], total, "{query}");
    }
    for query in ["limit=1&offset=50", "limit=51", "disposition=ignored&limit=2", "disposition=added&limit=50"] {
        assert_eq!(get(query).status, 500, "{query}");
    }
    // Without a filter, it does not read their counts either.
    service.batch_execute("update enroll.enrollment_outcomes set counts = '0'");
    assert_eq!(get("limit=1").json["data"]["total"], 4000);
    assert_eq!(get("disposition=ignored").status, 500);
    // An enrollment takes its outcomes with it.
    service.batch_execute("delete from enroll.enrollments");
    get("limit=1").assert_error(404, "enrollment_not_found", "");
}

fn accepted_keys_are_shown_once(service: &mut Service) {
    let custom_data = json!({"custom_object_id": id(8), "resource": "contact"});
    let to = json!([{"phone": "+12025550187", "properties": {"score": "high", "skore": 1}}]);
    let enrollment = service.enroll(&json!({"to": to, "custom_data": custom_data}), &[]).accepted();
    let done = service.wait_for(&enrollment);
    let faults = json!([
        {"key": "score", "problem": "wrong_type", "given": "\"high\"", "wanted": "number"},
        {"key": "skore", "problem": "unknown_key", "given": "1"},
    ]);
    assert_eq!(done["accepted_keys"], json!(["score"]));
    assert_eq!(done["outcomes"][0]["notes"], json!([{"code": "custom_data_invalid", "faults": faults}]));
}

/// Returns an id as a literal of the service's database.
fn literal(service: &Service, id: &str) -> String {
    if service.database.starts_with("postgres") { format!("'{id}'") } else { format!("x'{}'", id.replace('-', "")) }
}

//! The requests that `enroll serve` rejects: invalid requests and bodies, data of other organizations, and overload.

mod support;

use serde_json::{Value, json};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use support::service::{ACTIVE, Answer, SECOND, Service, id, on_both, read_all};

on_both! {
    every_fault_has_its_code_and_path;
    invalid_bodies_are_rejected_and_the_service_continues;
    another_organization_cannot_read_or_write;
    unknown_routes_and_methods_return_the_error_body;
    malformed_and_oversized_heads_return_the_error_body;
    previews_have_a_rate_limit_of_their_own with ["--rate-limit", "1"];
    concurrency_and_timeout_limits_return_503_and_408 with ["--concurrency", "2", "--timeout", "2"];
}

fn every_fault_has_its_code_and_path(service: &mut Service) {
    let ann = json!({"phone": "+12025550187"});
    let with = |name: &str, value: Value| json!({"to": [ann], name: value});
    let entry = |name: &str, value: Value| json!({"to": [{"phone": "+12025550187", name: value}]});
    let to = |body: &Value| service.enroll(body, &[]);
    let cases = [
        (json!([]), 422, "invalid_type", ""),
        (json!({"to": {}}), 422, "invalid_type", "/to"),
        (with("step_id", json!("x")), 422, "invalid_type", "/step_id"),
        (entry("name", json!("a\u{0}b")), 422, "invalid_character", "/to/0/name"),
        (json!({}), 422, "required", "/to"),
        (json!({"to": []}), 422, "too_few", "/to"),
        (json!({"to": vec![ann.clone(); 4001]}), 422, "too_many", "/to"),
        (json!({"to": [ann, {"name": "Bo"}]}), 422, "required", "/to/1/phone"),
        (with("custom_data", json!({"resource": "contact"})), 422, "required", "/custom_data/custom_object_id"),
        (
            with("voice_options", json!({"default_call_flow_id": 7})),
            422,
            "invalid_type",
            "/voice_options/default_call_flow_id",
        ),
        (with("from", json!("202 555 9999")), 422, "channel_not_found", "/from"),
        (entry("name", json!("x".repeat(256))), 422, "too_long", "/to/0/name"),
        (entry("birth_date", json!({"day": 31, "month": 2})), 422, "invalid_date", "/to/0/birth_date"),
        (with("schedule_at", json!("2026-02-01T15:00:00")), 422, "invalid_date_time", "/schedule_at"),
        (
            with("custom_data", json!({"custom_object_id": id(8), "resource": "deal"})),
            422,
            "invalid_resource",
            "/custom_data/resource",
        ),
        (with("step_id", json!(id(0x77))), 422, "step_not_found", "/step_id"),
        (with("from", json!("+12025550177")), 422, "channel_not_found", "/from"),
        (with("from", json!("+12025550101")), 422, "channel_disabled", "/from"),
        (with("from", json!("team@example.org")), 422, "channel_kind_mismatch", "/from"),
        (
            with("custom_data", json!({"custom_object_id": id(0x77), "resource": "contact"})),
            422,
            "custom_object_not_found",
            "/custom_data/custom_object_id",
        ),
        (
            with("voice_options", json!({"default_call_flow_id": id(0x77)})),
            422,
            "call_flow_not_found",
            "/voice_options/default_call_flow_id",
        ),
    ];
    for (body, status, code, path) in &cases {
        to(body).assert_error(*status, code, path);
    }
    for (sequence, status, code, path) in [
        (id(0x77), 404, "sequence_not_found", ""),
        ("not-a-uuid".to_owned(), 404, "sequence_not_found", ""),
        ("%ff".to_owned(), 404, "sequence_not_found", ""),
        (id(0x20), 422, "sequence_not_active", ""),
        (id(0x21), 422, "sequence_has_no_steps", ""),
        (id(0x22), 422, "channel_not_found", "/step_id"),
    ] {
        let body = json!({ "to": [ann] }).to_string();
        service.post(&format!("/v1/sequences/{sequence}/contacts"), body, &[]).assert_error(status, code, path);
    }
    // All at once, and of a preview too.
    let many = json!({"to": [{"name": 1}, {"phone": "1", "birth_date": {"month": 13}}], "schedule_at": "now"});
    let answer = to(&many);
    assert_eq!(answer.json["errors"].as_array().unwrap().len(), 4, "{answer:?}");
    let preview = service.post(&format!("/v1/sequences/{ACTIVE}/contacts?preview=true"), many.to_string(), &[]);
    assert_eq!(preview.json, answer.json);
    assert_eq!(service.get("/v1/enrollments").json["total"], 0);
}

fn invalid_bodies_are_rejected_and_the_service_continues(service: &mut Service) {
    let path = format!("/v1/sequences/{ACTIVE}/contacts");
    let deep =
        format!(r#"{{"to": [{{"phone": "1", "properties": {}{}}}]}}"#, r#"{"a":"#.repeat(50_000), "}".repeat(50_000));
    for body in [
        &b""[..],
        b"{",
        br#"{"to": [{"phone": "+120255501"#,
        b"\xff\xfe\x00",
        b"{\"to\": [{\"phone\": \"+1202\xff\"}]}",
        br#"{"to": 1e400}"#,
        "[".repeat(1_000_000).as_bytes(),
        deep.as_bytes(),
    ] {
        let answer = service.post(&path, body, &[]);
        assert_eq!((answer.status, &answer.json["errors"][0]["code"]), (422, &json!("invalid_type")), "{answer:?}");
    }
    service.post(&path, br#"{"to": [{"phone": "\ud800"}]}"#, &[]).assert_error(422, "invalid_character", "/to/0/phone");
    // One byte too large, and exactly the limit.
    let huge = vec![b' '; (8 << 20) + 1];
    service.post(&path, &huge, &[]).assert_error(413, "body_too_large", "");
    service.post(&path, &huge[1..], &[]).assert_error(422, "invalid_type", "");
    service.post(&path, "x", &[("Content-Encoding", "gzip")]).assert_error(415, "unsupported_encoding", "");

    let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nX-WHIPPY-KEY: {}\r\n", service.key);
    let mut truncated = service.connect(format!("{head}content-length: 100\r\n\r\n{{\"to\": [").as_bytes());
    truncated.shutdown(Shutdown::Write).unwrap();
    let truncated = read_all(&mut truncated);
    assert!(truncated.starts_with("HTTP/1.1 400 ") && truncated.contains("broken_body"), "{truncated}");
    let bad_chunk = service.raw(format!("{head}transfer-encoding: chunked\r\n\r\nzz\r\n").as_bytes());
    assert!(bad_chunk.starts_with("HTTP/1.1 400 "), "{bad_chunk}");
    assert_eq!(service.get("/readyz").status, 200);
    assert_eq!(service.get("/v1/contacts").json["total"], 2);
}

fn another_organization_cannot_read_or_write(service: &mut Service) {
    let body =
        json!({"to": [{"phone": "+12025550187", "external_id": "crm-1"}, {"phone": "+12025550124"}]}).to_string();
    let ours = service.post(&format!("/v1/sequences/{ACTIVE}/contacts"), &body, &[("Idempotency-Key", "same")]);
    let enrollment = ours.accepted();
    service.wait_for(&enrollment);
    let theirs = |path: &str| service.get_as(&service.other_key, path);
    let not_found = |answer: &Answer, code: &str| {
        answer.assert_error(404, code, "");
        answer.text.clone()
    };
    // The response for data of another organization equals the response for an unknown id.
    for (path, unknown, code) in [
        (format!("/v1/enrollments/{enrollment}"), format!("/v1/enrollments/{}", id(0x77)), "enrollment_not_found"),
        (
            format!("/v1/sequences/{ACTIVE}/contacts"),
            format!("/v1/sequences/{}/contacts", id(0x77)),
            "sequence_not_found",
        ),
    ] {
        assert_eq!(not_found(&theirs(&path), code), not_found(&theirs(&unknown), code));
    }
    for path in
        ["/v1/enrollments", "/v1/contacts", "/v1/contacts?phone=%2B12025550187", "/v1/contacts?external_id=crm-9"]
    {
        assert_eq!(theirs(path).json, json!({"data": [], "total": 0}), "{path}");
    }
    let sequences = theirs("/v1/sequences").json;
    assert_eq!((&sequences["total"], &sequences["data"][0]["title"]), (&json!(1), &json!("Theirs")));

    let post = |sequence: &str, body: String| {
        let path = format!("/v1/sequences/{sequence}/contacts");
        service.post_as(&service.other_key, &path, body, &[("Idempotency-Key", "same")])
    };
    post(ACTIVE, body.clone()).assert_error(404, "sequence_not_found", "");
    for (field, value, code, path) in [
        ("step_id", json!(id(6)), "step_not_found", "/step_id"),
        ("from", json!("+12025550100"), "channel_not_found", "/from"),
        (
            "custom_data",
            json!({"custom_object_id": id(8), "resource": "contact"}),
            "custom_object_not_found",
            "/custom_data/custom_object_id",
        ),
        (
            "voice_options",
            json!({"default_call_flow_id": id(0x30)}),
            "call_flow_not_found",
            "/voice_options/default_call_flow_id",
        ),
    ] {
        let body = json!({"to": [{"phone": "+12025550187"}], field: value});
        post(&id(0xa5), body.to_string()).assert_error(422, code, path);
    }
    // The same idempotency key, phones and external ids in another organization create another enrollment.
    let accepted = post(&id(0xa5), body).accepted();
    assert_ne!(accepted, enrollment);
    let enrollment_now = || theirs(&format!("/v1/enrollments/{accepted}")).json["data"].clone();
    while enrollment_now()["state"] == "accepted" {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!((&enrollment_now()["counts"]["contacts_created"], SECOND.len()), (&json!(2), 36));
    assert_eq!(service.get("/v1/contacts").json["total"], 3);
    assert_eq!(theirs("/v1/contacts").json["total"], 2);
}

fn unknown_routes_and_methods_return_the_error_body(service: &mut Service) {
    for path in ["/v1", "/v2/contacts", "/v1/contacts/", "/v1/sequences/", "/v1/sequences/x/y", "/%ff", "/docs/x"] {
        service.get(path).assert_error(404, "route_not_found", "");
    }
    for path in ["/v1/", "/v1/x", "/v1/contacts/x/y", "/v1/lists/x/y"] {
        service.get(path).assert_error(404, "route_not_found", "");
        service.get_as("enk_x", path).assert_error(401, "not_authenticated", "");
    }
    for path in ["/v1/contacts", "/v1/contacts/x", "/v1/sequence_runs", "/v1/lists/x"] {
        service.post_as("enk_x", path, "", &[]).assert_error(401, "not_authenticated", "");
        service.post(path, "", &[]).assert_error(405, "method_not_allowed", "");
    }
    service.post("/healthz", "", &[]).assert_error(405, "method_not_allowed", "");
    service.get("/v1/enrollments/x").assert_error(404, "enrollment_not_found", "");
    for x in ["x", "%ff", "x%2Fy"] {
        service.get(&format!("/v1/sequences/{x}")).assert_error(404, "sequence_not_found", "");
        service.get(&format!("/v1/contacts/{x}")).assert_error(404, "contact_not_found", "");
    }
    for path in ["/v1/contacts/search", "/v1/contacts/erase"] {
        service.get(path).assert_error(405, "method_not_allowed", "");
    }
    let page = service.raw(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    assert!(page.starts_with("HTTP/1.1 200 OK") && page.contains("content-security-policy: default-src 'none'"));
}

fn malformed_and_oversized_heads_return_the_error_body(service: &mut Service) {
    let (method, key) = ("A".repeat(10_000), service.key.clone());
    let many = "x: 1\r\n".repeat(200);
    for (head, status, code) in [
        ("\u{16}\u{3}\u{1}\r\n\r\n".to_owned(), 400, "malformed_request"),
        ("GET / HTTP/1.1\r\nno colon\r\n\r\n".to_owned(), 400, "malformed_request"),
        ("GET / HTTP/9\r\n\r\n".to_owned(), 400, "malformed_request"),
        (format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(8 << 10)), 414, "uri_too_long"),
        (format!("GET / HTTP/1.1\r\n{many}\r\n"), 431, "headers_too_large"),
        (
            format!("{method} /v1/contacts HTTP/1.1\r\nconnection: close\r\nX-WHIPPY-KEY: {key}\r\n\r\n"),
            405,
            "method_not_allowed",
        ),
    ] {
        let answer = service.raw(head.as_bytes());
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{code}: {answer}"));
        let json: Value = serde_json::from_str(body).unwrap_or_else(|e| panic!("{e}: {answer}"));
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")) && json["status"] == status, "{answer}");
        assert_eq!((&json["errors"][0]["code"], &json["errors"][0]["path"]), (&json!(code), &json!("")), "{answer}");
        let head = head.to_lowercase();
        for header in ["cache-control: no-store", "x-content-type-options: nosniff", "content-type: application/json"] {
            assert!(head.contains(header), "{header}: {answer}");
        }
        assert!(head.contains(&format!("content-length: {}", body.len())), "{answer}");
    }
    // What the caller invents is neither in the metrics nor in the log.
    let metrics = service.get("/metrics").text;
    assert!(metrics.contains("method=\"other\",route=\"/v1/contacts\",status=\"405\""), "{metrics}");
    service.terminate();
    let log = service.wait_for_end();
    for text in [&metrics, &log] {
        assert!(text.lines().all(|line| line.len() < 500) && !text.contains("AAAA"), "{text}");
    }
    assert!(log.contains("\"method\":\"other\""), "{log}");
}

fn previews_have_a_rate_limit_of_their_own(service: &mut Service) {
    let (path, body) =
        (format!("/v1/sequences/{ACTIVE}/contacts"), json!({"to": [{"phone": "+12025550187"}]}).to_string());
    let preview = |key: &str| service.post_as(key, &format!("{path}?preview=true"), &body, &[]);
    for _ in 0..10 {
        assert_eq!(preview(&service.key).status, 200);
    }
    let refused = preview(&service.key);
    refused.assert_error(429, "rate_limited", "");
    assert!((1..=60).contains(&refused.retry_after.unwrap()));
    // The writes of the key and the previews of other keys are counted separately.
    assert_eq!(service.post(&path, &body, &[]).status, 202);
    preview(&service.other_key).assert_error(404, "sequence_not_found", "");
}

fn concurrency_and_timeout_limits_return_503_and_408(service: &mut Service) {
    let head = service.enroll_head(100) + "{";
    // Two slow requests use the limit. A request that arrives before them can use a place itself; then try again.
    let attempt = |_| {
        let mut slow: Vec<TcpStream> = (0..2).map(|_| service.connect(head.as_bytes())).collect();
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(1) {
            let answer = service.get("/v1/contacts");
            if answer.status == 503 {
                return Some((slow, answer));
            }
        }
        slow.iter_mut().map(read_all).for_each(drop);
        None
    };
    let (mut slow, rejected) = (0..20).find_map(attempt).expect("the limit is two requests");
    rejected.assert_error(503, "overloaded", "");
    assert_eq!(rejected.retry_after, Some(1));
    assert_eq!(service.get("/healthz").status, 200);
    for answer in slow.iter_mut().map(read_all) {
        assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains(r#""code":"timeout""#), "{answer}");
    }
    assert_eq!(service.get("/v1/contacts").status, 200);
}

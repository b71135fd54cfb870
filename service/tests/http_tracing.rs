//! Requests, seen from outside: their ids in answers and in the log, and their spans at a collector.

#[path = "support/collector.rs"]
mod collector;
mod support;

use collector::{Collector, attribute, hex};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::{Value, json};
use std::net::{Shutdown, TcpListener};
use std::process::Command;
use support::service::{ACTIVE, FIRST, Service, read_all};
use uuid::Uuid;

const PHONE: &str = "+12025550187";
const CLIENT_SPAN: &str = "b7ad6b7169203331";

support::service::on_both! {
    the_lines_of_a_request_have_its_id;
    each_kind_of_answer_has_an_id with ["--rate-limit", "5", "--timeout", "2"];
}

/// Returns the lines of a log in JSON.
fn lines(log: &str) -> Vec<Value> {
    log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// Returns the id of the request that a line belongs to.
fn request_id(line: &Value) -> Option<&str> {
    let spans = line["spans"].as_array()?;
    spans.iter().find_map(|span| span["request_id"].as_str())
}

fn the_lines_of_a_request_have_its_id(service: &mut Service) {
    let accepted = service.enroll(&json!({"to": [{"phone": PHONE}]}), &[("X-Request-Id", "from-the-client:1")]);
    assert_eq!(accepted.request_id, "from-the-client:1");
    let enrollment = accepted.accepted();
    service.wait_for(&enrollment);
    let unknown = service.get("/v1/enrollments/unknown");
    let id: Uuid = unknown.request_id.parse().unwrap();
    assert_eq!(id.get_version_num(), 7);
    // The error is found in another task than the request.
    service.batch_execute("alter table enroll.sequences rename to gone");
    let failed = service.enroll(&json!({"to": [{"phone": PHONE}]}), &[]);
    assert_eq!(failed.status, 500, "{failed:?}");
    service.terminate();

    let log = lines(&service.wait_for_end());
    let of = |id: &str| log.iter().filter(|line| request_id(line) == Some(id)).collect::<Vec<_>>();
    let texts =
        |id: &str| of(id).iter().map(|line| line["fields"]["message"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(texts("from-the-client:1"), ["accepted", "request"]);
    assert_eq!(of("from-the-client:1")[0]["fields"]["enrollment"], json!(enrollment));
    assert_eq!(texts(&unknown.request_id), ["request"]);
    assert_eq!(texts(&failed.request_id), ["the database failed", "request"]);
    for line in log.iter().filter(|line| line["target"] == "enroll::requests") {
        assert!(request_id(line).is_some(), "{line}");
    }
    let completed = log.iter().find(|line| line["fields"]["message"] == "completed").unwrap();
    assert_eq!(completed["span"]["enrollment"], json!(enrollment));
}

fn each_kind_of_answer_has_an_id(service: &mut Service) {
    // Each answer that a test receives must have an id, or the test fails.
    let slow = read_all(&mut service.connect((service.enroll_head(100) + "{").as_bytes()));
    assert!(slow.starts_with("HTTP/1.1 408 "), "{slow}");
    let mut broken = service.connect((service.enroll_head(100) + "{").as_bytes());
    broken.shutdown(Shutdown::Write).unwrap();
    assert!(read_all(&mut broken).starts_with("HTTP/1.1 400 "));
    let mut ids = Vec::new();
    let mut check = |status: u16, answer: support::service::Answer| {
        assert_eq!(answer.status, status, "{answer:?}");
        ids.push(answer.request_id);
    };
    let people = json!({"to": [{"phone": PHONE}]});
    for path in ["/healthz", "/readyz", "/metrics", "/", "/docs", "/openapi.json", "/v1/contacts"] {
        check(200, service.get(path));
    }
    check(202, service.enroll(&people, &[]));
    check(401, service.get_as("wrong", "/v1/contacts"));
    check(404, service.get("/nowhere"));
    check(404, service.get("/v1/nowhere"));
    check(405, service.post("/healthz", "", &[]));
    check(413, service.post(&format!("/v1/sequences/{ACTIVE}/contacts"), vec![b' '; (8 << 20) + 1], &[]));
    check(414, service.get(&format!("/v1/contacts?name={}", "x".repeat(8 << 10))));
    check(422, service.get("/v1/contacts?unknown=1"));
    let mut answers = (0..6).map(|_| service.enroll(&people, &[]));
    check(429, answers.find(|answer| answer.status != 202).unwrap());
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count, "an id occurs twice");

    let many = "x: 1\r\n".repeat(200);
    for (head, status) in [("no HTTP\r\n\r\n".to_owned(), 400), (format!("GET / HTTP/1.1\r\n{many}\r\n"), 431)] {
        let answer = service.raw(head.as_bytes());
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        let id = answer.lines().find_map(|line| line.strip_prefix("x-request-id: ")).unwrap();
        assert_eq!(id.parse::<Uuid>().unwrap().get_version_num(), 7);
    }
}

#[test]
fn the_lines_of_the_text_format_have_the_id() {
    let mut service = Service::on_sqlite("request-id-text", &["--log-format", "text"]);
    service.enroll(&json!({"to": [{"phone": PHONE}]}), &[("X-Request-Id", "one")]).accepted();
    // An id that could forge a line, or names a person, is replaced.
    let refused = service.enroll(&json!({"to": [{"phone": PHONE}]}), &[("X-Request-Id", "ann@example.org")]);
    assert_ne!(refused.request_id, "ann@example.org");
    service.terminate();
    let log = service.wait_for_end();
    for message in ["accepted", "request method"] {
        let is_line = |line: &str| line.contains("request{request_id=\"one\"}") && line.contains(message);
        assert!(log.lines().any(is_line), "{message}: {log}");
    }
    assert!(log.contains(&refused.request_id) && !log.contains("ann@example.org"), "{log}");
}

#[test]
fn a_request_id_is_in_the_log_whatever_the_filter() {
    let mut service = Service::on_sqlite("request-id-filter", &["--log", "enroll::requests=debug"]);
    service.get("/healthz");
    service.terminate();
    let log = lines(&service.wait_for_end());
    assert!(!log.is_empty() && log.iter().all(|line| request_id(line).is_some()), "{log:?}");
}

/// Starts the service with an export to a collector.
fn exporting(name: &str, collector: &Collector, more: &[(&str, &str)]) -> Service {
    let endpoint = [("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str())];
    Service::with_environment(name, None, &[], &[&endpoint[..], more].concat())
}

fn traceparent(trace: u32, flags: &str) -> (String, String) {
    let trace_id = format!("{trace:032x}");
    (format!("00-{trace_id}-{CLIENT_SPAN}-{flags}"), trace_id)
}

fn named<'a>(spans: &'a [Span], name: &str) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.name == name).collect()
}

#[test]
fn spans_continue_the_trace_of_the_client_and_have_no_personal_data() {
    let (collector, folder) = (Collector::start(), "traceparent");
    spans_continue_the_trace(&collector, exporting(folder, &collector, &[]), "insert enroll_enrollments");
}

support::on_postgresql! {
    fn on_postgresql_spans_continue_the_trace_of_the_client() {
        let collector = Collector::start();
        let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url.as_str())];
        let service = Service::with_environment("traceparent-postgresql", Some(support::postgres()), &[], &environment);
        spans_continue_the_trace(&collector, service, "accept");
    }
}

/// `accept` is the name of the statement that stores an accepted enrollment.
fn spans_continue_the_trace(collector: &Collector, mut service: Service, accept: &str) {
    let person = json!({"to": [{"phone": PHONE, "name": "Distinctive Person", "email": "distinctive@example.org"}]});
    let (sampled, trace_id) = traceparent(0xa1, "01");
    let accepted = service.enroll(&person, &[("traceparent", &sampled), ("x-request-id", "of-the-span")]);
    let enrollment = accepted.accepted();
    service.wait_for(&enrollment);
    let (unsampled, _) = traceparent(0xa2, "00");
    service.enroll(&person, &[("traceparent", &unsampled)]).accepted();
    let failed = service.get("/v1/contacts?name=Distinctive&unknown=1");
    assert_eq!(failed.status, 422);
    service.get("/v1/contacts?phone=%2B12025550187");
    service.get("/healthz");
    service.terminate();
    let log = lines(&service.wait_for_end());

    let spans = collector.spans();
    let posts = named(&spans, "POST /v1/sequences/{id}/contacts");
    let [post] = posts[..] else { panic!("{posts:?}") };
    assert_eq!((hex(&post.trace_id), hex(&post.parent_span_id)), (trace_id.clone(), CLIENT_SPAN.to_owned()));
    assert_eq!(post.kind(), SpanKind::Server);
    for (key, value) in [
        ("http.request.method", "POST"),
        ("http.route", "/v1/sequences/{id}/contacts"),
        ("http.response.status_code", "202"),
        ("request_id", "of-the-span"),
        ("organization", FIRST),
        ("enrollment", &enrollment),
    ] {
        assert_eq!(attribute(&post.attributes, key).as_deref(), Some(value), "{key}");
    }
    // The statements of the request are below its span, in the same trace.
    let statement = named(&spans, accept)[0];
    assert_eq!(
        (hex(&statement.trace_id), attribute(&statement.attributes, "rows").unwrap()),
        (trace_id.clone(), "1".to_owned())
    );
    let insert = spans.iter().find(|span| span.span_id == statement.parent_span_id).unwrap();
    assert_eq!((&*insert.name, &insert.parent_span_id), ("insert", &post.span_id));
    // The worker's span has the same id of the enrollment, and its commit below it.
    let of_worker = |span: &&Span| attribute(&span.attributes, "enrollment").as_ref() == Some(&enrollment);
    let worker = *named(&spans, "enrollment").iter().find(|span| of_worker(span)).unwrap();
    let commit = *named(&spans, "commit").iter().find(|span| of_worker(span)).unwrap();
    assert_eq!((&commit.trace_id, &commit.parent_span_id), (&worker.trace_id, &worker.span_id));
    assert_eq!(attribute(&commit.attributes, "outcome").as_deref(), Some("committed"));
    // An idle worker and the checks have no spans.
    let is_idle = |span: &Span| span.name == "claim" || span.name.contains("healthz");
    assert!(!spans.iter().any(|span| is_idle(span) || !span.events.is_empty()), "{spans:?}");
    assert_eq!(attribute(&collector.resource(), "service.name").as_deref(), Some("enroll"));
    for text in ["2025550187", "distinctive", "example.org", &service.key] {
        collector.assert_without(text);
    }
    let line = log.iter().find(|line| request_id(line) == Some("of-the-span")).unwrap();
    assert_eq!(line["spans"][0]["trace_id"], json!(trace_id));
}

#[test]
fn an_invalid_traceparent_is_ignored() {
    let collector = Collector::start();
    let mut service = exporting("traceparent-invalid", &collector, &[("OTEL_SERVICE_NAME", "ours")]);
    let (valid, trace_id) = traceparent(0xb1, "01");
    let sent = [
        String::new(),
        "x".to_owned(),
        valid.to_uppercase(),
        valid.replace("00-0", "ff-0"),
        valid.replace(CLIENT_SPAN, "0000000000000000"),
        valid.replace(&trace_id, &"0".repeat(32)),
        format!("{valid}-more"),
    ];
    for header in &sent {
        let answer = service.enroll(&json!({"to": [{"phone": PHONE}]}), &[("traceparent", header)]);
        assert_eq!(answer.status, 202, "{header}: {answer:?}");
    }
    let twice = service.enroll(&json!({"to": [{"phone": PHONE}]}), &[("traceparent", &valid), ("traceparent", &valid)]);
    assert_eq!(twice.status, 202);
    service.terminate();
    service.wait_for_end();
    let spans = collector.spans();
    let posts = named(&spans, "POST /v1/sequences/{id}/contacts");
    assert_eq!(posts.len(), sent.len() + 1);
    for post in posts {
        assert!(post.parent_span_id.is_empty() && hex(&post.trace_id) != trace_id, "{post:?}");
    }
    assert_eq!(attribute(&collector.resource(), "service.name").as_deref(), Some("ours"));
}

#[test]
fn the_environment_decides_what_is_exported() {
    let collector = Collector::start();
    for off in [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none"), ("OTEL_TRACES_SAMPLER", "always_off")]
    {
        let mut service = exporting("otel-off", &collector, &[off]);
        assert_eq!(service.get("/v1/contacts").status, 200);
        service.terminate();
        service.wait_for_end();
        assert!(collector.spans().is_empty(), "{off:?}");
    }
}

#[test]
fn a_value_that_the_export_cannot_follow_is_an_error() {
    for (name, value, problem) in [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "`grpc` is not supported; use `http/protobuf`"),
        ("OTEL_TRACES_EXPORTER", "zipkin", "`zipkin` is not supported; use `otlp` or `none`"),
        ("OTEL_TRACES_SAMPLER", "xray", "`xray` is not supported; use one of `always_on`"),
        ("OTEL_TRACES_SAMPLER", "traceidratio", "use a number from 0 to 1"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "no url", "OTEL_EXPORTER_OTLP_ENDPOINT"),
    ] {
        for command in ["serve", "work"] {
            let mut program = Command::new(env!("CARGO_BIN_EXE_enroll"));
            program.args([command, "--database", "/nowhere/enroll.db"]);
            program.env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318").env(name, value);
            let output = program.output().unwrap();
            let error = String::from_utf8(output.stderr).unwrap();
            assert!(
                output.status.code() == Some(2) && error.contains(name) || error.contains("SAMPLER_ARG"),
                "{error}"
            );
            assert!(error.contains(problem), "{error}");
        }
    }
}

#[test]
fn a_collector_that_is_away_or_hangs_fails_no_request() {
    // Nothing accepts connections at the first address. The second one accepts them, and never answers.
    let hanging = TcpListener::bind("127.0.0.1:0").unwrap();
    let hanging_url = format!("http://{}", hanging.local_addr().unwrap());
    for url in ["http://127.0.0.1:1", &hanging_url] {
        let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", url), ("OTEL_BSP_SCHEDULE_DELAY", "10")];
        let mut service = Service::with_environment("otel-away", None, &[], &environment);
        let id = service.enroll(&json!({"to": [{"phone": PHONE}]}), &[]).accepted();
        assert_eq!(service.wait_for(&id)["state"], "completed");
        service.terminate();
        service.wait_for_end();
    }
}

#[test]
fn the_workers_of_a_process_export_their_enrollments() {
    let collector = Collector::start();
    let service = Service::on_sqlite("otel-work", &["--workers", "0"]);
    let id = service.enroll(&json!({"to": [{"phone": PHONE}]}), &[]).accepted();
    let mut program = Command::new(env!("CARGO_BIN_EXE_enroll"));
    program.args(["work", "--until-empty", "--database", &service.database]);
    let output = program.env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url).output().unwrap();
    assert!(output.status.success() && String::from_utf8(output.stderr).unwrap().contains(&id));
    let spans = collector.spans();
    let [enrollment] = named(&spans, "enrollment")[..] else { panic!("{spans:?}") };
    assert_eq!(attribute(&enrollment.attributes, "enrollment"), Some(id));
    assert_eq!(attribute(&enrollment.attributes, "recipients").as_deref(), Some("1"));
    collector.assert_without("2025550187");
}

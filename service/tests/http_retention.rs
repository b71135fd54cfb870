//! Requests of failed enrollments, and reports, that are too old.

mod support;

use serde_json::json;

use support::service::{ACTIVE, Service, on_both};
use support::{enroll, error_line, text};

/// Returns an expression for an instant of the database in the past.
fn days_ago(service: &Service, days: u32) -> String {
    if service.database.starts_with("postgres") {
        return format!("(now() - interval '{days} days')");
    }
    format!("(cast(unixepoch('subsec') * 1000 as integer) - {days} * 86400000)")
}

/// Works until no enrollment waits. Returns what the command printed as events.
fn work(service: &Service, more: &[&str]) -> String {
    let output = enroll(&["work", "--database", &service.database, "--until-empty"], more);
    text(&output);
    String::from_utf8(output.stderr).unwrap()
}

fn a_request_that_failed_long_ago_is_removed_and_cannot_be_retried(service: &mut Service) {
    let body = json!({"to": [{"phone": "+12025550181", "name": "Ann"}]});
    let key = [("Idempotency-Key", "failed")];
    let id = service.enroll(&body, &key).accepted();
    let fail = |days| {
        let failed_at = days_ago(service, days);
        let set = "state = 'failed', due_at = null, error = 'damaged'";
        service.batch_execute(&format!("update enroll.enrollments set {set}, failed_at = {failed_at}"));
    };

    // One day before the limit, it can still be retried.
    fail(29);
    assert_eq!(work(service, &[]), "");
    assert_eq!(service.post(&format!("/v1/enrollments/{id}/retry"), "", &[]).status, 202);

    fail(31);
    assert_eq!(work(service, &["--retain-failed", "never"]), "");
    let removed = "removed the requests of 1 failed enrollments and the reports of 0 completed ones, by age\n";
    assert_eq!(work(service, &[]), removed);
    assert_eq!(work(service, &[]), "", "it is removed once, and no worker claims it");
    let found = service.get(&format!("/v1/enrollments/{id}"));
    assert_eq!((&found.json["data"]["state"], found.json["data"]["removed_at"].is_string()), (&json!("failed"), true));
    service.post(&format!("/v1/enrollments/{id}/retry"), "", &[]).assert_error(409, "request_removed", "");
    let line = error_line(&enroll(
        &["retry", &id, "--database", &service.database, "--organization", support::service::FIRST],
        &[],
    ));
    assert!(line.contains("its request was removed at ") && line.contains("send it again with a new key"), "{line}");
    assert_eq!(text(&enroll(&["retry", "--all", "--database", &service.database], &[])), "no enrollment has failed\n");

    // The row still recognizes the request.
    let again = service.enroll(&body, &key);
    assert_eq!((again.accepted(), &again.json["data"]["replayed"]), (id, &json!(true)));
    service.enroll(&json!({"to": [{"phone": "+12025550182"}]}), &key).assert_error(409, "idempotency_conflict", "");
}

fn an_old_report_is_removed_and_its_counts_stay(service: &mut Service) {
    let body = json!({"to": [{"phone": "+12025550181", "name": "Ann"}, {"phone": "junk"}]});
    let key = [("Idempotency-Key", "completed")];
    let id = service.enroll(&body, &key).accepted();
    work(service, &[]);
    let completed_at = days_ago(service, 366);
    service.batch_execute(&format!("update enroll.enrollments set completed_at = {completed_at}"));
    assert_eq!(work(service, &[]), "", "reports are kept by default");
    let path = format!("/v1/enrollments/{id}");
    let before = service.get(&path).json["data"].clone();
    assert_eq!((&before["total"], &before["removed_at"]), (&json!(2), &json!(null)));

    assert!(work(service, &["--retain", "365d"]).starts_with("removed the requests of 0 failed"));
    let after = service.get(&path).json["data"].clone();
    assert_eq!((&after["counts"], &after["upload_tag"]), (&before["counts"], &before["upload_tag"]));
    assert_eq!((&after["outcomes"], &after["total"]), (&json!([]), &json!(0)));
    let filtered = service.get(&format!("{path}?disposition=added"));
    assert_eq!(filtered.json["data"]["total"], 0);

    let again = service.enroll(&body, &key);
    assert_eq!((again.accepted(), &again.json["data"]["replayed"]), (id, &json!(true)));
    let preview = format!("/v1/sequences/{ACTIVE}/contacts?preview=true");
    service.post(&preview, body.to_string(), &key).assert_error(409, "report_removed", "");
    // The people are not enrolled again.
    assert_eq!(service.get("/v1/contacts?limit=1").json["total"], 3);
}

fn a_service_removes_more_than_one_batch_while_it_runs(service: &mut Service) {
    for n in 0..250 {
        let key = format!("key-{n}");
        service.enroll(&json!({"to": [{"phone": "+12025550181"}]}), &[("Idempotency-Key", &key)]).accepted();
    }
    let failed_at = days_ago(service, 31);
    let set = "state = 'failed', due_at = null, error = 'damaged'";
    service.batch_execute(&format!("update enroll.enrollments set {set}, failed_at = {failed_at}"));
    service.kill_and_restart(&["--workers", "0", "--retain-failed", "30d"]);
    let left = || {
        let list = service.get("/v1/enrollments?limit=500");
        list.json["data"].as_array().unwrap().iter().filter(|row| row["removed_at"].is_null()).count()
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while left() > 0 {
        assert!(std::time::Instant::now() < deadline);
    }
}

on_both! {
    a_request_that_failed_long_ago_is_removed_and_cannot_be_retried with ["--workers", "0", "--retain-failed", "never"];
    an_old_report_is_removed_and_its_counts_stay with ["--workers", "0"];
    a_service_removes_more_than_one_batch_while_it_runs with ["--workers", "0", "--retain-failed", "never"];
}

#[test]
fn an_age_of_zero_is_refused() {
    let output = enroll(&["work", "--retain", "0d"], &[]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("use `never` to keep it, or at least one minute"), "{error}");
}

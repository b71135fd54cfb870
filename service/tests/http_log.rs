//! The log of the service, and its filter.

mod support;

use serde_json::{Value, json};
use std::collections::BTreeSet;

use support::service::Service;
use support::{enroll, text};

/// Enrolls a person, and returns the lines of the log.
fn lines(name: &str, more: &[&str]) -> Vec<Value> {
    let mut service = Service::on_sqlite(name, more);
    let id = service.enroll(&json!({"to": [{"phone": "+12025550187"}]}), &[]).accepted();
    service.wait_for(&id);
    assert_eq!(service.get("/healthz").status, 200);
    service.terminate();
    let log = service.wait_for_end();
    log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn targets(lines: &[Value]) -> BTreeSet<&str> {
    lines.iter().map(|line| line["target"].as_str().unwrap()).collect()
}

#[test]
fn each_line_names_its_target() {
    let lines = lines("log-default", &[]);
    let targets = targets(&lines);
    assert!(targets.contains("enroll::requests") && targets.contains("enroll::work"), "{targets:?}");
    assert!(lines.iter().all(|line| line["level"] != "DEBUG"), "{lines:?}");
}

#[test]
fn a_filter_selects_levels_and_targets() {
    let lines = lines("log-filter", &["--log", "enroll=debug,enroll::requests=off"]);
    assert!(!targets(&lines).contains("enroll::requests"), "{lines:?}");
    let claimed = lines.iter().find(|line| line["fields"]["message"] == "claimed").unwrap();
    assert_eq!((&claimed["level"], &claimed["span"]["attempt"]), (&json!("DEBUG"), &json!(1)));

    let lines = self::lines("log-checks", &["--log", "enroll::requests=debug"]);
    assert!(lines.iter().any(|line| line["fields"]["route"] == "/healthz"), "{lines:?}");
    assert_eq!(targets(&lines), BTreeSet::from(["enroll::requests"]));
}

#[test]
fn a_filter_that_means_nothing_is_an_error() {
    for (filter, problem) in [
        ("inof", "`inof` is not a level; use `off`, `error`, `warn`, `info`, `debug` or `trace`"),
        ("json", "`json` is a format; use `--log-format json`"),
    ] {
        let output = enroll(&["serve", "--log", filter], &[]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && error.contains(problem), "{error}");
    }
    assert!(text(&enroll(&["serve", "--help"], &[])).contains("[env: ENROLL_LOG_FORMAT="));
}

//! The metrics of attempts, workers and pools.

mod support;

use serde_json::json;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use support::PostgresClient;
use support::service::{Service, on_both};

fn body(phone: &str) -> serde_json::Value {
    json!({"to": [{"phone": phone}]})
}

/// Reads the metrics until they have all lines.
fn wait_for_lines(service: &Service, lines: &[&str]) -> String {
    let start = Instant::now();
    loop {
        let metrics = service.get("/metrics").text;
        let missing = lines.iter().find(|line| !metrics.lines().any(|has| has == **line));
        let Some(missing) = missing else { return metrics };
        assert!(start.elapsed() < Duration::from_secs(60), "{missing}: {metrics}");
        thread::sleep(Duration::from_millis(20));
    }
}

fn attempts_and_claims_are_counted_by_result(service: &mut Service) {
    service.enroll(&body("+12025550187"), &[]).accepted();
    let damaged = service.enroll(&body("+12025550188"), &[]).accepted();
    let id = if service.database.starts_with("postgres") {
        format!("'{damaged}'")
    } else {
        format!("x'{}'", damaged.replace('-', ""))
    };
    service.batch_execute(&format!(
        "update enroll.enrollments set command = '{{\"v\": 1, \"recipients\": 1}}' where id = {id}"
    ));
    let before = wait_for_lines(service, &["enroll_queue_organizations 1", "enroll_workers 0", "enroll_database_up 1"]);
    // Each result begins at 0.
    for result in ["completed", "rejected", "retried", "failed", "unavailable", "contended", "newer_version"] {
        let line = format!("enroll_attempts_total{{result=\"{result}\"}} 0");
        assert!(before.lines().any(|has| has == line), "{line}: {before}");
    }

    service.kill_and_restart(&["--workers", "3", "--attempts", "2"]);
    let after = wait_for_lines(
        service,
        &[
            r#"enroll_attempts_total{result="completed"} 1"#,
            r#"enroll_attempts_total{result="retried"} 1"#,
            r#"enroll_attempts_total{result="failed"} 1"#,
            r#"enroll_claims_total{result="claimed"} 3"#,
            r#"enroll_claims_total{result="error"} 0"#,
            r#"enroll_enrollments{state="failed"} 1"#,
            "enroll_queue_organizations 0",
            "enroll_workers 3",
            "enroll_workers_busy 0",
        ],
    );
    assert!(!after.contains(r#"enroll_claims_total{result="none"} 0"#), "idle workers look for work: {after}");
}

fn handles_are_counted_while_requests_wait_for_a_lock(service: &mut Service) {
    let start = wait_for_lines(service, &[r#"enroll_handles_limit{pool="requests"} 8"#]);
    assert!(start.contains(r#"enroll_handles_limit{pool="keys"} 2"#), "{start}");
    let is_postgres = service.database.starts_with("postgres");
    assert_eq!(start.contains("enroll_connections_limit 11\n"), is_postgres, "{start}");

    // One organization can use five of eight handles. The others wait.
    let body = body("+12025550187").to_string();
    let request = service.enroll_head(body.len()) + &body;
    let send = || -> Vec<TcpStream> { (0..8).map(|_| service.connect(request.as_bytes())).collect() };
    let full = [r#"enroll_handles_in_use{pool="requests"} 5"#, r#"enroll_handles_waiting{pool="requests"} 3"#];
    let waiting = if is_postgres {
        let other = PostgresClient::connect(&service.database);
        other.execute("begin; lock table enroll.enrollments in access exclusive mode");
        let waiting = send();
        // The metrics of the database wait for the lock too.
        wait_for_lines(service, &[&full[..], &["enroll_connections_in_use 5", "enroll_database_up 0"]].concat());
        other.execute("rollback");
        waiting
    } else {
        let other = rusqlite::Connection::open(&service.database).unwrap();
        other.execute_batch("begin immediate").unwrap();
        let waiting = send();
        wait_for_lines(service, &[&full[..], &["enroll_database_up 1"]].concat());
        other.execute_batch("rollback").unwrap();
        waiting
    };
    let none = [r#"enroll_handles_in_use{pool="requests"} 0"#, r#"enroll_handles_waiting{pool="requests"} 0"#];
    wait_for_lines(service, &[&none[..], &["enroll_database_up 1"]].concat());
    drop(waiting);
}

on_both! {
    attempts_and_claims_are_counted_by_result with ["--workers", "0"];
    handles_are_counted_while_requests_wait_for_a_lock with ["--workers", "0"];
}

support::on_postgresql! {
    fn on_postgresql_a_worker_is_busy_while_it_waits_for_a_lock() {
        let service = Service::on_postgresql("busy", &["--workers", "2"]);
        let other = PostgresClient::connect(&service.database);
        // A commit locks the row of its organization.
        other.execute("begin; select 1 from enroll.organizations for no key update");
        service.enroll(&body("+12025550187"), &[]).accepted();
        wait_for_lines(&service, &["enroll_workers_busy 1", "enroll_queue_organizations 1"]);
        other.execute("rollback");
        wait_for_lines(&service, &["enroll_workers_busy 0", r#"enroll_attempts_total{result="completed"} 1"#]);
    }
}

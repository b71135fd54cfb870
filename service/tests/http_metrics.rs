//! The metrics of attempts, workers and pools.

mod support;

use serde_json::json;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use support::service::{FIRST, Service, get, on_both};
use support::{PostgresClient, enroll, text};

fn body(phone: &str) -> serde_json::Value {
    json!({"to": [{"phone": phone}]})
}

/// Reads the metrics until they have all lines.
fn wait_for_lines(service: &Service, lines: &[&str]) -> String {
    wait_for_lines_at(&service.base, lines)
}

fn wait_for_lines_at(base: &str, lines: &[&str]) -> String {
    let start = Instant::now();
    loop {
        let metrics = get(&format!("{base}/metrics")).text;
        let missing = lines.iter().find(|line| !metrics.lines().any(|has| has == **line));
        let Some(missing) = missing else { return metrics };
        assert!(start.elapsed() < Duration::from_secs(60), "{missing}: {metrics}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Sends a request, and waits until the use of its key is recorded, which takes a handle for a moment.
fn wait_for_recorded_use(service: &Service) {
    assert_eq!(service.get("/v1/organization").status, 200);
    let start = Instant::now();
    loop {
        let keys = text(&enroll(&["keys", "list", "--database", &service.database, "--organization", FIRST], &[]));
        // The columns are: id, organization, name, created, expires, last used, revoked.
        let is_used = |key: &str| key.split_whitespace().nth(5).is_some_and(|used| used.ends_with('Z'));
        if keys.lines().any(|key| key.contains(FIRST) && is_used(key)) {
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(60), "{keys}");
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
    assert_eq!(start.contains("enroll_connections_limit 13\n"), is_postgres, "{start}");

    wait_for_recorded_use(service);
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

/// A process of `enroll work` that serves metrics.
struct Workers {
    child: Child,
    base: String,
}

impl Workers {
    fn start(database: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_enroll"))
            .args(["work", "--database", database, "--metrics-listen", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let line = lines.next().unwrap().unwrap();
        // The process does not wait for a reader.
        thread::spawn(move || lines.for_each(drop));
        let base = line.strip_prefix("metrics at ").and_then(|url| url.strip_suffix("/metrics"));
        let base = base.unwrap_or_else(|| panic!("{line}")).to_owned();
        Self { child, base }
    }

    /// Sends SIGTERM. Returns what the process printed at its end.
    fn terminate(mut self) -> String {
        assert!(Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap().success());
        let mut text = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        assert!(self.child.wait().unwrap().success());
        text
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

fn a_process_with_workers_only_serves_its_metrics(service: &mut Service) {
    service.enroll(&body("+12025550187"), &[]).accepted();
    let workers = Workers::start(&service.database);
    let metrics = wait_for_lines_at(
        &workers.base,
        &[
            r#"enroll_attempts_total{result="completed"} 1"#,
            r#"enroll_claims_total{result="claimed"} 1"#,
            r#"enroll_recipients_total{disposition="added",reason="none"} 1"#,
            "enroll_enrollment_duration_seconds_count 1",
            r#"enroll_enrollments{state="completed"} 1"#,
            "enroll_queue_organizations 0",
            "enroll_database_up 1",
            "enroll_workers 2",
            "enroll_workers_busy 0",
        ],
    );
    assert!(!metrics.contains("enroll_http_") && !metrics.contains("enroll_handles_"), "{metrics}");
    assert_eq!(metrics.contains("enroll_connections_limit 6\n"), service.database.starts_with("postgres"), "{metrics}");
    assert_eq!(get(&format!("{}/healthz", workers.base)).status, 200);
    assert_eq!(get(&format!("{}/v1/contacts", workers.base)).status, 404);

    let address = workers.base.trim_start_matches("http://");
    let second = enroll(&["work", "--database", &service.database, "--metrics-listen", address], &[]);
    let error = String::from_utf8(second.stderr).unwrap();
    assert_eq!(second.status.code(), Some(2), "{error}");
    assert!(error.contains(&format!("error: {address}: Address already in use")), "{error}");
    let mut stream = TcpStream::connect(address).unwrap();
    assert_eq!(workers.terminate(), "1 completed, 0 rejected, 0 failed\n");
    // An idle connection does not keep the process from ending.
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

on_both! {
    a_process_with_workers_only_serves_its_metrics with ["--workers", "0"];
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

//! `submit`, `work`, `status` and `retry`: real processes on real databases, killed in the middle.

mod support;

use enroll::seed::Seed;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use uuid::Uuid;

use support::{Folder, SEQUENCE, enroll, json, path, postgres, text, told};

const ORGANIZATION: enroll::OrganizationId = enroll::OrganizationId::from_uuid(Uuid::from_u128(1));

/// A database, by the name that the command line takes.
struct Base(String);

impl Base {
    fn file(folder: &Folder) -> Self {
        Self(path(&folder.0.join("enroll.db")).to_owned()).seeded(folder)
    }

    fn postgres(folder: &Folder) -> Self {
        Self(postgres()).seeded(folder)
    }

    fn seeded(self, folder: &Folder) -> Self {
        text(&enroll(&["seed", path(&folder.0.join("seed.json")), "--database", &self.0], &[]));
        self
    }

    fn submit(&self, request: &Path, key: &str, more: &[&str]) -> std::process::Output {
        let args = ["submit", "--database", &self.0, "--sequence", SEQUENCE, "--request", path(request)];
        enroll(&args, &[&["--idempotency-key", key], more].concat())
    }

    fn accepted(&self, request: &Path, key: &str) -> String {
        let receipt = json(&self.submit(request, key, &["--json"]));
        receipt["enrollment_id"].as_str().unwrap().to_owned()
    }

    fn work(&self) -> String {
        text(&enroll(&["work", "--database", &self.0, "--until-empty"], &[]))
    }

    /// The same, where killed workers have left leases.
    fn work_off(&self) -> String {
        text(&enroll(&["work", "--database", &self.0, "--until-empty", "--lease", "1"], &[]))
    }

    fn status(&self, id: &str) -> Value {
        let output = enroll(&["status", id, "--database", &self.0, "--json"], &[]);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
    }

    fn dump(&self) -> Seed {
        if !self.0.starts_with("postgres") {
            let connection = rusqlite::Connection::open(&self.0).unwrap();
            return enroll_sqlite::seed::dump(&connection, ORGANIZATION).unwrap();
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let tls = enroll_postgres::tokio_postgres::NoTls;
            let (mut client, connection) = enroll_postgres::tokio_postgres::connect(&self.0, tls).await.unwrap();
            tokio::spawn(connection);
            enroll_postgres::seed::dump(&mut client, ORGANIZATION).await.unwrap()
        })
    }

    /// Workers that go on until they are killed, with their standard error to be read.
    fn workers(&self) -> Child {
        Command::new(env!("CARGO_BIN_EXE_enroll"))
            .args(["work", "--database", &self.0, "--lease", "1", "--workers", "2", "--attempts", "1000"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }
}

fn one(folder: &Folder) -> std::path::PathBuf {
    folder.file("one.json", r#"{"to": [{"phone": "2025550187", "name": "Ann"}, {"phone": "junk"}]}"#)
}

/// Accepted, worked on, told; again, and under another body.
fn a_request_is_accepted_worked_on_and_told(folder: &Folder, base: &Base) {
    let request = one(folder);
    let accepted = text(&base.submit(&request, "key-1", &[]));
    let id = accepted.split([' ', ':']).nth(1).unwrap();
    assert!(accepted.starts_with("accepted ") && accepted.contains(": 2 recipients, at "), "{accepted}");
    assert_eq!(base.status(id)["state"], "accepted");
    assert_eq!(base.dump().contacts.len(), 1);
    // Not failed, so not tried again.
    let line = told(&enroll(&["retry", id, "--database", &base.0], &[]));
    assert!(line.contains("is accepted: only one that failed is tried again"), "{line}");

    assert_eq!(base.work(), "1 completed, 0 rejected, 0 failed\n");
    let status = base.status(id);
    assert_eq!((&status["state"], &status["attempts"]), (&json!("completed"), &json!(1)));
    assert_eq!((&status["counts"]["added"], &status["counts"]["ignored"]), (&json!(1), &json!(1)));
    assert_eq!(status["outcomes"].as_array().unwrap().len(), 2);
    let words = text(&enroll(&["status", id, "--database", &base.0], &[]));
    assert!(words.starts_with(&format!("enrollment {id} is completed\n")), "{words}");

    // The same again gets the first receipt, and nothing more is done.
    let replayed = format!("{} (replayed: it was accepted before)\n", accepted.trim_end());
    assert_eq!(text(&base.submit(&request, "key-1", &[])), replayed);
    assert_eq!(base.work(), "0 completed, 0 rejected, 0 failed\n");
    let other = folder.file("other.json", r#"{"to": [{"phone": "2025550188"}]}"#);
    let line = told(&base.submit(&other, "key-1", &[]));
    assert!(line.contains("(idempotency_conflict)"), "{line}");
    let line = told(&base.submit(&folder.file("bad.json", r#"{"to": []}"#), "key-2", &[]));
    assert!(line.contains("(too_few)"), "{line}");
    let line = told(&enroll(&["status", "00000000-0000-0000-0000-0000000000ff", "--database", &base.0], &[]));
    assert!(line.contains("has no enrollment"), "{line}");
}

#[test]
fn on_sqlite_a_request_is_accepted_worked_on_and_told() {
    let folder = Folder::new("background");
    a_request_is_accepted_worked_on_and_told(&folder, &Base::file(&folder));
}

#[test]
#[ignore = "needs PostgreSQL: run with --include-ignored, its programs installed or ENROLL_TEST_POSTGRES_URL set"]
fn on_postgresql_a_request_is_accepted_worked_on_and_told() {
    let folder = Folder::new("background-postgresql");
    a_request_is_accepted_worked_on_and_told(&folder, &Base::postgres(&folder));
}

#[test]
fn a_sequence_archived_since_ends_the_enrollment_rejected() {
    let folder = Folder::new("background-rejected");
    let base = Base::file(&folder);
    let id = base.accepted(&one(&folder), "key-1");
    let connection = rusqlite::Connection::open(&base.0).unwrap();
    assert_eq!(connection.execute("update enroll_sequences set status = 'archived'", []).unwrap(), 1);
    assert_eq!(base.work(), "0 completed, 1 rejected, 0 failed\n");
    let output = enroll(&["status", &id, "--database", &base.0], &[]);
    assert_eq!(output.status.code(), Some(1));
    let words = String::from_utf8(output.stdout).unwrap();
    assert!(words.contains("is rejected") && words.contains("(sequence_not_active)"), "{words}");
    assert_eq!(base.dump().contacts.len(), 1);
}

/// What cannot be done is tried a bounded number of times, told with its error, and tried again when somebody says so.
#[test]
fn what_fails_is_told_and_retried() {
    let folder = Folder::new("background-failed");
    let base = Base::file(&folder);
    let request = one(&folder);
    let id = base.accepted(&request, "key-1");
    // The host's own trigger is in the way of every new contact.
    let connection = rusqlite::Connection::open(&base.0).unwrap();
    let in_the_way =
        "create trigger in_the_way before insert on enroll_contacts begin select raise(abort, 'not today'); end";
    connection.execute_batch(in_the_way).unwrap();
    let worked = enroll(&["work", "--database", &base.0, "--until-empty", "--attempts", "1"], &[]);
    assert_eq!(String::from_utf8_lossy(&worked.stdout), "0 completed, 0 rejected, 1 failed\n");
    assert_eq!(worked.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&worked.stderr).contains(&format!("`enroll retry {id}`")));
    let status = base.status(&id);
    assert_eq!((&status["state"], &status["attempts"]), (&json!("failed"), &json!(1)));
    assert!(status["error"].as_str().unwrap().contains("not today"), "{status}");
    // The same request gets its receipt, and a retry what it asked for.
    assert_eq!(base.accepted(&request, "key-1"), id);
    assert_eq!(base.status(&id)["state"], "failed");
    connection.execute_batch("drop trigger in_the_way").unwrap();
    assert_eq!(
        text(&enroll(&["retry", &id, "--database", &base.0], &[])),
        format!("accepted {id} again: `enroll work` processes it\n")
    );
    assert_eq!(base.work(), "1 completed, 0 rejected, 0 failed\n");
    assert_eq!(base.status(&id)["state"], "completed");
}

/// A list of more than a request holds: a receipt for each part, and nobody twice.
#[test]
fn a_long_list_is_accepted_in_parts() {
    let folder = Folder::new("background-parts");
    let base = Base::file(&folder);
    let mut csv = "phone\n".to_owned();
    for n in 0..5000 {
        writeln!(csv, "+1303{:07}", 2_000_000 + n).unwrap();
    }
    let list = folder.file("people.csv", &csv);
    let receipts = json(&base.submit(&list, "import-1", &["--json"]));
    assert_eq!(receipts["receipts"].as_array().unwrap().len(), 2);
    let mut replayed = receipts;
    for receipt in replayed["receipts"].as_array_mut().unwrap() {
        receipt["replayed"] = json!(true);
    }
    assert_eq!(json(&base.submit(&list, "import-1", &["--json"])), replayed);
    assert_eq!(base.work(), "2 completed, 0 rejected, 0 failed\n");
    assert_eq!(base.dump().contacts.len(), 5001);
}

/// Termination finishes what runs, and leaves the rest as it was.
#[cfg(unix)]
#[test]
fn a_worker_that_is_told_to_stop_finishes_what_runs() {
    let folder = Folder::new("background-stop");
    let base = Base::file(&folder);
    let mut workers = base.workers();
    let id = base.accepted(&one(&folder), "key-1");
    let mut lines = BufReader::new(workers.stderr.take().unwrap()).lines();
    let completed = lines.next().unwrap().unwrap();
    assert_eq!(completed, format!("completed {id}: 1 added, 1 ignored"));
    let term = Command::new("kill").args(["-TERM", &workers.id().to_string()]).status().unwrap();
    assert!(term.success());
    assert_eq!(workers.wait().unwrap().code(), Some(0));
    assert!(lines.next().unwrap().unwrap().starts_with("finishing what runs"));
}

#[test]
fn two_processes_at_once_finish_every_receipt_once() {
    let folder = Folder::new("background-two");
    killed(&folder, &Base::file(&folder), 0);
}

#[test]
fn on_sqlite_every_receipt_is_completed_once_through_kills() {
    let folder = Folder::new("background-kills");
    killed(&folder, &Base::file(&folder), kills());
}

#[test]
#[ignore = "needs PostgreSQL: run with --include-ignored, its programs installed or ENROLL_TEST_POSTGRES_URL set"]
fn on_postgresql_every_receipt_is_completed_once_through_kills() {
    let folder = Folder::new("background-kills-postgresql");
    killed(&folder, &Base::postgres(&folder), kills());
}

/// How often a process is killed: 10 times, or as often as `ENROLL_KILLS` says.
fn kills() -> u32 {
    std::env::var("ENROLL_KILLS").map_or(10, |kills| kills.parse().expect("`ENROLL_KILLS` is a number"))
}

/// Two processes work, and one of them or the submitter is killed with SIGKILL at a random moment, again and again. Then
/// every receipt that was printed is completed, exactly once, whole.
fn killed(folder: &Folder, base: &Base, kills: u32) {
    let mut receipts = BTreeSet::new();
    let mut processes = [base.workers(), base.workers()];
    let mut killed = 0;
    for round in 0..kills.max(12) {
        let request = folder.file("batch.json", &batch(round).to_string());
        let key = format!("batch-{round}");
        if round % 4 == 3 && killed < kills {
            // The submitter dies: whatever it had said counts, and asking again is harmless.
            let mut submitter = Command::new(env!("CARGO_BIN_EXE_enroll"))
                .args(["submit", "--database", &base.0, "--sequence", SEQUENCE, "--request", path(&request)])
                .args(["--idempotency-key", &key, "--json"])
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            moment(40);
            submitter.kill().unwrap();
            let said = submitter.wait_with_output().unwrap().stdout;
            if let Ok(receipt) = serde_json::from_slice::<Value>(&said) {
                receipts.insert(receipt["enrollment_id"].as_str().unwrap().to_owned());
            }
            killed += 1;
        }
        receipts.insert(base.accepted(&request, &key));
        if killed < kills {
            moment(60);
            let victim = &mut processes[round as usize % 2];
            victim.kill().unwrap();
            victim.wait().unwrap();
            *victim = base.workers();
            killed += 1;
        }
    }
    // The last ones finish the rest; two at once here too.
    let (first, second) = std::thread::scope(|scope| {
        let first = scope.spawn(|| base.work_off());
        (base.work_off(), first.join().unwrap())
    });
    assert!(first.ends_with("0 rejected, 0 failed\n") && second.ends_with("0 rejected, 0 failed\n"), "{first}{second}");
    for process in &mut processes {
        process.kill().unwrap();
        process.wait().unwrap();
    }
    let recipients = whole(base, &receipts);
    println!(
        "{killed} kills, {} receipts, {recipients} recipients: every receipt completed exactly once",
        receipts.len()
    );
}

/// People that every batch takes many of, in an order of its own.
fn batch(round: u32) -> Value {
    let person = |n: u32| {
        let n = (round * 53 + n * 7) % 400;
        json!({ "phone": format!("+1303{:07}", 2_000_000 + n), "external_id": format!("p-{n}"), "name": format!("P{n}") })
    };
    json!({ "to": (0..150).map(person).collect::<Vec<_>>() })
}

/// Waits for a moment that nobody can foresee, up to so many milliseconds.
fn moment(most: u64) {
    let until = Instant::now() + Duration::from_micros(fastrand::u64(0..most * 1000));
    while Instant::now() < until {
        std::thread::yield_now();
    }
}

/// Each receipt is completed; what the reports say and what stands are one thing; nobody stands twice.
fn whole(base: &Base, receipts: &BTreeSet<String>) -> usize {
    let world = base.dump();
    assert_eq!(world.check_unique(), Ok(()));
    let (mut times, mut created, mut recipients): (BTreeMap<String, u64>, BTreeSet<String>, usize) = Default::default();
    for id in receipts {
        let status = base.status(id);
        assert_eq!(status["state"], "completed", "{status}");
        for outcome in status["outcomes"].as_array().unwrap() {
            recipients += 1;
            let step_contact = outcome["step_contact_id"].as_str().expect("everyone here is enrolled").to_owned();
            *times.entry(step_contact).or_default() += 1;
            if outcome["contact_created"] == true {
                assert!(created.insert(outcome["contact_id"].as_str().unwrap().to_owned()), "made twice: {outcome}");
            }
        }
    }
    // Each enrollment took its people once: no more, and no less.
    let stands: BTreeMap<String, u64> =
        world.step_contacts.iter().map(|row| (row.row.id.to_string(), row.row.times_processed.into())).collect();
    assert_eq!(times, stands);
    assert_eq!(world.runs.len(), stands.len());
    // Beside them, the one contact of the seed.
    assert_eq!(world.contacts.len(), created.len() + 1);
    let tags = world.tags.len();
    assert_eq!(tags, receipts.len());
    recipients
}

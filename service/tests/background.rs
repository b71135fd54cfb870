//! `submit`, `work`, `status` and `retry`: real processes on real databases, some of them killed.

mod support;

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use uuid::Uuid;

use support::{
    Folder, ORGANIZATION, PostgresClient, SEQUENCE, TestDatabase, enroll, error_line, json, on_postgresql, path,
    people, text,
};

impl TestDatabase {
    fn submit(&self, request: &Path, key: &str, more: &[&str]) -> std::process::Output {
        let [option, file] = people(request);
        let args = ["submit", "--database", &self.0, "--sequence", SEQUENCE, option, file];
        enroll(&args, &[&["--idempotency-key", key], more].concat())
    }

    fn accepted(&self, request: &Path, key: &str) -> String {
        let receipt = json(&self.submit(request, key, &["--json"]));
        receipt["enrollment_id"].as_str().unwrap().to_owned()
    }

    fn work(&self) -> String {
        text(&enroll(&["work", "--database", &self.0, "--until-empty"], &[]))
    }

    /// Works like `work`, but waits only one second for the leases of killed workers.
    fn work_after_kills(&self) -> String {
        text(&enroll(&["work", "--database", &self.0, "--until-empty", "--lease", "1"], &[]))
    }

    fn status(&self, id: &str) -> Value {
        let output = enroll(&["status", id, "--database", &self.0, "--json"], &[]);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {output:?}"))
    }

    /// Starts workers that run until they are killed. Their standard error is a pipe.
    fn start_workers(&self) -> Child {
        let mut workers = self.worker(&["--workers", "2", "--attempts", "1000"]);
        workers.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Returns the command of a worker whose leases take one second.
    fn worker(&self, options: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_enroll"));
        command.args(["work", "--database", &self.0, "--lease", "1"]).args(options).stdin(Stdio::null());
        command
    }
}

/// Lets each insert of contacts fail with an error of the server.
fn raise_at_inserts(client: &PostgresClient, condition: &str) {
    client.execute(&format!(
        "create or replace function refuse() returns trigger language plpgsql as
            $$ begin raise exception using errcode = '{condition}'; end $$;
        create or replace trigger refuse before insert on enroll.contacts for each statement execute function refuse()"
    ));
}

/// Lets each insert of contacts wait until this session unlocks the lock 1.
fn wait_at_inserts(holder: &PostgresClient) {
    holder.execute(
        "create function wait() returns trigger language plpgsql as
            $$ begin perform pg_advisory_xact_lock_shared(1); return null; end $$;
        create trigger wait before insert on enroll.contacts for each statement execute function wait();
        select pg_advisory_lock(1)",
    );
}

fn small_request(folder: &Folder) -> std::path::PathBuf {
    folder.file("one.json", r#"{"to": [{"phone": "2025550187", "name": "Ann"}, {"phone": "junk"}]}"#)
}

/// Submits, processes and reads an enrollment. Then submits it again, and with another body.
fn a_request_is_accepted_processed_and_reported(folder: &Folder, base: &TestDatabase) {
    let request = small_request(folder);
    let accepted = text(&base.submit(&request, "key-1", &[]));
    let id = accepted.split([' ', ':']).nth(1).unwrap();
    assert!(accepted.starts_with("accepted ") && accepted.contains(": 2 recipients, at "), "{accepted}");
    assert_eq!(base.status(id)["state"], "accepted");
    assert_eq!(base.dump().contacts.len(), 1);
    // Only a failed enrollment can be retried.
    let line = error_line(&enroll(&["retry", id, "--database", &base.0], &[]));
    assert!(line.contains("is accepted; only a failed enrollment can be retried"), "{line}");

    assert_eq!(base.work(), "1 completed, 0 rejected, 0 failed\n");
    let status = base.status(id);
    assert_eq!((&status["state"], &status["attempts"]), (&json!("completed"), &json!(1)));
    assert_eq!((&status["counts"]["added"], &status["counts"]["ignored"]), (&json!(1), &json!(1)));
    assert_eq!(status["outcomes"].as_array().unwrap().len(), 2);
    let printed = text(&enroll(&["status", id, "--database", &base.0], &[]));
    assert!(printed.starts_with(&format!("enrollment {id} is completed\n")), "{printed}");

    // The same request again gets the first receipt, and no work.
    let replayed = format!("{} (replayed: it was accepted before)\n", accepted.trim_end());
    assert_eq!(text(&base.submit(&request, "key-1", &[])), replayed);
    assert_eq!(base.work(), "0 completed, 0 rejected, 0 failed\n");
    let other = folder.file("other.json", r#"{"to": [{"phone": "2025550188"}]}"#);
    let line = error_line(&base.submit(&other, "key-1", &[]));
    assert!(line.contains("(idempotency_conflict)"), "{line}");
    let line = error_line(&base.submit(&folder.file("bad.json", r#"{"to": []}"#), "key-2", &[]));
    assert!(line.contains("(too_few)"), "{line}");
    let line = error_line(&enroll(&["status", "00000000-0000-0000-0000-0000000000ff", "--database", &base.0], &[]));
    assert!(line.contains("has no enrollment"), "{line}");
}

/// Work for a newer build stays accepted, also after a newer worker finished some of it while this one runs.
#[test]
fn a_command_of_a_newer_build_is_left_and_the_rest_is_processed() {
    let folder = Folder::new("background-newer");
    let base = TestDatabase::file(&folder);
    let request = folder.file("request.json", r#"{"to": [{"phone": "2025550177"}]}"#);
    let (newer, other) = (base.accepted(&request, "newer"), base.accepted(&request, "other"));
    let connection = rusqlite::Connection::open(&base.0).unwrap();
    let id = |text: &str| text.parse::<Uuid>().unwrap().into_bytes().to_vec();
    let update = "update enroll_enrollments set command = replace(command, '\"v\":1,', '\"v\":9,') where id = ?1";
    assert_eq!(connection.execute(update, [id(&newer)]).unwrap(), 1);
    let later =
        "update enroll_enrollments set due_at = cast(unixepoch('subsec') * 1000 as integer) + 4000 where id = ?1";
    assert_eq!(connection.execute(later, [id(&other)]).unwrap(), 1);

    let args = ["work", "--database", &base.0, "--until-empty"];
    let worker = Command::new(env!("CARGO_BIN_EXE_enroll")).args(args).stdout(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    let left = "select due_at > unixepoch('subsec') * 1000 + 20000 from enroll_enrollments where id = ?1";
    // While a worker has the enrollment, it is not due at all.
    while connection.query_row(left, [id(&newer)], |row| row.get::<_, Option<bool>>(0)).unwrap() != Some(true) {
        assert!(Instant::now() < deadline, "the newer command was not released");
        std::thread::sleep(Duration::from_millis(20));
    }
    let status = base.status(&newer);
    assert_eq!((&status["state"], &status["attempts"]), (&json!("accepted"), &json!(0)));
    // A newer worker finishes it. The other enrollment still waits.
    assert_eq!(connection.execute("delete from enroll_enrollments where id = ?1", [id(&newer)]).unwrap(), 1);
    let output = worker.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "1 completed, 0 rejected, 0 failed\n");
    assert_eq!(base.status(&other)["state"], json!("completed"));
}

#[test]
fn on_sqlite_a_request_is_accepted_processed_and_reported() {
    let folder = Folder::new("background");
    a_request_is_accepted_processed_and_reported(&folder, &TestDatabase::file(&folder));
}

on_postgresql! {
    fn on_postgresql_a_request_is_accepted_processed_and_reported() {
        let folder = Folder::new("background-postgresql");
        a_request_is_accepted_processed_and_reported(&folder, &TestDatabase::postgres(&folder));
    }
}

#[test]
fn an_enrollment_is_rejected_if_its_sequence_was_archived() {
    let folder = Folder::new("background-rejected");
    let base = TestDatabase::file(&folder);
    let id = base.accepted(&small_request(&folder), "key-1");
    let connection = rusqlite::Connection::open(&base.0).unwrap();
    assert_eq!(connection.execute("update enroll_sequences set status = 'archived'", []).unwrap(), 1);
    assert_eq!(base.work(), "0 completed, 1 rejected, 0 failed\n");
    let output = enroll(&["status", &id, "--database", &base.0], &[]);
    assert_eq!(output.status.code(), Some(1));
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.contains("is rejected") && printed.contains("(sequence_not_active)"), "{printed}");
    assert_eq!(base.dump().contacts.len(), 1);
}

/// A failed enrollment has a bounded number of attempts, shows its error, and can be retried.
#[test]
fn a_failed_enrollment_is_reported_and_can_be_retried() {
    let folder = Folder::new("background-failed");
    let base = TestDatabase::file(&folder);
    let request = small_request(&folder);
    let id = base.accepted(&request, "key-1");
    // A trigger of the host rejects every new contact.
    let connection = rusqlite::Connection::open(&base.0).unwrap();
    let trigger =
        "create trigger reject_contacts before insert on enroll_contacts begin select raise(abort, 'not today'); end";
    connection.execute_batch(trigger).unwrap();
    let worked = enroll(&["work", "--database", &base.0, "--until-empty", "--attempts", "1"], &[]);
    assert_eq!(String::from_utf8_lossy(&worked.stdout), "0 completed, 0 rejected, 1 failed\n");
    assert_eq!(worked.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&worked.stderr).contains(&format!("`enroll retry {id}`")));
    let status = base.status(&id);
    assert_eq!((&status["state"], &status["attempts"]), (&json!("failed"), &json!(1)));
    assert!(status["error"].as_str().unwrap().contains("constraint failed, code 1811"), "{status}");
    // The same request gets its receipt. Only a retry makes it wait again.
    assert_eq!(base.accepted(&request, "key-1"), id);
    assert_eq!(base.status(&id)["state"], "failed");
    connection.execute_batch("drop trigger reject_contacts").unwrap();
    assert_eq!(
        text(&enroll(&["retry", &id, "--database", &base.0], &[])),
        format!("accepted {id} again; `enroll work` processes it\n")
    );
    assert_eq!(base.work(), "1 completed, 0 rejected, 0 failed\n");
    assert_eq!(base.status(&id)["state"], "completed");
}

/// A lost lease does not count as an attempt, but 20 in a row set an enrollment aside. The others go on.
#[test]
fn an_enrollment_that_ends_its_workers_is_set_aside() {
    let folder = Folder::new("background-lost");
    let base = TestDatabase::file(&folder);
    let request = small_request(&folder);
    let (poison, other) = (base.accepted(&request, "poison"), base.accepted(&request, "other"));
    let connection = rusqlite::Connection::open(&base.0).unwrap();
    let set_lost = |lost: u32| {
        let update = "update enroll_enrollments set unanswered = ?2 where id = ?1";
        let id = poison.parse::<Uuid>().unwrap().into_bytes().to_vec();
        assert_eq!(connection.execute(update, rusqlite::params![id, lost]).unwrap(), 1);
    };
    set_lost(20);
    let worked = enroll(&["work", "--database", &base.0, "--until-empty", "--attempts", "1"], &[]);
    assert_eq!(String::from_utf8_lossy(&worked.stdout), "1 completed, 0 rejected, 1 failed\n");
    assert_eq!(base.status(&other)["state"], "completed");
    let status = base.status(&poison);
    assert_eq!((&status["state"], &status["attempts"]), (&json!("failed"), &json!(1)));
    assert!(status["error"].as_str().unwrap().contains("last 20 leases"), "{status}");
    let retried = text(&enroll(&["retry", &poison, "--database", &base.0], &[]));
    assert!(retried.starts_with("accepted"), "{retried}");
    // 19 are not enough.
    set_lost(19);
    assert_eq!(base.work(), "1 completed, 0 rejected, 0 failed\n");
}

#[test]
fn all_failed_enrollments_are_retried() {
    let folder = Folder::new("background-retry-all");
    let base = TestDatabase::file(&folder);
    let request = small_request(&folder);
    let retry = |more: &[&str]| text(&enroll(&["retry", "--all", "--database", &base.0], more));
    assert_eq!(retry(&[]), "no enrollment has failed\n");
    let ids = [base.accepted(&request, "one"), base.accepted(&request, "two"), base.accepted(&request, "three")];
    let connection = rusqlite::Connection::open(&base.0).unwrap();
    // The first failed at 1 s, the others at 2 s.
    let fail = "update enroll_enrollments set state = 'failed', error = 'e', due_at = null,
        failed_at = case when id = (select min(id) from enroll_enrollments) then 1000 else 2000 end";
    assert_eq!(connection.execute(fail, []).unwrap(), 3);
    let printed = retry(&["--since", "1970-01-01T00:00:02Z", "--json"]);
    assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), json!({ "retried": 2 }));
    assert_eq!(retry(&[]), "accepted 1 enrollment again; `enroll work` processes it\n");
    assert_eq!(base.work(), "3 completed, 0 rejected, 0 failed\n");
    assert!(ids.iter().all(|id| base.status(id)["state"] == "completed"));
    assert_eq!(enroll(&["retry", "--database", &base.0], &[]).status.code(), Some(2), "neither an id nor `--all`");
}

on_postgresql! {
    fn on_postgresql_an_outage_is_no_failed_attempt() {
        let folder = Folder::new("background-outage");
        let base = TestDatabase::postgres(&folder);
        let id = base.accepted(&small_request(&folder), "key-1");
        let client = PostgresClient::connect(&base.0);
        // As the server answers if the disk is full, and if another session keeps a lock.
        for condition in ["disk_full", "lock_not_available"] {
            raise_at_inserts(&client, condition);
            let worked = enroll(&["work", "--database", &base.0, "--until-empty", "--attempts", "1"], &[]);
            assert_eq!(worked.status.code(), Some(2), "{worked:?}");
            let status = base.status(&id);
            assert_eq!((&status["state"], &status["attempts"]), (&json!("accepted"), &json!(0)), "{condition}");
            // The worker gave its lease back.
            let kept = "select (select count(leased_id) from enroll.queues)
                + (select sum(unanswered) from enroll.enrollments) = 0";
            assert_eq!(client.value(kept), "t", "{condition}");
        }
        client.execute("drop trigger refuse on enroll.contacts");
        assert_eq!(base.work(), "1 completed, 0 rejected, 0 failed\n");
    }

    fn on_postgresql_lost_races_are_no_failed_attempt() {
        let folder = Folder::new("background-contended");
        let base = TestDatabase::postgres(&folder);
        let id = base.accepted(&small_request(&folder), "key-1");
        let client = PostgresClient::connect(&base.0);
        raise_at_inserts(&client, "serialization_failure");
        let mut worker = base.worker(&["--attempts", "1"]).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(worker.stderr.take().unwrap()).lines();
        for _ in 0..2 {
            let line = lines.next().unwrap().unwrap();
            assert!(line.starts_with(&format!("left {id} for later")), "{line}");
        }
        let status = base.status(&id);
        assert_eq!((&status["state"], &status["attempts"]), (&json!("accepted"), &json!(0)));
        client.execute("drop trigger refuse on enroll.contacts");
        client.wait_until("select state = 'completed' from enroll.enrollments");
        worker.kill().unwrap();
        worker.wait().unwrap();
    }

    fn on_postgresql_two_workers_on_one_enrollment_count_it_once() {
        let folder = Folder::new("background-once");
        let base = TestDatabase::postgres(&folder);
        let _id = base.accepted(&small_request(&folder), "key-1");
        // In a transaction, statistics do not change.
        let [holder, session] = [(); 2].map(|()| PostgresClient::connect(&base.0));
        holder.execute("begin; lock table enroll.contacts in access exclusive mode");
        // The lease of the first worker ends while it loads, so the second one claims the enrollment too.
        let waits = |workers: u32| {
            session.wait_until(&format!(
                "select count(*) = {workers} from pg_stat_activity
                where wait_event_type = 'Lock' and datname = current_database()"
            ));
        };
        let start = || {
            let mut worker = base.worker(&["--until-empty"]);
            worker.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
        };
        let first = start();
        waits(1);
        let second = start();
        waits(2);
        holder.execute("rollback");
        let mut printed = [first, second].map(|worker| text(&worker.wait_with_output().unwrap()));
        printed.sort();
        assert_eq!(printed, ["0 completed, 0 rejected, 0 failed\n", "1 completed, 0 rejected, 0 failed\n"]);
    }

    fn on_postgresql_a_frozen_worker_stops_no_other_organization() {
        let folder = Folder::new("background-frozen");
        let base = TestDatabase::postgres(&folder);
        let mut seed: Value = serde_json::from_str(&std::fs::read_to_string(folder.0.join("seed.json")).unwrap()).unwrap();
        let other_organization = Uuid::from_u128(2).to_string();
        seed["organization_id"] = json!(other_organization);
        let seed = folder.file("other.json", &seed.to_string());
        text(&enroll(&["seed", path(&seed), "--database", &base.0], &[]));
        let request = small_request(&folder);
        let organization = ORGANIZATION.to_string();
        let frozen = json(&base.submit(&request, "one", &["--json", "--organization", &organization]));
        // The worker waits for this lock in the middle of its commit. There it is stopped.
        let holder = PostgresClient::connect(&base.0);
        wait_at_inserts(&holder);
        let mut worker = base.start_workers();
        holder.wait_until("select count(*) = 1 from pg_locks where locktype = 'advisory' and not granted");
        let signal = |name: &str| {
            assert!(Command::new("kill").args([name, &worker.id().to_string()]).status().unwrap().success());
        };
        signal("-STOP");
        holder.execute("select pg_advisory_unlock(1)");
        let other = json(&base.submit(&request, "two", &["--json", "--organization", &other_organization]));
        let other = other["enrollment_id"].as_str().unwrap();
        // It completes while the worker is stopped.
        let mut second = base.start_workers();
        holder.wait_until(&format!("select state = 'completed' from enroll.enrollments where id = '{other}'"));
        let frozen = frozen["enrollment_id"].as_str().unwrap();
        assert_eq!(holder.value(&format!("select state from enroll.enrollments where id = '{frozen}'")), "accepted");
        signal("-CONT");
        holder.wait_until(&format!("select state = 'completed' from enroll.enrollments where id = '{frozen}'"));
        for process in [&mut worker, &mut second] {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }
}

/// A list with more people than a request can hold gets a receipt for each request, and enrolls no one twice.
#[test]
fn a_long_list_is_accepted_as_several_requests() {
    let folder = Folder::new("background-parts");
    let base = TestDatabase::file(&folder);
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

/// After SIGTERM, a worker finishes its enrollment and leaves the others.
#[cfg(unix)]
#[test]
fn a_worker_finishes_its_enrollment_after_sigterm() {
    let folder = Folder::new("background-stop");
    let base = TestDatabase::file(&folder);
    let mut workers = base.start_workers();
    let id = base.accepted(&small_request(&folder), "key-1");
    let mut lines = BufReader::new(workers.stderr.take().unwrap()).lines();
    let completed = lines.next().unwrap().unwrap();
    assert_eq!(completed, format!("completed {id}: 1 added, 1 ignored"));
    let term = Command::new("kill").args(["-TERM", &workers.id().to_string()]).status().unwrap();
    assert!(term.success());
    assert_eq!(workers.wait().unwrap().code(), Some(0));
    assert!(lines.next().unwrap().unwrap().starts_with("finishing the running work"));
}

#[test]
fn two_concurrent_processes_complete_each_receipt_once() {
    let folder = Folder::new("background-two");
    kill_processes(&folder, &TestDatabase::file(&folder), 0);
}

#[test]
fn on_sqlite_each_receipt_is_completed_once_through_kills() {
    let folder = Folder::new("background-kills");
    kill_processes(&folder, &TestDatabase::file(&folder), kills());
}

on_postgresql! {
    fn on_postgresql_each_receipt_is_completed_once_through_kills() {
        let folder = Folder::new("background-kills-postgresql");
        kill_processes(&folder, &TestDatabase::postgres(&folder), kills());
    }
}

/// Returns the number of kills: `ENROLL_KILLS`, or 10.
fn kills() -> u32 {
    std::env::var("ENROLL_KILLS").map_or(10, |kills| kills.parse().expect("`ENROLL_KILLS` is a number"))
}

/// Runs two worker processes. Repeatedly kills one of them, or the submitter, with SIGKILL at a random moment. Then checks
/// that every printed receipt is completed exactly once.
fn kill_processes(folder: &Folder, base: &TestDatabase, kills: u32) {
    let mut receipts = BTreeSet::new();
    let mut processes = [base.start_workers(), base.start_workers()];
    let mut killed = 0;
    for number in 0..kills.max(12) {
        let request = folder.file("batch.json", &batch(number).to_string());
        let key = format!("batch-{number}");
        if number % 4 == 3 && killed < kills {
            // Kill the submitter. If it printed a receipt, the receipt counts; submitting again is harmless.
            let mut submitter = Command::new(env!("CARGO_BIN_EXE_enroll"))
                .args(["submit", "--database", &base.0, "--sequence", SEQUENCE, "--request", path(&request)])
                .args(["--idempotency-key", &key, "--json"])
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            random_wait(40);
            submitter.kill().unwrap();
            let printed = submitter.wait_with_output().unwrap().stdout;
            if let Ok(receipt) = serde_json::from_slice::<Value>(&printed) {
                receipts.insert(receipt["enrollment_id"].as_str().unwrap().to_owned());
            }
            killed += 1;
        }
        receipts.insert(base.accepted(&request, &key));
        if killed < kills {
            random_wait(60);
            let victim = &mut processes[number as usize % 2];
            victim.kill().unwrap();
            victim.wait().unwrap();
            *victim = base.start_workers();
            killed += 1;
        }
    }
    // Two concurrent processes finish the rest.
    let (first, second) = std::thread::scope(|scope| {
        let first = scope.spawn(|| base.work_after_kills());
        (base.work_after_kills(), first.join().unwrap())
    });
    assert!(first.ends_with("0 rejected, 0 failed\n") && second.ends_with("0 rejected, 0 failed\n"), "{first}{second}");
    for process in &mut processes {
        process.kill().unwrap();
        process.wait().unwrap();
    }
    let recipients = check_all_completed(base, &receipts);
    println!(
        "{killed} kills, {} receipts, {recipients} recipients: every receipt completed exactly once",
        receipts.len()
    );
}

/// Returns a batch of people. Batches overlap, and each has another order.
fn batch(number: u32) -> Value {
    let person = |n: u32| {
        let n = (number * 53 + n * 7) % 400;
        json!({ "phone": format!("+1303{:07}", 2_000_000 + n), "external_id": format!("p-{n}"), "name": format!("P{n}") })
    };
    json!({ "to": (0..150).map(person).collect::<Vec<_>>() })
}

/// Waits for a random time of at most `max` milliseconds.
fn random_wait(max: u64) {
    let until = Instant::now() + Duration::from_micros(fastrand::u64(0..max * 1000));
    while Instant::now() < until {
        std::thread::yield_now();
    }
}

/// Checks that each receipt is completed, and that the reports agree with the stored rows. Returns the number of recipients.
fn check_all_completed(base: &TestDatabase, receipts: &BTreeSet<String>) -> usize {
    let rows = base.dump();
    assert_eq!(rows.check_unique(), Ok(()));
    let (mut times, mut created, mut recipients): (BTreeMap<String, u64>, BTreeSet<String>, usize) = Default::default();
    for id in receipts {
        let status = base.status(id);
        assert_eq!(status["state"], "completed", "{status}");
        for outcome in status["outcomes"].as_array().unwrap() {
            recipients += 1;
            let step_contact = outcome["step_contact_id"].as_str().expect("everyone here is enrolled").to_owned();
            *times.entry(step_contact).or_default() += 1;
            if outcome["contact_created"] == true {
                assert!(created.insert(outcome["contact_id"].as_str().unwrap().to_owned()), "created twice: {outcome}");
            }
        }
    }
    // Each enrollment processed its recipients exactly once.
    let stored: BTreeMap<String, u64> =
        rows.step_contacts.iter().map(|row| (row.row.id.to_string(), row.row.times_processed.into())).collect();
    assert_eq!(times, stored);
    assert_eq!(rows.runs.len(), stored.len());
    // The seed contains one contact.
    assert_eq!(rows.contacts.len(), created.len() + 1);
    let tags = rows.tags.len();
    assert_eq!(tags, receipts.len());
    recipients
}

//! A database that is restored from a backup: what it has lost, and what it does again (docs/operations.md).

mod support;

use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::Command;

use support::service::{Service, on_both};
use support::{empty_postgres, enroll, path, text};

/// Copies the database while the service uses it, as docs/operations.md says.
fn back_up(service: &Service) -> PathBuf {
    let backup = service.file("backup", "");
    std::fs::remove_file(&backup).unwrap();
    if service.database.starts_with("postgres") {
        let file = format!("--file={}", path(&backup));
        run(&postgres_program("pg_dump"), &["--format=custom", &file, &format!("--dbname={}", service.database)]);
    } else {
        let connection = rusqlite::Connection::open(&service.database).unwrap();
        connection.execute("vacuum into ?1", [path(&backup)]).unwrap();
    }
    backup
}

/// Stops the service, and starts it on the restored database.
fn restore(service: &mut Service, backup: &PathBuf) {
    service.terminate();
    service.wait_for_end();
    if service.database.starts_with("postgres") {
        let database = empty_postgres(&format!("restored_{}", std::process::id()));
        let to = format!("--dbname={database}");
        run(&postgres_program("pg_restore"), &["--exit-on-error", &to, path(backup)]);
        service.database = database;
    } else {
        for end in ["", "-wal", "-shm"] {
            let _absent = std::fs::remove_file(format!("{}{end}", service.database));
        }
        std::fs::copy(backup, &service.database).unwrap();
    }
    service.kill_and_restart(&["--workers", "0"]);
}

fn run(program: &PathBuf, args: &[&str]) {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{}: {}", program.display(), String::from_utf8_lossy(&output.stderr));
}

/// Returns the newest installed program of PostgreSQL, or the one on the path.
fn postgres_program(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let programs = versions.map(|version| version.path().join("bin").join(name)).filter(|program| program.is_file());
    let version = |program: &PathBuf| program.components().nth(4)?.as_os_str().to_str()?.parse::<u32>().ok();
    programs.max_by_key(version).unwrap_or_else(|| name.into())
}

fn work(service: &Service) {
    text(&enroll(&["work", "--database", &service.database, "--until-empty"], &[]));
}

fn result(service: &Service, id: &str) -> Value {
    service.get(&format!("/v1/enrollments/{id}")).json["data"].clone()
}

fn a_restored_database_repeats_what_it_had_accepted_with_the_same_ids(service: &mut Service) {
    let waiting = service.enroll(&json!({"to": [{"phone": "+12025550187", "name": "Ann"}]}), &[]).accepted();
    let backup = back_up(service);

    // After the backup, the waiting enrollment is completed, and another one comes.
    let (later, key) = (json!({"to": [{"phone": "+12025550188"}]}), [("Idempotency-Key", "later")]);
    let lost = service.enroll(&later, &key).accepted();
    work(service);
    let [first, later_result] = [&waiting, &lost].map(|id| result(service, id));
    assert_eq!((&first["state"], &later_result["state"]), (&json!("completed"), &json!("completed")));

    restore(service, &backup);
    assert_eq!(result(service, &waiting)["state"], "accepted");
    service.get(&format!("/v1/enrollments/{lost}")).assert_error(404, "enrollment_not_found", "");
    // A known key works, since the backup has it.
    assert_eq!(service.get("/v1/organization").status, 200);

    work(service);
    let second = result(service, &waiting);
    assert_eq!(second["state"], "completed");
    for member in ["outcomes", "accepted_at", "upload_tag"] {
        assert_eq!(second[member], first[member], "{member}");
    }
    assert!(second["outcomes"][0]["step_contact_id"].is_string(), "{second}");

    // The same request is a new one, with the same id and other rows.
    let again = service.enroll(&later, &key);
    assert_eq!((again.accepted(), &again.json["data"]["replayed"]), (lost.clone(), &json!(null)));
    work(service);
    let (before, after) = (&later_result["outcomes"][0], &result(service, &lost)["outcomes"][0]);
    assert_eq!((&before["disposition"], &after["disposition"]), (&json!("added"), &json!("added")));
    assert!(before["step_contact_id"].is_string() && before["step_contact_id"] != after["step_contact_id"]);
}

on_both! {
    a_restored_database_repeats_what_it_had_accepted_with_the_same_ids with ["--workers", "0"];
}

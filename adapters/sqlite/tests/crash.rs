//! A process that is killed at any moment leaves each enrollment complete or absent.
#![cfg(feature = "testing")]

mod support;

use enroll::events::{EventLog, EventPosition};
use enroll_sqlite::SqliteRepository;
use std::collections::BTreeSet;
use std::env;
use std::num::NonZeroU32;
use std::path::Path;
use std::time::Duration;
use support::{FILE, ORGANIZATION, TestRequest, count, ids_until_killed, open_seeded, reports};
use uuid::Uuid;

const COMMITTED: &str = "committed ";
const CONTACTS: usize = 40;
const KILLS: u64 = 16;

#[test]
fn a_killed_process_leaves_each_enrollment_complete_or_absent() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("enroll.db");
    open_seeded(&file).enable_events(true).unwrap();
    let mut committed = BTreeSet::new();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut took = Duration::from_millis(20);
    for kill in 0..KILLS {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // A moment during the next enrollment.
        let spin = took * u32::try_from(random >> 56).unwrap() / 256;
        took = ids_until_killed(&file, COMMITTED, 1 + u32::try_from(kill % 3).unwrap(), spin, &mut committed);
        check(&file, &committed);
    }
    assert!(committed.len() >= usize::try_from(KILLS).unwrap(), "{}", committed.len());
}

fn check(file: &Path, committed: &BTreeSet<Uuid>) {
    let mut repository = SqliteRepository::open(file).unwrap();
    let stored = reports(&mut repository);
    let events = repository.events(EventPosition::START, NonZeroU32::MAX).unwrap();
    let mut completed: Vec<_> = events.iter().map(|event| (event.enrollment_id, event.counts)).collect();
    completed.sort_by_key(|(enrollment_id, _)| *enrollment_id);
    let reported: Vec<_> = stored.iter().map(|report| (report.enrollment_id, Some(report.counts()))).collect();
    assert_eq!(completed, reported, "each enrollment has one event");
    let connection = repository.connection();
    let answer: String = connection.query_row("pragma integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(answer, "ok");
    let ids: BTreeSet<Uuid> = stored.iter().map(|report| report.enrollment_id.as_uuid()).collect();
    assert!(ids.is_superset(committed), "a committed enrollment is lost");
    // All rows of each report exist …
    let exists = |table: &str, id: Uuid| {
        let sql = format!("select count(*) from {table} where organization_id = ?1 and id = ?2");
        assert_eq!(
            connection.query_row(&sql, [ORGANIZATION, id], |row| row.get::<_, i64>(0)).unwrap(),
            1,
            "{table} {id}"
        );
    };
    for report in &stored {
        assert_eq!(report.counts().added, CONTACTS);
        exists("enroll_tags", report.upload_tag.as_ref().unwrap().id.as_uuid());
        for outcome in report.outcomes.iter().filter(|outcome| outcome.disposition.is_enrolled()) {
            exists("enroll_contacts", outcome.contact_id.unwrap().as_uuid());
            exists("enroll_conversations", outcome.conversation_id.unwrap().as_uuid());
            exists("enroll_step_contacts", outcome.step_contact_id.unwrap().as_uuid());
            exists("enroll_custom_records", outcome.record_id.unwrap().as_uuid());
        }
    }
    // … and no other rows.
    assert_eq!(count(connection, "enroll_tags"), stored.len());
    for table in [
        "enroll_contacts",
        "enroll_conversations",
        "enroll_runs",
        "enroll_step_contacts",
        "enroll_contact_tags",
        "enroll_custom_records",
    ] {
        assert_eq!(count(connection, table), stored.len() * CONTACTS, "{table}");
    }
    assert_eq!(count(connection, "enroll_engine where writing = 0"), 1);
}

/// Enrolls until it is killed, each time other contacts.
#[test]
#[ignore = "the other test starts it as a process, and kills it"]
fn child() {
    let Ok(file) = env::var(FILE) else {
        println!("does nothing: the other test starts it with `{FILE}`");
        return;
    };
    let mut repository = SqliteRepository::open(file).unwrap();
    for batch in count(repository.connection(), "enroll_enrollments").. {
        let numbers = batch * CONTACTS..(batch + 1) * CONTACTS;
        let report = TestRequest::new(&format!("batch-{batch}"), numbers).enroll(&mut repository).unwrap();
        // Starts a new line, because the harness printed `test child ... ` before the first id.
        println!("\n{COMMITTED}{}", report.enrollment_id);
    }
}

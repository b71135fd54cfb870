//! A process that is killed at any moment leaves whole enrollments and none that is half.
#![cfg(feature = "testing")]

mod support;

use enroll::EnrollmentReport;
use enroll_sqlite::SqliteRepository;
use std::collections::BTreeSet;
use std::env;
use std::path::Path;
use std::time::Duration;
use support::{Asked, FILE, ORGANIZATION, count, seeded, told_until_killed};
use uuid::Uuid;

const COMMITTED: &str = "committed ";
const PEOPLE: usize = 40;
const KILLS: u64 = 16;

#[test]
fn a_killed_process_leaves_each_enrollment_whole_or_absent() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("enroll.db");
    drop(seeded(&file));
    let mut committed = BTreeSet::new();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut took = Duration::from_millis(20);
    for kill in 0..KILLS {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Somewhere within the next enrollment.
        let spin = took * u32::try_from(random >> 56).unwrap() / 256;
        took = told_until_killed(&file, COMMITTED, 1 + u32::try_from(kill % 3).unwrap(), spin, &mut committed);
        check(&file, &committed);
    }
    assert!(committed.len() >= usize::try_from(KILLS).unwrap(), "{}", committed.len());
}

fn check(file: &Path, committed: &BTreeSet<Uuid>) {
    let repository = SqliteRepository::open(file).unwrap();
    let connection = repository.connection();
    let told: String = connection.query_row("pragma integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(told, "ok");
    let stored: Vec<(Uuid, String)> = connection
        .prepare("select id, report from enroll_enrollments")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .collect::<Result<_, _>>()
        .unwrap();
    let stands: BTreeSet<Uuid> = stored.iter().map(|(id, _)| *id).collect();
    assert!(stands.is_superset(committed), "what was told as committed is gone");
    // Each has all that its report says …
    let exists = |table: &str, id: Uuid| {
        let sql = format!("select count(*) from {table} where organization_id = ?1 and id = ?2");
        assert_eq!(
            connection.query_row(&sql, [ORGANIZATION, id], |row| row.get::<_, i64>(0)).unwrap(),
            1,
            "{table} {id}"
        );
    };
    for (_, report) in &stored {
        let report: EnrollmentReport = serde_json::from_str(report).unwrap();
        assert_eq!(report.counts().added, PEOPLE);
        exists("enroll_tags", report.upload_tag.unwrap().id.as_uuid());
        for outcome in report.outcomes.iter().filter(|outcome| outcome.disposition.is_enrolled()) {
            exists("enroll_contacts", outcome.contact_id.unwrap().as_uuid());
            exists("enroll_conversations", outcome.conversation_id.unwrap().as_uuid());
            exists("enroll_step_contacts", outcome.step_contact_id.unwrap().as_uuid());
            exists("enroll_custom_records", outcome.record_id.unwrap().as_uuid());
        }
    }
    // … and nothing stands beside.
    assert_eq!(count(connection, "enroll_tags"), stored.len());
    for table in [
        "enroll_contacts",
        "enroll_conversations",
        "enroll_runs",
        "enroll_step_contacts",
        "enroll_contact_tags",
        "enroll_custom_records",
    ] {
        assert_eq!(count(connection, table), stored.len() * PEOPLE, "{table}");
    }
    assert_eq!(count(connection, "enroll_engine where writing = 0"), 1);
}

/// Enrolls until it is killed, each time people of its own.
#[test]
#[ignore = "it is the process that the other test kills"]
fn child() {
    let Ok(file) = env::var(FILE) else {
        println!("does nothing by itself: the other test starts it with `{FILE}`");
        return;
    };
    let mut repository = SqliteRepository::open(file).unwrap();
    for batch in count(repository.connection(), "enroll_enrollments").. {
        let people = batch * PEOPLE..(batch + 1) * PEOPLE;
        let report = Asked::people(&format!("batch-{batch}"), people).enroll(&mut repository).unwrap();
        // A line of its own: the harness has written `test child ... ` before the first.
        println!("\n{COMMITTED}{}", report.enrollment_id);
    }
}

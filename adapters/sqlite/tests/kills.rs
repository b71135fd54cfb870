//! Each accepted enrollment is completed once, even if the worker process is killed many times.
#![cfg(feature = "testing")]

mod support;

use enroll::events::{EventLog, EventPosition};
use enroll::inbox::Failure;
use enroll::{EnrollmentReport, Inbox, Timestamp};
use enroll_sqlite::SqliteRepository;
use rusqlite::Connection;
use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::num::NonZeroU32;
use std::path::Path;
use std::time::{Duration, SystemTime};
use support::{FILE, ORGANIZATION, TestRequest, count, ids_until_killed, open_seeded, process, reports};
use uuid::Uuid;

const KILLS: &str = "ENROLL_KILLS";
const ACCEPTED: &str = "accepted ";
const CONTACTS: usize = 30;
/// The number of contacts of a batch that the next batch repeats.
const REPEATED: usize = 10;
const LEASE: Duration = Duration::from_millis(200);

#[test]
fn every_receipt_is_completed_once_although_workers_are_killed() {
    let kills: u32 = env::var(KILLS).map_or(10, |kills| kills.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("enroll.db");
    open_seeded(&file).enable_events(true).unwrap();
    let mut receipts = BTreeSet::new();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut took = Duration::from_millis(20);
    for kill in 0..kills {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // A moment between two receipts.
        let spin = took * u32::try_from(random >> 56).unwrap() / 256;
        took = ids_until_killed(&file, ACCEPTED, 1 + kill % 4, spin, &mut receipts);
        check_file(&file);
    }
    let mut repository = SqliteRepository::open(&file).unwrap();
    while count(repository.connection(), "enroll_enrollments where state = 'accepted'") > 0 {
        // The leases of the killed processes end.
        if let Some(claim) = repository.claim(LEASE).unwrap() {
            process(&mut repository, claim, now()).unwrap();
        }
    }
    let reports = reports(&mut repository);
    check(repository.connection(), &reports, &receipts);
    check_events(&mut repository, &reports);
    assert!(receipts.len() >= kills.try_into().unwrap(), "{}", receipts.len());
    println!("kills: {kills}, receipts: {}, all completed once", receipts.len());
}

fn check_file(file: &Path) {
    let repository = SqliteRepository::open(file).unwrap();
    let answer: String = repository.connection().query_row("pragma integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(answer, "ok");
}

fn check(connection: &Connection, reports: &[EnrollmentReport], receipts: &BTreeSet<Uuid>) {
    let states = "enroll_enrollments where state <> 'completed' or command is not null or due_at is not null";
    assert_eq!(count(connection, states), 0);
    let completed: BTreeSet<Uuid> = reports.iter().map(|report| report.enrollment_id.as_uuid()).collect();
    assert_eq!(completed.len(), reports.len());
    assert!(completed.is_superset(receipts), "a receipt was lost");

    // The stored rows are exactly those of all reports.
    let mut contacts = Vec::new();
    let mut conversations = Vec::new();
    let mut processed = BTreeMap::<Uuid, (i64, BTreeSet<Uuid>)>::new();
    let mut records = BTreeSet::new();
    let mut tagged = 0;
    for report in reports {
        assert_eq!(report.outcomes.len(), CONTACTS + 1);
        let enrolled: Vec<_> = report.outcomes.iter().filter(|outcome| outcome.disposition.is_enrolled()).collect();
        assert_eq!(enrolled.len(), CONTACTS);
        tagged += enrolled.len();
        for outcome in enrolled {
            contacts.extend(outcome.contact_created.then(|| outcome.contact_id.unwrap().as_uuid()));
            conversations.extend(outcome.conversation_created.then(|| outcome.conversation_id.unwrap().as_uuid()));
            records.insert(outcome.record_id.unwrap().as_uuid());
            let (times, by) = processed.entry(outcome.step_contact_id.unwrap().as_uuid()).or_default();
            *times += 1;
            by.insert(report.enrollment_id.as_uuid());
        }
    }
    contacts.sort_unstable();
    conversations.sort_unstable();
    assert_eq!(ids(connection, "enroll_contacts"), contacts);
    assert_eq!(ids(connection, "enroll_conversations"), conversations);
    assert_eq!(ids(connection, "enroll_custom_records"), records.into_iter().collect::<Vec<_>>());
    assert_eq!(count(connection, "enroll_runs"), contacts.len());
    assert_eq!(count(connection, "enroll_tags"), reports.len());
    assert_eq!(count(connection, "enroll_contact_tags"), tagged);
    // Each batch adds new contacts; in the first, all are new.
    assert_eq!(contacts.len(), reports.len() * (CONTACTS - REPEATED) + REPEATED);
    assert!(processed.values().any(|(times, _)| *times > 1));
    let mut statement =
        connection.prepare("select id, times_processed, enrollment_id from enroll_step_contacts").unwrap();
    let mut rows = statement.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        let (times, by) = processed.remove(&row.get(0).unwrap()).unwrap();
        assert_eq!(row.get(1), Ok(times));
        assert!(by.contains(&row.get(2).unwrap()));
    }
    assert_eq!(processed, BTreeMap::new());
}

/// Each enrollment has one event of its acceptance and one of its completion, with the counts of its report.
fn check_events(repository: &mut SqliteRepository, reports: &[EnrollmentReport]) {
    let (mut position, mut events) = (EventPosition::START, Vec::new());
    loop {
        let page = repository.events(position, NonZeroU32::new(7).unwrap()).unwrap();
        let Some(last) = page.last() else { break };
        position = last.position;
        events.extend(page);
    }
    let ids: BTreeSet<_> = events.iter().map(|event| event.id).collect();
    assert_eq!(ids.len(), events.len());
    let mut found: Vec<_> = events.iter().map(|event| (event.enrollment_id, event.position, event.counts)).collect();
    found.sort_unstable_by_key(|(enrollment_id, position, _)| (*enrollment_id, *position));
    let found: Vec<_> = found.into_iter().map(|(enrollment_id, _, counts)| (enrollment_id, counts)).collect();
    let mut expected: Vec<_> = reports
        .iter()
        .flat_map(|report| [(report.enrollment_id, None), (report.enrollment_id, Some(report.counts()))])
        .collect();
    expected.sort_by_key(|(enrollment_id, _)| *enrollment_id);
    assert_eq!(found, expected);
    println!("events: {}, two of each enrollment", events.len());
}

fn ids(connection: &Connection, table: &str) -> Vec<Uuid> {
    let mut statement =
        connection.prepare(&format!("select id from {table} where organization_id = ?1 order by id")).unwrap();
    statement.query_map([ORGANIZATION], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

/// Accepts and processes until it is killed. Starts with the last batch, whose receipt may not have been printed.
#[test]
#[ignore = "the other test starts it as a process, and kills it"]
fn child() {
    let Ok(file) = env::var(FILE) else {
        println!("does nothing: the other test starts it with `{FILE}`");
        return;
    };
    let mut repository = SqliteRepository::open(file).unwrap();
    for batch in count(repository.connection(), "enroll_enrollments").saturating_sub(1).. {
        let first = batch * (CONTACTS - REPEATED);
        let receipt =
            TestRequest::new(&format!("batch-{batch}"), first..first + CONTACTS).accept(&mut repository).unwrap();
        // Starts a new line, because the harness printed `test child ... ` before the first id.
        println!("\n{ACCEPTED}{}", receipt.enrollment_id);
        let Some(claim) = repository.claim(LEASE).unwrap() else { continue };
        if batch % 5 == 0 && claim.attempts == 0 {
            let failure = Failure::new("left for later", Some(Duration::ZERO));
            repository.record_failure(&claim, &failure).unwrap();
        } else {
            process(&mut repository, claim, now()).unwrap();
        }
    }
}

fn now() -> Timestamp {
    SystemTime::now().try_into().unwrap()
}

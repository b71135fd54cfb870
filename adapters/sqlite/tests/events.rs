//! Events of SQLite: of a host's own writes, in a host's own transaction, and of deleted rows.
#![cfg(feature = "testing")]

mod support;

use enroll::events::{Event, EventKind, EventLog, EventPosition};
use enroll::uuid::Version;
use enroll_sqlite::{SqliteRepository, SqliteTransaction};
use rusqlite::params;
use std::num::NonZeroU32;
use support::{LEASE, ORGANIZATION, TestRequest, at, count, in_memory, process};
use uuid::Uuid;

fn with_events() -> SqliteRepository {
    let mut repository = in_memory();
    repository.enable_events(true).unwrap();
    repository
}

fn events(log: &mut impl EventLog) -> Vec<Event> {
    log.events(EventPosition::START, NonZeroU32::MAX).unwrap()
}

fn kinds(log: &mut impl EventLog) -> Vec<EventKind> {
    events(log).iter().map(|event| event.kind).collect()
}

#[test]
fn a_host_handles_events_and_stores_its_position_in_one_transaction() {
    let mut repository = with_events();
    repository.connection().execute_batch("create table cursor (position integer not null)").unwrap();
    TestRequest::new("one", 0..3).enroll(&mut repository).unwrap();
    let connection = repository.connection();
    connection.execute_batch("begin immediate").unwrap();
    let mut transaction = SqliteTransaction::new(connection).unwrap();
    let handled = events(&mut transaction);
    let last = i64::try_from(handled[0].position.number()).unwrap();
    connection.execute("insert into cursor values (?1)", [last]).unwrap();
    assert_eq!(transaction.prune_events(at(500 * 365 * 86400), NonZeroU32::MAX).unwrap(), 1);
    connection.execute_batch("commit").unwrap();
    assert_eq!(count(connection, "cursor"), 1);
    assert_eq!(kinds(&mut repository), []);
}

#[test]
fn a_host_that_changes_a_state_by_sql_writes_an_event() {
    let mut repository = with_events();
    TestRequest::new("one", 0..3).accept(&mut repository).unwrap();
    let fail = "update enroll_enrollments set state = 'failed', due_at = null, failed_at = 0, error = 'by hand'";
    assert_eq!(repository.connection().execute(fail, []).unwrap(), 1);
    assert_eq!(repository.connection().execute(fail, []).unwrap(), 1, "the state stays");
    assert_eq!(kinds(&mut repository), [EventKind::Accepted, EventKind::Failed]);
}

#[test]
fn a_deleted_enrollment_keeps_its_events_and_an_organization_does_not() {
    let mut repository = with_events();
    TestRequest::new("one", 0..3).accept(&mut repository).unwrap();
    let claim = enroll::Inbox::claim(&mut repository, LEASE).unwrap().unwrap();
    process(&mut repository, claim, at(1)).unwrap();
    let other = Uuid::from_u128(99);
    let of_another =
        "insert into enroll_events (kind, organization_id, enrollment_id, sequence_id) values ('accepted', ?1, ?1, ?1)";
    let connection = repository.connection();
    connection.execute("insert into enroll_organizations (organization_id) values (?1)", [other]).unwrap();
    connection.execute(of_another, [other]).unwrap();
    connection.execute("delete from enroll_enrollments", []).unwrap();
    assert_eq!(kinds(&mut repository), [EventKind::Accepted, EventKind::Completed, EventKind::Accepted]);
    let delete = "delete from enroll_organizations where organization_id = ?1";
    assert_eq!(repository.connection().execute(delete, params![ORGANIZATION]).unwrap(), 1);
    assert_eq!(
        events(&mut repository).iter().map(|event| event.organization_id.as_uuid()).collect::<Vec<_>>(),
        [other]
    );
}

#[test]
fn ids_are_random_uuids() {
    let mut repository = with_events();
    for key in ["one", "two", "three"] {
        TestRequest::new(key, 0..3).accept(&mut repository).unwrap();
    }
    let mut ids: Vec<_> = events(&mut repository).iter().map(|event| event.id).collect();
    assert!(ids.iter().all(|id| id.as_uuid().get_version() == Some(Version::Random)), "{ids:?}");
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 3);
}

/// Another connection turns them on and off for all.
#[test]
fn all_connections_obey() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("enroll.db");
    let mut one = support::open_seeded(&file);
    let mut two = SqliteRepository::open(&file).unwrap();
    TestRequest::new("one", 0..3).accept(&mut two).unwrap();
    one.enable_events(true).unwrap();
    assert!(two.events_enabled().unwrap());
    TestRequest::new("two", 0..3).accept(&mut two).unwrap();
    two.enable_events(false).unwrap();
    TestRequest::new("three", 0..3).accept(&mut one).unwrap();
    assert!(!one.events_enabled().unwrap());
    assert_eq!(kinds(&mut one), [EventKind::Accepted]);
}

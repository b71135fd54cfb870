//! A host accepts with the public statement, on a plain connection, and keeps the migrations itself.
#![cfg(feature = "testing")]

#[path = "../../../tests/row_counts/mod.rs"]
mod row_counts;
mod support;

use enroll::contact::{ContactKeys, KeyKind};
use enroll::events::{EventKind, EventLog, EventPosition};
use enroll::{EnrollError, Inbox};
use enroll_sqlite::sql::{ACCEPT, AcceptParameters, FIND, migrations};
use enroll_sqlite::{SCHEMA_VERSION, SqliteRepository, migrate, schema_version};
use rusqlite::{Connection, params};
use std::num::NonZeroU32;
use std::thread;
use std::time::Duration;
use support::{LEASE, TestRequest, assert_nothing_stored, at, count, open_seeded, process};
use tempfile::TempDir;
use uuid::Uuid;

/// Opens a file as the workers do, and as a host does with its driver.
fn open() -> (TempDir, SqliteRepository, Connection) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("enroll.db");
    let repository = open_seeded(&file);
    let host = connect(&folder);
    host.execute_batch("create table orders (id integer primary key)").unwrap();
    (folder, repository, host)
}

fn connect(folder: &TempDir) -> Connection {
    let host = Connection::open(folder.path().join("enroll.db")).unwrap();
    host.execute_batch("pragma foreign_keys = on; pragma busy_timeout = 10000; pragma synchronous = full").unwrap();
    host
}

fn checked(repository: &mut SqliteRepository, request: &TestRequest) -> AcceptParameters {
    AcceptParameters::new(&request.command(repository)).unwrap()
}

/// Runs the statement. Returns the number of inserted rows.
fn accept(connection: &Connection, accept: &AcceptParameters) -> usize {
    let AcceptParameters {
        organization_id,
        enrollment_id,
        sequence_id,
        fingerprint,
        at,
        command,
        erased_recipients,
        ..
    } = accept;
    let values = params![organization_id, enrollment_id, sequence_id, fingerprint, at, command, erased_recipients];
    connection.execute(ACCEPT, values).unwrap()
}

/// Returns whether the enrollment that has the id is the same request, and its state.
fn find(connection: &Connection, accept: &AcceptParameters) -> (bool, String) {
    let ids = params![accept.organization_id, accept.enrollment_id];
    let is_same = |fingerprint: Vec<u8>| fingerprint == accept.fingerprint;
    connection.query_row(FIND, ids, |row| Ok((is_same(row.get(0)?), row.get(1)?))).unwrap()
}

#[test]
fn a_commit_accepts_with_the_hosts_row_and_a_rollback_accepts_nothing() {
    let (_folder, mut worker, host) = open();
    let parameters = checked(&mut worker, &TestRequest::new("one", 0..3));
    for end in ["rollback", "commit"] {
        host.execute_batch("begin immediate; insert into orders values (1)").unwrap();
        assert_eq!(accept(&host, &parameters), 1);
        assert_eq!(find(&host, &parameters), (true, "accepted".to_owned()));
        host.execute_batch(end).unwrap();
        if end == "rollback" {
            assert_eq!((count(&host, "orders"), count(&host, "enroll_queues")), (0, 0));
            assert_nothing_stored(&host);
            assert_eq!(worker.claim(LEASE).unwrap(), None);
        }
    }
    let claim = worker.claim(LEASE).unwrap().unwrap();
    assert_eq!(claim.enrollment_id.as_uuid(), parameters.enrollment_id);
    assert_eq!(process(&mut worker, claim, at(1)).unwrap().counts().added, 3);
    assert_eq!(find(&host, &parameters), (true, "completed".to_owned()));
    assert_eq!(count(&host, "orders"), 1);
    assert_eq!(count(&host, &format!("({})", row_counts::wrong_counts("sqlite"))), 0);
}

#[test]
fn the_same_request_is_recognized_and_another_one_is_a_conflict() {
    let (_folder, mut inbox, host) = open();
    // The first acceptance is one of the adapter, then one of the host.
    for (key, by_host) in [("one", false), ("two", true)] {
        let (request, other) = (TestRequest::new(key, 0..3), TestRequest::new(key, 1..4));
        let (same, different) = (checked(&mut inbox, &request), checked(&mut inbox, &other));
        if by_host {
            assert_eq!(accept(&host, &same), 1);
        } else {
            assert!(!request.accept(&mut inbox).unwrap().replayed);
        }
        assert_eq!(accept(&host, &same), 0);
        assert_eq!(find(&host, &same), (true, "accepted".to_owned()));
        assert_eq!(accept(&host, &different), 0);
        assert_eq!(find(&host, &different), (false, "accepted".to_owned()));
        assert!(request.accept(&mut inbox).unwrap().replayed);
        let refused = other.accept(&mut inbox).unwrap_err();
        assert!(matches!(refused, EnrollError::Rejected(_)), "{refused:?}");
    }
    assert_eq!(count(&host, "enroll_enrollments"), 2);
}

#[test]
fn the_statement_stores_what_the_adapter_stores() {
    let mut stored = Vec::new();
    for by_host in [false, true] {
        let (_folder, mut inbox, host) = open();
        let mut command = TestRequest::new("one", 0..3).command(&mut inbox);
        assert_eq!(command.erase(&ContactKeys::from_iter([(KeyKind::Email, "p1@example.com")])), 1);
        if by_host {
            assert_eq!(accept(&host, &AcceptParameters::new(&command).unwrap()), 1);
        } else {
            assert_eq!(inbox.insert(&command).unwrap(), None);
        }
        let rows = ["enroll_enrollments", "enroll_queues", "enroll_counts where list = 'enrollments'"];
        stored.push(rows.map(|rows| all(&host, rows)));
        // A commit compares the number of erased recipients.
        let claim = inbox.claim(LEASE).unwrap().unwrap();
        let entry = inbox.find(claim.organization_id, claim.enrollment_id).unwrap().unwrap();
        assert_eq!(entry.enrollment, command.accepted());
        assert_eq!(process(&mut inbox, claim, at(1)).unwrap().counts().added, 2);
    }
    assert!(stored[0].iter().all(|rows| rows.len() == 1), "{stored:?}");
    assert_eq!(stored[0], stored[1]);
}

/// Returns the values of all rows.
fn all(connection: &Connection, rows: &str) -> Vec<Vec<rusqlite::types::Value>> {
    let mut statement = connection.prepare(&format!("select * from {rows}")).unwrap();
    let columns = 0..statement.column_count();
    let values = statement.query_map([], |row| columns.clone().map(|n| row.get(n)).collect());
    values.unwrap().collect::<Result<_, _>>().unwrap()
}

#[test]
fn an_acceptance_adds_the_row_of_its_organization() {
    let (_folder, mut inbox, host) = open();
    let mut parameters = checked(&mut inbox, &TestRequest::new("one", 0..1));
    parameters.organization_id = Uuid::from_u128(99);
    assert_eq!(accept(&host, &parameters), 1);
    for table in ["enroll_organizations", "enroll_queues", "enroll_counts"] {
        let rows = all(&host, &format!("{table} where organization_id = x'00000000000000000000000000000063'"));
        assert_eq!(rows.len(), 1, "{table}");
    }
}

#[test]
fn a_queue_that_was_postponed_is_woken() {
    let (_folder, mut worker, host) = open();
    for key in ["one", "two"] {
        assert_eq!(worker.claim(LEASE).unwrap(), None);
        assert_eq!(count(&host, "enroll_queues where due_at is not null"), 0);
        let parameters = checked(&mut worker, &TestRequest::new(key, 0..1));
        assert_eq!(accept(&host, &parameters), 1);
        let claim = worker.claim(LEASE).unwrap().unwrap();
        assert_eq!(claim.enrollment_id.as_uuid(), parameters.enrollment_id);
        process(&mut worker, claim, at(1)).unwrap();
    }
}

/// Both accept the same requests at the same time, on one file. Each is stored once.
#[test]
fn hosts_and_the_adapter_accept_at_the_same_time() {
    const REQUESTS: usize = 40;
    let (folder, mut repository, _host) = open();
    let requests = || (0..REQUESTS).map(|n| TestRequest::new(&format!("request-{n}"), n..n + 1));
    let parameters: Vec<_> = requests().map(|request| checked(&mut repository, &request)).collect();
    let host = connect(&folder);
    let (by_host, by_adapter) = thread::scope(|scope| {
        let host = scope.spawn(move || {
            let accept = |parameters| {
                host.execute_batch("begin immediate").unwrap();
                let inserted = accept(&host, parameters);
                assert!(find(&host, parameters).0);
                host.execute_batch("commit").unwrap();
                inserted
            };
            parameters.iter().map(accept).sum::<usize>()
        });
        let first = |request: &TestRequest| !request.accept(&mut repository).unwrap().replayed;
        let by_adapter = requests().collect::<Vec<_>>().iter().rev().map(first).filter(|first| *first).count();
        (host.join().unwrap(), by_adapter)
    });
    assert_eq!(by_host + by_adapter, REQUESTS);
    for _ in 0..REQUESTS {
        let claim = repository.claim(LEASE).unwrap().unwrap();
        process(&mut repository, claim, at(1)).unwrap();
    }
    assert_eq!(repository.claim(Duration::ZERO).unwrap(), None);
}

#[test]
fn migrations_that_the_host_runs_make_the_schema_of_migrate() {
    let (own, migrated) = (Connection::open_in_memory().unwrap(), Connection::open_in_memory().unwrap());
    for migration in migrations() {
        own.execute_batch(&format!("begin immediate; {} commit", migration.sql)).unwrap();
        assert_eq!(schema_version(&own).unwrap(), migration.version);
    }
    assert_eq!(schema_version(&own).unwrap(), SCHEMA_VERSION);
    let entries = "sqlite_schema where name not like 'sqlite_stat%' order by type, name";
    let without_pages = |connection: &Connection| {
        let remove_page = |mut row: Vec<_>| {
            row.remove(3);
            row
        };
        all(connection, entries).into_iter().map(remove_page).collect::<Vec<_>>()
    };
    let before = without_pages(&own);
    let changes = own.total_changes();
    migrate(&own).unwrap();
    assert_eq!((own.total_changes(), without_pages(&own)), (changes, before.clone()));
    migrate(&migrated).unwrap();
    assert!(before.len() > 50, "{}", before.len());
    assert_eq!(before, without_pages(&migrated));
    assert_eq!(all(&own, "enroll_engine"), all(&migrated, "enroll_engine"));
}

/// A trigger writes the event, in the transaction of the host.
#[test]
fn the_statement_writes_the_event_with_the_enrollment() {
    let (_folder, mut worker, host) = open();
    worker.enable_events(true).unwrap();
    let parameters = checked(&mut worker, &TestRequest::new("one", 0..3));
    for end in ["rollback", "commit"] {
        host.execute_batch("begin immediate").unwrap();
        assert_eq!(accept(&host, &parameters), 1);
        // A repeated request writes none.
        assert_eq!(accept(&host, &parameters), 0);
        host.execute_batch(end).unwrap();
    }
    let events = worker.events(EventPosition::START, NonZeroU32::MAX).unwrap();
    let found: Vec<_> = events.iter().map(|event| (event.enrollment_id.as_uuid(), event.kind)).collect();
    assert_eq!(found, [(parameters.enrollment_id, EventKind::Accepted)]);
}

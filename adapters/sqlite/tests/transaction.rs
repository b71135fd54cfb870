//! The engine inside a host's transaction.
#![cfg(feature = "testing")]

mod support;

use enroll::inbox::Failure;
use enroll::{Inbox, Repository, RepositoryErrorKind};
use enroll_sqlite::{SqliteError, SqliteRepository, SqliteTransaction};
use rusqlite::{Connection, Transaction, TransactionBehavior};
use support::{LEASE, TestRequest, assert_nothing_stored, at, count, open_seeded, process, sqlite_error};
use tempfile::TempDir;

/// Opens a host's connection, with a table of the host and without the adapter's settings.
fn host() -> (TempDir, Connection) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("enroll.db");
    drop(open_seeded(&file));
    let connection = Connection::open(file).unwrap();
    connection.execute_batch("create table orders (id integer primary key)").unwrap();
    (folder, connection)
}

fn begin(connection: &mut Connection) -> Transaction<'_> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
    transaction.execute("insert into orders values (1)", []).unwrap();
    transaction
}

#[test]
fn a_commit_stores_the_hosts_row_and_the_enrollment() {
    let (_folder, mut connection) = host();
    let transaction = begin(&mut connection);
    let report = TestRequest::new("one", 0..3).enroll(&mut SqliteTransaction::new(&transaction).unwrap()).unwrap();
    assert_eq!(report.counts().added, 3);
    transaction.commit().unwrap();
    assert_eq!(count(&connection, "orders"), 1);
    assert_eq!(count(&connection, "enroll_contacts"), 3);
    let mut repository = SqliteRepository::from_connection(connection).unwrap();
    assert_eq!(TestRequest::new("one", 0..3).enroll(&mut repository).unwrap(), report);
}

#[test]
fn a_rollback_removes_the_hosts_row_and_the_enrollment() {
    let (_folder, mut connection) = host();
    let transaction = begin(&mut connection);
    TestRequest::new("one", 0..3).enroll(&mut SqliteTransaction::new(&transaction).unwrap()).unwrap();
    transaction.rollback().unwrap();
    assert_eq!(count(&connection, "orders"), 0);
    assert_nothing_stored(&connection);
}

#[test]
fn after_a_conflict_the_hosts_row_remains_and_a_retry_succeeds() {
    let (_folder, mut connection) = host();
    let transaction = begin(&mut connection);
    let mut repository = SqliteTransaction::new(&transaction).unwrap();
    // A large commit, which disables triggers.
    let request = TestRequest::new("one", 0..500);
    let plan = request.plan(&mut repository);
    transaction.execute("update enroll_sequences set title = 'renamed'", []).unwrap();
    let error = repository.commit(plan.changes()).unwrap_err();
    assert_eq!(error.kind(), RepositoryErrorKind::Conflict);
    assert_nothing_stored(&transaction);
    // The triggers are enabled again: the next write of the host raises a version.
    transaction.execute("update enroll_sequences set title = 'again'", []).unwrap();
    let version = "select version from enroll_sequences";
    let raised: i64 = transaction.query_row(version, [], |row| row.get(0)).unwrap();
    assert_eq!(plan.changes().guards().sequence.1.unwrap().0 + 2, raised.unsigned_abs());
    request.enroll(&mut repository).unwrap();
    transaction.commit().unwrap();
    assert_eq!(count(&connection, "orders"), 1);
    assert_eq!(count(&connection, "enroll_contacts"), 500);
}

#[test]
fn deferred_foreign_keys_of_the_host_are_checked_after_a_large_commit() {
    let (_folder, mut connection) = host();
    let request = TestRequest::new("one", 0..500);
    let waits = "create table waits (organization_id blob, contact_id blob, foreign key (organization_id, contact_id)
        references enroll_contacts deferrable initially deferred)";
    connection.execute_batch(waits).unwrap();
    let transaction = begin(&mut connection);
    let mut repository = SqliteTransaction::new(&transaction).unwrap();
    let plan = request.plan(&mut repository);
    let (organization, contact) = (plan.changes().organization_id(), plan.changes().rows().contacts_created[499].id);
    let wait = "insert into waits values (?1, ?2)";
    transaction.execute(wait, [organization.as_uuid(), contact.as_uuid()]).unwrap();
    repository.commit(plan.changes()).unwrap();
    transaction.commit().unwrap();
    assert_eq!(count(&connection, "waits join enroll_contacts c on c.id = contact_id"), 1);
}

#[test]
fn a_refused_row_rolls_back_the_enrollment_and_not_the_hosts_row() {
    let (_folder, mut connection) = host();
    let transaction = begin(&mut connection);
    let mut repository = SqliteTransaction::new(&transaction).unwrap();
    let plan = TestRequest::new("one", 0..3).plan(&mut repository);
    // The id of a record has no guard, and records are inserted last.
    let record = plan.changes().rows().records_created.last().unwrap().record.id.as_uuid();
    let other = "insert into enroll_contacts (organization_id, id) values (?1, ?2)";
    transaction.execute(other, [support::ORGANIZATION, support::STEP]).unwrap();
    let sql = "insert into enroll_custom_records
               (organization_id, id, custom_object_id, resource, resource_id, contact_id)
               values (?1, ?2, ?3, 'contact', ?4, ?4)";
    transaction.execute(sql, [support::ORGANIZATION, record, support::OBJECT, support::STEP]).unwrap();
    let error = repository.commit(plan.changes()).unwrap_err();
    let (kind, fault, _) = sqlite_error(&error);
    assert_eq!(kind, RepositoryErrorKind::Other);
    assert!(matches!(fault, SqliteError::IdExists(id) if *id == record), "{fault:?}");
    transaction.commit().unwrap();
    assert_eq!(count(&connection, "orders"), 1);
    assert_eq!(count(&connection, "enroll_contacts"), 1);
    assert_eq!(count(&connection, "enroll_enrollments"), 0);
}

#[test]
fn acceptance_and_processing_commit_or_roll_back_with_the_hosts_row() {
    let (_folder, mut connection) = host();
    let request = TestRequest::new("one", 0..3);
    let transaction = begin(&mut connection);
    let receipt = request.accept(&mut SqliteTransaction::new(&transaction).unwrap()).unwrap();
    transaction.rollback().unwrap();
    assert_nothing_stored(&connection);

    let transaction = begin(&mut connection);
    assert_eq!(request.accept(&mut SqliteTransaction::new(&transaction).unwrap()).unwrap(), receipt);
    transaction.commit().unwrap();
    assert_eq!(count(&connection, "enroll_enrollments where state = 'accepted'"), 1);

    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
    let mut inbox = SqliteTransaction::new(&transaction).unwrap();
    let claim = inbox.claim(LEASE).unwrap().unwrap();
    let report = process(&mut inbox, claim, at(1)).unwrap();
    transaction.rollback().unwrap();
    assert_eq!(count(&connection, "enroll_contacts"), 0);

    // The rollback ended the lease too.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
    let mut inbox = SqliteTransaction::new(&transaction).unwrap();
    assert_eq!(inbox.claim(LEASE).unwrap(), Some(claim));
    inbox.record_failure(&claim, &Failure::new("no", None)).unwrap();
    assert!(inbox.retry(claim.organization_id, claim.enrollment_id).unwrap());
    let retried = inbox.claim(LEASE).unwrap().unwrap();
    assert_eq!((retried.enrollment_id, retried.attempts), (claim.enrollment_id, 0));
    assert_eq!(process(&mut inbox, claim, at(1)).unwrap(), report);
    let found = inbox.find(claim.organization_id, claim.enrollment_id).unwrap().unwrap();
    assert_eq!((found.command, found.attempts, found.error), (None, 1, None));
    transaction.commit().unwrap();
    assert_eq!(count(&connection, "orders"), 1);
    assert_eq!(count(&connection, "enroll_contacts"), 3);
}

/// A host that begins and ends its transaction with statements has only a connection.
#[test]
fn a_connection_inside_a_transaction_commits_and_rolls_back_with_the_hosts_row() {
    let (_folder, connection) = host();
    for (end, orders, contacts) in [("rollback", 0, 0), ("commit", 1, 3)] {
        connection.execute_batch("begin immediate; insert into orders values (1)").unwrap();
        let mut repository = SqliteTransaction::new(&connection).unwrap();
        assert_eq!(TestRequest::new("one", 0..3).enroll(&mut repository).unwrap().counts().added, 3);
        connection.execute_batch(end).unwrap();
        assert_eq!((count(&connection, "orders"), count(&connection, "enroll_contacts")), (orders, contacts), "{end}");
    }
}

#[test]
fn a_savepoint_of_the_host_is_a_transaction_too() {
    let (_folder, connection) = host();
    connection.execute_batch("savepoint s; insert into orders values (1)").unwrap();
    TestRequest::new("one", 0..3).enroll(&mut SqliteTransaction::new(&connection).unwrap()).unwrap();
    connection.execute_batch("rollback to s; release s").unwrap();
    assert_eq!(count(&connection, "orders"), 0);
    assert_nothing_stored(&connection);
}

#[test]
fn a_connection_without_a_transaction_is_refused_with_advice() {
    let (_folder, connection) = host();
    let refused = SqliteTransaction::new(&connection).unwrap_err();
    assert!(matches!(refused, SqliteError::NoTransaction), "{refused}");
    assert!(refused.to_string().contains("begin one with `begin immediate`"), "{refused}");

    // The host ends the transaction too early.
    connection.execute_batch("begin immediate").unwrap();
    let mut repository = SqliteTransaction::new(&connection).unwrap();
    let request = TestRequest::new("one", 0..3);
    let plan = request.plan(&mut repository);
    connection.execute_batch("commit").unwrap();
    let assert_refused = |error: enroll::RepositoryError| {
        let (kind, fault, _) = sqlite_error(&error);
        assert_eq!(kind, RepositoryErrorKind::Other);
        assert!(matches!(fault, SqliteError::NoTransaction), "{fault:?}");
    };
    assert_refused(repository.commit(plan.changes()).unwrap_err());
    assert_refused(repository.claim(LEASE).unwrap_err());
    assert_refused(repository.find(plan.changes().organization_id(), plan.report().enrollment_id).unwrap_err());
    assert_nothing_stored(&connection);
}

/// On some errors, SQLite rolls back the whole transaction. A later call must not write without the host's rows.
#[test]
fn after_sqlite_ended_the_transaction_nothing_is_written() {
    let (_folder, connection) = host();
    let triggers = "create trigger full before insert on enroll_contacts begin select raise(rollback, 'full'); end";
    connection.execute_batch(triggers).unwrap();
    connection.execute_batch("begin immediate; insert into orders values (1)").unwrap();
    let mut repository = SqliteTransaction::new(&connection).unwrap();
    let plan = TestRequest::new("one", 0..3).plan(&mut repository);
    repository.commit(plan.changes()).unwrap_err();
    assert_eq!(count(&connection, "orders"), 0);
    connection.execute_batch("drop trigger full").unwrap();
    let again = repository.commit(plan.changes()).unwrap_err();
    assert!(matches!(sqlite_error(&again).1, SqliteError::NoTransaction), "{again}");
    assert_nothing_stored(&connection);
}

#[test]
fn a_deferred_transaction_that_became_stale_is_an_error_with_advice() {
    let (_folder, mut connection) = host();
    connection.execute("insert into orders values (1)", []).unwrap();
    let file = connection.path().unwrap().to_owned();
    let transaction = connection.transaction().unwrap();
    let mut repository = SqliteTransaction::new(&transaction).unwrap();
    let plan = TestRequest::new("one", 0..3).plan(&mut repository);
    Connection::open(file).unwrap().execute("insert into orders values (2)", []).unwrap();
    let error = repository.commit(plan.changes()).unwrap_err();
    let (kind, fault, message) = sqlite_error(&error);
    assert_eq!(kind, RepositoryErrorKind::Unavailable);
    assert!(matches!(fault, SqliteError::StaleTransaction), "{fault:?}");
    assert!(message.contains("begin it with `TransactionBehavior::Immediate`"), "{message}");
    transaction.commit().unwrap();
    assert_nothing_stored(&connection);
}

#[test]
fn a_database_without_the_schema_is_refused_until_it_is_migrated() {
    let mut connection = Connection::open_in_memory().unwrap();
    let transaction = connection.transaction().unwrap();
    assert!(matches!(SqliteTransaction::new(&transaction), Err(SqliteError::NoSchema)));
    enroll_sqlite::migrate(&transaction).unwrap();
    SqliteTransaction::new(&transaction).unwrap();
}

#[test]
fn the_settings_of_the_connection_do_not_change() {
    let (_folder, mut connection) = host();
    connection.execute_batch("pragma foreign_keys = off; pragma synchronous = full").unwrap();
    let transaction = begin(&mut connection);
    TestRequest::new("one", 0..500).enroll(&mut SqliteTransaction::new(&transaction).unwrap()).unwrap();
    transaction.commit().unwrap();
    for (setting, expected) in [("foreign_keys", 0), ("synchronous", 2)] {
        let value: i64 = connection.query_row(&format!("pragma {setting}"), [], |row| row.get(0)).unwrap();
        assert_eq!(value, expected, "{setting}");
    }
}

//! The engine inside a host's own transaction.
#![cfg(feature = "testing")]

mod support;

use enroll::inbox::Failure;
use enroll::repository::RepositoryErrorKind;
use enroll::{Inbox, Repository};
use enroll_sqlite::{SqliteError, SqliteRepository, SqliteTransaction};
use rusqlite::{Connection, Transaction, TransactionBehavior};
use support::{Asked, assert_nothing_stands, at, count, process, seeded, sqlite_error};
use tempfile::TempDir;

/// A host's own connection, with a table of its own and none of the engine's settings.
fn host() -> (TempDir, Connection) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("enroll.db");
    drop(seeded(&file));
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
fn a_hosts_row_and_the_enrollment_stand_together() {
    let (_folder, mut connection) = host();
    let transaction = begin(&mut connection);
    let report = Asked::people("one", 0..3).enroll(&mut SqliteTransaction::new(&transaction).unwrap()).unwrap();
    assert_eq!(report.counts().added, 3);
    transaction.commit().unwrap();
    assert_eq!(count(&connection, "orders"), 1);
    assert_eq!(count(&connection, "enroll_contacts"), 3);
    let mut repository = SqliteRepository::from_connection(connection).unwrap();
    assert_eq!(Asked::people("one", 0..3).enroll(&mut repository).unwrap(), report);
}

#[test]
fn a_roll_back_takes_both() {
    let (_folder, mut connection) = host();
    let transaction = begin(&mut connection);
    Asked::people("one", 0..3).enroll(&mut SqliteTransaction::new(&transaction).unwrap()).unwrap();
    transaction.rollback().unwrap();
    assert_eq!(count(&connection, "orders"), 0);
    assert_nothing_stands(&connection);
}

#[test]
fn a_conflict_keeps_the_hosts_row_and_can_be_planned_again() {
    let (_folder, mut connection) = host();
    let transaction = begin(&mut connection);
    let mut repository = SqliteTransaction::new(&transaction).unwrap();
    // So many that triggers are off while they are written.
    let asked = Asked::people("one", 0..500);
    let plan = asked.plan(&mut repository);
    transaction.execute("update enroll_sequences set title = 'renamed'", []).unwrap();
    let error = repository.commit(plan.changes()).unwrap_err();
    assert_eq!(error.kind(), RepositoryErrorKind::Conflict);
    assert_nothing_stands(&transaction);
    // Also the triggers are as before: what a host writes next raises a version.
    transaction.execute("update enroll_sequences set title = 'again'", []).unwrap();
    let version = "select version from enroll_sequences";
    let raised: i64 = transaction.query_row(version, [], |row| row.get(0)).unwrap();
    assert_eq!(plan.changes().guards().sequence.1.unwrap().0 + 2, raised.unsigned_abs());
    asked.enroll(&mut repository).unwrap();
    transaction.commit().unwrap();
    assert_eq!(count(&connection, "orders"), 1);
    assert_eq!(count(&connection, "enroll_contacts"), 500);
}

#[test]
fn rows_of_the_host_may_wait_for_those_of_a_large_commit() {
    let (_folder, mut connection) = host();
    let asked = Asked::people("one", 0..500);
    let waits = "create table waits (organization_id blob, contact_id blob, foreign key (organization_id, contact_id)
        references enroll_contacts deferrable initially deferred)";
    connection.execute_batch(waits).unwrap();
    let transaction = begin(&mut connection);
    let mut repository = SqliteTransaction::new(&transaction).unwrap();
    let plan = asked.plan(&mut repository);
    let (organization, contact) = (plan.changes().organization_id(), plan.changes().rows().contacts_created[499].id);
    let wait = "insert into waits values (?1, ?2)";
    transaction.execute(wait, [organization.as_uuid(), contact.as_uuid()]).unwrap();
    repository.commit(plan.changes()).unwrap();
    transaction.commit().unwrap();
    assert_eq!(count(&connection, "waits join enroll_contacts c on c.id = contact_id"), 1);
}

#[test]
fn a_refused_last_row_takes_the_others_and_not_the_hosts() {
    let (_folder, mut connection) = host();
    let transaction = begin(&mut connection);
    let mut repository = SqliteTransaction::new(&transaction).unwrap();
    let plan = Asked::people("one", 0..3).plan(&mut repository);
    // Nothing guards the id of a record, which is among the last to be written.
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
fn what_is_accepted_and_what_is_processed_stand_or_fall_with_the_hosts_row() {
    let (_folder, mut connection) = host();
    let asked = Asked::people("one", 0..3);
    let transaction = begin(&mut connection);
    let receipt = asked.accept(&mut SqliteTransaction::new(&transaction).unwrap()).unwrap();
    transaction.rollback().unwrap();
    assert_nothing_stands(&connection);

    let transaction = begin(&mut connection);
    assert_eq!(asked.accept(&mut SqliteTransaction::new(&transaction).unwrap()).unwrap(), receipt);
    transaction.commit().unwrap();
    assert_eq!(count(&connection, "enroll_enrollments where state = 'accepted'"), 1);

    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
    let mut inbox = SqliteTransaction::new(&transaction).unwrap();
    let claim = inbox.claim(at(0), at(60)).unwrap().unwrap();
    let report = process(&mut inbox, claim, at(1)).unwrap();
    transaction.rollback().unwrap();
    assert_eq!(count(&connection, "enroll_contacts"), 0);

    // The lease is gone with it too.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
    let mut inbox = SqliteTransaction::new(&transaction).unwrap();
    assert_eq!(inbox.claim(at(0), at(60)).unwrap(), Some(claim));
    inbox.record_failure(&claim, &Failure { error: "no".to_owned(), retry_at: None }).unwrap();
    assert!(inbox.retry(claim.organization_id, claim.enrollment_id, at(2)).unwrap());
    assert_eq!(inbox.claim(at(2), at(60)).unwrap(), Some(claim));
    assert_eq!(process(&mut inbox, claim, at(1)).unwrap(), report);
    let found = inbox.find(claim.organization_id, claim.enrollment_id).unwrap().unwrap();
    assert_eq!((found.command, found.attempts, found.error), (None, 1, None));
    transaction.commit().unwrap();
    assert_eq!(count(&connection, "orders"), 1);
    assert_eq!(count(&connection, "enroll_contacts"), 3);
}

#[test]
fn a_transaction_that_read_too_early_is_told_to_begin_immediate() {
    let (_folder, mut connection) = host();
    connection.execute("insert into orders values (1)", []).unwrap();
    let file = connection.path().unwrap().to_owned();
    let transaction = connection.transaction().unwrap();
    let mut repository = SqliteTransaction::new(&transaction).unwrap();
    let plan = Asked::people("one", 0..3).plan(&mut repository);
    Connection::open(file).unwrap().execute("insert into orders values (2)", []).unwrap();
    let error = repository.commit(plan.changes()).unwrap_err();
    let (kind, fault, message) = sqlite_error(&error);
    assert_eq!(kind, RepositoryErrorKind::Other);
    assert!(matches!(fault, SqliteError::StaleTransaction), "{fault:?}");
    assert!(message.contains("begin it with `TransactionBehavior::Immediate`"), "{message}");
    transaction.commit().unwrap();
    assert_nothing_stands(&connection);
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
fn the_settings_of_the_connection_stay_as_they_are() {
    let (_folder, mut connection) = host();
    connection.execute_batch("pragma foreign_keys = off; pragma synchronous = full").unwrap();
    let transaction = begin(&mut connection);
    Asked::people("one", 0..500).enroll(&mut SqliteTransaction::new(&transaction).unwrap()).unwrap();
    transaction.commit().unwrap();
    for (setting, stands) in [("foreign_keys", 0), ("synchronous", 2)] {
        let value: i64 = connection.query_row(&format!("pragma {setting}"), [], |row| row.get(0)).unwrap();
        assert_eq!(value, stands, "{setting}");
    }
}

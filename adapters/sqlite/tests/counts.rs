//! The table of row counts equals the rows, for writes of the engine and of the host.
#![cfg(feature = "testing")]

#[path = "../../../tests/row_counts/mod.rs"]
mod row_counts;
mod support;

use enroll::Inbox;
use enroll::inbox::Failure;
use rusqlite::Connection;
use support::{LEASE, ORGANIZATION, TestRequest, in_memory};

/// Returns the number of rows of a list, by its counts.
fn counted(connection: &Connection, list: &str, status: &str) -> i64 {
    let wrong = row_counts::wrong_counts("sqlite");
    let wrong: Vec<(String, String, i64)> = {
        let mut statement = connection.prepare(&wrong).unwrap();
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    };
    assert_eq!(wrong, []);
    let sql = "select coalesce(sum(entries), 0) from enroll_counts where list = ?1 and status = ?2";
    connection.query_row(sql, [list, status], |row| row.get(0)).unwrap()
}

/// Below and above the size from which a commit disables triggers.
#[test]
fn commits_count_rows_that_are_created_and_change_their_status() {
    for size in [3, 500] {
        let rows = i64::try_from(size).unwrap();
        let mut repository = in_memory();
        TestRequest::new("first", 0..size).enroll(&mut repository).unwrap();
        assert_eq!(counted(repository.connection(), "contacts", ""), rows);
        assert_eq!(counted(repository.connection(), "step_contacts", "active"), rows);
        assert_eq!(counted(repository.connection(), "runs", "active"), rows);
        assert_eq!(counted(repository.connection(), "enrollments", "completed"), 1);
        // Reprocessed, with the same status and with another one. A third of the runs has ended too.
        for (table, ended) in [("step_contacts", rows / 2), ("runs", rows / 3)] {
            let finish = format!(
                "update enroll_{table} set status = 'finished'
                where id in (select id from enroll_{table} order by id limit {ended})"
            );
            repository.connection().execute_batch(&finish).unwrap();
            assert_eq!(counted(repository.connection(), table, "finished"), ended);
        }
        TestRequest::new("again", 0..size + 2).enroll(&mut repository).unwrap();
        assert_eq!(counted(repository.connection(), "step_contacts", "finished"), 0);
        assert_eq!(counted(repository.connection(), "step_contacts", "active"), rows + 2);
        assert_eq!(counted(repository.connection(), "runs", "finished"), 0);
        assert_eq!(counted(repository.connection(), "runs", "active"), rows + 2);
        assert_eq!(counted(repository.connection(), "contacts", ""), rows + 2);
    }
}

#[test]
fn each_state_of_an_enrollment_is_counted() {
    let mut repository = in_memory();
    let request = TestRequest::new("first", 0..3);
    request.accept(&mut repository).unwrap();
    request.accept(&mut repository).unwrap();
    assert_eq!(counted(repository.connection(), "enrollments", "accepted"), 1);
    let claim = repository.claim(LEASE).unwrap().unwrap();
    repository.record_failure(&claim, &Failure::new("broken", None)).unwrap();
    assert_eq!(counted(repository.connection(), "enrollments", "failed"), 1);
    assert!(repository.retry(claim.organization_id, claim.enrollment_id).unwrap());
    let claim = repository.claim(LEASE).unwrap().unwrap();
    support::process(&mut repository, claim, support::at(1)).unwrap();
    assert_eq!(counted(repository.connection(), "enrollments", "completed"), 1);
    assert_eq!(counted(repository.connection(), "enrollments", "accepted"), 0);
    repository.connection().execute("delete from enroll_enrollments", []).unwrap();
    assert_eq!(counted(repository.connection(), "enrollments", "completed"), 0);
}

#[test]
fn deleted_contacts_and_organizations_are_counted_with_their_rows() {
    let mut repository = in_memory();
    TestRequest::new("first", 0..20).enroll(&mut repository).unwrap();
    let connection = repository.connection();
    let delete = "delete from enroll_contacts where id in (select id from enroll_contacts order by id limit 5)";
    assert_eq!(connection.execute(delete, []).unwrap(), 5);
    assert_eq!(counted(connection, "contacts", ""), 15);
    assert_eq!(counted(connection, "step_contacts", "active"), 15);
    assert_eq!(counted(connection, "runs", "active"), 15);
    // A host that ignores conflicts, or updates instead.
    for conflict in ["insert or ignore into", "insert into"] {
        let insert = format!(
            "{conflict} enroll_contacts (organization_id, id) select organization_id, id from enroll_contacts where true
            union all values (?1, randomblob(16)) on conflict (organization_id, id) do update set name = 'Ann'"
        );
        assert_eq!(connection.execute(&insert, [ORGANIZATION]).unwrap(), 16);
        connection.execute("delete from enroll_contacts where name is null", []).unwrap();
        assert_eq!(counted(connection, "contacts", ""), 15);
        connection.execute("update enroll_contacts set name = 'Bea'", []).unwrap();
    }
    connection.execute("delete from enroll_organizations", []).unwrap();
    assert_eq!(counted(connection, "contacts", ""), 0);
    assert_eq!(support::count(connection, "enroll_counts"), 0);
}

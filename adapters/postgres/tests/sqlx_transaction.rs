//! A repository inside a transaction of the host, on `sqlx`.
#![cfg(all(feature = "sqlx", feature = "testing"))]

#[path = "support/sqlx_pool.rs"]
mod sqlx_pool;
mod support;

use enroll::{AsyncInbox, AsyncRepository, RepositoryErrorKind};
use enroll_postgres::sqlx::postgres::{PgConnection, PgPool};
use enroll_postgres::sqlx::{self, Connection};
use enroll_postgres::{PostgresError, SqlxRepository, SqlxTransaction, needs_postgres};
use support::{
    LEASE, Request, block_on, body, connect, count_rows, database, open, organization, pid, postgres_error, refused,
    until_blocked,
};

/// Opens a pool on a database of the host, with the table `outbox`.
async fn host() -> (String, PgPool) {
    let url = database().await;
    let pool = sqlx_pool::pool(&url, 2).await;
    run(&mut pool.acquire().await.unwrap(), "create table outbox (what text primary key)").await;
    (url, pool)
}

async fn run(connection: &mut PgConnection, sql: &'static str) {
    sqlx::raw_sql(sql).execute(connection).await.unwrap();
}

async fn count(pool: &PgPool, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(pool).await.unwrap()
}

const OUTBOX: &str = "select count(*) from outbox";
const WRITE: &str = "insert into outbox values ('enrolled')";

#[test]
#[ignore = needs_postgres!()]
fn a_commit_stores_the_hosts_row_and_the_enrollment() {
    block_on(async {
        let (url, pool) = host().await;
        let other = connect(&url).await;
        let mut transaction = pool.begin().await.unwrap();
        run(&mut transaction, WRITE).await;
        let mut repository = SqlxTransaction::new(&mut transaction);
        let report = Request::new(1, &body(0, 3)).enroll(&mut repository).await.unwrap();
        assert_eq!(report.counts().added, 3);
        // Later statements of the transaction see the rows, and other connections do not.
        let again = Request::new(2, &body(0, 3)).enroll(&mut repository).await.unwrap();
        assert_eq!(again.counts().reprocessed, 3);
        assert_eq!(count_rows(&other).await, 0);
        transaction.commit().await.unwrap();
        assert!(count_rows(&other).await > 0);
        assert_eq!(count(&pool, OUTBOX).await, 1);
    });
}

#[test]
#[ignore = needs_postgres!()]
fn a_rollback_removes_the_hosts_row_and_the_enrollment() {
    block_on(async {
        let (url, pool) = host().await;
        let mut transaction = pool.begin().await.unwrap();
        run(&mut transaction, WRITE).await;
        Request::new(1, &body(0, 3)).enroll(&mut SqlxTransaction::new(&mut transaction)).await.unwrap();
        drop(transaction);
        assert_eq!((count_rows(&connect(&url).await).await, count(&pool, OUTBOX).await), (0, 0));
    });
}

#[test]
#[ignore = needs_postgres!()]
fn after_a_conflict_the_hosts_row_remains_and_a_retry_succeeds() {
    block_on(async {
        let (url, pool) = host().await;
        let mut transaction = pool.begin().await.unwrap();
        run(&mut transaction, WRITE).await;
        let mut repository = SqlxTransaction::new(&mut transaction);
        let request = Request::new(1, &body(0, 2));
        let stale = request.plan(&mut repository).await;
        Request::new(2, &body(1, 2)).enroll(&mut open(&url).await).await.unwrap();
        let conflict = repository.commit(&stale).await.unwrap_err();
        assert!(
            matches!(postgres_error(&conflict), (RepositoryErrorKind::Conflict, PostgresError::NotUnique { .. })),
            "{conflict:?}"
        );
        let report = request.enroll(&mut repository).await.unwrap();
        assert_eq!((report.counts().added, report.counts().reprocessed), (1, 1));
        transaction.commit().await.unwrap();
        assert_eq!(count(&pool, OUTBOX).await, 1);
        assert_eq!(count(&pool, "select count(*) from enroll.contacts").await, 3);
    });
}

/// The retry is not possible, so the host decides: its own rows are still there to commit.
#[test]
#[ignore = needs_postgres!()]
fn after_a_failed_enrollment_the_hosts_row_can_be_committed() {
    block_on(async {
        let (url, pool) = host().await;
        let client = connect(&url).await;
        client.batch_execute("alter table enroll.runs add constraint none check (false)").await.unwrap();
        let mut transaction = pool.begin().await.unwrap();
        run(&mut transaction, WRITE).await;
        let error = refused(Request::new(1, &body(0, 2)).enroll(&mut SqlxTransaction::new(&mut transaction)).await);
        assert!(matches!(postgres_error(&error), (_, PostgresError::Postgres(_))), "{error:?}");
        transaction.commit().await.unwrap();
        assert_eq!((count_rows(&client).await, count(&pool, OUTBOX).await), (0, 1));
    });
}

/// A savepoint of the host is rolled back with the enrollment in it.
#[test]
#[ignore = needs_postgres!()]
fn an_enrollment_in_a_savepoint_of_the_host_is_rolled_back_with_it() {
    block_on(async {
        let (url, pool) = host().await;
        let mut transaction = pool.begin().await.unwrap();
        run(&mut transaction, WRITE).await;
        let mut savepoint = transaction.begin().await.unwrap();
        Request::new(1, &body(0, 2)).enroll(&mut SqlxTransaction::new(&mut savepoint)).await.unwrap();
        savepoint.rollback().await.unwrap();
        transaction.commit().await.unwrap();
        assert_eq!((count_rows(&connect(&url).await).await, count(&pool, OUTBOX).await), (0, 1));
    });
}

#[test]
#[ignore = needs_postgres!()]
fn a_connection_without_a_transaction_is_refused() {
    block_on(async {
        let (url, pool) = host().await;
        let mut connection = pool.acquire().await.unwrap();
        // A transaction that `sqlx` does not know would be committed by the first call.
        for begin in ["select 1", "begin"] {
            run(&mut connection, begin).await;
            let mut repository = SqlxTransaction::new(&mut connection);
            let error = refused(Request::new(1, &body(0, 1)).enroll(&mut repository).await);
            assert!(matches!(postgres_error(&error), (_, PostgresError::NoTransaction)), "{error:?}");
            let error = repository.lock(organization()).await.unwrap_err();
            assert!(error.to_string().contains("begin one, such as with `pool.begin()`"), "{error}");
        }
        assert_eq!(count_rows(&connect(&url).await).await, 0);
    });
}

#[test]
#[ignore = needs_postgres!()]
fn other_isolation_levels_than_read_committed_are_refused() {
    block_on(async {
        let (_, pool) = host().await;
        for begin in ["begin isolation level repeatable read", "begin isolation level serializable"] {
            let mut transaction = pool.begin_with(begin).await.unwrap();
            let mut repository = SqlxTransaction::new(&mut transaction);
            let error = refused(Request::new(1, &body(0, 1)).enroll(&mut repository).await);
            assert!(
                matches!(postgres_error(&error), (RepositoryErrorKind::Other, PostgresError::IsolationLevel { .. })),
                "{error}"
            );
        }
    });
}

#[test]
#[ignore = needs_postgres!()]
fn a_transaction_that_failed_before_is_an_error() {
    block_on(async {
        let (_, pool) = host().await;
        let mut transaction = pool.begin().await.unwrap();
        assert!(sqlx::raw_sql("select 1 / 0").execute(&mut *transaction).await.is_err());
        let error = refused(Request::new(1, &body(0, 1)).enroll(&mut SqlxTransaction::new(&mut transaction)).await);
        assert!(matches!(postgres_error(&error), (_, PostgresError::FailedTransaction(_))), "{error:?}");
    });
}

#[test]
#[ignore = needs_postgres!()]
fn acceptance_and_processing_commit_or_roll_back_with_the_hosts_row() {
    block_on(async {
        let (url, pool) = host().await;
        let request = Request::new(1, &body(0, 3));
        let mut workers = SqlxRepository::new(pool.clone());
        for commits in [false, true] {
            let mut transaction = pool.begin().await.unwrap();
            run(&mut transaction, WRITE).await;
            request.accept(&mut SqlxTransaction::new(&mut transaction)).await.unwrap();
            assert_eq!(open(&url).await.claim(LEASE).await.unwrap(), None);
            if commits {
                transaction.commit().await.unwrap();
            } else {
                transaction.rollback().await.unwrap();
            }
        }
        assert_eq!((count(&pool, OUTBOX).await, count(&pool, "select count(*) from enroll.enrollments").await), (1, 1));
        // The rollback of a worker's transaction undoes its claim.
        let mut transaction = pool.begin().await.unwrap();
        let mut worker = SqlxTransaction::new(&mut transaction);
        assert_eq!(worker.claim(LEASE).await.unwrap().map(|claim| claim.lease), Some(1));
        request.process(&mut worker).await.unwrap();
        transaction.rollback().await.unwrap();
        assert_eq!(workers.claim(LEASE).await.unwrap().map(|claim| claim.lease), Some(1));
        assert_eq!(request.process(&mut workers).await.unwrap().counts().added, 3);
    });
}

/// The triggers are enabled again after the commit of the engine. More than 2000 rows are copied.
#[test]
#[ignore = needs_postgres!()]
fn writes_of_the_host_after_an_enrollment_raise_versions() {
    block_on(async {
        let (_, pool) = host().await;
        for (n, size) in [(1, 1), (2, 2100)] {
            let mut transaction = pool.begin().await.unwrap();
            let request = Request::new(n, &body(0, size));
            request.enroll(&mut SqlxTransaction::new(&mut transaction)).await.unwrap();
            let version = "select max(version) from enroll.contacts";
            let before: i64 = sqlx::query_scalar(version).fetch_one(&mut *transaction).await.unwrap();
            run(&mut transaction, "update enroll.step_contacts set status = 'finished'").await;
            let after: i64 = sqlx::query_scalar(version).fetch_one(&mut *transaction).await.unwrap();
            assert_eq!(after, before + 1);
            transaction.rollback().await.unwrap();
        }
    });
}

/// The host has locked a contact, and an enrollment elsewhere has locked the organization and waits for the contact.
#[test]
#[ignore = needs_postgres!()]
fn a_deadlock_fails_the_hosts_transaction_and_locking_the_organization_first_prevents_it() {
    block_on(async {
        let (url, pool) = host().await;
        let observer = connect(&url).await;
        Request::new(1, &body(0, 2)).enroll(&mut open(&url).await).await.unwrap();
        let write = "update enroll.contacts set language = 'fr'";
        for (n, order) in [(10, None), (20, Some("after")), (30, Some("before"))] {
            let mut elsewhere = open(&url).await;
            let waits = pid(elsewhere.client()).await;
            // Only the host searches for a deadlock: the timeout of the other connection is longer.
            elsewhere.client().batch_execute("set deadlock_timeout = '10min'").await.unwrap();
            let mut transaction = pool.begin().await.unwrap();
            if order == Some("before") {
                SqlxTransaction::new(&mut transaction).lock(organization()).await.unwrap();
            }
            run(&mut transaction, write).await;
            let other =
                tokio::spawn(async move { Request::new(n, &body(0, 2)).enroll(&mut elsewhere).await.map(drop) });
            until_blocked(&observer, waits).await;
            let mut repository = SqlxTransaction::new(&mut transaction);
            if order == Some("before") {
                let enrolled = Request::new(n + 1, &body(5, 2)).enroll(&mut repository).await;
                assert_eq!(enrolled.unwrap().counts().added, 2);
                transaction.commit().await.unwrap();
            } else {
                let error = match order {
                    Some(_) => repository.lock(organization()).await.unwrap_err().into(),
                    None => refused(Request::new(n + 1, &body(5, 2)).enroll(&mut repository).await),
                };
                let (kind, error) = postgres_error(&error);
                assert_eq!(kind, RepositoryErrorKind::Other);
                assert!(matches!(error, PostgresError::Deadlock(_)), "{error}");
                transaction.rollback().await.unwrap();
            }
            other.await.unwrap().unwrap();
        }
    });
}

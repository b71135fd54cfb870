//! A repository inside a transaction of the host.
#![cfg(feature = "testing")]

mod support;

use enroll::{AsyncInbox, AsyncRepository, RepositoryErrorKind};
use enroll_postgres::needs_postgres;
use enroll_postgres::{PostgresError, PostgresTransaction, Statements};
use support::{
    LEASE, Request, block_on, body, connect, count_rows, database, open, organization, pid, postgres_error, refused,
    until_blocked,
};
use tokio_postgres::IsolationLevel;

#[test]
#[ignore = needs_postgres!()]
fn a_commit_stores_the_hosts_row_and_the_enrollment() {
    block_on(async {
        let url = database().await;
        let mut client = connect(&url).await;
        let other = connect(&url).await;
        client.batch_execute("create table outbox (what text)").await.unwrap();
        let statements = Statements::prepare(&client).await.unwrap();
        let mut transaction = client.transaction().await.unwrap();
        transaction.batch_execute("insert into outbox values ('enrolled')").await.unwrap();
        let mut repository = PostgresTransaction::with_statements(&mut transaction, statements);
        let report = Request::new(1, &body(0, 3)).enroll(&mut repository).await.unwrap();
        assert_eq!(report.counts().added, 3);
        // Later statements of the transaction see the rows, and other connections do not.
        let again = Request::new(2, &body(0, 3)).enroll(&mut repository).await.unwrap();
        assert_eq!(again.counts().reprocessed, 3);
        assert_eq!(count_rows(&other).await, 0);
        transaction.commit().await.unwrap();
        assert!(count_rows(&other).await > 0);
        assert_eq!(count(&other, "outbox").await, 1);
    });
}

#[test]
#[ignore = needs_postgres!()]
fn a_rollback_removes_the_hosts_row_and_the_enrollment() {
    block_on(async {
        let url = database().await;
        let mut client = connect(&url).await;
        client.batch_execute("create table outbox (what text)").await.unwrap();
        let mut transaction = client.transaction().await.unwrap();
        transaction.batch_execute("insert into outbox values ('enrolled')").await.unwrap();
        Request::new(1, &body(0, 3)).enroll(&mut PostgresTransaction::new(&mut transaction)).await.unwrap();
        transaction.rollback().await.unwrap();
        assert_eq!((count_rows(&client).await, count(&client, "outbox").await), (0, 0));
        assert_eq!(count(&client, "enroll.organizations").await, 1);
    });
}

#[test]
#[ignore = needs_postgres!()]
fn after_a_conflict_the_hosts_row_remains_and_a_retry_succeeds() {
    block_on(async {
        let url = database().await;
        let mut client = connect(&url).await;
        client.batch_execute("create table outbox (what text)").await.unwrap();
        let mut transaction = client.transaction().await.unwrap();
        transaction.batch_execute("insert into outbox values ('enrolled')").await.unwrap();
        let mut repository = PostgresTransaction::new(&mut transaction);
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
        assert_eq!(count(&client, "outbox").await, 1);
        assert_eq!(count(&client, "enroll.contacts").await, 3);
    });
}

#[test]
#[ignore = needs_postgres!()]
fn other_isolation_levels_than_read_committed_are_refused() {
    block_on(async {
        let url = database().await;
        let mut client = connect(&url).await;
        for level in [IsolationLevel::RepeatableRead, IsolationLevel::Serializable] {
            let mut transaction = client.build_transaction().isolation_level(level).start().await.unwrap();
            let mut repository = PostgresTransaction::new(&mut transaction);
            let error = refused(Request::new(1, &body(0, 1)).enroll(&mut repository).await);
            let (kind, error) = postgres_error(&error);
            assert_eq!(kind, RepositoryErrorKind::Other);
            assert!(matches!(error, PostgresError::IsolationLevel { .. }), "{error}");
            assert!(error.to_string().contains("begin it at `read committed`"), "{error}");
        }
    });
}

#[test]
#[ignore = needs_postgres!()]
fn acceptance_and_processing_commit_or_roll_back_with_the_hosts_row() {
    block_on(async {
        let url = database().await;
        let mut client = connect(&url).await;
        client.batch_execute("create table outbox (what text)").await.unwrap();
        let request = Request::new(1, &body(0, 3));
        for commits in [false, true] {
            let mut transaction = client.transaction().await.unwrap();
            transaction.batch_execute("insert into outbox values ('accepted')").await.unwrap();
            request.accept(&mut PostgresTransaction::new(&mut transaction)).await.unwrap();
            assert_eq!(open(&url).await.claim(LEASE).await.unwrap(), None);
            if commits {
                transaction.commit().await.unwrap();
            } else {
                transaction.rollback().await.unwrap();
            }
        }
        assert_eq!((count(&client, "outbox").await, count(&client, "enroll.enrollments").await), (1, 1));
        // The rollback of a worker's transaction undoes its claim.
        let mut transaction = client.transaction().await.unwrap();
        let mut worker = PostgresTransaction::new(&mut transaction);
        assert_eq!(worker.claim(LEASE).await.unwrap().map(|claim| claim.lease), Some(1));
        request.process(&mut worker).await.unwrap();
        transaction.rollback().await.unwrap();
        let mut worker = open(&url).await;
        assert_eq!(worker.claim(LEASE).await.unwrap().map(|claim| claim.lease), Some(1));
        assert_eq!(request.process(&mut worker).await.unwrap().counts().added, 3);
    });
}

/// The triggers are enabled again after the commit of the engine.
#[test]
#[ignore = needs_postgres!()]
fn writes_of_the_host_after_an_enrollment_raise_versions() {
    block_on(async {
        let url = database().await;
        let mut client = connect(&url).await;
        let mut transaction = client.transaction().await.unwrap();
        Request::new(1, &body(0, 1)).enroll(&mut PostgresTransaction::new(&mut transaction)).await.unwrap();
        let version = "select version from enroll.contacts";
        assert_eq!(transaction.query_one(version, &[]).await.unwrap().get::<_, i64>(0), 1);
        transaction.batch_execute("update enroll.step_contacts set status = 'finished'").await.unwrap();
        assert_eq!(transaction.query_one(version, &[]).await.unwrap().get::<_, i64>(0), 2);
        transaction.batch_execute("update enroll.contacts set name = 'x'").await.unwrap();
        assert_eq!(transaction.query_one(version, &[]).await.unwrap().get::<_, i64>(0), 3);
        transaction.commit().await.unwrap();
    });
}

async fn count(client: &tokio_postgres::Client, table: &str) -> i64 {
    client.query_one(&format!("select count(*) from {table}"), &[]).await.unwrap().get(0)
}

/// The host has locked a contact, and an enrollment elsewhere has locked the organization and waits for the contact. The
/// error advises the host to repeat its transaction.
#[test]
#[ignore = needs_postgres!()]
fn a_deadlock_fails_the_hosts_transaction_and_locking_the_organization_first_prevents_it() {
    block_on(async {
        let url = database().await;
        let (mut host, observer) = (connect(&url).await, connect(&url).await);
        Request::new(1, &body(0, 2)).enroll(&mut open(&url).await).await.unwrap();
        let write = "update enroll.contacts set language = 'fr'";
        // The host locks the organization after it has written, before, or not at all.
        for (n, order) in [(10, None), (20, Some("after")), (30, Some("before"))] {
            let mut elsewhere = open(&url).await;
            let waits = pid(elsewhere.client()).await;
            // Only the host searches for a deadlock: the timeout of the other connection is longer.
            elsewhere.client().batch_execute("set deadlock_timeout = '10min'").await.unwrap();
            let mut transaction = host.transaction().await.unwrap();
            if order == Some("before") {
                PostgresTransaction::new(&mut transaction).lock(organization()).await.unwrap();
            }
            transaction.batch_execute(write).await.unwrap();
            let other =
                tokio::spawn(async move { Request::new(n, &body(0, 2)).enroll(&mut elsewhere).await.map(drop) });
            until_blocked(&observer, waits).await;
            let mut repository = PostgresTransaction::new(&mut transaction);
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
                assert!(error.to_string().contains("roll it back and repeat it"), "{error}");
                transaction.rollback().await.unwrap();
            }
            other.await.unwrap().unwrap();
        }
    });
}

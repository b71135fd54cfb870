//! The limits of each transaction: how long it waits and runs, and what ends when nothing waits for it any more.
#![cfg(feature = "testing")]

mod support;

use std::num::NonZeroU32;
use std::time::Duration;

use enroll::RepositoryErrorKind::Unavailable;
use enroll::events::{AsyncEventLog, EventPosition};
use enroll::inbox::{Claim, Failure, Retention};
use enroll::{AsyncInbox, AsyncRepository, Timestamp};
use enroll_postgres::{
    ConnectOptions, PostgresClient, PostgresError, PostgresRepository, PostgresTransaction, Timeouts, needs_postgres,
};
use support::connection::Connection;
use support::{
    LEASE, Request, block_on, body, connect, count_rows, database, id, open, organization, pid, postgres_error,
    refused, until_blocked, until_session_ended,
};
use tokio_postgres::Client;

const SHORT: Option<Duration> = Some(Duration::from_millis(20));
const NONE: Timeouts = Timeouts { lock: None, statement: None, idle_in_transaction: None };

/// As a frozen server does, or a pooler without a server.
#[test]
fn a_login_that_is_not_answered_is_given_up() {
    block_on(async {
        // The system accepts its connections.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("postgres://ann@{}/app?connect_timeout=1", silent.local_addr().unwrap());
        let options = ConnectOptions::from_address(&address).unwrap();
        let (connected, queried) = tokio::join!(options.connect(), async {
            PostgresRepository::with_options(&options, 1).unwrap().query("select 1", &[]).await
        });
        for error in [connected.unwrap_err(), queried.unwrap_err()] {
            assert!(matches!(error, PostgresError::LoginTimedOut), "{error:?}");
            assert_eq!(error.kind(), Unavailable);
        }
    });
}

#[test]
#[ignore = needs_postgres!()]
fn every_call_gives_up_a_lock_and_changes_nothing_for_the_host() {
    block_on(async {
        let url = database().await;
        let mut blocker = connect(&url).await;
        let mut repository = PostgresRepository::connect(&url, 1).await.unwrap();
        let request = Request::new(1, &body(0, 2));
        let (query, command) = request.snapshot_query(&mut repository).await;
        let changes = request.plan(&mut repository).await;
        let (claim, failure) = (Claim::new(organization(), id(1), 1), Failure::new("failed", None));
        for timeouts in [Timeouts { lock: SHORT, ..NONE }, Timeouts { statement: SHORT, ..NONE }] {
            let mut repository = repository.clone().with_timeouts(&timeouts);
            let lock = blocker.transaction().await.unwrap();
            lock.batch_execute(
                "lock table enroll.enrollments, enroll.queues, enroll.contacts in access exclusive mode",
            )
            .await
            .unwrap();
            let refused = [
                repository.reference_data(&query.reference).await.map(drop),
                repository.load(&query).await.map(drop),
                repository.commit(&changes).await,
                repository.insert(&command).await.map(drop),
                repository.find(organization(), id(1)).await.map(drop),
                repository.claim(LEASE).await.map(drop),
                repository.record_failure(&claim, &failure).await,
                repository.release(&claim, LEASE).await,
                repository.retry(organization(), id(1)).await.map(drop),
            ];
            for (call, refused) in refused.into_iter().enumerate() {
                let error = refused.expect_err(&format!("call {call}"));
                assert!(
                    matches!(postgres_error(&error), (Unavailable, PostgresError::TimedOut(_))),
                    "call {call}: {error}"
                );
            }
            let contacts = "select from enroll.contacts";
            let error = repository.query(contacts, &[]).await.unwrap_err();
            assert!(matches!(error, PostgresError::TimedOut(_)), "{error}");
            // The statements of a new connection are prepared within the timeouts too.
            let mut other =
                PostgresRepository::new(ConnectOptions::new(&url).unwrap().pool(1).unwrap()).with_timeouts(&timeouts);
            let error = other.reference_data(&query.reference).await.unwrap_err();
            assert!(matches!(postgres_error(&error), (_, PostgresError::TimedOut(_))), "{error}");
            lock.rollback().await.unwrap();

            assert_eq!(settings(&repository.pool().get().await.unwrap()).await, ["0", "0", "0"]);
            assert_eq!(count_rows(&blocker).await, 0);
        }
    });
}

#[test]
#[ignore = needs_postgres!()]
fn a_timeout_of_the_session_is_kept() {
    block_on(async {
        let url = database().await;
        let mut blocker = connect(&url).await;
        let lock = blocker.transaction().await.unwrap();
        lock.batch_execute("lock table enroll.contacts").await.unwrap();
        let client = connect(&url).await;
        client.batch_execute("set lock_timeout = '20ms'").await.unwrap();
        let mut repository =
            PostgresClient::new(client).with_timeouts(&Timeouts { lock: Some(Duration::from_secs(600)), ..NONE });
        let error = refused(Request::new(1, &body(0, 2)).enroll(&mut repository).await);
        assert!(matches!(postgres_error(&error), (_, PostgresError::TimedOut(_))), "{error}");
        assert_eq!(settings(repository.client()).await, ["20ms", "0", "0"]);
    });
}

#[test]
#[ignore = needs_postgres!()]
fn the_hosts_own_transaction_keeps_its_timeouts() {
    block_on(async {
        let url = database().await;
        let mut client = connect(&url).await;
        let mut transaction = client.transaction().await.unwrap();
        Request::new(1, &body(0, 2)).enroll(&mut PostgresTransaction::new(&mut transaction)).await.unwrap();
        assert_eq!(settings(transaction.client()).await, ["0", "0", "0"]);
        // It can set the same ones itself.
        transaction.batch_execute(&Timeouts::default().set_local()).await.unwrap();
        assert_eq!(settings(transaction.client()).await, ["30s", "1min", "30s"]);
        transaction.batch_execute(&NONE.set_local()).await.unwrap();
        transaction.commit().await.unwrap();
        assert_eq!(settings(&client).await, ["0", "0", "0"]);
    });
}

/// Many poolers refuse a connection that brings other settings. They know these two.
#[test]
#[ignore = needs_postgres!()]
fn a_connection_starts_without_settings() {
    block_on(async {
        let pool = ConnectOptions::new(&database().await).unwrap().pool(1).unwrap();
        let settings = "select name from pg_settings where source = 'client' order by name";
        let rows = pool.get().await.unwrap().query(settings, &[]).await.unwrap();
        assert_eq!(rows.iter().map(|row| row.get(0)).collect::<Vec<String>>(), ["application_name", "client_encoding"]);
    });
}

/// The worker receives no more answers after it has locked the organization, and never goes on.
#[test]
#[ignore = needs_postgres!()]
fn a_worker_that_is_frozen_in_a_transaction_loses_it() {
    block_on(async {
        let url = database().await;
        let (mut other, observer) = (open(&url).await, connect(&url).await);
        let connection = Connection::default();
        let frozen = Timeouts { idle_in_transaction: Some(Duration::from_millis(100)), ..NONE };
        let mut worker = PostgresClient::new(connection.connect(&url).await).with_timeouts(&frozen);
        let changes = Request::new(1, &body(0, 2)).plan(&mut worker).await;
        let worker_pid = pid(worker.client()).await;
        // The answers to the begin and to the locks.
        connection.freeze_at(17);
        let stuck = tokio::spawn(async move { worker.commit(&changes).await });
        let locked = "select exists (select from pg_stat_activity where pid = $1 and state = 'idle in transaction')";
        let ended = "select not exists (select from pg_stat_activity where pid = $1)";
        while !observer.query_one(&format!("{locked} or ({ended})"), &[&worker_pid]).await.unwrap().get::<_, bool>(0) {
            tokio::task::yield_now().await;
        }
        let report = Request::new(2, &body(0, 2)).enroll(&mut other).await.unwrap();
        assert_eq!(report.counts().added, 2);
        assert!(observer.query_one(ended, &[&worker_pid]).await.unwrap().get::<_, bool>(0));
        stuck.abort();
    });
}

#[test]
#[ignore = needs_postgres!()]
fn a_dropped_call_is_cancelled_and_its_connection_is_not_used_again() {
    block_on(async {
        let url = database().await;
        let mut repository = PostgresRepository::connect(&url, 1).await.unwrap();
        let request = Request::new(1, &body(0, 2));
        let (query, _) = request.snapshot_query(&mut repository).await;
        let changes = request.plan(&mut repository).await;
        let (mut blocker, observer) = (connect(&url).await, connect(&url).await);
        let lock = blocker.transaction().await.unwrap();
        lock.batch_execute("lock table enroll.contacts in access exclusive mode").await.unwrap();
        for call in 0..3 {
            let pid = pid(&repository.pool().get().await.unwrap()).await;
            let host = repository.clone();
            let mut handle = repository.clone();
            tokio::select! {
                biased;
                answer = async {
                    match call {
                        0 => handle.commit(&changes).await,
                        1 => handle.load(&query).await.map(drop),
                        _ => host.query("select from enroll.contacts", &[]).await.map(drop).map_err(Into::into),
                    }
                } => panic!("{answer:?}"),
                () = until_blocked(&observer, pid) => {}
            }
            // The lock is still held: only the request to cancel ends the wait.
            until_session_ended(&observer, pid).await;
            repository.query("select from enroll.organizations", &[]).await.unwrap();
            assert_eq!(repository.pool().status().size, 1);
        }
        lock.rollback().await.unwrap();
        assert_eq!(count_rows(&observer).await, 0);
        assert_eq!(request.enroll(&mut repository).await.unwrap().counts().added, 2);
    });
}

/// An index build locks the contacts. The retention does not read them, so it does not wait for that.
#[test]
#[ignore = needs_postgres!()]
fn the_retention_does_not_wait_for_a_lock_on_contacts() {
    block_on(async {
        let url = database().await;
        PostgresRepository::connect(&url, 1).await.unwrap().enable_events(true).await.unwrap();
        Request::new(1, &body(0, 2)).enroll(&mut open(&url).await).await.unwrap();
        let mut locker = connect(&url).await;
        let lock = locker.transaction().await.unwrap();
        lock.batch_execute("lock table enroll.contacts in access exclusive mode").await.unwrap();
        // A new connection has prepared nothing.
        let options = ConnectOptions::new(&url).unwrap();
        let mut repository = PostgresRepository::with_options(&options, 1).unwrap();
        let mut retention = Retention::keep();
        (retention.failed, retention.completed) = (Some(Duration::ZERO), Some(Duration::ZERO));
        assert_eq!(repository.remove_expired(&retention).await.unwrap().reports, 1);
        let event = repository.events(EventPosition::START, NonZeroU32::MAX).await.unwrap()[0].at;
        let later = Timestamp::from_millis(event.millis() + 1).unwrap();
        assert_eq!(repository.prune_events(later, NonZeroU32::MAX).await.unwrap(), 1);
        lock.rollback().await.unwrap();
    });
}

/// Returns the timeouts of a session: for locks, statements, and idle transactions.
async fn settings(client: &Client) -> [String; 3] {
    let row = "select current_setting('lock_timeout'), current_setting('statement_timeout'),
        current_setting('idle_in_transaction_session_timeout')";
    let row = client.query_one(row, &[]).await.unwrap();
    [0, 1, 2].map(|column| row.get(column))
}

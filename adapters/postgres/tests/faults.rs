//! Each failure of the database is an error with advice, and stores no part of an enrollment.
#![cfg(feature = "testing")]

mod support;

use std::os::unix::fs::{MetadataExt, chown};
use std::process::{Command, Stdio};
use std::time::Duration;

use deadpool_postgres::{Manager, Pool, Runtime};
use enroll::RepositoryErrorKind::{Conflict, Other, Unavailable};
use enroll::inbox::Failure;
use enroll::{AsyncInbox, AsyncRepository, EnrollError};
use enroll_postgres::needs_postgres;
use enroll_postgres::seed::load;
use enroll_postgres::testing::Server;
use enroll_postgres::{PostgresClient, PostgresError, PostgresRepository, migrate};
use support::{
    LEASE, Request, block_on, body, connect, count_rows, database, open, pid, postgres_error, refused, until_blocked,
};
use tokio_postgres::{Client, NoTls};

#[test]
#[ignore = needs_postgres!()]
fn a_stopped_server_is_unavailable() {
    block_on(async {
        let mut server = Server::start();
        let url = server.database().await.unwrap();
        load(&mut connect(&url).await, &support::seed()).await.unwrap();
        let request = Request::new(1, &body(0, 2));
        let mut repository = open(&url).await;
        let changes = request.plan(&mut repository).await;
        server.stop();
        let error = repository.commit(&changes).await.unwrap_err();
        assert_advice(&postgres_error(&error), Unavailable, "try again");
        let error = refused(request.enroll(&mut repository).await);
        assert_advice(&postgres_error(&error), Unavailable, "try again");
        let error = refused(request.accept(&mut repository).await);
        assert_advice(&postgres_error(&error), Unavailable, "try again");
        let error = repository.claim(LEASE).await.unwrap_err();
        assert_advice(&postgres_error(&error), Unavailable, "try again");
        let error = PostgresRepository::connect(&url, 1).await.unwrap_err();
        assert!(matches!(error, PostgresError::Unreachable(_)), "{error:?}");
    });
}

#[test]
#[ignore = needs_postgres!()]
fn a_port_without_a_server_is_unavailable() {
    block_on(async {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let error = PostgresRepository::connect(&format!("postgres://postgres@{free}/postgres"), 1).await.unwrap_err();
        assert!(matches!(error, PostgresError::Unreachable(_)), "{error:?}");
        assert_advice(&(error.kind(), &error), Unavailable, "check that it runs");
    });
}

#[test]
#[ignore = needs_postgres!()]
fn a_connection_lost_before_the_commit_stores_nothing() {
    block_on(async {
        let url = database().await;
        let mut repository = open(&url).await;
        let changes = Request::new(1, &body(0, 2)).plan(&mut repository).await;
        let other = connect(&url).await;
        terminate(&other, pid(repository.client()).await).await;
        let error = repository.commit(&changes).await.unwrap_err();
        assert_advice(&postgres_error(&error), Unavailable, "try again");
        assert_eq!(count_rows(&other).await, 0);
        // Another handle commits it.
        open(&url).await.commit(&changes).await.unwrap();
        assert!(count_rows(&other).await > 0);
    });
}

#[test]
#[ignore = needs_postgres!()]
fn a_connection_lost_while_the_commit_waits_stores_nothing() {
    block_on(async {
        let url = database().await;
        let mut repository = open(&url).await;
        let changes = Request::new(1, &body(0, 2)).plan(&mut repository).await;
        let pid = pid(repository.client()).await;
        let (mut blocker, other) = (connect(&url).await, connect(&url).await);
        let lock = blocker.transaction().await.unwrap();
        lock.batch_execute("select from enroll.organizations for update").await.unwrap();
        let commit = tokio::spawn(async move { repository.commit(&changes).await });
        until_blocked(&other, pid).await;
        terminate(&other, pid).await;
        let error = commit.await.unwrap().unwrap_err();
        assert_advice(&postgres_error(&error), Unavailable, "try again");
        lock.rollback().await.unwrap();
        assert_eq!(count_rows(&other).await, 0);
    });
}

#[test]
#[ignore = needs_postgres!()]
fn a_pool_replaces_a_lost_connection() {
    block_on(async {
        let url = database().await;
        let mut repository = PostgresRepository::connect(&url, 1).await.unwrap();
        let pid = pid(&repository.pool().get().await.unwrap()).await;
        terminate(&connect(&url).await, pid).await;
        let request = Request::new(1, &body(0, 2));
        let mut last = request.enroll(&mut repository).await;
        if last.is_err() {
            last = request.enroll(&mut repository).await;
        }
        assert_eq!(last.unwrap().counts().added, 2);
    });
}

#[test]
#[ignore = needs_postgres!()]
fn a_pool_without_a_free_connection_is_unavailable() {
    block_on(async {
        let url = database().await;
        let manager = Manager::new(url.parse().unwrap(), NoTls);
        let wait = Some(Duration::from_millis(10));
        let pool = Pool::builder(manager).max_size(1).runtime(Runtime::Tokio1).wait_timeout(wait).build().unwrap();
        let _used = pool.get().await.unwrap();
        let error = refused(Request::new(1, &body(0, 1)).enroll(&mut PostgresRepository::new(pool.clone())).await);
        assert!(matches!(postgres_error(&error), (_, PostgresError::PoolTimedOut)));
        assert_advice(&postgres_error(&error), Unavailable, "make the pool larger");
    });
}

#[test]
#[ignore = needs_postgres!()]
fn a_read_only_database_is_read_and_refuses_commits() {
    block_on(async {
        let url = database().await;
        let client = connect(&url).await;
        client.batch_execute("set default_transaction_read_only = on").await.unwrap();
        let mut repository = PostgresClient::new(client);
        let error = refused(Request::new(1, &body(0, 2)).enroll(&mut repository).await);
        assert!(matches!(postgres_error(&error), (_, PostgresError::ReadOnly(_))), "{error:?}");
        assert_advice(&postgres_error(&error), Unavailable, "connect to the primary");
        assert_eq!(count_rows(&connect(&url).await).await, 0);
        let error = refused(Request::new(1, &body(0, 2)).accept(&mut repository).await);
        assert!(matches!(postgres_error(&error), (Unavailable, PostgresError::ReadOnly(_))), "{error:?}");
        let error = repository.claim(LEASE).await.unwrap_err();
        assert!(matches!(postgres_error(&error), (Unavailable, PostgresError::ReadOnly(_))), "{error:?}");
        assert_eq!(count_rows(&connect(&url).await).await, 0);
    });
}

#[test]
#[ignore = needs_postgres!()]
fn a_lock_timeout_is_unavailable_and_the_handle_stays_usable() {
    block_on(async {
        let url = database().await;
        let client = connect(&url).await;
        client.batch_execute("set lock_timeout = '20ms'").await.unwrap();
        let mut repository = PostgresClient::new(client);
        let mut blocker = connect(&url).await;
        let lock = blocker.transaction().await.unwrap();
        lock.batch_execute("select from enroll.organizations for update").await.unwrap();
        let request = Request::new(1, &body(0, 2));
        let error = refused(request.enroll(&mut repository).await);
        assert!(matches!(postgres_error(&error), (_, PostgresError::TimedOut(_))), "{error:?}");
        assert_advice(&postgres_error(&error), Unavailable, "raise the timeout");
        lock.rollback().await.unwrap();
        assert_eq!(count_rows(repository.client()).await, 0);
        request.enroll(&mut repository).await.unwrap();
    });
}

/// The contacts are in a tablespace on a file system of 256 KiB.
#[test]
#[ignore = needs_postgres!()]
fn a_full_disk_is_unavailable_and_stores_nothing() {
    let Some(disk) = SmallDisk::mount() else {
        println!("skipped: only root can mount a small file system");
        return;
    };
    block_on(async {
        let server = Server::start();
        let url = server.database().await.unwrap();
        let (mut client, mut repository) = (connect(&url).await, open(&url).await);
        load(&mut client, &support::seed()).await.unwrap();
        disk.give_to_process(pid(&client).await);
        client.batch_execute(&format!("create tablespace small location '{}'", disk.path())).await.unwrap();
        client.batch_execute("alter table enroll.contacts set tablespace small").await.unwrap();
        let request = Request::new(1, &body(0, 1000));
        let error = refused(request.enroll(&mut repository).await);
        assert!(matches!(postgres_error(&error), (_, PostgresError::Exhausted(_))), "{error:?}");
        assert_advice(&postgres_error(&error), Unavailable, "make room");
        assert_eq!(count_rows(&client).await, 0);
        client.batch_execute("alter table enroll.contacts set tablespace pg_default").await.unwrap();
        assert_eq!(request.enroll(&mut repository).await.unwrap().counts().added, 1000);
    });
}

/// A small file system in a temporary folder.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let disk = ["-t", "tmpfs", "-o", "size=256k", "tmpfs"];
        let mounted = Command::new("mount").args(disk).arg(folder.path()).stderr(Stdio::null()).status();
        mounted.is_ok_and(|status| status.success()).then(|| Self(folder))
    }

    /// Changes the owner to the user of a process: PostgreSQL must own the folder of a tablespace.
    fn give_to_process(&self, pid: i32) {
        let owner = std::fs::metadata(format!("/proc/{pid}")).unwrap().uid();
        chown(self.0.path(), Some(owner), None).unwrap();
    }

    fn path(&self) -> &str {
        self.0.path().to_str().unwrap()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // The server may still have open files there.
        let unmounted = Command::new("umount").arg("--lazy").arg(self.0.path()).status().unwrap();
        assert!(unmounted.success());
    }
}

/// The server raises each code itself.
#[test]
#[ignore = needs_postgres!()]
fn an_error_is_classified_by_its_code() {
    block_on(async {
        let client = connect(Server::shared().url()).await;
        for (kind, codes) in [
            (
                Unavailable,
                &[
                    "08000", "08003", "08006", "40003", "25006", "25P03", "25P04", "53000", "53100", "53200", "53300",
                    "53400", "55P03", "57000", "57014", "57P01", "57P02", "57P03", "57P04", "57P05", "58000", "58030",
                    "58P01",
                ][..],
            ),
            (Conflict, &["40001", "40P01"]),
            (
                Other,
                &["22001", "23502", "23514", "25P02", "28P01", "3D000", "42501", "42P01", "42703", "XX000", "XX001"],
            ),
        ] {
            for code in codes {
                let raise = format!("do $$ begin raise exception 'text' using errcode = '{code}'; end $$");
                let error = PostgresError::from(client.batch_execute(&raise).await.unwrap_err());
                assert_eq!(error.kind(), kind, "{code}: {error}");
                let source = std::error::Error::source(&error).unwrap().to_string();
                assert_eq!(source, format!("SQLSTATE {code}"));
            }
        }
    });
}

/// A session that crashes makes the server end all sessions, recover and start again. It must keep the acceptance.
#[test]
#[ignore = needs_postgres!()]
fn a_server_that_restarts_is_unavailable_until_it_is_back() {
    block_on(async {
        let server = Server::start_with(&[("synchronous_commit", "on")]);
        let url = server.database().await.unwrap();
        load(&mut connect(&url).await, &support::seed()).await.unwrap();
        let mut repository = PostgresRepository::connect(&url, 2).await.unwrap();
        let request = Request::new(1, &body(0, 2));
        request.accept(&mut repository).await.unwrap();
        let (victim, observer) = (connect(&url).await, connect(&url).await);
        let killed = Command::new("kill").args(["-KILL", &pid(&victim).await.to_string()]).status().unwrap();
        assert!(killed.success());
        // The server ends all sessions when it notices the crash. Before that, calls still succeed.
        let report = loop {
            match request.process(&mut repository).await {
                Ok(report) if observer.is_closed() => break report,
                Ok(_) => {}
                Err(EnrollError::Repository(error)) => assert_eq!(error.kind(), Unavailable, "{error:?}"),
                Err(error) => panic!("{error}"),
            }
        };
        assert_eq!(report.counts().added, 2);
    });
}

#[test]
#[ignore = needs_postgres!()]
fn a_newer_schema_is_refused() {
    block_on(async {
        let url = database().await;
        let mut client = connect(&url).await;
        client.batch_execute("insert into enroll.schema_version (version) values (7)").await.unwrap();
        let error = migrate(&mut client).await.unwrap_err();
        assert!(matches!(error, PostgresError::NewerSchema { found: 7, .. }), "{error:?}");
        let request = Request::new(1, &body(0, 2));
        let error = refused(request.enroll(&mut PostgresClient::new(client)).await);
        assert_advice(
            &postgres_error(&error),
            Other,
            "the schema has version 7, but this build supports 1: use a newer `enroll-postgres`",
        );
        let error = PostgresRepository::connect(&url, 1).await.unwrap_err();
        assert!(matches!(error, PostgresError::NewerSchema { found: 7, .. }), "{error:?}");
        assert_eq!(count_rows(&connect(&url).await).await, 0);
    });
}

#[test]
#[ignore = needs_postgres!()]
fn a_database_without_the_schema_is_an_error_with_advice() {
    block_on(async {
        let url = Server::shared().url();
        let error = refused(Request::new(1, &body(0, 2)).enroll(&mut open(url).await).await);
        assert!(matches!(postgres_error(&error), (_, PostgresError::NoSchema(_))), "{error:?}");
        assert_advice(&postgres_error(&error), Other, "run `enroll_postgres::migrate`");
    });
}

#[test]
#[ignore = needs_postgres!()]
fn a_role_without_privileges_is_an_error_with_advice() {
    block_on(async {
        let url = database().await;
        let role = format!("enroll_test_denied_{}", std::process::id());
        let client = connect(&url).await;
        client.batch_execute(&format!("drop role if exists {role}; create role {role}")).await.unwrap();
        client.batch_execute(&format!("set session authorization {role}")).await.unwrap();
        let error = refused(Request::new(1, &body(0, 2)).enroll(&mut PostgresClient::new(client)).await);
        assert!(matches!(postgres_error(&error), (_, PostgresError::Denied(_))), "{error:?}");
        assert_advice(&postgres_error(&error), Other, "grant it usage");
        connect(&url).await.batch_execute(&format!("drop role {role}")).await.unwrap();
    });
}

#[test]
#[ignore = needs_postgres!()]
fn a_dropped_commit_stores_nothing_and_the_connection_stays_usable() {
    block_on(async {
        let url = database().await;
        let mut repository = open(&url).await;
        let request = Request::new(1, &body(0, 2));
        let changes = request.plan(&mut repository).await;
        let pid = pid(repository.client()).await;
        let (mut blocker, other) = (connect(&url).await, connect(&url).await);
        let lock = blocker.transaction().await.unwrap();
        lock.batch_execute("select from enroll.organizations for update").await.unwrap();
        tokio::select! {
            biased;
            committed = repository.commit(&changes) => panic!("{committed:?}"),
            () = until_blocked(&other, pid) => {}
        }
        lock.rollback().await.unwrap();
        assert_eq!(count_rows(repository.client()).await, 0);
        assert_eq!(request.enroll(&mut repository).await.unwrap().counts().added, 2);
    });
}

#[test]
#[ignore = needs_postgres!()]
fn a_connection_lost_during_an_acceptance_stores_nothing() {
    block_on(async {
        let url = database().await;
        let request = Request::new(1, &body(0, 2));
        let mut repository = open(&url).await;
        let (_, command) = request.snapshot_query(&mut repository).await;
        let pid = pid(repository.client()).await;
        let (mut blocker, other) = (connect(&url).await, connect(&url).await);
        let lock = blocker.transaction().await.unwrap();
        lock.batch_execute("lock table enroll.enrollments in exclusive mode").await.unwrap();
        let accepted = tokio::spawn(async move { repository.insert(&command).await });
        until_blocked(&other, pid).await;
        terminate(&other, pid).await;
        let error = accepted.await.unwrap().unwrap_err();
        assert_advice(&postgres_error(&error), Unavailable, "try again");
        lock.rollback().await.unwrap();
        assert_eq!(count_rows(&other).await, 0);
        // Another handle accepts it.
        let mut repository = open(&url).await;
        request.accept(&mut repository).await.unwrap();
        assert_eq!(request.process(&mut repository).await.unwrap().counts().added, 2);
    });
}

#[test]
#[ignore = needs_postgres!()]
fn a_connection_lost_during_a_claim_has_no_lease() {
    block_on(async {
        let url = database().await;
        let mut repository = open(&url).await;
        Request::new(1, &body(0, 2)).accept(&mut repository).await.unwrap();
        let pid = pid(repository.client()).await;
        let (mut blocker, other) = (connect(&url).await, connect(&url).await);
        let lock = blocker.transaction().await.unwrap();
        lock.batch_execute("lock table enroll.enrollments in exclusive mode").await.unwrap();
        let claim = tokio::spawn(async move { repository.claim(LEASE).await });
        until_blocked(&other, pid).await;
        terminate(&other, pid).await;
        let error = claim.await.unwrap().unwrap_err();
        assert_advice(&postgres_error(&error), Unavailable, "try again");
        lock.rollback().await.unwrap();
        let claim = open(&url).await.claim(LEASE).await.unwrap();
        assert_eq!(claim.map(|claim| claim.lease), Some(1));
    });
}

/// A claim skips locked rows, but waits for a locked table.
#[test]
#[ignore = needs_postgres!()]
fn a_claim_skips_locked_rows_and_times_out_on_a_locked_table() {
    block_on(async {
        let url = database().await;
        let client = connect(&url).await;
        client.batch_execute("set lock_timeout = '20ms'").await.unwrap();
        let mut repository = PostgresClient::new(client);
        let (first, second) = (Request::new(1, &body(0, 2)), Request::new(2, &body(2, 2)));
        first.accept(&mut repository).await.unwrap();
        second.accept(&mut repository).await.unwrap();
        let mut blocker = connect(&url).await;

        let lock = blocker.transaction().await.unwrap();
        lock.batch_execute("select from enroll.enrollments order by at limit 1 for update").await.unwrap();
        let claim = repository.claim(LEASE).await.unwrap();
        assert_eq!(claim.map(|claim| claim.enrollment_id), Some(support::id(2)));
        repository.release(&claim.unwrap(), LEASE).await.unwrap();
        assert_eq!(repository.claim(LEASE).await.unwrap(), None);
        lock.rollback().await.unwrap();

        let lock = blocker.transaction().await.unwrap();
        lock.batch_execute("lock table enroll.enrollments in exclusive mode").await.unwrap();
        let error = repository.claim(LEASE).await.unwrap_err();
        assert!(matches!(postgres_error(&error), (_, PostgresError::TimedOut(_))), "{error:?}");
        assert_advice(&postgres_error(&error), Unavailable, "raise the timeout");
        lock.rollback().await.unwrap();
        let claim = repository.claim(LEASE).await.unwrap();
        assert_eq!(claim.map(|claim| claim.enrollment_id), Some(support::id(1)));
    });
}

/// A text in PostgreSQL cannot contain NUL.
#[test]
#[ignore = needs_postgres!()]
fn a_failure_whose_text_contains_nul_is_recorded() {
    block_on(async {
        let mut repository = open(&database().await).await;
        Request::new(1, &body(0, 1)).accept(&mut repository).await.unwrap();
        let claim = repository.claim(LEASE).await.unwrap().unwrap();
        let failure = Failure::new("failed: `\0`", None);
        repository.record_failure(&claim, &failure).await.unwrap();
        let entry = repository.find(claim.organization_id, claim.enrollment_id).await.unwrap().unwrap();
        assert_eq!(entry.error.as_deref(), Some("failed: `\u{fffd}`"));
        assert_eq!(entry.enrollment.state.as_str(), "failed");
    });
}

#[track_caller]
fn assert_advice(
    (kind, error): &(enroll::RepositoryErrorKind, &PostgresError),
    expected: enroll::RepositoryErrorKind,
    advice: &str,
) {
    assert_eq!(*kind, expected, "{error:?}");
    assert!(error.to_string().contains(advice), "{error}");
}

async fn terminate(client: &Client, pid: i32) {
    let ended: bool = client.query_one("select pg_terminate_backend($1, 10000)", &[&pid]).await.unwrap().get(0);
    assert!(ended);
}

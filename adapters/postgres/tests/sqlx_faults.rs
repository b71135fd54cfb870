//! Each failure of the database is the same error on `sqlx` as on `tokio-postgres`, and stores no part of an enrollment.
#![cfg(all(feature = "sqlx", feature = "testing"))]

#[path = "support/sqlx_pool.rs"]
mod sqlx_pool;
mod support;

use enroll::RepositoryErrorKind::{Conflict, Other, Unavailable};
use enroll::changes::Conflict::EnrollmentExists;
use enroll::erase::{EraseMode, PersonQuery};
use enroll::inbox::{Failure, Retention};
use enroll::{AsyncInbox, AsyncRepository};
use enroll_postgres::seed::load;
use enroll_postgres::sqlx::postgres::{PgPool, PgPoolOptions};
use enroll_postgres::sqlx::{self, Connection};
use enroll_postgres::testing::{Pooler, Server};
use enroll_postgres::{PostgresError, SqlxRepository, SqlxTransaction, Timeouts, migrate_sqlx, needs_postgres};
use std::error::Error;
use std::iter::successors;
use std::time::Duration;
use support::{
    LEASE, Request, block_on, body, connect, count_rows, database, open, organization, postgres_error, refused,
    until_blocked,
};

async fn repository(url: &str) -> SqlxRepository {
    SqlxRepository::new(sqlx_pool::pool(url, 1).await)
}

async fn pid_of(pool: &PgPool) -> i32 {
    sqlx::query_scalar("select pg_backend_pid()").fetch_one(pool).await.unwrap()
}

#[test]
#[ignore = needs_postgres!()]
fn errors_are_classified_by_their_codes() {
    block_on(async {
        let mut connection = sqlx_pool::connection(&database().await).await;
        for (kind, codes) in [
            (Conflict, &["40001", "40P01"][..]),
            (Unavailable, &["08006", "25006", "53100", "53300", "55P03", "57014", "57P01", "57P03", "58030"]),
            (Other, &["22001", "23502", "23514", "25P02", "28P01", "3D000", "42501", "42P01", "42703", "XX000"]),
        ] {
            for code in codes {
                let raise = format!("do $$ begin raise exception 'text' using errcode = '{code}'; end $$");
                let raised = sqlx::raw_sql(sqlx::AssertSqlSafe(raise)).execute(&mut connection).await;
                let error = PostgresError::from(raised.unwrap_err());
                assert_eq!(error.kind(), kind, "{code}: {error}");
                assert_eq!(error.source().unwrap().to_string(), format!("SQLSTATE {code}"));
            }
        }
    });
}

/// The server quotes the row and the key.
#[test]
#[ignore = needs_postgres!()]
fn a_refused_row_is_reported_by_code_and_constraint() {
    block_on(async {
        let url = database().await;
        let client = connect(&url).await;
        let mut repository = repository(&url).await;
        let request = Request::new(1, &body(0, 2));
        let changes = request.plan(&mut repository).await;
        client
            .batch_execute("alter table enroll.contacts add constraint no_phones check (phone is null)")
            .await
            .unwrap();
        let error = repository.commit(&changes).await.unwrap_err();
        let (_, PostgresError::Postgres(driver)) = postgres_error(&error) else { panic!("{error:?}") };
        assert_eq!(driver.to_string(), "SQLSTATE 23514, constraint `no_phones`, table `contacts`");
        assert_eq!((driver.code(), driver.constraint()), (Some("23514"), Some("no_phones")));
        assert!(driver.inner().is::<sqlx::Error>() && driver.source().is_none());
        client.batch_execute("alter table enroll.contacts drop constraint no_phones").await.unwrap();
        assert_eq!(count_rows(&client).await, 0);

        // The connection is in order again.
        Request::new(2, &body(1, 1)).enroll(&mut open(&url).await).await.unwrap();
        let error = repository.commit(&changes).await.unwrap_err();
        assert!(matches!(postgres_error(&error), (Conflict, PostgresError::NotUnique { .. })), "{error:?}");
        assert_eq!(request.enroll(&mut repository).await.unwrap().counts().added, 1);
    });
}

#[test]
#[ignore = needs_postgres!()]
fn a_stored_value_that_is_not_valid_is_reported_by_column() {
    block_on(async {
        let url = database().await;
        let mut repository = repository(&url).await;
        Request::new(1, &body(0, 1)).enroll(&mut repository).await.unwrap();
        let client = connect(&url).await;
        client.batch_execute("update enroll.contacts set address = to_json(phone)").await.unwrap();
        let error = refused(Request::new(2, &body(0, 1)).enroll(&mut repository).await);
        assert!(error.to_string().contains("`address` of a stored row is not valid"), "{error}");
    });
}

#[test]
#[ignore = needs_postgres!()]
fn each_call_ends_with_its_timeouts() {
    block_on(async {
        let url = database().await;
        let request = Request::new(1, &body(0, 2));
        let short = Timeouts { lock: Some(Duration::from_millis(20)), ..Timeouts::default() };
        let mut repository = repository(&url).await.with_timeouts(&short);
        let (query, command) = request.snapshot_query(&mut repository).await;
        let changes = request.plan(&mut repository).await;
        let mut blocker = connect(&url).await;
        let lock = blocker.transaction().await.unwrap();
        lock.batch_execute("lock table enroll.enrollments, enroll.queues, enroll.contacts in access exclusive mode")
            .await
            .unwrap();
        let mut retention = Retention::keep();
        retention.failed = Some(Duration::ZERO);
        for (call, refused) in [
            repository.reference_data(&query.reference).await.map(drop),
            repository.load(&query).await.map(drop),
            repository.commit(&changes).await,
            repository.insert(&command).await.map(drop),
            repository.claim(LEASE).await.map(drop),
            repository.remove_expired(&retention).await.map(drop),
        ]
        .into_iter()
        .enumerate()
        {
            let error = refused.expect_err(&format!("call {call}"));
            assert!(matches!(postgres_error(&error), (Unavailable, PostgresError::TimedOut(_))), "{call}: {error:?}");
        }
        lock.rollback().await.unwrap();
        // The timeouts ended with the transactions.
        let timeout: String = sqlx::query_scalar("show lock_timeout").fetch_one(repository.pool()).await.unwrap();
        assert_eq!(timeout, "0");
        assert_eq!(count_rows(&blocker).await, 0);
    });
}

#[test]
#[ignore = needs_postgres!()]
fn a_dropped_call_leaves_no_transaction() {
    block_on(async {
        let url = database().await;
        let mut repository = repository(&url).await;
        let request = Request::new(1, &body(0, 2));
        let (query, _) = request.snapshot_query(&mut repository).await;
        let changes = request.plan(&mut repository).await;
        let (mut blocker, observer) = (connect(&url).await, connect(&url).await);
        for writes in [true, false] {
            let lock = blocker.transaction().await.unwrap();
            lock.batch_execute("lock table enroll.contacts in access exclusive mode").await.unwrap();
            let pid = pid_of(repository.pool()).await;
            let mut handle = repository.clone();
            tokio::select! {
                biased;
                answer = async {
                    if writes { handle.commit(&changes).await } else { handle.load(&query).await.map(drop) }
                } => panic!("{answer:?}"),
                () = until_blocked(&observer, pid) => {}
            }
            // The pool has one connection: it is another one, without the transaction.
            assert_ne!(pid_of(repository.pool()).await, pid);
            lock.rollback().await.unwrap();
            assert_eq!(count_rows(&observer).await, 0);
        }
        assert_eq!(request.enroll(&mut repository).await.unwrap().counts().added, 2);
    });
}

/// The future is dropped after each number of polls, so also while the transaction begins and while it is committed.
#[test]
#[ignore = needs_postgres!()]
fn a_call_that_is_dropped_at_any_point_stores_all_or_nothing_and_leaves_no_transaction() {
    block_on(async {
        let (url, other_url) = (database().await, database().await);
        let (mut repository, mut other) = (repository(&url).await, repository(&other_url).await);
        let request = Request::new(1, &body(0, 2));
        let changes = request.plan(&mut repository).await;
        request.enroll(&mut other).await.unwrap();
        let all = count_rows(&connect(&other_url).await).await;
        let observer = connect(&url).await;
        for polls in 1.. {
            let mut handle = repository.clone();
            let mut commit = Box::pin(handle.commit(&changes));
            let mut polled = 0;
            let committed = std::future::poll_fn(|task| match commit.as_mut().poll(task) {
                std::task::Poll::Ready(committed) => std::task::Poll::Ready(Some(committed)),
                std::task::Poll::Pending if polled == polls => std::task::Poll::Ready(None),
                std::task::Poll::Pending => {
                    polled += 1;
                    std::task::Poll::Pending
                }
            })
            .await;
            drop(commit);
            // Two statements of one transaction have the same time.
            let mut connection = repository.pool().acquire().await.unwrap();
            let now = "select now()::text";
            let first: String = sqlx::query_scalar(now).fetch_one(&mut *connection).await.unwrap();
            let second: String = sqlx::query_scalar(now).fetch_one(&mut *connection).await.unwrap();
            assert_ne!(first, second, "after {polls} polls");
            let stored = count_rows(&observer).await;
            assert!(stored == 0 || stored == all, "{stored} rows of {all} after {polls} polls");
            if let Some(committed) = committed {
                assert!(polls > 3, "{polls}");
                // The server can receive the `commit` of a call that is then dropped.
                if let Err(error) = committed {
                    let (kind, error) = postgres_error(&error);
                    let exists = matches!(error, PostgresError::Conflict(EnrollmentExists(_)));
                    assert!(exists && kind == Conflict, "{error:?}");
                }
                break;
            }
        }
        assert_eq!(count_rows(&observer).await, all);
    });
}

#[test]
#[ignore = needs_postgres!()]
fn a_stopped_server_is_unavailable() {
    block_on(async {
        let mut server = Server::start();
        let url = server.database().await.unwrap();
        load(&mut connect(&url).await, &support::seed()).await.unwrap();
        let request = Request::new(1, &body(0, 2));
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(Duration::from_millis(500))
            .connect_with(sqlx_pool::options(&url))
            .await
            .unwrap();
        let mut repository = SqlxRepository::new(pool.clone());
        let changes = request.plan(&mut repository).await;
        server.stop();
        let error = repository.commit(&changes).await.unwrap_err();
        assert_eq!(error.kind(), Unavailable, "{error:?}");
        let error = repository.claim(LEASE).await.unwrap_err();
        assert_eq!(error.kind(), Unavailable, "{error:?}");
        pool.close().await;
        let error = repository.claim(LEASE).await.unwrap_err();
        assert!(matches!(postgres_error(&error), (Other, PostgresError::Pool(_))), "{error:?}");
    });
}

#[test]
#[ignore = needs_postgres!()]
fn a_connection_lost_during_a_commit_stores_nothing() {
    block_on(async {
        let url = database().await;
        let mut repository = repository(&url).await;
        let changes = Request::new(1, &body(0, 2)).plan(&mut repository).await;
        let pid = pid_of(repository.pool()).await;
        let (mut blocker, other) = (connect(&url).await, connect(&url).await);
        let lock = blocker.transaction().await.unwrap();
        lock.batch_execute("select from enroll.organizations for update").await.unwrap();
        let mut handle = repository.clone();
        let (committed, ()) = tokio::join!(handle.commit(&changes), async {
            until_blocked(&other, pid).await;
            other.query_one("select pg_terminate_backend($1, 10000)", &[&pid]).await.unwrap();
        });
        let error = committed.unwrap_err();
        assert!(matches!(postgres_error(&error), (Unavailable, PostgresError::ShuttingDown(_))), "{error:?}");
        lock.rollback().await.unwrap();
        assert_eq!(count_rows(&other).await, 0);
        repository.commit(&changes).await.unwrap();
        assert!(count_rows(&other).await > 0);
    });
}

#[test]
#[ignore = needs_postgres!()]
fn no_free_connection_of_the_pool_is_unavailable() {
    block_on(async {
        let options = sqlx_pool::options(&database().await);
        let pool = PgPoolOptions::new().max_connections(1).acquire_timeout(Duration::from_millis(20));
        let pool = pool.connect_lazy_with(options);
        let error = match pool.acquire().await {
            Ok(_held) => SqlxRepository::new(pool.clone()).claim(LEASE).await.unwrap_err(),
            Err(e) => PostgresError::from(e).into(),
        };
        assert!(matches!(postgres_error(&error), (Unavailable, PostgresError::PoolTimedOut)), "{error:?}");
    });
}

#[test]
#[ignore = needs_postgres!()]
fn a_read_only_database_is_unavailable() {
    block_on(async {
        let url = database().await;
        let mut writer = repository(&url).await;
        let changes = Request::new(1, &body(0, 2)).plan(&mut writer).await;
        let options = sqlx_pool::options(&url).options([("default_transaction_read_only", "on")]);
        let pool = PgPoolOptions::new().max_connections(1).connect_with(options).await.unwrap();
        let error = SqlxRepository::new(pool).commit(&changes).await.unwrap_err();
        assert!(matches!(postgres_error(&error), (Unavailable, PostgresError::ReadOnly(_))), "{error:?}");
    });
}

#[test]
#[ignore = needs_postgres!()]
fn a_database_is_migrated_once_and_a_newer_or_missing_schema_is_refused() {
    block_on(async {
        let name = format!("enroll_sqlx_{}", std::process::id());
        let url = Server::shared().empty_database(&name).await.unwrap();
        let mut repository = repository(&url).await;
        let request = Request::new(1, &body(0, 2));
        let error = refused(request.enroll(&mut repository).await);
        assert!(matches!(postgres_error(&error), (Other, PostgresError::NoSchema(_))), "{error:?}");

        let (mut first, mut second) = (sqlx_pool::connection(&url).await, sqlx_pool::connection(&url).await);
        let (one, two) = tokio::join!(migrate_sqlx(&mut first), migrate_sqlx(&mut second));
        one.and(two).unwrap();
        assert_eq!(enroll_postgres::schema_version(&connect(&url).await).await.unwrap(), 1);
        load(&mut connect(&url).await, &support::seed()).await.unwrap();
        assert_eq!(request.enroll(&mut repository).await.unwrap().counts().added, 2);

        connect(&url).await.batch_execute("insert into enroll.schema_version (version) values (7)").await.unwrap();
        let error = migrate_sqlx(&mut first).await.unwrap_err();
        assert!(matches!(error, PostgresError::NewerSchema { found: 7, .. }), "{error:?}");
        assert!(!first.is_in_transaction());
        let error = refused(Request::new(2, &body(0, 2)).enroll(&mut repository).await);
        assert!(matches!(postgres_error(&error), (Other, PostgresError::NewerSchema { found: 7, .. })), "{error:?}");
    });
}

/// A pooler in the mode `transaction` loses prepared statements: none is left behind.
#[test]
#[ignore = needs_postgres!()]
fn without_prepared_statements_a_connection_has_none() {
    block_on(async {
        let url = database().await;
        for (prepares, least) in [(true, 40), (false, 0)] {
            let mut repository = repository(&url).await.with_prepared_statements(prepares);
            let request = Request::new(u128::from(prepares), &body(0, 2));
            request.enroll(&mut repository).await.unwrap();
            let statements = "select count(*) from pg_catalog.pg_prepared_statements where statement like '%enroll%'";
            let count: i64 =
                sqlx::query_scalar(statements).persistent(false).fetch_one(repository.pool()).await.unwrap();
            assert!(if prepares { count >= least } else { count == 0 }, "{count}");
        }
    });
}

#[test]
#[ignore = needs_postgres!()]
fn a_person_is_erased_and_old_commands_are_removed() {
    block_on(async {
        let url = database().await;
        let mut repository = repository(&url).await;
        Request::new(1, &body(0, 2)).enroll(&mut repository).await.unwrap();
        Request::new(2, &body(0, 3)).accept(&mut repository).await.unwrap();
        let person = PersonQuery::any("person1@EXAMPLE.com");
        let counted = repository.erase(organization(), &person, EraseMode::Preview).await.unwrap();
        let erased = repository.erase(organization(), &person, EraseMode::Confirmed).await.unwrap();
        assert_eq!(erased, counted);
        assert_eq!((erased.contacts, erased.recipients, erased.outcomes), (1, 1, 1));
        repository.erase(organization(), &person, EraseMode::Confirmed).await.unwrap_err();

        let claim = repository.claim(LEASE).await.unwrap().unwrap();
        repository.record_failure(&claim, &Failure::new("broken", None)).await.unwrap();
        let mut retention = Retention::keep();
        (retention.failed, retention.completed) = (Some(Duration::ZERO), Some(Duration::ZERO));
        let removed = repository.remove_expired(&retention).await.unwrap();
        assert_eq!((removed.commands, removed.reports), (1, 1));
    });
}

/// PgBouncer gives each transaction another connection of the server.
#[test]
#[ignore = needs_postgres!()]
fn a_pooler_in_transaction_mode_works_without_prepared_statements() {
    block_on(async {
        let server = Server::start();
        let url = server.database().await.unwrap();
        load(&mut connect(&url).await, &support::seed()).await.unwrap();
        let pooler = Pooler::start(&server, &[("pool_mode", "transaction")], &[]);
        // PgBouncer refuses this setting.
        let options = sqlx_pool::options(&pooler.address(&url)).extra_float_digits(None);
        let pool = PgPoolOptions::new().max_connections(3).connect_with(options).await.unwrap();
        let enroll = async |n: u128| {
            let mut repository = SqlxRepository::new(pool.clone()).with_prepared_statements(false);
            for turn in 0..5 {
                let first = 10 * (5 * usize::try_from(n).unwrap() + turn);
                let request = Request::new(100 * n + turn as u128, &body(first, 2));
                assert_eq!(request.enroll(&mut repository).await.unwrap().counts().added, 2);
            }
            let mut transaction = pool.begin().await.unwrap();
            let mut own = SqlxTransaction::new(&mut transaction).with_prepared_statements(false);
            Request::new(100 * n + 50, &body(900 + usize::try_from(n).unwrap(), 1)).enroll(&mut own).await.unwrap();
            transaction.commit().await.unwrap();
        };
        tokio::join!(enroll(1), enroll(2), enroll(3));
        let contacts: i64 =
            connect(&url).await.query_one("select count(*) from enroll.contacts", &[]).await.unwrap().get(0);
        assert_eq!(contacts, 33);
    });
}

/// The texts of `sqlx` quote the value.
#[test]
fn a_value_that_cannot_be_decoded_is_not_quoted() {
    let errors = [
        sqlx::Error::ColumnDecode { index: "0".to_owned(), source: "no number: Ann Lee".into() },
        sqlx::Error::Decode("no number: Ann Lee".into()),
        sqlx::Error::Encode("no number: Ann Lee".into()),
    ];
    for error in errors {
        let error = PostgresError::from(error);
        let texts: Vec<_> =
            successors(Some(&error as &dyn Error), |error| (*error).source()).map(ToString::to_string).collect();
        assert!(texts.len() == 2 && texts[1].contains("could not be"), "{texts:?}");
        assert!(!texts.concat().contains("Ann"), "{texts:?}");
    }
}

//! The repository through PgBouncer: in session mode, and in transaction mode with prepared statements off.
#![cfg(feature = "testing")]

#[path = "support/certificates.rs"]
mod certificates;
#[path = "support/dump.rs"]
mod dump;
mod support;

use std::sync::LazyLock;
use std::time::Duration;

use certificates::Authority;
use enroll::RepositoryErrorKind::Other;
use enroll::inbox::Retention;
use enroll::seed::{HostWrite, Seed};
use enroll::testing::conformance::{Fixture, InboxFixture};
use enroll::{AsyncRepository, OrganizationId, RepositoryError};
use enroll_postgres::testing::{self, Pooler, Server};
use enroll_postgres::{
    ConnectOptions, PostgresClient, PostgresError, PostgresRepository, PostgresTransaction, TlsVersion, migrate,
    needs_postgres, seed,
};
use support::{Request, block_on, body, connect, database, postgres_error, until_session_ended};

/// Each transaction gets a new connection of the server, so that anything left in a session is lost.
const TRANSACTIONS: &[(&str, &str)] = &[("pool_mode", "transaction"), ("server_lifetime", "0")];
/// Transactions take turns on two connections of the server.
const TURNS: &[(&str, &str)] = &[("pool_mode", "transaction"), ("server_round_robin", "1"), ("min_pool_size", "2")];

static SESSION_POOLER: LazyLock<Pooler> =
    LazyLock::new(|| Pooler::start(Server::shared(), &[("pool_mode", "session")], &[]));
static TRANSACTION_POOLER: LazyLock<Pooler> = LazyLock::new(|| Pooler::start(Server::shared(), TRANSACTIONS, &[]));

/// Prepared statements, and a connection of the server for each session.
fn session_options(url: &str) -> ConnectOptions {
    ConnectOptions::from_address(&SESSION_POOLER.address(url)).unwrap()
}

/// No prepared statements, and a connection of the server for each transaction.
fn transaction_options(url: &str) -> ConnectOptions {
    let address = TRANSACTION_POOLER.address(url);
    let join = if address.contains('?') { '&' } else { '?' };
    ConnectOptions::from_address(&format!("{address}{join}pgbouncer=true")).unwrap()
}

/// Declares a fixture whose repositories connect through a pooler, and runs the suites with it.
macro_rules! conformance_through {
    ($module:ident, $pooler:ident, $options:path) => {
        mod $module {
            use super::*;

            pub(crate) struct PoolerFixture {
                url: String,
            }

            impl Fixture for PoolerFixture {
                type Repository = PostgresClient;

                async fn fresh() -> Self {
                    Self { url: Server::shared().database().await.unwrap() }
                }

                async fn open(&self) -> PostgresClient {
                    let options = $options(&self.url);
                    let client = connect(&$pooler.address(&self.url)).await;
                    PostgresClient::new(client).with_prepared_statements(options.prepared_statements())
                }

                async fn seed(&self, rows: &Seed) {
                    seed::load(self.open().await.client(), rows).await.unwrap();
                }

                async fn host_write(&self, write: &HostWrite) -> Result<(), RepositoryError> {
                    Ok(testing::host_write(&mut connect(&self.url).await, write).await?)
                }

                async fn dump(&self, organization_id: OrganizationId) -> Seed {
                    dump::dump(&self.url, organization_id).await
                }

                /// A pooler sends other statements too.
                fn round_trips(&self) -> Option<u64> {
                    None
                }
            }

            impl InboxFixture for PoolerFixture {
                async fn remove_failed_commands(&self) {
                    let mut retention = Retention::keep();
                    retention.failed = Some(Duration::ZERO);
                    let mut repository = PostgresRepository::with_options(&$options(&self.url), 1).unwrap();
                    repository.remove_expired(&retention).await.unwrap();
                }
            }

            enroll::conformance_tests!(
                #[ignore = needs_postgres!()]
                PoolerFixture,
                support::block_on
            );

            enroll::inbox_conformance_tests!(
                #[ignore = needs_postgres!()]
                PoolerFixture
            );
        }
    };
}

conformance_through!(session_mode, SESSION_POOLER, session_options);
conformance_through!(transaction_mode, TRANSACTION_POOLER, transaction_options);

/// A repository in transaction mode, on a database with the seed.
fn repository(url: &str, connections: usize) -> PostgresRepository {
    PostgresRepository::with_options(&transaction_options(url), connections).unwrap()
}

#[test]
#[ignore = needs_postgres!()]
fn many_calls_share_the_connections_of_a_pooler_and_leave_nothing_in_them() {
    block_on(async {
        let url = database().await;
        let pooler = Pooler::start(Server::shared(), TURNS, &[]);
        let address = format!("{}&pgbouncer=true", with_question_mark(&pooler.address(&url)));
        let shared = PostgresRepository::with_options(&ConnectOptions::from_address(&address).unwrap(), 16).unwrap();
        // Of the first ones, each is long enough for a copy.
        let calls = (0..16_usize).map(|n| {
            let mut shared = shared.clone();
            let (first, count) = if n < 3 { (n * 2100, 2100) } else { (n * 2100, 10) };
            tokio::spawn(async move { Request::new(n as u128 + 1, &body(first, count)).enroll(&mut shared).await })
        });
        let mut added = 0;
        for call in calls.collect::<Vec<_>>() {
            added += call.await.unwrap().unwrap().counts().added;
        }
        assert_eq!(added, 3 * 2100 + 13 * 10);
        for _ in 0..20 {
            let left = "select (select count(*) from pg_prepared_statements)
                + (select count(*) from pg_settings where name like '%timeout' and source = 'session')";
            let rows = shared.query(left, &[]).await.unwrap();
            // The timeouts of this transaction itself.
            assert_eq!(rows[0].get::<_, i64>(0), 3);
        }
    });
}

#[test]
#[ignore = needs_postgres!()]
fn a_host_enrolls_in_its_own_transaction_through_a_pooler() {
    block_on(async {
        let url = database().await;
        let shared = repository(&url, 2);
        for n in 1..=6 {
            let mut client = shared.pool().get().await.unwrap();
            let statements = shared.statements(&client).await.unwrap();
            let mut transaction = client.transaction().await.unwrap();
            let request = Request::new(n, &body(usize::try_from(n).unwrap() * 10, 2));
            let report = if n % 2 == 0 {
                request.enroll(&mut PostgresTransaction::new(&mut transaction)).await
            } else {
                request.enroll(&mut PostgresTransaction::with_statements(&mut transaction, statements)).await
            };
            assert_eq!(report.unwrap().counts().added, 2);
            transaction.commit().await.unwrap();
        }
        let contacts = shared.query("select from enroll.contacts", &[]).await.unwrap();
        assert_eq!(contacts.len(), 12);
    });
}

#[test]
#[ignore = needs_postgres!()]
fn several_processes_migrate_an_empty_database_through_a_pooler() {
    block_on(async {
        let url = Server::shared().empty_database("through_a_pooler").await.unwrap();
        let options = transaction_options(&url);
        let migrations = (0..4).map(|_| {
            let options = options.clone();
            tokio::spawn(async move { migrate(&mut options.connect().await?).await })
        });
        for migration in migrations.collect::<Vec<_>>() {
            migration.await.unwrap().unwrap();
        }
        assert!(PostgresRepository::with_options(&options, 1).unwrap().query("select 1", &[]).await.is_ok());
    });
}

#[test]
#[ignore = needs_postgres!()]
fn a_dropped_call_is_cancelled_through_a_pooler() {
    block_on(async {
        let url = database().await;
        let (mut blocker, observer) = (connect(&url).await, connect(&url).await);
        let lock = blocker.transaction().await.unwrap();
        lock.batch_execute("lock table enroll.contacts in access exclusive mode").await.unwrap();
        for options in [session_options(&url), transaction_options(&url)] {
            let host = PostgresRepository::with_options(&options, 1).unwrap();
            let waiting = "select coalesce(min(pid), 0) from pg_stat_activity
                where wait_event_type = 'Lock' and query like '%enroll.contacts%' and datname = current_database()";
            let mut pid = 0;
            tokio::select! {
                biased;
                answer = host.query("select from enroll.contacts", &[]) => panic!("{answer:?}"),
                () = async {
                    while pid == 0 {
                        pid = observer.query_one(waiting, &[]).await.unwrap().get(0);
                    }
                } => {}
            }
            // The lock is still held: only the request to cancel ends the wait.
            until_session_ended(&observer, pid).await;
            assert_eq!(host.query("select from enroll.organizations", &[]).await.unwrap().len(), 1);
        }
        lock.rollback().await.unwrap();
    });
}

#[test]
#[ignore = needs_postgres!()]
fn prepared_statements_that_a_pooler_loses_get_an_error_that_names_the_settings() {
    block_on(async {
        let url = database().await;
        let options = ConnectOptions::from_address(&TRANSACTION_POOLER.address(&url)).unwrap();
        assert!(options.prepared_statements());
        let mut lossy = PostgresRepository::with_options(&options, 1).unwrap();
        let query = Request::new(1, &body(0, 1)).enrollment().reference_query();
        let mut answers = Vec::new();
        for _ in 0..10 {
            answers.extend(lossy.reference_data(&query).await.err());
        }
        let error = answers.first().expect("the pooler gives each transaction another connection");
        let (kind, error) = postgres_error(error);
        assert!(matches!((kind, error), (Other, PostgresError::NoPreparedStatements(_))), "{error:?}");
        for part in ["add `pgbouncer=true` to the address", "`max_prepared_statements`", "`pool_mode` to `session`"] {
            assert!(error.to_string().contains(part), "{error}");
        }
        // The same calls without prepared statements.
        let mut shared = PostgresRepository::with_options(&options.with_prepared_statements(false), 1).unwrap();
        for _ in 0..10 {
            shared.reference_data(&query).await.unwrap();
        }
    });
}

#[test]
#[ignore = needs_postgres!()]
fn a_pooler_that_cannot_work_gets_an_error_that_names_the_setting() {
    block_on(async {
        let url = database().await;
        let statement_mode = Pooler::start(Server::shared(), &[("pool_mode", "statement")], &[]);
        let address = format!("{}&pgbouncer=true", with_question_mark(&statement_mode.address(&url)));
        let error = PostgresRepository::connect(&address, 1).await.unwrap_err();
        assert!(matches!(error, PostgresError::Pooler { .. }), "{error:?}");
        assert!(error.to_string().contains("set `pool_mode` of PgBouncer to `transaction` or `session`"), "{error}");

        let address = with_question_mark(&SESSION_POOLER.address(&url));
        let with_options = format!("{address}&options=-c%20geqo%3Doff");
        let error = PostgresRepository::connect(&with_options, 1).await.unwrap_err();
        assert!(matches!(error, PostgresError::Pooler { .. }), "{error:?}");
        assert!(error.to_string().contains("remove `options` from the address (`PGOPTIONS`)"), "{error}");

        // A pooler without a server is an outage.
        let mut server = Server::start();
        let alone = Pooler::start(&server, &[("server_login_retry", "1"), ("query_timeout", "2")], &[]);
        server.stop();
        let error = PostgresRepository::connect(&alone.address(server.url()), 1).await.unwrap_err();
        assert!(matches!(error, PostgresError::Unreachable(_)), "{error:?}");
    });
}

/// As Pgpool does: it begins a transaction of its own before the first statement of a client.
#[test]
#[ignore = needs_postgres!()]
fn a_transaction_that_a_pooler_began_gets_an_error_that_names_the_setting() {
    block_on(async {
        let client = connect(&database().await).await;
        client.batch_execute("begin; select from enroll.contacts").await.unwrap();
        let query = Request::new(1, &body(0, 1)).enrollment().reference_query();
        let error = PostgresClient::new(client).reference_data(&query).await.unwrap_err();
        let (_, error) = postgres_error(&error);
        assert!(matches!(error, PostgresError::Pooler { .. }), "{error:?}");
        assert!(error.to_string().contains("`backend_clustering_mode`, `load_balance_mode`"), "{error}");
    });
}

#[test]
#[ignore = needs_postgres!()]
fn a_connection_through_a_pooler_says_what_it_is() {
    block_on(async {
        let url = database().await;
        let authority = Authority::new("Test authority");
        let certificate = authority.server(&["localhost"]);
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("ca.pem");
        std::fs::write(&root, authority.pem()).unwrap();
        let tls = [
            ("client_tls_sslmode", "require"),
            ("client_tls_cert_file", "server.crt"),
            ("client_tls_key_file", "server.key"),
        ];
        let files = [("server.crt", &*certificate.certificate), ("server.key", &*certificate.key)];
        let pooler = Pooler::start(Server::shared(), &[TRANSACTIONS, &tls].concat(), &files);
        let address = with_question_mark(&pooler.address(&url).replace("127.0.0.1", "localhost"));
        let address = format!("{address}&sslmode=verify-full&pgbouncer=true&sslrootcert={}", root.display());
        let options = ConnectOptions::from_address(&address).unwrap();
        let info = options.inspect().await.unwrap();
        assert!(info.has_pooler && !info.prepared_statements, "{info:?}");
        assert_eq!((info.tls, info.server_tls), (Some(TlsVersion::Tls13), None));
        assert_eq!((&*info.user, &*info.application_name), ("postgres", "enroll"));
        let mut repository = PostgresRepository::with_options(&options, 2).unwrap();
        assert_eq!(Request::new(1, &body(0, 3)).enroll(&mut repository).await.unwrap().counts().added, 3);

        assert!(session_options(&url).inspect().await.unwrap().has_pooler);
        assert!(!ConnectOptions::from_address(&url).unwrap().inspect().await.unwrap().has_pooler);
    });
}

/// PgBouncer has one code for all its errors.
#[test]
#[ignore = needs_postgres!()]
fn a_refusal_of_a_pooler_says_why() {
    block_on(async {
        let url = database().await;
        let connect = async |address: &str| ConnectOptions::from_address(address).unwrap().connect().await;
        let users = [("auth_type", "md5"), ("auth_file", "users"), ("max_client_conn", "1")];
        let strict = Pooler::start(Server::shared(), &users, &[("users", "\"postgres\" \"secret\"\n")]);
        let address = with_question_mark(&strict.address(&url)).replace("//postgres@", "//postgres:secret@");
        for wrong in [address.replace("secret", "guess"), address.replace("//postgres:", "//nobody_here:")] {
            let error = connect(&wrong).await.unwrap_err();
            assert!(matches!(error, PostgresError::Refused(_)), "{error:?}");
        }
        let error = connect(&format!("{address}&dbname=nothing_here")).await.unwrap_err();
        assert!(matches!(error, PostgresError::Refused(_)), "{error:?}");
        let only = connect(&address).await.unwrap();
        let error = connect(&address).await.unwrap_err();
        assert!(matches!(error, PostgresError::Exhausted(_)), "{error:?}");
        drop(only);

        let certificate = Authority::new("Test authority").server(&["localhost"]);
        let files = [("server.crt", &*certificate.certificate), ("server.key", &*certificate.key)];
        let tls = [
            ("client_tls_sslmode", "require"),
            ("client_tls_cert_file", "server.crt"),
            ("client_tls_key_file", "server.key"),
        ];
        let encrypted = Pooler::start(Server::shared(), &tls, &files);
        let address = with_question_mark(&encrypted.address(&url));
        for (parameters, part) in [
            ("sslmode=disable", "set `sslmode` of the address to `require` or stronger"),
            ("sslmode=require&channel_binding=require", "`channel_binding` is not supported: the server, or a pooler"),
        ] {
            let error = connect(&format!("{address}&{parameters}")).await.unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
        }
    });
}

#[test]
#[ignore = needs_postgres!()]
fn a_server_without_a_free_connection_is_not_a_pooler() {
    block_on(async {
        let url = database().await;
        let role = format!("one_connection_{}", std::process::id());
        let client = connect(&url).await;
        client.batch_execute(&format!("create role {role} login connection limit 1")).await.unwrap();
        let options = ConnectOptions::from_address(&format!("{}&user={role}", with_question_mark(&url))).unwrap();
        let error = options.inspect().await.unwrap_err();
        assert!(matches!(error, PostgresError::Exhausted(_)), "{error:?}");
        client.batch_execute(&format!("drop role {role}")).await.unwrap();
    });
}

fn with_question_mark(address: &str) -> String {
    if address.contains('?') { address.to_owned() } else { format!("{address}?") }
}

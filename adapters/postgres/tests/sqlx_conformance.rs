//! Runs the conformance suite of the repository contract on `sqlx`, and counts the round trips on the wire.
#![cfg(all(feature = "sqlx", feature = "testing"))]

#[path = "support/dump.rs"]
mod dump;
#[path = "support/proxy.rs"]
mod proxy;
#[path = "support/sqlx_pool.rs"]
mod sqlx_pool;
mod support;

use enroll::inbox::Retention;
use enroll::seed::{HostWrite, Seed};
use enroll::testing::conformance::{EventFixture, Fixture, InboxFixture};
use enroll::{AsyncInbox, AsyncRepository, EnrollmentCommand, OrganizationId, RepositoryError};
use enroll_postgres::sqlx::postgres::{PgConnection, PgPoolOptions};
use enroll_postgres::sqlx::{Connection, Executor};
use enroll_postgres::testing::{self, Server};
use enroll_postgres::{SqlxRepository, SqlxTransaction, needs_postgres, seed};
use proxy::Proxy;
use std::time::Duration;
use support::{Request, connect};

struct SqlxFixture {
    url: String,
    proxy: Proxy,
}

impl Fixture for SqlxFixture {
    type Repository = SqlxRepository;

    async fn fresh() -> Self {
        let url = Server::shared().database().await.unwrap();
        Self { proxy: Proxy::start(&url).await, url }
    }

    async fn open(&self) -> SqlxRepository {
        let options = sqlx_pool::options(&self.url).host("127.0.0.1").port(self.proxy.port());
        // A connection that the pool tests first would count as a round trip.
        let pool = PgPoolOptions::new().max_connections(2).test_before_acquire(false).connect_lazy_with(options);
        SqlxRepository::new(pool)
    }

    async fn seed(&self, rows: &Seed) {
        seed::load(&mut connect(&self.url).await, rows).await.unwrap();
    }

    async fn host_write(&self, write: &HostWrite) -> Result<(), RepositoryError> {
        Ok(testing::host_write(&mut connect(&self.url).await, write).await?)
    }

    async fn dump(&self, organization_id: OrganizationId) -> Seed {
        dump::dump(&self.url, organization_id).await
    }

    fn round_trips(&self) -> Option<u64> {
        Some(self.proxy.round_trips())
    }
}

impl InboxFixture for SqlxFixture {
    async fn remove_failed_commands(&self) {
        let mut retention = Retention::keep();
        retention.failed = Some(Duration::ZERO);
        self.open().await.remove_expired(&retention).await.unwrap();
    }
}

impl EventFixture for SqlxFixture {
    type Transaction = PgConnection;

    async fn enable_events(&self, enabled: bool) {
        let mut repository = self.open().await;
        repository.enable_events(enabled).await.unwrap();
        assert_eq!(repository.events_enabled().await.unwrap(), enabled);
    }

    async fn accept_in_transaction(&self, command: &EnrollmentCommand) -> Option<PgConnection> {
        let mut connection = sqlx_pool::connection(&self.url).await;
        let mut transaction = connection.begin().await.unwrap();
        assert_eq!(SqlxTransaction::new(&mut transaction).insert(command).await.unwrap(), None);
        // The transaction stays open: its connection ends it later.
        std::mem::forget(transaction);
        Some(connection)
    }

    async fn end_transaction(&self, mut connection: PgConnection, commit: bool) {
        connection.execute(if commit { "commit" } else { "rollback" }).await.unwrap();
    }
}

enroll::conformance_tests!(
    #[ignore = needs_postgres!()]
    SqlxFixture,
    support::block_on
);

enroll::inbox_conformance_tests!(
    #[ignore = needs_postgres!()]
    SqlxFixture
);

enroll::event_conformance_tests!(
    #[ignore = needs_postgres!()]
    SqlxFixture
);

/// A pool adds the begin and the commit, and tests a connection that comes back: the crate documentation has those numbers.
#[test]
#[ignore = needs_postgres!()]
fn each_call_takes_a_fixed_number_of_round_trips() {
    support::block_on(async {
        let url = support::database().await;
        let proxy = Proxy::start(&url).await;
        let options = sqlx_pool::options(&url).host("127.0.0.1").port(proxy.port());
        let mut connection = PgConnection::connect_with(&options).await.unwrap();
        let mut transaction = connection.begin().await.unwrap();
        let mut repository = SqlxTransaction::new(&mut transaction);
        for size in [1, 100, 1000] {
            let request = Request::new(size as u128, &support::body(size, size));
            // Prepares the statements.
            let (query, _) = request.snapshot_query(&mut repository).await;
            Request::new(10_000 + size as u128, &support::body(0, 1)).enroll(&mut repository).await.unwrap();
            let changes = request.plan(&mut repository).await;
            let mut counts = [proxy.round_trips(); 4];
            repository.reference_data(&query.reference).await.unwrap();
            counts[1] = proxy.round_trips();
            repository.load(&query).await.unwrap();
            counts[2] = proxy.round_trips();
            repository.commit(&changes).await.unwrap();
            counts[3] = proxy.round_trips();
            assert_eq!([1, 2, 3].map(|n| counts[n] - counts[n - 1]), [7, 14, 37], "{size} recipients");
        }
    });
}

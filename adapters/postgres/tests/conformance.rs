//! Runs the conformance suite of the repository contract.
#![cfg(feature = "testing")]

#[path = "support/dump.rs"]
mod dump;
mod support;

use enroll::inbox::Retention;
use enroll::seed::{HostWrite, Seed};
use enroll::testing::conformance::{EventFixture, Fixture, InboxFixture};
use enroll::{AsyncInbox, EnrollmentCommand, OrganizationId, RepositoryError};
use enroll_postgres::needs_postgres;
use enroll_postgres::seed;
use enroll_postgres::testing::{self, Server};
use enroll_postgres::{PostgresClient, PostgresRepository, PostgresTransaction};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use support::connect;
use support::connection::Connection;
use tokio_postgres::Client;

struct PostgresFixture {
    url: String,
    /// Counts the answers of the server, of all handles.
    connection: Connection,
    answers: AtomicU64,
}

impl Fixture for PostgresFixture {
    type Repository = PostgresClient;

    async fn fresh() -> Self {
        let url = Server::shared().database().await.unwrap();
        Self { url, connection: Connection::default(), answers: AtomicU64::new(0) }
    }

    async fn open(&self) -> PostgresClient {
        PostgresClient::new(self.connection.connect(&self.url).await)
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

    /// Counts each answer as one. The driver sends some statements together, so this is the most that it can be.
    fn round_trips(&self) -> Option<u64> {
        let new = self.connection.take() as u64;
        Some(self.answers.fetch_add(new, Ordering::SeqCst) + new)
    }
}

impl InboxFixture for PostgresFixture {
    async fn remove_failed_commands(&self) {
        let mut retention = Retention::keep();
        retention.failed = Some(Duration::ZERO);
        PostgresRepository::connect(&self.url, 1).await.unwrap().remove_expired(&retention).await.unwrap();
    }
}

impl EventFixture for PostgresFixture {
    type Transaction = Client;

    async fn enable_events(&self, enabled: bool) {
        let mut repository = PostgresRepository::connect(&self.url, 1).await.unwrap();
        repository.enable_events(enabled).await.unwrap();
        assert_eq!(repository.events_enabled().await.unwrap(), enabled);
    }

    async fn accept_in_transaction(&self, command: &EnrollmentCommand) -> Option<Client> {
        let mut client = connect(&self.url).await;
        let mut transaction = client.transaction().await.unwrap();
        assert_eq!(PostgresTransaction::new(&mut transaction).insert(command).await.unwrap(), None);
        // The transaction stays open: its connection ends it later.
        std::mem::forget(transaction);
        Some(client)
    }

    async fn end_transaction(&self, client: Client, commit: bool) {
        client.batch_execute(if commit { "commit" } else { "rollback" }).await.unwrap();
    }
}

enroll::conformance_tests!(
    #[ignore = needs_postgres!()]
    PostgresFixture,
    support::block_on
);

enroll::inbox_conformance_tests!(
    #[ignore = needs_postgres!()]
    PostgresFixture
);

enroll::event_conformance_tests!(
    #[ignore = needs_postgres!()]
    PostgresFixture
);

//! The repository contract, each clause a module and each case a test.
#![cfg(feature = "testing")]

mod common;

use common::connect;
use enroll::seed::{HostWrite, Seed};
use enroll::testing::conformance::Fixture;
use enroll::{OrganizationId, RepositoryError};
use enroll_postgres::PostgresClient;
use enroll_postgres::seed;
use enroll_postgres::testing::{self, Server};

struct PostgresFixture {
    url: String,
}

impl Fixture for PostgresFixture {
    type Repository = PostgresClient;

    async fn fresh() -> Self {
        Self { url: Server::shared().database().await.unwrap() }
    }

    async fn open(&self) -> PostgresClient {
        common::open(&self.url).await
    }

    async fn seed(&self, given: &Seed) {
        seed::load(&mut connect(&self.url).await, given).await.unwrap();
    }

    async fn host_write(&self, write: &HostWrite) -> Result<(), RepositoryError> {
        Ok(testing::host_write(&mut connect(&self.url).await, write).await?)
    }

    async fn dump(&self, organization_id: OrganizationId) -> Seed {
        seed::dump(&mut connect(&self.url).await, organization_id).await.unwrap()
    }
}

enroll::conformance_tests!(
    #[ignore = "needs PostgreSQL: run with --include-ignored, its programs installed or ENROLL_TEST_POSTGRES_URL set"]
    PostgresFixture,
    common::block_on
);

enroll::inbox_conformance_tests!(
    #[ignore = "needs PostgreSQL: run with --include-ignored, its programs installed or ENROLL_TEST_POSTGRES_URL set"]
    PostgresFixture
);

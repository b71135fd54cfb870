//! Runs the conformance suite, with one SQLite file per case.
#![cfg(feature = "testing")]

#[path = "../../../tests/row_counts/mod.rs"]
mod row_counts;

use enroll::inbox::Retention;
use enroll::seed::{HostWrite, Seed};
use enroll::testing::Blocking;
use enroll::testing::conformance::{EventFixture, Fixture, InboxFixture};
use enroll::{EnrollmentCommand, OrganizationId, RepositoryError};
use enroll_sqlite::{SqliteRepository, seed, testing};
use std::convert::Infallible;
use std::time::Duration;
use tempfile::TempDir;

struct SqliteFixture {
    folder: TempDir,
}

impl SqliteFixture {
    fn repository(&self) -> SqliteRepository {
        let repository = SqliteRepository::open(self.folder.path().join("enroll.db")).unwrap();
        // These tests do not simulate power cuts.
        repository.connection().pragma_update(None, "synchronous", "off").unwrap();
        repository
    }
}

impl Fixture for SqliteFixture {
    type Repository = Blocking<SqliteRepository>;

    async fn fresh() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    async fn open(&self) -> Self::Repository {
        Blocking(self.repository())
    }

    async fn seed(&self, seed: &Seed) {
        enroll_sqlite::seed::load(self.repository().connection(), seed).unwrap();
    }

    async fn host_write(&self, write: &HostWrite) -> Result<(), RepositoryError> {
        testing::host_write(self.repository().connection(), write)
    }

    async fn dump(&self, organization_id: OrganizationId) -> Seed {
        let repository = self.repository();
        let wrong = repository.connection().prepare(&row_counts::wrong_counts("sqlite")).unwrap().exists([]).unwrap();
        assert!(!wrong, "the counts of rows are right");
        seed::dump(repository.connection(), organization_id).unwrap()
    }

    /// A file has none.
    fn round_trips(&self) -> Option<u64> {
        None
    }
}

impl InboxFixture for SqliteFixture {
    async fn remove_failed_commands(&self) {
        let mut retention = Retention::keep();
        retention.failed = Some(Duration::ZERO);
        self.repository().remove_expired(&retention).unwrap();
    }
}

impl EventFixture for SqliteFixture {
    type Transaction = Infallible;

    async fn enable_events(&self, enabled: bool) {
        let mut repository = self.repository();
        repository.enable_events(enabled).unwrap();
        assert_eq!(repository.events_enabled().unwrap(), enabled);
    }

    /// One transaction writes at a time.
    async fn accept_in_transaction(&self, _: &EnrollmentCommand) -> Option<Infallible> {
        None
    }

    async fn end_transaction(&self, transaction: Infallible, _: bool) {
        match transaction {}
    }
}

enroll::conformance_tests!(SqliteFixture, enroll::testing::block_on);
enroll::inbox_conformance_tests!(SqliteFixture);
enroll::event_conformance_tests!(SqliteFixture);

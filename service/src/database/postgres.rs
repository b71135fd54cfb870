//! A blocking connection to PostgreSQL.

use std::error::Error;
use std::sync::Once;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use uuid::Uuid;

use enroll::inbox::{Claim, Failure, InboxEntry};
use enroll::seed::Seed;
use enroll::{
    AsyncInbox, AsyncRepository, ChangeSet, EnrollmentCommand, EnrollmentId, Inbox, OrganizationId, ReferenceData,
    ReferenceQuery, Repository, RepositoryError, Snapshot, SnapshotQuery, StoredEnrollment,
};
use enroll_postgres::deadpool_postgres::Object;
use enroll_postgres::tokio_postgres::types::Type;
use enroll_postgres::{ConnectOptions, PostgresError, PostgresRepository, migrate, seed};

use crate::{print_to_stderr, sql};

/// A pool with one connection, and the runtime that drives it.
pub(super) struct Postgres {
    repository: PostgresRepository,
    runtime: Runtime,
}

impl Postgres {
    /// Connects to a database. Returns `None` if it has no tables of `enroll` and `create` is false.
    pub(super) fn open(url: &str, create: bool) -> Result<Option<Self>, Box<dyn Error>> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let repository = PostgresRepository::with_options(&options(url)?, 1)?;
        let ready = runtime.block_on(async {
            let mut client = repository.pool().get().await?;
            if !create && !client.query_typed_one(HAS_TABLES, &[]).await?.try_get::<_, bool>(0)? {
                return Ok(false);
            }
            migrate(&mut client).await?;
            Ok::<_, PostgresError>(true)
        })?;
        Ok(ready.then_some(Self { repository, runtime }))
    }

    /// Returns a blocking inbox.
    pub(super) fn repository(&mut self) -> impl Inbox + '_ {
        BlockOn { runtime: &self.runtime, repository: self.repository.clone() }
    }

    pub(super) fn organizations(&self) -> Result<Vec<OrganizationId>, Box<dyn Error>> {
        let sql = "select organization_id from enroll.organizations order by organization_id";
        let rows = self.runtime.block_on(self.repository.query(sql, &[]))?;
        let ids = rows.iter().map(|row| row.try_get::<_, Uuid>(0).map(OrganizationId::from_uuid));
        Ok(ids.collect::<Result<_, _>>().map_err(PostgresError::from)?)
    }

    pub(super) fn load_seed(&self, seed: &Seed) -> Result<(), Box<dyn Error>> {
        let mut client = self.client()?;
        Ok(self.runtime.block_on(seed::load(&mut client, seed))?)
    }

    pub(super) fn dump(&self, organization_id: OrganizationId) -> Result<Seed, Box<dyn Error>> {
        let mut client = self.client()?;
        Ok(self.runtime.block_on(seed::dump(&mut client, organization_id))?)
    }

    pub(super) fn remove(&self, organizations: &[OrganizationId]) -> Result<(), Box<dyn Error>> {
        let ids: Vec<Uuid> = organizations.iter().map(|id| id.as_uuid()).collect();
        let sql = "delete from enroll.organizations where organization_id = any($1)";
        self.runtime.block_on(self.repository.execute(sql, &[(&ids, Type::UUID_ARRAY)]))?;
        Ok(())
    }

    fn client(&self) -> Result<Object, PostgresError> {
        Ok(self.runtime.block_on(self.repository.pool().get())?)
    }
}

/// Returns the version of the schema, or 0 if it does not exist.
pub(super) fn schema_version(url: &str) -> Result<i64, Box<dyn Error>> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let options = options(url)?;
    Ok(runtime.block_on(async { enroll_postgres::schema_version(&options.connect().await?).await })?.into())
}

/// Distributes the tables over the servers of Citus. Returns those that were not distributed before.
pub(super) fn distribute(url: &str) -> Result<Vec<String>, Box<dyn Error>> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let options = options(url)?;
    Ok(runtime.block_on(async {
        let mut client = options.connect().await?;
        sql::postgres::distribute(&mut client).await
    })?)
}

/// Reads an address and the environment. Says once in a process which parameters have no effect.
pub(crate) fn options(url: &str) -> Result<ConnectOptions, PostgresError> {
    static NOTED: Once = Once::new();
    let options = ConnectOptions::new(url)?;
    NOTED.call_once(|| {
        for note in options.notes() {
            if tracing::dispatcher::has_been_set() {
                tracing::warn!("{note}");
            } else {
                print_to_stderr(&format!("note: {note}"));
            }
        }
    });
    Ok(options)
}

/// An async repository as a blocking one: each call waits for its future.
struct BlockOn<'r, R> {
    runtime: &'r Runtime,
    repository: R,
}

impl<R: AsyncRepository> Repository for BlockOn<'_, R> {
    fn reference_data(&mut self, query: &ReferenceQuery) -> Result<ReferenceData, RepositoryError> {
        self.runtime.block_on(self.repository.reference_data(query))
    }

    fn load(&mut self, query: &SnapshotQuery) -> Result<Snapshot, RepositoryError> {
        self.runtime.block_on(self.repository.load(query))
    }

    fn commit(&mut self, changes: &ChangeSet) -> Result<(), RepositoryError> {
        self.runtime.block_on(self.repository.commit(changes))
    }
}

impl<R: AsyncInbox> Inbox for BlockOn<'_, R> {
    fn insert(&mut self, command: &EnrollmentCommand) -> Result<Option<StoredEnrollment>, RepositoryError> {
        self.runtime.block_on(self.repository.insert(command))
    }

    fn find(
        &mut self,
        organization_id: OrganizationId,
        enrollment_id: EnrollmentId,
    ) -> Result<Option<InboxEntry>, RepositoryError> {
        self.runtime.block_on(self.repository.find(organization_id, enrollment_id))
    }

    fn claim(&mut self, lease: Duration) -> Result<Option<Claim>, RepositoryError> {
        self.runtime.block_on(self.repository.claim(lease))
    }

    fn record_failure(&mut self, claim: &Claim, failure: &Failure) -> Result<(), RepositoryError> {
        self.runtime.block_on(self.repository.record_failure(claim, failure))
    }

    fn release(&mut self, claim: &Claim, delay: Duration) -> Result<(), RepositoryError> {
        self.runtime.block_on(self.repository.release(claim, delay))
    }

    fn retry(&mut self, organization_id: OrganizationId, enrollment_id: EnrollmentId) -> Result<bool, RepositoryError> {
        self.runtime.block_on(self.repository.retry(organization_id, enrollment_id))
    }
}

/// Returns whether the tables of `enroll` exist.
const HAS_TABLES: &str = "select pg_catalog.to_regclass('enroll.schema_version') is not null";

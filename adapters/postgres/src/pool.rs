//! A pool of connections.

use deadpool_postgres::{Manager, Object, Pool, Runtime};
use enroll::inbox::{Claim, Failure, InboxEntry};
use enroll::{
    AsyncInbox, AsyncRepository, ChangeSet, EnrollmentCommand, EnrollmentId, OrganizationId, ReferenceData,
    ReferenceQuery, RepositoryError, Snapshot, SnapshotQuery, StoredEnrollment, Timestamp,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio_postgres::{Config, NoTls};

use crate::client::load;
use crate::{Error, Statements, inbox, migrate, read, schema, write};

/// A repository on a pool: a clone is another handle on the same. Each call takes a connection and gives it back.
///
/// Statements are prepared once a connection, and kept in its cache.
#[derive(Clone, Debug)]
pub struct PostgresRepository {
    pool: Pool,
    checked: Arc<AtomicBool>,
}

impl PostgresRepository {
    /// Connects without TLS, to at most so many connections as [`pool_at`](Self::pool_at) says, and brings the schema up
    /// to date.
    ///
    /// # Errors
    /// [`Error::Unreachable`] where there is no server; those of [`migrate`]; [`Error::Database`] for an address that
    /// is none.
    pub async fn connect(url: &str, connections: usize) -> Result<Self, Error> {
        let repository = Self::new(Self::pool_at(url, connections)?);
        migrate(&mut *repository.connection().await?).await?;
        Ok(repository)
    }

    /// A pool of at most so many connections without TLS, of which none is made yet.
    ///
    /// Where the address says nothing else, connecting takes 10 s at most, a statement waits 30 s at most for a lock, and
    /// a server that does not answer any more is noticed within 30 s.
    ///
    /// For TLS, or any other way to connect, build a pool of your own. A call waits at most
    /// 30 s for a connection.
    ///
    /// # Errors
    /// [`Error::Database`] for an address that is none.
    pub fn pool_at(url: &str, connections: usize) -> Result<Pool, Error> {
        let manager = Manager::new(patient(url.parse()?), NoTls);
        let pool = Pool::builder(manager).max_size(connections).runtime(Runtime::Tokio1).wait_timeout(Some(WAIT));
        Ok(pool.build()?)
    }

    /// On a pool of connections to a database that [`migrate`] was run on.
    #[must_use]
    pub fn new(pool: Pool) -> Self {
        Self { pool, checked: Arc::default() }
    }

    /// The pool, for the host's own statements.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    async fn connection(&self) -> Result<Object, Error> {
        Ok(self.pool.get().await?)
    }

    async fn ready(&self) -> Result<(Object, Statements), Error> {
        let connection = self.connection().await?;
        if !self.checked.load(Ordering::Relaxed) {
            schema::check(&**connection).await?;
            self.checked.store(true, Ordering::Relaxed);
        }
        let statements = Statements::cached(&connection).await?;
        Ok((connection, statements))
    }
}

impl AsyncRepository for PostgresRepository {
    async fn reference_data(&mut self, query: &ReferenceQuery) -> Result<ReferenceData, RepositoryError> {
        let (connection, statements) = self.ready().await?;
        Ok(read::reference_data(&**connection, &statements.0, query).await?)
    }

    async fn load(&mut self, query: &SnapshotQuery) -> Result<Snapshot, RepositoryError> {
        let (mut connection, statements) = self.ready().await?;
        Ok(load(&mut connection, &statements, query).await?)
    }

    async fn commit(&mut self, changes: &ChangeSet) -> Result<(), RepositoryError> {
        let (mut connection, statements) = self.ready().await?;
        Ok(write::commit(&mut **connection, &statements.0, changes).await?)
    }
}

impl AsyncInbox for PostgresRepository {
    async fn insert(&mut self, command: &EnrollmentCommand) -> Result<Option<StoredEnrollment>, RepositoryError> {
        let (mut connection, statements) = self.ready().await?;
        Ok(inbox::insert(&mut **connection, &statements.0, command).await?)
    }

    async fn find(
        &mut self,
        organization_id: OrganizationId,
        enrollment_id: EnrollmentId,
    ) -> Result<Option<InboxEntry>, RepositoryError> {
        let (connection, statements) = self.ready().await?;
        Ok(inbox::find(&**connection, &statements.0, organization_id, enrollment_id).await?)
    }

    async fn claim(&mut self, now: Timestamp, lease_end: Timestamp) -> Result<Option<Claim>, RepositoryError> {
        let (mut connection, statements) = self.ready().await?;
        Ok(inbox::claim(&mut **connection, &statements.0, now, lease_end).await?)
    }

    async fn record_failure(&mut self, claim: &Claim, failure: &Failure) -> Result<(), RepositoryError> {
        let (mut connection, statements) = self.ready().await?;
        Ok(inbox::record_failure(&mut **connection, &statements.0, claim, failure).await?)
    }

    async fn release(&mut self, claim: &Claim, due_at: Timestamp) -> Result<(), RepositoryError> {
        let (mut connection, statements) = self.ready().await?;
        Ok(inbox::release(&mut **connection, &statements.0, claim, due_at).await?)
    }

    async fn retry(
        &mut self,
        organization_id: OrganizationId,
        enrollment_id: EnrollmentId,
        now: Timestamp,
    ) -> Result<bool, RepositoryError> {
        let (mut connection, statements) = self.ready().await?;
        Ok(inbox::retry(&mut **connection, &statements.0, organization_id, enrollment_id, now).await?)
    }
}

/// With bounds on every wait for which the address gives none.
fn patient(mut config: Config) -> Config {
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(Duration::from_secs(10));
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(WAIT);
    }
    // The driver's own default is two hours, which nobody asks for.
    if config.get_keepalives_idle() == Config::new().get_keepalives_idle() {
        config
            .keepalives_idle(Duration::from_secs(15))
            .keepalives_interval(Duration::from_secs(5))
            .keepalives_retries(3);
    }
    let options = config.get_options().unwrap_or_default();
    if !options.contains("lock_timeout") {
        let options = format!("{options} -c lock_timeout={}", WAIT.as_millis());
        config.options(options.trim());
    }
    config
}

const WAIT: Duration = Duration::from_secs(30);

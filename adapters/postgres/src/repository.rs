//! A repository on a pool of connections.

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
use crate::{PostgresError, Statements, inbox, migrate, read, schema, write};

/// A repository and inbox on a pool of connections. A clone is another handle on the same pool.
///
/// Each call uses one connection, and returns it to the pool. Each connection prepares the statements once.
///
/// Each load is one read transaction. A commit first locks the organization's row, so that one commit per organization
/// runs at a time. Commits of several organizations run in parallel.
///
/// ```no_run
/// use enroll::{Engine, Enrollment, EnrollmentKey, EnrollmentPolicy, EnrollmentRequest, OrganizationId, SequenceId};
/// use enroll_postgres::PostgresRepository;
///
/// # async fn example(organization_id: OrganizationId, sequence_id: SequenceId) -> Result<(), Box<dyn std::error::Error>> {
/// let mut repository = PostgresRepository::connect("postgres://app@db.example/app", 8).await?;
///
/// let request = EnrollmentRequest::from_json(br#"{"to": [{"phone": "+1 202 555 0123", "name": "Ann"}]}"#);
/// let enrollment = Enrollment {
///     organization_id,
///     sequence_id,
///     key: EnrollmentKey::Idempotency("request-1"),
///     at: "2026-02-01T15:00:00Z".parse()?,
///     request: &request,
/// };
/// let policy = EnrollmentPolicy::default();
/// let engine = Engine::new(&policy);
/// let report = enroll::enroll_contacts_async(&mut repository, &engine, &enrollment).await?.report;
/// println!("{} added", report.counts().added);
///
/// // The host uses the same pool for its own SQL.
/// let connection = repository.pool().get().await?;
/// let contacts: i64 = connection.query_one("select count(*) from enroll.contacts", &[]).await?.get(0);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Each [`RepositoryError`] contains a [`PostgresError`]. A lost connection is
/// [`Unavailable`](enroll::RepositoryErrorKind::Unavailable); the next call uses another connection.
#[derive(Clone, Debug)]
pub struct PostgresRepository {
    pool: Pool,
    checked: Arc<AtomicBool>,
}

impl PostgresRepository {
    /// Connects without TLS, with at most `connections` connections, and upgrades the schema.
    ///
    /// The timeouts are those of [`pool_at`](Self::pool_at).
    ///
    /// # Errors
    /// [`PostgresError::Unreachable`] if no server answers. [`PostgresError::Postgres`] if the address is not valid. The
    /// errors of [`migrate`].
    pub async fn connect(url: &str, connections: usize) -> Result<Self, PostgresError> {
        let repository = Self::new(Self::pool_at(url, connections)?);
        migrate(&mut *repository.connection().await?).await?;
        Ok(repository)
    }

    /// Builds a pool of at most `connections` connections without TLS. It does not connect yet.
    ///
    /// A call waits up to 30 s for a connection. Unless the address has other values, the timeouts are:
    /// - 10 s for a new connection
    /// - 30 s for a lock
    /// - 30 s until a server that no longer answers counts as lost
    ///
    /// For TLS, or other settings, build the pool with [`deadpool_postgres`] and use [`new`](Self::new).
    ///
    /// # Errors
    /// [`PostgresError::Postgres`] if the address is not valid. [`PostgresError::Build`] if the pool cannot be built.
    pub fn pool_at(url: &str, connections: usize) -> Result<Pool, PostgresError> {
        let manager = Manager::new(with_timeouts(url.parse()?), NoTls);
        let pool = Pool::builder(manager).max_size(connections).runtime(Runtime::Tokio1).wait_timeout(Some(WAIT));
        Ok(pool.build()?)
    }

    /// Creates a repository on a pool of connections to a database that has the schema: see [`migrate`].
    #[must_use]
    pub fn new(pool: Pool) -> Self {
        Self { pool, checked: Arc::default() }
    }

    /// Returns the pool for the host's own SQL.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    async fn connection(&self) -> Result<Object, PostgresError> {
        Ok(self.pool.get().await?)
    }

    async fn ready(&self) -> Result<(Object, Statements), PostgresError> {
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

/// Adds the timeouts that the address does not set.
fn with_timeouts(mut config: Config) -> Config {
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(Duration::from_secs(10));
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(WAIT);
    }
    // The driver's default of two hours counts as not set.
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

//! A repository on a pool of connections.

use enroll::erase::{EraseError, EraseMode, Erased, PersonQuery};
use enroll::inbox::{Removed, Retention};
use enroll::{OrganizationId, RepositoryError};
use scopeguard::{ScopeGuard, guard};
use sqlx::Postgres;
use sqlx::pool::PoolConnection;
use sqlx::postgres::PgPool;
use std::sync::{Arc, OnceLock};

use super::begin::{BeginSql, Session};
use crate::driver::traits::implement_traits;
use crate::trace::{Attempts, call as call_span, traced};
use crate::{PostgresError, Statements, Timeouts, erase, events, retention};

/// A repository and inbox on a pool of `sqlx`. A clone is another handle on the same pool.
///
/// Each call is one transaction with the [`Timeouts`]. It uses one connection, and returns it to the pool. Each connection
/// prepares a statement at its first use. If the host drops a call, the connection is closed: its statement ends with the
/// timeouts, and the transaction is rolled back unless the call had sent its commit.
///
/// A commit first locks the organization's row, so that one commit per organization runs at a time. Commits of several
/// organizations run in parallel.
///
/// # Statements
/// `sqlx` waits for each statement before it sends the next one. So a call has more round trips than one of
/// [`tokio-postgres`](crate#statements), but also a fixed number.
///
/// A connection of `sqlx` keeps 100 prepared statements, unless `PgConnectOptions::statement_cache_capacity` says otherwise.
/// This crate has about 100. Set 200 or more if the host has its own: a statement that is not kept is prepared again. With 0,
/// `sqlx` still prepares each statement and never closes it, so use
/// [`with_prepared_statements(false)`](Self::with_prepared_statements) instead.
///
/// ```no_run
/// use enroll::{Engine, Enrollment, EnrollmentPolicy};
/// use enroll_postgres::SqlxRepository;
/// use enroll_postgres::sqlx::postgres::{PgConnectOptions, PgPoolOptions};
///
/// # async fn example(enrollment: &Enrollment<'_>) -> Result<(), Box<dyn std::error::Error>> {
/// let options: PgConnectOptions = "postgres://app@db.example/app".parse()?;
/// let pool = PgPoolOptions::new().max_connections(8).connect_with(options.statement_cache_capacity(200)).await?;
/// enroll_postgres::migrate_sqlx(&mut *pool.acquire().await?).await?;
///
/// let mut repository = SqlxRepository::new(pool);
/// let policy = EnrollmentPolicy::default();
/// let report = enroll::enroll_contacts_async(&mut repository, &Engine::new(&policy), enrollment).await?.report;
/// println!("{} added", report.counts().added);
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Each [`RepositoryError`] contains a [`PostgresError`]. A lost connection is
/// [`Unavailable`](enroll::RepositoryErrorKind::Unavailable); the next call uses another connection.
#[derive(Clone, Debug)]
pub struct SqlxRepository {
    pool: PgPool,
    begin: Arc<BeginSql>,
    statements: Arc<OnceLock<Statements>>,
    is_prepared: bool,
    attempts: Attempts,
}

impl SqlxRepository {
    /// Creates a repository on a pool of connections to a database that has the schema: see
    /// [`migrate_sqlx`](crate::migrate_sqlx).
    #[must_use]
    pub fn new(pool: PgPool) -> Self {
        let begin = Arc::new(BeginSql::new(&Timeouts::default()));
        Self { pool, begin, statements: Arc::default(), is_prepared: true, attempts: Attempts::default() }
    }

    /// Replaces the default timeouts.
    #[must_use]
    pub fn with_timeouts(self, timeouts: &Timeouts) -> Self {
        Self { begin: Arc::new(BeginSql::new(timeouts)), ..self }
    }

    /// Sets whether each connection prepares each statement at its first use, which is the default. Otherwise, each statement
    /// is prepared for one use, for a pooler that gives a connection to other clients between transactions.
    #[must_use]
    pub fn with_prepared_statements(self, prepared: bool) -> Self {
        Self { is_prepared: prepared, ..self }
    }

    /// Returns the pool for the host's own SQL.
    #[must_use]
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Removes the commands and outcomes that are older than the retention, of up to [`Retention::BATCH`] enrollments of
    /// each kind. Call it again while [`Removed::is_full`].
    ///
    /// Several processes can call it at the same time.
    ///
    /// # Errors
    /// [`RepositoryError`] if the storage fails.
    pub async fn remove_expired(&mut self, retention: &Retention) -> Result<Removed, RepositoryError> {
        call_span!("remove_expired", {
            let mut lease = self.lease().await?;
            let answer = retention::remove_expired(traced(self.session(&mut lease)), retention).await;
            Ok(end(lease, answer)?)
        })
    }

    /// Turns events on or off, for all writers of the database. They are off in a new database.
    ///
    /// It changes triggers of `enroll.enrollments`, so the role must own the tables, and the call waits for running writers.
    /// If events are on or off already, it changes nothing, and needs no privilege. Events that are stored stay.
    ///
    /// # Errors
    /// [`PostgresError::Denied`] if the role does not own the tables. [`PostgresError::DistributedEvents`] if they are
    /// distributed. Any other error of the database.
    pub async fn enable_events(&mut self, enabled: bool) -> Result<(), RepositoryError> {
        call_span!("enable_events", {
            let mut lease = self.lease().await?;
            let answer = events::enable(traced(self.session(&mut lease)), enabled).await;
            Ok(end(lease, answer)?)
        })
    }

    /// Returns whether events are on.
    ///
    /// # Errors
    /// [`RepositoryError`] if the storage fails.
    pub async fn events_enabled(&self) -> Result<bool, RepositoryError> {
        call_span!("events_enabled", {
            let mut lease = self.lease().await?;
            let answer = events::enabled(traced(self.session(&mut lease))).await;
            Ok(end(lease, answer)?)
        })
    }

    /// Erases a person of an organization: the contact, its related rows, its recipients in stored commands, and its ids and
    /// values in outcomes. With [`EraseMode::Preview`], counts them and writes nothing.
    ///
    /// It locks the organization as a commit does. PostgreSQL keeps old versions of rows until `vacuum`, and in its log
    /// and backups for longer.
    ///
    /// # Errors
    /// [`EraseError`]. Then nothing was erased, unless the connection was lost during the commit.
    pub async fn erase(
        &mut self,
        organization_id: OrganizationId,
        query: &PersonQuery,
        mode: EraseMode,
    ) -> Result<Erased, EraseError> {
        let (mut lease, statements) = self.ready().await.map_err(RepositoryError::from)?;
        let answer = erase::erase(traced(self.session(&mut lease)), &statements.0, organization_id, query, mode).await;
        end(lease, answer).map_err(|failure| failure.0)
    }

    /// Takes a connection of the pool, for one call.
    ///
    /// If the call is dropped, the connection is closed: `sqlx` does not roll back a transaction that has just begun.
    async fn lease(&self) -> Result<Lease, PostgresError> {
        Ok(guard(self.pool.acquire().await?, |connection| drop(connection.detach())))
    }

    /// Takes a connection of the pool, with the statements.
    async fn ready(&self) -> Result<(Lease, Statements), PostgresError> {
        let mut lease = self.lease().await?;
        if let Some(statements) = self.statements.get() {
            return Ok((lease, statements.clone()));
        }
        match Statements::texts_in(self.session(&mut lease)).await {
            Ok(statements) => Ok((lease, self.statements.get_or_init(|| statements).clone())),
            Err(e) => end(lease, Err(e)),
        }
    }

    fn session<'c>(&'c self, lease: &'c mut Lease) -> Session<'c> {
        Session { connection: lease, begin: &self.begin, is_prepared: self.is_prepared }
    }
}

/// A connection of the pool for one call.
type Lease = ScopeGuard<PoolConnection<Postgres>, fn(PoolConnection<Postgres>)>;

/// Returns the connection to the pool, after the call has received its answers.
fn end<T>(lease: Lease, answer: T) -> T {
    drop(ScopeGuard::into_inner(lease));
    answer
}

macro_rules! call {
    ($repository:ident, $function:path $(, $argument:expr)*) => {{
        let (mut lease, statements) = $repository.ready().await?;
        let answer = $function(traced($repository.session(&mut lease)), &statements.0 $(, $argument)*).await;
        Ok(end(lease, answer)?)
    }};
    (unprepared $repository:ident, $function:path $(, $argument:expr)*) => {{
        let mut lease = $repository.lease().await?;
        let answer = $function(traced($repository.session(&mut lease)) $(, $argument)*).await;
        Ok(end(lease, answer)?)
    }};
}

implement_traits!(SqlxRepository, call);

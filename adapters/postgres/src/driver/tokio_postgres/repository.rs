//! A repository on a pool of connections.

use deadpool_postgres::{Object, ObjectId, Pool, StatementCache};
use enroll::erase::{EraseError, EraseMode, Erased, PersonQuery};
use enroll::inbox::{Removed, Retention};
use enroll::{OrganizationId, RepositoryError};
use futures_util::future::BoxFuture;
use scopeguard::{ScopeGuard, guard};
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::runtime::Handle;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{CancelToken, NoTls, Row, Socket};

use super::begin::{BeginSql, Session};
use super::connect::CancelRequests;
use super::{ConnectOptions, migrate};
use crate::driver::traits::implement_traits;
use crate::driver::{Begin, Transaction};
use crate::trace::{Attempts, call as call_span, traced};
use crate::{PostgresError, Statements, Timeouts, erase, events, retention};

/// A repository and inbox on a pool of connections. A clone is another handle on the same pool.
///
/// Each call is one transaction with the [`Timeouts`]. It uses one connection, and returns it to the pool. Each connection
/// prepares the statements once. If the host drops a call, its running statement is cancelled, and the connection is closed.
///
/// A commit first locks the organization's row, so that one commit per organization
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
///     list: None,
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
    begin: Arc<BeginSql>,
    statements: Arc<Mutex<StatementsOfPool>>,
    cancel: Cancel,
    attempts: Attempts,
}

impl PostgresRepository {
    /// Connects with at most `connections` connections, and upgrades the schema.
    ///
    /// The address and the environment say how: see [`ConnectOptions::new`]. The timeouts are those of
    /// [`with_options`](Self::with_options) and [`Timeouts`].
    ///
    /// # Errors
    /// [`PostgresError::Address`] if the address is not valid. [`PostgresError::Unreachable`] if no server answers.
    /// [`PostgresError::Tls`] if the connection cannot be encrypted as the address asks. The errors of [`migrate`].
    pub async fn connect(address: &str, connections: usize) -> Result<Self, PostgresError> {
        let repository = Self::with_options(&ConnectOptions::new(address)?, connections)?;
        migrate(&mut *repository.pool.get().await?).await?;
        Ok(repository)
    }

    /// Creates a repository on a new pool of at most `connections` connections to a database that has the schema: see
    /// [`migrate`]. It does not connect yet.
    ///
    /// A call waits up to 30 s for a connection. Unless the address has other values, the timeouts are:
    /// - 10 s for a new connection
    /// - 30 s until a server that no longer answers counts as lost
    ///
    /// # Errors
    /// [`PostgresError::Build`] if the pool cannot be built.
    pub fn with_options(options: &ConnectOptions, connections: usize) -> Result<Self, PostgresError> {
        let repository =
            Self { cancel: Cancel::with(options.cancel_requests()), ..Self::new(options.pool(connections)?) };
        Ok(repository.with_prepared_statements(options.prepared_statements()))
    }

    /// Creates a repository on a pool of connections to a database that has the schema: see [`migrate`].
    #[must_use]
    pub fn new(pool: Pool) -> Self {
        Self {
            pool,
            begin: Arc::new(BeginSql::new(&Timeouts::default())),
            statements: Arc::new(Mutex::new(StatementsOfPool::Prepared(HashMap::new()))),
            cancel: Cancel::new(NoTls),
            attempts: Attempts::default(),
        }
    }

    /// Replaces the default timeouts.
    #[must_use]
    pub fn with_timeouts(self, timeouts: &Timeouts) -> Self {
        Self { begin: Arc::new(BeginSql::new(timeouts)), ..self }
    }

    /// Sets whether each connection prepares the statements once, which is the default. Otherwise, each statement is sent with
    /// its text, for a pooler that gives a connection to other clients between transactions.
    #[must_use]
    pub fn with_prepared_statements(self, prepared: bool) -> Self {
        let statements =
            if prepared { StatementsOfPool::Prepared(HashMap::new()) } else { StatementsOfPool::Texts(None) };
        Self { statements: Arc::new(Mutex::new(statements)), ..self }
    }

    /// Sends requests to cancel with TLS, for a pool that the host built. PostgreSQL also takes them without, but the driver
    /// sends none without TLS if the address has `sslmode=require`.
    #[must_use]
    pub fn with_tls<T>(self, tls: T) -> Self
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
        T::TlsConnect: Send,
        T::Stream: Send,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        Self { cancel: Cancel::new(tls), ..self }
    }

    /// Returns the pool for the host's own SQL.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Returns the statements for a connection of the pool, for a [`PostgresTransaction`](crate::PostgresTransaction) on it.
    /// The first call for a connection prepares them.
    ///
    /// # Errors
    /// Those of [`query`](Self::query).
    pub async fn statements(&self, connection: &Object) -> Result<Statements, PostgresError> {
        if let Some(statements) = self.known().find(connection) {
            return Ok(statements);
        }
        let session = Session { client: connection, begin: &self.begin };
        let is_prepared = matches!(*self.known(), StatementsOfPool::Prepared(_));
        let statements =
            if is_prepared { Statements::prepare_in(session).await? } else { Statements::texts_in(session).await? };
        self.known().add(connection, statements.clone());
        Ok(statements)
    }

    /// Runs a query of the host like a call of the engine, in one round trip: in a transaction that only reads, with the
    /// timeouts, and cancelled if the future is dropped.
    ///
    /// # Errors
    /// [`PostgresError::NewerSchema`] if a later version of this crate migrated the schema. Any other error of the database.
    pub async fn query(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, PostgresError> {
        let lease = self.lease().await?;
        let answer = query(lease.session(), sql, parameters).await;
        lease.end(answer)
    }

    /// Runs a statement of the host like [`query`](Self::query), in a transaction that writes. Returns the number of rows.
    ///
    /// # Errors
    /// Those of [`query`](Self::query). Then nothing is written, unless the connection was lost during the commit.
    pub async fn execute(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<u64, PostgresError> {
        let lease = self.lease().await?;
        let answer = execute(lease.session(), sql, parameters).await;
        lease.end(answer)
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
            let lease = self.lease().await?;
            let answer = retention::remove_expired(traced(lease.session()), retention).await;
            Ok(lease.end(answer)?)
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
            let lease = self.lease().await?;
            let answer = events::enable(traced(lease.session()), enabled).await;
            Ok(lease.end(answer)?)
        })
    }

    /// Returns whether events are on.
    ///
    /// # Errors
    /// [`RepositoryError`] if the storage fails.
    pub async fn events_enabled(&self) -> Result<bool, RepositoryError> {
        call_span!("events_enabled", {
            let lease = self.lease().await?;
            let answer = events::enabled(traced(lease.session())).await;
            Ok(lease.end(answer)?)
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
        let (lease, statements) = self.ready().await.map_err(RepositoryError::from)?;
        let answer = erase::erase(traced(lease.session()), &statements.0, organization_id, query, mode).await;
        lease.end(Ok(answer)).map_err(RepositoryError::from)?.map_err(|failure| failure.0)
    }

    /// Takes a connection of the pool, for one call.
    async fn lease(&self) -> Result<Lease<impl FnOnce(Object)>, PostgresError> {
        let cancel = Arc::clone(&self.cancel.0);
        let connection = guard(self.pool.get().await?, move |connection| discard(connection, &*cancel));
        Ok(Lease { connection, begin: Arc::clone(&self.begin) })
    }

    /// Takes a connection of the pool, with the statements.
    async fn ready(&self) -> Result<(Lease<impl FnOnce(Object)>, Statements), PostgresError> {
        let lease = self.lease().await?;
        match self.statements(&lease.connection).await {
            Ok(statements) => Ok((lease, statements)),
            Err(e) => lease.end(Err(e)),
        }
    }

    fn known(&self) -> MutexGuard<'_, StatementsOfPool> {
        // A panic cannot leave the statements half changed.
        self.statements.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A parameter of the host's SQL, with its type.
type Parameter<'p> = (&'p (dyn ToSql + Sync), Type);

async fn query(session: Session<'_>, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, PostgresError> {
    let transaction = session.begin_read().await?;
    let client = transaction.client();
    transaction.last(async { Ok(client.query_typed(sql, parameters).await?) }).await
}

async fn execute(session: Session<'_>, sql: &str, parameters: &[Parameter<'_>]) -> Result<u64, PostgresError> {
    let transaction = session.begin().await?;
    let rows = transaction.answer(transaction.client().execute_typed(sql, parameters)).await??;
    transaction.commit().await?;
    Ok(rows)
}

/// The statements of a pool.
#[derive(Debug)]
enum StatementsOfPool {
    /// Those of each connection. A connection is open as long as its statement cache exists.
    Prepared(HashMap<ObjectId, (Weak<StatementCache>, Statements)>),
    /// Texts, for all connections.
    Texts(Option<Statements>),
}

impl StatementsOfPool {
    fn find(&self, connection: &Object) -> Option<Statements> {
        match self {
            Self::Prepared(of) => of.get(&Object::id(connection)).map(|(_, statements)| statements.clone()),
            Self::Texts(statements) => statements.clone(),
        }
    }

    fn add(&mut self, connection: &Object, statements: Statements) {
        match self {
            Self::Prepared(of) => {
                of.retain(|_, (connection, _)| connection.strong_count() > 0);
                of.insert(Object::id(connection), (Arc::downgrade(&connection.statement_cache), statements));
            }
            Self::Texts(texts) => *texts = Some(statements),
        }
    }
}

/// A connection of the pool for one call.
///
/// If the call is dropped, its statement is cancelled, and the connection is not used again: the request to cancel could
/// reach the server late, and hit the statement of the next call.
struct Lease<F: FnOnce(Object)> {
    connection: ScopeGuard<Object, F>,
    begin: Arc<BeginSql>,
}

impl<F: FnOnce(Object)> Lease<F> {
    fn session(&self) -> Session<'_> {
        Session { client: &self.connection, begin: &self.begin }
    }

    /// Returns the connection to the pool, after the call has received its answers.
    fn end<T>(self, answer: Result<T, PostgresError>) -> Result<T, PostgresError> {
        drop(ScopeGuard::into_inner(self.connection));
        answer
    }
}

/// Cancels the running statement, then closes the connection.
fn discard(connection: Object, cancel: &SendCancel) {
    let connection = Object::take(connection);
    let cancelled = cancel(connection.cancel_token());
    // Without a runtime, the connection is closed, and the statement ends with its timeouts.
    if let Ok(runtime) = Handle::try_current() {
        runtime.spawn(async move {
            cancelled.await;
            drop(connection);
        });
    }
}

/// Sends a request to cancel a statement, on a new connection.
#[derive(Clone)]
struct Cancel(Arc<SendCancel>);

type SendCancel = dyn Fn(CancelToken) -> BoxFuture<'static, ()> + Send + Sync;

impl Cancel {
    fn new<T>(tls: T) -> Self
    where
        T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
        T::TlsConnect: Send,
        T::Stream: Send,
        <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
    {
        Self(Arc::new(move |token| {
            let tls = tls.clone();
            // If the request fails, the statement ends with its timeouts.
            Box::pin(async move { drop(token.cancel_query(tls).await) })
        }))
    }

    fn with(requests: CancelRequests) -> Self {
        Self(Arc::new(move |token| {
            let requests = requests.clone();
            Box::pin(async move { requests.send(token).await })
        }))
    }
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cancel")
    }
}

macro_rules! call {
    ($repository:ident, $function:path $(, $argument:expr)*) => {{
        let (lease, statements) = $repository.ready().await?;
        let answer = $function(traced(lease.session()), &statements.0 $(, $argument)*).await;
        Ok(lease.end(answer)?)
    }};
    (unprepared $repository:ident, $function:path $(, $argument:expr)*) => {{
        let lease = $repository.lease().await?;
        let answer = $function(traced(lease.session()) $(, $argument)*).await;
        Ok(lease.end(answer)?)
    }};
}

implement_traits!(PostgresRepository, call);

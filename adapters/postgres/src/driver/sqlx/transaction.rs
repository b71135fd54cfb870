//! A repository inside an open transaction of the host.

use enroll::OrganizationId;
use sqlx::Connection;
use sqlx::postgres::PgConnection;

use super::begin::HostSession;
use crate::driver::traits::implement_traits;
use crate::driver::{Begin, Execute, Row, Transaction};
use crate::query::Query;
use crate::statements::IS_DISTRIBUTED;
use crate::trace::{Attempts, traced};
use crate::{PostgresError, Statements};

/// A repository and inbox inside an open transaction of the host, on a connection of `sqlx`.
///
/// The host's rows and the enrollment become visible together when the host commits. Each commit of the engine runs in a
/// savepoint: if it is refused, the transaction is as before, and the engine tries again inside it.
///
/// The database needs the schema: see [`migrate_sqlx`](crate::migrate_sqlx). The transaction needs the isolation level READ
/// COMMITTED: at another level, a retry would not see the rows that made the first attempt fail.
///
/// The timeouts are the host's: this type sets none. Without a `lock_timeout`, an enrollment waits without limit for another
/// transaction of the organization. At the start of the transaction, run [`Timeouts::set_local`](crate::Timeouts::set_local)
/// with `sqlx::raw_sql(sqlx::AssertSqlSafe(sql))`, or set the timeouts for all connections with `PgConnectOptions::options`. The
/// `acquire_timeout` of the pool (30 s by default) limits the wait for a connection.
///
/// As an inbox, it stores an accepted enrollment together with the host's
/// rows. A claim is invisible to other workers until the host commits, and a rollback undoes it.
///
/// An endpoint that writes an audit row and enrolls, both or neither:
///
/// ```
/// use enroll::{
///     EnrollError, Engine, Enrollment, EnrollmentKey, EnrollmentPolicy, EnrollmentReport, EnrollmentRequest, OrganizationId,
///     SequenceId, Timestamp,
/// };
/// use enroll_postgres::SqlxTransaction;
/// use enroll_postgres::sqlx::{self, PgPool};
///
/// # type Error = Box<dyn std::error::Error + Send + Sync>;
/// /// Enrolls the people of a request body. The key makes a repeated request return the first report.
/// async fn enroll_with_audit(
///     pool: &PgPool,
///     (organization_id, sequence_id): (OrganizationId, SequenceId),
///     (user, key, at, body): (&str, &str, Timestamp, &[u8]),
/// ) -> Result<EnrollmentReport, Error> {
///     let request = EnrollmentRequest::from_json(body);
///     let enrollment =
///         Enrollment { organization_id, sequence_id, key: EnrollmentKey::Idempotency(key), at, list: None, request: &request };
///     let policy = EnrollmentPolicy::default();
///
///     let mut transaction = pool.begin().await?;
///     sqlx::query("insert into audit (who, what) values ($1, 'enroll')").bind(user).execute(&mut *transaction).await?;
///     let mut repository = SqlxTransaction::new(&mut transaction);
///     let enrolled = enroll::enroll_contacts_async(&mut repository, &Engine::new(&policy), &enrollment).await?;
///     if !enrolled.replayed {
///         transaction.commit().await?; // without this line, dropping the transaction rolls both back
///     }
///     Ok(enrolled.report)
/// }
/// ```
///
/// If the enrollment is [`replayed`](enroll::Enrolled::replayed), an earlier transaction wrote it, with the host's rows of that
/// time. The transaction of a repeated request is therefore dropped: a commit would write the audit row again.
///
/// [`EnrollError::status`](enroll::EnrollError::status) is the HTTP status of an error. For errors of the host's own statements,
/// convert them first: `PostgresError::from(error)` classifies an [`sqlx::Error`] in the same way, and
/// [`EnrollError`](enroll::EnrollError) converts from it.
///
/// # Locks
/// The organization's row and the guarded rows stay locked until the host's transaction ends. Three rules avoid deadlocks:
/// - If the host writes contacts or related rows in the same transaction, it calls [`lock`](Self::lock) first. Otherwise
///   an enrollment elsewhere may wait for the host's row while the host waits for its organization. PostgreSQL ends one of
///   them, with [`PostgresError::Deadlock`] in the host's transaction.
/// - Transactions that enroll for several organizations lock them in the same order.
/// - The host reads events after the enrollments of the transaction, or in another one: a reader locks the log.
///
/// # Dropped and failed calls
/// If the host drops a call, such as with a timeout, or if a call returns an error of the repository, the host must neither write
/// more in the transaction nor commit it: let it be dropped. `sqlx` can have rolled it back already. Then a later statement would
/// be committed alone, and [`commit`](sqlx::Transaction::commit) would return `Ok` without a commit.
///
/// # Errors
/// Each [`RepositoryError`](enroll::RepositoryError) contains a [`PostgresError`]. Without a transaction, every call fails
/// with [`PostgresError::NoTransaction`]; at another isolation level, with [`PostgresError::IsolationLevel`]. After
/// [`PostgresError::Deadlock`] or [`PostgresError::FailedTransaction`], roll the transaction back and repeat it. An endpoint that
/// does not repeat it answers 503 for a deadlock: the same request can succeed later.
#[derive(Debug)]
pub struct SqlxTransaction<'c> {
    connection: &'c mut PgConnection,
    statements: Option<Statements>,
    is_prepared: bool,
    attempts: Attempts,
}

impl<'c> SqlxTransaction<'c> {
    /// Creates a repository inside the transaction of the connection. A `&mut sqlx::Transaction` is such a connection.
    ///
    /// The transaction must be one that `sqlx` began, such as with `pool.begin()`.
    #[must_use]
    pub fn new(connection: &'c mut PgConnection) -> Self {
        Self { connection, statements: None, is_prepared: true, attempts: Attempts::default() }
    }

    /// Sets whether the connection prepares each statement at its first use, which is the default. Otherwise, each statement
    /// is prepared for one use, for a pooler that gives a connection to other clients between transactions.
    #[must_use]
    pub fn with_prepared_statements(self, prepared: bool) -> Self {
        Self { is_prepared: prepared, ..self }
    }

    /// Locks the organization's row, as each commit does. Other commits of the organization wait until the transaction ends.
    ///
    /// Call it before the host's own writes to contacts or related rows.
    ///
    /// # Errors
    /// [`PostgresError::NoTransaction`] or [`PostgresError::IsolationLevel`] if the connection has no transaction at READ
    /// COMMITTED. [`PostgresError::Deadlock`] if the host's transaction already had locks that an enrollment waits for. Any
    /// other error of the database.
    pub async fn lock(&mut self, organization_id: OrganizationId) -> Result<(), PostgresError> {
        let statements = self.statements().await?;
        let organization = organization_id.as_uuid();
        let mut transaction = self.session().begin_read().await?;
        let locks = [&statements.0.add_organization, &statements.0.lock_organization];
        let locks = locks.map(|lock| Some((lock, vec![&organization as _])));
        transaction.query_all(locks).await.map(drop).map_err(PostgresError::within_transaction)
    }

    /// Checks the transaction at the first call.
    async fn statements(&mut self) -> Result<Statements, PostgresError> {
        if !self.connection.is_in_transaction() {
            return Err(PostgresError::NoTransaction);
        }
        if let Some(statements) = &self.statements {
            return Ok(statements.clone());
        }
        let sql = format!("select pg_catalog.current_setting('transaction_isolation'), {IS_DISTRIBUTED}");
        let rows = self.session().begin_read().await?.query(&Query::new(sql), &[]).await?;
        let row = rows.first().ok_or(PostgresError::NoTransaction)?;
        let (found, is_distributed): (String, bool) = (row.get(0)?, row.get(1)?);
        if found != "read committed" {
            return Err(PostgresError::IsolationLevel { found });
        }
        Ok(self.statements.insert(Statements::texts(is_distributed)?).clone())
    }

    fn session(&mut self) -> HostSession<'_> {
        HostSession { connection: self.connection, is_prepared: self.is_prepared }
    }
}

macro_rules! call {
    ($repository:ident, $function:path $(, $argument:expr)*) => {{
        let statements = $repository.statements().await?;
        let answer = $function(traced($repository.session()), &statements.0 $(, $argument)*).await;
        Ok(answer.map_err(PostgresError::within_transaction)?)
    }};
    (unprepared $repository:ident, $function:path $(, $argument:expr)*) => {{
        // Checks the transaction.
        $repository.statements().await?;
        let answer = $function(traced($repository.session()) $(, $argument)*).await;
        Ok(answer.map_err(PostgresError::within_transaction)?)
    }};
}

implement_traits!(SqlxTransaction<'_>, call);

//! A repository inside an open transaction of the host.

use enroll::OrganizationId;
use tokio_postgres::Transaction;

use crate::driver::traits::implement_traits;
use crate::driver::{Begin, Bound, Transaction as _};
use crate::trace::{Attempts, traced};
use crate::{PostgresError, Statements};

/// A repository and inbox inside an open transaction of the host.
///
/// The host's rows and the enrollment become visible together when the host commits. Each commit of the engine runs in a
/// savepoint: if it is refused, the transaction is as before, and the engine tries again inside it.
///
/// The database needs the schema: see [`migrate`](crate::migrate). The transaction needs the isolation level READ
/// COMMITTED: at another level, a retry would not see the rows that made the first attempt fail.
///
/// The timeouts are the host's: this type sets none.
///
/// As an inbox, it stores an accepted enrollment together with the host's rows. A claim is invisible to other workers
/// until the host commits, and a rollback undoes it.
///
/// # Locks
/// The organization's row and the guarded rows stay locked until the host's transaction ends. Three rules avoid deadlocks:
/// - If the host writes contacts or related rows in the same transaction, it calls [`lock`](Self::lock) first. Otherwise
///   an enrollment elsewhere may wait for the host's row while the host waits for its organization. PostgreSQL ends one of
///   them, with [`PostgresError::Deadlock`] in the host's transaction.
/// - Transactions that enroll for several organizations lock them in the same order.
/// - The host reads events after the enrollments of the transaction, or in another one: a reader locks the log.
///
/// ```no_run
/// use enroll::{Engine, Enrollment, EnrollmentPolicy};
/// use enroll_postgres::PostgresTransaction;
/// use enroll_postgres::tokio_postgres::Client;
///
/// # async fn example(client: &mut Client, enrollment: &Enrollment<'_>) -> Result<(), Box<dyn std::error::Error>> {
/// let mut transaction = client.transaction().await?;
/// transaction.execute("insert into orders values (1)", &[]).await?;
/// let policy = EnrollmentPolicy::default();
/// let mut repository = PostgresTransaction::new(&mut transaction);
/// enroll::enroll_contacts_async(&mut repository, &Engine::new(&policy), enrollment).await?;
/// transaction.commit().await?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// Each [`RepositoryError`](enroll::RepositoryError) contains a [`PostgresError`]. At another isolation level, every call fails with
/// [`PostgresError::IsolationLevel`]. After [`PostgresError::Deadlock`] or [`PostgresError::FailedTransaction`], roll the
/// transaction back and repeat it.
pub struct PostgresTransaction<'t, 'c> {
    transaction: &'t mut Transaction<'c>,
    statements: Option<Statements>,
    checked: bool,
    attempts: Attempts,
}

impl<'t, 'c> PostgresTransaction<'t, 'c> {
    /// Creates a repository inside the transaction. It prepares its statements at the first call.
    #[must_use]
    pub fn new(transaction: &'t mut Transaction<'c>) -> Self {
        Self { transaction, statements: None, checked: false, attempts: Attempts::default() }
    }

    /// Creates a repository with statements that were prepared on the same connection. This saves a round trip.
    #[must_use]
    pub fn with_statements(transaction: &'t mut Transaction<'c>, statements: Statements) -> Self {
        Self { transaction, statements: Some(statements), checked: false, attempts: Attempts::default() }
    }

    /// Locks the organization's row, as each commit does. Other commits of the organization wait until the transaction ends.
    ///
    /// Call it before the host's own writes to contacts or related rows.
    ///
    /// # Errors
    /// [`PostgresError::IsolationLevel`] if the transaction is not at READ COMMITTED. [`PostgresError::Deadlock`] if the
    /// host's transaction already had locks that an enrollment waits for. Any other error of the database.
    pub async fn lock(&mut self, organization_id: OrganizationId) -> Result<(), PostgresError> {
        let statements = self.statements().await?;
        let organization = organization_id.as_uuid();
        let mut transaction = self.transaction.begin_read().await?;
        let locks: [Bound<'_>; 2] = [
            (&statements.0.add_organization, vec![&organization]),
            (&statements.0.lock_organization, vec![&organization]),
        ];
        transaction.query_all(locks.map(Some)).await.map(drop).map_err(PostgresError::within_transaction)
    }

    async fn statements(&mut self) -> Result<Statements, PostgresError> {
        if !self.checked {
            let isolation = "select pg_catalog.current_setting('transaction_isolation')";
            let found: String = self.transaction.query_typed_one(isolation, &[]).await?.try_get(0)?;
            if found != "read committed" {
                return Err(PostgresError::IsolationLevel { found });
            }
            self.checked = true;
        }
        if let Some(statements) = &self.statements {
            return Ok(statements.clone());
        }
        let statements = Statements::prepare_in(&mut *self.transaction).await?;
        Ok(self.statements.insert(statements).clone())
    }
}

macro_rules! call {
    ($repository:ident, $function:path $(, $argument:expr)*) => {{
        let statements = $repository.statements().await?;
        let answer = $function(traced(&mut *$repository.transaction), &statements.0 $(, $argument)*).await;
        Ok(answer.map_err(PostgresError::within_transaction)?)
    }};
    (unprepared $repository:ident, $function:path $(, $argument:expr)*) => {{
        // Checks the isolation level.
        $repository.statements().await?;
        let answer = $function(traced(&mut *$repository.transaction) $(, $argument)*).await;
        Ok(answer.map_err(PostgresError::within_transaction)?)
    }};
}

implement_traits!(PostgresTransaction<'_, '_>, call);

impl std::fmt::Debug for PostgresTransaction<'_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresTransaction").field("statements", &self.statements).finish_non_exhaustive()
    }
}

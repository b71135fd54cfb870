//! Begins the transaction of a write.

use tokio_postgres::{Client, IsolationLevel, Transaction};

use crate::PostgresError;

/// A handle on which a transaction at READ COMMITTED, or a savepoint in one, can begin.
///
/// A dropped transaction is rolled back before the next statement on the connection, even if its future was dropped in
/// the middle.
pub(crate) trait Begin: Send {
    fn begin(&mut self) -> impl Future<Output = Result<Transaction<'_>, PostgresError>> + Send;
}

/// Begins a transaction at READ COMMITTED, independent of the default isolation level.
impl Begin for Client {
    async fn begin(&mut self) -> Result<Transaction<'_>, PostgresError> {
        Ok(self.build_transaction().isolation_level(IsolationLevel::ReadCommitted).start().await?)
    }
}

/// Sets a savepoint, so that a failed write keeps the host's rows.
impl Begin for Transaction<'_> {
    async fn begin(&mut self) -> Result<Transaction<'_>, PostgresError> {
        Ok(self.transaction().await?)
    }
}

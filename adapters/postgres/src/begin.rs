//! Where a write begins: all of it happens, or nothing.

use tokio_postgres::{Client, IsolationLevel, Transaction};

use crate::Error;

/// What a transaction at READ COMMITTED, or a savepoint in one, can be begun on.
///
/// One that is dropped is rolled back before anything else runs on the connection, also where the future is dropped in
/// the middle.
pub(crate) trait Begin: Send {
    fn begin(&mut self) -> impl Future<Output = Result<Transaction<'_>, Error>> + Send;
}

/// A transaction of its own, whatever isolation level is the default.
impl Begin for Client {
    async fn begin(&mut self) -> Result<Transaction<'_>, Error> {
        Ok(self.build_transaction().isolation_level(IsolationLevel::ReadCommitted).start().await?)
    }
}

/// A savepoint: what the host wrote stands, whatever becomes of it.
impl Begin for Transaction<'_> {
    async fn begin(&mut self) -> Result<Transaction<'_>, Error> {
        Ok(self.transaction().await?)
    }
}

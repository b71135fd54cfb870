//! A host's open transaction.

use enroll::lookup::{Context, ContextLookup, Lookup, Snapshot};
use enroll::repository::RepositoryError;
use enroll::{AsyncRepository, ChangeSet};
use tokio_postgres::Transaction;

use crate::{Error, Statements, read, schema, write};

/// A repository inside a transaction of the host, which alone commits it: what the host writes and what the enrollment
/// writes happen together, or not at all.
///
/// A commit is a savepoint: after a conflict, the transaction and what the host wrote in it stand, and the engine loads
/// and plans again. The transaction must be at READ COMMITTED, since at any other level it would not see what is new.
///
/// The organization's row, and what the enrollment rests on, stay locked until the host's transaction ends: end it soon
/// after. Two transactions that enroll for several organizations take them in one order, or PostgreSQL ends one of them.
pub struct PostgresTransaction<'t, 'c> {
    transaction: &'t mut Transaction<'c>,
    statements: Option<Statements>,
    checked: bool,
}

impl<'t, 'c> PostgresTransaction<'t, 'c> {
    /// In a transaction. It prepares its statements at the first use.
    #[must_use]
    pub fn new(transaction: &'t mut Transaction<'c>) -> Self {
        Self { transaction, statements: None, checked: false }
    }

    /// In a transaction, with statements that were prepared on its connection before: a round trip less.
    #[must_use]
    pub fn with_statements(transaction: &'t mut Transaction<'c>, statements: Statements) -> Self {
        Self { transaction, statements: Some(statements), checked: false }
    }

    async fn statements(&mut self) -> Result<Statements, Error> {
        if !self.checked {
            let isolation = "select pg_catalog.current_setting('transaction_isolation')";
            let found: String = self.transaction.query_typed_one(isolation, &[]).await?.try_get(0)?;
            if found != "read committed" {
                return Err(Error::IsolationLevel { found });
            }
            if self.statements.is_none() {
                schema::check(&*self.transaction).await?;
            }
            self.checked = true;
        }
        if let Some(statements) = &self.statements {
            return Ok(statements.clone());
        }
        let statements = Statements::prepare(&*self.transaction).await?;
        Ok(self.statements.insert(statements).clone())
    }
}

impl AsyncRepository for PostgresTransaction<'_, '_> {
    async fn context(&mut self, lookup: &ContextLookup) -> Result<Context, RepositoryError> {
        let statements = self.statements().await?;
        Ok(read::context(&*self.transaction, &statements.0, lookup).await?)
    }

    async fn load(&mut self, lookup: &Lookup) -> Result<Snapshot, RepositoryError> {
        let statements = self.statements().await?;
        Ok(read::load(&*self.transaction, &statements.0, lookup).await?)
    }

    async fn commit(&mut self, changes: &ChangeSet) -> Result<(), RepositoryError> {
        let statements = self.statements().await?;
        Ok(commit(self.transaction, &statements, changes).await?)
    }
}

impl std::fmt::Debug for PostgresTransaction<'_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresTransaction").field("statements", &self.statements).finish_non_exhaustive()
    }
}

/// A savepoint that is dropped is rolled back to.
async fn commit(transaction: &mut Transaction<'_>, statements: &Statements, changes: &ChangeSet) -> Result<(), Error> {
    let savepoint = transaction.transaction().await?;
    write::write(&savepoint, &statements.0, changes).await?;
    Ok(savepoint.commit().await?)
}

//! One connection.

use enroll::lookup::{Context, ContextLookup, Lookup, Snapshot};
use enroll::repository::RepositoryError;
use enroll::{AsyncRepository, ChangeSet};
use tokio_postgres::{Client, IsolationLevel};

use crate::{Error, Statements, read, schema, write};

/// A repository on one connection, which it owns. Its statements are prepared once, at the first use.
///
/// Whoever opened the connection drives it (`tokio::spawn(connection)`). When it is lost, every call is
/// `Unavailable` from then on: make another.
#[derive(Debug)]
pub struct PostgresClient {
    client: Client,
    statements: Option<Statements>,
}

impl PostgresClient {
    /// On a connection to a database that [`migrate`](crate::migrate) was run on.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client, statements: None }
    }

    /// The connection, for the host's own statements.
    #[must_use]
    pub fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// The connection back.
    #[must_use]
    pub fn into_client(self) -> Client {
        self.client
    }

    async fn statements(&mut self) -> Result<Statements, Error> {
        if let Some(statements) = &self.statements {
            return Ok(statements.clone());
        }
        schema::check(&self.client).await?;
        let statements = Statements::prepare(&self.client).await?;
        Ok(self.statements.insert(statements).clone())
    }
}

impl AsyncRepository for PostgresClient {
    async fn context(&mut self, lookup: &ContextLookup) -> Result<Context, RepositoryError> {
        let statements = self.statements().await?;
        Ok(read::context(&self.client, &statements.0, lookup).await?)
    }

    async fn load(&mut self, lookup: &Lookup) -> Result<Snapshot, RepositoryError> {
        let statements = self.statements().await?;
        Ok(load(&mut self.client, &statements, lookup).await?)
    }

    async fn commit(&mut self, changes: &ChangeSet) -> Result<(), RepositoryError> {
        let statements = self.statements().await?;
        Ok(commit(&mut self.client, &statements, changes).await?)
    }
}

/// A load as one snapshot of the database.
pub(crate) async fn load(client: &mut Client, statements: &Statements, lookup: &Lookup) -> Result<Snapshot, Error> {
    let builder = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
    let transaction = builder.start().await?;
    let snapshot = read::load(&transaction, &statements.0, lookup).await?;
    transaction.commit().await?;
    Ok(snapshot)
}

/// A commit in a transaction of its own, whatever isolation level is the default.
///
/// A transaction that is dropped is rolled back before anything else runs on the connection, also where the future is
/// dropped in the middle.
pub(crate) async fn commit(client: &mut Client, statements: &Statements, changes: &ChangeSet) -> Result<(), Error> {
    let transaction = client.build_transaction().isolation_level(IsolationLevel::ReadCommitted).start().await?;
    write::write(&transaction, &statements.0, changes).await?;
    Ok(transaction.commit().await?)
}

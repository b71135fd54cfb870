//! One connection.

use enroll::inbox::{Claim, Failure, InboxEntry};
use enroll::{
    AsyncInbox, AsyncRepository, ChangeSet, EnrollmentCommand, EnrollmentId, OrganizationId, ReferenceData,
    ReferenceQuery, RepositoryError, Snapshot, SnapshotQuery, StoredEnrollment, Timestamp,
};
use tokio_postgres::{Client, IsolationLevel};

use crate::{Error, Statements, inbox, read, schema, write};

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
    async fn reference_data(&mut self, query: &ReferenceQuery) -> Result<ReferenceData, RepositoryError> {
        let statements = self.statements().await?;
        Ok(read::reference_data(&self.client, &statements.0, query).await?)
    }

    async fn load(&mut self, query: &SnapshotQuery) -> Result<Snapshot, RepositoryError> {
        let statements = self.statements().await?;
        Ok(load(&mut self.client, &statements, query).await?)
    }

    async fn commit(&mut self, changes: &ChangeSet) -> Result<(), RepositoryError> {
        let statements = self.statements().await?;
        Ok(write::commit(&mut self.client, &statements.0, changes).await?)
    }
}

impl AsyncInbox for PostgresClient {
    async fn insert(&mut self, command: &EnrollmentCommand) -> Result<Option<StoredEnrollment>, RepositoryError> {
        let statements = self.statements().await?;
        Ok(inbox::insert(&mut self.client, &statements.0, command).await?)
    }

    async fn find(
        &mut self,
        organization_id: OrganizationId,
        enrollment_id: EnrollmentId,
    ) -> Result<Option<InboxEntry>, RepositoryError> {
        let statements = self.statements().await?;
        Ok(inbox::find(&self.client, &statements.0, organization_id, enrollment_id).await?)
    }

    async fn claim(&mut self, now: Timestamp, lease_end: Timestamp) -> Result<Option<Claim>, RepositoryError> {
        let statements = self.statements().await?;
        Ok(inbox::claim(&mut self.client, &statements.0, now, lease_end).await?)
    }

    async fn record_failure(&mut self, claim: &Claim, failure: &Failure) -> Result<(), RepositoryError> {
        let statements = self.statements().await?;
        Ok(inbox::record_failure(&mut self.client, &statements.0, claim, failure).await?)
    }

    async fn release(&mut self, claim: &Claim, due_at: Timestamp) -> Result<(), RepositoryError> {
        let statements = self.statements().await?;
        Ok(inbox::release(&mut self.client, &statements.0, claim, due_at).await?)
    }

    async fn retry(
        &mut self,
        organization_id: OrganizationId,
        enrollment_id: EnrollmentId,
        now: Timestamp,
    ) -> Result<bool, RepositoryError> {
        let statements = self.statements().await?;
        Ok(inbox::retry(&mut self.client, &statements.0, organization_id, enrollment_id, now).await?)
    }
}

/// A load as one snapshot of the database.
pub(crate) async fn load(
    client: &mut Client,
    statements: &Statements,
    query: &SnapshotQuery,
) -> Result<Snapshot, Error> {
    let builder = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
    let transaction = builder.start().await?;
    let snapshot = read::load(&transaction, &statements.0, query).await?;
    transaction.commit().await?;
    Ok(snapshot)
}

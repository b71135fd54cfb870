//! A host's open transaction.

use enroll::inbox::{Claim, Failure, InboxEntry};
use enroll::{
    AsyncInbox, AsyncRepository, ChangeSet, EnrollmentCommand, EnrollmentId, OrganizationId, ReferenceData,
    ReferenceQuery, RepositoryError, Snapshot, SnapshotQuery, StoredEnrollment, Timestamp,
};
use tokio_postgres::Transaction;

use crate::{Error, Statements, inbox, read, schema, write};

/// A repository inside a transaction of the host, which alone commits it: what the host writes and what the enrollment
/// writes happen together, or not at all.
///
/// A commit is a savepoint: after a conflict, the transaction and what the host wrote in it stand, and the engine loads
/// and plans again. The transaction must be at READ COMMITTED, since at any other level it would not see what is new.
///
/// As an inbox it accepts together with the host's own rows: a receipt counts from the host's commit on. A claim is kept
/// from others until the transaction ends, and undone if that is rolled back.
///
/// The organization's row, and what the enrollment rests on, stay locked until the host's transaction ends: end it soon
/// after. A host that writes contacts, or rows round them, in the same transaction takes the organization first, with
/// [`lock`](Self::lock); otherwise an enrollment elsewhere may wait for the host while the host waits for it, which ends
/// in [`Error::Deadlock`]. Two transactions that enroll for several organizations take them in one order, or PostgreSQL ends one of them.
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

    /// Takes the organization's row, as each commit does: before the host's own writes, so that no enrollment which has
    /// the row waits for what the host wrote while the host waits for the row. Others wait until the transaction ends.
    ///
    /// # Errors
    /// Those of any statement; [`Error::IsolationLevel`] where the transaction is not at READ COMMITTED.
    pub async fn lock(&mut self, organization_id: OrganizationId) -> Result<(), Error> {
        let statements = self.statements().await?;
        let organization = organization_id.as_uuid();
        self.transaction.execute(&statements.0.add_organization, &[&organization]).await?;
        self.transaction.execute(&statements.0.lock_organization, &[&organization]).await?;
        Ok(())
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
    async fn reference_data(&mut self, query: &ReferenceQuery) -> Result<ReferenceData, RepositoryError> {
        let statements = self.statements().await?;
        Ok(read::reference_data(&*self.transaction, &statements.0, query).await?)
    }

    async fn load(&mut self, query: &SnapshotQuery) -> Result<Snapshot, RepositoryError> {
        let statements = self.statements().await?;
        Ok(read::load(&*self.transaction, &statements.0, query).await?)
    }

    async fn commit(&mut self, changes: &ChangeSet) -> Result<(), RepositoryError> {
        let statements = self.statements().await?;
        Ok(write::commit(self.transaction, &statements.0, changes).await.map_err(Error::within_a_transaction)?)
    }
}

impl AsyncInbox for PostgresTransaction<'_, '_> {
    async fn insert(&mut self, command: &EnrollmentCommand) -> Result<Option<StoredEnrollment>, RepositoryError> {
        let statements = self.statements().await?;
        Ok(inbox::insert(self.transaction, &statements.0, command).await?)
    }

    async fn find(
        &mut self,
        organization_id: OrganizationId,
        enrollment_id: EnrollmentId,
    ) -> Result<Option<InboxEntry>, RepositoryError> {
        let statements = self.statements().await?;
        Ok(inbox::find(&*self.transaction, &statements.0, organization_id, enrollment_id).await?)
    }

    async fn claim(&mut self, now: Timestamp, lease_end: Timestamp) -> Result<Option<Claim>, RepositoryError> {
        let statements = self.statements().await?;
        Ok(inbox::claim(self.transaction, &statements.0, now, lease_end).await?)
    }

    async fn record_failure(&mut self, claim: &Claim, failure: &Failure) -> Result<(), RepositoryError> {
        let statements = self.statements().await?;
        Ok(inbox::record_failure(self.transaction, &statements.0, claim, failure).await?)
    }

    async fn release(&mut self, claim: &Claim, due_at: Timestamp) -> Result<(), RepositoryError> {
        let statements = self.statements().await?;
        Ok(inbox::release(self.transaction, &statements.0, claim, due_at).await?)
    }

    async fn retry(
        &mut self,
        organization_id: OrganizationId,
        enrollment_id: EnrollmentId,
        now: Timestamp,
    ) -> Result<bool, RepositoryError> {
        let statements = self.statements().await?;
        Ok(inbox::retry(self.transaction, &statements.0, organization_id, enrollment_id, now).await?)
    }
}

impl std::fmt::Debug for PostgresTransaction<'_, '_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresTransaction").field("statements", &self.statements).finish_non_exhaustive()
    }
}

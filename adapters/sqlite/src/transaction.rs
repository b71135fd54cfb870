//! A repository inside the open transaction of a host.

use enroll::changes::ChangeSet;
use enroll::inbox::{Claim, Failure, Inbox, InboxEntry};
use enroll::query::{ReferenceQuery, SnapshotQuery};
use enroll::repository::{Repository, RepositoryError};
use enroll::snapshot::{ReferenceData, Snapshot};
use enroll::stored_enrollment::StoredEnrollment;
use enroll::{EnrollmentCommand, EnrollmentId, OrganizationId, Timestamp};
use rusqlite::vtab::array;
use rusqlite::{Connection, Transaction};

use crate::error::SqliteError;
use crate::{inbox, read, schema, write};

/// The open transaction of a host as a repository: what is committed here stands once the host commits.
///
/// A commit runs in a savepoint, so that one that is refused leaves the transaction as it was, and the engine tries
/// again inside it. The transaction should have begun with `TransactionBehavior::Immediate`: one that has read before
/// another wrote cannot write any more, and no retry inside it helps ([`SqliteError::StaleTransaction`]). Where SQLite
/// itself ends a transaction, as it may on a full disk, the host's rows go with it.
///
/// The settings of the connection stay as they are, but for the triggers of the schema, which are off while a large commit
/// is written; `pragma temp_store = memory` makes large commits twice as fast, and
/// `pragma synchronous = full` keeps what was accepted through a power cut. Its database needs the schema: [`migrate`](crate::migrate).
#[derive(Debug)]
pub struct SqliteTransaction<'t> {
    connection: &'t Connection,
}

impl<'t> SqliteTransaction<'t> {
    /// Works inside this transaction.
    ///
    /// # Errors
    /// [`SqliteError::NoSchema`] or [`SqliteError::NewerSchema`] if the database does not have the schema of this build.
    pub fn new(transaction: &'t Transaction<'_>) -> Result<Self, SqliteError> {
        match schema::stored_version(transaction)? {
            schema::KNOWN => {}
            found if found > schema::KNOWN => {
                return Err(SqliteError::NewerSchema { found, known: schema::KNOWN });
            }
            _ => return Err(SqliteError::NoSchema),
        }
        array::load_module(transaction)?;
        Ok(Self { connection: transaction })
    }

    fn writing<T>(&self, write: impl FnOnce(&Connection) -> Result<T, SqliteError>) -> Result<T, SqliteError> {
        self.connection.execute_batch("savepoint enroll_commit")?;
        let written = write(self.connection).and_then(|written| {
            self.connection.execute_batch(RELEASE)?;
            Ok(written)
        });
        // Where SQLite ended the whole transaction there is no savepoint to go back to, and nothing stands.
        if written.is_err() && !self.connection.is_autocommit() {
            self.connection.execute_batch(ROLL_BACK)?;
        }
        written
    }
}

impl Repository for SqliteTransaction<'_> {
    fn reference_data(&mut self, query: &ReferenceQuery) -> Result<ReferenceData, RepositoryError> {
        Ok(read::reference_data(self.connection, query)?)
    }

    fn load(&mut self, query: &SnapshotQuery) -> Result<Snapshot, RepositoryError> {
        Ok(read::load(self.connection, query)?)
    }

    fn commit(&mut self, changes: &ChangeSet) -> Result<(), RepositoryError> {
        Ok(self.writing(|connection| write::commit(connection, changes, write::Transaction::Host))?)
    }
}

impl Inbox for SqliteTransaction<'_> {
    fn insert(&mut self, command: &EnrollmentCommand) -> Result<Option<StoredEnrollment>, RepositoryError> {
        Ok(self.writing(|connection| inbox::insert(connection, command))?)
    }

    fn find(
        &mut self,
        organization_id: OrganizationId,
        enrollment_id: EnrollmentId,
    ) -> Result<Option<InboxEntry>, RepositoryError> {
        Ok(inbox::find(self.connection, organization_id, enrollment_id)?)
    }

    fn claim(&mut self, now: Timestamp, lease_end: Timestamp) -> Result<Option<Claim>, RepositoryError> {
        Ok(self.writing(|connection| inbox::claim(connection, now, lease_end))?)
    }

    fn record_failure(&mut self, claim: &Claim, failure: &Failure) -> Result<(), RepositoryError> {
        Ok(self.writing(|connection| inbox::record_failure(connection, claim, failure))?)
    }

    fn release(&mut self, claim: &Claim, due_at: Timestamp) -> Result<(), RepositoryError> {
        Ok(self.writing(|connection| inbox::release(connection, claim, due_at))?)
    }

    fn retry(
        &mut self,
        organization_id: OrganizationId,
        enrollment_id: EnrollmentId,
        now: Timestamp,
    ) -> Result<bool, RepositoryError> {
        Ok(self.writing(|connection| inbox::retry(connection, organization_id, enrollment_id, now))?)
    }
}

const RELEASE: &str = "release enroll_commit";
const ROLL_BACK: &str = "rollback to enroll_commit; release enroll_commit";

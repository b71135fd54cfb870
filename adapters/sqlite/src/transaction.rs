//! A repository inside an open transaction of the host.

use enroll::events::{Event, EventLog, EventPosition};
use enroll::inbox::{Claim, Failure, InboxEntry};
use enroll::{
    ChangeSet, EnrollmentCommand, EnrollmentId, Inbox, OrganizationId, ReferenceData, ReferenceQuery, Repository,
    RepositoryError, Snapshot, SnapshotQuery, StoredEnrollment, Timestamp,
};
use rusqlite::Connection;
use rusqlite::vtab::array;
use std::num::NonZeroU32;
use std::time::Duration;

use crate::error::SqliteError;
use crate::trace::{Attempts, call};
use crate::{events, inbox, read, schema, write};

/// A repository and inbox inside an open transaction of the host.
///
/// [`new`](Self::new) takes a `rusqlite::Transaction`, or any `&Connection` on which a transaction is open: of a host that
/// begins and ends it with statements, or of a library that only lends its connection.
///
/// The host's rows and the enrollment become visible together when the host commits. Each commit of the engine runs in a
/// savepoint: if it is refused, the transaction is as before, and the engine tries again inside it. If SQLite itself ends
/// the transaction, for example on a full disk, the host's rows are rolled back too.
///
/// The database needs the schema: see [`migrate`](crate::migrate). Begin the transaction with
/// `TransactionBehavior::Immediate`. A deferred transaction that read before another connection wrote can no longer write
/// ([`SqliteError::StaleTransaction`]).
///
/// The adapter does not change the settings of the connection, except that triggers are disabled during a large commit.
/// Two settings are useful:
/// - `pragma temp_store = memory` halves the time of large commits.
/// - `pragma synchronous = full` protects accepted enrollments from a power cut.
///
/// ```
/// use enroll::{Engine, Enrollment, EnrollmentKey, EnrollmentPolicy, EnrollmentRequest, OrganizationId, SequenceId};
/// use enroll_sqlite::SqliteTransaction;
/// use enroll_sqlite::rusqlite::{Connection, TransactionBehavior};
/// use uuid::Uuid;
///
/// let mut connection = Connection::open_in_memory()?;
/// enroll_sqlite::migrate(&connection)?;
/// connection.execute_batch(
///     "create table orders (id integer primary key);
///      insert into enroll_organizations (organization_id) values (x'00000000000000000000000000000001');
///      insert into enroll_sequences (organization_id, id, status)
///          values (x'00000000000000000000000000000001', x'00000000000000000000000000000002', 'active');
///      insert into enroll_steps (organization_id, sequence_id, id, position, channel_kind)
///          values (x'00000000000000000000000000000001', x'00000000000000000000000000000002',
///                  x'00000000000000000000000000000003', 1, 'phone')",
/// )?;
///
/// let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
/// transaction.execute("insert into orders values (1)", [])?;
/// let request = EnrollmentRequest::from_json(br#"{"to": [{"phone": "+1 202 555 0123"}]}"#);
/// let enrollment = Enrollment {
///     organization_id: OrganizationId::from_uuid(Uuid::from_u128(1)),
///     sequence_id: SequenceId::from_uuid(Uuid::from_u128(2)),
///     key: EnrollmentKey::Idempotency("order-1"),
///     at: "2026-02-01T15:00:00Z".parse()?,
///     list: None,
///     request: &request,
/// };
/// let policy = EnrollmentPolicy::default();
/// enroll::enroll_contacts(&mut SqliteTransaction::new(&transaction)?, &Engine::new(&policy), &enrollment)?;
/// transaction.commit()?;
///
/// let counts = "select (select count(*) from orders), (select count(*) from enroll_contacts)";
/// let counts: (i64, i64) = connection.query_row(counts, [], |row| Ok((row.get(0)?, row.get(1)?)))?;
/// assert_eq!(counts, (1, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// A host that begins the transaction with a statement:
///
/// ```
/// use enroll::Inbox;
/// use enroll_sqlite::rusqlite::Connection;
/// use enroll_sqlite::{SqliteError, SqliteTransaction};
/// use std::time::Duration;
///
/// let connection = Connection::open_in_memory()?;
/// enroll_sqlite::migrate(&connection)?;
/// assert!(matches!(SqliteTransaction::new(&connection), Err(SqliteError::NoTransaction)));
///
/// connection.execute_batch("begin immediate")?;
/// assert_eq!(SqliteTransaction::new(&connection)?.claim(Duration::from_secs(60))?, None);
/// connection.execute_batch("commit")?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct SqliteTransaction<'t> {
    connection: &'t Connection,
    attempts: Attempts,
}

impl<'t> SqliteTransaction<'t> {
    /// Creates a repository inside the open transaction of a connection. A `&Transaction` is a `&Connection` too.
    ///
    /// # Errors
    /// [`SqliteError::NoTransaction`] if no transaction is open; [`SqliteError::NoSchema`] or [`SqliteError::NewerSchema`]
    /// if the schema has not the version of this build.
    pub fn new(connection: &'t Connection) -> Result<Self, SqliteError> {
        let repository = Self { connection, attempts: Attempts::default() };
        match schema::schema_version(repository.open()?)? {
            schema::SCHEMA_VERSION => {}
            found if found > schema::SCHEMA_VERSION => {
                return Err(SqliteError::NewerSchema { found, known: schema::SCHEMA_VERSION });
            }
            _ => return Err(SqliteError::NoSchema),
        }
        array::load_module(connection)?;
        Ok(repository)
    }

    /// Returns the connection, if its transaction is still open. The host can end it with a statement, and SQLite ends it
    /// after some errors. A savepoint outside of a transaction would commit on its own.
    fn open(&self) -> Result<&'t Connection, SqliteError> {
        if self.connection.is_autocommit() { Err(SqliteError::NoTransaction) } else { Ok(self.connection) }
    }

    fn writing<T>(&self, write: impl FnOnce(&Connection) -> Result<T, SqliteError>) -> Result<T, SqliteError> {
        self.open()?.execute_batch("savepoint enroll_commit")?;
        let written = write(self.connection).and_then(|written| {
            self.connection.execute_batch(RELEASE)?;
            Ok(written)
        });
        // If SQLite ended the whole transaction, the savepoint no longer exists, and nothing was written.
        if written.is_err() && !self.connection.is_autocommit() {
            self.connection.execute_batch(ROLL_BACK)?;
        }
        written
    }
}

impl Repository for SqliteTransaction<'_> {
    fn reference_data(&mut self, query: &ReferenceQuery) -> Result<ReferenceData, RepositoryError> {
        call!("reference_data", read::reference_data(self.open()?, query))
    }

    fn load(&mut self, query: &SnapshotQuery) -> Result<Snapshot, RepositoryError> {
        call!("load", read::load(self.open()?, query))
    }

    fn commit(&mut self, changes: &ChangeSet) -> Result<(), RepositoryError> {
        self.attempts
            .commit(changes, || self.writing(|connection| write::commit(connection, changes, write::Transaction::Host)))
    }
}

impl Inbox for SqliteTransaction<'_> {
    fn insert(&mut self, command: &EnrollmentCommand) -> Result<Option<StoredEnrollment>, RepositoryError> {
        call!("insert", self.writing(|connection| inbox::insert(connection, command)))
    }

    fn find(
        &mut self,
        organization_id: OrganizationId,
        enrollment_id: EnrollmentId,
    ) -> Result<Option<InboxEntry>, RepositoryError> {
        call!("find", inbox::find(self.open()?, organization_id, enrollment_id))
    }

    fn claim(&mut self, lease: Duration) -> Result<Option<Claim>, RepositoryError> {
        call!("claim", self.writing(|connection| inbox::claim(connection, lease)))
    }

    fn record_failure(&mut self, claim: &Claim, failure: &Failure) -> Result<(), RepositoryError> {
        call!("record_failure", self.writing(|connection| inbox::record_failure(connection, claim, failure)))
    }

    fn release(&mut self, claim: &Claim, delay: Duration) -> Result<(), RepositoryError> {
        call!("release", self.writing(|connection| inbox::release(connection, claim, delay)))
    }

    fn retry(&mut self, organization_id: OrganizationId, enrollment_id: EnrollmentId) -> Result<bool, RepositoryError> {
        call!("retry", self.writing(|connection| inbox::retry(connection, organization_id, enrollment_id)))
    }
}

/// With it, a host handles events and stores its position in one transaction.
impl EventLog for SqliteTransaction<'_> {
    fn events(&mut self, after: EventPosition, limit: NonZeroU32) -> Result<Vec<Event>, RepositoryError> {
        call!("events", events::read(self.open()?, after, limit))
    }

    fn prune_events(&mut self, before: Timestamp, limit: NonZeroU32) -> Result<u64, RepositoryError> {
        call!("prune_events", self.writing(|connection| events::prune(connection, before, limit)))
    }
}

const RELEASE: &str = "release enroll_commit";
const ROLL_BACK: &str = "rollback to enroll_commit; release enroll_commit";

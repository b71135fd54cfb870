//! A repository that owns its connection.

use enroll::inbox::{Claim, Failure, InboxEntry};
use enroll::{
    ChangeSet, EnrollmentCommand, EnrollmentId, Inbox, OrganizationId, ReferenceData, ReferenceQuery, Repository,
    RepositoryError, Snapshot, SnapshotQuery, StoredEnrollment, Timestamp,
};
use rusqlite::config::DbConfig;
use rusqlite::vtab::array;
use rusqlite::{Connection, MAIN_DB, Transaction, TransactionBehavior};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::SqliteError;
use crate::{inbox, read, schema, write};

/// A repository and inbox on one connection to a SQLite database.
///
/// Each load is one read transaction. Each commit is one transaction that begins with `begin immediate`. One connection
/// writes at a time, and the others wait up to [`BUSY_TIMEOUT`]. In WAL mode, reads never wait. For another handle, open
/// another connection.
///
/// As an [`Inbox`], it lets several processes share the work on one file. When `insert` returns, the accepted enrollment
/// is on the disk, even with `synchronous = normal`.
///
/// ```
/// use enroll::{EnrollmentId, Inbox, OrganizationId};
/// use enroll_sqlite::SqliteRepository;
/// use uuid::Uuid;
///
/// let folder = tempfile::tempdir()?;
/// let mut repository = SqliteRepository::open(folder.path().join("enroll.db"))?;
/// let organization_id = OrganizationId::from_uuid(Uuid::from_u128(1));
/// let enrollment_id = EnrollmentId::from_idempotency_key(organization_id, "request-1");
/// assert_eq!(repository.find(organization_id, enrollment_id)?, None);
///
/// // The host uses the same connection for its own SQL.
/// let contacts: i64 =
///     repository.connection().query_row("select count(*) from enroll_contacts", [], |row| row.get(0))?;
/// assert_eq!(contacts, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct SqliteRepository {
    connection: Connection,
    file: Option<DatabaseFile>,
}

/// The time that a commit waits for other writers.
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

impl SqliteRepository {
    /// Opens or creates a database file, and upgrades its schema.
    ///
    /// A read-only file can be opened if it has the schema. Commits then fail with [`SqliteError::ReadOnly`].
    ///
    /// # Errors
    /// [`SqliteError`] if the file cannot be opened, is not a database, or has a newer schema.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, SqliteError> {
        let path = path.as_ref();
        let connection = Connection::open(path).map_err(|e| SqliteError::from(e).with_path(path))?;
        Self::from_connection(connection).map_err(|e| e.with_path(path))
    }

    /// Creates a database in memory, which is lost when the repository is dropped.
    ///
    /// # Errors
    /// [`SqliteError`] if SQLite cannot allocate memory.
    pub fn open_in_memory() -> Result<Self, SqliteError> {
        Self::from_connection(Connection::open_in_memory()?)
    }

    /// Configures a connection, and upgrades its schema.
    ///
    /// Existing temporary tables are lost. The settings are:
    /// - WAL mode, a checkpoint every 10 000 pages, and `synchronous = normal`
    /// - foreign keys
    /// - [`BUSY_TIMEOUT`]
    /// - a cache of 64 MB, and temporary storage in memory
    /// - query plans that do not depend on bound values
    ///
    /// To change one of them, use [`connection`](Self::connection) afterwards.
    ///
    /// # Errors
    /// [`SqliteError`], as for [`open`](Self::open).
    pub fn from_connection(connection: Connection) -> Result<Self, SqliteError> {
        connection.busy_timeout(BUSY_TIMEOUT)?;
        // Without it, SQLite may prepare a statement again for each new binding after `analyze`.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
        connection.execute_batch(SETTINGS)?;
        array::load_module(&connection)?;
        if !connection.is_readonly(MAIN_DB)? {
            use_wal(&connection)?;
        }
        schema::migrate(&connection)?;
        let file = DatabaseFile::new(&connection);
        Ok(Self { connection, file })
    }

    /// Returns the connection for the host's own SQL.
    ///
    /// The host must end its transactions before the next call of this repository.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Returns the connection, and ends the repository.
    #[must_use]
    pub fn into_connection(self) -> Connection {
        self.connection
    }

    fn reading<T>(&self, read: impl FnOnce(&Connection) -> Result<T, SqliteError>) -> Result<T, SqliteError> {
        let transaction = Transaction::new_unchecked(&self.connection, TransactionBehavior::Deferred)?;
        schema::check(&transaction)?;
        let read = read(&transaction)?;
        transaction.commit()?;
        Ok(read)
    }

    fn writing<T>(&self, write: impl FnOnce(&Connection) -> Result<T, SqliteError>) -> Result<T, SqliteError> {
        let transaction = Transaction::new_unchecked(&self.connection, TransactionBehavior::Immediate)?;
        schema::check(&transaction)?;
        let written = write(&transaction)?;
        // In WAL mode, SQLite would continue to write to the moved or deleted file.
        if self.file.as_ref().is_some_and(DatabaseFile::is_gone) {
            return Err(SqliteError::Moved);
        }
        transaction.commit()?;
        Ok(written)
    }

    /// Flushes the commit of `write` to the disk.
    ///
    /// With `synchronous = normal`, a power cut may undo the last commits. A lost completion is repeated, but a lost
    /// acceptance would break the promise to the caller. Any other setting is the host's decision and stays.
    fn flushing<T>(&self, write: impl FnOnce() -> Result<T, SqliteError>) -> Result<T, SqliteError> {
        let set = |setting: i64| self.connection.pragma_update(None, SYNCHRONOUS, setting);
        let current: i64 = self.connection.pragma_query_value(None, SYNCHRONOUS, |row| row.get(0))?;
        if current != NORMAL {
            return write();
        }
        set(FULL)?;
        let written = write();
        set(NORMAL)?;
        written
    }
}

impl Repository for SqliteRepository {
    fn reference_data(&mut self, query: &ReferenceQuery) -> Result<ReferenceData, RepositoryError> {
        Ok(self.reading(|connection| read::reference_data(connection, query))?)
    }

    fn load(&mut self, query: &SnapshotQuery) -> Result<Snapshot, RepositoryError> {
        Ok(self.reading(|connection| read::load(connection, query))?)
    }

    fn commit(&mut self, changes: &ChangeSet) -> Result<(), RepositoryError> {
        Ok(self.writing(|connection| write::commit(connection, changes, write::Transaction::Own))?)
    }
}

impl Inbox for SqliteRepository {
    fn insert(&mut self, command: &EnrollmentCommand) -> Result<Option<StoredEnrollment>, RepositoryError> {
        Ok(self.flushing(|| self.writing(|connection| inbox::insert(connection, command)))?)
    }

    fn find(
        &mut self,
        organization_id: OrganizationId,
        enrollment_id: EnrollmentId,
    ) -> Result<Option<InboxEntry>, RepositoryError> {
        Ok(self.reading(|connection| inbox::find(connection, organization_id, enrollment_id))?)
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

/// The path and the identity of the database file at the time it was opened.
#[derive(Debug)]
struct DatabaseFile {
    path: PathBuf,
    identity: Identity,
}

impl DatabaseFile {
    /// Returns `None` for a database in memory, or if the path does not name a file.
    fn new(connection: &Connection) -> Option<Self> {
        let path = PathBuf::from(connection.path().filter(|path| !path.is_empty())?);
        let identity = file_identity(&path)?;
        Some(Self { path, identity })
    }

    fn is_gone(&self) -> bool {
        file_identity(&self.path) != Some(self.identity)
    }
}

#[cfg(unix)]
type Identity = (u64, u64);
#[cfg(not(unix))]
type Identity = ();

#[cfg(unix)]
fn file_identity(path: &Path) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt;
    let metadata = path.metadata().ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// On other systems, an open file cannot be moved or replaced.
#[cfg(not(unix))]
fn file_identity(path: &Path) -> Option<Identity> {
    path.exists().then_some(())
}

/// Sets WAL mode, which the file keeps.
///
/// Retries, because SQLite ignores the busy timeout here: if two connections set the mode of a new file at the same time,
/// one of them fails immediately.
fn use_wal(connection: &Connection) -> Result<(), SqliteError> {
    let until = Instant::now() + BUSY_TIMEOUT;
    loop {
        match connection.query_row("pragma journal_mode = wal", [], |_| Ok(())).map_err(SqliteError::from) {
            Err(SqliteError::Busy) if Instant::now() < until => thread::sleep(Duration::from_millis(1)),
            result => return result,
        }
    }
}

const SYNCHRONOUS: &str = "synchronous";
const NORMAL: i64 = 1;
const FULL: i64 = 2;
/// More than the number of statements in this crate.
const CACHED_STATEMENTS: usize = 128;
/// Temporary storage is in memory because SQLite saves the old pages of a statement there. In files, a commit would take
/// twice the time.
const SETTINGS: &str = "
    pragma foreign_keys = on;
    pragma synchronous = normal;
    pragma temp_store = memory;
    pragma cache_size = -65536;
    pragma wal_autocheckpoint = 10000;
";

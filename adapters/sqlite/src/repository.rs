//! A repository with a connection of its own.

use enroll::changes::ChangeSet;
use enroll::inbox::{Claim, Failure, Inbox, InboxEntry};
use enroll::query::{ReferenceQuery, SnapshotQuery};
use enroll::repository::{Repository, RepositoryError};
use enroll::snapshot::{ReferenceData, Snapshot};
use enroll::stored_enrollment::StoredEnrollment;
use enroll::{EnrollmentCommand, EnrollmentId, OrganizationId, Timestamp};
use rusqlite::config::DbConfig;
use rusqlite::vtab::array;
use rusqlite::{Connection, MAIN_DB, Transaction, TransactionBehavior};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::SqliteError;
use crate::{inbox, read, schema, write};

/// A SQLite database as a repository, on one connection.
///
/// Each load is one read transaction, each commit one `begin immediate`. One writer commits at a time, and the others
/// wait, [`BUSY_TIMEOUT`] at most; in WAL mode readers wait for nobody. Further handles are further connections.
///
/// It is an [`Inbox`] too: any number of processes on one file share the work. What was accepted is on the disk when
/// `insert` returns, also under `synchronous = normal`.
#[derive(Debug)]
pub struct SqliteRepository {
    connection: Connection,
    file: Option<File>,
}

/// How long a commit waits for other writers.
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

impl SqliteRepository {
    /// Opens a file, or makes it; brings its schema up to date.
    ///
    /// A file that can only be read is opened too, if it has the schema; commits then fail with
    /// [`SqliteError::ReadOnly`].
    ///
    /// # Errors
    /// [`SqliteError`] says what stands in the way, and what to do about it.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, SqliteError> {
        let path = path.as_ref();
        let connection = Connection::open(path).map_err(|e| SqliteError::from(e).with_path(path))?;
        Self::from_connection(connection).map_err(|e| e.with_path(path))
    }

    /// A database in memory, gone with the repository.
    ///
    /// # Errors
    /// [`SqliteError`] if there is no memory for it.
    pub fn open_in_memory() -> Result<Self, SqliteError> {
        Self::from_connection(Connection::open_in_memory()?)
    }

    /// Takes a connection over: brings the schema up to date, and sets WAL mode, `synchronous = normal`, foreign keys,
    /// [`BUSY_TIMEOUT`], a cache of 64 MB, temporary storage in memory, a checkpoint every 10 000 pages, and plans that do
    /// not hang on bound values.
    /// Temporary tables that stand are lost. Whatever should be otherwise can be set on [`connection`](Self::connection) afterwards.
    ///
    /// # Errors
    /// [`SqliteError`], as for [`open`](Self::open).
    pub fn from_connection(connection: Connection) -> Result<Self, SqliteError> {
        connection.busy_timeout(BUSY_TIMEOUT)?;
        // Otherwise each new binding of a statement may plan it anew, once the database was analyzed.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        connection.execute_batch(SETTINGS)?;
        array::load_module(&connection)?;
        if !connection.is_readonly(MAIN_DB)? {
            use_wal(&connection)?;
        }
        schema::migrate(&connection)?;
        let file = File::of(&connection);
        Ok(Self { connection, file })
    }

    /// The connection, to read and write the host's own way. What it begins it must end before the next call.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// The connection, to go on with.
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
        // In WAL mode SQLite itself would go on writing to a file that nobody finds any more.
        if self.file.as_ref().is_some_and(File::is_gone) {
            return Err(SqliteError::Moved);
        }
        transaction.commit()?;
        Ok(written)
    }

    /// Writes to the disk what `write` commits. Under `synchronous = normal` a power cut may take back the last commits:
    /// a completion is then done over, but what was accepted would be gone. Another setting is the host's own choice.
    fn flushing<T>(&self, write: impl FnOnce() -> Result<T, SqliteError>) -> Result<T, SqliteError> {
        let set = |setting: i64| self.connection.pragma_update(None, SYNCHRONOUS, setting);
        let stands: i64 = self.connection.pragma_query_value(None, SYNCHRONOUS, |row| row.get(0))?;
        if stands != NORMAL {
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

/// The file of a connection as it was when it was opened.
#[derive(Debug)]
struct File {
    path: PathBuf,
    identity: Identity,
}

impl File {
    /// None in memory, and none where the name is no file's.
    fn of(connection: &Connection) -> Option<Self> {
        let path = PathBuf::from(connection.path().filter(|path| !path.is_empty())?);
        let identity = identity(&path)?;
        Some(Self { path, identity })
    }

    fn is_gone(&self) -> bool {
        identity(&self.path) != Some(self.identity)
    }
}

#[cfg(unix)]
type Identity = (u64, u64);
#[cfg(not(unix))]
type Identity = ();

#[cfg(unix)]
fn identity(path: &Path) -> Option<Identity> {
    use std::os::unix::fs::MetadataExt;
    let metadata = path.metadata().ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// Elsewhere a file that is open is neither moved nor replaced.
#[cfg(not(unix))]
fn identity(path: &Path) -> Option<Identity> {
    path.exists().then_some(())
}

/// The mode stays with the file. Two that switch a fresh one at once do not wait for each other: one is refused at once,
/// whatever the busy timeout.
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
/// More than there are statements in this crate.
const STATEMENTS: usize = 128;
/// A statement on a table with triggers, or for many rows, saves each page that it changes, to be able to take itself back:
/// in files, that would double the time of a commit.
const SETTINGS: &str = "
    pragma foreign_keys = on;
    pragma synchronous = normal;
    pragma temp_store = memory;
    pragma cache_size = -65536;
    pragma wal_autocheckpoint = 10000;
";

//! A repository that owns its connection.

use enroll::erase::{EraseError, EraseMode, Erased, PersonQuery};
use enroll::events::{Event, EventLog, EventPosition};
use enroll::inbox::{Claim, Failure, InboxEntry, Removed, Retention};
use enroll::{
    ChangeSet, EnrollmentCommand, EnrollmentId, Inbox, OrganizationId, ReferenceData, ReferenceQuery, Repository,
    RepositoryError, Snapshot, SnapshotQuery, StoredEnrollment, Timestamp,
};
use rusqlite::config::DbConfig;
use rusqlite::vtab::array;
use rusqlite::{Connection, MAIN_DB, OpenFlags, Transaction, TransactionBehavior};
use std::num::NonZeroU32;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::error::SqliteError;
use crate::file::{self, DatabaseFile};
use crate::trace::{Attempts, call};
use crate::{erase, events, inbox, read, retention, schema, write};

/// A repository and inbox on one connection to a SQLite database.
///
/// Each load is one read transaction. Each commit is one transaction that begins with `begin immediate`. One connection
/// writes at a time. The other repositories of this process on the same file wait in the order of their calls, other
/// processes by polling, each up to [`BUSY_TIMEOUT`]. In WAL mode, reads never wait. For another handle, open the file
/// again, or use a [`SqliteFile`](crate::SqliteFile).
///
/// Every call fails with [`SqliteError::Moved`] if the path no longer names the open file.
///
/// As an [`Inbox`], it lets several processes share the work on one file. When `insert` returns, the accepted enrollment
/// is on the disk, even with `synchronous = normal`.
///
/// ```
/// use enroll::{EnrollmentId, Inbox, OrganizationId};
/// use enroll_sqlite::{SqliteError, SqliteRepository};
/// use uuid::Uuid;
///
/// let folder = tempfile::tempdir()?;
/// let mut repository = SqliteRepository::open(folder.path().join("enroll.db"))?;
/// let organization_id = OrganizationId::from_uuid(Uuid::from_u128(1));
/// let enrollment_id = EnrollmentId::from_idempotency_key(organization_id, "request-1");
/// assert_eq!(repository.find(organization_id, enrollment_id)?, None);
///
/// // The host uses the same connection for its own SQL.
/// let contacts = repository.read(|connection| {
///     let sql = "select count(*) from enroll_contacts";
///     Ok::<i64, SqliteError>(connection.query_row(sql, [], |row| row.get(0))?)
/// })?;
/// assert_eq!(contacts, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct SqliteRepository {
    connection: Connection,
    file: Option<DatabaseFile>,
    attempts: Attempts,
}

/// The longest time that a commit waits for the other writers of its process, and then for other processes.
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

impl SqliteRepository {
    /// Opens or creates a database file, and upgrades its schema.
    ///
    /// Only the owner can read and write a file that this function creates, and the files that SQLite creates next to it.
    /// A `file:` URI opens an existing file.
    ///
    /// A new file has pages of 8 KB: with SQLite's 4 KB, a request becomes slower as the data grows. The settings are those of
    /// [`from_connection`](Self::from_connection).
    ///
    /// A read-only file can be opened if it has the schema. Commits then fail with [`SqliteError::ReadOnly`].
    ///
    /// # Errors
    /// [`SqliteError`] if the file cannot be opened, is not a database, or has a newer schema.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, SqliteError> {
        let path = path.as_ref();
        file::create(path).map_err(|_| SqliteError::CannotOpen { path: Some(path.to_owned()) })?;
        Self::open_existing(path)
    }

    /// Opens a database file, and upgrades its schema. Never creates a file.
    ///
    /// # Errors
    /// [`SqliteError::CannotOpen`] if the file does not exist, else as for [`open`](Self::open).
    pub fn open_existing(path: impl AsRef<Path>) -> Result<Self, SqliteError> {
        Self::open_with_flags(path.as_ref(), file::EXISTING)
    }

    pub(crate) fn open_with_flags(name: &Path, flags: OpenFlags) -> Result<Self, SqliteError> {
        let opened = Connection::open_with_flags(name, flags).map_err(SqliteError::from);
        opened.and_then(|connection| Self::configure(connection, Some(name))).map_err(|e| e.with_path(name))
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
    /// - WAL mode, a checkpoint every 5000 pages, and `synchronous = normal`
    /// - foreign keys
    /// - `secure_delete = on`, so that no deleted text stays in the file
    /// - [`BUSY_TIMEOUT`]
    /// - a cache of 64 MB, and temporary storage in memory
    /// - query plans that do not depend on bound values
    ///
    /// To change one of them, use [`connection`](Self::connection) afterwards.
    ///
    /// # Errors
    /// [`SqliteError`], as for [`open`](Self::open).
    pub fn from_connection(connection: Connection) -> Result<Self, SqliteError> {
        Self::configure(connection, None)
    }

    fn configure(connection: Connection, name: Option<&Path>) -> Result<Self, SqliteError> {
        connection.busy_timeout(BUSY_TIMEOUT)?;
        // Without it, SQLite may prepare a statement again for each new binding after `analyze`.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
        connection.execute_batch(SETTINGS)?;
        array::load_module(&connection)?;
        if !connection.is_readonly(MAIN_DB)? {
            // On another file, it would set the size of copies by `vacuum into`.
            if name.is_some() && is_empty(&connection)? {
                connection.pragma_update(None, "page_size", PAGE_SIZE)?;
            }
            use_wal(&connection)?;
        }
        schema::migrate(&connection)?;
        let file = DatabaseFile::of(&connection, name);
        Ok(Self { connection, file, attempts: Attempts::default() })
    }

    /// Runs the host's own reads in one transaction.
    ///
    /// # Errors
    /// Those of `read`, [`SqliteError::Moved`], and those of SQLite.
    pub fn read<T, E: From<SqliteError>>(&self, read: impl FnOnce(&Connection) -> Result<T, E>) -> Result<T, E> {
        if let Some(file) = &self.file {
            file.check()?;
        }
        let transaction = self.begin(TransactionBehavior::Deferred)?;
        let read = read(&transaction)?;
        transaction.commit().map_err(SqliteError::from)?;
        Ok(read)
    }

    /// Runs the host's own writes in one transaction, after the earlier writers of this process. A
    /// [`SqliteTransaction`](crate::SqliteTransaction) on it writes enrollments together with the host's rows.
    ///
    /// Do not write through another repository on the same file meanwhile: it would wait for this one.
    ///
    /// # Errors
    /// Those of `write`, [`SqliteError::Moved`], and those of SQLite. Nothing was written.
    pub fn write<T, E: From<SqliteError>>(&self, write: impl FnOnce(&Transaction<'_>) -> Result<T, E>) -> Result<T, E> {
        let _turn = self.file.as_ref().map(|file| file.wait_for_turn(BUSY_TIMEOUT)).transpose()?;
        let transaction = self.begin(TransactionBehavior::Immediate)?;
        let written = write(&transaction)?;
        // The last moment to notice that the commit would go to another file than the path names.
        if let Some(file) = &self.file {
            file.check()?;
        }
        transaction.commit().map_err(SqliteError::from)?;
        Ok(written)
    }

    /// Runs the host's own writes like [`write`](Self::write), and flushes them to the disk before it returns: a power cut
    /// does not undo them, even with `synchronous = normal`.
    ///
    /// # Errors
    /// Those of [`write`](Self::write).
    pub fn write_flushed<T, E: From<SqliteError>>(
        &self,
        write: impl FnOnce(&Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.flushing(|| self.write(write))
    }

    /// Begins a transaction, and checks that the schema has the version of this build.
    fn begin(&self, behavior: TransactionBehavior) -> Result<Transaction<'_>, SqliteError> {
        let transaction = Transaction::new_unchecked(&self.connection, behavior)?;
        schema::check(&transaction)?;
        Ok(transaction)
    }

    /// Removes the commands and outcomes that are older than the retention, of up to [`Retention::BATCH`] enrollments of
    /// each kind. Call it again while [`Removed::is_full`].
    ///
    /// Several processes can call it at the same time.
    ///
    /// # Errors
    /// [`RepositoryError`] if the storage fails.
    pub fn remove_expired(&mut self, retention: &Retention) -> Result<Removed, RepositoryError> {
        call!("remove_expired", self.write(|connection| retention::remove_expired(connection, retention)))
    }

    /// Turns events on or off, for all writers of the database. They are off in a new database.
    ///
    /// Events that are stored stay. While events are off, no event is written: a reader does not see what happens then.
    ///
    /// # Errors
    /// [`RepositoryError`] if the storage fails.
    pub fn enable_events(&mut self, enabled: bool) -> Result<(), RepositoryError> {
        call!("enable_events", self.write(|connection| events::enable(connection, enabled)))
    }

    /// Returns whether events are on.
    ///
    /// # Errors
    /// [`RepositoryError`] if the storage fails.
    pub fn events_enabled(&self) -> Result<bool, RepositoryError> {
        call!("events_enabled", self.read(events::enabled))
    }

    /// Erases a person of an organization: the contact, its related rows, its recipients in stored commands, and its ids and
    /// values in outcomes. With [`EraseMode::Preview`], counts them and writes nothing.
    ///
    /// The bytes are overwritten in the file. The log of the database is emptied, for which other connections may have to
    /// end their reads: it waits up to [`BUSY_TIMEOUT`]. If that is not enough, the function fails with
    /// [`SqliteError::Busy`] after it erased the rows, and a later checkpoint empties the log.
    ///
    /// # Errors
    /// [`EraseError`]. Nothing was erased, except after [`SqliteError::Busy`].
    pub fn erase(
        &mut self,
        organization_id: OrganizationId,
        query: &PersonQuery,
        mode: EraseMode,
    ) -> Result<Erased, EraseError> {
        let mut counted = None;
        let erased = self.write(|connection| {
            let erased = erase::erase(connection, organization_id, query)?;
            match mode {
                EraseMode::Confirmed => Ok(erased),
                // The error rolls the transaction back.
                EraseMode::Preview => Err(erase::Failure(EraseError::NotFound)).inspect_err(|_| counted = Some(erased)),
            }
        });
        if let Some(counted) = counted {
            return Ok(counted);
        }
        let erased = erased.map_err(|failure| failure.0)?;
        self.empty_log().map_err(RepositoryError::from)?;
        Ok(erased)
    }

    /// Moves the log into the file, and makes it empty. So the log has no bytes of rows that the host removed.
    ///
    /// # Errors
    /// [`SqliteError::Busy`] if other connections do not end their reads within [`BUSY_TIMEOUT`].
    pub fn empty_log(&self) -> Result<(), SqliteError> {
        let busy: bool = self.connection.query_row("pragma wal_checkpoint(truncate)", [], |row| row.get(0))?;
        if busy { Err(SqliteError::Busy) } else { Ok(()) }
    }

    /// Returns the connection for the host's own SQL.
    ///
    /// The host must end its transactions before the next call of this repository. [`read`](Self::read) and
    /// [`write`](Self::write) also check the file, and wait for other writers without polling.
    #[must_use]
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Returns the connection, and ends the repository.
    #[must_use]
    pub fn into_connection(self) -> Connection {
        self.connection
    }

    pub(crate) fn file(&self) -> Option<&DatabaseFile> {
        self.file.as_ref()
    }

    /// Flushes the commit of `write` to the disk.
    ///
    /// With `synchronous = normal`, a power cut may undo the last commits. A lost completion is repeated, but a lost
    /// acceptance would break the promise to the caller. Any other setting is the host's decision and stays.
    fn flushing<T, E: From<SqliteError>>(&self, write: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
        let set = |setting: i64| self.connection.pragma_update(None, SYNCHRONOUS, setting).map_err(SqliteError::from);
        let current = self.connection.pragma_query_value(None, SYNCHRONOUS, |row| row.get::<_, i64>(0));
        if current.map_err(SqliteError::from)? != NORMAL {
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
        call!("reference_data", self.read(|connection| read::reference_data(connection, query)))
    }

    fn load(&mut self, query: &SnapshotQuery) -> Result<Snapshot, RepositoryError> {
        call!("load", self.read(|connection| read::load(connection, query)))
    }

    fn commit(&mut self, changes: &ChangeSet) -> Result<(), RepositoryError> {
        self.attempts
            .commit(changes, || self.write(|connection| write::commit(connection, changes, write::Transaction::Own)))
    }
}

impl Inbox for SqliteRepository {
    fn insert(&mut self, command: &EnrollmentCommand) -> Result<Option<StoredEnrollment>, RepositoryError> {
        call!("insert", self.write_flushed(|connection| inbox::insert(connection, command)))
    }

    fn find(
        &mut self,
        organization_id: OrganizationId,
        enrollment_id: EnrollmentId,
    ) -> Result<Option<InboxEntry>, RepositoryError> {
        call!("find", self.read(|connection| inbox::find(connection, organization_id, enrollment_id)))
    }

    fn claim(&mut self, lease: Duration) -> Result<Option<Claim>, RepositoryError> {
        call!("claim", self.write(|connection| inbox::claim(connection, lease)))
    }

    fn record_failure(&mut self, claim: &Claim, failure: &Failure) -> Result<(), RepositoryError> {
        call!("record_failure", self.write(|connection| inbox::record_failure(connection, claim, failure)))
    }

    fn release(&mut self, claim: &Claim, delay: Duration) -> Result<(), RepositoryError> {
        call!("release", self.write(|connection| inbox::release(connection, claim, delay)))
    }

    fn retry(&mut self, organization_id: OrganizationId, enrollment_id: EnrollmentId) -> Result<bool, RepositoryError> {
        call!("retry", self.write(|connection| inbox::retry(connection, organization_id, enrollment_id)))
    }
}

impl EventLog for SqliteRepository {
    fn events(&mut self, after: EventPosition, limit: NonZeroU32) -> Result<Vec<Event>, RepositoryError> {
        call!("events", self.read(|connection| events::read(connection, after, limit)))
    }

    fn prune_events(&mut self, before: Timestamp, limit: NonZeroU32) -> Result<u64, RepositoryError> {
        call!("prune_events", self.write(|connection| events::prune(connection, before, limit)))
    }
}

fn is_empty(connection: &Connection) -> Result<bool, SqliteError> {
    Ok(connection.pragma_query_value(None, "page_count", |row| row.get::<_, i64>(0))? == 0)
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

/// In bytes. The trees of large tables have a level less than with 4 KB. 16 KB was not faster.
const PAGE_SIZE: i64 = 8192;
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
    pragma secure_delete = on;
    pragma temp_store = memory;
    pragma cache_size = -65536;
    pragma wal_autocheckpoint = 5000;
";

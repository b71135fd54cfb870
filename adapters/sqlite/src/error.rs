//! What can go wrong with a SQLite database, by its codes.

use enroll::changes::Conflict;
use enroll::repository::{RepositoryError, RepositoryErrorKind};
use rusqlite::{ErrorCode, ffi};
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// Why the database did not do as asked, and what to do about it.
///
/// [`RepositoryError::inner`] of each error of this crate is one; get it with `downcast_ref`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SqliteError {
    /// Something that the change set rests on is no longer true.
    #[error("{0}: load and plan again")]
    Conflict(#[from] Conflict),
    /// A constraint of the schema refused what may stand only once.
    #[error("{0} stands already, and there can be one: load and plan again")]
    NotUnique(&'static str),
    /// A row stands under an id that was derived for a new one.
    #[error("a row under the derived id `{0}` exists already: give the enrollment an id that none had before")]
    IdExists(Uuid),
    /// Another connection held the lock for longer than the busy timeout.
    #[error("another writer held the database for more than the busy timeout: try again")]
    Busy,
    /// A transaction of the host had read before another writer wrote, so it can no longer write.
    #[error(
        "another writer wrote since the transaction began to read: begin it with `TransactionBehavior::Immediate`, \
         and do it over"
    )]
    StaleTransaction,
    /// The file, its folder or the connection cannot be written.
    #[error("the database is read-only: open it where it can be written")]
    ReadOnly,
    /// The file is no longer where it was opened.
    #[error("the database file was moved or deleted: put it back and open it again")]
    Moved,
    /// There is no room for what is to be written.
    #[error("the disk or the database is full: make room and try again")]
    Full,
    /// There is no memory for what is to be done.
    #[error("out of memory: free some and try again")]
    OutOfMemory,
    /// The operating system failed to read or write.
    #[error("the database file could not be read or written: check the disk and try again")]
    Io(#[source] rusqlite::Error),
    /// The file is damaged.
    #[error("the database file is damaged: restore it from a backup")]
    Damaged(#[source] rusqlite::Error),
    /// The file is something else.
    #[error("the file is no SQLite database: name another one, or a new one")]
    NotADatabase,
    /// There is no such file, and none can be made there.
    #[error("{} cannot be opened: see that its folder exists and can be written", named(path.as_deref()))]
    CannotOpen {
        /// The file, if it is known.
        path: Option<PathBuf>,
    },
    /// A later version of this crate wrote the schema.
    #[error("the schema is of version {found}, this build knows {known}: use a newer `enroll-sqlite`")]
    NewerSchema {
        /// The version of the database.
        found: i64,
        /// The latest version that this build knows.
        known: i64,
    },
    /// The schema is not there, or is an older one.
    #[error("the database lacks the tables of `enroll`: call `migrate`, or open it once where it can be written")]
    NoSchema,
    /// A stored value is none that the engine takes.
    #[error("a stored row cannot be read, set it right: {0}")]
    Row(#[source] rusqlite::Error),
    /// A value has no JSON.
    #[error("a value cannot be stored as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// The enrollment is in a state that this build cannot store.
    #[error("the enrollment is in a state that this build does not know: use a newer `enroll-sqlite`")]
    UnknownState,
    /// Anything else.
    #[error("SQLite refused, see to its reason: {0}")]
    Sqlite(#[source] rusqlite::Error),
}

impl SqliteError {
    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> RepositoryErrorKind {
        match self {
            Self::Conflict(_) | Self::NotUnique(_) => RepositoryErrorKind::Conflict,
            Self::Busy | Self::Full | Self::OutOfMemory | Self::Io(_) => RepositoryErrorKind::Unavailable,
            _ => RepositoryErrorKind::Other,
        }
    }

    /// The same, of the file that was to be opened.
    pub(crate) fn of(self, file: &Path) -> Self {
        match self {
            Self::CannotOpen { .. } => Self::CannotOpen { path: Some(file.to_owned()) },
            other => other,
        }
    }
}

/// By the codes alone: what a message says may change.
impl From<rusqlite::Error> for SqliteError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::Error as E;
        let failure = match &error {
            E::SqliteFailure(failure, _) => *failure,
            E::FromSqlConversionFailure(..)
            | E::InvalidColumnType(..)
            | E::IntegralValueOutOfRange(..)
            | E::Utf8Error(..) => return Self::Row(error),
            _ => return Self::Sqlite(error),
        };
        match failure.extended_code {
            ffi::SQLITE_BUSY_SNAPSHOT => return Self::StaleTransaction,
            ffi::SQLITE_CONSTRAINT_UNIQUE => return Self::NotUnique("a row"),
            ffi::SQLITE_IOERR_NOMEM => return Self::OutOfMemory,
            ffi::SQLITE_READONLY_DBMOVED => return Self::Moved,
            _ => {}
        }
        match failure.code {
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed => Self::Busy,
            ErrorCode::ReadOnly => Self::ReadOnly,
            ErrorCode::DiskFull => Self::Full,
            ErrorCode::OutOfMemory => Self::OutOfMemory,
            ErrorCode::SystemIoFailure => Self::Io(error),
            ErrorCode::DatabaseCorrupt => Self::Damaged(error),
            ErrorCode::NotADatabase => Self::NotADatabase,
            ErrorCode::CannotOpen => Self::CannotOpen { path: None },
            _ => Self::Sqlite(error),
        }
    }
}

impl From<SqliteError> for RepositoryError {
    fn from(error: SqliteError) -> Self {
        Self::new(error.kind(), error)
    }
}

/// The code that tells one refusal from another, where SQLite itself refused.
pub(crate) fn extended_code(error: &rusqlite::Error) -> Option<i32> {
    error.sqlite_error().map(|failure| failure.extended_code)
}

fn named(path: Option<&Path>) -> String {
    path.map_or_else(|| "the database file".to_owned(), |path| format!("`{}`", path.display()))
}

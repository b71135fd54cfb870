//! The error type, classified by SQLite's error codes.

use enroll::changes::Conflict;
use enroll::{RepositoryError, RepositoryErrorKind};
use rusqlite::{ErrorCode, ffi};
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// An error of the database, with what to do about it.
///
/// Each [`RepositoryError`] of this crate contains one: use [`RepositoryError::inner`] and `downcast_ref`.
///
/// The text names SQLite's code, the table, and the column or the constraint. It contains no value of a row, so a host can
/// log it. It has SQLite's own message only for six codes of constraints: in other messages, a trigger of the host may quote a
/// row.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SqliteError {
    /// A fact that the change set depends on has changed.
    #[error("the data changed after it was loaded: load and plan again")]
    Conflict(#[from] Conflict),
    /// A unique constraint of the schema refused a row.
    #[error("{0} already exists: load and plan again")]
    NotUnique(&'static str),
    /// A row with the id that was derived for a new row exists already.
    #[error("a row with the derived id `{0}` already exists: use an enrollment id that was never used before")]
    IdExists(Uuid),
    /// Another connection held the lock for longer than the busy timeout.
    #[error("another connection locked the database for longer than the busy timeout: try again")]
    Busy,
    /// The host's transaction read before another connection wrote, so it can no longer write.
    #[error(
        "another connection wrote after the transaction began to read: begin it with `TransactionBehavior::Immediate`, \
         and repeat it"
    )]
    StaleTransaction,
    /// The host's connection is not inside a transaction, or SQLite ended the transaction after an error.
    #[error(
        "no transaction is open on the connection: begin one with `begin immediate`, and end it after the last call; if one \
         was open, SQLite has rolled it back, so repeat it from its begin"
    )]
    NoTransaction,
    /// The file, its folder or the connection is read-only.
    #[error("the database is read-only: open it with write access")]
    ReadOnly,
    /// The file was moved, deleted or replaced after it was opened.
    #[error("the database file was moved, deleted or replaced: put it back, or restart with the new one")]
    Moved,
    /// A database in memory has no file that several handles could share.
    #[error("a database in memory has no file to share: open a file")]
    NoFile,
    /// The disk is full, or the database reached its maximum size.
    #[error("the disk or the database is full: make room and try again")]
    Full,
    /// The host interrupted the statement.
    #[error("the statement was interrupted: try again, or ask for less")]
    Interrupted,
    /// SQLite could not allocate memory.
    #[error("SQLite is out of memory: free some and try again")]
    OutOfMemory,
    /// The operating system failed to read or write.
    #[error("the database file could not be read or written: check the disk and try again ({})", describe(.0))]
    Io(rusqlite::Error),
    /// The file is damaged.
    #[error("the database file is damaged: restore it from a backup ({})", describe(.0))]
    Damaged(rusqlite::Error),
    /// The file has another format.
    #[error("the file is not a SQLite database: choose another file name")]
    NotADatabase,
    /// The file does not exist, or cannot be created or opened.
    #[error("{} cannot be opened: check that its folder exists and is writable, and that the file can be read", show(path.as_deref()))]
    CannotOpen {
        /// The file, if it is known.
        path: Option<PathBuf>,
    },
    /// A later version of this crate migrated the schema.
    #[error("the schema has version {found}, but this build supports {known}: use a newer `enroll-sqlite`")]
    NewerSchema {
        /// The version of the database.
        found: i64,
        /// The latest version that this build supports.
        known: i64,
    },
    /// The schema does not exist, or is older.
    #[error("the database lacks the tables of `enroll`: call `migrate`, or open it once with write access")]
    NoSchema,
    /// A stored value is not valid for the engine.
    #[error("{place} has a value that is not valid: correct it")]
    Row {
        /// The column and the table, as far as they are known.
        place: String,
    },
    /// A value could not be converted to JSON.
    #[error("a value could not be converted to JSON")]
    Json(#[from] serde_json::Error),
    /// This build cannot store the state of the enrollment.
    #[error("the enrollment has a state that this build does not know: use a newer `enroll-sqlite`")]
    UnknownState,
    /// Any other error of SQLite. The error in it has SQLite's own message.
    #[error("SQLite failed: {}", describe(.0))]
    Sqlite(rusqlite::Error),
}

impl SqliteError {
    /// Returns the kind, which decides what a caller can do.
    #[must_use]
    pub fn kind(&self) -> RepositoryErrorKind {
        match self {
            Self::Conflict(_) | Self::NotUnique(_) => RepositoryErrorKind::Conflict,
            Self::Busy
            | Self::StaleTransaction
            | Self::ReadOnly
            | Self::Moved
            | Self::Full
            | Self::Interrupted
            | Self::OutOfMemory
            | Self::Io(_)
            | Self::CannotOpen { .. } => RepositoryErrorKind::Unavailable,
            _ => RepositoryErrorKind::Other,
        }
    }

    /// Returns the error of a row that a statement read. It names the column, and the table of the statement.
    pub(crate) fn from_row(error: rusqlite::Error, row: &rusqlite::Row<'_>, sql: &str) -> Self {
        let Some(index) = invalid_column(&error) else { return error.into() };
        // Each statement reads one table, and no other word has this prefix.
        let table = sql.split([' ', '.', ',']).find(|word| word.starts_with("enroll_")).unwrap_or("a table");
        let place = match row.as_ref().column_name(index) {
            Ok(column) => format!("column `{column}` of `{table}`"),
            Err(_) => format!("a row of `{table}`"),
        };
        Self::Row { place }
    }

    /// Adds the file that was to be opened.
    pub(crate) fn with_path(self, file: &Path) -> Self {
        match self {
            Self::CannotOpen { .. } => Self::CannotOpen { path: Some(file.to_owned()) },
            other => other,
        }
    }
}

/// Classifies by the error codes alone: the texts may change.
impl From<rusqlite::Error> for SqliteError {
    fn from(error: rusqlite::Error) -> Self {
        let Some(&failure) = error.sqlite_error() else {
            return match invalid_column(&error) {
                Some(UNKNOWN_COLUMN) => Self::Row { place: "a row".to_owned() },
                Some(index) => Self::Row { place: format!("column {} of a row", index + 1) },
                None => Self::Sqlite(error),
            };
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
            ErrorCode::OperationInterrupted => Self::Interrupted,
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

/// Returns SQLite's extended error code, if the error is SQLite's.
pub(crate) fn extended_code(error: &rusqlite::Error) -> Option<i32> {
    error.sqlite_error().map(|failure| failure.extended_code)
}

/// Returns the index of a column whose value is not valid. It may be `UNKNOWN_COLUMN`.
fn invalid_column(error: &rusqlite::Error) -> Option<usize> {
    use rusqlite::Error as E;
    match error {
        E::FromSqlConversionFailure(index, ..)
        | E::IntegralValueOutOfRange(index, _)
        | E::InvalidColumnType(index, ..)
        | E::Utf8Error(index, _) => Some(*index),
        _ => None,
    }
}

/// Describes an error without any value of a row.
///
/// SQLite's message is added only if its code says that SQLite wrote it: then it names a table, and a column or a
/// constraint.
fn describe(error: &rusqlite::Error) -> String {
    let Some(failure) = error.sqlite_error() else { return "its driver refused the statement".to_owned() };
    let code = failure.extended_code;
    let text = format!("{}, code {code}", ffi::code_to_str(code));
    match error {
        rusqlite::Error::SqliteFailure(_, Some(message)) if OWN_MESSAGES.contains(&code) => {
            format!("{message}; {text}")
        }
        _ => text,
    }
}

fn show(path: Option<&Path>) -> String {
    path.map_or_else(|| "the database file".to_owned(), |path| format!("`{}`", path.display()))
}

/// The index that `rusqlite` uses for an unknown column.
const UNKNOWN_COLUMN: usize = usize::MAX;
/// The codes of errors that a trigger of the host cannot raise.
const OWN_MESSAGES: [i32; 6] = [
    ffi::SQLITE_CONSTRAINT_CHECK,
    ffi::SQLITE_CONSTRAINT_DATATYPE,
    ffi::SQLITE_CONSTRAINT_FOREIGNKEY,
    ffi::SQLITE_CONSTRAINT_NOTNULL,
    ffi::SQLITE_CONSTRAINT_PRIMARYKEY,
    ffi::SQLITE_CONSTRAINT_UNIQUE,
];

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::Connection;

    #[test]
    fn the_messages_of_sqlite_that_are_shown_quote_no_value() {
        let connection = Connection::open_in_memory().unwrap();
        let schema = "pragma foreign_keys = on;
            create table parents (id integer primary key, name text unique);
            create table children (
                id integer primary key, name text not null check (length(name) < 9), parent integer references parents
            );
            create table strict_rows (number integer) strict;
            insert into parents values (7151, 'secret');";
        connection.execute_batch(schema).unwrap();
        for (sql, code) in [
            ("insert into children (name) values ('secret' || 'ive')", ffi::SQLITE_CONSTRAINT_CHECK),
            ("insert into strict_rows values ('sec' || 'ret')", ffi::SQLITE_CONSTRAINT_DATATYPE),
            ("insert into children (name, parent) values ('secret', 7152)", ffi::SQLITE_CONSTRAINT_FOREIGNKEY),
            ("insert into children (id, parent) values (7151, 7151)", ffi::SQLITE_CONSTRAINT_NOTNULL),
            ("insert into parents values (7151, 'other')", ffi::SQLITE_CONSTRAINT_PRIMARYKEY),
            ("insert into parents values (7152, 'secret')", ffi::SQLITE_CONSTRAINT_UNIQUE),
        ] {
            let error = connection.execute(sql, []).unwrap_err();
            assert_eq!(extended_code(&error), Some(code), "{sql}: {error:?}");
            assert!(OWN_MESSAGES.contains(&code));
            let texts = [describe(&error), RepositoryError::from(SqliteError::from(error)).to_string()];
            println!("{texts:?}");
            for value in ["secret", "7151", "7152"] {
                assert!(texts.iter().all(|text| !text.contains(value)), "{texts:?}");
            }
        }
        // A statement that cannot be prepared is not quoted either: a host may have written a value into it.
        let error = connection.execute("delete from parents where name = secret", []).unwrap_err();
        assert_eq!(describe(&error), "its driver refused the statement");
    }
}

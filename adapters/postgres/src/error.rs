//! The error type, classified by PostgreSQL's error codes.

use enroll::changes::Conflict;
use enroll::{RepositoryError, RepositoryErrorKind};
use std::error::Error;
use std::io;
use tokio_postgres::error::{DbError, SqlState};

/// An error of the database, with what to do about it.
///
/// Each [`RepositoryError`] of this crate contains one: use [`RepositoryError::inner`] and `downcast_ref`. The text
/// describes the failure, and [`source`](std::error::Error::source) returns the cause.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostgresError {
    /// A fact that the change set depends on has changed.
    #[error("the data changed after it was loaded: load and plan again")]
    Conflict(#[from] Conflict),
    /// A unique constraint of the schema refused a row.
    #[error("another writer was first, by the constraint `{constraint}`: load and plan again")]
    NotUnique {
        /// The constraint or the unique index.
        constraint: String,
        /// The error of the driver.
        source: tokio_postgres::Error,
    },
    /// A row to update no longer exists.
    #[error("a row of `{table}` no longer exists: load and plan again")]
    RowGone {
        /// The table.
        table: &'static str,
    },
    /// PostgreSQL ended a deadlock, or could not serialize the transaction.
    #[error("the transaction collided with another one: load and plan again")]
    Serialization(#[source] tokio_postgres::Error),
    /// A row with the id that was derived for a new row exists already.
    #[error(
        "a row with a derived id already exists, by the constraint `{constraint}`: \
         use an enrollment id that was never used before"
    )]
    IdExists {
        /// The primary key.
        constraint: String,
        /// The error of the driver.
        source: tokio_postgres::Error,
    },
    /// The connection failed or was lost. A commit may have happened.
    #[error("PostgreSQL cannot be reached: check that it runs and that the address is correct, then try again")]
    Unreachable(#[source] tokio_postgres::Error),
    /// The server starts, stops, or ended the session. A commit may have happened.
    #[error("PostgreSQL is starting or stopping, or ended the session: connect and try again later")]
    ShuttingDown(#[source] tokio_postgres::Error),
    /// A lock was not available in time, or the statement exceeded its timeout.
    #[error("PostgreSQL timed out: try again when the other transaction has ended, or raise the timeout")]
    TimedOut(#[source] tokio_postgres::Error),
    /// The server has no free disk, memory or connection, or a disk failed.
    #[error("PostgreSQL has no free disk, memory or connection, or a disk failed: make room, then try again")]
    Exhausted(#[source] tokio_postgres::Error),
    /// No connection of the pool became free in time.
    #[error("no connection became free in time: try again later, or make the pool larger")]
    PoolTimedOut,
    /// The pool is closed, or its configuration is not complete.
    #[error("the pool returns no connections: build another")]
    Pool(#[source] deadpool_postgres::PoolError),
    /// The pool could not be built.
    #[error("the pool cannot be built: allow at least one connection, and call this inside a Tokio runtime")]
    Build(#[from] deadpool_postgres::BuildError),
    /// The database is a standby, or read-only.
    #[error("the database is read-only: connect to the primary, or grant write access")]
    ReadOnly(#[source] tokio_postgres::Error),
    /// The role lacks a privilege.
    #[error("the role lacks a privilege: grant it usage of the schema `enroll` and its tables, or use the owner")]
    Denied(#[source] tokio_postgres::Error),
    /// The schema, or a part of it, does not exist.
    #[error("the database lacks the schema `enroll` or a part of it: run `enroll_postgres::migrate`")]
    NoSchema(#[source] tokio_postgres::Error),
    /// A later version of this crate migrated the schema.
    #[error("the schema has version {found}, but this build supports {known}: use a newer `enroll-postgres`")]
    NewerSchema {
        /// The version of the database.
        found: i32,
        /// The latest version that this build supports.
        known: i32,
    },
    /// The schema is older than this build needs.
    #[error("the schema has version {found}, but this build needs {known}: run `enroll_postgres::migrate`")]
    OlderSchema {
        /// The version of the database.
        found: i32,
        /// The version that this build needs.
        known: i32,
    },
    /// The host's transaction has an isolation level at which a retry would not see new rows.
    #[error("the transaction has the isolation level `{found}`: begin it at `read committed`")]
    IsolationLevel {
        /// The isolation level of the transaction.
        found: String,
    },
    /// The host's transaction and another one waited for each other, and PostgreSQL ended the wait of this one.
    #[error(
        "the host's transaction collided with another one: roll it back and repeat it, and lock the organization first \
         (`PostgresTransaction::lock`)"
    )]
    Deadlock(#[source] Box<Self>),
    /// The host's transaction had already failed.
    #[error("the transaction has already failed: roll it back and begin another")]
    FailedTransaction(#[source] tokio_postgres::Error),
    /// A stored value is not valid for the engine.
    #[error("`{column}` of a stored row is not valid: correct it")]
    Row {
        /// The column.
        column: String,
        /// The reason.
        source: Box<dyn Error + Send + Sync>,
    },
    /// A row to update or delete does not exist.
    #[error("the row to change does not exist in `{table}`: insert it first")]
    NoSuchRow {
        /// The table.
        table: &'static str,
    },
    /// This build cannot store the state of the enrollment.
    #[error("the enrollment has the state `{state}`, which a commit cannot store: complete or reject it")]
    UnknownState {
        /// The state.
        state: &'static str,
    },
    /// The driver prepared fewer statements than requested.
    #[error("the driver prepared too few statements: report this as a bug")]
    MissingStatement,
    /// Any other error of PostgreSQL or its driver.
    #[error("PostgreSQL failed")]
    Postgres(#[source] tokio_postgres::Error),
}

impl PostgresError {
    /// Converts an error inside a host's transaction. Its locks remain, so another attempt would wait for the same lock.
    pub(crate) fn within_transaction(self) -> Self {
        match self {
            Self::Serialization(_) => Self::Deadlock(Box::new(self)),
            other => other,
        }
    }

    /// Returns the kind, which decides what a caller can do.
    #[must_use]
    pub fn kind(&self) -> RepositoryErrorKind {
        match self {
            Self::Conflict(_) | Self::NotUnique { .. } | Self::RowGone { .. } | Self::Serialization(_) => {
                RepositoryErrorKind::Conflict
            }
            Self::Unreachable(_)
            | Self::ShuttingDown(_)
            | Self::TimedOut(_)
            | Self::Exhausted(_)
            | Self::PoolTimedOut => RepositoryErrorKind::Unavailable,
            _ => RepositoryErrorKind::Other,
        }
    }
}

impl From<PostgresError> for RepositoryError {
    fn from(error: PostgresError) -> Self {
        Self::new(error.kind(), error)
    }
}

/// Classifies by the error codes alone: the texts may change.
impl From<tokio_postgres::Error> for PostgresError {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(database) => classify(&database.clone(), error),
            None if error.is_closed() || is_io(&error) => Self::Unreachable(error),
            None => Self::Postgres(error),
        }
    }
}

impl From<deadpool_postgres::PoolError> for PostgresError {
    fn from(error: deadpool_postgres::PoolError) -> Self {
        match error {
            deadpool_postgres::PoolError::Backend(error) => error.into(),
            deadpool_postgres::PoolError::Timeout(_) => Self::PoolTimedOut,
            error => Self::Pool(error),
        }
    }
}

fn classify(database: &DbError, error: tokio_postgres::Error) -> PostgresError {
    let code = database.code();
    if *code == SqlState::UNIQUE_VIOLATION
        && let (Some("enroll"), Some(constraint)) = (database.schema(), database.constraint())
    {
        let constraint = constraint.to_owned();
        return if CONFLICTS.contains(&&*constraint) {
            PostgresError::NotUnique { constraint, source: error }
        } else {
            PostgresError::IdExists { constraint, source: error }
        };
    }
    match (code.code(), code.code().get(..2)) {
        // Deadlock, serialization failure.
        ("40P01" | "40001", _) => PostgresError::Serialization(error),
        ("40003", _) | (_, Some("08")) => PostgresError::Unreachable(error),
        // Shutdown, crash, startup, and sessions that were idle for too long.
        ("57P01" | "57P02" | "57P03" | "57P05" | "25P03" | "25P04", _) => PostgresError::ShuttingDown(error),
        // Lock timeout, statement timeout.
        ("55P03" | "57014", _) => PostgresError::TimedOut(error),
        ("58000" | "58030", _) | (_, Some("53")) => PostgresError::Exhausted(error),
        ("25006", _) => PostgresError::ReadOnly(error),
        ("42501", _) => PostgresError::Denied(error),
        // A schema, table, column or function does not exist.
        ("3F000" | "42P01" | "42703" | "42883", _) => PostgresError::NoSchema(error),
        ("25P02", _) => PostgresError::FailedTransaction(error),
        _ => PostgresError::Postgres(error),
    }
}

fn is_io(error: &tokio_postgres::Error) -> bool {
    error.source().is_some_and(<dyn Error>::is::<io::Error>)
}

/// The constraints where another writer can be first. The ids of other primary keys are derived.
const CONFLICTS: [&str; 8] = [
    "enrollments_pkey",
    "contacts_held_external_id",
    "contacts_held_phone",
    "contacts_held_email",
    "conversations_one_at_most",
    "step_contacts_live",
    "custom_records_resource",
    "communication_preferences_pkey",
];

//! What went wrong, by code: never by the text of a message.

use enroll::changes::Conflict;
use enroll::{RepositoryError, RepositoryErrorKind};
use std::io;
use tokio_postgres::error::{DbError, SqlState};

/// Why PostgreSQL did not do what was asked. Each message says what to do.
///
/// It is the source of every [`RepositoryError`] of this crate; [`Error::kind`] is that error's kind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A guard of the change set does not hold.
    #[error("{0}: load and plan again")]
    Guard(#[from] Conflict),
    /// Another writer took what must be unique.
    #[error("another writer was first, says the constraint `{constraint}`: load and plan again")]
    Taken {
        /// The constraint or unique index.
        constraint: String,
        /// What PostgreSQL says.
        source: tokio_postgres::Error,
    },
    /// A row that was to be updated is gone.
    #[error("a row of `{table}` is gone: load and plan again")]
    Gone {
        /// The table.
        table: &'static str,
    },
    /// A deadlock, or a transaction that could not be put in an order with others.
    #[error("two transactions were in each other's way: load and plan again")]
    Serialization(#[source] tokio_postgres::Error),
    /// A row stands under an id that was derived for a new one.
    #[error(
        "a row under a derived id exists already, says the constraint `{constraint}`: \
         give the enrollment an id that nothing else was written under"
    )]
    IdExists {
        /// The primary key.
        constraint: String,
        /// What PostgreSQL says.
        source: tokio_postgres::Error,
    },
    /// The connection could not be made, or was lost. A commit may have happened.
    #[error("PostgreSQL cannot be reached: check that it runs and that the address is right, then try again")]
    Unreachable(#[source] tokio_postgres::Error),
    /// The server is starting, stopping, or ended the session. A commit may have happened.
    #[error("PostgreSQL is starting or stopping, or ended the session: connect and try again later")]
    ShuttingDown(#[source] tokio_postgres::Error),
    /// A lock was not to be had in time, or the statement took too long.
    #[error("PostgreSQL gave up waiting: try again when the other transaction has ended, or raise the timeout")]
    TimedOut(#[source] tokio_postgres::Error),
    /// No disk, memory or connection is left, or a disk failed.
    #[error("PostgreSQL has no disk, memory or connections left, or a disk failed: make room, then try again")]
    Exhausted(#[source] tokio_postgres::Error),
    /// The pool has no connection to give.
    #[error("no connection became free in time: try again later, or make the pool larger")]
    PoolTimedOut,
    /// The pool is closed or was built without what it needs.
    #[error("the pool gives no connections: build another")]
    Pool(#[source] deadpool_postgres::PoolError),
    /// The pool could not be built.
    #[error("the pool cannot be built: give it at least one connection, and call it inside a Tokio runtime")]
    Build(#[from] deadpool_postgres::BuildError),
    /// The database is a standby, or was made read-only.
    #[error("the database is read-only: connect to the primary, or let this role write")]
    ReadOnly(#[source] tokio_postgres::Error),
    /// The role may not do it.
    #[error("the role may not do this: grant it usage of the schema `enroll` and its tables, or use its owner")]
    Denied(#[source] tokio_postgres::Error),
    /// The schema or part of it does not exist.
    #[error("the schema `enroll` is not there or not whole: run `enroll_postgres::migrate` on this database")]
    SchemaMissing(#[source] tokio_postgres::Error),
    /// The schema was migrated further than this build knows.
    #[error("the schema is of version {found}, this build knows {known}: use a newer `enroll-postgres`")]
    NewerSchema {
        /// The schema's version.
        found: i32,
        /// The newest version that this build knows.
        known: i32,
    },
    /// The schema is not as far as this build needs it.
    #[error("the schema is of version {found}, this build needs {known}: run `enroll_postgres::migrate`")]
    OlderSchema {
        /// The schema's version.
        found: i32,
        /// The version that this build needs.
        known: i32,
    },
    /// The host's transaction cannot be used: a retry would not see what is new.
    #[error("the transaction's isolation level is `{found}`: begin it at `read committed`")]
    IsolationLevel {
        /// The transaction's isolation level.
        found: String,
    },
    /// The host's transaction and another one waited for each other, and PostgreSQL ended this one's wait.
    #[error(
        "the transaction and another one were in each other's way: roll it back and do it over, and let it take the \
         organization first (`PostgresTransaction::lock`)"
    )]
    Deadlock(#[source] Box<Self>),
    /// The host's transaction had failed before.
    #[error("the transaction has failed already: roll it back and begin another")]
    FailedTransaction(#[source] tokio_postgres::Error),
    /// A stored row says something that this build cannot read.
    #[error("`{column}` of a stored row cannot be read: {reason}")]
    Unreadable {
        /// The column.
        column: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A row does not fit into the database, or is not written as one.
    #[error("a row cannot be stored: {0}")]
    Unstorable(String),
    /// Anything else that PostgreSQL or its driver says.
    #[error("PostgreSQL refused: its own message says why")]
    Database(#[source] tokio_postgres::Error),
}

impl Error {
    /// Within a host's transaction, whose locks stay: trying again there would wait for the same again.
    pub(crate) fn within_a_transaction(self) -> Self {
        match self {
            Self::Serialization(_) => Self::Deadlock(Box::new(self)),
            other => other,
        }
    }

    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> RepositoryErrorKind {
        match self {
            Self::Guard(_) | Self::Taken { .. } | Self::Gone { .. } | Self::Serialization(_) => {
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

impl From<Error> for RepositoryError {
    fn from(error: Error) -> Self {
        Self::new(error.kind(), error)
    }
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(database) => classify(&database.clone(), error),
            None if error.is_closed() || is_io(&error) => Self::Unreachable(error),
            None => Self::Database(error),
        }
    }
}

impl From<deadpool_postgres::PoolError> for Error {
    fn from(error: deadpool_postgres::PoolError) -> Self {
        match error {
            deadpool_postgres::PoolError::Backend(error) => error.into(),
            deadpool_postgres::PoolError::Timeout(_) => Self::PoolTimedOut,
            error => Self::Pool(error),
        }
    }
}

fn classify(database: &DbError, error: tokio_postgres::Error) -> Error {
    let code = database.code();
    if *code == SqlState::UNIQUE_VIOLATION
        && let (Some("enroll"), Some(constraint)) = (database.schema(), database.constraint())
    {
        let constraint = constraint.to_owned();
        return if CONFLICTS.contains(&&*constraint) {
            Error::Taken { constraint, source: error }
        } else {
            Error::IdExists { constraint, source: error }
        };
    }
    match (code.code(), code.code().get(..2)) {
        // Deadlock, serialization failure.
        ("40P01" | "40001", _) => Error::Serialization(error),
        ("40003", _) | (_, Some("08")) => Error::Unreachable(error),
        // Shutdown, crash, not up yet; a session that stood idle for too long.
        ("57P01" | "57P02" | "57P03" | "57P05" | "25P03" | "25P04", _) => Error::ShuttingDown(error),
        // A lock timeout, a statement timeout.
        ("55P03" | "57014", _) => Error::TimedOut(error),
        ("58000" | "58030", _) | (_, Some("53")) => Error::Exhausted(error),
        ("25006", _) => Error::ReadOnly(error),
        ("42501", _) => Error::Denied(error),
        // A schema, table, column or function that is not there.
        ("3F000" | "42P01" | "42703" | "42883", _) => Error::SchemaMissing(error),
        ("25P02", _) => Error::FailedTransaction(error),
        _ => Error::Database(error),
    }
}

fn is_io(error: &tokio_postgres::Error) -> bool {
    std::error::Error::source(error).is_some_and(<dyn std::error::Error>::is::<io::Error>)
}

/// What must be unique, of which another writer can be first. Other primary keys are of ids that were derived.
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

//! The error type, classified by PostgreSQL's error codes.

mod classify;
mod driver;
mod tls;

use enroll::changes::Conflict;
use enroll::{EnrollError, RepositoryError, RepositoryErrorKind};
use std::error::Error;

#[cfg(feature = "tokio-postgres")]
use crate::AddressError;
use crate::ServerVersion;
pub(crate) use classify::{ServerError, classify};
pub use driver::DriverError;
pub use tls::{FileProblem, TlsError};

/// An error of the database, with what to do about it.
///
/// Each [`RepositoryError`] of this crate contains one: use [`RepositoryError::inner`] and `downcast_ref`. The text
/// describes the failure, and [`source`](std::error::Error::source) returns the cause. Neither quotes stored data.
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
        source: DriverError,
    },
    /// A row to update no longer exists.
    #[error("a row of `{table}` no longer exists: load and plan again")]
    RowGone {
        /// The table.
        table: &'static str,
    },
    /// PostgreSQL ended a deadlock, or could not serialize the transaction.
    #[error("the transaction collided with another one: load and plan again")]
    Serialization(#[source] DriverError),
    /// A row with the id that was derived for a new row exists already.
    #[error(
        "a row with a derived id already exists, by the constraint `{constraint}`: \
         use an enrollment id that was never used before"
    )]
    IdExists {
        /// The primary key.
        constraint: String,
        /// The error of the driver.
        source: DriverError,
    },
    /// The address, or a variable of the environment, is not valid.
    #[cfg(feature = "tokio-postgres")]
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The connection cannot be encrypted, or the server cannot be verified.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The server is too old.
    #[error("the server is PostgreSQL {found}, but `enroll` needs {} or later: upgrade the server", ServerVersion::OLDEST.major)]
    OldServer {
        /// The version of the server.
        found: ServerVersion,
    },
    /// The connection failed or was lost. A commit may have happened.
    #[error("PostgreSQL cannot be reached: check that it runs and that the address is correct, then try again")]
    Unreachable(#[source] DriverError),
    /// The server starts, stops, or ended the session, such as one that was idle in a transaction. A commit may have
    /// happened.
    #[error("PostgreSQL is starting or stopping, or ended the session: connect and try again later")]
    ShuttingDown(#[source] DriverError),
    /// A lock was not available in time, or the statement exceeded its timeout.
    #[error("PostgreSQL timed out: try again when the other transaction has ended, or raise the timeout")]
    TimedOut(#[source] DriverError),
    /// The server has no free disk, memory or connection, a quota is used up, or a disk failed.
    #[error("PostgreSQL has no free disk, memory or connection, or a disk failed: make room, then try again")]
    Exhausted(#[source] DriverError),
    /// The server, or a pooler in between, accepted a connection and did not answer the login in time.
    #[error("PostgreSQL did not answer the login in time: check the server and its pooler, or raise `connect_timeout`")]
    LoginTimedOut,
    /// No connection of the pool became free in time. The pool of `sqlx` returns it too if it could not connect in time.
    #[error("no connection became free in time: check that the server runs, then try again, or make the pool larger")]
    PoolTimedOut,
    /// The pool is closed, or its configuration is not complete.
    #[error("the pool returns no connections: build another")]
    Pool(#[source] DriverError),
    /// The pool could not be built.
    #[cfg(feature = "tokio-postgres")]
    #[error("the pool cannot be built: allow at least one connection, and call this inside a Tokio runtime")]
    Build(#[from] deadpool_postgres::BuildError),
    /// The database is a standby, or read-only.
    #[error("the database is read-only: try again after the failover, connect to the primary, or allow writes")]
    ReadOnly(#[source] DriverError),
    /// The server refused the login, or has no such database.
    #[error(
        "PostgreSQL refused the connection: check the user, the password and the database of the address, and whether \
         `pg_hba.conf` allows them with this `sslmode`"
    )]
    Refused(#[source] DriverError),
    /// The server asks for a password, and there is none.
    #[error(
        "the server asks for a password: set `PGPASSWORD`, or add it to the password file (`~/.pgpass`) or the address"
    )]
    NoPassword,
    /// The connection lost its prepared statements, or has those of another program: a pooler gave it to others.
    #[error(
        "the pooler does not keep prepared statements: add `pgbouncer=true` to the address, or call \
         `with_prepared_statements(false)`, or set `max_prepared_statements` in PgBouncer 1.21 or later, or its `pool_mode` to \
         `session`"
    )]
    NoPreparedStatements(#[source] DriverError),
    /// A pooler refuses what a connection needs.
    #[error("the pooler cannot be used: {remedy}")]
    Pooler {
        /// The setting of the pooler, and what to do.
        remedy: &'static str,
        /// The error of the driver.
        source: DriverError,
    },
    /// The role lacks a privilege.
    #[error("the role lacks a privilege: grant it usage of the schema `enroll` and its tables, or use the owner")]
    Denied(#[source] DriverError),
    /// The schema, or a part of it, does not exist.
    #[error(
        "the database lacks the schema `enroll` or a part of it: run `enroll_postgres::migrate`, or `migrate_sqlx`"
    )]
    NoSchema(#[source] DriverError),
    /// Events do not work on tables that are distributed.
    #[error("events do not work on tables that are distributed with Citus: keep one server, or keep events off")]
    DistributedEvents,
    /// A command could not be converted to JSON.
    #[error("a command could not be converted to JSON")]
    Json(#[from] serde_json::Error),
    /// A later version of this crate migrated the schema.
    #[error("the schema has version {found}, but this build supports {known}: use a newer `enroll-postgres`")]
    NewerSchema {
        /// The version of the database.
        found: i32,
        /// The latest version that this build supports.
        known: i32,
    },
    /// The schema is older than this build needs.
    #[error(
        "the schema has version {found}, but this build needs {known}: run `enroll_postgres::migrate`, or `migrate_sqlx`"
    )]
    OlderSchema {
        /// The version of the database.
        found: i32,
        /// The version that this build needs.
        known: i32,
    },
    /// The tables are to be distributed, but the database has no Citus.
    #[error(
        "the database has no extension `citus`: run `create extension citus` on each server, with `citus` in \
         `shared_preload_libraries`"
    )]
    NoCitus,
    /// The tables are to be distributed, but Citus does not know the address of the coordinator.
    #[error(
        "the coordinator is not in the metadata of Citus: run `select citus_set_coordinator_host('<host>', <port>)` with the \
         address by which the other servers reach it"
    )]
    NoCoordinator,
    /// The settings of a distributed table could not be stored on each server.
    #[error("the settings of `{table}` could not be stored on each server: check that all servers run, then repeat it")]
    ShardSetting {
        /// The table.
        table: String,
    },
    /// The connection of the host has no open transaction, or not one that `sqlx` began.
    #[error("the connection has no open transaction of `sqlx`: begin one, such as with `pool.begin()`")]
    NoTransaction,
    /// The host's transaction has an isolation level at which a retry would not see new rows.
    #[error("the transaction has the isolation level `{found}`: begin it at `read committed`")]
    IsolationLevel {
        /// The isolation level of the transaction.
        found: String,
    },
    /// The host's transaction and another one waited for each other, and PostgreSQL ended the wait of this one.
    #[error(
        "the host's transaction collided with another one: roll it back and repeat it, and lock the organization first \
         (`lock`)"
    )]
    Deadlock(#[source] Box<Self>),
    /// The host's transaction had already failed.
    #[error("the transaction has already failed: roll it back and begin another")]
    FailedTransaction(#[source] DriverError),
    /// A stored value is not valid for the engine.
    #[error("`{column}` of a stored row is not valid: correct it")]
    Row {
        /// The column.
        column: String,
        /// The reason. Its text may quote the value, so it is not a source: do not log it.
        reason: Box<dyn Error + Send + Sync>,
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
    Postgres(#[source] DriverError),
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
    ///
    /// | Kind | Variants |
    /// |---|---|
    /// | `Conflict` | [`Conflict`](Self::Conflict), [`NotUnique`](Self::NotUnique), [`RowGone`](Self::RowGone), [`Serialization`](Self::Serialization) |
    /// | `Unavailable` | [`Unreachable`](Self::Unreachable), [`ShuttingDown`](Self::ShuttingDown), [`TimedOut`](Self::TimedOut), [`Exhausted`](Self::Exhausted), [`ReadOnly`](Self::ReadOnly), [`LoginTimedOut`](Self::LoginTimedOut), [`PoolTimedOut`](Self::PoolTimedOut) |
    /// | `Other` | all others |
    ///
    /// [`Deadlock`](Self::Deadlock) and [`FailedTransaction`](Self::FailedTransaction) have the kind `Other`, since no call inside
    /// the same transaction can succeed. The host's whole transaction can be repeated.
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
            | Self::ReadOnly(_)
            | Self::LoginTimedOut
            | Self::PoolTimedOut => RepositoryErrorKind::Unavailable,
            _ => RepositoryErrorKind::Other,
        }
    }
}

/// Lets a host's own statement fail like one of the engine, with `?`.
impl From<PostgresError> for EnrollError {
    fn from(error: PostgresError) -> Self {
        RepositoryError::from(error).into()
    }
}

impl From<PostgresError> for RepositoryError {
    fn from(error: PostgresError) -> Self {
        Self::new(error.kind(), error)
    }
}

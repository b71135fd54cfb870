//! The error type, classified by PostgreSQL's error codes.

use deadpool_postgres::{HookError, PoolError, TimeoutType};
use enroll::changes::Conflict;
use enroll::{RepositoryError, RepositoryErrorKind};
use std::error::Error;
use std::{fmt, io, iter};
use tokio_postgres::error::{DbError, Severity, SqlState};

use crate::connect::{AddressError, ServerVersion, TlsError, connect_error};

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
    /// No connection of the pool became free in time.
    #[error("no connection became free in time: try again later, or make the pool larger")]
    PoolTimedOut,
    /// The pool is closed, or its configuration is not complete.
    #[error("the pool returns no connections: build another")]
    Pool(#[source] PoolError),
    /// The pool could not be built.
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
        "the pooler does not keep prepared statements: add `pgbouncer=true` to the address, or set `max_prepared_statements` in \
         PgBouncer 1.21 or later, or its `pool_mode` to `session`"
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
    #[error("the database lacks the schema `enroll` or a part of it: run `enroll_postgres::migrate`")]
    NoSchema(#[source] DriverError),
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
    #[error("the schema has version {found}, but this build needs {known}: run `enroll_postgres::migrate`")]
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

impl From<PostgresError> for RepositoryError {
    fn from(error: PostgresError) -> Self {
        Self::new(error.kind(), error)
    }
}

/// An error of PostgreSQL or its driver, without stored data.
///
/// It displays the SQLSTATE and the names of the constraint, the column and the table. It never displays the server's
/// message, which can quote the values of a row.
pub struct DriverError(tokio_postgres::Error);

impl DriverError {
    /// Returns the SQLSTATE, if the error is one of the server.
    #[must_use]
    pub fn code(&self) -> Option<&SqlState> {
        self.0.code()
    }

    /// Returns the error of the driver. Its texts may quote stored data: do not log them.
    #[must_use]
    pub fn inner(&self) -> &tokio_postgres::Error {
        &self.0
    }
}

impl fmt::Display for DriverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(error) = self.0.as_db_error() else { return self.0.fmt(f) };
        write!(f, "SQLSTATE {}", error.code().code())?;
        let names = [("constraint", error.constraint()), ("column", error.column()), ("table", error.table())];
        for (kind, name) in names {
            if let Some(name) = name {
                write!(f, ", {kind} `{name}`")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for DriverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DriverError({self})")
    }
}

impl Error for DriverError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        if self.0.as_db_error().is_some() { None } else { self.0.source() }
    }
}

/// Classifies by the error codes alone: the texts may change.
impl From<tokio_postgres::Error> for PostgresError {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(database) => classify(&database.clone(), DriverError(error)),
            None => connect_error(&error).unwrap_or_else(|| {
                if error.is_closed() || is_io(&error) {
                    Self::Unreachable(DriverError(error))
                } else {
                    Self::Postgres(DriverError(error))
                }
            }),
        }
    }
}

impl From<PoolError> for PostgresError {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)) => error.into(),
            PoolError::Timeout(TimeoutType::Create) => Self::LoginTimedOut,
            PoolError::Timeout(_) => Self::PoolTimedOut,
            error => Self::Pool(error),
        }
    }
}

fn classify(database: &DbError, error: DriverError) -> PostgresError {
    let code = database.code();
    if *code == SqlState::UNIQUE_VIOLATION
        && let Some(constraint) = unique_constraint(database)
    {
        return if constraint == UNNAMED || CONFLICTS.contains(&&*constraint) {
            PostgresError::NotUnique { constraint, source: error }
        } else {
            PostgresError::IdExists { constraint, source: error }
        };
    }
    match (code.code(), code.code().get(..2)) {
        // Deadlock, serialization failure.
        ("40P01" | "40001", _) => PostgresError::Serialization(error),
        ("26000" | "42P05", _) => PostgresError::NoPreparedStatements(error),
        ("25001", _) => PostgresError::Pooler { remedy: OWN_TRANSACTION, source: error },
        ("08P01", _) => of_pooler(database.message(), error),
        ("40003", _) | (_, Some("08")) => PostgresError::Unreachable(error),
        // Lock timeout, statement timeout or a request to cancel.
        ("55P03" | "57014", _) => PostgresError::TimedOut(error),
        // Shutdown, crash, startup, and sessions or transactions that were open for too long.
        ("25P03" | "25P04", _) | (_, Some("57")) => PostgresError::ShuttingDown(error),
        // Insufficient resources, errors of the operating system.
        (_, Some("53" | "58")) => PostgresError::Exhausted(error),
        ("25006", _) => PostgresError::ReadOnly(error),
        ("42501", _) => PostgresError::Denied(error),
        ("3D000", _) | (_, Some("28")) => PostgresError::Refused(error),
        // A schema, table, column or function does not exist.
        ("3F000" | "42P01" | "42703" | "42883", _) => PostgresError::NoSchema(error),
        ("25P02", _) => PostgresError::FailedTransaction(error),
        // The server ends a connection whose options it does not know.
        ("42704" | "22023", _) if database.parsed_severity() == Some(Severity::Fatal) => {
            AddressError::Value { parameter: "options", expected: OPTIONS }.into()
        }
        _ => PostgresError::Postgres(error),
    }
}

/// PgBouncer has one code for all its errors, and only their texts differ. They never quote stored data.
fn of_pooler(message: &str, error: DriverError) -> PostgresError {
    let known = TEXTS_OF_POOLERS.into_iter().find(|(text, _)| message.contains(text));
    match known {
        Some((_, convert)) => convert(error),
        None => PostgresError::Unreachable(error),
    }
}

/// Makes an error of this crate.
type Convert = fn(DriverError) -> PostgresError;

const TEXTS_OF_POOLERS: [(&str, Convert); 10] = [
    ("bind message supplies", PostgresError::NoPreparedStatements),
    ("unsupported startup parameter", |source| PostgresError::Pooler { remedy: STARTUP, source }),
    ("statement pooling mode", |source| PostgresError::Pooler { remedy: STATEMENT_MODE, source }),
    ("SSL required", |source| PostgresError::Pooler { remedy: TLS_REQUIRED, source }),
    ("authentication failed", PostgresError::Refused),
    ("login rejected", PostgresError::Refused),
    ("no such user", PostgresError::Refused),
    ("no such database", PostgresError::Refused),
    ("does not exist", PostgresError::Refused),
    ("no more connections allowed", PostgresError::Exhausted),
];

const OPTIONS: &str = "options that the server knows, such as `-c geqo=off`, also in `PGOPTIONS`";
const STARTUP: &str = "it refuses a parameter of the connection; remove `options` from the address (`PGOPTIONS`), or add it to \
    `ignore_startup_parameters` of PgBouncer";
const STATEMENT_MODE: &str = "it ends a connection at the first transaction; set `pool_mode` of PgBouncer to `transaction` or \
    `session`";
const TLS_REQUIRED: &str = "it takes encrypted connections only; set `sslmode` of the address to `require` or stronger";
const OWN_TRANSACTION: &str = "it has begun a transaction of its own; connect to the primary server directly, or switch off \
    the replication and the load balancing of Pgpool (`backend_clustering_mode`, `load_balance_mode`)";

/// Returns the constraint of the schema `enroll` that refused a row.
///
/// Citus reports an error of another server without the fields that name the schema and the constraint. The message still has
/// the name, in any language. A constraint of a shard has the number of the shard at its end.
fn unique_constraint(database: &DbError) -> Option<String> {
    let without_shard = |name: &str| match name.rsplit_once('_') {
        Some((name, shard)) if shard.bytes().all(|byte| byte.is_ascii_digit()) => name.to_owned(),
        _ => name.to_owned(),
    };
    match (database.schema(), database.constraint()) {
        (Some("enroll"), Some(constraint)) => Some(without_shard(constraint)),
        (_, Some(_)) => None,
        (_, None) => {
            let words = database.message().split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let constraint =
                words.map(without_shard).find(|name| name.ends_with("_pkey") || CONFLICTS.contains(&&**name));
            Some(constraint.unwrap_or_else(|| UNNAMED.to_owned()))
        }
    }
}

/// The constraint of an error that does not name it.
const UNNAMED: &str = "unknown";

fn is_io(error: &tokio_postgres::Error) -> bool {
    iter::successors(error.source(), |error| (*error).source()).any(<dyn Error>::is::<io::Error>)
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

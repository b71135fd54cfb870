//! The classification of the server's errors by their codes: the texts may change.

use std::error::Error;

use super::{DriverError, PostgresError};

/// The fields of an error of the server that the classification reads.
pub(crate) struct ServerError {
    /// The SQLSTATE.
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) schema: Option<String>,
    pub(crate) table: Option<String>,
    pub(crate) column: Option<String>,
    pub(crate) constraint: Option<String>,
}

/// Returns the error for an error of the server, by its code.
pub(crate) fn classify(server: &ServerError, inner: impl Error + Send + Sync + 'static) -> PostgresError {
    let error = DriverError::of_server(server, inner);
    let code = &*server.code;
    if code == "23505"
        && let Some(constraint) = unique_constraint(server)
    {
        return if constraint == UNNAMED || CONFLICTS.contains(&&*constraint) {
            PostgresError::NotUnique { constraint, source: error }
        } else {
            PostgresError::IdExists { constraint, source: error }
        };
    }
    match (code, code.get(..2)) {
        // Deadlock, serialization failure.
        ("40P01" | "40001", _) => PostgresError::Serialization(error),
        ("26000" | "42P05", _) => PostgresError::NoPreparedStatements(error),
        ("25001", _) => PostgresError::Pooler { remedy: OWN_TRANSACTION, source: error },
        ("08P01", _) => of_pooler(&server.message, error),
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
fn unique_constraint(server: &ServerError) -> Option<String> {
    let without_shard = |name: &str| match name.rsplit_once('_') {
        Some((name, shard)) if shard.bytes().all(|byte| byte.is_ascii_digit()) => name.to_owned(),
        _ => name.to_owned(),
    };
    match (server.schema.as_deref(), server.constraint.as_deref()) {
        (Some("enroll"), Some(constraint)) => Some(without_shard(constraint)),
        (_, Some(_)) => None,
        (_, None) => {
            let words = server.message.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let constraint =
                words.map(without_shard).find(|name| name.ends_with("_pkey") || CONFLICTS.contains(&&**name));
            Some(constraint.unwrap_or_else(|| UNNAMED.to_owned()))
        }
    }
}

/// The constraint of an error that does not name it.
const UNNAMED: &str = "unknown";

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

//! The version of the schema, and its migrations.

use rusqlite::{Connection, MAIN_DB, OptionalExtension, Transaction, TransactionBehavior};

use crate::error::SqliteError;
use crate::trace::prepare;

/// Creates or upgrades the tables to the schema version of this crate. Their names begin with `enroll_`.
///
/// If a transaction is open on the connection, the migration becomes part of it. Several processes may migrate at the same
/// time.
///
/// # Errors
/// [`SqliteError::NewerSchema`] if a later version of this crate migrated the database. [`SqliteError::NoSchema`] if the
/// database needs a migration but is read-only.
///
/// ```
/// let connection = rusqlite::Connection::open_in_memory()?;
/// enroll_sqlite::migrate(&connection)?;
/// connection.query_row("select count(*) from enroll_contacts", [], |row| row.get::<_, i64>(0))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn migrate(connection: &Connection) -> Result<(), SqliteError> {
    // This check needs no write lock, so that a read-only file can be opened.
    match schema_version(connection)? {
        SCHEMA_VERSION => return Ok(()),
        found if found > SCHEMA_VERSION => return Err(SqliteError::NewerSchema { found, known: SCHEMA_VERSION }),
        _ if connection.is_readonly(MAIN_DB)? => return Err(SqliteError::NoSchema),
        _ => {}
    }
    if !connection.is_autocommit() {
        return upgrade(connection);
    }
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    upgrade(&transaction)?;
    Ok(transaction.commit()?)
}

/// Checks that the schema has the version of this build: another process may have migrated the file since it was opened.
pub(crate) fn check(connection: &Connection) -> Result<(), SqliteError> {
    let found: Option<i64> = prepare(connection, VERSION)?.query_row([], |row| row.get(0)).optional()?;
    match found {
        Some(SCHEMA_VERSION) => Ok(()),
        Some(found) if found > SCHEMA_VERSION => Err(SqliteError::NewerSchema { found, known: SCHEMA_VERSION }),
        _ => Err(SqliteError::NoSchema),
    }
}

/// Returns the version of the schema, or 0 if it does not exist. It only reads.
///
/// # Errors
/// Those of SQLite.
pub fn schema_version(connection: &Connection) -> Result<i64, SqliteError> {
    let exists = "select exists(select 1 from sqlite_schema where type = 'table' and name = 'enroll_schema')";
    if !connection.query_row(exists, [], |row| row.get::<_, bool>(0))? {
        return Ok(0);
    }
    Ok(connection.query_row(VERSION, [], |row| row.get(0)).optional()?.unwrap_or(0))
}

/// Runs the missing migrations. The caller has the write lock, so the version cannot change meanwhile.
fn upgrade(connection: &Connection) -> Result<(), SqliteError> {
    let found = schema_version(connection)?;
    if found > SCHEMA_VERSION {
        return Err(SqliteError::NewerSchema { found, known: SCHEMA_VERSION });
    }
    for migration in migrations().filter(|migration| migration.version > found) {
        connection.execute_batch(&migration.sql)?;
    }
    Ok(())
}

/// A migration of the schema.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Migration {
    /// The version of the schema that it leads to. It needs the version before.
    pub version: i64,
    /// Several statements that end with the row of the version, so that [`migrate`] recognizes it. They must run in one
    /// transaction.
    pub sql: String,
}

/// Returns all migrations, in the order in which they run. [`migrate`] runs the same texts.
///
/// A released migration never changes, so that a host can keep it as a file for its migration tool.
///
/// ```
/// for migration in enroll_sqlite::sql::migrations() {
///     let file = format!("{:04}_enroll.sql", migration.version);
///     assert!(migration.sql.contains("insert into enroll_schema"), "{file}");
/// }
/// ```
pub fn migrations() -> impl Iterator<Item = Migration> {
    MIGRATIONS.into_iter().map(|(version, changes)| {
        let end = format!(
            "create table if not exists enroll_schema (version integer not null) strict;
delete from enroll_schema;
insert into enroll_schema values ({version});\n"
        );
        Migration { version, sql: format!("{changes}\n{end}") }
    })
}

/// Each migration leads from the version before to its own. A released migration never changes.
const MIGRATIONS: [(i64, &str); 1] = [(1, include_str!("migrations/0001.sql"))];
/// The latest version of the schema that this build supports.
pub const SCHEMA_VERSION: i64 = MIGRATIONS[MIGRATIONS.len() - 1].0;
const VERSION: &str = "select version from enroll_schema";

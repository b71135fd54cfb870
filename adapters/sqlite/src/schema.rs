//! The schema: which version stands, and how it comes to be the latest.

use rusqlite::{Connection, MAIN_DB, OptionalExtension, Transaction, TransactionBehavior};

use crate::error::SqliteError;

/// Brings the tables of `enroll` to the version that this build knows; they all begin with `enroll_`.
///
/// In a transaction of its own, or in the open one of a host. Several processes may do it at once.
///
/// # Errors
/// [`SqliteError::NewerSchema`] if a later version of this crate was here; [`SqliteError::NoSchema`] if the schema
/// would have to be written and cannot be.
pub fn migrate(connection: &Connection) -> Result<(), SqliteError> {
    // Without the lock, so that a file that is only read can be opened.
    match stands(connection)? {
        KNOWN => return Ok(()),
        found if found > KNOWN => return Err(SqliteError::NewerSchema { found, known: KNOWN }),
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

/// Refuses any version but the one that this build knows: another process may have migrated the file meanwhile.
pub(crate) fn check(connection: &Connection) -> Result<(), SqliteError> {
    let found: Option<i64> = connection.prepare_cached(VERSION)?.query_row([], |row| row.get(0)).optional()?;
    match found {
        Some(KNOWN) => Ok(()),
        Some(found) if found > KNOWN => Err(SqliteError::NewerSchema { found, known: KNOWN }),
        _ => Err(SqliteError::NoSchema),
    }
}

/// The version that stands; 0 if there is none.
pub(crate) fn stands(connection: &Connection) -> Result<i64, SqliteError> {
    let exists = "select exists(select 1 from sqlite_schema where type = 'table' and name = 'enroll_schema')";
    if !connection.query_row(exists, [], |row| row.get::<_, bool>(0))? {
        return Ok(0);
    }
    Ok(connection.query_row(VERSION, [], |row| row.get(0)).optional()?.unwrap_or(0))
}

/// Under the lock, so what stands is what stays.
fn upgrade(connection: &Connection) -> Result<(), SqliteError> {
    let found = stands(connection)?;
    if found > KNOWN {
        return Err(SqliteError::NewerSchema { found, known: KNOWN });
    }
    for (version, migration) in MIGRATIONS {
        if version > found {
            connection.execute_batch(migration)?;
        }
    }
    connection.execute_batch("create table if not exists enroll_schema (version integer not null) strict")?;
    connection.execute("delete from enroll_schema", [])?;
    connection.execute("insert into enroll_schema values (?1)", [KNOWN])?;
    Ok(())
}

/// What leads to each version from the one before; never changed once it was published.
const MIGRATIONS: [(i64, &str); 1] = [(1, include_str!("migrations/0001.sql"))];
pub(crate) const KNOWN: i64 = MIGRATIONS[MIGRATIONS.len() - 1].0;
const VERSION: &str = "select version from enroll_schema";

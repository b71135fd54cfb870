//! The version of the schema `enroll`, and its migrations.

use crate::driver::{Execute, Row, Transaction};
use crate::query::Query;
use crate::{PostgresError, ServerVersion};

/// The latest version of the schema that this build supports.
pub const SCHEMA_VERSION: i32 = 1;

/// Runs the migrations that the database lacks, in a transaction at READ COMMITTED: at another isolation level, this would
/// not see the changes of a process that had the lock before.
pub(crate) async fn migrate(mut transaction: impl Transaction) -> Result<(), PostgresError> {
    let number = Query::new("select pg_catalog.current_setting('server_version_num')::integer");
    let rows = transaction.query(&number, &[]).await?;
    rows.first().map_or(Ok(()), |row| ServerVersion::from_number(row.get(0)?).check())?;
    transaction.query(&Query::new(MIGRATION_LOCK), &[&LOCK]).await?;
    let found = schema_version(&mut transaction).await?;
    if found > SCHEMA_VERSION {
        return Err(PostgresError::NewerSchema { found, known: SCHEMA_VERSION });
    }
    // Triggers of tables that Citus distributed need it. Another server accepts it, and has no use for it.
    transaction.execute(&Query::new("set local citus.enable_unsafe_triggers = 'on'"), &[]).await?;
    for migration in migrations().filter(|migration| migration.version > found) {
        for statement in statements(&migration.sql) {
            transaction.execute(&Query::new(statement), &[]).await?;
        }
    }
    transaction.commit().await
}

/// Checks that a version is the one of this build.
pub(crate) fn check_version(found: i32) -> Result<(), PostgresError> {
    match found {
        SCHEMA_VERSION => Ok(()),
        found if found > SCHEMA_VERSION => Err(PostgresError::NewerSchema { found, known: SCHEMA_VERSION }),
        found => Err(PostgresError::OlderSchema { found, known: SCHEMA_VERSION }),
    }
}

/// Returns the version of the schema, or 0 if it does not exist. It only reads.
pub(crate) async fn schema_version(client: &mut impl Execute) -> Result<i32, PostgresError> {
    // Reads the catalog first, because an error would end a transaction.
    let exists = Query::new("select pg_catalog.to_regclass('enroll.schema_version') is not null");
    if !client.query(&exists, &[]).await?.first().map_or(Ok(false), |row| row.get(0))? {
        return Ok(0);
    }
    let rows = client.query(&Query::new(STORED_VERSION), &[]).await?;
    Ok(rows.first().map_or(Ok(None), |row| row.get(0))?.unwrap_or(0))
}

/// Makes Citus send `set local` to the servers of a transaction, so that `enroll.engine` has its value on all of them.
/// Another server accepts the setting, and has no use for it.
pub(crate) const PROPAGATE_SETTINGS: &str = "set local citus.propagate_set_commands = 'local'";

pub(crate) const STORED_VERSION: &str = "select max(version) from enroll.schema_version";

/// Returns the statements of a migration: Citus accepts only one at a time on distributed tables.
///
/// A statement ends with a semicolon at the end of a line, outside `$$`.
fn statements(migration: &str) -> Vec<&str> {
    let (mut statements, mut start, mut end, mut is_quoted) = (Vec::new(), 0, 0, false);
    for line in migration.split_inclusive('\n') {
        end += line.len();
        is_quoted ^= line.matches("$$").count() % 2 == 1;
        if !is_quoted && line.trim_end().ends_with(';') {
            statements.extend(migration.get(start..end));
            start = end;
        }
    }
    statements
}

/// A migration of the schema.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Migration {
    /// The version of the schema that it leads to. It needs the version before.
    pub version: i32,
    /// Several statements that end with the row of the version, so that [`migrate`](crate::migrate) recognizes it. They must run in one
    /// transaction, in one call without parameters. On distributed tables of Citus, use [`migrate`](crate::migrate).
    pub sql: String,
}

/// Returns all migrations, in the order in which they run. [`migrate`](crate::migrate) runs the same texts.
///
/// A released migration never changes, so that a host can keep it as a file for its migration tool.
///
/// ```
/// for migration in enroll_postgres::sql::migrations() {
///     let file = format!("{:04}_enroll.sql", migration.version);
///     assert!(migration.sql.contains("insert into enroll.schema_version"), "{file}");
/// }
/// ```
pub fn migrations() -> impl Iterator<Item = Migration> {
    (1..).zip(MIGRATIONS).map(|(version, changes)| {
        let begin = if version == 1 { VERSION_TABLE } else { LOCK_VERSIONS };
        let end = format!("insert into enroll.schema_version (version) values ({version});\n");
        Migration { version, sql: format!("{begin}\n{changes}\n{end}") }
    })
}

/// Each migration leads from the version before to its own. A released migration never changes.
pub(crate) const MIGRATIONS: [&str; 1] = [include_str!("migrations/0001.sql")];
const _: () = assert!(MIGRATIONS.len() == SCHEMA_VERSION as usize);

const VERSION_TABLE: &str = "create schema if not exists enroll;
create table enroll.schema_version (
    version integer primary key,
    migrated_at timestamptz not null default now()
);";
/// Each transaction of the engine reads the table first.
const LOCK_VERSIONS: &str = "lock table enroll.schema_version in access exclusive mode;";
/// The key of the advisory lock: `enroll` in ASCII.
pub(crate) const LOCK: i64 = 0x0065_6e72_6f6c_6c00;
/// Waits until no other process migrates or distributes the tables. `$1` is [`LOCK`].
pub(crate) const MIGRATION_LOCK: &str = "select pg_catalog.pg_advisory_xact_lock($1::bigint)";

#[cfg(test)]
mod tests {
    use super::{migrations, statements};

    #[test]
    fn each_migration_is_split_into_all_its_statements() {
        for migration in migrations() {
            let statements = statements(&migration.sql);
            assert_eq!(statements.concat(), migration.sql, "a statement ends with `;` at the end of a line");
            assert!(statements.len() > 50, "{}", statements.len());
        }
        let quoted = "create function a() as $$\nbegin;\nend $$;\nselect 1;\n";
        assert_eq!(statements(quoted), ["create function a() as $$\nbegin;\nend $$;\n", "select 1;\n"]);
    }
}

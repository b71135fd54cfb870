//! Runs the migrations of `enroll` and of the shop by Diesel, which records both in its own table.
//!
//! A host that uses the command `diesel migration` writes `sql::migrations()` to files instead: `docs/hosts.md`.

use std::fmt;

use diesel::connection::BoxableConnection;
use diesel::migration::{Migration, MigrationMetadata, MigrationName, MigrationSource, MigrationVersion, Result};
use diesel::pg::Pg;
use diesel_async::AsyncMigrationHarness;
use diesel_async::AsyncPgConnection;
use diesel_async::pooled_connection::deadpool::Object;
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};
use enroll_postgres::sql;

/// The migrations of the shop, in the folder `migrations`.
const OWN: EmbeddedMigrations = embed_migrations!();

/// Runs all migrations that are missing. It needs the multi-threaded runtime.
pub fn migrate(connection: Object<AsyncPgConnection>) -> Result<()> {
    let mut harness = AsyncMigrationHarness::new(connection);
    // First, because rows of the shop refer to this schema.
    harness.run_pending_migrations(Enroll)?;
    harness.run_pending_migrations(OWN)?;
    Ok(())
}

/// The migrations of `enroll`.
struct Enroll;

impl MigrationSource<Pg> for Enroll {
    fn migrations(&self) -> Result<Vec<Box<dyn Migration<Pg>>>> {
        let migrations = sql::migrations().map(|it| EnrollMigration { name: Name(it.version), sql: it.sql });
        Ok(migrations.map(|migration| Box::new(migration) as Box<dyn Migration<Pg>>).collect())
    }
}

struct EnrollMigration {
    name: Name,
    sql: String,
}

impl Migration<Pg> for EnrollMigration {
    fn run(&self, connection: &mut dyn BoxableConnection<Pg>) -> Result<()> {
        Ok(connection.batch_execute(&self.sql)?)
    }

    fn revert(&self, _: &mut dyn BoxableConnection<Pg>) -> Result<()> {
        Err("a migration of enroll cannot be reverted; restore a backup".into())
    }

    fn metadata(&self) -> &dyn MigrationMetadata {
        &InTransaction
    }

    fn name(&self) -> &dyn MigrationName {
        &self.name
    }
}

/// Each migration is one transaction, which is Diesel's default.
struct InTransaction;

impl MigrationMetadata for InTransaction {}

/// The version of the schema. Diesel stores `enroll_0001`.
struct Name(i32);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "enroll_{:04}", self.0)
    }
}

impl MigrationName for Name {
    fn version(&self) -> MigrationVersion<'_> {
        self.to_string().into()
    }
}

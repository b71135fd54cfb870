//! Runs the migrations of `enroll` and of the shop by SeaORM, which records both in its own table.
//!
//! SeaORM's `fresh` and `reset` know nothing of the schema `enroll`. Drop it first: `drop schema enroll cascade`.

use enroll_postgres::sql;
use sea_orm_migration::prelude::*;

pub struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        let enroll =
            sql::migrations().map(|it| SqlMigration { name: format!("enroll_{:04}", it.version), sql: it.sql });
        // After the first one, because rows of the shop refer to this schema.
        let own = SqlMigration { name: "orders".to_owned(), sql: include_str!("orders.sql").to_owned() };
        enroll.chain([own]).map(|migration| Box::new(migration) as Box<dyn MigrationTrait>).collect()
    }
}

/// A migration whose text is SQL. On PostgreSQL, SeaORM runs each in a transaction.
struct SqlMigration {
    name: String,
    sql: String,
}

impl MigrationName for SqlMigration {
    fn name(&self) -> &str {
        &self.name
    }
}

#[async_trait::async_trait]
impl MigrationTrait for SqlMigration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.get_connection().execute_unprepared(&self.sql).await?;
        Ok(())
    }
}

//! The schema, on a connection of `sqlx`.

use sqlx::postgres::PgConnection;

use super::begin::EngineTransaction;
use crate::{PostgresError, schema};

/// Creates the schema `enroll`, or upgrades it to [`SCHEMA_VERSION`](crate::SCHEMA_VERSION), on a connection of `sqlx`.
///
/// Several processes may migrate at the same time: an advisory lock makes them wait for each other. All steps are one
/// transaction. If the schema has the version already, this function only reads, so that the role needs no privilege to
/// create. The server needs PostgreSQL 14 or later, and the encoding UTF-8.
///
/// It waits up to 30 s for each lock, unless the session has another timeout. A host that keeps all migrations in
/// `sqlx::migrate!` takes the texts of [`sql::migrations`](crate::sql::migrations) instead.
///
/// # Dropped calls
/// If the host drops the call, such as with a timeout, it must close the connection (`PoolConnection::detach`): `sqlx` does not
/// roll back a transaction that was just beginning.
///
/// # Errors
/// [`PostgresError::OldServer`] if the server is older than PostgreSQL 14. [`PostgresError::NewerSchema`] if a later version
/// of this crate migrated the database. [`PostgresError::Denied`] if the role may not create the schema. Any other error of
/// the database, also if the connection is inside a transaction.
///
/// ```no_run
/// use enroll_postgres::sqlx::PgPool;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let pool = PgPool::connect("postgres://app@db.example/app").await?;
/// enroll_postgres::migrate_sqlx(&mut *pool.acquire().await?).await?;
/// # Ok(())
/// # }
/// ```
pub async fn migrate_sqlx(connection: &mut PgConnection) -> Result<(), PostgresError> {
    schema::migrate(EngineTransaction::for_long_statements(connection).await?).await
}

//! The schema, on a connection of `tokio-postgres`.

use tokio_postgres::{Client, GenericClient};

use super::begin::EngineTransaction;
use super::query::Plain;
use crate::{PostgresError, schema};

/// Creates the schema `enroll`, or upgrades it to [`SCHEMA_VERSION`](crate::SCHEMA_VERSION).
///
/// Several processes may migrate at the same time: an advisory lock makes them wait for each other. All steps are one
/// transaction. If the schema has the version already, this function only reads, so that the role needs no privilege to
/// create. The server needs PostgreSQL 14 or later, and the encoding UTF-8.
///
/// It waits up to 30 s for each lock, unless the session has another timeout. Running transactions of an older build end
/// before the schema changes, and later ones fail with [`PostgresError::NewerSchema`].
///
/// # Errors
/// [`PostgresError::OldServer`] if the server is older than PostgreSQL 14. [`PostgresError::NewerSchema`] if a later version
/// of this crate migrated the database. [`PostgresError::Denied`] if
/// the role may not create the schema. Any other error of the database.
///
/// ```no_run
/// use enroll_postgres::tokio_postgres::{self, NoTls};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let (mut client, connection) = tokio_postgres::connect("postgres://app@db.example/app", NoTls).await?;
/// tokio::spawn(connection);
/// enroll_postgres::migrate(&mut client).await?;
/// # Ok(())
/// # }
/// ```
pub async fn migrate(client: &mut Client) -> Result<(), PostgresError> {
    schema::migrate(EngineTransaction::for_long_statements(client).await?).await
}

/// Returns the version of the schema, or 0 if it does not exist. It only reads.
///
/// # Errors
/// Those of the database.
pub async fn schema_version(client: &(impl GenericClient + Sync)) -> Result<i32, PostgresError> {
    schema::schema_version(&mut Plain(client)).await
}

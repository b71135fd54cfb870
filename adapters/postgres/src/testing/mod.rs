//! Tools for tests: writes rows as a host does, and starts a temporary server.

mod server;

use enroll::seed::HostWrite;
use tokio_postgres::Client;

use crate::PostgresError;

pub use server::Server;

/// Writes one row as a host does, without the engine, in a transaction.
///
/// # Errors
/// [`PostgresError::NoSuchRow`] if the row to update or delete does not exist. Any other error of the database. Then
/// nothing is written.
pub async fn host_write(client: &mut Client, write: &HostWrite) -> Result<(), PostgresError> {
    crate::seed::host_write(client, write).await
}

//! Tools for tests: writes rows as a host does, and starts a temporary server.

mod server;

use enroll::seed::HostWrite;
use tokio_postgres::Client;

use crate::Error;

pub use server::Server;

/// Writes one row as a host does, without the engine, in a transaction.
///
/// # Errors
/// The database's error, or [`Error::Unstorable`] if the row to update or delete does not exist. Nothing is written
/// then.
pub async fn host_write(client: &mut Client, write: &HostWrite) -> Result<(), Error> {
    crate::seed::host_write(client, write).await
}

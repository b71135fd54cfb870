//! Tools for tests: writes rows as a host does, and starts a temporary server.

mod citus;
mod pooler;
mod server;

use enroll::seed::HostWrite;
use tokio_postgres::Client;

use crate::PostgresError;

pub use pooler::Pooler;
pub use server::Server;

/// Expands to the reason why a test that needs PostgreSQL is ignored by default:
/// `#[ignore = enroll_postgres::needs_postgres!()]`.
#[macro_export]
macro_rules! needs_postgres {
    () => {
        "needs PostgreSQL: run with --include-ignored, its programs installed or ENROLL_TEST_POSTGRES_URL set"
    };
}

/// Writes one row as a host does, without the engine, in a transaction.
///
/// # Errors
/// [`PostgresError::NoSuchRow`] if the row to update or delete does not exist. Any other error of the database. Then
/// nothing is written.
pub async fn host_write(client: &mut Client, write: &HostWrite) -> Result<(), PostgresError> {
    crate::seed::host_write(client, write).await
}

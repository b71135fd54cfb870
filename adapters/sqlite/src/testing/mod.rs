//! Tools for tests: writes rows as a host does.

use enroll::RepositoryError;
use enroll::seed::HostWrite;
use rusqlite::Connection;

/// Writes one row as a host does, without the engine.
///
/// # Errors
/// `Conflict` if a unique constraint refuses the row. `Other` if the row to update or delete does not exist, or if any
/// other constraint refuses the row.
pub fn host_write(connection: &Connection, host_write: &HostWrite) -> Result<(), RepositoryError> {
    crate::seed::host_write(connection, host_write)
}

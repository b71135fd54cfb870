//! The checks of a SQLite file.

use rusqlite::Connection;
use std::path::{Path, PathBuf};
use tokio::task::block_in_place;

use super::{Checks, check_schema, check_writable};
use crate::causes;
use crate::database::{Database, sqlite};

pub(super) async fn check(checks: &mut Checks, name: &str, path: &str) {
    let connection = match block_in_place(|| sqlite::open_existing(path)) {
        Ok(Some(connection)) => connection,
        Ok(None) => return checks.fail("file", format!("{path} does not exist; `enroll migrate` creates it")),
        Err(e) => return checks.fail("file", causes(&e)),
    };
    // A URI names the file in another way.
    let file = PathBuf::from(connection.path().unwrap_or(path));
    let journal = match pragma(&connection, "journal_mode") {
        Ok(journal) => journal,
        Err(e) => return checks.fail("file", causes(&e)),
    };
    let megabytes = file.metadata().map_or(0, |metadata| metadata.len() >> 20);
    checks.ok("file", format!("{}, {megabytes} MiB", file.display()));
    checks.ok("version", format!("SQLite {}", rusqlite::version()));
    check_mode(checks, &file);
    match journal.as_str() {
        "wal" => checks.ok("journal", "WAL: reads and a write can run at the same time"),
        other => checks.warn(
            "journal",
            format!("`{other}`; it becomes WAL when a process opens the file, unless it is read-only or on a network"),
        ),
    }
    drop(connection);
    let version = block_in_place(|| Database::schema_version(name)).map_err(|e| e.to_string());
    if check_schema(checks, name, version).await {
        check_writable(checks, name).await;
    }
    check_space(checks, &file);
}

fn pragma(connection: &Connection, name: &str) -> Result<String, enroll_sqlite::SqliteError> {
    Ok(connection.pragma_query_value(None, name, |row| row.get(0))?)
}

/// Checks who can read the file, and that SQLite can create files next to it.
#[cfg(unix)]
fn check_mode(checks: &mut Checks, file: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let metadata = match file.metadata() {
        Ok(metadata) => metadata,
        Err(e) => return checks.fail("mode", causes(&e)),
    };
    let mode = metadata.permissions().mode() & 0o777;
    if metadata.permissions().readonly() {
        checks.fail("mode", format!("{mode:o}: the file is read-only; allow its owner to write"));
    } else if mode | 0o700 == 0o700 {
        checks.ok("mode", format!("{mode:o}: only the owner can read it"));
    } else {
        checks.warn("mode", format!("{mode:o}: others can read people's data; run `chmod 600 {}`", file.display()));
    }
}

#[cfg(not(unix))]
fn check_mode(checks: &mut Checks, file: &Path) {
    match file.metadata() {
        Ok(metadata) if metadata.permissions().readonly() => checks.fail("mode", "the file is read-only"),
        Ok(_) => checks.ok("mode", "the file can be written"),
        Err(e) => checks.fail("mode", causes(&e)),
    }
}

/// Checks the free space of the disk.
fn check_space(checks: &mut Checks, file: &Path) {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let free = match fs4::available_space(folder) {
        Ok(bytes) => bytes >> 20,
        Err(e) => return checks.warn("space", format!("unknown: {e}")),
    };
    match free {
        0..TOO_LITTLE => checks.fail("space", format!("{free} MiB are free; make room, since a commit can need more")),
        TOO_LITTLE..LITTLE => checks.warn("space", format!("{free} MiB are free; make room before the disk is full")),
        _ => checks.ok("space", format!("{free} MiB are free")),
    }
}

/// The log can grow to 40 MB before it is emptied, in MiB.
const TOO_LITTLE: u64 = 64;
const LITTLE: u64 = 1024;

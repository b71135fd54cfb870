//! Removes commands and outcomes that are too old. The rows of the enrollments stay, so that a repeated request is
//! recognized.

use enroll::inbox::{Removed, Retention};
use rusqlite::{Connection, params};
use uuid::Uuid;

use crate::error::SqliteError;
use crate::inbox;
use crate::trace::prepare;

/// Removes what is older than the retention, of a limited number of enrollments.
pub(crate) fn remove_expired(connection: &Connection, retention: &Retention) -> Result<Removed, SqliteError> {
    let now = inbox::now();
    let batch = i64::try_from(Retention::BATCH).unwrap_or(i64::MAX);
    let before = |age| i64::try_from(std::time::Duration::as_millis(&age)).map_or(0, |age| now.millis() - age);
    let mut removed = Removed::default();
    if let Some(age) = retention.failed {
        let params = params![now.millis(), before(age), batch];
        removed.commands = prepare(connection, REMOVE_COMMANDS)?.execute(params)? as u64;
    }
    if let Some(age) = retention.completed {
        let mut due = prepare(connection, REMOVE_REPORTS)?;
        let due = due.query_map(params![now.millis(), before(age), batch], |row| Ok([row.get(0)?, row.get(1)?]))?;
        let due: Vec<[Uuid; 2]> = due.collect::<Result<_, _>>()?;
        for enrollment in &due {
            prepare(connection, DELETE_OUTCOMES)?.execute(*enrollment)?;
        }
        removed.reports = due.len() as u64;
    }
    Ok(removed)
}

const REMOVE_COMMANDS: &str = "update enroll_enrollments set command = null, removed_at = ?1 where rowid in ( \
         select rowid from enroll_enrollments indexed by enroll_enrollments_failed_at \
         where state = 'failed' and removed_at is null and failed_at <= ?2 order by failed_at limit ?3)";
const REMOVE_REPORTS: &str = "update enroll_enrollments set removed_at = ?1 where rowid in ( \
         select rowid from enroll_enrollments indexed by enroll_enrollments_completed_at \
         where state = 'completed' and removed_at is null and completed_at <= ?2 order by completed_at limit ?3) \
     returning organization_id, id";
const DELETE_OUTCOMES: &str =
    "delete from enroll_enrollment_outcomes where organization_id = ?1 and enrollment_id = ?2";

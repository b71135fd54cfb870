//! The log of events. Triggers of the schema write it. The caller opens the transaction.

use enroll::Timestamp;
use enroll::events::{Event, EventPosition};
use enroll::report::Counts;
use rusqlite::{Connection, params};
use std::num::NonZeroU32;

use crate::error::SqliteError;
use crate::fields::ColumnReader;
use crate::read::for_each_row;
use crate::trace::prepare;

pub(crate) fn enable(connection: &Connection, enabled: bool) -> Result<(), SqliteError> {
    connection.execute("update enroll_engine set events = ?1", [enabled])?;
    Ok(())
}

pub(crate) fn enabled(connection: &Connection) -> Result<bool, SqliteError> {
    Ok(connection.query_row("select events from enroll_engine", [], |row| row.get(0))?)
}

/// Returns the events behind a position, in order.
pub(crate) fn read(
    connection: &Connection,
    after: EventPosition,
    limit: NonZeroU32,
) -> Result<Vec<Event>, SqliteError> {
    let after = i64::try_from(after.number()).unwrap_or(i64::MAX);
    let mut events = Vec::new();
    for_each_row(connection, READ, params![after, limit.get()], |columns| {
        events.push(event(columns)?);
        Ok(())
    })?;
    Ok(events)
}

fn event(columns: &mut ColumnReader<'_, '_>) -> rusqlite::Result<Event> {
    let position = EventPosition::new(columns.read::<i64>()?.unsigned_abs());
    let mut event = Event::new(
        position,
        columns.read()?,
        columns.read()?,
        columns.read()?,
        columns.read()?,
        columns.read()?,
        columns.read()?,
    );
    event.codes = columns.json_or_null()?.unwrap_or_default();
    if let Some(added) = columns.read::<Option<u32>>()? {
        let mut counts = [added as usize; Counts::NAMES.len()];
        for count in &mut counts[1..] {
            *count = columns.read::<u32>()? as usize;
        }
        event.counts = Some(Counts::from_array(counts));
    }
    Ok(event)
}

/// Removes the oldest events. Returns their number.
pub(crate) fn prune(connection: &Connection, before: Timestamp, limit: NonZeroU32) -> Result<u64, SqliteError> {
    Ok(prepare(connection, PRUNE)?.execute(params![before.millis(), limit.get()])? as u64)
}

const READ: &str = concat!(
    "select position, id, kind, organization_id, enrollment_id, sequence_id, at, codes, ",
    enrollments!(counts),
    " from enroll_events where position > ?1 order by position limit ?2"
);
const PRUNE: &str = "delete from enroll_events where position in ( \
     select position from enroll_events where at < ?1 order by at, position limit ?2)";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SqliteRepository;

    #[test]
    fn a_page_and_a_removal_search_an_index_and_sort_nothing() {
        let repository = SqliteRepository::open_in_memory().unwrap();
        for sql in [READ, PRUNE] {
            let mut statement = repository.connection().prepare(&format!("explain query plan {sql}")).unwrap();
            let steps =
                statement.raw_query().mapped(|row| row.get("detail")).collect::<Result<Vec<String>, _>>().unwrap();
            println!("{steps:#?}");
            assert!(!steps.is_empty());
            assert!(!steps.iter().any(|step| step.starts_with("SCAN") || step.contains("TEMP B-TREE")), "{steps:#?}");
        }
    }
}

//! The log of events. A trigger of the schema writes it, and a read assigns the positions.
//!
//! The statements are not prepared with the others: most connections never use them.

use enroll::Timestamp;
use enroll::events::{Event, EventPosition};
use enroll::report::Counts;
use std::num::NonZeroU32;

use crate::PostgresError;
use crate::driver::{Begin, Execute, Row, Transaction};
use crate::fields::ColumnReader;
use crate::query::Query;
use crate::statements::is_distributed;

/// Returns the events behind a position, in order. New events get their positions, which are committed before the answer.
pub(crate) async fn read(
    client: impl Begin,
    after: EventPosition,
    limit: NonZeroU32,
) -> Result<Vec<Event>, PostgresError> {
    let after = i64::try_from(after.number()).unwrap_or(i64::MAX);
    let mut transaction = client.begin().await?;
    let rows = transaction.query(&Query::new(READ).named("read_events"), &[&after, &i64::from(limit.get())]).await?;
    let events = rows.iter().map(|row| event(&mut ColumnReader::new(row))).collect::<Result<_, _>>()?;
    transaction.commit().await?;
    Ok(events)
}

fn event(columns: &mut ColumnReader<'_, impl Row>) -> Result<Event, PostgresError> {
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
    event.codes = columns.get::<Option<Vec<String>>>()?.unwrap_or_default();
    if let Some(added) = columns.get::<Option<i64>>()? {
        let mut counts = [usize::try_from(added).unwrap_or_default(); Counts::NAMES.len()];
        for count in &mut counts[1..] {
            *count = columns.read::<u32>()? as usize;
        }
        event.counts = Some(Counts::from_array(counts));
    }
    Ok(event)
}

/// Removes the oldest events. Returns their number.
pub(crate) async fn prune(client: impl Begin, before: Timestamp, limit: NonZeroU32) -> Result<u64, PostgresError> {
    let mut transaction = client.begin().await?;
    let removed = transaction
        .execute(&Query::new(PRUNE).named("prune_events"), &[&before.as_datetime(), &i64::from(limit.get())])
        .await?;
    transaction.commit().await?;
    Ok(removed)
}

/// Enables or disables the triggers.
pub(crate) async fn enable(client: impl Begin, enabled: bool) -> Result<(), PostgresError> {
    let mut transaction = client.begin().await?;
    if enabled && is_distributed(&mut transaction).await? {
        return Err(PostgresError::DistributedEvents);
    }
    transaction
        .query(&Query::new("select enroll.enable_events($1::boolean)").named("enable_events"), &[&enabled])
        .await?;
    transaction.commit().await
}

pub(crate) async fn enabled(client: impl Begin) -> Result<bool, PostgresError> {
    let query = Query::new("select enroll.events_enabled()").named("events_enabled");
    let [rows] = client.begin_read().await?.query_last([Some((&query, Vec::new()))]).await?;
    rows.first().map_or(Ok(false), |row| row.get(0))
}

const READ: &str = "select position, id, kind, organization_id, enrollment_id, sequence_id, at, codes,
        added, re_added, reprocessed, ignored, duplicate, contacts_created, conversations_created
    from enroll.events_after($1::bigint, $2::bigint)";
/// It passes over events that another call removes.
const PRUNE: &str = "delete from enroll.events e
    using (
        select organization_id, id from enroll.events where at < $1::timestamptz
        order by at, number limit $2::bigint for update skip locked
    ) old
    where e.organization_id = old.organization_id and e.id = old.id";

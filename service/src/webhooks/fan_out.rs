//! Copies the events of the log into deliveries, one for each endpoint that wants the event.
//!
//! Several processes can do it at a time: a delivery that exists is not added again, and the position moves after the
//! deliveries were added. So a crash loses no event.

use enroll::events::{Event, EventPosition};
use enroll::{OrganizationId, RepositoryError, Timestamp};
use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use super::ended;
use super::store::{self, Subscriber};
use crate::handles::Handle;
use crate::retention::earlier;

/// Copies the next events. Returns true if there may be more.
pub(crate) async fn fan_out(handle: &mut Handle, now: Timestamp) -> Result<bool, RepositoryError> {
    let from = store::position(handle).await?;
    let events = handle.events(from, EVENTS).await?;
    let Some(last) = events.last() else { return Ok(false) };
    let organizations: BTreeSet<OrganizationId> = events.iter().map(|event| event.organization_id).collect();
    let subscribers = store::subscribers(handle, organizations).await?;
    let wanted: Vec<_> = wanted(&events, &subscribers).collect();
    store::add_deliveries(handle, &wanted, now).await?;
    store::move_position(handle, from, last.position).await?;
    Ok(events.len() >= EVENTS.get() as usize)
}

/// Returns each event with each endpoint that gets it, in the order of the events.
fn wanted<'e>(
    events: &'e [Event],
    subscribers: &'e [Subscriber],
) -> impl Iterator<Item = (&'e Subscriber, &'e Event)> + 'e {
    events.iter().flat_map(move |event| {
        let gets = move |subscriber: &&Subscriber| {
            subscriber.organization_id == event.organization_id
                && subscriber.after < event.position
                && subscriber.kinds.contain(event.kind)
        };
        subscribers.iter().filter(gets).map(move |subscriber| (subscriber, event))
    })
}

/// Returns the position of the last event in the log.
pub(crate) async fn end_of_log(handle: &mut Handle) -> Result<EventPosition, RepositoryError> {
    let mut position = store::position(handle).await?;
    loop {
        let events = handle.events(position, EVENTS).await?;
        match events.last() {
            Some(last) => position = last.position,
            None => return Ok(position),
        }
    }
}

/// Adds deliveries for events that the endpoint of a replay has not got: of those since its instant, or of its event.
/// Returns their number.
pub(crate) async fn add_missing(
    handle: &mut Handle,
    replay: &ended::Replay,
    now: Timestamp,
) -> Result<u64, RepositoryError> {
    let subscribers = store::subscribers(handle, [replay.organization_id]).await?;
    let Some(subscriber) = subscribers.into_iter().find(|subscriber| subscriber.id == replay.endpoint_id) else {
        return Ok(0);
    };
    // The endpoint may be younger than the events.
    let subscribers = [Subscriber { after: EventPosition::START, ..subscriber }];
    let (mut position, mut added) = (EventPosition::START, 0);
    let end = store::position(handle).await?;
    loop {
        let events = handle.events(position, EVENTS).await?;
        let Some(last) = events.last() else { return Ok(added) };
        position = last.position;
        let is_meant = |event: &Event| match (replay.event_id, replay.since) {
            (Some(id), _) => event.id.as_uuid() == id,
            (None, since) => since.is_some_and(|since| event.at >= since),
        };
        // Later ones are copied anyway.
        let events: Vec<Event> = events.into_iter().filter(|e| e.position <= end && is_meant(e)).collect();
        let wanted: Vec<_> = wanted(&events, &subscribers).collect();
        added += store::add_deliveries(handle, &wanted, now).await?;
        if position >= end {
            return Ok(added);
        }
    }
}

/// Removes events and ended deliveries that are older than an instant, up to a bound. Keeps events that were not copied into
/// deliveries. Returns the number of events and of deliveries.
pub(crate) async fn prune(handle: &mut Handle, before: Timestamp) -> Result<(u64, u64), RepositoryError> {
    let mut removed = (0, 0);
    let mut events_before = before;
    if handle.has_tables().await? {
        for _ in 0..BATCHES {
            match ended::remove_ended(handle, before).await? {
                0 => break,
                deliveries => removed.1 += deliveries,
            }
        }
        if store::has_endpoints(handle).await? {
            let position = store::position(handle).await?;
            let next = handle.events(position, NonZeroU32::MIN).await?;
            events_before = next.first().map_or(before, |event| earlier(event.at, MARGIN).min(before));
        }
    }
    for _ in 0..BATCHES {
        let events = handle.prune_events(events_before, EVENTS).await?;
        removed.0 += events;
        if events < EVENTS.get().into() {
            break;
        }
    }
    Ok(removed)
}

/// The number of events in one step.
const EVENTS: NonZeroU32 = NonZeroU32::new(500).unwrap();
/// How much earlier than an event a later one of the log can have happened.
const MARGIN: Duration = Duration::from_secs(3600);
/// The number of steps of a removal.
const BATCHES: usize = 100;

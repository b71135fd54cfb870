//! The log of events in memory.

use std::num::NonZeroU32;

use super::repository::InMemoryRepository;
use crate::events::{AsyncEventLog, Event, EventLog, EventPosition};
use crate::ids::OrganizationId;
use crate::repository::RepositoryError;
use crate::stored_enrollment::StoredEnrollment;
use crate::time::Timestamp;

/// The events of all organizations.
#[derive(Debug, Default)]
pub(super) struct Events {
    /// Whether changes write events.
    enabled: bool,
    /// In the order of their positions.
    stored: Vec<Event>,
    /// The position of the last event, which may have been removed.
    last: u64,
}

impl Events {
    /// Writes the event of an enrollment that has just changed to its state.
    pub(super) fn write(&mut self, organization_id: OrganizationId, enrollment: &StoredEnrollment, now: Timestamp) {
        if self.enabled {
            self.last += 1;
            self.stored.push(Event::of(enrollment, organization_id, EventPosition::new(self.last), now));
        }
    }
}

impl InMemoryRepository {
    /// Turns events on or off. They are off at first.
    ///
    /// Accepting, committing, giving up and retrying write events. [`insert`](Self::insert) and [`edit`](Self::edit) do not.
    pub fn enable_events(&self, enabled: bool) {
        self.lock().events.enabled = enabled;
    }

    /// Returns whether events are on.
    #[must_use]
    pub fn events_enabled(&self) -> bool {
        self.lock().events.enabled
    }
}

impl EventLog for InMemoryRepository {
    fn events(&mut self, after: EventPosition, limit: NonZeroU32) -> Result<Vec<Event>, RepositoryError> {
        let state = self.lock();
        let stored = &state.events.stored;
        let first = stored.partition_point(|event| event.position <= after);
        Ok(stored[first..].iter().take(as_usize(limit)).cloned().collect())
    }

    fn prune_events(&mut self, before: Timestamp, limit: NonZeroU32) -> Result<u64, RepositoryError> {
        let stored = &mut self.lock().events.stored;
        let mut old: Vec<_> = stored.iter().filter(|event| event.at < before).map(|e| (e.at, e.position)).collect();
        old.sort_unstable();
        old.truncate(as_usize(limit));
        stored.retain(|event| old.binary_search(&(event.at, event.position)).is_err());
        Ok(old.len() as u64)
    }
}

fn as_usize(limit: NonZeroU32) -> usize {
    usize::try_from(limit.get()).unwrap_or(usize::MAX)
}

/// Never waits, except for the lock.
impl AsyncEventLog for InMemoryRepository {
    async fn events(&mut self, after: EventPosition, limit: NonZeroU32) -> Result<Vec<Event>, RepositoryError> {
        EventLog::events(self, after, limit)
    }

    async fn prune_events(&mut self, before: Timestamp, limit: NonZeroU32) -> Result<u64, RepositoryError> {
        EventLog::prune_events(self, before, limit)
    }
}

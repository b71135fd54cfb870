//! Events: what happened to enrollments, as a log that a host reads in order. It has a blocking and an async form.
//!
//! An enrollment that is accepted, completed, rejected or given up writes an [`Event`] in the same transaction. A reader
//! keeps the [`EventPosition`] of the last event that it has handled, and asks for the events behind it. It misses none.
//! An event has ids, counts and codes. It has no personal data.
//!
//! Events are off until the host enables them, with a method of the adapter. While they are off, commits do not pay for
//! them.
//!
//! ```
//! use enroll::InMemoryRepository;
//! use enroll::events::{EventLog, EventPosition};
//! use std::num::NonZeroU32;
//!
//! let mut repository = InMemoryRepository::new();
//! repository.enable_events(true);
//!
//! // The host stores the position together with what it does for each event.
//! let mut position = EventPosition::START;
//! let limit = NonZeroU32::new(100).unwrap();
//! loop {
//!     let events = repository.events(position, limit)?;
//!     let Some(last) = events.last() else { break };
//!     for event in &events {
//!         println!("{} {}: {:?}", event.kind, event.enrollment_id, event.counts);
//!     }
//!     position = last.position;
//! }
//! # Ok::<(), enroll::RepositoryError>(())
//! ```

mod traits;

pub use crate::ids::EventId;
pub use traits::{AsyncEventLog, DynAsyncEventLog, EventLog};

use serde::{Deserialize, Serialize};
use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use crate::ids::{EnrollmentId, OrganizationId, SequenceId};
use crate::report::Counts;
use crate::stored_enrollment::{EnrollmentState, StoredEnrollment};
use crate::time::Timestamp;
use crate::words::words;

/// What happened to an enrollment.
///
/// As JSON, it contains what a webhook sends. Absent fields are omitted:
///
/// ```
/// use enroll::events::Event;
///
/// let json = r#"{
///     "position": 7,
///     "id": "0e6ee1b6-5d0c-4a7e-a5a4-3c3e6f8a2b11",
///     "kind": "rejected",
///     "organization_id": "6f1d8a52-2c0f-4a57-9a0e-6d4c3b2a1f00",
///     "enrollment_id": "8b1f6c1e-1111-8222-9333-444455556666",
///     "sequence_id": "3c9f2b7a-0d1e-4f2a-8b3c-4d5e6f708192",
///     "at": "2026-02-01T15:00:00.000Z",
///     "codes": ["sequence_not_active"]
/// }"#;
/// let event: Event = serde_json::from_str(json)?;
/// assert_eq!(serde_json::to_value(&event)?, serde_json::from_str::<serde_json::Value>(json)?);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Event {
    /// The place in the log.
    pub position: EventPosition,
    /// The id. No other event has it, in any storage.
    pub id: EventId,
    /// What happened.
    pub kind: EventKind,
    /// The organization.
    pub organization_id: OrganizationId,
    /// The enrollment.
    pub enrollment_id: EnrollmentId,
    /// The sequence of the enrollment.
    pub sequence_id: SequenceId,
    /// When the event was written, by the clock of the storage.
    pub at: Timestamp,
    /// The counts of the report; only of a completed enrollment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<Counts>,
    /// The codes of the faults (spec 3), in the order of the rejection; only of a rejected enrollment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub codes: Vec<String>,
}

impl Event {
    /// Returns an event without counts and codes, as a repository reads it.
    #[must_use]
    pub fn new(
        position: EventPosition,
        id: EventId,
        kind: EventKind,
        organization_id: OrganizationId,
        enrollment_id: EnrollmentId,
        sequence_id: SequenceId,
        at: Timestamp,
    ) -> Self {
        let (counts, codes) = (None, Vec::new());
        Self { position, id, kind, organization_id, enrollment_id, sequence_id, at, counts, codes }
    }

    /// Returns the event of an enrollment that has just changed to its state.
    pub(crate) fn of(
        enrollment: &StoredEnrollment,
        organization_id: OrganizationId,
        position: EventPosition,
        at: Timestamp,
    ) -> Self {
        let kind = match enrollment.state {
            EnrollmentState::Accepted => EventKind::Accepted,
            EnrollmentState::Completed { .. } => EventKind::Completed,
            EnrollmentState::Rejected { .. } => EventKind::Rejected,
            EnrollmentState::Failed => EventKind::Failed,
        };
        let id = EventId::derived(organization_id, enrollment.id, position.number());
        let event = Self::new(position, id, kind, organization_id, enrollment.id, enrollment.sequence_id, at);
        match &enrollment.state {
            EnrollmentState::Completed { report } => Self { counts: Some(report.counts()), ..event },
            EnrollmentState::Rejected { rejection } => {
                Self { codes: rejection.errors().iter().map(|fault| fault.code.to_string()).collect(), ..event }
            }
            EnrollmentState::Accepted | EnrollmentState::Failed => event,
        }
    }
}

words! {
    "kind of event",
    /// The state that an enrollment changed to.
    #[non_exhaustive]
    pub enum EventKind {
        /// The enrollment was accepted and waits for a worker. A retry of a failed enrollment accepts it again.
        Accepted = "accepted",
        /// The enrollment was completed: its rows are written. One that is enrolled at once has only this event.
        Completed = "completed",
        /// The enrollment was rejected after it had been accepted.
        Rejected = "rejected",
        /// Workers gave the enrollment up. An attempt that will be repeated writes nothing.
        Failed = "failed",
    }
}

/// A place in the log of one storage. Positions grow, and may have gaps.
///
/// A host keeps the position of the last event that it has handled, for example as text.
///
/// ```
/// use enroll::events::EventPosition;
///
/// let position = EventPosition::new(42);
/// assert!(position > EventPosition::START);
/// assert_eq!(position.to_string().parse(), Ok(position));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventPosition(u64);

impl EventPosition {
    /// The position before the first event.
    pub const START: Self = Self(0);

    /// Returns the position with a number. That of an event is at least 1.
    #[must_use]
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Returns the number.
    #[must_use]
    pub const fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for EventPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for EventPosition {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

//! The databases of the contenders. Each has its own database with the same organization.

mod postgres;
mod sqlite;

pub use postgres::{PostgresArena, PostgresStore};
pub use sqlite::{SqliteArena, SqliteStore};

use enroll::{Disposition, EnrollmentReport, Timestamp};
use enroll_bench::people;
use enroll_bench::people::Scene;
use std::ops::Range;
use std::sync::OnceLock;
use std::time::Instant;

use crate::{Request, rules};

/// An implementation of the enrollment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contender {
    /// The engine on its own adapter.
    Enroll,
    /// Looks up and writes each recipient before the next one.
    Rows,
    /// Looks up and writes many rows in one statement.
    Batched,
}

impl Contender {
    /// All contenders.
    pub const ALL: [Self; 3] = [Self::Enroll, Self::Rows, Self::Batched];

    /// Returns the name in the benches.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enroll => "enroll",
            Self::Rows => "row by row",
            Self::Batched => "batched",
        }
    }
}

/// The report of a contender.
#[derive(Debug)]
pub enum Answer {
    Enroll(EnrollmentReport),
    Rival(rules::Report),
}

impl Answer {
    /// Returns the disposition of each recipient.
    #[must_use]
    pub fn dispositions(&self) -> Vec<Disposition> {
        match self {
            Self::Enroll(report) => report.outcomes.iter().map(|outcome| outcome.disposition).collect(),
            Self::Rival(report) => report.outcomes.iter().map(|outcome| outcome.disposition).collect(),
        }
    }

    /// Returns the codes of all reasons and notes of each recipient.
    #[must_use]
    pub fn codes(&self) -> Vec<Vec<&'static str>> {
        use enroll::{Note, Reason};
        let codes = |reasons: &[Reason], notes: &[Note]| {
            reasons.iter().map(Reason::code).chain(notes.iter().map(Note::code)).collect()
        };
        match self {
            Self::Enroll(report) => report.outcomes.iter().map(|o| codes(&o.reasons, &o.notes)).collect(),
            Self::Rival(report) => report.outcomes.iter().map(|o| codes(&o.reasons, &o.notes)).collect(),
        }
    }
}

/// The numbers of rows in the tables.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub contacts: i64,
    pub conversations: i64,
    pub runs: i64,
    pub step_contacts: i64,
    pub contact_tags: i64,
    pub custom_records: i64,
}

/// Returns a request to the sequence of a scene.
#[must_use]
pub fn request_to<'a>(scene: &Scene, key: &'a str, body: &'a [u8]) -> Request<'a> {
    Request {
        organization_id: scene.organization_id().as_uuid(),
        sequence_id: scene.sequence_id.as_uuid(),
        key,
        at: at(scene),
        body,
    }
}

/// Returns the instant of the next request, later than all earlier ones. With one instant for all requests, the engine's
/// ids would be between the ids of the existing rows, since they are ordered by instant and index.
fn at(scene: &Scene) -> Timestamp {
    static START: OnceLock<Instant> = OnceLock::new();
    let passed = START.get_or_init(Instant::now).elapsed().as_millis();
    let passed = i64::try_from(passed).unwrap_or(i64::MAX);
    Timestamp::from_millis(scene.at.millis().saturating_add(passed)).unwrap_or(scene.at)
}

/// Returns a request of two recipients that no bench sends again. A new connection enrolls them first.
#[must_use]
pub fn warm_up() -> Vec<u8> {
    people::crowd(WARM_UP)
}

/// Returns the requests for a number of existing contacts, each with the maximum of recipients.
fn crowd_requests(contacts: usize) -> impl Iterator<Item = (String, Vec<u8>)> {
    let max = enroll::request::MAX_RECIPIENTS;
    (0..contacts).step_by(max).map(move |from| (format!("crowd-{from}"), people::crowd(from..contacts.min(from + max))))
}

const WARM_UP: Range<usize> = 7_999_998..8_000_000;

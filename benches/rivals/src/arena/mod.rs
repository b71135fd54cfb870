//! The databases of the contenders. Each has its own database with the same organization.

mod postgres;
mod sqlite;

pub use postgres::{PostgresArena, PostgresStore};
pub use sqlite::{SqliteArena, SqliteStore};

use enroll::{Timestamp, Disposition, EnrollmentReport};
use enroll_bench::people;
use enroll_bench::people::Scene;
use std::ops::Range;
use std::sync::OnceLock;
use std::time::Instant;

use crate::{Asked, rules};

/// Who enrolls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contender {
    /// The engine on its own adapter.
    Enroll,
    /// Each recipient looked up and written before the next.
    Rows,
    /// Set look-ups and multi-row writes.
    Batched,
}

impl Contender {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Enroll, Self::Rows, Self::Batched];

    /// Its name in the benches.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enroll => "enroll",
            Self::Rows => "row by row",
            Self::Batched => "batched",
        }
    }
}

/// What a contender answers.
#[derive(Debug)]
pub enum Answer {
    Enroll(EnrollmentReport),
    Rival(rules::Report),
}

impl Answer {
    /// What became of each recipient.
    #[must_use]
    pub fn dispositions(&self) -> Vec<Disposition> {
        match self {
            Self::Enroll(report) => report.outcomes.iter().map(|outcome| outcome.disposition).collect(),
            Self::Rival(report) => report.outcomes.iter().map(|outcome| outcome.disposition).collect(),
        }
    }

    /// The codes of all reasons and notes of each recipient.
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

/// Returns the number of existing rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub contacts: i64,
    pub conversations: i64,
    pub runs: i64,
    pub step_contacts: i64,
    pub contact_tags: i64,
    pub custom_records: i64,
}

/// A request to the sequence of a scene.
#[must_use]
pub fn asked<'a>(scene: &Scene, key: &'a str, body: &'a [u8]) -> Asked<'a> {
    Asked {
        organization_id: scene.organization_id().as_uuid(),
        sequence_id: scene.sequence_id.as_uuid(),
        key,
        at: at(scene),
        body,
    }
}

/// The instant of the next request: later than those of all before, as it would be. With one for all, our ids, which are
/// ordered by instant and index, would be between those of the crowd.
fn at(scene: &Scene) -> Timestamp {
    static BEGUN: OnceLock<Instant> = OnceLock::new();
    let passed = BEGUN.get_or_init(Instant::now).elapsed().as_millis();
    let passed = i64::try_from(passed).unwrap_or(i64::MAX);
    Timestamp::from_millis(scene.at.millis().saturating_add(passed)).unwrap_or(scene.at)
}

/// Two recipients that no bench sends again. They are enrolled first, to warm a new connection.
#[must_use]
pub fn warming() -> Vec<u8> {
    people::crowd(WARMING)
}

/// The crowd in requests, as large as they may be.
fn crowds(people: usize) -> impl Iterator<Item = (String, Vec<u8>)> {
    let most = enroll::request::MAX_RECIPIENTS;
    (0..people).step_by(most).map(move |from| (format!("crowd-{from}"), people::crowd(from..people.min(from + most))))
}

const WARMING: Range<usize> = 7_999_998..8_000_000;

//! An enrollment as a repository stores it, and its state.

use serde::{Deserialize, Serialize};

use crate::fault::Rejection;
use crate::ids::{EnrollmentId, SequenceId};
use crate::report::EnrollmentReport;
use crate::request::Fingerprint;
use crate::time::Timestamp;

/// An enrollment as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StoredEnrollment {
    /// Its id.
    pub id: EnrollmentId,
    /// The sequence.
    pub sequence_id: SequenceId,
    /// By what a request that comes again is known.
    pub fingerprint: Fingerprint,
    /// The instant of the request.
    pub at: Timestamp,
    /// The instant of its completion, or of its rejection.
    pub completed_at: Option<Timestamp>,
    /// How far it got.
    pub state: EnrollmentState,
}

impl StoredEnrollment {
    /// An enrollment in a state: what a repository reads back.
    #[must_use]
    pub fn new(
        id: EnrollmentId,
        sequence_id: SequenceId,
        fingerprint: Fingerprint,
        at: Timestamp,
        state: EnrollmentState,
    ) -> Self {
        Self { id, sequence_id, fingerprint, at, completed_at: None, state }
    }

    /// An enrollment that is completed at the instant of its request.
    #[must_use]
    pub fn completed(fingerprint: Fingerprint, report: EnrollmentReport) -> Self {
        let (id, sequence_id, at) = (report.enrollment_id, report.sequence_id, report.at);
        let completed_at = Some(at);
        Self { id, sequence_id, fingerprint, at, completed_at, state: EnrollmentState::Completed { report } }
    }
}

/// How far an enrollment got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
#[non_exhaustive]
pub enum EnrollmentState {
    /// Accepted, and not processed yet.
    Accepted,
    /// Done, with everything that it wrote.
    Completed {
        /// What it did.
        report: EnrollmentReport,
    },
    /// Ended without writing anything: what it refers to became unusable after it was accepted.
    Rejected {
        /// Why, with the codes of SPEC 3.
        rejection: Rejection,
    },
    /// Given up after retries. It can be retried.
    Failed,
}

impl EnrollmentState {
    /// The words that name the states, in the order of their definition.
    pub const WORDS: [&'static str; 4] = ["accepted", "completed", "rejected", "failed"];

    /// Returns the word that names the state in JSON and in databases.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Accepted => Self::WORDS[0],
            Self::Completed { .. } => Self::WORDS[1],
            Self::Rejected { .. } => Self::WORDS[2],
            Self::Failed => Self::WORDS[3],
        }
    }
}

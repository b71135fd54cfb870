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
    /// The id.
    pub id: EnrollmentId,
    /// The sequence.
    pub sequence_id: SequenceId,
    /// The fingerprint of the request, to recognize the same request.
    pub fingerprint: Fingerprint,
    /// The instant of the request.
    pub at: Timestamp,
    /// The instant of the completion or rejection.
    pub completed_at: Option<Timestamp>,
    /// The state.
    pub state: EnrollmentState,
    /// The number of recipients that were erased from its command.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub erased_recipients: u32,
    /// When its request or its outcomes were removed, because they were too old.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub removed_at: Option<Timestamp>,
}

impl StoredEnrollment {
    /// Returns an enrollment in a state, as a repository reads it.
    #[must_use]
    pub fn new(
        id: EnrollmentId,
        sequence_id: SequenceId,
        fingerprint: Fingerprint,
        at: Timestamp,
        state: EnrollmentState,
    ) -> Self {
        let (completed_at, removed_at, erased_recipients) = (None, None, 0);
        Self { id, sequence_id, fingerprint, at, completed_at, state, erased_recipients, removed_at }
    }

    /// Returns an enrollment that was completed at the instant of its request.
    #[must_use]
    pub fn completed(fingerprint: Fingerprint, report: EnrollmentReport) -> Self {
        let (id, sequence_id, at) = (report.enrollment_id, report.sequence_id, report.at);
        let completed = Self::new(id, sequence_id, fingerprint, at, EnrollmentState::Completed { report });
        Self { completed_at: Some(at), ..completed }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// The state of an enrollment (spec 6).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
#[non_exhaustive]
pub enum EnrollmentState {
    /// Accepted, and not processed yet.
    Accepted,
    /// Completed: its rows are written.
    Completed {
        /// The result.
        report: EnrollmentReport,
    },
    /// Ended without other rows: a row that it refers to became unusable after it was accepted.
    Rejected {
        /// Why, with the codes of spec 3.
        rejection: Rejection,
    },
    /// Processing gave up after retries. It can be retried.
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

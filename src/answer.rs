//! What an operation answers: a receipt, an outcome, or an error.

use crate::command::ReadAs;
use crate::fault::Rejection;
use crate::ids::EnrollmentId;
use crate::report::{EnrollmentReport, Warning};
use crate::repository::{RepositoryError, RepositoryErrorKind};
use crate::stored_enrollment::StoredEnrollment;
use crate::time::Timestamp;

/// The answer to an accepted request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// The enrollment. Its state and report are read under this id.
    pub enrollment_id: EnrollmentId,
    /// The instant of the request that was accepted first.
    pub accepted_at: Timestamp,
    /// The number of recipients.
    pub recipients: usize,
    /// Whether the same request was accepted before (spec 6).
    pub replayed: bool,
    /// What the engine does not use of the request (spec 3).
    pub warnings: Vec<Warning>,
}

impl Receipt {
    pub(crate) fn new(stored: &StoredEnrollment, recipients: usize, replayed: bool, warnings: Vec<Warning>) -> Self {
        Self { enrollment_id: stored.id, accepted_at: stored.at, recipients, replayed, warnings }
    }
}

/// A completed enrollment: its report, and whether the report is from an earlier call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Enrolled {
    /// The report.
    pub report: EnrollmentReport,
    /// Whether the enrollment was completed before this call, which then wrote nothing (spec 6).
    pub replayed: bool,
    /// The addresses of each recipient as the engine read them (spec 5). Empty if the enrollment was completed before, or
    /// if a worker processed it.
    pub read_as: Vec<ReadAs>,
}

/// How an enrollment ended.
///
/// Exhaustive, because a host must handle both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessOutcome {
    /// It is completed.
    Completed(Enrolled),
    /// It wrote nothing: a row that it refers to became unusable after it was accepted.
    Rejected {
        /// Why.
        rejection: Rejection,
        /// Whether the enrollment was rejected before this call.
        replayed: bool,
    },
}

impl ProcessOutcome {
    /// Returns a completed enrollment.
    ///
    /// # Errors
    /// [`EnrollError::Rejected`] if the enrollment was rejected.
    pub fn enrolled(self) -> Result<Enrolled, EnrollError> {
        match self {
            Self::Completed(enrolled) => Ok(enrolled),
            Self::Rejected { rejection, .. } => Err(rejection.into()),
        }
    }

    /// Returns the report of a completed enrollment.
    ///
    /// # Errors
    /// [`EnrollError::Rejected`] if the enrollment was rejected.
    pub fn report(self) -> Result<EnrollmentReport, EnrollError> {
        self.enrolled().map(|enrolled| enrolled.report)
    }
}

/// Why an operation failed. Nothing was written, unless the storage became unavailable during the commit.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnrollError {
    /// The request is refused (spec 3).
    // The message has the faults, so the rejection is not the source too.
    #[error("the request is refused: {0}")]
    Rejected(Rejection),
    /// The repository failed.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// Other writers were first in every attempt.
    #[error("other writers were first in all {attempts} attempts; try again later")]
    Contended {
        /// The number of attempts.
        attempts: u32,
    },
    /// The same request was accepted before and has no report yet.
    #[error("enrollment `{enrollment_id}` is {state} and has no report yet; process it, or try again later")]
    Unfinished {
        /// The enrollment.
        enrollment_id: EnrollmentId,
        /// `accepted` or `failed`.
        state: &'static str,
    },
    /// The same request was completed before, and its outcomes were removed because they were too old.
    #[error("enrollment `{enrollment_id}` is completed, and its report was removed at {removed_at}")]
    ReportRemoved {
        /// The enrollment.
        enrollment_id: EnrollmentId,
        /// When its outcomes were removed.
        removed_at: Timestamp,
    },
    /// A newer build accepted the enrollment, under a rule that this build does not know.
    ///
    /// This is not a failed attempt: give the claim back with [`Inbox::release`](crate::Inbox::release), for a newer worker.
    #[error("the command of enrollment `{enrollment_id}` has version {version}; a newer build must process it")]
    NewerVersion {
        /// The enrollment.
        enrollment_id: EnrollmentId,
        /// The version of its command.
        version: u32,
    },
    /// The organization has no such enrollment.
    #[error("the organization has no enrollment `{0}`")]
    NotFound(EnrollmentId),
}

impl EnrollError {
    /// Returns the HTTP status for a client that asked for the enrollment.
    ///
    /// | Status | Error | Body |
    /// |---|---|---|
    /// | 404, 409 or 422 | [`Rejected`](Self::Rejected): that of the rejection | the rejection, as JSON |
    /// | 404 | [`NotFound`](Self::NotFound) | |
    /// | 409 | [`Unfinished`](Self::Unfinished), [`ReportRemoved`](Self::ReportRemoved) | |
    /// | 503 | [`Contended`](Self::Contended), [`NewerVersion`](Self::NewerVersion), and a repository that is unavailable or had a conflict | the same request can succeed later |
    /// | 500 | any other error of the repository | not its text: that is for the log |
    ///
    /// ```
    /// use enroll::{EnrollError, RepositoryError, RepositoryErrorKind};
    ///
    /// let outage = RepositoryError::new(RepositoryErrorKind::Unavailable, "the disk is full");
    /// assert_eq!(EnrollError::from(outage).status(), 503);
    /// ```
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Rejected(rejection) => rejection.status(),
            Self::NotFound(_) => 404,
            Self::Unfinished { .. } | Self::ReportRemoved { .. } => 409,
            Self::Contended { .. } | Self::NewerVersion { .. } => 503,
            Self::Repository(e) => match e.kind() {
                RepositoryErrorKind::Conflict | RepositoryErrorKind::Unavailable => 503,
                RepositoryErrorKind::Other => 500,
            },
        }
    }
}

impl From<Rejection> for EnrollError {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

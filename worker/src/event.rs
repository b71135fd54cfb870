//! What workers report to their host.

use std::fmt;
use std::time::Duration;

use enroll::inbox::Claim;
use enroll::{EnrollmentReport, Rejection};

/// What a worker did, for logs and metrics.
///
/// Each [`Claimed`](Self::Claimed) is followed by one event of the same claim that ends it: see [`ended`](Self::ended).
/// Errors are text, with their causes in one line.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The worker claimed an enrollment.
    Claimed(Claim),
    /// No enrollment was due.
    NoneDue,
    /// A claim failed. The worker tries again.
    ClaimFailed {
        /// Why.
        error: String,
    },
    /// The worker completed an enrollment.
    Completed {
        /// The lease.
        claim: Claim,
        /// The report.
        report: Box<EnrollmentReport>,
        /// The time since the claim.
        took: Duration,
    },
    /// The worker rejected an enrollment: a row that it refers to became unusable.
    Rejected {
        /// The lease.
        claim: Claim,
        /// Why.
        rejection: Rejection,
    },
    /// Another worker finished the enrollment before, or a host deleted it.
    Superseded {
        /// The lease.
        claim: Claim,
    },
    /// An attempt failed, and another one follows.
    Retried {
        /// The lease.
        claim: Claim,
        /// Why.
        error: String,
        /// The time until the next attempt.
        delay: Duration,
    },
    /// The last attempt failed. The enrollment is `failed`.
    Failed {
        /// The lease.
        claim: Claim,
        /// Why.
        error: String,
    },
    /// The worker gave the claim back. This is not a failed attempt.
    Released {
        /// The lease.
        claim: Claim,
        /// Why.
        reason: ReleaseReason,
        /// The same as text.
        error: String,
    },
    /// The storage was unavailable. The worker gives the claim back as soon as it can. This is not a failed attempt.
    Interrupted {
        /// The lease.
        claim: Claim,
        /// Why.
        error: String,
    },
    /// Another call of the storage failed. The worker tries again.
    StorageFailed {
        /// Why.
        error: String,
    },
}

impl Event {
    /// Returns the claim that the event is about.
    #[must_use]
    pub fn claim(&self) -> Option<&Claim> {
        match self {
            Self::Claimed(claim)
            | Self::Completed { claim, .. }
            | Self::Rejected { claim, .. }
            | Self::Superseded { claim }
            | Self::Retried { claim, .. }
            | Self::Failed { claim, .. }
            | Self::Released { claim, .. }
            | Self::Interrupted { claim, .. } => Some(claim),
            Self::NoneDue | Self::ClaimFailed { .. } | Self::StorageFailed { .. } => None,
        }
    }

    /// Returns the claim that the event ends: the worker does not process it any more.
    #[must_use]
    pub fn ended(&self) -> Option<&Claim> {
        if let Self::Claimed(_) = self { None } else { self.claim() }
    }
}

/// Why a worker gave a claim back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReleaseReason {
    /// Other writers were first in every attempt to commit.
    Contended,
    /// A newer build must process the enrollment.
    NewerVersion,
    /// The workers stop.
    Stopped,
}

impl fmt::Display for ReleaseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Contended => "other writers were first",
            Self::NewerVersion => "a newer build must process the enrollment",
            Self::Stopped => "the workers stop",
        })
    }
}

//! The inbox: accepted enrollments that wait for background work. It has a blocking and an async form.
//!
//! An enrollment is accepted when its [`EnrollmentCommand`](crate::EnrollmentCommand) is stored. The 202 answer
//! promises exactly that. The commit that writes its rows also completes it, so a host needs no second record to
//! reconcile, and nothing is lost between storing and queueing. A worker must call [`process`](crate::process) at least
//! once; the inbox makes sure that it applies once.

pub(crate) mod traits;

pub(crate) use traits::{AsyncInbox, Inbox};

use crate::command::StoredCommand;
use crate::ids::{EnrollmentId, OrganizationId};
use crate::stored_enrollment::StoredEnrollment;
use crate::time::Timestamp;

/// An enrollment as the inbox stores it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct InboxEntry {
    /// The enrollment and its state.
    pub enrollment: StoredEnrollment,
    /// Its command; present while it is accepted or failed. Read it with [`StoredCommand::from_json`].
    pub command: Option<StoredCommand>,
    /// The number of claims since it was accepted or retried.
    pub attempts: u32,
    /// Why the last attempt failed, if one failed.
    pub error: Option<String>,
}

impl InboxEntry {
    /// Returns an enrollment that was never claimed.
    #[must_use]
    pub fn new(enrollment: StoredEnrollment, command: Option<StoredCommand>) -> Self {
        Self { enrollment, command, attempts: 0, error: None }
    }
}

/// A lease on an enrollment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Claim {
    /// Its organization.
    pub organization_id: OrganizationId,
    /// The enrollment.
    pub enrollment_id: EnrollmentId,
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// The instant at which the lease ends.
    pub lease_end: Timestamp,
}

impl Claim {
    /// Returns a lease, as a repository gives it.
    #[must_use]
    pub fn new(
        organization_id: OrganizationId,
        enrollment_id: EnrollmentId,
        attempt: u32,
        lease_end: Timestamp,
    ) -> Self {
        Self { organization_id, enrollment_id, attempt, lease_end }
    }
}

/// A failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// The reason, for people who operate the host.
    pub error: String,
    /// When the next attempt is due. `None` gives the enrollment up: its state becomes `failed`.
    pub retry_at: Option<Timestamp>,
}

impl Failure {
    /// Creates a failure. `retry_at` is absent if the enrollment is given up.
    #[must_use]
    pub fn new(error: impl Into<String>, retry_at: Option<Timestamp>) -> Self {
        Self { error: error.into(), retry_at }
    }
}

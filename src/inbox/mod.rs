//! The inbox: accepted enrollments that wait for background work. It has a blocking and an async form.
//!
//! An enrollment is accepted when its [`EnrollmentCommand`](crate::EnrollmentCommand) is stored. The 202 answer
//! promises exactly that. The commit that writes its rows also completes it, so a host needs no second record to
//! reconcile, and nothing is lost between storing and queueing. A worker must call [`process`](crate::process) at least
//! once; the inbox makes sure that it applies once.

pub(crate) mod traits;

pub(crate) use traits::{AsyncInbox, Inbox};

use std::time::Duration;

use crate::command::StoredCommand;
use crate::ids::{EnrollmentId, OrganizationId};
use crate::stored_enrollment::StoredEnrollment;

/// An enrollment as the inbox stores it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct InboxEntry {
    /// The enrollment and its state.
    pub enrollment: StoredEnrollment,
    /// Its command; present while it is accepted, or failed and not removed. Read it with [`StoredCommand::from_json`].
    pub command: Option<StoredCommand>,
    /// The number of attempts that ended with an answer, since it was accepted or retried. An outage of the storage and a
    /// lost lease do not count.
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
    /// The number of the lease, which only one claim has. It grows with each lease of the enrollment.
    pub lease: u64,
    /// The number of attempts that ended with an answer before this claim.
    pub attempts: u32,
    /// The number of leases in a row, up to this claim, that ended without an answer.
    pub lost_leases: u32,
}

impl Claim {
    /// Returns a lease without earlier attempts.
    #[must_use]
    pub fn new(organization_id: OrganizationId, enrollment_id: EnrollmentId, lease: u64) -> Self {
        Self { organization_id, enrollment_id, lease, attempts: 0, lost_leases: 0 }
    }
}

/// The number of leases in a row that a worker may lose on one enrollment.
///
/// A worker that gets a claim with so many lost leases does not process it: the enrollment probably ended each of the
/// worker processes. It records a [`Failure`] without a next attempt, and the other enrollments go on.
pub const MAX_LOST_LEASES: u32 = 20;

/// An answer that says: this enrollment cannot be processed.
///
/// An outage is not such an answer. After [`Unavailable`](crate::RepositoryErrorKind::Unavailable),
/// [`Contended`](crate::EnrollError::Contended) and [`NewerVersion`](crate::EnrollError::NewerVersion), a worker calls
/// [`Inbox::release`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// The reason, for people who operate the host.
    pub error: String,
    /// When the next attempt is due, from now. `None` gives the enrollment up: its state becomes `failed`.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// Creates a failure. `retry_after` is absent if the enrollment is given up.
    #[must_use]
    pub fn new(error: impl Into<String>, retry_after: Option<Duration>) -> Self {
        Self { error: error.into(), retry_after }
    }
}

/// How long an inbox keeps what has ended. A repository measures it by its own clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Retention {
    /// After which time the command of a failed enrollment is removed. `None` keeps it. Without it, a retry is impossible.
    pub failed: Option<Duration>,
    /// After which time the outcomes of a completed enrollment are removed. `None` keeps them.
    pub completed: Option<Duration>,
}

impl Retention {
    /// Creates a retention that keeps all.
    #[must_use]
    pub fn keep() -> Self {
        Self::default()
    }

    /// The number of enrollments of each kind that one call removes from at most, so that no call holds locks for long.
    pub const BATCH: usize = 100;
}

/// What one call removed because it was too old.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Removed {
    /// The number of failed enrollments whose command was removed.
    pub commands: u64,
    /// The number of completed enrollments whose outcomes were removed.
    pub reports: u64,
}

impl Removed {
    /// Returns true if another call can find more.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.commands >= Retention::BATCH as u64 || self.reports >= Retention::BATCH as u64
    }
}

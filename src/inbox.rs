//! The seam for work in the background: what was accepted and waits, in a blocking and an async shape.
//!
//! An enrollment is accepted when its [`EnrollmentCommand`] is stored, and that is the promise of the 202. It is completed
//! in the commit that writes what it does, so there is no second truth to reconcile, and no gap between storing and
//! queueing. Whatever calls [`process`](crate::process) has to do so at least once; that it happens once is seen to here.

use crate::command::EnrollmentCommand;
use crate::repository::{AsyncRepository, Repository, RepositoryError};
use crate::stored_enrollment::StoredEnrollment;
use crate::{EnrollmentId, OrganizationId, Timestamp};

/// A repository that keeps what was accepted until it is processed.
///
/// # Contract
/// That of [`Repository`], and:
/// 1. *Inserted once.* `insert` stores an enrollment that has no row, for good; otherwise it changes nothing and
///    answers with the row that stands. Of two at once, one inserts.
/// 2. *Completion commits with its data.* A commit whose completion is to finish an enrollment needs one that is
///    accepted, and anything else is a `Conflict`; afterwards it is in its final state, for good.
/// 3. *A lease is given once.* `claim` gives the oldest enrollment (by instant, then id) that is accepted and whose
///    lease or back-off has run out, counts an attempt, and leases it: no other claim gets it before the lease's end.
/// 4. *A failure is of an attempt.* `record_failure` changes an enrollment that is accepted, whose attempts are the
///    claim's and whose lease is, and nothing otherwise: an attempt that was overtaken says nothing, also where a retry
///    has begun the count anew.
/// 5. *A retry begins anew.* `retry` makes a failed enrollment accepted, without attempts, due at once; and changes no
///    other.
/// 6. *Tenants are walls.* An id is an enrollment of its organization.
pub trait Inbox: Repository {
    /// Stores an accepted enrollment, or answers with the one that stands under its id.
    ///
    /// # Errors
    /// [`RepositoryError`] if the storage cannot do it.
    fn insert(&mut self, command: &EnrollmentCommand) -> Result<Option<StoredEnrollment>, RepositoryError>;

    /// An enrollment, with its command while it waits.
    ///
    /// # Errors
    /// [`RepositoryError`] if the storage cannot answer.
    fn find(
        &mut self,
        organization_id: OrganizationId,
        enrollment_id: EnrollmentId,
    ) -> Result<Option<InboxEntry>, RepositoryError>;

    /// Takes the oldest enrollment that waits, of any organization, until the end of a lease.
    ///
    /// # Errors
    /// [`RepositoryError`] if the storage cannot do it.
    fn claim(&mut self, now: Timestamp, lease_end: Timestamp) -> Result<Option<Claim>, RepositoryError>;

    /// Says that the attempt of a claim failed, and when the next is due.
    ///
    /// # Errors
    /// [`RepositoryError`] if the storage cannot do it.
    fn record_failure(&mut self, claim: &Claim, failure: &Failure) -> Result<(), RepositoryError>;

    /// Makes a failed enrollment wait again, due from `now` on. Answers whether it was failed.
    ///
    /// # Errors
    /// [`RepositoryError`] if the storage cannot do it.
    fn retry(
        &mut self,
        organization_id: OrganizationId,
        enrollment_id: EnrollmentId,
        now: Timestamp,
    ) -> Result<bool, RepositoryError>;
}

/// An async inbox. The contract is that of [`Inbox`]; implementers write plain `async fn`.
#[expect(missing_docs, reason = "the methods are those of `Inbox`")]
pub trait AsyncInbox: AsyncRepository {
    fn insert(
        &mut self,
        command: &EnrollmentCommand,
    ) -> impl Future<Output = Result<Option<StoredEnrollment>, RepositoryError>> + Send;

    fn find(
        &mut self,
        organization_id: OrganizationId,
        enrollment_id: EnrollmentId,
    ) -> impl Future<Output = Result<Option<InboxEntry>, RepositoryError>> + Send;

    fn claim(
        &mut self,
        now: Timestamp,
        lease_end: Timestamp,
    ) -> impl Future<Output = Result<Option<Claim>, RepositoryError>> + Send;

    fn record_failure(
        &mut self,
        claim: &Claim,
        failure: &Failure,
    ) -> impl Future<Output = Result<(), RepositoryError>> + Send;

    fn retry(
        &mut self,
        organization_id: OrganizationId,
        enrollment_id: EnrollmentId,
        now: Timestamp,
    ) -> impl Future<Output = Result<bool, RepositoryError>> + Send;
}

/// An enrollment as the inbox has it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct InboxEntry {
    /// How far it got.
    pub enrollment: StoredEnrollment,
    /// What was asked for; there as long as it is accepted or failed.
    pub command: Option<EnrollmentCommand>,
    /// How often it was claimed since it was accepted, or retried.
    pub attempts: u32,
    /// Why the last attempt failed, if one did.
    pub error: Option<String>,
}

impl InboxEntry {
    /// An enrollment that was never claimed.
    #[must_use]
    pub fn new(enrollment: StoredEnrollment, command: Option<EnrollmentCommand>) -> Self {
        Self { enrollment, command, attempts: 0, error: None }
    }
}

/// A lease on an enrollment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Claim {
    /// Whose it is.
    pub organization_id: OrganizationId,
    /// The enrollment.
    pub enrollment_id: EnrollmentId,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// When the lease ends.
    pub lease_end: Timestamp,
}

impl Claim {
    /// A lease, given by a repository.
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

/// What became of an attempt that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Why, in words for whoever looks after it.
    pub error: String,
    /// When the next attempt is due; `None`: the enrollment is given up, and is `failed`.
    pub retry_at: Option<Timestamp>,
}

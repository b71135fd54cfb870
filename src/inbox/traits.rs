//! The traits of an inbox: blocking, async, and async for trait objects.

use super::{Claim, Failure, InboxEntry};
use crate::command::EnrollmentCommand;
use crate::ids::{EnrollmentId, OrganizationId};
use crate::repository::{
    AsyncRepository, BoxFuture, DynAsyncRepository, Repository, RepositoryError, impl_async_repository_for_dyn,
};
use crate::stored_enrollment::StoredEnrollment;
use crate::time::Timestamp;

/// A repository that stores accepted enrollments until they are processed.
///
/// # Contract
/// That of [`Repository`], and:
/// 1. *Inserted once.* `insert` stores an enrollment that has no row. If a row exists, it changes nothing and returns
///    that row. Of two concurrent inserts, one stores.
/// 2. *Completion commits with its data.* A commit that finishes an enrollment requires an accepted one; otherwise it
///    returns `Conflict`. Afterwards the enrollment keeps its final state.
/// 3. *One worker per lease.* `claim` selects the oldest enrollment (by instant, then id) that is accepted and whose
///    lease or back-off has ended. It counts an attempt and leases the enrollment: no other claim returns it before the
///    lease ends.
/// 4. *Failures belong to attempts.* `record_failure` changes an enrollment only if it is accepted and has the
///    attempts and the lease of the claim. A claim from before a later claim or a retry changes nothing.
/// 5. *Retries reset the attempts.* `retry` makes a failed enrollment accepted, with no attempts, due at `now`. It
///    changes no enrollment in another state.
/// 6. *Organizations are separate.* An enrollment id belongs to one organization.
/// 7. *Releases take the attempt back.* Under the conditions of clause 4, `release` ends the lease and makes the
///    enrollment due at the given instant, with one attempt less. It does not change the recorded error.
pub trait Inbox: Repository {
    /// Stores an accepted enrollment, or returns the one that exists under its id.
    ///
    /// # Errors
    /// [`RepositoryError`] if the storage fails.
    fn insert(&mut self, command: &EnrollmentCommand) -> Result<Option<StoredEnrollment>, RepositoryError>;

    /// Returns an enrollment, with its command while it waits.
    ///
    /// # Errors
    /// [`RepositoryError`] if the storage fails.
    fn find(
        &mut self,
        organization_id: OrganizationId,
        enrollment_id: EnrollmentId,
    ) -> Result<Option<InboxEntry>, RepositoryError>;

    /// Leases the oldest enrollment that is due at `now`, of any organization, until `lease_end`.
    ///
    /// # Errors
    /// [`RepositoryError`] if the storage fails.
    fn claim(&mut self, now: Timestamp, lease_end: Timestamp) -> Result<Option<Claim>, RepositoryError>;

    /// Records that the attempt of a claim failed, and when the next attempt is due.
    ///
    /// # Errors
    /// [`RepositoryError`] if the storage fails.
    fn record_failure(&mut self, claim: &Claim, failure: &Failure) -> Result<(), RepositoryError>;

    /// Gives a claim back without a failed attempt: another worker can claim the enrollment from `due_at` on.
    ///
    /// # Errors
    /// [`RepositoryError`] if the storage fails.
    fn release(&mut self, claim: &Claim, due_at: Timestamp) -> Result<(), RepositoryError>;

    /// Makes a failed enrollment wait again, due from `now` on. Returns false if it was not failed.
    ///
    /// # Errors
    /// [`RepositoryError`] if the storage fails.
    fn retry(
        &mut self,
        organization_id: OrganizationId,
        enrollment_id: EnrollmentId,
        now: Timestamp,
    ) -> Result<bool, RepositoryError>;
}

/// Implements [`Inbox`] for a pointer to an inbox.
macro_rules! forward_inbox {
    ($pointer:ty) => {
        impl<I: Inbox + ?Sized> Inbox for $pointer {
            fn insert(&mut self, command: &EnrollmentCommand) -> Result<Option<StoredEnrollment>, RepositoryError> {
                (**self).insert(command)
            }

            fn find(
                &mut self,
                organization_id: OrganizationId,
                enrollment_id: EnrollmentId,
            ) -> Result<Option<InboxEntry>, RepositoryError> {
                (**self).find(organization_id, enrollment_id)
            }

            fn claim(&mut self, now: Timestamp, lease_end: Timestamp) -> Result<Option<Claim>, RepositoryError> {
                (**self).claim(now, lease_end)
            }

            fn record_failure(&mut self, claim: &Claim, failure: &Failure) -> Result<(), RepositoryError> {
                (**self).record_failure(claim, failure)
            }

            fn release(&mut self, claim: &Claim, due_at: Timestamp) -> Result<(), RepositoryError> {
                (**self).release(claim, due_at)
            }

            fn retry(
                &mut self,
                organization_id: OrganizationId,
                enrollment_id: EnrollmentId,
                now: Timestamp,
            ) -> Result<bool, RepositoryError> {
                (**self).retry(organization_id, enrollment_id, now)
            }
        }
    };
}

forward_inbox!(&mut I);
forward_inbox!(Box<I>);

/// An async inbox. Its contract is that of [`Inbox`].
///
/// Implementers write plain `async fn`. The futures must be `Send`.
pub trait AsyncInbox: AsyncRepository {
    /// Stores an accepted enrollment, or returns the one that exists under its id.
    ///
    /// # Errors
    /// [`RepositoryError`] if the storage fails.
    fn insert(
        &mut self,
        command: &EnrollmentCommand,
    ) -> impl Future<Output = Result<Option<StoredEnrollment>, RepositoryError>> + Send;

    /// Returns an enrollment, with its command while it waits.
    ///
    /// # Errors
    /// [`RepositoryError`] if the storage fails.
    fn find(
        &mut self,
        organization_id: OrganizationId,
        enrollment_id: EnrollmentId,
    ) -> impl Future<Output = Result<Option<InboxEntry>, RepositoryError>> + Send;

    /// Leases the oldest enrollment that is due at `now`, of any organization, until `lease_end`.
    ///
    /// # Errors
    /// [`RepositoryError`] if the storage fails.
    fn claim(
        &mut self,
        now: Timestamp,
        lease_end: Timestamp,
    ) -> impl Future<Output = Result<Option<Claim>, RepositoryError>> + Send;

    /// Records that the attempt of a claim failed, and when the next attempt is due.
    ///
    /// # Errors
    /// [`RepositoryError`] if the storage fails.
    fn record_failure(
        &mut self,
        claim: &Claim,
        failure: &Failure,
    ) -> impl Future<Output = Result<(), RepositoryError>> + Send;

    /// Gives a claim back without a failed attempt: another worker can claim the enrollment from `due_at` on.
    ///
    /// # Errors
    /// [`RepositoryError`] if the storage fails.
    fn release(&mut self, claim: &Claim, due_at: Timestamp)
    -> impl Future<Output = Result<(), RepositoryError>> + Send;

    /// Makes a failed enrollment wait again, due from `now` on. Returns false if it was not failed.
    ///
    /// # Errors
    /// [`RepositoryError`] if the storage fails.
    fn retry(
        &mut self,
        organization_id: OrganizationId,
        enrollment_id: EnrollmentId,
        now: Timestamp,
    ) -> impl Future<Output = Result<bool, RepositoryError>> + Send;
}

/// Implements [`AsyncInbox`] for a type that awaits each method of the same meaning.
macro_rules! forward_async_inbox {
    ([$($generics:tt)*] $type:ty, $inner:ident => $to:expr, $insert:ident, $find:ident, $claim:ident, $record_failure:ident, $release:ident, $retry:ident) => {
        impl<$($generics)*> AsyncInbox for $type {
            async fn insert(
                &mut self,
                command: &EnrollmentCommand,
            ) -> Result<Option<StoredEnrollment>, RepositoryError> {
                let $inner = self;
                $to.$insert(command).await
            }

            async fn find(
                &mut self,
                organization_id: OrganizationId,
                enrollment_id: EnrollmentId,
            ) -> Result<Option<InboxEntry>, RepositoryError> {
                let $inner = self;
                $to.$find(organization_id, enrollment_id).await
            }

            async fn claim(&mut self, now: Timestamp, lease_end: Timestamp) -> Result<Option<Claim>, RepositoryError> {
                let $inner = self;
                $to.$claim(now, lease_end).await
            }

            async fn record_failure(&mut self, claim: &Claim, failure: &Failure) -> Result<(), RepositoryError> {
                let $inner = self;
                $to.$record_failure(claim, failure).await
            }

            async fn release(&mut self, claim: &Claim, due_at: Timestamp) -> Result<(), RepositoryError> {
                let $inner = self;
                $to.$release(claim, due_at).await
            }

            async fn retry(
                &mut self,
                organization_id: OrganizationId,
                enrollment_id: EnrollmentId,
                now: Timestamp,
            ) -> Result<bool, RepositoryError> {
                let $inner = self;
                $to.$retry(organization_id, enrollment_id, now).await
            }
        }
    };
}

forward_async_inbox!([I: AsyncInbox + ?Sized] &mut I, it => (**it), insert, find, claim, record_failure, release, retry);
forward_async_inbox!([I: AsyncInbox + ?Sized] Box<I>, it => (**it), insert, find, claim, record_failure, release, retry);

/// The dyn-safe twin of [`AsyncInbox`], for a host that chooses its storage at run time.
///
/// Every [`AsyncInbox`] implements it; do not implement it yourself. `dyn DynAsyncInbox` and `Box<dyn DynAsyncInbox>`
/// are themselves [`AsyncInbox`] and `Send`, so one handle works for every database:
///
/// ```
/// use enroll::{AsyncInbox, DynAsyncInbox, InMemoryRepository, OrganizationId, Retry, process_async};
/// # use enroll::{EnrollError, EnrollmentId};
///
/// async fn work(inbox: &mut dyn DynAsyncInbox, now: enroll::Timestamp) -> Result<(), EnrollError> {
///     while let Some(claim) = inbox.claim(now, now).await? {
///         process_async(inbox, Retry::default(), claim.organization_id, claim.enrollment_id, now).await?;
///     }
///     Ok(())
/// }
///
/// let mut inbox: Box<dyn DynAsyncInbox> = Box::new(InMemoryRepository::new());
/// # pollster::block_on(work(&mut *inbox, enroll::Timestamp::EPOCH))?;
/// # Ok::<(), EnrollError>(())
/// ```
pub trait DynAsyncInbox: DynAsyncRepository {
    /// [`AsyncInbox::insert`], boxed.
    ///
    /// # Errors
    /// Those of [`AsyncInbox::insert`].
    fn insert_boxed<'a>(
        &'a mut self,
        command: &'a EnrollmentCommand,
    ) -> BoxFuture<'a, Result<Option<StoredEnrollment>, RepositoryError>>;

    /// [`AsyncInbox::find`], boxed.
    ///
    /// # Errors
    /// Those of [`AsyncInbox::find`].
    fn find_boxed(
        &mut self,
        organization_id: OrganizationId,
        enrollment_id: EnrollmentId,
    ) -> BoxFuture<'_, Result<Option<InboxEntry>, RepositoryError>>;

    /// [`AsyncInbox::claim`], boxed.
    ///
    /// # Errors
    /// Those of [`AsyncInbox::claim`].
    fn claim_boxed(
        &mut self,
        now: Timestamp,
        lease_end: Timestamp,
    ) -> BoxFuture<'_, Result<Option<Claim>, RepositoryError>>;

    /// [`AsyncInbox::record_failure`], boxed.
    ///
    /// # Errors
    /// Those of [`AsyncInbox::record_failure`].
    fn record_failure_boxed<'a>(
        &'a mut self,
        claim: &'a Claim,
        failure: &'a Failure,
    ) -> BoxFuture<'a, Result<(), RepositoryError>>;

    /// [`AsyncInbox::release`], boxed.
    ///
    /// # Errors
    /// Those of [`AsyncInbox::release`].
    fn release_boxed<'a>(
        &'a mut self,
        claim: &'a Claim,
        due_at: Timestamp,
    ) -> BoxFuture<'a, Result<(), RepositoryError>>;

    /// [`AsyncInbox::retry`], boxed.
    ///
    /// # Errors
    /// Those of [`AsyncInbox::retry`].
    fn retry_boxed(
        &mut self,
        organization_id: OrganizationId,
        enrollment_id: EnrollmentId,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<bool, RepositoryError>>;
}

// `I` is sized and `dyn DynAsyncInbox` is not, so this impl and those below do not overlap.
impl<I: AsyncInbox> DynAsyncInbox for I {
    fn insert_boxed<'a>(
        &'a mut self,
        command: &'a EnrollmentCommand,
    ) -> BoxFuture<'a, Result<Option<StoredEnrollment>, RepositoryError>> {
        Box::pin(self.insert(command))
    }

    fn find_boxed(
        &mut self,
        organization_id: OrganizationId,
        enrollment_id: EnrollmentId,
    ) -> BoxFuture<'_, Result<Option<InboxEntry>, RepositoryError>> {
        Box::pin(self.find(organization_id, enrollment_id))
    }

    fn claim_boxed(
        &mut self,
        now: Timestamp,
        lease_end: Timestamp,
    ) -> BoxFuture<'_, Result<Option<Claim>, RepositoryError>> {
        Box::pin(self.claim(now, lease_end))
    }

    fn record_failure_boxed<'a>(
        &'a mut self,
        claim: &'a Claim,
        failure: &'a Failure,
    ) -> BoxFuture<'a, Result<(), RepositoryError>> {
        Box::pin(self.record_failure(claim, failure))
    }

    fn release_boxed<'a>(
        &'a mut self,
        claim: &'a Claim,
        due_at: Timestamp,
    ) -> BoxFuture<'a, Result<(), RepositoryError>> {
        Box::pin(self.release(claim, due_at))
    }

    fn retry_boxed(
        &mut self,
        organization_id: OrganizationId,
        enrollment_id: EnrollmentId,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<bool, RepositoryError>> {
        Box::pin(self.retry(organization_id, enrollment_id, now))
    }
}

impl_async_repository_for_dyn!(dyn DynAsyncInbox + '_);
forward_async_inbox!(
    [] dyn DynAsyncInbox + '_, it => it, insert_boxed, find_boxed, claim_boxed, record_failure_boxed, release_boxed, retry_boxed
);

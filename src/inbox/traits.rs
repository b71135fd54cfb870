//! The traits of an inbox: blocking, async, and async for trait objects.

use std::time::Duration;

use super::{Claim, Failure, InboxEntry};
use crate::command::EnrollmentCommand;
use crate::ids::{EnrollmentId, OrganizationId};
use crate::repository::{
    AsyncRepository, BoxFuture, DynAsyncRepository, Repository, RepositoryError, impl_async_repository_for_dyn,
};
use crate::stored_enrollment::StoredEnrollment;

/// A repository that stores accepted enrollments until they are processed.
///
/// # Contract
/// That of [`Repository`], and:
/// 1. *Inserted once.* `insert` stores an enrollment that has no row, as [`EnrollmentCommand::accepted`] returns it. If a
///    row exists, it changes nothing and returns that row. Of two concurrent inserts, one stores.
/// 2. *Completion commits with its data.* A commit that finishes an enrollment requires an accepted one, with the
///    `erased_recipients` of the change set; otherwise it returns `Conflict`. Afterwards the enrollment keeps its final
///    state. The commit counts an attempt, and ends the lease of the enrollment.
/// 3. *One worker per lease.* `claim` leases one enrollment and its organization: until the lease ends, no other claim
///    returns an enrollment of that organization. Of an organization, it selects the oldest enrollment (by instant, then
///    id) that is accepted and due.
/// 4. *Organizations take turns.* Of the organizations with a due enrollment and without a lease, `claim` selects the
///    one that was claimed for the longest ago. One that was never claimed for comes first.
/// 5. *Answers belong to leases.* `record_failure` and `release` change an enrollment only if it is accepted and the
///    claim is its latest lease, which has not been answered. Both end the lease, also if its time has passed.
/// 6. *Only failures count.* `record_failure` counts an attempt. `release` does not, and does not change the recorded
///    error. A lease that ends by its time counts as lost. An answer, a release and a retry reset the lost leases to zero.
/// 7. *Retries reset the attempts.* `retry` makes a failed enrollment accepted, with no attempts, due at once. It
///    changes no enrollment in another state, and none whose command was removed.
/// 8. *Organizations are separate.* An enrollment id belongs to one organization.
/// 9. *One clock.* Leases and delays are measured by the clock of the storage. Workers with wrong clocks do no harm.
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

    /// Leases an enrollment that is due, for a length of time. Returns `None` if no organization has one.
    ///
    /// # Errors
    /// [`RepositoryError`] if the storage fails.
    fn claim(&mut self, lease: Duration) -> Result<Option<Claim>, RepositoryError>;

    /// Records that the enrollment of a claim cannot be processed, and when the next attempt is due.
    ///
    /// # Errors
    /// [`RepositoryError`] if the storage fails.
    fn record_failure(&mut self, claim: &Claim, failure: &Failure) -> Result<(), RepositoryError>;

    /// Gives a claim back without a failed attempt. The enrollment is due after the delay.
    ///
    /// # Errors
    /// [`RepositoryError`] if the storage fails.
    fn release(&mut self, claim: &Claim, delay: Duration) -> Result<(), RepositoryError>;

    /// Makes a failed enrollment wait again, due at once. Returns false if it was not failed, or has no command any more.
    ///
    /// # Errors
    /// [`RepositoryError`] if the storage fails.
    fn retry(&mut self, organization_id: OrganizationId, enrollment_id: EnrollmentId) -> Result<bool, RepositoryError>;
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

            fn claim(&mut self, lease: Duration) -> Result<Option<Claim>, RepositoryError> {
                (**self).claim(lease)
            }

            fn record_failure(&mut self, claim: &Claim, failure: &Failure) -> Result<(), RepositoryError> {
                (**self).record_failure(claim, failure)
            }

            fn release(&mut self, claim: &Claim, delay: Duration) -> Result<(), RepositoryError> {
                (**self).release(claim, delay)
            }

            fn retry(
                &mut self,
                organization_id: OrganizationId,
                enrollment_id: EnrollmentId,
            ) -> Result<bool, RepositoryError> {
                (**self).retry(organization_id, enrollment_id)
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

    /// Leases an enrollment that is due, for a length of time. Returns `None` if no organization has one.
    ///
    /// # Errors
    /// [`RepositoryError`] if the storage fails.
    fn claim(&mut self, lease: Duration) -> impl Future<Output = Result<Option<Claim>, RepositoryError>> + Send;

    /// Records that the enrollment of a claim cannot be processed, and when the next attempt is due.
    ///
    /// # Errors
    /// [`RepositoryError`] if the storage fails.
    fn record_failure(
        &mut self,
        claim: &Claim,
        failure: &Failure,
    ) -> impl Future<Output = Result<(), RepositoryError>> + Send;

    /// Gives a claim back without a failed attempt. The enrollment is due after the delay.
    ///
    /// # Errors
    /// [`RepositoryError`] if the storage fails.
    fn release(&mut self, claim: &Claim, delay: Duration) -> impl Future<Output = Result<(), RepositoryError>> + Send;

    /// Makes a failed enrollment wait again, due at once. Returns false if it was not failed, or has no command any more.
    ///
    /// # Errors
    /// [`RepositoryError`] if the storage fails.
    fn retry(
        &mut self,
        organization_id: OrganizationId,
        enrollment_id: EnrollmentId,
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

            async fn claim(&mut self, lease: Duration) -> Result<Option<Claim>, RepositoryError> {
                let $inner = self;
                $to.$claim(lease).await
            }

            async fn record_failure(&mut self, claim: &Claim, failure: &Failure) -> Result<(), RepositoryError> {
                let $inner = self;
                $to.$record_failure(claim, failure).await
            }

            async fn release(&mut self, claim: &Claim, delay: Duration) -> Result<(), RepositoryError> {
                let $inner = self;
                $to.$release(claim, delay).await
            }

            async fn retry(
                &mut self,
                organization_id: OrganizationId,
                enrollment_id: EnrollmentId,
            ) -> Result<bool, RepositoryError> {
                let $inner = self;
                $to.$retry(organization_id, enrollment_id).await
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
/// use std::time::Duration;
///
/// async fn work(inbox: &mut dyn DynAsyncInbox, now: enroll::Timestamp) -> Result<(), EnrollError> {
///     while let Some(claim) = inbox.claim(Duration::from_secs(300)).await? {
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
    fn claim_boxed(&mut self, lease: Duration) -> BoxFuture<'_, Result<Option<Claim>, RepositoryError>>;

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
    fn release_boxed<'a>(&'a mut self, claim: &'a Claim, delay: Duration)
    -> BoxFuture<'a, Result<(), RepositoryError>>;

    /// [`AsyncInbox::retry`], boxed.
    ///
    /// # Errors
    /// Those of [`AsyncInbox::retry`].
    fn retry_boxed(
        &mut self,
        organization_id: OrganizationId,
        enrollment_id: EnrollmentId,
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

    fn claim_boxed(&mut self, lease: Duration) -> BoxFuture<'_, Result<Option<Claim>, RepositoryError>> {
        Box::pin(self.claim(lease))
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
        delay: Duration,
    ) -> BoxFuture<'a, Result<(), RepositoryError>> {
        Box::pin(self.release(claim, delay))
    }

    fn retry_boxed(
        &mut self,
        organization_id: OrganizationId,
        enrollment_id: EnrollmentId,
    ) -> BoxFuture<'_, Result<bool, RepositoryError>> {
        Box::pin(self.retry(organization_id, enrollment_id))
    }
}

impl_async_repository_for_dyn!(dyn DynAsyncInbox + '_);
forward_async_inbox!(
    [] dyn DynAsyncInbox + '_, it => it, insert_boxed, find_boxed, claim_boxed, record_failure_boxed, release_boxed, retry_boxed
);

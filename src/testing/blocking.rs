//! Uses blocking repositories and inboxes as async ones.

use std::num::NonZeroU32;
use std::pin::pin;
use std::task::{Context as Task, Poll, Waker};
use std::time::Duration;

use crate::changes::ChangeSet;
use crate::command::EnrollmentCommand;
use crate::events::{AsyncEventLog, Event, EventLog, EventPosition};
use crate::ids::{EnrollmentId, OrganizationId};
use crate::inbox::{AsyncInbox, Claim, Failure, Inbox, InboxEntry};
use crate::query::{ReferenceQuery, SnapshotQuery};
use crate::repository::{AsyncRepository, Repository, RepositoryError};
use crate::snapshot::{ReferenceData, Snapshot};
use crate::stored_enrollment::StoredEnrollment;
use crate::time::Timestamp;

/// Wraps a blocking repository as an async one, so that one suite tests both. It blocks the thread that polls it.
#[derive(Clone, Debug)]
pub struct Blocking<R>(pub R);

impl<R: Repository + Send> AsyncRepository for Blocking<R> {
    async fn reference_data(&mut self, query: &ReferenceQuery) -> Result<ReferenceData, RepositoryError> {
        self.0.reference_data(query)
    }

    async fn load(&mut self, query: &SnapshotQuery) -> Result<Snapshot, RepositoryError> {
        self.0.load(query)
    }

    async fn commit(&mut self, changes: &ChangeSet) -> Result<(), RepositoryError> {
        self.0.commit(changes)
    }
}

impl<R: Inbox + Send> AsyncInbox for Blocking<R> {
    async fn insert(&mut self, command: &EnrollmentCommand) -> Result<Option<StoredEnrollment>, RepositoryError> {
        self.0.insert(command)
    }

    async fn find(
        &mut self,
        organization_id: OrganizationId,
        enrollment_id: EnrollmentId,
    ) -> Result<Option<InboxEntry>, RepositoryError> {
        self.0.find(organization_id, enrollment_id)
    }

    async fn claim(&mut self, lease: Duration) -> Result<Option<Claim>, RepositoryError> {
        self.0.claim(lease)
    }

    async fn record_failure(&mut self, claim: &Claim, failure: &Failure) -> Result<(), RepositoryError> {
        self.0.record_failure(claim, failure)
    }

    async fn release(&mut self, claim: &Claim, delay: Duration) -> Result<(), RepositoryError> {
        self.0.release(claim, delay)
    }

    async fn retry(
        &mut self,
        organization_id: OrganizationId,
        enrollment_id: EnrollmentId,
    ) -> Result<bool, RepositoryError> {
        self.0.retry(organization_id, enrollment_id)
    }
}

impl<R: EventLog + Send> AsyncEventLog for Blocking<R> {
    async fn events(&mut self, after: EventPosition, limit: NonZeroU32) -> Result<Vec<Event>, RepositoryError> {
        self.0.events(after, limit)
    }

    async fn prune_events(&mut self, before: Timestamp, limit: NonZeroU32) -> Result<u64, RepositoryError> {
        self.0.prune_events(before, limit)
    }
}

/// Runs a future that never waits, such as those of [`Blocking`].
///
/// # Panics
/// Panics if the future waits: it needs the `block_on` of its runtime.
#[expect(clippy::panic, reason = "a test must fail with a clear message")]
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Task::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("the future waits: use the `block_on` of the runtime that it needs"),
    }
}

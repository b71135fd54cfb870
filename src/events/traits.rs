//! The traits of a log of events: blocking, async, and async for trait objects.

use std::num::NonZeroU32;

use super::{Event, EventPosition};
use crate::repository::{BoxFuture, RepositoryError};
use crate::time::Timestamp;

/// A storage that keeps the events of its enrollments.
///
/// # Contract
/// 1. *Written with the change.* While events are on, an enrollment that gets another state writes one event in the same
///    transaction, also by SQL of the host. A conflict, a failed commit and a rollback leave no event. A repeated request and an
///    attempt that will be repeated write none.
/// 2. *Ids, counts and codes.* The event has the ids of its enrollment. That of a completed one has the counts of its
///    report, that of a rejected one its codes. It has nothing else of the request, and no text of an error.
/// 3. *A reader misses none.* `events` returns the events behind a position, in ascending order, from the first one on. No
///    event ever appears at or before a position that `events` has returned, also if writers commit in another order than
///    they began. Inside a host's transaction, a position counts only after its commit. An event keeps its position and its id. Events of one enrollment are in the order of its states.
/// 4. *Pruned by age.* `prune_events` removes the oldest events first, and no others than those that were written before
///    the instant. A position whose event was removed is still a position to go on from. Positions are never used again.
/// 5. *Off by default.* While events are off, no event is written. Those that are stored stay.
pub trait EventLog {
    /// Returns the events behind a position, at most `limit`, in the order of their positions.
    ///
    /// Fewer than `limit` are all there are.
    ///
    /// # Errors
    /// [`RepositoryError`] if the storage fails.
    fn events(&mut self, after: EventPosition, limit: NonZeroU32) -> Result<Vec<Event>, RepositoryError>;

    /// Removes events that were written before an instant, at most `limit`. Returns the number of removed events.
    ///
    /// Call it again while it returns `limit`. A small limit holds locks for a short time.
    ///
    /// # Errors
    /// [`RepositoryError`] if the storage fails.
    fn prune_events(&mut self, before: Timestamp, limit: NonZeroU32) -> Result<u64, RepositoryError>;
}

/// Implements [`EventLog`] for a pointer to a log.
macro_rules! forward_event_log {
    ($pointer:ty) => {
        impl<L: EventLog + ?Sized> EventLog for $pointer {
            fn events(&mut self, after: EventPosition, limit: NonZeroU32) -> Result<Vec<Event>, RepositoryError> {
                (**self).events(after, limit)
            }

            fn prune_events(&mut self, before: Timestamp, limit: NonZeroU32) -> Result<u64, RepositoryError> {
                (**self).prune_events(before, limit)
            }
        }
    };
}

forward_event_log!(&mut L);
forward_event_log!(Box<L>);

/// An async log of events. Its contract is that of [`EventLog`].
///
/// Implementers write plain `async fn`. The futures must be `Send`.
pub trait AsyncEventLog: Send {
    /// Returns the events behind a position, at most `limit`, in the order of their positions.
    ///
    /// Fewer than `limit` are all there are.
    ///
    /// # Errors
    /// [`RepositoryError`] if the storage fails.
    fn events(
        &mut self,
        after: EventPosition,
        limit: NonZeroU32,
    ) -> impl Future<Output = Result<Vec<Event>, RepositoryError>> + Send;

    /// Removes events that were written before an instant, at most `limit`. Returns the number of removed events.
    ///
    /// Call it again while it returns `limit`. A small limit holds locks for a short time.
    ///
    /// # Errors
    /// [`RepositoryError`] if the storage fails.
    fn prune_events(
        &mut self,
        before: Timestamp,
        limit: NonZeroU32,
    ) -> impl Future<Output = Result<u64, RepositoryError>> + Send;
}

/// Implements [`AsyncEventLog`] for a type that awaits each method of the same meaning.
macro_rules! forward_async_event_log {
    ([$($generics:tt)*] $type:ty, $inner:ident => $to:expr, $events:ident, $prune_events:ident) => {
        impl<$($generics)*> AsyncEventLog for $type {
            async fn events(
                &mut self,
                after: EventPosition,
                limit: NonZeroU32,
            ) -> Result<Vec<Event>, RepositoryError> {
                let $inner = self;
                $to.$events(after, limit).await
            }

            async fn prune_events(&mut self, before: Timestamp, limit: NonZeroU32) -> Result<u64, RepositoryError> {
                let $inner = self;
                $to.$prune_events(before, limit).await
            }
        }
    };
}

forward_async_event_log!([L: AsyncEventLog + ?Sized] &mut L, it => (**it), events, prune_events);
forward_async_event_log!([L: AsyncEventLog + ?Sized] Box<L>, it => (**it), events, prune_events);

/// The dyn-safe twin of [`AsyncEventLog`], for a host that chooses its storage at run time.
///
/// Every [`AsyncEventLog`] implements it; do not implement it yourself. `dyn DynAsyncEventLog` and
/// `Box<dyn DynAsyncEventLog>` are themselves [`AsyncEventLog`] and `Send`:
///
/// ```
/// use enroll::InMemoryRepository;
/// use enroll::events::{AsyncEventLog, DynAsyncEventLog};
///
/// fn is_async_event_log(_: &impl AsyncEventLog) {}
///
/// let log: Box<dyn DynAsyncEventLog> = Box::new(InMemoryRepository::new());
/// is_async_event_log(&log);
/// ```
pub trait DynAsyncEventLog: Send {
    /// [`AsyncEventLog::events`], boxed.
    ///
    /// # Errors
    /// Those of [`AsyncEventLog::events`].
    fn events_boxed(
        &mut self,
        after: EventPosition,
        limit: NonZeroU32,
    ) -> BoxFuture<'_, Result<Vec<Event>, RepositoryError>>;

    /// [`AsyncEventLog::prune_events`], boxed.
    ///
    /// # Errors
    /// Those of [`AsyncEventLog::prune_events`].
    fn prune_events_boxed(
        &mut self,
        before: Timestamp,
        limit: NonZeroU32,
    ) -> BoxFuture<'_, Result<u64, RepositoryError>>;
}

// `L` is sized and `dyn DynAsyncEventLog` is not, so this impl and the next one do not overlap.
impl<L: AsyncEventLog> DynAsyncEventLog for L {
    fn events_boxed(
        &mut self,
        after: EventPosition,
        limit: NonZeroU32,
    ) -> BoxFuture<'_, Result<Vec<Event>, RepositoryError>> {
        Box::pin(self.events(after, limit))
    }

    fn prune_events_boxed(
        &mut self,
        before: Timestamp,
        limit: NonZeroU32,
    ) -> BoxFuture<'_, Result<u64, RepositoryError>> {
        Box::pin(self.prune_events(before, limit))
    }
}

forward_async_event_log!([] dyn DynAsyncEventLog + '_, it => it, events_boxed, prune_events_boxed);

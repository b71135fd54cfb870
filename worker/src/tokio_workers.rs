//! Workers as tokio tasks.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use enroll::inbox::Claim;
use enroll::{
    AsyncInbox, EnrollError, EnrollmentState, ProcessOutcome, RepositoryError, RepositoryErrorKind, Retry, Timestamp,
    process_async,
};
use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use crate::event::Event;
use crate::settings::Settings;
use crate::span::ClaimSpan;
use crate::step::{CountStep, Step};
use crate::workers::{Remaining, Workers};

type OnEvent = Arc<dyn Fn(&Event) + Send + Sync>;

/// Workers that run as tokio tasks, one for each handle on the inbox.
///
/// The crate documentation has an example. A task blocks as long as its handle does, so handles on a blocking storage need
/// the multi-threaded runtime.
#[must_use = "workers do nothing until they run"]
pub struct TokioWorkers {
    shared: Arc<Shared>,
    on_event: OnEvent,
}

/// Ends the sleeps of workers. A clone is for the same workers.
#[derive(Clone)]
pub struct Wake(Arc<Shared>);

struct Shared {
    workers: Mutex<Workers>,
    notify: Notify,
    /// The begin of the workers' clock.
    start: Instant,
}

/// Why workers ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkersError {
    /// The storage failed several times in a row, and the workers run until the inbox is empty.
    #[error(transparent)]
    Storage(RepositoryError),
    /// A worker panicked, or the runtime ended. The other workers have stopped.
    #[error("a worker ended early; its enrollment is processed again when the lease ends")]
    Task(#[source] JoinError),
}

impl TokioWorkers {
    /// Returns workers with the settings. They start with [`run`](Self::run).
    pub fn new(settings: Settings) -> Self {
        // The keys of a hasher are the random numbers of the standard library.
        let seed = RandomState::new().build_hasher().finish();
        let workers = Mutex::new(Workers::new(settings, seed));
        let shared = Shared { workers, notify: Notify::new(), start: Instant::now() };
        Self { shared: Arc::new(shared), on_event: Arc::new(|_| ()) }
    }

    /// Sets a function that is called with each event: a hook for logs and metrics. Calls of several workers can overlap.
    pub fn on_event(self, on_event: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        Self { on_event: Arc::new(on_event), ..self }
    }

    /// Returns a handle that ends the sleeps of the workers.
    #[must_use]
    pub fn wake(&self) -> Wake {
        Wake(Arc::clone(&self.shared))
    }

    /// Runs a worker for each inbox, until `shutdown` completes. Then each worker finishes its enrollment, and gives back
    /// what an outage interrupted.
    ///
    /// If this future is dropped, the workers end at once, and the next claims of their enrollments wait for the leases.
    ///
    /// # Errors
    /// [`WorkersError::Task`] if a worker panicked.
    pub async fn run<I: AsyncInbox + 'static>(
        self,
        inboxes: impl IntoIterator<Item = I>,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), WorkersError> {
        // The workers do not count what waits.
        self.run_workers(inboxes, || std::future::ready(Ok(u64::MAX)), shutdown).await
    }

    /// Runs a worker for each inbox, until no enrollment waits or `shutdown` completes.
    ///
    /// `unfinished` returns the number of enrollments in the state `accepted`, also of those with a lease. An enrollment
    /// that needs a newer build does not keep the workers running.
    ///
    /// # Errors
    /// [`WorkersError::Storage`] if the storage failed five times in a row; [`WorkersError::Task`] if a worker panicked.
    pub async fn run_until_empty<I, F>(
        self,
        inboxes: impl IntoIterator<Item = I>,
        unfinished: impl Fn() -> F + Send + Sync + 'static,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), WorkersError>
    where
        I: AsyncInbox + 'static,
        F: Future<Output = Result<u64, RepositoryError>> + Send + 'static,
    {
        self.shared.lock().end_when_empty();
        self.run_workers(inboxes, unfinished, shutdown).await
    }

    async fn run_workers<I, F>(
        self,
        inboxes: impl IntoIterator<Item = I>,
        unfinished: impl Fn() -> F + Send + Sync + 'static,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), WorkersError>
    where
        I: AsyncInbox + 'static,
        F: Future<Output = Result<u64, RepositoryError>> + Send + 'static,
    {
        let Self { shared, on_event } = self;
        let unfinished = Arc::new(unfinished);
        let mut tasks = JoinSet::new();
        for inbox in inboxes {
            let task = Task { shared: Arc::clone(&shared), inbox, on_event: Arc::clone(&on_event) };
            tasks.spawn(task.run(Arc::clone(&unfinished)));
        }
        let mut shutdown = pin!(shutdown);
        let (mut stopping, mut result) = (false, Ok(()));
        loop {
            tokio::select! {
                () = &mut shutdown, if !stopping => {
                    stopping = true;
                    shared.stop();
                }
                ended = tasks.join_next() => match ended {
                    None => return result,
                    Some(Ok(ended)) => result = result.and(ended.map_err(WorkersError::Storage)),
                    Some(Err(e)) => {
                        shared.stop();
                        result = result.and(Err(WorkersError::Task(e)));
                    }
                },
            }
        }
    }
}

impl std::fmt::Debug for TokioWorkers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokioWorkers").field("settings", self.shared.lock().settings()).finish_non_exhaustive()
    }
}

impl Wake {
    /// Wakes one worker, for one new enrollment.
    pub fn one(&self) {
        self.0.notify.notify_one();
    }

    /// Wakes all workers, for many new enrollments.
    pub fn all(&self) {
        self.0.notify.notify_waiters();
    }

    /// Wakes all workers if they sleep after an outage: the host has found that the storage can be written again.
    pub fn storage_answered(&self) {
        if self.0.lock().storage_answered() {
            self.all();
        }
    }
}

impl std::fmt::Debug for Wake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wake").finish_non_exhaustive()
    }
}

impl Shared {
    /// Ignores a poisoned lock: no call of the state machine panics.
    fn lock(&self) -> MutexGuard<'_, Workers> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    fn stop(&self) {
        self.lock().stop();
        self.notify.notify_waiters();
    }
}

/// The task of one worker.
struct Task<I> {
    shared: Arc<Shared>,
    inbox: I,
    on_event: OnEvent,
}

impl<I: AsyncInbox> Task<I> {
    async fn run<F>(mut self, unfinished: Arc<impl Fn() -> F + Send + Sync>) -> Result<(), RepositoryError>
    where
        F: Future<Output = Result<u64, RepositoryError>> + Send,
    {
        let shared = Arc::clone(&self.shared);
        let mut span = ClaimSpan::none();
        let mut step = shared.lock().worker();
        let mut woken = shared.notify.notified();
        loop {
            // It exists before the answer, so that a sleep ends by a wake-up between the answer and the sleep.
            let woken_next = shared.notify.notified();
            let turn = match step {
                Step::Claim(claim) => {
                    let claimed = self.inbox.claim(claim.lease()).await;
                    claim.resume(&mut shared.lock(), claimed, shared.now())
                }
                Step::Process(process) => {
                    let processed = span.run(self.process(process.claim(), process.retry())).await;
                    process.resume(&mut shared.lock(), processed, shared.now())
                }
                Step::Record(record) => {
                    let recorded = span.run(self.inbox.record_failure(record.claim(), record.failure())).await;
                    record.resume(&mut shared.lock(), recorded, shared.now())
                }
                Step::Release(release) => {
                    let released = span.run(self.inbox.release(release.claim(), release.delay())).await;
                    release.resume(&mut shared.lock(), released, shared.now())
                }
                Step::Count(count) => {
                    let counted = self.count(&count, &*unfinished).await;
                    count.resume(&mut shared.lock(), counted, shared.now())
                }
                Step::Sleep(sleep) => {
                    tokio::select! {
                        () = woken => {}
                        () = tokio::time::sleep(sleep.until().saturating_sub(shared.now())) => {}
                    }
                    sleep.resume(&shared.lock())
                }
                Step::Done(result) => return result,
            };
            woken = woken_next;
            if turn.wake_all {
                shared.notify.notify_waiters();
            }
            if let Some(event) = &turn.event {
                span.report(event, &*self.on_event);
            }
            step = turn.step;
        }
    }

    #[expect(clippy::disallowed_methods, reason = "a driver reads the clock, the state machine does not")]
    async fn process(&mut self, claim: Claim, retry: Retry) -> Result<ProcessOutcome, EnrollError> {
        // The enrollment is not at fault if the clock of this machine is wrong.
        let now = Timestamp::try_from(SystemTime::now())
            .map_err(|e| RepositoryError::new(RepositoryErrorKind::Unavailable, format!("the clock: {e}")))?;
        process_async(&mut self.inbox, retry, claim.organization_id, claim.enrollment_id, now).await
    }

    async fn count<F>(&mut self, step: &CountStep, unfinished: &impl Fn() -> F) -> Result<Remaining, RepositoryError>
    where
        F: Future<Output = Result<u64, RepositoryError>>,
    {
        // First, so that an enrollment that ends meanwhile is counted once too often, and not once too few.
        let unfinished = unfinished().await?;
        let mut newer = Vec::new();
        for (organization_id, enrollment_id) in step.newer().iter().copied() {
            let found = self.inbox.find(organization_id, enrollment_id).await?;
            if found.is_some_and(|entry| entry.enrollment.state == EnrollmentState::Accepted) {
                newer.push((organization_id, enrollment_id));
            }
        }
        Ok(Remaining::new(unfinished, newer))
    }
}

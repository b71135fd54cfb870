//! Workers: they claim accepted enrollments and process them. A failed attempt is repeated later.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tracing::{Instrument, field};

use enroll::inbox::{Claim, Failure as AttemptFailure, MAX_LOST_LEASES, Removed};
use enroll::{
    AsyncInbox, EnrollError, Enrolled, EnrollmentId, EnrollmentReport, EnrollmentState, OrganizationId, ProcessOutcome,
    Rejection, RepositoryError, RepositoryErrorKind, Retry, process_async,
};

use crate::handles::{Handle, HandleFactory};
use crate::import_job::current_time;
use crate::retention::RemovedLists;
use crate::work_metrics::{AttemptResult, ClaimResult, WorkMetrics};
use crate::{Failure, causes};

/// The options of workers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) workers: u16,
    /// The number of failed attempts after which an enrollment is `failed`.
    pub(crate) attempts: u32,
    /// How long a claim reserves an enrollment for one worker.
    pub(crate) lease: Duration,
    /// True if the workers end when no enrollment waits.
    pub(crate) until_empty: bool,
}

/// An event of a worker.
#[derive(Debug)]
pub(crate) enum Event {
    /// With the time that it took.
    Completed(Claim, Box<EnrollmentReport>, Duration),
    Rejected(Claim, Rejection),
    /// An attempt failed. With the time until the next attempt.
    Postponed(Claim, String, Duration),
    /// The last attempt failed.
    GivenUp(Claim, String),
    /// Other writers were first each time, or a newer build must process it. This is not a failed attempt.
    Released(Claim, String),
    /// Requests and reports that were too old were removed.
    Removed(Removed),
    /// Lists that were too old were removed, or the texts of their rows.
    ListsRemoved(RemovedLists),
    /// The database returned an error. The worker tries again.
    DatabaseError(String),
}

/// Runs workers until `stop` becomes true or, with `until_empty`, no enrollment waits. Each worker finishes its current
/// enrollment. `wake` makes an idle worker look for work at once.
pub(crate) async fn work(
    handles: &HandleFactory,
    settings: Settings,
    stop: &watch::Receiver<bool>,
    wake: &Arc<Wake>,
    metrics: &WorkMetrics,
    on_event: impl Fn(Event) + Clone + Send + 'static,
) -> Result<(), Failure> {
    let mut workers = JoinSet::new();
    let left = Arc::default();
    metrics.workers.set(settings.workers.into());
    for _ in 0..settings.workers {
        let worker = Worker {
            handle: handles.worker_handle()?,
            name: handles.name.clone(),
            settings,
            pauses: Pauses { wake: Arc::clone(wake), failures: 0 },
            left: Arc::clone(&left),
            unreleased: None,
            metrics: metrics.clone(),
            on_event: on_event.clone(),
        };
        workers.spawn(worker.run(stop.clone()));
    }
    let mut result = Ok(());
    while let Some(ended) = workers.join_next().await {
        let ended = ended.unwrap_or_else(|e| Err(Failure::from_error("worker", &e)));
        result = result.and(ended);
    }
    result
}

struct Worker<F> {
    handle: Handle,
    name: String,
    settings: Settings,
    pauses: Pauses,
    /// The enrollments that need a newer build, shared by all workers.
    left: Arc<Mutex<BTreeSet<(OrganizationId, EnrollmentId)>>>,
    /// A claim that an outage kept from being given back.
    unreleased: Option<Claim>,
    metrics: WorkMetrics,
    on_event: F,
}

impl<F: Fn(Event) + Send> Worker<F> {
    async fn run(mut self, stop: watch::Receiver<bool>) -> Result<(), Failure> {
        let ended = self.process_all(stop).await;
        // Another worker need not wait until the lease ends.
        if let Err(e) = self.release_pending().await {
            (self.on_event)(Event::DatabaseError(e));
        }
        ended
    }

    async fn process_all(&mut self, mut stop: watch::Receiver<bool>) -> Result<(), Failure> {
        while !*stop.borrow() {
            let wait = match self.process_next().await {
                Ok(found) => {
                    let wait = self.pauses.after_success();
                    if found {
                        continue;
                    }
                    if self.settings.until_empty && self.is_empty().await? {
                        return Ok(());
                    }
                    wait
                }
                // With `until_empty` a caller waits for the end and needs the error. Otherwise the worker continues after
                // an outage of the database.
                Err(e) if self.settings.until_empty && self.pauses.failures + 1 >= OUTAGES => {
                    return Err(Failure::new(&self.name, e));
                }
                Err(e) => {
                    (self.on_event)(Event::DatabaseError(e));
                    self.pauses.after_failure()
                }
            };
            tokio::select! {
                // `stop` became true, or its sender was dropped.
                _ = stop.changed() => {}
                () = self.pauses.wait(wait) => {}
            }
        }
        Ok(())
    }

    /// Returns true if each unfinished enrollment needs a newer build.
    async fn is_empty(&mut self) -> Result<bool, Failure> {
        let unfinished = self.handle.unfinished().await.map_err(|e| Failure::from_error(&self.name, &e))?;
        let left: Vec<_> = self.left().iter().copied().collect();
        for (organization_id, id) in left {
            let found = self.handle.inbox().find(organization_id, id).await;
            let found = found.map_err(|e| Failure::from_error(&self.name, &e))?;
            // A newer worker finished it, or a host deleted it.
            if found.is_none_or(|entry| entry.enrollment.state != EnrollmentState::Accepted) {
                self.left().remove(&(organization_id, id));
            }
        }
        Ok(unfinished <= self.left().len() as u64)
    }

    fn left(&self) -> MutexGuard<'_, BTreeSet<(OrganizationId, EnrollmentId)>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Claims and processes one enrollment. Returns false if none waits.
    async fn process_next(&mut self) -> Result<bool, String> {
        self.release_pending().await?;
        let claimed = self.handle.inbox().claim(self.settings.lease).await;
        self.metrics.count_claim(match &claimed {
            Ok(Some(_)) => ClaimResult::Claimed,
            Ok(None) => ClaimResult::None,
            Err(_) => ClaimResult::Error,
        });
        let Some(claim) = claimed.map_err(|e| causes(&e))? else { return Ok(false) };
        self.metrics.busy.inc();
        let processed = self.process(claim).await;
        self.metrics.busy.dec();
        processed.map(|()| true)
    }

    async fn process(&mut self, claim: Claim) -> Result<(), String> {
        if claim.lost_leases >= MAX_LOST_LEASES {
            let lost = claim.lost_leases;
            let error = format!("the worker processes of the last {lost} leases ended without an answer");
            return self.give_up(claim, error).await;
        }
        // At the level of errors, so that the lines of every level have the ids.
        let span = tracing::error_span!(
            "enrollment",
            organization = %claim.organization_id,
            enrollment = %claim.enrollment_id,
            attempt = claim.attempts + 1,
            sequence = field::Empty,
            recipients = field::Empty,
        );
        self.attempt(claim).instrument(span).await
    }

    async fn attempt(&mut self, claim: Claim) -> Result<(), String> {
        tracing::debug!(lost_leases = claim.lost_leases, "claimed");
        let start = Instant::now();
        let (organization_id, id) = (claim.organization_id, claim.enrollment_id);
        let now = current_time().map_err(|e| e.to_string())?;
        match process_async(self.handle.inbox(), Retry::default(), organization_id, id, now).await {
            Ok(ProcessOutcome::Completed(Enrolled { report, replayed: false, .. })) => {
                let span = tracing::Span::current();
                span.record("sequence", field::display(report.sequence_id)).record("recipients", report.outcomes.len());
                self.metrics.count_attempt(AttemptResult::Completed);
                (self.on_event)(Event::Completed(claim, Box::new(report), start.elapsed()));
            }
            Ok(ProcessOutcome::Rejected { rejection, replayed: false }) => {
                self.metrics.count_attempt(AttemptResult::Rejected);
                (self.on_event)(Event::Rejected(claim, rejection));
            }
            // Another worker finished it and has counted it, or a host deleted it.
            Ok(_)
            | Err(EnrollError::NotFound(_) | EnrollError::Unfinished { .. } | EnrollError::ReportRemoved { .. }) => {
                self.metrics.count_attempt(AttemptResult::Superseded);
            }
            Err(EnrollError::Repository(e)) if e.kind() == RepositoryErrorKind::Unavailable => {
                return Err(self.keep(claim, &e));
            }
            Err(e @ EnrollError::NewerVersion { .. }) => {
                self.left().insert((organization_id, id));
                self.release(claim, NEWER_WAIT, &e, AttemptResult::NewerVersion).await?;
            }
            Err(e @ EnrollError::Contended { .. }) => {
                self.release(claim, backoff(1), &e, AttemptResult::Contended).await?;
            }
            Err(e) if claim.attempts + 1 >= self.settings.attempts => self.give_up(claim, causes(&e)).await?,
            Err(e) => {
                let error = causes(&e);
                let delay = backoff(claim.attempts + 1);
                self.record_failure(claim, error.clone(), Some(delay)).await?;
                self.metrics.count_attempt(AttemptResult::Retried);
                (self.on_event)(Event::Postponed(claim, error, delay));
            }
        }
        Ok(())
    }

    /// Gives a claim back: the enrollment is not at fault.
    async fn release(
        &mut self,
        claim: Claim,
        delay: Duration,
        reason: &EnrollError,
        result: AttemptResult,
    ) -> Result<(), String> {
        let released = self.handle.inbox().release(&claim, delay).await;
        released.map_err(|e| self.keep(claim, &e))?;
        self.metrics.count_attempt(result);
        (self.on_event)(Event::Released(claim, causes(reason)));
        Ok(())
    }

    /// Gives back the claim that an outage interrupted.
    async fn release_pending(&mut self) -> Result<(), String> {
        if let Some(claim) = self.unreleased {
            self.handle.inbox().release(&claim, Duration::ZERO).await.map_err(|e| causes(&e))?;
            self.unreleased = None;
        }
        Ok(())
    }

    async fn give_up(&mut self, claim: Claim, error: String) -> Result<(), String> {
        self.record_failure(claim, error.clone(), None).await?;
        self.metrics.count_attempt(AttemptResult::Failed);
        (self.on_event)(Event::GivenUp(claim, error));
        Ok(())
    }

    async fn record_failure(
        &mut self,
        claim: Claim,
        error: String,
        retry_after: Option<Duration>,
    ) -> Result<(), String> {
        let failure = AttemptFailure::new(error, retry_after);
        let recorded = self.handle.inbox().record_failure(&claim, &failure).await;
        recorded.map_err(|e| self.keep(claim, &e))
    }

    /// Keeps a claim that an outage interrupted, to give it back later.
    fn keep(&mut self, claim: Claim, error: &RepositoryError) -> String {
        self.metrics.count_attempt(AttemptResult::Unavailable);
        self.unreleased = Some(claim);
        causes(error)
    }
}

/// Ends the waits of workers. The workers of a process share it with the routes that accept work.
#[derive(Default)]
pub(crate) struct Wake {
    notify: Notify,
    /// True while a worker waits after a call that failed.
    outage: AtomicBool,
}

impl Wake {
    /// Wakes one worker, for one new enrollment.
    pub(crate) fn one(&self) {
        self.notify.notify_one();
    }

    /// Wakes all workers, for many new enrollments.
    pub(crate) fn all(&self) {
        self.notify.notify_waiters();
    }

    /// Wakes all workers if they wait for the end of an outage: the database can be written again.
    pub(crate) fn after_success(&self) {
        if self.outage.swap(false, Ordering::Relaxed) {
            self.all();
        }
    }
}

/// The waits of a worker between its calls of the database.
struct Pauses {
    wake: Arc<Wake>,
    /// The number of calls in a row that failed.
    failures: u32,
}

impl Pauses {
    /// Returns the wait of a worker that found no work. If the call ended an outage, the other workers continue.
    fn after_success(&mut self) -> Duration {
        self.failures = 0;
        self.wake.after_success();
        IDLE
    }

    /// Returns the wait after a call that failed.
    fn after_failure(&mut self) -> Duration {
        self.failures = self.failures.saturating_add(1);
        self.wake.outage.store(true, Ordering::Relaxed);
        backoff(self.failures)
    }

    async fn wait(&self, wait: Duration) {
        tokio::select! {
            () = self.wake.notify.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Returns the wait after a number of failures. It doubles each time, up to five seconds. A random part of up to one half
/// is subtracted, so that workers which failed together do not try again together.
fn backoff(failures: u32) -> Duration {
    let longest = FIRST_WAIT.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST_WAIT);
    longest.mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// How long an idle worker waits before it looks for work again.
const IDLE: Duration = Duration::from_millis(200);
/// How long an enrollment that needs a newer build is left to newer workers.
const NEWER_WAIT: Duration = Duration::from_secs(60);
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// The number of database errors in a row after which a worker that runs until the inbox is empty ends.
const OUTAGES: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_back_off_doubles_up_to_five_seconds() {
        for (failures, longest) in [(1, 500), (2, 1000), (3, 2000), (4, 4000), (5, 5000), (u32::MAX, 5000)] {
            let wait = backoff(failures).as_millis();
            assert!((longest / 2..=longest).contains(&wait), "{failures}: {wait}");
        }
    }

    /// Waits, and returns how long that took.
    async fn waited(pauses: &Pauses, wait: Duration, meanwhile: impl FnOnce()) -> Duration {
        let start = tokio::time::Instant::now();
        tokio::join!(pauses.wait(wait), async { meanwhile() });
        start.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn the_back_off_ends_with_the_outage_and_with_new_work() {
        let wake = Arc::<Wake>::default();
        let [mut pauses, mut other] = [(); 2].map(|()| Pauses { wake: Arc::clone(&wake), failures: 0 });
        let wait = (0..5).map(|_| pauses.after_failure()).last().unwrap();
        assert!(wait > Duration::from_secs(2), "{wait:?}");
        let minutes = Duration::from_secs(600);
        assert_eq!(waited(&pauses, minutes, || ()).await, minutes);
        assert_eq!(waited(&pauses, minutes, || _ = other.after_success()).await, Duration::ZERO);
        // The outage has ended.
        assert_eq!(waited(&pauses, minutes, || wake.after_success()).await, minutes);
        assert_eq!(waited(&pauses, minutes, || wake.one()).await, Duration::ZERO);
        assert_eq!(waited(&pauses, minutes, || wake.all()).await, Duration::ZERO);
    }
}

//! Workers: they claim accepted enrollments and process them. A failed attempt is repeated later.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tracing::{Instrument, field};

use enroll::inbox::{Claim, Failure as AttemptFailure};
use enroll::{
    AsyncInbox, EnrollError, EnrollmentId, EnrollmentReport, EnrollmentState, OrganizationId, ProcessOutcome,
    Rejection, Retry, Timestamp, process_async,
};

use crate::handles::{Handle, HandleFactory};
use crate::import_job::current_time;
use crate::{Failure, causes};

/// The options of workers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) workers: u16,
    /// The number of attempts after which an enrollment is `failed`.
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
    /// An attempt failed. With the instant of the next attempt.
    Postponed(Claim, String, Timestamp),
    /// The last attempt failed.
    GivenUp(Claim, String),
    /// A newer build must process it. This is not a failed attempt.
    LeftToNewer(String),
    /// The database returned an error. The worker tries again.
    DatabaseError(String),
}

/// Runs workers until `stop` becomes true or, with `until_empty`, no enrollment waits. Each worker finishes its current
/// enrollment. `wake` makes an idle worker look for work at once.
pub(crate) async fn work(
    handles: &HandleFactory,
    settings: Settings,
    stop: &watch::Receiver<bool>,
    wake: &Arc<Notify>,
    on_event: impl Fn(Event) + Clone + Send + 'static,
) -> Result<(), Failure> {
    let mut workers = JoinSet::new();
    let left = Arc::default();
    for _ in 0..settings.workers {
        let worker = Worker {
            handle: handles.handle()?,
            name: handles.name.clone(),
            settings,
            wake: Arc::clone(wake),
            left: Arc::clone(&left),
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
    wake: Arc<Notify>,
    /// The enrollments that need a newer build, shared by all workers.
    left: Arc<Mutex<BTreeSet<(OrganizationId, EnrollmentId)>>>,
    on_event: F,
}

impl<F: Fn(Event) + Send> Worker<F> {
    async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<(), Failure> {
        let mut failures = 0;
        while !*stop.borrow() {
            let wait = match self.process_next().await {
                Ok(true) => {
                    failures = 0;
                    continue;
                }
                Ok(false) if self.settings.until_empty && self.is_empty().await? => return Ok(()),
                Ok(false) => IDLE,
                // With `until_empty` a caller waits for the end and needs the error. Otherwise the worker continues after
                // an outage of the database.
                Err(e) if self.settings.until_empty && failures + 1 >= self.settings.attempts => {
                    return Err(Failure::new(&self.name, e));
                }
                Err(e) => {
                    failures += 1;
                    (self.on_event)(Event::DatabaseError(e));
                    backoff(failures)
                }
            };
            tokio::select! {
                // `stop` became true, or its sender was dropped.
                _ = stop.changed() => {}
                // After an error of the database, wait for the whole back-off.
                () = self.wake.notified(), if failures == 0 => {}
                () = tokio::time::sleep(wait) => {}
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
        let now = now()?;
        let lease_end = later(now, self.settings.lease);
        let claimed = self.handle.inbox().claim(now, lease_end).await.map_err(|e| causes(&e))?;
        let Some(claim) = claimed else { return Ok(false) };
        if claim.attempt > self.settings.attempts {
            // The process ended during each earlier attempt, so another attempt would end this one.
            let attempts = self.settings.attempts;
            self.give_up(claim, format!("the worker process ended in each of {attempts} attempts")).await?;
            return Ok(true);
        }
        let span = tracing::info_span!(
            "enrollment",
            organization = %claim.organization_id,
            enrollment = %claim.enrollment_id,
            attempt = claim.attempt,
            sequence = field::Empty,
            recipients = field::Empty,
        );
        self.attempt(claim, now).instrument(span).await?;
        Ok(true)
    }

    async fn attempt(&mut self, claim: Claim, now: Timestamp) -> Result<(), String> {
        let start = Instant::now();
        let (organization_id, id) = (claim.organization_id, claim.enrollment_id);
        match process_async(self.handle.inbox(), Retry::default(), organization_id, id, now).await {
            Ok(ProcessOutcome::Completed(enrolled)) => {
                let report = enrolled.report;
                let span = tracing::Span::current();
                span.record("sequence", field::display(report.sequence_id)).record("recipients", report.outcomes.len());
                (self.on_event)(Event::Completed(claim, Box::new(report), start.elapsed()));
            }
            Ok(ProcessOutcome::Rejected(rejection)) => (self.on_event)(Event::Rejected(claim, rejection)),
            Err(e @ EnrollError::NewerVersion { .. }) => {
                let due_at = later(self::now()?, NEWER_WAIT);
                self.handle.inbox().release(&claim, due_at).await.map_err(|e| causes(&e))?;
                self.left().insert((organization_id, id));
                (self.on_event)(Event::LeftToNewer(causes(&e)));
            }
            // Another worker finished it, or a host deleted it.
            Err(EnrollError::NotFound(_) | EnrollError::Unfinished { .. }) => {}
            Err(e) if claim.attempt >= self.settings.attempts => self.give_up(claim, causes(&e)).await?,
            Err(e) => {
                let error = causes(&e);
                let retry_at = later(self::now()?, backoff(claim.attempt));
                self.record_failure(&claim, error.clone(), Some(retry_at)).await?;
                (self.on_event)(Event::Postponed(claim, error, retry_at));
            }
        }
        Ok(())
    }

    async fn give_up(&mut self, claim: Claim, error: String) -> Result<(), String> {
        self.record_failure(&claim, error.clone(), None).await?;
        (self.on_event)(Event::GivenUp(claim, error));
        Ok(())
    }

    /// Stores why an attempt failed. If this fails too, the lease ends and a worker claims the enrollment again.
    async fn record_failure(
        &mut self,
        claim: &Claim,
        error: String,
        retry_at: Option<Timestamp>,
    ) -> Result<(), String> {
        let failure = AttemptFailure::new(error, retry_at);
        self.handle.inbox().record_failure(claim, &failure).await.map_err(|e| causes(&e))
    }
}

/// Returns the wait after a number of failures. It doubles each time, up to five minutes. A random part of up to one half
/// is subtracted, so that workers which failed together do not try again together.
fn backoff(failures: u32) -> Duration {
    let longest = FIRST_WAIT.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST_WAIT);
    longest.mul_f64(0.5 + fastrand::f64() / 2.0)
}

fn now() -> Result<Timestamp, String> {
    current_time().map_err(|e| e.to_string())
}

fn later(now: Timestamp, by: Duration) -> Timestamp {
    let millis = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(now.millis().saturating_add(millis)).unwrap_or(now)
}

/// How long an idle worker waits before it looks for work again.
const IDLE: Duration = Duration::from_millis(200);
/// How long an enrollment that needs a newer build is left to newer workers.
const NEWER_WAIT: Duration = Duration::from_secs(60);
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_back_off_doubles_up_to_five_minutes() {
        for (failures, longest) in [(1, 500), (2, 1000), (3, 2000), (10, 256_000), (11, 300_000), (u32::MAX, 300_000)] {
            let wait = backoff(failures).as_millis();
            assert!((longest / 2..=longest).contains(&wait), "{failures}: {wait}");
        }
    }
}

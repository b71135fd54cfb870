//! Workers: they claim what was accepted, process it, and say of what fails when it is tried again.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tracing::{Instrument, field};

use enroll::inbox::{Claim, Failure as AttemptFailure};
use enroll::{
    AsyncInbox, EnrollError, EnrollmentId, EnrollmentReport, OrganizationId, ProcessOutcome, Rejection, Retry,
    Timestamp, process_async,
};

use crate::ask::clock;
use crate::store::{Handle, Store};
use crate::{Failure, causes};

/// How workers work.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) workers: u16,
    /// How often an enrollment is tried before it is given up.
    pub(crate) attempts: u32,
    /// How long an enrollment is a worker's own.
    pub(crate) lease: Duration,
    /// Whether to end when nothing waits.
    pub(crate) until_empty: bool,
}

/// What a worker tells.
#[derive(Debug)]
pub(crate) enum Event {
    /// With how long it took.
    Completed(Claim, Box<EnrollmentReport>, Duration),
    Rejected(Claim, Rejection),
    /// An attempt failed, and the next is due then.
    Postponed(Claim, String, Timestamp),
    /// The last attempt failed.
    GivenUp(Claim, String),
    /// A newer build must process it. This is not a failed attempt.
    Left(String),
    /// The database could not be asked; the worker goes on asking.
    Trouble(String),
}

/// Works until it is told to stop, or nothing waits where that is the end. What runs is finished first. Who waits for
/// work looks again each time it is woken.
pub(crate) async fn work(
    store: &Store,
    settings: Settings,
    stop: &watch::Receiver<bool>,
    wake: &Arc<Notify>,
    told: impl Fn(Event) + Clone + Send + 'static,
) -> Result<(), Failure> {
    let mut workers = JoinSet::new();
    let left = Arc::default();
    for _ in 0..settings.workers {
        let worker = Worker {
            handle: store.handle()?,
            name: store.name.clone(),
            settings,
            wake: Arc::clone(wake),
            left: Arc::clone(&left),
            told: told.clone(),
        };
        workers.spawn(worker.run(stop.clone()));
    }
    let mut answer = Ok(());
    while let Some(ended) = workers.join_next().await {
        let ended = ended.unwrap_or_else(|e| Err(Failure::new("worker", e)));
        answer = answer.and(ended);
    }
    answer
}

struct Worker<T> {
    handle: Handle,
    name: String,
    settings: Settings,
    wake: Arc<Notify>,
    /// The enrollments that need a newer build, shared by all workers.
    left: Arc<Mutex<BTreeSet<(OrganizationId, EnrollmentId)>>>,
    told: T,
}

impl<T: Fn(Event) + Send> Worker<T> {
    async fn run(mut self, mut stop: watch::Receiver<bool>) -> Result<(), Failure> {
        let mut failures = 0;
        while !*stop.borrow() {
            let wait = match self.next().await {
                Ok(true) => {
                    failures = 0;
                    continue;
                }
                Ok(false) if self.settings.until_empty && self.is_empty().await? => return Ok(()),
                Ok(false) => IDLE,
                // Whoever waits for the end is told; whoever works on outlives a database that is away for a while.
                Err(e) if self.settings.until_empty && failures + 1 >= self.settings.attempts => {
                    return Err(Failure::new(&self.name, e));
                }
                Err(e) => {
                    failures += 1;
                    (self.told)(Event::Trouble(e));
                    backoff(failures)
                }
            };
            tokio::select! {
                // Told to stop, or nobody is left who could tell.
                _ = stop.changed() => {}
                // A database that does not answer is left alone for a while.
                () = self.wake.notified(), if failures == 0 => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        Ok(())
    }

    async fn is_empty(&mut self) -> Result<bool, Failure> {
        let unfinished = self.handle.unfinished().await;
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner).len() as u64;
        Ok(unfinished.map_err(|e| Failure::caused(&self.name, &e))? <= left)
    }

    /// Claims and processes one enrollment; false if none waits.
    async fn next(&mut self) -> Result<bool, String> {
        let now = now()?;
        let lease_end = later(now, self.settings.lease);
        let claimed = self.handle.claim(now, lease_end).await.map_err(|e| causes(&e))?;
        let Some(claim) = claimed else { return Ok(false) };
        if claim.attempt > self.settings.attempts {
            // Each attempt took its worker with it: the next would too.
            let attempts = self.settings.attempts;
            self.give_up(claim, format!("the worker ended in each of {attempts} attempts")).await?;
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
        let begun = Instant::now();
        let (organization_id, id) = (claim.organization_id, claim.enrollment_id);
        match process_async(&mut self.handle, Retry::default(), organization_id, id, now).await {
            Ok(ProcessOutcome::Completed(enrolled)) => {
                let report = enrolled.report;
                let span = tracing::Span::current();
                span.record("sequence", field::display(report.sequence_id)).record("recipients", report.outcomes.len());
                (self.told)(Event::Completed(claim, Box::new(report), begun.elapsed()));
            }
            Ok(ProcessOutcome::Rejected(rejection)) => (self.told)(Event::Rejected(claim, rejection)),
            Err(e @ EnrollError::NewerVersion { .. }) => {
                let due_at = later(self::now()?, NEWER_WAIT);
                self.handle.release(&claim, due_at).await.map_err(|e| causes(&e))?;
                self.left.lock().unwrap_or_else(PoisonError::into_inner).insert((organization_id, id));
                (self.told)(Event::Left(causes(&e)));
            }
            // Somebody else ended it meanwhile, or took it away.
            Err(EnrollError::NotFound(_) | EnrollError::Unfinished { .. }) => {}
            Err(e) if claim.attempt >= self.settings.attempts => self.give_up(claim, causes(&e)).await?,
            Err(e) => {
                let error = causes(&e);
                let retry_at = later(self::now()?, backoff(claim.attempt));
                self.note(&claim, error.clone(), Some(retry_at)).await?;
                (self.told)(Event::Postponed(claim, error, retry_at));
            }
        }
        Ok(())
    }

    async fn give_up(&mut self, claim: Claim, error: String) -> Result<(), String> {
        self.note(&claim, error.clone(), None).await?;
        (self.told)(Event::GivenUp(claim, error));
        Ok(())
    }

    /// Where this fails too, the lease runs out, and the enrollment is claimed again.
    async fn note(&mut self, claim: &Claim, error: String, retry_at: Option<Timestamp>) -> Result<(), String> {
        let failure = AttemptFailure::new(error, retry_at);
        self.handle.record_failure(claim, &failure).await.map_err(|e| causes(&e))
    }
}

/// How long to wait after so many failures: twice as long each time, up to five minutes, and of that half to all, so
/// that many that failed together do not come back together.
fn backoff(failures: u32) -> Duration {
    let longest = FIRST_WAIT.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(LONGEST_WAIT);
    longest.mul_f64(0.5 + fastrand::f64() / 2.0)
}

fn now() -> Result<Timestamp, String> {
    clock().map_err(|e| e.to_string())
}

fn later(now: Timestamp, by: Duration) -> Timestamp {
    let millis = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(now.millis().saturating_add(millis)).unwrap_or(now)
}

/// How long a worker waits before it asks again, where nothing waits.
const IDLE: Duration = Duration::from_millis(200);
/// How long an enrollment that needs a newer build is left to newer workers.
const NEWER_WAIT: Duration = Duration::from_secs(60);
const FIRST_WAIT: Duration = Duration::from_millis(500);
const LONGEST_WAIT: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_end_at_five_minutes() {
        for (failures, longest) in [(1, 500), (2, 1000), (3, 2000), (10, 256_000), (11, 300_000), (u32::MAX, 300_000)] {
            let wait = backoff(failures).as_millis();
            assert!((longest / 2..=longest).contains(&wait), "{failures}: {wait}");
        }
    }
}

//! The state that the workers of a process share, and that of each worker.

use std::collections::BTreeSet;
use std::time::Duration;

use enroll::inbox::{Claim, Failure, MAX_LOST_LEASES};
use enroll::{
    EnrollError, Enrolled, EnrollmentId, OrganizationId, ProcessOutcome, RepositoryError, RepositoryErrorKind,
};

use crate::back_off::Random;
use crate::causes::causes;
use crate::event::{Event, ReleaseReason};
use crate::settings::Settings;
use crate::step::{ClaimStep, CountStep, ProcessStep, RecordStep, ReleaseStep, SleepStep, Step, Turn};

/// How long an enrollment that needs a newer build is left to newer workers.
const NEWER_WAIT: Duration = Duration::from_secs(60);
/// The number of turns in a row that fail, after which a worker that runs until the inbox is empty ends.
const OUTAGES: u32 = 5;

/// The workers of a process, without their I/O.
///
/// It has what they share: an outage of the storage, the enrollments that need a newer build, and whether they stop.
/// [`worker`](Self::worker) adds a worker, and returns its first [`Step`].
#[derive(Debug)]
pub struct Workers {
    settings: Settings,
    random: Random,
    until_empty: bool,
    stopping: bool,
    /// True while a worker waits after a call that failed.
    outage: bool,
    /// The enrollments that need a newer build.
    newer: BTreeSet<(OrganizationId, EnrollmentId)>,
}

impl Workers {
    /// Returns workers that run until they are stopped.
    ///
    /// The seed spreads the waits of workers after a failure. It differs between the processes that share an inbox.
    #[must_use]
    pub fn new(settings: Settings, seed: u64) -> Self {
        Self {
            settings,
            random: Random::new(seed),
            until_empty: false,
            stopping: false,
            outage: false,
            newer: BTreeSet::new(),
        }
    }

    /// Returns workers that end when no enrollment waits, except those that need a newer build.
    ///
    /// They also end when the storage fails five times in a row: a caller waits for the end, and needs the error.
    #[must_use]
    pub fn until_empty(settings: Settings, seed: u64) -> Self {
        Self { until_empty: true, ..Self::new(settings, seed) }
    }

    /// Returns the first step of another worker.
    pub fn worker(&self) -> Step {
        Worker::default().next(self)
    }

    /// Stops the workers: each one finishes its enrollment, gives back what an outage interrupted, and ends. A caller ends
    /// their sleeps too.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// Notes that the storage can be written again, as another part of the host found out. Returns true if workers sleep
    /// after an outage: then the caller ends the sleeps of all.
    #[must_use]
    pub fn storage_answered(&mut self) -> bool {
        std::mem::take(&mut self.outage)
    }

    /// Returns the settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    #[cfg(feature = "tokio")]
    pub(crate) fn end_when_empty(&mut self) {
        self.until_empty = true;
    }
}

/// A worker. It is a part of its current step, so that it has one step at a time.
#[derive(Debug, Default)]
pub(crate) struct Worker {
    /// The number of turns in a row that failed.
    failures: u32,
    /// A claim that an outage kept from being given back.
    interrupted: Option<Claim>,
    /// How the worker ends, after it has given its claim back.
    ending: Option<Result<(), RepositoryError>>,
}

impl Worker {
    /// Starts the next turn.
    pub(crate) fn next(mut self, workers: &Workers) -> Step {
        if workers.stopping && self.ending.is_none() {
            self.ending = Some(Ok(()));
        }
        match (self.interrupted.take(), self.ending.take()) {
            (Some(claim), ending) => {
                self.ending = ending;
                Step::Release(ReleaseStep { worker: self, claim, delay: Duration::ZERO, reason: None })
            }
            (None, Some(ending)) => Step::Done(ending),
            (None, None) => Step::Claim(ClaimStep { worker: self, lease: workers.settings.lease }),
        }
    }

    pub(crate) fn claimed(
        self,
        workers: &mut Workers,
        claimed: Result<Option<Claim>, RepositoryError>,
        now: Duration,
    ) -> Turn {
        match claimed {
            Ok(Some(claim)) => self.start(workers, claim, now).with(Event::Claimed(claim)),
            Ok(None) if workers.until_empty && !workers.stopping => {
                let newer = workers.newer.iter().copied().collect();
                self.succeeded(workers, |worker, _| Step::Count(CountStep { worker, newer })).with(Event::NoneDue)
            }
            Ok(None) => self.succeeded(workers, |worker, workers| worker.idle(workers, now)).with(Event::NoneDue),
            Err(e) => {
                let event = Event::ClaimFailed { error: causes(&e) };
                self.failed(workers, e, now).with(event)
            }
        }
    }

    /// Starts to process a claim. The turn has not succeeded yet.
    fn start(self, workers: &mut Workers, claim: Claim, now: Duration) -> Turn {
        if workers.stopping {
            let released = (ReleaseReason::Stopped, ReleaseReason::Stopped.to_string());
            let step = ReleaseStep { worker: self, claim, delay: Duration::ZERO, reason: Some(released) };
            return Step::Release(step).into();
        }
        if claim.lost_leases >= MAX_LOST_LEASES {
            let lost = claim.lost_leases;
            let error = format!("the worker processes of the last {lost} leases ended without an answer");
            return Step::Record(RecordStep { worker: self, claim, failure: Failure::new(error, None) }).into();
        }
        Step::Process(ProcessStep { worker: self, claim, retry: workers.settings.retry, since: now }).into()
    }

    pub(crate) fn processed(
        self,
        workers: &mut Workers,
        claim: Claim,
        processed: Result<ProcessOutcome, EnrollError>,
        (since, now): (Duration, Duration),
    ) -> Turn {
        match processed {
            Ok(ProcessOutcome::Completed(Enrolled { report, replayed: false, .. })) => {
                let took = now.saturating_sub(since);
                self.ended(workers, Event::Completed { claim, report: Box::new(report), took })
            }
            Ok(ProcessOutcome::Rejected { rejection, replayed: false }) => {
                self.ended(workers, Event::Rejected { claim, rejection })
            }
            // Another worker finished it and has counted it, or a host deleted it.
            Ok(_)
            | Err(EnrollError::NotFound(_) | EnrollError::Unfinished { .. } | EnrollError::ReportRemoved { .. }) => {
                self.ended(workers, Event::Superseded { claim })
            }
            Err(EnrollError::Repository(e)) if e.kind() == RepositoryErrorKind::Unavailable => {
                self.interrupted(workers, claim, e, now)
            }
            Err(e @ EnrollError::NewerVersion { .. }) => {
                workers.newer.insert((claim.organization_id, claim.enrollment_id));
                self.release(claim, NEWER_WAIT, (ReleaseReason::NewerVersion, causes(&e)))
            }
            Err(e @ EnrollError::Contended { .. }) => {
                let delay = workers.random.back_off(1);
                self.release(claim, delay, (ReleaseReason::Contended, causes(&e)))
            }
            Err(e) => {
                let number = claim.attempts.saturating_add(1);
                let again = (number < workers.settings.attempts).then(|| workers.random.back_off(number));
                let failure = Failure::new(causes(&e), again);
                Step::Record(RecordStep { worker: self, claim, failure }).into()
            }
        }
    }

    fn release(self, claim: Claim, delay: Duration, reason: (ReleaseReason, String)) -> Turn {
        Step::Release(ReleaseStep { worker: self, claim, delay, reason: Some(reason) }).into()
    }

    pub(crate) fn recorded(
        self,
        workers: &mut Workers,
        claim: Claim,
        failure: Failure,
        recorded: Result<(), RepositoryError>,
        now: Duration,
    ) -> Turn {
        let Failure { error, retry_after, .. } = failure;
        match (recorded, retry_after) {
            (Ok(()), Some(delay)) => self.ended(workers, Event::Retried { claim, error, delay }),
            (Ok(()), None) => self.ended(workers, Event::Failed { claim, error }),
            (Err(e), _) => self.interrupted(workers, claim, e, now),
        }
    }

    pub(crate) fn released(
        mut self,
        workers: &mut Workers,
        claim: Claim,
        reason: Option<(ReleaseReason, String)>,
        released: Result<(), RepositoryError>,
        now: Duration,
    ) -> Turn {
        match (released, reason) {
            (Ok(()), Some((reason, error))) => self.ended(workers, Event::Released { claim, reason, error }),
            // The turn of the claim failed before. Only the next one shows whether the storage works.
            (Ok(()), None) => self.next(workers).into(),
            (Err(e), Some(_)) => self.interrupted(workers, claim, e, now),
            (Err(e), None) => {
                let event = Event::StorageFailed { error: causes(&e) };
                if let Some(ending) = self.ending.take() {
                    // The lease ends by its time.
                    return Turn::from(Step::Done(ending)).with(event);
                }
                self.interrupted = Some(claim);
                self.failed(workers, e, now).with(event)
            }
        }
    }

    pub(crate) fn counted(
        mut self,
        workers: &mut Workers,
        asked: &[(OrganizationId, EnrollmentId)],
        counted: Result<Remaining, RepositoryError>,
        now: Duration,
    ) -> Turn {
        match counted {
            Ok(Remaining { unfinished, newer }) => {
                // A newer worker finished the others, or a host deleted them.
                workers.newer.retain(|id| !asked.contains(id) || newer.contains(id));
                if unfinished <= workers.newer.len() as u64 {
                    self.ending = Some(Ok(()));
                    return self.next(workers).into();
                }
                self.idle(workers, now).into()
            }
            Err(e) => {
                let event = Event::StorageFailed { error: causes(&e) };
                self.failed(workers, e, now).with(event)
            }
        }
    }

    /// Ends the turn of a claim that has its answer.
    fn ended(self, workers: &mut Workers, event: Event) -> Turn {
        self.succeeded(workers, Worker::next).with(event)
    }

    /// Ends a turn in which the storage worked. If that ends an outage, the sleeps of all workers end.
    fn succeeded(mut self, workers: &mut Workers, step: impl FnOnce(Self, &Workers) -> Step) -> Turn {
        self.failures = 0;
        let wake_all = workers.storage_answered();
        Turn { step: step(self, workers), event: None, wake_all }
    }

    /// Ends a turn with a claim that must be given back later.
    fn interrupted(mut self, workers: &mut Workers, claim: Claim, error: RepositoryError, now: Duration) -> Turn {
        let event = Event::Interrupted { claim, error: causes(&error) };
        self.interrupted = Some(claim);
        self.failed(workers, error, now).with(event)
    }

    /// Ends a turn in which the storage failed.
    fn failed(mut self, workers: &mut Workers, error: RepositoryError, now: Duration) -> Turn {
        self.failures = self.failures.saturating_add(1);
        if workers.until_empty && self.failures >= OUTAGES {
            self.ending = Some(Err(error));
        }
        if workers.stopping || self.ending.is_some() {
            return self.next(workers).into();
        }
        workers.outage = true;
        let until = now.saturating_add(workers.random.back_off(self.failures));
        Step::Sleep(SleepStep { worker: self, until }).into()
    }

    fn idle(self, workers: &Workers, now: Duration) -> Step {
        if workers.stopping {
            return self.next(workers);
        }
        Step::Sleep(SleepStep { worker: self, until: now.saturating_add(workers.settings.idle) })
    }
}

/// What waits in an inbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Remaining {
    /// The number of enrollments in the state `accepted`, also of those with a lease.
    pub unfinished: u64,
    /// Those of [`CountStep::newer`] that are still `accepted`.
    pub newer: Vec<(OrganizationId, EnrollmentId)>,
}

impl Remaining {
    /// Creates it.
    #[must_use]
    pub fn new(unfinished: u64, newer: Vec<(OrganizationId, EnrollmentId)>) -> Self {
        Self { unfinished, newer }
    }
}

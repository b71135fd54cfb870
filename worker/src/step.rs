//! The steps of a worker.

use std::time::Duration;

use enroll::inbox::{Claim, Failure};
use enroll::{EnrollError, EnrollmentId, OrganizationId, ProcessOutcome, RepositoryError, Retry};

use crate::event::{Event, ReleaseReason};
use crate::workers::{Remaining, Worker, Workers};

/// What a worker does next.
///
/// Each step but the last has a `resume` method, which takes the answer and returns the next step. Exhaustive, because a
/// host must handle each step.
#[derive(Debug)]
#[must_use = "a worker does nothing until its steps are done"]
pub enum Step {
    /// Claim an enrollment.
    Claim(ClaimStep),
    /// Process the enrollment of a claim.
    Process(ProcessStep),
    /// Record that the enrollment of a claim cannot be processed.
    Record(RecordStep),
    /// Give a claim back.
    Release(ReleaseStep),
    /// Count what waits. Only workers that run [until the inbox is empty](Workers::until_empty) need it.
    Count(CountStep),
    /// Wait.
    Sleep(SleepStep),
    /// The worker has ended, with the last error if the storage failed too often.
    Done(Result<(), RepositoryError>),
}

/// The answer to a step: the next step, and what happened.
#[derive(Debug)]
#[must_use = "a worker does nothing until its steps are done"]
pub struct Turn {
    /// What the worker does next.
    pub step: Step,
    /// What happened.
    pub event: Option<Event>,
    /// Whether the sleeps of all workers end now: an outage of the storage is over.
    pub wake_all: bool,
}

impl From<Step> for Turn {
    fn from(step: Step) -> Self {
        Self { step, event: None, wake_all: false }
    }
}

impl Turn {
    pub(crate) fn with(self, event: Event) -> Self {
        Self { event: Some(event), ..self }
    }
}

/// Needs a claim: see [`Inbox::claim`](enroll::Inbox::claim). The inbox lets the organizations take turns.
#[derive(Debug)]
#[must_use = "the worker continues with `resume`"]
pub struct ClaimStep {
    pub(crate) worker: Worker,
    pub(crate) lease: Duration,
}

impl ClaimStep {
    /// Returns the length of the lease.
    #[must_use]
    pub fn lease(&self) -> Duration {
        self.lease
    }

    /// Returns the next step. `now` is the time since any fixed instant, of a clock that never goes back.
    pub fn resume(self, workers: &mut Workers, claimed: Result<Option<Claim>, RepositoryError>, now: Duration) -> Turn {
        self.worker.claimed(workers, claimed, now)
    }
}

/// Needs the outcome of an enrollment: see [`process`](enroll::process).
#[derive(Debug)]
#[must_use = "the worker continues with `resume`"]
pub struct ProcessStep {
    pub(crate) worker: Worker,
    pub(crate) claim: Claim,
    pub(crate) retry: Retry,
    pub(crate) since: Duration,
}

impl ProcessStep {
    /// Returns the lease on the enrollment.
    #[must_use]
    pub fn claim(&self) -> Claim {
        self.claim
    }

    /// Returns the limit of attempts to commit.
    #[must_use]
    pub fn retry(&self) -> Retry {
        self.retry
    }

    /// Returns the next step.
    ///
    /// If the host cannot call `process`, for example because its clock is wrong, it answers with an error of the kind
    /// [`Unavailable`](enroll::RepositoryErrorKind::Unavailable). Then the worker waits and gives the claim back.
    pub fn resume(self, workers: &mut Workers, processed: Result<ProcessOutcome, EnrollError>, now: Duration) -> Turn {
        self.worker.processed(workers, self.claim, processed, (self.since, now))
    }
}

/// Needs a record of a failed attempt: see [`Inbox::record_failure`](enroll::Inbox::record_failure).
#[derive(Debug)]
#[must_use = "the worker continues with `resume`"]
pub struct RecordStep {
    pub(crate) worker: Worker,
    pub(crate) claim: Claim,
    pub(crate) failure: Failure,
}

impl RecordStep {
    /// Returns the lease on the enrollment.
    #[must_use]
    pub fn claim(&self) -> &Claim {
        &self.claim
    }

    /// Returns what to record.
    #[must_use]
    pub fn failure(&self) -> &Failure {
        &self.failure
    }

    /// Returns the next step.
    pub fn resume(self, workers: &mut Workers, recorded: Result<(), RepositoryError>, now: Duration) -> Turn {
        self.worker.recorded(workers, self.claim, self.failure, recorded, now)
    }
}

/// Needs a claim given back: see [`Inbox::release`](enroll::Inbox::release).
#[derive(Debug)]
#[must_use = "the worker continues with `resume`"]
pub struct ReleaseStep {
    pub(crate) worker: Worker,
    pub(crate) claim: Claim,
    pub(crate) delay: Duration,
    /// Absent if the claim was interrupted before.
    pub(crate) reason: Option<(ReleaseReason, String)>,
}

impl ReleaseStep {
    /// Returns the lease.
    #[must_use]
    pub fn claim(&self) -> &Claim {
        &self.claim
    }

    /// Returns the time until the enrollment is due again.
    #[must_use]
    pub fn delay(&self) -> Duration {
        self.delay
    }

    /// Returns the next step.
    pub fn resume(self, workers: &mut Workers, released: Result<(), RepositoryError>, now: Duration) -> Turn {
        self.worker.released(workers, self.claim, self.reason, released, now)
    }
}

/// Needs the number of enrollments that wait.
#[derive(Debug)]
#[must_use = "the worker continues with `resume`"]
pub struct CountStep {
    pub(crate) worker: Worker,
    pub(crate) newer: Vec<(OrganizationId, EnrollmentId)>,
}

impl CountStep {
    /// Returns enrollments that need a newer build. The answer says which of them still wait: see
    /// [`Inbox::find`](enroll::Inbox::find).
    #[must_use]
    pub fn newer(&self) -> &[(OrganizationId, EnrollmentId)] {
        &self.newer
    }

    /// Returns the next step.
    pub fn resume(self, workers: &mut Workers, counted: Result<Remaining, RepositoryError>, now: Duration) -> Turn {
        self.worker.counted(workers, &self.newer, counted, now)
    }
}

/// Needs time to pass.
///
/// The caller ends the sleep of one worker when it accepts an enrollment, and the sleeps of all workers when
/// [`Turn::wake_all`] or [`Workers::storage_answered`] is true, and after [`Workers::stop`].
#[derive(Debug)]
#[must_use = "the worker continues with `resume`"]
pub struct SleepStep {
    pub(crate) worker: Worker,
    pub(crate) until: Duration,
}

impl SleepStep {
    /// Returns the end of the sleep, on the clock of `now`.
    #[must_use]
    pub fn until(&self) -> Duration {
        self.until
    }

    /// Returns the next step, after the sleep or earlier.
    pub fn resume(self, workers: &Workers) -> Turn {
        self.worker.next(workers).into()
    }
}

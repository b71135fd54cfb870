//! The operation without I/O: a state machine that returns what it needs next.
//!
//! [`enroll_contacts`](crate::enroll_contacts) and its siblings drive it over a [`Repository`] or an
//! [`AsyncRepository`]. A host with another kind of I/O drives it by hand:
//!
//! ```text
//!                       enroll, preview, accept                    process (an accepted enrollment)
//!                                 |                                          |
//!                                 v                                          |
//!                       Step::ReferenceData  --- sent before ---+            |
//!                                 |                             |            |
//!        accept: insert <---------+                             |            |
//!                                 v                             v            v
//!      +---- conflict --->  Step::Snapshot --- preview --->  Step::Done <-- ended before
//!      |                          |                             ^
//!      |                          v                             |
//!      +-------------------  Step::Commit  -----------------> committed
//! ```
//!
//! Each step has a query or a change set, and a `resume` method that takes the storage's answer and returns the next
//! step. The machine has no clock, and it decides about retries: after a conflict it needs a new snapshot at once.
//!
//! ```
//! use enroll::operation::{self, Step};
//! # use enroll::{Engine, EnrollError, Enrollment, Enrolled, InMemoryRepository, Repository};
//!
//! fn enroll(
//!     storage: &mut InMemoryRepository,
//!     engine: &Engine<'_>,
//!     enrollment: &Enrollment<'_>,
//! ) -> Result<Enrolled, EnrollError> {
//!     let mut step = operation::enroll(engine, enrollment);
//!     loop {
//!         step = match step {
//!             Step::ReferenceData(read) => {
//!                 let rows = storage.reference_data(read.query())?;
//!                 read.resume(&rows)?
//!             }
//!             Step::Snapshot(load) => {
//!                 let snapshot = storage.load(load.query())?;
//!                 load.resume(snapshot)?
//!             }
//!             Step::Commit(commit) => {
//!                 let committed = storage.commit(commit.changes());
//!                 commit.resume(committed)?
//!             }
//!             Step::Done(enrolled) => return Ok(enrolled),
//!         };
//!     }
//! }
//! ```

use crate::answer::{EnrollError, Enrolled, ProcessOutcome, Receipt};
use crate::changes::ChangeSet;
use crate::command::{Engine, Enrollment, EnrollmentCommand, Retry, StoredCommand};
use crate::fault::Rejection;
use crate::ids::EnrollmentId;
use crate::inbox::InboxEntry;
use crate::plan::{plan_enrollment, reject_enrollment};
use crate::query::{ReferenceQuery, SnapshotQuery};
use crate::report::Warning;
use crate::repository::{AsyncRepository, Repository, RepositoryError, RepositoryErrorKind};
use crate::snapshot::{ReferenceData, Snapshot};
use crate::stored_enrollment::{EnrollmentState, StoredEnrollment};
use crate::time::Timestamp;

/// What an operation needs next, or its result.
///
/// Exhaustive, because a host must handle each step.
#[derive(Debug)]
#[must_use = "an operation does nothing until its steps are done"]
pub enum Step<'a, T> {
    /// The operation needs the rows that the request refers to.
    ReferenceData(ReferenceDataStep<'a, T>),
    /// The operation needs the facts that the planner reads.
    Snapshot(SnapshotStep<T>),
    /// The operation needs a commit.
    Commit(CommitStep<T>),
    /// The operation is done.
    Done(T),
}

/// Needs the rows that the request refers to: see [`Repository::reference_data`].
#[derive(Debug)]
#[must_use = "the operation continues with `resume`"]
pub struct ReferenceDataStep<'a, T> {
    query: ReferenceQuery,
    engine: Engine<'a>,
    enrollment: Enrollment<'a>,
    /// Returns the result of a request that was sent before.
    replay: fn(&StoredEnrollment, &Enrollment<'_>, &Engine<'_>) -> Result<T, EnrollError>,
    /// Continues with the checked request.
    then: fn(EnrollmentCommand, Retry) -> Step<'a, T>,
}

impl<'a, T> ReferenceDataStep<'a, T> {
    /// Returns the rows to read.
    #[must_use]
    pub fn query(&self) -> &ReferenceQuery {
        &self.query
    }

    /// Checks the request against the rows and returns the next step.
    ///
    /// # Errors
    /// [`EnrollError::Rejected`] with every fault of the request; [`EnrollError::Unfinished`] if the same request was
    /// accepted before and waits, and the operation returns a report.
    pub fn resume(self, reference: &ReferenceData) -> Result<Step<'a, T>, EnrollError> {
        if let Some(stored) = self.enrollment.previous(reference) {
            return (self.replay)(stored, &self.enrollment, &self.engine).map(Step::Done);
        }
        let command = EnrollmentCommand::check(&self.enrollment, reference, &self.engine)?;
        Ok((self.then)(command, self.engine.retry))
    }
}

/// Needs the facts that the planner reads: see [`Repository::load`].
#[derive(Debug)]
#[must_use = "the operation continues with `resume`"]
pub struct SnapshotStep<T> {
    query: SnapshotQuery,
    attempt: Box<Attempt<T>>,
}

impl<T> SnapshotStep<T> {
    /// Returns the facts to load.
    #[must_use]
    pub fn query(&self) -> &SnapshotQuery {
        &self.query
    }

    /// Plans the enrollment on the facts and returns the next step.
    ///
    /// # Errors
    /// [`EnrollError::Rejected`] if the request is refused; [`EnrollError::Unfinished`] or [`EnrollError::NotFound`]
    /// if another worker changed the enrollment in the meantime.
    pub fn resume<'a>(self, snapshot: Snapshot) -> Result<Step<'a, T>, EnrollError> {
        let Self { query, attempt } = self;
        // The query and the snapshot go before the commit, to free their memory.
        drop(query);
        let planned = plan(&attempt, &snapshot)?;
        drop(snapshot);
        match planned {
            Planned::Commit(changes, outcome) if attempt.mode != CompletionMode::Preview => {
                Ok(Step::Commit(CommitStep { changes: Box::new(changes), outcome, attempt }))
            }
            Planned::Commit(_, outcome) | Planned::Ended(outcome) => (attempt.finish)(outcome).map(Step::Done),
        }
    }
}

/// Needs a commit: see [`Repository::commit`].
#[derive(Debug)]
#[must_use = "the operation continues with `resume`"]
pub struct CommitStep<T> {
    changes: Box<ChangeSet>,
    outcome: ProcessOutcome,
    attempt: Box<Attempt<T>>,
}

impl<T> CommitStep<T> {
    /// Returns the changes to write, completely or not at all.
    #[must_use]
    pub fn changes(&self) -> &ChangeSet {
        &self.changes
    }

    /// Returns the next step after the commit: the result, or another attempt after a conflict.
    ///
    /// # Errors
    /// [`EnrollError::Contended`] if this was the last attempt; [`EnrollError::Repository`] if the commit failed for
    /// another reason than a conflict.
    pub fn resume<'a>(self, committed: Result<(), RepositoryError>) -> Result<Step<'a, T>, EnrollError> {
        let mut attempt = self.attempt;
        match committed {
            Ok(()) => (attempt.finish)(self.outcome).map(Step::Done),
            Err(e) if e.kind() == RepositoryErrorKind::Conflict => {
                if attempt.number >= attempt.retry.attempts {
                    return Err(EnrollError::Contended { attempts: attempt.number });
                }
                attempt.number += 1;
                Ok(attempt.load())
            }
            Err(e) => Err(e.into()),
        }
    }
}

/// One attempt to plan and commit.
#[derive(Debug)]
struct Attempt<T> {
    command: EnrollmentCommand,
    retry: Retry,
    /// From 1.
    number: u32,
    mode: CompletionMode,
    /// Returns the operation's result.
    finish: fn(ProcessOutcome) -> Result<T, EnrollError>,
}

impl<T> Attempt<T> {
    fn first<'a>(
        command: EnrollmentCommand,
        retry: Retry,
        mode: CompletionMode,
        finish: fn(ProcessOutcome) -> Result<T, EnrollError>,
    ) -> Step<'a, T> {
        Box::new(Self { command, retry, number: 1, mode, finish }).load()
    }

    fn load<'a>(self: Box<Self>) -> Step<'a, T> {
        Step::Snapshot(SnapshotStep { query: self.command.snapshot_query(), attempt: self })
    }
}

/// How the enrollment's own row is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CompletionMode {
    /// Not at all.
    Preview,
    /// As a new row.
    Create,
    /// As the end of an accepted row, at this instant.
    Finish(Timestamp),
}

/// Starts to enroll contacts: see [`enroll_contacts`](crate::enroll_contacts).
pub fn enroll<'a>(engine: &Engine<'a>, enrollment: &Enrollment<'a>) -> Step<'a, Enrolled> {
    let then = |command, retry| Attempt::first(command, retry, CompletionMode::Create, ProcessOutcome::enrolled);
    start(engine, enrollment, |stored, _, _| stored_outcome(stored)?.enrolled(), then)
}

/// Starts a preview, which needs no commit: see [`preview`](crate::preview).
pub fn preview<'a>(engine: &Engine<'a>, enrollment: &Enrollment<'a>) -> Step<'a, Enrolled> {
    let then = |command, retry| Attempt::first(command, retry, CompletionMode::Preview, ProcessOutcome::enrolled);
    start(engine, enrollment, |stored, _, _| stored_outcome(stored)?.enrolled(), then)
}

/// Starts to accept a request: see [`accept`](crate::accept). It needs reference data only.
pub fn accept<'a>(engine: &Engine<'a>, enrollment: &Enrollment<'a>) -> Step<'a, Accepted> {
    let replay = |stored: &StoredEnrollment, enrollment: &Enrollment<'_>, engine: &Engine<'_>| {
        let warnings = Warning::list(enrollment.request, engine.policy);
        Ok(Accepted::Before(Receipt::new(stored, enrollment.request.to.len(), true, warnings)))
    };
    start(engine, enrollment, replay, |command, _| {
        Step::Done(Accepted::Insert(InsertStep { command: Box::new(command) }))
    })
}

fn start<'a, T>(
    engine: &Engine<'a>,
    enrollment: &Enrollment<'a>,
    replay: fn(&StoredEnrollment, &Enrollment<'_>, &Engine<'_>) -> Result<T, EnrollError>,
    then: fn(EnrollmentCommand, Retry) -> Step<'a, T>,
) -> Step<'a, T> {
    let query = enrollment.reference_query();
    Step::ReferenceData(ReferenceDataStep { query, engine: *engine, enrollment: *enrollment, replay, then })
}

/// A checked request, and what remains to accept it.
///
/// Exhaustive, because a host must handle both.
#[derive(Debug)]
#[must_use = "the request is not accepted before its command is stored"]
pub enum Accepted {
    /// The command must be stored.
    Insert(InsertStep),
    /// The same request was accepted before.
    Before(Receipt),
}

/// Needs a command in the inbox: see [`Inbox::insert`](crate::Inbox::insert).
#[derive(Debug)]
#[must_use = "the operation continues with `resume`"]
pub struct InsertStep {
    command: Box<EnrollmentCommand>,
}

impl InsertStep {
    /// Returns the command to store.
    #[must_use]
    pub fn command(&self) -> &EnrollmentCommand {
        &self.command
    }

    /// Returns the receipt. `existing` is the enrollment that the inbox had already under this id.
    ///
    /// # Errors
    /// [`EnrollError::Rejected`] if `existing` is another request.
    pub fn resume(self, existing: Option<StoredEnrollment>) -> Result<Receipt, EnrollError> {
        let (recipients, warnings) = (self.command.recipient_count(), self.command.warnings().to_vec());
        match existing {
            None => Ok(Receipt::new(&self.command.accepted(), recipients, false, warnings)),
            Some(stored) if stored.fingerprint == self.command.fingerprint() => {
                Ok(Receipt::new(&stored, recipients, true, warnings))
            }
            Some(_) => Err(Rejection::from(EnrollmentCommand::conflict()).into()),
        }
    }
}

/// Starts to process an accepted enrollment, as [`Inbox::find`](crate::Inbox::find) returned it: see
/// [`process`](crate::process). It needs snapshots and commits only.
///
/// # Errors
/// [`EnrollError::NotFound`] without an entry; [`EnrollError::Unfinished`] if the enrollment is `failed`;
/// [`EnrollError::NewerVersion`] if this build does not know a rule of its command.
pub fn process<'a>(
    retry: Retry,
    enrollment_id: EnrollmentId,
    found: Option<InboxEntry>,
    now: Timestamp,
) -> Result<Step<'a, ProcessOutcome>, EnrollError> {
    let entry = found.ok_or(EnrollError::NotFound(enrollment_id))?;
    match (entry.enrollment.state == EnrollmentState::Accepted, entry.command) {
        (true, Some(StoredCommand::Known(command))) => {
            Ok(Attempt::first(*command, retry, CompletionMode::Finish(now), Ok))
        }
        (true, Some(StoredCommand::Newer { version })) => Err(EnrollError::NewerVersion { enrollment_id, version }),
        _ => stored_outcome(&entry.enrollment).map(Step::Done),
    }
}

/// Drives an operation over a blocking repository.
///
/// # Errors
/// Those of the steps, and [`EnrollError::Repository`] if the storage fails.
pub fn drive<R: Repository + ?Sized, T>(repository: &mut R, mut step: Step<'_, T>) -> Result<T, EnrollError> {
    loop {
        step = match step {
            Step::ReferenceData(read) => {
                let reference = repository.reference_data(read.query())?;
                read.resume(&reference)?
            }
            Step::Snapshot(load) => {
                let snapshot = repository.load(load.query())?;
                load.resume(snapshot)?
            }
            Step::Commit(commit) => {
                let committed = repository.commit(commit.changes());
                commit.resume(committed)?
            }
            Step::Done(result) => return Ok(result),
        };
    }
}

/// Drives an operation over an async repository.
///
/// # Errors
/// Those of [`drive`].
pub async fn drive_async<R: AsyncRepository + ?Sized, T: Send>(
    repository: &mut R,
    mut step: Step<'_, T>,
) -> Result<T, EnrollError> {
    loop {
        step = match step {
            Step::ReferenceData(read) => {
                let reference = repository.reference_data(read.query()).await?;
                read.resume(&reference)?
            }
            Step::Snapshot(load) => {
                let snapshot = repository.load(load.query()).await?;
                load.resume(snapshot)?
            }
            Step::Commit(commit) => {
                let committed = repository.commit(commit.changes()).await;
                commit.resume(committed)?
            }
            Step::Done(result) => return Ok(result),
        };
    }
}

#[expect(clippy::large_enum_variant, reason = "it lives for one attempt")]
enum Planned {
    /// The enrollment ended before.
    Ended(ProcessOutcome),
    Commit(ChangeSet, ProcessOutcome),
}

/// Plans an enrollment whose own row is as the mode requires.
fn plan<T>(attempt: &Attempt<T>, snapshot: &Snapshot) -> Result<Planned, EnrollError> {
    let command = &attempt.command;
    let id = command.enrollment_id();
    let finished_at = match attempt.mode {
        CompletionMode::Preview | CompletionMode::Create => None,
        CompletionMode::Finish(now) => Some(now),
    };
    match (snapshot.reference.enrollments.get(&id), finished_at) {
        (Some(stored), _) if stored.fingerprint != command.fingerprint() => {
            return Err(Rejection::from(EnrollmentCommand::conflict()).into());
        }
        (None, None) => {}
        (Some(stored), Some(_)) if stored.state == EnrollmentState::Accepted => {
            // The command in memory still has a person that was erased. The next claim reads it again.
            if stored.erased_recipients != command.erased_recipients() {
                return Err(EnrollError::Contended { attempts: attempt.number });
            }
        }
        (Some(stored), _) => return stored_outcome(stored).map(Planned::Ended),
        (None, Some(_)) => return Err(EnrollError::NotFound(id)),
    }
    match (plan_enrollment(command, snapshot), finished_at) {
        (Ok(plan), finished_at) => {
            let (changes, report) = plan.into_parts();
            let (changes, read_as) = match finished_at {
                Some(now) => (changes.finishing(now), Vec::new()),
                None => (changes, command.read_as()),
            };
            Ok(Planned::Commit(changes, ProcessOutcome::Completed(Enrolled { report, replayed: false, read_as })))
        }
        (Err(rejection), None) => Err(rejection.into()),
        (Err(rejection), Some(now)) => {
            let changes = reject_enrollment(command, snapshot, rejection.clone(), now);
            Ok(Planned::Commit(changes, ProcessOutcome::Rejected { rejection, replayed: false }))
        }
    }
}

/// Returns how a stored enrollment ended, as an answer to a later call.
fn stored_outcome(stored: &StoredEnrollment) -> Result<ProcessOutcome, EnrollError> {
    match &stored.state {
        EnrollmentState::Completed { report } => match stored.removed_at {
            Some(removed_at) => Err(EnrollError::ReportRemoved { enrollment_id: stored.id, removed_at }),
            None => {
                Ok(ProcessOutcome::Completed(Enrolled { report: report.clone(), replayed: true, read_as: Vec::new() }))
            }
        },
        EnrollmentState::Rejected { rejection } => {
            Ok(ProcessOutcome::Rejected { rejection: rejection.clone(), replayed: true })
        }
        state @ (EnrollmentState::Accepted | EnrollmentState::Failed) => {
            Err(EnrollError::Unfinished { enrollment_id: stored.id, state: state.as_str() })
        }
    }
}

//! The operation itself: loops round the pure core, and no rule.

use crate::changes::ChangeSet;
use crate::command::{Engine, Enrollment, EnrollmentCommand, Retry};
use crate::fault::Rejection;
use crate::ids::{EnrollmentId, OrganizationId};
use crate::inbox::{AsyncInbox, Inbox, InboxEntry};
use crate::plan::{plan_enrollment, reject_enrollment};
use crate::report::EnrollmentReport;
use crate::repository::{AsyncRepository, Repository, RepositoryError, RepositoryErrorKind};
use crate::snapshot::Snapshot;
use crate::stored_enrollment::{EnrollmentState, StoredEnrollment};
use crate::time::Timestamp;

/// Why an enrollment did not happen. Nothing was written, unless the storage was lost in the middle of a commit.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnrollError {
    /// The request is refused (SPEC 3).
    // The message has the faults, so the rejection is not the source too.
    #[error("the request is refused: {0}")]
    Rejected(Rejection),
    /// The repository failed.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// Other writers were first, as often as the engine may try.
    #[error("other writers were first in all of {attempts} attempts")]
    Contended {
        /// How often it was tried.
        attempts: u32,
    },
    /// The very request was accepted before, and has no report yet.
    #[error("enrollment `{enrollment_id}` is {state} and has no report: process it, or ask again later")]
    Unfinished {
        /// The enrollment.
        enrollment_id: EnrollmentId,
        /// `accepted` or `failed`.
        state: &'static str,
    },
    /// The organization has no such enrollment.
    #[error("there is no enrollment `{0}`")]
    NotFound(EnrollmentId),
}

impl From<Rejection> for EnrollError {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

/// Enrolls contacts: reads the reference data, checks the request, plans, and commits.
///
/// An enrollment that comes again answers with the report of the first time, and writes nothing.
///
/// # Errors
/// [`EnrollError::Rejected`] with every fault of the request; [`EnrollError::Repository`] if the storage fails;
/// [`EnrollError::Contended`] if other writers were first in every attempt; [`EnrollError::Unfinished`] if the very
/// request was [`accept`]ed before and waits.
pub fn enroll_contacts<R: Repository + ?Sized>(
    repository: &mut R,
    engine: &Engine<'_>,
    enrollment: &Enrollment<'_>,
) -> Result<EnrollmentReport, EnrollError> {
    let reference = repository.reference_data(&enrollment.reference_query())?;
    if let Some(stored) = enrollment.standing(&reference) {
        return ending(stored)?.report();
    }
    let command = EnrollmentCommand::check(enrollment, &reference, engine)?;
    settle(repository, engine.retry, &command, CompletionMode::Create)?.report()
}

/// The async twin of [`enroll_contacts`].
///
/// # Errors
/// Those of [`enroll_contacts`].
pub async fn enroll_contacts_async<R: AsyncRepository + ?Sized>(
    repository: &mut R,
    engine: &Engine<'_>,
    enrollment: &Enrollment<'_>,
) -> Result<EnrollmentReport, EnrollError> {
    let reference = repository.reference_data(&enrollment.reference_query()).await?;
    if let Some(stored) = enrollment.standing(&reference) {
        return ending(stored)?.report();
    }
    let command = EnrollmentCommand::check(enrollment, &reference, engine)?;
    settle_async(repository, engine.retry, &command, CompletionMode::Create).await?.report()
}

/// Tells what [`enroll_contacts`] would do now, and writes nothing.
///
/// # Errors
/// Those of [`enroll_contacts`], but for [`EnrollError::Contended`].
pub fn preview<R: Repository + ?Sized>(
    repository: &mut R,
    engine: &Engine<'_>,
    enrollment: &Enrollment<'_>,
) -> Result<EnrollmentReport, EnrollError> {
    let reference = repository.reference_data(&enrollment.reference_query())?;
    if let Some(stored) = enrollment.standing(&reference) {
        return ending(stored)?.report();
    }
    let command = EnrollmentCommand::check(enrollment, &reference, engine)?;
    let snapshot = repository.load(&command.snapshot_query())?;
    previewed(&command, &snapshot)
}

/// The async twin of [`preview`].
///
/// # Errors
/// Those of [`preview`].
pub async fn preview_async<R: AsyncRepository + ?Sized>(
    repository: &mut R,
    engine: &Engine<'_>,
    enrollment: &Enrollment<'_>,
) -> Result<EnrollmentReport, EnrollError> {
    let reference = repository.reference_data(&enrollment.reference_query()).await?;
    if let Some(stored) = enrollment.standing(&reference) {
        return ending(stored)?.report();
    }
    let command = EnrollmentCommand::check(enrollment, &reference, engine)?;
    let snapshot = repository.load(&command.snapshot_query()).await?;
    previewed(&command, &snapshot)
}

/// Accepts a request: checks it, and stores what it means. What [`process`] does later is what was accepted, whatever
/// the sender, the policy or the phone normalizer say by then.
///
/// The same request again answers with the first receipt, whatever has become of it since.
///
/// # Errors
/// [`EnrollError::Rejected`] with every fault of the request; [`EnrollError::Repository`] if the storage fails. Then
/// nothing was accepted, unless the storage is unavailable and may have stored it: accept again under the same key.
pub fn accept<I: Inbox + ?Sized>(
    inbox: &mut I,
    engine: &Engine<'_>,
    enrollment: &Enrollment<'_>,
) -> Result<Receipt, EnrollError> {
    let reference = inbox.reference_data(&enrollment.reference_query())?;
    if let Some(stored) = enrollment.standing(&reference) {
        return Ok(Receipt::of(stored, enrollment.request.to.len()));
    }
    let command = EnrollmentCommand::check(enrollment, &reference, engine)?;
    let stands = inbox.insert(&command)?;
    accepted(&command, stands)
}

/// The async twin of [`accept`].
///
/// # Errors
/// Those of [`accept`].
pub async fn accept_async<I: AsyncInbox + ?Sized>(
    inbox: &mut I,
    engine: &Engine<'_>,
    enrollment: &Enrollment<'_>,
) -> Result<Receipt, EnrollError> {
    let reference = inbox.reference_data(&enrollment.reference_query()).await?;
    if let Some(stored) = enrollment.standing(&reference) {
        return Ok(Receipt::of(stored, enrollment.request.to.len()));
    }
    let command = EnrollmentCommand::check(enrollment, &reference, engine)?;
    let stands = inbox.insert(&command).await?;
    accepted(&command, stands)
}

/// Processes an accepted enrollment, and answers how it ended. It happens once, however often and by however many this
/// is called: whoever comes later gets the first answer.
///
/// `now` is the instant of its completion; the rules go by the instant of the request.
///
/// # Errors
/// [`EnrollError::NotFound`] if the organization has no such enrollment; [`EnrollError::Unfinished`] if it was given
/// up, so that [`Inbox::retry`] has to come first; [`EnrollError::Repository`] and [`EnrollError::Contended`] as for
/// [`enroll_contacts`]: then it still waits, and can be processed again.
pub fn process<I: Inbox + ?Sized>(
    inbox: &mut I,
    retry: Retry,
    organization_id: OrganizationId,
    enrollment_id: EnrollmentId,
    now: Timestamp,
) -> Result<ProcessOutcome, EnrollError> {
    match waiting(inbox.find(organization_id, enrollment_id)?, enrollment_id)? {
        Waiting::Ended(ending) => Ok(ending),
        Waiting::For(command) => settle(inbox, retry, &command, CompletionMode::Finish(now)),
    }
}

/// The async twin of [`process`].
///
/// # Errors
/// Those of [`process`].
pub async fn process_async<I: AsyncInbox + ?Sized>(
    inbox: &mut I,
    retry: Retry,
    organization_id: OrganizationId,
    enrollment_id: EnrollmentId,
    now: Timestamp,
) -> Result<ProcessOutcome, EnrollError> {
    match waiting(inbox.find(organization_id, enrollment_id).await?, enrollment_id)? {
        Waiting::Ended(ending) => Ok(ending),
        Waiting::For(command) => settle_async(inbox, retry, &command, CompletionMode::Finish(now)).await,
    }
}

/// What a sender gets for an accepted request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// The enrollment, to ask after.
    pub enrollment_id: EnrollmentId,
    /// The instant of the request that was accepted first.
    pub accepted_at: Timestamp,
    /// How many recipients it has.
    pub recipients: usize,
}

impl Receipt {
    fn of(stored: &StoredEnrollment, recipients: usize) -> Self {
        Self { enrollment_id: stored.id, accepted_at: stored.at, recipients }
    }
}

/// How an enrollment ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessOutcome {
    /// It is done.
    Completed(EnrollmentReport),
    /// It did nothing: what it refers to became unusable after it was accepted.
    Rejected(Rejection),
}

impl ProcessOutcome {
    /// The report of a completed enrollment.
    ///
    /// # Errors
    /// [`EnrollError::Rejected`] of one that was rejected.
    pub fn report(self) -> Result<EnrollmentReport, EnrollError> {
        match self {
            Self::Completed(report) => Ok(report),
            Self::Rejected(rejection) => Err(rejection.into()),
        }
    }
}

/// How an enrollment's own row is written.
#[derive(Clone, Copy)]
enum CompletionMode {
    /// There is none yet.
    Create,
    /// It waits, and is finished at that instant.
    Finish(Timestamp),
}

fn settle<R: Repository + ?Sized>(
    repository: &mut R,
    retry: Retry,
    command: &EnrollmentCommand,
    mode: CompletionMode,
) -> Result<ProcessOutcome, EnrollError> {
    let attempts = retry.attempts.max(1);
    for _ in 0..attempts {
        // What is looked up and what is found goes before the commit, which needs room of its own.
        let snapshot = repository.load(&command.snapshot_query())?;
        let attempt = attempt(command, &snapshot, mode)?;
        drop(snapshot);
        let (changes, ending) = match attempt {
            Attempt::Ended(ending) => return Ok(ending),
            Attempt::Commit(changes, ending) => (changes, ending),
        };
        match repository.commit(&changes) {
            Err(e) if e.kind() == RepositoryErrorKind::Conflict => {}
            done => return done.map(|()| ending).map_err(EnrollError::from),
        }
    }
    Err(EnrollError::Contended { attempts })
}

async fn settle_async<R: AsyncRepository + ?Sized>(
    repository: &mut R,
    retry: Retry,
    command: &EnrollmentCommand,
    mode: CompletionMode,
) -> Result<ProcessOutcome, EnrollError> {
    let attempts = retry.attempts.max(1);
    for _ in 0..attempts {
        let snapshot = repository.load(&command.snapshot_query()).await?;
        let attempt = attempt(command, &snapshot, mode)?;
        drop(snapshot);
        let (changes, ending) = match attempt {
            Attempt::Ended(ending) => return Ok(ending),
            Attempt::Commit(changes, ending) => (changes, ending),
        };
        match repository.commit(&changes).await {
            Err(e) if e.kind() == RepositoryErrorKind::Conflict => {}
            done => return done.map(|()| ending).map_err(EnrollError::from),
        }
    }
    Err(EnrollError::Contended { attempts })
}

/// What is to be done on the facts that were loaded.
#[expect(clippy::large_enum_variant, reason = "it lives for one attempt")]
enum Attempt {
    Ended(ProcessOutcome),
    Commit(ChangeSet, ProcessOutcome),
}

fn attempt(command: &EnrollmentCommand, snapshot: &Snapshot, mode: CompletionMode) -> Result<Attempt, EnrollError> {
    let id = command.enrollment_id();
    match (snapshot.reference.enrollments.get(&id), mode) {
        (Some(stored), _) if stored.fingerprint != command.fingerprint() => {
            return Err(Rejection::from(EnrollmentCommand::conflict()).into());
        }
        (None, CompletionMode::Create) => {}
        (Some(stored), CompletionMode::Finish(_)) if stored.state == EnrollmentState::Accepted => {}
        (Some(stored), _) => return ending(stored).map(Attempt::Ended),
        (None, CompletionMode::Finish(_)) => return Err(EnrollError::NotFound(id)),
    }
    Ok(match (plan_enrollment(command, snapshot), mode) {
        (Ok(plan), CompletionMode::Create) => {
            let (changes, report) = plan.into_parts();
            Attempt::Commit(changes, ProcessOutcome::Completed(report))
        }
        (Ok(plan), CompletionMode::Finish(now)) => {
            let (changes, report) = plan.into_parts();
            Attempt::Commit(changes.finishing(now), ProcessOutcome::Completed(report))
        }
        (Err(rejection), CompletionMode::Create) => return Err(rejection.into()),
        (Err(rejection), CompletionMode::Finish(now)) => {
            let changes = reject_enrollment(command, snapshot, rejection.clone(), now);
            Attempt::Commit(changes, ProcessOutcome::Rejected(rejection))
        }
    })
}

fn previewed(command: &EnrollmentCommand, snapshot: &Snapshot) -> Result<EnrollmentReport, EnrollError> {
    match attempt(command, snapshot, CompletionMode::Create)? {
        Attempt::Ended(ending) | Attempt::Commit(_, ending) => ending.report(),
    }
}

/// How an enrollment that stands ended.
fn ending(stored: &StoredEnrollment) -> Result<ProcessOutcome, EnrollError> {
    match &stored.state {
        EnrollmentState::Completed { report } => Ok(ProcessOutcome::Completed(report.clone())),
        EnrollmentState::Rejected { rejection } => Ok(ProcessOutcome::Rejected(rejection.clone())),
        state @ (EnrollmentState::Accepted | EnrollmentState::Failed) => {
            Err(EnrollError::Unfinished { enrollment_id: stored.id, state: state.name() })
        }
    }
}

/// The receipt of what was inserted, or of what another inserted first.
fn accepted(command: &EnrollmentCommand, stands: Option<StoredEnrollment>) -> Result<Receipt, EnrollError> {
    let recipients = command.recipient_count();
    match stands {
        None => Ok(Receipt { enrollment_id: command.enrollment_id(), accepted_at: command.at(), recipients }),
        Some(stored) if stored.fingerprint == command.fingerprint() => Ok(Receipt::of(&stored, recipients)),
        Some(_) => Err(Rejection::from(EnrollmentCommand::conflict()).into()),
    }
}

enum Waiting {
    For(Box<EnrollmentCommand>),
    Ended(ProcessOutcome),
}

fn waiting(found: Option<InboxEntry>, id: EnrollmentId) -> Result<Waiting, EnrollError> {
    let entry = found.ok_or(EnrollError::NotFound(id))?;
    match (entry.enrollment.state == EnrollmentState::Accepted, entry.command) {
        (true, Some(command)) => Ok(Waiting::For(Box::new(command))),
        _ => ending(&entry.enrollment).map(Waiting::Ended),
    }
}

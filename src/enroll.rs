//! The operation over a repository: enroll at once, preview, accept, process.

use crate::command::{Engine, Enrollment, Retry};
use crate::fault::Rejection;
use crate::ids::{EnrollmentId, OrganizationId};
use crate::inbox::{AsyncInbox, Inbox};
use crate::operation::{self, Accepted};
use crate::report::EnrollmentReport;
use crate::repository::{AsyncRepository, Repository, RepositoryError};
use crate::stored_enrollment::StoredEnrollment;
use crate::time::Timestamp;

/// Why an operation failed. Nothing was written, unless the storage became unavailable during the commit.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnrollError {
    /// The request is refused (spec 3).
    // The message has the faults, so the rejection is not the source too.
    #[error("the request is refused: {0}")]
    Rejected(Rejection),
    /// The repository failed.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// Other writers were first in every attempt.
    #[error("other writers were first in all {attempts} attempts; try again later")]
    Contended {
        /// The number of attempts.
        attempts: u32,
    },
    /// The same request was accepted before and has no report yet.
    #[error("enrollment `{enrollment_id}` is {state} and has no report yet; process it, or try again later")]
    Unfinished {
        /// The enrollment.
        enrollment_id: EnrollmentId,
        /// `accepted` or `failed`.
        state: &'static str,
    },
    /// A newer build accepted the enrollment, under a rule that this build does not know.
    ///
    /// This is not a failed attempt: give the claim back with [`Inbox::release`], for a newer worker.
    #[error("the command of enrollment `{enrollment_id}` has version {version}; a newer build must process it")]
    NewerVersion {
        /// The enrollment.
        enrollment_id: EnrollmentId,
        /// The version of its command.
        version: u32,
    },
    /// The organization has no such enrollment.
    #[error("the organization has no enrollment `{0}`")]
    NotFound(EnrollmentId),
}

impl From<Rejection> for EnrollError {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

/// Enrolls contacts: reads the reference data, checks the request, plans, and commits.
///
/// If the same request was completed before, it returns the first report with `replayed: true` and writes nothing.
/// After a conflict with another writer it plans again. [`Engine::retry`] is the maximum number of attempts.
///
#[cfg_attr(feature = "seed", doc = "```")]
#[cfg_attr(not(feature = "seed"), doc = "```ignore")]
/// use enroll::{Disposition, Engine, Enrollment, EnrollmentKey, EnrollmentPolicy, EnrollmentRequest, enroll_contacts};
///
/// let demo = enroll::seed::Demo::new()?;
/// let mut repository = enroll::InMemoryRepository::new();
/// demo.given.snapshots()?.into_iter().for_each(|snapshot| repository.insert(snapshot));
///
/// let request = EnrollmentRequest::from_json(br#"{"to": [{"phone": "+1 202 555 0123", "name": "Ada"}]}"#);
/// let enrollment = Enrollment {
///     organization_id: demo.given.organization_id,
///     sequence_id: demo.sequence_id,
///     key: EnrollmentKey::Idempotency("from-the-docs"),
///     at: "2026-02-01T15:00:00Z".parse()?,
///     request: &request,
/// };
/// let policy = EnrollmentPolicy::default();
/// let enrolled = enroll_contacts(&mut repository, &Engine::new(&policy), &enrollment)?;
/// assert_eq!(enrolled.report.outcomes[0].disposition, Disposition::Added);
///
/// // The same request again.
/// let again = enroll_contacts(&mut repository, &Engine::new(&policy), &enrollment)?;
/// assert!(again.replayed);
/// assert_eq!(again.report, enrolled.report);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`EnrollError::Rejected`] with every fault of the request; [`EnrollError::Repository`] if the storage fails;
/// [`EnrollError::Contended`] if other writers were first in every attempt; [`EnrollError::Unfinished`] if the same
/// request was [`accept`]ed before and waits.
pub fn enroll_contacts<R: Repository + ?Sized>(
    repository: &mut R,
    engine: &Engine<'_>,
    enrollment: &Enrollment<'_>,
) -> Result<Enrolled, EnrollError> {
    operation::drive(repository, operation::enroll(engine, enrollment))
}

/// The async twin of [`enroll_contacts`].
///
/// # Errors
/// Those of [`enroll_contacts`].
pub async fn enroll_contacts_async<R: AsyncRepository + ?Sized>(
    repository: &mut R,
    engine: &Engine<'_>,
    enrollment: &Enrollment<'_>,
) -> Result<Enrolled, EnrollError> {
    operation::drive_async(repository, operation::enroll(engine, enrollment)).await
}

/// Returns what [`enroll_contacts`] would return now, and writes nothing.
///
/// # Errors
/// Those of [`enroll_contacts`], except [`EnrollError::Contended`].
pub fn preview<R: Repository + ?Sized>(
    repository: &mut R,
    engine: &Engine<'_>,
    enrollment: &Enrollment<'_>,
) -> Result<Enrolled, EnrollError> {
    operation::drive(repository, operation::preview(engine, enrollment))
}

/// The async twin of [`preview`].
///
/// # Errors
/// Those of [`preview`].
pub async fn preview_async<R: AsyncRepository + ?Sized>(
    repository: &mut R,
    engine: &Engine<'_>,
    enrollment: &Enrollment<'_>,
) -> Result<Enrolled, EnrollError> {
    operation::drive_async(repository, operation::preview(engine, enrollment)).await
}

/// Accepts a request: checks it and stores its command. [`process`] does the work later.
///
/// The command is frozen: a later change of the sender, the policy or the phone normalizer does not affect it. If the
/// same request was accepted before, it returns the first receipt with `replayed: true`, in any state of the enrollment.
///
#[cfg_attr(feature = "seed", doc = "```")]
#[cfg_attr(not(feature = "seed"), doc = "```ignore")]
/// use enroll::{Engine, Enrollment, EnrollmentKey, EnrollmentPolicy, EnrollmentRequest, accept};
///
/// let demo = enroll::seed::Demo::new()?;
/// let mut inbox = enroll::InMemoryRepository::new();
/// demo.given.snapshots()?.into_iter().for_each(|snapshot| inbox.insert(snapshot));
///
/// let request = EnrollmentRequest::from_json(br#"{"to": [{"phone": "+1 202 555 0123", "name": "Ada"}]}"#);
/// let enrollment = Enrollment {
///     organization_id: demo.given.organization_id,
///     sequence_id: demo.sequence_id,
///     key: EnrollmentKey::Idempotency("from-the-docs"),
///     at: "2026-02-01T15:00:00Z".parse()?,
///     request: &request,
/// };
/// let policy = EnrollmentPolicy::default();
/// let receipt = accept(&mut inbox, &Engine::new(&policy), &enrollment)?;
/// assert_eq!(receipt.recipients, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`EnrollError::Rejected`] with every fault of the request; [`EnrollError::Repository`] if the storage fails. Then
/// nothing was accepted, unless the error is `Unavailable`: the command may be stored. Accept again under the same key.
pub fn accept<I: Inbox + ?Sized>(
    inbox: &mut I,
    engine: &Engine<'_>,
    enrollment: &Enrollment<'_>,
) -> Result<Receipt, EnrollError> {
    match operation::drive(inbox, operation::accept(engine, enrollment))? {
        Accepted::Before(receipt) => Ok(receipt),
        Accepted::Insert(insert) => {
            let existing = inbox.insert(insert.command())?;
            insert.resume(existing)
        }
    }
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
    match operation::drive_async(inbox, operation::accept(engine, enrollment)).await? {
        Accepted::Before(receipt) => Ok(receipt),
        Accepted::Insert(insert) => {
            let existing = inbox.insert(insert.command()).await?;
            insert.resume(existing)
        }
    }
}

/// Processes an accepted enrollment and returns how it ended.
///
/// It applies once, for any number of calls and workers: a later call returns the first outcome. `now` is the instant
/// of the completion; the rules use the instant of the request.
///
#[cfg_attr(feature = "seed", doc = "```")]
#[cfg_attr(not(feature = "seed"), doc = "```ignore")]
/// use enroll::{Engine, Enrollment, EnrollmentKey, EnrollmentPolicy, EnrollmentRequest, Inbox, Retry, accept, process};
///
/// let demo = enroll::seed::Demo::new()?;
/// let mut inbox = enroll::InMemoryRepository::new();
/// demo.given.snapshots()?.into_iter().for_each(|snapshot| inbox.insert(snapshot));
/// # let request = EnrollmentRequest::from_json(br#"{"to": [{"phone": "+1 202 555 0123", "name": "Ada"}]}"#);
/// # let enrollment = Enrollment {
/// #     organization_id: demo.given.organization_id,
/// #     sequence_id: demo.sequence_id,
/// #     key: EnrollmentKey::Idempotency("from-the-docs"),
/// #     at: "2026-02-01T15:00:00Z".parse()?,
/// #     request: &request,
/// # };
/// # let policy = EnrollmentPolicy::default();
/// accept(&mut inbox, &Engine::new(&policy), &enrollment)?;
///
/// // A worker, later: it leases the oldest enrollment and processes it.
/// let now = "2026-02-01T15:01:00Z".parse()?;
/// while let Some(claim) = inbox.claim(std::time::Duration::from_secs(300))? {
///     let outcome = process(&mut inbox, Retry::default(), claim.organization_id, claim.enrollment_id, now)?;
///     assert_eq!(outcome.report()?.counts().added, 1);
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`EnrollError::NotFound`] if the organization has no such enrollment; [`EnrollError::Unfinished`] if it is `failed`:
/// call [`Inbox::retry`] first; [`EnrollError::NewerVersion`] if only a newer build can process it. After [`EnrollError::Repository`] and [`EnrollError::Contended`] it still waits and can
/// be processed again.
pub fn process<I: Inbox + ?Sized>(
    inbox: &mut I,
    retry: Retry,
    organization_id: OrganizationId,
    enrollment_id: EnrollmentId,
    now: Timestamp,
) -> Result<ProcessOutcome, EnrollError> {
    let found = inbox.find(organization_id, enrollment_id)?;
    operation::drive(inbox, operation::process(retry, enrollment_id, found, now)?)
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
    let found = inbox.find(organization_id, enrollment_id).await?;
    operation::drive_async(inbox, operation::process(retry, enrollment_id, found, now)?).await
}

/// The answer to an accepted request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// The enrollment. Its state and report are read under this id.
    pub enrollment_id: EnrollmentId,
    /// The instant of the request that was accepted first.
    pub accepted_at: Timestamp,
    /// The number of recipients.
    pub recipients: usize,
    /// Whether the same request was accepted before (spec 6).
    pub replayed: bool,
}

impl Receipt {
    pub(crate) fn new(stored: &StoredEnrollment, recipients: usize, replayed: bool) -> Self {
        Self { enrollment_id: stored.id, accepted_at: stored.at, recipients, replayed }
    }
}

/// A completed enrollment: its report, and whether the report is from an earlier call.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Enrolled {
    /// The report.
    pub report: EnrollmentReport,
    /// Whether the enrollment was completed before this call, which then wrote nothing (spec 6).
    pub replayed: bool,
}

/// How an enrollment ended.
///
/// Exhaustive, because a host must handle both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProcessOutcome {
    /// It is completed.
    Completed(Enrolled),
    /// It wrote nothing: a row that it refers to became unusable after it was accepted.
    Rejected {
        /// Why.
        rejection: Rejection,
        /// Whether the enrollment was rejected before this call.
        replayed: bool,
    },
}

impl ProcessOutcome {
    /// Returns a completed enrollment.
    ///
    /// # Errors
    /// [`EnrollError::Rejected`] if the enrollment was rejected.
    pub fn enrolled(self) -> Result<Enrolled, EnrollError> {
        match self {
            Self::Completed(enrolled) => Ok(enrolled),
            Self::Rejected { rejection, .. } => Err(rejection.into()),
        }
    }

    /// Returns the report of a completed enrollment.
    ///
    /// # Errors
    /// [`EnrollError::Rejected`] if the enrollment was rejected.
    pub fn report(self) -> Result<EnrollmentReport, EnrollError> {
        self.enrolled().map(|enrolled| enrolled.report)
    }
}

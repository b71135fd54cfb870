//! The operation over a repository: enroll at once, preview, accept, process.

use crate::answer::{EnrollError, Enrolled, ProcessOutcome, Receipt};
use crate::command::{Engine, Enrollment, Retry};
use crate::ids::{EnrollmentId, OrganizationId};
use crate::inbox::{AsyncInbox, Inbox};
use crate::operation::{self, Accepted};
use crate::repository::{AsyncRepository, Repository};
use crate::time::Timestamp;

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
///     list: None,
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
///     list: None,
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
/// #     list: None,
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

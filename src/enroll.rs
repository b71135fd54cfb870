//! The operation itself: loops round the pure core, and no rule.

use crate::command::{Engine, Enrollment, EnrollmentCommand};
use crate::fault::Rejection;
use crate::lookup::{EnrollmentState, Snapshot};
use crate::plan::plan_enrollment;
use crate::report::EnrollmentReport;
use crate::repository::{AsyncRepository, Repository, RepositoryError, RepositoryErrorKind};

/// Why an enrollment did not happen. Nothing was written, unless the storage was lost in the middle of a commit.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnrollError {
    /// The request is refused (SPEC 3).
    #[error("the request is refused: {0}")]
    Rejected(#[from] Rejection),
    /// The repository failed.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// Other writers were first, as often as the engine may try.
    #[error("other writers were first in all of {attempts} attempts")]
    Contended {
        /// How often it was tried.
        attempts: u32,
    },
}

/// Enrolls contacts: reads the context, checks the request, plans, and commits.
///
/// An enrollment that comes again answers with the report of the first time, and writes nothing.
///
/// # Errors
/// [`EnrollError::Rejected`] with every fault of the request; [`EnrollError::Repository`] if the storage fails;
/// [`EnrollError::Contended`] if other writers were first in every attempt.
pub fn enroll_contacts<R: Repository + ?Sized>(
    repository: &mut R,
    engine: &Engine<'_>,
    enrollment: &Enrollment<'_>,
) -> Result<EnrollmentReport, EnrollError> {
    let context = repository.context(&enrollment.context_lookup())?;
    if let Some(report) = enrollment.standing(&context) {
        return Ok(report.clone());
    }
    let command = EnrollmentCommand::check(enrollment, &context, engine)?;
    settle(repository, engine, &command)
}

/// The async twin of [`enroll_contacts`].
///
/// # Errors
/// Those of [`enroll_contacts`].
pub async fn enroll_contacts_async<R: AsyncRepository>(
    repository: &mut R,
    engine: &Engine<'_>,
    enrollment: &Enrollment<'_>,
) -> Result<EnrollmentReport, EnrollError> {
    let context = repository.context(&enrollment.context_lookup()).await?;
    if let Some(report) = enrollment.standing(&context) {
        return Ok(report.clone());
    }
    let command = EnrollmentCommand::check(enrollment, &context, engine)?;
    settle_async(repository, engine, &command).await
}

/// Tells what [`enroll_contacts`] would do now, and writes nothing.
///
/// # Errors
/// [`EnrollError::Rejected`] and [`EnrollError::Repository`], as there.
pub fn preview<R: Repository + ?Sized>(
    repository: &mut R,
    engine: &Engine<'_>,
    enrollment: &Enrollment<'_>,
) -> Result<EnrollmentReport, EnrollError> {
    let context = repository.context(&enrollment.context_lookup())?;
    if let Some(report) = enrollment.standing(&context) {
        return Ok(report.clone());
    }
    let command = EnrollmentCommand::check(enrollment, &context, engine)?;
    let snapshot = repository.load(&command.lookup())?;
    match standing(&command, &snapshot)? {
        Some(report) => Ok(report),
        None => Ok(plan_enrollment(&command, &snapshot)?.report().clone()),
    }
}

/// The async twin of [`preview`].
///
/// # Errors
/// Those of [`preview`].
pub async fn preview_async<R: AsyncRepository>(
    repository: &mut R,
    engine: &Engine<'_>,
    enrollment: &Enrollment<'_>,
) -> Result<EnrollmentReport, EnrollError> {
    let context = repository.context(&enrollment.context_lookup()).await?;
    if let Some(report) = enrollment.standing(&context) {
        return Ok(report.clone());
    }
    let command = EnrollmentCommand::check(enrollment, &context, engine)?;
    let snapshot = repository.load(&command.lookup()).await?;
    match standing(&command, &snapshot)? {
        Some(report) => Ok(report),
        None => Ok(plan_enrollment(&command, &snapshot)?.report().clone()),
    }
}

fn settle<R: Repository + ?Sized>(
    repository: &mut R,
    engine: &Engine<'_>,
    command: &EnrollmentCommand,
) -> Result<EnrollmentReport, EnrollError> {
    let lookup = command.lookup();
    let attempts = engine.retry.attempts.max(1);
    for _ in 0..attempts {
        let snapshot = repository.load(&lookup)?;
        if let Some(report) = standing(command, &snapshot)? {
            return Ok(report);
        }
        let plan = plan_enrollment(command, &snapshot)?;
        match repository.commit(plan.changes()) {
            Err(e) if e.kind() == RepositoryErrorKind::Conflict => {}
            done => return done.map(|()| plan.into_report()).map_err(EnrollError::from),
        }
    }
    Err(EnrollError::Contended { attempts })
}

async fn settle_async<R: AsyncRepository>(
    repository: &mut R,
    engine: &Engine<'_>,
    command: &EnrollmentCommand,
) -> Result<EnrollmentReport, EnrollError> {
    let lookup = command.lookup();
    let attempts = engine.retry.attempts.max(1);
    for _ in 0..attempts {
        let snapshot = repository.load(&lookup).await?;
        if let Some(report) = standing(command, &snapshot)? {
            return Ok(report);
        }
        let plan = plan_enrollment(command, &snapshot)?;
        match repository.commit(plan.changes()).await {
            Err(e) if e.kind() == RepositoryErrorKind::Conflict => {}
            done => return done.map(|()| plan.into_report()).map_err(EnrollError::from),
        }
    }
    Err(EnrollError::Contended { attempts })
}

/// The report that stands under the command's id since it was checked, or the refusal if it is of another request.
fn standing(command: &EnrollmentCommand, snapshot: &Snapshot) -> Result<Option<EnrollmentReport>, Rejection> {
    match snapshot.context.enrollments.get(&command.enrollment_id()) {
        None => Ok(None),
        Some(stored) if stored.fingerprint == command.fingerprint() => {
            let EnrollmentState::Completed { report } = &stored.state;
            Ok(Some(report.clone()))
        }
        Some(_) => Err(EnrollmentCommand::conflict().into()),
    }
}

//! The enrollment's own row, which prevents a second completion.

use enroll::changes::{CompletionMode, Conflict};
use enroll::{EnrollmentState, Timestamp};
use rusqlite::{OptionalExtension, params};

use super::Commit;
use crate::error::SqliteError;

impl Commit<'_> {
    /// Checks that the enrollment to create has no row, or that the one to finish is accepted.
    pub(super) fn check_enrollment(&self) -> Result<(), SqliteError> {
        let completion = self.changes.completion();
        let id = completion.enrollment.id;
        let mut statement = self.connection.prepare_cached(ACCEPTED)?;
        let accepted: Option<bool> =
            statement.query_row([self.organization, id.as_uuid()], |row| row.get(0)).optional()?;
        match (completion.mode, accepted) {
            (CompletionMode::Create, None) | (CompletionMode::Finish, Some(true)) => Ok(()),
            (CompletionMode::Create, Some(_)) => Err(Conflict::EnrollmentExists(id).into()),
            (CompletionMode::Finish, _) => Err(Conflict::EnrollmentNotAccepted(id).into()),
        }
    }

    /// Stores the result. Keeps the number of attempts, and removes the command and the last error.
    pub(super) fn complete_enrollment(&self) -> Result<(), SqliteError> {
        let completion = self.changes.completion();
        let enrollment = &completion.enrollment;
        let (report, rejection) = match &enrollment.state {
            EnrollmentState::Completed { report } => (Some(serde_json::to_string(report)?), None),
            EnrollmentState::Rejected { rejection } => (None, Some(serde_json::to_string(rejection)?)),
            _ => return Err(SqliteError::UnknownState),
        };
        let (id, state) = (enrollment.id, enrollment.state.as_str());
        let completed_at = enrollment.completed_at.map(Timestamp::millis);
        match completion.mode {
            CompletionMode::Create => {
                self.connection.prepare_cached(CREATE)?.execute(params![
                    self.organization,
                    id.as_uuid(),
                    state,
                    report,
                    rejection,
                    completed_at,
                    enrollment.sequence_id.as_uuid(),
                    enrollment.fingerprint.as_bytes(),
                    enrollment.at.millis(),
                ])?;
                Ok(())
            }
            CompletionMode::Finish => {
                let params = params![self.organization, id.as_uuid(), state, report, rejection, completed_at];
                match self.connection.prepare_cached(FINISH)?.execute(params)? {
                    1 => Ok(()),
                    _ => Err(Conflict::EnrollmentNotAccepted(id).into()),
                }
            }
        }
    }
}

const ACCEPTED: &str = "select state = 'accepted' from enroll_enrollments where organization_id = ?1 and id = ?2";
const CREATE: &str = "insert into enroll_enrollments \
     (organization_id, id, state, report, rejection, completed_at, sequence_id, fingerprint, at) \
     values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
const FINISH: &str = "update enroll_enrollments set state = ?3, report = ?4, rejection = ?5, completed_at = ?6, \
     command = null, due_at = null, error = null where organization_id = ?1 and id = ?2 and state = 'accepted'";

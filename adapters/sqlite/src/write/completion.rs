//! The enrollment's own row, which prevents a second completion, and its outcomes.

use enroll::changes::{CompletionMode, Conflict};
use enroll::report::Counts;
use enroll::{EnrollmentReport, EnrollmentState};
use rusqlite::OptionalExtension;

use super::Commit;
use super::row_statement::RowStatement;
use crate::error::SqliteError;
use crate::fields::{Field, integer};
use crate::inbox;
use crate::trace::prepare;

impl Commit<'_> {
    /// Checks that the enrollment to create has no row, or that the one to finish is accepted.
    pub(super) fn check_enrollment(&self) -> Result<(), SqliteError> {
        let completion = self.changes.completion();
        let id = completion.enrollment.id;
        let mut statement = prepare(self.connection, ACCEPTED)?;
        let stored: Option<(bool, u32)> =
            statement.query_row([self.organization, id.as_uuid()], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        match (completion.mode, stored) {
            (CompletionMode::Create, None) => Ok(()),
            (CompletionMode::Finish, Some((true, erased))) if erased == completion.enrollment.erased_recipients => {
                Ok(())
            }
            (CompletionMode::Finish, Some((true, _))) => Err(Conflict::RecipientsErased(id).into()),
            (CompletionMode::Create, Some(_)) => Err(Conflict::EnrollmentExists(id).into()),
            (CompletionMode::Finish, _) => Err(Conflict::EnrollmentNotAccepted(id).into()),
        }
    }

    /// Stores the result and counts an attempt. Removes the command and the last error.
    pub(super) fn complete_enrollment(&self) -> Result<(), SqliteError> {
        let completion = self.changes.completion();
        let enrollment = &completion.enrollment;
        let (report, rejection) = match &enrollment.state {
            EnrollmentState::Completed { report } => (Some(report), None),
            EnrollmentState::Rejected { rejection } => (None, Some(serde_json::to_string(rejection)?)),
            _ => return Err(SqliteError::UnknownState),
        };
        let sql = match completion.mode {
            CompletionMode::Create => CREATE,
            CompletionMode::Finish => FINISH,
        };
        let mut statement = RowStatement::new(self.connection, sql)?;
        self.organization.bind(&mut statement)?;
        enrollment.id.bind(&mut statement)?;
        statement.bind_value(enrollment.state.as_str())?;
        statement.bind_value(report.map(|report| serde_json::to_string(&report.without_outcomes())).transpose()?)?;
        statement.bind_value(rejection)?;
        enrollment.completed_at.bind(&mut statement)?;
        let counts = report.map(|report| report.counts().to_array().map(integer));
        (0..Counts::NAMES.len()).try_for_each(|n| counts.map(|counts| counts[n]).bind(&mut statement))?;
        if completion.mode == CompletionMode::Create {
            enrollment.sequence_id.bind(&mut statement)?;
            statement.bind_value(enrollment.fingerprint.as_bytes())?;
            enrollment.at.bind(&mut statement)?;
        }
        if statement.execute()? != 1 {
            return Err(Conflict::EnrollmentNotAccepted(enrollment.id).into());
        }
        if completion.mode == CompletionMode::Finish {
            inbox::end_lease(self.connection, self.organization, enrollment.id.as_uuid())?;
        }
        report.map_or(Ok(()), |report| self.insert_outcomes(report))
    }

    fn insert_outcomes(&self, report: &EnrollmentReport) -> Result<(), SqliteError> {
        let mut statement = RowStatement::new(self.connection, INSERT_OUTCOMES)?;
        for chunk in report.outcomes.to_chunks() {
            let (first, last) = chunk.range();
            self.organization.bind(&mut statement)?;
            report.enrollment_id.bind(&mut statement)?;
            integer(first).bind(&mut statement)?;
            integer(last).bind(&mut statement)?;
            statement.bind_value(serde_json::to_string(&chunk.counts)?)?;
            statement.bind_value(serde_json::to_string(chunk.outcomes)?)?;
            statement.execute()?;
        }
        Ok(())
    }
}

const ACCEPTED: &str = "select state = 'accepted', erased_recipients from enroll_enrollments \
     where organization_id = ?1 and id = ?2";
const CREATE: &str = concat!(
    "insert into enroll_enrollments (organization_id, id, state, report, rejection, completed_at, ",
    enrollments!(counts),
    ", sequence_id, fingerprint, at) values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)"
);
const FINISH: &str = concat!(
    "update enroll_enrollments set state = ?3, report = ?4, rejection = ?5, completed_at = ?6, (",
    enrollments!(counts),
    ") = (?7, ?8, ?9, ?10, ?11, ?12, ?13), command = null, due_at = null, error = null, \
     attempts = min(attempts + 1, 4294967295) \
     where organization_id = ?1 and id = ?2 and state = 'accepted'"
);
const INSERT_OUTCOMES: &str = "insert into enroll_enrollment_outcomes \
     (organization_id, enrollment_id, first_index, last_index, counts, outcomes) values (?1, ?2, ?3, ?4, ?5, ?6)";

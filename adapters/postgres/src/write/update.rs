//! Rows that change, the enrollment's own, and the tag.

use enroll::changes::{ChangeSet, CompletionVerb, ContactUpdate, Rows, StepContactUpdate};
use enroll::contact::Email;
use enroll::lookup::{EnrollmentState, StoredEnrollment};
use enroll::{CallFlowId, ChannelId, Timestamp};
use tokio_postgres::Statement;
use tokio_postgres::types::{Json, ToSql};
use uuid::Uuid;

use crate::Error;
use crate::rows::Wire;
use crate::statements::{Bound, Prepared};

type Parameters<'a> = Vec<Box<dyn ToSql + Sync + Send + 'a>>;

/// One array a column.
macro_rules! arrays {
    ($rows:expr, $row:ident => $($column:expr),* $(,)?) => {{
        let arrays: Parameters<'_> = vec![$(Box::new($rows.iter().map(|$row| $column).collect::<Vec<_>>())),*];
        arrays
    }};
}

/// A statement with what it needs, beside the organization.
pub(super) struct Update<'a> {
    statement: &'a Statement,
    parameters: Parameters<'a>,
    /// The table and how many rows of it must be there.
    named: Option<(&'static str, usize)>,
}

impl<'a> Update<'a> {
    fn of(statement: &'a Statement, parameters: Parameters<'a>, table: &'static str, named: usize) -> Self {
        Self { statement, parameters, named: Some((table, named)) }
    }

    pub(super) fn bound<'b>(&'b self, organization: &'b Uuid) -> Bound<'b> {
        let mut all: Vec<&(dyn ToSql + Sync)> = vec![organization];
        all.extend(self.parameters.iter().map(|parameter| &**parameter as &(dyn ToSql + Sync)));
        (self.statement, all)
    }
}

/// Each wrote as many rows as it names.
pub(super) fn check(updates: &[Update<'_>], written: &[u64]) -> Result<(), Error> {
    for (update, written) in updates.iter().zip(written) {
        match update.named {
            Some((table, named)) if usize::try_from(*written) != Ok(named) => return Err(Error::Gone { table }),
            _ => {}
        }
    }
    Ok(())
}

/// Rows round contacts. Step contacts that are not live afterwards make room for those that are.
pub(super) fn round_contacts<'a>(statements: &'a Prepared, rows: &'a Rows) -> [Update<'a>; 4] {
    let (live, done): (Vec<_>, Vec<_>) = rows.step_contacts_updated.iter().partition(|row| row.status.is_live());
    let records =
        arrays!(rows.records_updated, row => row.id.as_uuid(), row.contact_id.as_uuid(), Json(&row.properties));
    let runs = arrays!(rows.runs_reactivated, row => row.run_id.as_uuid(), row.contact_id.as_uuid());
    [
        Update::of(&statements.reactivate_runs, runs, "runs", rows.runs_reactivated.len()),
        Update::of(&statements.update_step_contacts, updated_step_contacts(&done), "step_contacts", done.len()),
        Update::of(&statements.update_step_contacts, updated_step_contacts(&live), "step_contacts", live.len()),
        Update::of(&statements.update_records, records, "custom_records", rows.records_updated.len()),
    ]
}

/// The enrollment, the tag, and contacts, whose keys are given up before another contact claims them.
pub(super) fn contacts<'a>(statements: &'a Prepared, changes: &'a ChangeSet) -> Result<[Update<'a>; 5], Error> {
    let rows = changes.rows();
    let completion = changes.completion();
    let write_enrollment = match completion.verb {
        CompletionVerb::Create => &statements.insert_enrollment,
        CompletionVerb::Finish => &statements.finish_enrollment,
    };
    let tags = arrays!(rows.tag_created, row => row.id.as_uuid(), &*row.name, row.system_created);
    let (raised, set): (Vec<_>, Vec<_>) = rows.contacts_updated.iter().partition(|update| update.set.is_empty());
    let contacts_raised = arrays!(raised, update => update.id.as_uuid(), expected(update));
    let mut contacts_set: Parameters<'_> = vec![Box::new(changes.at().as_datetime())];
    contacts_set.extend(updated_contacts(&set));
    Ok([
        Update::of(write_enrollment, enrollment(&completion.enrollment)?, "enrollments", 1),
        Update::of(&statements.insert_tags, tags, "tags", rows.tag_created.iter().len()),
        Update { statement: &statements.release_keys, parameters: released(&rows.contacts_updated), named: None },
        Update::of(&statements.raise_contacts, contacts_raised, "contacts", raised.len()),
        Update::of(&statements.update_contacts, contacts_set, "contacts", set.len()),
    ])
}

/// As it stands once it has ended, whether it is new or was accepted.
fn enrollment(enrollment: &StoredEnrollment) -> Result<Parameters<'_>, Error> {
    let (report, rejection) = match &enrollment.state {
        EnrollmentState::Completed { report } => (Some(Json(report)), None),
        EnrollmentState::Rejected { rejection } => (None, Some(Json(rejection))),
        state => {
            let state = state.name();
            return Err(Error::Unstorable(format!("a commit ends its enrollment, and does not leave it `{state}`")));
        }
    };
    Ok(vec![
        Box::new(enrollment.id.as_uuid()),
        Box::new(enrollment.sequence_id.as_uuid()),
        Box::new(&enrollment.fingerprint.as_bytes()[..]),
        Box::new(enrollment.at.as_datetime()),
        Box::new(enrollment.state.name()),
        Box::new(report),
        Box::new(rejection),
        Box::new(enrollment.completed_at.map(Timestamp::as_datetime)),
    ])
}

fn released(updates: &[ContactUpdate]) -> Parameters<'_> {
    let brings_key = |update: &&ContactUpdate| {
        update.set.external_id.is_some() || update.set.phone.is_some() || update.set.email.is_some()
    };
    let updates: Vec<&ContactUpdate> = updates.iter().filter(brings_key).collect();
    arrays!(
        updates,
        update => update.id.as_uuid(),
        update.set.external_id.as_deref(),
        update.set.phone.as_deref(),
        update.set.email.as_ref().map(Email::key),
    )
}

/// A version that the column cannot hold is none that stands.
fn expected(update: &ContactUpdate) -> i64 {
    i64::try_from(update.expected.0).unwrap_or(-1)
}

fn updated_contacts<'a>(updates: &[&'a ContactUpdate]) -> Parameters<'a> {
    let born = |update: &ContactUpdate| update.set.birth_date.unwrap_or_default();
    arrays!(
        updates,
        update => update.id.as_uuid(),
        expected(update),
        update.set.external_id.as_deref(),
        update.set.phone.as_deref(),
        update.set.email.as_ref().map(Email::as_str),
        update.set.email.as_ref().map(Email::key),
        update.set.name.as_deref(),
        update.set.language.as_deref(),
        update.set.default_channel_id.map(ChannelId::as_uuid),
        update.set.address.as_deref().map(Json),
        born(update).day.map(i16::from),
        born(update).month.map(i16::from),
        born(update).year.map(i32::from),
        update.set.birth_date.is_some(),
    )
}

fn updated_step_contacts(rows: &[&StepContactUpdate]) -> Parameters<'static> {
    arrays!(
        rows,
        row => row.id.as_uuid(),
        row.contact_id.as_uuid(),
        row.status.word(),
        row.scheduled_at.as_datetime(),
        row.enrollment_id.as_uuid(),
        i64::from(row.times_processed),
        row.channel_id.map(ChannelId::as_uuid),
        row.default_call_flow_id.map(CallFlowId::as_uuid),
    )
}

//! Rows that change, the enrollment's own, and the tag.

use enroll::changes::{CompletionMode, ContactUpdate, StepContactUpdate};
use enroll::contact::Email;
use enroll::{CallFlowId, ChangeSet, ChannelId, EnrollmentState, StoredEnrollment, Timestamp};
use tokio_postgres::types::Json;

use super::statement::{Arrays, Values, Write, arrays};
use crate::Error;
use crate::statements::Prepared;

/// What changes, each with how many rows of it must be there, and what is new but once in a commit. In this order: the
/// enrollment; keys that are given up, before another contact claims them; step contacts that are not live afterwards,
/// before those that are.
pub(super) fn writes<'a>(statements: &'a Prepared, changes: &'a ChangeSet) -> Result<[Write<'a>; 9], Error> {
    let rows = changes.rows();
    let completion = changes.completion();
    let write_enrollment = match completion.mode {
        CompletionMode::Create => &statements.insert_enrollment,
        CompletionMode::Finish => &statements.finish_enrollment,
    };
    let (raised, set): (Vec<_>, Vec<_>) = rows.contacts_updated.iter().partition(|update| update.set.is_empty());
    let contacts_raised = arrays!(raised, update => update.id.as_uuid(), expected(update));
    let runs = arrays!(rows.runs_reactivated, row => row.run_id.as_uuid(), row.contact_id.as_uuid());
    let (live, done): (Vec<_>, Vec<_>) = rows.step_contacts_updated.iter().partition(|row| row.status.is_live());
    let records =
        arrays!(rows.records_updated, row => row.id.as_uuid(), row.contact_id.as_uuid(), Json(&row.properties));
    let tags = arrays!(rows.tag_created, row => row.id.as_uuid(), &*row.name, row.system_created);
    Ok([
        Write::new(write_enrollment).with(enrollment(&completion.enrollment)?).of("enrollments", 1),
        Write::new(&statements.release_keys).arrays(released(&rows.contacts_updated)),
        Write::new(&statements.raise_contacts).arrays(contacts_raised).of("contacts", raised.len()),
        Write::new(&statements.update_contacts)
            .with(vec![Box::new(changes.at().as_datetime())])
            .arrays(updated_contacts(&set))
            .of("contacts", set.len()),
        Write::new(&statements.reactivate_runs).arrays(runs).of("runs", rows.runs_reactivated.len()),
        Write::new(&statements.update_step_contacts)
            .arrays(updated_step_contacts(&done))
            .of("step_contacts", done.len()),
        Write::new(&statements.update_step_contacts)
            .arrays(updated_step_contacts(&live))
            .of("step_contacts", live.len()),
        Write::new(&statements.update_records).arrays(records).of("custom_records", rows.records_updated.len()),
        Write::new(&statements.insert_tags).arrays(tags),
    ])
}

/// As it stands once it has ended, whether it is new or was accepted.
fn enrollment(enrollment: &StoredEnrollment) -> Result<Values<'_>, Error> {
    let (report, rejection) = match &enrollment.state {
        EnrollmentState::Completed { report } => (Some(Json(report)), None),
        EnrollmentState::Rejected { rejection } => (None, Some(Json(rejection))),
        state => {
            let state = state.as_str();
            return Err(Error::Unstorable(format!("a commit ends its enrollment, and does not leave it `{state}`")));
        }
    };
    Ok(vec![
        Box::new(enrollment.id.as_uuid()),
        Box::new(enrollment.sequence_id.as_uuid()),
        Box::new(&enrollment.fingerprint.as_bytes()[..]),
        Box::new(enrollment.at.as_datetime()),
        Box::new(enrollment.state.as_str()),
        Box::new(report),
        Box::new(rejection),
        Box::new(enrollment.completed_at.map(Timestamp::as_datetime)),
    ])
}

fn released(updates: &[ContactUpdate]) -> Arrays<'_> {
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

fn updated_contacts<'a>(updates: &[&'a ContactUpdate]) -> Arrays<'a> {
    let born = |update: &ContactUpdate| update.set.profile.birth_date.unwrap_or_default();
    arrays!(
        updates,
        update => update.id.as_uuid(),
        expected(update),
        update.set.external_id.as_deref(),
        update.set.phone.as_deref(),
        update.set.email.as_ref().map(Email::as_str),
        update.set.email.as_ref().map(Email::key),
        update.set.profile.name.as_deref(),
        update.set.profile.language.as_deref(),
        update.set.profile.default_channel_id.map(ChannelId::as_uuid),
        update.set.profile.address.as_deref().map(Json),
        born(update).day.map(i16::from),
        born(update).month.map(i16::from),
        born(update).year.map(i32::from),
        update.set.profile.birth_date.is_some(),
    )
}

fn updated_step_contacts(rows: &[&StepContactUpdate]) -> Arrays<'static> {
    arrays!(
        rows,
        row => row.id.as_uuid(),
        row.contact_id.as_uuid(),
        row.status.as_str(),
        row.scheduled_at.as_datetime(),
        row.enrollment_id.as_uuid(),
        i64::from(row.times_processed),
        row.channel_id.map(ChannelId::as_uuid),
        row.default_call_flow_id.map(CallFlowId::as_uuid),
    )
}

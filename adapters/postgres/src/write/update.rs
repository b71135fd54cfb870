//! Updates existing rows, completes the enrollment with its outcomes, and inserts the tag.

use enroll::changes::{CompletionMode, ContactUpdate, ReplacedStatus, StepContactUpdate};
use enroll::contact::Email;
use enroll::model::Tag;
use enroll::report::{Counts, OutcomeChunk, Outcomes};
use enroll::{CallFlowId, ChangeSet, ChannelId, EnrollmentState, StoredEnrollment, Timestamp};
use postgres_types::Json;

use super::statement::{Values, Write, arrays};
use crate::PostgresError;
use crate::fields::Arrays;
use crate::statements::Prepared;
use crate::tables::{Table, push_contact_updates};

/// Returns the updates in their order: the enrollment; keys that move, before another contact claims them; step contacts
/// that stop being live, before those that become live.
pub(super) fn writes<'a>(statements: &'a Prepared, changes: &'a ChangeSet) -> Result<[Write<'a>; 10], PostgresError> {
    let rows = changes.rows();
    let completion = changes.completion();
    let write_enrollment = match completion.mode {
        CompletionMode::Create => &statements.insert_enrollment,
        CompletionMode::Finish => &statements.finish_enrollment,
    };
    let (raised, set): (Vec<_>, Vec<_>) = rows.contacts_updated.iter().partition(|update| update.set.is_empty());
    let contacts_raised = arrays!(raised, update => update.id.as_uuid(), expected(update));
    let runs = arrays!(rows.runs_reactivated, row => row.run_id.as_uuid(), row.contact_id.as_uuid());
    let (live, ended): (Vec<_>, Vec<_>) = rows.step_contacts_updated.iter().partition(|row| row.status.is_live());
    let records =
        arrays!(rows.records_updated, row => row.id.as_uuid(), row.contact_id.as_uuid(), Json(&row.properties));
    let mut tags = Arrays::new();
    Tag::push_arrays(rows.tag_created.iter(), &mut tags);
    Ok([
        Write::new(write_enrollment).with(enrollment(&completion.enrollment)?).expecting("enrollments", 1),
        outcomes(statements, &completion.enrollment),
        Write::new(&statements.release_keys).arrays(released_keys(&rows.contacts_updated)),
        Write::new(&statements.raise_contacts).arrays(contacts_raised).expecting("contacts", raised.len()),
        Write::new(&statements.update_contacts)
            .with(vec![Box::new(changes.at().as_datetime())])
            .arrays(updated_contacts(&set))
            .expecting("contacts", set.len()),
        Write::new(&statements.reactivate_runs).arrays(runs).expecting("runs", rows.runs_reactivated.len()),
        Write::new(&statements.update_step_contacts)
            .arrays(updated_step_contacts(&ended))
            .expecting("step_contacts", ended.len()),
        Write::new(&statements.update_step_contacts)
            .arrays(updated_step_contacts(&live))
            .expecting("step_contacts", live.len()),
        Write::new(&statements.update_records).arrays(records).expecting("custom_records", rows.records_updated.len()),
        Write::new(&statements.insert_tags).arrays(tags),
    ])
}

/// Returns the insert of the differences between the counts of rows.
pub(super) fn count_rows<'a>(
    statements: &'a Prepared,
    changes: &'a ChangeSet,
    replaced: &[ReplacedStatus],
) -> Write<'a> {
    let counts = changes.count_changes(replaced);
    Write::new(&statements.count_rows).arrays(arrays!(
        counts,
        count => count.list,
        count.sequence_id.as_uuid(),
        count.step_id.as_uuid(),
        count.status,
        count.entries,
    ))
}

/// Returns the values of an enrollment that has ended.
fn enrollment(enrollment: &StoredEnrollment) -> Result<Values<'_>, PostgresError> {
    let (report, rejection) = match &enrollment.state {
        EnrollmentState::Completed { report } => (Some(report), None),
        EnrollmentState::Rejected { rejection } => (None, Some(Json(rejection))),
        state => return Err(PostgresError::UnknownState { state: state.as_str() }),
    };
    let mut values: Values<'_> = vec![
        Box::new(enrollment.id.as_uuid()),
        Box::new(enrollment.sequence_id.as_uuid()),
        Box::new(&enrollment.fingerprint.as_bytes()[..]),
        Box::new(enrollment.at.as_datetime()),
        Box::new(enrollment.state.as_str()),
        Box::new(report.map(|report| Json(report.without_outcomes()))),
        Box::new(rejection),
        Box::new(enrollment.completed_at.map(Timestamp::as_datetime)),
    ];
    let counts = report.map(|report| report.counts().to_array().map(integer));
    values.extend((0..Counts::NAMES.len()).map(|n| Box::new(counts.map(|counts| counts[n])) as _));
    Ok(values)
}

/// Returns the insert of the outcomes of a completed enrollment.
fn outcomes<'a>(statements: &'a Prepared, enrollment: &'a StoredEnrollment) -> Write<'a> {
    let outcomes = match &enrollment.state {
        EnrollmentState::Completed { report } => Some(&report.outcomes),
        _ => None,
    };
    let chunks: Vec<OutcomeChunk<'_>> = outcomes.into_iter().flat_map(Outcomes::to_chunks).collect();
    let (rows, ranges) = (chunks.len(), chunks.iter().map(OutcomeChunk::range));
    let mut arrays: Arrays<'a> = vec![
        Box::new(ranges.clone().map(|(first, _)| integer(first)).collect::<Vec<_>>()),
        Box::new(ranges.map(|(_, last)| integer(last)).collect::<Vec<_>>()),
    ];
    let (counts, outcomes): (Vec<_>, Vec<_>) =
        chunks.into_iter().map(|chunk| (Json(chunk.counts), Json(chunk.outcomes))).unzip();
    arrays.push(Box::new(counts));
    arrays.push(Box::new(outcomes));
    Write::new(&statements.insert_outcomes)
        .with(vec![Box::new(enrollment.id.as_uuid())])
        .arrays(arrays)
        .expecting("enrollment_outcomes", rows)
}

/// Returns a count or an index of recipients as a column stores it.
fn integer(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Returns the updates that replace a key.
fn released_keys(updates: &[ContactUpdate]) -> Arrays<'_> {
    let has_key = |update: &&ContactUpdate| {
        update.set.external_id.is_some() || update.set.phone.is_some() || update.set.email.is_some()
    };
    let updates: Vec<&ContactUpdate> = updates.iter().filter(has_key).collect();
    arrays!(
        updates,
        update => update.id.as_uuid(),
        update.set.external_id.as_deref(),
        update.set.phone.as_deref(),
        update.set.email.as_ref().map(Email::key),
    )
}

/// Returns the version as a column stores it. A version that no column can hold matches no row.
fn expected(update: &ContactUpdate) -> i64 {
    i64::try_from(update.expected.0).unwrap_or(-1)
}

fn updated_contacts<'a>(updates: &[&'a ContactUpdate]) -> Arrays<'a> {
    let mut arrays = arrays!(updates, update => update.id.as_uuid(), expected(update));
    push_contact_updates(updates.iter().map(|update| &update.set), &mut arrays);
    arrays
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

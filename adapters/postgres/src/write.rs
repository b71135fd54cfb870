//! The commit: the organization's row, the guards, the rows. What counts is the state after all of it.

use enroll::changes::{ChangeSet, CompletionVerb, Conflict, ContactUpdate, Guards, Rows, StepContactUpdate};
use enroll::contact::{BirthDate, Contact, Email, KeyKind};
use enroll::lookup::{EnrollmentState, StoredEnrollment, Version};
use enroll::model::{Conversation, CustomRecord, Resource, Run, StepContact};
use enroll::{CallFlowId, ChannelId, ContactId, EnrollmentId, StepContactId, Timestamp};
use std::collections::{BTreeSet, HashMap, HashSet};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Row, Transaction};
use uuid::Uuid;

use crate::Error;
use crate::begin::Begin;
use crate::rows::{self, Wire};
use crate::statements::{Bound, Prepared, execute_all, query_all};

pub(crate) type DateTime = chrono::DateTime<chrono::Utc>;

/// One array a column.
macro_rules! arrays {
    ($rows:expr, $row:ident => $($column:expr),* $(,)?) => {{
        let arrays: Parameters<'_> = vec![$(Box::new($rows.iter().map(|$row| $column).collect::<Vec<_>>())),*];
        arrays
    }};
}

/// Writes a change set: all of it, or nothing.
pub(crate) async fn commit(client: &mut impl Begin, statements: &Prepared, changes: &ChangeSet) -> Result<(), Error> {
    let owners = owners(changes.rows())?;
    let transaction = client.begin().await?;
    hold_guards(&transaction, statements, changes).await?;
    write_rows(&transaction, statements, changes, &owners).await?;
    Ok(transaction.commit().await?)
}

/// Takes the organization's row, so that no other commit runs, then whatever the change set rests on.
async fn hold_guards(transaction: &Transaction<'_>, statements: &Prepared, changes: &ChangeSet) -> Result<(), Error> {
    let guards = changes.guards();
    let organization = changes.organization_id().as_uuid();
    let enrollment = changes.completion().enrollment.id.as_uuid();
    let sequence = guards.sequence.0.as_uuid();
    let channels: Vec<Uuid> = guards.channels.iter().map(|(id, _)| id.as_uuid()).collect();
    let object: Vec<Uuid> = guards.custom_object.iter().map(|(id, _)| id.as_uuid()).collect();
    let call_flow: Vec<Uuid> = guards.call_flow.iter().map(|(id, _)| id.as_uuid()).collect();
    let contacts: BTreeSet<Uuid> = contacts(changes).map(|(id, _)| id.as_uuid()).collect();
    let contacts: Vec<Uuid> = contacts.into_iter().collect();
    let vacant = [&guards.vacant.external_ids, &guards.vacant.phones, &guards.vacant.emails]
        .map(|keys| keys.iter().map(|key| &**key).collect::<Vec<&str>>());
    let rows = changes.rows();
    let runs: Vec<Uuid> = rows.runs_reactivated.iter().map(|row| row.run_id.as_uuid()).collect();
    let step_contacts: Vec<Uuid> = rows.step_contacts_updated.iter().map(|row| row.id.as_uuid()).collect();
    let records: Vec<Uuid> = rows.records_updated.iter().map(|row| row.id.as_uuid()).collect();
    let queries: [Bound<'_>; 15] = [
        (&statements.engine_writes, vec![&organization]),
        (&statements.add_organization, vec![&organization]),
        (&statements.lock_organization, vec![&organization]),
        (&statements.lock_enrollment, vec![&organization, &enrollment]),
        (&statements.lock_sequence, vec![&organization, &sequence]),
        (&statements.lock_channels, vec![&organization, &channels]),
        (&statements.lock_custom_object, vec![&organization, &object]),
        (&statements.lock_call_flow, vec![&organization, &call_flow]),
        (&statements.lock_runs, vec![&organization, &runs]),
        (&statements.lock_step_contacts, vec![&organization, &step_contacts]),
        (&statements.lock_records, vec![&organization, &records]),
        (&statements.lock_contacts, vec![&organization, &contacts]),
        (&statements.held_external_ids, vec![&organization, &vacant[0]]),
        (&statements.held_phones, vec![&organization, &vacant[1]]),
        (&statements.held_emails, vec![&organization, &vacant[2]]),
    ];
    let [_, _, _, enrollment, sequence, channels, object, call_flow, _, _, _, contacts, held @ ..] =
        query_all(transaction, queries).await?;
    check_enrollment(changes, &enrollment)?;
    check_context(guards, &versions(&sequence)?, &versions(&channels)?, &versions(&object)?, &versions(&call_flow)?)?;
    let stands = versions(&contacts)?;
    for (id, version) in self::contacts(changes) {
        if stands.get(&id.as_uuid()) != Some(&version) {
            return Err(Conflict::ContactChanged(id).into());
        }
    }
    for (key, rows) in KeyKind::ALL.into_iter().zip(&held) {
        if let Some(row) = rows.first() {
            let text = row.try_get::<_, &str>(1)?.into();
            return Err(Conflict::KeyHeld { key, text, holder: rows::id(row, 0)? }.into());
        }
    }
    Ok(())
}

fn check_enrollment(changes: &ChangeSet, stands: &[Row]) -> Result<(), Error> {
    let completion = changes.completion();
    let id = completion.enrollment.id;
    let state = stands.first().map(|row| row.try_get::<_, &str>(0)).transpose()?;
    match (completion.verb, state) {
        (CompletionVerb::Create, None) | (CompletionVerb::Finish, Some("accepted")) => Ok(()),
        (CompletionVerb::Create, Some(_)) => Err(Conflict::EnrollmentExists(id).into()),
        (CompletionVerb::Finish, _) => Err(Conflict::EnrollmentNotAccepted(id).into()),
    }
}

fn check_context(
    guards: &Guards,
    sequence: &HashMap<Uuid, Version>,
    channels: &HashMap<Uuid, Version>,
    object: &HashMap<Uuid, Version>,
    call_flow: &HashMap<Uuid, Version>,
) -> Result<(), Conflict> {
    let (id, version) = guards.sequence;
    if sequence.get(&id.as_uuid()) != version.as_ref() {
        return Err(Conflict::SequenceChanged(id));
    }
    for (id, version) in &guards.channels {
        if channels.get(&id.as_uuid()) != version.as_ref() {
            return Err(Conflict::ChannelChanged(*id));
        }
    }
    if let Some((id, version)) = guards.custom_object
        && object.get(&id.as_uuid()) != version.as_ref()
    {
        return Err(Conflict::CustomObjectChanged(id));
    }
    if let Some((id, version)) = guards.call_flow
        && call_flow.get(&id.as_uuid()) != version.as_ref()
    {
        return Err(Conflict::CallFlowChanged(id));
    }
    Ok(())
}

/// The contacts that a change set rests on, with the versions that they must have.
fn contacts(changes: &ChangeSet) -> impl Iterator<Item = (ContactId, Version)> {
    let updated = changes.rows().contacts_updated.iter().map(|update| (update.id, update.expected));
    changes.guards().contacts.iter().copied().chain(updated)
}

fn versions(rows: &[Row]) -> Result<HashMap<Uuid, Version>, Error> {
    rows.iter().map(|row| Ok((rows::id(row, 0)?, rows::version(row, 1)?))).collect()
}

/// Always the same statements, also where a list is empty: their number is a promise.
async fn write_rows(
    transaction: &Transaction<'_>,
    statements: &Prepared,
    changes: &ChangeSet,
    owners: &[Uuid],
) -> Result<(), Error> {
    let rows = changes.rows();
    let organization = changes.organization_id().as_uuid();
    let at = changes.at().as_datetime();
    let (live, done): (Vec<_>, Vec<_>) = rows.step_contacts_updated.iter().partition(|row| row.status.is_live());
    let tags: Vec<_> = rows.tag_created.iter().collect();

    let completion = changes.completion();
    let write_enrollment = match completion.verb {
        CompletionVerb::Create => &statements.insert_enrollment,
        CompletionVerb::Finish => &statements.finish_enrollment,
    };
    let enrollment = enrollment(&completion.enrollment)?;
    let released = released(&rows.contacts_updated);
    let (raised, set): (Vec<_>, Vec<_>) = rows.contacts_updated.iter().partition(|update| update.set.is_empty());
    let contacts_raised = arrays!(raised, update => update.id.as_uuid(), expected(update));
    let mut contacts_updated: Parameters<'_> = vec![Box::new(at)];
    contacts_updated.extend(updated_contacts(&set)?);
    let contacts_created = created_contacts(&rows.contacts_created)?;
    let conversations = conversations(&rows.conversations_created);
    let runs = runs(&rows.runs_created);
    let reactivated = arrays!(rows.runs_reactivated, row => row.run_id.as_uuid(), row.contact_id.as_uuid());
    let step_contacts_done = updated_step_contacts(&done);
    let step_contacts_live = updated_step_contacts(&live);
    let step_contacts = step_contacts(&rows.step_contacts_created);
    let tags = arrays!(tags, row => row.id.as_uuid(), &*row.name, row.system_created);
    let contact_tags = arrays!(rows.contact_tags_created, row => row.contact_id.as_uuid(), row.tag_id.as_uuid());
    let records = records(&rows.records_created, owners)?;
    let properties = each_json(rows.records_updated.iter().map(|row| Some(&row.properties)))?;
    let mut records_updated = arrays!(rows.records_updated, row => row.id.as_uuid(), row.contact_id.as_uuid());
    records_updated.push(Box::new(properties));

    let writes: [Bound<'_>; 16] = [
        (write_enrollment, bound(&organization, &enrollment)),
        (&statements.release_keys, bound(&organization, &released)),
        (&statements.raise_contacts, bound(&organization, &contacts_raised)),
        (&statements.update_contacts, bound(&organization, &contacts_updated)),
        (&statements.insert_contacts, bound(&organization, &contacts_created)),
        (&statements.insert_conversations, bound(&organization, &conversations)),
        (&statements.insert_runs, bound(&organization, &runs)),
        (&statements.reactivate_runs, bound(&organization, &reactivated)),
        (&statements.update_step_contacts, bound(&organization, &step_contacts_done)),
        (&statements.update_step_contacts, bound(&organization, &step_contacts_live)),
        (&statements.insert_step_contacts, bound(&organization, &step_contacts)),
        (&statements.insert_tags, bound(&organization, &tags)),
        (&statements.insert_contact_tags, bound(&organization, &contact_tags)),
        (&statements.insert_records, bound(&organization, &records)),
        (&statements.update_records, bound(&organization, &records_updated)),
        (&statements.engine_wrote, bound(&organization, &[])),
    ];
    let counts = execute_all(transaction, writes).await?;
    let updated = [
        ("enrollments", counts[0], 1),
        ("contacts", counts[2] + counts[3], rows.contacts_updated.len()),
        ("runs", counts[7], rows.runs_reactivated.len()),
        ("step_contacts", counts[8] + counts[9], rows.step_contacts_updated.len()),
        ("custom_records", counts[14], rows.records_updated.len()),
    ];
    match updated.into_iter().find(|(_, count, named)| usize::try_from(*count) != Ok(*named)) {
        Some((table, ..)) => Err(Error::Gone { table }),
        None => Ok(()),
    }
}

type Parameters<'a> = Vec<Box<dyn ToSql + Sync + Send + 'a>>;

fn bound<'a>(
    organization: &'a Uuid,
    parameters: &'a [Box<dyn ToSql + Sync + Send + 'a>],
) -> Vec<&'a (dyn ToSql + Sync)> {
    let mut all: Vec<&(dyn ToSql + Sync)> = vec![organization];
    all.extend(parameters.iter().map(|parameter| &**parameter as &(dyn ToSql + Sync)));
    all
}

/// As it stands once it has ended, whether it is new or was accepted.
fn enrollment(enrollment: &StoredEnrollment) -> Result<Parameters<'_>, Error> {
    let (report, rejection) = match &enrollment.state {
        EnrollmentState::Completed { report } => (Some(json(report)?), None),
        EnrollmentState::Rejected { rejection } => (None, Some(json(rejection)?)),
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

fn updated_contacts<'a>(updates: &[&'a ContactUpdate]) -> Result<Parameters<'a>, Error> {
    let addresses = each_json(updates.iter().map(|update| update.set.address.as_deref()))?;
    let born = |update: &ContactUpdate| update.set.birth_date.unwrap_or_default();
    let mut arrays = arrays!(
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
    );
    arrays.push(Box::new(addresses));
    arrays.extend(arrays!(
        updates,
        update => born(update).day.map(i16::from),
        born(update).month.map(i16::from),
        born(update).year.map(i32::from),
        update.set.birth_date.is_some(),
    ));
    Ok(arrays)
}

fn created_contacts(contacts: &[Contact]) -> Result<Parameters<'_>, Error> {
    let addresses = each_json(contacts.iter().map(|contact| contact.address.as_deref()))?;
    let born = |contact: &Contact| -> BirthDate { contact.birth_date.unwrap_or_default() };
    let mut arrays = arrays!(
        contacts,
        contact => contact.id.as_uuid(),
        contact.external_id.as_deref(),
        contact.phone.as_deref(),
        contact.email.as_ref().map(Email::as_str),
        contact.email.as_ref().map(Email::key),
        contact.name.as_deref(),
        contact.language.as_deref(),
        contact.default_channel_id.map(ChannelId::as_uuid),
    );
    arrays.push(Box::new(addresses));
    arrays.extend(arrays!(
        contacts,
        contact => born(contact).day.map(i16::from),
        born(contact).month.map(i16::from),
        born(contact).year.map(i32::from),
        contact.state.word(),
        contact.created_at.map(Timestamp::as_datetime),
        contact.updated_at.map(Timestamp::as_datetime),
    ));
    Ok(arrays)
}

fn conversations(rows: &[Conversation]) -> Parameters<'_> {
    arrays!(
        rows,
        row => row.id.as_uuid(),
        row.contact_id.as_uuid(),
        row.channel_id.as_uuid(),
        row.status.word(),
        row.created_at.map(Timestamp::as_datetime),
    )
}

fn runs(rows: &[Run]) -> Parameters<'_> {
    arrays!(
        rows,
        row => row.id.as_uuid(),
        row.sequence_id.as_uuid(),
        row.contact_id.as_uuid(),
        row.status.word(),
        row.started_at.as_datetime(),
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

fn step_contacts(rows: &[StepContact]) -> Parameters<'_> {
    arrays!(
        rows,
        row => row.id.as_uuid(),
        row.run_id.as_uuid(),
        row.sequence_id.as_uuid(),
        row.step_id.as_uuid(),
        row.contact_id.as_uuid(),
        row.status.word(),
        row.scheduled_at.as_datetime(),
        row.channel_id.map(ChannelId::as_uuid),
        row.default_call_flow_id.map(CallFlowId::as_uuid),
        i64::from(row.times_processed),
        row.enrollment_id.map(EnrollmentId::as_uuid),
    )
}

fn records<'a>(rows: &'a [CustomRecord], owners: &'a [Uuid]) -> Result<Parameters<'a>, Error> {
    let properties = each_json(rows.iter().map(|row| Some(&row.properties)))?;
    let mut arrays = arrays!(
        rows,
        row => row.id.as_uuid(),
        row.custom_object_id.as_uuid(),
        row.resource.word(),
        row.resource_id,
    );
    arrays.push(Box::new(owners));
    arrays.push(Box::new(properties));
    Ok(arrays)
}

/// The contacts of the new records, in order. Whatever is written belongs to a contact that is written too.
fn owners(rows: &Rows) -> Result<Vec<Uuid>, Error> {
    let created = rows.contacts_created.iter().map(|contact| contact.id);
    let written: HashSet<ContactId> = created.chain(rows.contacts_updated.iter().map(|update| update.id)).collect();
    let created = rows.step_contacts_created.iter().map(|row| (row.id, row.contact_id));
    let updated = rows.step_contacts_updated.iter().map(|row| (row.id, row.contact_id));
    let of_step_contacts: HashMap<StepContactId, ContactId> = created.chain(updated).collect();
    let mut owners = Vec::with_capacity(rows.records_created.len());
    for row in &rows.records_created {
        let owner = match row.resource {
            Resource::Contact => Some(ContactId::from_uuid(row.resource_id)),
            Resource::StepContact => of_step_contacts.get(&StepContactId::from_uuid(row.resource_id)).copied(),
        };
        owners.push(owner.ok_or(Conflict::StepContactGone(StepContactId::from_uuid(row.resource_id)))?);
    }
    let belong = (owners.iter().copied())
        .chain(of_step_contacts.into_values())
        .chain(rows.conversations_created.iter().map(|row| row.contact_id))
        .chain(rows.runs_created.iter().map(|row| row.contact_id))
        .chain(rows.runs_reactivated.iter().map(|row| row.contact_id))
        .chain(rows.contact_tags_created.iter().map(|row| row.contact_id))
        .chain(rows.records_updated.iter().map(|row| row.contact_id));
    match belong.into_iter().find(|id| !written.contains(id)) {
        Some(id) => Err(Conflict::ContactNotWritten(id).into()),
        None => Ok(owners.into_iter().map(ContactId::as_uuid).collect()),
    }
}

fn each_json<'a, T: serde::Serialize + 'a>(
    values: impl Iterator<Item = Option<&'a T>>,
) -> Result<Vec<Option<String>>, Error> {
    values.map(|value| value.map(json).transpose()).collect()
}

pub(crate) fn json(value: &impl serde::Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|e| Error::Unstorable(e.to_string()))
}

//! Diesel on SQLite, batched: one look-up for each table, all decisions in memory, multi-row inserts.

use diesel::prelude::*;
use enroll::contact::KeyKind;
use std::collections::HashMap;
use uuid::Uuid;

use crate::batch::{self, Batch, ContactAggregate};
use crate::body::{self, Body, Entry};
use crate::rules::{Record, Report, Run, StepContact};
use crate::sqlite::{
    ContactChanges, Id, NewContact, NewContactTag, NewConversation, NewRecord, NewRun, NewStepContact,
    communication_preferences, contact_tags, contacts, conversations, custom_records, runs, step_contacts,
};
use crate::target::Target;
use crate::{Error, Request, sqlite};

/// The number of rows that one statement inserts. Diesel keeps a statement for an array of a fixed size prepared. The
/// rows after the last full array are inserted one by one. This is the fastest of 1, 8, 16, 32 and 64.
const ROWS: usize = 16;

/// Enrolls contacts.
///
/// # Errors
/// The request is refused, or the database failed. Nothing was written.
pub fn enroll(connection: &mut SqliteConnection, request: &Request<'_>) -> Result<Report, Error> {
    let body = Body::read(request.body)?;
    connection.immediate_transaction(|connection| {
        let target = sqlite::target(connection, request, &body)?;
        let entries = body::check(body.to, target.region, target.object.is_some())?;
        let aggregates = load(connection, &entries, &target)?;
        let (batch, outcomes) = batch::plan(&entries, &aggregates, &target);
        write(connection, batch, &target)?;
        let report = Report::new(target, outcomes);
        sqlite::insert_enrollment(connection, request, &report)?;
        Ok(report)
    })
}

/// Loads each contact that a key finds, and its related rows. A request has at most 4000 keys of a kind, and SQLite takes
/// 32,766 parameters.
fn load(connection: &mut SqliteConnection, entries: &[Entry], target: &Target) -> QueryResult<Vec<ContactAggregate>> {
    let mut aggregates = Vec::new();
    let mut positions = HashMap::new();
    for kind in KeyKind::ALL {
        let keys = batch::keys(entries, kind);
        if keys.is_empty() {
            continue;
        }
        let contacts = contacts::table
            .filter(contacts::organization_id.eq(Id(target.organization_id)))
            .filter(sqlite::not_merged())
            .select(sqlite::Contact::as_select());
        let rows = match kind {
            KeyKind::ExternalId => contacts.filter(contacts::external_id.eq_any(keys)).load(connection)?,
            KeyKind::Phone => contacts.filter(contacts::phone.eq_any(keys)).load(connection)?,
            KeyKind::Email => contacts.filter(contacts::email_key.eq_any(keys)).load(connection)?,
        };
        for row in rows {
            let aggregate = ContactAggregate { contact: row.into(), ..ContactAggregate::default() };
            positions.entry(aggregate.contact.id).or_insert_with(|| {
                aggregates.push(aggregate);
                aggregates.len() - 1
            });
        }
    }
    if !aggregates.is_empty() {
        load_related_rows(connection, &mut aggregates, &positions, target)?;
    }
    Ok(aggregates)
}

fn load_related_rows(
    connection: &mut SqliteConnection,
    aggregates: &mut [ContactAggregate],
    positions: &HashMap<Uuid, usize>,
    target: &Target,
) -> QueryResult<()> {
    let ids: Vec<Id> = aggregates.iter().map(|aggregate| Id(aggregate.contact.id)).collect();
    if let Some(channel_id) = target.channel_id {
        let opted_out = communication_preferences::table
            .filter(communication_preferences::contact_id.eq_any(&ids))
            .filter(communication_preferences::channel_id.eq(Id(channel_id)))
            .filter(communication_preferences::opt_in.eq(false))
            .select(communication_preferences::contact_id)
            .load::<Id>(connection)?;
        for Id(contact_id) in opted_out {
            aggregates[positions[&contact_id]].related.opted_out = true;
        }
        let existing = conversations::table
            .filter(conversations::contact_id.eq_any(&ids))
            .filter(conversations::channel_id.eq(Id(channel_id)))
            .select((conversations::contact_id, conversations::id))
            .load::<(Id, Id)>(connection)?;
        for (Id(contact_id), Id(id)) in existing {
            aggregates[positions[&contact_id]].conversation = Some(id);
        }
    }
    let rows = runs::table
        .filter(runs::contact_id.eq_any(&ids))
        .filter(runs::sequence_id.eq(Id(target.sequence_id)))
        .select((runs::contact_id, runs::id, runs::started_at))
        .load::<(Id, Id, i64)>(connection)?;
    for (Id(contact_id), Id(id), started_at) in rows {
        aggregates[positions[&contact_id]].related.runs.push(Run { id, started_at });
    }
    let rows = step_contacts::table
        .filter(step_contacts::contact_id.eq_any(&ids))
        .filter(step_contacts::sequence_id.eq(Id(target.sequence_id)))
        .select((
            step_contacts::contact_id,
            step_contacts::id,
            step_contacts::run_id,
            step_contacts::step_id,
            step_contacts::status,
        ))
        .load::<(Id, Id, Id, Id, String)>(connection)?;
    for (Id(contact_id), Id(id), Id(run_id), Id(step_id), status) in rows {
        let step_contact = StepContact { id, run_id, step_id, status };
        aggregates[positions[&contact_id]].related.step_contacts.push(step_contact);
    }
    if let Some(object) = &target.object {
        let rows = custom_records::table
            .filter(custom_records::contact_id.eq_any(&ids))
            .filter(custom_records::custom_object_id.eq(Id(object.id)))
            .filter(custom_records::resource.eq(object.resource.as_str()))
            .select((
                custom_records::contact_id,
                custom_records::resource_id,
                custom_records::id,
                custom_records::properties,
            ))
            .load::<(Id, Id, Id, String)>(connection)?;
        for (Id(contact_id), Id(resource_id), Id(id), properties) in rows {
            aggregates[positions[&contact_id]].records.push((resource_id, Record { id, properties }));
        }
    }
    Ok(())
}

/// Inserts rows, [`ROWS`] at a time.
macro_rules! insert {
    ($connection:expr, $table:expr, $rows:expr) => {{
        let mut rows = $rows;
        loop {
            let chunk: Vec<_> = rows.by_ref().take(ROWS).collect();
            match <[_; ROWS]>::try_from(chunk) {
                Ok(chunk) => {
                    diesel::insert_into($table).values(chunk).execute($connection)?;
                }
                Err(rest) => {
                    for row in rest {
                        diesel::insert_into($table).values(row).execute($connection)?;
                    }
                    break;
                }
            }
        }
    }};
}

fn write(connection: &mut SqliteConnection, batch: Batch, target: &Target) -> QueryResult<()> {
    let (organization_id, sequence_id) = (Id(target.organization_id), Id(target.sequence_id));
    let at = target.at.millis();
    let contacts = batch.contacts_created.into_iter();
    let contacts = contacts.map(|contact| NewContact::new(contact, target.organization_id, Some(at)));
    insert!(connection, contacts::table, contacts);
    for contact in &batch.contacts_updated {
        diesel::update(contacts::table.find(Id(contact.id)))
            .set(ContactChanges::new(contact, at))
            .execute(connection)?;
    }
    if let Some(channel_id) = target.channel_id {
        let rows = batch.conversations_created.iter().map(|row| NewConversation {
            id: Id(row.id),
            organization_id,
            contact_id: Id(row.contact_id),
            channel_id: Id(channel_id),
            status: "automated",
            created_at: Some(at),
        });
        insert!(connection, conversations::table, rows);
    }
    let rows = batch.runs_created.iter().map(|row| NewRun {
        id: Id(row.id),
        organization_id,
        sequence_id,
        contact_id: Id(row.contact_id),
        status: "active",
        started_at: at,
    });
    insert!(connection, runs::table, rows);
    let rows = batch.step_contacts_created.iter().map(|row| NewStepContact {
        id: Id(row.id),
        organization_id,
        run_id: Id(row.run_id),
        sequence_id,
        step_id: Id(target.step_id),
        contact_id: Id(row.contact_id),
        status: target.status,
        scheduled_at: target.scheduled_at.millis(),
        channel_id: target.channel_id.map(Id),
        default_call_flow_id: target.call_flow_id.map(Id),
        times_processed: 1,
        enrollment_id: Some(Id(target.enrollment_id)),
    });
    insert!(connection, step_contacts::table, rows);
    reprocess(connection, &batch.step_contacts_reprocessed, &batch.runs_reactivated, target)?;
    if let (Some(tag), false) = (&target.upload_tag, batch.tagged.is_empty()) {
        sqlite::insert_tag(connection, target)?;
        let tagged = batch.tagged.iter();
        let rows = tagged.map(|contact_id| NewContactTag { contact_id: Id(*contact_id), tag_id: Id(tag.id) });
        insert!(connection, contact_tags::table, rows);
    }
    if let Some(object) = &target.object {
        let rows = batch.records_created.into_iter().map(|row| NewRecord {
            id: Id(row.id),
            organization_id,
            custom_object_id: Id(object.id),
            resource: object.resource.as_str(),
            resource_id: Id(row.resource_id),
            contact_id: Id(row.contact_id),
            properties: row.properties,
        });
        insert!(connection, custom_records::table, rows);
    }
    for record in &batch.records_updated {
        diesel::update(custom_records::table.find(Id(record.id)))
            .set(custom_records::properties.eq(&record.properties))
            .execute(connection)?;
    }
    Ok(())
}

/// Updates all rows in one statement, since they get the same values.
fn reprocess(
    connection: &mut SqliteConnection,
    step_contacts: &[Uuid],
    runs: &[Uuid],
    target: &Target,
) -> QueryResult<()> {
    if step_contacts.is_empty() {
        return Ok(());
    }
    let rows = || step_contacts::table.filter(step_contacts::id.eq_any(step_contacts.iter().copied().map(Id)));
    diesel::update(rows())
        .set((
            step_contacts::status.eq(target.status),
            step_contacts::scheduled_at.eq(target.scheduled_at.millis()),
            step_contacts::enrollment_id.eq(Id(target.enrollment_id)),
            step_contacts::times_processed.eq(step_contacts::times_processed + 1),
        ))
        .execute(connection)?;
    if let Some(channel_id) = target.from_channel_id {
        diesel::update(rows()).set(step_contacts::channel_id.eq(Id(channel_id))).execute(connection)?;
    }
    if let Some(id) = target.call_flow_id {
        diesel::update(rows()).set(step_contacts::default_call_flow_id.eq(Id(id))).execute(connection)?;
    }
    diesel::update(runs::table.filter(runs::id.eq_any(runs.iter().copied().map(Id))))
        .set(runs::status.eq("active"))
        .execute(connection)?;
    Ok(())
}

//! sqlx on PostgreSQL, batched: `= any` look-ups, all decisions in memory, `unnest` inserts.

use chrono::{DateTime, Utc};
use enroll::contact::KeyKind;
use sqlx::{Connection, PgConnection};
use std::collections::HashMap;
use uuid::Uuid;

use crate::batch::{self, Batch, ContactAggregate, NewRow};
use crate::body::{self, Body, Entry};
use crate::rules::{Contact, Record, Report, Run, StepContact};
use crate::target::{Object, Target};
use crate::{Error, Request, postgres};

/// Enrolls contacts.
///
/// # Errors
/// The request is refused, or the database failed. Nothing was written.
pub async fn enroll(connection: &mut PgConnection, request: &Request<'_>) -> Result<Report, Error> {
    let body = Body::read(request.body)?;
    let mut transaction = connection.begin().await?;
    let target = postgres::target(&mut transaction, request, &body).await?;
    let entries = body::check(body.to, target.region, target.object.is_some())?;
    let aggregates = load(&mut transaction, &entries, &target).await?;
    let (batch, outcomes) = batch::plan(&entries, &aggregates, &target);
    write(&mut transaction, &batch, &target).await?;
    let report = Report::new(target, outcomes);
    postgres::insert_enrollment(&mut transaction, request, &report).await?;
    transaction.commit().await?;
    Ok(report)
}

/// Loads each contact that a key finds, and its related rows.
async fn load(
    connection: &mut PgConnection,
    entries: &[Entry],
    target: &Target,
) -> Result<Vec<ContactAggregate>, Error> {
    let mut aggregates = Vec::new();
    let mut positions = HashMap::new();
    for (kind, sql) in [(KeyKind::ExternalId, BY_EXTERNAL_ID), (KeyKind::Phone, BY_PHONE), (KeyKind::Email, BY_EMAIL)] {
        let keys = batch::keys(entries, kind);
        if keys.is_empty() {
            continue;
        }
        let rows: Vec<Contact> =
            sqlx::query_as(sql).bind(target.organization_id).bind(keys).fetch_all(&mut *connection).await?;
        for contact in rows {
            positions.entry(contact.id).or_insert_with(|| {
                aggregates.push(ContactAggregate { contact, ..ContactAggregate::default() });
                aggregates.len() - 1
            });
        }
    }
    if !aggregates.is_empty() {
        load_related_rows(connection, &mut aggregates, &positions, target).await?;
    }
    Ok(aggregates)
}

async fn load_related_rows(
    connection: &mut PgConnection,
    aggregates: &mut [ContactAggregate],
    positions: &HashMap<Uuid, usize>,
    target: &Target,
) -> Result<(), Error> {
    let ids: Vec<Uuid> = aggregates.iter().map(|aggregate| aggregate.contact.id).collect();
    if let Some(channel_id) = target.channel_id {
        let opted_out: Vec<Uuid> = sqlx::query_scalar(
            "select contact_id from communication_preferences
             where contact_id = any($1) and channel_id = $2 and not opt_in",
        )
        .bind(&ids)
        .bind(channel_id)
        .fetch_all(&mut *connection)
        .await?;
        for contact_id in opted_out {
            aggregates[positions[&contact_id]].related.opted_out = true;
        }
        let existing: Vec<(Uuid, Uuid)> =
            sqlx::query_as("select contact_id, id from conversations where contact_id = any($1) and channel_id = $2")
                .bind(&ids)
                .bind(channel_id)
                .fetch_all(&mut *connection)
                .await?;
        for (contact_id, id) in existing {
            aggregates[positions[&contact_id]].conversation = Some(id);
        }
    }
    let rows: Vec<(Uuid, Uuid, DateTime<Utc>)> =
        sqlx::query_as("select contact_id, id, started_at from runs where contact_id = any($1) and sequence_id = $2")
            .bind(&ids)
            .bind(target.sequence_id)
            .fetch_all(&mut *connection)
            .await?;
    for (contact_id, id, started_at) in rows {
        aggregates[positions[&contact_id]].related.runs.push(Run { id, started_at: started_at.timestamp_millis() });
    }
    let rows: Vec<(Uuid, Uuid, Uuid, Uuid, String)> = sqlx::query_as(
        "select contact_id, id, run_id, step_id, status from step_contacts
         where contact_id = any($1) and sequence_id = $2",
    )
    .bind(&ids)
    .bind(target.sequence_id)
    .fetch_all(&mut *connection)
    .await?;
    for (contact_id, id, run_id, step_id, status) in rows {
        let step_contact = StepContact { id, run_id, step_id, status };
        aggregates[positions[&contact_id]].related.step_contacts.push(step_contact);
    }
    if let Some(object) = &target.object {
        let rows: Vec<(Uuid, Uuid, Uuid, String)> = sqlx::query_as(
            "select contact_id, resource_id, id, properties::text from custom_records
             where contact_id = any($1) and custom_object_id = $2 and resource = $3",
        )
        .bind(&ids)
        .bind(object.id)
        .bind(object.resource.as_str())
        .fetch_all(&mut *connection)
        .await?;
        for (contact_id, resource_id, id, properties) in rows {
            aggregates[positions[&contact_id]].records.push((resource_id, Record { id, properties }));
        }
    }
    Ok(())
}

async fn write(connection: &mut PgConnection, batch: &Batch, target: &Target) -> Result<(), Error> {
    create_contacts(connection, &batch.contacts_created, target).await?;
    update_contacts(connection, &batch.contacts_updated, target).await?;
    if let Some(channel_id) = target.channel_id {
        let (ids, contact_ids) = id_columns(&batch.conversations_created);
        sqlx::query(
            "insert into conversations (id, organization_id, contact_id, channel_id, status, created_at)
             select id, $3, contact_id, $4, 'automated', $5 from unnest($1::uuid[], $2::uuid[]) as t (id, contact_id)",
        )
        .bind(ids)
        .bind(contact_ids)
        .bind(target.organization_id)
        .bind(channel_id)
        .bind(target.at.as_datetime())
        .execute(&mut *connection)
        .await?;
    }
    add_to_step(connection, batch, target).await?;
    reprocess(connection, batch, target).await?;
    if let (Some(tag), false) = (&target.upload_tag, batch.tagged.is_empty()) {
        postgres::insert_tag(connection, target).await?;
        sqlx::query(
            "insert into contact_tags (contact_id, tag_id)
             select contact_id, $2 from unnest($1::uuid[]) as t (contact_id)",
        )
        .bind(&batch.tagged)
        .bind(tag.id)
        .execute(&mut *connection)
        .await?;
    }
    if let Some(object) = &target.object {
        write_records(connection, batch, object, target).await?;
    }
    Ok(())
}

/// Returns a column of an `unnest`.
fn column<'r, R, T>(rows: &'r [R], value: impl FnMut(&'r R) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}

fn id_columns(rows: &[NewRow]) -> (Vec<Uuid>, Vec<Uuid>) {
    (column(rows, |row| row.id), column(rows, |row| row.contact_id))
}

async fn create_contacts(connection: &mut PgConnection, rows: &[Contact], target: &Target) -> Result<(), Error> {
    sqlx::query(
        "insert into contacts (id, organization_id, external_id, phone, email, email_key, name, language,
             default_channel_id, address, birth_day, birth_month, birth_year, state, created_at, updated_at)
         select id, $13, external_id, phone, email, email_key, name, language,
             default_channel_id, address::jsonb, birth_day, birth_month, birth_year, 'open', $14, $14
         from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::uuid[],
                 $9::text[], $10::int[], $11::int[], $12::int[])
             as t (id, external_id, phone, email, email_key, name, language, default_channel_id,
                 address, birth_day, birth_month, birth_year)",
    )
    .bind(column(rows, |row| row.id))
    .bind(column(rows, |row| row.external_id.as_deref()))
    .bind(column(rows, |row| row.phone.as_deref()))
    .bind(column(rows, |row| row.email.as_deref()))
    .bind(column(rows, |row| row.email_key.as_deref()))
    .bind(column(rows, |row| row.name.as_deref()))
    .bind(column(rows, |row| row.language.as_deref()))
    .bind(column(rows, |row| row.default_channel_id))
    .bind(column(rows, |row| row.address.as_deref()))
    .bind(column(rows, |row| row.birth_day))
    .bind(column(rows, |row| row.birth_month))
    .bind(column(rows, |row| row.birth_year))
    .bind(target.organization_id)
    .bind(target.at.as_datetime())
    .execute(connection)
    .await?;
    Ok(())
}

async fn update_contacts(connection: &mut PgConnection, rows: &[Contact], target: &Target) -> Result<(), Error> {
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "update contacts
         set external_id = t.external_id, phone = t.phone, email = t.email, email_key = t.email_key, name = t.name,
             language = t.language, default_channel_id = t.default_channel_id, address = t.address::jsonb,
             birth_day = t.birth_day, birth_month = t.birth_month, birth_year = t.birth_year, updated_at = $13
         from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::uuid[],
                 $9::text[], $10::int[], $11::int[], $12::int[])
             as t (id, external_id, phone, email, email_key, name, language, default_channel_id,
                 address, birth_day, birth_month, birth_year)
         where contacts.id = t.id",
    )
    .bind(column(rows, |row| row.id))
    .bind(column(rows, |row| row.external_id.as_deref()))
    .bind(column(rows, |row| row.phone.as_deref()))
    .bind(column(rows, |row| row.email.as_deref()))
    .bind(column(rows, |row| row.email_key.as_deref()))
    .bind(column(rows, |row| row.name.as_deref()))
    .bind(column(rows, |row| row.language.as_deref()))
    .bind(column(rows, |row| row.default_channel_id))
    .bind(column(rows, |row| row.address.as_deref()))
    .bind(column(rows, |row| row.birth_day))
    .bind(column(rows, |row| row.birth_month))
    .bind(column(rows, |row| row.birth_year))
    .bind(target.at.as_datetime())
    .execute(connection)
    .await?;
    Ok(())
}

/// Inserts runs and step contacts.
async fn add_to_step(connection: &mut PgConnection, batch: &Batch, target: &Target) -> Result<(), Error> {
    let (ids, contact_ids) = id_columns(&batch.runs_created);
    sqlx::query(
        "insert into runs (id, organization_id, sequence_id, contact_id, status, started_at)
         select id, $3, $4, contact_id, 'active', $5 from unnest($1::uuid[], $2::uuid[]) as t (id, contact_id)",
    )
    .bind(ids)
    .bind(contact_ids)
    .bind(target.organization_id)
    .bind(target.sequence_id)
    .bind(target.at.as_datetime())
    .execute(&mut *connection)
    .await?;
    let rows = &batch.step_contacts_created;
    sqlx::query(
        "insert into step_contacts (id, organization_id, run_id, sequence_id, step_id, contact_id, status,
             scheduled_at, channel_id, default_call_flow_id, times_processed, enrollment_id)
         select id, $4, run_id, $5, $6, contact_id, $7, $8, $9, $10, 1, $11
         from unnest($1::uuid[], $2::uuid[], $3::uuid[]) as t (id, run_id, contact_id)",
    )
    .bind(column(rows, |row| row.id))
    .bind(column(rows, |row| row.run_id))
    .bind(column(rows, |row| row.contact_id))
    .bind(target.organization_id)
    .bind(target.sequence_id)
    .bind(target.step_id)
    .bind(target.status)
    .bind(target.scheduled_at.as_datetime())
    .bind(target.channel_id)
    .bind(target.call_flow_id)
    .bind(target.enrollment_id)
    .execute(connection)
    .await?;
    Ok(())
}

async fn reprocess(connection: &mut PgConnection, batch: &Batch, target: &Target) -> Result<(), Error> {
    if batch.step_contacts_reprocessed.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "update step_contacts
         set status = $2, scheduled_at = $3, enrollment_id = $4, times_processed = times_processed + 1,
             channel_id = coalesce($5, channel_id), default_call_flow_id = coalesce($6, default_call_flow_id)
         where id = any($1)",
    )
    .bind(&batch.step_contacts_reprocessed)
    .bind(target.status)
    .bind(target.scheduled_at.as_datetime())
    .bind(target.enrollment_id)
    .bind(target.from_channel_id)
    .bind(target.call_flow_id)
    .execute(&mut *connection)
    .await?;
    sqlx::query("update runs set status = 'active' where id = any($1)")
        .bind(&batch.runs_reactivated)
        .execute(connection)
        .await?;
    Ok(())
}

async fn write_records(
    connection: &mut PgConnection,
    batch: &Batch,
    object: &Object,
    target: &Target,
) -> Result<(), Error> {
    let rows = &batch.records_created;
    sqlx::query(
        "insert into custom_records (id, organization_id, custom_object_id, resource, resource_id, contact_id, properties)
         select id, $5, $6, $7, resource_id, contact_id, properties::jsonb
         from unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[]) as t (id, resource_id, contact_id, properties)",
    )
    .bind(column(rows, |row| row.id))
    .bind(column(rows, |row| row.resource_id))
    .bind(column(rows, |row| row.contact_id))
    .bind(column(rows, |row| &*row.properties))
    .bind(target.organization_id)
    .bind(object.id)
    .bind(object.resource.as_str())
    .execute(&mut *connection)
    .await?;
    let rows = &batch.records_updated;
    if !rows.is_empty() {
        sqlx::query(
            "update custom_records set properties = t.properties::jsonb
             from unnest($1::uuid[], $2::text[]) as t (id, properties) where custom_records.id = t.id",
        )
        .bind(column(rows, |row| row.id))
        .bind(column(rows, |row| &*row.properties))
        .execute(connection)
        .await?;
    }
    Ok(())
}

macro_rules! by_keys {
    ($column:literal) => {
        concat!(
            "select id, external_id, phone, email, email_key, name, language, default_channel_id,
                 address::text as address, birth_day, birth_month, birth_year, state
             from contacts where organization_id = $1 and state <> 'merged' and ",
            $column,
            " = any($2)"
        )
    };
}

const BY_EXTERNAL_ID: &str = by_keys!("external_id");
const BY_PHONE: &str = by_keys!("phone");
const BY_EMAIL: &str = by_keys!("email_key");

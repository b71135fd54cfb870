//! sqlx on PostgreSQL, row by row in one transaction: looks up and writes each recipient before the next one.

use chrono::{DateTime, Utc};
use enroll::Disposition;
use enroll::contact::KeyKind;
use sqlx::{Connection, PgConnection};
use std::collections::HashMap;
use uuid::Uuid;

use crate::body::{self, Body, Entry};
use crate::rules::{self, Contact, Decision, KeyOwner, Outcome, Record, RelatedRows, Report, Run};
use crate::target::Target;
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
    let mut enrollment = Enrollment {
        connection: &mut transaction,
        target: &target,
        reserved: HashMap::new(),
        assigned: HashMap::new(),
    };
    let mut outcomes = Vec::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        outcomes.push(enrollment.recipient(index, entry).await?);
    }
    let report = Report::new(target, outcomes);
    postgres::insert_enrollment(&mut transaction, request, &report).await?;
    transaction.commit().await?;
    Ok(report)
}

struct Enrollment<'a> {
    connection: &'a mut PgConnection,
    target: &'a Target,
    /// The recipient that reserved each contact.
    reserved: HashMap<Uuid, usize>,
    /// The recipient that assigned a key to a contact.
    assigned: HashMap<(Uuid, KeyKind), usize>,
}

impl Enrollment<'_> {
    async fn recipient(&mut self, index: usize, entry: &Entry) -> Result<Outcome, Error> {
        let mut outcome = Outcome::new(index, entry, self.target.kind);
        let (found, owners) = self.find(entry).await?;
        outcome.contact_id = found.as_ref().map(|contact| contact.id);
        if let Some(&by) = found.as_ref().and_then(|contact| self.reserved.get(&contact.id)) {
            outcome.set_duplicate(by);
            return Ok(outcome);
        }
        outcome.note_default_channel(entry, self.target);
        match found {
            None if outcome.reasons.is_empty() => self.enroll_new(entry, &mut outcome).await?,
            None => {}
            Some(contact) => self.enroll_existing(&contact, owners, entry, &mut outcome).await?,
        }
        Ok(outcome)
    }

    /// Returns the contact that the first key finds, and the owners of the other keys.
    async fn find(&mut self, entry: &Entry) -> Result<(Option<Contact>, [KeyOwner; 3]), Error> {
        let mut found: Option<Contact> = None;
        let mut owners = [KeyOwner::NoContact; 3];
        for kind in KeyKind::ALL {
            let Some(key) = entry.key(kind) else { continue };
            if found.as_ref().is_some_and(|contact| rules::key(contact, kind) == Some(key)) {
                continue;
            }
            match (self.by_key(kind, key).await?, &found) {
                (Some(contact), None) => found = Some(contact),
                (Some(Contact { id, .. }), Some(_)) => {
                    let assigned_by = self.assigned.get(&(id, kind)).copied();
                    owners[kind as usize] = KeyOwner::Contact { id, assigned_by };
                }
                (None, _) => {}
            }
        }
        Ok((found, owners))
    }

    async fn by_key(&mut self, kind: KeyKind, key: &str) -> Result<Option<Contact>, Error> {
        let query = sqlx::query_as(match kind {
            KeyKind::ExternalId => BY_EXTERNAL_ID,
            KeyKind::Phone => BY_PHONE,
            KeyKind::Email => BY_EMAIL,
        });
        Ok(query.bind(self.target.organization_id).bind(key).fetch_optional(&mut *self.connection).await?)
    }

    async fn enroll_new(&mut self, entry: &Entry, outcome: &mut Outcome) -> Result<(), Error> {
        let contact = rules::new_contact(entry, self.target);
        sqlx::query(
            "insert into contacts (id, organization_id, external_id, phone, email, email_key, name, language,
                 default_channel_id, address, birth_day, birth_month, birth_year, state, created_at, updated_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10::jsonb, $11, $12, $13, $14, $15, $15)",
        )
        .bind(contact.id)
        .bind(self.target.organization_id)
        .bind(&contact.external_id)
        .bind(&contact.phone)
        .bind(&contact.email)
        .bind(&contact.email_key)
        .bind(&contact.name)
        .bind(&contact.language)
        .bind(contact.default_channel_id)
        .bind(&contact.address)
        .bind(contact.birth_day)
        .bind(contact.birth_month)
        .bind(contact.birth_year)
        .bind(&contact.state)
        .bind(self.target.at.as_datetime())
        .execute(&mut *self.connection)
        .await?;
        for kind in KeyKind::ALL.into_iter().filter(|kind| entry.key(*kind).is_some()) {
            self.assigned.insert((contact.id, kind), outcome.index);
        }
        outcome.contact_id = Some(contact.id);
        outcome.contact_created = true;
        outcome.disposition = Disposition::Added;
        self.add_to_step(contact.id, outcome).await?;
        self.add_related_rows(contact.id, entry, outcome).await
    }

    async fn enroll_existing(
        &mut self,
        contact: &Contact,
        owners: [KeyOwner; 3],
        entry: &Entry,
        outcome: &mut Outcome,
    ) -> Result<(), Error> {
        let related = self.related_rows(contact.id).await?;
        let checked = rules::check_existing(outcome, entry, contact, &related, owners, self.target);
        let Some((update, decision)) = checked else { return Ok(()) };
        if update.changed {
            self.update_contact(&update.contact).await?;
        }
        for kind in update.new_keys {
            self.assigned.insert((contact.id, kind), outcome.index);
        }
        match decision {
            Decision::Add(disposition) => {
                outcome.disposition = disposition;
                self.add_to_step(contact.id, outcome).await?;
            }
            Decision::Reprocess { step_contact_id, run_id } => {
                outcome.disposition = Disposition::Reprocessed;
                outcome.step_contact_id = Some(step_contact_id);
                self.reprocess(step_contact_id, run_id).await?;
            }
        }
        self.add_related_rows(contact.id, entry, outcome).await
    }

    async fn update_contact(&mut self, contact: &Contact) -> Result<(), Error> {
        sqlx::query(
            "update contacts
             set external_id = $2, phone = $3, email = $4, email_key = $5, name = $6, language = $7,
                 default_channel_id = $8, address = $9::jsonb, birth_day = $10, birth_month = $11, birth_year = $12,
                 updated_at = $13
             where id = $1",
        )
        .bind(contact.id)
        .bind(&contact.external_id)
        .bind(&contact.phone)
        .bind(&contact.email)
        .bind(&contact.email_key)
        .bind(&contact.name)
        .bind(&contact.language)
        .bind(contact.default_channel_id)
        .bind(&contact.address)
        .bind(contact.birth_day)
        .bind(contact.birth_month)
        .bind(contact.birth_year)
        .bind(self.target.at.as_datetime())
        .execute(&mut *self.connection)
        .await?;
        Ok(())
    }

    async fn related_rows(&mut self, contact_id: Uuid) -> Result<RelatedRows, Error> {
        let opted_out: Option<bool> = sqlx::query_scalar(
            "select not opt_in from communication_preferences where contact_id = $1 and channel_id = $2",
        )
        .bind(contact_id)
        .bind(self.target.channel_id)
        .fetch_optional(&mut *self.connection)
        .await?;
        let runs: Vec<(Uuid, DateTime<Utc>)> =
            sqlx::query_as("select id, started_at from runs where contact_id = $1 and sequence_id = $2")
                .bind(contact_id)
                .bind(self.target.sequence_id)
                .fetch_all(&mut *self.connection)
                .await?;
        let step_contacts = sqlx::query_as(
            "select id, run_id, step_id, status from step_contacts where contact_id = $1 and sequence_id = $2",
        )
        .bind(contact_id)
        .bind(self.target.sequence_id)
        .fetch_all(&mut *self.connection)
        .await?;
        let run = |(id, started_at): (Uuid, DateTime<Utc>)| Run { id, started_at: started_at.timestamp_millis() };
        let runs = runs.into_iter().map(run).collect();
        Ok(RelatedRows { opted_out: opted_out == Some(true), runs, step_contacts })
    }

    /// Inserts a run and a step contact.
    async fn add_to_step(&mut self, contact_id: Uuid, outcome: &mut Outcome) -> Result<(), Error> {
        let target = self.target;
        let (run_id, id) = (Uuid::now_v7(), Uuid::now_v7());
        sqlx::query(
            "insert into runs (id, organization_id, sequence_id, contact_id, status, started_at)
             values ($1, $2, $3, $4, 'active', $5)",
        )
        .bind(run_id)
        .bind(target.organization_id)
        .bind(target.sequence_id)
        .bind(contact_id)
        .bind(target.at.as_datetime())
        .execute(&mut *self.connection)
        .await?;
        sqlx::query(
            "insert into step_contacts (id, organization_id, run_id, sequence_id, step_id, contact_id, status,
                 scheduled_at, channel_id, default_call_flow_id, times_processed, enrollment_id)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 1, $11)",
        )
        .bind(id)
        .bind(target.organization_id)
        .bind(run_id)
        .bind(target.sequence_id)
        .bind(target.step_id)
        .bind(contact_id)
        .bind(target.status)
        .bind(target.scheduled_at.as_datetime())
        .bind(target.channel_id)
        .bind(target.call_flow_id)
        .bind(target.enrollment_id)
        .execute(&mut *self.connection)
        .await?;
        outcome.step_contact_id = Some(id);
        Ok(())
    }

    async fn reprocess(&mut self, step_contact_id: Uuid, run_id: Uuid) -> Result<(), Error> {
        let target = self.target;
        sqlx::query(
            "update step_contacts
             set status = $2, scheduled_at = $3, enrollment_id = $4, times_processed = times_processed + 1,
                 channel_id = coalesce($5, channel_id), default_call_flow_id = coalesce($6, default_call_flow_id)
             where id = $1",
        )
        .bind(step_contact_id)
        .bind(target.status)
        .bind(target.scheduled_at.as_datetime())
        .bind(target.enrollment_id)
        .bind(target.from_channel_id)
        .bind(target.call_flow_id)
        .execute(&mut *self.connection)
        .await?;
        sqlx::query("update runs set status = 'active' where id = $1")
            .bind(run_id)
            .execute(&mut *self.connection)
            .await?;
        Ok(())
    }

    /// Adds the conversation, the tag and the record.
    async fn add_related_rows(&mut self, contact_id: Uuid, entry: &Entry, outcome: &mut Outcome) -> Result<(), Error> {
        self.conversation(contact_id, outcome).await?;
        if let Some(tag) = &self.target.upload_tag {
            if self.reserved.is_empty() {
                postgres::insert_tag(self.connection, self.target).await?;
            }
            sqlx::query("insert into contact_tags (contact_id, tag_id) values ($1, $2)")
                .bind(contact_id)
                .bind(tag.id)
                .execute(&mut *self.connection)
                .await?;
        }
        self.record(contact_id, entry, outcome).await?;
        self.reserved.insert(contact_id, outcome.index);
        Ok(())
    }

    async fn conversation(&mut self, contact_id: Uuid, outcome: &mut Outcome) -> Result<(), Error> {
        let target = self.target;
        let Some(channel_id) = target.channel_id else { return Ok(()) };
        if !outcome.contact_created {
            let existing = "select id from conversations where contact_id = $1 and channel_id = $2";
            outcome.conversation_id = sqlx::query_scalar(existing)
                .bind(contact_id)
                .bind(channel_id)
                .fetch_optional(&mut *self.connection)
                .await?;
        }
        if outcome.conversation_id.is_none() {
            let id = Uuid::now_v7();
            sqlx::query(
                "insert into conversations (id, organization_id, contact_id, channel_id, status, created_at)
                 values ($1, $2, $3, $4, 'automated', $5)",
            )
            .bind(id)
            .bind(target.organization_id)
            .bind(contact_id)
            .bind(channel_id)
            .bind(target.at.as_datetime())
            .execute(&mut *self.connection)
            .await?;
            outcome.conversation_id = Some(id);
            outcome.conversation_created = true;
        }
        Ok(())
    }

    async fn record(&mut self, contact_id: Uuid, entry: &Entry, outcome: &mut Outcome) -> Result<(), Error> {
        let (Some(object), Some(step_contact_id)) = (&self.target.object, outcome.step_contact_id) else {
            return Ok(());
        };
        let resource_id = object.resource_id(contact_id, step_contact_id);
        let existing: Option<Record> = match outcome.contact_created {
            true => None,
            false => {
                sqlx::query_as(
                    "select id, properties::text as properties from custom_records
                     where custom_object_id = $1 and resource = $2 and resource_id = $3",
                )
                .bind(object.id)
                .bind(object.resource.as_str())
                .bind(resource_id)
                .fetch_optional(&mut *self.connection)
                .await?
            }
        };
        let stored = existing.as_ref().map(|record| &*record.properties);
        match (rules::merge(object, stored, &entry.properties), existing) {
            (Err(note), _) => outcome.notes.push(note),
            (Ok(properties), Some(record)) => {
                sqlx::query("update custom_records set properties = $2::jsonb where id = $1")
                    .bind(record.id)
                    .bind(properties)
                    .execute(&mut *self.connection)
                    .await?;
                outcome.record_id = Some(record.id);
            }
            (Ok(properties), None) => {
                let id = Uuid::now_v7();
                sqlx::query(
                    "insert into custom_records (id, organization_id, custom_object_id, resource, resource_id,
                         contact_id, properties)
                     values ($1, $2, $3, $4, $5, $6, $7::jsonb)",
                )
                .bind(id)
                .bind(self.target.organization_id)
                .bind(object.id)
                .bind(object.resource.as_str())
                .bind(resource_id)
                .bind(contact_id)
                .bind(properties)
                .execute(&mut *self.connection)
                .await?;
                outcome.record_id = Some(id);
            }
        }
        Ok(())
    }
}

macro_rules! by_key {
    ($column:literal) => {
        concat!(
            "select id, external_id, phone, email, email_key, name, language, default_channel_id,
                 address::text as address, birth_day, birth_month, birth_year, state
             from contacts where organization_id = $1 and state <> 'merged' and ",
            $column,
            " = $2"
        )
    };
}

const BY_EXTERNAL_ID: &str = by_key!("external_id");
const BY_PHONE: &str = by_key!("phone");
const BY_EMAIL: &str = by_key!("email_key");

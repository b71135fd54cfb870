//! Diesel on SQLite, row by row in one transaction: looks up and writes each recipient before the next one.

use diesel::prelude::*;
use enroll::Disposition;
use enroll::contact::KeyKind;
use std::collections::HashMap;
use uuid::Uuid;

use crate::body::{self, Body, Entry};
use crate::rules::{self, Contact, Decision, KeyOwner, Outcome, Record, RelatedRows, Report, Run, StepContact};
use crate::sqlite::{
    ContactChanges, Id, NewContact, NewContactTag, NewConversation, NewRecord, NewRun, NewStepContact,
    communication_preferences, contact_tags, contacts, conversations, custom_records, runs, step_contacts,
};
use crate::target::Target;
use crate::{Error, Request, sqlite};

/// Enrolls contacts.
///
/// # Errors
/// The request is refused, or the database failed. Nothing was written.
pub fn enroll(connection: &mut SqliteConnection, request: &Request<'_>) -> Result<Report, Error> {
    let body = Body::read(request.body)?;
    connection.immediate_transaction(|connection| {
        let target = sqlite::target(connection, request, &body)?;
        let entries = body::check(body.to, target.region, target.object.is_some())?;
        let mut enrollment =
            Enrollment { connection, target: &target, reserved: HashMap::new(), assigned: HashMap::new() };
        let mut outcomes = Vec::with_capacity(entries.len());
        for (index, entry) in entries.iter().enumerate() {
            outcomes.push(enrollment.recipient(index, entry)?);
        }
        let report = Report::new(target, outcomes);
        sqlite::insert_enrollment(connection, request, &report)?;
        Ok(report)
    })
}

struct Enrollment<'a> {
    connection: &'a mut SqliteConnection,
    target: &'a Target,
    /// The recipient that reserved each contact.
    reserved: HashMap<Uuid, usize>,
    /// The recipient that assigned a key to a contact.
    assigned: HashMap<(Uuid, KeyKind), usize>,
}

impl Enrollment<'_> {
    fn recipient(&mut self, index: usize, entry: &Entry) -> Result<Outcome, Error> {
        let mut outcome = Outcome::new(index, entry, self.target.kind);
        let (found, owners) = self.find(entry)?;
        outcome.contact_id = found.as_ref().map(|contact| contact.id);
        if let Some(&by) = found.as_ref().and_then(|contact| self.reserved.get(&contact.id)) {
            outcome.set_duplicate(by);
            return Ok(outcome);
        }
        outcome.note_default_channel(entry, self.target);
        match found {
            None if outcome.reasons.is_empty() => self.enroll_new(entry, &mut outcome)?,
            None => {}
            Some(contact) => self.enroll_existing(&contact, owners, entry, &mut outcome)?,
        }
        Ok(outcome)
    }

    /// Returns the contact that the first key finds, and the owners of the other keys.
    fn find(&mut self, entry: &Entry) -> QueryResult<(Option<Contact>, [KeyOwner; 3])> {
        let mut found: Option<Contact> = None;
        let mut owners = [KeyOwner::NoContact; 3];
        for kind in KeyKind::ALL {
            let Some(key) = entry.key(kind) else { continue };
            if found.as_ref().is_some_and(|contact| rules::key(contact, kind) == Some(key)) {
                continue;
            }
            match (self.by_key(kind, key)?, &found) {
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

    fn by_key(&mut self, kind: KeyKind, key: &str) -> QueryResult<Option<Contact>> {
        let contacts = contacts::table
            .filter(contacts::organization_id.eq(Id(self.target.organization_id)))
            .filter(sqlite::not_merged())
            .select(sqlite::Contact::as_select());
        let row = match kind {
            KeyKind::ExternalId => contacts.filter(contacts::external_id.eq(key)).first(self.connection),
            KeyKind::Phone => contacts.filter(contacts::phone.eq(key)).first(self.connection),
            KeyKind::Email => contacts.filter(contacts::email_key.eq(key)).first(self.connection),
        };
        Ok(row.optional()?.map(Contact::from))
    }

    fn enroll_new(&mut self, entry: &Entry, outcome: &mut Outcome) -> Result<(), Error> {
        let contact = rules::new_contact(entry, self.target);
        let id = contact.id;
        let row = NewContact::new(contact, self.target.organization_id, Some(self.target.at.millis()));
        diesel::insert_into(contacts::table).values(row).execute(self.connection)?;
        for kind in KeyKind::ALL.into_iter().filter(|kind| entry.key(*kind).is_some()) {
            self.assigned.insert((id, kind), outcome.index);
        }
        outcome.contact_id = Some(id);
        outcome.contact_created = true;
        outcome.disposition = Disposition::Added;
        self.add_to_step(id, outcome)?;
        self.add_related_rows(id, entry, outcome)
    }

    fn enroll_existing(
        &mut self,
        contact: &Contact,
        owners: [KeyOwner; 3],
        entry: &Entry,
        outcome: &mut Outcome,
    ) -> Result<(), Error> {
        let related = self.related_rows(contact.id)?;
        let checked = rules::check_existing(outcome, entry, contact, &related, owners, self.target);
        let Some((update, decision)) = checked else { return Ok(()) };
        if update.changed {
            diesel::update(contacts::table.find(Id(contact.id)))
                .set(ContactChanges::new(&update.contact, self.target.at.millis()))
                .execute(self.connection)?;
        }
        for kind in update.new_keys {
            self.assigned.insert((contact.id, kind), outcome.index);
        }
        match decision {
            Decision::Add(disposition) => {
                outcome.disposition = disposition;
                self.add_to_step(contact.id, outcome)?;
            }
            Decision::Reprocess { step_contact_id, run_id } => {
                outcome.disposition = Disposition::Reprocessed;
                outcome.step_contact_id = Some(step_contact_id);
                self.reprocess(step_contact_id, run_id)?;
            }
        }
        self.add_related_rows(contact.id, entry, outcome)
    }

    fn related_rows(&mut self, contact_id: Uuid) -> QueryResult<RelatedRows> {
        let (contact_id, sequence_id) = (Id(contact_id), Id(self.target.sequence_id));
        let opted_out = match self.target.channel_id {
            None => false,
            Some(channel_id) => {
                let preference = communication_preferences::table.find((contact_id, Id(channel_id)));
                let opt_in = preference.select(communication_preferences::opt_in).first::<bool>(self.connection);
                opt_in.optional()? == Some(false)
            }
        };
        let runs = runs::table
            .filter(runs::contact_id.eq(contact_id).and(runs::sequence_id.eq(sequence_id)))
            .select((runs::id, runs::started_at))
            .load::<(Id, i64)>(self.connection)?;
        let step_contacts = step_contacts::table
            .filter(step_contacts::contact_id.eq(contact_id).and(step_contacts::sequence_id.eq(sequence_id)))
            .select((step_contacts::id, step_contacts::run_id, step_contacts::step_id, step_contacts::status))
            .load::<(Id, Id, Id, String)>(self.connection)?;
        let run = |(id, started_at): (Id, i64)| Run { id: id.0, started_at };
        let step_contact = |(id, run_id, step_id, status): (Id, Id, Id, String)| StepContact {
            id: id.0,
            run_id: run_id.0,
            step_id: step_id.0,
            status,
        };
        Ok(RelatedRows {
            opted_out,
            runs: runs.into_iter().map(run).collect(),
            step_contacts: step_contacts.into_iter().map(step_contact).collect(),
        })
    }

    /// Inserts a run and a step contact.
    fn add_to_step(&mut self, contact_id: Uuid, outcome: &mut Outcome) -> QueryResult<()> {
        let target = self.target;
        let (run_id, id) = (Uuid::now_v7(), Uuid::now_v7());
        let run = NewRun {
            id: Id(run_id),
            organization_id: Id(target.organization_id),
            sequence_id: Id(target.sequence_id),
            contact_id: Id(contact_id),
            status: "active",
            started_at: target.at.millis(),
        };
        diesel::insert_into(runs::table).values(run).execute(self.connection)?;
        let step_contact = NewStepContact {
            id: Id(id),
            organization_id: Id(target.organization_id),
            run_id: Id(run_id),
            sequence_id: Id(target.sequence_id),
            step_id: Id(target.step_id),
            contact_id: Id(contact_id),
            status: target.status,
            scheduled_at: target.scheduled_at.millis(),
            channel_id: target.channel_id.map(Id),
            default_call_flow_id: target.call_flow_id.map(Id),
            times_processed: 1,
            enrollment_id: Some(Id(target.enrollment_id)),
        };
        diesel::insert_into(step_contacts::table).values(step_contact).execute(self.connection)?;
        outcome.step_contact_id = Some(id);
        Ok(())
    }

    fn reprocess(&mut self, step_contact_id: Uuid, run_id: Uuid) -> QueryResult<()> {
        let target = self.target;
        let row = step_contacts::table.find(Id(step_contact_id));
        diesel::update(row)
            .set((
                step_contacts::status.eq(target.status),
                step_contacts::scheduled_at.eq(target.scheduled_at.millis()),
                step_contacts::enrollment_id.eq(Id(target.enrollment_id)),
                step_contacts::times_processed.eq(step_contacts::times_processed + 1),
            ))
            .execute(self.connection)?;
        if let Some(channel_id) = target.from_channel_id {
            diesel::update(row).set(step_contacts::channel_id.eq(Id(channel_id))).execute(self.connection)?;
        }
        if let Some(id) = target.call_flow_id {
            diesel::update(row).set(step_contacts::default_call_flow_id.eq(Id(id))).execute(self.connection)?;
        }
        diesel::update(runs::table.find(Id(run_id))).set(runs::status.eq("active")).execute(self.connection)?;
        Ok(())
    }

    /// Adds the conversation, the tag and the record.
    fn add_related_rows(&mut self, contact_id: Uuid, entry: &Entry, outcome: &mut Outcome) -> Result<(), Error> {
        self.conversation(contact_id, outcome)?;
        if let Some(tag) = &self.target.upload_tag {
            if self.reserved.is_empty() {
                sqlite::insert_tag(self.connection, self.target)?;
            }
            let row = NewContactTag { contact_id: Id(contact_id), tag_id: Id(tag.id) };
            diesel::insert_into(contact_tags::table).values(row).execute(self.connection)?;
        }
        self.record(contact_id, entry, outcome)?;
        self.reserved.insert(contact_id, outcome.index);
        Ok(())
    }

    fn conversation(&mut self, contact_id: Uuid, outcome: &mut Outcome) -> QueryResult<()> {
        let target = self.target;
        let Some(channel_id) = target.channel_id else { return Ok(()) };
        let existing = match outcome.contact_created {
            true => None,
            false => conversations::table
                .filter(conversations::contact_id.eq(Id(contact_id)))
                .filter(conversations::channel_id.eq(Id(channel_id)))
                .select(conversations::id)
                .first::<Id>(self.connection)
                .optional()?,
        };
        if let Some(Id(id)) = existing {
            outcome.conversation_id = Some(id);
            return Ok(());
        }
        let id = Uuid::now_v7();
        let row = NewConversation {
            id: Id(id),
            organization_id: Id(target.organization_id),
            contact_id: Id(contact_id),
            channel_id: Id(channel_id),
            status: "automated",
            created_at: Some(target.at.millis()),
        };
        diesel::insert_into(conversations::table).values(row).execute(self.connection)?;
        outcome.conversation_id = Some(id);
        outcome.conversation_created = true;
        Ok(())
    }

    fn record(&mut self, contact_id: Uuid, entry: &Entry, outcome: &mut Outcome) -> Result<(), Error> {
        let (Some(object), Some(step_contact_id)) = (&self.target.object, outcome.step_contact_id) else {
            return Ok(());
        };
        let resource_id = object.resource_id(contact_id, step_contact_id);
        let existing = match outcome.contact_created {
            true => None,
            false => custom_records::table
                .filter(custom_records::custom_object_id.eq(Id(object.id)))
                .filter(custom_records::resource.eq(object.resource.as_str()))
                .filter(custom_records::resource_id.eq(Id(resource_id)))
                .select((custom_records::id, custom_records::properties))
                .first::<(Id, String)>(self.connection)
                .optional()?
                .map(|(id, properties)| Record { id: id.0, properties }),
        };
        let stored = existing.as_ref().map(|record| &*record.properties);
        match (rules::merge(object, stored, &entry.properties), existing) {
            (Err(note), _) => outcome.notes.push(note),
            (Ok(properties), Some(record)) => {
                diesel::update(custom_records::table.find(Id(record.id)))
                    .set(custom_records::properties.eq(properties))
                    .execute(self.connection)?;
                outcome.record_id = Some(record.id);
            }
            (Ok(properties), None) => {
                let id = Uuid::now_v7();
                let row = NewRecord {
                    id: Id(id),
                    organization_id: Id(self.target.organization_id),
                    custom_object_id: Id(object.id),
                    resource: object.resource.as_str(),
                    resource_id: Id(resource_id),
                    contact_id: Id(contact_id),
                    properties,
                };
                diesel::insert_into(custom_records::table).values(row).execute(self.connection)?;
                outcome.record_id = Some(id);
            }
        }
        Ok(())
    }
}

//! New rows. A short list goes as arrays, on the way with what else there is. A long one is copied, which costs the server
//! less a row; but it waits for the server twice.

use enroll::changes::{Conflict, RecordCreation, RowChanges};
use enroll::contact::{BirthDate, Contact, Email};
use enroll::model::{Conversation, Run, StepContact};
use enroll::{CallFlowId, ChannelId, ContactId, EnrollmentId, Timestamp};
use std::collections::HashSet;
use std::pin::pin;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{Json, Kind, ToSql, Type};
use tokio_postgres::{Statement, Transaction};
use uuid::Uuid;

use super::guards::Held;
use super::statement::{Arrays, Write, arrays};
use crate::Error;
use crate::statements::Prepared;

/// The new rows of a table.
pub(super) struct List<'a> {
    insert: &'a Statement,
    copy: &'a Statement,
    rows: usize,
    all: Box<dyn Fn() -> Arrays<'a> + Send + Sync + 'a>,
    none: Arrays<'a>,
}

impl<'a> List<'a> {
    fn new<T>(
        insert: &'a Statement,
        copy: &'a Statement,
        rows: &'a [T],
        arrays: impl Fn(&'a [T]) -> Arrays<'a> + Send + Sync + 'a,
    ) -> Self
    where
        T: Sync,
    {
        let none = arrays(&[]);
        Self { insert, copy, rows: rows.len(), all: Box::new(move || arrays(rows)), none }
    }

    pub(super) fn is_long(&self) -> bool {
        self.rows >= LONG
    }

    pub(super) fn inserted(&self) -> Write<'a> {
        Write::new(self.insert).arrays((self.all)())
    }

    /// Inserts nothing, and takes the table as an insert does: whatever would refuse that is told here, by an answer that
    /// the connection survives. It does not survive a copy that is refused before it begins, with the driver as it is.
    pub(super) fn opened(&mut self) -> Write<'a> {
        Write::new(self.insert).arrays(std::mem::take(&mut self.none))
    }

    pub(super) async fn copy(&self, transaction: &Transaction<'_>, organization: &Uuid) -> Result<(), Error> {
        let arrays = (self.all)();
        // A column is of the type that its array's elements are of.
        let types = self.insert.params().iter().map(|parameter| match parameter.kind() {
            Kind::Array(element) => element.clone(),
            _ => parameter.clone(),
        });
        let types: Vec<Type> = types.collect();
        let mut writer = pin!(BinaryCopyInWriter::new(transaction.copy_in(self.copy).await?, &types));
        let mut columns: Vec<_> = arrays.iter().map(|array| array.cells()).collect();
        while let Some(cells) = columns.iter_mut().map(Iterator::next).collect::<Option<Vec<_>>>() {
            let row: Vec<&(dyn ToSql + Sync)> = std::iter::once(organization as _).chain(cells).collect();
            writer.as_mut().write(&row).await?;
        }
        writer.finish().await?;
        Ok(())
    }
}

/// Each before those that stand round its rows.
pub(super) fn lists<'a>(s: &'a Prepared, rows: &'a RowChanges, held: &'a Held) -> [List<'a>; 6] {
    [
        List::new(&s.insert_contacts, &s.copy_contacts, &rows.contacts_created, contacts),
        List::new(&s.insert_conversations, &s.copy_conversations, &rows.conversations_created, |rows| {
            conversations(rows, held)
        }),
        List::new(&s.insert_runs, &s.copy_runs, &rows.runs_created, runs),
        List::new(&s.insert_step_contacts, &s.copy_step_contacts, &rows.step_contacts_created, step_contacts),
        List::new(
            &s.insert_contact_tags,
            &s.copy_contact_tags,
            &rows.contact_tags_created,
            |rows| arrays!(rows, row => row.contact_id.as_uuid(), row.tag_id.as_uuid()),
        ),
        List::new(&s.insert_records, &s.copy_records, &rows.records_created, records),
    ]
}

fn contacts(contacts: &[Contact]) -> Arrays<'_> {
    // `Version::FIRST`.
    let version = |_: &Contact| -> i64 { 1 };
    let born = |contact: &Contact| -> BirthDate { contact.profile.birth_date.unwrap_or_default() };
    arrays!(
        contacts,
        contact => contact.id.as_uuid(),
        version(contact),
        contact.external_id.as_deref(),
        contact.phone.as_deref(),
        contact.email.as_ref().map(Email::as_str),
        contact.email.as_ref().map(Email::key),
        contact.profile.name.as_deref(),
        contact.profile.language.as_deref(),
        contact.profile.default_channel_id.map(ChannelId::as_uuid),
        contact.profile.address.as_deref().map(Json),
        born(contact).day.map(i16::from),
        born(contact).month.map(i16::from),
        born(contact).year.map(i32::from),
        contact.state.as_str(),
        contact.created_at.map(Timestamp::as_datetime),
        contact.updated_at.map(Timestamp::as_datetime),
    )
}

fn conversations<'a>(rows: &'a [Conversation], held: &Held) -> Arrays<'a> {
    arrays!(
        rows,
        row => row.id.as_uuid(),
        row.contact_id.as_uuid(),
        row.channel_id.as_uuid(),
        row.status.as_str(),
        row.created_at.map(Timestamp::as_datetime),
        held.one_at_most(row.channel_id),
    )
}

fn runs(rows: &[Run]) -> Arrays<'_> {
    arrays!(
        rows,
        row => row.id.as_uuid(),
        row.sequence_id.as_uuid(),
        row.contact_id.as_uuid(),
        row.status.as_str(),
        row.started_at.as_datetime(),
    )
}

fn step_contacts(rows: &[StepContact]) -> Arrays<'_> {
    arrays!(
        rows,
        row => row.id.as_uuid(),
        row.run_id.as_uuid(),
        row.sequence_id.as_uuid(),
        row.step_id.as_uuid(),
        row.contact_id.as_uuid(),
        row.status.as_str(),
        row.scheduled_at.as_datetime(),
        row.channel_id.map(ChannelId::as_uuid),
        row.default_call_flow_id.map(CallFlowId::as_uuid),
        i64::from(row.times_processed),
        row.enrollment_id.map(EnrollmentId::as_uuid),
    )
}

fn records(rows: &[RecordCreation]) -> Arrays<'_> {
    arrays!(
        rows,
        row => row.record.id.as_uuid(),
        row.record.custom_object_id.as_uuid(),
        row.record.resource.as_str(),
        row.record.resource_id,
        row.contact_id.as_uuid(),
        Json(&row.record.properties),
    )
}

/// Checks that each related row belongs to a contact that the change set creates or updates.
pub(super) fn check_contacts(rows: &RowChanges) -> Result<(), Conflict> {
    let created = rows.contacts_created.iter().map(|contact| contact.id);
    let written: HashSet<ContactId> = created.chain(rows.contacts_updated.iter().map(|update| update.id)).collect();
    let related = (rows.conversations_created.iter().map(|row| row.contact_id))
        .chain(rows.runs_created.iter().map(|row| row.contact_id))
        .chain(rows.runs_reactivated.iter().map(|row| row.contact_id))
        .chain(rows.step_contacts_created.iter().map(|row| row.contact_id))
        .chain(rows.step_contacts_updated.iter().map(|row| row.contact_id))
        .chain(rows.contact_tags_created.iter().map(|row| row.contact_id))
        .chain(rows.records_created.iter().map(|row| row.contact_id))
        .chain(rows.records_updated.iter().map(|row| row.contact_id));
    match related.into_iter().find(|id| !written.contains(id)) {
        Some(id) => Err(Conflict::ContactNotWritten(id)),
        None => Ok(()),
    }
}

/// From so many rows on a list is copied. Two thousand gain some 1.6 ms, and two round trips soon take as much.
const LONG: usize = 2000;

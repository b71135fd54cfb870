//! New rows. A short list goes as one array a column, on the way with everything else; a long one is copied, which costs
//! the server less a row, and a round trip or two of its own.

use enroll::changes::{Conflict, Rows};
use enroll::contact::{BirthDate, Contact, Email};
use enroll::model::{Conversation, CustomRecord, Resource, Run, StepContact};
use enroll::{CallFlowId, ChannelId, ContactId, EnrollmentId, StepContactId, Timestamp};
use std::collections::{HashMap, HashSet};
use std::pin::pin;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{Json, Kind, ToSql, Type};
use tokio_postgres::{Statement, Transaction};
use uuid::Uuid;

use super::guards::Held;
use crate::Error;
use crate::rows::Wire;
use crate::statements::{Bound, Prepared};

/// A column of several rows.
pub(super) trait Column: Send + Sync {
    fn array(&self) -> &(dyn ToSql + Sync);
    fn cells(&self) -> Box<dyn Iterator<Item = &(dyn ToSql + Sync)> + Send + '_>;
}

impl<T: ToSql + Send + Sync> Column for Vec<T> {
    fn array(&self) -> &(dyn ToSql + Sync) {
        self
    }

    fn cells(&self) -> Box<dyn Iterator<Item = &(dyn ToSql + Sync)> + Send + '_> {
        Box::new(self.iter().map(|cell| cell as _))
    }
}

type Columns<'a> = Vec<Box<dyn Column + 'a>>;

macro_rules! columns {
    ($rows:expr, $row:ident => $($column:expr),* $(,)?) => {{
        let columns: Columns<'_> = vec![$(Box::new($rows.iter().map(|$row| $column).collect::<Vec<_>>())),*];
        columns
    }};
}

/// The new rows of a table.
pub(super) struct List<'a> {
    pub(super) insert: &'a Statement,
    copy: &'a Statement,
    rows: usize,
    columns: Box<dyn Fn() -> Columns<'a> + Send + Sync + 'a>,
}

impl<'a> List<'a> {
    fn new(
        (insert, copy): (&'a Statement, &'a Statement),
        rows: usize,
        columns: impl Fn() -> Columns<'a> + Send + Sync + 'a,
    ) -> Self {
        Self { insert, copy, rows, columns: Box::new(columns) }
    }

    pub(super) fn is_long(&self) -> bool {
        self.rows >= LONG
    }

    pub(super) fn columns(&self) -> Columns<'a> {
        (self.columns)()
    }

    /// Begun when all before it has succeeded: where the database refuses a copy before it begins, the driver loses the
    /// connection.
    pub(super) async fn copy(&self, transaction: &Transaction<'_>, organization: &Uuid) -> Result<(), Error> {
        let columns = self.columns();
        // A column is of the type that its array's elements are of.
        let types = self.insert.params().iter().map(|parameter| match parameter.kind() {
            Kind::Array(element) => element.clone(),
            _ => parameter.clone(),
        });
        let types: Vec<Type> = types.collect();
        let mut writer = pin!(BinaryCopyInWriter::new(transaction.copy_in(self.copy).await?, &types));
        let mut cells: Vec<_> = columns.iter().map(|column| column.cells()).collect();
        while let Some(row) = cells.iter_mut().map(Iterator::next).collect::<Option<Vec<_>>>() {
            let row: Vec<&(dyn ToSql + Sync)> = std::iter::once(organization as _).chain(row).collect();
            writer.as_mut().write(&row).await?;
        }
        writer.finish().await?;
        Ok(())
    }
}

pub(super) fn bound<'a>(insert: &'a Statement, organization: &'a Uuid, columns: &'a Columns<'_>) -> Bound<'a> {
    let mut all: Vec<&(dyn ToSql + Sync)> = vec![organization];
    all.extend(columns.iter().map(|column| column.array()));
    (insert, all)
}

/// Each with its statements, which name the columns in the order in which they stand here.
pub(super) fn lists<'a>(statements: &'a Prepared, rows: &'a Rows, owners: &'a [Uuid], held: &'a Held) -> [List<'a>; 6] {
    let Rows { contacts_created, conversations_created, runs_created, step_contacts_created, .. } = rows;
    let Rows { contact_tags_created, records_created, .. } = rows;
    let s = statements;
    [
        List::new((&s.insert_contacts, &s.copy_contacts), contacts_created.len(), move || contacts(contacts_created)),
        List::new((&s.insert_conversations, &s.copy_conversations), conversations_created.len(), move || {
            conversations(conversations_created, held)
        }),
        List::new((&s.insert_runs, &s.copy_runs), runs_created.len(), move || runs(runs_created)),
        List::new((&s.insert_step_contacts, &s.copy_step_contacts), step_contacts_created.len(), move || {
            step_contacts(step_contacts_created)
        }),
        List::new(
            (&s.insert_contact_tags, &s.copy_contact_tags),
            contact_tags_created.len(),
            move || columns!(contact_tags_created, row => row.contact_id.as_uuid(), row.tag_id.as_uuid()),
        ),
        List::new((&s.insert_records, &s.copy_records), records_created.len(), move || {
            records(records_created, owners)
        }),
    ]
}

fn contacts(contacts: &[Contact]) -> Columns<'_> {
    let version = |_: &Contact| -> i64 { 1 };
    let born = |contact: &Contact| -> BirthDate { contact.birth_date.unwrap_or_default() };
    columns!(
        contacts,
        contact => contact.id.as_uuid(),
        version(contact),
        contact.external_id.as_deref(),
        contact.phone.as_deref(),
        contact.email.as_ref().map(Email::as_str),
        contact.email.as_ref().map(Email::key),
        contact.name.as_deref(),
        contact.language.as_deref(),
        contact.default_channel_id.map(ChannelId::as_uuid),
        contact.address.as_deref().map(Json),
        born(contact).day.map(i16::from),
        born(contact).month.map(i16::from),
        born(contact).year.map(i32::from),
        contact.state.word(),
        contact.created_at.map(Timestamp::as_datetime),
        contact.updated_at.map(Timestamp::as_datetime),
    )
}

fn conversations<'a>(rows: &'a [Conversation], held: &Held) -> Columns<'a> {
    columns!(
        rows,
        row => row.id.as_uuid(),
        row.contact_id.as_uuid(),
        row.channel_id.as_uuid(),
        row.status.word(),
        row.created_at.map(Timestamp::as_datetime),
        held.one_at_most(row.channel_id),
    )
}

fn runs(rows: &[Run]) -> Columns<'_> {
    columns!(
        rows,
        row => row.id.as_uuid(),
        row.sequence_id.as_uuid(),
        row.contact_id.as_uuid(),
        row.status.word(),
        row.started_at.as_datetime(),
    )
}

fn step_contacts(rows: &[StepContact]) -> Columns<'_> {
    columns!(
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

fn records<'a>(rows: &'a [CustomRecord], owners: &'a [Uuid]) -> Columns<'a> {
    let owned: Vec<(&CustomRecord, &Uuid)> = rows.iter().zip(owners).collect();
    columns!(
        owned,
        owned => owned.0.id.as_uuid(),
        owned.0.custom_object_id.as_uuid(),
        owned.0.resource.word(),
        owned.0.resource_id,
        *owned.1,
        Json(&owned.0.properties),
    )
}

/// The contacts of the new records, in order. Whatever is written belongs to a contact that is written too.
pub(super) fn owners(rows: &Rows) -> Result<Vec<Uuid>, Error> {
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

/// From so many rows on a list is copied: less than a millisecond is won for a thousand, and a round trip is soon that.
const LONG: usize = 1000;

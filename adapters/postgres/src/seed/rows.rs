//! Writes rows as a host does: one at a time, in plain SQL that leaves versions to the triggers.

use enroll::contact::Contact;
use enroll::model::{
    CallFlow, Channel, CommunicationPreference, ContactTag, Conversation, CustomObject, CustomRecord, Run, Sequence,
    Step, StepContact, Tag,
};
use enroll::seed::{HostRow, HostWrite, Seed, WriteKind};
use enroll::{CallFlowId, ChannelId, EnrollmentId, OrganizationId, SequenceId, Timestamp};
use std::collections::BTreeSet;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Transaction};

use crate::Error;

/// Columns with their values; what stands for a value may be given.
macro_rules! columns {
    ($($name:ident: $kind:ident = $value:expr $(=> $place:expr)?),* $(,)?) => {
        vec![$(Column {
            name: stringify!($name),
            value: Box::new($value),
            kind: Type::$kind,
            place: columns!(@place $($place)?),
        }),*]
    };
    (@place $place:expr) => { $place };
    (@place) => { "#" };
}

/// Inserts all rows of a seed, with their organizations, in one transaction.
///
/// # Errors
/// The database's error. Nothing is written then.
pub async fn load(client: &mut Client, given: &Seed) -> Result<(), Error> {
    let writes = given.inserts();
    let organizations = writes.iter().map(|write| write.organization_id).chain([given.organization_id]);
    let organizations: BTreeSet<OrganizationId> = organizations.collect();
    let transaction = client.transaction().await?;
    for organization_id in organizations {
        add_organization(&transaction, organization_id).await?;
    }
    for write in &writes {
        write_row(&transaction, write).await?;
    }
    Ok(transaction.commit().await?)
}

#[cfg(feature = "testing")]
pub(crate) async fn host_write(client: &mut Client, write: &HostWrite) -> Result<(), Error> {
    let transaction = client.transaction().await?;
    if write.kind == WriteKind::Insert {
        add_organization(&transaction, write.organization_id).await?;
    }
    write_row(&transaction, write).await?;
    Ok(transaction.commit().await?)
}

async fn add_organization(transaction: &Transaction<'_>, organization_id: OrganizationId) -> Result<(), Error> {
    let sql = "insert into enroll.organizations (organization_id) values ($1) on conflict do nothing";
    transaction.execute_typed(sql, &[(&organization_id.as_uuid(), Type::UUID)]).await?;
    Ok(())
}

async fn write_row(transaction: &Transaction<'_>, write: &HostWrite) -> Result<(), Error> {
    let HostWrite { organization_id, kind, row, .. } = write;
    let row = match row {
        HostRow::Channel(row) => channel(row),
        HostRow::Sequence(row) => sequence(row)?,
        HostRow::Step { sequence_id, step } => self::step(*sequence_id, step),
        HostRow::CallFlow(row) => call_flow(row),
        HostRow::CustomObject(row) => custom_object(row)?,
        HostRow::Tag(row) => tag(row),
        HostRow::Contact(row) => contact(row)?,
        HostRow::CommunicationPreference(row) => preference(row),
        HostRow::Conversation(row) => conversation(row),
        HostRow::Run(row) => run(row),
        HostRow::StepContact(row) => step_contact(row),
        HostRow::ContactTag(row) => contact_tag(row),
        HostRow::CustomRecord(row) => record(row)?,
    };
    row.write(transaction, *organization_id, *kind).await?;
    if let (WriteKind::Insert, HostRow::Sequence(sequence)) = (kind, &write.row) {
        for step in &sequence.steps {
            self::step(sequence.id, step).write(transaction, *organization_id, WriteKind::Insert).await?;
        }
    }
    Ok(())
}

/// A row of a table: the columns of its key but the organization, and the others.
struct TableRow {
    table: &'static str,
    key: Vec<Column>,
    others: Vec<Column>,
}

struct Column {
    name: &'static str,
    value: Box<dyn ToSql + Sync + Send>,
    kind: Type,
    /// What stands for the value, which is `#` in it.
    place: &'static str,
}

impl TableRow {
    async fn write(
        &self,
        transaction: &Transaction<'_>,
        organization_id: OrganizationId,
        kind: WriteKind,
    ) -> Result<(), Error> {
        let organization_id = organization_id.as_uuid();
        let columns = || self.key.iter().chain(&self.others);
        let mut parameters: Vec<(&(dyn ToSql + Sync), Type)> = vec![(&organization_id, Type::UUID)];
        let key = numbered(&self.key, 2).join(" and ");
        let table = self.table;
        let sql = match kind {
            WriteKind::Insert => {
                parameters.extend(columns().map(Column::parameter));
                let names: Vec<&str> = columns().map(|column| column.name).collect();
                let values: Vec<String> = columns().zip(2..).map(|(column, n)| column.place(n)).collect();
                let (names, values) = (names.join(", "), values.join(", "));
                format!("insert into enroll.{table} (organization_id, {names}) values ($1, {values})")
            }
            WriteKind::Update if self.others.is_empty() => {
                let message = "a row that is all key is never updated: delete it and insert another";
                return Err(Error::Unstorable(message.to_owned()));
            }
            WriteKind::Update => {
                parameters.extend(columns().map(Column::parameter));
                let set = numbered(&self.others, 2 + self.key.len()).join(", ");
                format!("update enroll.{table} set {set} where organization_id = $1 and {key}")
            }
            WriteKind::Delete => {
                parameters.extend(self.key.iter().map(Column::parameter));
                format!("delete from enroll.{table} where organization_id = $1 and {key}")
            }
        };
        match transaction.execute_typed(&sql, &parameters).await? {
            0 => Err(Error::Unstorable(format!("there is no such row in `{table}`"))),
            _ => Ok(()),
        }
    }
}

impl Column {
    fn parameter(&self) -> (&(dyn ToSql + Sync), Type) {
        (&*self.value, self.kind.clone())
    }

    fn place(&self, n: usize) -> String {
        self.place.replace('#', &format!("${n}"))
    }
}

fn numbered(columns: &[Column], first: usize) -> Vec<String> {
    columns.iter().zip(first..).map(|(column, n)| format!("{} = {}", column.name, column.place(n))).collect()
}

fn channel(row: &Channel) -> TableRow {
    let key = columns! { id: UUID = row.id.as_uuid() };
    let others = columns! {
        kind: TEXT = row.kind.as_str(), address: TEXT = row.address.to_string(), enabled: BOOL = row.enabled,
        name: TEXT = row.name.as_deref().map(str::to_owned),
    };
    TableRow { table: "channels", key, others }
}

/// Without its steps, which are rows of their own.
fn sequence(row: &Sequence) -> Result<TableRow, Error> {
    let key = columns! { id: UUID = row.id.as_uuid() };
    let others = columns! {
        title: TEXT = row.title.to_string(), status: TEXT = row.status.as_str(),
        settings: TEXT = json(&row.settings)? => "#::json",
    };
    Ok(TableRow { table: "sequences", key, others })
}

fn step(sequence_id: SequenceId, row: &Step) -> TableRow {
    let key = columns! { sequence_id: UUID = sequence_id.as_uuid(), id: UUID = row.id.as_uuid() };
    let others = columns! {
        position: INT8 = row.position, channel_kind: TEXT = row.channel_kind.as_str(),
        channel_id: UUID = row.channel_id.map(ChannelId::as_uuid),
    };
    TableRow { table: "steps", key, others }
}

fn call_flow(row: &CallFlow) -> TableRow {
    let key = columns! { id: UUID = row.id.as_uuid() };
    TableRow { table: "call_flows", key, others: columns! { name: TEXT = row.name.to_string() } }
}

fn custom_object(row: &CustomObject) -> Result<TableRow, Error> {
    let key = columns! { id: UUID = row.id.as_uuid() };
    let others = columns! {
        key: TEXT = row.key.to_string(), properties: TEXT = json(&row.properties)? => "#::json",
    };
    Ok(TableRow { table: "custom_objects", key, others })
}

fn tag(row: &Tag) -> TableRow {
    let key = columns! { id: UUID = row.id.as_uuid() };
    let others = columns! { name: TEXT = row.name.to_string(), system_created: BOOL = row.system_created };
    TableRow { table: "tags", key, others }
}

fn contact(row: &Contact) -> Result<TableRow, Error> {
    let owned = |text: &Option<enroll::contact::Text>| text.as_deref().map(str::to_owned);
    let born = row.profile.birth_date.unwrap_or_default();
    let key = columns! { id: UUID = row.id.as_uuid() };
    let others = columns! {
        external_id: TEXT = owned(&row.external_id),
        phone: TEXT = owned(&row.phone),
        email: TEXT = row.email.as_ref().map(|email| email.as_str().to_owned()),
        email_key: TEXT = row.email.as_ref().map(|email| email.key().to_owned()),
        name: TEXT = owned(&row.profile.name),
        language: TEXT = owned(&row.profile.language),
        default_channel_id: UUID = row.profile.default_channel_id.map(ChannelId::as_uuid),
        address: TEXT = row.profile.address.as_deref().map(json).transpose()? => "#::json",
        birth_day: INT2 = born.day.map(i16::from),
        birth_month: INT2 = born.month.map(i16::from),
        birth_year: INT4 = born.year.map(i32::from),
        state: TEXT = row.state.as_str(),
        created_at: TIMESTAMPTZ = row.created_at.map(Timestamp::as_datetime),
        updated_at: TIMESTAMPTZ = row.updated_at.map(Timestamp::as_datetime),
    };
    Ok(TableRow { table: "contacts", key, others })
}

fn preference(row: &CommunicationPreference) -> TableRow {
    let key = columns! { contact_id: UUID = row.contact_id.as_uuid(), channel_id: UUID = row.channel_id.as_uuid() };
    TableRow { table: "communication_preferences", key, others: columns! { opt_in: BOOL = row.opt_in } }
}

fn conversation(row: &Conversation) -> TableRow {
    let key = columns! { id: UUID = row.id.as_uuid() };
    let others = columns! {
        contact_id: UUID = row.contact_id.as_uuid(), channel_id: UUID = row.channel_id.as_uuid(),
        status: TEXT = row.status.as_str(), created_at: TIMESTAMPTZ = row.created_at.map(Timestamp::as_datetime),
        one_at_most: UUID = row.channel_id.as_uuid() => "coalesce((select c.kind <> 'email' from enroll.channels c \
            where c.organization_id = $1 and c.id = #), true)",
    };
    TableRow { table: "conversations", key, others }
}

fn run(row: &Run) -> TableRow {
    let key = columns! { id: UUID = row.id.as_uuid() };
    let others = columns! {
        sequence_id: UUID = row.sequence_id.as_uuid(), contact_id: UUID = row.contact_id.as_uuid(),
        status: TEXT = row.status.as_str(), started_at: TIMESTAMPTZ = row.started_at.as_datetime(),
    };
    TableRow { table: "runs", key, others }
}

fn step_contact(row: &StepContact) -> TableRow {
    let key = columns! { id: UUID = row.id.as_uuid() };
    let others = columns! {
        run_id: UUID = row.run_id.as_uuid(),
        sequence_id: UUID = row.sequence_id.as_uuid(),
        step_id: UUID = row.step_id.as_uuid(),
        contact_id: UUID = row.contact_id.as_uuid(),
        status: TEXT = row.status.as_str(),
        scheduled_at: TIMESTAMPTZ = row.scheduled_at.as_datetime(),
        channel_id: UUID = row.channel_id.map(ChannelId::as_uuid),
        default_call_flow_id: UUID = row.default_call_flow_id.map(CallFlowId::as_uuid),
        times_processed: INT8 = i64::from(row.times_processed),
        enrollment_id: UUID = row.enrollment_id.map(EnrollmentId::as_uuid),
    };
    TableRow { table: "step_contacts", key, others }
}

fn contact_tag(row: &ContactTag) -> TableRow {
    let key = columns! { contact_id: UUID = row.contact_id.as_uuid(), tag_id: UUID = row.tag_id.as_uuid() };
    TableRow { table: "contact_tags", key, others: Vec::new() }
}

/// Whose record it is, is derived.
fn record(row: &CustomRecord) -> Result<TableRow, Error> {
    let key = columns! { id: UUID = row.id.as_uuid() };
    let others = columns! {
        custom_object_id: UUID = row.custom_object_id.as_uuid(), resource: TEXT = row.resource.as_str(),
        resource_id: UUID = row.resource_id, properties: TEXT = json(&row.properties)? => "#::json",
    };
    Ok(TableRow { table: "custom_records", key, others })
}

fn json(value: &impl serde::Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|e| Error::Unstorable(e.to_string()))
}

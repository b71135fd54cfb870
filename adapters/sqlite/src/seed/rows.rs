//! Writes rows as a host does: plain SQL that leaves versions to the triggers.

use enroll::OrganizationId;
use enroll::contact::{Contact, Email};
use enroll::model::{
    Channel, ChannelKind, CommunicationPreference, Conversation, CustomObject, CustomRecord, Resource, Run, Sequence,
    Step, StepContact,
};
use enroll::repository::{RepositoryError, RepositoryErrorKind};
use enroll::seed::{HostRow, HostWrite, HostWriteError, Seed, WriteKind};
use enroll::{CallFlowId, ChannelId, EnrollmentId, SequenceId, Timestamp};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params_from_iter};
use uuid::Uuid;

use crate::error::SqliteError;

/// Inserts all rows of a seed, with their organizations, in one transaction.
///
/// If a transaction is open on the connection, the rows become part of it.
///
/// # Errors
/// `Conflict` if a unique constraint refuses a row, `Other` if any other constraint does.
pub fn load(connection: &Connection, given: &Seed) -> Result<(), RepositoryError> {
    at_once(connection, |connection| {
        add_organization(connection, given.organization_id)?;
        given.inserts().iter().try_for_each(|insert| write(connection, insert))
    })
}

#[cfg(feature = "testing")]
pub(crate) fn host_write(connection: &Connection, host_write: &HostWrite) -> Result<(), RepositoryError> {
    at_once(connection, |connection| write(connection, host_write))
}

fn at_once(
    connection: &Connection,
    write: impl FnOnce(&Connection) -> Result<(), RepositoryError>,
) -> Result<(), RepositoryError> {
    if !connection.is_autocommit() {
        return write(connection);
    }
    let behavior = TransactionBehavior::Immediate;
    let transaction = Transaction::new_unchecked(connection, behavior).map_err(SqliteError::from)?;
    write(&transaction)?;
    Ok(transaction.commit().map_err(SqliteError::from)?)
}

fn write(connection: &Connection, write: &HostWrite) -> Result<(), RepositoryError> {
    let (organization_id, kind) = (write.organization_id, write.kind);
    if kind == WriteKind::Insert {
        add_organization(connection, organization_id)?;
    }
    let row = row(connection, organization_id, &write.row, kind)?;
    row.write(connection, organization_id, kind)?;
    if let (WriteKind::Insert, HostRow::Sequence(sequence)) = (kind, &write.row) {
        for of_sequence in &sequence.steps {
            step(sequence.id, of_sequence).write(connection, organization_id, kind)?;
        }
    }
    Ok(())
}

fn add_organization(connection: &Connection, id: OrganizationId) -> Result<(), SqliteError> {
    connection.execute("insert or ignore into enroll_organizations values (?1)", [id.as_uuid()])?;
    Ok(())
}

/// A row of a table: the columns by which it is found, and the others.
struct Row {
    table: &'static str,
    key: Vec<(&'static str, Value)>,
    rest: Vec<(&'static str, Value)>,
}

impl Row {
    fn new(table: &'static str, id: Uuid, rest: Vec<(&'static str, Value)>) -> Self {
        Self { table, key: vec![("id", blob(id))], rest }
    }

    fn write(
        self,
        connection: &Connection,
        organization: OrganizationId,
        kind: WriteKind,
    ) -> Result<(), RepositoryError> {
        let Self { table, mut key, mut rest } = self;
        key.push(("organization_id", blob(organization.as_uuid())));
        let found = names(&key, " = ? and ");
        let sql = match kind {
            WriteKind::Insert => {
                key.append(&mut rest);
                let places = vec!["?"; key.len()].join(", ");
                format!("insert into {table} ({}) values ({places})", names(&key, ", "))
            }
            WriteKind::Update => {
                if rest.is_empty() {
                    rest.clone_from(&key);
                }
                let sql = format!("update {table} set {} = ? where {found} = ?", names(&rest, " = ?, "));
                rest.append(&mut key);
                key = rest;
                sql
            }
            WriteKind::Delete => format!("delete from {table} where {found} = ?"),
        };
        let values = params_from_iter(key.into_iter().map(|(_, value)| value));
        match connection.execute(&sql, values).map_err(SqliteError::from)? {
            0 => Err(absent(&format!("such row in {table}"))),
            _ => Ok(()),
        }
    }
}

fn row(
    connection: &Connection,
    organization_id: OrganizationId,
    row: &HostRow,
    kind: WriteKind,
) -> Result<Row, RepositoryError> {
    Ok(match row {
        HostRow::Channel(row) => channel(row),
        HostRow::Sequence(row) => sequence(row)?,
        HostRow::Step { sequence_id, step: row } => step(*sequence_id, row),
        HostRow::CallFlow(row) => Row::new("enroll_call_flows", row.id.as_uuid(), vec![("name", text(&row.name))]),
        HostRow::CustomObject(row) => custom_object(row)?,
        HostRow::Tag(row) => {
            let rest = vec![("name", text(&row.name)), ("system_created", row.system_created.into())];
            Row::new("enroll_tags", row.id.as_uuid(), rest)
        }
        HostRow::Contact(row) => contact(row)?,
        HostRow::CommunicationPreference(row) => preference(row),
        HostRow::Conversation(row) => conversation(connection, organization_id, row)?,
        HostRow::Run(row) => run(row),
        HostRow::StepContact(row) => step_contact(row),
        HostRow::ContactTag(row) => {
            let key = vec![("contact_id", blob(row.contact_id.as_uuid())), ("tag_id", blob(row.tag_id.as_uuid()))];
            Row { table: "enroll_contact_tags", key, rest: Vec::new() }
        }
        // Nothing but its key is looked at, so its owner need not stand.
        HostRow::CustomRecord(row) if kind == WriteKind::Delete => {
            Row::new("enroll_custom_records", row.id.as_uuid(), Vec::new())
        }
        HostRow::CustomRecord(row) => record(connection, organization_id, row)?,
    })
}

fn channel(row: &Channel) -> Row {
    let rest = vec![
        ("kind", text(row.kind.as_str())),
        ("address", text(&row.address)),
        ("enabled", row.enabled.into()),
        ("name", row.name.as_deref().map(text).into()),
    ];
    Row::new("enroll_channels", row.id.as_uuid(), rest)
}

/// Its steps are rows of their own.
fn sequence(row: &Sequence) -> Result<Row, SqliteError> {
    let rest = vec![
        ("title", text(&row.title)),
        ("status", text(row.status.as_str())),
        ("settings", serde_json::to_string(&row.settings)?.into()),
    ];
    Ok(Row::new("enroll_sequences", row.id.as_uuid(), rest))
}

fn step(sequence_id: SequenceId, row: &Step) -> Row {
    let key = vec![("sequence_id", blob(sequence_id.as_uuid())), ("id", blob(row.id.as_uuid()))];
    let rest = vec![
        ("position", row.position.into()),
        ("channel_kind", text(row.channel_kind.as_str())),
        ("channel_id", row.channel_id.map(ChannelId::as_uuid).map(blob).into()),
    ];
    Row { table: "enroll_steps", key, rest }
}

fn custom_object(row: &CustomObject) -> Result<Row, SqliteError> {
    let rest = vec![("key", text(&row.key)), ("properties", serde_json::to_string(&row.properties)?.into())];
    Ok(Row::new("enroll_custom_objects", row.id.as_uuid(), rest))
}

fn contact(row: &Contact) -> Result<Row, SqliteError> {
    let address = row.address.as_deref().map(serde_json::to_string).transpose()?;
    let birth_date = row.birth_date.unwrap_or_default();
    let rest = vec![
        ("external_id", row.external_id.as_deref().map(text).into()),
        ("phone", row.phone.as_deref().map(text).into()),
        ("email", row.email.as_ref().map(Email::as_str).map(text).into()),
        ("email_key", row.email.as_ref().map(Email::key).map(text).into()),
        ("name", row.name.as_deref().map(text).into()),
        ("language", row.language.as_deref().map(text).into()),
        ("default_channel_id", row.default_channel_id.map(ChannelId::as_uuid).map(blob).into()),
        ("address", address.into()),
        ("birth_day", birth_date.day.map(i64::from).into()),
        ("birth_month", birth_date.month.map(i64::from).into()),
        ("birth_year", birth_date.year.map(i64::from).into()),
        ("state", text(row.state.as_str())),
        ("created_at", row.created_at.map(Timestamp::millis).into()),
        ("updated_at", row.updated_at.map(Timestamp::millis).into()),
    ];
    Ok(Row::new("enroll_contacts", row.id.as_uuid(), rest))
}

fn preference(row: &CommunicationPreference) -> Row {
    let key = vec![("contact_id", blob(row.contact_id.as_uuid())), ("channel_id", blob(row.channel_id.as_uuid()))];
    Row { table: "enroll_communication_preferences", key, rest: vec![("opt_in", row.opt_in.into())] }
}

fn conversation(
    connection: &Connection,
    organization_id: OrganizationId,
    row: &Conversation,
) -> Result<Row, SqliteError> {
    let sql = "select kind from enroll_channels where organization_id = ?1 and id = ?2";
    let ids = [organization_id.as_uuid(), row.channel_id.as_uuid()];
    let kind: Option<String> = connection.query_row(sql, ids, |row| row.get(0)).optional()?;
    let rest = vec![
        ("contact_id", blob(row.contact_id.as_uuid())),
        ("channel_id", blob(row.channel_id.as_uuid())),
        ("one_at_most", kind.is_none_or(|kind| kind != ChannelKind::Email.as_str()).into()),
        ("status", text(row.status.as_str())),
        ("created_at", row.created_at.map(Timestamp::millis).into()),
    ];
    Ok(Row::new("enroll_conversations", row.id.as_uuid(), rest))
}

fn run(row: &Run) -> Row {
    let rest = vec![
        ("sequence_id", blob(row.sequence_id.as_uuid())),
        ("contact_id", blob(row.contact_id.as_uuid())),
        ("status", text(row.status.as_str())),
        ("started_at", row.started_at.millis().into()),
    ];
    Row::new("enroll_runs", row.id.as_uuid(), rest)
}

fn step_contact(row: &StepContact) -> Row {
    let rest = vec![
        ("run_id", blob(row.run_id.as_uuid())),
        ("sequence_id", blob(row.sequence_id.as_uuid())),
        ("step_id", blob(row.step_id.as_uuid())),
        ("contact_id", blob(row.contact_id.as_uuid())),
        ("status", text(row.status.as_str())),
        ("scheduled_at", row.scheduled_at.millis().into()),
        ("channel_id", row.channel_id.map(ChannelId::as_uuid).map(blob).into()),
        ("default_call_flow_id", row.default_call_flow_id.map(CallFlowId::as_uuid).map(blob).into()),
        ("times_processed", row.times_processed.into()),
        ("enrollment_id", row.enrollment_id.map(EnrollmentId::as_uuid).map(blob).into()),
    ];
    Row::new("enroll_step_contacts", row.id.as_uuid(), rest)
}

fn record(
    connection: &Connection,
    organization_id: OrganizationId,
    row: &CustomRecord,
) -> Result<Row, RepositoryError> {
    let contact = match row.resource {
        Resource::Contact => row.resource_id,
        Resource::StepContact => {
            let sql = "select contact_id from enroll_step_contacts where organization_id = ?1 and id = ?2";
            let ids = [organization_id.as_uuid(), row.resource_id];
            let owner = connection.query_row(sql, ids, |row| row.get(0)).optional().map_err(SqliteError::from)?;
            owner.ok_or_else(|| absent(&format!("step contact `{}`", row.resource_id)))?
        }
    };
    let rest = vec![
        ("custom_object_id", blob(row.custom_object_id.as_uuid())),
        ("resource", text(row.resource.as_str())),
        ("resource_id", blob(row.resource_id)),
        ("contact_id", blob(contact)),
        ("properties", serde_json::to_string(&row.properties).map_err(SqliteError::from)?.into()),
    ];
    Ok(Row::new("enroll_custom_records", row.id.as_uuid(), rest))
}

fn names(columns: &[(&str, Value)], between: &str) -> String {
    columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(between)
}

fn blob(id: Uuid) -> Value {
    Value::Blob(id.as_bytes().to_vec())
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn absent(what: &str) -> RepositoryError {
    RepositoryError::new(RepositoryErrorKind::Other, HostWriteError::Absent(what.to_owned()))
}

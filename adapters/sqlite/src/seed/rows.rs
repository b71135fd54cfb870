//! Writes rows as a host does: plain SQL that leaves versions to the triggers.

use enroll::model::{Conversation, CustomRecord, Resource, Step};
use enroll::seed::{HostRow, HostWrite, HostWriteError, Seed, WriteKind};
use enroll::{OrganizationId, RepositoryError, RepositoryErrorKind, SequenceId};
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params, params_from_iter};
use uuid::Uuid;

use crate::error::SqliteError;
use crate::tables::Row;

/// Inserts all rows of a seed, with their organizations, in one transaction. A name replaces that of an existing
/// organization.
///
/// If a transaction is open on the connection, the rows become part of it.
///
/// # Errors
/// `Conflict` if a unique constraint refuses a row, `Other` if any other constraint does.
pub fn load(connection: &Connection, seed: &Seed) -> Result<(), RepositoryError> {
    in_transaction(connection, |connection| {
        seed.organization_ids().into_iter().try_for_each(|id| add_organization(connection, id))?;
        for row in &seed.organizations {
            let id = row.organization_id.unwrap_or(seed.organization_id);
            let sql = "update enroll_organizations set name = ?2 where organization_id = ?1";
            connection.execute(sql, params![id.as_uuid(), &*row.row.name]).map_err(SqliteError::from)?;
        }
        seed.inserts().iter().try_for_each(|insert| write(connection, insert))
    })
}

#[cfg(feature = "testing")]
pub(crate) fn host_write(connection: &Connection, host_write: &HostWrite) -> Result<(), RepositoryError> {
    in_transaction(connection, |connection| write(connection, host_write))
}

fn in_transaction(
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
    let row = table_row(connection, organization_id, &write.row, kind)?;
    row.write(connection, organization_id, kind)?;
    if let (WriteKind::Insert, HostRow::Sequence(sequence)) = (kind, &write.row) {
        for row in &sequence.steps {
            step(sequence.id, row)?.write(connection, organization_id, kind)?;
        }
    }
    Ok(())
}

fn add_organization(connection: &Connection, id: OrganizationId) -> Result<(), SqliteError> {
    connection.execute("insert or ignore into enroll_organizations (organization_id) values (?1)", [id.as_uuid()])?;
    Ok(())
}

/// A row to write: the columns of its key, and the others.
struct TableRow {
    table: &'static str,
    key: Vec<(&'static str, Value)>,
    rest: Vec<(&'static str, Value)>,
}

impl TableRow {
    /// Splits the columns of a row into its key and the others.
    fn new<T: Row>(row: &T, key: &[&str]) -> Result<Self, SqliteError> {
        let mut values: Vec<Value> = Vec::with_capacity(T::COLUMNS.len());
        row.bind(&mut values)?;
        let columns = T::COLUMNS.iter().copied().zip(values);
        let (key, rest) = columns.partition(|(name, _)| key.contains(name));
        Ok(Self { table: T::TABLE, key, rest })
    }

    fn write(
        self,
        connection: &Connection,
        organization: OrganizationId,
        kind: WriteKind,
    ) -> Result<(), RepositoryError> {
        let Self { table, mut key, mut rest } = self;
        key.push(("organization_id", blob(organization.as_uuid())));
        let has_key = names(&key, " = ? and ");
        let sql = match kind {
            WriteKind::Insert => {
                key.append(&mut rest);
                let parameters = vec!["?"; key.len()].join(", ");
                format!("insert into {table} ({}) values ({parameters})", names(&key, ", "))
            }
            WriteKind::Update => {
                if rest.is_empty() {
                    rest.clone_from(&key);
                }
                let sql = format!("update {table} set {} = ? where {has_key} = ?", names(&rest, " = ?, "));
                rest.append(&mut key);
                key = rest;
                sql
            }
            WriteKind::Delete => format!("delete from {table} where {has_key} = ?"),
        };
        let values = params_from_iter(key.into_iter().map(|(_, value)| value));
        match connection.execute(&sql, values).map_err(SqliteError::from)? {
            0 => Err(absent(&format!("such row in {table}"))),
            _ => Ok(()),
        }
    }
}

fn table_row(
    connection: &Connection,
    organization_id: OrganizationId,
    row: &HostRow,
    kind: WriteKind,
) -> Result<TableRow, RepositoryError> {
    Ok(match row {
        HostRow::Channel(row) => TableRow::new(row, ID)?,
        // The steps of a sequence are written separately.
        HostRow::Sequence(row) => TableRow::new(row, ID)?,
        HostRow::Step { sequence_id, step: row } => step(*sequence_id, row)?,
        HostRow::CallFlow(row) => TableRow::new(row, ID)?,
        HostRow::CustomObject(row) => TableRow::new(row, ID)?,
        HostRow::Tag(row) => TableRow::new(row, ID)?,
        HostRow::Contact(row) => TableRow::new(row, ID)?,
        HostRow::CommunicationPreference(row) => TableRow::new(row, &["contact_id", "channel_id"])?,
        HostRow::Conversation(row) => conversation(connection, organization_id, row)?,
        HostRow::Run(row) => TableRow::new(row, ID)?,
        HostRow::StepContact(row) => TableRow::new(row, ID)?,
        HostRow::ContactTag(row) => TableRow::new(row, &["contact_id", "tag_id"])?,
        // A delete uses only the key, so the step contact of the record need not exist.
        HostRow::CustomRecord(row) if kind == WriteKind::Delete => TableRow::new(row, ID)?,
        HostRow::CustomRecord(row) => record(connection, organization_id, row)?,
    })
}

fn step(sequence_id: SequenceId, row: &Step) -> Result<TableRow, SqliteError> {
    let mut step = TableRow::new(row, ID)?;
    step.key.push(("sequence_id", blob(sequence_id.as_uuid())));
    Ok(step)
}

fn conversation(
    connection: &Connection,
    organization_id: OrganizationId,
    row: &Conversation,
) -> Result<TableRow, SqliteError> {
    let sql = "select kind = 'email' from enroll_channels where organization_id = ?1 and id = ?2";
    let ids = [organization_id.as_uuid(), row.channel_id.as_uuid()];
    let is_email: Option<bool> = connection.query_row(sql, ids, |row| row.get(0)).optional()?;
    let mut conversation = TableRow::new(row, ID)?;
    conversation.rest.push(("one_at_most", (is_email != Some(true)).into()));
    Ok(conversation)
}

fn record(
    connection: &Connection,
    organization_id: OrganizationId,
    row: &CustomRecord,
) -> Result<TableRow, RepositoryError> {
    let contact = match row.resource {
        Resource::Contact => row.resource_id,
        Resource::StepContact => {
            let sql = "select contact_id from enroll_step_contacts where organization_id = ?1 and id = ?2";
            let ids = [organization_id.as_uuid(), row.resource_id];
            let contact = connection.query_row(sql, ids, |row| row.get(0)).optional().map_err(SqliteError::from)?;
            contact.ok_or_else(|| absent(&format!("step contact `{}`", row.resource_id)))?
        }
    };
    let mut record = TableRow::new(row, ID)?;
    record.rest.push(("contact_id", blob(contact)));
    Ok(record)
}

fn names(columns: &[(&str, Value)], separator: &str) -> String {
    columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(separator)
}

fn blob(id: Uuid) -> Value {
    Value::Blob(id.as_bytes().to_vec())
}

fn absent(what: &str) -> RepositoryError {
    RepositoryError::new(RepositoryErrorKind::Other, HostWriteError::Absent(what.to_owned()))
}

const ID: &[&str] = &["id"];

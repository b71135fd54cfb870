//! Reads all rows of a database.

use enroll::contact::{Contact, Text};
use enroll::model::{
    CallFlow, Channel, CommunicationPreference, ContactTag, Conversation, CustomObject, CustomRecord, Run, Sequence,
    Step, StepContact, Tag,
};
use enroll::seed::Seed;
use enroll::{OrganizationId, ReferenceData, RepositoryError, SequenceId, Snapshot};
use rusqlite::{Connection, Transaction, TransactionBehavior};
use std::sync::Arc;
use uuid::Uuid;

use crate::error::SqliteError;
use crate::fields::ColumnReader;
use crate::read::{ContactAggregates, for_each_row, read_contact};
use crate::tables::Row;

/// Reads all rows of all organizations, in the order in which they were inserted.
///
/// Rows of an organization other than `organization_id` name theirs.
///
/// # Errors
/// [`RepositoryError`] if the rows cannot be read.
pub fn dump(connection: &Connection, organization_id: OrganizationId) -> Result<Seed, RepositoryError> {
    if !connection.is_autocommit() {
        return Ok(within_transaction(connection, organization_id)?);
    }
    let transaction =
        Transaction::new_unchecked(connection, TransactionBehavior::Deferred).map_err(SqliteError::from)?;
    Ok(within_transaction(&transaction, organization_id)?)
}

fn within_transaction(connection: &Connection, organization_id: OrganizationId) -> Result<Seed, SqliteError> {
    let mut organizations: Vec<(Uuid, Text)> = Vec::new();
    for_each_row(connection, "select organization_id, name from enroll_organizations order by 1", [], |columns| {
        organizations.push((columns.read()?, columns.read()?));
        Ok(())
    })?;
    let snapshots = organizations.iter().map(|(organization, _)| snapshot(connection, *organization));
    let mut seed = Seed::dump(&snapshots.collect::<Result<Vec<_>, _>>()?, organization_id);
    for (organization, name) in organizations.iter().filter(|(_, name)| !name.is_empty()) {
        seed.name_organization(OrganizationId::from_uuid(*organization), name);
    }
    Ok(seed)
}

fn snapshot(connection: &Connection, organization: Uuid) -> Result<Snapshot, SqliteError> {
    let mut snapshot = Snapshot::new(reference_data(connection, organization)?);
    for_each::<Tag>(connection, organization, "", "rowid", |columns| {
        let tag = Tag::read(columns)?;
        snapshot.tags.insert(tag.id, tag);
        Ok(())
    })?;
    snapshot.contacts = contacts(connection, organization)?.into_map();
    Ok(snapshot)
}

fn reference_data(connection: &Connection, organization: Uuid) -> Result<ReferenceData, SqliteError> {
    let mut reference = ReferenceData::new(OrganizationId::from_uuid(organization));
    macro_rules! load {
        ($row:ty, $rows:ident) => {
            for_each::<$row>(connection, organization, "version", "rowid", |columns| {
                let row = <$row>::read_versioned(columns)?;
                reference.$rows.insert(row.value.id, row);
                Ok(())
            })?;
        };
    }
    load!(Channel, channels);
    load!(CallFlow, call_flows);
    load!(CustomObject, custom_objects);
    load!(Sequence, sequences);
    for_each::<Step>(connection, organization, "sequence_id", "rowid", |columns| {
        let sequence_id: SequenceId = columns.read()?;
        if let Some(sequence) = reference.sequences.get_mut(&sequence_id) {
            Arc::make_mut(&mut sequence.value).steps.push(Row::read(columns)?);
        }
        Ok(())
    })?;
    Ok(reference)
}

fn contacts(connection: &Connection, organization: Uuid) -> Result<ContactAggregates, SqliteError> {
    let mut found = Vec::new();
    for_each::<Contact>(connection, organization, "version", "rowid", |columns| {
        found.push(Arc::new(read_contact(columns)?));
        Ok(())
    })?;
    let mut contacts = ContactAggregates::new(found);
    macro_rules! load {
        ($row:ty, $rows:ident, $order:literal) => {
            for_each::<$row>(connection, organization, "contact_id", $order, |columns| {
                let contact_id = columns.read()?;
                let row = Row::read(columns)?;
                contacts.update(contact_id, |aggregate| aggregate.$rows.push(row));
                Ok(())
            })?;
        };
    }
    load!(CommunicationPreference, preferences, "rowid");
    load!(Conversation, conversations, "id");
    load!(Run, runs, "id");
    load!(StepContact, step_contacts, "id");
    load!(CustomRecord, records, "rowid");
    for_each::<ContactTag>(connection, organization, "", "contact_id, tag_id", |columns| {
        let tag = ContactTag::read(columns)?;
        contacts.update(tag.contact_id, |aggregate| aggregate.tags.push(tag.tag_id));
        Ok(())
    })?;
    Ok(contacts)
}

/// Reads all rows of a table. `first` is read before the columns of the row, if it is not empty.
fn for_each<T: Row>(
    connection: &Connection,
    organization: Uuid,
    first: &str,
    order: &str,
    found: impl FnMut(&mut ColumnReader<'_, '_>) -> rusqlite::Result<()>,
) -> Result<(), SqliteError> {
    let columns: Vec<&str> =
        [first].into_iter().filter(|name| !name.is_empty()).chain(T::COLUMNS.iter().copied()).collect();
    let (columns, table) = (columns.join(", "), T::TABLE);
    let sql = format!("select {columns} from {table} where organization_id = ?1 order by {order}");
    for_each_row(connection, &sql, [organization], found)
}

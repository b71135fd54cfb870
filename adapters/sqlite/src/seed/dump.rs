//! All that stands.

use enroll::repository::RepositoryError;
use enroll::seed::Seed;
use enroll::snapshot::{ContactAggregate, ReferenceData, Snapshot};
use enroll::{ContactId, OrganizationId, SequenceId};
use rusqlite::{Connection, Transaction, TransactionBehavior};
use std::sync::Arc;
use uuid::Uuid;

use crate::error::SqliteError;
use crate::read::{People, each};
use crate::rows::{self, columns};

/// All rows of all organizations, in the order in which they were inserted; those of another than `organization_id`
/// name theirs.
///
/// # Errors
/// Whatever keeps them from being read.
pub fn dump(connection: &Connection, organization_id: OrganizationId) -> Result<Seed, RepositoryError> {
    let snapshots = snapshots(connection)?;
    Ok(Seed::dump(&snapshots, organization_id))
}

fn snapshots(connection: &Connection) -> Result<Vec<Snapshot>, SqliteError> {
    if !connection.is_autocommit() {
        return within(connection);
    }
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Deferred)?;
    within(&transaction)
}

fn within(connection: &Connection) -> Result<Vec<Snapshot>, SqliteError> {
    let mut organizations = Vec::new();
    each(connection, "select organization_id from enroll_organizations order by 1", [], |columns| {
        organizations.push(columns.take::<Uuid>()?);
        Ok(())
    })?;
    organizations.into_iter().map(|organization| snapshot(connection, organization)).collect()
}

fn snapshot(connection: &Connection, organization: Uuid) -> Result<Snapshot, SqliteError> {
    let mut snapshot = Snapshot::new(reference_data(connection, organization)?);
    each(connection, TAGS, [organization], |columns| {
        let tag = rows::tag(columns)?;
        snapshot.tags.insert(tag.id, tag);
        Ok(())
    })?;
    let people = people(connection, organization)?;
    snapshot.contacts = people.into_snapshot();
    Ok(snapshot)
}

fn reference_data(connection: &Connection, organization: Uuid) -> Result<ReferenceData, SqliteError> {
    let mut reference = ReferenceData::new(OrganizationId::from_uuid(organization));
    macro_rules! place {
        ($sql:ident, $row:ident, $into:ident) => {
            each(connection, $sql, [organization], |columns| {
                let row = rows::$row(columns)?;
                reference.$into.insert(row.value.id, row);
                Ok(())
            })?;
        };
    }
    place!(CHANNELS, channel, channels);
    place!(CALL_FLOWS, call_flow, call_flows);
    place!(CUSTOM_OBJECTS, custom_object, custom_objects);
    place!(SEQUENCES, sequence, sequences);
    each(connection, STEPS, [organization], |columns| {
        let sequence_id: SequenceId = columns.id()?;
        if let Some(sequence) = reference.sequences.get_mut(&sequence_id) {
            Arc::make_mut(&mut sequence.value).steps.push(rows::step(columns)?);
        }
        Ok(())
    })?;
    Ok(reference)
}

fn people(connection: &Connection, organization: Uuid) -> Result<People, SqliteError> {
    let mut contacts = Vec::new();
    each(connection, CONTACTS, [organization], |columns| {
        let (contact, version) = rows::contact(columns)?;
        contacts.push(Arc::new(ContactAggregate::new(contact, version)));
        Ok(())
    })?;
    let mut people = People::of(contacts);
    macro_rules! place {
        ($sql:ident, $row:ident, $into:ident) => {
            each(connection, $sql, [organization], |columns| {
                let (contact_id, row) = rows::$row(columns)?;
                people.put(contact_id, |person| person.$into.push(row));
                Ok(())
            })?;
        };
    }
    place!(PREFERENCES, preference, preferences);
    place!(CONVERSATIONS, conversation, conversations);
    place!(RUNS, run, runs);
    place!(STEP_CONTACTS, step_contact, step_contacts);
    place!(RECORDS, record, records);
    each(connection, CONTACT_TAGS, [organization], |columns| {
        let (contact_id, tag_id): (ContactId, _) = (columns.id()?, columns.id()?);
        people.put(contact_id, |person| person.tags.push(tag_id));
        Ok(())
    })?;
    Ok(people)
}

macro_rules! all {
    ($columns:ident, $table:literal) => {
        all!($columns, $table, "rowid")
    };
    ($columns:ident, $table:literal, $order:literal) => {
        concat!("select ", columns!($columns), " from ", $table, " where organization_id = ?1 order by ", $order)
    };
}

const CHANNELS: &str = all!(channels, "enroll_channels c");
const CALL_FLOWS: &str = all!(call_flows, "enroll_call_flows f");
const CUSTOM_OBJECTS: &str = all!(custom_objects, "enroll_custom_objects o");
const SEQUENCES: &str = all!(sequences, "enroll_sequences s");
const STEPS: &str = concat!(
    "select t.sequence_id, ",
    columns!(steps),
    " from enroll_steps t where organization_id = ?1 order by rowid"
);
const TAGS: &str = all!(tags, "enroll_tags t");
const CONTACTS: &str = all!(contacts, "enroll_contacts c");
const PREFERENCES: &str = all!(preferences, "enroll_communication_preferences r");
const CONVERSATIONS: &str = all!(conversations, "enroll_conversations r", "id");
const RUNS: &str = all!(runs, "enroll_runs r", "id");
const STEP_CONTACTS: &str = all!(step_contacts, "enroll_step_contacts r", "id");
const CONTACT_TAGS: &str =
    "select contact_id, tag_id from enroll_contact_tags where organization_id = ?1 order by contact_id, tag_id";
const RECORDS: &str = all!(records, "enroll_custom_records r");

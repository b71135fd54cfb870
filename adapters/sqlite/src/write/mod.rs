//! What is written: one statement a table, run once a row, under a lock that is taken first.

mod completion;
mod guards;
mod insert;
mod update;

use enroll::changes::{ChangeSet, Conflict, Rows};
use enroll::model::{CustomRecord, Resource};
use enroll::{ContactId, StepContactId};
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use std::collections::{HashMap, HashSet};
use uuid::Uuid;

use crate::error::SqliteError;

/// Writes a change set inside an open transaction or savepoint, which the caller ends: with all of it, or on an error
/// with nothing.
///
/// What must be unique is so once everything is written: keys that go over are given up first, and step contacts that
/// cease to be live go before new ones.
pub(crate) fn commit(connection: &Connection, changes: &ChangeSet) -> Result<(), SqliteError> {
    // The first write takes the lock, if the transaction does not have it yet: from here on what is guarded stays.
    connection.prepare_cached(LOCK)?.execute([])?;
    past_own_triggers(connection, changes.rows(), || write(connection, changes))?;
    connection.prepare_cached(UNLOCK)?.execute([])?;
    Ok(())
}

fn write(connection: &Connection, changes: &ChangeSet) -> Result<(), SqliteError> {
    let commit = Commit::new(connection, changes);
    let released = commit.check_guards()?;
    commit.complete_enrollment()?;
    commit.release_keys(&released)?;
    commit.update_contacts()?;
    commit.insert_contacts()?;
    commit.insert_conversations()?;
    commit.insert_runs()?;
    commit.reactivate_runs()?;
    commit.update_step_contacts()?;
    commit.insert_step_contacts()?;
    commit.insert_tag()?;
    commit.insert_contact_tags()?;
    commit.insert_records()?;
    commit.update_records()
}

/// No trigger of the schema does anything while the engine writes; but each is called for each row, which is a quarter of
/// what a large commit costs. So they are switched off for it, unless the host has triggers of its own on these tables.
/// A small commit would spend more on preparing its statements anew, as SQLite does whenever the switch is turned.
fn past_own_triggers<T>(
    connection: &Connection,
    rows: &Rows,
    write: impl FnOnce() -> Result<T, SqliteError>,
) -> Result<T, SqliteError> {
    let stand: i64 = connection.prepare_cached(TRIGGERS)?.query_row([], |row| row.get(0))?;
    let recipients = rows.step_contacts_created.len() + rows.step_contacts_updated.len();
    // A host that has switched its triggers off already keeps them off.
    let on = connection.db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER)?;
    if stand != OWN_TRIGGERS || recipients < LARGE || !on {
        return write();
    }
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    let written = write();
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, true)?;
    written
}

/// A commit under way.
struct Commit<'c> {
    connection: &'c Connection,
    changes: &'c ChangeSet,
    organization: Uuid,
    /// The contacts that are created or raised.
    written: HashSet<ContactId>,
    /// Whose the step contacts are that are created or processed again.
    step_contacts: HashMap<StepContactId, ContactId>,
}

impl<'c> Commit<'c> {
    fn new(connection: &'c Connection, changes: &'c ChangeSet) -> Self {
        let rows = changes.rows();
        let created = rows.contacts_created.iter().map(|row| row.id);
        let written = created.chain(rows.contacts_updated.iter().map(|row| row.id)).collect();
        let organization = changes.organization_id().as_uuid();
        Self { connection, changes, organization, written, step_contacts: owners(rows) }
    }

    fn rows(&self) -> &'c Rows {
        self.changes.rows()
    }

    /// A row may only stand round a contact whose version this change set raises.
    fn written(&self, contact_id: ContactId) -> Result<Uuid, Conflict> {
        if self.written.contains(&contact_id) {
            Ok(contact_id.as_uuid())
        } else {
            Err(Conflict::ContactNotWritten(contact_id))
        }
    }

    fn owner(&self, row: &CustomRecord) -> Result<Uuid, Conflict> {
        let contact_id = match row.resource {
            Resource::Contact => ContactId::from_uuid(row.resource_id),
            Resource::StepContact => {
                let id = StepContactId::from_uuid(row.resource_id);
                *self.step_contacts.get(&id).ok_or(Conflict::StepContactGone(id))?
            }
        };
        self.written(contact_id)
    }
}

fn owners(rows: &Rows) -> HashMap<StepContactId, ContactId> {
    if rows.records_created.is_empty() {
        return HashMap::new();
    }
    let created = rows.step_contacts_created.iter().map(|row| (row.id, row.contact_id));
    created.chain(rows.step_contacts_updated.iter().map(|row| (row.id, row.contact_id))).collect()
}

/// Recipients of a commit for which it pays to switch triggers off.
const LARGE: usize = 200;
const TRIGGERS: &str = "select count(*) from sqlite_schema where type = 'trigger' and tbl_name glob 'enroll_*'";
/// As many as the migrations make: a test of the schema counts them.
const OWN_TRIGGERS: i64 = 28;
/// While it is 1 no version trigger fires: a commit raises versions itself. Nobody sees it but this transaction.
const LOCK: &str = "update enroll_engine set writing = 1";
const UNLOCK: &str = "update enroll_engine set writing = 0";

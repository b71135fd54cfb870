//! What is written, a table after the other, under a lock that is taken first: rows that differ in their ids alone with one
//! statement, the others with one that is run for each.

mod completion;
mod guards;
mod insert;
mod update;

#[cfg(test)]
pub(crate) use guards::{CONTACTS, CONTACTS_FROM_TO};
#[cfg(test)]
pub(crate) use update::RAISE_CONTACTS;

use enroll::ContactId;
use enroll::changes::{ChangeSet, Conflict, RowChanges};
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use std::cell::Cell;
use uuid::Uuid;

use crate::error::SqliteError;

/// Whose the open transaction is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transaction {
    /// Begun for this commit alone.
    Own,
    /// A host's, which may have written before.
    Host,
}

/// Writes a change set inside an open transaction or savepoint, which the caller ends: with all of it, or on an error
/// with nothing.
///
/// What must be unique is so once everything is written: keys that go over are given up first, and step contacts that
/// cease to be live go before new ones.
pub(crate) fn commit(
    connection: &Connection,
    changes: &ChangeSet,
    transaction: Transaction,
) -> Result<(), SqliteError> {
    // The first write takes the lock, if the transaction does not have it yet: from here on what is guarded stays.
    connection.prepare_cached(LOCK)?.execute([])?;
    unburdened(connection, changes, transaction, || write(connection, changes))?;
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

/// Writes without what SQLite does for each row and a large commit need not: no trigger of the schema does anything while
/// the engine writes, and each row that refers to another does so to one that this commit creates, or whose version it
/// has checked. Calling the ones and looking up the others is a third of what a large commit costs. Both stay on if the
/// host has triggers of its own on these tables, and for a small commit: it would spend more on preparing its statements
/// anew, as SQLite does whenever a switch is turned. Foreign keys stay on in a host's transaction too, where rows of its
/// own may wait for those that are written here.
fn unburdened<T>(
    connection: &Connection,
    changes: &ChangeSet,
    transaction: Transaction,
    write: impl FnOnce() -> Result<T, SqliteError>,
) -> Result<T, SqliteError> {
    let rows = changes.rows();
    let recipients = rows.step_contacts_created.len() + rows.step_contacts_updated.len();
    let stand = connection.prepare_cached(TRIGGERS)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if recipients < LARGE || stand != (OWN_TRIGGERS, OWN_TRIGGERS) {
        return write();
    }
    let _triggers = Off::switch(connection, DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER)?;
    let tag = rows.tag_created.as_ref().map(|tag| tag.id);
    let refers_to_what_stands =
        changes.guards().sequence.1.is_some() && rows.contact_tags_created.iter().all(|row| Some(row.tag_id) == tag);
    let _references = (transaction == Transaction::Own && refers_to_what_stands)
        .then(|| Off::switch(connection, DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY))
        .transpose()?;
    write()
}

/// A switch of a connection that is off until this is dropped; then it is as it was.
struct Off<'c> {
    connection: &'c Connection,
    switch: DbConfig,
    was: bool,
}

impl<'c> Off<'c> {
    fn switch(connection: &'c Connection, switch: DbConfig) -> Result<Self, SqliteError> {
        let was = connection.db_config(switch)?;
        connection.set_db_config(switch, false)?;
        Ok(Self { connection, switch, was })
    }
}

impl Drop for Off<'_> {
    fn drop(&mut self) {
        // SQLite knows the switch, or it would not be off.
        let _: rusqlite::Result<bool> = self.connection.set_db_config(self.switch, self.was);
    }
}

/// A commit under way.
struct Commit<'c> {
    connection: &'c Connection,
    changes: &'c ChangeSet,
    organization: Uuid,
    /// The contacts that are created or raised, in the order of their ids.
    written: Vec<ContactId>,
    /// Where the last row's contact was: most rows come in the same order.
    last: Cell<usize>,
}

impl<'c> Commit<'c> {
    fn new(connection: &'c Connection, changes: &'c ChangeSet) -> Self {
        let rows = changes.rows();
        let created = rows.contacts_created.iter().map(|row| row.id);
        let mut written: Vec<_> = created.chain(rows.contacts_updated.iter().map(|row| row.id)).collect();
        written.sort_unstable();
        let organization = changes.organization_id().as_uuid();
        Self { connection, changes, organization, written, last: Cell::new(0) }
    }

    fn rows(&self) -> &'c RowChanges {
        self.changes.rows()
    }

    /// A row may only stand round a contact whose version this change set raises.
    fn written(&self, contact_id: ContactId) -> Result<Uuid, Conflict> {
        let last = self.last.get();
        let near = [last, last + 1].into_iter().find(|place| self.written.get(*place) == Some(&contact_id));
        let place = near.or_else(|| self.written.binary_search(&contact_id).ok());
        self.last.set(place.ok_or(Conflict::ContactNotWritten(contact_id))?);
        Ok(contact_id.as_uuid())
    }
}

/// Recipients of a commit for which it pays to switch off what it does not need.
const LARGE: usize = 200;
/// All of them on these tables, also in the schema of what is temporary, and those that bear a name of the engine's.
const TRIGGERS: &str = "select count(*), count(*) filter (where name glob 'enroll_*') from ( \
     select name, tbl_name, type from sqlite_schema union all select name, tbl_name, type from sqlite_temp_schema) \
     where type = 'trigger' and lower(tbl_name) glob 'enroll_*'";
/// As many as the migrations make: a test of the schema counts them.
const OWN_TRIGGERS: i64 = 28;
/// While it is 1 no version trigger fires: a commit raises versions itself. Nobody sees it but this transaction.
const LOCK: &str = "update enroll_engine set writing = 1";
const UNLOCK: &str = "update enroll_engine set writing = 0";

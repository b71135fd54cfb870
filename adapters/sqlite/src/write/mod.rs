//! Writes a change set: one table after the other, under SQLite's write lock.
//!
//! Rows that differ only in their ids are written with one statement. For the others, one statement runs once per row.

mod completion;
mod counts;
mod guards;
mod insert;
mod row_statement;
mod update;

#[cfg(test)]
pub(crate) use guards::{CONTACTS_BY_ID, CONTACTS_BY_RANGE};
#[cfg(test)]
pub(crate) use update::RAISE_CONTACTS;

use enroll::changes::RowChanges;
use enroll::{ChangeSet, ContactId};
use rusqlite::Connection;
use rusqlite::config::DbConfig;
use std::cell::Cell;
use uuid::Uuid;

use crate::error::SqliteError;
use crate::trace::prepare;

/// The owner of the open transaction.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transaction {
    /// The adapter began it for this commit.
    Own,
    /// The host began it, and may have written before.
    Host,
}

/// Writes a change set inside an open transaction or savepoint. After an error, the caller rolls back.
///
/// Uniqueness is checked on the state after the commit: keys that move to another contact are emptied first, and step
/// contacts that stop being live are updated before new ones are inserted.
pub(crate) fn commit(
    connection: &Connection,
    changes: &ChangeSet,
    transaction: Transaction,
) -> Result<(), SqliteError> {
    // This first write acquires the write lock, unless the transaction has it already. Guarded rows cannot change from here on.
    prepare(connection, BEGIN_WRITING)?.execute([])?;
    let commit = Commit::new(connection, changes);
    let released = commit.check_guards()?;
    // The triggers of the enrollment's row are enabled: they write the event.
    commit.complete_enrollment()?;
    with_checks_disabled(connection, changes, transaction, || commit.write_rows(&released))?;
    prepare(connection, END_WRITING)?.execute([])?;
    Ok(())
}

/// Disables triggers and foreign keys during a large commit, where they cost a third of the time.
///
/// They would change nothing: the triggers of the schema on these rows do nothing during a commit, and every foreign key refers to a row
/// that the commit creates or whose version it has checked. They stay enabled in three cases:
/// - The host has its own triggers on these tables.
/// - The commit is small. SQLite prepares all statements again after each switch, which costs more than it saves.
/// - The transaction is the host's (foreign keys only). Rows of the host may have deferred references to rows that are
///   written here.
fn with_checks_disabled<T>(
    connection: &Connection,
    changes: &ChangeSet,
    transaction: Transaction,
    write: impl FnOnce() -> Result<T, SqliteError>,
) -> Result<T, SqliteError> {
    let rows = changes.rows();
    let recipients = rows.step_contacts_created.len() + rows.step_contacts_updated.len();
    let triggers = prepare(connection, COUNT_TRIGGERS)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    if recipients < LARGE_COMMIT || triggers != (SCHEMA_TRIGGERS, SCHEMA_TRIGGERS) {
        return write();
    }
    let _triggers = Disabled::new(connection, DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER)?;
    let guards = changes.guards();
    let created = rows.tag_created.as_ref().map(|tag| tag.id);
    let stored = guards.upload_tag.as_ref().and_then(|(id, name)| name.is_some().then_some(*id));
    let tag = created.or(stored);
    let references_hold =
        guards.sequence.1.is_some() && rows.contact_tags_created.iter().all(|row| Some(row.tag_id) == tag);
    let _references = (transaction == Transaction::Own && references_hold)
        .then(|| Disabled::new(connection, DbConfig::SQLITE_DBCONFIG_ENABLE_FKEY))
        .transpose()?;
    write()
}

/// Disables a setting of a connection until it is dropped, then restores the value.
struct Disabled<'c> {
    connection: &'c Connection,
    setting: DbConfig,
    previous: bool,
}

impl<'c> Disabled<'c> {
    fn new(connection: &'c Connection, setting: DbConfig) -> Result<Self, SqliteError> {
        let previous = connection.db_config(setting)?;
        connection.set_db_config(setting, false)?;
        Ok(Self { connection, setting, previous })
    }
}

impl Drop for Disabled<'_> {
    fn drop(&mut self) {
        // It cannot fail: SQLite accepted the same setting in `new`.
        let _: rusqlite::Result<bool> = self.connection.set_db_config(self.setting, self.previous);
    }
}

/// A commit in progress.
struct Commit<'c> {
    connection: &'c Connection,
    changes: &'c ChangeSet,
    organization: Uuid,
    /// The ids of the contacts that are created or updated, sorted.
    written: Vec<ContactId>,
    /// The index of the last row's contact: most rows arrive in the same order.
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

    /// Writes all rows except the enrollment's. `released` are the contacts that give up keys.
    fn write_rows(&self, released: &[guards::ReleasedKeys]) -> Result<(), SqliteError> {
        self.release_keys(released)?;
        self.update_contacts()?;
        self.insert_contacts()?;
        self.insert_conversations()?;
        self.insert_runs()?;
        self.reactivate_runs()?;
        let replaced = self.update_step_contacts()?;
        self.insert_step_contacts()?;
        self.insert_tag()?;
        self.insert_contact_tags()?;
        self.insert_records()?;
        self.update_records()?;
        self.count_rows(&replaced)
    }
}

/// The number of recipients from which disabling triggers and foreign keys saves time.
const LARGE_COMMIT: usize = 200;
/// Counts all triggers on these tables, temporary ones included, and those of them that this schema names.
const COUNT_TRIGGERS: &str = "select count(*), count(*) filter (where name glob 'enroll_*') from ( \
     select name, tbl_name, type from sqlite_schema union all select name, tbl_name, type from sqlite_temp_schema) \
     where type = 'trigger' and lower(tbl_name) glob 'enroll_*'";
/// The number of triggers in the migrations. A test compares it with the schema.
const SCHEMA_TRIGGERS: i64 = 46;
/// While `writing` is 1, no version trigger fires: a commit raises the versions itself. Other connections never see the 1,
/// because the same transaction sets it back to 0.
const BEGIN_WRITING: &str = "update enroll_engine set writing = 1";
const END_WRITING: &str = "update enroll_engine set writing = 0";

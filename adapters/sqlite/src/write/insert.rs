//! Inserts created rows. A row that exists already is never updated.

use enroll::ContactId;
use enroll::changes::{Conflict, RecordCreation};
use rusqlite::ffi;
use rusqlite::types::Value;
use rusqlite::vtab::array::Array;
use uuid::Uuid;

use super::Commit;
use super::row_statement::RowStatement;
use crate::error::{SqliteError, extended_code};
use crate::fields::Field;
use crate::read::array;
use crate::tables::{PackedRow, Row};
use crate::trace::prepare;

/// What an insert into a table needs to explain a refusal.
struct TableInsert {
    /// Selects a row by its id.
    exists: &'static str,
    /// The thing of which a unique constraint allows only one.
    unique: &'static str,
}

impl Commit<'_> {
    pub(super) fn insert_contacts(&self) -> Result<(), SqliteError> {
        let rows = &self.rows().contacts_created;
        if rows.is_empty() {
            return Ok(());
        }
        let mut statement = RowStatement::new(self.connection, INSERT_CONTACT)?;
        for row in rows {
            self.organization.bind(&mut statement)?;
            row.bind(&mut statement)?;
            statement.execute().map_err(|e| self.refused(&CONTACT, [row.id.as_uuid()], e))?;
        }
        Ok(())
    }

    pub(super) fn insert_conversations(&self) -> Result<(), SqliteError> {
        self.insert_packed(&self.rows().conversations_created, &CONVERSATION, |row| row.id.as_uuid())
    }

    pub(super) fn insert_runs(&self) -> Result<(), SqliteError> {
        self.insert_packed(&self.rows().runs_created, &RUN, |row| row.id.as_uuid())
    }

    pub(super) fn insert_step_contacts(&self) -> Result<(), SqliteError> {
        self.insert_packed(&self.rows().step_contacts_created, &STEP_CONTACT, |row| row.id.as_uuid())
    }

    pub(super) fn insert_contact_tags(&self) -> Result<(), SqliteError> {
        self.insert_packed(&self.rows().contact_tags_created, &CONTACT_TAG, |row| row.tag_id.as_uuid())
    }

    pub(super) fn insert_tag(&self) -> Result<(), SqliteError> {
        let Some(row) = &self.rows().tag_created else { return Ok(()) };
        let mut statement = RowStatement::new(self.connection, INSERT_TAG)?;
        self.organization.bind(&mut statement)?;
        row.bind(&mut statement)?;
        statement.execute().map_err(|e| self.refused(&TAG, [row.id.as_uuid()], e))?;
        Ok(())
    }

    pub(super) fn insert_records(&self) -> Result<(), SqliteError> {
        let rows = &self.rows().records_created;
        if rows.is_empty() {
            return Ok(());
        }
        let mut statement = RowStatement::new(self.connection, INSERT_RECORD)?;
        for RecordCreation { contact_id, record: row, .. } in rows {
            self.organization.bind(&mut statement)?;
            self.check_written(*contact_id)?.bind(&mut statement)?;
            row.bind(&mut statement)?;
            statement.execute().map_err(|e| self.refused(&RECORD, [row.id.as_uuid()], e))?;
        }
        Ok(())
    }

    /// Inserts rows with one statement for all that share their other cells.
    ///
    /// The rows are sorted by id, so that SQLite finds each place next to the one before.
    fn insert_packed<T: PackedRow>(
        &self,
        rows: &[T],
        insert: &TableInsert,
        id: impl Fn(&T) -> Uuid,
    ) -> Result<(), SqliteError> {
        for rows in rows.chunk_by(T::shares_cells) {
            let Some(row) = rows.first() else { continue };
            let (ids, positions) = self.pack(rows)?;
            let mut statement = RowStatement::new(self.connection, T::INSERT)?;
            statement.bind_value(self.organization)?;
            statement.bind_value(positions)?;
            statement.bind_value(ids)?;
            row.bind_shared(&mut statement)?;
            statement.execute().map_err(|e| self.refused(insert, rows.iter().map(&id), e))?;
        }
        Ok(())
    }

    /// Returns the ids of all rows in one blob, and the positions in it at which each row begins.
    fn pack<T: PackedRow>(&self, rows: &[T]) -> Result<(Vec<u8>, Array), Conflict> {
        let mut ids = Vec::with_capacity(rows.len() * T::WIDTH);
        for row in rows {
            self.check_written(row.contact_id())?;
            row.pack(&mut ids);
        }
        let positions = (1..).step_by(T::WIDTH).take(rows.len()).map(Value::Integer);
        Ok((ids, array(positions)))
    }

    /// Explains why SQLite refused rows of these ids. None of them was inserted.
    fn refused(&self, insert: &TableInsert, ids: impl IntoIterator<Item = Uuid>, e: rusqlite::Error) -> SqliteError {
        let code = extended_code(&e);
        if !matches!(code, Some(ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_UNIQUE)) {
            return e.into();
        }
        // An existing id comes first: a new plan would derive the same id again.
        match self.first_existing(insert, ids) {
            Ok(Some(id)) => SqliteError::IdExists(id),
            Ok(None) if code == Some(ffi::SQLITE_CONSTRAINT_UNIQUE) => SqliteError::NotUnique(insert.unique),
            // A table of the host, to which one of its triggers wrote.
            Ok(None) => e.into(),
            Err(error) => error,
        }
    }

    fn first_existing(
        &self,
        insert: &TableInsert,
        ids: impl IntoIterator<Item = Uuid>,
    ) -> Result<Option<Uuid>, SqliteError> {
        let mut exists = prepare(self.connection, insert.exists)?;
        for id in ids {
            if exists.exists([self.organization, id])? {
                return Ok(Some(id));
            }
        }
        Ok(None)
    }

    /// Checks that this change set creates the contact or raises its version: only then may its related rows change.
    pub(super) fn check_written(&self, contact_id: ContactId) -> Result<Uuid, Conflict> {
        let last = self.last.get();
        let near = [last, last + 1].into_iter().find(|index| self.written.get(*index) == Some(&contact_id));
        let index = near.or_else(|| self.written.binary_search(&contact_id).ok());
        self.last.set(index.ok_or(Conflict::ContactNotWritten(contact_id))?);
        Ok(contact_id.as_uuid())
    }
}

macro_rules! exists {
    ($table:literal, $id:literal) => {
        concat!("select 1 from ", $table, " where organization_id = ?1 and ", $id, " = ?2")
    };
}

const INSERT_CONTACT: &str = concat!(
    "insert into enroll_contacts (organization_id, version, ",
    contacts!(columns),
    ") values (?1, 1, ",
    contacts!(parameters),
    ")"
);
const INSERT_TAG: &str =
    concat!("insert into enroll_tags (organization_id, ", tags!(columns), ") values (?1, ", tags!(parameters), ")");
const INSERT_RECORD: &str = concat!(
    "insert into enroll_custom_records (organization_id, contact_id, ",
    records!(columns),
    ") values (?1, ?2, ",
    records!(parameters),
    ")"
);
static CONTACT: TableInsert = TableInsert {
    exists: exists!("enroll_contacts", "id"),
    unique: "a contact with the external id, the phone or the email",
};
static CONVERSATION: TableInsert = TableInsert {
    exists: exists!("enroll_conversations", "id"),
    unique: "a conversation of the contact on the channel",
};
static RUN: TableInsert = TableInsert { exists: exists!("enroll_runs", "id"), unique: "a run" };
static STEP_CONTACT: TableInsert = TableInsert {
    exists: exists!("enroll_step_contacts", "id"),
    unique: "a live step contact of the contact in the sequence",
};
static TAG: TableInsert = TableInsert { exists: exists!("enroll_tags", "id"), unique: "a tag" };
static CONTACT_TAG: TableInsert =
    TableInsert { exists: exists!("enroll_contact_tags", "tag_id"), unique: "a tag on the contact" };
static RECORD: TableInsert = TableInsert {
    exists: exists!("enroll_custom_records", "id"),
    unique: "a record of the custom object for the resource",
};

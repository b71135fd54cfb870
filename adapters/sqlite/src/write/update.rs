//! Updates existing rows. A row that no longer exists is a conflict.

use enroll::SequenceId;
use enroll::changes::{Conflict, ReplacedStatus, StepContactUpdate};
use enroll::snapshot::Version;
use rusqlite::{OptionalExtension, ffi, params};

use super::Commit;
use super::guards::ReleasedKeys;
use super::row_statement::RowStatement;
use crate::error::{SqliteError, extended_code};
use crate::fields::{ColumnReader, Field};
use crate::read::id_array;
use crate::tables::bind_contact_fields;
use crate::trace::prepare;

impl Commit<'_> {
    /// Empties keys that move to another contact, so that the order of the later writes does not matter.
    pub(super) fn release_keys(&self, released: &[ReleasedKeys]) -> Result<(), SqliteError> {
        if released.is_empty() {
            return Ok(());
        }
        let mut statement = prepare(self.connection, RELEASE_KEYS)?;
        for ReleasedKeys { contact, keys: [external_id, phone, email] } in released {
            statement.execute(params![self.organization, contact, external_id, phone, email])?;
        }
        Ok(())
    }

    pub(super) fn update_contacts(&self) -> Result<(), SqliteError> {
        let updates = &self.rows().contacts_updated;
        // Most updates only raise the version, which changes no index.
        let (raised, set): (Vec<_>, Vec<_>) = updates.iter().partition(|update| update.set.is_empty());
        if !raised.is_empty() {
            // `check_guards` compared the versions, under the write lock.
            let ids = id_array(raised.iter().map(|update| update.id.as_uuid()));
            let written = prepare(self.connection, RAISE_CONTACTS)?.execute(params![self.organization, ids])?;
            if let Some(update) = raised.first().filter(|_| written != raised.len()) {
                return Err(Conflict::ContactChanged(update.id).into());
            }
        }
        if set.is_empty() {
            return Ok(());
        }
        let mut statement = RowStatement::new(self.connection, UPDATE_CONTACT)?;
        for update in set {
            self.organization.bind(&mut statement)?;
            update.id.bind(&mut statement)?;
            stored(update.expected).bind(&mut statement)?;
            self.changes.at().bind(&mut statement)?;
            bind_contact_fields(&update.set, &mut statement)?;
            let written = statement
                .execute()
                .map_err(|e| unique_error(e, "a contact with the external id, the phone or the email"))?;
            check_one(written, Conflict::ContactChanged(update.id))?;
        }
        Ok(())
    }

    pub(super) fn reactivate_runs(&self) -> Result<(), SqliteError> {
        let rows = &self.rows().runs_reactivated;
        if rows.is_empty() {
            return Ok(());
        }
        let mut statement = prepare(self.connection, REACTIVATE_RUN)?;
        for row in rows {
            let params = params![self.organization, row.run_id.as_uuid(), self.check_written(row.contact_id)?];
            check_one(statement.execute(params)?, Conflict::RunGone(row.run_id))?;
        }
        Ok(())
    }

    /// Returns the previous status of each step contact whose status changes.
    pub(super) fn update_step_contacts(&self) -> Result<Vec<ReplacedStatus>, SqliteError> {
        let rows = &self.rows().step_contacts_updated;
        let mut replaced = Vec::new();
        if rows.is_empty() {
            return Ok(replaced);
        }
        let sequence = self.changes.completion().enrollment.sequence_id;
        let mut same_status = RowStatement::new(self.connection, UPDATE_STEP_CONTACT)?;
        let mut with_status = RowStatement::new(self.connection, UPDATE_STEP_CONTACT_AND_STATUS)?;
        for row in rows {
            let contact = self.check_written(row.contact_id)?;
            let bind = |statement: &mut RowStatement<'_>| {
                self.organization.bind(statement)?;
                contact.bind(statement)?;
                sequence.bind(statement)?;
                row.id.bind(statement)?;
                row.status.bind(statement)?;
                row.scheduled_at.bind(statement)?;
                row.enrollment_id.bind(statement)?;
                row.times_processed.bind(statement)?;
                row.channel_id.bind(statement)?;
                row.default_call_flow_id.bind(statement)
            };
            bind(&mut same_status)?;
            // Most rows keep their status. Then the index of live step contacts does not change.
            if same_status.execute()? == 0 {
                replaced.extend(self.replaced_status(sequence, row)?);
                bind(&mut with_status)?;
                let updated = with_status
                    .execute()
                    .map_err(|e| unique_error(e, "a live step contact of the contact in the sequence"))?;
                check_one(updated, Conflict::StepContactGone(row.id))?;
            }
        }
        Ok(replaced)
    }

    fn replaced_status(
        &self,
        sequence: SequenceId,
        row: &StepContactUpdate,
    ) -> Result<Option<ReplacedStatus>, SqliteError> {
        let mut statement = prepare(self.connection, STATUS_OF_STEP_CONTACT)?;
        let key = [self.organization, row.contact_id.as_uuid(), sequence.as_uuid(), row.id.as_uuid()];
        let read = |stored: &rusqlite::Row<'_>| {
            let mut columns = ColumnReader::new(stored);
            Ok(ReplacedStatus { step_id: columns.read()?, before: columns.read()?, after: row.status })
        };
        Ok(statement.query_row(key, read).optional()?)
    }

    pub(super) fn update_records(&self) -> Result<(), SqliteError> {
        let rows = &self.rows().records_updated;
        if rows.is_empty() {
            return Ok(());
        }
        let mut statement = prepare(self.connection, UPDATE_RECORD)?;
        for row in rows {
            let properties = serde_json::to_string(&row.properties)?;
            let params = params![self.organization, row.id.as_uuid(), self.check_written(row.contact_id)?, properties];
            check_one(statement.execute(params)?, Conflict::RecordGone(row.id))?;
        }
        Ok(())
    }
}

fn check_one(updated: usize, gone: Conflict) -> Result<(), Conflict> {
    if updated == 1 { Ok(()) } else { Err(gone) }
}

fn unique_error(error: rusqlite::Error, unique: &'static str) -> SqliteError {
    match extended_code(&error) {
        Some(ffi::SQLITE_CONSTRAINT_UNIQUE) => SqliteError::NotUnique(unique),
        _ => error.into(),
    }
}

/// Returns the version as a column stores it. A version that no column can hold matches no row.
fn stored(version: Version) -> i64 {
    i64::try_from(version.0).unwrap_or(-1)
}

const RELEASE_KEYS: &str = "update enroll_contacts set \
     external_id = case when ?3 then null else external_id end, phone = case when ?4 then null else phone end, \
     email = case when ?5 then null else email end, email_key = case when ?5 then null else email_key end \
     where organization_id = ?1 and id = ?2";
pub(crate) const RAISE_CONTACTS: &str = "update enroll_contacts set version = version + 1 \
     where organization_id = ?1 and id in (select k.value from rarray(?2) k)";
const UPDATE_CONTACT: &str = concat!(
    "update enroll_contacts set version = version + 1, updated_at = ?4",
    contact_assignments!(),
    " where organization_id = ?1 and id = ?2 and version = ?3"
);
const REACTIVATE_RUN: &str =
    "update enroll_runs set status = 'active' where organization_id = ?1 and id = ?2 and contact_id = ?3";
macro_rules! update_step_contact {
    ($status:literal, $and:literal) => {
        concat!(
            "update enroll_step_contacts set ",
            $status,
            "scheduled_at = ?6, enrollment_id = ?7, times_processed = ?8, channel_id = coalesce(?9, channel_id), \
             default_call_flow_id = coalesce(?10, default_call_flow_id) \
             where organization_id = ?1 and contact_id = ?2 and sequence_id = ?3 and id = ?4",
            $and
        )
    };
}

const UPDATE_STEP_CONTACT: &str = update_step_contact!("", " and status = ?5");
const UPDATE_STEP_CONTACT_AND_STATUS: &str = update_step_contact!("status = ?5, ", "");
const STATUS_OF_STEP_CONTACT: &str = "select step_id, status from enroll_step_contacts \
     where organization_id = ?1 and contact_id = ?2 and sequence_id = ?3 and id = ?4";
const UPDATE_RECORD: &str = "update enroll_custom_records set properties = ?4 \
     where organization_id = ?1 and id = ?2 and contact_id = ?3";

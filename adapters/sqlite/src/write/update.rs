//! RowChanges that exist and change. One that is gone is a conflict.

use enroll::changes::Conflict;
use enroll::contact::Email;
use enroll::snapshot::Version;
use enroll::{CallFlowId, ChannelId};
use rusqlite::{CachedStatement, ffi, params};

use super::Commit;
use super::guards::Released;
use crate::error::{SqliteError, extended_code};
use crate::read::ids;

impl Commit<'_> {
    /// Empties keys that go over to another contact, so that the order in which rows are written does not matter.
    pub(super) fn release_keys(&self, released: &[Released]) -> Result<(), SqliteError> {
        if released.is_empty() {
            return Ok(());
        }
        let mut statement = self.connection.prepare_cached(RELEASE_KEYS)?;
        for Released { contact, keys: [external_id, phone, email] } in released {
            statement.execute(params![self.organization, contact, external_id, phone, email])?;
        }
        Ok(())
    }

    pub(super) fn update_contacts(&self) -> Result<(), SqliteError> {
        let updates = &self.rows().contacts_updated;
        // Most are only raised, which touches no index.
        let (raised, set): (Vec<_>, Vec<_>) = updates.iter().partition(|update| update.set.is_empty());
        if !raised.is_empty() {
            // Each was found at the version that it must have, under the lock.
            let ids = ids(raised.iter().map(|update| update.id.as_uuid()));
            let written = self.connection.prepare_cached(RAISE_CONTACTS)?.execute(params![self.organization, ids])?;
            if let Some(update) = raised.first().filter(|_| written != raised.len()) {
                return Err(Conflict::ContactChanged(update.id).into());
            }
        }
        if set.is_empty() {
            return Ok(());
        }
        let mut statement = self.connection.prepare_cached(UPDATE_CONTACT)?;
        for update in set {
            let set = &update.set;
            let address = set.address.as_deref().map(serde_json::to_string).transpose()?;
            let birth_date = set.birth_date.unwrap_or_default();
            let written = statement.execute(params![
                self.organization,
                update.id.as_uuid(),
                stored(update.expected),
                self.changes.at().millis(),
                set.external_id.as_deref(),
                set.phone.as_deref(),
                set.email.as_ref().map(Email::as_str),
                set.email.as_ref().map(Email::key),
                set.name.as_deref(),
                set.language.as_deref(),
                set.default_channel_id.map(ChannelId::as_uuid),
                address,
                set.birth_date.is_some(),
                birth_date.day,
                birth_date.month,
                birth_date.year,
            ]);
            let written = written.map_err(|e| unique(e, "a contact with the external id, the phone or the email"))?;
            one(written, Conflict::ContactChanged(update.id))?;
        }
        Ok(())
    }

    pub(super) fn reactivate_runs(&self) -> Result<(), SqliteError> {
        let rows = &self.rows().runs_reactivated;
        if rows.is_empty() {
            return Ok(());
        }
        let mut statement = self.connection.prepare_cached(REACTIVATE_RUN)?;
        for row in rows {
            let params = params![self.organization, row.run_id.as_uuid(), self.written(row.contact_id)?];
            one(statement.execute(params)?, Conflict::RunGone(row.run_id))?;
        }
        Ok(())
    }

    pub(super) fn update_step_contacts(&self) -> Result<(), SqliteError> {
        let rows = &self.rows().step_contacts_updated;
        if rows.is_empty() {
            return Ok(());
        }
        let sequence = self.changes.completion().enrollment.sequence_id.as_uuid();
        let mut same_status = self.connection.prepare_cached(UPDATE_STEP_CONTACT)?;
        let mut with_status = self.connection.prepare_cached(UPDATE_STEP_CONTACT_AND_STATUS)?;
        for row in rows {
            let contact = self.written(row.contact_id)?;
            let update = |statement: &mut CachedStatement<'_>| {
                statement.execute(params![
                    self.organization,
                    contact,
                    sequence,
                    row.id.as_uuid(),
                    row.status.as_str(),
                    row.scheduled_at.millis(),
                    row.enrollment_id.as_uuid(),
                    row.times_processed,
                    row.channel_id.map(ChannelId::as_uuid),
                    row.default_call_flow_id.map(CallFlowId::as_uuid),
                ])
            };
            // Most keep their status, and then the index of those that are live stays as it is.
            if update(&mut same_status)? == 0 {
                let updated = update(&mut with_status);
                let updated = updated.map_err(|e| unique(e, "a live step contact of the contact in the sequence"))?;
                one(updated, Conflict::StepContactGone(row.id))?;
            }
        }
        Ok(())
    }

    pub(super) fn update_records(&self) -> Result<(), SqliteError> {
        let rows = &self.rows().records_updated;
        if rows.is_empty() {
            return Ok(());
        }
        let mut statement = self.connection.prepare_cached(UPDATE_RECORD)?;
        for row in rows {
            let properties = serde_json::to_string(&row.properties)?;
            let params = params![self.organization, row.id.as_uuid(), self.written(row.contact_id)?, properties];
            one(statement.execute(params)?, Conflict::RecordGone(row.id))?;
        }
        Ok(())
    }
}

fn one(updated: usize, gone: Conflict) -> Result<(), Conflict> {
    if updated == 1 { Ok(()) } else { Err(gone) }
}

fn unique(error: rusqlite::Error, once: &'static str) -> SqliteError {
    match extended_code(&error) {
        Some(ffi::SQLITE_CONSTRAINT_UNIQUE) => SqliteError::NotUnique(once),
        _ => error.into(),
    }
}

/// No stored version is beyond what a column can hold, so one that is matches none.
fn stored(version: Version) -> i64 {
    i64::try_from(version.0).unwrap_or(-1)
}

const RELEASE_KEYS: &str = "update enroll_contacts set \
     external_id = case when ?3 then null else external_id end, phone = case when ?4 then null else phone end, \
     email = case when ?5 then null else email end, email_key = case when ?5 then null else email_key end \
     where organization_id = ?1 and id = ?2";
pub(crate) const RAISE_CONTACTS: &str = "update enroll_contacts set version = version + 1 \
     where organization_id = ?1 and id in (select k.value from rarray(?2) k)";
const UPDATE_CONTACT: &str = "update enroll_contacts set version = version + 1, updated_at = ?4, \
     external_id = coalesce(?5, external_id), phone = coalesce(?6, phone), email = coalesce(?7, email), \
     email_key = coalesce(?8, email_key), name = coalesce(?9, name), language = coalesce(?10, language), \
     default_channel_id = coalesce(?11, default_channel_id), address = coalesce(?12, address), \
     birth_day = case when ?13 then ?14 else birth_day end, birth_month = case when ?13 then ?15 else birth_month end, \
     birth_year = case when ?13 then ?16 else birth_year end \
     where organization_id = ?1 and id = ?2 and version = ?3";
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
const UPDATE_RECORD: &str = "update enroll_custom_records set properties = ?4 \
     where organization_id = ?1 and id = ?2 and contact_id = ?3";

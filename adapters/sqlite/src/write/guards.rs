//! Checks that the facts on which the plan depends are still true.

use enroll::changes::{Conflict, ContactUpdate, RowChanges};
use enroll::contact::{ContactKeys, Email, KeyKind, Text};
use enroll::snapshot::Version;
use enroll::{ChannelId, ContactId, TagId};
use rusqlite::{OptionalExtension, params};
use std::cell::LazyCell;
use std::collections::{HashMap, HashSet};
use uuid::Uuid;

use super::Commit;
use crate::error::SqliteError;
use crate::fields::ColumnReader;
use crate::id_ranges::ContactRanges;
use crate::read::{for_each_row, id_array, text_array};
use crate::trace::prepare;

/// Keys that the change set takes from a contact and gives to another one.
pub(super) struct ReleasedKeys {
    pub(super) contact: Uuid,
    /// One entry per kind of key: external id, phone, email.
    pub(super) keys: [bool; 3],
}

impl Commit<'_> {
    /// Checks every guard. Returns the keys that move from one contact to another.
    pub(super) fn check_guards(&self) -> Result<Vec<ReleasedKeys>, SqliteError> {
        let guards = self.changes.guards();
        self.check_enrollment()?;
        let (id, version) = guards.sequence;
        if self.version_of(SEQUENCE, id.as_uuid())? != version {
            return Err(Conflict::SequenceChanged(id).into());
        }
        self.check_channels(&guards.channels)?;
        if let Some((id, version)) = guards.custom_object
            && self.version_of(CUSTOM_OBJECT, id.as_uuid())? != version
        {
            return Err(Conflict::CustomObjectChanged(id).into());
        }
        if let Some((id, version)) = guards.call_flow
            && self.version_of(CALL_FLOW, id.as_uuid())? != version
        {
            return Err(Conflict::CallFlowChanged(id).into());
        }
        if let Some((id, name)) = &guards.upload_tag
            && self.name_of_tag(*id)?.as_ref() != name.as_ref()
        {
            return Err(Conflict::TagChanged(*id).into());
        }
        let released = self.check_contacts(&guards.contacts)?;
        self.check_unclaimed(&guards.unclaimed_keys)?;
        Ok(released)
    }

    fn version_of(&self, sql: &str, id: Uuid) -> Result<Option<Version>, SqliteError> {
        let mut statement = prepare(self.connection, sql)?;
        Ok(statement.query_row([self.organization, id], |row| ColumnReader::new(row).version()).optional()?)
    }

    fn name_of_tag(&self, id: TagId) -> Result<Option<Text>, SqliteError> {
        let mut statement = prepare(self.connection, TAG)?;
        Ok(statement.query_row([self.organization, id.as_uuid()], |row| ColumnReader::new(row).read()).optional()?)
    }

    fn check_channels(&self, channels: &[(ChannelId, Option<Version>)]) -> Result<(), SqliteError> {
        if channels.is_empty() {
            return Ok(());
        }
        let mut stored: HashMap<ChannelId, Version> = HashMap::with_capacity(channels.len());
        let ids = id_array(channels.iter().map(|(id, _)| id.as_uuid()));
        for_each_row(self.connection, CHANNELS, params![self.organization, ids], |columns| {
            stored.insert(columns.read()?, columns.version()?);
            Ok(())
        })?;
        match channels.iter().find(|(id, version)| stored.get(id).copied() != *version) {
            Some((id, _)) => Err(Conflict::ChannelChanged(*id).into()),
            None => Ok(()),
        }
    }

    /// Checks the versions of the contacts to update, and of those that only have a guard.
    fn check_contacts(&self, guarded: &[(ContactId, Version)]) -> Result<Vec<ReleasedKeys>, SqliteError> {
        let updates = &self.rows().contacts_updated;
        if guarded.is_empty() && updates.is_empty() {
            return Ok(Vec::new());
        }
        let expected = || guarded.iter().copied().chain(updates.iter().map(|update| (update.id, update.expected)));
        let by_id: HashMap<ContactId, &ContactUpdate> = updates.iter().map(|update| (update.id, update)).collect();
        let mut stored = HashMap::with_capacity(guarded.len() + updates.len());
        let assigned = LazyCell::new(|| AssignedKeys::new(self.rows()));
        let mut released = Vec::new();
        let mut ids: Vec<Uuid> = expected().map(|(id, _)| id.as_uuid()).collect();
        ids.sort_unstable();
        let ranges = ContactRanges::new(self.organization, &ids);
        ranges.for_each_contact(self.connection, CONTACTS_BY_RANGE, CONTACTS_BY_ID, |columns| {
            let id: ContactId = columns.read()?;
            stored.insert(id, columns.version()?);
            if let Some(update) = by_id.get(&id) {
                let keys = released_keys(columns, update, || &assigned)?;
                if keys.contains(&true) {
                    released.push(ReleasedKeys { contact: id.as_uuid(), keys });
                }
            }
            Ok(())
        })?;
        match expected().find(|(id, version)| stored.get(id) != Some(version)) {
            Some((id, _)) => Err(Conflict::ContactChanged(id).into()),
            None => Ok(released),
        }
    }

    /// Checks that no contact has a key that the plan found unclaimed.
    fn check_unclaimed(&self, keys: &ContactKeys) -> Result<(), SqliteError> {
        let lists = [
            (KeyKind::ExternalId, OWNER_OF_EXTERNAL_ID, keys.external_ids()),
            (KeyKind::Phone, OWNER_OF_PHONE, keys.phones()),
            (KeyKind::Email, OWNER_OF_EMAIL, keys.emails()),
        ];
        for (key, sql, texts) in lists {
            if texts.is_empty() {
                continue;
            }
            let mut statement = prepare(self.connection, sql)?;
            let owner = statement
                .query_row(params![self.organization, text_array(texts.iter())], |row| {
                    let mut columns = ColumnReader::new(row);
                    Ok((columns.read()?, columns.read()?))
                })
                .optional()?;
            if let Some((holder, text)) = owner {
                return Err(Conflict::KeyHeld { key, text, holder }.into());
            }
        }
        Ok(())
    }
}

/// The keys that the change set gives to contacts, one set per kind.
struct AssignedKeys<'c>([HashSet<&'c str>; 3]);

impl<'c> AssignedKeys<'c> {
    fn new(rows: &'c RowChanges) -> Self {
        let [mut external_ids, mut phones, mut emails] = [(); 3].map(|()| HashSet::new());
        for row in &rows.contacts_created {
            external_ids.extend(row.external_id.as_deref());
            phones.extend(row.phone.as_deref());
            emails.extend(row.email.as_ref().map(Email::key));
        }
        for ContactUpdate { set, .. } in &rows.contacts_updated {
            external_ids.extend(set.external_id.as_deref());
            phones.extend(set.phone.as_deref());
            emails.extend(set.email.as_ref().map(Email::key));
        }
        Self([external_ids, phones, emails])
    }
}

/// Returns which stored keys the update replaces and the change set gives to a contact.
///
/// The keys are the next columns.
fn released_keys<'c>(
    columns: &mut ColumnReader<'_, '_>,
    update: &ContactUpdate,
    assigned: impl Fn() -> &'c AssignedKeys<'c>,
) -> rusqlite::Result<[bool; 3]> {
    let set = &update.set;
    let new = [set.external_id.as_deref(), set.phone.as_deref(), set.email.as_ref().map(Email::key)];
    let mut released = [false; 3];
    for (kind, new) in new.into_iter().enumerate() {
        let Some(new) = new else {
            columns.skip();
            continue;
        };
        if let Some(stored) = columns.text_or_null()? {
            released[kind] = stored != new && assigned().0[kind].contains(stored);
        }
    }
    Ok(released)
}

macro_rules! owner {
    ($key:literal) => {
        concat!(
            "select c.id, k.value from rarray(?2) k cross join enroll_contacts c on c.organization_id = ?1 and c.",
            $key,
            " = k.value limit 1"
        )
    };
}

const SEQUENCE: &str = "select version from enroll_sequences where organization_id = ?1 and id = ?2";
const CUSTOM_OBJECT: &str = "select version from enroll_custom_objects where organization_id = ?1 and id = ?2";
const CALL_FLOW: &str = "select version from enroll_call_flows where organization_id = ?1 and id = ?2";
const TAG: &str = "select name from enroll_tags where organization_id = ?1 and id = ?2";
const CHANNELS: &str = "select c.id, c.version from rarray(?2) k \
     cross join enroll_channels c on c.organization_id = ?1 and c.id = k.value";
pub(crate) const CONTACTS_BY_ID: &str = "select c.id, c.version, c.external_id, c.phone, c.email_key from rarray(?2) k \
     cross join enroll_contacts c on c.organization_id = ?1 and c.id = k.value";
pub(crate) const CONTACTS_BY_RANGE: &str = "select c.id, c.version, c.external_id, c.phone, c.email_key from enroll_contacts c \
     where c.organization_id = ?1 and c.id between ?2 and ?3";
const OWNER_OF_EXTERNAL_ID: &str = owner!("held_external_id");
const OWNER_OF_PHONE: &str = owner!("held_phone");
const OWNER_OF_EMAIL: &str = owner!("held_email");

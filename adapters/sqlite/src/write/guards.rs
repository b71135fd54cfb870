//! What must still be true.

use enroll::changes::{Conflict, ContactUpdate, RowChanges};
use enroll::contact::{ContactKeys, Email, KeyKind, Text};
use enroll::snapshot::Version;
use enroll::{ChannelId, ContactId};
use rusqlite::types::Value;
use rusqlite::{OptionalExtension, Params, Row, params};
use std::cell::LazyCell;
use std::collections::{HashMap, HashSet};
use uuid::Uuid;

use super::Commit;
use crate::error::SqliteError;
use crate::read::{Stretches, array, ids};

/// Keys that a contact gives up for others, and that another row of the change set claims.
pub(super) struct Released {
    pub(super) contact: Uuid,
    /// One a kind of key, in their order.
    pub(super) keys: [bool; 3],
}

impl Commit<'_> {
    /// Checks every guard, and tells which keys go over from one contact to another.
    pub(super) fn check_guards(&self) -> Result<Vec<Released>, SqliteError> {
        let guards = self.changes.guards();
        self.check_enrollment()?;
        let (id, version) = guards.sequence;
        if self.one(SEQUENCE, id.as_uuid())? != version {
            return Err(Conflict::SequenceChanged(id).into());
        }
        self.check_channels(&guards.channels)?;
        if let Some((id, version)) = guards.custom_object
            && self.one(CUSTOM_OBJECT, id.as_uuid())? != version
        {
            return Err(Conflict::CustomObjectChanged(id).into());
        }
        if let Some((id, version)) = guards.call_flow
            && self.one(CALL_FLOW, id.as_uuid())? != version
        {
            return Err(Conflict::CallFlowChanged(id).into());
        }
        let released = self.check_contacts(&guards.contacts)?;
        self.check_unclaimed(&guards.unclaimed_keys)?;
        Ok(released)
    }

    fn one(&self, sql: &str, id: Uuid) -> Result<Option<Version>, SqliteError> {
        let mut statement = self.connection.prepare_cached(sql)?;
        Ok(statement.query_row([self.organization, id], |row| version(row, 0)).optional()?)
    }

    fn each(
        &self,
        sql: &str,
        params: impl Params,
        mut found: impl FnMut(&Row<'_>) -> Result<(), SqliteError>,
    ) -> Result<(), SqliteError> {
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(params)?;
        while let Some(row) = rows.next()? {
            found(row)?;
        }
        Ok(())
    }

    fn check_channels(&self, channels: &[(ChannelId, Option<Version>)]) -> Result<(), SqliteError> {
        if channels.is_empty() {
            return Ok(());
        }
        let mut stand = HashMap::with_capacity(channels.len());
        let named = ids(channels.iter().map(|(id, _)| id.as_uuid()));
        self.each(CHANNELS, params![self.organization, named], |row| {
            stand.insert(ChannelId::from_uuid(row.get(0)?), version(row, 1)?);
            Ok(())
        })?;
        match channels.iter().find(|(id, version)| stand.get(id).copied() != *version) {
            Some((id, _)) => Err(Conflict::ChannelChanged(*id).into()),
            None => Ok(()),
        }
    }

    /// Those that are written and those that only hold a key, in one go.
    fn check_contacts(&self, guarded: &[(ContactId, Version)]) -> Result<Vec<Released>, SqliteError> {
        let updates = &self.rows().contacts_updated;
        if guarded.is_empty() && updates.is_empty() {
            return Ok(Vec::new());
        }
        let expected = || guarded.iter().copied().chain(updates.iter().map(|update| (update.id, update.expected)));
        let by_id: HashMap<ContactId, &ContactUpdate> = updates.iter().map(|update| (update.id, update)).collect();
        let mut stand = HashMap::with_capacity(guarded.len() + updates.len());
        let claimed = LazyCell::new(|| claimed_keys(self.rows()));
        let mut released = Vec::new();
        let mut found = |row: &Row<'_>| -> Result<(), SqliteError> {
            let contact: Uuid = row.get(0)?;
            let id = ContactId::from_uuid(contact);
            stand.insert(id, version(row, 1)?);
            if let Some(update) = by_id.get(&id) {
                let keys = released_keys(row, update, || &claimed)?;
                if keys.contains(&true) {
                    released.push(Released { contact, keys });
                }
            }
            Ok(())
        };
        let mut named: Vec<Uuid> = expected().map(|(id, _)| id.as_uuid()).collect();
        named.sort_unstable();
        let stretches = Stretches::of(&named);
        for stretch in &stretches.long {
            self.each(CONTACTS_FROM_TO, params![self.organization, stretch.first, stretch.last], &mut found)?;
        }
        if !stretches.apart.is_empty() {
            self.each(CONTACTS, params![self.organization, ids(stretches.apart.into_iter())], &mut found)?;
        }
        match expected().find(|(id, version)| stand.get(id) != Some(version)) {
            Some((id, _)) => Err(Conflict::ContactChanged(id).into()),
            None => Ok(released),
        }
    }

    fn check_unclaimed(&self, keys: &ContactKeys) -> Result<(), SqliteError> {
        let lists = [
            (KeyKind::ExternalId, HOLDER_OF_EXTERNAL_ID, keys.external_ids()),
            (KeyKind::Phone, HOLDER_OF_PHONE, keys.phones()),
            (KeyKind::Email, HOLDER_OF_EMAIL, keys.emails()),
        ];
        for (key, sql, texts) in lists {
            if texts.is_empty() {
                continue;
            }
            let texts = array(texts.iter().map(|text| Value::Text(text.as_str().to_owned())));
            let mut statement = self.connection.prepare_cached(sql)?;
            let held = statement
                .query_row(params![self.organization, texts], |row| {
                    Ok((row.get::<_, Uuid>(0)?, Text::from(row.get_ref(1)?.as_str()?)))
                })
                .optional()?;
            if let Some((holder, text)) = held {
                return Err(Conflict::KeyHeld { key, text, holder: ContactId::from_uuid(holder) }.into());
            }
        }
        Ok(())
    }
}

/// The keys of each kind that the change set gives to contacts.
type Claimed<'c> = [HashSet<&'c str>; 3];

fn claimed_keys(rows: &RowChanges) -> Claimed<'_> {
    let mut claimed = Claimed::default();
    let created = rows.contacts_created.iter().map(|row| [&row.external_id, &row.phone].map(Option::as_deref));
    let set = rows.contacts_updated.iter().map(|row| [&row.set.external_id, &row.set.phone].map(Option::as_deref));
    for [external_id, phone] in created.chain(set) {
        claimed[0].extend(external_id);
        claimed[1].extend(phone);
    }
    let created = rows.contacts_created.iter().filter_map(|row| row.email.as_ref());
    let set = rows.contacts_updated.iter().filter_map(|row| row.set.email.as_ref());
    claimed[2].extend(created.chain(set).map(Email::key));
    claimed
}

/// Which keys the update sets to another one than stands, while someone claims the one that stands.
fn released_keys<'c>(
    row: &Row<'_>,
    update: &ContactUpdate,
    claimed: impl Fn() -> &'c Claimed<'c>,
) -> Result<[bool; 3], SqliteError> {
    let set = &update.set;
    let given = [set.external_id.as_deref(), set.phone.as_deref(), set.email.as_ref().map(Email::key)];
    let mut released = [false; 3];
    for (kind, given) in given.into_iter().enumerate() {
        if let Some(given) = given
            && let Some(stands) = row.get_ref(FIRST_KEY + kind)?.as_str_or_null().map_err(rusqlite::Error::from)?
        {
            released[kind] = stands != given && claimed()[kind].contains(stands);
        }
    }
    Ok(released)
}

fn version(row: &Row<'_>, column: usize) -> rusqlite::Result<Version> {
    row.get::<_, i64>(column).map(|version| Version(version.unsigned_abs()))
}

macro_rules! holder {
    ($held:literal) => {
        concat!(
            "select c.id, k.value from rarray(?2) k cross join enroll_contacts c on c.organization_id = ?1 and c.",
            $held,
            " = k.value limit 1"
        )
    };
}

const SEQUENCE: &str = "select version from enroll_sequences where organization_id = ?1 and id = ?2";
const CUSTOM_OBJECT: &str = "select version from enroll_custom_objects where organization_id = ?1 and id = ?2";
const CALL_FLOW: &str = "select version from enroll_call_flows where organization_id = ?1 and id = ?2";
const CHANNELS: &str = "select c.id, c.version from rarray(?2) k \
     cross join enroll_channels c on c.organization_id = ?1 and c.id = k.value";
pub(crate) const CONTACTS: &str = "select c.id, c.version, c.external_id, c.phone, c.email_key from rarray(?2) k \
     cross join enroll_contacts c on c.organization_id = ?1 and c.id = k.value";
pub(crate) const CONTACTS_FROM_TO: &str = "select c.id, c.version, c.external_id, c.phone, c.email_key from enroll_contacts c \
     where c.organization_id = ?1 and c.id between ?2 and ?3";
/// Where the keys begin in it.
const FIRST_KEY: usize = 2;
const HOLDER_OF_EXTERNAL_ID: &str = holder!("held_external_id");
const HOLDER_OF_PHONE: &str = holder!("held_phone");
const HOLDER_OF_EMAIL: &str = holder!("held_email");

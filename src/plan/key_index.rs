//! The contacts and the owners of keys, kept up to date while the planner works through the recipients.

use std::collections::HashMap;

use crate::command::CheckedRecipient;
use crate::contact::KeyKind;
use crate::ids::ContactId;
use crate::snapshot::{ContactAggregate, Snapshot};

/// All contacts that matter to a request, and the owner of each key.
///
/// It starts with the contacts of the snapshot. Enrolled recipients add contacts and move keys, so that later
/// recipients see these changes (spec 4.3, 4.4).
pub(super) struct KeyIndex<'a> {
    contacts: Vec<WorkingContact<'a>>,
    holders: [HashMap<&'a str, KeyHolder>; 3],
}

/// The position of a contact in a [`KeyIndex`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ContactIndex(u32);

/// A contact as the current recipient sees it.
pub(super) struct WorkingContact<'a> {
    pub(super) id: ContactId,
    /// The stored contact. Absent if an earlier recipient of this request created the contact.
    pub(super) aggregate: Option<&'a ContactAggregate>,
    /// The recipient that reserved the contact.
    pub(super) reserved_by: Option<usize>,
    keys: [Option<&'a str>; 3],
}

impl WorkingContact<'_> {
    pub(super) fn key(&self, kind: KeyKind) -> Option<&str> {
        self.keys[kind as usize]
    }
}

/// The owner of a key, as far as the snapshot decides it.
pub(super) enum KeyOwner {
    /// A contact of the snapshot.
    StoredContact(ContactIndex),
    /// An earlier recipient of this request assigned the key to a contact, or freed it.
    ThisRequest,
    /// No contact owns the key.
    NoContact,
}

/// The current holder of a key.
#[derive(Clone, Copy)]
pub(super) struct KeyHolder {
    /// Absent if an earlier recipient of this request freed the key.
    pub(super) contact: Option<ContactIndex>,
    /// The recipient of this request that assigned the key to the contact.
    pub(super) assigned_by: Option<u32>,
}

impl<'a> KeyIndex<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, recipients: &[CheckedRecipient]) -> Self {
        let stored = snapshot.contacts.len();
        let room = |kind| {
            let given = recipients.iter().filter(|recipient| recipient.key(kind).is_some()).count();
            given + snapshot.contacts.values().filter(|aggregate| aggregate.contact.key(kind).is_some()).count()
        };
        let mut index = Self {
            contacts: Vec::with_capacity(stored + recipients.len()),
            holders: KeyKind::ALL.map(|kind| HashMap::with_capacity(room(kind))),
        };
        for aggregate in snapshot.contacts.values() {
            let contact = index.next_index();
            // spec 4.3: `Contact::key` returns no keys for a merged contact, so no key finds it.
            let keys = KeyKind::ALL.map(|kind| aggregate.contact.key(kind));
            for (holders, key) in index.holders.iter_mut().zip(keys) {
                if let Some(key) = key {
                    holders.entry(key).or_insert(KeyHolder { contact: Some(contact), assigned_by: None });
                }
            }
            let id = aggregate.contact.id;
            index.contacts.push(WorkingContact { id, aggregate: Some(aggregate), reserved_by: None, keys });
        }
        index
    }

    /// Returns the contact that the first key finds: external id, then phone, then email (spec 4.3).
    pub(super) fn find(&self, recipient: &CheckedRecipient) -> Option<ContactIndex> {
        KeyKind::ALL.into_iter().find_map(|kind| self.holder(kind, recipient.key(kind)?)?.contact)
    }

    pub(super) fn contact(&self, index: ContactIndex) -> &WorkingContact<'a> {
        &self.contacts[index.0 as usize]
    }

    #[expect(clippy::cast_possible_truncation, reason = "a request and its contacts are a few thousand")]
    fn next_index(&self) -> ContactIndex {
        ContactIndex(self.contacts.len() as u32)
    }

    /// Returns the owner of a key, as far as the snapshot decides it.
    pub(super) fn owner(&self, kind: KeyKind, key: &str) -> KeyOwner {
        match self.holder(kind, key) {
            None => KeyOwner::NoContact,
            Some(KeyHolder { contact: Some(index), assigned_by: None }) => {
                self.contact(index).aggregate.map_or(KeyOwner::ThisRequest, |_| KeyOwner::StoredContact(index))
            }
            Some(_) => KeyOwner::ThisRequest,
        }
    }

    /// Returns the current holder of a key.
    pub(super) fn holder(&self, kind: KeyKind, key: &str) -> Option<KeyHolder> {
        self.holders[kind as usize].get(key).copied()
    }

    /// Adds the new contact of a recipient, with all keys of the entry. No contact owns any of these keys.
    pub(super) fn add_contact(&mut self, id: ContactId, recipient_index: usize, recipient: &'a CheckedRecipient) {
        let index = self.next_index();
        let keys = KeyKind::ALL.map(|kind| recipient.key(kind).map(|key| &**key));
        self.contacts.push(WorkingContact { id, aggregate: None, reserved_by: Some(recipient_index), keys });
        for kind in KeyKind::ALL {
            if let Some(key) = keys[kind as usize] {
                self.assign_key(index, recipient_index, kind, key);
            }
        }
    }

    /// Reserves an existing contact for a recipient, and assigns keys to it. A replaced key becomes free (spec 4.3).
    pub(super) fn reserve(&mut self, index: ContactIndex, recipient_index: usize, assigned: &[(KeyKind, &'a str)]) {
        self.contacts[index.0 as usize].reserved_by = Some(recipient_index);
        for &(kind, key) in assigned {
            if let Some(freed) = self.contacts[index.0 as usize].keys[kind as usize].replace(key) {
                self.holders[kind as usize].insert(freed, KeyHolder { contact: None, assigned_by: None });
            }
            self.assign_key(index, recipient_index, kind, key);
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "a recipient's index is below 4000")]
    fn assign_key(&mut self, index: ContactIndex, recipient_index: usize, kind: KeyKind, key: &'a str) {
        let holder = KeyHolder { contact: Some(index), assigned_by: Some(recipient_index as u32) };
        self.holders[kind as usize].insert(key, holder);
    }
}

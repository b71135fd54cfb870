//! Who holds which key.

use std::collections::HashMap;

use crate::ContactId;
use crate::contact::{Contact, Email, KeyKind, Text};
use crate::lookup::Snapshot;

/// Who holds which key, of all contacts of a snapshot.
#[derive(Debug, Default)]
pub(crate) struct Keys(pub(super) [HashMap<Text, ContactId>; 3]);

impl Keys {
    /// Of contacts that show the same key, which only a broken world has, the smallest id holds it.
    pub(crate) fn of(snapshot: &Snapshot) -> Self {
        let mut keys = Self(std::array::from_fn(|_| HashMap::with_capacity(snapshot.people.len())));
        for (id, person) in &snapshot.people {
            for kind in KeyKind::ALL {
                if let Some(text) = key_text(&person.contact, kind) {
                    keys.0[kind as usize].entry(text.clone()).or_insert(*id);
                }
            }
        }
        keys
    }

    pub(crate) fn holder(&self, kind: KeyKind, text: &str) -> Option<ContactId> {
        self.0[kind as usize].get(text).copied()
    }

    pub(super) fn release(&mut self, claim: &Claim) {
        let keys = &mut self.0[claim.kind as usize];
        if let Some(text) = claim.released.as_ref().filter(|text| keys.get(*text) == Some(&claim.id)) {
            keys.remove(text);
        }
    }

    pub(super) fn claim(&mut self, claim: Claim) {
        if let Some(text) = claim.claimed {
            self.0[claim.kind as usize].insert(text, claim.id);
        }
    }
}

/// The key that a contact holds, as shared text.
pub(super) fn key_text(contact: &Contact, kind: KeyKind) -> Option<&Text> {
    contact.key(kind)?;
    match kind {
        KeyKind::ExternalId => contact.external_id.as_ref(),
        KeyKind::Phone => contact.phone.as_ref(),
        KeyKind::Email => contact.email.as_ref().map(Email::key_text),
    }
}

/// A contact gives up a key, claims one, or both.
pub(super) struct Claim {
    pub(super) id: ContactId,
    pub(super) kind: KeyKind,
    pub(super) released: Option<Text>,
    pub(super) claimed: Option<Text>,
}

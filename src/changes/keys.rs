//! Who holds which key.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use super::Conflict;
use crate::contact::{Contact, Email, KeyKind};
use crate::ids::ContactId;
use crate::snapshot::Snapshot;
use crate::text::Text;

/// Who holds which key, of all contacts of a snapshot.
#[derive(Debug, Default)]
pub(crate) struct Keys(pub(super) [HashMap<Text, ContactId>; 3]);

impl Keys {
    /// Of contacts that show the same key, which only a broken world has, the smallest id holds it.
    pub(crate) fn of(snapshot: &Snapshot) -> Self {
        let mut keys = Self(std::array::from_fn(|_| HashMap::with_capacity(snapshot.contacts.len())));
        for (id, person) in &snapshot.contacts {
            for kind in KeyKind::ALL {
                if let Some(text) = key_text(&person.contact, kind) {
                    keys.0[kind as usize].entry(text.clone()).or_insert(*id);
                }
            }
        }
        keys
    }

    /// The same of an organization in which all is unique that must be (clause 5).
    pub(crate) fn unique(snapshot: &Snapshot) -> Result<Self, Conflict> {
        let mut keys = Self(std::array::from_fn(|_| HashMap::with_capacity(snapshot.contacts.len())));
        for (id, person) in &snapshot.contacts {
            for key in KeyKind::ALL {
                if let Some(text) = key_text(&person.contact, key)
                    && let Some(holder) = keys.0[key as usize].insert(text.clone(), *id)
                {
                    return Err(Conflict::KeyHeld { key, text: text.clone(), holder });
                }
            }
            let (mut channels, mut sequences) = (HashSet::new(), HashSet::new());
            for row in &person.conversations {
                // Of a channel that is gone, nothing says any more that there was one at most.
                let channel = snapshot.reference.channels.get(&row.channel_id);
                if channel.is_some_and(|channel| channel.value.kind.is_phone()) && !channels.insert(row.channel_id) {
                    return Err(Conflict::ConversationExists { contact_id: *id, channel_id: row.channel_id });
                }
            }
            for row in person.step_contacts.iter().filter(|row| row.status.is_live()) {
                if !sequences.insert(row.sequence_id) {
                    return Err(Conflict::StepContactLive { contact_id: *id, sequence_id: row.sequence_id });
                }
            }
        }
        Ok(keys)
    }

    pub(crate) fn holder(&self, kind: KeyKind, text: &str) -> Option<ContactId> {
        self.0[kind as usize].get(text).copied()
    }

    /// Gives up and transfers: all of it, or nothing. What counts is the state afterwards, so one claim may take what
    /// another gives up.
    pub(super) fn change(&mut self, transfers: &[KeyTransfer<'_>]) -> Result<(), Conflict> {
        for KeyTransfer { id, kind, released, .. } in transfers {
            let keys = &mut self.0[*kind as usize];
            if let Some(text) = released.filter(|text| keys.get(*text) == Some(id)) {
                keys.remove(text);
            }
        }
        for (done, KeyTransfer { id, kind, claimed, .. }) in transfers.iter().enumerate() {
            let Some(text) = *claimed else { continue };
            let keys = &mut self.0[*kind as usize];
            match keys.entry(text.clone()) {
                Entry::Vacant(place) => {
                    place.insert(*id);
                }
                Entry::Occupied(held) => {
                    let (key, text, holder) = (*kind, text.clone(), *held.get());
                    let claims_it = |claim: &KeyTransfer<'_>| claim.kind == key && claim.claimed == Some(&text);
                    let twice = transfers[..done].iter().any(|claim| claim.id == holder && claims_it(claim));
                    self.undo(transfers, done);
                    return Err(if twice {
                        Conflict::KeyClaimedTwice { key, text }
                    } else {
                        Conflict::KeyHeld { key, text, holder }
                    });
                }
            }
        }
        Ok(())
    }

    /// Takes back all that was given up, and the first transfers.
    fn undo(&mut self, transfers: &[KeyTransfer<'_>], done: usize) {
        for KeyTransfer { kind, claimed, .. } in &transfers[..done] {
            if let Some(text) = claimed {
                self.0[*kind as usize].remove(*text);
            }
        }
        for KeyTransfer { id, kind, released, .. } in transfers {
            if let Some(text) = released {
                self.0[*kind as usize].entry(Text::clone(text)).or_insert(*id);
            }
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

/// A contact gives up a key, transfers one, or both.
pub(super) struct KeyTransfer<'c> {
    pub(super) id: ContactId,
    pub(super) kind: KeyKind,
    pub(super) released: Option<&'c Text>,
    pub(super) claimed: Option<&'c Text>,
}

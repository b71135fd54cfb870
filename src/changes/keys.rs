//! Who holds which key.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use super::Conflict;
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

    /// The same of an organization in which all is unique that must be (clause 5).
    pub(crate) fn unique(snapshot: &Snapshot) -> Result<Self, Conflict> {
        let mut keys = Self(std::array::from_fn(|_| HashMap::with_capacity(snapshot.people.len())));
        for (id, person) in &snapshot.people {
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
                let channel = snapshot.context.channels.get(&row.channel_id);
                if channel.is_some_and(|channel| channel.row.kind.is_phone()) && !channels.insert(row.channel_id) {
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

    /// Gives up and claims: all of it, or nothing. What counts is the state afterwards, so one claim may take what
    /// another gives up.
    pub(super) fn change(&mut self, claims: &[Claim<'_>]) -> Result<(), Conflict> {
        for Claim { id, kind, released, .. } in claims {
            let keys = &mut self.0[*kind as usize];
            if let Some(text) = released.filter(|text| keys.get(*text) == Some(id)) {
                keys.remove(text);
            }
        }
        for (done, Claim { id, kind, claimed, .. }) in claims.iter().enumerate() {
            let Some(text) = *claimed else { continue };
            let keys = &mut self.0[*kind as usize];
            match keys.entry(text.clone()) {
                Entry::Vacant(place) => {
                    place.insert(*id);
                }
                Entry::Occupied(held) => {
                    let (key, text, holder) = (*kind, text.clone(), *held.get());
                    let claims_it = |claim: &Claim<'_>| claim.kind == key && claim.claimed == Some(&text);
                    let twice = claims[..done].iter().any(|claim| claim.id == holder && claims_it(claim));
                    self.undo(claims, done);
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

    /// Takes back all that was given up, and the first claims.
    fn undo(&mut self, claims: &[Claim<'_>], done: usize) {
        for Claim { kind, claimed, .. } in &claims[..done] {
            if let Some(text) = claimed {
                self.0[*kind as usize].remove(*text);
            }
        }
        for Claim { id, kind, released, .. } in claims {
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

/// A contact gives up a key, claims one, or both.
pub(super) struct Claim<'c> {
    pub(super) id: ContactId,
    pub(super) kind: KeyKind,
    pub(super) released: Option<&'c Text>,
    pub(super) claimed: Option<&'c Text>,
}

//! The contact that holds each key.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::Conflict;
use crate::contact::{Contact, Email, KeyKind};
use crate::ids::ContactId;
use crate::query::SnapshotQuery;
use crate::snapshot::Snapshot;
use crate::text::Text;

/// The contact that holds each key, one map for each kind of key.
#[derive(Debug, Default)]
pub(crate) struct KeyHolders(pub(super) [HashMap<Text, ContactId>; 3]);

impl KeyHolders {
    /// Indexes the keys of a snapshot.
    ///
    /// No database allows two contacts with one key. If a snapshot has them, the contact with the smallest id holds it.
    pub(crate) fn from_snapshot(snapshot: &Snapshot) -> Self {
        let mut holders = Self::with_capacity(snapshot);
        snapshot.contacts.values().for_each(|aggregate| holders.add(&aggregate.contact));
        holders
    }

    /// Indexes the keys of a snapshot, and checks the rows that must be unique (contract, clause 5).
    pub(crate) fn from_unique(snapshot: &Snapshot) -> Result<Self, Conflict> {
        let mut holders = Self::with_capacity(snapshot);
        for (id, aggregate) in &snapshot.contacts {
            for key in KeyKind::ALL {
                if let Some(text) = key_text(&aggregate.contact, key)
                    && let Some(holder) = holders.0[key as usize].insert(text.clone(), *id)
                {
                    return Err(Conflict::KeyHeld { key, text: text.clone(), holder });
                }
            }
            let (mut channels, mut sequences) = (HashSet::new(), HashSet::new());
            for row in &aggregate.conversations {
                // The kind of a deleted channel is unknown, so its conversations are not checked.
                let channel = snapshot.reference.channels.get(&row.channel_id);
                if channel.is_some_and(|channel| channel.value.kind.is_phone()) && !channels.insert(row.channel_id) {
                    return Err(Conflict::ConversationExists { contact_id: *id, channel_id: row.channel_id });
                }
            }
            for row in aggregate.step_contacts.iter().filter(|row| row.status.is_live()) {
                if !sequences.insert(row.sequence_id) {
                    return Err(Conflict::StepContactLive { contact_id: *id, sequence_id: row.sequence_id });
                }
            }
        }
        Ok(holders)
    }

    /// Adds the keys of a contact, except those that another contact holds.
    pub(crate) fn add(&mut self, contact: &Contact) {
        for kind in KeyKind::ALL {
            if let Some(text) = key_text(contact, kind) {
                self.0[kind as usize].entry(text.clone()).or_insert(contact.id);
            }
        }
    }

    /// Returns the rows of a snapshot that a query names. The keys must be those of the snapshot.
    pub(crate) fn loaded(&self, snapshot: &Snapshot, query: &SnapshotQuery) -> Snapshot {
        let holders = query.keys.iter().flat_map(|(kind, texts)| texts.iter().map(move |text| self.holder(kind, text)));
        let found: BTreeSet<ContactId> = holders.flatten().collect();
        let contact = |id: ContactId| Some((id, Arc::clone(snapshot.contacts.get(&id)?)));
        let mut loaded = Snapshot::new(snapshot.reference.only(&query.reference));
        loaded.contacts = found.into_iter().filter_map(contact).collect();
        let tag = query.tag_id.and_then(|id| snapshot.tags.get(&id));
        loaded.tags = tag.map(|tag| (tag.id, tag.clone())).into_iter().collect();
        loaded
    }

    fn with_capacity(snapshot: &Snapshot) -> Self {
        Self(std::array::from_fn(|_| HashMap::with_capacity(snapshot.contacts.len())))
    }

    pub(crate) fn holder(&self, kind: KeyKind, text: &str) -> Option<ContactId> {
        self.0[kind as usize].get(text).copied()
    }

    /// Applies all transfers, or none.
    ///
    /// All releases come before all claims, so a contact can claim a key that another one releases.
    pub(super) fn apply(&mut self, transfers: &[KeyTransfer<'_>]) -> Result<(), Conflict> {
        for KeyTransfer { id, kind, released, .. } in transfers {
            let holders = &mut self.0[*kind as usize];
            if let Some(text) = released.filter(|text| holders.get(*text) == Some(id)) {
                holders.remove(text);
            }
        }
        for (done, KeyTransfer { id, kind, claimed, .. }) in transfers.iter().enumerate() {
            let Some(text) = *claimed else { continue };
            match self.0[*kind as usize].entry(text.clone()) {
                Entry::Vacant(entry) => {
                    entry.insert(*id);
                }
                Entry::Occupied(entry) => {
                    let (key, text, holder) = (*kind, text.clone(), *entry.get());
                    let same_key = |other: &KeyTransfer<'_>| other.kind == key && other.claimed == Some(&text);
                    let claimed_twice = transfers[..done].iter().any(|other| other.id == holder && same_key(other));
                    self.undo(transfers, done);
                    return Err(if claimed_twice {
                        Conflict::KeyClaimedTwice { key, text }
                    } else {
                        Conflict::KeyHeld { key, text, holder }
                    });
                }
            }
        }
        Ok(())
    }

    /// Reverts all releases, and the claims of the first `done` transfers.
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

/// Returns a contact's key as shared text.
pub(super) fn key_text(contact: &Contact, kind: KeyKind) -> Option<&Text> {
    contact.key(kind)?;
    match kind {
        KeyKind::ExternalId => contact.external_id.as_ref(),
        KeyKind::Phone => contact.phone.as_ref(),
        KeyKind::Email => contact.email.as_ref().map(Email::key_text),
    }
}

/// The key that a contact releases and the key that it claims, of one kind.
pub(super) struct KeyTransfer<'c> {
    pub(super) id: ContactId,
    pub(super) kind: KeyKind,
    pub(super) released: Option<&'c Text>,
    pub(super) claimed: Option<&'c Text>,
}

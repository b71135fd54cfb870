//! 4.3 and 4.4: who a recipient is, which of its keys go to that contact, and whom an earlier recipient took.

use std::collections::HashMap;

use super::{eligibility, plain_fields};
use crate::changes::ContactFields;
use crate::command::CheckedRecipient;
use crate::contact::{Contact, KeyKind};
use crate::ids::ContactId;
use crate::model::ChannelKind;
use crate::policy::{EnrollmentPolicy, ExistingContact, IdentityConflict};
use crate::report::{Note, Reason};
use crate::snapshot::{ContactAggregate, ReferenceData, Snapshot};
use crate::text::{Text, is_blank};

/// The contacts as they stand when a recipient's turn comes: those of the snapshot and those made by earlier
/// recipients, each with the keys that it holds by then.
pub(super) struct World<'a> {
    standing: Vec<Standing<'a>>,
    holders: [HashMap<&'a str, Holder>; 3],
}

/// A contact's place in the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot(u32);

/// A contact as it stands.
pub(super) struct Standing<'a> {
    pub(super) id: ContactId,
    /// `None`: an earlier recipient of this request made it.
    pub(super) person: Option<&'a ContactAggregate>,
    pub(super) taken_by: Option<usize>,
    keys: [Option<&'a str>; 3],
}

impl Standing<'_> {
    pub(super) fn key(&self, kind: KeyKind) -> Option<&str> {
        self.keys[kind as usize]
    }
}

/// Who holds a key, as far as the snapshot tells.
pub(super) enum StoredHolder {
    Contact(Slot),
    /// An earlier recipient of this request brought it somewhere, or made its contact give it up.
    ThisRequest,
    Nobody,
}

#[derive(Clone, Copy)]
struct Holder {
    /// `None`: an earlier recipient of this request made its contact give the key up.
    slot: Option<Slot>,
    /// The recipient of this request that brought the key to its contact.
    brought_by: Option<u32>,
}

impl<'a> World<'a> {
    pub(super) fn new(snapshot: &'a Snapshot, recipients: &[CheckedRecipient]) -> Self {
        let people = snapshot.contacts.len();
        let room = |kind| {
            let given = recipients.iter().filter(|recipient| recipient.key(kind).is_some()).count();
            given + snapshot.contacts.values().filter(|person| person.contact.key(kind).is_some()).count()
        };
        let mut world = Self {
            standing: Vec::with_capacity(people + recipients.len()),
            holders: KeyKind::ALL.map(|kind| HashMap::with_capacity(room(kind))),
        };
        for person in snapshot.contacts.values() {
            let slot = world.next_slot();
            // A merged contact has no keys, and so is never found.
            let keys = KeyKind::ALL.map(|kind| person.contact.key(kind));
            for (holders, key) in world.holders.iter_mut().zip(keys) {
                if let Some(key) = key {
                    holders.entry(key).or_insert(Holder { slot: Some(slot), brought_by: None });
                }
            }
            world.standing.push(Standing { id: person.contact.id, person: Some(person), taken_by: None, keys });
        }
        world
    }

    /// The contact that the first key finds, in the order of precedence.
    pub(super) fn find(&self, recipient: &CheckedRecipient) -> Option<Slot> {
        KeyKind::ALL.into_iter().find_map(|kind| self.holder(kind, recipient.key(kind)?)?.slot)
    }

    pub(super) fn slot(&self, slot: Slot) -> &Standing<'a> {
        &self.standing[slot.0 as usize]
    }

    /// There are as many as recipients and contacts that they name: a few thousand.
    #[expect(clippy::cast_possible_truncation, reason = "there are a few thousand")]
    fn next_slot(&self) -> Slot {
        Slot(self.standing.len() as u32)
    }

    /// Who holds a key, as far as the snapshot tells.
    pub(super) fn stored_holder(&self, kind: KeyKind, key: &str) -> StoredHolder {
        match self.holder(kind, key) {
            None => StoredHolder::Nobody,
            Some(Holder { slot: Some(slot), brought_by: None }) => {
                self.slot(slot).person.map_or(StoredHolder::ThisRequest, |_| StoredHolder::Contact(slot))
            }
            Some(_) => StoredHolder::ThisRequest,
        }
    }

    fn holder(&self, kind: KeyKind, key: &str) -> Option<Holder> {
        self.holders[kind as usize].get(key).copied()
    }

    /// A recipient's new contact, with all the keys that it brings: nobody has any of them.
    pub(super) fn create(&mut self, id: ContactId, index: usize, recipient: &'a CheckedRecipient) {
        let slot = self.next_slot();
        let keys = KeyKind::ALL.map(|kind| recipient.key(kind).map(|key| &**key));
        self.standing.push(Standing { id, person: None, taken_by: Some(index), keys });
        for kind in KeyKind::ALL {
            self.bring(slot, index, kind, keys[kind as usize]);
        }
    }

    /// Takes an existing contact for a recipient, which brings it new keys and may make it give up old ones.
    pub(super) fn take(&mut self, slot: Slot, index: usize, identity: &Identity<'a>) {
        let standing = &mut self.standing[slot.0 as usize];
        standing.taken_by = Some(index);
        for &(kind, key) in &identity.brings {
            if let Some(given_up) = self.standing[slot.0 as usize].keys[kind as usize].replace(key) {
                self.holders[kind as usize].insert(given_up, Holder { slot: None, brought_by: None });
            }
            self.bring(slot, index, kind, Some(key));
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "an index is below 4000")]
    fn bring(&mut self, slot: Slot, index: usize, kind: KeyKind, key: Option<&'a str>) {
        if let Some(key) = key {
            let holder = Holder { slot: Some(slot), brought_by: Some(index as u32) };
            self.holders[kind as usize].insert(key, holder);
        }
    }
}

/// What a recipient means for the contact that it found.
#[derive(Default)]
pub(super) struct Identity<'a> {
    pub(super) notes: Vec<Note>,
    pub(super) reasons: Vec<Reason>,
    /// What of the contact changes.
    pub(super) set: ContactFields,
    brings: Vec<(KeyKind, &'a str)>,
    /// Keys that belong to another contact.
    elsewhere: Vec<(KeyKind, ContactId)>,
}

/// Compares every key of the entry with the contact that was found and with whoever else holds it.
pub(super) fn reconcile<'a>(
    world: &World<'a>,
    slot: Slot,
    person: &ContactAggregate,
    recipient: &'a CheckedRecipient,
    reference: &ReferenceData,
    policy: &EnrollmentPolicy,
) -> Identity<'a> {
    let contact = &person.contact;
    let mut identity = Identity { set: fill(contact, recipient, reference, policy), ..Identity::default() };
    for kind in KeyKind::ALL {
        let Some(key) = recipient.key(kind) else {
            continue;
        };
        let stored = contact.key(kind);
        match world.holder(kind, key) {
            Some(Holder { slot: Some(holder), .. }) if holder == slot => {
                if kind == KeyKind::Email && policy.existing_contact == ExistingContact::Overwrite {
                    let spelled = recipient.email.valid().filter(|email| contact.email.as_ref() != Some(email));
                    identity.set.email = spelled.cloned();
                }
            }
            Some(Holder { slot: Some(holder), brought_by }) => {
                let contact_id = world.slot(holder).id;
                identity.elsewhere.push((kind, contact_id));
                match (brought_by, policy.identity_conflict) {
                    (Some(recipient), _) => {
                        let recipient = recipient as usize;
                        identity.notes.push(Note::KeyTaken { key: kind, contact_id, recipient });
                    }
                    (None, IdentityConflict::PreferKeyOrder) => {
                        identity.notes.push(Note::IdentityConflict { key: kind, contact_id });
                    }
                    (None, IdentityConflict::Refuse) => {
                        identity.reasons.push(Reason::IdentityConflict { key: kind, contact_id });
                    }
                }
            }
            _ => {
                if stored.is_some() {
                    identity.notes.push(Note::KeyMismatch { key: kind });
                }
                let brings = match policy.existing_contact {
                    ExistingContact::Keep => false,
                    ExistingContact::FillBlank => stored.is_none(),
                    ExistingContact::Overwrite => true,
                };
                if brings {
                    identity.brings.push((kind, key));
                    match kind {
                        KeyKind::ExternalId => identity.set.external_id = Some(key.clone()),
                        KeyKind::Phone => identity.set.phone = Some(key.clone()),
                        KeyKind::Email => identity.set.email = recipient.email.valid().cloned(),
                    }
                }
            }
        }
    }
    identity
}

/// Why a contact would end up without the address that the step needs, given that the entry brings one or need not.
pub(super) fn unreachable(identity: &Identity<'_>, person: &ContactAggregate, kind: ChannelKind) -> Option<Reason> {
    let key = eligibility::needed(kind);
    let brought = identity.brings.iter().any(|(brought, _)| *brought == key);
    if brought || person.contact.key(key).is_some() {
        return None;
    }
    let elsewhere = identity.elsewhere.iter().find(|(kind, _)| *kind == key);
    Some(match (elsewhere, key) {
        (Some(&(key, contact_id)), _) => Reason::AddressTaken { key, contact_id },
        (None, KeyKind::Email) => Reason::MissingEmail,
        (None, _) => Reason::MissingPhone,
    })
}

/// SPEC 3: a default channel that is none of the organization's is left out.
pub(super) fn unknown_default_channel(recipient: &CheckedRecipient, reference: &ReferenceData) -> Option<Note> {
    let channel_id = recipient.default_channel_id?;
    (!reference.channels.contains_key(&channel_id)).then_some(Note::DefaultChannelUnknown { channel_id })
}

/// The fields other than keys that an entry changes on an existing contact.
fn fill(
    contact: &Contact,
    recipient: &CheckedRecipient,
    reference: &ReferenceData,
    policy: &EnrollmentPolicy,
) -> ContactFields {
    let overwrite = match policy.existing_contact {
        ExistingContact::Keep => return ContactFields::default(),
        ExistingContact::FillBlank => false,
        ExistingContact::Overwrite => true,
    };
    fn keep_if<T>(field: &mut Option<T>, changes: impl FnOnce(&T) -> bool) {
        if field.as_ref().is_some_and(|given| !changes(given)) {
            *field = None;
        }
    }
    let mut set = plain_fields(recipient, reference);
    let text = |given: &Text, stored: Option<&Text>| {
        is_blank(stored) || (overwrite && stored.is_some_and(|stored| stored != given))
    };
    keep_if(&mut set.name, |name| text(name, contact.name.as_ref()));
    keep_if(&mut set.language, |language| text(language, contact.language.as_ref()));
    keep_if(&mut set.default_channel_id, |id| match contact.default_channel_id {
        None => true,
        Some(stored) => overwrite && stored != *id,
    });
    keep_if(&mut set.address, |address| match contact.address.as_deref().filter(|stored| !stored.is_empty()) {
        None => true,
        Some(stored) => overwrite && *stored != **address,
    });
    keep_if(&mut set.birth_date, |date| match contact.birth_date.filter(|stored| !stored.is_empty()) {
        None => true,
        Some(stored) => overwrite && stored != *date,
    });
    set
}

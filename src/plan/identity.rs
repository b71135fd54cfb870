//! spec 4.3 and 4.4: the contact of a recipient, and the fields and keys of it that change.

use super::eligibility;
use super::key_index::{ContactIndex, KeyHolder, KeyIndex};
use super::planner::Planner;
use crate::changes::{ContactFields, ContactUpdate};
use crate::command::CheckedRecipient;
use crate::contact::{Contact, KeyKind, Profile};
use crate::ids::{ContactId, RowKind};
use crate::model::ChannelKind;
use crate::policy::{EnrollmentPolicy, ExistingContact, IdentityConflict};
use crate::report::{Note, Reason};
use crate::snapshot::{ContactAggregate, ReferenceData};

/// The comparison of a recipient with the contact that its keys find.
#[derive(Default)]
pub(super) struct Reconciliation<'a> {
    pub(super) notes: Vec<Note>,
    pub(super) reasons: Vec<Reason>,
    /// The fields of the contact that change, keys included.
    updates: ContactFields,
    /// The keys of the entry that the contact gets.
    assigned_keys: Vec<(KeyKind, &'a str)>,
    /// The keys of the entry that belong to other contacts.
    keys_of_others: Vec<(KeyKind, ContactId)>,
}

/// Compares each key of an entry with the contact that was found and with the key's holder.
pub(super) fn reconcile<'a>(
    keys: &KeyIndex<'a>,
    found: ContactIndex,
    aggregate: &ContactAggregate,
    recipient: &'a CheckedRecipient,
    reference: &ReferenceData,
    policy: &EnrollmentPolicy,
) -> Reconciliation<'a> {
    let contact = &aggregate.contact;
    let profile = profile_updates(contact, recipient, reference, policy);
    let updates = ContactFields { profile, ..ContactFields::default() };
    let mut result = Reconciliation { updates, ..Reconciliation::default() };
    for kind in KeyKind::ALL {
        let Some(key) = recipient.key(kind) else {
            continue;
        };
        match keys.holder(kind, key) {
            // The contact holds the key. `Overwrite` replaces an email by its new spelling.
            Some(KeyHolder { contact: Some(holder), .. }) if holder == found => {
                if kind == KeyKind::Email && policy.existing_contact == ExistingContact::Overwrite {
                    let new_spelling = recipient.email.valid().filter(|email| contact.email.as_ref() != Some(email));
                    result.updates.email = new_spelling.cloned();
                }
            }
            // Another contact holds the key, and keeps it.
            Some(KeyHolder { contact: Some(holder), assigned_by }) => {
                let contact_id = keys.contact(holder).id;
                result.keys_of_others.push((kind, contact_id));
                match (assigned_by, policy.identity_conflict) {
                    (Some(recipient), _) => {
                        let recipient = recipient as usize;
                        result.notes.push(Note::KeyTaken { key: kind, contact_id, recipient });
                    }
                    (None, IdentityConflict::PreferKeyOrder) => {
                        result.notes.push(Note::IdentityConflict { key: kind, contact_id });
                    }
                    (None, IdentityConflict::Refuse) => {
                        result.reasons.push(Reason::IdentityConflict { key: kind, contact_id });
                    }
                }
            }
            // No contact holds the key.
            _ => {
                let stored = contact.key(kind);
                if stored.is_some() {
                    result.notes.push(Note::KeyMismatch { key: kind });
                }
                let assign = match policy.existing_contact {
                    ExistingContact::Keep => false,
                    ExistingContact::FillBlank => stored.is_none(),
                    ExistingContact::Overwrite => true,
                };
                if assign {
                    result.assigned_keys.push((kind, key));
                    match kind {
                        KeyKind::ExternalId => result.updates.external_id = Some(key.clone()),
                        KeyKind::Phone => result.updates.phone = Some(key.clone()),
                        KeyKind::Email => result.updates.email = recipient.email.valid().cloned(),
                    }
                }
            }
        }
    }
    result
}

/// Returns a reason if the contact would not have the address that the step needs (spec 4.3, *cannot be reached*).
///
/// Call it only for a recipient that passed 4.2: otherwise 4.2 already gave the reason.
pub(super) fn unreachable(
    identity: &Reconciliation<'_>,
    aggregate: &ContactAggregate,
    kind: ChannelKind,
) -> Option<Reason> {
    let key = eligibility::required_key(kind);
    let assigned = identity.assigned_keys.iter().any(|(assigned, _)| *assigned == key);
    if assigned || aggregate.contact.key(key).is_some() {
        return None;
    }
    let of_other = identity.keys_of_others.iter().find(|(kind, _)| *kind == key);
    Some(match (of_other, key) {
        (Some(&(key, contact_id)), _) => Reason::AddressTaken { key, contact_id },
        (None, KeyKind::Email) => Reason::MissingEmail,
        (None, _) => Reason::MissingPhone,
    })
}

/// Returns a note if the entry's default channel is not a channel of the organization (spec 3).
pub(super) fn unknown_default_channel(recipient: &CheckedRecipient, reference: &ReferenceData) -> Option<Note> {
    let channel_id = recipient.profile.default_channel_id?;
    (!reference.channels.contains_key(&channel_id)).then_some(Note::DefaultChannelUnknown { channel_id })
}

impl<'a> Planner<'a> {
    /// Creates a contact with all fields and keys of the entry, and reserves it for the recipient.
    pub(super) fn create_contact(&mut self, index: usize, recipient: &'a CheckedRecipient) -> ContactId {
        let at = Some(self.command.at());
        let mut contact = Contact::new(self.minter.mint(RowKind::Contact, index));
        contact.profile = known_profile(recipient, self.reference);
        contact.external_id.clone_from(&recipient.external_id);
        contact.phone = recipient.phone.valid().map(|phone| phone.text().clone());
        contact.email = recipient.email.valid().cloned();
        (contact.created_at, contact.updated_at) = (at, at);
        let id = contact.id;
        self.changes.rows.contacts_created.push(contact);
        self.keys.add_contact(id, index, recipient);
        self.guard_default_channel(recipient);
        id
    }

    /// Reserves an existing contact for the recipient and updates it. The update guards and raises its version.
    pub(super) fn update_contact(
        &mut self,
        found: ContactIndex,
        aggregate: &ContactAggregate,
        recipient: &CheckedRecipient,
        identity: Reconciliation<'a>,
        index: usize,
    ) {
        self.keys.reserve(found, index, &identity.assigned_keys);
        self.guard_default_channel(recipient);
        let (id, expected, set) = (aggregate.contact.id, aggregate.version, identity.updates);
        self.changes.rows.contacts_updated.push(ContactUpdate { id, expected, set });
    }

    fn guard_default_channel(&mut self, recipient: &CheckedRecipient) {
        if let Some(id) = recipient.profile.default_channel_id {
            self.changes.guard_channel(id, self.reference);
        }
    }
}

/// Returns the profile of an entry. A default channel that is unknown is left out (spec 3).
fn known_profile(recipient: &CheckedRecipient, reference: &ReferenceData) -> Profile {
    let mut profile = recipient.profile.clone();
    profile.default_channel_id = profile.default_channel_id.filter(|id| reference.channels.contains_key(id));
    profile
}

/// Returns the fields other than keys that an entry changes on an existing contact, by `existing_contact`.
fn profile_updates(
    contact: &Contact,
    recipient: &CheckedRecipient,
    reference: &ReferenceData,
    policy: &EnrollmentPolicy,
) -> Profile {
    let overwrite = match policy.existing_contact {
        ExistingContact::Keep => return Profile::default(),
        ExistingContact::FillBlank => false,
        ExistingContact::Overwrite => true,
    };
    let mut updates = known_profile(recipient, reference);
    updates.retain_changes(&contact.profile, overwrite);
    updates
}

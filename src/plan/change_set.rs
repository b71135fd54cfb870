//! The rows that a plan writes, and the guards of the facts that they depend on.

use std::collections::BTreeMap;

use super::key_index::{ContactIndex, KeyIndex, KeyOwner};
use crate::changes::{Guards, RowChanges};
use crate::command::{CheckedRecipient, EnrollmentCommand};
use crate::contact::{ContactKeys, KeyKind};
use crate::ids::{ChannelId, TagId};
use crate::snapshot::{ReferenceData, Version};
use crate::text::Text;

/// Collects rows and guards while the planner works through the recipients.
pub(super) struct ChangeSetBuilder<'a> {
    /// Each stage adds its rows.
    pub(super) rows: RowChanges,
    channels: BTreeMap<ChannelId, Option<Version>>,
    /// The tag of a list, with the name that it has.
    pub(super) upload_tag: Option<(TagId, Option<Text>)>,
    /// Contacts that own a key which a recipient gives.
    key_owners: Vec<ContactIndex>,
    /// Keys that no stored contact owned when the planner looked for them.
    unclaimed_keys: Vec<(KeyKind, &'a Text)>,
}

impl<'a> ChangeSetBuilder<'a> {
    /// Creates a builder with room for the rows of this many recipients, of which this many contacts may exist.
    pub(super) fn new(recipients: usize, contacts: usize) -> Self {
        let rows = RowChanges {
            contacts_created: Vec::with_capacity(recipients.saturating_sub(contacts)),
            contacts_updated: Vec::with_capacity(recipients.min(contacts)),
            runs_created: Vec::with_capacity(recipients),
            step_contacts_created: Vec::with_capacity(recipients),
            contact_tags_created: Vec::with_capacity(recipients),
            ..RowChanges::default()
        };
        Self { rows, channels: BTreeMap::new(), upload_tag: None, key_owners: Vec::new(), unclaimed_keys: Vec::new() }
    }

    /// Records the owner of each key that a recipient gives, or that no contact owns the key.
    ///
    /// Ignored recipients need this too. If such a recipient were enrolled, it would reserve a contact and claim keys,
    /// and that would change the outcomes of later recipients.
    pub(super) fn record_dependencies(&mut self, recipient: &'a CheckedRecipient, keys: &KeyIndex<'a>) {
        for kind in KeyKind::ALL {
            let Some(key) = recipient.key(kind) else { continue };
            match keys.owner(kind, key) {
                KeyOwner::StoredContact(contact) => self.key_owners.push(contact),
                KeyOwner::NoContact => self.unclaimed_keys.push((kind, key)),
                KeyOwner::ThisRequest => {}
            }
        }
    }

    /// Guards a channel that the plan uses or stores.
    pub(super) fn guard_channel(&mut self, id: ChannelId, reference: &ReferenceData) {
        self.channels.insert(id, reference.channels.get(&id).map(|channel| channel.version));
    }

    /// Returns the rows and their guards.
    pub(super) fn build(
        self,
        reference: &ReferenceData,
        command: &EnrollmentCommand,
        keys: &KeyIndex<'_>,
    ) -> (RowChanges, Guards) {
        // The update of a reserved contact guards its version.
        let owners = self.key_owners.iter().map(|owner| keys.contact(*owner));
        let unwritten = owners.filter(|contact| contact.reserved_by.is_none());
        let contacts = unwritten.filter_map(|contact| Some((contact.id, contact.aggregate?.version))).collect();
        let guards = Guards {
            unclaimed_keys: still_unclaimed(&self.unclaimed_keys, keys),
            channels: self.channels.into_iter().collect(),
            upload_tag: self.upload_tag,
            contacts,
            ..reference_guards(command, reference)
        };
        (self.rows, guards)
    }
}

/// Returns the keys that no recipient of this request claimed later. A claimed key guards itself: it is unique.
fn still_unclaimed(unclaimed: &[(KeyKind, &Text)], keys: &KeyIndex<'_>) -> ContactKeys {
    let still = unclaimed.iter().filter(|(kind, key)| matches!(keys.owner(*kind, key), KeyOwner::NoContact));
    still.map(|&(kind, key)| (kind, key.clone())).collect()
}

/// Returns guards for the rows that a command refers to, also for rows that do not exist.
pub(super) fn reference_guards(command: &EnrollmentCommand, reference: &ReferenceData) -> Guards {
    let sequence_id = command.sequence_id();
    let sequence = reference.sequences.get(&sequence_id).map(|row| row.version);
    let channel = command.channel().map(|used| used.id);
    let object = command.custom_data().map(|(id, _)| id);
    let flow = command.call_flow_id();
    Guards {
        sequence: (sequence_id, sequence),
        channels: channel.map(|id| (id, reference.channels.get(&id).map(|row| row.version))).into_iter().collect(),
        custom_object: object.map(|id| (id, reference.custom_objects.get(&id).map(|row| row.version))),
        call_flow: flow.map(|id| (id, reference.call_flows.get(&id).map(|row| row.version))),
        upload_tag: None,
        contacts: Vec::new(),
        unclaimed_keys: ContactKeys::default(),
    }
}

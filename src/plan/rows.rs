//! The rows that a plan writes, gathered as recipients are taken, and the guards of what they rest on.

use std::collections::BTreeMap;

use super::identity::{Slot, StoredHolder, World};
use super::{Target, plain_fields, tag};
use crate::changes::{
    ContactFields, ContactUpdate, Guards, RecordUpdate, RowChanges, RunReactivation, StepContactUpdate, VacantKeys,
};
use crate::command::{CheckedRecipient, EnrollmentCommand};
use crate::contact::{Contact, KeyKind};
use crate::ids::{
    ChannelId, ContactId, ConversationId, CustomObjectId, CustomRecordId, Minter, RowKind, StepContactId,
};
use crate::model::{
    ContactTag, Conversation, CustomRecord, Resource, Run, RunStatus, StepContact, StepContactStatus, Tag,
};
use crate::report::UploadTag;
use crate::snapshot::{ContactAggregate, ReferenceData, Version};
use crate::text::Text;
use crate::time::Timestamp;
use crate::value::Properties;

/// RowChanges and guards as they come.
pub(super) struct Draft<'a> {
    rows: RowChanges,
    channels: BTreeMap<ChannelId, Option<Version>>,
    consulted: Vec<Slot>,
    vacant: Vec<(KeyKind, &'a Text)>,
}

impl<'a> Draft<'a> {
    /// With room for what so many recipients and the people who were found can make of it.
    pub(super) fn new(recipients: usize, people: usize) -> Self {
        let rows = RowChanges {
            contacts_created: Vec::with_capacity(recipients.saturating_sub(people)),
            contacts_updated: Vec::with_capacity(recipients.min(people)),
            runs_created: Vec::with_capacity(recipients),
            step_contacts_created: Vec::with_capacity(recipients),
            contact_tags_created: Vec::with_capacity(recipients),
            ..RowChanges::default()
        };
        Self { rows, channels: BTreeMap::new(), consulted: Vec::new(), vacant: Vec::new() }
    }

    /// A new contact of everything that the entry gives.
    pub(super) fn contact(
        &mut self,
        minter: &Minter,
        index: usize,
        recipient: &CheckedRecipient,
        reference: &ReferenceData,
        at: Timestamp,
    ) -> ContactId {
        let mut contact = Contact::new(minter.mint(RowKind::Contact, index));
        plain_fields(recipient, reference).apply(&mut contact);
        contact.external_id.clone_from(&recipient.external_id);
        contact.phone = recipient.phone.valid().map(|phone| phone.text().clone());
        contact.email = recipient.email.valid().cloned();
        (contact.created_at, contact.updated_at) = (Some(at), Some(at));
        let id = contact.id;
        self.rows.contacts_created.push(contact);
        id
    }

    /// A contact that existed: guarded by its version, and raised by one.
    pub(super) fn update(&mut self, person: &ContactAggregate, set: ContactFields) {
        self.rows.contacts_updated.push(ContactUpdate { id: person.contact.id, expected: person.version, set });
    }

    /// A run and a step contact in the step (4.6 c and g).
    pub(super) fn enter(
        &mut self,
        minter: &Minter,
        index: usize,
        contact_id: ContactId,
        target: &Target<'_>,
        command: &EnrollmentCommand,
    ) -> StepContactId {
        let run = Run::new(minter.mint(RowKind::Run, index), target.sequence.id, contact_id, command.at());
        let id = minter.mint(RowKind::StepContact, index);
        let (status, scheduled_at) = schedule(command);
        self.rows.step_contacts_created.push(StepContact {
            status,
            scheduled_at,
            channel_id: target.channel.map(|channel| channel.id),
            default_call_flow_id: command.call_flow_id(),
            enrollment_id: Some(command.enrollment_id()),
            ..StepContact::new(id, &run, target.step.id)
        });
        self.rows.runs_created.push(run);
        id
    }

    /// A step contact is processed again, and its run is active again where it was not (4.6 b).
    pub(super) fn reprocess(
        &mut self,
        step_contact: &StepContact,
        person: &ContactAggregate,
        target: &Target<'_>,
        command: &EnrollmentCommand,
    ) -> StepContactId {
        let StepContact { id, run_id, contact_id, times_processed, .. } = *step_contact;
        let (status, scheduled_at) = schedule(command);
        let from_request = command.channel().is_some_and(|channel| channel.from_request);
        self.rows.step_contacts_updated.push(StepContactUpdate {
            id,
            contact_id,
            status,
            scheduled_at,
            enrollment_id: command.enrollment_id(),
            times_processed: times_processed.saturating_add(1),
            channel_id: target.channel.filter(|_| from_request).map(|channel| channel.id),
            default_call_flow_id: command.call_flow_id(),
        });
        if person.runs.iter().any(|run| run.id == run_id && run.status != RunStatus::Active) {
            self.rows.runs_reactivated.push(RunReactivation { run_id, contact_id });
        }
        id
    }

    /// A new conversation on the channel used.
    pub(super) fn conversation(
        &mut self,
        minter: &Minter,
        index: usize,
        contact_id: ContactId,
        channel_id: ChannelId,
        at: Timestamp,
    ) -> ConversationId {
        let id = minter.mint(RowKind::Conversation, index);
        let mut conversation = Conversation::new(id, contact_id, channel_id);
        conversation.created_at = Some(at);
        self.rows.conversations_created.push(conversation);
        id
    }

    /// The request's tag on a contact; the tag itself is made with its first bearer.
    pub(super) fn tag(&mut self, minter: &Minter, contact_id: ContactId, command: &EnrollmentCommand) {
        if self.rows.tag_created.is_none() {
            self.rows.tag_created = tag::name(command).map(|name| Tag::new(minter.mint(RowKind::Tag, 0), &name));
        }
        if let Some(tag) = &self.rows.tag_created {
            self.rows.contact_tags_created.push(ContactTag { contact_id, tag_id: tag.id });
        }
    }

    pub(super) fn upload_tag(&self) -> Option<UploadTag> {
        self.rows.tag_created.as_ref().map(|tag| UploadTag { id: tag.id, name: tag.name.clone() })
    }

    /// A record's values: of a new record, or of the one that stands.
    pub(super) fn record(
        &mut self,
        minter: &Minter,
        index: usize,
        contact_id: ContactId,
        standing: Option<&CustomRecord>,
        (object, resource, resource_id): (CustomObjectId, Resource, uuid::Uuid),
        properties: Properties,
    ) -> CustomRecordId {
        match standing {
            Some(record) => {
                self.rows.records_updated.push(RecordUpdate { id: record.id, contact_id, properties });
                record.id
            }
            None => {
                let id = minter.mint(RowKind::CustomRecord, index);
                let record = CustomRecord::new(id, object, resource, resource_id);
                self.rows.records_created.push(CustomRecord { properties, ..record });
                id
            }
        }
    }

    /// What a recipient rests on: who holds each key that it gives, or that nobody does.
    ///
    /// Also where it is not enrolled: if it were, it would take contacts and keys from the recipients after it.
    pub(super) fn consult(&mut self, recipient: &'a CheckedRecipient, world: &World<'a>) {
        for kind in KeyKind::ALL {
            let Some(key) = recipient.key(kind) else { continue };
            match world.stored_holder(kind, key) {
                StoredHolder::Contact(slot) => self.consulted.push(slot),
                StoredHolder::Nobody => self.vacant.push((kind, key)),
                StoredHolder::ThisRequest => {}
            }
        }
    }

    pub(super) fn guard_channel(&mut self, id: ChannelId, reference: &ReferenceData) {
        self.channels.insert(id, reference.channels.get(&id).map(|channel| channel.version));
    }

    pub(super) fn guards(
        &mut self,
        reference: &ReferenceData,
        command: &EnrollmentCommand,
        world: &World<'_>,
    ) -> Guards {
        // Whoever was taken is written, and guarded by that.
        let consulted =
            self.consulted.iter().map(|slot| world.slot(*slot)).filter(|standing| standing.taken_by.is_none());
        let contacts = consulted.filter_map(|standing| standing.person.map(|person| (standing.id, person.version)));
        Guards {
            channels: std::mem::take(&mut self.channels).into_iter().collect(),
            contacts: contacts.collect(),
            vacant: self.vacant_keys(world),
            ..reference_guards(command, reference)
        }
    }

    /// Keys that were found to be nobody's and that nothing here claims: those that are claimed guard themselves.
    fn vacant_keys(&self, world: &World<'_>) -> VacantKeys {
        let mut vacant = VacantKeys::default();
        for &(kind, key) in &self.vacant {
            if matches!(world.stored_holder(kind, key), StoredHolder::Nobody) {
                match kind {
                    KeyKind::ExternalId => vacant.external_ids.push(key.clone()),
                    KeyKind::Phone => vacant.phones.push(key.clone()),
                    KeyKind::Email => vacant.emails.push(key.clone()),
                }
            }
        }
        vacant
    }

    pub(super) fn into_rows(self) -> RowChanges {
        self.rows
    }
}

/// What a command refers to, as it stands or does not.
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
        contacts: Vec::new(),
        vacant: VacantKeys::default(),
    }
}

/// 4.7: in the future, pending until then; else active as from the request.
fn schedule(command: &EnrollmentCommand) -> (StepContactStatus, Timestamp) {
    match command.schedule_at() {
        Some(at) if at > command.at() => (StepContactStatus::Pending, at),
        _ => (StepContactStatus::Active, command.at()),
    }
}

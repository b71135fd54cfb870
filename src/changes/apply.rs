//! How a change set is written into a snapshot: all of it, or nothing.

use std::collections::HashMap;
use std::sync::Arc;
use uuid::Uuid;

use super::keys::{KeyTransfer, Keys, key_text};
use super::people::People;
use super::{ChangeSet, CompletionMode, RowChanges, VacantKeys};
use crate::contact::KeyKind;
use crate::ids::{
    CallFlowId, ChannelId, ContactId, CustomObjectId, CustomRecordId, EnrollmentId, OrganizationId, RunId, SequenceId,
    StepContactId,
};
use crate::model::{CustomRecord, Resource, RunStatus, StepContact};
use crate::snapshot::{ContactAggregate, Snapshot, Version};
use crate::stored_enrollment::EnrollmentState;
use crate::text::Text;

/// Why a change set was not written. Nothing of it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// Something that the change set rests on is no longer true: load and plan again.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// A row stands under an id that was derived for a new one: planning again derives the same.
    #[error("a row under the derived id `{0}` exists already")]
    IdExists(Uuid),
}

/// What did not hold when a change set was to be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Conflict {
    /// The rows are another organization's.
    #[error("the change set is of another organization, `{0}`")]
    OtherOrganization(OrganizationId),
    /// The enrollment has its row already.
    #[error("enrollment `{0}` exists already")]
    EnrollmentExists(EnrollmentId),
    /// The enrollment was to be finished, and is finished already, given up, or gone.
    #[error("enrollment `{0}` is not waiting to be processed")]
    EnrollmentNotAccepted(EnrollmentId),
    /// The sequence or one of its steps changed, or is gone.
    #[error("sequence `{0}` changed")]
    SequenceChanged(SequenceId),
    /// A channel changed, is gone, or has appeared.
    #[error("channel `{0}` changed")]
    ChannelChanged(ChannelId),
    /// The custom object changed, or is gone.
    #[error("custom object `{0}` changed")]
    CustomObjectChanged(CustomObjectId),
    /// The call flow changed, or is gone.
    #[error("call flow `{0}` changed")]
    CallFlowChanged(CallFlowId),
    /// A contact or a row round it changed, or the contact is gone.
    #[error("contact `{0}` changed")]
    ContactChanged(ContactId),
    /// A row belongs to a contact that the change set neither creates nor raises.
    #[error("contact `{0}` is not written")]
    ContactNotWritten(ContactId),
    /// A key that must be vacant, or is claimed, belongs to a contact that keeps it.
    #[error("{key} `{text}` is held by contact `{holder}`")]
    KeyHeld {
        /// The kind of key.
        key: KeyKind,
        /// The key.
        text: Text,
        /// The contact that holds it.
        holder: ContactId,
    },
    /// Two contacts of the change set claim one key.
    #[error("{key} `{text}` is claimed twice")]
    KeyClaimedTwice {
        /// The kind of key.
        key: KeyKind,
        /// The key.
        text: Text,
    },
    /// The contact has a conversation on the channel, of which there is one at most.
    #[error("contact `{contact_id}` has a conversation on channel `{channel_id}` already")]
    ConversationExists {
        /// The contact.
        contact_id: ContactId,
        /// The channel, of a phone kind.
        channel_id: ChannelId,
    },
    /// The contact would be live in the sequence twice.
    #[error("contact `{contact_id}` is live in sequence `{sequence_id}` already")]
    StepContactLive {
        /// The contact.
        contact_id: ContactId,
        /// The sequence.
        sequence_id: SequenceId,
    },
    /// A run that was to be active again is gone.
    #[error("run `{0}` is gone")]
    RunGone(RunId),
    /// A step contact that is to be processed again, or to have a record, is gone.
    #[error("step contact `{0}` is gone")]
    StepContactGone(StepContactId),
    /// The resource has a record of the custom object already.
    #[error("{} `{resource_id}` has a record of custom object `{custom_object_id}` already", resource.as_str())]
    RecordExists {
        /// The custom object.
        custom_object_id: CustomObjectId,
        /// What the record belongs to.
        resource: Resource,
        /// The id of the contact or of the step contact.
        resource_id: Uuid,
    },
    /// A record that was to be merged into is gone.
    #[error("record `{0}` is gone")]
    RecordGone(CustomRecordId),
}

impl ChangeSet {
    /// Writes the rows into the organization that they were planned for.
    ///
    /// It first checks that the enrollment has no row, that every guard holds, that no derived id exists, and that
    /// what must be unique is so once everything is written; then it writes. On an error nothing changed.
    ///
    /// The snapshot must be all of the organization, not only what one query names: keys are judged by the
    /// contacts in it. This reads all of them; a store that is written often keeps an index of its own.
    ///
    /// # Errors
    /// [`ApplyError::Conflict`] with what did not hold; [`ApplyError::IdExists`] if a derived id exists already.
    pub fn apply(&self, snapshot: &mut Snapshot) -> Result<(), ApplyError> {
        self.apply_with(snapshot, &mut Keys::of(snapshot))
    }

    /// [`ChangeSet::apply`] with the keys of the snapshot at hand, which it keeps up to date.
    ///
    /// It costs what the change set holds, a look-up for each of its rows, and whoever stands between its new contacts.
    pub(crate) fn apply_with(&self, snapshot: &mut Snapshot, keys: &mut Keys) -> Result<(), ApplyError> {
        self.check_guards(snapshot, keys)?;
        let mut people = self.written_contacts(snapshot)?;
        self.check_ids(snapshot, &mut people)?;
        self.write_rows(snapshot, &mut people)?;
        keys.change(&self.transfers(snapshot, &people))?;

        // Everything holds: from here on nothing fails.
        for (id, person) in people.ids.into_iter().zip(people.list) {
            snapshot.contacts.insert(id, person);
        }
        if let Some(tag) = &self.rows.tag_created {
            snapshot.tags.insert(tag.id, tag.clone());
        }
        let enrollment = &self.completion.enrollment;
        snapshot.reference.enrollments.insert(enrollment.id, Arc::new(enrollment.clone()));
        Ok(())
    }

    fn check_guards(&self, snapshot: &Snapshot, keys: &Keys) -> Result<(), Conflict> {
        let (reference, guards) = (&snapshot.reference, &self.guards);
        if reference.organization_id != self.organization_id {
            return Err(Conflict::OtherOrganization(self.organization_id));
        }
        let id = self.completion.enrollment.id;
        let stands = reference.enrollments.get(&id).map(|stored| &stored.state);
        match (self.completion.verb, stands) {
            (CompletionMode::Create, None) | (CompletionMode::Finish, Some(EnrollmentState::Accepted)) => {}
            (CompletionMode::Create, Some(_)) => return Err(Conflict::EnrollmentExists(id)),
            (CompletionMode::Finish, _) => return Err(Conflict::EnrollmentNotAccepted(id)),
        }
        let (id, version) = guards.sequence;
        if reference.sequences.get(&id).map(|row| row.version) != version {
            return Err(Conflict::SequenceChanged(id));
        }
        for &(id, version) in &guards.channels {
            if reference.channels.get(&id).map(|row| row.version) != version {
                return Err(Conflict::ChannelChanged(id));
            }
        }
        if let Some((id, version)) = guards.custom_object
            && reference.custom_objects.get(&id).map(|row| row.version) != version
        {
            return Err(Conflict::CustomObjectChanged(id));
        }
        if let Some((id, version)) = guards.call_flow
            && reference.call_flows.get(&id).map(|row| row.version) != version
        {
            return Err(Conflict::CallFlowChanged(id));
        }
        let updated = self.rows.contacts_updated.iter().map(|update| (update.id, update.expected));
        for (id, version) in guards.contacts.iter().copied().chain(updated) {
            if snapshot.contacts.get(&id).map(|person| person.version) != Some(version) {
                return Err(Conflict::ContactChanged(id));
            }
        }
        check_vacant(&guards.vacant, keys)
    }

    /// Derived ids are looked for where their rows go. A row whose place does not exist is a conflict, found later.
    fn check_ids(&self, snapshot: &Snapshot, people: &mut People) -> Result<(), ApplyError> {
        let rows = &self.rows;
        let taken = |id: Uuid| Err(ApplyError::IdExists(id));
        if let (Some(first), Some(last)) = (rows.contacts_created.first(), rows.contacts_created.last()) {
            // Ids are ordered by time, so hardly anyone stands between those that are new.
            for id in snapshot.contacts.range(first.id..=last.id).map(|(id, _)| *id) {
                if rows.contacts_created.binary_search_by_key(&id, |contact| contact.id).is_ok() {
                    return taken(id.as_uuid());
                }
            }
        }
        if let Some(tag) = &rows.tag_created
            && snapshot.tags.contains_key(&tag.id)
        {
            return taken(tag.id.as_uuid());
        }
        // Nothing stands round a contact that this change set creates, nor round one that is missing.
        let mut stands = |id: ContactId, row: &dyn Fn(&ContactAggregate) -> bool| {
            !people.creates(id) && snapshot.contacts.get(&id).is_some_and(|person| row(person))
        };
        for row in &rows.conversations_created {
            if stands(row.contact_id, &|person| person.conversations.iter().any(|other| other.id == row.id)) {
                return taken(row.id.as_uuid());
            }
        }
        for row in &rows.runs_created {
            if stands(row.contact_id, &|person| person.runs.iter().any(|other| other.id == row.id)) {
                return taken(row.id.as_uuid());
            }
        }
        for row in &rows.step_contacts_created {
            if stands(row.contact_id, &|person| person.step_contacts.iter().any(|other| other.id == row.id)) {
                return taken(row.id.as_uuid());
            }
        }
        for row in &rows.contact_tags_created {
            if stands(row.contact_id, &|person| person.tags.contains(&row.tag_id)) {
                return taken(row.tag_id.as_uuid());
            }
        }
        let owners = RecordOwners::of(rows);
        for row in &rows.records_created {
            if let Some(owner) = owners.owner(row.resource, row.resource_id)
                && stands(owner, &|person| person.records.iter().any(|other| other.id == row.id))
            {
                return taken(row.id.as_uuid());
            }
        }
        Ok(())
    }

    /// The contacts as they are afterwards, with the rows that stood round them before.
    fn written_contacts(&self, snapshot: &Snapshot) -> Result<People, Conflict> {
        let rows = &self.rows;
        let mut people = People::with_capacity(rows.contacts_created.len(), rows.contacts_updated.len());
        for contact in &rows.contacts_created {
            people.push(ContactAggregate::new(contact.clone(), Version::FIRST));
        }
        for update in &rows.contacts_updated {
            let Some(person) = snapshot.contacts.get(&update.id) else {
                return Err(Conflict::ContactChanged(update.id));
            };
            let mut person = ContactAggregate::clone(person);
            person.version = update.expected.next();
            if !update.set.is_empty() {
                update.set.apply(&mut person.contact);
                person.contact.updated_at = Some(self.at);
            }
            people.push(person);
        }
        Ok(people)
    }

    /// Who gives up and who transfers which key.
    fn transfers<'c>(&self, snapshot: &'c Snapshot, people: &'c People) -> Vec<KeyTransfer<'c>> {
        let created = self.rows.contacts_created.len();
        let mut transfers = Vec::with_capacity(2 * created);
        for (place, person) in people.list.iter().enumerate() {
            let contact = &person.contact;
            let update = place.checked_sub(created).map(|place| &self.rows.contacts_updated[place]);
            if update.is_some_and(|update| update.set.is_empty()) {
                continue;
            }
            let before = update.and_then(|update| snapshot.contacts.get(&update.id));
            for kind in KeyKind::ALL {
                let released = before.and_then(|person| key_text(&person.contact, kind));
                let claimed = key_text(contact, kind);
                if released != claimed {
                    transfers.push(KeyTransfer { id: contact.id, kind, released, claimed });
                }
            }
        }
        transfers
    }

    /// Writes the rows round the contacts into copies of these, and checks what must be unique among them.
    fn write_rows(&self, snapshot: &Snapshot, people: &mut People) -> Result<(), Conflict> {
        let rows = &self.rows;
        for row in &rows.conversations_created {
            let person = people.written(row.contact_id)?;
            let one_at_most =
                snapshot.reference.channels.get(&row.channel_id).is_none_or(|channel| channel.value.kind.is_phone());
            if one_at_most && person.conversations.iter().any(|other| other.channel_id == row.channel_id) {
                let (contact_id, channel_id) = (row.contact_id, row.channel_id);
                return Err(Conflict::ConversationExists { contact_id, channel_id });
            }
            put(&mut person.conversations, *row);
        }
        for row in &rows.runs_created {
            put(&mut people.written(row.contact_id)?.runs, *row);
        }
        for row in &rows.runs_reactivated {
            let runs = &mut people.written(row.contact_id)?.runs;
            runs.iter_mut().find(|run| run.id == row.run_id).ok_or(Conflict::RunGone(row.run_id))?.status =
                RunStatus::Active;
        }
        for row in &rows.step_contacts_created {
            put(&mut people.written(row.contact_id)?.step_contacts, *row);
        }
        for row in &rows.step_contacts_updated {
            let step_contacts = &mut people.written(row.contact_id)?.step_contacts;
            let step_contact =
                step_contacts.iter_mut().find(|other| other.id == row.id).ok_or(Conflict::StepContactGone(row.id))?;
            step_contact.status = row.status;
            step_contact.scheduled_at = row.scheduled_at;
            step_contact.enrollment_id = Some(row.enrollment_id);
            step_contact.times_processed = row.times_processed;
            step_contact.channel_id = row.channel_id.or(step_contact.channel_id);
            step_contact.default_call_flow_id = row.default_call_flow_id.or(step_contact.default_call_flow_id);
        }
        let created = rows.step_contacts_created.iter().map(|row| (row.contact_id, row.id));
        let updated = rows.step_contacts_updated.iter().map(|row| (row.contact_id, row.id));
        for (contact_id, id) in created.chain(updated) {
            let step_contacts = &people.written(contact_id)?.step_contacts;
            let live = |row: &&StepContact| row.status.is_live();
            let Some(row) = step_contacts.iter().filter(live).find(|row| row.id == id) else { continue };
            let sequence_id = row.sequence_id;
            if step_contacts.iter().filter(live).any(|other| other.id != id && other.sequence_id == sequence_id) {
                return Err(Conflict::StepContactLive { contact_id, sequence_id });
            }
        }
        for row in &rows.contact_tags_created {
            put(&mut people.written(row.contact_id)?.tags, row.tag_id);
        }
        let owners = RecordOwners::of(rows);
        for row in &rows.records_created {
            let owner = owners.owner(row.resource, row.resource_id);
            let owner = owner.ok_or(Conflict::StepContactGone(StepContactId::from_uuid(row.resource_id)))?;
            let person = people.written(owner)?;
            let (custom_object_id, resource, resource_id) = (row.custom_object_id, row.resource, row.resource_id);
            let same = |other: &CustomRecord| {
                (other.custom_object_id, other.resource, other.resource_id) == (custom_object_id, resource, resource_id)
            };
            if person.records.iter().any(same) {
                return Err(Conflict::RecordExists { custom_object_id, resource, resource_id });
            }
            put(&mut person.records, row.clone());
        }
        for row in &rows.records_updated {
            let records = &mut people.written(row.contact_id)?.records;
            let record = records.iter_mut().find(|record| record.id == row.id).ok_or(Conflict::RecordGone(row.id))?;
            record.properties.clone_from(&row.properties);
        }
        Ok(())
    }
}

/// A contact has one row or two round it: room for four, as a list takes by itself, would be most of the memory.
fn put<T>(list: &mut Vec<T>, row: T) {
    list.reserve_exact(1);
    list.push(row);
}

fn check_vacant(vacant: &VacantKeys, keys: &Keys) -> Result<(), Conflict> {
    let lists = [&vacant.external_ids, &vacant.phones, &vacant.emails];
    for (key, texts) in KeyKind::ALL.into_iter().zip(lists) {
        for text in texts {
            if let Some(holder) = keys.holder(key, text) {
                return Err(Conflict::KeyHeld { key, text: text.clone(), holder });
            }
        }
    }
    Ok(())
}

/// Whose aggregate a new record belongs to.
struct RecordOwners(HashMap<StepContactId, ContactId>);

impl RecordOwners {
    fn of(rows: &RowChanges) -> Self {
        if rows.records_created.iter().all(|row| row.resource == Resource::Contact) {
            return Self(HashMap::new());
        }
        let created = rows.step_contacts_created.iter().map(|row| (row.id, row.contact_id));
        Self(created.chain(rows.step_contacts_updated.iter().map(|row| (row.id, row.contact_id))).collect())
    }

    fn owner(&self, resource: Resource, resource_id: Uuid) -> Option<ContactId> {
        match resource {
            Resource::Contact => Some(ContactId::from_uuid(resource_id)),
            Resource::StepContact => self.0.get(&StepContactId::from_uuid(resource_id)).copied(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::changes::{Completion, ContactFields, ContactUpdate, Guards};
    use crate::contact::Contact;
    use crate::model::{Channel, ChannelKind, Conversation, Run, Sequence, Tag};
    use crate::report::{EnrollmentReport, Outcomes, ReportVersion};
    use crate::request::Fingerprint;
    use crate::snapshot::{ReferenceData, Versioned};
    use crate::stored_enrollment::StoredEnrollment;
    use crate::time::Timestamp;

    const PHONE: &str = "+12025550123";
    const OTHER_PHONE: &str = "+12025550124";

    fn id<T: From<Uuid>>(n: u128) -> T {
        T::from(Uuid::from_u128(n))
    }

    fn at() -> Timestamp {
        Timestamp::from_millis(1_769_958_000_123).unwrap()
    }

    fn contact(n: u128, phone: &str) -> Contact {
        let mut contact = Contact::new(id(n));
        contact.phone = Some(phone.into());
        contact
    }

    /// Contact 1 has the phone, contact 2 none; channels 1 (phone) and 2 (email), sequence 1.
    fn world() -> Snapshot {
        let mut reference = ReferenceData::new(id(1));
        reference.sequences.insert(id(1), Versioned::new(Version(5), Sequence::new(id(1), "s", Vec::new())));
        for (n, kind) in [(1, ChannelKind::Phone), (2, ChannelKind::Email)] {
            reference.channels.insert(id(n), Versioned::new(Version(5), Channel::new(id(n), kind, "c")));
        }
        let mut snapshot = Snapshot::new(reference);
        for contact in [contact(1, PHONE), Contact::new(id(2))] {
            snapshot.contacts.insert(contact.id, Arc::new(ContactAggregate::new(contact, Version(7))));
        }
        snapshot
    }

    fn changes(rows: RowChanges) -> ChangeSet {
        let sequence = (id(1), Some(Version(5)));
        let (channels, contacts, vacant) = (Vec::new(), Vec::new(), VacantKeys::default());
        let guards = Guards { sequence, channels, custom_object: None, call_flow: None, contacts, vacant };
        let (v, channel_id, upload_tag, outcomes) = (ReportVersion::FIRST, None, None, Outcomes::default());
        let (enrollment_id, sequence_id, step_id, at) = (id(1), id(1), id(1), at());
        let report = EnrollmentReport { v, enrollment_id, at, sequence_id, step_id, channel_id, upload_tag, outcomes };
        let completion = Completion::create(StoredEnrollment::completed(Fingerprint::from_bytes([0; 32]), report));
        ChangeSet::new(id(1), at, guards, rows, completion)
    }

    fn update(n: u128, phone: Option<&str>) -> ContactUpdate {
        let set = ContactFields { phone: phone.map(Text::from), ..ContactFields::default() };
        ContactUpdate { id: id(n), expected: Version(7), set }
    }

    fn refused(changes: &ChangeSet, given: &Snapshot) -> ApplyError {
        let (mut snapshot, mut keys) = (given.clone(), Keys::of(given));
        let error = changes.apply_with(&mut snapshot, &mut keys).unwrap_err();
        assert_eq!(snapshot, *given, "{error}");
        assert_eq!(keys.0, Keys::of(given).0, "{error}");
        error
    }

    fn held_by(n: u128) -> ApplyError {
        Conflict::KeyHeld { key: KeyKind::Phone, text: PHONE.into(), holder: id(n) }.into()
    }

    #[test]
    fn guards_that_do_not_hold_are_conflicts_and_change_nothing() {
        let under = |set: &dyn Fn(&mut Guards)| {
            let mut changes = changes(RowChanges::default());
            set(&mut changes.guards);
            refused(&changes, &world())
        };
        let stale = Version(6);
        assert_eq!(under(&|guards| guards.sequence.1 = Some(stale)), Conflict::SequenceChanged(id(1)).into());
        for channel in [(id(1), Some(stale)), (id(1), None), (id(3), Some(stale))] {
            let error = under(&|guards| guards.channels.push(channel));
            assert_eq!(error, Conflict::ChannelChanged(channel.0).into());
        }
        assert_eq!(under(&|guards| guards.vacant.phones.push(PHONE.into())), held_by(1));
        let late = ContactUpdate { expected: stale, ..update(2, None) };
        let rows = RowChanges { contacts_updated: vec![late], ..RowChanges::default() };
        assert_eq!(refused(&changes(rows), &world()), Conflict::ContactChanged(id(2)).into());
    }

    #[test]
    fn a_derived_id_that_exists_is_not_a_conflict() {
        let mut given = world();
        given.tags.insert(id(1), Tag::new(id(1), "t"));
        let new = |ids: &[u128]| RowChanges {
            contacts_created: ids.iter().map(|n| Contact::new(id(*n))).collect(),
            ..RowChanges::default()
        };
        let (contact, among_others) = (new(&[1]), new(&[0, 1, 9]));
        let tag = RowChanges { tag_created: Some(Tag::new(id(1), "t")), ..RowChanges::default() };
        for rows in [contact, among_others, tag] {
            assert_eq!(refused(&changes(rows), &given), ApplyError::IdExists(id(1)));
        }
        // Whoever stands between them is not in their way.
        changes(new(&[0, 9])).apply(&mut given).unwrap();
    }

    #[test]
    fn a_key_that_another_contact_shows_too_is_not_given_up_by_it() {
        // A broken world: contacts 1 and 2 show one phone, and contact 1 holds it.
        let mut given = world();
        Arc::make_mut(given.contacts.get_mut(&id(2)).unwrap()).contact.phone = Some(PHONE.into());
        let mut rows = RowChanges { contacts_created: vec![contact(3, PHONE)], ..RowChanges::default() };
        rows.contacts_updated = vec![update(2, Some(OTHER_PHONE))];
        assert_eq!(refused(&changes(rows), &given), held_by(1));
    }

    #[test]
    fn keys_given_up_and_claimed_in_one_change_set_go_over() {
        let (mut snapshot, mut keys) = (world(), Keys::of(&world()));
        let rows = RowChanges {
            contacts_updated: vec![update(1, Some(OTHER_PHONE)), update(2, Some(PHONE))],
            ..RowChanges::default()
        };
        changes(rows).apply_with(&mut snapshot, &mut keys).unwrap();
        assert_eq!(keys.holder(KeyKind::Phone, PHONE), Some(id(2)));
        assert_eq!(keys.holder(KeyKind::Phone, OTHER_PHONE), Some(id(1)));
        assert_eq!(keys.0, Keys::of(&snapshot).0);
        let person = &snapshot.contacts[&id(2)];
        assert_eq!((person.version, person.contact.updated_at), (Version(8), Some(at())));
    }

    #[test]
    fn one_that_was_stored_out_of_order_is_written_like_any_other() {
        let contacts: Vec<Contact> = (3..9).map(|n| Contact::new(id(n))).collect();
        let conversations = contacts.iter().map(|row| Conversation::new(id(row.id.as_uuid().as_u128()), row.id, id(1)));
        let rows = RowChanges {
            conversations_created: conversations.collect(),
            contacts_created: contacts,
            contacts_updated: vec![update(1, None), update(2, None)],
            ..RowChanges::default()
        };
        let planned = changes(rows);
        let mut stored = serde_json::to_value(&planned).unwrap();
        for list in ["contacts_created", "contacts_updated", "conversations_created"] {
            stored["rows"][list].as_array_mut().unwrap().reverse();
        }
        let read: ChangeSet = serde_json::from_value(stored).unwrap();
        assert_eq!(read, planned);
        let mut snapshot = world();
        read.apply(&mut snapshot).unwrap();
        assert!((3..9).all(|n| snapshot.contacts[&id(n)].conversations.len() == 1));
    }

    #[test]
    fn one_conversation_on_a_phone_kind_and_any_number_on_email() {
        let mut rows = RowChanges { contacts_updated: vec![update(2, None)], ..RowChanges::default() };
        for channel in [1, 99] {
            rows.conversations_created = [1, 2].map(|n| Conversation::new(id(n), id(2), id(channel))).to_vec();
            let exists = Conflict::ConversationExists { contact_id: id(2), channel_id: id(channel) };
            assert_eq!(refused(&changes(rows.clone()), &world()), exists.into());
        }
        rows.conversations_created = [1, 2].map(|n| Conversation::new(id(n), id(2), id(2))).to_vec();
        changes(rows).apply(&mut world()).unwrap();
    }

    #[test]
    fn a_contact_is_live_in_a_sequence_once() {
        let mut given = world();
        let run = Run::new(id(1), id(1), id(2), at());
        let person = Arc::make_mut(given.contacts.get_mut(&id(2)).unwrap());
        person.step_contacts.push(StepContact::new(id(1), &run, id(1)));
        let mut rows = RowChanges { contacts_updated: vec![update(2, None)], ..RowChanges::default() };
        rows.step_contacts_created = vec![StepContact::new(id(2), &run, id(2))];
        let twice = Conflict::StepContactLive { contact_id: id(2), sequence_id: id(1) };
        assert_eq!(refused(&changes(rows.clone()), &given), twice.into());
        rows.step_contacts_created[0].sequence_id = id(2);
        changes(rows).apply(&mut given).unwrap();
    }
}

//! Applies a change set to a snapshot: all of it, or nothing.

use std::sync::Arc;
use uuid::Uuid;

use super::key_holders::{KeyHolders, KeyTransfer, key_text};
use super::written_contacts::WrittenContacts;
use super::{ApplyError, ChangeSet, CompletionMode, Conflict};
use crate::contact::{ContactKeys, KeyKind};
use crate::ids::ContactId;
use crate::model::{CustomRecord, RunStatus, StepContact};
use crate::snapshot::{ContactAggregate, Snapshot, Version};
use crate::stored_enrollment::EnrollmentState;

impl ChangeSet {
    /// Writes the change set into a snapshot of its organization.
    ///
    /// All checks run before the first write: the state of the enrollment, the guards, the new ids, and the rows that
    /// must be unique. On an error, the snapshot is unchanged.
    ///
    /// The snapshot must contain all contacts of the organization, because any of them can hold a key. This method
    /// reads all of them once. A repository with many commits should keep an index of the keys instead.
    ///
    /// # Errors
    /// [`ApplyError::Conflict`] if a fact changed; [`ApplyError::IdExists`] if a new id already exists.
    pub fn apply(&self, snapshot: &mut Snapshot) -> Result<(), ApplyError> {
        self.apply_with(snapshot, &mut KeyHolders::from_snapshot(snapshot))
    }

    /// Does the same with an index of the snapshot's keys, and updates the index.
    ///
    /// The cost depends on the size of the change set: one lookup for each row, and one scan over the ids between the
    /// first and the last new contact.
    pub(crate) fn apply_with(&self, snapshot: &mut Snapshot, holders: &mut KeyHolders) -> Result<(), ApplyError> {
        self.check_guards(snapshot, holders)?;
        let mut written = self.written_contacts(snapshot)?;
        self.check_ids(snapshot, &mut written)?;
        self.write_rows(snapshot, &mut written)?;
        holders.apply(&self.transfers(snapshot, &written))?;

        // All checks passed. Nothing below can fail.
        for (id, aggregate) in written.ids.into_iter().zip(written.aggregates) {
            snapshot.contacts.insert(id, aggregate);
        }
        if let Some(tag) = &self.rows.tag_created {
            snapshot.tags.insert(tag.id, tag.clone());
        }
        let enrollment = &self.completion.enrollment;
        snapshot.reference.enrollments.insert(enrollment.id, Arc::new(enrollment.clone()));
        Ok(())
    }

    fn check_guards(&self, snapshot: &Snapshot, holders: &KeyHolders) -> Result<(), Conflict> {
        let (reference, guards) = (&snapshot.reference, &self.guards);
        if reference.organization_id != self.organization_id {
            return Err(Conflict::OtherOrganization(self.organization_id));
        }
        let id = self.completion.enrollment.id;
        let stored = reference.enrollments.get(&id);
        match (self.completion.mode, stored) {
            (CompletionMode::Create, None) => {}
            (CompletionMode::Create, Some(_)) => return Err(Conflict::EnrollmentExists(id)),
            (CompletionMode::Finish, Some(stored)) if stored.state == EnrollmentState::Accepted => {
                if stored.erased_recipients != self.completion.enrollment.erased_recipients {
                    return Err(Conflict::RecipientsErased(id));
                }
            }
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
        if let Some((id, name)) = &guards.upload_tag
            && snapshot.tags.get(id).map(|tag| &tag.name) != name.as_ref()
        {
            return Err(Conflict::TagChanged(*id));
        }
        let updated = self.rows.contacts_updated.iter().map(|update| (update.id, update.expected));
        for (id, version) in guards.contacts.iter().copied().chain(updated) {
            if snapshot.contacts.get(&id).map(|aggregate| aggregate.version) != Some(version) {
                return Err(Conflict::ContactChanged(id));
            }
        }
        check_unclaimed(&guards.unclaimed_keys, holders)
    }

    /// Checks that the new ids do not exist yet.
    ///
    /// The id of a related row is only checked at its contact. If that contact does not exist, a later check fails.
    fn check_ids(&self, snapshot: &Snapshot, written: &mut WrittenContacts) -> Result<(), ApplyError> {
        let rows = &self.rows;
        let exists = |id: Uuid| Err(ApplyError::IdExists(id));
        if let (Some(first), Some(last)) = (rows.contacts_created.first(), rows.contacts_created.last()) {
            // Ids are ordered by time, so few existing contacts have ids between those of new contacts.
            for id in snapshot.contacts.range(first.id..=last.id).map(|(id, _)| *id) {
                if rows.contacts_created.binary_search_by_key(&id, |contact| contact.id).is_ok() {
                    return exists(id.as_uuid());
                }
            }
        }
        if let Some(tag) = &rows.tag_created
            && snapshot.tags.contains_key(&tag.id)
        {
            return exists(tag.id.as_uuid());
        }
        // A new contact has no related rows yet.
        let mut has = |id: ContactId, row: &dyn Fn(&ContactAggregate) -> bool| {
            !written.creates(id) && snapshot.contacts.get(&id).is_some_and(|aggregate| row(aggregate))
        };
        for row in &rows.conversations_created {
            if has(row.contact_id, &|aggregate| aggregate.conversations.iter().any(|other| other.id == row.id)) {
                return exists(row.id.as_uuid());
            }
        }
        for row in &rows.runs_created {
            if has(row.contact_id, &|aggregate| aggregate.runs.iter().any(|other| other.id == row.id)) {
                return exists(row.id.as_uuid());
            }
        }
        for row in &rows.step_contacts_created {
            if has(row.contact_id, &|aggregate| aggregate.step_contacts.iter().any(|other| other.id == row.id)) {
                return exists(row.id.as_uuid());
            }
        }
        for row in &rows.contact_tags_created {
            if has(row.contact_id, &|aggregate| aggregate.tags.contains(&row.tag_id)) {
                return exists(row.tag_id.as_uuid());
            }
        }
        for row in &rows.records_created {
            let id = row.record.id;
            if has(row.contact_id, &|aggregate| aggregate.records.iter().any(|other| other.id == id)) {
                return exists(id.as_uuid());
            }
        }
        Ok(())
    }

    /// Returns the contacts as they are after the commit, each with its related rows from before.
    fn written_contacts(&self, snapshot: &Snapshot) -> Result<WrittenContacts, Conflict> {
        let rows = &self.rows;
        let mut written = WrittenContacts::with_capacity(rows.contacts_created.len(), rows.contacts_updated.len());
        for contact in &rows.contacts_created {
            written.push(ContactAggregate::new(contact.clone(), Version::FIRST));
        }
        for update in &rows.contacts_updated {
            let Some(before) = snapshot.contacts.get(&update.id) else {
                return Err(Conflict::ContactChanged(update.id));
            };
            let mut aggregate = ContactAggregate::clone(before);
            aggregate.version = update.expected.next();
            if !update.set.is_empty() {
                update.set.apply(&mut aggregate.contact);
                aggregate.contact.updated_at = Some(self.at);
            }
            written.push(aggregate);
        }
        Ok(written)
    }

    /// Returns the keys that contacts release and claim.
    fn transfers<'c>(&self, snapshot: &'c Snapshot, written: &'c WrittenContacts) -> Vec<KeyTransfer<'c>> {
        let created = self.rows.contacts_created.len();
        let mut transfers = Vec::with_capacity(2 * created);
        for (position, aggregate) in written.aggregates.iter().enumerate() {
            let contact = &aggregate.contact;
            let update = position.checked_sub(created).map(|position| &self.rows.contacts_updated[position]);
            if update.is_some_and(|update| update.set.is_empty()) {
                continue;
            }
            let before = update.and_then(|update| snapshot.contacts.get(&update.id));
            for kind in KeyKind::ALL {
                let released = before.and_then(|aggregate| key_text(&aggregate.contact, kind));
                let claimed = key_text(contact, kind);
                if released != claimed {
                    transfers.push(KeyTransfer { id: contact.id, kind, released, claimed });
                }
            }
        }
        transfers
    }

    /// Writes the related rows into copies of the contacts, and checks the rows that must be unique.
    fn write_rows(&self, snapshot: &Snapshot, written: &mut WrittenContacts) -> Result<(), Conflict> {
        let rows = &self.rows;
        for row in &rows.conversations_created {
            let aggregate = written.get_mut(row.contact_id)?;
            let one_at_most =
                snapshot.reference.channels.get(&row.channel_id).is_none_or(|channel| channel.value.kind.is_phone());
            if one_at_most && aggregate.conversations.iter().any(|other| other.channel_id == row.channel_id) {
                let (contact_id, channel_id) = (row.contact_id, row.channel_id);
                return Err(Conflict::ConversationExists { contact_id, channel_id });
            }
            push_exact(&mut aggregate.conversations, *row);
        }
        for row in &rows.runs_created {
            push_exact(&mut written.get_mut(row.contact_id)?.runs, *row);
        }
        for row in &rows.runs_reactivated {
            let runs = &mut written.get_mut(row.contact_id)?.runs;
            runs.iter_mut().find(|run| run.id == row.run_id).ok_or(Conflict::RunGone(row.run_id))?.status =
                RunStatus::Active;
        }
        for row in &rows.step_contacts_created {
            push_exact(&mut written.get_mut(row.contact_id)?.step_contacts, *row);
        }
        for row in &rows.step_contacts_updated {
            let step_contacts = &mut written.get_mut(row.contact_id)?.step_contacts;
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
            let step_contacts = &written.get_mut(contact_id)?.step_contacts;
            let live = |row: &&StepContact| row.status.is_live();
            let Some(row) = step_contacts.iter().filter(live).find(|row| row.id == id) else { continue };
            let sequence_id = row.sequence_id;
            if step_contacts.iter().filter(live).any(|other| other.id != id && other.sequence_id == sequence_id) {
                return Err(Conflict::StepContactLive { contact_id, sequence_id });
            }
        }
        for row in &rows.contact_tags_created {
            push_exact(&mut written.get_mut(row.contact_id)?.tags, row.tag_id);
        }
        for row in &rows.records_created {
            let records = &mut written.get_mut(row.contact_id)?.records;
            let CustomRecord { custom_object_id, resource, resource_id, .. } = row.record;
            let same = |other: &CustomRecord| {
                (other.custom_object_id, other.resource, other.resource_id) == (custom_object_id, resource, resource_id)
            };
            if records.iter().any(same) {
                return Err(Conflict::RecordExists { custom_object_id, resource, resource_id });
            }
            push_exact(records, row.record.clone());
        }
        for row in &rows.records_updated {
            let records = &mut written.get_mut(row.contact_id)?.records;
            let record = records.iter_mut().find(|record| record.id == row.id).ok_or(Conflict::RecordGone(row.id))?;
            record.properties.clone_from(&row.properties);
        }
        Ok(())
    }
}

/// Appends a row without spare capacity: most contacts have one or two rows of each kind, and a list of four would be
/// most of their memory.
fn push_exact<T>(list: &mut Vec<T>, row: T) {
    list.reserve_exact(1);
    list.push(row);
}

fn check_unclaimed(keys: &ContactKeys, holders: &KeyHolders) -> Result<(), Conflict> {
    for (key, texts) in keys.iter() {
        for text in texts {
            if let Some(holder) = holders.holder(key, text) {
                return Err(Conflict::KeyHeld { key, text: text.clone(), holder });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::changes::{Completion, ContactFields, ContactUpdate, Guards, RowChanges};
    use crate::contact::Contact;
    use crate::model::{Channel, ChannelKind, Conversation, Run, Sequence, Tag};
    use crate::report::{EnrollmentReport, Outcomes, ReportVersion};
    use crate::request::Fingerprint;
    use crate::snapshot::{ReferenceData, Versioned};
    use crate::stored_enrollment::StoredEnrollment;
    use crate::text::Text;
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

    /// Contact 1 has a phone, contact 2 has none. Channel 1 is a phone channel, channel 2 an email channel.
    fn organization() -> Snapshot {
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
        let (channels, contacts, unclaimed_keys) = (Vec::new(), Vec::new(), ContactKeys::default());
        let guards = Guards {
            sequence,
            channels,
            custom_object: None,
            call_flow: None,
            upload_tag: None,
            contacts,
            unclaimed_keys,
        };
        let (v, channel_id, upload_tag, outcomes) = (ReportVersion::FIRST, None, None, Outcomes::default());
        let (enrollment_id, sequence_id, step_id, at, accepted_keys) = (id(1), id(1), id(1), at(), Vec::new());
        let report = EnrollmentReport {
            v,
            enrollment_id,
            at,
            sequence_id,
            step_id,
            channel_id,
            upload_tag,
            accepted_keys,
            warnings: Vec::new(),
            outcomes,
        };
        let completion = Completion::create(StoredEnrollment::completed(Fingerprint::from_bytes([0; 32]), report));
        ChangeSet::new(id(1), at, guards, rows, completion)
    }

    fn update(n: u128, phone: Option<&str>) -> ContactUpdate {
        let set = ContactFields { phone: phone.map(Text::from), ..ContactFields::default() };
        ContactUpdate { id: id(n), expected: Version(7), set }
    }

    fn refused(changes: &ChangeSet, given: &Snapshot) -> ApplyError {
        let (mut snapshot, mut keys) = (given.clone(), KeyHolders::from_snapshot(given));
        let error = changes.apply_with(&mut snapshot, &mut keys).unwrap_err();
        assert_eq!(snapshot, *given, "{error}");
        assert_eq!(keys.0, KeyHolders::from_snapshot(given).0, "{error}");
        error
    }

    fn held_by(n: u128) -> ApplyError {
        Conflict::KeyHeld { key: KeyKind::Phone, text: PHONE.into(), holder: id(n) }.into()
    }

    #[test]
    fn a_failed_guard_is_a_conflict_and_changes_nothing() {
        let under = |set: &dyn Fn(&mut Guards)| {
            let mut changes = changes(RowChanges::default());
            set(&mut changes.guards);
            refused(&changes, &organization())
        };
        let stale = Version(6);
        assert_eq!(under(&|guards| guards.sequence.1 = Some(stale)), Conflict::SequenceChanged(id(1)).into());
        for channel in [(id(1), Some(stale)), (id(1), None), (id(3), Some(stale))] {
            let error = under(&|guards| guards.channels.push(channel));
            assert_eq!(error, Conflict::ChannelChanged(channel.0).into());
        }
        assert_eq!(
            under(&|guards| guards.unclaimed_keys = ContactKeys::from_iter([(KeyKind::Phone, PHONE)])),
            held_by(1)
        );
        let late = ContactUpdate { expected: stale, ..update(2, None) };
        let rows = RowChanges { contacts_updated: vec![late], ..RowChanges::default() };
        assert_eq!(refused(&changes(rows), &organization()), Conflict::ContactChanged(id(2)).into());
    }

    #[test]
    fn a_derived_id_that_exists_is_not_a_conflict() {
        let mut given = organization();
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
        // A contact with an id between theirs does not matter.
        changes(new(&[0, 9])).apply(&mut given).unwrap();
    }

    #[test]
    fn a_contact_does_not_release_a_key_that_another_contact_holds() {
        // No database allows this: contacts 1 and 2 have the same phone. Contact 1 holds it.
        let mut given = organization();
        Arc::make_mut(given.contacts.get_mut(&id(2)).unwrap()).contact.phone = Some(PHONE.into());
        let mut rows = RowChanges { contacts_created: vec![contact(3, PHONE)], ..RowChanges::default() };
        rows.contacts_updated = vec![update(2, Some(OTHER_PHONE))];
        assert_eq!(refused(&changes(rows), &given), held_by(1));
    }

    #[test]
    fn a_contact_can_claim_a_key_that_another_contact_releases() {
        let (mut snapshot, mut keys) = (organization(), KeyHolders::from_snapshot(&organization()));
        let rows = RowChanges {
            contacts_updated: vec![update(1, Some(OTHER_PHONE)), update(2, Some(PHONE))],
            ..RowChanges::default()
        };
        changes(rows).apply_with(&mut snapshot, &mut keys).unwrap();
        assert_eq!(keys.holder(KeyKind::Phone, PHONE), Some(id(2)));
        assert_eq!(keys.holder(KeyKind::Phone, OTHER_PHONE), Some(id(1)));
        assert_eq!(keys.0, KeyHolders::from_snapshot(&snapshot).0);
        let aggregate = &snapshot.contacts[&id(2)];
        assert_eq!((aggregate.version, aggregate.contact.updated_at), (Version(8), Some(at())));
    }

    #[test]
    fn a_stored_change_set_with_unsorted_rows_is_sorted_when_it_is_read() {
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
        let mut snapshot = organization();
        read.apply(&mut snapshot).unwrap();
        assert!((3..9).all(|n| snapshot.contacts[&id(n)].conversations.len() == 1));
    }

    #[test]
    fn a_phone_channel_allows_one_conversation_and_an_email_channel_several() {
        let mut rows = RowChanges { contacts_updated: vec![update(2, None)], ..RowChanges::default() };
        for channel in [1, 99] {
            rows.conversations_created = [1, 2].map(|n| Conversation::new(id(n), id(2), id(channel))).to_vec();
            let exists = Conflict::ConversationExists { contact_id: id(2), channel_id: id(channel) };
            assert_eq!(refused(&changes(rows.clone()), &organization()), exists.into());
        }
        rows.conversations_created = [1, 2].map(|n| Conversation::new(id(n), id(2), id(2))).to_vec();
        changes(rows).apply(&mut organization()).unwrap();
    }

    #[test]
    fn a_contact_has_one_live_step_contact_in_a_sequence() {
        let mut given = organization();
        let run = Run::new(id(1), id(1), id(2), at());
        let aggregate = Arc::make_mut(given.contacts.get_mut(&id(2)).unwrap());
        aggregate.step_contacts.push(StepContact::new(id(1), &run, id(1)));
        let mut rows = RowChanges { contacts_updated: vec![update(2, None)], ..RowChanges::default() };
        rows.step_contacts_created = vec![StepContact::new(id(2), &run, id(2))];
        let twice = Conflict::StepContactLive { contact_id: id(2), sequence_id: id(1) };
        assert_eq!(refused(&changes(rows.clone()), &given), twice.into());
        rows.step_contacts_created[0].sequence_id = id(2);
        changes(rows).apply(&mut given).unwrap();
    }
}

//! The decisions of the batched rivals, between their look-ups and their multi-row writes: all recipients in memory.

use enroll::Disposition;
use enroll::contact::KeyKind;
use std::collections::HashMap;
use uuid::Uuid;

use crate::body::Entry;
use crate::rules::{self, Contact, Decision, KeyOwner, Outcome, Record, RelatedRows};
use crate::target::Target;

/// An existing contact with its related rows.
#[derive(Debug, Default)]
pub struct ContactAggregate {
    pub contact: Contact,
    pub related: RelatedRows,
    pub conversation: Option<Uuid>,
    /// The records of the custom object, each with the id of its resource.
    pub records: Vec<(Uuid, Record)>,
}

/// The rows to write, table by table.
#[derive(Debug, Default)]
pub struct Batch {
    pub contacts_created: Vec<Contact>,
    pub contacts_updated: Vec<Contact>,
    pub conversations_created: Vec<NewRow>,
    pub runs_created: Vec<NewRow>,
    pub runs_reactivated: Vec<Uuid>,
    pub step_contacts_created: Vec<NewStepContact>,
    pub step_contacts_reprocessed: Vec<Uuid>,
    pub tagged: Vec<Uuid>,
    pub records_created: Vec<NewRecord>,
    pub records_updated: Vec<Record>,
}

/// A row with an id and a contact. Its other columns are the same in all rows.
#[derive(Clone, Copy, Debug)]
pub struct NewRow {
    pub id: Uuid,
    pub contact_id: Uuid,
}

#[derive(Clone, Copy, Debug)]
pub struct NewStepContact {
    pub id: Uuid,
    pub run_id: Uuid,
    pub contact_id: Uuid,
}

#[derive(Debug)]
pub struct NewRecord {
    pub id: Uuid,
    pub contact_id: Uuid,
    pub resource_id: Uuid,
    pub properties: String,
}

/// Returns the keys of a kind in the entries, without duplicates.
#[must_use]
pub fn keys(entries: &[Entry], kind: KeyKind) -> Vec<&str> {
    let mut keys: Vec<&str> = entries.iter().filter_map(|entry| entry.key(kind)).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// Decides about all recipients, in input order.
#[must_use]
pub fn plan(entries: &[Entry], aggregates: &[ContactAggregate], target: &Target) -> (Batch, Vec<Outcome>) {
    let mut planner = Planner {
        target,
        aggregates,
        batch: Batch::default(),
        holders: std::array::from_fn(|_| HashMap::with_capacity(aggregates.len() + entries.len())),
        reserved: HashMap::with_capacity(entries.len()),
    };
    for aggregate in aggregates {
        for kind in KeyKind::ALL {
            if let Some(key) = rules::key(&aggregate.contact, kind) {
                let holder = KeyHolder { contact_id: aggregate.contact.id, assigned_by: None };
                planner.holders[kind as usize].insert(key, holder);
            }
        }
    }
    let positions: HashMap<Uuid, usize> =
        aggregates.iter().enumerate().map(|(n, aggregate)| (aggregate.contact.id, n)).collect();
    let outcomes = entries.iter().enumerate().map(|(index, entry)| planner.plan_recipient(index, entry, &positions));
    let outcomes = outcomes.collect();
    (planner.batch, outcomes)
}

struct Planner<'a> {
    target: &'a Target,
    aggregates: &'a [ContactAggregate],
    batch: Batch,
    holders: [HashMap<&'a str, KeyHolder>; 3],
    reserved: HashMap<Uuid, usize>,
}

/// The current holder of a key.
#[derive(Clone, Copy)]
struct KeyHolder {
    contact_id: Uuid,
    /// The recipient of this request that assigned the key to the contact.
    assigned_by: Option<usize>,
}

impl<'a> Planner<'a> {
    fn plan_recipient(&mut self, index: usize, entry: &'a Entry, positions: &HashMap<Uuid, usize>) -> Outcome {
        let mut outcome = Outcome::new(index, entry, self.target.kind);
        let holders = KeyKind::ALL.map(|kind| self.holders[kind as usize].get(entry.key(kind)?).copied());
        outcome.contact_id = holders.into_iter().flatten().next().map(|holder| holder.contact_id);
        if let Some(&by) = outcome.contact_id.and_then(|id| self.reserved.get(&id)) {
            outcome.set_duplicate(by);
            return outcome;
        }
        outcome.note_default_channel(entry, self.target);
        match outcome.contact_id {
            None if outcome.reasons.is_empty() => self.enroll_new(entry, &mut outcome),
            None => {}
            Some(id) => {
                if let Some(&position) = positions.get(&id) {
                    self.enroll_existing(&self.aggregates[position], holders, entry, &mut outcome);
                }
            }
        }
        outcome
    }

    fn enroll_new(&mut self, entry: &'a Entry, outcome: &mut Outcome) {
        let contact = rules::new_contact(entry, self.target);
        let id = contact.id;
        self.batch.contacts_created.push(contact);
        for kind in KeyKind::ALL {
            self.assign_key(id, kind, entry, outcome.index);
        }
        outcome.contact_id = Some(id);
        outcome.contact_created = true;
        outcome.disposition = Disposition::Added;
        self.add_to_step(id, outcome);
        self.add_related_rows(id, None, entry, outcome);
    }

    fn enroll_existing(
        &mut self,
        aggregate: &ContactAggregate,
        holders: [Option<KeyHolder>; 3],
        entry: &'a Entry,
        outcome: &mut Outcome,
    ) {
        let id = aggregate.contact.id;
        let owners = holders.map(|holder| match holder {
            Some(KeyHolder { contact_id, assigned_by }) if contact_id != id => {
                KeyOwner::Contact { id: contact_id, assigned_by }
            }
            _ => KeyOwner::NoContact,
        });
        let checked =
            rules::check_existing(outcome, entry, &aggregate.contact, &aggregate.related, owners, self.target);
        let Some((update, decision)) = checked else { return };
        if update.changed {
            self.batch.contacts_updated.push(update.contact);
        }
        for kind in update.new_keys {
            self.assign_key(id, kind, entry, outcome.index);
        }
        match decision {
            Decision::Add(disposition) => {
                outcome.disposition = disposition;
                self.add_to_step(id, outcome);
            }
            Decision::Reprocess { step_contact_id, run_id } => {
                outcome.disposition = Disposition::Reprocessed;
                outcome.step_contact_id = Some(step_contact_id);
                self.batch.step_contacts_reprocessed.push(step_contact_id);
                self.batch.runs_reactivated.push(run_id);
            }
        }
        self.add_related_rows(id, Some(aggregate), entry, outcome);
    }

    fn assign_key(&mut self, contact_id: Uuid, kind: KeyKind, entry: &'a Entry, index: usize) {
        if let Some(key) = entry.key(kind) {
            self.holders[kind as usize].insert(key, KeyHolder { contact_id, assigned_by: Some(index) });
        }
    }

    fn add_to_step(&mut self, contact_id: Uuid, outcome: &mut Outcome) {
        let (run_id, id) = (Uuid::now_v7(), Uuid::now_v7());
        self.batch.runs_created.push(NewRow { id: run_id, contact_id });
        self.batch.step_contacts_created.push(NewStepContact { id, run_id, contact_id });
        outcome.step_contact_id = Some(id);
    }

    fn add_related_rows(
        &mut self,
        contact_id: Uuid,
        aggregate: Option<&ContactAggregate>,
        entry: &Entry,
        outcome: &mut Outcome,
    ) {
        self.reserved.insert(contact_id, outcome.index);
        if self.target.channel_id.is_some() {
            let existing = aggregate.and_then(|aggregate| aggregate.conversation);
            outcome.conversation_created = existing.is_none();
            outcome.conversation_id = Some(existing.unwrap_or_else(|| {
                let id = Uuid::now_v7();
                self.batch.conversations_created.push(NewRow { id, contact_id });
                id
            }));
        }
        if self.target.upload_tag.is_some() {
            self.batch.tagged.push(contact_id);
        }
        let (Some(object), Some(step_contact_id)) = (&self.target.object, outcome.step_contact_id) else { return };
        let resource_id = object.resource_id(contact_id, step_contact_id);
        let mut records = aggregate.iter().flat_map(|aggregate| &aggregate.records);
        let existing = records.find(|(id, _)| *id == resource_id).map(|(_, record)| record);
        match (rules::merge(object, existing.map(|record| &*record.properties), &entry.properties), existing) {
            (Err(note), _) => outcome.notes.push(note),
            (Ok(properties), Some(record)) => {
                self.batch.records_updated.push(Record { id: record.id, properties });
                outcome.record_id = Some(record.id);
            }
            (Ok(properties), None) => {
                let id = Uuid::now_v7();
                self.batch.records_created.push(NewRecord { id, contact_id, resource_id, properties });
                outcome.record_id = Some(id);
            }
        }
    }
}

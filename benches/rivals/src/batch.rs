//! What the batched rivals do between their set look-ups and their multi-row writes: all recipients in memory.

use enroll::contact::KeyKind;
use enroll::Disposition;
use std::collections::HashMap;
use uuid::Uuid;

use crate::body::Entry;
use crate::rules::{self, Around, Contact, Decision, Holder, Outcome, Record};
use crate::target::Target;

/// An existing contact with its related rows.
#[derive(Debug, Default)]
pub struct Person {
    pub contact: Contact,
    pub around: Around,
    pub conversation: Option<Uuid>,
    /// Of the custom object, by the resource that each belongs to.
    pub records: Vec<(Uuid, Record)>,
}

/// The rows to write, table by table.
#[derive(Debug, Default)]
pub struct Batch {
    pub contacts_created: Vec<Contact>,
    pub contacts_filled: Vec<Contact>,
    pub conversations_created: Vec<OfContact>,
    pub runs_created: Vec<OfContact>,
    pub runs_again: Vec<Uuid>,
    pub step_contacts_created: Vec<NewStepContact>,
    pub step_contacts_again: Vec<Uuid>,
    pub tagged: Vec<Uuid>,
    pub records_created: Vec<NewRecord>,
    pub records_merged: Vec<Record>,
}

/// A row of which only the id and the contact are its own.
#[derive(Clone, Copy, Debug)]
pub struct OfContact {
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

/// The keys of a kind that the entries give, each once.
#[must_use]
pub fn keys(entries: &[Entry], kind: KeyKind) -> Vec<&str> {
    let mut keys: Vec<&str> = entries.iter().filter_map(|entry| entry.key(kind)).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// Decides over all recipients, in their order.
#[must_use]
pub fn resolve(entries: &[Entry], people: &[Person], target: &Target) -> (Batch, Vec<Outcome>) {
    let mut resolving = Resolving {
        target,
        people,
        batch: Batch::default(),
        holders: std::array::from_fn(|_| HashMap::with_capacity(people.len() + entries.len())),
        taken: HashMap::with_capacity(entries.len()),
    };
    for person in people {
        for kind in KeyKind::ALL {
            if let Some(key) = rules::key(&person.contact, kind) {
                let held = Held { contact_id: person.contact.id, brought_by: None };
                resolving.holders[kind as usize].insert(key, held);
            }
        }
    }
    let places: HashMap<Uuid, usize> = people.iter().enumerate().map(|(n, person)| (person.contact.id, n)).collect();
    let outcomes = entries.iter().enumerate().map(|(index, entry)| resolving.recipient(index, entry, &places));
    let outcomes = outcomes.collect();
    (resolving.batch, outcomes)
}

struct Resolving<'a> {
    target: &'a Target,
    people: &'a [Person],
    batch: Batch,
    holders: [HashMap<&'a str, Held>; 3],
    taken: HashMap<Uuid, usize>,
}

#[derive(Clone, Copy)]
struct Held {
    contact_id: Uuid,
    brought_by: Option<usize>,
}

impl<'a> Resolving<'a> {
    fn recipient(&mut self, index: usize, entry: &'a Entry, places: &HashMap<Uuid, usize>) -> Outcome {
        let mut outcome = Outcome::of(index, entry, self.target.kind);
        let held = KeyKind::ALL.map(|kind| self.holders[kind as usize].get(entry.key(kind)?).copied());
        outcome.contact_id = held.into_iter().flatten().next().map(|held| held.contact_id);
        if let Some(&by) = outcome.contact_id.and_then(|id| self.taken.get(&id)) {
            outcome.taken(by);
            return outcome;
        }
        outcome.note_default_channel(entry, self.target);
        match outcome.contact_id {
            None if outcome.reasons.is_empty() => self.create(entry, &mut outcome),
            None => {}
            Some(id) => {
                if let Some(&place) = places.get(&id) {
                    self.existing(&self.people[place], held, entry, &mut outcome);
                }
            }
        }
        outcome
    }

    fn create(&mut self, entry: &'a Entry, outcome: &mut Outcome) {
        let contact = rules::new_contact(entry, self.target);
        let id = contact.id;
        self.batch.contacts_created.push(contact);
        for kind in KeyKind::ALL {
            self.bring(id, kind, entry, outcome.index);
        }
        outcome.contact_id = Some(id);
        outcome.contact_created = true;
        outcome.disposition = Disposition::Added;
        self.enter(id, outcome);
        self.goes_with_it(id, None, entry, outcome);
    }

    fn existing(&mut self, person: &Person, held: [Option<Held>; 3], entry: &'a Entry, outcome: &mut Outcome) {
        let id = person.contact.id;
        let holders = held.map(|held| match held {
            Some(Held { contact_id, brought_by }) if contact_id != id => Holder::Contact { id: contact_id, brought_by },
            _ => Holder::Nobody,
        });
        let considered = rules::consider(outcome, entry, &person.contact, &person.around, holders, self.target);
        let Some((filled, decision)) = considered else { return };
        if filled.changed {
            self.batch.contacts_filled.push(filled.contact);
        }
        for kind in filled.brings {
            self.bring(id, kind, entry, outcome.index);
        }
        match decision {
            Decision::Enter(disposition) => {
                outcome.disposition = disposition;
                self.enter(id, outcome);
            }
            Decision::Reprocess { step_contact_id, run_id } => {
                outcome.disposition = Disposition::Reprocessed;
                outcome.step_contact_id = Some(step_contact_id);
                self.batch.step_contacts_again.push(step_contact_id);
                self.batch.runs_again.push(run_id);
            }
        }
        self.goes_with_it(id, Some(person), entry, outcome);
    }

    fn bring(&mut self, contact_id: Uuid, kind: KeyKind, entry: &'a Entry, index: usize) {
        if let Some(key) = entry.key(kind) {
            self.holders[kind as usize].insert(key, Held { contact_id, brought_by: Some(index) });
        }
    }

    fn enter(&mut self, contact_id: Uuid, outcome: &mut Outcome) {
        let (run_id, id) = (Uuid::now_v7(), Uuid::now_v7());
        self.batch.runs_created.push(OfContact { id: run_id, contact_id });
        self.batch.step_contacts_created.push(NewStepContact { id, run_id, contact_id });
        outcome.step_contact_id = Some(id);
    }

    fn goes_with_it(&mut self, contact_id: Uuid, person: Option<&Person>, entry: &Entry, outcome: &mut Outcome) {
        self.taken.insert(contact_id, outcome.index);
        if self.target.channel_id.is_some() {
            let standing = person.and_then(|person| person.conversation);
            outcome.conversation_created = standing.is_none();
            outcome.conversation_id = Some(standing.unwrap_or_else(|| {
                let id = Uuid::now_v7();
                self.batch.conversations_created.push(OfContact { id, contact_id });
                id
            }));
        }
        if self.target.upload_tag.is_some() {
            self.batch.tagged.push(contact_id);
        }
        let (Some(object), Some(step_contact_id)) = (&self.target.object, outcome.step_contact_id) else { return };
        let resource_id = object.resource_id(contact_id, step_contact_id);
        let mut records = person.iter().flat_map(|person| &person.records);
        let standing = records.find(|(of, _)| *of == resource_id).map(|(_, record)| record);
        match (rules::merged(object, standing.map(|record| &*record.properties), &entry.properties), standing) {
            (Err(note), _) => outcome.notes.push(note),
            (Ok(properties), Some(record)) => {
                self.batch.records_merged.push(Record { id: record.id, properties });
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

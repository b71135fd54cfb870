//! What hosts write past the engine, one row at a time.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use uuid::Uuid;

use super::{Seed, SeedError};
use crate::contact::Contact;
use crate::model::{
    CallFlow, Channel, CommunicationPreference, ContactTag, Conversation, CustomObject, CustomRecord, Resource, Run,
    Sequence, Step, StepContact, Tag,
};
use crate::snapshot::{ContactAggregate, Snapshot, Version, Versioned};
use crate::{ContactId, OrganizationId, SequenceId, StepContactId};

/// One row that a host writes by itself: what tables of its own would see from the rest of its code.
///
/// It serializes, so a store without tables can keep it as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields say it")]
pub struct HostWrite {
    pub organization_id: OrganizationId,
    pub verb: Verb,
    pub row: HostRow,
}

/// What is done with the row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verb {
    /// It must not exist.
    Insert,
    /// The row under its key is set to this one. It must exist.
    Update,
    /// The row under its key goes, with what stands round it. It must exist; nothing but its key is looked at.
    Delete,
}

/// A row of any table. The key is the `id`, but where it says otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "what needs a word has it")]
pub enum HostRow {
    Channel(Channel),
    /// Inserted with its steps; an update leaves them alone.
    Sequence(Sequence),
    /// A step of a sequence that stands.
    Step {
        sequence_id: SequenceId,
        step: Step,
    },
    CallFlow(CallFlow),
    CustomObject(CustomObject),
    Tag(Tag),
    Contact(Contact),
    /// The key is contact and channel.
    CommunicationPreference(CommunicationPreference),
    Conversation(Conversation),
    Run(Run),
    StepContact(StepContact),
    /// The key is all of it, so it is never updated.
    ContactTag(ContactTag),
    CustomRecord(CustomRecord),
}

/// Why a host's write was refused. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HostWriteError {
    /// A row to be inserted exists.
    #[error("{0} exists already")]
    Exists(String),
    /// The row, or one that it belongs to, does not exist.
    #[error("there is no {0}")]
    Absent(String),
    /// It would stand twice what can be once.
    #[error(transparent)]
    NotUnique(#[from] SeedError),
}

impl HostWrite {
    /// A write of that row.
    #[must_use]
    pub fn new(organization_id: OrganizationId, verb: Verb, row: HostRow) -> Self {
        Self { organization_id, verb, row }
    }

    /// Writes the row into its organization as a database with the constraints and triggers of the contract would:
    /// it refuses what must be unique, and raises the version of the aggregate that the row belongs to.
    ///
    /// # Errors
    /// [`HostWriteError`] says what stands in the way.
    pub fn apply(&self, snapshot: &mut Snapshot) -> Result<(), HostWriteError> {
        let mut after = snapshot.clone();
        self.write(&mut after)?;
        Seed::dump(std::slice::from_ref(&after), self.organization_id).check_unique()?;
        *snapshot = after;
        Ok(())
    }

    fn write(&self, snapshot: &mut Snapshot) -> Result<(), HostWriteError> {
        let verb = self.verb;
        let Snapshot { reference, contacts: people, tags, .. } = snapshot;
        match &self.row {
            HostRow::Channel(row) => aggregate(&mut reference.channels, verb, "channel", row.id, |_| row.clone()),
            HostRow::CallFlow(row) => aggregate(&mut reference.call_flows, verb, "call flow", row.id, |_| row.clone()),
            HostRow::CustomObject(row) => {
                aggregate(&mut reference.custom_objects, verb, "custom object", row.id, |_| row.clone())
            }
            HostRow::Sequence(row) => aggregate(&mut reference.sequences, verb, "sequence", row.id, |stands| {
                let steps = stands.map_or_else(|| row.steps.clone(), |stands| stands.steps.clone());
                Sequence { steps, ..row.clone() }
            }),
            HostRow::Step { sequence_id, step } => {
                let sequence =
                    reference.sequences.get_mut(sequence_id).ok_or_else(|| absent("sequence", sequence_id))?;
                sequence.version = sequence.version.next();
                let steps = &mut Arc::make_mut(&mut sequence.value).steps;
                listed(steps, verb, "step", step.id, *step, |row| row.id)
            }
            HostRow::Tag(row) => match verb {
                Verb::Insert if tags.contains_key(&row.id) => Err(exists("tag", row.id)),
                Verb::Update | Verb::Delete if !tags.contains_key(&row.id) => Err(absent("tag", row.id)),
                Verb::Insert | Verb::Update => {
                    tags.insert(row.id, row.clone());
                    Ok(())
                }
                Verb::Delete => {
                    tags.remove(&row.id);
                    for person in people.values_mut().filter(|person| person.tags.contains(&row.id)) {
                        bump_version(person).tags.retain(|tag_id| *tag_id != row.id);
                    }
                    Ok(())
                }
            },
            HostRow::Contact(row) => match (verb, people.get_mut(&row.id)) {
                (Verb::Insert, Some(_)) => Err(exists("contact", row.id)),
                (Verb::Insert, None) => {
                    people.insert(row.id, Arc::new(ContactAggregate::new(row.clone(), Version::FIRST)));
                    Ok(())
                }
                (_, None) => Err(absent("contact", row.id)),
                (Verb::Update, Some(person)) => {
                    bump_version(person).contact = row.clone();
                    Ok(())
                }
                (Verb::Delete, Some(_)) => {
                    people.remove(&row.id);
                    Ok(())
                }
            },
            HostRow::CommunicationPreference(row) => {
                let preferences = &mut person(people, row.contact_id)?.preferences;
                listed(preferences, verb, "preference on channel", row.channel_id, *row, |row| row.channel_id)
            }
            HostRow::Conversation(row) => {
                let rows = &mut person(people, row.contact_id)?.conversations;
                listed(rows, verb, "conversation", row.id, *row, |row| row.id)
            }
            HostRow::Run(row) => {
                listed(&mut person(people, row.contact_id)?.runs, verb, "run", row.id, *row, |row| row.id)
            }
            HostRow::StepContact(row) => {
                let ContactAggregate { step_contacts, records, .. } = person(people, row.contact_id)?;
                listed(step_contacts, verb, "step contact", row.id, *row, |row| row.id)?;
                if verb == Verb::Delete {
                    let its = (Resource::StepContact, row.id.as_uuid());
                    records.retain(|record| (record.resource, record.resource_id) != its);
                }
                Ok(())
            }
            HostRow::ContactTag(row) => {
                if !tags.contains_key(&row.tag_id) {
                    return Err(absent("tag", row.tag_id));
                }
                listed(&mut person(people, row.contact_id)?.tags, verb, "tag", row.tag_id, row.tag_id, |tag_id| *tag_id)
            }
            HostRow::CustomRecord(row) => {
                let owner = owner(people, row.resource, row.resource_id)?;
                let records = &mut person(people, owner)?.records;
                listed(records, verb, "custom record", row.id, row.clone(), |row| row.id)
            }
        }
    }
}

impl Seed {
    /// Every row as the insert of a host, in an order in which each finds what it belongs to.
    #[must_use]
    pub fn inserts(&self) -> Vec<HostWrite> {
        let mut writes = Vec::new();
        macro_rules! insert {
            ($($list:ident => $row:ident),* $(,)?) => {$(
                writes.extend(self.$list.iter().map(|row| HostWrite {
                    organization_id: row.organization_id.unwrap_or(self.organization_id),
                    verb: Verb::Insert,
                    row: HostRow::$row(row.row.clone()),
                }));
            )*};
        }
        insert! {
            channels => Channel, call_flows => CallFlow, custom_objects => CustomObject, sequences => Sequence,
            tags => Tag, contacts => Contact, communication_preferences => CommunicationPreference,
            conversations => Conversation, runs => Run, step_contacts => StepContact, contact_tags => ContactTag,
            custom_records => CustomRecord,
        }
        writes
    }
}

/// A row that is an aggregate of its own.
fn aggregate<K: Ord + Copy + Display, T>(
    rows: &mut BTreeMap<K, Versioned<T>>,
    verb: Verb,
    what: &str,
    id: K,
    row: impl FnOnce(Option<&T>) -> T,
) -> Result<(), HostWriteError> {
    let stands = rows.get(&id);
    let version = match (verb, stands) {
        (Verb::Insert, Some(_)) => return Err(exists(what, id)),
        (Verb::Insert, None) => Version::FIRST,
        (_, None) => return Err(absent(what, id)),
        (Verb::Update, Some(stands)) => stands.version.next(),
        (Verb::Delete, Some(_)) => {
            rows.remove(&id);
            return Ok(());
        }
    };
    let row = row(stands.map(|stands| &*stands.value));
    rows.insert(id, Versioned::new(version, row));
    Ok(())
}

/// A row of a list that belongs to an aggregate.
fn listed<K: PartialEq + Display, T>(
    rows: &mut Vec<T>,
    verb: Verb,
    what: &str,
    key: K,
    row: T,
    key_of: impl Fn(&T) -> K,
) -> Result<(), HostWriteError> {
    let place = rows.iter().position(|other| key_of(other) == key);
    match (verb, place) {
        (Verb::Insert, Some(_)) => Err(exists(what, key)),
        (Verb::Insert, None) => {
            rows.push(row);
            Ok(())
        }
        (_, None) => Err(absent(what, key)),
        (Verb::Update, Some(place)) => {
            rows[place] = row;
            Ok(())
        }
        (Verb::Delete, Some(place)) => {
            rows.remove(place);
            Ok(())
        }
    }
}

type People = BTreeMap<ContactId, Arc<ContactAggregate>>;

/// The contact, one version on.
fn person(people: &mut People, id: ContactId) -> Result<&mut ContactAggregate, HostWriteError> {
    people.get_mut(&id).map(bump_version).ok_or_else(|| absent("contact", id))
}

fn bump_version(person: &mut Arc<ContactAggregate>) -> &mut ContactAggregate {
    let person = Arc::make_mut(person);
    person.version = person.version.next();
    person
}

fn owner(people: &People, resource: Resource, resource_id: Uuid) -> Result<ContactId, HostWriteError> {
    match resource {
        Resource::Contact => Ok(ContactId::from_uuid(resource_id)),
        Resource::StepContact => {
            let id = StepContactId::from_uuid(resource_id);
            let has = |person: &&Arc<ContactAggregate>| person.step_contacts.iter().any(|row| row.id == id);
            let owner = people.values().find(has).map(|person| person.contact.id);
            owner.ok_or_else(|| absent("step contact", id))
        }
    }
}

fn exists(what: &str, key: impl Display) -> HostWriteError {
    HostWriteError::Exists(format!("{what} `{key}`"))
}

fn absent(what: &str, key: impl Display) -> HostWriteError {
    HostWriteError::Absent(format!("{what} `{key}`"))
}

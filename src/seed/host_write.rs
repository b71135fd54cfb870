//! Rows that hosts write without the engine, one at a time.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;
use uuid::Uuid;

use super::{Seed, SeedError};
use crate::contact::Contact;
use crate::ids::{ContactId, OrganizationId, SequenceId, StepContactId};
use crate::model::{
    CallFlow, Channel, CommunicationPreference, ContactTag, Conversation, CustomObject, CustomRecord, Resource, Run,
    Sequence, Step, StepContact, Tag,
};
use crate::snapshot::{ContactAggregate, Snapshot, Version, Versioned};

/// One row that a host writes without the engine.
///
/// It serializes, so that a storage without tables can store it unchanged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct HostWrite {
    /// The organization of the row.
    pub organization_id: OrganizationId,
    /// Whether the row is inserted, updated or deleted.
    pub kind: WriteKind,
    /// The row.
    pub row: HostRow,
}

/// The operation on a row. Exhaustive, because a repository under test must run each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WriteKind {
    /// Inserts the row. It must not exist.
    Insert,
    /// Replaces the row with the same key. It must exist.
    Update,
    /// Deletes the row with the same key, and its related rows. It must exist. Only the key of the given row is used.
    Delete,
}

/// A row of any table. Its key is the `id`, unless the variant documents another key.
///
/// Exhaustive, because a repository under test must write each row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostRow {
    /// A channel.
    Channel(Channel),
    /// A sequence. An insert includes its steps, an update does not change them.
    Sequence(Sequence),
    /// A step of an existing sequence.
    Step {
        /// The sequence of the step.
        sequence_id: SequenceId,
        /// The step.
        step: Step,
    },
    /// A call flow.
    CallFlow(CallFlow),
    /// A custom object, with its properties.
    CustomObject(CustomObject),
    /// A tag.
    Tag(Tag),
    /// A contact.
    Contact(Contact),
    /// A communication preference. Its key is the contact and the channel.
    CommunicationPreference(CommunicationPreference),
    /// A conversation.
    Conversation(Conversation),
    /// A run.
    Run(Run),
    /// A step contact.
    StepContact(StepContact),
    /// A tag of a contact. Both ids are its key, so it is never updated.
    ContactTag(ContactTag),
    /// A custom record.
    CustomRecord(CustomRecord),
}

/// The reason why a host's write was refused. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HostWriteError {
    /// The row to insert exists.
    #[error("{0} already exists")]
    Exists(String),
    /// The row does not exist, or a row that it refers to.
    #[error("{0} does not exist")]
    Absent(String),
    /// The write violates a unique constraint.
    #[error(transparent)]
    NotUnique(#[from] SeedError),
}

impl HostWrite {
    /// Returns a write of the row.
    #[must_use]
    pub fn new(organization_id: OrganizationId, kind: WriteKind, row: HostRow) -> Self {
        Self { organization_id, kind, row }
    }

    /// Writes the row into the snapshot of its organization.
    ///
    /// Like a database with the constraints and triggers of the contract, it refuses rows that violate a unique
    /// constraint, and increments the version of the aggregate that contains the row.
    ///
    /// # Errors
    /// [`HostWriteError`] if the row exists, does not exist, or violates a unique constraint.
    pub fn apply(&self, snapshot: &mut Snapshot) -> Result<(), HostWriteError> {
        let mut after = snapshot.clone();
        self.write(&mut after)?;
        Seed::dump(std::slice::from_ref(&after), self.organization_id).check_unique()?;
        *snapshot = after;
        Ok(())
    }

    fn write(&self, snapshot: &mut Snapshot) -> Result<(), HostWriteError> {
        let kind = self.kind;
        let Snapshot { reference, contacts, tags, .. } = snapshot;
        match &self.row {
            HostRow::Channel(row) => write_aggregate(&mut reference.channels, kind, "channel", row.id, |_| row.clone()),
            HostRow::CallFlow(row) => {
                write_aggregate(&mut reference.call_flows, kind, "call flow", row.id, |_| row.clone())
            }
            HostRow::CustomObject(row) => {
                write_aggregate(&mut reference.custom_objects, kind, "custom object", row.id, |_| row.clone())
            }
            HostRow::Sequence(row) => write_aggregate(&mut reference.sequences, kind, "sequence", row.id, |existing| {
                let steps = existing.map_or_else(|| row.steps.clone(), |existing| existing.steps.clone());
                Sequence { steps, ..row.clone() }
            }),
            HostRow::Step { sequence_id, step } => {
                let sequence =
                    reference.sequences.get_mut(sequence_id).ok_or_else(|| absent("sequence", sequence_id))?;
                sequence.version = sequence.version.next();
                let steps = &mut Arc::make_mut(&mut sequence.value).steps;
                write_listed(steps, kind, "step", step.id, *step, |row| row.id)
            }
            HostRow::Tag(row) => match kind {
                WriteKind::Insert if tags.contains_key(&row.id) => Err(exists("tag", row.id)),
                WriteKind::Update | WriteKind::Delete if !tags.contains_key(&row.id) => Err(absent("tag", row.id)),
                WriteKind::Insert | WriteKind::Update => {
                    tags.insert(row.id, row.clone());
                    Ok(())
                }
                WriteKind::Delete => {
                    tags.remove(&row.id);
                    for contact in contacts.values_mut().filter(|contact| contact.tags.contains(&row.id)) {
                        bump_version(contact).tags.retain(|tag_id| *tag_id != row.id);
                    }
                    Ok(())
                }
            },
            HostRow::Contact(row) => match (kind, contacts.get_mut(&row.id)) {
                (WriteKind::Insert, Some(_)) => Err(exists("contact", row.id)),
                (WriteKind::Insert, None) => {
                    contacts.insert(row.id, Arc::new(ContactAggregate::new(row.clone(), Version::FIRST)));
                    Ok(())
                }
                (_, None) => Err(absent("contact", row.id)),
                (WriteKind::Update, Some(contact)) => {
                    bump_version(contact).contact = row.clone();
                    Ok(())
                }
                (WriteKind::Delete, Some(_)) => {
                    contacts.remove(&row.id);
                    Ok(())
                }
            },
            HostRow::CommunicationPreference(row) => {
                let preferences = &mut contact(contacts, row.contact_id)?.preferences;
                write_listed(preferences, kind, "communication preference on channel", row.channel_id, *row, |row| {
                    row.channel_id
                })
            }
            HostRow::Conversation(row) => {
                let rows = &mut contact(contacts, row.contact_id)?.conversations;
                write_listed(rows, kind, "conversation", row.id, *row, |row| row.id)
            }
            HostRow::Run(row) => {
                write_listed(&mut contact(contacts, row.contact_id)?.runs, kind, "run", row.id, *row, |row| row.id)
            }
            HostRow::StepContact(row) => {
                let ContactAggregate { step_contacts, records, .. } = contact(contacts, row.contact_id)?;
                write_listed(step_contacts, kind, "step contact", row.id, *row, |row| row.id)?;
                if kind == WriteKind::Delete {
                    let resource = (Resource::StepContact, row.id.as_uuid());
                    records.retain(|record| (record.resource, record.resource_id) != resource);
                }
                Ok(())
            }
            HostRow::ContactTag(row) => {
                if !tags.contains_key(&row.tag_id) {
                    return Err(absent("tag", row.tag_id));
                }
                write_listed(
                    &mut contact(contacts, row.contact_id)?.tags,
                    kind,
                    "tag",
                    row.tag_id,
                    row.tag_id,
                    |tag_id| *tag_id,
                )
            }
            HostRow::CustomRecord(row) => {
                let contact_id = contact_of(contacts, row.resource, row.resource_id)?;
                let records = &mut contact(contacts, contact_id)?.records;
                write_listed(records, kind, "custom record", row.id, row.clone(), |row| row.id)
            }
        }
    }
}

impl Seed {
    /// Returns an insert for every row, parents before children.
    #[must_use]
    pub fn inserts(&self) -> Vec<HostWrite> {
        let mut writes = Vec::new();
        macro_rules! insert {
            ($($list:ident => $row:ident),* $(,)?) => {$(
                writes.extend(self.$list.iter().map(|row| HostWrite {
                    organization_id: row.organization_id.unwrap_or(self.organization_id),
                    kind: WriteKind::Insert,
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

/// Writes a row that is an aggregate.
fn write_aggregate<K: Ord + Copy + Display, T>(
    rows: &mut BTreeMap<K, Versioned<T>>,
    kind: WriteKind,
    table: &str,
    id: K,
    row: impl FnOnce(Option<&T>) -> T,
) -> Result<(), HostWriteError> {
    let existing = rows.get(&id);
    let version = match (kind, existing) {
        (WriteKind::Insert, Some(_)) => return Err(exists(table, id)),
        (WriteKind::Insert, None) => Version::FIRST,
        (_, None) => return Err(absent(table, id)),
        (WriteKind::Update, Some(existing)) => existing.version.next(),
        (WriteKind::Delete, Some(_)) => {
            rows.remove(&id);
            return Ok(());
        }
    };
    let row = row(existing.map(|existing| &*existing.value));
    rows.insert(id, Versioned::new(version, row));
    Ok(())
}

/// Writes a row of a list in an aggregate.
fn write_listed<K: PartialEq + Display, T>(
    rows: &mut Vec<T>,
    kind: WriteKind,
    table: &str,
    key: K,
    row: T,
    key_of: impl Fn(&T) -> K,
) -> Result<(), HostWriteError> {
    let index = rows.iter().position(|other| key_of(other) == key);
    match (kind, index) {
        (WriteKind::Insert, Some(_)) => Err(exists(table, key)),
        (WriteKind::Insert, None) => {
            rows.push(row);
            Ok(())
        }
        (_, None) => Err(absent(table, key)),
        (WriteKind::Update, Some(index)) => {
            rows[index] = row;
            Ok(())
        }
        (WriteKind::Delete, Some(index)) => {
            rows.remove(index);
            Ok(())
        }
    }
}

type Contacts = BTreeMap<ContactId, Arc<ContactAggregate>>;

/// Returns the contact, with its version incremented.
fn contact(contacts: &mut Contacts, id: ContactId) -> Result<&mut ContactAggregate, HostWriteError> {
    contacts.get_mut(&id).map(bump_version).ok_or_else(|| absent("contact", id))
}

fn bump_version(contact: &mut Arc<ContactAggregate>) -> &mut ContactAggregate {
    let contact = Arc::make_mut(contact);
    contact.version = contact.version.next();
    contact
}

fn contact_of(contacts: &Contacts, resource: Resource, resource_id: Uuid) -> Result<ContactId, HostWriteError> {
    match resource {
        Resource::Contact => Ok(ContactId::from_uuid(resource_id)),
        Resource::StepContact => {
            let id = StepContactId::from_uuid(resource_id);
            let has_step = |contact: &&Arc<ContactAggregate>| contact.step_contacts.iter().any(|row| row.id == id);
            let owner = contacts.values().find(has_step).map(|owner| owner.contact.id);
            owner.ok_or_else(|| absent("step contact", id))
        }
    }
}

fn exists(table: &str, key: impl Display) -> HostWriteError {
    HostWriteError::Exists(format!("{table} `{key}`"))
}

fn absent(table: &str, key: impl Display) -> HostWriteError {
    HostWriteError::Absent(format!("{table} `{key}`"))
}

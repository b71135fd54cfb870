//! A world as a file (SPEC 8, `given`): whole rows of any number of organizations.

use serde::de::value::CowStrDeserializer;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Debug, Display};
use std::marker::PhantomData;
use std::sync::Arc;
use uuid::Uuid;

use crate::contact::{Contact, KeyKind};
use crate::model::{
    CallFlow, Channel, ChannelKind, CommunicationPreference, ContactTag, Conversation, CustomObject, CustomRecord,
    Resource, Run, Sequence, StepContact, Tag,
};
use crate::snapshot::{ContactAggregate, ReferenceData, Snapshot, Version, Versioned};
use crate::{ChannelId, ContactId, EnrollmentPolicy, OrganizationId, StepContactId, Timestamp};

/// A world: the rows of one organization and, where a row says so, of others.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the lists are SPEC 8's")]
pub struct Seed {
    /// The organization of every row that names no other.
    pub organization_id: OrganizationId,
    /// The instant of requests that name none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<Timestamp>,
    #[serde(default)]
    pub policy: EnrollmentPolicy,
    #[serde(default)]
    pub channels: Vec<Row<Channel>>,
    #[serde(default)]
    pub sequences: Vec<Row<Sequence>>,
    #[serde(default)]
    pub contacts: Vec<Row<Contact>>,
    #[serde(default)]
    pub communication_preferences: Vec<Row<CommunicationPreference>>,
    #[serde(default)]
    pub conversations: Vec<Row<Conversation>>,
    #[serde(default)]
    pub runs: Vec<Row<Run>>,
    #[serde(default)]
    pub step_contacts: Vec<Row<StepContact>>,
    #[serde(default)]
    pub tags: Vec<Row<Tag>>,
    #[serde(default)]
    pub contact_tags: Vec<Row<ContactTag>>,
    #[serde(default)]
    pub custom_objects: Vec<Row<CustomObject>>,
    #[serde(default)]
    pub custom_records: Vec<Row<CustomRecord>>,
    #[serde(default)]
    pub call_flows: Vec<Row<CallFlow>>,
}

/// What is wrong with a world: where, and what.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct SeedError {
    /// A JSON Pointer into the world.
    pub path: String,
    /// What is wrong there.
    pub message: String,
}

impl Seed {
    /// An organization without rows.
    #[must_use]
    pub fn new(organization_id: OrganizationId) -> Self {
        Self {
            organization_id,
            now: None,
            policy: EnrollmentPolicy::default(),
            channels: Vec::new(),
            sequences: Vec::new(),
            contacts: Vec::new(),
            communication_preferences: Vec::new(),
            conversations: Vec::new(),
            runs: Vec::new(),
            step_contacts: Vec::new(),
            tags: Vec::new(),
            contact_tags: Vec::new(),
            custom_objects: Vec::new(),
            custom_records: Vec::new(),
            call_flows: Vec::new(),
        }
    }

    /// One snapshot an organization, every row at its first version. Broken worlds are taken as they are, but every
    /// row must belong to something that is there.
    ///
    /// # Errors
    /// [`SeedError`] names the first row whose id comes twice, or whose contact does not exist.
    pub fn snapshots(&self) -> Result<Vec<Snapshot>, SeedError> {
        let mut world = Worlds { given: self, by_organization: BTreeMap::new() };
        world.of(self.organization_id);
        world.reference_data()?;
        world.people()?;
        Ok(world.by_organization.into_values().collect())
    }

    /// Refuses what a database would: keys, conversations, live step contacts, preferences or records that come twice.
    ///
    /// # Errors
    /// [`SeedError`] names the first row that repeats another.
    pub fn check_unique(&self) -> Result<(), SeedError> {
        let mut keys = BTreeSet::new();
        for (n, row) in self.contacts.iter().enumerate() {
            for kind in KeyKind::ALL {
                if let Some(key) = row.row.key(kind)
                    && !keys.insert((self.organization(row), kind, key.to_owned()))
                {
                    return invalid("contacts", n, kind.name(), &format!("`{key}` is another contact's too"));
                }
            }
        }
        let kinds: BTreeMap<(OrganizationId, ChannelId), ChannelKind> =
            self.channels.iter().map(|row| ((self.organization(row), row.row.id), row.row.kind)).collect();
        self.unique("conversations", &self.conversations, "channel_id", |organization_id, row| {
            let kind = kinds.get(&(organization_id, row.channel_id));
            kind.is_none_or(|kind| kind.is_phone()).then_some((row.contact_id, row.channel_id))
        })?;
        self.unique("step_contacts", &self.step_contacts, "status", |_, row| {
            row.status.is_live().then_some((row.contact_id, row.sequence_id))
        })?;
        self.unique("communication_preferences", &self.communication_preferences, "channel_id", |_, row| {
            Some((row.contact_id, row.channel_id))
        })?;
        self.unique("contact_tags", &self.contact_tags, "tag_id", |_, row| Some((row.contact_id, row.tag_id)))?;
        self.unique("custom_records", &self.custom_records, "resource_id", |_, row| {
            Some((row.custom_object_id, row.resource, row.resource_id))
        })
    }

    fn unique<T, K: Ord>(
        &self,
        list: &str,
        rows: &[Row<T>],
        field: &str,
        key: impl Fn(OrganizationId, &T) -> Option<K>,
    ) -> Result<(), SeedError> {
        let mut keys = BTreeSet::new();
        for (n, row) in rows.iter().enumerate() {
            let organization_id = self.organization(row);
            if key(organization_id, &row.row).is_some_and(|key| !keys.insert((organization_id, key))) {
                return invalid(list, n, field, "another row says the same, and there can be one");
            }
        }
        Ok(())
    }

    /// The world as it stands in snapshots. RowChanges of another organization than `organization_id` name it.
    #[must_use]
    pub fn dump(snapshots: &[Snapshot], organization_id: OrganizationId) -> Self {
        let mut given = Self::new(organization_id);
        for Snapshot { reference, contacts: people, tags, .. } in snapshots {
            let other = (reference.organization_id != organization_id).then_some(reference.organization_id);
            fn rows<'r, T: Clone + 'r>(
                list: &mut Vec<Row<T>>,
                organization_id: Option<OrganizationId>,
                rows: impl Iterator<Item = &'r T>,
            ) {
                list.extend(rows.map(|row| Row { organization_id, row: row.clone() }));
            }
            rows(&mut given.channels, other, reference.channels.values().map(|row| &*row.value));
            rows(&mut given.sequences, other, reference.sequences.values().map(|row| &*row.value));
            rows(&mut given.custom_objects, other, reference.custom_objects.values().map(|row| &*row.value));
            rows(&mut given.call_flows, other, reference.call_flows.values().map(|row| &*row.value));
            rows(&mut given.tags, other, tags.values());
            for person in people.values() {
                rows(&mut given.contacts, other, [&person.contact].into_iter());
                rows(&mut given.communication_preferences, other, person.preferences.iter());
                rows(&mut given.conversations, other, person.conversations.iter());
                rows(&mut given.runs, other, person.runs.iter());
                rows(&mut given.step_contacts, other, person.step_contacts.iter());
                rows(&mut given.custom_records, other, person.records.iter());
                let contact_id = person.contact.id;
                let tags: Vec<_> = person.tags.iter().map(|&tag_id| ContactTag { contact_id, tag_id }).collect();
                rows(&mut given.contact_tags, other, tags.iter());
            }
        }
        given
    }

    fn organization<T>(&self, row: &Row<T>) -> OrganizationId {
        row.organization_id.unwrap_or(self.organization_id)
    }
}

/// The organizations of a world as they are built.
struct Worlds<'g> {
    given: &'g Seed,
    by_organization: BTreeMap<OrganizationId, Snapshot>,
}

impl Worlds<'_> {
    fn of(&mut self, id: OrganizationId) -> &mut Snapshot {
        self.by_organization.entry(id).or_insert_with(|| Snapshot::new(ReferenceData::new(id)))
    }

    fn reference_data(&mut self) -> Result<(), SeedError> {
        let given = self.given;
        macro_rules! place {
            ($list:ident) => {
                for (n, row) in given.$list.iter().enumerate() {
                    let rows = &mut self.of(given.organization(row)).reference.$list;
                    put(rows, row.row.id, Versioned::new(Version::FIRST, row.row.clone()), stringify!($list), n)?;
                }
            };
        }
        place!(channels);
        place!(sequences);
        place!(custom_objects);
        place!(call_flows);
        for (n, row) in given.tags.iter().enumerate() {
            put(&mut self.of(given.organization(row)).tags, row.row.id, row.row.clone(), "tags", n)?;
        }
        Ok(())
    }

    fn people(&mut self) -> Result<(), SeedError> {
        let given = self.given;
        for (n, row) in given.contacts.iter().enumerate() {
            let person = Arc::new(ContactAggregate::new(row.row.clone(), Version::FIRST));
            put(&mut self.of(given.organization(row)).contacts, row.row.id, person, "contacts", n)?;
        }
        macro_rules! place {
            ($list:ident, $into:ident, $id:expr, $row:expr) => {
                let mut ids = BTreeSet::new();
                for (n, row) in given.$list.iter().enumerate() {
                    let organization_id = given.organization(row);
                    let id: Option<Uuid> = $id(&row.row);
                    once(&mut ids, organization_id, id, stringify!($list), n)?;
                    let person =
                        self.person(organization_id, row.row.contact_id, stringify!($list), n, "contact_id")?;
                    person.$into.push($row(&row.row));
                }
            };
        }
        place!(communication_preferences, preferences, |_| None, Clone::clone);
        place!(conversations, conversations, |row: &Conversation| Some(row.id.as_uuid()), Clone::clone);
        place!(runs, runs, |row: &Run| Some(row.id.as_uuid()), Clone::clone);
        place!(step_contacts, step_contacts, |row: &StepContact| Some(row.id.as_uuid()), Clone::clone);
        place!(contact_tags, tags, |_| None, |row: &ContactTag| row.tag_id);
        for (n, row) in given.contact_tags.iter().enumerate() {
            let (organization_id, tag_id) = (given.organization(row), row.row.tag_id);
            if !self.of(organization_id).tags.contains_key(&tag_id) {
                let message = format!("there is no tag `{tag_id}` in organization `{organization_id}`");
                return invalid("contact_tags", n, "tag_id", &message);
            }
        }

        let owners: BTreeMap<(OrganizationId, StepContactId), ContactId> =
            given.step_contacts.iter().map(|row| ((given.organization(row), row.row.id), row.row.contact_id)).collect();
        let mut ids = BTreeSet::new();
        for (n, row) in given.custom_records.iter().enumerate() {
            let (organization_id, id) = (given.organization(row), row.row.resource_id);
            once(&mut ids, organization_id, Some(row.row.id.as_uuid()), "custom_records", n)?;
            let contact_id = match row.row.resource {
                Resource::Contact => Some(ContactId::from_uuid(id)),
                Resource::StepContact => owners.get(&(organization_id, StepContactId::from_uuid(id))).copied(),
            };
            let Some(contact_id) = contact_id else {
                let message = format!("there is no step contact `{id}` in organization `{organization_id}`");
                return invalid("custom_records", n, "resource_id", &message);
            };
            let person = self.person(organization_id, contact_id, "custom_records", n, "resource_id")?;
            person.records.push(row.row.clone());
        }
        Ok(())
    }

    fn person(
        &mut self,
        organization_id: OrganizationId,
        id: ContactId,
        list: &str,
        n: usize,
        field: &str,
    ) -> Result<&mut ContactAggregate, SeedError> {
        match self.of(organization_id).contacts.get_mut(&id) {
            Some(person) => Ok(Arc::make_mut(person)),
            None => invalid(list, n, field, &format!("there is no contact `{id}` in organization `{organization_id}`")),
        }
    }
}

fn once(
    ids: &mut BTreeSet<(OrganizationId, Uuid)>,
    organization_id: OrganizationId,
    id: Option<Uuid>,
    list: &str,
    n: usize,
) -> Result<(), SeedError> {
    match id {
        Some(id) if !ids.insert((organization_id, id)) => invalid(list, n, "id", &format!("`{id}` comes twice")),
        _ => Ok(()),
    }
}

fn put<K: Ord + Display, V>(rows: &mut BTreeMap<K, V>, id: K, row: V, list: &str, n: usize) -> Result<(), SeedError> {
    if rows.contains_key(&id) {
        return invalid(list, n, "id", &format!("`{id}` comes twice"));
    }
    rows.insert(id, row);
    Ok(())
}

fn invalid<T>(list: &str, n: usize, field: &str, message: &str) -> Result<T, SeedError> {
    Err(SeedError { path: format!("/{list}/{n}/{field}"), message: message.to_owned() })
}

/// A row, and the organization that it belongs to if it is not the world's own.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row<T> {
    /// `None`: the world's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization_id: Option<OrganizationId>,
    /// The row itself.
    #[serde(flatten)]
    pub row: T,
}

impl<T> From<T> for Row<T> {
    fn from(row: T) -> Self {
        Self { organization_id: None, row }
    }
}

/// Takes the key `organization_id` out, and hands every other to the row as it comes: so the row refuses keys that it
/// does not know, which it could not if it were flattened.
impl<'de, T: Deserialize<'de>> Deserialize<'de> for Row<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RowVisitor(PhantomData))
    }
}

struct RowVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for RowVisitor<T> {
    type Value = Row<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Self::Value, A::Error> {
        let mut organization_id = None;
        let others = Others { members, organization_id: &mut organization_id };
        let row = T::deserialize(serde::de::value::MapAccessDeserializer::new(others))?;
        Ok(Row { organization_id, row })
    }
}

struct Others<'o, A> {
    members: A,
    organization_id: &'o mut Option<OrganizationId>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Others<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        while let Some(key) = self.members.next_key::<Cow<'de, str>>()? {
            if key != "organization_id" {
                return seed.deserialize(CowStrDeserializer::new(key)).map(Some);
            }
            *self.organization_id = self.members.next_value()?;
        }
        Ok(None)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.members.next_value_seed(seed)
    }
}

//! Rows of organizations as JSON: the format of seed files and of `given` in test vectors (spec 8).
//!
//! A seed is one JSON object. Each list contains whole rows of one table:
//!
//! | List | Fields of a row |
//! |---|---|
//! | `organizations` | `name` |
//! | `channels` | `id`, `kind`, `address`, `enabled` (default `true`), `name` |
//! | `sequences` | `id`, `title`, `status`, `settings`, `steps: [{id, position, channel_kind, channel_id?}]` |
//! | `contacts` | the fields of a [`Contact`]; only `id` is required |
//! | `communication_preferences` | `contact_id`, `channel_id`, `opt_in` |
//! | `conversations` | `id`, `contact_id`, `channel_id`, `status`, `created_at?` |
//! | `runs` | `id`, `sequence_id`, `contact_id`, `status` (`active` or `finished`), `started_at` |
//! | `step_contacts` | `id`, `run_id`, `sequence_id`, `step_id`, `contact_id`, `status`, `scheduled_at`, `channel_id?`, `default_call_flow_id?`, `times_processed` (default 1), `enrollment_id?` |
//! | `tags` | `id`, `name`, `system_created` |
//! | `contact_tags` | `contact_id`, `tag_id` |
//! | `custom_objects` | `id`, `key`, `properties: [{key, type, required, default?}]` |
//! | `custom_records` | `id`, `custom_object_id`, `resource`, `resource_id`, `properties` |
//! | `call_flows` | `id`, `name` |
//!
//! - `?` marks an optional field. All lists are optional. Unknown keys are refused.
//! - `organization_id` of the object is required. A row of another organization has its own `organization_id`.
//! - A name in `organizations` also replaces that of an existing organization. An
//!   [`InMemoryRepository`](crate::InMemoryRepository) has no names.
//! - `now` is the default instant of requests, and `policy` an [`EnrollmentPolicy`].
//! - The `settings` of a sequence are
//!   `{on_re_add, max_runs?, max_adds_per_period?: {count, seconds}, default_call_flow_id?}`.
//!
//! ```
//! use enroll::InMemoryRepository;
//! use enroll::seed::Seed;
//!
//! let seed: Seed = serde_json::from_str(
//!     r#"{
//!         "organization_id": "00000000-0000-0000-0000-000000000001",
//!         "contacts": [{"id": "00000000-0000-0000-0000-000000000002", "phone": "+12025550123", "name": "Ann"}]
//!     }"#,
//! )?;
//! let mut repository = InMemoryRepository::new();
//! for snapshot in seed.snapshots()? {
//!     repository.insert(snapshot);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The adapters load a seed with their own `seed::load`, and read all rows back with `seed::dump`. The command line does
//! it with `enroll seed FILE`.

mod demo;
mod host_write;

pub use self::demo::Demo;
pub use self::host_write::{HostRow, HostWrite, HostWriteError, WriteKind};

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
use crate::ids::{ChannelId, ContactId, OrganizationId, StepContactId};
use crate::model::{
    CallFlow, Channel, ChannelKind, CommunicationPreference, ContactTag, Conversation, CustomObject, CustomRecord,
    Organization, Resource, Run, Sequence, StepContact, Tag,
};
use crate::policy::EnrollmentPolicy;
use crate::snapshot::{ContactAggregate, ReferenceData, Snapshot, Version, Versioned};
use crate::time::Timestamp;

/// The rows of one organization. Single rows can belong to other organizations.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Seed {
    /// The organization of all rows without an `organization_id` of their own.
    pub organization_id: OrganizationId,
    /// The default instant of requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub now: Option<Timestamp>,
    /// The policy of requests. A database does not store it.
    #[serde(default)]
    pub policy: EnrollmentPolicy,
    /// The names of the organizations.
    #[serde(default)]
    pub organizations: Vec<SeedRow<Organization>>,
    /// The channels.
    #[serde(default)]
    pub channels: Vec<SeedRow<Channel>>,
    /// The sequences, with their steps.
    #[serde(default)]
    pub sequences: Vec<SeedRow<Sequence>>,
    /// The contacts.
    #[serde(default)]
    pub contacts: Vec<SeedRow<Contact>>,
    /// The opt-ins and opt-outs of contacts.
    #[serde(default)]
    pub communication_preferences: Vec<SeedRow<CommunicationPreference>>,
    /// The conversations of contacts.
    #[serde(default)]
    pub conversations: Vec<SeedRow<Conversation>>,
    /// The runs of contacts through sequences.
    #[serde(default)]
    pub runs: Vec<SeedRow<Run>>,
    /// The contacts in steps.
    #[serde(default)]
    pub step_contacts: Vec<SeedRow<StepContact>>,
    /// The tags.
    #[serde(default)]
    pub tags: Vec<SeedRow<Tag>>,
    /// The tags of contacts.
    #[serde(default)]
    pub contact_tags: Vec<SeedRow<ContactTag>>,
    /// The custom objects, with their properties.
    #[serde(default)]
    pub custom_objects: Vec<SeedRow<CustomObject>>,
    /// The custom records of contacts and step contacts.
    #[serde(default)]
    pub custom_records: Vec<SeedRow<CustomRecord>>,
    /// The call flows.
    #[serde(default)]
    pub call_flows: Vec<SeedRow<CallFlow>>,
}

/// A fault of a seed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
#[non_exhaustive]
pub struct SeedError {
    /// A JSON Pointer to the faulty value.
    pub path: String,
    /// A description of the fault.
    pub message: String,
}

impl Seed {
    /// Returns a seed without rows.
    #[must_use]
    pub fn new(organization_id: OrganizationId) -> Self {
        Self {
            organization_id,
            now: None,
            policy: EnrollmentPolicy::default(),
            organizations: Vec::new(),
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

    /// Returns one snapshot for each organization, with every row at its first version.
    ///
    /// Accepts rows that a database would refuse, such as two contacts with one phone. Every row of a contact must
    /// refer to a contact of the seed.
    ///
    /// # Errors
    /// [`SeedError`] for the first row with a duplicate id, or without its contact.
    pub fn snapshots(&self) -> Result<Vec<Snapshot>, SeedError> {
        let mut snapshots = SnapshotBuilder { seed: self, by_organization: BTreeMap::new() };
        snapshots.snapshot_of(self.organization_id);
        snapshots.reference_data()?;
        snapshots.contacts()?;
        Ok(snapshots.by_organization.into_values().collect())
    }

    /// Checks the unique constraints of a database: keys of contacts, conversations, live step contacts, preferences,
    /// tags of contacts and custom records.
    ///
    /// # Errors
    /// [`SeedError`] for the first row that violates a constraint.
    pub fn check_unique(&self) -> Result<(), SeedError> {
        let mut keys = BTreeSet::new();
        for (n, row) in self.contacts.iter().enumerate() {
            for kind in KeyKind::ALL {
                if let Some(key) = row.row.key(kind)
                    && !keys.insert((self.organization(row), kind, key.to_owned()))
                {
                    return invalid("contacts", n, kind.as_str(), &format!("another contact has `{key}`"));
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
        rows: &[SeedRow<T>],
        field: &str,
        key: impl Fn(OrganizationId, &T) -> Option<K>,
    ) -> Result<(), SeedError> {
        let mut keys = BTreeSet::new();
        for (n, row) in rows.iter().enumerate() {
            let organization_id = self.organization(row);
            if key(organization_id, &row.row).is_some_and(|key| !keys.insert((organization_id, key))) {
                return invalid(list, n, field, "duplicates another row");
            }
        }
        Ok(())
    }

    /// Returns all rows of the snapshots as a seed of `organization_id`. Snapshots have no names of organizations.
    ///
    /// Rows of other organizations have an `organization_id` of their own.
    #[must_use]
    pub fn dump(snapshots: &[Snapshot], organization_id: OrganizationId) -> Self {
        let mut seed = Self::new(organization_id);
        for Snapshot { reference, contacts, tags, .. } in snapshots {
            let other = (reference.organization_id != organization_id).then_some(reference.organization_id);
            fn rows<'r, T: Clone + 'r>(
                list: &mut Vec<SeedRow<T>>,
                organization_id: Option<OrganizationId>,
                rows: impl Iterator<Item = &'r T>,
            ) {
                list.extend(rows.map(|row| SeedRow { organization_id, row: row.clone() }));
            }
            rows(&mut seed.channels, other, reference.channels.values().map(|row| &*row.value));
            rows(&mut seed.sequences, other, reference.sequences.values().map(|row| &*row.value));
            rows(&mut seed.custom_objects, other, reference.custom_objects.values().map(|row| &*row.value));
            rows(&mut seed.call_flows, other, reference.call_flows.values().map(|row| &*row.value));
            rows(&mut seed.tags, other, tags.values());
            for contact in contacts.values() {
                rows(&mut seed.contacts, other, [&contact.contact].into_iter());
                rows(&mut seed.communication_preferences, other, contact.preferences.iter());
                rows(&mut seed.conversations, other, contact.conversations.iter());
                rows(&mut seed.runs, other, contact.runs.iter());
                rows(&mut seed.step_contacts, other, contact.step_contacts.iter());
                rows(&mut seed.custom_records, other, contact.records.iter());
                let contact_id = contact.contact.id;
                let tags: Vec<_> = contact.tags.iter().map(|&tag_id| ContactTag { contact_id, tag_id }).collect();
                rows(&mut seed.contact_tags, other, tags.iter());
            }
        }
        seed
    }

    /// Adds the name of an organization.
    pub fn name_organization(&mut self, id: OrganizationId, name: &str) {
        let other = (id != self.organization_id).then_some(id);
        self.organizations.push(SeedRow { organization_id: other, row: Organization::new(name) });
    }

    /// Returns the id of each organization with a name or a row, and that of the seed.
    #[must_use]
    pub fn organization_ids(&self) -> BTreeSet<OrganizationId> {
        let of_rows = self.inserts().into_iter().map(|write| write.organization_id);
        let named = self.organizations.iter().map(|row| self.organization(row));
        of_rows.chain(named).chain([self.organization_id]).collect()
    }

    fn organization<T>(&self, row: &SeedRow<T>) -> OrganizationId {
        row.organization_id.unwrap_or(self.organization_id)
    }
}

/// Builds the snapshots of a seed.
struct SnapshotBuilder<'s> {
    seed: &'s Seed,
    by_organization: BTreeMap<OrganizationId, Snapshot>,
}

impl SnapshotBuilder<'_> {
    fn snapshot_of(&mut self, id: OrganizationId) -> &mut Snapshot {
        self.by_organization.entry(id).or_insert_with(|| Snapshot::new(ReferenceData::new(id)))
    }

    fn reference_data(&mut self) -> Result<(), SeedError> {
        let seed = self.seed;
        macro_rules! insert_all {
            ($list:ident) => {
                for (n, row) in seed.$list.iter().enumerate() {
                    let rows = &mut self.snapshot_of(seed.organization(row)).reference.$list;
                    insert(rows, row.row.id, Versioned::new(Version::FIRST, row.row.clone()), stringify!($list), n)?;
                }
            };
        }
        insert_all!(channels);
        insert_all!(sequences);
        insert_all!(custom_objects);
        insert_all!(call_flows);
        for (n, row) in seed.tags.iter().enumerate() {
            insert(&mut self.snapshot_of(seed.organization(row)).tags, row.row.id, row.row.clone(), "tags", n)?;
        }
        Ok(())
    }

    fn contacts(&mut self) -> Result<(), SeedError> {
        let seed = self.seed;
        for (n, row) in seed.contacts.iter().enumerate() {
            let contact = Arc::new(ContactAggregate::new(row.row.clone(), Version::FIRST));
            insert(&mut self.snapshot_of(seed.organization(row)).contacts, row.row.id, contact, "contacts", n)?;
        }
        macro_rules! insert_all {
            ($list:ident, $into:ident, $id:expr, $row:expr) => {
                let mut ids = BTreeSet::new();
                for (n, row) in seed.$list.iter().enumerate() {
                    let organization_id = seed.organization(row);
                    let id: Option<Uuid> = $id(&row.row);
                    check_unused(&mut ids, organization_id, id, stringify!($list), n)?;
                    let contact =
                        self.contact(organization_id, row.row.contact_id, stringify!($list), n, "contact_id")?;
                    contact.$into.push($row(&row.row));
                }
            };
        }
        insert_all!(communication_preferences, preferences, |_| None, Clone::clone);
        insert_all!(conversations, conversations, |row: &Conversation| Some(row.id.as_uuid()), Clone::clone);
        insert_all!(runs, runs, |row: &Run| Some(row.id.as_uuid()), Clone::clone);
        insert_all!(step_contacts, step_contacts, |row: &StepContact| Some(row.id.as_uuid()), Clone::clone);
        insert_all!(contact_tags, tags, |_| None, |row: &ContactTag| row.tag_id);
        for (n, row) in seed.contact_tags.iter().enumerate() {
            let (organization_id, tag_id) = (seed.organization(row), row.row.tag_id);
            if !self.snapshot_of(organization_id).tags.contains_key(&tag_id) {
                let message = format!("there is no tag `{tag_id}` in organization `{organization_id}`");
                return invalid("contact_tags", n, "tag_id", &message);
            }
        }

        let contacts_of_steps: BTreeMap<(OrganizationId, StepContactId), ContactId> =
            seed.step_contacts.iter().map(|row| ((seed.organization(row), row.row.id), row.row.contact_id)).collect();
        let mut ids = BTreeSet::new();
        for (n, row) in seed.custom_records.iter().enumerate() {
            let (organization_id, id) = (seed.organization(row), row.row.resource_id);
            check_unused(&mut ids, organization_id, Some(row.row.id.as_uuid()), "custom_records", n)?;
            let contact_id = match row.row.resource {
                Resource::Contact => Some(ContactId::from_uuid(id)),
                Resource::StepContact => {
                    contacts_of_steps.get(&(organization_id, StepContactId::from_uuid(id))).copied()
                }
            };
            let Some(contact_id) = contact_id else {
                let message = format!("there is no step contact `{id}` in organization `{organization_id}`");
                return invalid("custom_records", n, "resource_id", &message);
            };
            let contact = self.contact(organization_id, contact_id, "custom_records", n, "resource_id")?;
            contact.records.push(row.row.clone());
        }
        Ok(())
    }

    fn contact(
        &mut self,
        organization_id: OrganizationId,
        id: ContactId,
        list: &str,
        n: usize,
        field: &str,
    ) -> Result<&mut ContactAggregate, SeedError> {
        match self.snapshot_of(organization_id).contacts.get_mut(&id) {
            Some(contact) => Ok(Arc::make_mut(contact)),
            None => invalid(list, n, field, &format!("there is no contact `{id}` in organization `{organization_id}`")),
        }
    }
}

fn check_unused(
    ids: &mut BTreeSet<(OrganizationId, Uuid)>,
    organization_id: OrganizationId,
    id: Option<Uuid>,
    list: &str,
    n: usize,
) -> Result<(), SeedError> {
    match id {
        Some(id) if !ids.insert((organization_id, id)) => {
            invalid(list, n, "id", &format!("`{id}` is the id of an earlier row"))
        }
        _ => Ok(()),
    }
}

fn insert<K: Ord + Display, V>(
    rows: &mut BTreeMap<K, V>,
    id: K,
    row: V,
    list: &str,
    n: usize,
) -> Result<(), SeedError> {
    if rows.contains_key(&id) {
        return invalid(list, n, "id", &format!("`{id}` is the id of an earlier row"));
    }
    rows.insert(id, row);
    Ok(())
}

fn invalid<T>(list: &str, n: usize, field: &str, message: &str) -> Result<T, SeedError> {
    Err(SeedError { path: format!("/{list}/{n}/{field}"), message: message.to_owned() })
}

/// A row, with its organization if this is not the seed's own.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SeedRow<T> {
    /// The organization of the row. `None` means the organization of the seed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub organization_id: Option<OrganizationId>,
    /// The row itself.
    #[serde(flatten)]
    pub row: T,
}

impl<T> From<T> for SeedRow<T> {
    fn from(row: T) -> Self {
        Self { organization_id: None, row }
    }
}

/// Reads `organization_id`, and passes all other keys to the row. With `serde(flatten)`, the row could not refuse unknown
/// keys.
impl<'de, T: Deserialize<'de>> Deserialize<'de> for SeedRow<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RowVisitor(PhantomData))
    }
}

struct RowVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for RowVisitor<T> {
    type Value = SeedRow<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Self::Value, A::Error> {
        let mut organization_id = None;
        let keys = RowKeys { members, organization_id: &mut organization_id };
        let row = T::deserialize(serde::de::value::MapAccessDeserializer::new(keys))?;
        Ok(SeedRow { organization_id, row })
    }
}

struct RowKeys<'o, A> {
    members: A,
    organization_id: &'o mut Option<OrganizationId>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for RowKeys<'_, A> {
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

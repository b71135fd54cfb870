//! What a repository answers: rows of one organization, with the versions that guards check.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::contact::Contact;
use crate::ids::{CallFlowId, ChannelId, ContactId, CustomObjectId, EnrollmentId, OrganizationId, SequenceId, TagId};
use crate::model::{
    CallFlow, Channel, CommunicationPreference, Conversation, CustomObject, CustomRecord, Run, Sequence, StepContact,
    Tag,
};
use crate::query::ReferenceQuery;
use crate::stored_enrollment::StoredEnrollment;

/// The version of an aggregate: whatever changes it, or a row round it, raises it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(pub u64);

impl Version {
    /// The version of an aggregate that was just created.
    pub const FIRST: Self = Self(1);

    /// The version after one more change.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// What an enrollment refers to, as far as it exists: the rows that a [`ReferenceQuery`] names, and *all* channels of
/// the organization.
///
/// More rows are allowed, and change nothing; what is absent does not exist.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ReferenceData {
    /// Whose rows.
    pub organization_id: OrganizationId,
    /// Sequences with their steps.
    pub sequences: BTreeMap<SequenceId, Versioned<Sequence>>,
    /// Channels, disabled ones too.
    pub channels: BTreeMap<ChannelId, Versioned<Channel>>,
    /// Custom objects.
    pub custom_objects: BTreeMap<CustomObjectId, Versioned<CustomObject>>,
    /// Call flows.
    pub call_flows: BTreeMap<CallFlowId, Versioned<CallFlow>>,
    /// Enrollments.
    pub enrollments: BTreeMap<EnrollmentId, Arc<StoredEnrollment>>,
}

impl ReferenceData {
    /// An organization of which nothing is known.
    #[must_use]
    pub fn new(organization_id: OrganizationId) -> Self {
        Self {
            organization_id,
            sequences: BTreeMap::new(),
            channels: BTreeMap::new(),
            custom_objects: BTreeMap::new(),
            call_flows: BTreeMap::new(),
            enrollments: BTreeMap::new(),
        }
    }

    /// The part that a query names.
    #[must_use]
    pub fn only(&self, query: &ReferenceQuery) -> Self {
        Self {
            organization_id: self.organization_id,
            sequences: one(&self.sequences, Some(query.sequence_id)),
            channels: self.channels.clone(),
            custom_objects: one(&self.custom_objects, query.custom_object_id),
            call_flows: one(&self.call_flows, query.call_flow_id),
            enrollments: one(&self.enrollments, query.enrollment_id),
        }
    }
}

fn one<K: Ord + Copy, V: Clone>(rows: &BTreeMap<K, V>, key: Option<K>) -> BTreeMap<K, V> {
    key.and_then(|key| rows.get(&key).map(|row| (key, row.clone()))).into_iter().collect()
}

/// A row with the version of its aggregate. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The version that was read with it.
    pub version: Version,
    /// The row itself.
    pub value: Arc<T>,
}

impl<T> Versioned<T> {
    /// A row at a version.
    #[must_use]
    pub fn new(version: Version, value: T) -> Self {
        Self { version, value: Arc::new(value) }
    }
}

/// The facts that an enrollment is planned on. Also all that an organization is: a store in memory is one.
///
/// More rows than a [`SnapshotQuery`](crate::SnapshotQuery) names are allowed, and change nothing; what is absent does not exist.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Snapshot {
    /// What the enrollment refers to.
    pub reference: ReferenceData,
    /// The people, each with what stands round it.
    pub contacts: BTreeMap<ContactId, Arc<ContactAggregate>>,
    /// The organization's tags. A plan does not need them.
    pub tags: BTreeMap<TagId, Tag>,
}

impl Snapshot {
    /// An organization without people.
    #[must_use]
    pub fn new(reference: ReferenceData) -> Self {
        Self { reference, contacts: BTreeMap::new(), tags: BTreeMap::new() }
    }
}

/// A contact and whatever stands round it: one aggregate, under one version.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "what needs a word has it")]
pub struct ContactAggregate {
    pub contact: Contact,
    /// Raised by any change of the contact or of a row below.
    pub version: Version,
    /// At least those of the channel used.
    pub preferences: Vec<CommunicationPreference>,
    /// At least those on the channel used.
    pub conversations: Vec<Conversation>,
    /// At least those of the sequence.
    pub runs: Vec<Run>,
    /// At least those of the sequence.
    pub step_contacts: Vec<StepContact>,
    /// The tags on the contact. A plan does not need them.
    pub tags: Vec<TagId>,
    /// Records of the custom object, of the contact and of its step contacts.
    pub records: Vec<CustomRecord>,
}

impl ContactAggregate {
    /// A contact with nothing round it.
    #[must_use]
    pub fn new(contact: Contact, version: Version) -> Self {
        Self {
            contact,
            version,
            preferences: Vec::new(),
            conversations: Vec::new(),
            runs: Vec::new(),
            step_contacts: Vec::new(),
            tags: Vec::new(),
            records: Vec::new(),
        }
    }
}

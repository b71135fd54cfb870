//! What an enrollment asks of a repository, and what it gets: facts, with the versions to guard them by.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::contact::{Contact, Text};
use crate::fault::Rejection;
use crate::model::{
    CallFlow, Channel, CommunicationPreference, Conversation, CustomObject, CustomRecord, Resource, Run, Sequence,
    StepContact, Tag,
};
use crate::report::EnrollmentReport;
use crate::request::Fingerprint;
use crate::{
    CallFlowId, ChannelId, ContactId, CustomObjectId, EnrollmentId, OrganizationId, SequenceId, TagId, Timestamp,
};

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

/// What is loaded before a request is checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ContextLookup {
    /// Whose rows. Nothing of another organization may be answered.
    pub organization_id: OrganizationId,
    /// The enrollment: answered if one stands under that id.
    pub enrollment_id: Option<EnrollmentId>,
    /// The sequence, with its steps.
    pub sequence_id: SequenceId,
    /// The custom object of the request, with its properties.
    pub custom_object_id: Option<CustomObjectId>,
    /// The call flow of the request.
    pub call_flow_id: Option<CallFlowId>,
}

/// What an enrollment refers to, as far as it exists: the rows that a [`ContextLookup`] names, and *all* channels of
/// the organization.
///
/// More rows are allowed, and change nothing; what is absent does not exist.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Context {
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

impl Context {
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

    /// The part that a lookup names.
    #[must_use]
    pub fn only(&self, lookup: &ContextLookup) -> Self {
        Self {
            organization_id: self.organization_id,
            sequences: one(&self.sequences, Some(lookup.sequence_id)),
            channels: self.channels.clone(),
            custom_objects: one(&self.custom_objects, lookup.custom_object_id),
            call_flows: one(&self.call_flows, lookup.call_flow_id),
            enrollments: one(&self.enrollments, lookup.enrollment_id),
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
    /// The row.
    pub row: Arc<T>,
}

impl<T> Versioned<T> {
    /// A row at a version.
    #[must_use]
    pub fn new(version: Version, row: T) -> Self {
        Self { version, row: Arc::new(row) }
    }
}

/// An enrollment as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct StoredEnrollment {
    /// Its id.
    pub id: EnrollmentId,
    /// The sequence.
    pub sequence_id: SequenceId,
    /// By what a request that comes again is known.
    pub fingerprint: Fingerprint,
    /// The instant of the request.
    pub at: Timestamp,
    /// The instant of its completion, or of its rejection.
    pub completed_at: Option<Timestamp>,
    /// How far it got.
    pub state: EnrollmentState,
}

impl StoredEnrollment {
    /// An enrollment in a state: what a repository reads back.
    #[must_use]
    pub fn new(
        id: EnrollmentId,
        sequence_id: SequenceId,
        fingerprint: Fingerprint,
        at: Timestamp,
        state: EnrollmentState,
    ) -> Self {
        Self { id, sequence_id, fingerprint, at, completed_at: None, state }
    }

    /// An enrollment that is completed at the instant of its request.
    #[must_use]
    pub fn completed(fingerprint: Fingerprint, report: EnrollmentReport) -> Self {
        let (id, sequence_id, at) = (report.enrollment_id, report.sequence_id, report.at);
        let completed_at = Some(at);
        Self { id, sequence_id, fingerprint, at, completed_at, state: EnrollmentState::Completed { report } }
    }
}

/// How far an enrollment got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
#[non_exhaustive]
pub enum EnrollmentState {
    /// Accepted, and not processed yet.
    Accepted,
    /// Done, with everything that it wrote.
    Completed {
        /// What it did.
        report: EnrollmentReport,
    },
    /// Ended without writing anything: what it refers to became unusable after it was accepted.
    Rejected {
        /// Why, with the codes of SPEC 3.
        rejection: Rejection,
    },
    /// Given up after retries. It can be retried.
    Failed,
}

impl EnrollmentState {
    /// Its name on the wire.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Completed { .. } => "completed",
            Self::Rejected { .. } => "rejected",
            Self::Failed => "failed",
        }
    }
}

/// What is loaded before an enrollment is planned: the context again, and the people that it may concern.
///
/// Over-approximate, and all of it in one call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Lookup {
    /// The context.
    pub context: ContextLookup,
    /// Contacts with these external ids, compared byte by byte; sorted, each once.
    pub external_ids: Vec<Text>,
    /// Contacts with these phones in E.164; sorted, each once.
    pub phones: Vec<Text>,
    /// Contacts with these email keys; sorted, each once.
    pub emails: Vec<Text>,
    /// The channel whose preferences and conversations matter, if any.
    pub channel_id: Option<ChannelId>,
    /// What the records of the custom object belong to, if the request has custom data.
    pub resource: Option<Resource>,
}

/// The facts that an enrollment is planned on. Also all that an organization is: a store in memory is one.
///
/// More rows than a [`Lookup`] names are allowed, and change nothing; what is absent does not exist.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Snapshot {
    /// What the enrollment refers to.
    pub context: Context,
    /// The people, each with what stands round it.
    pub people: BTreeMap<ContactId, Arc<Person>>,
    /// The organization's tags. A plan does not need them.
    pub tags: BTreeMap<TagId, Tag>,
}

impl Snapshot {
    /// An organization without people.
    #[must_use]
    pub fn new(context: Context) -> Self {
        Self { context, people: BTreeMap::new(), tags: BTreeMap::new() }
    }
}

/// A contact and whatever stands round it: one aggregate, under one version.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "what needs a word has it")]
pub struct Person {
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

impl Person {
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

//! The facts that the engine reads: reference data for the check, and a snapshot for the plan.

use super::{ContactAggregate, Versioned};
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ids::{CallFlowId, ChannelId, ContactId, CustomObjectId, EnrollmentId, OrganizationId, SequenceId, TagId};
use crate::model::{CallFlow, Channel, CustomObject, Sequence, Tag};
use crate::query::ReferenceQuery;
use crate::stored_enrollment::StoredEnrollment;

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

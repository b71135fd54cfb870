//! The facts that the engine reads: reference data for the check, and a snapshot for the plan.

use super::{ContactAggregate, Versioned};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::ids::{CallFlowId, ChannelId, ContactId, CustomObjectId, EnrollmentId, OrganizationId, SequenceId, TagId};
use crate::model::{CallFlow, Channel, CustomObject, Sequence, Tag};
use crate::query::ReferenceQuery;
use crate::stored_enrollment::StoredEnrollment;

/// The rows that an enrollment refers to: those of a [`ReferenceQuery`] that exist, and *all* channels of the
/// organization.
///
/// It can contain more rows; they do not change the result. A row that is absent does not exist.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ReferenceData {
    /// The organization of all rows.
    pub organization_id: OrganizationId,
    /// The sequences with their steps.
    pub sequences: BTreeMap<SequenceId, Versioned<Sequence>>,
    /// The channels, also disabled ones.
    pub channels: BTreeMap<ChannelId, Versioned<Channel>>,
    /// The custom objects.
    pub custom_objects: BTreeMap<CustomObjectId, Versioned<CustomObject>>,
    /// The call flows.
    pub call_flows: BTreeMap<CallFlowId, Versioned<CallFlow>>,
    /// The stored enrollments.
    pub enrollments: BTreeMap<EnrollmentId, Arc<StoredEnrollment>>,
}

impl ReferenceData {
    /// Creates reference data without rows.
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

    /// Returns only the rows that a query names.
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

/// The facts that the planner reads. A repository in memory stores an organization as one snapshot.
///
/// It can contain more rows than a [`SnapshotQuery`](crate::SnapshotQuery) names; they do not change the plan. A row
/// that is absent does not exist.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Snapshot {
    /// The rows that the enrollment refers to.
    pub reference: ReferenceData,
    /// The contacts with their related rows.
    pub contacts: BTreeMap<ContactId, Arc<ContactAggregate>>,
    /// The tags: at least that of the query.
    pub tags: BTreeMap<TagId, Tag>,
}

impl Snapshot {
    /// Creates a snapshot without contacts.
    #[must_use]
    pub fn new(reference: ReferenceData) -> Self {
        Self { reference, contacts: BTreeMap::new(), tags: BTreeMap::new() }
    }
}

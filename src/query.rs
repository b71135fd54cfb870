//! The two queries that the engine sends to a repository. Both are plain data.

use serde::{Deserialize, Serialize};

use crate::contact::ContactKeys;
use crate::ids::{CallFlowId, ChannelId, CustomObjectId, EnrollmentId, OrganizationId, SequenceId, TagId};
use crate::model::Resource;

/// The reference data that the engine loads before it checks a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ReferenceQuery {
    /// The organization. The answer must not contain rows of another organization.
    pub organization_id: OrganizationId,
    /// The enrollment, which often does not exist yet.
    pub enrollment_id: Option<EnrollmentId>,
    /// The sequence, with its steps.
    pub sequence_id: SequenceId,
    /// The custom object of the request, with its properties.
    pub custom_object_id: Option<CustomObjectId>,
    /// The call flow of the request.
    pub call_flow_id: Option<CallFlowId>,
}

/// The facts that the engine loads before it plans an enrollment: the reference data again, and the contacts.
///
/// The query can name more rows than the plan needs, so that one call is enough.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SnapshotQuery {
    /// The reference data.
    pub reference: ReferenceQuery,
    /// The keys of the contacts to load.
    pub keys: ContactKeys,
    /// The channel whose preferences and conversations are loaded.
    pub channel_id: Option<ChannelId>,
    /// The kind of row that the records of the custom object belong to, if the request has custom data.
    pub resource: Option<Resource>,
    /// The tag that the requests of a list share, which often does not exist yet. It is loaded with the information
    /// which of the contacts have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag_id: Option<TagId>,
}

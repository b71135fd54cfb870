//! What the engine reads from a repository: two queries, both plain data.

use serde::{Deserialize, Serialize};

use crate::ids::{CallFlowId, ChannelId, CustomObjectId, EnrollmentId, OrganizationId, SequenceId};
use crate::model::Resource;
use crate::text::Text;

/// What is loaded before a request is checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ReferenceQuery {
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

/// What is loaded before an enrollment is planned: the reference data again, and the people that it may concern.
///
/// Over-approximate, and all of it in one call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SnapshotQuery {
    /// The reference data.
    pub reference: ReferenceQuery,
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

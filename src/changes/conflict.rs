//! The reasons why a change set is not written.

use uuid::Uuid;

use crate::contact::KeyKind;
use crate::ids::{
    CallFlowId, ChannelId, ContactId, CustomObjectId, CustomRecordId, EnrollmentId, OrganizationId, RunId, SequenceId,
    StepContactId, TagId,
};
use crate::model::Resource;
use crate::repository::{RepositoryError, RepositoryErrorKind};
use crate::text::Text;

/// The reason why [`ChangeSet::apply`](super::ChangeSet::apply) wrote nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApplyError {
    /// A fact that the change set depends on changed. Load the snapshot and plan again.
    #[error(transparent)]
    Conflict(#[from] Conflict),
    /// A row with the id of a new row exists. The same command derives the same id, so a new plan fails too.
    #[error("a row with the new id `{0}` already exists")]
    IdExists(Uuid),
}

impl From<ApplyError> for RepositoryError {
    fn from(error: ApplyError) -> Self {
        let kind = match error {
            ApplyError::Conflict(_) => RepositoryErrorKind::Conflict,
            ApplyError::IdExists(_) => RepositoryErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

/// The fact that changed between the load and the commit. Load the snapshot and plan again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Conflict {
    /// The change set belongs to another organization.
    #[error("the change set belongs to another organization, `{0}`")]
    OtherOrganization(OrganizationId),
    /// The enrollment already has a row.
    #[error("enrollment `{0}` already exists")]
    EnrollmentExists(EnrollmentId),
    /// The enrollment is not in the state `accepted`, or has no row.
    #[error("enrollment `{0}` is not in the state `accepted`")]
    EnrollmentNotAccepted(EnrollmentId),
    /// Recipients of the enrollment were erased. Read its command again.
    #[error("recipients of enrollment `{0}` were erased")]
    RecipientsErased(EnrollmentId),
    /// The sequence or one of its steps changed or was deleted.
    #[error("sequence `{0}` changed")]
    SequenceChanged(SequenceId),
    /// The channel changed, was deleted or was created.
    #[error("channel `{0}` changed")]
    ChannelChanged(ChannelId),
    /// The custom object changed or was deleted.
    #[error("custom object `{0}` changed")]
    CustomObjectChanged(CustomObjectId),
    /// The call flow changed or was deleted.
    #[error("call flow `{0}` changed")]
    CallFlowChanged(CallFlowId),
    /// The upload tag was renamed, deleted or created.
    #[error("tag `{0}` changed")]
    TagChanged(TagId),
    /// The contact or a related row changed, or the contact was deleted.
    #[error("contact `{0}` changed")]
    ContactChanged(ContactId),
    /// A row belongs to a contact that the change set neither creates nor updates.
    #[error("contact `{0}` has new rows, but the change set neither creates nor updates it")]
    ContactNotWritten(ContactId),
    /// The change set claims a key, or requires that it is unclaimed, but a contact holds it.
    #[error("a new {key} belongs to contact `{holder}`")]
    KeyHeld {
        /// The kind of key.
        key: KeyKind,
        /// The key.
        text: Text,
        /// The contact that holds the key.
        holder: ContactId,
    },
    /// Two contacts of the change set claim the same key.
    #[error("two contacts of the change set claim the same {key}")]
    KeyClaimedTwice {
        /// The kind of key.
        key: KeyKind,
        /// The key.
        text: Text,
    },
    /// The contact already has a conversation on the channel. A channel of a phone kind allows one.
    #[error("contact `{contact_id}` already has a conversation on channel `{channel_id}`")]
    ConversationExists {
        /// The contact.
        contact_id: ContactId,
        /// The channel.
        channel_id: ChannelId,
    },
    /// The contact would have two live step contacts in the sequence.
    #[error("contact `{contact_id}` is already live in sequence `{sequence_id}`")]
    StepContactLive {
        /// The contact.
        contact_id: ContactId,
        /// The sequence.
        sequence_id: SequenceId,
    },
    /// A run that the change set reactivates was deleted.
    #[error("run `{0}` does not exist any more")]
    RunGone(RunId),
    /// A step contact that the change set updates was deleted.
    #[error("step contact `{0}` does not exist any more")]
    StepContactGone(StepContactId),
    /// The resource already has a record of the custom object.
    #[error("{resource} `{resource_id}` already has a record of custom object `{custom_object_id}`")]
    RecordExists {
        /// The custom object.
        custom_object_id: CustomObjectId,
        /// The kind of row that the record belongs to.
        resource: Resource,
        /// The id of the contact or of the step contact.
        resource_id: Uuid,
    },
    /// A record that the change set updates was deleted.
    #[error("record `{0}` does not exist any more")]
    RecordGone(CustomRecordId),
}

//! The stored rows: what an enrollment refers to, and the related rows of a contact.
//!
//! Each row has public fields, and a constructor that takes the required ones. The rows serialize as those of a seed
//! file (spec 8).

use serde::{Deserialize, Serialize};

use crate::ids::{
    CallFlowId, ChannelId, ContactId, ConversationId, CustomObjectId, CustomRecordId, EnrollmentId, RunId, SequenceId,
    StepContactId, StepId, TagId,
};
use crate::text::Text;
use crate::time::Timestamp;
use crate::value::{Properties, Value};
use crate::words::words;

/// A tenant. Its id is the organization of all its rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Organization {
    /// The name for people. The engine does not read it.
    pub name: Text,
}

impl Organization {
    /// Creates an organization.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.into() }
    }
}

/// A channel of an organization: an address that messages are sent from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Channel {
    /// The id.
    pub id: ChannelId,
    /// The kind.
    pub kind: ChannelKind,
    /// The address: a phone in E.164, or an email address for the kind `email`.
    pub address: Text,
    /// False if the channel must not be used.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// A name for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Text>,
}

impl Channel {
    /// Creates an enabled channel.
    #[must_use]
    pub fn new(id: ChannelId, kind: ChannelKind, address: &str) -> Self {
        Self { id, kind, address: address.into(), enabled: true, name: None }
    }
}

words! {
    "channel kind",
    /// The kind of a channel: the messages that it carries.
    ///
    /// Exhaustive, because a host sends each kind in its own way.
    #[derive(PartialOrd, Ord)]
    pub enum ChannelKind {
        /// SMS, MMS and voice.
        Phone = "phone",
        /// `WhatsApp` messages.
        Whatsapp = "whatsapp",
        /// Fax.
        Fax = "fax",
        /// Email.
        Email = "email",
    }
}

impl ChannelKind {
    /// Returns true if the channel's address is a phone number.
    #[must_use]
    pub const fn is_phone(self) -> bool {
        !matches!(self, Self::Email)
    }
}

/// A sequence with its settings and steps.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Sequence {
    /// The id.
    pub id: SequenceId,
    /// A title for people.
    #[serde(default)]
    pub title: Text,
    /// The status. Contacts are added to active sequences only.
    pub status: SequenceStatus,
    /// The settings.
    #[serde(default)]
    pub settings: SequenceSettings,
    /// The steps, in any order.
    #[serde(default)]
    pub steps: Vec<Step>,
}

impl Sequence {
    /// Creates an active sequence with default settings.
    #[must_use]
    pub fn new(id: SequenceId, title: &str, steps: Vec<Step>) -> Self {
        let (status, settings) = (SequenceStatus::Active, SequenceSettings::default());
        Self { id, title: title.into(), status, settings, steps }
    }

    /// Returns the step with the lowest position, then with the smallest id (spec 3).
    #[must_use]
    pub fn first_step(&self) -> Option<&Step> {
        self.steps.iter().min_by_key(|step| (step.position, step.id))
    }

    /// Returns the step with this id.
    #[must_use]
    pub fn step(&self, id: StepId) -> Option<&Step> {
        self.steps.iter().find(|step| step.id == id)
    }
}

words! {
    "sequence status",
    /// The status of a sequence.
    ///
    /// Exhaustive, because each status decides whether contacts can be added.
    pub enum SequenceStatus {
        /// Not active yet. Contacts cannot be added.
        Draft = "draft",
        /// Contacts can be added.
        Active = "active",
        /// Not active any more. Contacts cannot be added.
        Archived = "archived",
    }
}

/// The settings of a sequence: limits for contacts that are added again (spec 4.6, rows d to g), and the call flow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct SequenceSettings {
    /// Whether a contact that was in the sequence before is added again.
    pub on_re_add: OnReAdd,
    /// The maximum number of runs of a contact in this sequence, over its lifetime.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_runs: Option<u32>,
    /// The maximum number of runs that start within a sliding period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_adds_per_period: Option<MaxAdds>,
    /// The call flow that answers inbound calls, if the step contact has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_call_flow_id: Option<CallFlowId>,
}

words! {
    "setting of `on_re_add`",
    /// Whether a contact that is not live in the sequence any more may be added again.
    ///
    /// Exhaustive, because these are the settings of the contract (spec 2).
    #[cfg_attr(feature = "schema", schema(description = "Whether a contact that is not live in the sequence any more may be added again."))]
    #[derive(Default)]
    pub enum OnReAdd {
        /// The contact is added again, within the limits of the sequence.
        #[default]
        Include = "include",
        /// The contact is ignored.
        Exclude = "exclude",
    }
}

/// A limit on adds within a sliding period that ends at the request (spec 4.6 f).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaxAdds {
    /// The maximum number of adds.
    pub count: u32,
    /// The length of the period in seconds.
    pub seconds: u64,
}

/// A step of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Step {
    /// The id.
    pub id: StepId,
    /// The position. The first step has the lowest one.
    pub position: i64,
    /// The kind of channel that the step sends on.
    pub channel_kind: ChannelKind,
    /// The step's own channel, its location. A request without `from` uses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel_id: Option<ChannelId>,
}

impl Step {
    /// Creates a step without an own channel.
    #[must_use]
    pub fn new(id: StepId, position: i64, channel_kind: ChannelKind) -> Self {
        Self { id, position, channel_kind, channel_id: None }
    }
}

/// The opt-in or opt-out of a contact on a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct CommunicationPreference {
    /// The contact.
    pub contact_id: ContactId,
    /// The channel.
    pub channel_id: ChannelId,
    /// False if the contact opted out of the channel.
    pub opt_in: bool,
}

impl CommunicationPreference {
    /// Creates the preference of a contact on a channel.
    #[must_use]
    pub fn new(contact_id: ContactId, channel_id: ChannelId, opt_in: bool) -> Self {
        Self { contact_id, channel_id, opt_in }
    }
}

/// A contact on a channel. A contact has at most one on a channel of a phone kind, and any number on email.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Conversation {
    /// The id.
    pub id: ConversationId,
    /// The contact.
    pub contact_id: ContactId,
    /// The channel.
    pub channel_id: ChannelId,
    /// The status.
    pub status: ConversationStatus,
    /// The instant of creation. An absent one counts as the oldest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
}

impl Conversation {
    /// Creates an automated conversation.
    #[must_use]
    pub fn new(id: ConversationId, contact_id: ContactId, channel_id: ChannelId) -> Self {
        Self { id, contact_id, channel_id, status: ConversationStatus::Automated, created_at: None }
    }
}

words! {
    "conversation status",
    /// The status of a conversation.
    ///
    /// Exhaustive, because a repository stores each status.
    pub enum ConversationStatus {
        /// Only the engine and the host's automation take part so far.
        Automated = "automated",
        /// A person of the organization takes part.
        Open = "open",
        /// The conversation is closed.
        Closed = "closed",
        /// The conversation is marked as spam.
        Spam = "spam",
    }
}

/// One pass of a contact through a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Run {
    /// The id.
    pub id: RunId,
    /// The sequence.
    pub sequence_id: SequenceId,
    /// The contact.
    pub contact_id: ContactId,
    /// The status.
    pub status: RunStatus,
    /// The instant of the request that started the run.
    pub started_at: Timestamp,
}

impl Run {
    /// Creates an active run.
    #[must_use]
    pub fn new(id: RunId, sequence_id: SequenceId, contact_id: ContactId, started_at: Timestamp) -> Self {
        Self { id, sequence_id, contact_id, status: RunStatus::Active, started_at }
    }
}

words! {
    "run status",
    /// The status of a run.
    ///
    /// Exhaustive, because a repository stores each status.
    #[cfg_attr(feature = "schema", schema(description = "The status of a run."))]
    pub enum RunStatus {
        /// The contact is in the sequence.
        Active = "active",
        /// The run is over.
        Finished = "finished",
    }
}

/// A contact in a step, in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct StepContact {
    /// The id.
    pub id: StepContactId,
    /// The run.
    pub run_id: RunId,
    /// The sequence of the step.
    pub sequence_id: SequenceId,
    /// The step.
    pub step_id: StepId,
    /// The contact.
    pub contact_id: ContactId,
    /// The status.
    pub status: StepContactStatus,
    /// The instant from which the step contact is active.
    pub scheduled_at: Timestamp,
    /// The channel that the step uses for the contact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel_id: Option<ChannelId>,
    /// The call flow that answers inbound calls, before the sequence's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_call_flow_id: Option<CallFlowId>,
    /// The number of enrollments that put the contact into this step: 1 if added, plus 1 for each time it is
    /// reprocessed.
    #[serde(default = "one")]
    pub times_processed: u32,
    /// The enrollment that wrote the step contact last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrollment_id: Option<EnrollmentId>,
}

impl StepContact {
    /// Creates an active step contact of a run, scheduled for the start of the run.
    #[must_use]
    pub fn new(id: StepContactId, run: &Run, step_id: StepId) -> Self {
        Self {
            id,
            run_id: run.id,
            sequence_id: run.sequence_id,
            step_id,
            contact_id: run.contact_id,
            status: StepContactStatus::Active,
            scheduled_at: run.started_at,
            channel_id: None,
            default_call_flow_id: None,
            times_processed: 1,
            enrollment_id: None,
        }
    }
}

words! {
    "step contact status",
    /// The status of a step contact.
    ///
    /// Exhaustive, because a host processes each status in its own way.
    #[cfg_attr(feature = "schema", schema(description = "The status of a step contact."))]
    pub enum StepContactStatus {
        /// Scheduled for a later instant. Live.
        Pending = "pending",
        /// The step can be processed for the contact. Live.
        Active = "active",
        /// Stopped before the step was finished.
        Inactive = "inactive",
        /// The contact was moved to another step.
        Moved = "moved",
        /// The step is finished for the contact.
        Finished = "finished",
    }
}

impl StepContactStatus {
    /// Returns true if the step contact is live: pending or active.
    #[must_use]
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Pending | Self::Active)
    }
}

/// Returns the call flow that answers inbound calls: the step contact's, or else the sequence's (spec 4.9).
#[must_use]
pub fn effective_call_flow(step_contact: &StepContact, sequence: &Sequence) -> Option<CallFlowId> {
    step_contact.default_call_flow_id.or(sequence.settings.default_call_flow_id)
}

/// A tag of an organization.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Tag {
    /// The id.
    pub id: TagId,
    /// The name.
    pub name: Text,
    /// True if the engine created the tag; false if a person did.
    #[serde(default)]
    pub system_created: bool,
}

impl Tag {
    /// Creates a tag of the engine.
    #[must_use]
    pub fn new(id: TagId, name: &str) -> Self {
        Self { id, name: name.into(), system_created: true }
    }
}

/// The assignment of a tag to a contact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContactTag {
    /// The contact.
    pub contact_id: ContactId,
    /// The tag.
    pub tag_id: TagId,
}

/// A custom object. It defines the properties of its records.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct CustomObject {
    /// The id.
    pub id: CustomObjectId,
    /// The object's key in the organization.
    pub key: Text,
    /// The properties that a record can have.
    #[serde(default)]
    pub properties: Vec<CustomProperty>,
}

impl CustomObject {
    /// Creates an object with these properties.
    #[must_use]
    pub fn new(id: CustomObjectId, key: &str, properties: Vec<CustomProperty>) -> Self {
        Self { id, key: key.into(), properties }
    }
}

/// A property of a custom object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct CustomProperty {
    /// The key of the value in a record.
    pub key: String,
    /// The type of the values.
    #[serde(rename = "type")]
    pub kind: PropertyKind,
    /// True if a record must have a value.
    #[serde(default)]
    pub required: bool,
    /// The value of a new record if the required value is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
}

impl CustomProperty {
    /// Creates an optional property.
    #[must_use]
    pub fn new(key: &str, kind: PropertyKind) -> Self {
        Self { key: key.to_owned(), kind, required: false, default: None }
    }
}

words! {
    "property type",
    /// The type of a property's values (spec 4.8).
    ///
    /// Exhaustive, because these are the types of the contract.
    #[cfg_attr(feature = "schema", schema(description = "The type of a property's values."))]
    pub enum PropertyKind {
        /// Text.
        Text = "text",
        /// A 64-bit integer without a fraction. `3.0` does not fit.
        Number = "number",
        /// A finite number. Integers fit too.
        Float = "float",
        /// `true` or `false`.
        Boolean = "boolean",
        /// A date in the form `YYYY-MM-DD`.
        Date = "date",
        /// A list of any values.
        List = "list",
        /// A map from text to any values.
        Map = "map",
    }
}

words! {
    "resource",
    /// The kind of row that a custom record belongs to.
    ///
    /// Exhaustive, because these are the resources of the contract (spec 1, D9).
    #[cfg_attr(feature = "schema", schema(description = "The kind of row that a custom record belongs to."))]
    #[derive(PartialOrd, Ord)]
    pub enum Resource {
        /// The contact itself, in all sequences.
        Contact = "contact",
        /// The contact in one step of a sequence.
        StepContact = "step_contact",
    }
}

/// A record of a custom object. Its key is (object, resource, resource id).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct CustomRecord {
    /// The id.
    pub id: CustomRecordId,
    /// The custom object.
    pub custom_object_id: CustomObjectId,
    /// The kind of row that the record belongs to.
    pub resource: Resource,
    /// The id of the contact or of the step contact.
    pub resource_id: uuid::Uuid,
    /// The values.
    #[serde(default)]
    pub properties: Properties,
}

impl CustomRecord {
    /// Creates a record without values.
    #[must_use]
    pub fn new(id: CustomRecordId, object: CustomObjectId, resource: Resource, resource_id: uuid::Uuid) -> Self {
        Self { id, custom_object_id: object, resource, resource_id, properties: Properties::new() }
    }
}

/// A flow that answers inbound calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct CallFlow {
    /// The id.
    pub id: CallFlowId,
    /// A name for people.
    #[serde(default)]
    pub name: Text,
}

impl CallFlow {
    /// Creates a call flow with this name.
    #[must_use]
    pub fn new(id: CallFlowId, name: &str) -> Self {
        Self { id, name: name.into() }
    }
}

fn yes() -> bool {
    true
}

fn one() -> u32 {
    1
}

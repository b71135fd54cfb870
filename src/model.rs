//! The rows round a contact and the rows that an enrollment refers to, as stored.
//!
//! Public fields, and a constructor that takes what a row cannot be without; everything else has the default
//! that its field names. They serialize as the rows of a seed file (SPEC 8).

use serde::{Deserialize, Serialize};

use crate::ids::{
    CallFlowId, ChannelId, ContactId, ConversationId, CustomObjectId, CustomRecordId, EnrollmentId, RunId, SequenceId,
    StepContactId, StepId, TagId,
};
use crate::text::Text;
use crate::time::Timestamp;
use crate::value::{Properties, Value};
use crate::words::words;

/// A channel of an organization: one address that messages come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
#[expect(missing_docs, reason = "what needs a word has it")]
pub struct Channel {
    pub id: ChannelId,
    pub kind: ChannelKind,
    /// E.164, or an email address where the kind is `email`.
    pub address: Text,
    #[serde(default = "yes")]
    pub enabled: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Text>,
}

impl Channel {
    /// An enabled channel.
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
#[expect(missing_docs, reason = "what needs a word has it")]
pub struct Sequence {
    pub id: SequenceId,
    #[serde(default)]
    pub title: Text,
    pub status: SequenceStatus,
    #[serde(default)]
    pub settings: SequenceSettings,
    #[serde(default)]
    pub steps: Vec<Step>,
}

impl Sequence {
    /// An active sequence with default settings.
    #[must_use]
    pub fn new(id: SequenceId, title: &str, steps: Vec<Step>) -> Self {
        let (status, settings) = (SequenceStatus::Active, SequenceSettings::default());
        Self { id, title: title.into(), status, settings, steps }
    }

    /// The step of lowest position, then of smallest id (SPEC 3).
    #[must_use]
    pub fn first_step(&self) -> Option<&Step> {
        self.steps.iter().min_by_key(|step| (step.position, step.id))
    }

    /// The step of that id.
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

/// What a sequence says of contacts that come again (SPEC 4.6, rows d to g) and of inbound calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct SequenceSettings {
    /// Whether a contact that is done may be added again.
    pub on_re_add: OnReAdd,
    /// How many runs a contact may have in this sequence, ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_runs: Option<u32>,
    /// How many runs may begin within a sliding period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_adds_per_period: Option<MaxAdds>,
    /// The call flow that answers inbound calls, where the step contact has none of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_call_flow_id: Option<CallFlowId>,
}

words! {
    "setting of `on_re_add`",
    /// Whether a contact that is not live in the sequence any more may be added again.
    ///
    /// Exhaustive, because these are the settings of the contract (spec 2).
    #[derive(Default)]
    pub enum OnReAdd {
        /// The contact is added again, within the limits of the sequence.
        #[default]
        Include = "include",
        /// The contact is ignored.
        Exclude = "exclude",
    }
}

/// A cap on adds within a sliding period that ends at the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaxAdds {
    /// How many adds are allowed.
    pub count: u32,
    /// The length of the period, in seconds.
    pub seconds: u64,
}

/// A step of a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
#[expect(missing_docs, reason = "what needs a word has it")]
pub struct Step {
    pub id: StepId,
    pub position: i64,
    pub channel_kind: ChannelKind,
    /// The step's own channel (its location), used where a request names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel_id: Option<ChannelId>,
}

impl Step {
    /// A step without a channel of its own.
    #[must_use]
    pub fn new(id: StepId, position: i64, channel_kind: ChannelKind) -> Self {
        Self { id, position, channel_kind, channel_id: None }
    }
}

/// Whether a contact may be reached on a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are SPEC 8's")]
pub struct CommunicationPreference {
    pub contact_id: ContactId,
    pub channel_id: ChannelId,
    pub opt_in: bool,
}

impl CommunicationPreference {
    /// The preference of a contact on a channel.
    #[must_use]
    pub fn new(contact_id: ContactId, channel_id: ChannelId, opt_in: bool) -> Self {
        Self { contact_id, channel_id, opt_in }
    }
}

/// A contact on a channel: one on a phone kind, any number on email.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are SPEC 8's")]
pub struct Conversation {
    pub id: ConversationId,
    pub contact_id: ContactId,
    pub channel_id: ChannelId,
    pub status: ConversationStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
}

impl Conversation {
    /// An automated conversation, as an enrollment begins it.
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
#[expect(missing_docs, reason = "the fields are SPEC 8's")]
pub struct Run {
    pub id: RunId,
    pub sequence_id: SequenceId,
    pub contact_id: ContactId,
    pub status: RunStatus,
    pub started_at: Timestamp,
}

impl Run {
    /// An active run.
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
#[expect(missing_docs, reason = "what needs a word has it")]
pub struct StepContact {
    pub id: StepContactId,
    pub run_id: RunId,
    pub sequence_id: SequenceId,
    pub step_id: StepId,
    pub contact_id: ContactId,
    pub status: StepContactStatus,
    pub scheduled_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel_id: Option<ChannelId>,
    /// Takes priority over the sequence's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_call_flow_id: Option<CallFlowId>,
    /// How many enrollments put the contact into this step: 1 when added, one more each time it is reprocessed.
    #[serde(default = "one")]
    pub times_processed: u32,
    /// The enrollment that set it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enrollment_id: Option<EnrollmentId>,
}

impl StepContact {
    /// An active step contact of a run, as from the run's start.
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

/// The call flow that answers inbound calls: the step contact's, else the sequence's, else none (SPEC 4.9).
#[must_use]
pub fn effective_call_flow(step_contact: &StepContact, sequence: &Sequence) -> Option<CallFlowId> {
    step_contact.default_call_flow_id.or(sequence.settings.default_call_flow_id)
}

/// A tag of an organization.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
#[expect(missing_docs, reason = "what needs a word has it")]
pub struct Tag {
    pub id: TagId,
    pub name: Text,
    /// Whether the engine made it, rather than a person.
    #[serde(default)]
    pub system_created: bool,
}

impl Tag {
    /// A tag that the engine made.
    #[must_use]
    pub fn new(id: TagId, name: &str) -> Self {
        Self { id, name: name.into(), system_created: true }
    }
}

/// A tag on a contact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are SPEC 8's")]
pub struct ContactTag {
    pub contact_id: ContactId,
    pub tag_id: TagId,
}

/// A custom object: the properties that its records may have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are SPEC 8's")]
pub struct CustomObject {
    pub id: CustomObjectId,
    pub key: Text,
    #[serde(default)]
    pub properties: Vec<CustomProperty>,
}

impl CustomObject {
    /// An object with those properties.
    #[must_use]
    pub fn new(id: CustomObjectId, key: &str, properties: Vec<CustomProperty>) -> Self {
        Self { id, key: key.into(), properties }
    }
}

/// A property that the records of a custom object may have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
#[expect(missing_docs, reason = "what needs a word has it")]
pub struct CustomProperty {
    pub key: String,
    #[serde(rename = "type")]
    pub kind: PropertyKind,
    #[serde(default)]
    pub required: bool,
    /// What a record takes where a required value is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
}

impl CustomProperty {
    /// An optional property.
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
    #[derive(PartialOrd, Ord)]
    pub enum Resource {
        /// The contact itself, in all sequences.
        Contact = "contact",
        /// The contact in one step of a sequence.
        StepContact = "step_contact",
    }
}

/// A record of a custom object: one an (object, resource, resource id).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
#[expect(missing_docs, reason = "what needs a word has it")]
pub struct CustomRecord {
    pub id: CustomRecordId,
    pub custom_object_id: CustomObjectId,
    pub resource: Resource,
    /// The id of the contact or of the step contact.
    pub resource_id: uuid::Uuid,
    #[serde(default)]
    pub properties: Properties,
}

impl CustomRecord {
    /// A record without values.
    #[must_use]
    pub fn new(id: CustomRecordId, object: CustomObjectId, resource: Resource, resource_id: uuid::Uuid) -> Self {
        Self { id, custom_object_id: object, resource, resource_id, properties: Properties::new() }
    }
}

/// A call flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are SPEC 8's")]
pub struct CallFlow {
    pub id: CallFlowId,
    #[serde(default)]
    pub name: Text,
}

impl CallFlow {
    /// A call flow of that name.
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

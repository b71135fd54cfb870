//! The rows round a contact and the rows that an enrollment refers to, as stored.
//!
//! Public fields, and a constructor that takes what a row cannot be without; everything else has the default
//! that its field names. They serialize as the rows of a seed file (SPEC 8).

use serde::{Deserialize, Serialize};
use std::fmt;

use crate::ids::{
    CallFlowId, ChannelId, ContactId, ConversationId, CustomObjectId, CustomRecordId, EnrollmentId, RunId, SequenceId,
    StepContactId, StepId, TagId,
};
use crate::text::Text;
use crate::time::Timestamp;
use crate::value::{Properties, Value};

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

/// What a channel carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChannelKind {
    /// SMS, MMS and voice.
    Phone,
    /// `WhatsApp` messages.
    Whatsapp,
    /// Fax.
    Fax,
    /// Email.
    Email,
}

impl ChannelKind {
    /// Whether its address is a phone number.
    #[must_use]
    pub const fn is_phone(self) -> bool {
        !matches!(self, Self::Email)
    }

    /// Its name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Phone => "phone",
            Self::Whatsapp => "whatsapp",
            Self::Fax => "fax",
            Self::Email => "email",
        }
    }
}

impl fmt::Display for ChannelKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
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

/// Whether a sequence takes contacts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the words are SPEC 2's")]
pub enum SequenceStatus {
    Draft,
    Active,
    Archived,
}

impl SequenceStatus {
    /// Its name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Active => "active",
            Self::Archived => "archived",
        }
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

/// Whether a contact that is done may be added again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnReAdd {
    /// It is added again, within the limits.
    #[default]
    Include,
    /// It is ignored.
    Exclude,
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

/// The status of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the words are SPEC 2's")]
pub enum ConversationStatus {
    Automated,
    Open,
    Closed,
    Spam,
}

impl ConversationStatus {
    /// Its name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Automated => "automated",
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Spam => "spam",
        }
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

/// The status of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the words are SPEC 8's")]
pub enum RunStatus {
    Active,
    Finished,
}

impl RunStatus {
    /// Its name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Finished => "finished",
        }
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

/// The status of a step contact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the words are SPEC 2's")]
pub enum StepContactStatus {
    Pending,
    Active,
    Inactive,
    Moved,
    Finished,
}

impl StepContactStatus {
    /// Its name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Moved => "moved",
            Self::Finished => "finished",
        }
    }

    /// Pending or active.
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

/// The type of a property's values (SPEC 4.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PropertyKind {
    /// Text.
    Text,
    /// A 64-bit integer: no fraction, not even `3.0`.
    Number,
    /// A finite number, integers too.
    Float,
    /// `true` or `false`.
    Boolean,
    /// A date, `YYYY-MM-DD`.
    Date,
    /// A list of anything.
    List,
    /// A map to anything.
    Map,
}

/// What a record belongs to: with the id of the resource and the object, its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// The contact, whatever sequence it is in.
    Contact,
    /// The contact in this step.
    StepContact,
}

impl Resource {
    /// Its name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Contact => "contact",
            Self::StepContact => "step_contact",
        }
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

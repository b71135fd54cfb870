//! The command: a checked request with normalized addresses. It is valid by construction.

mod check;

use serde::{Deserialize, Serialize};
use std::num::NonZeroU32;

use crate::contact::{
    ContactKeys, Email, EmailError, KeyKind, Libphonenumber, Omit, PhoneError, PhoneNormalizer, PhoneNumber, Profile,
    Region, flat_serde, with_profile_fields,
};
use crate::fault::{Fault, FaultCode};
use crate::format::FormatVersion;
use crate::ids::{
    CallFlowId, ChannelId, CustomObjectId, EnrollmentId, Minter, OrganizationId, RowKind, SequenceId, StepId, TagId,
};
use crate::model::Resource;
use crate::policy::EnrollmentPolicy;
use crate::query::{ReferenceQuery, SnapshotQuery};
use crate::report::Warning;
use crate::request::{EnrollmentRequest, Fingerprint};
use crate::snapshot::ReferenceData;
use crate::stored_enrollment::{EnrollmentState, StoredEnrollment};
use crate::text::Text;
use crate::time::Timestamp;
use crate::value::Properties;

/// A request together with its organization, sequence, key and instant: all input of one enrollment.
///
/// It is exhaustive: it has no defaults, so a host must decide about each part.
#[derive(Clone, Copy, Debug)]
pub struct Enrollment<'a> {
    /// The organization that the request belongs to.
    pub organization_id: OrganizationId,
    /// The sequence to add contacts to.
    pub sequence_id: SequenceId,
    /// The key that identifies the enrollment if it is sent again.
    pub key: EnrollmentKey<'a>,
    /// The instant of the request.
    pub at: Timestamp,
    /// The list, if the request is one of several requests of a list.
    pub list: Option<ListRef>,
    /// The request as read.
    pub request: &'a EnrollmentRequest<'a>,
}

/// A list that is enrolled in several requests. They share one upload tag (spec 11).
///
/// A list of one request is a request like any other, and needs no reference.
///
/// It is exhaustive, since the tag depends on nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListRef {
    /// The id of the list, which is also the id of its first request.
    pub id: EnrollmentId,
    /// The instant of the list. The name of the tag contains it.
    pub at: Timestamp,
}

impl ListRef {
    /// Returns the id of the list's upload tag.
    pub(crate) fn upload_tag_id(self, organization_id: OrganizationId) -> TagId {
        Minter::new(organization_id, self.id, self.at).mint(RowKind::Tag, 0)
    }
}

/// The key that identifies an enrollment if it is sent again (spec 6).
///
/// It is exhaustive, since a host chooses between these two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnrollmentKey<'a> {
    /// An id that the host creates, unique for each request.
    Id(EnrollmentId),
    /// An idempotency key: 1 to 255 visible ASCII characters. The engine derives the id from it. Any other text is a fault of the
    /// request, so a host passes an absent header as an empty text.
    Idempotency(&'a str),
}

impl Enrollment<'_> {
    /// Returns the enrollment's id, or `None` if the idempotency key is not 1 to 255 visible ASCII characters.
    #[must_use]
    pub fn id(&self) -> Option<EnrollmentId> {
        match self.key {
            EnrollmentKey::Id(id) => Some(id),
            EnrollmentKey::Idempotency(key) => ((1..=255).contains(&key.len())
                && key.bytes().all(|b| b.is_ascii_graphic()))
            .then(|| EnrollmentId::from_idempotency_key(self.organization_id, key)),
        }
    }

    /// Returns the query for the rows that the check of the request reads.
    #[must_use]
    pub fn reference_query(&self) -> ReferenceQuery {
        ReferenceQuery {
            organization_id: self.organization_id,
            enrollment_id: self.id(),
            sequence_id: self.sequence_id,
            custom_object_id: self.request.custom_object_id(),
            call_flow_id: self.request.voice_options.map(|options| options.default_call_flow_id),
        }
    }

    /// Returns the enrollment that an earlier, identical request created.
    ///
    /// Call it before [`EnrollmentCommand::check`]: the answer to a repeated request needs no further check (spec 6).
    #[must_use]
    pub fn previous<'c>(&self, reference: &'c ReferenceData) -> Option<&'c StoredEnrollment> {
        let stored = reference.enrollments.get(&self.id()?)?;
        (self.request.fingerprint(self.sequence_id) == Some(stored.fingerprint)).then_some(stored)
    }
}

/// The settings that a host chooses once: the policy, the phone normalizer, and the number of attempts.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub struct Engine<'a> {
    /// The policy.
    pub policy: &'a EnrollmentPolicy,
    /// The normalizer of phone numbers.
    pub phones: &'a dyn PhoneNormalizer,
    /// The limit of attempts if other writers commit first.
    pub retry: Retry,
}

impl<'a> Engine<'a> {
    /// Creates an engine with the default phone normalizer and 32 attempts.
    #[must_use]
    pub fn new(policy: &'a EnrollmentPolicy) -> Self {
        Self { policy, phones: &Libphonenumber, retry: Retry::default() }
    }
}

impl std::fmt::Debug for Engine<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("policy", self.policy).field("retry", &self.retry).finish_non_exhaustive()
    }
}

/// The limit of attempts to commit an enrollment if other writers commit first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The total number of attempts, at least 1. Each conflict means that another writer has committed. So one attempt
    /// for each concurrent writer is enough.
    pub attempts: u32,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 32 }
    }
}

/// A request that was checked against its reference data. Its meaning does not change any more.
///
/// It serializes with a version: [`accept`](crate::accept) stores it, and [`process`](crate::process) reads it later.
/// [`StoredCommand::from_json`] reads it and distinguishes a newer version from a damaged command.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EnrollmentCommand {
    v: CommandVersion,
    organization_id: OrganizationId,
    sequence_id: SequenceId,
    enrollment_id: EnrollmentId,
    fingerprint: Fingerprint,
    at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    list: Option<ListRef>,
    step_id: StepId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    channel: Option<ChannelUsed>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    region: Option<Region>,
    #[serde(deserialize_with = "crate::lenient::read")]
    policy: EnrollmentPolicy,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    schedule_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    custom_data: Option<(CustomObjectId, Resource)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    call_flow_id: Option<CallFlowId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<Warning>,
    #[serde(deserialize_with = "crate::lenient::read")]
    recipients: Vec<CheckedRecipient>,
    /// The number of recipients that were erased. A worker that planned an earlier state of the command cannot commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    erased: Option<NonZeroU32>,
}

/// The versions of a command that this build reads.
type CommandVersion = FormatVersion<2>;

/// A rule that a command may use, and the version in which it came.
struct LaterRule<const LATEST: u32> {
    version: FormatVersion<LATEST>,
    is_used: fn(&EnrollmentCommand) -> bool,
}

/// The rules that came after version 1.
///
/// A new field with a rule, such as a policy switch, gets an entry here, and raises the number in [`CommandVersion`]. A
/// worker that does not know the rule then leaves the commands that use it to newer workers. All other commands keep
/// their version, so that old workers still process them.
const LATER_RULES: &[LaterRule<2>] = &[LaterRule { version: FormatVersion::number(2), is_used: |c| c.list.is_some() }];

/// Returns the version that a worker must know to process the command.
fn required_version<const LATEST: u32>(
    command: &EnrollmentCommand,
    rules: &[LaterRule<LATEST>],
) -> FormatVersion<LATEST> {
    let used = rules.iter().filter(|rule| (rule.is_used)(command)).map(|rule| rule.version);
    used.max().unwrap_or(FormatVersion::FIRST)
}

/// A stored command: one that this build can process, or one that is left to a newer build.
///
/// Exhaustive, because a host must handle both.
#[derive(Clone, Debug, PartialEq)]
pub enum StoredCommand {
    /// This build knows every rule of the command.
    Known(Box<EnrollmentCommand>),
    /// A newer build stored the command, and it uses a rule that this build does not know.
    Newer {
        /// The version of the command.
        version: u32,
    },
}

impl StoredCommand {
    /// Reads a command as a repository stores it: the JSON of an [`EnrollmentCommand`].
    ///
    /// Unknown fields in a version that this build reads are ignored.
    ///
    /// ```
    /// use enroll::StoredCommand;
    ///
    /// let stored = StoredCommand::from_json(br#"{"v": 1000000, "any": "shape"}"#)?;
    /// assert_eq!(stored, StoredCommand::Newer { version: 1_000_000 });
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    ///
    /// # Errors
    /// The error of `serde_json` if the command is damaged.
    pub fn from_json(json: &[u8]) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Versioned {
            v: u32,
        }
        serde_json::from_slice(json).map(Self::Known).or_else(|error| {
            match serde_json::from_slice(json) {
                Ok(Versioned { v }) if v > 0 && CommandVersion::known(v).is_none() => Ok(Self::Newer { version: v }),
                // The first error says what is wrong.
                _ => Err(error),
            }
        })
    }

    /// Returns the command, if this build can process it.
    #[must_use]
    pub fn known(&self) -> Option<&EnrollmentCommand> {
        match self {
            Self::Known(command) => Some(command),
            Self::Newer { .. } => None,
        }
    }
}

impl From<EnrollmentCommand> for StoredCommand {
    fn from(command: EnrollmentCommand) -> Self {
        Self::Known(Box::new(command))
    }
}

/// The channel that an enrollment uses, and its origin (spec 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChannelUsed {
    pub(crate) id: ChannelId,
    /// True if `from` names the channel; false if it is the step's channel.
    pub(crate) from_request: bool,
}

/// An entry of `to`, trimmed and normalized.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct CheckedRecipient {
    pub(crate) phone: Checked<PhoneNumber, PhoneError>,
    pub(crate) email: Checked<Email, EmailError>,
    pub(crate) external_id: Option<Text>,
    pub(crate) profile: Profile,
    pub(crate) properties: Properties,
}

with_profile_fields!(flat_serde! {
    CheckedRecipient {}
    { phone: Checked<PhoneNumber, PhoneError>, email: Checked<Email, EmailError>, external_id: Option<Text>, }
    profile { properties: Properties, }
});

impl CheckedRecipient {
    /// Returns a key of the entry, if it has a valid one of this kind.
    pub(crate) fn key(&self, kind: KeyKind) -> Option<&Text> {
        match kind {
            KeyKind::ExternalId => self.external_id.as_ref(),
            KeyKind::Phone => self.phone.valid().map(PhoneNumber::text),
            KeyKind::Email => self.email.valid().map(Email::key_text),
        }
    }
}

/// The phone and the email of a recipient, as the engine read them. An address that is absent or not valid is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct ReadAs {
    /// The phone, in E.164.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub phone: Option<PhoneNumber>,
    /// The email address.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub email: Option<Email>,
}

/// An address of an entry: absent, valid or invalid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Checked<T, E> {
    #[default]
    Absent,
    Valid(T),
    Invalid(E),
}

impl<T, E> Checked<T, E> {
    pub(crate) fn valid(&self) -> Option<&T> {
        match self {
            Self::Valid(value) => Some(value),
            _ => None,
        }
    }
}

impl<T, E> Omit for Checked<T, E> {
    fn is_omitted(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

impl EnrollmentCommand {
    /// Sets the version.
    fn versioned(mut self) -> Self {
        self.v = required_version(&self, LATER_RULES);
        self
    }

    /// Returns the id of the enrollment.
    #[must_use]
    pub fn enrollment_id(&self) -> EnrollmentId {
        self.enrollment_id
    }

    /// Returns the organization that the request belongs to.
    #[must_use]
    pub fn organization_id(&self) -> OrganizationId {
        self.organization_id
    }

    /// Returns the sequence that contacts are added to.
    #[must_use]
    pub fn sequence_id(&self) -> SequenceId {
        self.sequence_id
    }

    /// Returns the instant of the request.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// Returns the fingerprint of the request (spec 6).
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Returns the number of recipients.
    #[must_use]
    pub fn recipient_count(&self) -> usize {
        self.recipients.len()
    }

    /// Returns the number of recipients that [`erase`](Self::erase) has removed so far.
    #[must_use]
    pub fn erased_recipients(&self) -> u32 {
        self.erased.map_or(0, NonZeroU32::get)
    }

    /// Removes the recipients that have one of the keys of a person. Returns how many these were.
    ///
    /// The other recipients keep their order. The id and the fingerprint of the enrollment stay, so that the original
    /// request is still recognized.
    pub fn erase(&mut self, keys: &ContactKeys) -> usize {
        let before = self.recipients.len();
        self.recipients.retain(|recipient| {
            !KeyKind::ALL
                .into_iter()
                .any(|kind| recipient.key(kind).is_some_and(|key| keys.get(kind).binary_search(key).is_ok()))
        });
        let removed = before - self.recipients.len();
        let total = self.erased_recipients().saturating_add(u32::try_from(removed).unwrap_or(u32::MAX));
        self.erased = NonZeroU32::new(total);
        removed
    }

    /// Returns the row of the enrollment to store when the request is accepted.
    #[must_use]
    pub fn accepted(&self) -> StoredEnrollment {
        self.stored(EnrollmentState::Accepted)
    }

    /// Returns the row of the enrollment in a state.
    pub(crate) fn stored(&self, state: EnrollmentState) -> StoredEnrollment {
        let mut stored = StoredEnrollment::new(self.enrollment_id, self.sequence_id, self.fingerprint, self.at, state);
        stored.erased_recipients = self.erased_recipients();
        stored
    }

    /// Returns the query for every row that a rule may read. One call loads all of them.
    #[must_use]
    pub fn snapshot_query(&self) -> SnapshotQuery {
        let keys = |kind| self.recipients.iter().filter_map(|recipient| recipient.key(kind).cloned()).collect();
        SnapshotQuery {
            reference: ReferenceQuery {
                organization_id: self.organization_id,
                enrollment_id: Some(self.enrollment_id),
                sequence_id: self.sequence_id,
                custom_object_id: self.custom_data.map(|(object, _)| object),
                call_flow_id: self.call_flow_id,
            },
            keys: ContactKeys::new(KeyKind::ALL.map(keys)),
            channel_id: self.channel.map(|channel| channel.id),
            resource: self.custom_data.map(|(_, resource)| resource),
            tag_id: self.list.map(|list| list.upload_tag_id(self.organization_id)),
        }
    }

    /// Returns the fault of a request whose key or id belongs to another request.
    pub(crate) fn conflict() -> Fault {
        let description =
            "another request used this idempotency key or enrollment id; send a new key with a new request";
        Fault::new(FaultCode::IdempotencyConflict, "", description)
    }

    /// Returns the list that the request is a part of.
    #[must_use]
    pub fn list(&self) -> Option<ListRef> {
        self.list
    }

    pub(crate) fn step_id(&self) -> StepId {
        self.step_id
    }

    pub(crate) fn channel(&self) -> Option<ChannelUsed> {
        self.channel
    }

    pub(crate) fn policy(&self) -> &EnrollmentPolicy {
        &self.policy
    }

    pub(crate) fn schedule_at(&self) -> Option<Timestamp> {
        self.schedule_at
    }

    pub(crate) fn custom_data(&self) -> Option<(CustomObjectId, Resource)> {
        self.custom_data
    }

    pub(crate) fn call_flow_id(&self) -> Option<CallFlowId> {
        self.call_flow_id
    }

    /// Returns what the engine does not use of the request (spec 3).
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Returns the phone and the email of each recipient as the engine read them (spec 5), in the order of `to`.
    #[must_use]
    pub fn read_as(&self) -> Vec<ReadAs> {
        let read_as = |recipient: &CheckedRecipient| ReadAs {
            phone: recipient.phone.valid().cloned(),
            email: recipient.email.valid().cloned(),
        };
        self.recipients.iter().map(read_as).collect()
    }

    pub(crate) fn recipients(&self) -> &[CheckedRecipient] {
        &self.recipients
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMAND: &str = include_str!("../../tests/stored/command-v1.json");

    proptest::proptest! {
        #[test]
        fn an_erasure_removes_the_person_and_nothing_else(
            phones in proptest::collection::vec(0..6_u32, 0..12),
            erased in 0..6_u32,
        ) {
            let text = |n: u32| Text::from(format!("+1202555010{n}"));
            let mut command: EnrollmentCommand = serde_json::from_str(COMMAND).unwrap();
            command.recipients = phones
                .iter()
                .map(|n| CheckedRecipient {
                    phone: Checked::Valid(PhoneNumber::from_e164(&text(*n)).unwrap()),
                    ..CheckedRecipient::default()
                })
                .collect();
            let before = command.clone();
            let keys = ContactKeys::new([vec![], vec![text(erased)], vec![]]);
            let removed = command.erase(&keys);
            let others: Vec<_> = before.recipients.iter().filter(|r| r.key(KeyKind::Phone) != Some(&text(erased))).collect();
            proptest::prop_assert_eq!(command.recipients.iter().collect::<Vec<_>>(), others);
            proptest::prop_assert_eq!(removed, before.recipients.len() - command.recipients.len());
            proptest::prop_assert_eq!(command.erased_recipients() as usize, removed);
            // Nothing else changes, and a second erasure finds nothing.
            let mut restored = command.clone();
            (restored.recipients, restored.erased) = (before.recipients.clone(), None);
            proptest::prop_assert_eq!(restored, before);
            proptest::prop_assert_eq!(command.erase(&keys), 0);
            let json = serde_json::to_vec(&command).unwrap();
            let stored = StoredCommand::from_json(&json).unwrap();
            proptest::prop_assert_eq!(stored.known(), Some(&command));
        }
    }

    #[test]
    fn a_rule_raises_the_version_of_the_commands_that_use_it() {
        let mut command: EnrollmentCommand = serde_json::from_str(COMMAND).unwrap();
        let rules = [LaterRule { version: FormatVersion::<2>::number(2), is_used: |c| c.region.is_some() }];
        assert_eq!(Some(required_version(&command, &rules)), FormatVersion::known(2));
        command.region = None;
        assert_eq!(required_version(&command, &rules), FormatVersion::FIRST);
    }
}

//! A request that was checked: valid by construction, its addresses normalized once.

mod check;

pub(crate) use check::{call_flow_fault, channel_fault, custom_object_fault, sequence_fault, sequence_not_found};

use serde::{Deserialize, Serialize};
use std::sync::Arc;

use crate::contact::{
    Address, BirthDate, Email, EmailError, KeyKind, Libphonenumber, PhoneError, PhoneNormalizer, PhoneNumber, Region,
};
use crate::fault::{Fault, FaultCode};
use crate::format::V1;
use crate::ids::{CallFlowId, ChannelId, CustomObjectId, EnrollmentId, OrganizationId, SequenceId, StepId};
use crate::model::Resource;
use crate::policy::EnrollmentPolicy;
use crate::query::{ReferenceQuery, SnapshotQuery};
use crate::request::{EnrollmentRequest, Fingerprint};
use crate::snapshot::ReferenceData;
use crate::stored_enrollment::{EnrollmentState, StoredEnrollment};
use crate::text::Text;
use crate::time::Timestamp;
use crate::value::Properties;

/// A request and what it is for: everything that comes from outside.
#[derive(Clone, Copy, Debug)]
pub struct Enrollment<'a> {
    /// The organization that asks.
    pub organization_id: OrganizationId,
    /// The sequence to add contacts to.
    pub sequence_id: SequenceId,
    /// By what this enrollment is known when it comes again.
    pub key: EnrollmentKey<'a>,
    /// The instant of the request.
    pub at: Timestamp,
    /// What the sender wrote.
    pub request: &'a EnrollmentRequest<'a>,
}

/// By what an enrollment is known when it comes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnrollmentKey<'a> {
    /// An id of the host's making, new for each request.
    Id(EnrollmentId),
    /// What the sender calls its request: 1 to 255 visible ASCII characters. The id is derived from it.
    Idempotency(&'a str),
}

impl Enrollment<'_> {
    /// The enrollment's id; `None` where the idempotency key is not 1 to 255 visible ASCII characters.
    #[must_use]
    pub fn id(&self) -> Option<EnrollmentId> {
        match self.key {
            EnrollmentKey::Id(id) => Some(id),
            EnrollmentKey::Idempotency(key) => ((1..=255).contains(&key.len())
                && key.bytes().all(|b| b.is_ascii_graphic()))
            .then(|| EnrollmentId::from_idempotency_key(self.organization_id, key)),
        }
    }

    /// What to load before the request is checked.
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

    /// The enrollment that stands, if it is of this very request. Asked first: nothing else is checked then (SPEC 6).
    #[must_use]
    pub fn standing<'c>(&self, reference: &'c ReferenceData) -> Option<&'c StoredEnrollment> {
        let stored = reference.enrollments.get(&self.id()?)?;
        (self.request.fingerprint(self.sequence_id) == Some(stored.fingerprint)).then_some(stored)
    }
}

/// What a host decides once: the policy, the phone normalizer, and how often a lost race is run again.
#[derive(Clone, Copy)]
pub struct Engine<'a> {
    /// The switches.
    pub policy: &'a EnrollmentPolicy,
    /// What reads phone numbers.
    pub phones: &'a dyn PhoneNormalizer,
    /// How often a lost race is run again.
    pub retry: Retry,
}

impl<'a> Engine<'a> {
    /// The engine's own phone normalizer, and 32 attempts.
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

/// How often a lost race is run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Attempts in all, at least 1. A conflict means that another writer committed, so as many attempts as there
    /// are writers always do.
    pub attempts: u32,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 32 }
    }
}

/// A request that was checked against its reference data, frozen: what it means does not change any more.
///
/// It serializes, versioned, so that it can be stored before the 202 and processed after it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EnrollmentCommand {
    v: V1,
    organization_id: OrganizationId,
    sequence_id: SequenceId,
    enrollment_id: EnrollmentId,
    fingerprint: Fingerprint,
    at: Timestamp,
    step_id: StepId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    channel: Option<ChannelUsed>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    region: Option<Region>,
    policy: EnrollmentPolicy,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    schedule_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    custom_data: Option<(CustomObjectId, Resource)>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    call_flow_id: Option<CallFlowId>,
    recipients: Vec<CheckedRecipient>,
}

/// The channel that an enrollment uses, and who named it (SPEC 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ChannelUsed {
    pub(crate) id: ChannelId,
    /// Whether `from` named it, rather than the step.
    pub(crate) from_request: bool,
}

/// An entry of `to`, trimmed and normalized.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CheckedRecipient {
    #[serde(skip_serializing_if = "Checked::is_absent")]
    pub(crate) phone: Checked<PhoneNumber, PhoneError>,
    #[serde(skip_serializing_if = "Checked::is_absent")]
    pub(crate) email: Checked<Email, EmailError>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) external_id: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) language: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) default_channel_id: Option<ChannelId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) address: Option<Arc<Address>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) birth_date: Option<BirthDate>,
    #[serde(skip_serializing_if = "Properties::is_empty")]
    pub(crate) properties: Properties,
}

impl CheckedRecipient {
    /// A valid key that the entry gives.
    pub(crate) fn key(&self, kind: KeyKind) -> Option<&Text> {
        match kind {
            KeyKind::ExternalId => self.external_id.as_ref(),
            KeyKind::Phone => self.phone.valid().map(PhoneNumber::text),
            KeyKind::Email => self.email.valid().map(Email::key_text),
        }
    }
}

/// An address that was given or not, and if it was, is valid or not.
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

    fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

impl EnrollmentCommand {
    /// The enrollment.
    #[must_use]
    pub fn enrollment_id(&self) -> EnrollmentId {
        self.enrollment_id
    }

    /// The organization.
    #[must_use]
    pub fn organization_id(&self) -> OrganizationId {
        self.organization_id
    }

    /// The sequence.
    #[must_use]
    pub fn sequence_id(&self) -> SequenceId {
        self.sequence_id
    }

    /// The instant of the request.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// By what the request is known when it comes again.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// How many recipients there are.
    #[must_use]
    pub fn recipient_count(&self) -> usize {
        self.recipients.len()
    }

    /// The row of the enrollment once it is accepted.
    #[must_use]
    pub fn accepted(&self) -> StoredEnrollment {
        let state = EnrollmentState::Accepted;
        StoredEnrollment::new(self.enrollment_id, self.sequence_id, self.fingerprint, self.at, state)
    }

    /// What to load before the enrollment is planned: every row that any rule may ask for, in one call.
    #[must_use]
    pub fn snapshot_query(&self) -> SnapshotQuery {
        let keys = |kind| {
            let mut keys: Vec<Text> = self.recipients.iter().filter_map(|r| r.key(kind).cloned()).collect();
            keys.sort_unstable();
            keys.dedup();
            keys
        };
        SnapshotQuery {
            reference: ReferenceQuery {
                organization_id: self.organization_id,
                enrollment_id: Some(self.enrollment_id),
                sequence_id: self.sequence_id,
                custom_object_id: self.custom_data.map(|(object, _)| object),
                call_flow_id: self.call_flow_id,
            },
            external_ids: keys(KeyKind::ExternalId),
            phones: keys(KeyKind::Phone),
            emails: keys(KeyKind::Email),
            channel_id: self.channel.map(|channel| channel.id),
            resource: self.custom_data.map(|(_, resource)| resource),
        }
    }

    /// The fault of a request whose key or id was used for another.
    pub(crate) fn conflict() -> Fault {
        let description = "the idempotency key or enrollment id was used for another request";
        Fault::new(FaultCode::IdempotencyConflict, "", description)
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

    pub(crate) fn recipients(&self) -> &[CheckedRecipient] {
        &self.recipients
    }
}

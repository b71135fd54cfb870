//! What an enrollment writes: plain data, guarded, keyed and sorted, handed to whoever can commit it.

mod apply;
mod keys;
mod people;

pub use apply::{ApplyError, Conflict};
pub(crate) use keys::Keys;

use serde::{Deserialize, Deserializer, Serialize};
use std::sync::Arc;

use crate::contact::{Address, BirthDate, Contact, Email};
use crate::format::FormatVersion;
use crate::ids::{
    CallFlowId, ChannelId, ContactId, CustomObjectId, CustomRecordId, EnrollmentId, OrganizationId, RunId, SequenceId,
    StepContactId,
};
use crate::lenient;
use crate::model::{ContactTag, Conversation, CustomRecord, Run, StepContact, StepContactStatus, Tag};
use crate::snapshot::Version;
use crate::stored_enrollment::StoredEnrollment;
use crate::text::Text;
use crate::time::Timestamp;
use crate::value::Properties;
use crate::words::words;

/// Everything that one enrollment writes, with what must still be true when it is written.
///
/// Each list is sorted by its key and holds each key once, so that every writer takes rows in the same order.
/// It serializes, versioned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChangeSet {
    v: ChangeSetVersion,
    organization_id: OrganizationId,
    at: Timestamp,
    #[serde(deserialize_with = "Guards::read")]
    guards: Guards,
    #[serde(deserialize_with = "RowChanges::read")]
    rows: RowChanges,
    #[serde(deserialize_with = "lenient::read")]
    completion: Completion,
}

/// The versions of a change set that this build reads.
type ChangeSetVersion = FormatVersion<1>;

impl ChangeSet {
    /// The only way to make one: whatever order the rows came in, they leave sorted, each key once.
    pub(crate) fn new(
        organization_id: OrganizationId,
        at: Timestamp,
        guards: Guards,
        rows: RowChanges,
        completion: Completion,
    ) -> Self {
        Self {
            v: ChangeSetVersion::FIRST,
            organization_id,
            at,
            guards: guards.sorted(),
            rows: rows.sorted(),
            completion,
        }
    }

    /// Whose rows.
    #[must_use]
    pub fn organization_id(&self) -> OrganizationId {
        self.organization_id
    }

    /// The instant of the request: `created_at` and `updated_at` of what is written.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// What must still be true.
    #[must_use]
    pub fn guards(&self) -> &Guards {
        &self.guards
    }

    /// What is written.
    #[must_use]
    pub fn rows(&self) -> &RowChanges {
        &self.rows
    }

    /// The enrollment's own row, written with the rest: what makes it happen once.
    #[must_use]
    pub fn completion(&self) -> &Completion {
        &self.completion
    }

    /// The same for an enrollment that was accepted before, and is completed at that instant.
    pub(crate) fn finishing(mut self, at: Timestamp) -> Self {
        self.completion.verb = CompletionMode::Finish;
        self.completion.enrollment.completed_at = Some(at);
        self
    }
}

fn sort<T, K: Ord>(rows: &mut Vec<T>, key: impl Fn(&T) -> K) {
    rows.sort_by_key(&key);
    rows.dedup_by_key(|row| key(row));
}

fn sort_keys(keys: &mut Vec<Text>) {
    keys.sort_unstable();
    keys.dedup();
}

/// How an enrollment ends: its own row, as it stands afterwards.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Completion {
    /// Whether the row is new.
    pub verb: CompletionMode,
    /// The row: completed or rejected.
    pub enrollment: StoredEnrollment,
}

impl Completion {
    /// The completion of an enrollment that has no row yet.
    pub(crate) fn create(enrollment: StoredEnrollment) -> Self {
        Self { verb: CompletionMode::Create, enrollment }
    }
}

words! {
    "completion mode",
    /// Whether the commit inserts or updates the enrollment's row.
    ///
    /// Exhaustive, because a repository must handle each mode.
    pub enum CompletionMode {
        /// The commit inserts the row. An existing row is a conflict.
        Create = "create",
        /// The commit updates the row, whose state must be `accepted`. Any other state, or no row, is a conflict.
        Finish = "finish",
    }
}

/// What must be true at the commit: every fact that something written rests on.
///
/// A contact that is written is guarded by the version that its [`ContactUpdate`] expects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Guards {
    /// The sequence with its steps; `None`, here and below: there is none of that id.
    pub sequence: (SequenceId, Option<Version>),
    /// Channels that are used or named.
    pub channels: Vec<(ChannelId, Option<Version>)>,
    /// The custom object.
    pub custom_object: Option<(CustomObjectId, Option<Version>)>,
    /// The call flow. Nothing of it but its existence matters.
    pub call_flow: Option<(CallFlowId, Option<Version>)>,
    /// Contacts that are not written, but hold a key that was asked for.
    pub contacts: Vec<(ContactId, Version)>,
    /// Keys that no contact holds and no row of this change set claims.
    pub vacant: VacantKeys,
}

impl Guards {
    fn sorted(mut self) -> Self {
        sort(&mut self.channels, |(id, _)| *id);
        sort(&mut self.contacts, |(id, _)| *id);
        sort_keys(&mut self.vacant.external_ids);
        sort_keys(&mut self.vacant.phones);
        sort_keys(&mut self.vacant.emails);
        self
    }

    /// In whatever order they were stored.
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        lenient::read(deserializer).map(Self::sorted)
    }
}

/// Keys that no contact of the organization may hold. A merged contact holds none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the keys are SPEC 4.3's")]
pub struct VacantKeys {
    pub external_ids: Vec<Text>,
    pub phones: Vec<Text>,
    pub emails: Vec<Text>,
}

/// The rows that an enrollment writes.
///
/// Created rows carry ids that were derived for them: where one exists already, that is an error and not a conflict.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RowChanges {
    /// New contacts, at [`Version::FIRST`].
    pub contacts_created: Vec<Contact>,
    /// Contacts that existed: each is raised by one version, also where no field changes.
    pub contacts_updated: Vec<ContactUpdate>,
    /// New conversations.
    pub conversations_created: Vec<Conversation>,
    /// New runs.
    pub runs_created: Vec<Run>,
    /// Runs that are active again.
    pub runs_reactivated: Vec<RunReactivation>,
    /// New step contacts.
    pub step_contacts_created: Vec<StepContact>,
    /// Step contacts that are processed again.
    pub step_contacts_updated: Vec<StepContactUpdate>,
    /// The upload tag, if anyone bears it.
    pub tag_created: Option<Tag>,
    /// Who bears it.
    pub contact_tags_created: Vec<ContactTag>,
    /// New records.
    pub records_created: Vec<CustomRecord>,
    /// Records that were merged into.
    pub records_updated: Vec<RecordUpdate>,
}

impl RowChanges {
    fn sorted(mut self) -> Self {
        sort(&mut self.contacts_created, |row| row.id);
        sort(&mut self.contacts_updated, |row| row.id);
        sort(&mut self.conversations_created, |row| row.id);
        sort(&mut self.runs_created, |row| row.id);
        sort(&mut self.runs_reactivated, |row| row.run_id);
        sort(&mut self.step_contacts_created, |row| row.id);
        sort(&mut self.step_contacts_updated, |row| row.id);
        sort(&mut self.contact_tags_created, |row| *row);
        sort(&mut self.records_created, |row| row.id);
        sort(&mut self.records_updated, |row| row.id);
        self
    }

    /// In whatever order they were stored.
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        lenient::read(deserializer).map(Self::sorted)
    }
}

/// A contact that existed, and what of it changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ContactUpdate {
    /// The contact.
    pub id: ContactId,
    /// The version that it must have; it has the next one afterwards.
    pub expected: Version,
    /// The fields that change. `updated_at` becomes the instant of the request where any does.
    #[serde(default, skip_serializing_if = "ContactFields::is_empty")]
    pub set: ContactFields,
}

/// Fields of a contact to be set; what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are the contact's")]
pub struct ContactFields {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_id: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phone: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<Email>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_channel_id: Option<ChannelId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Arc<Address>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub birth_date: Option<BirthDate>,
}

impl ContactFields {
    /// Whether nothing is to be set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Sets the fields on a contact.
    pub fn apply(&self, contact: &mut Contact) {
        fn set<T: Clone>(field: &mut Option<T>, value: Option<&T>) {
            if let Some(value) = value {
                *field = Some(value.clone());
            }
        }
        set(&mut contact.external_id, self.external_id.as_ref());
        set(&mut contact.phone, self.phone.as_ref());
        set(&mut contact.email, self.email.as_ref());
        set(&mut contact.name, self.name.as_ref());
        set(&mut contact.language, self.language.as_ref());
        set(&mut contact.default_channel_id, self.default_channel_id.as_ref());
        set(&mut contact.address, self.address.as_ref());
        set(&mut contact.birth_date, self.birth_date.as_ref());
    }
}

/// A run that is active again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the fields are the run's")]
pub struct RunReactivation {
    pub run_id: RunId,
    pub contact_id: ContactId,
}

/// A step contact that is processed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are the step contact's")]
pub struct StepContactUpdate {
    pub id: StepContactId,
    pub contact_id: ContactId,
    pub status: StepContactStatus,
    pub scheduled_at: Timestamp,
    pub enrollment_id: EnrollmentId,
    pub times_processed: u32,
    /// Absent: stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel_id: Option<ChannelId>,
    /// Absent: stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_call_flow_id: Option<CallFlowId>,
}

/// A record that was merged into.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RecordUpdate {
    /// The record.
    pub id: CustomRecordId,
    /// Whose aggregate it belongs to.
    pub contact_id: ContactId,
    /// All its values, as they are afterwards.
    pub properties: Properties,
}

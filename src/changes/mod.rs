//! The change set of an enrollment: the rows that a commit writes, and the guards that it checks.

mod apply;
pub(crate) mod change_set;
mod conflict;
mod counts;
mod key_holders;
mod written_contacts;

pub(crate) use change_set::ChangeSet;
pub use conflict::{ApplyError, Conflict};
pub use counts::{CountChange, ReplacedStatus};
pub(crate) use key_holders::KeyHolders;

use serde::{Deserialize, Deserializer, Serialize};

use crate::contact::{Contact, ContactKeys, Email, Profile, flat_serde, with_profile_fields};
use crate::ids::{
    CallFlowId, ChannelId, ContactId, CustomObjectId, CustomRecordId, EnrollmentId, RunId, SequenceId, StepContactId,
    TagId,
};
use crate::lenient;
use crate::model::{ContactTag, Conversation, CustomRecord, Run, StepContact, StepContactStatus, Tag};
use crate::snapshot::Version;
use crate::stored_enrollment::StoredEnrollment;
use crate::text::Text;
use crate::time::Timestamp;
use crate::value::Properties;
use crate::words::words;

fn sort<T, K: Ord>(rows: &mut Vec<T>, key: impl Fn(&T) -> K) {
    rows.sort_by_key(&key);
    rows.dedup_by_key(|row| key(row));
}

/// The enrollment's own row, as it is after the commit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Completion {
    /// Whether the commit inserts or updates the row.
    pub mode: CompletionMode,
    /// The row, in the state `completed` or `rejected`.
    pub enrollment: StoredEnrollment,
}

impl Completion {
    /// Returns the completion of an enrollment that has no row yet.
    pub(crate) fn create(enrollment: StoredEnrollment) -> Self {
        Self { mode: CompletionMode::Create, enrollment }
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

/// The facts that the written rows depend on. The commit checks that they did not change.
///
/// The version of a written contact is not listed here: its [`ContactUpdate`] has the expected version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Guards {
    /// The sequence with its steps. Here and below, the version is `None` if the row must not exist.
    pub sequence: (SequenceId, Option<Version>),
    /// The channels that the enrollment uses or that its rows refer to.
    pub channels: Vec<(ChannelId, Option<Version>)>,
    /// The custom object.
    pub custom_object: Option<(CustomObjectId, Option<Version>)>,
    /// The call flow.
    pub call_flow: Option<(CallFlowId, Option<Version>)>,
    /// The upload tag that the requests of a list share, with its name. The name is `None` if the tag must not exist.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upload_tag: Option<(TagId, Option<Text>)>,
    /// Contacts that are not written, but hold a key of a recipient.
    pub contacts: Vec<(ContactId, Version)>,
    /// Keys that no contact holds and that no row of this change set claims. A merged contact holds no keys.
    pub unclaimed_keys: ContactKeys,
}

impl Guards {
    fn sorted(mut self) -> Self {
        sort(&mut self.channels, |(id, _)| *id);
        sort(&mut self.contacts, |(id, _)| *id);
        self
    }

    /// Sorts stored guards, which can have any order.
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        lenient::read(deserializer).map(Self::sorted)
    }
}

/// The rows that an enrollment writes.
///
/// The ids of new rows are derived from the enrollment. If such an id already exists, that is an error, not a conflict.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RowChanges {
    /// New contacts, at [`Version::FIRST`].
    pub contacts_created: Vec<Contact>,
    /// Existing contacts that get new fields or new related rows. Each one gets the next version.
    pub contacts_updated: Vec<ContactUpdate>,
    /// New conversations.
    pub conversations_created: Vec<Conversation>,
    /// New runs.
    pub runs_created: Vec<Run>,
    /// Finished runs that become active again.
    pub runs_reactivated: Vec<RunReactivation>,
    /// New step contacts.
    pub step_contacts_created: Vec<StepContact>,
    /// Step contacts that are processed again.
    pub step_contacts_updated: Vec<StepContactUpdate>,
    /// The upload tag, if a contact gets it and it does not exist yet.
    pub tag_created: Option<Tag>,
    /// The contacts that get the upload tag.
    pub contact_tags_created: Vec<ContactTag>,
    /// New custom records.
    pub records_created: Vec<RecordCreation>,
    /// Custom records that get new values.
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
        sort(&mut self.records_created, |row| row.record.id);
        sort(&mut self.records_updated, |row| row.id);
        self
    }

    /// Sorts stored rows, which can have any order.
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        lenient::read(deserializer).map(Self::sorted)
    }
}

/// An update of an existing contact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ContactUpdate {
    /// The contact.
    pub id: ContactId,
    /// The version that the contact must have. The commit sets the next version.
    pub expected: Version,
    /// The fields that change. If there are any, `updated_at` becomes the instant of the request.
    #[serde(default, skip_serializing_if = "ContactFields::is_empty")]
    pub set: ContactFields,
}

/// The fields that an update sets. The other fields of the contact do not change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ContactFields {
    /// The new external id.
    pub external_id: Option<Text>,
    /// The new phone number, in E.164.
    pub phone: Option<Text>,
    /// The new email address.
    pub email: Option<Email>,
    /// The new fields other than keys.
    pub profile: Profile,
}

with_profile_fields!(flat_serde! {
    ContactFields {}
    { external_id: Option<Text>, phone: Option<Text>, email: Option<Email>, }
    profile {}
});

impl ContactFields {
    /// Returns true if no field is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.external_id.is_none() && self.phone.is_none() && self.email.is_none() && self.profile.is_empty()
    }

    /// Sets the fields of a contact.
    pub fn apply(&self, contact: &mut Contact) {
        fn set<T: Clone>(field: &mut Option<T>, value: Option<&T>) {
            if let Some(value) = value {
                *field = Some(value.clone());
            }
        }
        set(&mut contact.external_id, self.external_id.as_ref());
        set(&mut contact.phone, self.phone.as_ref());
        set(&mut contact.email, self.email.as_ref());
        self.profile.apply(&mut contact.profile);
    }
}

/// A finished run that becomes active again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RunReactivation {
    /// The run.
    pub run_id: RunId,
    /// The contact of the run.
    pub contact_id: ContactId,
}

/// A step contact that is processed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct StepContactUpdate {
    /// The step contact.
    pub id: StepContactId,
    /// The contact of the step contact.
    pub contact_id: ContactId,
    /// The new status.
    pub status: StepContactStatus,
    /// The instant from which the step contact is active.
    pub scheduled_at: Timestamp,
    /// The enrollment that processes the contact again.
    pub enrollment_id: EnrollmentId,
    /// The number of times that the contact was put into the step, with this one.
    pub times_processed: u32,
    /// The new channel. If it is absent, the channel does not change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel_id: Option<ChannelId>,
    /// The new call flow. If it is absent, the call flow does not change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_call_flow_id: Option<CallFlowId>,
}

/// A new custom record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RecordCreation {
    /// The contact whose aggregate contains the record, also if the record belongs to a step contact.
    pub contact_id: ContactId,
    /// The record.
    pub record: CustomRecord,
}

/// A custom record that gets new values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RecordUpdate {
    /// The record.
    pub id: CustomRecordId,
    /// The contact whose aggregate contains the record.
    pub contact_id: ContactId,
    /// All values of the record after the update.
    pub properties: Properties,
}

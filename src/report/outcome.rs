//! The report and its outcomes.

use super::{Note, Reason, Warning};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

use crate::format::FormatVersion;
use crate::ids::{
    ChannelId, ContactId, ConversationId, CustomRecordId, EnrollmentId, SequenceId, StepContactId, StepId, TagId,
};
use crate::text::Text;
use crate::time::Timestamp;
use crate::words::words;

/// The result of an enrollment: one outcome for each recipient, in the order of the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct EnrollmentReport {
    /// The version of this shape. A report of a newer version is not read.
    #[cfg_attr(feature = "schema", schema(schema_with = ReportVersion::schema))]
    pub(crate) v: ReportVersion,
    /// The enrollment.
    pub enrollment_id: EnrollmentId,
    /// The instant of the request.
    pub at: Timestamp,
    /// The sequence.
    pub sequence_id: SequenceId,
    /// The step of the request, or the first step.
    pub step_id: StepId,
    /// The channel used, if one was used (spec 3).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub channel_id: Option<ChannelId>,
    /// The tag of the enrolled contacts, if the enrollment created one (spec 4.7).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub upload_tag: Option<UploadTag>,
    /// The keys of the custom object, in order. Empty if the request has no custom data.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub accepted_keys: Vec<String>,
    /// What the engine did not use of the request (spec 3).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
    /// One outcome for each recipient, in the order of `to`. A repository can store them elsewhere.
    #[serde(default, skip_serializing_if = "Outcomes::is_absent")]
    #[cfg_attr(feature = "schema", schema(value_type = Vec<Outcome>))]
    pub outcomes: Outcomes,
}

/// The versions of a report that this build reads.
pub(crate) type ReportVersion = FormatVersion<1>;

impl EnrollmentReport {
    /// Returns the report without its outcomes, for a repository that stores them in [chunks](super::OutcomeChunk).
    #[must_use]
    pub fn without_outcomes(&self) -> Self {
        Self { outcomes: Outcomes::default(), ..self.clone() }
    }

    /// Returns the indexes of the recipients whose outcomes differ from those of another report of the same request, such as
    /// one of a [`Rehearsal`](crate::Rehearsal) under another policy. A recipient that only one report has counts too.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<usize> {
        let recipients = self.outcomes.len().max(other.outcomes.len());
        (0..recipients).filter(|index| self.outcomes.get(*index) != other.outcomes.get(*index)).collect()
    }

    /// Counts the recipients by disposition.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for outcome in &self.outcomes {
            counts.contacts_created += usize::from(outcome.contact_created);
            counts.conversations_created += usize::from(outcome.conversation_created);
            *match outcome.disposition {
                Disposition::Added => &mut counts.added,
                Disposition::ReAdded => &mut counts.re_added,
                Disposition::Reprocessed => &mut counts.reprocessed,
                Disposition::Ignored => &mut counts.ignored,
                Disposition::Duplicate => &mut counts.duplicate,
            } += 1;
        }
        counts
    }
}

/// The outcomes of a report. Clones share them, because a report never changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Outcomes(Arc<[Outcome]>);

impl Outcomes {
    fn is_absent(&self) -> bool {
        self.0.is_empty()
    }
}

impl std::ops::Deref for Outcomes {
    type Target = [Outcome];

    fn deref(&self) -> &[Outcome] {
        &self.0
    }
}

impl FromIterator<Outcome> for Outcomes {
    fn from_iter<I: IntoIterator<Item = Outcome>>(outcomes: I) -> Self {
        Self(outcomes.into_iter().collect())
    }
}

/// Returns the outcomes by value, in order.
impl IntoIterator for Outcomes {
    type Item = Outcome;
    type IntoIter = std::vec::IntoIter<Outcome>;

    fn into_iter(self) -> Self::IntoIter {
        Vec::from(&*self.0).into_iter()
    }
}

impl<'a> IntoIterator for &'a Outcomes {
    type Item = &'a Outcome;
    type IntoIter = std::slice::Iter<'a, Outcome>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

/// The number of recipients with each disposition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct Counts {
    /// Recipients with the disposition `added`.
    pub added: usize,
    /// Recipients with the disposition `re_added`.
    pub re_added: usize,
    /// Recipients with the disposition `reprocessed`.
    pub reprocessed: usize,
    /// Recipients with the disposition `ignored`.
    pub ignored: usize,
    /// Recipients with the disposition `duplicate`.
    pub duplicate: usize,
    /// The number of contacts that the enrollment created.
    pub contacts_created: usize,
    /// The number of conversations that the enrollment created.
    pub conversations_created: usize,
}

impl Counts {
    /// The names of the counts, in the order of [`to_array`](Self::to_array). If a version adds a count, the arrays become
    /// longer: use `NAMES.len()` for their length.
    pub const NAMES: [&'static str; 7] =
        ["added", "re_added", "reprocessed", "ignored", "duplicate", "contacts_created", "conversations_created"];

    /// Returns the counts, to store them in columns.
    #[must_use]
    pub const fn to_array(&self) -> [usize; 7] {
        let Self { added, re_added, reprocessed, ignored, duplicate, contacts_created, conversations_created } = *self;
        [added, re_added, reprocessed, ignored, duplicate, contacts_created, conversations_created]
    }

    /// Returns the counts of [`to_array`](Self::to_array).
    ///
    /// ```
    /// use enroll::report::Counts;
    ///
    /// let counts = Counts::from_array([40, 3, 2, 4, 1, 38, 40]);
    /// assert_eq!((counts.added, counts.conversations_created, counts.total()), (40, 40, 50));
    /// assert_eq!(Counts::from_array(counts.to_array()), counts);
    /// assert_eq!(Counts::NAMES[1], "re_added");
    /// ```
    #[must_use]
    pub const fn from_array(counts: [usize; 7]) -> Self {
        let [added, re_added, reprocessed, ignored, duplicate, contacts_created, conversations_created] = counts;
        Self { added, re_added, reprocessed, ignored, duplicate, contacts_created, conversations_created }
    }

    /// Returns the number of recipients.
    #[must_use]
    pub const fn total(&self) -> usize {
        self.added + self.re_added + self.reprocessed + self.ignored + self.duplicate
    }
}

/// The tag of one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct UploadTag {
    /// Its id.
    pub id: TagId,
    /// `Upload YYYY-MM-DDTHH:MM:SS.mmmZ`, for the instant of the request or of its list. A tag of a list that was
    /// renamed keeps its new name.
    #[cfg_attr(feature = "schema", schema(value_type = String))]
    pub name: Text,
}

/// The result of one recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct Outcome {
    /// The index of the recipient in `to`, from 0.
    pub index: usize,
    /// Its result.
    pub disposition: Disposition,
    /// The contact that was found or created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub contact_id: Option<ContactId>,
    /// Whether the contact was created for this recipient.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub contact_created: bool,
    /// The step contact that was created or reprocessed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub step_contact_id: Option<StepContactId>,
    /// The conversation on the channel used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub conversation_id: Option<ConversationId>,
    /// Whether the conversation was created for this recipient.
    #[serde(default)]
    #[cfg_attr(feature = "schema", schema(required = true))]
    pub conversation_created: bool,
    /// The custom record that was created or updated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub record_id: Option<CustomRecordId>,
    /// Why the recipient was ignored: all reasons, in the order of spec 4. Empty for other dispositions.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<Reason>,
    /// Facts that the sender should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
    /// If it is a duplicate: the index of the recipient that resolved to the contact first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub duplicate_of: Option<usize>,
}

impl Outcome {
    pub(crate) fn new(index: usize, disposition: Disposition) -> Self {
        Self {
            index,
            disposition,
            contact_id: None,
            contact_created: false,
            step_contact_id: None,
            conversation_id: None,
            conversation_created: false,
            record_id: None,
            reasons: Vec::new(),
            notes: Vec::new(),
            duplicate_of: None,
        }
    }
}

words! {
    "disposition",
    /// The result for one recipient.
    ///
    /// Exhaustive, because a host must show each one to its user.
    #[cfg_attr(feature = "schema", schema(description = "The result for one recipient."))]
    #[derive(PartialOrd, Ord)]
    pub enum Disposition {
        /// The contact was added to the step for the first time.
        Added = "added",
        /// The contact was in the sequence before, and was added to the step again.
        ReAdded = "re_added",
        /// The contact was in the step already, and is processed again.
        Reprocessed = "reprocessed",
        /// The recipient was not enrolled. The outcome has the reasons.
        Ignored = "ignored",
        /// An earlier recipient of the request resolved to the same contact.
        Duplicate = "duplicate",
    }
}

impl Disposition {
    /// Returns true if the contact was enrolled.
    #[must_use]
    pub const fn is_enrolled(self) -> bool {
        matches!(self, Self::Added | Self::ReAdded | Self::Reprocessed)
    }
}

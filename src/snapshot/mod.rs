//! The rows that a repository returns, with the versions that guards check.

pub(crate) mod facts;

pub(crate) use facts::{ReferenceData, Snapshot};

use serde::{Deserialize, Serialize};
use std::sync::Arc;

use crate::contact::Contact;
use crate::ids::TagId;
use crate::model::{CommunicationPreference, Conversation, CustomRecord, Run, StepContact};

/// The version of an aggregate: whatever changes it, or a row round it, raises it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(pub u64);

impl Version {
    /// The version of an aggregate that was just created.
    pub const FIRST: Self = Self(1);

    /// The version after one more change.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// A row with the version of its aggregate. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The version that was read with it.
    pub version: Version,
    /// The row itself.
    pub value: Arc<T>,
}

impl<T> Versioned<T> {
    /// A row at a version.
    #[must_use]
    pub fn new(version: Version, value: T) -> Self {
        Self { version, value: Arc::new(value) }
    }
}

/// A contact and whatever stands round it: one aggregate, under one version.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[expect(missing_docs, reason = "what needs a word has it")]
pub struct ContactAggregate {
    pub contact: Contact,
    /// Raised by any change of the contact or of a row below.
    pub version: Version,
    /// At least those of the channel used.
    pub preferences: Vec<CommunicationPreference>,
    /// At least those on the channel used.
    pub conversations: Vec<Conversation>,
    /// At least those of the sequence.
    pub runs: Vec<Run>,
    /// At least those of the sequence.
    pub step_contacts: Vec<StepContact>,
    /// The tags on the contact. A plan does not need them.
    pub tags: Vec<TagId>,
    /// Records of the custom object, of the contact and of its step contacts.
    pub records: Vec<CustomRecord>,
}

impl ContactAggregate {
    /// A contact with nothing round it.
    #[must_use]
    pub fn new(contact: Contact, version: Version) -> Self {
        Self {
            contact,
            version,
            preferences: Vec::new(),
            conversations: Vec::new(),
            runs: Vec::new(),
            step_contacts: Vec::new(),
            tags: Vec::new(),
            records: Vec::new(),
        }
    }
}

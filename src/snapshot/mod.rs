//! The rows that a repository returns, with the versions that guards check.

pub(crate) mod facts;

pub(crate) use facts::{ReferenceData, Snapshot};

use serde::{Deserialize, Serialize};
use std::sync::Arc;

use crate::contact::Contact;
use crate::ids::TagId;
use crate::model::{CommunicationPreference, Conversation, CustomRecord, Run, StepContact};

/// The version of an aggregate. Each change of one of its rows raises it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(pub u64);

impl Version {
    /// The version of a new aggregate.
    pub const FIRST: Self = Self(1);

    /// Returns the version after one more change.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// A row with the version of its aggregate. Clones share the row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versioned<T> {
    /// The version of the aggregate when the row was read.
    pub version: Version,
    /// The row.
    pub value: Arc<T>,
}

impl<T> Versioned<T> {
    /// Creates a row at a version.
    #[must_use]
    pub fn new(version: Version, value: T) -> Self {
        Self { version, value: Arc::new(value) }
    }
}

/// A contact with its related rows: one aggregate with one version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ContactAggregate {
    /// The contact.
    pub contact: Contact,
    /// The version. Each change of the contact or of a related row raises it.
    pub version: Version,
    /// The contact's preferences: at least that for the channel used.
    pub preferences: Vec<CommunicationPreference>,
    /// The contact's conversations: at least those on the channel used.
    pub conversations: Vec<Conversation>,
    /// The contact's runs: at least those in the sequence.
    pub runs: Vec<Run>,
    /// The contact's step contacts: at least those in the sequence.
    pub step_contacts: Vec<StepContact>,
    /// The tags on the contact: at least that of the query.
    pub tags: Vec<TagId>,
    /// The records of the custom object that belong to the contact or to its step contacts.
    pub records: Vec<CustomRecord>,
}

impl ContactAggregate {
    /// Creates a contact without related rows.
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

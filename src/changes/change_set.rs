//! The change set itself.

use super::{Completion, CompletionMode, Guards, RowChanges};
use serde::{Deserialize, Serialize};

use crate::format::FormatVersion;
use crate::ids::OrganizationId;
use crate::lenient;
use crate::time::Timestamp;

/// All rows that one enrollment writes, with the guards of the facts that they depend on.
///
/// Each list is sorted by its key and contains each key once, so all commits write rows in the same order. A change set
/// serializes with a version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChangeSet {
    pub(super) v: ChangeSetVersion,
    pub(super) organization_id: OrganizationId,
    pub(super) at: Timestamp,
    #[serde(deserialize_with = "Guards::read")]
    pub(super) guards: Guards,
    #[serde(deserialize_with = "RowChanges::read")]
    pub(super) rows: RowChanges,
    #[serde(deserialize_with = "lenient::read")]
    pub(super) completion: Completion,
}

/// The versions of a change set that this build reads.
type ChangeSetVersion = FormatVersion<2>;

impl ChangeSet {
    /// Sorts the rows and guards. No other function makes a change set, except deserialization, which sorts too.
    pub(crate) fn new(
        organization_id: OrganizationId,
        at: Timestamp,
        guards: Guards,
        rows: RowChanges,
        completion: Completion,
    ) -> Self {
        // A reader that does not know the guard must not commit without it.
        let v = if guards.upload_tag.is_some() { ChangeSetVersion::number(2) } else { ChangeSetVersion::FIRST };
        Self { v, organization_id, at, guards: guards.sorted(), rows: rows.sorted(), completion }
    }

    /// Returns the organization of all rows.
    #[must_use]
    pub fn organization_id(&self) -> OrganizationId {
        self.organization_id
    }

    /// Returns the instant of the request: `created_at` of new rows, and `updated_at` of changed contacts.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// Returns the guards. The commit checks all of them.
    #[must_use]
    pub fn guards(&self) -> &Guards {
        &self.guards
    }

    /// Returns the rows to write.
    #[must_use]
    pub fn rows(&self) -> &RowChanges {
        &self.rows
    }

    /// Returns the enrollment's own row. The commit writes it with the other rows, so an enrollment is applied once.
    #[must_use]
    pub fn completion(&self) -> &Completion {
        &self.completion
    }

    /// Returns the change set for an accepted enrollment, which is completed at this instant.
    pub(crate) fn finishing(mut self, at: Timestamp) -> Self {
        self.completion.mode = CompletionMode::Finish;
        self.completion.enrollment.completed_at = Some(at);
        self
    }
}

//! How a commit changes the number of rows of each list of a host.

use std::collections::BTreeMap;

use super::{ChangeSet, CompletionMode};
use crate::ids::{SequenceId, StepId};
use crate::model::{RunStatus, StepContactStatus};
use crate::stored_enrollment::EnrollmentState;
use uuid::Uuid;

/// A difference of the number of rows of a list that have the same sequence, step and status.
///
/// Exhaustive, because its fields are the columns of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountChange {
    /// The list: `contacts`, `enrollments`, `runs` or `step_contacts`.
    pub list: &'static str,
    /// The sequence of runs and step contacts; nil for other lists.
    pub sequence_id: SequenceId,
    /// The step of step contacts; nil for other lists.
    pub step_id: StepId,
    /// The status of runs and step contacts, the state of enrollments; empty for contacts.
    pub status: &'static str,
    /// The number of added rows. It is negative if more are removed, and never zero.
    pub entries: i64,
}

/// The statuses of a step contact before and after a commit.
///
/// Exhaustive, because a repository builds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplacedStatus {
    /// The step of the step contact.
    pub step_id: StepId,
    /// The status that is stored.
    pub before: StepContactStatus,
    /// The status that the commit writes.
    pub after: StepContactStatus,
}

impl ChangeSet {
    /// Returns the differences that a commit makes to a table of row counts. `replaced` has the step contacts that it
    /// updates; those that keep their status may be omitted.
    ///
    /// The number of differences does not depend on the number of recipients. A repository without such a table does
    /// not need them.
    #[must_use]
    pub fn count_changes(&self, replaced: &[ReplacedStatus]) -> Vec<CountChange> {
        let (no_sequence, no_step) = (SequenceId::from_uuid(Uuid::nil()), StepId::from_uuid(Uuid::nil()));
        let mut counts = BTreeMap::new();
        let mut add = |list, sequence, step, status, entries: i64| {
            *counts.entry((list, sequence, step, status)).or_default() += entries;
        };
        let completion = self.completion();
        add("enrollments", no_sequence, no_step, completion.enrollment.state.as_str(), 1);
        if completion.mode == CompletionMode::Finish {
            add("enrollments", no_sequence, no_step, EnrollmentState::Accepted.as_str(), -1);
        }
        let created = i64::try_from(self.rows().contacts_created.len()).unwrap_or(i64::MAX);
        add("contacts", no_sequence, no_step, "", created);
        for row in &self.rows().runs_created {
            add("runs", row.sequence_id, no_step, row.status.as_str(), 1);
        }
        // The guards of the contacts ensure that these runs are finished.
        let sequence = completion.enrollment.sequence_id;
        for _ in &self.rows().runs_reactivated {
            add("runs", sequence, no_step, RunStatus::Finished.as_str(), -1);
            add("runs", sequence, no_step, RunStatus::Active.as_str(), 1);
        }
        for row in &self.rows().step_contacts_created {
            add("step_contacts", row.sequence_id, row.step_id, row.status.as_str(), 1);
        }
        for ReplacedStatus { step_id, before, after } in replaced {
            add("step_contacts", sequence, *step_id, before.as_str(), -1);
            add("step_contacts", sequence, *step_id, after.as_str(), 1);
        }
        let changes = counts.into_iter().filter(|(_, entries)| *entries != 0);
        changes
            .map(|((list, sequence_id, step_id, status), entries)| CountChange {
                list,
                sequence_id,
                step_id,
                status,
                entries,
            })
            .collect()
    }
}

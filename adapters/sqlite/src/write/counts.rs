//! Counts the rows that a commit writes, for the lists of a host.

use enroll::changes::{CountChange, ReplacedStatus};

use super::Commit;
use super::row_statement::RowStatement;
use crate::error::SqliteError;
use crate::fields::Field;

impl Commit<'_> {
    /// Adds one difference for each list, sequence, step and status.
    pub(super) fn count_rows(&self, replaced: &[ReplacedStatus]) -> Result<(), SqliteError> {
        let mut statement = RowStatement::new(self.connection, COUNT)?;
        for CountChange { list, sequence_id, step_id, status, entries } in self.changes.count_changes(replaced) {
            self.organization.bind(&mut statement)?;
            statement.bind_value(list)?;
            sequence_id.bind(&mut statement)?;
            step_id.bind(&mut statement)?;
            statement.bind_value(status)?;
            entries.bind(&mut statement)?;
            statement.execute()?;
        }
        Ok(())
    }
}

const COUNT: &str = "insert into enroll_counts values (?1, ?2, ?3, ?4, ?5, ?6) \
     on conflict do update set entries = entries + excluded.entries";

//! Without the feature `tracing`.

use enroll::{ChangeSet, RepositoryError};

use crate::error::SqliteError;

/// The span of a statement.
pub(crate) struct StatementSpan;

impl StatementSpan {
    pub(crate) fn new(_: &str) -> Self {
        Self
    }

    #[expect(clippy::unused_self, reason = "the twin with the feature uses it")]
    pub(crate) fn add(&mut self, _: usize) {}
}

/// The attempts to commit an enrollment.
#[derive(Debug, Default)]
pub(crate) struct Attempts {}

impl Attempts {
    /// Runs a commit.
    #[expect(clippy::unused_self, reason = "the twin with the feature uses it")]
    pub(crate) fn commit(
        &self,
        _: &ChangeSet,
        commit: impl FnOnce() -> Result<(), SqliteError>,
    ) -> Result<(), RepositoryError> {
        Ok(commit()?)
    }
}

//! Without the feature `tracing`.

use enroll::{ChangeSet, RepositoryError};

/// Returns the handle of a driver, whose statements have no spans.
pub(crate) fn traced<B>(handle: B) -> B {
    handle
}

/// The attempts to commit an enrollment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attempts {}

impl Attempts {
    /// Runs a commit.
    pub(crate) async fn commit(
        &mut self,
        _: &ChangeSet,
        commit: impl Future<Output = Result<(), RepositoryError>>,
    ) -> Result<(), RepositoryError> {
        commit.await
    }
}

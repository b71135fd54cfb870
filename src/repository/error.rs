//! The error of a repository.

use std::error::Error;
use std::fmt;

/// An error of a repository: what a caller can do about it, and what happened in the storage.
///
/// It displays its kind and the storage's own message. [`source`](Error::source) returns the *next* cause, so a
/// printed chain repeats nothing. [`inner`](Self::inner) returns the storage's error, for `downcast_ref`.
#[derive(Debug)]
pub struct RepositoryError {
    kind: RepositoryErrorKind,
    inner: Box<dyn Error + Send + Sync>,
}

/// What a caller can do about a [`RepositoryError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RepositoryErrorKind {
    /// Another writer was first: load and plan again.
    Conflict,
    /// The storage could not be reached: try again later. The commit may have happened.
    Unavailable,
    /// Any other error: trying again does not help.
    Other,
}

impl RepositoryError {
    /// Returns an error of a kind, with the storage's own error or a message.
    ///
    /// The message of `inner` must not contain that of its source.
    pub fn new(kind: RepositoryErrorKind, inner: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind, inner: inner.into() }
    }

    /// Returns what a caller can do about the error.
    #[must_use]
    pub fn kind(&self) -> RepositoryErrorKind {
        self.kind
    }

    /// Returns the storage's own error.
    #[must_use]
    pub fn inner(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.inner
    }

    /// Returns the storage's own error by value.
    #[must_use]
    pub fn into_inner(self) -> Box<dyn Error + Send + Sync> {
        self.inner
    }
}

impl fmt::Display for RepositoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            RepositoryErrorKind::Conflict => "another writer was first",
            RepositoryErrorKind::Unavailable => "the storage is unavailable",
            RepositoryErrorKind::Other => "the storage failed",
        };
        write!(f, "{kind}: {}", self.inner)
    }
}

impl Error for RepositoryError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.inner.source()
    }
}

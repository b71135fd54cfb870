//! The seam to storage: three verbs, in a blocking and an async shape.

use std::error::Error;
use std::fmt;

use crate::changes::ChangeSet;
use crate::query::{ReferenceQuery, SnapshotQuery};
use crate::snapshot::{ReferenceData, Snapshot};

/// A blocking repository: an exclusive connection, a host's open transaction, or a cheap handle on something shared.
///
/// # Contract
/// 1. *Read what was written.* After `commit` returns `Ok`, every later `load` through any handle sees it.
/// 2. *Complete load.* Every row that a key names; more rows are allowed. A load is one snapshot, or else reads each
///    aggregate's version before anything that it covers.
/// 3. *All or nothing.* A commit that returns `Conflict` or `Other` changed nothing. `Unavailable` may mean all or
///    nothing, never part.
/// 4. *Guards hold.* A guard that is no longer true at the commit is a `Conflict`, and what is guarded cannot change
///    until the commit is visible.
/// 5. *Unique for good.* Contact keys within an organization (those of merged contacts count for nothing), the
///    conversation of a contact on a channel of a phone kind, the live step contact of a contact in a sequence, and the
///    enrollment id are enforced by the storage itself. What counts is the state after the whole commit: a key that one
///    row gives up, another may claim.
/// 6. *Create means create.* Creating what exists is a `Conflict`, never an update; a derived id that exists is `Other`.
/// 7. *Conflict is typed.* From codes, never from text; `Conflict` if and only if a fresh load may succeed.
/// 8. *Byte-exact keys.* No folding by collation, case or width.
/// 9. *Any size.* 4000 recipients in one call; the number of round trips does not depend on how many there are.
/// 10. *Empty is nothing.*
/// 11. *Tenants are walls.* A query of one organization never sees a row of another.
/// 12. *One version an aggregate, whoever writes.* Any change of a row round a contact raises that contact's version;
///     likewise for sequence and steps, channel, custom object and call flow. Versions only grow.
///
/// # Absent rows
/// What a query names and does not exist is absent from the answer; that is no error.
pub trait Repository {
    /// Reads what a request refers to.
    ///
    /// # Errors
    /// [`RepositoryError`] if the storage cannot answer.
    fn reference_data(&mut self, query: &ReferenceQuery) -> Result<ReferenceData, RepositoryError>;

    /// Reads the facts that an enrollment is planned on.
    ///
    /// # Errors
    /// [`RepositoryError`] if the storage cannot answer.
    fn load(&mut self, query: &SnapshotQuery) -> Result<Snapshot, RepositoryError>;

    /// Writes a change set, all of it or nothing.
    ///
    /// # Errors
    /// [`RepositoryErrorKind::Conflict`] if a guard does not hold or something to be created exists;
    /// another kind if the storage cannot do it.
    fn commit(&mut self, changes: &ChangeSet) -> Result<(), RepositoryError>;
}

/// A repository that is lent out is one.
impl<R: Repository + ?Sized> Repository for &mut R {
    fn reference_data(&mut self, query: &ReferenceQuery) -> Result<ReferenceData, RepositoryError> {
        (**self).reference_data(query)
    }

    fn load(&mut self, query: &SnapshotQuery) -> Result<Snapshot, RepositoryError> {
        (**self).load(query)
    }

    fn commit(&mut self, changes: &ChangeSet) -> Result<(), RepositoryError> {
        (**self).commit(changes)
    }
}

/// An async repository. The contract is that of [`Repository`]; implementers write plain `async fn`.
#[expect(missing_docs, reason = "the methods are those of `Repository`")]
pub trait AsyncRepository: Send {
    fn reference_data(
        &mut self,
        query: &ReferenceQuery,
    ) -> impl Future<Output = Result<ReferenceData, RepositoryError>> + Send;

    fn load(&mut self, query: &SnapshotQuery) -> impl Future<Output = Result<Snapshot, RepositoryError>> + Send;

    fn commit(&mut self, changes: &ChangeSet) -> impl Future<Output = Result<(), RepositoryError>> + Send;
}

/// What went wrong in a repository.
#[derive(Debug)]
pub struct RepositoryError {
    kind: RepositoryErrorKind,
    source: Box<dyn Error + Send + Sync>,
}

/// What a caller can do about an error of a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RepositoryErrorKind {
    /// Another writer was first: load and plan again.
    Conflict,
    /// The storage could not be reached: try again later. A commit may have happened.
    Unavailable,
    /// Anything else: trying again changes nothing.
    Other,
}

impl RepositoryError {
    /// An error of a kind, with what caused it.
    pub fn new(kind: RepositoryErrorKind, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind, source: source.into() }
    }

    /// What a caller can do about it.
    #[must_use]
    pub fn kind(&self) -> RepositoryErrorKind {
        self.kind
    }
}

impl fmt::Display for RepositoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            RepositoryErrorKind::Conflict => "another writer was first",
            RepositoryErrorKind::Unavailable => "the storage is unavailable",
            RepositoryErrorKind::Other => "the storage failed",
        })
    }
}

impl Error for RepositoryError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.source)
    }
}

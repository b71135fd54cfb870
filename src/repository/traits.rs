//! The traits of a repository: blocking, async, and async for trait objects.

use super::BoxFuture;
use super::error::RepositoryError;

use crate::changes::ChangeSet;
use crate::query::{ReferenceQuery, SnapshotQuery};
use crate::snapshot::{ReferenceData, Snapshot};

/// A blocking repository: an exclusive connection, a host's open transaction, or a handle on shared storage.
///
/// # Contract
/// 1. *Read what was written.* After `commit` returns `Ok`, every later `load` through any handle returns the new rows.
/// 2. *Complete load.* `load` returns every row that the query's keys match, the query's tag, and which of the contacts
///    have this tag. More rows are allowed. A load is one consistent snapshot, or it reads each aggregate's version
///    before the aggregate's other rows.
/// 3. *All or nothing.* A commit that returns `Conflict` or `Other` changed nothing. After `Unavailable`, the commit
///    wrote everything or nothing, never a part.
/// 4. *Guards hold.* If a guard does not hold at the commit, the commit returns `Conflict`. Guarded rows cannot
///    change until the commit is visible.
/// 5. *Unique keys.* The storage itself enforces four unique keys: each contact key in an organization (merged
///    contacts excluded), the conversation of a contact on a channel of a phone kind, the live step contact of a
///    contact in a sequence, and the enrollment id. It checks the state after the whole commit: in one commit, a row
///    may use a key that another row gives up.
/// 6. *Create never overwrites.* Creating a row that exists is a `Conflict`, never an update. If a derived id exists
///    already, the commit returns `Other`.
/// 7. *Conflict is typed.* The storage's error codes decide the kind, never the text. An error is a `Conflict` if and
///    only if a new load may succeed.
/// 8. *Byte-exact keys.* Keys are compared by bytes: no collation, and no folding of case or width.
/// 9. *Any size.* One call takes 4000 recipients. The number of round trips does not depend on the number of
///    recipients.
/// 10. *Empty input.* An empty list in a query matches no rows. An empty list in a change set writes no rows.
/// 11. *Organizations are separate.* A query of one organization never returns a row of another.
/// 12. *One version per aggregate.* Any change to a contact's related rows raises the contact's version, also when the
///     host makes the change. The same holds for a sequence with its steps, a channel, a custom object and a call flow.
///     Versions only grow.
///
/// # Absent rows
/// If a query names a row that does not exist, the answer omits it. That is not an error.
pub trait Repository {
    /// Reads the rows that a request refers to.
    ///
    /// # Errors
    /// [`RepositoryError`] if the storage fails.
    fn reference_data(&mut self, query: &ReferenceQuery) -> Result<ReferenceData, RepositoryError>;

    /// Reads the facts that the planner needs for an enrollment.
    ///
    /// # Errors
    /// [`RepositoryError`] if the storage fails.
    fn load(&mut self, query: &SnapshotQuery) -> Result<Snapshot, RepositoryError>;

    /// Writes a change set, completely or not at all.
    ///
    /// # Errors
    /// [`RepositoryErrorKind::Conflict`](crate::RepositoryErrorKind::Conflict) if a guard does not hold or a row to
    /// create exists already; another kind if the storage fails.
    fn commit(&mut self, changes: &ChangeSet) -> Result<(), RepositoryError>;
}

/// Implements [`Repository`] for a pointer to a repository.
macro_rules! forward_repository {
    ($pointer:ty) => {
        impl<R: Repository + ?Sized> Repository for $pointer {
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
    };
}

forward_repository!(&mut R);
forward_repository!(Box<R>);

/// An async repository. Its contract is that of [`Repository`].
///
/// Implementers write plain `async fn`. The futures must be `Send`.
pub trait AsyncRepository: Send {
    /// Reads the rows that a request refers to.
    ///
    /// # Errors
    /// [`RepositoryError`] if the storage fails.
    fn reference_data(
        &mut self,
        query: &ReferenceQuery,
    ) -> impl Future<Output = Result<ReferenceData, RepositoryError>> + Send;

    /// Reads the facts that the planner needs for an enrollment.
    ///
    /// # Errors
    /// [`RepositoryError`] if the storage fails.
    fn load(&mut self, query: &SnapshotQuery) -> impl Future<Output = Result<Snapshot, RepositoryError>> + Send;

    /// Writes a change set, completely or not at all.
    ///
    /// # Errors
    /// [`RepositoryErrorKind::Conflict`](crate::RepositoryErrorKind::Conflict) if a guard does not hold or a row to
    /// create exists already; another kind if the storage fails.
    fn commit(&mut self, changes: &ChangeSet) -> impl Future<Output = Result<(), RepositoryError>> + Send;
}

/// Implements [`AsyncRepository`] for a pointer to an async repository.
macro_rules! forward_async_repository {
    ($pointer:ty) => {
        impl<R: AsyncRepository + ?Sized> AsyncRepository for $pointer {
            async fn reference_data(&mut self, query: &ReferenceQuery) -> Result<ReferenceData, RepositoryError> {
                (**self).reference_data(query).await
            }

            async fn load(&mut self, query: &SnapshotQuery) -> Result<Snapshot, RepositoryError> {
                (**self).load(query).await
            }

            async fn commit(&mut self, changes: &ChangeSet) -> Result<(), RepositoryError> {
                (**self).commit(changes).await
            }
        }
    };
}

forward_async_repository!(&mut R);
forward_async_repository!(Box<R>);

/// The dyn-safe twin of [`AsyncRepository`], for a host that chooses its storage at run time.
///
/// Every [`AsyncRepository`] implements it; do not implement it yourself. `dyn DynAsyncRepository` and
/// `Box<dyn DynAsyncRepository>` are themselves [`AsyncRepository`] and `Send`, so the operations take them:
///
/// ```
/// use enroll::{AsyncRepository, DynAsyncRepository, InMemoryRepository};
///
/// fn is_async_repository(_: &impl AsyncRepository) {}
///
/// let repository: Box<dyn DynAsyncRepository> = Box::new(InMemoryRepository::new());
/// is_async_repository(&repository);
/// ```
pub trait DynAsyncRepository: Send {
    /// [`AsyncRepository::reference_data`], boxed.
    ///
    /// # Errors
    /// Those of [`AsyncRepository::reference_data`].
    fn reference_data_boxed<'a>(
        &'a mut self,
        query: &'a ReferenceQuery,
    ) -> BoxFuture<'a, Result<ReferenceData, RepositoryError>>;

    /// [`AsyncRepository::load`], boxed.
    ///
    /// # Errors
    /// Those of [`AsyncRepository::load`].
    fn load_boxed<'a>(&'a mut self, query: &'a SnapshotQuery) -> BoxFuture<'a, Result<Snapshot, RepositoryError>>;

    /// [`AsyncRepository::commit`], boxed.
    ///
    /// # Errors
    /// Those of [`AsyncRepository::commit`].
    fn commit_boxed<'a>(&'a mut self, changes: &'a ChangeSet) -> BoxFuture<'a, Result<(), RepositoryError>>;
}

// `R` is sized and `dyn DynAsyncRepository` is not, so this impl and the next one do not overlap.
impl<R: AsyncRepository> DynAsyncRepository for R {
    fn reference_data_boxed<'a>(
        &'a mut self,
        query: &'a ReferenceQuery,
    ) -> BoxFuture<'a, Result<ReferenceData, RepositoryError>> {
        Box::pin(self.reference_data(query))
    }

    fn load_boxed<'a>(&'a mut self, query: &'a SnapshotQuery) -> BoxFuture<'a, Result<Snapshot, RepositoryError>> {
        Box::pin(self.load(query))
    }

    fn commit_boxed<'a>(&'a mut self, changes: &'a ChangeSet) -> BoxFuture<'a, Result<(), RepositoryError>> {
        Box::pin(self.commit(changes))
    }
}

/// Implements [`AsyncRepository`] for a trait object that has the methods of [`DynAsyncRepository`].
macro_rules! impl_async_repository_for_dyn {
    ($object:ty) => {
        impl $crate::repository::AsyncRepository for $object {
            async fn reference_data(
                &mut self,
                query: &$crate::query::ReferenceQuery,
            ) -> Result<$crate::snapshot::ReferenceData, $crate::repository::RepositoryError> {
                self.reference_data_boxed(query).await
            }

            async fn load(
                &mut self,
                query: &$crate::query::SnapshotQuery,
            ) -> Result<$crate::snapshot::Snapshot, $crate::repository::RepositoryError> {
                self.load_boxed(query).await
            }

            async fn commit(
                &mut self,
                changes: &$crate::changes::ChangeSet,
            ) -> Result<(), $crate::repository::RepositoryError> {
                self.commit_boxed(changes).await
            }
        }
    };
}
pub(crate) use impl_async_repository_for_dyn;

impl_async_repository_for_dyn!(dyn DynAsyncRepository + '_);

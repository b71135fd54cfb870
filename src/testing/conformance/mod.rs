//! The repository contract as tests: [`conformance_tests!`](crate::conformance_tests) makes one `#[test]` of each case.
//!
//! A repository's author writes a [`Fixture`] and calls the macro. One module a clause of
//! [`Repository`](crate::Repository)'s contract, one function a case; a fresh database a case, and independent handles
//! onto it, so that a race is a sequence of calls and no matter of luck.

use crate::OrganizationId;
use crate::repository::{AsyncRepository, RepositoryError};
use crate::testing::{Given, HostWrite};

/// What the suite needs of a repository. A method that cannot do its part panics: it is a test that fails.
pub trait Fixture: Sized + Sync {
    /// A handle. A blocking repository is wrapped in [`Blocking`](crate::testing::Blocking).
    type Repository: AsyncRepository;

    /// A database of its own, without rows.
    fn fresh() -> impl Future<Output = Self>;

    /// A handle onto the database, independent of all others: a connection of its own, where there are connections.
    fn open(&self) -> impl Future<Output = Self::Repository>;

    /// Puts the rows of a world into the empty database. [`Given::inserts`] tells them one by one.
    fn seed(&self, given: &Given) -> impl Future<Output = ()>;

    /// Writes a row past the engine, as the rest of a host would.
    ///
    /// # Errors
    /// Whatever the storage says where the write would break clause 5.
    fn host_write(&self, write: &HostWrite) -> impl Future<Output = Result<(), RepositoryError>>;

    /// All rows of all organizations; those of another than `organization_id` name theirs.
    fn dump(&self, organization_id: OrganizationId) -> impl Future<Output = Given>;
}

/// How the futures of a [`Fixture`] and its handles are run: the `block_on` of their runtime.
pub trait BlockOn {
    /// Runs a future to its end. It is called in several threads at once.
    fn block_on<T>(future: impl Future<Output = T>) -> T;
}

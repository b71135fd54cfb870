//! A repository in memory: for tests and trials, and as the shortest implementation of the contract.

mod events;
pub(crate) mod repository;

#[cfg(feature = "seed")]
pub(crate) use repository::InMemoryRepository;

use crate::changes::Conflict;
use crate::ids::OrganizationId;

/// Why an edit was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// The organization does not exist.
    #[error("organization `{0}` does not exist; insert it first")]
    NoOrganization(OrganizationId),
    /// A unique key would occur twice.
    #[error(transparent)]
    NotUnique(#[from] Conflict),
}

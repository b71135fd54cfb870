//! The storage interface: one query for reference data, one load, one commit. It has a blocking and an async form.
//!
//! | Trait | For |
//! |---|---|
//! | [`Repository`] | blocking storage |
//! | [`AsyncRepository`] | async storage; implementers write plain `async fn` |
//! | [`DynAsyncRepository`] | a host that chooses its async storage at run time: `Box<dyn DynAsyncRepository>` |

pub(crate) mod error;
pub(crate) mod traits;

pub use crate::ids::are_adjacent;
pub(crate) use error::{RepositoryError, RepositoryErrorKind};
pub(crate) use traits::{AsyncRepository, DynAsyncRepository, Repository, impl_async_repository_for_dyn};

use std::pin::Pin;

/// A boxed future, as the dyn-safe traits return it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

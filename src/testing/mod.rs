//! Tools for tests of the engine and of repositories: the conformance suite and generated organizations.
//!
//! This module uses public items of the crate only.

mod blocking;
pub mod conformance;
mod strategies;

pub use blocking::{Blocking, block_on};
pub use strategies::{Request, Scenario, scenario};

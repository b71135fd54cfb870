//! For tests, of the engine and of whoever embeds it: seeds, test vectors and generated worlds.
//!
//! It uses public items of the crate alone.

mod blocking;
pub mod conformance;
mod demo;
mod host_write;
mod matching;
mod seed;
mod strategies;
mod vectors;

pub use blocking::{Blocking, block_on};
pub use demo::Demo;
pub use host_write::{HostRow, HostWrite, HostWriteError, Verb};
pub use matching::Difference;
pub use seed::{Row, Seed, SeedError};
pub use strategies::{Request, World, world};
pub use vectors::{Expected, Vector, When, run, run_on};

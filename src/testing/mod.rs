//! For tests, of the engine and of whoever embeds it: seeds, test vectors and generated worlds.
//!
//! It uses public items of the crate alone.

mod blocking;
pub mod conformance;
mod demo;
mod given;
mod host_write;
mod matching;
mod strategies;
mod vectors;

pub use blocking::{Blocking, block_on};
pub use demo::Demo;
pub use given::{Given, InvalidGiven, Row};
pub use host_write::{HostRow, HostWrite, NotWritten, Verb};
pub use matching::Difference;
pub use strategies::{Request, World, world};
pub use vectors::{Expected, Vector, When, run, run_on};

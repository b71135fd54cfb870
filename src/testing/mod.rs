//! For tests, of the engine and of whoever embeds it: seeds, test vectors and generated worlds.
//!
//! It uses public items of the crate alone.

mod given;
mod matching;
mod strategies;
mod vectors;

pub use given::{Given, InvalidGiven, Row};
pub use matching::Difference;
pub use strategies::{Request, World, world};
pub use vectors::{Expected, Vector, When, run, run_on};

//! For tests: seeds, what hosts write past the engine, and all that stands.

mod dump;
mod host_write;

pub use dump::dump;
pub use host_write::{host_write, seed};

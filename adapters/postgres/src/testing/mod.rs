//! For tests and trying things out: worlds put in and read back, a host's own writes, and a throwaway server.

mod dump;
mod host;
mod server;

pub use dump::dump;
pub use host::{host_write, seed};
pub use server::Server;

//! Shared code of the benches: requests, lower limits of the time, and measurement.

pub mod existing;
pub mod floors;
pub mod lists;
pub mod people;
pub mod rounds;
pub mod strangers;
pub mod writes;

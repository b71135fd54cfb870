//! Shared code of the benches: requests, lower limits of the time, and measurement.

pub mod floors;
pub mod people;
pub mod rounds;
pub mod standing;
pub mod writes;

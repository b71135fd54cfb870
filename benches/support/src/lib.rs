//! What the benches share: who is sent, what the work must cost at least, and how it is timed.

pub mod floors;
pub mod people;
pub mod rounds;
pub mod standing;
pub mod writes;

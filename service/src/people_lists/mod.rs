//! Lists of people that the service accepted: how they are stored, read and removed.

pub(crate) mod csv;
pub(crate) mod erase;
pub(crate) mod rows;
pub(crate) mod store;

//! Loads the rows of a [`Seed`](enroll::seed::Seed) into a database, and reads all rows back as one.

mod dump;
mod rows;

pub use self::dump::dump;
#[cfg(feature = "testing")]
pub(crate) use self::rows::host_write;
pub use self::rows::load;

//! The current time for the examples.
#![expect(clippy::disallowed_methods, reason = "a host reads the clock, the engine never does")]

use std::error::Error;
use std::time::{SystemTime, UNIX_EPOCH};

use enroll::Timestamp;

/// Returns the current time. The engine takes it as an argument, so that a request can be planned again later.
pub(crate) fn now() -> Result<Timestamp, Box<dyn Error>> {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH)?;
    Ok(Timestamp::from_millis(i64::try_from(since_1970.as_millis())?)?)
}

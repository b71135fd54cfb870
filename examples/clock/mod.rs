//! The current time for the examples.
#![expect(clippy::disallowed_methods, reason = "a host reads the clock, the engine never does")]

use std::time::SystemTime;

use enroll::{Timestamp, TimestampError};

/// Returns the current time. The engine takes it as an argument, so that a request can be planned again later.
pub(crate) fn now() -> Result<Timestamp, TimestampError> {
    SystemTime::now().try_into()
}

//! The version of the server.

use std::fmt;

use crate::PostgresError;

/// A version of PostgreSQL, such as 15.20.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerVersion {
    /// The major version.
    pub major: u32,
    /// The minor version.
    pub minor: u32,
}

impl ServerVersion {
    /// The oldest version that the schema and the statements work on.
    pub const OLDEST: Self = Self { major: 14, minor: 0 };

    /// Reads `server_version_num`, such as 150020.
    pub(crate) fn from_number(number: i32) -> Self {
        let number = number.unsigned_abs();
        Self { major: number / 10_000, minor: number % 10_000 }
    }

    /// Checks that this version is supported.
    ///
    /// # Errors
    /// [`PostgresError::OldServer`] if it is older than [`OLDEST`](Self::OLDEST).
    pub fn check(self) -> Result<(), PostgresError> {
        if self < Self::OLDEST { Err(PostgresError::OldServer { found: self }) } else { Ok(()) }
    }
}

impl fmt::Display for ServerVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_before_14_is_refused() {
        for number in [140_000, 150_020, 180_001] {
            ServerVersion::from_number(number).check().unwrap();
        }
        let error = ServerVersion::from_number(130_022).check().unwrap_err();
        let text = "the server is PostgreSQL 13.22, but `enroll` needs 14 or later: upgrade the server";
        assert_eq!(error.to_string(), text);
    }
}

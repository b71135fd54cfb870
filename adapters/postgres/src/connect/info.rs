//! What a connection is: the server, the encryption, and a pooler in between.

use std::fmt;

use crate::PostgresError;

/// What a connection is: the server, the encryption, and a pooler in between.
///
/// [`ConnectOptions::inspect`](super::ConnectOptions::inspect) returns it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectionInfo {
    /// The version of the server.
    pub server: ServerVersion,
    /// The encryption of this process's connection. `None` if it is not encrypted.
    pub tls: Option<TlsVersion>,
    /// The encryption of the server's connection, such as `TLSv1.3`. `None` if it is not encrypted. Behind a pooler it is the
    /// pooler's connection.
    pub server_tls: Option<String>,
    /// True if something between this process and the server does not forward the settings of a connection: a pooler.
    pub has_pooler: bool,
    /// True if statements are prepared once for each connection: see [`ConnectOptions`](super::ConnectOptions).
    pub prepared_statements: bool,
    /// The role that statements run as.
    pub user: String,
    /// The name of the database.
    pub database: String,
    /// The name of this program, as the server shows it.
    pub application_name: String,
    /// True if the server is a standby, or read-only.
    pub is_read_only: bool,
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum TlsVersion {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls12 => "TLS 1.2",
            Self::Tls13 => "TLS 1.3",
        })
    }
}

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

//! What a connection is: the server, the encryption, and a pooler in between.

use std::fmt;

use crate::ServerVersion;

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

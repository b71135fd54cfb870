//! Why a connection cannot be encrypted.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a connection cannot be encrypted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// This build has no TLS.
    #[error("`sslmode={mode}` needs TLS, and this build has none: enable the feature `tls` of `enroll-postgres`")]
    NotBuilt {
        /// The `sslmode`.
        mode: &'static str,
    },
    /// The server does not offer TLS.
    #[error(
        "the server does not offer TLS: set `ssl = on` on the server (`client_tls_sslmode` in PgBouncer), or `sslmode=disable` to \
         send all data unencrypted"
    )]
    NotOffered,
    /// No certificate of an authority to verify the server with.
    #[error(
        "`sslmode={mode}` needs the certificate of an authority: set `sslrootcert` to a file with it, or to `system` for the \
         authorities of the operating system"
    )]
    NoRoot {
        /// The `sslmode`.
        mode: &'static str,
    },
    /// Anybody can get a certificate of an authority of the operating system for a name of their own.
    #[error(
        "`sslrootcert=system` needs `sslmode=verify-full`, not `{mode}`: any weaker mode accepts the certificate of anybody"
    )]
    WeakMode {
        /// The `sslmode`.
        mode: &'static str,
    },
    /// The operating system has no certificates of authorities.
    #[error("`sslrootcert=system` finds no certificates: install the package `ca-certificates`, or name a file")]
    NoSystemRoots,
    /// A file with a certificate or a key cannot be used.
    #[error("the file {} of `{parameter}` cannot be used: {problem}", path.display())]
    File {
        /// The parameter that names it.
        parameter: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: FileProblem,
    },
    /// The server's certificate is for other names.
    #[error(
        "the server's certificate is not valid for `{expected}`, but for {}: use a name of the certificate as the host, or \
         `sslmode=verify-ca` to accept every name",
        Names(presented)
    )]
    WrongName {
        /// The host of the address.
        expected: String,
        /// The names in the certificate.
        presented: Vec<String>,
    },
    /// The server's certificate comes from another authority.
    #[error(
        "the server's certificate is of an unknown authority: set `sslrootcert` to the file of its authority, or check that \
         this is your server"
    )]
    UnknownIssuer,
    /// The server's certificate has expired.
    #[error("the server's certificate has expired: renew it on the server, and check the clock of this machine")]
    Expired,
    /// The server's certificate is not valid yet.
    #[error("the server's certificate is not valid yet: check the clocks of the server and of this machine")]
    NotYetValid,
    /// The server's certificate is not valid for another reason.
    #[error(
        "the server's certificate cannot be used ({0}): give the server a certificate of version 3 with a key that is strong"
    )]
    Certificate(String),
    /// The server refuses the client's certificate, or requires one.
    #[error(
        "the server refuses the client's certificate ({0}): set `sslcert` and `sslkey` to a certificate of an authority that \
         the server knows (`ssl_ca_file`)"
    )]
    ClientCertificate(String),
    /// The two sides could not agree, or one is not a TLS peer.
    #[error("the TLS handshake failed ({0}): check that the server supports TLS 1.2 or 1.3")]
    Handshake(String),
}

/// What is wrong with a file.
#[derive(Debug)]
#[non_exhaustive]
pub enum FileProblem {
    /// It cannot be read.
    Read(io::Error),
    /// It has no certificate in PEM format.
    NoCertificate,
    /// It has no unencrypted private key in PEM format.
    NoKey,
    /// Other users can read the private key.
    Permissions,
    /// The key does not belong to the certificate, or is of an unknown kind.
    Key(String),
    /// The other file of the client's certificate is not named.
    Alone,
}

impl fmt::Display for FileProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(e) => write!(f, "{e}"),
            Self::NoCertificate => f.write_str("it has no certificate in PEM format"),
            Self::NoKey => f.write_str("it has no private key in PEM format that is not encrypted"),
            Self::Permissions => f.write_str("others can read the private key; run `chmod 600` on it"),
            Self::Key(e) => write!(f, "the key does not fit the certificate: {e}"),
            Self::Alone => f.write_str("`sslcert` and `sslkey` belong together; set both"),
        }
    }
}

/// Names in a sentence.
struct Names<'a>(&'a [String]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => f.write_str("no name: it lacks a `subjectAltName`"),
            names => write!(f, "`{}`", names.join("`, `")),
        }
    }
}

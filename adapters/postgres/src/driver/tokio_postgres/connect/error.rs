//! Why an address cannot be used.

use super::parameters;

/// Why the address of a database cannot be used. No text quotes a value of the address: it could be a password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// A part of the URL has characters that separate its parts.
    #[error(
        "the address has unencoded characters, such as in its password: write `%40` for `@`, `%2F` for `/`, `%3A` for `:`, \
         `%3F` for `?`, `%23` for `#`, `%26` for `&` and `%25` for `%`, or give the password in `PGPASSWORD`"
    )]
    Unencoded,
    /// The address has neither of the two forms.
    #[error(
        "the address is neither a URL (`postgres://user@host/database`) nor a list of parameters (`host=… user=…`)"
    )]
    Form,
    /// No parameter has this name.
    #[error("the address has the unknown parameter `{parameter}`; known are {}", parameters::known())]
    Unknown {
        /// The name of the parameter.
        parameter: String,
    },
    /// The value of a parameter is not valid.
    #[error("the value of `{parameter}` is not valid: use {expected}")]
    Value {
        /// The parameter of the address, or the environment variable.
        parameter: &'static str,
        /// The values that are valid.
        expected: &'static str,
    },
    /// A parameter of `libpq` whose meaning would be lost if it were ignored.
    #[error("`{parameter}` is not supported: {remedy}")]
    Unsupported {
        /// The parameter of the address, or the environment variable.
        parameter: &'static str,
        /// What to do instead.
        remedy: &'static str,
    },
    /// The name of the user of the process is not known.
    #[error("the address has no user, and the name of the process's user is not known: add a user, or set `PGUSER`")]
    NoUser,
    /// The address has no host, and the environment is not read.
    #[error("the address has no host: add one, or read the environment with `ConnectOptions::new`")]
    NoHost,
}

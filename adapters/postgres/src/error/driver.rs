//! An error of a driver, without stored data.

use std::error::Error;
use std::fmt;

use super::ServerError;

/// An error of PostgreSQL or its driver, without stored data.
///
/// It displays the SQLSTATE and the names of the constraint, the column and the table. It never displays the server's
/// message, which can quote the values of a row.
pub struct DriverError {
    inner: Box<dyn Error + Send + Sync>,
    server: Option<Box<Names>>,
}

/// The names in an error of the server.
struct Names {
    code: String,
    table: Option<String>,
    column: Option<String>,
    constraint: Option<String>,
}

impl DriverError {
    /// Returns an error that the driver found itself.
    pub(crate) fn new(inner: impl Error + Send + Sync + 'static) -> Self {
        Self { inner: Box::new(inner), server: None }
    }

    pub(super) fn of_server(server: &ServerError, inner: impl Error + Send + Sync + 'static) -> Self {
        let names = Names {
            code: server.code.clone(),
            table: server.table.clone(),
            column: server.column.clone(),
            constraint: server.constraint.clone(),
        };
        Self { inner: Box::new(inner), server: Some(Box::new(names)) }
    }

    /// Returns the SQLSTATE, such as `23505`, if the error is one of the server.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.server.as_ref().map(|server| &*server.code)
    }

    /// Returns the constraint or the unique index that the server names.
    #[must_use]
    pub fn constraint(&self) -> Option<&str> {
        self.server.as_ref()?.constraint.as_deref()
    }

    /// Returns the column that the server names.
    #[must_use]
    pub fn column(&self) -> Option<&str> {
        self.server.as_ref()?.column.as_deref()
    }

    /// Returns the table that the server names.
    #[must_use]
    pub fn table(&self) -> Option<&str> {
        self.server.as_ref()?.table.as_deref()
    }

    /// Returns the error of the driver, for `downcast_ref`. Its texts may quote stored data: do not log them.
    ///
    /// It is a `tokio_postgres::Error`, a `deadpool_postgres::PoolError` or a `sqlx::Error`.
    #[must_use]
    pub fn inner(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.inner
    }
}

impl fmt::Display for DriverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[cfg(feature = "sqlx")]
        if let Some(error) = self.inner.downcast_ref::<sqlx::Error>() {
            // Their causes quote the value.
            match error {
                sqlx::Error::ColumnDecode { index, .. } => return write!(f, "column {index} could not be decoded"),
                sqlx::Error::Decode(_) => return f.write_str("a value could not be decoded"),
                sqlx::Error::Encode(_) => return f.write_str("a value could not be encoded"),
                _ => {}
            }
        }
        let Some(server) = &self.server else { return self.inner.fmt(f) };
        write!(f, "SQLSTATE {}", server.code)?;
        let names = [("constraint", self.constraint()), ("column", self.column()), ("table", self.table())];
        for (kind, name) in names {
            if let Some(name) = name {
                write!(f, ", {kind} `{name}`")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for DriverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DriverError({self})")
    }
}

impl Error for DriverError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        // The text of an error of `sqlx` contains those of its causes.
        #[cfg(feature = "sqlx")]
        if self.inner.is::<sqlx::Error>() {
            return None;
        }
        if self.server.is_some() { None } else { self.inner.source() }
    }
}

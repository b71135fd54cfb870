//! The spans of calls and statements, with the feature `tracing`. Without it, nothing of them is left.
//!
//! Spans have names, numbers, ids and words of this crate. They never have a parameter, a row, or a message of SQLite.

#[cfg(feature = "tracing")]
mod on;
#[cfg(feature = "tracing")]
pub(crate) use on::{Attempts, StatementSpan, in_call};

#[cfg(not(feature = "tracing"))]
mod off;
#[cfg(not(feature = "tracing"))]
pub(crate) use off::{Attempts, StatementSpan};

use rusqlite::{CachedStatement, Connection, Params, Row};
use std::ops::{Deref, DerefMut};

/// Runs a call of a repository inside a span with its name.
#[cfg(feature = "tracing")]
macro_rules! call {
    ($name:literal, $work:expr) => {
        $crate::trace::in_call(
            &tracing::debug_span!(target: "enroll_sqlite", $name, error = tracing::field::Empty),
            || Ok($work?),
        )
    };
}
#[cfg(not(feature = "tracing"))]
macro_rules! call {
    ($name:literal, $work:expr) => {
        $work.map_err(enroll::RepositoryError::from)
    };
}
pub(crate) use call;

/// A prepared statement. Its span ends when it is dropped, and has the number of rows that it read or wrote.
pub(crate) struct Prepared<'c> {
    statement: CachedStatement<'c>,
    pub(crate) span: StatementSpan,
}

/// Prepares a statement, or takes it from the cache of the connection.
pub(crate) fn prepare<'c>(connection: &'c Connection, sql: &str) -> rusqlite::Result<Prepared<'c>> {
    Ok(Prepared { statement: connection.prepare_cached(sql)?, span: StatementSpan::new(sql) })
}

impl Prepared<'_> {
    /// Runs a write, and returns the number of rows.
    pub(crate) fn execute(&mut self, params: impl Params) -> rusqlite::Result<usize> {
        self.statement.execute(params).inspect(|rows| self.span.add(*rows))
    }

    /// Runs a write whose parameters are bound, and returns the number of rows.
    pub(crate) fn raw_execute(&mut self) -> rusqlite::Result<usize> {
        self.statement.raw_execute().inspect(|rows| self.span.add(*rows))
    }

    /// Reads the first row.
    pub(crate) fn query_row<T>(
        &mut self,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        self.statement.query_row(params, read).inspect(|_| self.span.add(1))
    }
}

impl<'c> Deref for Prepared<'c> {
    type Target = CachedStatement<'c>;

    fn deref(&self) -> &Self::Target {
        &self.statement
    }
}

impl DerefMut for Prepared<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.statement
    }
}

//! A statement that runs once per row.

use rusqlite::{Connection, ToSql};

use crate::error::SqliteError;
use crate::fields::{Bind, Cell};
use crate::trace::{Prepared, prepare};

/// A prepared statement with the cells that are bound to it.
///
/// Most cells of a row equal those of the row before. Such a cell stays bound.
pub(super) struct RowStatement<'c> {
    statement: Prepared<'c>,
    /// The bound cell of each parameter, if it can repeat.
    bound: Vec<Option<Cell<'static>>>,
    /// The parameters of this row that are bound already.
    count: usize,
}

impl<'c> RowStatement<'c> {
    pub(super) fn new(connection: &'c Connection, sql: &str) -> Result<Self, SqliteError> {
        Ok(Self { statement: prepare(connection, sql)?, bound: Vec::new(), count: 0 })
    }

    /// Binds the next parameter to a value that the next row replaces.
    pub(super) fn bind_value(&mut self, value: impl ToSql) -> Result<(), SqliteError> {
        self.next();
        self.statement.raw_bind_parameter(self.count, value)?;
        Ok(())
    }

    /// Runs the statement for the row that was bound. Returns the number of rows that it wrote.
    pub(super) fn execute(&mut self) -> rusqlite::Result<usize> {
        self.count = 0;
        self.statement.raw_execute()
    }

    fn next(&mut self) -> Option<&mut Option<Cell<'static>>> {
        self.count += 1;
        self.bound.resize(self.bound.len().max(self.count), None);
        self.bound.get_mut(self.count - 1)
    }
}

impl Bind for RowStatement<'_> {
    fn bind(&mut self, cell: Cell<'_>) -> Result<(), SqliteError> {
        let repeatable = cell.to_repeatable();
        if let Some(bound) = self.next() {
            if repeatable.is_some() && repeatable == *bound {
                return Ok(());
            }
            *bound = repeatable;
        }
        self.statement.raw_bind_parameter(self.count, cell)?;
        Ok(())
    }
}

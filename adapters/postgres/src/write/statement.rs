//! A statement with what it writes: single values, and lists as one array a column.

use tokio_postgres::types::ToSql;
use tokio_postgres::{Statement, Transaction};
use uuid::Uuid;

use crate::Error;
use crate::statements::execute_all;

pub(super) type Values<'a> = Vec<Box<dyn ToSql + Send + Sync + 'a>>;

/// A column of several rows.
pub(super) trait Column: Send + Sync {
    fn array(&self) -> &(dyn ToSql + Sync);
    fn cells(&self) -> Box<dyn Iterator<Item = &(dyn ToSql + Sync)> + Send + '_>;
}

impl<T: ToSql + Send + Sync> Column for Vec<T> {
    fn array(&self) -> &(dyn ToSql + Sync) {
        self
    }

    fn cells(&self) -> Box<dyn Iterator<Item = &(dyn ToSql + Sync)> + Send + '_> {
        Box::new(self.iter().map(|cell| cell as _))
    }
}

pub(super) type Arrays<'a> = Vec<Box<dyn Column + 'a>>;

/// One array a column.
macro_rules! arrays {
    ($rows:expr, $row:ident => $($column:expr),* $(,)?) => {{
        let arrays: $crate::write::statement::Arrays<'_> =
            vec![$(Box::new($rows.iter().map(|$row| $column).collect::<Vec<_>>())),*];
        arrays
    }};
}
pub(super) use arrays;

/// A statement whose parameters are the organization, single values, and arrays.
pub(super) struct Write<'a> {
    statement: &'a Statement,
    values: Values<'a>,
    arrays: Arrays<'a>,
    /// The table and how many rows of it must be there.
    named: Option<(&'static str, usize)>,
}

impl<'a> Write<'a> {
    pub(super) fn new(statement: &'a Statement) -> Self {
        Self { statement, values: Vec::new(), arrays: Vec::new(), named: None }
    }

    pub(super) fn with(self, values: Values<'a>) -> Self {
        Self { values, ..self }
    }

    pub(super) fn arrays(self, arrays: Arrays<'a>) -> Self {
        Self { arrays, ..self }
    }

    pub(super) fn of(self, table: &'static str, named: usize) -> Self {
        Self { named: Some((table, named)), ..self }
    }
}

/// Runs them in one round trip, in this order. Each must find the rows that it names.
pub(super) async fn send(
    transaction: &Transaction<'_>,
    organization: &Uuid,
    writes: Vec<Write<'_>>,
) -> Result<(), Error> {
    let bound = writes.iter().map(|write| {
        let mut parameters: Vec<&(dyn ToSql + Sync)> = vec![organization];
        parameters.extend(write.values.iter().map(|value| &**value as &(dyn ToSql + Sync)));
        parameters.extend(write.arrays.iter().map(|array| array.array()));
        (write.statement, parameters)
    });
    let written = execute_all(transaction, &bound.collect::<Vec<_>>()).await?;
    for (write, written) in writes.iter().zip(written) {
        match write.named {
            Some((table, named)) if usize::try_from(written) != Ok(named) => return Err(Error::Gone { table }),
            _ => {}
        }
    }
    Ok(())
}

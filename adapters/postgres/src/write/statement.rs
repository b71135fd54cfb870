//! A statement with the values that it writes: single values, and one array per column.

use postgres_types::ToSql;
use uuid::Uuid;

use crate::PostgresError;
use crate::driver::Transaction;
use crate::fields::Arrays;
use crate::query::Query;

pub(super) type Values<'a> = Vec<Box<dyn ToSql + Send + Sync + 'a>>;

/// Builds one array per column.
macro_rules! arrays {
    ($rows:expr, $row:ident => $($column:expr),* $(,)?) => {{
        let arrays: $crate::fields::Arrays<'_> =
            vec![$(Box::new($rows.iter().map(|$row| $column).collect::<Vec<_>>())),*];
        arrays
    }};
}
pub(super) use arrays;

/// A statement whose parameters are the organization, single values, and arrays, or that has no parameters.
pub(super) struct Write<'a> {
    statement: &'a Query,
    values: Values<'a>,
    arrays: Arrays<'a>,
    /// The table, and the number of rows that must be written.
    expected: Option<(&'static str, usize)>,
}

impl<'a> Write<'a> {
    pub(super) fn new(statement: &'a Query) -> Self {
        Self { statement, values: Vec::new(), arrays: Vec::new(), expected: None }
    }

    pub(super) fn with(self, values: Values<'a>) -> Self {
        Self { values, ..self }
    }

    pub(super) fn arrays(self, arrays: Arrays<'a>) -> Self {
        Self { arrays, ..self }
    }

    pub(super) fn expecting(self, table: &'static str, rows: usize) -> Self {
        Self { expected: Some((table, rows)), ..self }
    }
}

/// Runs the statements in one round trip, in this order. Fails if one writes another number of rows than it expects.
pub(super) async fn send(
    transaction: &mut impl Transaction,
    organization: &Uuid,
    writes: Vec<Write<'_>>,
) -> Result<(), PostgresError> {
    let bound = writes.iter().map(|write| {
        let mut parameters: Vec<&(dyn ToSql + Sync)> = Vec::new();
        if !write.statement.types().is_empty() {
            parameters.push(organization);
        }
        parameters.extend(write.values.iter().map(|value| &**value as &(dyn ToSql + Sync)));
        parameters.extend(write.arrays.iter().map(|array| array.parameter()));
        (write.statement, parameters)
    });
    let written = transaction.execute_all(&bound.collect::<Vec<_>>()).await?;
    for (write, written) in writes.iter().zip(written) {
        match write.expected {
            Some((table, rows)) if usize::try_from(written) != Ok(rows) => {
                return Err(PostgresError::RowGone { table });
            }
            _ => {}
        }
    }
    Ok(())
}

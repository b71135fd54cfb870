//! Runs the statements of the engine: those that the connection has prepared, and others with their texts.

use bytes::Bytes;
use std::pin::pin;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, CopyInSink, Error, GenericClient};
use uuid::Uuid;

use crate::PostgresError;
use crate::driver::{Execute, Row, Values};
use crate::fields::Arrays;
use crate::query::Query;

impl Query {
    /// Runs a query. It is sent when the future is first polled.
    pub(super) async fn query(&self, client: &Client, values: &Values<'_>) -> Result<Vec<tokio_postgres::Row>, Error> {
        match &self.prepared {
            Some(statement) => client.query(statement, values).await,
            None => client.query_typed(&self.text().sql, &typed(self.types(), values)).await,
        }
    }

    /// Runs a write, and returns the number of rows. It is sent when the future is first polled.
    pub(super) async fn execute(&self, client: &Client, values: &Values<'_>) -> Result<u64, Error> {
        match &self.prepared {
            Some(statement) => client.execute(statement, values).await,
            None => client.execute_typed(&self.text().sql, &typed(self.types(), values)).await,
        }
    }

    /// Begins a copy. A text is prepared for it, and closed at once, inside the transaction.
    async fn copy_in(&self, client: &Client) -> Result<CopyInSink<Bytes>, Error> {
        match &self.prepared {
            Some(statement) => client.copy_in(statement).await,
            None => client.copy_in(&*self.text().sql).await,
        }
    }
}

fn typed<'v>(types: &[Type], values: &Values<'v>) -> Vec<(&'v (dyn ToSql + Sync), Type)> {
    values.iter().copied().zip(types.iter().cloned()).collect()
}

/// Copies rows into a table. `insert` is the statement that would insert the same rows.
pub(super) async fn copy_rows(
    client: &Client,
    copy: &Query,
    insert: &Query,
    organization: &Uuid,
    arrays: &Arrays<'_>,
) -> Result<(), Error> {
    let types = insert.row_types();
    let mut writer = pin!(BinaryCopyInWriter::new(copy.copy_in(client).await?, &types));
    let mut columns: Vec<_> = arrays.iter().map(|array| array.cells()).collect();
    while let Some(cells) = columns.iter_mut().map(Iterator::next).collect::<Option<Vec<_>>>() {
        let row: Vec<&(dyn ToSql + Sync)> = std::iter::once(organization as _).chain(cells).collect();
        writer.as_mut().write(&row).await?;
    }
    writer.finish().await?;
    Ok(())
}

/// A connection or a transaction of the host, for single statements.
pub(super) struct Plain<'c, C>(pub(super) &'c C);

impl<C: GenericClient + Sync> Execute for Plain<'_, C> {
    type Row = tokio_postgres::Row;

    async fn query(&mut self, query: &Query, values: &Values<'_>) -> Result<Vec<Self::Row>, PostgresError> {
        Ok(self.0.query_typed(&query.text().sql, &typed(query.types(), values)).await?)
    }

    async fn execute(&mut self, query: &Query, values: &Values<'_>) -> Result<u64, PostgresError> {
        Ok(self.0.execute_typed(&query.text().sql, &typed(query.types(), values)).await?)
    }
}

impl Row for tokio_postgres::Row {
    fn get<'r, T: tokio_postgres::types::FromSql<'r>>(&'r self, column: usize) -> Result<T, PostgresError> {
        Ok(self.try_get(column)?)
    }

    fn column_name(&self, column: usize) -> &str {
        self.columns().get(column).map_or("", tokio_postgres::Column::name)
    }
}

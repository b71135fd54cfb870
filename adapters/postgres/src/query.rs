//! A statement of the engine: prepared on a connection, or sent with its text.

use bytes::Bytes;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, CopyInSink, Error, Row, Statement};

/// A statement of the engine.
#[derive(Clone, Debug)]
pub(crate) enum Query {
    /// Prepared on one connection.
    Prepared(Statement),
    /// The text, and the types of its parameters. The server parses and plans it each time.
    Text(&'static str, Vec<Type>),
}

impl Query {
    /// Returns the types of the parameters.
    pub(crate) fn params(&self) -> &[Type] {
        match self {
            Self::Prepared(statement) => statement.params(),
            Self::Text(_, types) => types,
        }
    }

    /// Runs a query. It is sent when the future is first polled.
    pub(crate) async fn query(&self, client: &Client, values: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Error> {
        match self {
            Self::Prepared(statement) => client.query(statement, values).await,
            Self::Text(sql, types) => client.query_typed(sql, &typed(types, values)).await,
        }
    }

    /// Runs a query that returns a row at most.
    pub(crate) async fn query_opt(
        &self,
        client: &Client,
        values: &[&(dyn ToSql + Sync)],
    ) -> Result<Option<Row>, Error> {
        match self {
            Self::Prepared(statement) => client.query_opt(statement, values).await,
            Self::Text(sql, types) => client.query_typed_opt(sql, &typed(types, values)).await,
        }
    }

    /// Runs a write, and returns the number of rows. It is sent when the future is first polled.
    pub(crate) async fn execute(&self, client: &Client, values: &[&(dyn ToSql + Sync)]) -> Result<u64, Error> {
        match self {
            Self::Prepared(statement) => client.execute(statement, values).await,
            Self::Text(sql, types) => client.execute_typed(sql, &typed(types, values)).await,
        }
    }

    /// Begins a copy. A text is prepared for it, and closed at once, inside the transaction.
    pub(crate) async fn copy_in(&self, client: &Client) -> Result<CopyInSink<Bytes>, Error> {
        match self {
            Self::Prepared(statement) => client.copy_in(statement).await,
            Self::Text(sql, _) => client.copy_in(*sql).await,
        }
    }
}

fn typed<'v>(types: &[Type], values: &[&'v (dyn ToSql + Sync)]) -> Vec<(&'v (dyn ToSql + Sync), Type)> {
    values.iter().copied().zip(types.iter().cloned()).collect()
}

//! The seam between the statements of the engine and the drivers that run them. Each driver has a directory.

#[cfg(feature = "sqlx")]
pub(crate) mod sqlx;
#[cfg(feature = "tokio-postgres")]
pub(crate) mod tokio_postgres;
mod traits;

use postgres_types::{FromSql, ToSql};
use uuid::Uuid;

use crate::PostgresError;
use crate::fields::Arrays;
use crate::query::Query;

/// A handle on which one transaction of the engine can begin.
pub(crate) trait Begin: Send {
    type Transaction: Transaction;

    /// Begins a transaction that writes.
    fn begin(self) -> impl Future<Output = Result<Self::Transaction, PostgresError>> + Send;

    /// Begins a transaction that only reads.
    fn begin_read(self) -> impl Future<Output = Result<Self::Transaction, PostgresError>> + Send;
}

/// The parameters of a statement, in their order.
pub(crate) type Values<'a> = [&'a (dyn ToSql + Sync)];

/// A statement with its parameters.
pub(crate) type Bound<'a> = (&'a Query, Vec<&'a (dyn ToSql + Sync)>);

/// What runs single statements.
pub(crate) trait Execute: Send {
    type Row: Row;

    /// Runs a query.
    fn query(
        &mut self,
        query: &Query,
        values: &Values<'_>,
    ) -> impl Future<Output = Result<Vec<Self::Row>, PostgresError>> + Send;

    /// Runs a write, and returns the number of rows.
    fn execute(
        &mut self,
        query: &Query,
        values: &Values<'_>,
    ) -> impl Future<Output = Result<u64, PostgresError>> + Send;
}

/// A transaction of the engine: on a connection of the adapter, or a part of the host's transaction.
///
/// If it is dropped, it is rolled back before the next statement on the connection.
pub(crate) trait Transaction: Execute + Sized {
    /// Runs queries in this order, with as few round trips as the driver can. Returns the first error: the others follow
    /// from it.
    ///
    /// `None` is not sent, and has no rows.
    fn query_all<const N: usize>(
        &mut self,
        queries: [Option<Bound<'_>>; N],
    ) -> impl Future<Output = Result<[Vec<Self::Row>; N], PostgresError>> + Send;

    /// Runs the last queries of a transaction that only reads, as [`query_all`](Self::query_all) does.
    fn query_last<const N: usize>(
        self,
        queries: [Option<Bound<'_>>; N],
    ) -> impl Future<Output = Result<[Vec<Self::Row>; N], PostgresError>> + Send;

    /// Runs writes in this order, with as few round trips as the driver can. Returns the number of rows that each wrote, or
    /// the first error.
    fn execute_all(&mut self, writes: &[Bound<'_>]) -> impl Future<Output = Result<Vec<u64>, PostgresError>> + Send;

    /// Copies rows into a table: the organization, then one column for each array. `insert` is the statement that would
    /// insert the same rows.
    fn copy(
        &mut self,
        copy: &Query,
        insert: &Query,
        organization: &Uuid,
        arrays: &Arrays<'_>,
    ) -> impl Future<Output = Result<(), PostgresError>> + Send;

    fn commit(self) -> impl Future<Output = Result<(), PostgresError>> + Send;
}

/// A row of a result.
pub(crate) trait Row: Send + Sync {
    /// Reads a column, counted from 0.
    fn get<'r, T: FromSql<'r>>(&'r self, column: usize) -> Result<T, PostgresError>;

    /// Returns the name of a column, or an empty text.
    fn column_name(&self, column: usize) -> &str;
}

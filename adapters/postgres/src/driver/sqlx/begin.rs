//! The transactions of the engine on `sqlx`, which waits for each statement before it sends the next one.

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Connection, Postgres, SqlSafeStr, ValueRef};
use std::sync::Arc;
use uuid::Uuid;

use super::query::{binary_rows, query};
use crate::driver::{Begin, Bound, Execute, Transaction, Values};
use crate::fields::Arrays;
use crate::query::Query;
use crate::{PostgresError, Timeouts, schema};

/// A connection of a pool, with what begins a transaction on it.
pub(super) struct Session<'c> {
    pub(super) connection: &'c mut PgConnection,
    pub(super) begin: &'c BeginSql,
    pub(super) is_prepared: bool,
}

/// The statements that set the timeouts of a transaction, and read the version of the schema. They are one message.
#[derive(Debug)]
pub(super) struct BeginSql {
    write: Arc<str>,
    read: Arc<str>,
}

impl BeginSql {
    pub(super) fn new(timeouts: &Timeouts) -> Self {
        // The timeouts come before the version: a migration locks the table of versions.
        let read = format!("{}; {}", timeouts.set_local(), schema::STORED_VERSION);
        Self { write: format!("{}; {read}", schema::PROPAGATE_SETTINGS).into(), read: read.into() }
    }
}

impl<'c> Begin for Session<'c> {
    type Transaction = EngineTransaction<'c>;

    async fn begin(self) -> Result<EngineTransaction<'c>, PostgresError> {
        // Independent of the default isolation level.
        let begin = "start transaction isolation level read committed";
        let transaction = self.connection.begin_with(begin).await?;
        EngineTransaction::checked(Connected::Own(transaction), &self.begin.write, self.is_prepared).await
    }

    async fn begin_read(self) -> Result<EngineTransaction<'c>, PostgresError> {
        // All statements read one snapshot of the database.
        let begin = "start transaction isolation level repeatable read, read only";
        let transaction = self.connection.begin_with(begin).await?;
        EngineTransaction::checked(Connected::Own(transaction), &self.begin.read, self.is_prepared).await
    }
}

/// The host's transaction, with the host's timeouts.
pub(super) struct HostSession<'c> {
    pub(super) connection: &'c mut PgConnection,
    pub(super) is_prepared: bool,
}

impl<'c> Begin for HostSession<'c> {
    type Transaction = EngineTransaction<'c>;

    /// Sets a savepoint, so that a failed write keeps the host's rows.
    async fn begin(self) -> Result<EngineTransaction<'c>, PostgresError> {
        let savepoint = self.connection.begin().await?;
        let settings = format!("{}; {}", schema::PROPAGATE_SETTINGS, schema::STORED_VERSION).into();
        EngineTransaction::checked(Connected::Own(savepoint), &settings, self.is_prepared).await
    }

    async fn begin_read(self) -> Result<EngineTransaction<'c>, PostgresError> {
        let version = schema::STORED_VERSION.into();
        EngineTransaction::checked(Connected::Host(self.connection), &version, self.is_prepared).await
    }
}

/// A transaction on a connection of the pool, or a part of the host's transaction.
pub(super) struct EngineTransaction<'c> {
    connected: Connected<'c>,
    is_prepared: bool,
}

enum Connected<'c> {
    /// A transaction or a savepoint. If it is dropped, `sqlx` rolls it back before the next statement on the connection.
    Own(sqlx::Transaction<'c, Postgres>),
    Host(&'c mut PgConnection),
}

impl<'c> EngineTransaction<'c> {
    /// Sends the last statements of the beginning, and checks the version of the schema, which is their last row.
    async fn checked(connected: Connected<'c>, sql: &Arc<str>, is_prepared: bool) -> Result<Self, PostgresError> {
        let mut transaction = Self { connected, is_prepared };
        let rows = sqlx::raw_sql(AssertSqlSafe(Arc::clone(sql))).fetch_all(transaction.connection()).await?;
        schema::check_version(rows.last().map_or(Ok(0), stored_version)?)?;
        Ok(transaction)
    }

    /// Begins a transaction for statements that take long, without a check of the schema.
    pub(super) async fn for_long_statements(connection: &'c mut PgConnection) -> Result<Self, PostgresError> {
        let transaction = connection.begin_with("start transaction isolation level read committed").await?;
        let mut transaction = Self { connected: Connected::Own(transaction), is_prepared: false };
        let timeouts = AssertSqlSafe(Timeouts::for_long_statements().set_local()).into_sql_str();
        sqlx::raw_sql(timeouts).execute(transaction.connection()).await?;
        Ok(transaction)
    }

    fn connection(&mut self) -> &mut PgConnection {
        match &mut self.connected {
            Connected::Own(transaction) => transaction,
            Connected::Host(connection) => connection,
        }
    }
}

/// Reads the version of the schema in a row of texts. It is null if the table has no row.
fn stored_version(row: &PgRow) -> Result<i32, sqlx::Error> {
    let version = sqlx::Row::try_get_raw(row, 0)?;
    if version.is_null() {
        return Ok(0);
    }
    let text = version.as_str().map_err(sqlx::Error::Decode)?;
    text.parse().map_err(|e| sqlx::Error::Decode(Box::new(e)))
}

impl Execute for EngineTransaction<'_> {
    type Row = PgRow;

    async fn query(&mut self, statement: &Query, values: &Values<'_>) -> Result<Vec<PgRow>, PostgresError> {
        let query = query(statement, values)?.persistent(self.is_prepared);
        Ok(query.fetch_all(self.connection()).await?)
    }

    async fn execute(&mut self, statement: &Query, values: &Values<'_>) -> Result<u64, PostgresError> {
        let query = query(statement, values)?.persistent(self.is_prepared);
        Ok(query.execute(self.connection()).await?.rows_affected())
    }
}

/// Each statement takes one round trip, or two when the connection prepares it. A copy takes two.
impl Transaction for EngineTransaction<'_> {
    async fn query_all<const N: usize>(
        &mut self,
        queries: [Option<Bound<'_>>; N],
    ) -> Result<[Vec<PgRow>; N], PostgresError> {
        let mut rows = [const { Vec::new() }; N];
        for (query, rows) in queries.iter().zip(&mut rows) {
            if let Some((query, values)) = query {
                *rows = self.query(query, values).await?;
            }
        }
        Ok(rows)
    }

    async fn query_last<const N: usize>(
        mut self,
        queries: [Option<Bound<'_>>; N],
    ) -> Result<[Vec<PgRow>; N], PostgresError> {
        let rows = self.query_all(queries).await?;
        self.commit().await?;
        Ok(rows)
    }

    async fn execute_all(&mut self, writes: &[Bound<'_>]) -> Result<Vec<u64>, PostgresError> {
        let mut written = Vec::with_capacity(writes.len());
        for (statement, values) in writes {
            written.push(self.execute(statement, values).await?);
        }
        Ok(written)
    }

    async fn copy(
        &mut self,
        copy: &Query,
        insert: &Query,
        organization: &Uuid,
        arrays: &Arrays<'_>,
    ) -> Result<(), PostgresError> {
        let rows = binary_rows(insert, organization, arrays)?;
        let mut copy = self.connection().copy_in_raw(&copy.text().sql).await?;
        copy.send(rows).await?;
        copy.finish().await?;
        Ok(())
    }

    async fn commit(self) -> Result<(), PostgresError> {
        match self.connected {
            Connected::Own(transaction) => Ok(transaction.commit().await?),
            Connected::Host(_) => Ok(()),
        }
    }
}

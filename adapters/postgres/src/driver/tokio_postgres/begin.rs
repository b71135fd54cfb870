//! The transactions of the engine on `tokio-postgres`, which sends statements without waiting for the ones before.

use futures_util::TryStreamExt;
use futures_util::future::{FutureExt, join, join_all};
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use tokio_postgres::{Client, Error, Row, SimpleQueryMessage, SimpleQueryStream};
use uuid::Uuid;

use super::query::copy_rows;
use crate::driver::{Begin, Bound, Execute, Transaction, Values};
use crate::fields::Arrays;
use crate::query::Query;
use crate::{PostgresError, Timeouts, schema};

/// A connection of the adapter, with the statements that begin a transaction on it.
pub(crate) struct Session<'c> {
    pub(crate) client: &'c Client,
    pub(crate) begin: &'c BeginSql,
}

/// The statements that begin a transaction, set its timeouts, and read the version of the schema.
#[derive(Debug)]
pub(crate) struct BeginSql {
    write: String,
    read: String,
}

impl BeginSql {
    pub(crate) fn new(timeouts: &Timeouts) -> Self {
        // The timeouts come before the version: a migration locks the table of versions.
        let begin =
            |mode: &str| format!("start transaction {mode}; {}; {}", timeouts.set_local(), schema::STORED_VERSION);
        Self {
            // Independent of the default isolation level.
            write: begin(&format!("isolation level read committed; {}", schema::PROPAGATE_SETTINGS)),
            // All statements read one snapshot of the database.
            read: begin("isolation level repeatable read, read only"),
        }
    }
}

impl<'c> Begin for Session<'c> {
    type Transaction = EngineTransaction<'c>;

    async fn begin(self) -> Result<EngineTransaction<'c>, PostgresError> {
        EngineTransaction::start(self.client, &self.begin.write, Some(TRANSACTION)).await
    }

    async fn begin_read(self) -> Result<EngineTransaction<'c>, PostgresError> {
        EngineTransaction::start(self.client, &self.begin.read, Some(TRANSACTION)).await
    }
}

/// The host's transaction, with the host's timeouts.
impl<'t> Begin for &'t mut tokio_postgres::Transaction<'_> {
    type Transaction = EngineTransaction<'t>;

    /// Sets a savepoint, so that a failed write keeps the host's rows.
    async fn begin(self) -> Result<EngineTransaction<'t>, PostgresError> {
        let begin = format!("savepoint enroll; {}; {}", schema::PROPAGATE_SETTINGS, schema::STORED_VERSION);
        EngineTransaction::start(self.client(), &begin, Some(SAVEPOINT)).await
    }

    async fn begin_read(self) -> Result<EngineTransaction<'t>, PostgresError> {
        EngineTransaction::start(self.client(), schema::STORED_VERSION, None).await
    }
}

/// A transaction on a connection of the adapter, or a part of the host's transaction.
///
/// The statements that begin it are sent with its first statements, in one round trip. If it is dropped, it is rolled back
/// before the next statement on the connection.
pub(crate) struct EngineTransaction<'c> {
    client: &'c Client,
    /// The answer to the statements that began it. The first statements wait for it.
    began: Mutex<Option<SimpleQueryStream>>,
    /// How to end it, unless it has ended.
    end: Option<End>,
}

struct End {
    commit: &'static str,
    rollback: &'static str,
}

const TRANSACTION: End = End { commit: "commit", rollback: "rollback" };
const SAVEPOINT: End =
    End { commit: "release savepoint enroll", rollback: "rollback to savepoint enroll; release savepoint enroll" };

impl<'c> EngineTransaction<'c> {
    /// Sends the statements that begin the transaction. This does not wait for their answer.
    async fn start(client: &'c Client, sql: &str, end: Option<End>) -> Result<Self, PostgresError> {
        let began = client.simple_query_raw(sql).await?;
        Ok(Self { client, began: Mutex::new(Some(began)), end })
    }

    /// Begins a transaction for statements that take long, without a check of the schema.
    pub(super) async fn for_long_statements(client: &'c mut Client) -> Result<Self, PostgresError> {
        let transaction = Self { client, began: Mutex::new(None), end: Some(TRANSACTION) };
        let timeouts = Timeouts::for_long_statements().set_local();
        client.batch_execute(&format!("start transaction isolation level read committed; {timeouts}")).await?;
        Ok(transaction)
    }

    /// Returns the connection, for statements inside the transaction.
    pub(crate) fn client(&self) -> &'c Client {
        self.client
    }

    /// Waits for the answer to statements that are sent when the future is first polled.
    ///
    /// If the transaction did not begin, or the schema is newer, returns that error: the errors of the statements follow
    /// from it.
    pub(crate) async fn answer<T>(&self, statements: impl Future<Output = T>) -> Result<T, PostgresError> {
        let began = self.began.lock().unwrap_or_else(PoisonError::into_inner).take();
        match began {
            Some(began) => {
                let (version, answer) = join(schema_version(began), statements).await;
                schema::check_version(version?)?;
                Ok(answer)
            }
            None => Ok(statements.await),
        }
    }

    /// Waits for the answer to the last statements of a transaction that only reads. The commit is sent with them.
    pub(crate) async fn last<T>(
        mut self,
        statements: impl Future<Output = Result<T, PostgresError>>,
    ) -> Result<T, PostgresError> {
        let end = self.end.take();
        let commit = async {
            match end {
                Some(end) => self.client.batch_execute(end.commit).await,
                None => Ok(()),
            }
        };
        let (answer, committed) = join(self.answer(statements), commit).await;
        let answer = answer??;
        committed?;
        Ok(answer)
    }
}

impl Execute for EngineTransaction<'_> {
    type Row = Row;

    async fn query(&mut self, query: &Query, values: &Values<'_>) -> Result<Vec<Row>, PostgresError> {
        Ok(self.answer(query.query(self.client, values)).await??)
    }

    async fn execute(&mut self, query: &Query, values: &Values<'_>) -> Result<u64, PostgresError> {
        Ok(self.answer(query.execute(self.client, values)).await??)
    }
}

/// Statements are sent in one round trip.
impl Transaction for EngineTransaction<'_> {
    async fn query_all<const N: usize>(
        &mut self,
        queries: [Option<Bound<'_>>; N],
    ) -> Result<[Vec<Row>; N], PostgresError> {
        self.answer(query_each(self.client, queries)).await?
    }

    async fn query_last<const N: usize>(self, queries: [Option<Bound<'_>>; N]) -> Result<[Vec<Row>; N], PostgresError> {
        let client = self.client;
        self.last(query_each(client, queries)).await
    }

    async fn execute_all(&mut self, writes: &[Bound<'_>]) -> Result<Vec<u64>, PostgresError> {
        let writes = writes.iter().map(|(query, values)| query.execute(self.client, values));
        Ok(self.answer(join_all(writes)).await?.into_iter().collect::<Result<_, Error>>()?)
    }

    async fn copy(
        &mut self,
        copy: &Query,
        insert: &Query,
        organization: &Uuid,
        arrays: &Arrays<'_>,
    ) -> Result<(), PostgresError> {
        Ok(self.answer(copy_rows(self.client, copy, insert, organization, arrays)).await??)
    }

    async fn commit(mut self) -> Result<(), PostgresError> {
        if let Some(end) = self.end.take() {
            self.client.batch_execute(end.commit).await?;
        }
        Ok(())
    }
}

async fn query_each<const N: usize>(
    client: &Client,
    queries: [Option<Bound<'_>>; N],
) -> Result<[Vec<Row>; N], PostgresError> {
    // A query is sent when it is first polled, and these are polled in order.
    let results = join_all(queries.iter().map(async |query| match query {
        Some((query, values)) => query.query(client, values).await,
        None => Ok(Vec::new()),
    }))
    .await;
    let mut rows = [const { Vec::new() }; N];
    for (rows, result) in rows.iter_mut().zip(results) {
        *rows = result?;
    }
    Ok(rows)
}

impl Drop for EngineTransaction<'_> {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            // The first poll sends the statement. Nothing waits for its answer.
            drop(self.client.simple_query_raw(end.rollback).now_or_never());
        }
    }
}

/// Returns the version of the schema, which is the last row of the statements that began a transaction.
async fn schema_version(began: SimpleQueryStream) -> Result<i32, PostgresError> {
    let mut began = pin!(began);
    let mut version = None;
    while let Some(message) = began.try_next().await? {
        if let SimpleQueryMessage::Row(row) = message {
            version = row.try_get(0)?.and_then(|version| version.parse().ok());
        }
    }
    Ok(version.unwrap_or(0))
}

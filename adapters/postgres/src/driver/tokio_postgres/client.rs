//! A repository that owns its connection.

use tokio_postgres::Client;

use super::begin::{BeginSql, Session};
use crate::driver::traits::implement_traits;
use crate::trace::{Attempts, traced};
use crate::{PostgresError, Statements, Timeouts};

/// A repository and inbox on one connection. It prepares its statements once, at the first call.
///
/// The host drives the connection with `tokio::spawn(connection)`. After the connection is lost, every call returns an
/// error of the kind [`Unavailable`](enroll::RepositoryErrorKind::Unavailable): open another connection.
///
/// Each call has the [`Timeouts`]. If the host drops a call, its transaction is rolled back before the next statement. The
/// running statement is not cancelled, because a late request to cancel could hit the host's next statement.
///
/// ```no_run
/// use enroll_postgres::PostgresClient;
/// use enroll_postgres::tokio_postgres::{self, NoTls};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let (client, connection) = tokio_postgres::connect("postgres://app@db.example/app", NoTls).await?;
/// tokio::spawn(connection);
/// let mut repository = PostgresClient::new(client);
///
/// // The host uses the same connection for its own SQL.
/// repository.client().batch_execute("set statement_timeout = '10s'").await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct PostgresClient {
    client: Client,
    statements: Option<Statements>,
    is_prepared: bool,
    begin: BeginSql,
    attempts: Attempts,
}

impl PostgresClient {
    /// Creates a repository on a connection to a database that has the schema: see [`migrate`](crate::migrate).
    #[must_use]
    pub fn new(client: Client) -> Self {
        let begin = BeginSql::new(&Timeouts::default());
        Self { client, statements: None, is_prepared: true, begin, attempts: Attempts::default() }
    }

    /// Replaces the default timeouts.
    #[must_use]
    pub fn with_timeouts(self, timeouts: &Timeouts) -> Self {
        Self { begin: BeginSql::new(timeouts), ..self }
    }

    /// Sets whether the connection prepares the statements once, which is the default. Otherwise, each statement is sent with
    /// its text, for a pooler that gives the connection to other clients between transactions.
    #[must_use]
    pub fn with_prepared_statements(self, prepared: bool) -> Self {
        Self { is_prepared: prepared, statements: None, ..self }
    }

    /// Returns the connection for the host's own SQL.
    #[must_use]
    pub fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// Returns the connection, and ends the repository.
    #[must_use]
    pub fn into_client(self) -> Client {
        self.client
    }

    async fn statements(&mut self) -> Result<Statements, PostgresError> {
        if let Some(statements) = &self.statements {
            return Ok(statements.clone());
        }
        let session = self.session();
        let statements = if self.is_prepared {
            Statements::prepare_in(session).await?
        } else {
            Statements::texts_in(session).await?
        };
        Ok(self.statements.insert(statements).clone())
    }

    fn session(&self) -> Session<'_> {
        Session { client: &self.client, begin: &self.begin }
    }
}

macro_rules! call {
    ($client:ident, $function:path $(, $argument:expr)*) => {{
        let statements = $client.statements().await?;
        Ok($function(traced($client.session()), &statements.0 $(, $argument)*).await?)
    }};
    (unprepared $client:ident, $function:path $(, $argument:expr)*) => {
        Ok($function(traced($client.session()) $(, $argument)*).await?)
    };
}

implement_traits!(PostgresClient, call);

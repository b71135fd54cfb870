//! Prepares the statements on a connection.

use futures_util::future::try_join_all;
use tokio_postgres::GenericClient;

use super::begin::EngineTransaction;
use super::query::Plain;
use crate::driver::Begin;
use crate::query::{Query, Text};
use crate::statements::{is_distributed, texts};
use crate::{PostgresError, Statements};

impl Statements {
    /// Prepares all statements, in two round trips.
    ///
    /// # Errors
    /// [`PostgresError::NoSchema`] if the schema does not exist. Any other error of the database.
    pub async fn prepare(client: &(impl GenericClient + Sync)) -> Result<Self, PostgresError> {
        let texts = texts(is_distributed(&mut Plain(client)).await?);
        Self::new(prepare(client, texts).await?.into_iter())
    }

    /// Prepares all statements in a transaction, so that the timeouts apply.
    pub(super) async fn prepare_in<'c>(
        client: impl Begin<Transaction = EngineTransaction<'c>>,
    ) -> Result<Self, PostgresError> {
        let mut transaction = client.begin_read().await?;
        let texts = texts(is_distributed(&mut transaction).await?);
        let client = transaction.client();
        Self::new(transaction.last(prepare(client, texts)).await?.into_iter())
    }
}

async fn prepare(client: &impl GenericClient, texts: &'static [Text]) -> Result<Vec<Query>, PostgresError> {
    let queries = texts.iter().map(async |text| -> Result<Query, PostgresError> {
        let mut query = Query::of_text(text);
        query.prepared = Some(client.prepare(&text.sql).await?);
        Ok(query)
    });
    try_join_all(queries).await
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use tokio_postgres::NoTls;

    use crate::needs_postgres;
    use crate::statements::texts;
    use crate::testing::Server;

    #[test]
    #[ignore = needs_postgres!()]
    fn the_casts_of_each_statement_are_the_types_that_the_server_infers() {
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let url = Server::shared().database().await.unwrap();
            let (client, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
            tokio::spawn(connection);
            for text in texts(false).iter().chain(texts(true)) {
                let statement = client.prepare(&text.sql).await.unwrap();
                assert_eq!(statement.params(), text.types, "{}", text.sql);
            }
        });
    }
}

//! Places an order, and accepts the enrollment of its buyer, in one transaction.

use std::time::SystemTime;

use enroll::{
    AsyncRepository, Engine, Enrollment, EnrollmentCommand, EnrollmentKey, EnrollmentRequest, Recipient, Rejection,
};
use enroll_postgres::sql::{ACCEPT, AcceptParameters, FIND};
use sea_orm::{
    ActiveModelTrait, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, IntoActiveModel,
    QueryResult, Statement, TransactionTrait, Value,
};

use crate::{ORGANIZATION, Order, SEQUENCE, Shop};

/// What became of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    /// The order and the enrollment were written. A worker does the rest.
    Now,
    /// The same order came before. Nothing was written.
    Before,
}

/// Why an order was refused. Nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// Another order has the number: 409.
    #[error("order {0} exists with another buyer; choose another number")]
    Conflict(i64),
    /// The engine refuses the request, with all reasons: 404, 409 or 422.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    #[error("the order was not written")]
    Database(#[from] DbErr),
    #[error("the order was not checked")]
    Other(#[from] Box<dyn std::error::Error + Send + Sync>),
}

/// An order that was checked. `accept` has the values that store its enrollment.
pub struct Checked<'a> {
    order: &'a Order,
    accept: AcceptParameters,
}

impl Shop {
    /// Places an order. The same order can be sent again.
    pub async fn place(&self, order: &Order) -> Result<Placed, OrderError> {
        let Some(checked) = self.check(order).await? else { return Ok(Placed::Before) };
        checked.write(&self.database).await
    }

    /// Checks the enrollment of an order. Returns `None` if the same order came before.
    pub async fn check<'a>(&self, order: &'a Order) -> Result<Option<Checked<'a>>, OrderError> {
        let mut buyer = Recipient::new(order.phone.as_str());
        buyer.name = Some(order.name.as_str().into());
        let request = EnrollmentRequest::new([buyer]);
        let key = format!("order-{}", order.number);
        let enrollment = Enrollment {
            organization_id: ORGANIZATION,
            sequence_id: SEQUENCE,
            // One order is one enrollment.
            key: EnrollmentKey::Idempotency(&key),
            at: SystemTime::now().try_into().map_err(|e| OrderError::Other(Box::new(e)))?,
            list: None,
            request: &request,
        };
        let mut repository = self.repository.clone();
        let reference = repository.reference_data(&enrollment.reference_query()).await;
        let reference = reference.map_err(|e| OrderError::Other(Box::new(e)))?;
        if enrollment.previous(&reference).is_some() {
            return Ok(None);
        }
        let command = EnrollmentCommand::check(&enrollment, &reference, &Engine::new(&self.policy))?;
        let accept = AcceptParameters::new(&command).map_err(|e| OrderError::Other(Box::new(e)))?;
        Ok(Some(Checked { order, accept }))
    }
}

impl Checked<'_> {
    /// Writes the enrollment and the order, or nothing.
    pub async fn write(&self, database: &DatabaseConnection) -> Result<Placed, OrderError> {
        let Self { order, accept } = self;
        // READ COMMITTED, the default. An error drops the transaction, which rolls it back.
        let transaction = database.begin().await?;
        let values: [Value; 7] = [
            accept.organization_id.into(),
            accept.enrollment_id.into(),
            accept.sequence_id.into(),
            accept.fingerprint.clone().into(),
            accept.at.clone().into(),
            accept.command.clone().into(),
            accept.erased_recipients.into(),
        ];
        if query_one(&transaction, ACCEPT, values).await?.try_get("", "inserted")? {
            // All columns of the model are inserted.
            (*order).clone().into_active_model().reset_all().insert(&transaction).await?;
            transaction.commit().await?;
            return Ok(Placed::Now);
        }
        // An enrollment with the key was committed after the check.
        let ids: [Value; 2] = [accept.organization_id.into(), accept.enrollment_id.into()];
        let fingerprint: Vec<u8> = query_one(&transaction, FIND, ids).await?.try_get("", "fingerprint")?;
        if fingerprint == accept.fingerprint { Ok(Placed::Before) } else { Err(OrderError::Conflict(order.number)) }
    }
}

/// Runs a statement that returns one row.
async fn query_one<const N: usize>(
    transaction: &DatabaseTransaction,
    sql: &str,
    values: [Value; N],
) -> Result<QueryResult, DbErr> {
    let statement = Statement::from_sql_and_values(DbBackend::Postgres, sql, values);
    let row = transaction.query_one_raw(statement).await?;
    row.ok_or_else(|| DbErr::RecordNotFound("the enrollment was deleted meanwhile".to_owned()))
}

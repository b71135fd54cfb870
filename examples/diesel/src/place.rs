//! Places an order, and accepts the enrollment of its buyer, in one transaction.

use std::time::SystemTime;

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Binary, Bool, Text, Uuid};
use diesel::{insert_into, sql_query};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
use enroll::{
    AsyncRepository, Engine, Enrollment, EnrollmentCommand, EnrollmentKey, EnrollmentRequest, Recipient, Rejection,
};
use enroll_postgres::sql::{ACCEPT, AcceptParameters, FIND};

use crate::{ORGANIZATION, SEQUENCE, Shop};

diesel::table! {
    orders (number) {
        number -> BigInt,
        phone -> Text,
        name -> Text,
    }
}

/// An order, as its buyer sends it.
#[derive(Clone, Debug, Insertable)]
#[diesel(table_name = orders)]
pub struct Order {
    pub number: i64,
    pub phone: String,
    pub name: String,
}

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
    Database(#[from] diesel::result::Error),
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
        let mut connection = self.pool.get().await.map_err(|e| OrderError::Other(e.into()))?;
        checked.write(&mut connection).await
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

#[derive(QueryableByName)]
struct Accepted {
    #[diesel(sql_type = Bool)]
    inserted: bool,
}

#[derive(QueryableByName)]
struct Existing {
    #[diesel(sql_type = Binary)]
    fingerprint: Vec<u8>,
}

impl Checked<'_> {
    /// Writes the enrollment and the order, or nothing.
    pub async fn write(&self, connection: &mut AsyncPgConnection) -> Result<Placed, OrderError> {
        let Self { order, accept } = self;
        // READ COMMITTED, the default. An error rolls back.
        let write = async |connection: &mut AsyncPgConnection| {
            let Accepted { inserted } = sql_query(ACCEPT)
                .bind::<Uuid, _>(accept.organization_id)
                .bind::<Uuid, _>(accept.enrollment_id)
                .bind::<Uuid, _>(accept.sequence_id)
                .bind::<Binary, _>(&accept.fingerprint)
                .bind::<Text, _>(&accept.at)
                .bind::<Text, _>(&accept.command)
                .bind::<BigInt, _>(accept.erased_recipients)
                .get_result(connection)
                .await?;
            if inserted {
                insert_into(orders::table).values(*order).execute(connection).await?;
                return Ok(Placed::Now);
            }
            // An enrollment with the key was committed after the check.
            let existing: Existing = sql_query(FIND)
                .bind::<Uuid, _>(accept.organization_id)
                .bind::<Uuid, _>(accept.enrollment_id)
                .get_result(connection)
                .await?;
            if existing.fingerprint == accept.fingerprint {
                Ok(Placed::Before)
            } else {
                Err(OrderError::Conflict(order.number))
            }
        };
        connection.transaction(write).await
    }
}

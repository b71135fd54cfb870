//! SQL for a host with another driver: accept an enrollment in its own transaction, and keep the migrations.
//!
//! A host that uses `tokio-postgres` has [`PostgresTransaction`](crate::PostgresTransaction) for the same, and one that uses
//! `sqlx` has [`SqlxTransaction`](crate::SqlxTransaction). A host with Diesel, `SeaORM` or another driver writes the accepted command with [`ACCEPT`], together with its own rows. The
//! workers do the rest, on connections of this crate.
//!
//! 1. The engine checks the request: [`enroll::operation::accept`] driven to
//!    [`Accepted::Insert`](enroll::operation::Accepted::Insert), or [`EnrollmentCommand::check`]. For this, a
//!    [`PostgresRepository`](crate::PostgresRepository) reads the reference data.
//! 2. The host runs [`ACCEPT`] in its transaction, with the values of [`AcceptParameters`].
//! 3. The result is one row with a boolean. True says that the enrollment was inserted. False says that its id already
//!    exists. Then the host runs [`FIND`] and compares the fingerprint with [`AcceptParameters::fingerprint`]. If both are
//!    equal, it is the same request, and the host answers as the first time. Otherwise it is another request with the same
//!    key: a conflict (409).
//! 4. The host commits. A worker can claim the enrollment from then on. After a rollback, nothing exists.
//!
//! ```no_run
//! use enroll::EnrollmentCommand;
//! use enroll_postgres::sql::{ACCEPT, AcceptParameters, FIND};
//! # use enroll_postgres::tokio_postgres;
//! use tokio_postgres::Client;
//!
//! /// Returns false if the key belongs to another request. The driver stands for any other.
//! async fn order(client: &mut Client, command: &EnrollmentCommand) -> Result<bool, Box<dyn std::error::Error>> {
//!     let accept = AcceptParameters::new(command)?;
//!     let transaction = client.transaction().await?;
//!     transaction.execute("insert into orders values (1)", &[]).await?;
//!     let accepted = transaction
//!         .query_one(
//!             ACCEPT,
//!             &[
//!                 &accept.organization_id,
//!                 &accept.enrollment_id,
//!                 &accept.sequence_id,
//!                 &accept.fingerprint,
//!                 &accept.at,
//!                 &accept.command,
//!                 &accept.erased_recipients,
//!             ],
//!         )
//!         .await?;
//!     if !accepted.try_get::<_, bool>(0)? {
//!         let existing = transaction.query_one(FIND, &[&accept.organization_id, &accept.enrollment_id]).await?;
//!         if existing.try_get::<_, Vec<u8>>(0)? != accept.fingerprint {
//!             return Ok(false); // dropping the transaction rolls it back
//!         }
//!     }
//!     transaction.commit().await?;
//!     Ok(true)
//! }
//! ```
//!
//! # Transactions
//! Use READ COMMITTED, PostgreSQL's default. At REPEATABLE READ or SERIALIZABLE, the statement is correct too, but fails more
//! often with `serialization_failure` (40001): repeat the transaction.
//!
//! If two transactions insert the same id, the second one waits until the first one has ended. Acceptances of different ids do
//! not wait for each other, and not for enrollments that are processed. Only the first acceptances of an organization, and the
//! first ones after its queue became empty, wait for each other. A transaction that accepts for several organizations
//! takes them in the order of their ids, to avoid deadlocks.
//!
//! # Versions of the schema
//! The function `enroll.accept` belongs to the schema, and each migration keeps its parameters. It adds the organization's row,
//! inserts the enrollment and wakes the queue. A trigger counts the enrollment: do not disable it
//! (`session_replication_role`). [`PostgresRepository`](crate::PostgresRepository) accepts with the same statement.

use enroll::EnrollmentCommand;
use uuid::Uuid;

pub use crate::schema::{Migration, migrations};

/// Inserts an accepted enrollment, if no enrollment has its id. Returns one row with a `boolean`, `inserted`: whether it did.
///
/// The parameters are the fields of [`AcceptParameters`], in their order:
///
/// | | Type | |
/// |---|---|---|
/// | `$1` | `uuid` | the organization |
/// | `$2` | `uuid` | the enrollment |
/// | `$3` | `uuid` | the sequence |
/// | `$4` | `bytea` | the fingerprint of the request: 32 bytes |
/// | `$5` | `text` | the instant of the request, in RFC 3339 |
/// | `$6` | `text` | the command, in JSON |
/// | `$7` | `bigint` | the number of recipients that were erased from the command |
///
/// The enrollment is due at once, even if its request has a later instant.
pub const ACCEPT: &str = "select enroll.accept($1::uuid, $2::uuid, $3::uuid, $4::bytea, $5::text::timestamptz, \
    $6::text::json, $7::bigint) as inserted";

/// Selects the fingerprint (`bytea`) and the state (`text`) of an enrollment. `$1` is the organization, `$2` the enrollment.
///
/// The states are `accepted`, `completed`, `rejected` and `failed`.
pub const FIND: &str = "select fingerprint, state from enroll.enrollments where organization_id = $1 and id = $2";

/// The parameters of [`ACCEPT`], in their order, as types that every driver can bind.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AcceptParameters {
    /// `$1`, a `uuid`: the organization.
    pub organization_id: Uuid,
    /// `$2`, a `uuid`: the enrollment.
    pub enrollment_id: Uuid,
    /// `$3`, a `uuid`: the sequence.
    pub sequence_id: Uuid,
    /// `$4`, a `bytea`: the fingerprint of the request, 32 bytes.
    pub fingerprint: Vec<u8>,
    /// `$5`, a `text`: the instant of the request, in RFC 3339.
    pub at: String,
    /// `$6`, a `text`: the command, in JSON.
    pub command: String,
    /// `$7`, a `bigint`: the number of recipients that were erased from the command.
    pub erased_recipients: i64,
}

impl AcceptParameters {
    /// Returns the parameters that store a command.
    ///
    /// # Errors
    /// If the command cannot be converted to JSON.
    pub fn new(command: &EnrollmentCommand) -> Result<Self, serde_json::Error> {
        Ok(Self {
            organization_id: command.organization_id().as_uuid(),
            enrollment_id: command.enrollment_id().as_uuid(),
            sequence_id: command.sequence_id().as_uuid(),
            fingerprint: command.fingerprint().as_bytes().to_vec(),
            at: command.at().to_string(),
            command: serde_json::to_string(command)?,
            erased_recipients: command.erased_recipients().into(),
        })
    }
}

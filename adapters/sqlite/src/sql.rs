//! SQL for a host with another driver: accept an enrollment in its own transaction, and keep the migrations.
//!
//! A host that uses `rusqlite` has [`SqliteTransaction`](crate::SqliteTransaction) for the same. A host with sqlx, Diesel,
//! `SeaORM` or another driver writes the accepted command with [`ACCEPT`], together with its own rows. The workers do the
//! rest, on connections of this crate.
//!
//! 1. The engine checks the request: [`enroll::operation::accept`] driven to
//!    [`Accepted::Insert`](enroll::operation::Accepted::Insert), or [`EnrollmentCommand::check`]. For this, a
//!    [`SqliteRepository`](crate::SqliteRepository) on the same file reads the reference data.
//! 2. The host runs [`ACCEPT`] in its transaction, with the values of [`AcceptParameters`].
//! 3. One changed row (`changes()`) says that the enrollment was inserted. No changed row says that its id already exists.
//!    Then the host runs [`FIND`] and compares the fingerprint with [`AcceptParameters::fingerprint`]. If both are equal, it
//!    is the same request, and the host answers as the first time. Otherwise it is another request with the same key: a
//!    conflict (409).
//! 4. The host commits. A worker can claim the enrollment from then on. After a rollback, nothing exists.
//!
//! ```
//! use enroll::EnrollmentCommand;
//! use enroll_sqlite::rusqlite::{Connection, params};
//! use enroll_sqlite::sql::{ACCEPT, AcceptParameters, FIND};
//!
//! /// Returns false if the key belongs to another request. The driver stands for any other.
//! fn order(connection: &Connection, command: &EnrollmentCommand) -> Result<bool, Box<dyn std::error::Error>> {
//!     let accept = AcceptParameters::new(command)?;
//!     connection.execute_batch("begin immediate; insert into orders values (1)")?;
//!     let inserted = connection.execute(
//!         ACCEPT,
//!         params![
//!             accept.organization_id,
//!             accept.enrollment_id,
//!             accept.sequence_id,
//!             accept.fingerprint,
//!             accept.at,
//!             accept.command,
//!             accept.erased_recipients
//!         ],
//!     )?;
//!     let fingerprint: Vec<u8> =
//!         connection.query_row(FIND, params![accept.organization_id, accept.enrollment_id], |row| row.get(0))?;
//!     let accepted = inserted == 1 || fingerprint == accept.fingerprint;
//!     connection.execute_batch(if accepted { "commit" } else { "rollback" })?;
//!     Ok(accepted)
//! }
//! ```
//!
//! # Connections
//! - The database is a file that [`SqliteRepository`](crate::SqliteRepository) opened before: this sets WAL mode, which the
//!   file keeps.
//! - Each connection that writes sets `pragma foreign_keys = on` and a `busy_timeout`, and for acceptances that a power cut
//!   must not undo, `pragma synchronous = full`.
//! - Begin the transaction with `begin immediate`. Otherwise it can fail with `SQLITE_BUSY_SNAPSHOT`, and no wait helps.
//! - One connection writes at a time. The adapter's own writers of a process wait for each other in turn; the host's driver
//!   waits with its `busy_timeout`. Keep such transactions short.
//! - Use one copy of SQLite in a process: two copies that have the same file open can damage it. The README of this crate
//!   has the versions of `sqlx` and `diesel` that share one.
//!
//! # Versions of the schema
//! The statement has only columns that every version of the schema keeps. Triggers of the schema do what else belongs to an
//! acceptance: they add the organization's row, wake its queue and count the enrollment. Do not disable them.

use enroll::EnrollmentCommand;
use uuid::Uuid;

pub use crate::schema::{Migration, migrations};

/// Inserts an accepted enrollment, if no enrollment has its id. Changes one row, or none.
///
/// The parameters are the fields of [`AcceptParameters`], in their order:
///
/// | | Type | |
/// |---|---|---|
/// | `?1` | `blob` | the organization: 16 bytes |
/// | `?2` | `blob` | the enrollment: 16 bytes |
/// | `?3` | `blob` | the sequence: 16 bytes |
/// | `?4` | `blob` | the fingerprint of the request: 32 bytes |
/// | `?5` | `integer` | the instant of the request, in milliseconds since 1970 |
/// | `?6` | `text` | the command, in JSON |
/// | `?7` | `integer` | the number of recipients that were erased from the command |
///
/// The enrollment is due at once, even if its request has a later instant.
pub const ACCEPT: &str = "insert into enroll_enrollments
    (organization_id, id, sequence_id, fingerprint, at, command, erased_recipients, state, due_at)
values (?1, ?2, ?3, ?4, ?5, ?6, ?7, 'accepted', 0)
on conflict (organization_id, id) do nothing";

/// Selects the fingerprint (`blob`) and the state (`text`) of an enrollment. `?1` is the organization, `?2` the enrollment.
///
/// The states are `accepted`, `completed`, `rejected` and `failed`.
pub const FIND: &str = "select fingerprint, state from enroll_enrollments where organization_id = ?1 and id = ?2";

/// The parameters of [`ACCEPT`], in their order, as types that every driver can bind.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AcceptParameters {
    /// `?1`, a `blob` of 16 bytes: the organization.
    pub organization_id: Uuid,
    /// `?2`, a `blob` of 16 bytes: the enrollment.
    pub enrollment_id: Uuid,
    /// `?3`, a `blob` of 16 bytes: the sequence.
    pub sequence_id: Uuid,
    /// `?4`, a `blob` of 32 bytes: the fingerprint of the request.
    pub fingerprint: Vec<u8>,
    /// `?5`, an `integer`: the instant of the request, in milliseconds since 1970.
    pub at: i64,
    /// `?6`, a `text`: the command, in JSON.
    pub command: String,
    /// `?7`, an `integer`: the number of recipients that were erased from the command.
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
            at: command.at().millis(),
            command: serde_json::to_string(command)?,
            erased_recipients: command.erased_recipients().into(),
        })
    }
}

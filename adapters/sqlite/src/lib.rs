//! SQLite as a repository of [`enroll`].
//!
//! [`SqliteRepository`] has a connection of its own; [`SqliteTransaction`] works inside the open transaction of a host,
//! so that its own rows and the enrollment stand or fall together.
//!
//! ```
//! use enroll::{Engine, Enrollment, EnrollmentKey, EnrollmentPolicy, EnrollmentRequest, OrganizationId, SequenceId};
//! use enroll_sqlite::SqliteRepository;
//! use rusqlite::params;
//! use uuid::Uuid;
//!
//! let mut repository = SqliteRepository::open_in_memory()?;
//!
//! // The host's part: an organization with a sequence of one step.
//! let [organization, sequence, step] = [1, 2, 3].map(Uuid::from_u128);
//! let connection = repository.connection();
//! connection.execute("insert into enroll_organizations values (?1)", [organization])?;
//! connection.execute(
//!     "insert into enroll_sequences (organization_id, id, status) values (?1, ?2, 'active')",
//!     [organization, sequence],
//! )?;
//! connection.execute(
//!     "insert into enroll_steps (organization_id, sequence_id, id, position, channel_kind)
//!      values (?1, ?2, ?3, 1, 'phone')",
//!     params![organization, sequence, step],
//! )?;
//!
//! let request = EnrollmentRequest::from_json(br#"{"to": [{"phone": "+1 202 555 0123", "name": "Ann"}]}"#);
//! let enrollment = Enrollment {
//!     organization_id: OrganizationId::from_uuid(organization),
//!     sequence_id: SequenceId::from_uuid(sequence),
//!     key: EnrollmentKey::Idempotency("request-1"),
//!     at: "2026-02-01T15:00:00Z".parse()?,
//!     request: &request,
//! };
//! let policy = EnrollmentPolicy::default();
//! let report = enroll::enroll_contacts(&mut repository, &Engine::new(&policy), &enrollment)?.report;
//! assert_eq!(report.counts().added, 1);
//!
//! let name: String = repository.connection().query_row("select name from enroll_contacts", [], |row| row.get(0))?;
//! assert_eq!(name, "Ann");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # For hosts that write the tables too
//! The schema is `src/migrations/`. Constraints keep what must be unique, and triggers raise the versions by which the
//! engine sees that something changed, whoever writes. Each connection that writes needs `pragma foreign_keys = on`.
//! Of two ways to write a row again, take `insert … on conflict do update`: `insert or replace` deletes the row first,
//! with what stands round it, and begins its version anew.
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable))]

mod error;
mod fields;
mod id_ranges;
mod inbox;
mod read;
mod repository;
mod schema;
#[cfg(feature = "seed")]
pub mod seed;
mod tables;
#[cfg(feature = "testing")]
pub mod testing;
mod transaction;
mod write;

pub use error::SqliteError;
pub use repository::{BUSY_TIMEOUT, SqliteRepository};
pub use schema::migrate;
pub use transaction::SqliteTransaction;

//! Stores the data of [`enroll`] in SQLite.
//!
//! | Type | For |
//! |---|---|
//! | [`SqliteRepository`] | a host that gives the adapter its own connection |
//! | [`SqliteFile`] | a host with several repositories on one file |
//! | [`SqliteTransaction`] | a host that writes its own rows and the enrollment in one transaction, also with a plain `&Connection` |
//! | [`mod@sql`] | a host that accepts in a transaction of another driver, or keeps the migrations itself |
//!
//! The repository and the transaction implement [`Repository`](enroll::Repository), [`Inbox`](enroll::Inbox) and
//! [`EventLog`](enroll::events::EventLog).
//!
//! # Example
//!
//! ```
//! use enroll::{Engine, Enrollment, EnrollmentKey, EnrollmentPolicy, EnrollmentRequest, OrganizationId, SequenceId};
//! use enroll_sqlite::SqliteRepository;
//! use enroll_sqlite::rusqlite::params;
//! use uuid::Uuid;
//!
//! let mut repository = SqliteRepository::open_in_memory()?;
//!
//! // The host writes the reference data: an organization with a sequence of one step.
//! let [organization, sequence, step] = [1, 2, 3].map(Uuid::from_u128);
//! let connection = repository.connection();
//! connection.execute("insert into enroll_organizations (organization_id) values (?1)", [organization])?;
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
//!     list: None,
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
//! # Tables
//! [`migrate`] creates the tables; [`SqliteRepository::open`] calls it. Hosts read and write them with their own SQL. The
//! schema is in `src/migrations/`, with comments.
//!
//! Constraints enforce uniqueness, and triggers raise the versions by which the engine detects changes. Both apply to a
//! host's writes too. A host should do two things:
//! - Set `pragma foreign_keys = on` on each connection that writes.
//! - Replace rows with `insert … on conflict do update`. `insert or replace` deletes the old row with its related rows,
//!   and resets its version.
//!
//! # Features
//! | Feature | Effect |
//! |---|---|
//! | `bundled` (default) | compiles SQLite into the host; without it, the system's SQLite 3.45.3 or later is linked |
//! | `seed` | adds [`seed`]: loads rows from JSON, and reads all rows |
//! | `testing` | adds [`testing`]: writes single rows as a host does |
//! | `tracing` | a `tracing` span for each call and each statement; see [Spans](#spans) |
//!
//! # Spans
//! With the feature `tracing`, each call of a repository has a span of the level `DEBUG` with the target `enroll_sqlite`, named as the
//! method: `load`, `commit`, `claim`, and so on. If it fails, `error` is the kind of the error. `erase` has none.
//!
//! - A `commit` has the enrollment, the numbers of rows, `attempt` (the number of commits of this enrollment on this handle, as
//!   long as conflicts refuse them), and `outcome`: `committed`, `conflict`, `unavailable` or `other`. For a conflict, `conflict`
//!   says which fact changed. There is an event `committed` or `conflict` too.
//! - Within a call, each prepared statement has a span `statement` with `db.query.summary`, such as `select enroll_contacts`, and
//!   `rows`: how many it read or wrote. `otel.name` is the same, for `tracing-opentelemetry`.
//!
//! Spans and events have ids, numbers and words. They have no parameter, no column of a row, and no message of SQLite.
//!
//! # Driver
//! This crate accepts several versions of `rusqlite`. Use the re-export [`rusqlite`], or depend on a version in the same
//! range, so that Cargo links one `libsqlite3-sys`.
//! The README has a table of the versions of `sqlx`, `diesel` and other crates that link together with this one.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable))]

#[macro_use]
mod tables;

mod erase;
mod error;
mod events;
mod fields;
mod file;
mod id_ranges;
mod inbox;
mod read;
mod repository;
mod retention;
mod schema;
#[cfg(feature = "seed")]
pub mod seed;
pub mod sql;
#[cfg(feature = "testing")]
pub mod testing;
mod trace;
mod transaction;
mod write;

pub use error::SqliteError;
pub use file::SqliteFile;
pub use repository::{BUSY_TIMEOUT, SqliteRepository};
pub use rusqlite;
pub use schema::{SCHEMA_VERSION, migrate, schema_version};
pub use transaction::SqliteTransaction;

/// Compiles the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

//! Stores the data of [`enroll`] in PostgreSQL.
//!
//! | Type | For |
//! |---|---|
//! | [`PostgresRepository`] | a host that gives the adapter a pool of connections |
//! | [`PostgresClient`] | a host that gives the adapter one connection |
//! | [`PostgresTransaction`] | a host that writes its own rows and the enrollment in one transaction |
//! | [`SqlxTransaction`] | the same, in a transaction of `sqlx` |
//! | [`SqlxRepository`] | a host that gives the adapter a pool of `sqlx` |
//! | [`mod@sql`] | a host that accepts in a transaction of another driver, or keeps the migrations itself |
//!
//! The types implement [`AsyncRepository`](enroll::AsyncRepository), [`AsyncInbox`](enroll::AsyncInbox) and
//! [`AsyncEventLog`](enroll::events::AsyncEventLog). Those of `tokio-postgres` run on Tokio, and those of `sqlx` on the runtime
//! that the host has chosen for it.
//!
//! # Example
//!
//! ```no_run
//! use enroll::{Engine, Enrollment, EnrollmentKey, EnrollmentPolicy, EnrollmentRequest, OrganizationId, SequenceId};
//! use enroll_postgres::PostgresRepository;
//! use uuid::Uuid;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let mut repository = PostgresRepository::connect("postgres://app@db.example/app", 8).await?;
//!
//! // The host writes the reference data: an organization with a sequence of one step.
//! let [organization, sequence, step] = [1, 2, 3].map(Uuid::from_u128);
//! let connection = repository.pool().get().await?;
//! connection.execute("insert into enroll.organizations (organization_id) values ($1)", &[&organization]).await?;
//! connection
//!     .execute(
//!         "insert into enroll.sequences (organization_id, id, status) values ($1, $2, 'active')",
//!         &[&organization, &sequence],
//!     )
//!     .await?;
//! connection
//!     .execute(
//!         "insert into enroll.steps (organization_id, sequence_id, id, position, channel_kind)
//!          values ($1, $2, $3, 1, 'phone')",
//!         &[&organization, &sequence, &step],
//!     )
//!     .await?;
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
//! let engine = Engine::new(&policy);
//! let report = enroll::enroll_contacts_async(&mut repository, &engine, &enrollment).await?.report;
//! assert_eq!(report.counts().added, 1);
//! # Ok(())
//! # }
//! ```
//!
//! # Connections
//! [`ConnectOptions`] reads an address and the environment as `psql` does, and encrypts connections. PostgreSQL must have
//! version 14 or later.
//!
//! # Tables
//! [`migrate`] creates the PostgreSQL schema `enroll` with all tables; [`PostgresRepository::connect`] calls it. Hosts read
//! and write the tables with their own SQL. The schema is in `src/migrations/`, with comments.
//!
//! Constraints enforce uniqueness, and triggers raise the versions by which the engine detects changes. Both apply to a
//! host's writes too.
//!
//! # Statements
//! A commit first locks the organization's row. So one commit per organization runs at a time, and commits of several
//! organizations run in parallel. A load and a commit each have a fixed number of statements, for any number of recipients.
//! With `tokio-postgres`, statements are pipelined: reference data needs one round trip, a load two, and a commit three. `sqlx`
//! waits for each statement, so it needs a round trip for each: 10, 17 and 38.
//!
//! A list of 2000 new rows or more is copied (`copy … from stdin`), with two more round trips for each of at most six
//! tables. Some poolers cannot forward a copy. Disable it with `alter role app set enroll.copy = 'off'`.
//!
//! # Outages
//! Each call is one transaction with [`Timeouts`]: it does not wait forever for a lock, a statement or a frozen process. The
//! timeouts are set inside the transaction, and a connection starts without settings, so that poolers accept it. If the host
//! drops a call of [`PostgresRepository`], the server cancels its statement. `sqlx` cannot cancel a statement:
//! [`SqlxRepository`] closes the connection, and the statement ends with the timeouts.
//!
//! An outage is an error of the kind [`Unavailable`](enroll::RepositoryErrorKind::Unavailable): a lost connection, a timeout,
//! a full disk, a read-only server, a failover. Errors are classified by SQLSTATE. They name it with the constraint, the
//! column and the table, and never quote the server's message: it can contain the phones and names of people.
//!
//! Each call checks the version of the schema. After an upgrade, processes of an older build fail with
//! [`PostgresError::NewerSchema`], and write nothing.
//!
//! # Background work
//! An accepted enrollment is stored without waiting for enrollments that are processed. Several workers, on several
//! machines, can call [`claim`](enroll::AsyncInbox::claim) without waiting for each other. A claim covers all
//! organizations. Its cost grows with the number of organizations that have waiting enrollments.
//!
//! # Several servers
//! [`distribute`] spreads the tables over the servers of Citus, by organization. `docs/scaling.md` in the repository has the steps.
//!
//! # Features
//! | Feature | Effect |
//! |---|---|
//! | `tokio-postgres` (default) | the driver, with pools of `deadpool-postgres` |
//! | `sqlx` | the driver `sqlx`, with the runtime and the TLS that the host chooses; needs Rust 1.94 |
//! | `tls` (default) | encrypts its connections, with rustls; includes `tokio-postgres` |
//! | `seed` | adds [`seed`]: loads rows from JSON, and reads all rows |
//! | `testing` | adds [`testing`]: writes single rows as a host does, and starts a temporary server |
//! | `tracing` | a `tracing` span for each call and each statement; see [Spans](#spans) |
//!
//! # Spans
//! With the feature `tracing`, each call of a repository has a span of the level `DEBUG` with the target `enroll_postgres`, named as
//! the method: `load`, `commit`, `claim`, and so on. If it fails, `error` is the kind of the error. `erase` and `lock` have none.
//!
//! - A `commit` has the enrollment, the numbers of rows, `attempt` (the number of commits of this enrollment on this handle, as
//!   long as conflicts refuse them), and `outcome`: `committed`, `conflict`, `unavailable` or `other`. For a conflict, `conflict`
//!   says which fact changed, or which constraint refused a row. There is an event `committed` or `conflict` too.
//! - Within a call, each statement has a span `statement` with its name in `db.query.summary`, such as `insert_contacts`, and `rows`:
//!   how many it read or wrote. `otel.name` is the same, for `tracing-opentelemetry`. Statements that are sent in one round trip
//!   have spans of the same duration.
//!
//! Spans and events have ids, numbers and words. They have no parameter, no column of a row, and no message of PostgreSQL.
//!
//! # Drivers
//! The crates [`tokio_postgres`] and [`deadpool_postgres`] are re-exported, and [`sqlx`] with its feature: their types are part
//! of this crate's API. A host of `sqlx` leaves the other driver out with `default-features = false, features = ["sqlx"]`.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(any(feature = "sqlx", feature = "tokio-postgres")),
    allow(dead_code, unused_imports, unused_macros, reason = "a driver uses the statements")
)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable))]

mod driver;
mod erase;
mod error;
mod events;
mod fields;
mod id_ranges;
mod inbox;
mod query;
mod read;
mod retention;
mod schema;
#[cfg(feature = "seed")]
pub mod seed;
mod server_version;
pub mod sql;
mod statements;
mod tables;
#[cfg(feature = "testing")]
pub mod testing;
mod timeouts;
mod trace;
mod write;

#[cfg(feature = "tokio-postgres")]
pub use deadpool_postgres;
#[cfg(feature = "sqlx")]
pub use driver::sqlx::{SqlxRepository, SqlxTransaction, migrate_sqlx};
#[cfg(feature = "tokio-postgres")]
pub use driver::tokio_postgres::{
    AddressError, ConnectOptions, ConnectionInfo, Placement, PostgresClient, PostgresRepository, PostgresTransaction,
    TlsVersion, distribute, is_distributed, migrate, schema_version,
};
pub use error::{DriverError, FileProblem, PostgresError, TlsError};
pub use schema::SCHEMA_VERSION;
pub use server_version::ServerVersion;
#[cfg(feature = "sqlx")]
pub use sqlx;
pub use statements::Statements;
pub use timeouts::Timeouts;
#[cfg(feature = "tokio-postgres")]
pub use tokio_postgres;

/// Compiles the examples of the README.
#[cfg(all(doctest, feature = "sqlx", feature = "tokio-postgres"))]
#[doc = include_str!("../README.md")]
struct Readme;

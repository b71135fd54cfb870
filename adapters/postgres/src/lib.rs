//! PostgreSQL as a repository of [`enroll`].
//!
//! Everything lives in the PostgreSQL schema `enroll`, which [`migrate`] makes: tables that a host reads and writes
//! too, with the constraints and triggers that keep the repository contract whoever writes. Three repositories share
//! the code:
//!
//! - [`PostgresRepository`]: a cheap handle on a pool of connections;
//! - [`PostgresClient`]: one connection, with its statements prepared once;
//! - [`PostgresTransaction`]: a host's open transaction, so that an enrollment and rows of the host happen together.
//!
//! ```no_run
//! use enroll::{Engine, Enrollment, EnrollmentPolicy, enroll_contacts_async};
//! use enroll_postgres::PostgresRepository;
//!
//! # async fn example(enrollment: &Enrollment<'_>) -> Result<(), Box<dyn std::error::Error>> {
//! let mut repository = PostgresRepository::connect("postgres://app@db.example/app", 8).await?;
//! let policy = EnrollmentPolicy::default();
//! let report = enroll_contacts_async(&mut repository, &Engine::new(&policy), enrollment).await?.report;
//! # Ok(())
//! # }
//! ```
//!
//! A commit takes the organization's row first, so an organization has one writer at a time, and organizations run
//! side by side. `reference_data`, `load` and `commit` are each a fixed number of statements, whatever the number of recipients.
//! Statements are pipelined: reference data is one round trip, load and commit are four each.
//!
//! A list of 2000 new rows or more is copied (`copy … from stdin`), two round trips for each of at most six tables.
//! Whatever cannot pass a copy on, as some poolers cannot, is told so once: `alter role app set enroll.copy = 'off'`.
//!
//! All three are an [`AsyncInbox`](enroll::AsyncInbox) too. Accepting waits for no enrollment that is being processed;
//! any number of workers, on any number of machines, [`claim`](enroll::AsyncInbox::claim) what waits without waiting for
//! each other. A claim is of all organizations and costs what waits in them, however much has ended.
//!
//! # Errors
//! Each [`RepositoryError`](enroll::RepositoryError) has an [`Error`] as its source, which says what to do.
#![forbid(unsafe_code)]
#![deny(missing_docs)]
// No input and no answer of the database panics.
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable))]

mod begin;
mod client;
mod error;
mod inbox;
mod pool;
mod read;
mod rows;
mod schema;
#[cfg(feature = "seed")]
pub mod seed;
mod statements;
#[cfg(feature = "testing")]
pub mod testing;
mod transaction;
mod write;

pub use client::PostgresClient;
pub use error::Error;
pub use pool::PostgresRepository;
pub use schema::{SCHEMA_VERSION, migrate};
pub use statements::Statements;
pub use transaction::PostgresTransaction;

// The versions that this crate's signatures speak of.
pub use deadpool_postgres;
pub use tokio_postgres;

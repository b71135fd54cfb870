//! The enrollment of `enroll`, written by hand in the usual ways, for comparison in benches and tests.
//!
//! - [`diesel_rows`] and [`diesel_batched`]: Diesel on SQLite, row by row and batched
//! - [`sqlx_rows`] and [`sqlx_batched`]: sqlx on PostgreSQL, row by row and batched
//!
//! All four read a [`body`] with plain serde, look up the [`target`], and apply the same [`rules`].

pub mod arena;
pub mod batch;
pub mod body;
pub mod diesel_batched;
pub mod diesel_rows;
pub mod postgres;
pub mod rules;
pub mod seed;
pub mod sqlite;
pub mod sqlx_batched;
pub mod sqlx_rows;
pub mod target;

/// An error: the request is refused, or the database failed.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// A request, as a handler gets it.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// The organization.
    pub organization_id: uuid::Uuid,
    /// The sequence to add contacts to.
    pub sequence_id: uuid::Uuid,
    /// The idempotency key.
    pub key: &'a str,
    /// The instant of the request.
    pub at: enroll::Timestamp,
    /// The body as sent.
    pub body: &'a [u8],
}

//! The driver `tokio-postgres`, with pools of `deadpool-postgres`.

mod begin;
mod client;
mod connect;
mod distribute;
mod error;
mod prepare;
mod query;
mod repository;
mod schema;
mod transaction;

pub use client::PostgresClient;
pub use connect::{AddressError, ConnectOptions, ConnectionInfo, TlsVersion};
pub use distribute::{Placement, distribute, is_distributed};
pub use repository::PostgresRepository;
pub use schema::{migrate, schema_version};
pub use transaction::PostgresTransaction;

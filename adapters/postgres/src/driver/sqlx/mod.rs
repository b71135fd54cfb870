//! The driver `sqlx`.

mod begin;
mod error;
mod query;
mod repository;
mod schema;
mod transaction;

pub use repository::SqlxRepository;
pub use schema::migrate_sqlx;
pub use transaction::SqlxTransaction;

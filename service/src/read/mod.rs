//! What the service reads beside the engine: lists, and its own tables. Each statement is written once, for both
//! databases: `enroll.contacts` is `enroll_contacts` on SQLite, and `$1` is `?1`.

mod lists;
mod postgres;
mod sqlite;

use serde::Serialize;
use std::error::Error;
use tokio::task::block_in_place;
use utoipa::ToSchema;

use enroll::{RepositoryError, RepositoryErrorKind, Timestamp};
use uuid::Uuid;

pub(crate) use self::lists::{
    ContactFilter, ContactRow, EnrollmentRow, SequenceRow, StepContactRow, contacts, enrollments, has_sequence,
    sequences, step_contacts,
};
use crate::store::Handle;

/// Some of a list, and how many there are in all.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Page<T> {
    pub(crate) data: Vec<T>,
    pub(crate) total: u64,
}

/// Which part of a list.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) limit: u32,
    pub(crate) offset: u32,
}

/// A value that a statement is given.
#[derive(Clone, Debug)]
pub(crate) enum Bound {
    Id(Uuid),
    Text(String),
    Number(i64),
}

/// A row that was found, whose columns are taken from left to right.
pub(crate) trait Row {
    fn id(&mut self) -> Result<Option<Uuid>, RepositoryError>;
    fn text(&mut self) -> Result<Option<String>, RepositoryError>;
    /// A `bigint`.
    fn number(&mut self) -> Result<Option<i64>, RepositoryError>;
    /// An instant of the engine's tables.
    fn instant(&mut self) -> Result<Option<Timestamp>, RepositoryError>;
}

impl Handle {
    pub(crate) async fn query<T>(
        &mut self,
        sql: &str,
        bound: &[Bound],
        decode: impl Fn(&mut dyn Row) -> Result<T, RepositoryError>,
    ) -> Result<Vec<T>, RepositoryError> {
        match self {
            Self::Sqlite(sqlite) => block_in_place(|| sqlite::query(sqlite.connection(), sql, bound, decode)),
            Self::Postgres(postgres) => postgres::query(postgres.pool(), sql, bound, decode).await,
        }
    }

    /// Answers how many rows were written.
    pub(crate) async fn execute(&mut self, sql: &str, bound: &[Bound]) -> Result<u64, RepositoryError> {
        match self {
            Self::Sqlite(sqlite) => block_in_place(|| sqlite::execute(sqlite.connection(), sql, bound)),
            Self::Postgres(postgres) => postgres::execute(postgres.pool(), sql, bound).await,
        }
    }

    /// Makes the service's own tables, where they are not.
    pub(crate) async fn make_tables(&mut self) -> Result<(), RepositoryError> {
        match self {
            Self::Sqlite(sqlite) => block_in_place(|| sqlite::make_tables(sqlite.connection())),
            Self::Postgres(postgres) => postgres::make_tables(postgres.pool()).await,
        }
    }
}

/// A column that the schema says is never null.
pub(crate) fn there<T>(value: Option<T>) -> Result<T, RepositoryError> {
    value.ok_or_else(|| unreadable("a column that is never null is null"))
}

pub(crate) fn unreadable(error: impl Into<Box<dyn Error + Send + Sync>>) -> RepositoryError {
    RepositoryError::new(RepositoryErrorKind::Other, error)
}

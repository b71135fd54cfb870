//! The service's own SQL: the enrollments and lists of the HTTP API, the tables of API keys, of what they asked for and of webhooks, and
//! the check that the database can be written.
//!
//! Each statement is written once, for both databases. In a statement, `enroll.contacts` becomes `enroll_contacts` on
//! SQLite, `$1` becomes `?1`, and `strpos` becomes `instr`.

mod contacts;
mod enrollment;
mod list;
mod lists;
mod organization;
pub(crate) mod people_lists;
pub(crate) mod postgres;
mod reference;
mod runs;
mod sequences;
mod sqlite;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::error::Error;

use enroll::repository::BoxFuture;
use enroll::{RepositoryError, RepositoryErrorKind, Timestamp};
use uuid::Uuid;

pub(crate) use self::contacts::{ContactFilter, ContactRow, contact, contacts};
pub(crate) use self::enrollment::{EnrollmentResult, OutcomeFilter, enrollment, outcomes};
pub(crate) use self::lists::{EnrollmentRow, NamedContact, StepContactRow, enrollments, named_contacts, step_contacts};
pub(crate) use self::organization::{organization_name, rename_organization};
pub(crate) use self::reference::{
    ChannelRow, CustomObjectRow, SequenceTitle, channels, custom_objects, sequence_titles,
};
pub(crate) use self::runs::{RunFilter, RunRow, run, runs};
pub(crate) use self::sequences::{SequenceRow, has_sequence, sequence, sequences};

/// A page of a list.
#[derive(Debug)]
pub(crate) struct Page<T> {
    pub(crate) data: Vec<T>,
    /// The number of entries of the whole list.
    pub(crate) total: u64,
    /// The position of the last entry, if another page follows.
    pub(crate) next: Option<Position>,
}

/// The part of a list to return.
#[derive(Clone, Debug)]
pub(crate) struct Pagination {
    pub(crate) limit: u32,
    pub(crate) offset: u32,
    /// Only entries after this position.
    pub(crate) after: Option<Position>,
}

/// The place of an entry in the order of its list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) sort: Sort,
    pub(crate) id: Uuid,
}

/// The value that orders a list before the id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Sort {
    /// The list is ordered by id, or the entry has no value and comes last.
    None,
    Text(String),
    Instant(Timestamp),
}

/// A parameter of a statement.
#[derive(Clone, Debug)]
pub(crate) enum Param {
    Id(Uuid),
    Text(String),
    TextOrNull(Option<String>),
    Number(i64),
    NumberOrNull(Option<i64>),
    /// An instant of the engine's tables.
    Instant(DateTime<Utc>),
}

/// A row of a result. Each call reads the next column.
pub(crate) trait Row {
    fn id(&mut self) -> Result<Option<Uuid>, RepositoryError>;
    fn text(&mut self) -> Result<Option<String>, RepositoryError>;
    /// Reads a `bigint`.
    fn number(&mut self) -> Result<Option<i64>, RepositoryError>;
    /// Reads an instant of the engine's tables.
    fn instant(&mut self) -> Result<Option<Timestamp>, RepositoryError>;
}

/// Receives the rows of a query, one at a time.
pub(crate) type OnRow<'a> = dyn FnMut(&mut dyn Row) -> Result<(), RepositoryError> + Send + 'a;

/// Runs the service's statements on the connection of a repository.
pub(crate) trait SqlConnection {
    /// Runs a query, and calls `on_row` with each row.
    fn query<'a>(
        &'a mut self,
        sql: &'a str,
        params: &'a [Param],
        on_row: &'a mut OnRow<'_>,
    ) -> BoxFuture<'a, Result<(), RepositoryError>>;

    /// Runs a statement. Returns the number of rows that it wrote.
    fn execute<'a>(&'a mut self, sql: &'a str, params: &'a [Param]) -> BoxFuture<'a, Result<u64, RepositoryError>>;

    /// Returns the time by the clock of the database.
    fn now(&mut self) -> BoxFuture<'_, Result<Timestamp, RepositoryError>>;

    /// Writes a row, and undoes that.
    fn check_write(&mut self) -> BoxFuture<'_, Result<(), RepositoryError>>;

    /// Returns true if the service's own tables exist.
    fn has_tables(&mut self) -> BoxFuture<'_, Result<bool, RepositoryError>>;

    /// Creates the service's own tables.
    fn create_tables(&mut self) -> BoxFuture<'_, Result<(), RepositoryError>>;
}

/// Adds ids to the parameters. Returns their placeholders, separated by commas.
pub(crate) fn id_places(params: &mut Vec<Param>, ids: impl IntoIterator<Item = Uuid>) -> String {
    let first = params.len() + 1;
    params.extend(ids.into_iter().map(Param::Id));
    let places: Vec<String> = (first..=params.len()).map(|number| format!("${number}")).collect();
    places.join(", ")
}

/// Returns the part of a text by which a list is ordered: an index entry has no room for more on PostgreSQL.
fn sort_text(text: &str) -> String {
    text.chars().take(255).collect()
}

/// Returns the value of a column that is `not null` in the schema.
pub(crate) fn not_null<T>(value: Option<T>) -> Result<T, RepositoryError> {
    value.ok_or_else(|| invalid_data("a column that must not be null is null"))
}

pub(crate) fn invalid_data(error: impl Into<Box<dyn Error + Send + Sync>>) -> RepositoryError {
    RepositoryError::new(RepositoryErrorKind::Other, error)
}

//! Conversion between the engine's field types and SQLite columns.

use enroll::contact::{Address, BirthDate, ContactState, Email, Text};
use enroll::events::{EventId, EventKind};
use enroll::model::{
    ChannelKind, ConversationStatus, CustomProperty, Resource, RunStatus, SequenceSettings, SequenceStatus,
    StepContactStatus,
};
use enroll::snapshot::Version;
use enroll::value::Properties;
use enroll::{
    CallFlowId, ChannelId, ContactId, ConversationId, CustomObjectId, CustomRecordId, EnrollmentId, OrganizationId,
    RunId, SequenceId, StepContactId, StepId, StoredCommand, TagId, Timestamp, UnknownWordError,
};
use rusqlite::Row;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, Value, ValueRef};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use uuid::Uuid;

use crate::error::SqliteError;

/// A field that is stored in one column, or in several adjacent columns.
pub(crate) trait Field: Sized {
    /// Reads the field from the next columns.
    fn read(columns: &mut ColumnReader<'_, '_>) -> rusqlite::Result<Self>;

    /// Binds one cell per column.
    fn bind(&self, to: &mut impl Bind) -> Result<(), SqliteError>;
}

/// A field of exactly one column that is never null. `Option` makes it nullable.
pub(crate) trait ColumnValue: Sized {
    fn decode(value: ValueRef<'_>) -> FromSqlResult<Self>;

    fn cell(&self) -> Cell<'_>;
}

/// The value of one column.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Cell<'r> {
    Null,
    Id(Uuid),
    Integer(i64),
    /// The word of an enum variant.
    Word(&'static str),
    Text(&'r str),
}

/// Receives the cells of a row in the order of its columns.
pub(crate) trait Bind {
    fn bind(&mut self, cell: Cell<'_>) -> Result<(), SqliteError>;
}

/// Reads the columns of a result row from left to right.
pub(crate) struct ColumnReader<'r, 's> {
    row: &'r Row<'s>,
    next: usize,
}

impl<'r, 's> ColumnReader<'r, 's> {
    pub(crate) fn new(row: &'r Row<'s>) -> Self {
        Self { row, next: 0 }
    }

    /// Reads the next field.
    pub(crate) fn read<T: Field>(&mut self) -> rusqlite::Result<T> {
        T::read(self)
    }

    /// Reads the next column, as a type that is never bound.
    pub(crate) fn get<T: FromSql>(&mut self) -> rusqlite::Result<T> {
        self.next += 1;
        self.row.get(self.next - 1)
    }

    pub(crate) fn skip(&mut self) {
        self.next += 1;
    }

    /// Reads the next column as text that is not copied.
    pub(crate) fn text_or_null(&mut self) -> rusqlite::Result<Option<&'r str>> {
        self.next += 1;
        Ok(self.row.get_ref(self.next - 1)?.as_str_or_null()?)
    }

    pub(crate) fn version(&mut self) -> rusqlite::Result<Version> {
        self.get::<i64>().map(|version| Version(version.unsigned_abs()))
    }

    pub(crate) fn json<T: DeserializeOwned>(&mut self) -> rusqlite::Result<T> {
        self.get::<Json<T>>().map(|json| json.0)
    }

    pub(crate) fn command_or_null(&mut self) -> rusqlite::Result<Option<StoredCommand>> {
        Ok(self.get::<Option<Command>>()?.map(|command| command.0))
    }

    pub(crate) fn json_or_null<T: DeserializeOwned>(&mut self) -> rusqlite::Result<Option<T>> {
        Ok(self.get::<Option<Json<T>>>()?.map(|json| json.0))
    }
}

impl<T: ColumnValue> Field for T {
    fn read(columns: &mut ColumnReader<'_, '_>) -> rusqlite::Result<Self> {
        columns.get::<Decoded<T>>().map(|decoded| decoded.0)
    }

    fn bind(&self, to: &mut impl Bind) -> Result<(), SqliteError> {
        to.bind(self.cell())
    }
}

impl<T: ColumnValue> Field for Option<T> {
    fn read(columns: &mut ColumnReader<'_, '_>) -> rusqlite::Result<Self> {
        Ok(columns.get::<Option<Decoded<T>>>()?.map(|decoded| decoded.0))
    }

    fn bind(&self, to: &mut impl Bind) -> Result<(), SqliteError> {
        to.bind(self.as_ref().map_or(Cell::Null, ColumnValue::cell))
    }
}

/// Two columns: the address as given, and the key that emails are compared by.
impl Field for Option<Email> {
    fn read(columns: &mut ColumnReader<'_, '_>) -> rusqlite::Result<Self> {
        let (email, key): (Option<Text>, Option<Text>) = (columns.read()?, columns.read()?);
        Ok(email.zip(key).map(|(email, key)| Email::with_key(&email, &key)))
    }

    fn bind(&self, to: &mut impl Bind) -> Result<(), SqliteError> {
        to.bind(self.as_ref().map_or(Cell::Null, |email| Cell::Text(email.as_str())))?;
        to.bind(self.as_ref().map_or(Cell::Null, |email| Cell::Text(email.key())))
    }
}

/// Three columns: day, month and year.
impl Field for Option<BirthDate> {
    fn read(columns: &mut ColumnReader<'_, '_>) -> rusqlite::Result<Self> {
        let mut birth_date = BirthDate::default();
        (birth_date.day, birth_date.month, birth_date.year) = (columns.read()?, columns.read()?, columns.read()?);
        Ok((!birth_date.is_empty()).then_some(birth_date))
    }

    fn bind(&self, to: &mut impl Bind) -> Result<(), SqliteError> {
        let birth_date = self.unwrap_or_default();
        birth_date.day.bind(to)?;
        birth_date.month.bind(to)?;
        birth_date.year.bind(to)
    }
}

impl Field for Option<Arc<Address>> {
    fn read(columns: &mut ColumnReader<'_, '_>) -> rusqlite::Result<Self> {
        Ok(columns.json_or_null()?.map(Arc::new))
    }

    fn bind(&self, to: &mut impl Bind) -> Result<(), SqliteError> {
        match self.as_deref() {
            Some(address) => bind_json(address, to),
            None => to.bind(Cell::Null),
        }
    }
}

/// Types that are stored as JSON text.
macro_rules! json_fields {
    ($($type:ty),*) => {$(
        impl Field for $type {
            fn read(columns: &mut ColumnReader<'_, '_>) -> rusqlite::Result<Self> {
                columns.json()
            }

            fn bind(&self, to: &mut impl Bind) -> Result<(), SqliteError> {
                bind_json(self, to)
            }
        }
    )*};
}
json_fields!(Properties, SequenceSettings, Vec<CustomProperty>);

fn bind_json(value: &impl Serialize, to: &mut impl Bind) -> Result<(), SqliteError> {
    to.bind(Cell::Text(&serde_json::to_string(value)?))
}

impl ColumnValue for Text {
    fn decode(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_str().map(Self::from)
    }

    fn cell(&self) -> Cell<'_> {
        Cell::Text(self)
    }
}

/// Milliseconds since 1970.
impl ColumnValue for Timestamp {
    fn decode(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Self::from_millis(value.as_i64()?).map_err(FromSqlError::other)
    }

    fn cell(&self) -> Cell<'_> {
        Cell::Integer(self.millis())
    }
}

impl ColumnValue for Uuid {
    fn decode(value: ValueRef<'_>) -> FromSqlResult<Self> {
        FromSql::column_result(value)
    }

    fn cell(&self) -> Cell<'_> {
        Cell::Id(*self)
    }
}

macro_rules! integers {
    ($($type:ty),*) => {$(
        impl ColumnValue for $type {
            fn decode(value: ValueRef<'_>) -> FromSqlResult<Self> {
                FromSql::column_result(value)
            }

            fn cell(&self) -> Cell<'_> {
                Cell::Integer((*self).into())
            }
        }
    )*};
}
integers!(bool, i64, u8, u16, u32);

macro_rules! ids {
    ($($type:ident),*) => {$(
        impl ColumnValue for $type {
            fn decode(value: ValueRef<'_>) -> FromSqlResult<Self> {
                Uuid::decode(value).map(Self::from)
            }

            fn cell(&self) -> Cell<'_> {
                Cell::Id(self.as_uuid())
            }
        }
    )*};
}
ids!(
    CallFlowId,
    ChannelId,
    ContactId,
    ConversationId,
    CustomObjectId,
    CustomRecordId,
    EnrollmentId,
    EventId,
    OrganizationId,
    RunId,
    SequenceId,
    StepContactId,
    StepId,
    TagId
);

/// Enums that are stored as the word of a variant.
macro_rules! words {
    ($($type:ident),*) => {$(
        impl ColumnValue for $type {
            fn decode(value: ValueRef<'_>) -> FromSqlResult<Self> {
                value.as_str()?.parse().map_err(|e: UnknownWordError| FromSqlError::other(e))
            }

            fn cell(&self) -> Cell<'_> {
                Cell::Word(self.as_str())
            }
        }
    )*};
}
words!(
    ChannelKind,
    ContactState,
    ConversationStatus,
    EventKind,
    Resource,
    RunStatus,
    SequenceStatus,
    StepContactStatus
);

/// Returns a count or an index of recipients as a column stores it.
pub(crate) fn integer(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(crate) fn other(message: String) -> FromSqlError {
    FromSqlError::Other(message.into())
}

impl Cell<'_> {
    /// Returns the cell without its borrow, to compare it with the next row's. Text is not returned: it rarely repeats.
    pub(crate) fn to_repeatable(self) -> Option<Cell<'static>> {
        match self {
            Self::Null => Some(Cell::Null),
            Self::Id(id) => Some(Cell::Id(id)),
            Self::Integer(number) => Some(Cell::Integer(number)),
            Self::Word(word) => Some(Cell::Word(word)),
            Self::Text(_) => None,
        }
    }
}

impl rusqlite::ToSql for Cell<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Id(id) => ValueRef::Blob(id.as_bytes()),
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Word(word) => ValueRef::Text(word.as_bytes()),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

/// Collects the cells of a row.
impl Bind for Vec<Value> {
    fn bind(&mut self, cell: Cell<'_>) -> Result<(), SqliteError> {
        self.push(match cell {
            Cell::Null => Value::Null,
            Cell::Id(id) => Value::Blob(id.as_bytes().to_vec()),
            Cell::Integer(number) => Value::Integer(number),
            Cell::Word(text) | Cell::Text(text) => Value::Text(text.to_owned()),
        });
        Ok(())
    }
}

struct Decoded<T>(T);

impl<T: ColumnValue> FromSql for Decoded<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        T::decode(value).map(Self)
    }
}

struct Command(StoredCommand);

impl FromSql for Command {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        StoredCommand::from_json(value.as_bytes()?).map(Self).map_err(FromSqlError::other)
    }
}

struct Json<T>(T);

impl<T: DeserializeOwned> FromSql for Json<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        serde_json::from_str(value.as_str()?).map(Self).map_err(FromSqlError::other)
    }
}

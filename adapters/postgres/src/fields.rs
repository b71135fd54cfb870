//! Conversion between the engine's field types and PostgreSQL columns.

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
    RunId, SequenceId, StepContactId, StepId, TagId, Timestamp,
};
use postgres_types::{FromSql, Json, ToSql, Type};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::error::Error;
use std::sync::Arc;
use uuid::Uuid;

use crate::PostgresError;
use crate::driver::Row;

pub(crate) type DateTime = chrono::DateTime<chrono::Utc>;
type BoxError = Box<dyn Error + Send + Sync>;

/// A field that is stored in one column, or in several adjacent columns.
pub(crate) trait Field: Sized {
    /// The SQL type of each column.
    const TYPES: &'static [&'static str];

    /// Reads the field from the next columns.
    fn read(columns: &mut ColumnReader<'_, impl Row>) -> Result<Self, PostgresError>;

    /// Appends one array per column, with one element per row.
    fn push_arrays<'r>(fields: impl Iterator<Item = &'r Self> + Clone, arrays: &mut Arrays<'r>)
    where
        Self: 'r;
}

/// A field of exactly one column that is never null. `Option` makes it nullable.
pub(crate) trait ColumnValue: Sized {
    const TYPE: &'static str;
    /// The value that the driver reads.
    type Stored<'r>: FromSql<'r>;
    /// The value that the driver writes.
    type Cell<'r>: ToSql + Send + Sync + 'r
    where
        Self: 'r;

    fn decode(stored: Self::Stored<'_>) -> Result<Self, BoxError>;

    fn cell(&self) -> Self::Cell<'_>;
}

/// The values of one column, for several rows.
pub(crate) trait Array: Send + Sync {
    /// Returns all values as one parameter.
    fn parameter(&self) -> &(dyn ToSql + Sync);

    /// Returns the values one after the other.
    fn cells(&self) -> Box<dyn Iterator<Item = &(dyn ToSql + Sync)> + Send + '_>;
}

impl<T: ToSql + Send + Sync> Array for Vec<T> {
    fn parameter(&self) -> &(dyn ToSql + Sync) {
        self
    }

    fn cells(&self) -> Box<dyn Iterator<Item = &(dyn ToSql + Sync)> + Send + '_> {
        Box::new(self.iter().map(|cell| cell as _))
    }
}

/// One array per column.
pub(crate) type Arrays<'r> = Vec<Box<dyn Array + 'r>>;

/// Reads the columns of a result row from left to right.
pub(crate) struct ColumnReader<'r, R> {
    row: &'r R,
    next: usize,
}

impl<'r, R: Row> ColumnReader<'r, R> {
    pub(crate) fn new(row: &'r R) -> Self {
        Self { row, next: 0 }
    }

    /// Reads the next field.
    pub(crate) fn read<T: Field>(&mut self) -> Result<T, PostgresError> {
        T::read(self)
    }

    /// Reads the next column as a type of the driver.
    pub(crate) fn get<T: FromSql<'r>>(&mut self) -> Result<T, PostgresError> {
        self.next += 1;
        self.row.get(self.next - 1)
    }

    pub(crate) fn version(&mut self) -> Result<Version, PostgresError> {
        let version: i64 = self.get()?;
        u64::try_from(version).map(Version).map_err(|e| self.invalid(e))
    }

    pub(crate) fn json<T: Deserialize<'r>>(&mut self) -> Result<T, PostgresError> {
        let json: JsonText<'r> = self.get()?;
        serde_json::from_slice(json.0).map_err(|e| self.invalid(e))
    }

    fn json_or_null<T: DeserializeOwned>(&mut self) -> Result<Option<T>, PostgresError> {
        let json: Option<JsonText<'r>> = self.get()?;
        json.map(|json| serde_json::from_slice(json.0)).transpose().map_err(|e| self.invalid(e))
    }

    /// Reports that the last column has a value that is not valid for the engine.
    pub(crate) fn invalid(&self, reason: impl Into<BoxError>) -> PostgresError {
        let column = self.row.column_name(self.next.saturating_sub(1)).to_owned();
        PostgresError::Row { column, reason: reason.into() }
    }
}

/// The bytes of a `json` column. The driver's own `Json` would report no column with an error.
pub(crate) struct JsonText<'r>(pub(crate) &'r [u8]);

impl<'r> FromSql<'r> for JsonText<'r> {
    fn from_sql(_: &Type, raw: &'r [u8]) -> Result<Self, BoxError> {
        Ok(Self(raw))
    }

    fn accepts(column: &Type) -> bool {
        *column == Type::JSON
    }
}

impl<T: ColumnValue> Field for T {
    const TYPES: &'static [&'static str] = &[T::TYPE];

    fn read(columns: &mut ColumnReader<'_, impl Row>) -> Result<Self, PostgresError> {
        T::decode(columns.get()?).map_err(|e| columns.invalid(e))
    }

    fn push_arrays<'r>(fields: impl Iterator<Item = &'r Self> + Clone, arrays: &mut Arrays<'r>)
    where
        Self: 'r,
    {
        arrays.push(Box::new(fields.map(T::cell).collect::<Vec<_>>()));
    }
}

impl<T: ColumnValue> Field for Option<T> {
    const TYPES: &'static [&'static str] = &[T::TYPE];

    fn read(columns: &mut ColumnReader<'_, impl Row>) -> Result<Self, PostgresError> {
        let stored: Option<T::Stored<'_>> = columns.get()?;
        stored.map(T::decode).transpose().map_err(|e| columns.invalid(e))
    }

    fn push_arrays<'r>(fields: impl Iterator<Item = &'r Self> + Clone, arrays: &mut Arrays<'r>)
    where
        Self: 'r,
    {
        arrays.push(Box::new(fields.map(|field| field.as_ref().map(T::cell)).collect::<Vec<_>>()));
    }
}

/// Two columns: the address as given, and the key that emails are compared by.
impl Field for Option<Email> {
    const TYPES: &'static [&'static str] = &["text", "text"];

    fn read(columns: &mut ColumnReader<'_, impl Row>) -> Result<Self, PostgresError> {
        let (email, key): (Option<&str>, Option<&str>) = (columns.get()?, columns.get()?);
        Ok(email.zip(key).map(|(email, key)| Email::with_key(email, key)))
    }

    fn push_arrays<'r>(fields: impl Iterator<Item = &'r Self> + Clone, arrays: &mut Arrays<'r>) {
        let emails = fields.clone().map(|email| email.as_ref().map(Email::as_str));
        arrays.push(Box::new(emails.collect::<Vec<_>>()));
        arrays.push(Box::new(fields.map(|email| email.as_ref().map(Email::key)).collect::<Vec<_>>()));
    }
}

/// Three columns: day, month and year.
impl Field for Option<BirthDate> {
    const TYPES: &'static [&'static str] = &[u8::TYPE, u8::TYPE, u16::TYPE];

    fn read(columns: &mut ColumnReader<'_, impl Row>) -> Result<Self, PostgresError> {
        let mut birth_date = BirthDate::default();
        (birth_date.day, birth_date.month, birth_date.year) = (columns.read()?, columns.read()?, columns.read()?);
        Ok((!birth_date.is_empty()).then_some(birth_date))
    }

    fn push_arrays<'r>(fields: impl Iterator<Item = &'r Self> + Clone, arrays: &mut Arrays<'r>) {
        let dates = fields.map(|birth_date| birth_date.unwrap_or_default());
        arrays.push(Box::new(dates.clone().map(|date| date.day.map(i16::from)).collect::<Vec<_>>()));
        arrays.push(Box::new(dates.clone().map(|date| date.month.map(i16::from)).collect::<Vec<_>>()));
        arrays.push(Box::new(dates.map(|date| date.year.map(i32::from)).collect::<Vec<_>>()));
    }
}

impl Field for Option<Arc<Address>> {
    const TYPES: &'static [&'static str] = &["json"];

    fn read(columns: &mut ColumnReader<'_, impl Row>) -> Result<Self, PostgresError> {
        Ok(columns.json_or_null()?.map(Arc::new))
    }

    fn push_arrays<'r>(fields: impl Iterator<Item = &'r Self> + Clone, arrays: &mut Arrays<'r>) {
        arrays.push(Box::new(fields.map(|address| address.as_deref().map(Json)).collect::<Vec<_>>()));
    }
}

/// Types that are stored as JSON.
macro_rules! json_values {
    ($($type:ty),*) => {$(
        impl ColumnValue for $type {
            const TYPE: &'static str = "json";
            type Stored<'r> = JsonText<'r>;
            type Cell<'r> = Json<&'r Self>;

            fn decode(stored: JsonText<'_>) -> Result<Self, BoxError> {
                Ok(serde_json::from_slice(stored.0)?)
            }

            fn cell(&self) -> Json<&Self> {
                Json(self)
            }
        }
    )*};
}
json_values!(Properties, SequenceSettings, Vec<CustomProperty>);

impl ColumnValue for Text {
    const TYPE: &'static str = "text";
    type Stored<'r> = &'r str;
    type Cell<'r> = &'r str;

    fn decode(stored: &str) -> Result<Self, BoxError> {
        Ok(stored.into())
    }

    fn cell(&self) -> &str {
        self
    }
}

impl ColumnValue for Timestamp {
    const TYPE: &'static str = "timestamptz";
    type Stored<'r> = DateTime;
    type Cell<'r> = DateTime;

    fn decode(stored: DateTime) -> Result<Self, BoxError> {
        Ok(Self::try_from(stored)?)
    }

    fn cell(&self) -> DateTime {
        self.as_datetime()
    }
}

impl ColumnValue for Uuid {
    const TYPE: &'static str = "uuid";
    type Stored<'r> = Self;
    type Cell<'r> = Self;

    fn decode(stored: Self) -> Result<Self, BoxError> {
        Ok(stored)
    }

    fn cell(&self) -> Self {
        *self
    }
}

/// Types that are stored as another type, which has all their values.
macro_rules! numbers {
    ($($type:ty => $stored:ty: $sql:literal;)*) => {$(
        impl ColumnValue for $type {
            const TYPE: &'static str = $sql;
            type Stored<'r> = $stored;
            type Cell<'r> = $stored;

            fn decode(stored: $stored) -> Result<Self, BoxError> {
                Ok(Self::try_from(stored)?)
            }

            fn cell(&self) -> $stored {
                (*self).into()
            }
        }
    )*};
}
numbers! {
    bool => bool: "boolean";
    i64 => i64: "bigint";
    u8 => i16: "smallint";
    u16 => i32: "integer";
    u32 => i64: "bigint";
}

macro_rules! ids {
    ($($type:ident),*) => {$(
        impl ColumnValue for $type {
            const TYPE: &'static str = "uuid";
            type Stored<'r> = Uuid;
            type Cell<'r> = Uuid;

            fn decode(stored: Uuid) -> Result<Self, BoxError> {
                Ok(Self::from_uuid(stored))
            }

            fn cell(&self) -> Uuid {
                self.as_uuid()
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
            const TYPE: &'static str = "text";
            type Stored<'r> = &'r str;
            type Cell<'r> = &'static str;

            fn decode(stored: &str) -> Result<Self, BoxError> {
                Ok(stored.parse()?)
            }

            fn cell(&self) -> &'static str {
                self.as_str()
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

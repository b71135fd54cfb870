//! Sends the values of `postgres-types` through `sqlx`, and reads them in its rows.

use bytes::{BufMut, BytesMut};
use postgres_types::{FromSql, IsNull, ToSql, Type, WrongType};
use sqlx::encode::{Encode, IsNull as SqlxIsNull};
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgArguments, PgRow, PgTypeInfo};
use sqlx::{Arguments, AssertSqlSafe, Column, Error, Postgres, Row as _, SqlSafeStr, SqlStr, ValueRef};
use std::borrow::Cow;
use uuid::Uuid;

use crate::PostgresError;
use crate::driver::{Row, Values};
use crate::fields::Arrays;
use crate::query::Query;

/// Returns a query of `sqlx` for a statement with its parameters.
pub(super) fn query(
    statement: &Query,
    values: &Values<'_>,
) -> Result<sqlx::query::Query<'static, Postgres, PgArguments>, Error> {
    let mut arguments = PgArguments::default();
    let mut buffer = BytesMut::new();
    for (value, sql_type) in values.iter().zip(statement.types()) {
        buffer.clear();
        let is_null = value.to_sql_checked(sql_type, &mut buffer).map_err(Error::Encode)?;
        let bytes = matches!(is_null, IsNull::No).then_some(&*buffer);
        arguments.add(Encoded { bytes, oid: sql_type.oid() }).map_err(Error::Encode)?;
    }
    Ok(sqlx::query_with(text(statement), arguments))
}

fn text(statement: &Query) -> SqlStr {
    match statement.text() {
        Cow::Borrowed(text) => text.sql.as_str().into_sql_str(),
        Cow::Owned(text) => AssertSqlSafe(text.sql.clone()).into_sql_str(),
    }
}

/// A parameter in the binary format, or null.
struct Encoded<'a> {
    bytes: Option<&'a [u8]>,
    oid: u32,
}

impl sqlx::Type<Postgres> for Encoded<'_> {
    /// Each value produces its own type instead.
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(Type::UNKNOWN.oid()))
    }
}

impl Encode<'_, Postgres> for Encoded<'_> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<SqlxIsNull, BoxDynError> {
        let Some(bytes) = self.bytes else { return Ok(SqlxIsNull::Yes) };
        buffer.extend_from_slice(bytes);
        Ok(SqlxIsNull::No)
    }

    fn produces(&self) -> Option<PgTypeInfo> {
        Some(PgTypeInfo::with_oid(Oid(self.oid)))
    }
}

impl Row for PgRow {
    fn get<'r, T: FromSql<'r>>(&'r self, column: usize) -> Result<T, PostgresError> {
        let value = self.try_get_raw(column)?;
        let decode = |source| Error::ColumnDecode { index: column.to_string(), source };
        let sql_type = value.type_info().oid().and_then(|oid| Type::from_oid(oid.0)).unwrap_or(Type::UNKNOWN);
        if !T::accepts(&sql_type) {
            return Err(decode(Box::new(WrongType::new::<T>(sql_type))).into());
        }
        let bytes = if value.is_null() { None } else { Some(value.as_bytes().map_err(decode)?) };
        Ok(T::from_sql_nullable(&sql_type, bytes).map_err(decode)?)
    }

    fn column_name(&self, column: usize) -> &str {
        self.columns().get(column).map_or("", Column::name)
    }
}

/// Returns rows in the binary format of a copy. `insert` is the statement that would insert the same rows.
pub(super) fn binary_rows(insert: &Query, organization: &Uuid, arrays: &Arrays<'_>) -> Result<BytesMut, Error> {
    let types = insert.row_types();
    let count = i16::try_from(types.len()).map_err(|e| Error::Encode(e.into()))?;
    let mut rows = BytesMut::new();
    rows.put_slice(COPY_HEADER);
    let mut columns: Vec<_> = arrays.iter().map(|array| array.cells()).collect();
    while let Some(cells) = columns.iter_mut().map(Iterator::next).collect::<Option<Vec<_>>>() {
        rows.put_i16(count);
        let organization: &(dyn ToSql + Sync) = organization;
        for (cell, sql_type) in std::iter::once(organization).chain(cells).zip(&types) {
            put_cell(&mut rows, cell, sql_type).map_err(Error::Encode)?;
        }
    }
    rows.put_i16(-1);
    Ok(rows)
}

/// Appends the length of a cell and the cell, or the length -1 for null.
fn put_cell(rows: &mut BytesMut, cell: &(dyn ToSql + Sync), sql_type: &Type) -> Result<(), BoxDynError> {
    let start = rows.len();
    rows.put_i32(-1);
    if let IsNull::No = cell.to_sql_checked(sql_type, rows)? {
        let length = i32::try_from(rows.len() - start - 4)?;
        if let Some(place) = rows.get_mut(start..start + 4) {
            place.copy_from_slice(&length.to_be_bytes());
        }
    }
    Ok(())
}

/// The signature, no flags, and no extension.
const COPY_HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

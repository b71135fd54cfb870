//! The service's statements on SQLite.

use rusqlite::types::{FromSql, Value};
use rusqlite::{Connection, Statement, params_from_iter};
use tokio::task::block_in_place;
use uuid::Uuid;

use enroll::repository::BoxFuture;
use enroll::{RepositoryError, Timestamp};
use enroll_sqlite::{SqliteError, SqliteRepository};

use super::{OnRow, Param, Row, SqlConnection, invalid_data};
use crate::handles::Blocking;

impl SqlConnection for Blocking<SqliteRepository> {
    fn query<'a>(
        &'a mut self,
        sql: &'a str,
        params: &'a [Param],
        on_row: &'a mut OnRow<'_>,
    ) -> BoxFuture<'a, Result<(), RepositoryError>> {
        Box::pin(async move { block_in_place(|| self.0.read(|connection| query(connection, sql, params, on_row))) })
    }

    fn execute<'a>(&'a mut self, sql: &'a str, params: &'a [Param]) -> BoxFuture<'a, Result<u64, RepositoryError>> {
        Box::pin(async move { block_in_place(|| self.0.write(|connection| execute(connection, sql, params))) })
    }

    fn has_tables(&mut self) -> BoxFuture<'_, Result<bool, RepositoryError>> {
        Box::pin(async move { block_in_place(|| self.0.read(has_tables)) })
    }

    fn check_write(&mut self) -> BoxFuture<'_, Result<(), RepositoryError>> {
        let check = |connection: &Connection| connection.execute_batch(CHECK_WRITE).map_err(storage_error);
        Box::pin(async move { block_in_place(|| self.0.write(check)) })
    }

    fn create_tables(&mut self) -> BoxFuture<'_, Result<(), RepositoryError>> {
        let create = |connection: &Connection| connection.execute_batch(TABLES).map_err(storage_error);
        Box::pin(async move { block_in_place(|| self.0.write(create)) })
    }
}

fn query(connection: &Connection, sql: &str, params: &[Param], on_row: &mut OnRow<'_>) -> Result<(), RepositoryError> {
    let mut statement = prepare(connection, sql)?;
    let mut rows = statement.query(params_from_iter(params.iter().map(value))).map_err(storage_error)?;
    while let Some(row) = rows.next().map_err(storage_error)? {
        on_row(&mut Columns { row, next_column: 0 })?;
    }
    Ok(())
}

fn execute(connection: &Connection, sql: &str, params: &[Param]) -> Result<u64, RepositoryError> {
    let written = prepare(connection, sql)?.execute(params_from_iter(params.iter().map(value)));
    Ok(written.map_err(storage_error)? as u64)
}

fn has_tables(connection: &Connection) -> Result<bool, RepositoryError> {
    let exists =
        "select exists(select 1 from sqlite_schema where type = 'table' and name = 'enroll_service_write_checks')";
    connection.query_row(exists, [], |row| row.get(0)).map_err(storage_error)
}

fn prepare<'c>(connection: &'c Connection, sql: &str) -> Result<Statement<'c>, RepositoryError> {
    let sql = sql.replace("enroll.", "enroll_").replace("enroll_service.", "enroll_service_").replace('$', "?");
    connection.prepare(&sql).map_err(storage_error)
}

fn value(param: &Param) -> Value {
    match param {
        Param::Id(id) => Value::Blob(id.as_bytes().to_vec()),
        Param::Text(text) => Value::Text(text.clone()),
        Param::Number(number) => Value::Integer(*number),
        Param::NumberOrNull(number) => number.map_or(Value::Null, Value::Integer),
        Param::Instant(at) => Value::Integer(at.timestamp_millis()),
    }
}

fn storage_error(error: rusqlite::Error) -> RepositoryError {
    SqliteError::from(error).into()
}

struct Columns<'r> {
    row: &'r rusqlite::Row<'r>,
    next_column: usize,
}

impl Columns<'_> {
    fn next<T: FromSql>(&mut self) -> Result<Option<T>, RepositoryError> {
        let column = self.next_column;
        self.next_column += 1;
        self.row.get(column).map_err(storage_error)
    }
}

impl Row for Columns<'_> {
    fn id(&mut self) -> Result<Option<Uuid>, RepositoryError> {
        self.next()
    }

    fn text(&mut self) -> Result<Option<String>, RepositoryError> {
        self.next()
    }

    fn number(&mut self) -> Result<Option<i64>, RepositoryError> {
        self.next()
    }

    fn instant(&mut self) -> Result<Option<Timestamp>, RepositoryError> {
        self.number()?.map(Timestamp::from_millis).transpose().map_err(invalid_data)
    }
}

const CHECK_WRITE: &str = "
savepoint enroll_check;
insert into enroll_service_write_checks (filler) values ('');
rollback to enroll_check;
release enroll_check;";
const TABLES: &str = "
create table if not exists enroll_service_keys (
    id blob not null primary key,
    organization_id blob not null references enroll_organizations on delete cascade,
    name text not null,
    hash text not null unique,
    created_at integer not null,
    expires_at integer,
    last_used_at integer,
    revoked_at integer
) strict;
create table if not exists enroll_service_audit (
    organization_id blob not null references enroll_organizations on delete cascade,
    subject_id blob not null,
    id blob not null,
    action text not null,
    key_id blob not null references enroll_service_keys on delete cascade,
    at integer not null,
    primary key (organization_id, subject_id, id)
) strict, without rowid;
-- Always empty: a check writes a row and undoes that.
create table if not exists enroll_service_write_checks (filler text not null) strict;";

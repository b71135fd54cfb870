//! Statements on SQLite.

use rusqlite::types::{FromSql, Value};
use rusqlite::{Connection, Statement, params_from_iter};
use uuid::Uuid;

use enroll::{RepositoryError, Timestamp};
use enroll_sqlite::SqliteError;

use super::{Bound, Row, unreadable};

pub(super) fn query<T>(
    connection: &Connection,
    sql: &str,
    bound: &[Bound],
    decode: impl Fn(&mut dyn Row) -> Result<T, RepositoryError>,
) -> Result<Vec<T>, RepositoryError> {
    let mut statement = prepare(connection, sql)?;
    let mut rows = statement.query(params_from_iter(bound.iter().map(value))).map_err(failed)?;
    let mut read = Vec::new();
    while let Some(row) = rows.next().map_err(failed)? {
        read.push(decode(&mut Columns { row, next: 0 })?);
    }
    Ok(read)
}

pub(super) fn execute(connection: &Connection, sql: &str, bound: &[Bound]) -> Result<u64, RepositoryError> {
    let written = prepare(connection, sql)?.execute(params_from_iter(bound.iter().map(value))).map_err(failed)?;
    Ok(written as u64)
}

pub(super) fn make_tables(connection: &Connection) -> Result<(), RepositoryError> {
    // Looked for first: a file that is only read has them already, or fails here.
    let stands = "select exists(select 1 from sqlite_schema where type = 'table' and name = 'enroll_service_keys')";
    if connection.query_row(stands, [], |row| row.get::<_, bool>(0)).map_err(failed)? {
        return Ok(());
    }
    connection.execute_batch(TABLES).map_err(failed)
}

fn prepare<'c>(connection: &'c Connection, sql: &str) -> Result<Statement<'c>, RepositoryError> {
    let sql = sql.replace("enroll.", "enroll_").replace("enroll_service.", "enroll_service_").replace('$', "?");
    connection.prepare(&sql).map_err(failed)
}

fn value(bound: &Bound) -> Value {
    match bound {
        Bound::Id(id) => Value::Blob(id.as_bytes().to_vec()),
        Bound::Text(text) => Value::Text(text.clone()),
        Bound::Number(number) => Value::Integer(*number),
    }
}

fn failed(error: rusqlite::Error) -> RepositoryError {
    SqliteError::from(error).into()
}

struct Columns<'r> {
    row: &'r rusqlite::Row<'r>,
    next: usize,
}

impl Columns<'_> {
    fn take<T: FromSql>(&mut self) -> Result<Option<T>, RepositoryError> {
        let column = self.next;
        self.next += 1;
        self.row.get(column).map_err(failed)
    }
}

impl Row for Columns<'_> {
    fn id(&mut self) -> Result<Option<Uuid>, RepositoryError> {
        self.take()
    }

    fn text(&mut self) -> Result<Option<String>, RepositoryError> {
        self.take()
    }

    fn number(&mut self) -> Result<Option<i64>, RepositoryError> {
        self.take()
    }

    fn instant(&mut self) -> Result<Option<Timestamp>, RepositoryError> {
        self.number()?.map(Timestamp::from_millis).transpose().map_err(unreadable)
    }
}

const TABLES: &str = "
create table if not exists enroll_service_keys (
    id blob not null primary key,
    organization_id blob not null references enroll_organizations on delete cascade,
    name text not null,
    hash text not null unique,
    created_at integer not null,
    revoked_at integer
) strict;";

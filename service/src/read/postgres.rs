//! Statements on PostgreSQL.

use chrono::{DateTime, Utc};
use enroll_postgres::Error;
use enroll_postgres::deadpool_postgres::Pool;
use enroll_postgres::tokio_postgres::types::{FromSql, ToSql};
use enroll_postgres::tokio_postgres::{self, Row as Found};
use uuid::Uuid;

use enroll::{RepositoryError, Timestamp};

use super::{Bound, Row, unreadable};

pub(super) async fn query<T>(
    pool: &Pool,
    sql: &str,
    bound: &[Bound],
    decode: impl Fn(&mut dyn Row) -> Result<T, RepositoryError>,
) -> Result<Vec<T>, RepositoryError> {
    let client = pool.get().await.map_err(Error::from)?;
    let rows = client.query(sql, &parameters(bound)).await.map_err(failed)?;
    rows.iter().map(|row| decode(&mut Columns { row, next: 0 })).collect()
}

pub(super) async fn execute(pool: &Pool, sql: &str, bound: &[Bound]) -> Result<u64, RepositoryError> {
    let client = pool.get().await.map_err(Error::from)?;
    client.execute(sql, &parameters(bound)).await.map_err(failed)
}

pub(super) async fn make_tables(pool: &Pool) -> Result<(), RepositoryError> {
    let mut client = pool.get().await.map_err(Error::from)?;
    let stands = "select pg_catalog.to_regclass('enroll_service.keys') is not null";
    if client.query_one(stands, &[]).await.and_then(|row| row.try_get(0)).map_err(failed)? {
        return Ok(());
    }
    // `if not exists` alone loses races.
    let transaction = client.transaction().await.map_err(failed)?;
    transaction.execute("select pg_catalog.pg_advisory_xact_lock($1)", &[&LOCK]).await.map_err(failed)?;
    transaction.batch_execute(TABLES).await.map_err(failed)?;
    transaction.commit().await.map_err(failed)
}

fn parameters(bound: &[Bound]) -> Vec<&(dyn ToSql + Sync)> {
    fn parameter(bound: &Bound) -> &(dyn ToSql + Sync) {
        match bound {
            Bound::Id(id) => id,
            Bound::Text(text) => text,
            Bound::Number(number) => number,
        }
    }
    bound.iter().map(parameter).collect()
}

fn failed(error: tokio_postgres::Error) -> RepositoryError {
    Error::from(error).into()
}

struct Columns<'r> {
    row: &'r Found,
    next: usize,
}

impl Columns<'_> {
    fn take<'c, T: FromSql<'c>>(&'c mut self) -> Result<Option<T>, RepositoryError> {
        let column = self.next;
        self.next += 1;
        self.row.try_get(column).map_err(failed)
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
        let at: Option<DateTime<Utc>> = self.take()?;
        at.map(Timestamp::try_from).transpose().map_err(unreadable)
    }
}

const TABLES: &str = "
create schema if not exists enroll_service;
create table if not exists enroll_service.keys (
    id uuid not null primary key,
    organization_id uuid not null references enroll.organizations on delete cascade,
    name text not null,
    hash text not null unique,
    created_at bigint not null,
    revoked_at bigint
);";
/// `service`, in ASCII.
const LOCK: i64 = 0x0073_6572_7669_6365;

//! The service's statements on PostgreSQL.

use chrono::{DateTime, Utc};
use enroll_postgres::deadpool_postgres::Pool;
use enroll_postgres::tokio_postgres::types::{FromSql, ToSql, Type};
use enroll_postgres::{PostgresError, PostgresRepository, Timeouts, tokio_postgres};
use uuid::Uuid;

use enroll::repository::BoxFuture;
use enroll::{RepositoryError, Timestamp};

use super::{OnRow, Param, Row, SqlConnection, invalid_data};

impl SqlConnection for PostgresRepository {
    fn query<'a>(
        &'a mut self,
        sql: &'a str,
        params: &'a [Param],
        on_row: &'a mut OnRow<'_>,
    ) -> BoxFuture<'a, Result<(), RepositoryError>> {
        Box::pin(async move {
            let rows = PostgresRepository::query(self, sql, &parameters(params)).await?;
            rows.iter().try_for_each(|row| on_row(&mut Columns { row, next_column: 0 }))
        })
    }

    fn execute<'a>(&'a mut self, sql: &'a str, params: &'a [Param]) -> BoxFuture<'a, Result<u64, RepositoryError>> {
        Box::pin(async move { Ok(PostgresRepository::execute(self, sql, &parameters(params)).await?) })
    }

    fn has_tables(&mut self) -> BoxFuture<'_, Result<bool, RepositoryError>> {
        Box::pin(async move {
            let exists = "select pg_catalog.to_regclass('enroll_service.write_checks') is not null";
            let rows = PostgresRepository::query(self, exists, &[]).await?;
            rows.first().map_or(Ok(false), |row| row.try_get(0)).map_err(storage_error)
        })
    }

    fn check_write(&mut self) -> BoxFuture<'_, Result<(), RepositoryError>> {
        Box::pin(check_write(self.pool()))
    }

    fn create_tables(&mut self) -> BoxFuture<'_, Result<(), RepositoryError>> {
        Box::pin(create_tables(self.pool()))
    }
}

async fn check_write(pool: &Pool) -> Result<(), RepositoryError> {
    let mut client = pool.get().await.map_err(PostgresError::from)?;
    let transaction = client.transaction().await.map_err(storage_error)?;
    transaction.batch_execute(&Timeouts::default().set_local()).await.map_err(storage_error)?;
    // The row fills most of a page, so that the table grows and a full disk shows.
    let sql = "insert into enroll_service.write_checks (filler) values (pg_catalog.repeat('x', 7000))";
    transaction.execute(sql, &[]).await.map_err(storage_error)?;
    transaction.rollback().await.map_err(storage_error)
}

async fn create_tables(pool: &Pool) -> Result<(), RepositoryError> {
    let mut client = pool.get().await.map_err(PostgresError::from)?;
    // Two concurrent `create … if not exists` can both try to create, and one fails. The lock prevents that.
    let transaction = client.transaction().await.map_err(storage_error)?;
    transaction.batch_execute(&Timeouts::default().set_local()).await.map_err(storage_error)?;
    transaction.execute("select pg_catalog.pg_advisory_xact_lock($1)", &[&LOCK]).await.map_err(storage_error)?;
    transaction.batch_execute(TABLES).await.map_err(storage_error)?;
    transaction.commit().await.map_err(storage_error)
}

fn parameters(params: &[Param]) -> Vec<(&(dyn ToSql + Sync), Type)> {
    fn parameter(param: &Param) -> (&(dyn ToSql + Sync), Type) {
        match param {
            Param::Id(id) => (id, Type::UUID),
            Param::Text(text) => (text, Type::TEXT),
            Param::Number(number) => (number, Type::INT8),
            Param::NumberOrNull(number) => (number, Type::INT8),
            Param::Instant(at) => (at, Type::TIMESTAMPTZ),
        }
    }
    params.iter().map(parameter).collect()
}

fn storage_error(error: tokio_postgres::Error) -> RepositoryError {
    PostgresError::from(error).into()
}

struct Columns<'r> {
    row: &'r tokio_postgres::Row,
    next_column: usize,
}

impl Columns<'_> {
    fn next<'c, T: FromSql<'c>>(&'c mut self) -> Result<Option<T>, RepositoryError> {
        let column = self.next_column;
        self.next_column += 1;
        self.row.try_get(column).map_err(storage_error)
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
        let at: Option<DateTime<Utc>> = self.next()?;
        at.map(Timestamp::try_from).transpose().map_err(invalid_data)
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
    expires_at bigint,
    last_used_at bigint,
    revoked_at bigint
);
create table if not exists enroll_service.audit (
    organization_id uuid not null references enroll.organizations on delete cascade,
    subject_id uuid not null,
    id uuid not null,
    action text not null,
    key_id uuid not null references enroll_service.keys on delete cascade,
    at bigint not null,
    primary key (organization_id, subject_id, id)
);
-- Always empty: a check writes a row and undoes that.
create table if not exists enroll_service.write_checks (filler text not null);
alter table enroll_service.write_checks alter column filler set storage plain;";
/// The key of the advisory lock: `service` in ASCII.
const LOCK: i64 = 0x0073_6572_7669_6365;

//! The service's statements on PostgreSQL.

use chrono::{DateTime, Utc};
use enroll_postgres::deadpool_postgres::Pool;
use enroll_postgres::tokio_postgres::types::{FromSql, ToSql, Type};
use enroll_postgres::tokio_postgres::{Client, IsolationLevel, Transaction};
use enroll_postgres::{
    Placement, PostgresError, PostgresRepository, PostgresTransaction, Statements, Timeouts, tokio_postgres,
};
use uuid::Uuid;

use enroll::repository::BoxFuture;
use enroll::{Engine, EnrollError, Enrollment, Receipt, RepositoryError, Timestamp, accept_async};

use super::{OnRow, Param, Row, SqlConnection, invalid_data, not_null};
use crate::handles::StoreList;
use crate::people_lists::store::{ListTransaction, NewList, StoreError, StoredList, store};

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
            // The last step of their creation.
            let exists = "select exists (select from pg_catalog.pg_constraint
                where conrelid = pg_catalog.to_regclass('enroll_service.webhook_deliveries') and contype = 'f')";
            let rows = PostgresRepository::query(self, exists, &[]).await?;
            rows.first().map_or(Ok(false), |row| row.try_get(0)).map_err(storage_error)
        })
    }

    fn now(&mut self) -> BoxFuture<'_, Result<Timestamp, RepositoryError>> {
        Box::pin(async move {
            let rows = PostgresRepository::query(self, "select clock_timestamp()", &[]).await?;
            let row = rows.first().ok_or_else(|| invalid_data("the clock of the database returned no row"))?;
            not_null(Columns { row, next_column: 0 }.instant()?)
        })
    }

    fn check_write(&mut self) -> BoxFuture<'_, Result<(), RepositoryError>> {
        Box::pin(async move {
            // A query checks the version of the schema, too: a newer build may have migrated it.
            PostgresRepository::query(self, "select 1", &[]).await?;
            check_write(self.pool()).await
        })
    }

    fn create_tables(&mut self) -> BoxFuture<'_, Result<(), RepositoryError>> {
        Box::pin(async move { Ok(create_tables(self.pool()).await?) })
    }
}

impl StoreList for PostgresRepository {
    fn store_list<'a>(
        &'a mut self,
        engine: &'a Engine<'_>,
        new: NewList<'a>,
    ) -> BoxFuture<'a, Result<StoredList, StoreError>> {
        Box::pin(store_list(self, engine, new))
    }
}

async fn store_list(
    repository: &PostgresRepository,
    engine: &Engine<'_>,
    new: NewList<'_>,
) -> Result<StoredList, StoreError> {
    let mut client = repository.pool().get().await.map_err(|e| RepositoryError::from(PostgresError::from(e)))?;
    let statements = repository.statements(&client).await.map_err(RepositoryError::from)?;
    let begin = client.build_transaction().isolation_level(IsolationLevel::ReadCommitted);
    let mut transaction = begin.start().await.map_err(storage_error)?;
    transaction.batch_execute(&Timeouts::default().set_local()).await.map_err(storage_error)?;
    let inner: &mut Transaction<'_> = &mut transaction;
    let mut open = OpenTransaction { transaction: inner, statements };
    let stored = store(&mut open, engine, new).await?;
    transaction.commit().await.map_err(storage_error)?;
    Ok(stored)
}

struct OpenTransaction<'t, 'c> {
    transaction: &'t mut Transaction<'c>,
    statements: Statements,
}

impl ListTransaction for OpenTransaction<'_, '_> {
    async fn execute(&mut self, sql: &str, params: &[Param]) -> Result<u64, RepositoryError> {
        self.transaction.execute_typed(sql, &parameters(params)).await.map_err(storage_error)
    }

    async fn accept(&mut self, engine: &Engine<'_>, enrollment: &Enrollment<'_>) -> Result<Receipt, EnrollError> {
        let statements = self.statements.clone();
        let mut repository = PostgresTransaction::with_statements(&mut *self.transaction, statements);
        accept_async(&mut repository, engine, enrollment).await
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

/// Creates the tables, and distributes them if those of the engine are distributed. If it is interrupted, another call
/// completes it.
async fn create_tables(pool: &Pool) -> Result<(), PostgresError> {
    let mut client = pool.get().await?;
    let is_distributed = enroll_postgres::is_distributed(&**client).await?;
    let tables = vec![TABLES.to_owned()];
    let references = REFERENCES.into_iter().flat_map(reference);
    if is_distributed {
        run_locked(&mut client, tables).await?;
        enroll_postgres::distribute(&mut client, &PLACEMENTS).await?;
        run_locked(&mut client, references.collect()).await
    } else {
        let statements = tables.into_iter().chain(reference(KEYS_REFERENCE)).chain(references);
        run_locked(&mut client, statements.collect()).await
    }
}

/// Runs statements in a transaction. Two concurrent `create … if not exists` can both try to create, and one fails. The lock
/// prevents that.
async fn run_locked(client: &mut Client, statements: Vec<String>) -> Result<(), PostgresError> {
    let transaction = client.transaction().await?;
    transaction.batch_execute(&Timeouts::default().set_local()).await?;
    transaction.execute("select pg_catalog.pg_advisory_xact_lock($1)", &[&LOCK]).await?;
    for statement in statements {
        transaction.batch_execute(&statement).await?;
    }
    Ok(transaction.commit().await?)
}

/// Distributes the tables of the engine and of the service over the servers of Citus. Returns those that were not distributed
/// before.
pub(crate) async fn distribute(client: &mut Client) -> Result<Vec<String>, PostgresError> {
    // A table that each server has cannot refer to a distributed one.
    client.batch_execute("alter table if exists enroll_service.keys drop constraint if exists keys_belong").await?;
    enroll_postgres::distribute(client, &PLACEMENTS).await
}

/// Returns the statements that add a foreign key, again if it exists. Citus needs them one by one.
fn reference((table, columns, parent): (&str, &str, &str)) -> [String; 2] {
    [
        format!("alter table enroll_service.{table} drop constraint if exists {table}_belong"),
        format!(
            "alter table enroll_service.{table} add constraint {table}_belong
            foreign key ({columns}) references {parent} on delete cascade"
        ),
    ]
}

fn parameters(params: &[Param]) -> Vec<(&(dyn ToSql + Sync), Type)> {
    fn parameter(param: &Param) -> (&(dyn ToSql + Sync), Type) {
        match param {
            Param::Id(id) => (id, Type::UUID),
            Param::Text(text) => (text, Type::TEXT),
            Param::TextOrNull(text) => (text, Type::TEXT),
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
    organization_id uuid not null,
    name text not null,
    hash text not null unique,
    created_at bigint not null,
    expires_at bigint,
    last_used_at bigint,
    revoked_at bigint
);
-- A key is only deleted with its organization.
create table if not exists enroll_service.audit (
    organization_id uuid not null,
    subject_id uuid not null,
    id uuid not null,
    action text not null,
    key_id uuid not null,
    at bigint not null,
    primary key (organization_id, subject_id, id)
);
-- Lists of people. `kept` has the texts that are removed with the rows' texts.
create table if not exists enroll_service.lists (
    organization_id uuid not null,
    id uuid not null,
    content_id uuid not null,
    sequence_id uuid not null,
    file text not null,
    at bigint not null,
    recipients bigint not null,
    set_aside bigint not null,
    requests bigint not null,
    options text not null,
    inspection text not null,
    kept text,
    removed_at bigint,
    primary key (organization_id, id)
);
create index if not exists lists_at on enroll_service.lists (organization_id, at, id);
create index if not exists lists_kept on enroll_service.lists (at) where kept is not null;
create table if not exists enroll_service.list_requests (
    organization_id uuid not null,
    list_id uuid not null,
    number bigint not null,
    enrollment_id uuid not null,
    recipients bigint not null,
    primary key (organization_id, list_id, number)
);
create index if not exists list_requests_enrollment
    on enroll_service.list_requests (organization_id, enrollment_id);
-- Adjacent rows of a list. The recipients of a piece belong to one request.
create table if not exists enroll_service.list_pieces (
    organization_id uuid not null,
    list_id uuid not null,
    number bigint not null,
    request bigint not null,
    first_index bigint not null,
    recipients bigint not null,
    set_aside text not null,
    entries text not null,
    texts text,
    primary key (organization_id, list_id, number)
);
-- The position in the log of events up to which deliveries exist.
create table if not exists enroll_service.webhook_positions (
    id bigint not null primary key check (id = 1),
    position bigint not null
);
insert into enroll_service.webhook_positions (id, position) values (1, 0) on conflict do nothing;
-- `secret` signs each message, so it is stored as it is.
create table if not exists enroll_service.webhook_endpoints (
    organization_id uuid not null,
    id uuid not null,
    url text not null,
    secret text not null,
    kinds text not null,
    after_position bigint not null,
    created_at bigint not null,
    disabled_at bigint,
    failures bigint not null,
    failing_since bigint,
    paused_until bigint not null,
    leased_until bigint not null,
    lease uuid,
    primary key (organization_id, id)
);
create table if not exists enroll_service.webhook_deliveries (
    organization_id uuid not null,
    endpoint_id uuid not null,
    position bigint not null,
    event_id uuid not null,
    kind text not null,
    at bigint not null,
    body text not null,
    state text not null,
    attempts bigint not null,
    queued_at bigint not null,
    due_at bigint not null,
    code text,
    ended_at bigint,
    primary key (organization_id, endpoint_id, position)
);
create index if not exists webhook_deliveries_due
    on enroll_service.webhook_deliveries (organization_id, endpoint_id, due_at, position) where state = 'waiting';
create index if not exists webhook_deliveries_queued
    on enroll_service.webhook_deliveries (queued_at) where state = 'waiting';
create index if not exists webhook_deliveries_dead
    on enroll_service.webhook_deliveries (ended_at, position) where state = 'dead';
create index if not exists webhook_deliveries_ended
    on enroll_service.webhook_deliveries (ended_at) where state <> 'waiting';
-- Always empty: a check writes a row and undoes that.
create table if not exists enroll_service.write_checks (filler text not null);
alter table enroll_service.write_checks alter column filler set storage plain;";
/// The foreign keys: a table, its columns, and the table whose rows delete its rows.
const REFERENCES: [(&str, &str, &str); 6] = [
    ("audit", "organization_id", "enroll.organizations"),
    ("lists", "organization_id", "enroll.organizations"),
    ("list_requests", "organization_id, list_id", "enroll_service.lists"),
    ("list_pieces", "organization_id, list_id", "enroll_service.lists"),
    ("webhook_endpoints", "organization_id", "enroll.organizations"),
    ("webhook_deliveries", "organization_id, endpoint_id", "enroll_service.webhook_endpoints"),
];
/// The one of the keys. It does not exist on a distributed database.
const KEYS_REFERENCE: (&str, &str, &str) = ("keys", "organization_id", "enroll.organizations");
/// Where Citus stores the tables. A key is found by its hash, without its organization.
const PLACEMENTS: [(&str, Placement); 8] = [
    ("enroll_service.keys", Placement::OnEachServer),
    ("enroll_service.audit", Placement::ByOrganization),
    ("enroll_service.lists", Placement::ByOrganization),
    ("enroll_service.list_requests", Placement::ByOrganization),
    ("enroll_service.list_pieces", Placement::ByOrganization),
    ("enroll_service.webhook_positions", Placement::OnEachServer),
    ("enroll_service.webhook_endpoints", Placement::ByOrganization),
    ("enroll_service.webhook_deliveries", Placement::ByOrganization),
];
/// The key of the advisory lock: `service` in ASCII.
const LOCK: i64 = 0x0073_6572_7669_6365;

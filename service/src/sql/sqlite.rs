//! The service's statements on SQLite.

use rusqlite::types::{FromSql, Value};
use rusqlite::{CachedStatement, Connection, Transaction, params_from_iter};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use uuid::Uuid;

use enroll::repository::BoxFuture;
use enroll::{Engine, EnrollError, Enrollment, Receipt, RepositoryError, Timestamp};
use enroll_sqlite::{SqliteError, SqliteTransaction};

use super::{OnRow, Param, Row, SqlConnection, invalid_data};
use crate::handles::{SqliteHandle, StoreList};
use crate::import_job::current_time;
use crate::people_lists::store::{ListTransaction, NewList, StoreError, StoredList, store};

impl SqlConnection for SqliteHandle {
    fn query<'a>(
        &'a mut self,
        sql: &'a str,
        params: &'a [Param],
        on_row: &'a mut OnRow<'_>,
    ) -> BoxFuture<'a, Result<(), RepositoryError>> {
        Box::pin(async move {
            self.call_within(READ_LIMIT, |repository| {
                repository.read(|connection| query(connection, sql, params, on_row))
            })
        })
    }

    fn execute<'a>(&'a mut self, sql: &'a str, params: &'a [Param]) -> BoxFuture<'a, Result<u64, RepositoryError>> {
        Box::pin(async move { self.call(|repository| repository.write(|connection| execute(connection, sql, params))) })
    }

    fn has_tables(&mut self) -> BoxFuture<'_, Result<bool, RepositoryError>> {
        Box::pin(async move { self.call(|repository| repository.read(has_tables)) })
    }

    /// All processes that use a file are on one machine, so they share its clock.
    fn now(&mut self) -> BoxFuture<'_, Result<Timestamp, RepositoryError>> {
        Box::pin(async { current_time().map_err(|e| invalid_data(e.to_string())) })
    }

    fn check_write(&mut self) -> BoxFuture<'_, Result<(), RepositoryError>> {
        let check = |connection: &Transaction<'_>| connection.execute_batch(CHECK_WRITE).map_err(storage_error);
        Box::pin(async move { self.call(|repository| repository.write(check)) })
    }

    fn create_tables(&mut self) -> BoxFuture<'_, Result<(), RepositoryError>> {
        let create = |connection: &Transaction<'_>| connection.execute_batch(TABLES).map_err(storage_error);
        Box::pin(async move { self.call(|repository| repository.write(create)) })
    }
}

impl StoreList for SqliteHandle {
    fn store_list<'a>(
        &'a mut self,
        engine: &'a Engine<'_>,
        new: NewList<'a>,
    ) -> BoxFuture<'a, Result<StoredList, StoreError>> {
        let write = move |transaction: &Transaction<'_>| {
            let repository = SqliteTransaction::new(transaction)?;
            let mut open = OpenTransaction { transaction, repository };
            // No statement on SQLite waits for an event, so the first poll is the last one.
            match pin!(store(&mut open, engine, new)).poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(stored) => stored,
                Poll::Pending => Err(invalid_data("a statement on SQLite did not end").into()),
            }
        };
        Box::pin(async move { self.call(|repository| repository.write_flushed(write)) })
    }
}

struct OpenTransaction<'t> {
    transaction: &'t Connection,
    repository: SqliteTransaction<'t>,
}

impl ListTransaction for OpenTransaction<'_> {
    async fn execute(&mut self, sql: &str, params: &[Param]) -> Result<u64, RepositoryError> {
        execute(self.transaction, sql, params)
    }

    async fn accept(&mut self, engine: &Engine<'_>, enrollment: &Enrollment<'_>) -> Result<Receipt, EnrollError> {
        enroll::accept(&mut self.repository, engine, enrollment)
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
    let exists = "select exists(select 1 from sqlite_schema where type = 'table' and name = 'enroll_service_webhook_deliveries')";
    connection.query_row(exists, [], |row| row.get(0)).map_err(storage_error)
}

fn prepare<'c>(connection: &'c Connection, sql: &str) -> Result<CachedStatement<'c>, RepositoryError> {
    let sql = sql.replace("enroll.", "enroll_").replace("enroll_service.", "enroll_service_").replace('$', "?");
    let sql = sql.replace(super::contacts::LISTED_NAME, "t.listed_name").replace("strpos(", "instr(");
    connection.prepare_cached(&sql).map_err(storage_error)
}

fn value(param: &Param) -> Value {
    match param {
        Param::Id(id) => Value::Blob(id.as_bytes().to_vec()),
        Param::Text(text) => Value::Text(text.clone()),
        Param::TextOrNull(text) => text.clone().map_or(Value::Null, Value::Text),
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

/// How long a list may be read: the default timeout of a request.
const READ_LIMIT: Duration = Duration::from_secs(30);
/// SQLite writes to the disk when a transaction commits. So the check commits, and notices a full disk.
const CHECK_WRITE: &str = "
insert into enroll_service_write_checks (filler) values ('');
delete from enroll_service_write_checks;";
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
-- Lists of people. `kept` has the texts that are removed with the rows' texts.
create table if not exists enroll_service_lists (
    organization_id blob not null references enroll_organizations on delete cascade,
    id blob not null,
    content_id blob not null,
    sequence_id blob not null,
    file text not null,
    at integer not null,
    recipients integer not null,
    set_aside integer not null,
    requests integer not null,
    options text not null,
    inspection text not null,
    kept text,
    removed_at integer,
    primary key (organization_id, id)
) strict;
create index if not exists enroll_service_lists_at on enroll_service_lists (organization_id, at, id);
create index if not exists enroll_service_lists_kept on enroll_service_lists (at) where kept is not null;
create table if not exists enroll_service_list_requests (
    organization_id blob not null,
    list_id blob not null,
    number integer not null,
    enrollment_id blob not null,
    recipients integer not null,
    primary key (organization_id, list_id, number),
    foreign key (organization_id, list_id) references enroll_service_lists on delete cascade
) strict, without rowid;
create index if not exists enroll_service_list_requests_enrollment
    on enroll_service_list_requests (organization_id, enrollment_id);
-- Adjacent rows of a list. The recipients of a piece belong to one request.
create table if not exists enroll_service_list_pieces (
    organization_id blob not null,
    list_id blob not null,
    number integer not null,
    request integer not null,
    first_index integer not null,
    recipients integer not null,
    set_aside text not null,
    entries text not null,
    texts text,
    primary key (organization_id, list_id, number),
    foreign key (organization_id, list_id) references enroll_service_lists on delete cascade
) strict;
-- The position in the log of events up to which deliveries exist.
create table if not exists enroll_service_webhook_positions (
    id integer not null primary key check (id = 1),
    position integer not null
) strict;
insert into enroll_service_webhook_positions (id, position) values (1, 0) on conflict do nothing;
-- `secret` signs each message, so it is stored as it is.
create table if not exists enroll_service_webhook_endpoints (
    organization_id blob not null references enroll_organizations on delete cascade,
    id blob not null,
    url text not null,
    secret text not null,
    kinds text not null,
    after_position integer not null,
    created_at integer not null,
    disabled_at integer,
    failures integer not null,
    failing_since integer,
    paused_until integer not null,
    leased_until integer not null,
    lease blob,
    primary key (organization_id, id)
) strict;
create table if not exists enroll_service_webhook_deliveries (
    organization_id blob not null,
    endpoint_id blob not null,
    position integer not null,
    event_id blob not null,
    kind text not null,
    at integer not null,
    body text not null,
    state text not null,
    attempts integer not null,
    queued_at integer not null,
    due_at integer not null,
    code text,
    ended_at integer,
    primary key (organization_id, endpoint_id, position),
    foreign key (organization_id, endpoint_id) references enroll_service_webhook_endpoints on delete cascade
) strict, without rowid;
create index if not exists enroll_service_webhook_deliveries_due
    on enroll_service_webhook_deliveries (organization_id, endpoint_id, due_at, position) where state = 'waiting';
create index if not exists enroll_service_webhook_deliveries_queued
    on enroll_service_webhook_deliveries (queued_at) where state = 'waiting';
create index if not exists enroll_service_webhook_deliveries_dead
    on enroll_service_webhook_deliveries (ended_at, position) where state = 'dead';
create index if not exists enroll_service_webhook_deliveries_ended
    on enroll_service_webhook_deliveries (ended_at) where state <> 'waiting';
-- Always empty: a check writes a row and removes it.
create table if not exists enroll_service_write_checks (filler text not null) strict;";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handles::{Handle, counting_repository};
    use crate::sql::{self, ContactFilter, Pagination, RunFilter};
    use enroll::{ContactId, OrganizationId};
    use enroll_bench::lists::{self, Dialect};
    use enroll_bench::people::Scene;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Returns a handle on lists of a number of entries, and the number of steps that SQLite took.
    fn handle_on_lists(length: u32) -> (Handle, Arc<AtomicU64>) {
        let (repository, steps) = counting_repository();
        let mut seed = Scene::empty().given;
        seed.organization_id = OrganizationId::from_uuid(lists::ORGANIZATION);
        enroll_sqlite::seed::load(repository.connection(), &seed).unwrap();
        let rows = lists::rows(Dialect::Sqlite, Scene::empty().sequence_id.as_uuid(), length);
        repository.connection().execute_batch(&rows).unwrap();
        (Handle::on_sqlite(repository), steps)
    }

    /// Reads the first page of each list and the page after the middle. Returns the steps of each.
    async fn steps_of_pages(length: u32) -> Vec<(&'static str, u64)> {
        let (mut handle, steps) = handle_on_lists(length);
        let (organization_id, sequence_id) =
            (OrganizationId::from_uuid(lists::ORGANIZATION), Scene::empty().sequence_id);
        let first = Pagination { limit: 50, offset: 0, after: None };
        let middle = Pagination { offset: length / 20, ..first.clone() };
        let mut found = Vec::new();
        macro_rules! measure {
            ($name:literal, $list:path $(, $argument:expr)*) => {
                let after = $list(&mut handle, organization_id $(, $argument)*, &middle).await.unwrap().next;
                assert!(after.is_some(), "more entries follow");
                for pagination in [&first, &Pagination { after, ..first.clone() }] {
                    let before = steps.load(Ordering::Relaxed);
                    let page = $list(&mut handle, organization_id $(, $argument)*, pagination).await.unwrap();
                    assert_eq!(page.data.len(), 50);
                    found.push(($name, steps.load(Ordering::Relaxed) - before));
                }
            };
        }
        measure!("contacts", sql::contacts, ContactFilter::default());
        measure!("step contacts", sql::step_contacts, sequence_id, &[], &[]);
        measure!("finished step contacts", sql::step_contacts, sequence_id, &["finished".to_owned()], &[]);
        measure!("enrollments", sql::enrollments, &[]);
        measure!("runs", sql::runs, RunFilter::default());
        let of_sequence = || RunFilter { sequence_id: Some(sequence_id), ..RunFilter::default() };
        measure!("runs of a sequence", sql::runs, of_sequence());
        measure!("finished runs", sql::runs, RunFilter { statuses: vec!["finished".to_owned()], ..of_sequence() });
        found
    }

    /// Returns the steps that reading the runs of a contact takes, in each status.
    async fn steps_of_a_contact(length: u32) -> Vec<u64> {
        let (mut handle, steps) = handle_on_lists(length);
        let organization_id = OrganizationId::from_uuid(lists::ORGANIZATION);
        let first = Pagination { limit: 50, offset: 0, after: None };
        let mut found = Vec::new();
        for statuses in [&[][..], &["finished"], &["active", "finished"]] {
            let filter = RunFilter {
                contact_id: Some(ContactId::from_uuid(Uuid::from_u128(0xa0 << 120 | 7))),
                statuses: statuses.iter().map(|status| (*status).to_owned()).collect(),
                ..RunFilter::default()
            };
            let before = steps.load(Ordering::Relaxed);
            let page = sql::runs(&mut handle, organization_id, filter, &first).await.unwrap();
            assert_eq!((page.data.len(), page.total), (1, 1));
            found.push(steps.load(Ordering::Relaxed) - before);
        }
        found
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn the_runs_of_a_contact_are_found_without_reading_others() {
        let (short, long) = (steps_of_a_contact(200).await, steps_of_a_contact(20_000).await);
        assert!(short.iter().zip(&long).all(|(short, long)| *long <= short + short / 5), "{short:?} {long:?}");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_page_costs_the_same_in_a_longer_list() {
        let (short, long) = (steps_of_pages(2000).await, steps_of_pages(20_000).await);
        for ((name, short), (_, long)) in short.into_iter().zip(long) {
            assert!(
                long <= short + short / 5,
                "{name}: {short} steps for a page of a short list, {long} of a long one"
            );
        }
    }
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_contact_with_one_of_two_phones_is_found_by_the_index() {
        let mut found = Vec::new();
        for length in [2000, 20_000] {
            let (mut handle, steps) = handle_on_lists(length);
            let organization_id = OrganizationId::from_uuid(lists::ORGANIZATION);
            let phones = ["+12100000007", "12100000007"].map(str::to_owned).to_vec();
            let filter = ContactFilter { phones, ..ContactFilter::default() };
            let before = steps.load(Ordering::Relaxed);
            let first = Pagination { limit: 50, offset: 0, after: None };
            let page = sql::contacts(&mut handle, organization_id, filter, &first).await.unwrap();
            assert_eq!((page.data.len(), page.total), (1, 1));
            found.push(steps.load(Ordering::Relaxed) - before);
        }
        assert!(found[1] <= found[0] + found[0] / 5, "{found:?} steps");
    }
}

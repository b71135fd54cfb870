//! A host accepts with the public statement, on a plain connection, and keeps the migrations itself.
#![cfg(feature = "testing")]

#[path = "../../../tests/row_counts/mod.rs"]
mod row_counts;
mod support;

use std::collections::BTreeSet;
use std::num::NonZeroU32;

use enroll::contact::{ContactKeys, KeyKind};
use enroll::events::{AsyncEventLog, EventKind, EventPosition};
use enroll::{AsyncInbox, EnrollError, EnrollmentCommand};
use enroll_postgres::needs_postgres;
use enroll_postgres::sql::{ACCEPT, AcceptParameters, FIND, migrations};
use enroll_postgres::testing::Server;
use enroll_postgres::{PostgresRepository, PostgresTransaction, SCHEMA_VERSION, migrate, schema_version};
use support::{
    LEASE, Request, block_on, body, connect, count_rows, database, id, open, organization, pid, until_blocked,
};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, GenericClient, IsolationLevel};
use uuid::Uuid;

/// Checks a request of three recipients, and returns what a host binds.
async fn checked(url: &str, request: &Request) -> AcceptParameters {
    AcceptParameters::new(&command(url, request).await).unwrap()
}

async fn command(url: &str, request: &Request) -> EnrollmentCommand {
    request.snapshot_query(&mut open(url).await).await.1
}

/// Runs the statement. Returns whether it inserted the enrollment.
async fn accept(client: &impl GenericClient, accept: &AcceptParameters) -> Result<bool, Error> {
    let AcceptParameters {
        organization_id,
        enrollment_id,
        sequence_id,
        fingerprint,
        at,
        command,
        erased_recipients,
        ..
    } = accept;
    let values: [&(dyn ToSql + Sync); 7] =
        [organization_id, enrollment_id, sequence_id, fingerprint, at, command, erased_recipients];
    client.query_one(ACCEPT, &values).await?.try_get(0)
}

/// Returns whether the enrollment that has the id is the same request, and its state.
async fn find(client: &impl GenericClient, accept: &AcceptParameters) -> (bool, String) {
    let existing = client.query_one(FIND, &[&accept.organization_id, &accept.enrollment_id]).await.unwrap();
    (existing.get::<_, Vec<u8>>(0) == accept.fingerprint, existing.get(1))
}

async fn host(url: &str) -> Client {
    let client = connect(url).await;
    client.batch_execute("create table if not exists orders (id bigint primary key)").await.unwrap();
    client
}

async fn count(client: &Client, rows: &str) -> i64 {
    client.query_one(&format!("select count(*) from {rows}"), &[]).await.unwrap().get(0)
}

#[test]
#[ignore = needs_postgres!()]
fn a_commit_accepts_with_the_hosts_row_and_a_rollback_accepts_nothing() {
    block_on(async {
        let url = database().await;
        let (mut client, mut worker) = (host(&url).await, open(&url).await);
        let request = Request::new(1, &body(0, 3));
        let parameters = checked(&url, &request).await;
        for commits in [false, true] {
            let transaction = client.transaction().await.unwrap();
            transaction.execute("insert into orders values (1)", &[]).await.unwrap();
            assert!(accept(&transaction, &parameters).await.unwrap());
            assert_eq!(find(&transaction, &parameters).await, (true, "accepted".to_owned()));
            assert_eq!(worker.claim(LEASE).await.unwrap(), None);
            if commits {
                transaction.commit().await.unwrap();
            } else {
                transaction.rollback().await.unwrap();
                assert_eq!((count(&client, "orders").await, count_rows(&client).await), (0, 0));
                assert_eq!(count(&client, "enroll.queues").await, 0);
            }
        }
        let claim = worker.claim(LEASE).await.unwrap().unwrap();
        assert_eq!((claim.organization_id, claim.enrollment_id), (organization(), id(1)));
        assert_eq!(request.process(&mut worker).await.unwrap().counts().added, 3);
        assert_eq!(find(&client, &parameters).await, (true, "completed".to_owned()));
        assert_eq!(count(&client, "orders").await, 1);
        let wrong = client.query(&row_counts::wrong_counts("postgres"), &[]).await.unwrap();
        assert!(wrong.is_empty(), "{wrong:?}");
    });
}

#[test]
#[ignore = needs_postgres!()]
fn the_same_request_is_recognized_and_another_one_is_a_conflict() {
    block_on(async {
        let url = database().await;
        let (client, mut inbox) = (host(&url).await, open(&url).await);
        // The first acceptance is one of the adapter, then one of the host.
        for (number, by_host) in [(1, false), (2, true)] {
            let (request, other) = (Request::new(number, &body(0, 3)), Request::new(number, &body(1, 3)));
            let (same, different) = (checked(&url, &request).await, checked(&url, &other).await);
            if by_host {
                assert!(accept(&client, &same).await.unwrap());
            } else {
                assert!(!request.accept(&mut inbox).await.unwrap().replayed);
            }
            assert!(!accept(&client, &same).await.unwrap());
            assert_eq!(find(&client, &same).await, (true, "accepted".to_owned()));
            assert!(!accept(&client, &different).await.unwrap());
            assert_eq!(find(&client, &different).await, (false, "accepted".to_owned()));
            assert!(request.accept(&mut inbox).await.unwrap().replayed);
            let refused = other.accept(&mut inbox).await.unwrap_err();
            assert!(matches!(refused, EnrollError::Rejected(_)), "{refused:?}");
            let stored = inbox.find(organization(), id(number)).await.unwrap().unwrap();
            let expected = command(&url, &Request::new(3, &body(0, 3))).await.accepted();
            assert_eq!(stored.enrollment.fingerprint, expected.fingerprint);
        }
    });
}

/// The rows that an acceptance writes, without the clock.
const ACCEPTED: &str = "select e::text || q.organization_id || q.turn || (q.due_at <= clock_timestamp())::text
        || (select string_agg(c::text, '; ' order by c) from enroll.counts c where c.list = 'enrollments')
    from enroll.enrollments e join enroll.queues q using (organization_id)";

#[test]
#[ignore = needs_postgres!()]
fn the_statement_stores_what_the_adapter_stores() {
    block_on(async {
        let mut stored = Vec::new();
        for by_host in [false, true] {
            let url = database().await;
            let (client, mut inbox) = (host(&url).await, open(&url).await);
            let mut command = command(&url, &Request::new(1, &body(0, 3))).await;
            let erased = ContactKeys::from_iter([(KeyKind::Email, "person1@example.com")]);
            assert_eq!(command.erase(&erased), 1);
            if by_host {
                assert!(accept(&client, &AcceptParameters::new(&command).unwrap()).await.unwrap());
            } else {
                assert_eq!(inbox.insert(&command).await.unwrap(), None);
            }
            let rows = client.query(ACCEPTED, &[]).await.unwrap();
            stored.push(rows.iter().map(|row| row.get(0)).collect::<Vec<String>>());
            let entry = inbox.find(organization(), id(1)).await.unwrap().unwrap();
            assert_eq!(entry.enrollment, command.accepted());
            assert_eq!(entry.enrollment.erased_recipients, 1);
            // A commit compares the number of erased recipients.
            let report = Request::new(1, &body(0, 3)).process(&mut inbox).await.unwrap();
            assert_eq!(report.counts().added, 2);
        }
        assert_eq!(stored[0].len(), 1);
        assert_eq!(stored[0], stored[1]);
    });
}

/// A driver that binds by the types of the server needs no type for JSON and instants.
#[test]
#[ignore = needs_postgres!()]
fn the_parameters_and_results_have_the_documented_types() {
    block_on(async {
        let client = connect(&database().await).await;
        let types = [Type::UUID, Type::UUID, Type::UUID, Type::BYTEA, Type::TEXT, Type::TEXT, Type::INT8];
        for (sql, parameters, columns) in
            [(ACCEPT, &types[..], vec![Type::BOOL]), (FIND, &types[..2], vec![Type::BYTEA, Type::TEXT])]
        {
            let statement = client.prepare(sql).await.unwrap();
            assert_eq!(statement.params(), parameters);
            let returned: Vec<_> = statement.columns().iter().map(|column| column.type_().clone()).collect();
            assert_eq!(returned, columns);
        }
    });
}

#[test]
#[ignore = needs_postgres!()]
fn an_acceptance_adds_the_row_of_its_organization() {
    block_on(async {
        let url = database().await;
        let client = host(&url).await;
        let mut parameters = checked(&url, &Request::new(1, &body(0, 1))).await;
        parameters.organization_id = Uuid::from_u128(99);
        assert!(accept(&client, &parameters).await.unwrap());
        for table in ["organizations", "queues", "counts"] {
            let rows = format!("enroll.{table} where organization_id = '{}'", parameters.organization_id);
            assert_eq!(count(&client, &rows).await, 1, "{table}");
        }
    });
}

#[test]
#[ignore = needs_postgres!()]
fn an_acceptance_of_the_adapter_waits_for_the_hosts_transaction_with_the_same_id() {
    block_on(async {
        let url = database().await;
        let (mut client, observer) = (host(&url).await, connect(&url).await);
        for (number, commits) in [(1, true), (2, false)] {
            let request = Request::new(number, &body(0, 1));
            let parameters = checked(&url, &request).await;
            let transaction = client.transaction().await.unwrap();
            assert!(accept(&transaction, &parameters).await.unwrap());
            let mut inbox = open(&url).await;
            let pid = pid(inbox.client()).await;
            let receipt = tokio::spawn(async move { request.accept(&mut inbox).await });
            until_blocked(&observer, pid).await;
            if commits {
                transaction.commit().await.unwrap();
            } else {
                transaction.rollback().await.unwrap();
            }
            assert_eq!(receipt.await.unwrap().unwrap().replayed, commits);
        }
        assert_eq!(count(&observer, "enroll.enrollments").await, 2);
    });
}

#[test]
#[ignore = needs_postgres!()]
fn the_host_waits_for_an_acceptance_of_the_adapter_with_the_same_id() {
    block_on(async {
        let url = database().await;
        let (client, observer, mut other) = (host(&url).await, connect(&url).await, connect(&url).await);
        let request = Request::new(1, &body(0, 1));
        let parameters = checked(&url, &request).await;
        let mut transaction = other.transaction().await.unwrap();
        request.accept(&mut PostgresTransaction::new(&mut transaction)).await.unwrap();
        let pid = pid(&client).await;
        let waiting = tokio::spawn(async move {
            let inserted = accept(&client, &parameters).await.unwrap();
            (inserted, find(&client, &parameters).await)
        });
        until_blocked(&observer, pid).await;
        transaction.commit().await.unwrap();
        assert_eq!(waiting.await.unwrap(), (false, (true, "accepted".to_owned())));
    });
}

/// Acceptances share the row of a queue that has work. A claim takes work meanwhile, and misses nothing.
#[test]
#[ignore = needs_postgres!()]
fn acceptances_of_an_organization_do_not_wait_for_each_other_and_none_is_missed() {
    block_on(async {
        let url = database().await;
        let (mut one, mut two, mut worker) = (host(&url).await, host(&url).await, open(&url).await);
        let requests = [1, 2, 3].map(|number| Request::new(number, &body(0, 1)));
        requests[0].accept(&mut worker).await.unwrap();
        let (first, second) = (one.transaction().await.unwrap(), two.transaction().await.unwrap());
        assert!(accept(&first, &checked(&url, &requests[1]).await).await.unwrap());
        assert!(accept(&second, &checked(&url, &requests[2]).await).await.unwrap());
        assert_eq!(worker.claim(LEASE).await.unwrap().unwrap().enrollment_id, id(1));
        requests[0].process(&mut worker).await.unwrap();
        // It finds no work, and must not postpone the queue.
        assert_eq!(worker.claim(LEASE).await.unwrap(), None);
        first.commit().await.unwrap();
        assert_eq!(worker.claim(LEASE).await.unwrap().unwrap().enrollment_id, id(2));
        requests[1].process(&mut worker).await.unwrap();
        assert_eq!(worker.claim(LEASE).await.unwrap(), None);
        second.commit().await.unwrap();
        assert_eq!(worker.claim(LEASE).await.unwrap().unwrap().enrollment_id, id(3));
    });
}

/// At these levels, the transaction may not see that a claim postponed the queue. PostgreSQL then refuses it.
#[test]
#[ignore = needs_postgres!()]
fn other_isolation_levels_accept_or_are_refused() {
    block_on(async {
        let url = database().await;
        let (mut client, mut worker) = (host(&url).await, open(&url).await);
        for (number, level) in [(1, IsolationLevel::RepeatableRead), (3, IsolationLevel::Serializable)] {
            let earlier = Request::new(number, &body(0, 1));
            earlier.accept(&mut worker).await.unwrap();
            let request = Request::new(number + 1, &body(0, 1));
            let parameters = checked(&url, &request).await;

            let transaction = client.build_transaction().isolation_level(level).start().await.unwrap();
            // The snapshot is from before the queue is postponed.
            assert_eq!(transaction.query("select from enroll.queues", &[]).await.unwrap().len(), 1);
            worker.claim(LEASE).await.unwrap().unwrap();
            earlier.process(&mut worker).await.unwrap();
            assert_eq!(worker.claim(LEASE).await.unwrap(), None);
            let refused = accept(&transaction, &parameters).await.unwrap_err();
            assert_eq!(refused.code(), Some(&SqlState::T_R_SERIALIZATION_FAILURE), "{refused:?}");
            transaction.rollback().await.unwrap();

            let transaction = client.build_transaction().isolation_level(level).start().await.unwrap();
            assert!(accept(&transaction, &parameters).await.unwrap());
            transaction.commit().await.unwrap();
            assert_eq!(worker.claim(LEASE).await.unwrap().unwrap().enrollment_id, id(number + 1));
            request.process(&mut worker).await.unwrap();
        }
    });
}

/// Reads what defines the schema: columns, constraints, indexes, triggers, functions, sequences and settings of tables.
const CATALOG: &str = "select kind || ' ' || definition from (
    select 'column' as kind, concat_ws(' ', table_name, ordinal_position, column_name, data_type, collation_name,
        is_nullable, column_default) as definition from information_schema.columns where table_schema = 'enroll'
    union all select 'constraint', conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid)
        from pg_constraint where connamespace = 'enroll'::regnamespace
    union all select 'index', indexdef from pg_indexes where schemaname = 'enroll'
    union all select 'trigger', pg_get_triggerdef(t.oid) || ' ' || tgenabled::text from pg_trigger t
        join pg_class c on c.oid = tgrelid where c.relnamespace = 'enroll'::regnamespace and not tgisinternal
    union all select 'function', pg_get_functiondef(oid) from pg_proc where pronamespace = 'enroll'::regnamespace
    union all select 'relation', concat_ws(' ', relname, relkind, reloptions) from pg_class
        where relnamespace = 'enroll'::regnamespace
    union all select 'attribute', concat_ws(' ', attrelid::regclass, attname, attcompression, attstorage, attstattarget)
        from pg_attribute a join pg_class c on c.oid = attrelid
        where c.relnamespace = 'enroll'::regnamespace and attnum > 0
) as entries";

async fn catalog(client: &Client) -> BTreeSet<String> {
    client.query(CATALOG, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

#[test]
#[ignore = needs_postgres!()]
fn migrations_that_the_host_runs_make_the_schema_of_migrate() {
    block_on(async {
        let name = format!("enroll_test_own_migrations_{}", std::process::id());
        let server = connect(Server::shared().url()).await;
        server.batch_execute(&format!("drop database if exists {name} with (force)")).await.unwrap();
        let mut client = connect(&Server::shared().empty_database(&name).await.unwrap()).await;
        for migration in migrations() {
            let transaction = client.transaction().await.unwrap();
            transaction.batch_execute(&migration.sql).await.unwrap();
            transaction.commit().await.unwrap();
            assert_eq!(schema_version(&client).await.unwrap(), migration.version);
        }
        assert_eq!(schema_version(&client).await.unwrap(), SCHEMA_VERSION);
        let before = catalog(&client).await;
        let versions = "enroll.schema_version";
        let known = count(&client, versions).await;
        migrate(&mut client).await.unwrap();
        assert_eq!(count(&client, versions).await, known);
        assert_eq!(catalog(&client).await.symmetric_difference(&before).next(), None);
        let migrated = connect(&Server::shared().database().await.unwrap()).await;
        assert!(before.len() > 200, "{}", before.len());
        assert_eq!(catalog(&migrated).await.symmetric_difference(&before).next(), None);
    });
}

/// A trigger writes the event, in the transaction of the host.
#[test]
#[ignore = needs_postgres!()]
fn the_statement_writes_the_event_with_the_enrollment() {
    block_on(async {
        let url = database().await;
        PostgresRepository::connect(&url, 1).await.unwrap().enable_events(true).await.unwrap();
        let (mut client, mut worker) = (host(&url).await, open(&url).await);
        let parameters = checked(&url, &Request::new(1, &body(0, 3))).await;
        for commits in [false, true] {
            let transaction = client.transaction().await.unwrap();
            assert!(accept(&transaction, &parameters).await.unwrap());
            // A repeated request writes none.
            assert!(!accept(&transaction, &parameters).await.unwrap());
            if commits {
                transaction.commit().await.unwrap();
            } else {
                transaction.rollback().await.unwrap();
            }
        }
        let events = worker.events(EventPosition::START, NonZeroU32::MAX).await.unwrap();
        let found: Vec<_> = events.iter().map(|event| (event.enrollment_id, event.kind)).collect();
        assert_eq!(found, [(id(1), EventKind::Accepted)]);
    });
}

//! Long lists of new rows are copied: what must hold beside what the suite says of any commit.
#![cfg(feature = "testing")]

mod common;

use common::wire::Wire;
use common::{Request, block_on, body, connect, database, id, open, pid, rows, told, until_it_waits};
use enroll::RepositoryErrorKind::{Conflict, Other, Unavailable};
use enroll::{AsyncRepository, ChangeSet, Engine, Enrollment, EnrollmentPolicy, enroll_contacts_async};
use enroll_postgres::seed::load;
use enroll_postgres::{PostgresClient, PostgresError, PostgresTransaction, Statements};
use serde_json::{Value, json};
use tokio_postgres::Client;
use uuid::Uuid;

/// Longer than what goes as arrays.
const PEOPLE: usize = 2100;
/// The tables that are copied into.
const TABLES: [&str; 6] = ["contacts", "conversations", "runs", "step_contacts", "contact_tags", "custom_records"];

#[test]
#[ignore = "needs PostgreSQL: run with --include-ignored, its programs installed or ENROLL_TEST_POSTGRES_URL set"]
fn what_is_copied_is_what_would_be_inserted() {
    block_on(async {
        let (copied, inserted) = (database().await, database().await);
        for (url, copies) in [(&copied, 6), (&inserted, 0)] {
            let wire = Wire::default();
            let mut client = wire.connect(url).await;
            load(&mut client, &serde_json::from_value(email_sequence()).unwrap()).await.unwrap();
            if copies == 0 {
                client.batch_execute("set enroll.copy = 'off'").await.unwrap();
            }
            let mut repository = PostgresClient::new(client);
            let request = Request::new(1, &everything(PEOPLE));
            let (policy, enrollment) = (EnrollmentPolicy::default(), request.enrollment());
            let enrollment = Enrollment { sequence_id: id(2), ..enrollment };
            let report =
                enroll_contacts_async(&mut repository, &Engine::new(&policy), &enrollment).await.unwrap().report;
            assert_eq!(report.counts().added, PEOPLE);
            assert_eq!(wire.take_copies(), copies);
        }
        let (copied, inserted) = (connect(&copied).await, connect(&inserted).await);
        for table in TABLES {
            let copied = stands(&copied, table).await;
            assert_eq!(copied.len(), PEOPLE, "{table}");
            assert_eq!(copied, stands(&inserted, table).await, "{table}");
        }
    });
}

/// Row security refuses a copy.
#[test]
#[ignore = "needs PostgreSQL: run with --include-ignored, its programs installed or ENROLL_TEST_POSTGRES_URL set"]
fn where_rows_are_secured_one_by_one_they_are_inserted() {
    block_on(async {
        let url = database().await;
        let role = Role::new(&url, "secured").await;
        let secure = "alter table enroll.runs enable row level security;
            create policy tenant on enroll.runs using (true)";
        connect(&url).await.batch_execute(secure).await.unwrap();
        let request = Request::new(1, &body(0, PEOPLE));
        let report = request.enroll(&mut PostgresClient::new(role.connect().await)).await.unwrap();
        assert_eq!(report.counts().added, PEOPLE);
        role.remove().await;
    });
}

#[test]
#[ignore = "needs PostgreSQL: run with --include-ignored, its programs installed or ENROLL_TEST_POSTGRES_URL set"]
fn a_role_that_may_not_insert_is_told_and_keeps_its_connection() {
    block_on(async {
        let url = database().await;
        let role = Role::new(&url, "refused").await;
        let revoke = format!("revoke insert on enroll.runs from {}", role.name);
        connect(&url).await.batch_execute(&revoke).await.unwrap();
        let mut repository = PostgresClient::new(role.connect().await);
        let (_, changes) = planned(&mut repository).await;
        let error = repository.commit(&changes).await.unwrap_err();
        assert!(matches!(told(&error), (Other, PostgresError::Denied(_))), "{error:?}");
        assert_eq!(rows(repository.client()).await, 0);
        role.remove().await;
    });
}

#[test]
#[ignore = "needs PostgreSQL: run with --include-ignored, its programs installed or ENROLL_TEST_POSTGRES_URL set"]
fn a_key_that_was_taken_meanwhile_is_a_conflict_and_the_transaction_goes_on() {
    block_on(async {
        let url = database().await;
        let (mut host, mut repository) = (connect(&url).await, open(&url).await);
        let (request, changes) = planned(&mut repository).await;
        Request::new(2, &body(PEOPLE - 1, 1)).enroll(&mut repository).await.unwrap();

        let mut transaction = host.transaction().await.unwrap();
        let mut within = PostgresTransaction::new(&mut transaction);
        let error = within.commit(&changes).await.unwrap_err();
        assert!(matches!(told(&error), (Conflict, PostgresError::NotUnique { .. })), "{error:?}");
        let counts = request.enroll(&mut within).await.unwrap().counts();
        assert_eq!((counts.added, counts.reprocessed), (PEOPLE - 1, 1));
        transaction.commit().await.unwrap();
        assert_eq!(stands(&host, "contacts").await.len(), PEOPLE);
    });
}

#[test]
#[ignore = "needs PostgreSQL: run with --include-ignored, its programs installed or ENROLL_TEST_POSTGRES_URL set"]
fn a_table_that_is_not_to_be_had_is_unavailable_and_the_transaction_goes_on() {
    block_on(async {
        let url = database().await;
        let (mut host, mut holder) = (connect(&url).await, connect(&url).await);
        let (request, changes) = planned(&mut open(&url).await).await;
        let statements = Statements::prepare(&host).await.unwrap();
        let held = holder.transaction().await.unwrap();
        held.batch_execute("lock table enroll.contact_tags in share mode").await.unwrap();

        let mut transaction = host.transaction().await.unwrap();
        transaction.batch_execute("set local lock_timeout = '50ms'").await.unwrap();
        let mut within = PostgresTransaction::with_statements(&mut transaction, statements);
        let error = within.commit(&changes).await.unwrap_err();
        assert!(matches!(told(&error), (Unavailable, PostgresError::TimedOut(_))), "{error:?}");
        held.rollback().await.unwrap();
        assert_eq!(request.enroll(&mut within).await.unwrap().counts().added, PEOPLE);
        transaction.commit().await.unwrap();
        assert_eq!(stands(&host, "contacts").await.len(), PEOPLE);
    });
}

#[test]
#[ignore = "needs PostgreSQL: run with --include-ignored, its programs installed or ENROLL_TEST_POSTGRES_URL set"]
fn a_copy_that_is_dropped_leaves_nothing_and_the_connection_goes_on() {
    block_on(async {
        let url = database().await;
        let mut repository = open(&url).await;
        let (request, changes) = planned(&mut repository).await;
        let pid = pid(repository.client()).await;
        let (holder, other) = (connect(&url).await, connect(&url).await);
        hold_tags(&holder).await;
        tokio::select! {
            biased;
            committed = repository.commit(&changes) => panic!("{committed:?}"),
            () = until_it_waits(&other, pid) => {}
        }
        holder.batch_execute("select pg_advisory_unlock(1)").await.unwrap();
        assert_eq!(rows(repository.client()).await, 0);
        assert_eq!(request.enroll(&mut repository).await.unwrap().counts().added, PEOPLE);
    });
}

#[test]
#[ignore = "needs PostgreSQL: run with --include-ignored, its programs installed or ENROLL_TEST_POSTGRES_URL set"]
fn a_server_that_is_lost_in_the_middle_of_a_copy_leaves_nothing() {
    block_on(async {
        let url = database().await;
        let mut repository = open(&url).await;
        let (request, changes) = planned(&mut repository).await;
        let pid = pid(repository.client()).await;
        let (holder, other) = (connect(&url).await, connect(&url).await);
        hold_tags(&holder).await;
        let commit = tokio::spawn(async move { repository.commit(&changes).await });
        until_it_waits(&other, pid).await;
        other.query_one("select pg_terminate_backend($1)", &[&pid]).await.unwrap();
        let error = commit.await.unwrap().unwrap_err();
        assert_eq!(told(&error).0, Unavailable, "{error:?}");
        holder.batch_execute("select pg_advisory_unlock(1)").await.unwrap();
        assert_eq!(rows(&other).await, 0);
        assert_eq!(request.enroll(&mut open(&url).await).await.unwrap().counts().added, PEOPLE);
    });
}

#[test]
#[ignore = "needs PostgreSQL: run with --include-ignored, its programs installed or ENROLL_TEST_POSTGRES_URL set"]
fn a_connection_that_is_lost_where_a_copy_begins_leaves_nothing() {
    block_on(async {
        let url = database().await;
        let asking = connect(&url).await;
        let (request, changes) = planned(&mut open(&url).await).await;
        for copy in 1..=TABLES.len() {
            let wire = Wire::default();
            let mut repository = PostgresClient::new(wire.connect(&url).await);
            wire.cut_at_copy(copy);
            let error = repository.commit(&changes).await.unwrap_err();
            assert_eq!(told(&error).0, Unavailable, "{error:?}");
            assert_eq!(rows(&asking).await, 0, "cut at copy {copy}");
        }
        assert_eq!(request.enroll(&mut open(&url).await).await.unwrap().counts().added, PEOPLE);
    });
}

/// A request for strangers, with what it would write.
async fn planned(repository: &mut PostgresClient) -> (Request, ChangeSet) {
    let request = Request::new(1, &body(0, PEOPLE));
    let changes = request.plan(repository).await;
    (request, changes)
}

/// Whoever gives a contact a tag waits for this connection, row by row.
async fn hold_tags(holder: &Client) {
    let hold = "create function wait() returns trigger language plpgsql as $$
            begin perform pg_advisory_xact_lock_shared(1); return new; end $$;
        create trigger wait before insert on enroll.contact_tags for each row execute function wait();
        select pg_advisory_lock(1)";
    holder.batch_execute(hold).await.unwrap();
}

/// All rows of a table, whole, in order.
async fn stands(client: &Client, table: &str) -> Vec<String> {
    let rows = client.query(&format!("select r::text from enroll.{table} r order by 1"), &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// Sequence 2 of one email step, on channel 2.
fn email_sequence() -> Value {
    json!({
        "organization_id": Uuid::from_u128(1),
        "channels": [{ "id": Uuid::from_u128(2), "kind": "email", "address": "team@example.com" }],
        "sequences": [{
            "id": Uuid::from_u128(2), "title": "mail", "status": "active",
            "steps": [{
                "id": Uuid::from_u128(2), "position": 1, "channel_kind": "email", "channel_id": Uuid::from_u128(2)
            }]
        }],
        "call_flows": [{ "id": Uuid::from_u128(1), "name": "inbound" }],
    })
}

/// A request in which every field is said by someone, and left out by someone.
fn everything(people: usize) -> Value {
    let entry = |n: usize| {
        let mut entry = json!({
            "phone": format!("+1202{:07}", 5_550_000 + n), "email": format!("Person{n}@Example.com"),
            "properties": { "amount": 0.5 },
        });
        let said = [
            ("external_id", json!(format!("crm-{n}"))),
            ("name", json!(format!("Zoë \"{n}\" \\ O'Neil\t\u{1f600}"))),
            ("language", json!("de")),
            ("default_channel_id", json!(Uuid::from_u128(2))),
            ("address", json!({ "city": format!("Köln {n}"), "country": "DE" })),
            ("birth_date", json!({ "day": 29, "month": 2 })),
            ("birth_date", json!({ "year": 1970 })),
        ];
        for (bit, (field, value)) in said.into_iter().enumerate() {
            if n >> bit & 1 == 1 {
                entry[field] = value;
            }
        }
        entry
    };
    json!({
        "to": (0..people).map(entry).collect::<Vec<_>>(),
        "custom_data": { "custom_object_id": Uuid::from_u128(1), "resource": "contact" },
        "voice_options": { "default_call_flow_id": Uuid::from_u128(1) },
        "schedule_at": "2030-01-01T00:00:00.123Z",
    })
}

/// A role that may read and write the schema. It belongs to the whole server, so its name is this process's.
struct Role {
    url: String,
    name: String,
}

impl Role {
    async fn new(url: &str, name: &str) -> Self {
        let name = format!("enroll_test_{name}_{}", std::process::id());
        let make = format!(
            "create role {name}; grant usage on schema enroll to {name};
            grant select, insert, update, delete on all tables in schema enroll to {name}"
        );
        connect(url).await.batch_execute(&make).await.unwrap();
        Self { url: url.to_owned(), name }
    }

    async fn connect(&self) -> Client {
        let client = connect(&self.url).await;
        client.batch_execute(&format!("set session authorization {}", self.name)).await.unwrap();
        client
    }

    async fn remove(self) {
        let remove = format!("drop owned by {0}; drop role {0}", self.name);
        connect(&self.url).await.batch_execute(&remove).await.unwrap();
    }
}

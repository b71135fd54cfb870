//! Long lists of new rows are copied: tests in addition to the conformance suite.
#![cfg(feature = "testing")]

mod support;

use enroll::RepositoryErrorKind::{Conflict, Other, Unavailable};
use enroll::{AsyncRepository, ChangeSet, Engine, Enrollment, EnrollmentPolicy, enroll_contacts_async};
use enroll_postgres::needs_postgres;
use enroll_postgres::seed::load;
use enroll_postgres::{PostgresClient, PostgresError, PostgresTransaction, Statements};
use serde_json::{Value, json};
use support::connection::Connection;
use support::{Request, block_on, body, connect, count_rows, database, id, open, pid, postgres_error, until_blocked};
use tokio_postgres::Client;
use uuid::Uuid;

/// More rows than are inserted as arrays.
const RECIPIENTS: usize = 2100;
/// The tables that are copied into.
const TABLES: [&str; 6] = ["contacts", "conversations", "runs", "step_contacts", "contact_tags", "custom_records"];

#[test]
#[ignore = needs_postgres!()]
fn copied_rows_equal_inserted_rows() {
    block_on(async {
        let (copied, inserted) = (database().await, database().await);
        for (url, copies) in [(&copied, 6), (&inserted, 0)] {
            let connection = Connection::default();
            let mut client = connection.connect(url).await;
            load(&mut client, &serde_json::from_value(email_sequence()).unwrap()).await.unwrap();
            if copies == 0 {
                client.batch_execute("set enroll.copy = 'off'").await.unwrap();
            }
            let mut repository = PostgresClient::new(client);
            let request = Request::new(1, &every_field(RECIPIENTS));
            let (policy, enrollment) = (EnrollmentPolicy::default(), request.enrollment());
            let enrollment = Enrollment { sequence_id: id(2), ..enrollment };
            let report =
                enroll_contacts_async(&mut repository, &Engine::new(&policy), &enrollment).await.unwrap().report;
            assert_eq!(report.counts().added, RECIPIENTS);
            assert_eq!(connection.take_copies(), copies);
        }
        let (copied, inserted) = (connect(&copied).await, connect(&inserted).await);
        for table in TABLES {
            let copied = stored_rows(&copied, table).await;
            assert_eq!(copied.len(), RECIPIENTS, "{table}");
            assert_eq!(copied, stored_rows(&inserted, table).await, "{table}");
        }
    });
}

/// Row security refuses a copy.
#[test]
#[ignore = needs_postgres!()]
fn tables_with_row_security_are_inserted_into() {
    block_on(async {
        let url = database().await;
        let role = Role::new(&url, "secured").await;
        let secure = "alter table enroll.runs enable row level security;
            create policy tenant on enroll.runs using (true)";
        connect(&url).await.batch_execute(secure).await.unwrap();
        let request = Request::new(1, &body(0, RECIPIENTS));
        let report = request.enroll(&mut PostgresClient::new(role.connect().await)).await.unwrap();
        assert_eq!(report.counts().added, RECIPIENTS);
        role.remove().await;
    });
}

#[test]
#[ignore = needs_postgres!()]
fn a_role_that_may_not_insert_gets_an_error_and_keeps_its_connection() {
    block_on(async {
        let url = database().await;
        let role = Role::new(&url, "refused").await;
        let revoke = format!("revoke insert on enroll.runs from {}", role.name);
        connect(&url).await.batch_execute(&revoke).await.unwrap();
        let mut repository = PostgresClient::new(role.connect().await);
        let (_, changes) = planned(&mut repository).await;
        let error = repository.commit(&changes).await.unwrap_err();
        assert!(matches!(postgres_error(&error), (Other, PostgresError::Denied(_))), "{error:?}");
        assert_eq!(count_rows(repository.client()).await, 0);
        role.remove().await;
    });
}

#[test]
#[ignore = needs_postgres!()]
fn a_key_that_was_claimed_meanwhile_is_a_conflict_and_the_transaction_stays_usable() {
    block_on(async {
        let url = database().await;
        let (mut host, mut repository) = (connect(&url).await, open(&url).await);
        let (request, changes) = planned(&mut repository).await;
        Request::new(2, &body(RECIPIENTS - 1, 1)).enroll(&mut repository).await.unwrap();

        let mut transaction = host.transaction().await.unwrap();
        let mut repository = PostgresTransaction::new(&mut transaction);
        let error = repository.commit(&changes).await.unwrap_err();
        assert!(matches!(postgres_error(&error), (Conflict, PostgresError::NotUnique { .. })), "{error:?}");
        let counts = request.enroll(&mut repository).await.unwrap().counts();
        assert_eq!((counts.added, counts.reprocessed), (RECIPIENTS - 1, 1));
        transaction.commit().await.unwrap();
        assert_eq!(stored_rows(&host, "contacts").await.len(), RECIPIENTS);
    });
}

#[test]
#[ignore = needs_postgres!()]
fn a_locked_table_is_unavailable_and_the_transaction_stays_usable() {
    block_on(async {
        let url = database().await;
        let (mut host, mut blocker) = (connect(&url).await, connect(&url).await);
        let (request, changes) = planned(&mut open(&url).await).await;
        let statements = Statements::prepare(&host).await.unwrap();
        let lock = blocker.transaction().await.unwrap();
        lock.batch_execute("lock table enroll.contact_tags in share mode").await.unwrap();

        let mut transaction = host.transaction().await.unwrap();
        transaction.batch_execute("set local lock_timeout = '50ms'").await.unwrap();
        let mut repository = PostgresTransaction::with_statements(&mut transaction, statements);
        let error = repository.commit(&changes).await.unwrap_err();
        assert!(matches!(postgres_error(&error), (Unavailable, PostgresError::TimedOut(_))), "{error:?}");
        lock.rollback().await.unwrap();
        assert_eq!(request.enroll(&mut repository).await.unwrap().counts().added, RECIPIENTS);
        transaction.commit().await.unwrap();
        assert_eq!(stored_rows(&host, "contacts").await.len(), RECIPIENTS);
    });
}

#[test]
#[ignore = needs_postgres!()]
fn a_dropped_copy_stores_nothing_and_the_connection_stays_usable() {
    block_on(async {
        let url = database().await;
        let mut repository = open(&url).await;
        let (request, changes) = planned(&mut repository).await;
        let pid = pid(repository.client()).await;
        let (blocker, other) = (connect(&url).await, connect(&url).await);
        block_tags(&blocker).await;
        tokio::select! {
            biased;
            committed = repository.commit(&changes) => panic!("{committed:?}"),
            () = until_blocked(&other, pid) => {}
        }
        blocker.batch_execute("select pg_advisory_unlock(1)").await.unwrap();
        assert_eq!(count_rows(repository.client()).await, 0);
        assert_eq!(request.enroll(&mut repository).await.unwrap().counts().added, RECIPIENTS);
    });
}

#[test]
#[ignore = needs_postgres!()]
fn a_connection_lost_during_a_copy_stores_nothing() {
    block_on(async {
        let url = database().await;
        let mut repository = open(&url).await;
        let (request, changes) = planned(&mut repository).await;
        let pid = pid(repository.client()).await;
        let (blocker, other) = (connect(&url).await, connect(&url).await);
        block_tags(&blocker).await;
        let commit = tokio::spawn(async move { repository.commit(&changes).await });
        until_blocked(&other, pid).await;
        other.query_one("select pg_terminate_backend($1)", &[&pid]).await.unwrap();
        let error = commit.await.unwrap().unwrap_err();
        assert_eq!(postgres_error(&error).0, Unavailable, "{error:?}");
        blocker.batch_execute("select pg_advisory_unlock(1)").await.unwrap();
        assert_eq!(count_rows(&other).await, 0);
        assert_eq!(request.enroll(&mut open(&url).await).await.unwrap().counts().added, RECIPIENTS);
    });
}

#[test]
#[ignore = needs_postgres!()]
fn a_connection_lost_when_a_copy_begins_stores_nothing() {
    block_on(async {
        let url = database().await;
        let observer = connect(&url).await;
        let (request, changes) = planned(&mut open(&url).await).await;
        for copy in 1..=TABLES.len() {
            let connection = Connection::default();
            let mut repository = PostgresClient::new(connection.connect(&url).await);
            connection.cut_at_copy(copy);
            let error = repository.commit(&changes).await.unwrap_err();
            assert_eq!(postgres_error(&error).0, Unavailable, "{error:?}");
            assert_eq!(count_rows(&observer).await, 0, "cut at copy {copy}");
        }
        assert_eq!(request.enroll(&mut open(&url).await).await.unwrap().counts().added, RECIPIENTS);
    });
}

/// Plans a request for new contacts.
async fn planned(repository: &mut PostgresClient) -> (Request, ChangeSet) {
    let request = Request::new(1, &body(0, RECIPIENTS));
    let changes = request.plan(repository).await;
    (request, changes)
}

/// Makes each insert of a tag assignment wait for this connection.
async fn block_tags(blocker: &Client) {
    let block = "create function wait() returns trigger language plpgsql as $$
            begin perform pg_advisory_xact_lock_shared(1); return new; end $$;
        create trigger wait before insert on enroll.contact_tags for each row execute function wait();
        select pg_advisory_lock(1)";
    blocker.batch_execute(block).await.unwrap();
}

/// Returns all rows of a table as text, sorted.
async fn stored_rows(client: &Client, table: &str) -> Vec<String> {
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

/// A request in which each field is present for some recipients and absent for others.
fn every_field(recipients: usize) -> Value {
    let entry = |n: usize| {
        let mut entry = json!({
            "phone": format!("+1202{:07}", 5_550_000 + n), "email": format!("Person{n}@Example.com"),
            "properties": { "amount": 0.5 },
        });
        let fields = [
            ("external_id", json!(format!("crm-{n}"))),
            ("name", json!(format!("Zoë \"{n}\" \\ O'Neil\t\u{1f600}"))),
            ("language", json!("de")),
            ("default_channel_id", json!(Uuid::from_u128(2))),
            ("address", json!({ "city": format!("Köln {n}"), "country": "DE" })),
            ("birth_date", json!({ "day": 29, "month": 2 })),
            ("birth_date", json!({ "year": 1970 })),
        ];
        for (bit, (field, value)) in fields.into_iter().enumerate() {
            if n >> bit & 1 == 1 {
                entry[field] = value;
            }
        }
        entry
    };
    json!({
        "to": (0..recipients).map(entry).collect::<Vec<_>>(),
        "custom_data": { "custom_object_id": Uuid::from_u128(1), "resource": "contact" },
        "voice_options": { "default_call_flow_id": Uuid::from_u128(1) },
        "schedule_at": "2030-01-01T00:00:00.123Z",
    })
}

/// A role that may read and write the schema. A role belongs to the server, so its name contains the process id.
struct Role {
    url: String,
    name: String,
}

impl Role {
    async fn new(url: &str, name: &str) -> Self {
        let name = format!("enroll_test_{name}_{}", std::process::id());
        let create = format!(
            "create role {name}; grant usage on schema enroll to {name};
            grant select, insert, update, delete on all tables in schema enroll to {name}"
        );
        connect(url).await.batch_execute(&create).await.unwrap();
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

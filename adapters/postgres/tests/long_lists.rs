//! Long lists of new rows are copied: what must hold beside what the suite says of any commit.
#![cfg(feature = "testing")]

mod common;

use common::{Request, block_on, body, connect, database, open, organization, pid, rows, told, until_it_waits};
use enroll::AsyncRepository;
use enroll::repository::RepositoryErrorKind::{Conflict, Other};
use enroll::testing::Given;
use enroll_postgres::testing::dump;
use enroll_postgres::{Error, PostgresClient, PostgresTransaction};
use tokio_postgres::Client;

/// Longer than what goes as arrays.
const PEOPLE: usize = 1200;

/// Row security refuses a copy: then the rows are inserted, and are the same.
#[test]
#[ignore = "needs PostgreSQL: run with --include-ignored, its programs installed or ENROLL_TEST_POSTGRES_URL set"]
fn where_rows_are_secured_one_by_one_they_are_inserted() {
    block_on(async {
        let (copied, inserted) = (database().await, database().await);
        let request = Request::new(1, &body(0, PEOPLE));
        let report = request.enroll(&mut open(&copied).await).await.unwrap();
        assert_eq!(report.counts().added, PEOPLE);

        let secured = "alter table enroll.runs enable row level security;
            create policy tenant on enroll.runs using (true)";
        let mut client = of_a_role(&inserted, "secured", secured).await;
        assert_eq!(request.enroll(&mut PostgresClient::new(client.take())).await.unwrap(), report);
        let (copied, inserted) = (stands(&copied).await, stands(&inserted).await);
        assert_eq!(copied.contacts.len(), PEOPLE);
        assert_eq!(serde_json::to_value(copied).unwrap(), serde_json::to_value(inserted).unwrap());
        client.remove().await;
    });
}

/// A copy that is refused before it begins would take the connection with it.
#[test]
#[ignore = "needs PostgreSQL: run with --include-ignored, its programs installed or ENROLL_TEST_POSTGRES_URL set"]
fn a_role_that_may_not_insert_is_told_and_keeps_its_connection() {
    block_on(async {
        let url = database().await;
        let mut client = of_a_role(&url, "refused", "revoke insert on enroll.runs from enroll_test_refused").await;
        let mut repository = PostgresClient::new(client.take());
        let request = Request::new(1, &body(0, PEOPLE));
        let changes = request.plan(&mut repository).await;
        let error = repository.commit(&changes).await.unwrap_err();
        assert!(matches!(told(&error), (Other, Error::Denied(_))), "{error:?}");
        assert_eq!(rows(repository.client()).await, 0);
        client.remove().await;
    });
}

#[test]
#[ignore = "needs PostgreSQL: run with --include-ignored, its programs installed or ENROLL_TEST_POSTGRES_URL set"]
fn a_key_that_was_taken_meanwhile_is_a_conflict_and_the_transaction_goes_on() {
    block_on(async {
        let url = database().await;
        let (mut host, mut repository) = (connect(&url).await, open(&url).await);
        let request = Request::new(1, &body(0, PEOPLE));
        let changes = request.plan(&mut repository).await;
        Request::new(2, &body(PEOPLE - 1, 1)).enroll(&mut repository).await.unwrap();

        let mut transaction = host.transaction().await.unwrap();
        let mut within = PostgresTransaction::new(&mut transaction);
        let error = within.commit(&changes).await.unwrap_err();
        assert!(matches!(told(&error), (Conflict, Error::Taken { .. })), "{error:?}");
        let counts = request.enroll(&mut within).await.unwrap().counts();
        assert_eq!((counts.added, counts.reprocessed), (PEOPLE - 1, 1));
        transaction.commit().await.unwrap();
        assert_eq!(stands(&url).await.contacts.len(), PEOPLE);
    });
}

#[test]
#[ignore = "needs PostgreSQL: run with --include-ignored, its programs installed or ENROLL_TEST_POSTGRES_URL set"]
fn a_copy_that_is_dropped_leaves_nothing_and_the_connection_goes_on() {
    block_on(async {
        let url = database().await;
        let mut repository = open(&url).await;
        let request = Request::new(1, &body(0, PEOPLE));
        let changes = request.plan(&mut repository).await;
        let pid = pid(repository.client()).await;
        let (mut holder, other) = (connect(&url).await, connect(&url).await);
        let held = holder.transaction().await.unwrap();
        held.batch_execute("lock table enroll.step_contacts in share mode").await.unwrap();
        tokio::select! {
            biased;
            committed = repository.commit(&changes) => panic!("{committed:?}"),
            () = until_it_waits(&other, pid) => {}
        }
        held.rollback().await.unwrap();
        assert_eq!(rows(repository.client()).await, 0);
        assert_eq!(request.enroll(&mut repository).await.unwrap().counts().added, PEOPLE);
    });
}

async fn stands(url: &str) -> Given {
    dump(&mut connect(url).await, organization()).await.unwrap()
}

/// A connection as a role that may read and write the schema, but for what is done besides.
struct OfARole {
    url: String,
    role: String,
    client: Option<Client>,
}

async fn of_a_role(url: &str, name: &str, besides: &str) -> OfARole {
    let role = format!("enroll_test_{name}");
    let client = connect(url).await;
    let make = format!(
        "drop role if exists {role}; create role {role}; grant usage on schema enroll to {role};
        grant select, insert, update, delete on all tables in schema enroll to {role};
        {besides}; set session authorization {role}"
    );
    client.batch_execute(&make).await.unwrap();
    OfARole { url: url.to_owned(), role, client: Some(client) }
}

impl OfARole {
    fn take(&mut self) -> Client {
        self.client.take().unwrap()
    }

    async fn remove(self) {
        let role = self.role;
        let remove = format!("drop owned by {role}; drop role {role}");
        connect(&self.url).await.batch_execute(&remove).await.unwrap();
    }
}

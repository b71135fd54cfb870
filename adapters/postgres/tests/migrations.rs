//! Creates and upgrades the schema.
#![cfg(feature = "testing")]

mod support;

use enroll::inbox::{Claim, Failure};
use enroll::{
    AsyncInbox, AsyncRepository, ChangeSet, EnrollmentCommand, RepositoryError, RepositoryErrorKind, SnapshotQuery,
};
use enroll_postgres::needs_postgres;
use enroll_postgres::testing::Server;
use enroll_postgres::{PostgresError, PostgresRepository, PostgresTransaction, SCHEMA_VERSION, Statements, migrate};
use support::{
    LEASE, Request, block_on, body, connect, count_rows, database, id, open, organization, pid, postgres_error,
    until_blocked,
};
use tokio_postgres::Client;

/// Creates an empty database. The server may have one of that name from an earlier run.
async fn empty(name: &str) -> String {
    let name = format!("enroll_test_{name}_{}", std::process::id());
    let client = connect(Server::shared().url()).await;
    client.batch_execute(&format!("drop database if exists {name} with (force)")).await.unwrap();
    Server::shared().empty_database(&name).await.unwrap()
}

#[test]
#[ignore = needs_postgres!()]
fn a_second_migration_changes_nothing() {
    block_on(async {
        let url = empty("twice").await;
        let mut client = connect(&url).await;
        migrate(&mut client).await.unwrap();
        migrate(&mut client).await.unwrap();
        let versions: Vec<i32> = versions(&client).await;
        assert_eq!(versions, (1..=SCHEMA_VERSION).collect::<Vec<_>>());
    });
}

#[test]
#[ignore = needs_postgres!()]
fn four_migrations_at_a_time_succeed() {
    block_on(async {
        let url = empty("at_once").await;
        let mut clients = Vec::new();
        for _ in 0..4 {
            clients.push(connect(&url).await);
        }
        let migrations = clients.iter_mut().map(migrate);
        for migrated in futures_util::future::join_all(migrations).await {
            migrated.unwrap();
        }
        assert_eq!(versions(&clients[0]).await.len(), 1);
    });
}

/// An application without the privilege to create can call `migrate` on an up-to-date schema.
#[test]
#[ignore = needs_postgres!()]
fn a_role_that_only_uses_the_schema_can_call_migrate() {
    block_on(async {
        let url = Server::shared().database().await.unwrap();
        let role = format!("enroll_test_{}", std::process::id());
        let owner = connect(&url).await;
        let grants = format!(
            "drop role if exists {role}; create role {role} login; grant usage on schema enroll to {role}; \
             grant select, insert, update, delete on all tables in schema enroll to {role}"
        );
        owner.batch_execute(&grants).await.unwrap();
        let mut client = connect(&url).await;
        client.batch_execute(&format!("set session authorization {role}")).await.unwrap();
        migrate(&mut client).await.unwrap();
        let url = empty("denied").await;
        let mut client = connect(&url).await;
        client.batch_execute(&format!("set session authorization {role}")).await.unwrap();
        let error = migrate(&mut client).await.unwrap_err();
        assert!(matches!(error, PostgresError::Denied(_)), "{error:?}");
    });
}

#[test]
#[ignore = needs_postgres!()]
fn connecting_creates_the_schema() {
    block_on(async {
        let url = empty("connecting").await;
        PostgresRepository::connect(&url, 2).await.unwrap();
        assert_eq!(versions(&connect(&url).await).await.len(), 1);
    });
}

/// A host upgrades the schema while other processes run.
#[test]
#[ignore = needs_postgres!()]
fn a_newer_schema_stops_each_call_of_a_running_repository() {
    block_on(async {
        let url = database().await;
        let mut host = connect(&url).await;
        let (mut pooled, mut single) = (PostgresRepository::connect(&url, 1).await.unwrap(), open(&url).await);
        let (accepted, request) = (Request::new(1, &body(0, 2)), Request::new(2, &body(0, 2)));
        accepted.accept(&mut pooled).await.unwrap();
        accepted.accept(&mut single).await.unwrap();
        let statements = Statements::prepare(&host).await.unwrap();
        let later = format!("insert into enroll.schema_version (version) values ({})", SCHEMA_VERSION + 1);
        let (query, command) = request.snapshot_query(&mut pooled).await;
        let changes = request.plan(&mut pooled).await;
        connect(&url).await.batch_execute(&later).await.unwrap();

        let before = stored(&host).await;
        assert_stopped(&mut pooled, &query, &command, &changes).await;
        assert_stopped(&mut single, &query, &command, &changes).await;
        let mut transaction = host.transaction().await.unwrap();
        let mut inside = PostgresTransaction::with_statements(&mut transaction, statements);
        assert_stopped(&mut inside, &query, &command, &changes).await;
        assert_newer(inside.lock(organization()).await.map_err(Into::into));
        transaction.commit().await.unwrap();
        assert_newer(pooled.query("select", &[]).await.map_err(Into::into));
        assert_newer(pooled.execute("update enroll.enrollments set attempts = 7", &[]).await.map_err(Into::into));
        assert_eq!(stored(&host).await, before);
    });
}

async fn assert_stopped(
    repository: &mut impl AsyncInbox,
    query: &SnapshotQuery,
    command: &EnrollmentCommand,
    changes: &ChangeSet,
) {
    let claim = Claim::new(organization(), id(1), 1);
    assert_newer(repository.reference_data(&query.reference).await);
    assert_newer(repository.load(query).await);
    assert_newer(repository.commit(changes).await);
    assert_newer(repository.insert(command).await);
    assert_newer(repository.find(organization(), id(1)).await);
    assert_newer(repository.claim(LEASE).await);
    assert_newer(repository.record_failure(&claim, &Failure::new("failed", None)).await);
    assert_newer(repository.release(&claim, LEASE).await);
    assert_newer(repository.retry(organization(), id(1)).await);
}

#[track_caller]
fn assert_newer<T>(answer: Result<T, RepositoryError>) {
    let Err(error) = answer else { panic!("a call succeeded") };
    let (kind, error) = postgres_error(&error);
    assert!(matches!(error, PostgresError::NewerSchema { found, .. } if *found == SCHEMA_VERSION + 1), "{error:?}");
    assert_eq!(kind, RepositoryErrorKind::Other);
}

/// Returns the text of all enrollments and contacts.
async fn stored(client: &Client) -> Option<String> {
    let rows = "select string_agg(rows.text, '; ') from (
        select e::text as text from enroll.enrollments e union all select c::text from enroll.contacts c
    ) as rows";
    client.query_one(rows, &[]).await.unwrap().get(0)
}

/// A migration waits for running commits, and a commit waits for a running migration.
#[test]
#[ignore = needs_postgres!()]
fn a_commit_during_a_migration_writes_nothing() {
    block_on(async {
        let url = database().await;
        let (mut host, observer) = (connect(&url).await, connect(&url).await);
        let mut repository = open(&url).await;
        let changes = Request::new(1, &body(0, 2)).plan(&mut repository).await;
        let pid = pid(repository.client()).await;
        let migration = host.transaction().await.unwrap();
        migration.batch_execute("lock table enroll.schema_version in access exclusive mode").await.unwrap();
        let commit = tokio::spawn(async move { repository.commit(&changes).await });
        until_blocked(&observer, pid).await;
        let later = format!("insert into enroll.schema_version (version) values ({})", SCHEMA_VERSION + 1);
        migration.batch_execute(&later).await.unwrap();
        migration.commit().await.unwrap();
        assert_newer(commit.await.unwrap());
        assert_eq!(count_rows(&observer).await, 0);
    });
}

async fn versions(client: &tokio_postgres::Client) -> Vec<i32> {
    let rows = client.query("select version from enroll.schema_version order by version", &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

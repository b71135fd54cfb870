//! The schema as it comes to be.
#![cfg(feature = "testing")]

mod common;

use common::{block_on, connect};
use enroll_postgres::testing::Server;
use enroll_postgres::{PostgresError, PostgresRepository, SCHEMA_VERSION, migrate};

/// An empty database of that name, which is new: the server may be one that other runs used.
async fn empty(name: &str) -> String {
    let name = format!("enroll_test_{name}_{}", std::process::id());
    let client = connect(Server::shared().url()).await;
    client.batch_execute(&format!("drop database if exists {name} with (force)")).await.unwrap();
    Server::shared().empty_database(&name).await.unwrap()
}

#[test]
#[ignore = "needs PostgreSQL: run with --include-ignored, its programs installed or ENROLL_TEST_POSTGRES_URL set"]
fn migrating_twice_is_migrating_once() {
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
#[ignore = "needs PostgreSQL: run with --include-ignored, its programs installed or ENROLL_TEST_POSTGRES_URL set"]
fn four_that_migrate_at_once_take_turns() {
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

/// Whoever migrates needs rights that an application may not have, unless there is nothing to do.
#[test]
#[ignore = "needs PostgreSQL: run with --include-ignored, its programs installed or ENROLL_TEST_POSTGRES_URL set"]
fn a_role_that_may_only_use_the_schema_finds_it_up_to_date() {
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
#[ignore = "needs PostgreSQL: run with --include-ignored, its programs installed or ENROLL_TEST_POSTGRES_URL set"]
fn connecting_makes_the_schema() {
    block_on(async {
        let url = empty("connecting").await;
        PostgresRepository::connect(&url, 2).await.unwrap();
        assert_eq!(versions(&connect(&url).await).await.len(), 1);
    });
}

async fn versions(client: &tokio_postgres::Client) -> Vec<i32> {
    let rows = client.query("select version from enroll.schema_version order by version", &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

//! Creates and upgrades the schema.
#![cfg(feature = "testing")]

mod support;

use enroll_postgres::needs_postgres;
use enroll_postgres::testing::Server;
use enroll_postgres::{PostgresError, PostgresRepository, SCHEMA_VERSION, migrate};
use support::{block_on, connect};

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

async fn versions(client: &tokio_postgres::Client) -> Vec<i32> {
    let rows = client.query("select version from enroll.schema_version order by version", &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

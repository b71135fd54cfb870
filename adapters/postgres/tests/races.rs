//! Races that PostgreSQL itself decides: a deadlock, a failure to serialize, and many writers at once.
#![cfg(feature = "testing")]

mod common;

use std::collections::BTreeSet;

use common::{Request, block_on, body, connect, database, open, organization, rows, told};
use enroll::AsyncRepository;
use enroll::repository::RepositoryErrorKind::Conflict;
use enroll_postgres::testing::dump;
use enroll_postgres::{Error, PostgresRepository};

#[test]
#[ignore = "needs PostgreSQL: run with --include-ignored, its programs installed or ENROLL_TEST_POSTGRES_URL set"]
fn a_deadlock_is_a_conflict() {
    block_on(async {
        let url = database().await;
        let mut repository = open(&url).await;
        Request::new(1, &body(0, 1)).enroll(&mut repository).await.unwrap();
        let request = Request::new(2, &body(0, 1));
        let changes = request.plan(&mut repository).await;
        let pid: i32 = repository.client().query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);
        let (mut host, other) = (connect(&url).await, connect(&url).await);
        // Whose patience ends first is the one that gives way.
        host.batch_execute("set deadlock_timeout = '10min'").await.unwrap();
        let host = host.transaction().await.unwrap();
        host.batch_execute("update enroll.contacts set name = 'host'").await.unwrap();
        let commit = tokio::spawn(async move { (repository.commit(&changes).await, repository) });
        let waits = "select exists (select from pg_stat_activity where pid = $1 and wait_event_type = 'Lock')";
        while !other.query_one(waits, &[&pid]).await.unwrap().get::<_, bool>(0) {
            tokio::task::yield_now().await;
        }
        host.batch_execute("select from enroll.organizations for update").await.unwrap();
        let (committed, mut repository) = commit.await.unwrap();
        let error = committed.unwrap_err();
        assert!(matches!(told(&error), (Conflict, Error::Serialization(_))), "{error:?}");
        host.commit().await.unwrap();
        assert_eq!(request.enroll(&mut repository).await.unwrap().counts().reprocessed, 1);
    });
}

#[test]
#[ignore = "needs PostgreSQL: run with --include-ignored, its programs installed or ENROLL_TEST_POSTGRES_URL set"]
fn a_failure_to_serialize_at_commit_is_a_conflict() {
    block_on(async {
        let url = database().await;
        let client = connect(&url).await;
        // Stands for what PostgreSQL may find out at COMMIT only.
        let trigger = "create function refuse() returns trigger language plpgsql as $$
                begin raise serialization_failure; end $$;
            create constraint trigger refuse after insert on enroll.enrollments
                deferrable initially deferred for each row execute function refuse();";
        client.batch_execute(trigger).await.unwrap();
        let mut repository = open(&url).await;
        let changes = Request::new(1, &body(0, 2)).plan(&mut repository).await;
        let error = repository.commit(&changes).await.unwrap_err();
        assert!(matches!(told(&error), (Conflict, Error::Serialization(_))), "{error:?}");
        assert_eq!(rows(&client).await, 0);
    });
}

#[test]
#[ignore = "needs PostgreSQL: run with --include-ignored, its programs installed or ENROLL_TEST_POSTGRES_URL set"]
fn sixteen_writers_on_a_pool_lose_nobody_and_double_nobody() {
    block_on(async {
        let url = database().await;
        let repository = PostgresRepository::connect(&url, 16).await.unwrap();
        let writers = (0..16).map(|n| {
            let mut repository = repository.clone();
            // Batches overlap by three quarters; every other one comes in reverse.
            tokio::spawn(async move {
                let mut body = body(n * 10, 40);
                if n % 2 == 1 {
                    body["to"].as_array_mut().unwrap().reverse();
                }
                Request::new(1 + n as u128, &body).enroll(&mut repository).await.map(|report| report.outcomes.len())
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            assert_eq!(writer.await.unwrap().unwrap(), 40);
        }
        let stands = dump(&mut connect(&url).await, organization()).await.unwrap();
        assert_eq!(stands.contacts.len(), 190);
        let phones: BTreeSet<_> = stands.contacts.iter().map(|row| row.row.phone.clone()).collect();
        assert_eq!(phones.len(), 190);
        assert_eq!(stands.step_contacts.len(), 190);
        let times: u32 = stands.step_contacts.iter().map(|row| row.row.times_processed).sum();
        assert_eq!(times, 16 * 40);
    });
}

/// A host that brings a key waits for the commit that holds the organization, and is then refused.
#[test]
#[ignore = "needs PostgreSQL: run with --include-ignored, its programs installed or ENROLL_TEST_POSTGRES_URL set"]
fn a_hosts_key_waits_for_whoever_holds_the_organization() {
    block_on(async {
        let url = database().await;
        let (mut holder, host, other) = (connect(&url).await, connect(&url).await, connect(&url).await);
        let pid: i32 = host.query_one("select pg_backend_pid()", &[]).await.unwrap().get(0);
        let held = holder.transaction().await.unwrap();
        held.batch_execute("select from enroll.organizations for update").await.unwrap();
        let insert = "insert into enroll.contacts (organization_id, id, phone)
            select organization_id, organization_id, '+12025550199' from enroll.organizations";
        let written = tokio::spawn(async move { host.batch_execute(insert).await });
        let waits = "select exists (select from pg_stat_activity where pid = $1 and wait_event_type = 'Lock')";
        while !other.query_one(waits, &[&pid]).await.unwrap().get::<_, bool>(0) {
            tokio::task::yield_now().await;
        }
        held.rollback().await.unwrap();
        written.await.unwrap().unwrap();
    });
}

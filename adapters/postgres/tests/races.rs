//! Races that PostgreSQL itself decides: a deadlock, a failure to serialize, and many writers at once.
#![cfg(feature = "testing")]

mod common;

use std::collections::BTreeSet;

use common::{Request, at, block_on, body, connect, database, open, organization, pid, rows, told, until_it_waits};
use enroll::RepositoryErrorKind::Conflict;
use enroll::{AsyncInbox, AsyncRepository};
use enroll_postgres::seed::dump;
use enroll_postgres::{PostgresClient, PostgresError, PostgresRepository, PostgresTransaction};

#[test]
#[ignore = "needs PostgreSQL: run with --include-ignored, its programs installed or ENROLL_TEST_POSTGRES_URL set"]
fn a_deadlock_is_a_conflict() {
    block_on(async {
        let url = database().await;
        let mut repository = open(&url).await;
        Request::new(1, &body(0, 1)).enroll(&mut repository).await.unwrap();
        let request = Request::new(2, &body(0, 1));
        let changes = request.plan(&mut repository).await;
        let pid = pid(repository.client()).await;
        let (mut host, other) = (connect(&url).await, connect(&url).await);
        // Whose patience ends first is the one that gives way.
        host.batch_execute("set deadlock_timeout = '10min'").await.unwrap();
        let host = host.transaction().await.unwrap();
        host.batch_execute("update enroll.contacts set name = 'host'").await.unwrap();
        let commit = tokio::spawn(async move { (repository.commit(&changes).await, repository) });
        until_it_waits(&other, pid).await;
        host.batch_execute("select from enroll.organizations for update").await.unwrap();
        let (committed, mut repository) = commit.await.unwrap();
        let error = committed.unwrap_err();
        assert!(matches!(told(&error), (Conflict, PostgresError::Serialization(_))), "{error:?}");
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
        assert!(matches!(told(&error), (Conflict, PostgresError::Serialization(_))), "{error:?}");
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
        let pid = pid(&host).await;
        let held = holder.transaction().await.unwrap();
        held.batch_execute("select from enroll.organizations for update").await.unwrap();
        let insert = "insert into enroll.contacts (organization_id, id, phone)
            select organization_id, organization_id, '+12025550199' from enroll.organizations";
        let written = tokio::spawn(async move { host.batch_execute(insert).await });
        until_it_waits(&other, pid).await;
        held.rollback().await.unwrap();
        written.await.unwrap().unwrap();
    });
}

/// Whoever accepts gets the 202 at once, however long an enrollment of the organization takes.
#[test]
#[ignore = "needs PostgreSQL: run with --include-ignored, its programs installed or ENROLL_TEST_POSTGRES_URL set"]
fn accepting_does_not_wait_for_whoever_holds_the_organization() {
    block_on(async {
        let url = database().await;
        let (client, mut holder) = (connect(&url).await, connect(&url).await);
        client.batch_execute("set lock_timeout = '20ms'").await.unwrap();
        let held = holder.transaction().await.unwrap();
        held.batch_execute("select from enroll.organizations for update").await.unwrap();
        let request = Request::new(1, &body(0, 2));
        request.accept(&mut PostgresClient::new(client)).await.unwrap();
        held.rollback().await.unwrap();
        assert_eq!(request.process(&mut open(&url).await).await.unwrap().counts().added, 2);
    });
}

/// Of two that accept one request at once, the second waits for what becomes of the first.
#[test]
#[ignore = "needs PostgreSQL: run with --include-ignored, its programs installed or ENROLL_TEST_POSTGRES_URL set"]
fn the_second_that_accepts_answers_with_the_first_or_is_the_first() {
    block_on(async {
        for first_is_committed in [true, false] {
            let url = database().await;
            let (first, second) = (Request::new(1, &body(0, 2)), Request::new(1, &body(5, 3)));
            let (mut client, other) = (connect(&url).await, connect(&url).await);
            let mut transaction = client.transaction().await.unwrap();
            first.accept(&mut PostgresTransaction::new(&mut transaction)).await.unwrap();
            let mut repository = open(&url).await;
            let pid = pid(repository.client()).await;
            let (_, command) = second.snapshot_query(&mut repository).await;
            let fingerprint = command.fingerprint();
            let inserted = tokio::spawn(async move { repository.insert(&command).await });
            until_it_waits(&other, pid).await;
            if first_is_committed {
                transaction.commit().await.unwrap();
                let stands = inserted.await.unwrap().unwrap().unwrap();
                assert_ne!(stands.fingerprint, fingerprint);
            } else {
                transaction.rollback().await.unwrap();
                assert_eq!(inserted.await.unwrap().unwrap(), None);
            }
            let report = second.process(&mut open(&url).await).await.unwrap();
            assert_eq!(report.outcomes.len(), if first_is_committed { 2 } else { 3 });
        }
    });
}

/// What is being finished is not given to another, even where its lease has run out.
#[test]
#[ignore = "needs PostgreSQL: run with --include-ignored, its programs installed or ENROLL_TEST_POSTGRES_URL set"]
fn a_claim_passes_over_what_is_being_finished() {
    block_on(async {
        let url = database().await;
        let request = Request::new(1, &body(0, 2));
        let (mut client, mut other) = (connect(&url).await, open(&url).await);
        request.accept(&mut other).await.unwrap();
        let mut transaction = client.transaction().await.unwrap();
        request.process(&mut PostgresTransaction::new(&mut transaction)).await.unwrap();
        assert_eq!(other.claim(at(10), at(20)).await.unwrap(), None);
        transaction.rollback().await.unwrap();
        let claim = other.claim(at(10), at(20)).await.unwrap();
        assert_eq!(claim.map(|claim| claim.attempt), Some(1));
    });
}

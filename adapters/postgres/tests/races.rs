//! Races that PostgreSQL decides: a deadlock, a serialization failure, and many writers at a time.
#![cfg(feature = "testing")]

mod support;

use std::collections::BTreeSet;

use enroll::RepositoryErrorKind::Conflict;
use enroll::{AsyncInbox, AsyncRepository};
use enroll_postgres::needs_postgres;
use enroll_postgres::seed::dump;
use enroll_postgres::{PostgresClient, PostgresError, PostgresRepository, PostgresTransaction};
use support::{
    LEASE, Request, block_on, body, connect, count_rows, database, open, organization, pid, postgres_error,
    until_blocked,
};

#[test]
#[ignore = needs_postgres!()]
fn a_deadlock_is_a_conflict() {
    block_on(async {
        let url = database().await;
        let mut repository = open(&url).await;
        Request::new(1, &body(0, 1)).enroll(&mut repository).await.unwrap();
        let request = Request::new(2, &body(0, 1));
        let changes = request.plan(&mut repository).await;
        let pid = pid(repository.client()).await;
        let (mut host, other) = (connect(&url).await, connect(&url).await);
        // PostgreSQL ends the transaction whose timeout is shorter.
        host.batch_execute("set deadlock_timeout = '10min'").await.unwrap();
        let host = host.transaction().await.unwrap();
        host.batch_execute("update enroll.contacts set name = 'host'").await.unwrap();
        let commit = tokio::spawn(async move { (repository.commit(&changes).await, repository) });
        until_blocked(&other, pid).await;
        host.batch_execute("select from enroll.organizations for update").await.unwrap();
        let (committed, mut repository) = commit.await.unwrap();
        let error = committed.unwrap_err();
        assert!(matches!(postgres_error(&error), (Conflict, PostgresError::Serialization(_))), "{error:?}");
        host.commit().await.unwrap();
        assert_eq!(request.enroll(&mut repository).await.unwrap().counts().reprocessed, 1);
    });
}

#[test]
#[ignore = needs_postgres!()]
fn a_serialization_failure_at_commit_is_a_conflict() {
    block_on(async {
        let url = database().await;
        let client = connect(&url).await;
        // Simulates a failure that PostgreSQL detects only at COMMIT.
        let trigger = "create function refuse() returns trigger language plpgsql as $$
                begin raise serialization_failure; end $$;
            create constraint trigger refuse after insert on enroll.enrollments
                deferrable initially deferred for each row execute function refuse();";
        client.batch_execute(trigger).await.unwrap();
        let mut repository = open(&url).await;
        let changes = Request::new(1, &body(0, 2)).plan(&mut repository).await;
        let error = repository.commit(&changes).await.unwrap_err();
        assert!(matches!(postgres_error(&error), (Conflict, PostgresError::Serialization(_))), "{error:?}");
        assert_eq!(count_rows(&client).await, 0);
    });
}

#[test]
#[ignore = needs_postgres!()]
fn sixteen_writers_on_a_pool_enroll_each_contact_once() {
    block_on(async {
        let url = database().await;
        let repository = PostgresRepository::connect(&url, 16).await.unwrap();
        let writers = (0..16).map(|n| {
            let mut repository = repository.clone();
            // Batches overlap by three quarters, and every second one is reversed.
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
        let stored = dump(&mut connect(&url).await, organization()).await.unwrap();
        assert_eq!(stored.contacts.len(), 190);
        let phones: BTreeSet<_> = stored.contacts.iter().map(|row| row.row.phone.clone()).collect();
        assert_eq!(phones.len(), 190);
        assert_eq!(stored.step_contacts.len(), 190);
        let times: u32 = stored.step_contacts.iter().map(|row| row.row.times_processed).sum();
        assert_eq!(times, 16 * 40);
    });
}

#[test]
#[ignore = needs_postgres!()]
fn a_host_that_writes_a_key_waits_for_the_lock_of_the_organization() {
    block_on(async {
        let url = database().await;
        let (mut blocker, host, other) = (connect(&url).await, connect(&url).await, connect(&url).await);
        let pid = pid(&host).await;
        let lock = blocker.transaction().await.unwrap();
        lock.batch_execute("select from enroll.organizations for update").await.unwrap();
        let insert = "insert into enroll.contacts (organization_id, id, phone)
            select organization_id, organization_id, '+12025550199' from enroll.organizations";
        let written = tokio::spawn(async move { host.batch_execute(insert).await });
        until_blocked(&other, pid).await;
        lock.rollback().await.unwrap();
        written.await.unwrap().unwrap();
    });
}

/// An acceptance returns immediately, even during a long enrollment of the organization.
#[test]
#[ignore = needs_postgres!()]
fn accepting_does_not_wait_for_the_lock_of_the_organization() {
    block_on(async {
        let url = database().await;
        let (client, mut blocker) = (connect(&url).await, connect(&url).await);
        client.batch_execute("set lock_timeout = '20ms'").await.unwrap();
        let lock = blocker.transaction().await.unwrap();
        lock.batch_execute("select from enroll.organizations for update").await.unwrap();
        let request = Request::new(1, &body(0, 2));
        request.accept(&mut PostgresClient::new(client)).await.unwrap();
        lock.rollback().await.unwrap();
        assert_eq!(request.process(&mut open(&url).await).await.unwrap().counts().added, 2);
    });
}

#[test]
#[ignore = needs_postgres!()]
fn a_second_acceptance_returns_the_first_unless_that_is_rolled_back() {
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
            until_blocked(&other, pid).await;
            if first_is_committed {
                transaction.commit().await.unwrap();
                let stored = inserted.await.unwrap().unwrap().unwrap();
                assert_ne!(stored.fingerprint, fingerprint);
            } else {
                transaction.rollback().await.unwrap();
                assert_eq!(inserted.await.unwrap().unwrap(), None);
            }
            let report = second.process(&mut open(&url).await).await.unwrap();
            assert_eq!(report.outcomes.len(), if first_is_committed { 2 } else { 3 });
        }
    });
}

/// An enrollment that a transaction finishes is not claimed again, even after its lease.
#[test]
#[ignore = needs_postgres!()]
fn a_claim_skips_enrollments_that_are_being_finished() {
    block_on(async {
        let url = database().await;
        let request = Request::new(1, &body(0, 2));
        let (mut client, mut other) = (connect(&url).await, open(&url).await);
        request.accept(&mut other).await.unwrap();
        let mut transaction = client.transaction().await.unwrap();
        request.process(&mut PostgresTransaction::new(&mut transaction)).await.unwrap();
        assert_eq!(other.claim(LEASE).await.unwrap(), None);
        transaction.rollback().await.unwrap();
        let claim = other.claim(LEASE).await.unwrap();
        assert_eq!(claim.map(|claim| claim.lease), Some(1));
    });
}

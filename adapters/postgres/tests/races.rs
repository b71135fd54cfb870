//! Races that PostgreSQL decides: a deadlock, a serialization failure, and many writers at a time.
#![cfg(feature = "testing")]

mod support;

use std::collections::BTreeSet;

use enroll::RepositoryErrorKind::Conflict;
use enroll::{
    AsyncInbox, AsyncRepository, ChangeSet, ReferenceData, ReferenceQuery, RepositoryError, Snapshot, SnapshotQuery,
};
use enroll_postgres::needs_postgres;
use enroll_postgres::seed::dump;
use enroll_postgres::{PostgresClient, PostgresError, PostgresRepository, PostgresTransaction};
use support::connection::Connection;
use support::{
    LEASE, Request, block_on, body, connect, count_rows, database, open, organization, pid, postgres_error,
    until_blocked,
};
use tokio_postgres::Client;

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

/// A repository that records the SQLSTATE of each refused commit.
struct Recording {
    inner: PostgresClient,
    refused: Vec<String>,
}

impl AsyncRepository for Recording {
    async fn reference_data(&mut self, query: &ReferenceQuery) -> Result<ReferenceData, RepositoryError> {
        self.inner.reference_data(query).await
    }

    async fn load(&mut self, query: &SnapshotQuery) -> Result<Snapshot, RepositoryError> {
        self.inner.load(query).await
    }

    async fn commit(&mut self, changes: &ChangeSet) -> Result<(), RepositoryError> {
        self.inner.commit(changes).await.inspect_err(|e| {
            let code = match postgres_error(e).1 {
                PostgresError::Serialization(driver) => driver.code().map(str::to_owned),
                other => Some(format!("{other:?}")),
            };
            self.refused.extend(code);
        })
    }
}

/// A host without triggers, such as a bulk load, inserts two keys in the other order than a commit. PostgreSQL ends the
/// commit, and the same call of the engine enrolls both contacts of the host.
#[test]
#[ignore = needs_postgres!()]
fn a_deadlock_on_crossed_keys_is_retried_by_the_call() {
    block_on(async {
        for (count, is_copied) in [(4, false), (COPIED, true)] {
            let url = database().await;
            let (connection, other) = (Connection::default(), connect(&url).await);
            let client = connection.connect(&url).await;
            let pid = pid(&client).await;
            let mut repository = Recording { inner: PostgresClient::new(client), refused: Vec::new() };
            let request = Request::new(1, &body(0, count));
            let changes = request.plan(&mut repository.inner).await;
            let created = &changes.rows().contacts_created;
            let [first, last] =
                [&created[0], &created[count - 1]].map(|row| row.external_id.as_ref().unwrap().to_string());
            connection.take_copies();

            let mut host = host(&url).await;
            host.batch_execute("set session_replication_role = replica").await.unwrap();
            let host = host.transaction().await.unwrap();
            let insert = "insert into enroll.contacts (organization_id, id, external_id)
                select organization_id, gen_random_uuid(), $1 from enroll.organizations";
            host.execute(insert, &[&last]).await.unwrap();
            let enrolled = tokio::spawn(async move { (request.enroll(&mut repository).await, repository.refused) });
            // The commit has inserted the first key, and waits for the last one.
            until_blocked(&other, pid).await;
            host.execute(insert, &[&first]).await.unwrap();
            assert_eq!(connection.take_copies() > 0, is_copied);
            host.commit().await.unwrap();

            let (report, refused) = enrolled.await.unwrap();
            assert_eq!(refused.first().map(String::as_str), Some("40P01"), "{refused:?}");
            let counts = report.unwrap().counts();
            assert_eq!((counts.added, counts.contacts_created), (count, count - 2));
            assert_contacts(&url, count).await;
        }
    });
}

/// With the triggers, a host that adds a key waits for the organization. It has locked a contact that the commit needs.
#[test]
#[ignore = needs_postgres!()]
fn a_deadlock_with_a_host_that_changes_two_contacts_is_retried_by_the_call() {
    block_on(async {
        for count in [4, COPIED] {
            let url = database().await;
            Request::new(1, &body(0, 2)).enroll(&mut open(&url).await).await.unwrap();
            let (mut repository, other) =
                (Recording { inner: open(&url).await, refused: Vec::new() }, connect(&url).await);
            let pid = pid(repository.inner.client()).await;
            let request = Request::new(2, &body(0, count));

            let mut host = host(&url).await;
            let host = host.transaction().await.unwrap();
            let rename = "update enroll.contacts set name = 'host' where external_id = 'crm-1'";
            host.batch_execute(rename).await.unwrap();
            let enrolled = tokio::spawn(async move { (request.enroll(&mut repository).await, repository.refused) });
            until_blocked(&other, pid).await;
            // The key of a new contact of the request moves to one that exists.
            let take = "update enroll.contacts set phone = '+12025550002' where external_id = 'crm-0'";
            host.batch_execute(take).await.unwrap();
            host.commit().await.unwrap();

            let (report, refused) = enrolled.await.unwrap();
            assert_eq!(refused.first().map(String::as_str), Some("40P01"), "{refused:?}");
            assert_eq!(report.unwrap().outcomes.len(), count);
            assert_eq!(dump(&mut connect(&url).await, organization()).await.unwrap().check_unique(), Ok(()));
        }
    });
}

/// More recipients than are inserted as arrays.
const COPIED: usize = 2100;

/// Returns the connection of a host. PostgreSQL ends the other transaction of a deadlock, because its timeout is shorter.
async fn host(url: &str) -> Client {
    let host = connect(url).await;
    host.batch_execute("set deadlock_timeout = '1min'").await.unwrap();
    host
}

async fn assert_contacts(url: &str, count: usize) {
    let stored = dump(&mut connect(url).await, organization()).await.unwrap();
    assert_eq!((stored.contacts.len(), stored.check_unique()), (count, Ok(())));
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

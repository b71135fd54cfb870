//! What stands round people whose ids lie side by side is read in passing, as long as it is not much.
#![cfg(feature = "testing")]

mod common;

use common::{Request, block_on, body, connect, database};
use enroll::snapshot::{ContactAggregate, Version};
use enroll::{AsyncRepository, Snapshot, SnapshotQuery};
use enroll_postgres::PostgresTransaction;
use std::sync::Arc;
use tokio_postgres::{Client, Transaction};

/// As many as one request can name.
const PEOPLE: usize = 400;
/// What the tables round a contact are read by.
const INDEXES: [&str; 6] = [
    "communication_preferences_pkey",
    "conversations_one_at_most",
    "runs_of_contact",
    "step_contacts_live",
    "step_contacts_of_contact",
    "custom_records_of_contact",
];

#[test]
#[ignore = "needs PostgreSQL: run with --include-ignored, its programs installed or ENROLL_TEST_POSTGRES_URL set"]
fn much_that_stands_round_neighbours_elsewhere_is_not_passed() {
    block_on(async {
        let mut client = connect(&database().await).await;
        let sent = Request::new(1, &body(0, PEOPLE));
        let mut transaction = client.transaction().await.unwrap();
        sent.enroll(&mut PostgresTransaction::new(&mut transaction)).await.unwrap();
        transaction.commit().await.unwrap();
        let (few, scans) = load(&mut client, &sent).await;
        assert_eq!(few.contacts.len(), PEOPLE);
        for (index, scans) in INDEXES.iter().zip(scans) {
            // One that tries, and one that reads.
            assert_eq!(scans, 2, "{index}");
        }

        // Thirty times through other sequences and on other channels.
        let elsewhere = "insert into enroll.runs
            select organization_id, gen_random_uuid(), md5(n::text)::uuid, id, 'finished', now()
                from enroll.contacts, generate_series(1, 30) as n;
            insert into enroll.step_contacts
                select organization_id, id, id, sequence_id, id, contact_id, 'finished', now()
                from enroll.runs where status = 'finished'";
        client.batch_execute(elsewhere).await.unwrap();
        let (many, scans) = load(&mut client, &sent).await;
        assert_eq!(unversioned(many), unversioned(few));
        let much = ["runs_of_contact", "step_contacts_of_contact"];
        for (index, scans) in INDEXES.iter().zip(scans) {
            let expected = if much.contains(index) { 1 + i64::try_from(PEOPLE).unwrap() } else { 2 };
            assert_eq!(scans, expected, "{index}");
        }
    });
}

/// The people, and how often each index was scanned for them.
async fn load(client: &mut Client, sent: &Request) -> (Snapshot, Vec<i64>) {
    let mut transaction = client.transaction().await.unwrap();
    let (query, _): (SnapshotQuery, _) = sent.snapshot_query(&mut PostgresTransaction::new(&mut transaction)).await;
    let before = scans(&transaction).await;
    let snapshot = PostgresTransaction::new(&mut transaction).load(&query).await.unwrap();
    let after = scans(&transaction).await;
    (snapshot, after.into_iter().zip(before).map(|(after, before)| after - before).collect())
}

async fn scans(transaction: &Transaction<'_>) -> Vec<i64> {
    let indexes: Vec<String> = INDEXES.iter().map(|index| format!("enroll.{index}")).collect();
    let scans = "select pg_stat_get_xact_numscans(index::regclass) from unnest($1::text[]) as index";
    transaction.query(scans, &[&indexes]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

/// The people, whatever was written round them elsewhere.
fn unversioned(snapshot: Snapshot) -> Vec<ContactAggregate> {
    let unversioned = |person: Arc<ContactAggregate>| {
        let mut person = Arc::unwrap_or_clone(person);
        person.version = Version::FIRST;
        person
    };
    snapshot.contacts.into_values().map(unversioned).collect()
}

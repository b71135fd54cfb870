//! Related rows of contacts with adjacent ids are read by range, unless the range has many other rows.
#![cfg(feature = "testing")]

mod support;

use enroll::snapshot::{ContactAggregate, Version};
use enroll::{AsyncRepository, Snapshot, SnapshotQuery};
use enroll_postgres::PostgresTransaction;
use enroll_postgres::needs_postgres;
use std::sync::Arc;
use support::{Request, block_on, body, connect, database};
use tokio_postgres::{Client, Transaction};

/// The number of recipients of the request.
const RECIPIENTS: usize = 400;
/// The indexes by which related rows are read.
const INDEXES: [&str; 6] = [
    "communication_preferences_pkey",
    "conversations_one_at_most",
    "runs_of_contact",
    "step_contacts_live",
    "step_contacts_of_contact",
    "custom_records_of_contact",
];

#[test]
#[ignore = needs_postgres!()]
fn many_rows_of_other_sequences_are_not_scanned() {
    block_on(async {
        let mut client = connect(&database().await).await;
        let sent = Request::new(1, &body(0, RECIPIENTS));
        let mut transaction = client.transaction().await.unwrap();
        sent.enroll(&mut PostgresTransaction::new(&mut transaction)).await.unwrap();
        transaction.commit().await.unwrap();
        let (few, scans) = load(&mut client, &sent).await;
        assert_eq!(few.contacts.len(), RECIPIENTS);
        for (index, scans) in INDEXES.iter().zip(scans) {
            // One scan for the sample, and one for the rows.
            assert_eq!(scans, 2, "{index}");
        }

        // Thirty runs of each contact in other sequences.
        let other_runs = "insert into enroll.runs
            select organization_id, gen_random_uuid(), md5(n::text)::uuid, id, 'finished', now()
                from enroll.contacts, generate_series(1, 30) as n;
            insert into enroll.step_contacts
                select organization_id, id, id, sequence_id, id, contact_id, 'finished', now()
                from enroll.runs where status = 'finished'";
        client.batch_execute(other_runs).await.unwrap();
        let (many, scans) = load(&mut client, &sent).await;
        assert_eq!(unversioned(many), unversioned(few));
        let many_rows = ["runs_of_contact", "step_contacts_of_contact"];
        for (index, scans) in INDEXES.iter().zip(scans) {
            let expected = if many_rows.contains(index) { 1 + i64::try_from(RECIPIENTS).unwrap() } else { 2 };
            assert_eq!(scans, expected, "{index}");
        }
    });
}

/// Loads the contacts. Returns how often each index was scanned.
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

/// Returns the contacts without their versions, which the other rows raised.
fn unversioned(snapshot: Snapshot) -> Vec<ContactAggregate> {
    let unversioned = |contact: Arc<ContactAggregate>| {
        let mut contact = Arc::unwrap_or_clone(contact);
        contact.version = Version::FIRST;
        contact
    };
    snapshot.contacts.into_values().map(unversioned).collect()
}

//! The table of row counts equals the rows, for writes of the engine and of the host, and for concurrent writers.
#![cfg(feature = "testing")]

#[path = "../../../tests/row_counts/mod.rs"]
mod row_counts;
mod support;

use enroll::AsyncInbox;
use enroll::inbox::Failure;
use enroll_postgres::needs_postgres;
use futures_util::future::join_all;
use support::{LEASE, Request, block_on, body, connect, database, open};
use tokio_postgres::Client;

/// Returns the number of rows of a list, by its counts.
async fn counted(client: &Client, list: &str, status: &str) -> i64 {
    let wrong = client.query(&row_counts::wrong_counts("postgres"), &[]).await.unwrap();
    assert!(wrong.is_empty(), "{wrong:?}");
    let sql = "select coalesce(sum(entries), 0)::bigint from enroll.counts where list = $1 and status = $2";
    client.query_one(sql, &[&list, &status]).await.unwrap().get(0)
}

#[test]
#[ignore = needs_postgres!()]
fn commits_count_rows_that_are_created_and_change_their_status() {
    block_on(async {
        for size in [3, 2100] {
            let rows = i64::try_from(size).unwrap();
            let url = database().await;
            let (mut repository, client) = (open(&url).await, connect(&url).await);
            Request::new(1, &body(0, size)).enroll(&mut repository).await.unwrap();
            assert_eq!(counted(&client, "contacts", "").await, rows);
            assert_eq!(counted(&client, "step_contacts", "active").await, rows);
            assert_eq!(counted(&client, "enrollments", "completed").await, 1);
            // A third of the runs has ended too.
            for (table, ended) in [("step_contacts", rows / 2), ("runs", rows / 3)] {
                let finish = format!(
                    "update enroll.{table} set status = 'finished'
                    where id in (select id from enroll.{table} order by id limit {ended})"
                );
                client.batch_execute(&finish).await.unwrap();
                assert_eq!(counted(&client, table, "finished").await, ended);
            }
            Request::new(2, &body(0, size + 2)).enroll(&mut repository).await.unwrap();
            assert_eq!(counted(&client, "step_contacts", "finished").await, 0);
            assert_eq!(counted(&client, "step_contacts", "active").await, rows + 2);
            assert_eq!(counted(&client, "runs", "finished").await, 0);
            assert_eq!(counted(&client, "runs", "active").await, rows + 2);
            let delete = "delete from enroll.contacts where id in (select id from enroll.contacts order by id limit 2)";
            client.execute(delete, &[]).await.unwrap();
            assert_eq!(counted(&client, "step_contacts", "active").await, rows);
            assert_eq!(counted(&client, "runs", "active").await, rows);
            assert_eq!(counted(&client, "contacts", "").await, rows);
            client.execute("delete from enroll.organizations", &[]).await.unwrap();
            let left: i64 = client.query_one("select count(*) from enroll.counts", &[]).await.unwrap().get(0);
            assert_eq!(left, 0);
        }
    });
}

#[test]
#[ignore = needs_postgres!()]
fn each_state_of_an_enrollment_is_counted() {
    block_on(async {
        let url = database().await;
        let (mut repository, client) = (open(&url).await, connect(&url).await);
        let request = Request::new(1, &body(0, 3));
        request.accept(&mut repository).await.unwrap();
        request.accept(&mut repository).await.unwrap();
        assert_eq!(counted(&client, "enrollments", "accepted").await, 1);
        let claim = repository.claim(LEASE).await.unwrap().unwrap();
        repository.record_failure(&claim, &Failure::new("broken", None)).await.unwrap();
        assert_eq!(counted(&client, "enrollments", "failed").await, 1);
        assert!(repository.retry(claim.organization_id, claim.enrollment_id).await.unwrap());
        repository.claim(LEASE).await.unwrap().unwrap();
        request.process(&mut repository).await.unwrap();
        assert_eq!(counted(&client, "enrollments", "completed").await, 1);
        assert_eq!(counted(&client, "enrollments", "accepted").await, 0);
        client.execute("delete from enroll.enrollments", &[]).await.unwrap();
        assert_eq!(counted(&client, "enrollments", "completed").await, 0);
    });
}

/// Hosts write while commits run. No count waits for another transaction, and the rows of the counts are merged.
#[test]
#[ignore = needs_postgres!()]
fn concurrent_writers_are_counted_and_their_counts_merged() {
    block_on(async {
        let url = database().await;
        let mut repository = open(&url).await;
        Request::new(1, &body(0, 50)).enroll(&mut repository).await.unwrap();
        // This transaction stays open, with a difference for each key that the others count.
        let mut open_host = connect(&url).await;
        let open_transaction = open_host.transaction().await.unwrap();
        let first = "update enroll.step_contacts set status = 'inactive'
            where id = (select id from enroll.step_contacts order by id limit 1)";
        open_transaction.batch_execute(first).await.unwrap();
        let hosts = (0..4_i64).map(|host| {
            let url = url.clone();
            async move {
                let client = connect(&url).await;
                for turn in 0..100_i64 {
                    let status = ["pending", "active"][usize::try_from(turn % 2).unwrap()];
                    let write = format!(
                        "update enroll.step_contacts set status = '{status}'
                        where id = (select id from enroll.step_contacts order by id offset {} limit 1)",
                        5 + host
                    );
                    client.batch_execute(&write).await.unwrap();
                }
            }
        });
        let commits = async {
            for n in 2..8_u128 {
                let first = 50 * usize::try_from(n).unwrap();
                Request::new(n, &body(first, 50)).enroll(&mut repository).await.unwrap();
            }
        };
        tokio::join!(join_all(hosts), commits);
        open_transaction.commit().await.unwrap();
        let client = connect(&url).await;
        assert_eq!(counted(&client, "contacts", "").await, 350);
        assert_eq!(counted(&client, "step_contacts", "inactive").await, 1);
        assert_eq!(counted(&client, "step_contacts", "active").await, 349);
        // 800 differences were written.
        let rows: i64 = client.query_one("select count(*) from enroll.counts", &[]).await.unwrap().get(0);
        assert!(rows < 400, "{rows}");
    });
}

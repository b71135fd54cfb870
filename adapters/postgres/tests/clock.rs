//! The clock of the inbox is that of the server. The tests shift it, and the clock of the process stays.
#![cfg(feature = "testing")]

mod support;

use enroll::inbox::{Claim, Failure, Removed, Retention};
use enroll::{AsyncInbox, EnrollmentId};
use enroll_postgres::{PostgresRepository, needs_postgres};
use std::time::Duration;
use support::{LEASE, Request, block_on, body, connect, database, id};
use tokio_postgres::Client;

/// A server whose clock a test sets. Only the statements of the adapter read it.
struct Clock(Client);

impl Clock {
    /// Shadows `statement_timestamp()` for all later connections.
    async fn new(url: &str) -> Self {
        let client = connect(url).await;
        let shadow = "create schema shifted;
            create table shifted.clock (shift interval not null);
            insert into shifted.clock values ('0');
            create function shifted.statement_timestamp() returns timestamptz language sql stable
                return pg_catalog.statement_timestamp() + (select shift from shifted.clock);
            do $$ begin
                execute format('alter database %I set search_path = shifted, pg_catalog', current_database());
            end $$;";
        client.batch_execute(shadow).await.unwrap();
        Self(client)
    }

    async fn set(&self, shift: &str) {
        self.0.execute("update shifted.clock set shift = $1::text::interval", &[&shift]).await.unwrap();
    }
}

async fn claimed(worker: &mut PostgresRepository) -> Option<(EnrollmentId, u32, u32)> {
    let claim = worker.claim(LEASE).await.unwrap();
    claim.map(|claim| (claim.enrollment_id, claim.attempts, claim.lost_leases))
}

/// The clock of the worker is ahead of that of the server first, and then behind it.
#[test]
#[ignore = needs_postgres!()]
fn leases_and_delays_end_by_the_clock_of_the_server() {
    block_on(async {
        for (now, before_end, end) in [
            ("-10 years", "-10 years +59 minutes", "-10 years +61 minutes"),
            ("10 years", "10 years +59 minutes", "10 years +61 minutes"),
        ] {
            let url = database().await;
            let clock = Clock::new(&url).await;
            clock.set(now).await;
            let mut worker = PostgresRepository::connect(&url, 2).await.unwrap();
            Request::new(1, &body(0, 1)).accept(&mut worker).await.unwrap();
            let first = worker.claim(LEASE).await.unwrap();
            assert_eq!(first.map(|claim| claim.enrollment_id), Some(id(1)));
            clock.set(before_end).await;
            assert_eq!(claimed(&mut worker).await, None, "the lease holds");
            clock.set(end).await;
            assert_eq!(claimed(&mut worker).await, Some((id(1), 0, 1)), "the lease has ended");

            clock.set(now).await;
            let latest = first.map(|claim| Claim::new(claim.organization_id, claim.enrollment_id, claim.lease + 1));
            worker.record_failure(&latest.unwrap(), &Failure::new("broken", Some(LEASE))).await.unwrap();
            clock.set(before_end).await;
            assert_eq!(claimed(&mut worker).await, None, "the delay of the failure lasts");
            clock.set(end).await;
            let claim = worker.claim(Duration::ZERO).await.unwrap();
            assert_eq!(claim.map(|claim| claim.attempts), Some(1), "the delay of the failure has ended");

            clock.set(now).await;
            worker.release(&claim.unwrap(), LEASE).await.unwrap();
            clock.set(before_end).await;
            assert_eq!(claimed(&mut worker).await, None, "the delay of the release lasts");
            clock.set(end).await;
            assert_eq!(claimed(&mut worker).await, Some((id(1), 1, 0)), "the delay of the release has ended");
        }
    });
}

#[test]
#[ignore = needs_postgres!()]
fn ages_are_measured_by_the_clock_of_the_server() {
    block_on(async {
        let url = database().await;
        let clock = Clock::new(&url).await;
        clock.set("-10 years").await;
        let mut worker = PostgresRepository::connect(&url, 2).await.unwrap();
        Request::new(1, &body(0, 1)).accept(&mut worker).await.unwrap();
        let claim = worker.claim(LEASE).await.unwrap().unwrap();
        worker.record_failure(&claim, &Failure::new("broken", None)).await.unwrap();
        let mut retention = Retention::keep();
        retention.failed = Some(LEASE);
        clock.set("-10 years +59 minutes").await;
        assert_eq!(worker.remove_expired(&retention).await.unwrap(), Removed::default());
        clock.set("-10 years +61 minutes").await;
        assert_eq!(worker.remove_expired(&retention).await.unwrap().commands, 1);
    });
}

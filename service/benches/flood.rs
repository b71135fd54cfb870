//! One organization sends many large enrollments, and another one single recipients. Measures how long the single recipients
//! wait until they are enrolled, on SQLite and on PostgreSQL.
//!
//! On PostgreSQL, it measures the same while a worker of another process is stopped in the middle of a commit.
//!
//! `cargo bench -p enroll-service --bench flood`, with `-- sqlite` or `-- postgresql` for one database.

mod support;

use enroll::request::MAX_RECIPIENTS;
use enroll_bench::people::strangers;
use enroll_postgres::{ConnectOptions, PostgresError};
use serde::Serialize;
use std::thread;
use std::time::{Duration, Instant};
use ureq::Agent;

use support::{NewDatabase, Service, agent, is_test, on_each_database, organizations, store};

fn main() {
    on_each_database("flood", &measure);
}

fn measure(name: &str, settings: &str, new_database: NewDatabase<'_>) {
    let (enrollments, recipients) = if is_test() { (3, 40) } else { (200, MAX_RECIPIENTS) };
    println!("\nflood on {name} ({settings}), {enrollments} enrollments of {recipients}, {WORKERS} workers");
    let flood = Flood::run(&new_database("flood").name, enrollments, recipients);
    println!("{flood}");
    store(&format!("flood-{name}.json"), &flood);
    // On SQLite, a process that is stopped in a commit has the only write lock.
    if name == "postgresql" {
        let frozen = Waits::with_frozen_worker(&new_database("frozen").name, if is_test() { 5 } else { 500 });
        println!("with a frozen worker of another process: {frozen}");
        store("frozen-postgresql.json", &frozen);
    }
}

/// How long single recipients wait from the request to their enrollment.
#[derive(Serialize)]
struct Waits {
    singles: usize,
    median_ms: f64,
    percentile_99_ms: f64,
    highest_ms: f64,
}

impl Waits {
    fn new(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let ms = |index: usize| times[index].as_secs_f64() * 1000.0;
        let last = times.len() - 1;
        Self {
            singles: times.len(),
            median_ms: ms(last.div_ceil(2)),
            percentile_99_ms: ms((last * 99).div_ceil(100)),
            highest_ms: ms(last),
        }
    }

    fn with_frozen_worker(database: &str, singles: usize) -> Self {
        let keys = organizations(database, 2);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("the runtime can be built");
        let run = |sql: &str| {
            let ran: Result<_, PostgresError> = runtime.block_on(async {
                let client = ConnectOptions::new(database)?.pool(1)?.get().await?;
                Ok(client.simple_query(sql).await?.len())
            });
            ran.expect("the statement is valid")
        };
        // The commit of the first organization sleeps before it inserts contacts. There its process is stopped.
        run("create function nap() returns trigger language plpgsql as $$ begin perform pg_sleep(1); return null; end $$;
            create trigger nap before insert on enroll.contacts for each statement execute function nap()");
        let frozen = Service::start_with(database, 1);
        frozen.post(&agent(), &keys[0], &strangers(0..10));
        let naps = "select 1 from pg_stat_activity where wait_event = 'PgSleep' having count(*) = 1";
        // A result of one row has a row description, a row and the end of the command.
        while run(naps) < 3 {
            thread::sleep(POLL);
        }
        frozen.signal("-STOP");
        run("drop trigger nap on enroll.contacts");
        let (service, agent) = (Service::start_with(database, WORKERS), agent());
        let waits = (10..10 + singles).map(|n| wait_for_single(&service, &agent, &keys[1], n));
        let waits = Self::new(waits.collect());
        frozen.signal("-CONT");
        waits
    }
}

/// Enrolls a recipient. Returns the time until the enrollment is completed.
fn wait_for_single(service: &Service, agent: &Agent, key: &str, number: usize) -> Duration {
    let start = Instant::now();
    let id = service.post(agent, key, &strangers(number..number + 1));
    while !is_completed(service, agent, key, &id) {
        thread::sleep(POLL);
    }
    start.elapsed()
}

fn is_completed(service: &Service, agent: &Agent, key: &str, id: &str) -> bool {
    service.get(agent, key, &format!("/v1/enrollments/{id}?limit=1")).contains(r#""state":"completed""#)
}

/// How long single recipients wait while another organization's work waits too.
#[derive(Serialize)]
struct Flood {
    waits: Waits,
    /// How long the work of the other organization took.
    total_seconds: f64,
}

impl Flood {
    fn run(database: &str, enrollments: usize, recipients: usize) -> Self {
        let keys = organizations(database, 2);
        let [large, small] = [&keys[0], &keys[1]];
        // Without workers, so that all of the work waits when they start.
        let flooding = Service::start(database);
        let ids: Vec<String> = (0..enrollments)
            .map(|n| flooding.post(&agent(), large, &strangers(n * recipients..(n + 1) * recipients)))
            .collect();
        drop(flooding);
        let (service, agent) = (Service::start_with(database, WORKERS), agent());
        let started = Instant::now();
        let (mut times, mut next) = (Vec::new(), 0);
        // Ids of finished enrollments, in the order of processing.
        while ids.get(next).is_some() || times.is_empty() {
            times.push(wait_for_single(&service, &agent, small, times.len()));
            while ids.get(next).is_some_and(|id| is_completed(&service, &agent, large, id)) {
                next += 1;
            }
        }
        Self { waits: Waits::new(times), total_seconds: started.elapsed().as_secs_f64() }
    }
}

impl std::fmt::Display for Waits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { singles, median_ms, percentile_99_ms, highest_ms } = self;
        write!(
            f,
            "{singles} single recipients: median {median_ms:.0} ms, 99th percentile {percentile_99_ms:.0} ms, \
             highest {highest_ms:.0} ms"
        )
    }
}

impl std::fmt::Display for Flood {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { waits, total_seconds } = self;
        write!(f, "in {total_seconds:.1} s, {waits}")
    }
}

const WORKERS: usize = 2;
const POLL: Duration = Duration::from_millis(5);

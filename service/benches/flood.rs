//! One organization sends many large enrollments, and another one single recipients. Measures how long the single recipients
//! wait until they are enrolled, on SQLite and on PostgreSQL.
//!
//! `cargo bench -p enroll-service --bench flood`, with `-- sqlite` or `-- postgresql` for one database.

mod support;

use enroll::request::MAX_RECIPIENTS;
use enroll_bench::people::strangers;
use serde::Serialize;
use std::thread;
use std::time::{Duration, Instant};

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
}

/// The times of single recipients from the request to their enrollment, while another organization's work waits.
#[derive(Serialize)]
struct Flood {
    singles: usize,
    median_ms: f64,
    percentile_99_ms: f64,
    highest_ms: f64,
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
        let is_completed = |key: &str, id: &str| {
            service.get(&agent, key, &format!("/v1/enrollments/{id}?limit=1")).contains(r#""state":"completed""#)
        };
        // Ids of finished enrollments, in the order of processing.
        while ids.get(next).is_some() || times.is_empty() {
            let start = Instant::now();
            let id = service.post(&agent, small, &strangers(times.len()..times.len() + 1));
            while !is_completed(small, &id) {
                thread::sleep(POLL);
            }
            times.push(start.elapsed());
            while ids.get(next).is_some_and(|id| is_completed(large, id)) {
                next += 1;
            }
        }
        times.sort_unstable();
        let at = |part: f64| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_precision_loss,
                clippy::cast_sign_loss,
                reason = "an index"
            )]
            let index = ((times.len() - 1) as f64 * part).ceil() as usize;
            times[index].as_secs_f64() * 1000.0
        };
        Self {
            singles: times.len(),
            median_ms: at(0.5),
            percentile_99_ms: at(0.99),
            highest_ms: at(1.0),
            total_seconds: started.elapsed().as_secs_f64(),
        }
    }
}

impl std::fmt::Display for Flood {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { singles, median_ms, percentile_99_ms, highest_ms, total_seconds } = self;
        write!(
            f,
            "{singles} single recipients in {total_seconds:.1} s: median {median_ms:.0} ms, \
             99th percentile {percentile_99_ms:.0} ms, highest {highest_ms:.0} ms"
        )
    }
}

const WORKERS: usize = 2;
const POLL: Duration = Duration::from_millis(5);

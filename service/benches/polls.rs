//! Reads completed enrollments of one and of 4000 recipients over HTTP, in turns, on SQLite and on PostgreSQL.
//!
//! `cargo bench -p enroll-service --bench polls`, with `-- sqlite` or `-- postgresql` for one database.

mod support;

use enroll::request::MAX_RECIPIENTS;
use enroll_bench::people::strangers;
use serde::Serialize;
use std::time::{Duration, Instant};

use support::{NewDatabase, Service, agent, command, is_test, on_each_database, organizations, output, store};

fn main() {
    on_each_database("polls", &measure);
}

fn measure(name: &str, settings: &str, new_database: NewDatabase<'_>) {
    println!("\npolls on {name} ({settings})");
    println!("{:>10} {:>28} {:>10} {:>8}", "recipients", "query", "median us", "× one");
    let polls = Poll::measure(&new_database("polls").name);
    polls.iter().for_each(|poll| println!("{poll}"));
    store(&format!("polls-{name}.json"), &polls);
}

/// The time to read a completed enrollment: its state, its counts and a page of outcomes.
#[derive(Serialize)]
struct Poll {
    recipients: usize,
    query: &'static str,
    median_us: f64,
    /// Divided by the time for an enrollment of one recipient.
    ratio: f64,
}

impl Poll {
    /// Reads an enrollment of each size with each query, in turns.
    fn measure(database: &str) -> Vec<Self> {
        let key = &organizations(database, 1)[0];
        let (service, agent) = (Service::start(database), agent());
        let sizes = [1, MAX_RECIPIENTS];
        let enrollments = sizes.map(|recipients| service.post(&agent, key, &strangers(0..recipients)));
        output(command(&["work", "--until-empty", "--database", database]));
        let polled: Vec<(usize, &str, &str)> = ["limit=1", "", "offset=3950", "disposition=added&limit=1"]
            .into_iter()
            .flat_map(|query| sizes.iter().zip(&enrollments).map(move |(size, id)| (*size, query, &**id)))
            .collect();
        let rounds = if is_test() { 3 } else { 2000 };
        let mut times: Vec<Vec<Duration>> = vec![Vec::new(); polled.len()];
        for _ in 0..rounds {
            for ((_, query, id), times) in polled.iter().zip(&mut times) {
                let start = Instant::now();
                let answer = service.get(&agent, key, &format!("/v1/enrollments/{id}?{query}"));
                times.push(start.elapsed());
                assert!(answer.contains(r#""state":"completed""#), "{answer}");
            }
        }
        let medians = times.iter_mut().map(|times| {
            times.sort_unstable();
            times[times.len() / 2].as_secs_f64() * 1_000_000.0
        });
        let medians: Vec<f64> = medians.collect();
        let of_one = medians.iter().step_by(2).flat_map(|median| [median; 2]);
        let measured = polled.iter().zip(&medians).zip(of_one);
        measured
            .map(|(((recipients, query, _), median_us), of_one)| Self {
                recipients: *recipients,
                query,
                median_us: *median_us,
                ratio: median_us / of_one,
            })
            .collect()
    }
}

impl std::fmt::Display for Poll {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { recipients, query, median_us, ratio } = self;
        write!(f, "{recipients:>10} {query:>28} {median_us:>10.0} {ratio:>8.2}")
    }
}

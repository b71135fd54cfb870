//! Runs `enroll serve` and `enroll work` in one and in two processes, on SQLite and on PostgreSQL. Measures receipts per
//! second over HTTP, and recipients per second in the workers.
//!
//! `cargo bench -p enroll-service --bench service`, with `-- sqlite` or `-- postgresql` for one database.
//!
//! Clients, services, workers and the database run on the same machine. So the results are lower than on a separate
//! machine for each.
#![expect(clippy::cast_precision_loss, reason = "all counts are small")]

mod support;

use enroll::request::MAX_RECIPIENTS;
use enroll_bench::people::strangers;
use serde::Serialize;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use support::{NewDatabase, Service, agent, command, is_test, on_each_database, organizations, store};

fn main() {
    on_each_database("service", &measure);
}

/// The stored and printed result.
#[derive(Serialize)]
struct Measured {
    database: String,
    settings: String,
    receipts: Vec<Receipts>,
    work: Vec<Work>,
}

fn measure(name: &str, settings: &str, new_database: NewDatabase<'_>) {
    println!("\nservice on {name} ({settings})");
    let mut measured =
        Measured { database: name.to_owned(), settings: settings.to_owned(), receipts: Vec::new(), work: Vec::new() };
    println!(
        "{:>9} {:>10} {:>12} {:>10} {:>10}   {CLIENTS} clients, {ORGANIZATIONS} organizations, no workers",
        "processes", "recipients", "receipts/s", "median ms", "99th ms"
    );
    for processes in [1, 2] {
        for recipients in [1, 10] {
            let receipts = Receipts::measure(&new_database("receipts").name, processes, recipients);
            println!("{receipts}");
            measured.receipts.push(receipts);
        }
    }
    println!(
        "{:>9} {:>13} {:>12} {:>14}   of {MAX_RECIPIENTS} new people each, {WORKERS} workers per process",
        "processes", "organizations", "enrollments", "recipients/s"
    );
    for organizations in [ORGANIZATIONS, 1] {
        for processes in [1, 2] {
            let work = Work::measure(&new_database("work").name, processes, organizations);
            println!("{work}");
            measured.work.push(work);
        }
    }
    store(&format!("service-{name}.json"), &measured);
}

/// The results of clients that send small requests one after the other.
#[derive(Serialize)]
struct Receipts {
    processes: usize,
    clients: usize,
    organizations: usize,
    recipients: usize,
    requests: usize,
    per_second: f64,
    median_ms: f64,
    p99_ms: f64,
}

impl Receipts {
    fn measure(database: &str, processes: usize, recipients: usize) -> Self {
        let keys = organizations(database, ORGANIZATIONS);
        let services: Vec<Service> = (0..processes).map(|_| Service::start(database)).collect();
        let requests = if is_test() { 5 } else { 500 };
        let client = |client: usize| {
            let (service, key) = (&services[client % processes], &keys[client % keys.len()]);
            let bodies = (0..requests).map(|n| strangers(n * recipients..(n + 1) * recipients)).collect::<Vec<_>>();
            let agent = agent();
            // Connect, and fill the caches of the process.
            service.post(&agent, key, &strangers(0..100));
            move || -> Vec<Duration> {
                let timed = |body: &Vec<u8>| {
                    let start = Instant::now();
                    service.post(&agent, key, body);
                    start.elapsed()
                };
                bodies.iter().map(timed).collect()
            }
        };
        let clients: Vec<_> = (0..CLIENTS).map(client).collect();
        let start = Instant::now();
        let mut times: Vec<Duration> = thread::scope(|scope| {
            let clients: Vec<_> = clients.into_iter().map(|client| scope.spawn(client)).collect();
            clients.into_iter().flat_map(|client| client.join().expect("each request is accepted")).collect()
        });
        let took = start.elapsed();
        times.sort_unstable();
        let ms = |hundredths: usize| times[(times.len() - 1) * hundredths / 100].as_secs_f64() * 1000.0;
        Self {
            processes,
            clients: CLIENTS,
            organizations: ORGANIZATIONS,
            recipients,
            requests: times.len(),
            per_second: times.len() as f64 / took.as_secs_f64(),
            median_ms: ms(50),
            p99_ms: ms(99),
        }
    }
}

impl std::fmt::Display for Receipts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { processes, recipients, per_second, median_ms, p99_ms, .. } = self;
        write!(f, "{processes:>9} {recipients:>10} {per_second:>12.0} {median_ms:>10.2} {p99_ms:>10.2}")
    }
}

/// The results of workers with a full queue. On PostgreSQL, an organization has one writer at a time. A SQLite file has one
/// writer at a time.
#[derive(Serialize)]
struct Work {
    processes: usize,
    workers: usize,
    organizations: usize,
    enrollments: usize,
    recipients: usize,
    seconds: f64,
    per_second: f64,
}

impl Work {
    fn measure(database: &str, processes: usize, organizations: usize) -> Self {
        let enrollments = if is_test() { 4 } else { 24 };
        let keys = self::organizations(database, organizations);
        let service = Service::start(database);
        let agent = agent();
        for n in 0..enrollments {
            let first = n / organizations * MAX_RECIPIENTS;
            service.post(&agent, &keys[n % organizations], &strangers(first..first + MAX_RECIPIENTS));
        }
        drop(service);
        let workers = WORKERS.to_string();
        let start = Instant::now();
        let workers: Vec<Child> = (0..processes)
            .map(|_| {
                let mut work = command(&["work", "--until-empty", "--workers", &workers, "--database", database]);
                work.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the command can be run")
            })
            .collect();
        // The processes end shortly after the last enrollment, so measure the enrollments.
        let completed = thread::scope(|scope| {
            let readers: Vec<_> =
                workers.into_iter().map(|child| scope.spawn(move || completed(child, start))).collect();
            readers.into_iter().flat_map(|reader| reader.join().expect("a worker ends well")).collect::<Vec<Duration>>()
        });
        assert_eq!(completed.len(), enrollments, "each enrollment is completed once");
        let took = completed.into_iter().max().unwrap_or_default().as_secs_f64();
        let recipients = enrollments * MAX_RECIPIENTS;
        let per_second = recipients as f64 / took;
        Self { processes, workers: WORKERS, organizations, enrollments, recipients, seconds: took, per_second }
    }
}

/// Returns the time of each completed enrollment, from the output of a process.
fn completed(mut child: Child, start: Instant) -> Vec<Duration> {
    let lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
    let at = |line: std::io::Result<String>| {
        let (at, line) = (start.elapsed(), line.expect("it is text"));
        assert!(line.starts_with("completed "), "{line}");
        at
    };
    let completed = lines.map(at).collect();
    assert!(child.wait().expect("it is a child").success());
    completed
}

impl std::fmt::Display for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { processes, organizations, enrollments, per_second, .. } = self;
        write!(f, "{processes:>9} {organizations:>13} {enrollments:>12} {per_second:>14.0}")
    }
}

const CLIENTS: usize = 8;
const ORGANIZATIONS: usize = 4;
const WORKERS: usize = 2;

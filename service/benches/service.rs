//! The real `enroll serve` and `enroll work`, in one process and in two, on SQLite and on PostgreSQL: receipts a second
//! over HTTP, and recipients a second through the workers.
//!
//! `cargo bench -p enroll-service --bench service`, with `-- sqlite` or `-- postgresql` for one of them.
//!
//! Clients, services, workers and the database share this machine, and are bounded in number: this tells what a machine
//! does, not what a service does on one of its own.
#![expect(clippy::cast_precision_loss, reason = "whatever is counted is small")]

mod support;

use enroll::OrganizationId;
use enroll::request::MAX_RECIPIENTS;
use enroll_bench::people::{Scene, strangers};
use enroll_postgres::PostgresRepository;
use enroll_postgres::testing::Server;
use serde::Serialize;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use ureq::Agent;
use uuid::Uuid;

use support::{Folder, command, is_asked_for, is_test, keep, output, path, seed};

fn main() {
    if is_asked_for("service/sqlite") {
        measure("sqlite", "WAL, synchronous = normal, full for what is accepted", &|name| {
            let folder = Folder::new(&format!("service-{name}"));
            let database = path(&folder.0.join("enroll.db")).to_owned();
            Place { database, _folder: Some(folder) }
        });
    }
    if is_asked_for("service/postgresql") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("it can be built");
        // What was accepted must outlive a power cut, here as in earnest.
        let server = Server::start_with(&[("fsync", "on"), ("synchronous_commit", "on"), ("full_page_writes", "on")]);
        let settings = runtime.block_on(settings(server.url())).expect("the server answers");
        measure("postgresql", &settings, &|_| {
            let database = runtime.block_on(server.database()).expect("a database can be made");
            Place { database, _folder: None }
        });
    }
}

/// What of its settings keeps commits through a power cut.
async fn settings(url: &str) -> Result<String, Box<dyn std::error::Error>> {
    let client = PostgresRepository::pool_at(url, 1)?.get().await?;
    let sql = "select concat_ws(', ', 'fsync ' || current_setting('fsync'), \
               'synchronous_commit ' || current_setting('synchronous_commit'))";
    Ok(client.query_one(sql, &[]).await?.try_get(0)?)
}

/// A fresh database, and where it is.
struct Place {
    database: String,
    _folder: Option<Folder>,
}

/// What is kept, and told.
#[derive(Serialize)]
struct Measured {
    database: String,
    settings: String,
    receipts: Vec<Receipts>,
    work: Vec<Work>,
}

fn measure(name: &str, settings: &str, fresh: &dyn Fn(&str) -> Place) {
    println!("\nservice on {name} ({settings})");
    let mut measured =
        Measured { database: name.to_owned(), settings: settings.to_owned(), receipts: Vec::new(), work: Vec::new() };
    println!(
        "{:>9} {:>10} {:>12} {:>10} {:>10}   {CLIENTS} clients, {ORGANIZATIONS} organizations, no workers",
        "processes", "recipients", "receipts/s", "median ms", "99th ms"
    );
    for processes in [1, 2] {
        for recipients in [1, 10] {
            let receipts = Receipts::of(&fresh("receipts").database, processes, recipients);
            println!("{receipts}");
            measured.receipts.push(receipts);
        }
    }
    println!(
        "{:>9} {:>13} {:>12} {:>14}   of {MAX_RECIPIENTS} strangers each, {WORKERS} workers a process",
        "processes", "organizations", "enrollments", "recipients/s"
    );
    for organizations in [ORGANIZATIONS, 1] {
        for processes in [1, 2] {
            let work = Work::of(&fresh("work").database, processes, organizations);
            println!("{work}");
            measured.work.push(work);
        }
    }
    keep(&format!("service-{name}.json"), &measured);
}

/// What clients got that posted small requests as fast as they were answered.
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
    fn of(database: &str, processes: usize, recipients: usize) -> Self {
        let keys = organizations(database, ORGANIZATIONS);
        let services: Vec<Service> = (0..processes).map(|_| Service::start(database)).collect();
        let requests = if is_test() { 5 } else { 500 };
        let client = |client: usize| {
            let (service, key) = (&services[client % processes], &keys[client % keys.len()]);
            let bodies = (0..requests).map(|n| strangers(n * recipients..(n + 1) * recipients)).collect::<Vec<_>>();
            let agent = agent();
            // Connected, and whatever a process reads once is read.
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

/// What workers did with what had queued up. One organization has one writer at a time on PostgreSQL, and a SQLite file
/// one whoever asks.
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
    fn of(database: &str, processes: usize, organizations: usize) -> Self {
        let enrollments = if is_test() { 4 } else { 24 };
        let keys = self::organizations(database, organizations);
        let queueing = Service::start(database);
        let agent = agent();
        for n in 0..enrollments {
            let first = n / organizations * MAX_RECIPIENTS;
            queueing.post(&agent, &keys[n % organizations], &strangers(first..first + MAX_RECIPIENTS));
        }
        drop(queueing);
        let workers = WORKERS.to_string();
        let start = Instant::now();
        let working: Vec<Child> = (0..processes)
            .map(|_| {
                let mut work = command(&["work", "--until-empty", "--workers", &workers, "--database", database]);
                work.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the command can be run")
            })
            .collect();
        // They end a little later than the last enrollment does.
        let completed = thread::scope(|scope| {
            let telling: Vec<_> =
                working.into_iter().map(|child| scope.spawn(move || completed(child, start))).collect();
            telling.into_iter().flat_map(|told| told.join().expect("a worker ends well")).collect::<Vec<Duration>>()
        });
        assert_eq!(completed.len(), enrollments, "each is completed once");
        let took = completed.into_iter().max().unwrap_or_default().as_secs_f64();
        let recipients = enrollments * MAX_RECIPIENTS;
        let per_second = recipients as f64 / took;
        Self { processes, workers: WORKERS, organizations, enrollments, recipients, seconds: took, per_second }
    }
}

/// When each enrollment was completed, by what a process says of it.
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

/// So many organizations, each the demo's without anyone in it, and an API key of each.
fn organizations(database: &str, count: usize) -> Vec<String> {
    let mut given = Scene::empty().given;
    let ids = (1..=count as u128).map(|n| OrganizationId::from_uuid(Uuid::from_u128(n)));
    ids.map(|id| {
        given.organization_id = id;
        seed(&given, database);
        let id = id.to_string();
        let create = command(&["keys", "create", "--database", database, "--organization", &id, "--name", "bench"]);
        output(create).trim().to_owned()
    })
    .collect()
}

/// A service without workers, which ends with this.
struct Service {
    child: Child,
    url: String,
}

impl Service {
    fn start(database: &str) -> Self {
        let mut serve = command(&["serve", "--database", database, "--listen", "127.0.0.1:0", "--workers", "0"]);
        let mut child = serve.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the command can be run");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("it is piped")).read_line(&mut line).expect("it is text");
        let base = line.trim().strip_prefix("listening on ").unwrap_or_else(|| panic!("{line}"));
        Self { child, url: format!("{base}/v1/sequences/{}/contacts", Scene::empty().sequence_id) }
    }

    fn post(&self, agent: &Agent, key: &str, body: &[u8]) {
        let mut answer = agent.post(&self.url).header("X-WHIPPY-KEY", key).send(body).expect("the service answers");
        assert_eq!(answer.status(), 202);
        answer.body_mut().read_to_vec().expect("the answer is whole");
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// It keeps its connection.
fn agent() -> Agent {
    Agent::config_builder().timeout_global(Some(Duration::from_secs(60))).build().new_agent()
}

const CLIENTS: usize = 8;
const ORGANIZATIONS: usize = 4;
const WORKERS: usize = 2;

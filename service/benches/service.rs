//! Runs `enroll serve` and `enroll work` in one and in two processes, on SQLite and on PostgreSQL. Measures receipts per
//! second over HTTP, and recipients per second in the workers.
//!
//! `cargo bench -p enroll-service --bench service`, with `-- sqlite` or `-- postgresql` for one database.
//!
//! Clients, services, workers and the database run on the same machine. So the results are lower than on a separate
//! machine for each.
#![expect(clippy::cast_precision_loss, reason = "all counts are small")]

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

use support::{Folder, command, is_selected, is_test, load_seed, output, path, store};

fn main() {
    if is_selected("service/sqlite") {
        measure("sqlite", "WAL, synchronous = normal, full for accepted enrollments", &|name| {
            let folder = Folder::new(&format!("service-{name}"));
            let database = path(&folder.0.join("enroll.db")).to_owned();
            TestDatabase { name: database, _folder: Some(folder) }
        });
    }
    if is_selected("service/postgresql") {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().expect("the runtime can be built");
        // An accepted enrollment must survive a power failure, as in production.
        let server = Server::start_with(&[("fsync", "on"), ("synchronous_commit", "on"), ("full_page_writes", "on")]);
        let settings = runtime.block_on(settings(server.url())).expect("the server answers");
        measure("postgresql", &settings, &|_| {
            let database = runtime.block_on(server.database()).expect("a database can be created");
            TestDatabase { name: database, _folder: None }
        });
    }
}

/// Returns the settings that make commits survive a power failure.
async fn settings(url: &str) -> Result<String, Box<dyn std::error::Error>> {
    let client = PostgresRepository::pool_at(url, 1)?.get().await?;
    let sql = "select concat_ws(', ', 'fsync ' || current_setting('fsync'), \
               'synchronous_commit ' || current_setting('synchronous_commit'))";
    Ok(client.query_one(sql, &[]).await?.try_get(0)?)
}

/// A new database.
struct TestDatabase {
    name: String,
    _folder: Option<Folder>,
}

/// The stored and printed result.
#[derive(Serialize)]
struct Measured {
    database: String,
    settings: String,
    receipts: Vec<Receipts>,
    work: Vec<Work>,
}

fn measure(name: &str, settings: &str, new_database: &dyn Fn(&str) -> TestDatabase) {
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

/// Loads a number of organizations without contacts. Returns an API key for each.
fn organizations(database: &str, count: usize) -> Vec<String> {
    let mut seed = Scene::empty().given;
    let ids = (1..=count as u128).map(|n| OrganizationId::from_uuid(Uuid::from_u128(n)));
    ids.map(|id| {
        seed.organization_id = id;
        load_seed(&seed, database);
        let id = id.to_string();
        let create = command(&["keys", "create", "--database", database, "--organization", &id, "--name", "bench"]);
        output(create).trim().to_owned()
    })
    .collect()
}

/// A running service without workers. Drop ends it.
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
        let mut response = agent.post(&self.url).header("X-WHIPPY-KEY", key).send(body).expect("the service responds");
        assert_eq!(response.status(), 202);
        response.body_mut().read_to_vec().expect("the response is complete");
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// Returns an agent that reuses its connection.
fn agent() -> Agent {
    Agent::config_builder().timeout_global(Some(Duration::from_secs(60))).build().new_agent()
}

const CLIENTS: usize = 8;
const ORGANIZATIONS: usize = 4;
const WORKERS: usize = 2;

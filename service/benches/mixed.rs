//! Six clients call `enroll serve` on SQLite with a mix of posts, previews, lists and polls. Measures the calls per second,
//! the processor time of the service for each call, and the resident memory while the data grows.
//!
//! `cargo bench -p enroll-service --bench mixed`. `ENROLL_BENCH_MIXED` is the duration in seconds; default four minutes.
//! With `ENROLL_BENCH_MIXED_CONTACTS`, a second service on a file with so many contacts is measured in turns with it.
//! `ENROLL_BENCH_MIXED_RATE` is the highest number of calls per second; by default, a client calls again at once.
#![expect(clippy::cast_precision_loss, reason = "all counts are small")]

mod support;

use enroll::seed::Demo;
use enroll::{Engine, EnrollmentPolicy, enroll_contacts};
use enroll_bench::people::{Scene, crowd};
use enroll_sqlite::SqliteRepository;
use fastrand::Rng;
use serde::Serialize;
use std::ops::Range;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use support::{Folder, Service, agent, is_selected, is_test, organization, organizations, path, store};

fn main() {
    if !is_selected("mixed/sqlite") {
        return;
    }
    let seconds = number("ENROLL_BENCH_MIXED").unwrap_or(if is_test() { 1 } else { 240 });
    let rate = number("ENROLL_BENCH_MIXED_RATE");
    let between = rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(CLIENTS as f64 / rate as f64));
    let contacts = number("ENROLL_BENCH_MIXED_CONTACTS").filter(|contacts| *contacts > 0);
    let mut hosts: Vec<Host> = [0].into_iter().chain(contacts).map(Host::new).collect();
    println!("\nmixed calls on sqlite, {CLIENTS} clients, {WORKERS} workers, {seconds} s");
    println!(
        "{:>10} {:>8} {:>8} {:>12} {:>12} {:>10} {:>12} {:>10} {:>10} {:>10}",
        "before",
        "seconds",
        "calls/s",
        "CPU ms/call",
        "resident MB",
        "sent",
        "post ms",
        "preview ms",
        "list ms",
        "poll ms"
    );
    for _ in 0..SAMPLES {
        for host in &mut hosts {
            host.measure(Duration::from_secs(seconds as u64) / SAMPLES, between);
        }
    }
    for Host { contacts, samples, .. } in &hosts {
        let highest = samples.iter().filter_map(|sample| sample.resident_mb).fold(0.0, f64::max);
        println!("{contacts} contacts before: at most {highest:.0} MB resident");
    }
    if let [empty, filled] = &hosts[..] {
        let ratio = |value: fn(&Sample) -> f64| filled.median(value) / empty.median(value);
        let calls = ratio(|sample| sample.calls_per_second);
        let processor = ratio(|sample| sample.processor_ms_per_call.unwrap_or(f64::NAN));
        println!(
            "with {} contacts before: {calls:.2} x the calls/s, {processor:.2} x the CPU of a call",
            filled.contacts
        );
    }
    store("mixed-sqlite.json", &hosts.iter().map(|host| (host.contacts, &host.samples)).collect::<Vec<_>>());
}

fn number(variable: &str) -> Option<usize> {
    let number = std::env::var(variable).ok()?;
    Some(number.parse().unwrap_or_else(|_| panic!("`{variable}` is a number")))
}

/// Enrolls people in requests of the mean size.
fn fill(database: &str, people: Range<usize>) {
    let mut repository = SqliteRepository::open(database).expect("the bench created it");
    repository.connection().pragma_update(None, "synchronous", "off").expect("SQLite knows it");
    let scene = Scene::empty();
    let policy = EnrollmentPolicy::default();
    for first in people.clone().step_by(LONGEST / 2) {
        let request = Demo::crowd(first..(first + LONGEST / 2).min(people.end));
        let key = first.to_string();
        let mut enrollment = scene.enrollment(&request, &key);
        enrollment.organization_id = organization(1);
        enrollment.at = SystemTime::now().try_into().expect("the clock is right");
        enroll_contacts(&mut repository, &Engine::new(&policy), &enrollment).expect("the request is valid");
    }
}

/// The kinds of calls.
#[derive(Clone, Copy)]
enum Call {
    Post,
    Preview,
    List,
    Poll,
}

/// What one part of the run measured.
#[derive(Serialize)]
struct Sample {
    seconds: f64,
    calls_per_second: f64,
    /// The processor time of the service. Unlike the rate, it does not depend on other programs.
    processor_ms_per_call: Option<f64>,
    resident_mb: Option<f64>,
    sent: usize,
    /// The median of each kind of call: post, preview, list, poll.
    median_ms: [f64; 4],
}

/// A service, its database and its clients.
struct Host {
    /// The number of contacts before the first call.
    contacts: usize,
    clients: Vec<Client>,
    samples: Vec<Sample>,
    service: Service,
    _folder: Folder,
}

impl Host {
    fn new(contacts: usize) -> Self {
        let folder = Folder::new(&format!("mixed-{contacts}"));
        let database = path(&folder.0.join("enroll.db")).to_owned();
        let key = &organizations(&database, 1)[0];
        fill(&database, PEOPLE - contacts..PEOPLE);
        let people = (PEOPLE - contacts) / CLIENTS;
        let clients = (0..CLIENTS).map(|client| Client::new(key, client * people..(client + 1) * people)).collect();
        let service = Service::start_with(&database, WORKERS);
        Self { contacts, clients, samples: Vec::new(), service, _folder: folder }
    }

    /// Calls for a while. Each client begins a call at least `between` after the one before.
    fn measure(&mut self, duration: Duration, between: Duration) {
        let Self { contacts, clients, samples, service, .. } = self;
        let calls = Mutex::new((<[Vec<Duration>; 4]>::default(), 0));
        let (start, processor_time) = (Instant::now(), service.processor_time());
        thread::scope(|scope| {
            for client in clients {
                let (calls, service) = (&calls, &*service);
                scope.spawn(move || {
                    while start.elapsed() < duration {
                        let began = Instant::now();
                        let (call, recipients) = client.call(service);
                        let mut calls = calls.lock().expect("no client panicked");
                        calls.0[call as usize].push(began.elapsed());
                        calls.1 += recipients;
                        drop(calls);
                        thread::sleep(between.saturating_sub(began.elapsed()));
                    }
                });
            }
        });
        let (times, sent) = calls.into_inner().expect("no client panicked");
        let count = times.iter().map(Vec::len).sum::<usize>() as f64;
        let took = start.elapsed().as_secs_f64();
        let used = service.processor_time().zip(processor_time).map(|(after, before)| after - before);
        let (seconds, before) = samples.last().map_or((0.0, 0), |last| (last.seconds, last.sent));
        let sample = Sample {
            seconds: seconds + took,
            calls_per_second: count / took,
            processor_ms_per_call: used.map(|seconds| seconds * 1000.0 / count),
            resident_mb: service.resident(),
            sent: before + sent,
            median_ms: times.map(median_ms),
        };
        println!("{contacts:>10} {sample}");
        samples.push(sample);
    }

    fn median(&self, value: fn(&Sample) -> f64) -> f64 {
        let mut values: Vec<f64> = self.samples.iter().map(value).collect();
        values.sort_unstable_by(f64::total_cmp);
        values[values.len() / 2]
    }
}

impl std::fmt::Display for Sample {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { seconds, calls_per_second, sent, median_ms: [post, preview, list, poll], .. } = self;
        let [processor_ms, resident_mb] =
            [self.processor_ms_per_call, self.resident_mb].map(|measured| measured.unwrap_or(f64::NAN));
        write!(
            f,
            "{seconds:>8.0} {calls_per_second:>8.1} {processor_ms:>12.2} {resident_mb:>12.0} {sent:>10} {post:>12.1} \
             {preview:>10.1} {list:>10.1} {poll:>10.1}"
        )
    }
}

fn median_ms(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times.get(times.len() / 2).map_or(f64::NAN, |time| time.as_secs_f64() * 1000.0)
}

/// A client that makes one call after the other, always in the same order.
struct Client {
    key: String,
    agent: ureq::Agent,
    random: Rng,
    /// The people that it has sent so far.
    people: Range<usize>,
    /// The people that it sends end before this one.
    end: usize,
    /// The last enrollment.
    last: Option<String>,
}

impl Client {
    fn new(key: &str, people: Range<usize>) -> Self {
        let Range { start, end } = people;
        let random = Rng::with_seed(start as u64);
        Self { key: key.to_owned(), agent: agent(), random, people: start..start, end, last: None }
    }

    /// Makes a call. Returns its kind, and the number of recipients that were enrolled.
    fn call(&mut self, service: &Service) -> (Call, usize) {
        let Self { key, agent, random, people, end: last_end, last } = self;
        match (random.u32(0..100), &*last) {
            (0..25, _) | (_, None) => {
                let recipients = random.usize(1..=LONGEST);
                // Every fourth post repeats people.
                let first = if random.u32(0..4) == 0 { people.start } else { people.end };
                let end = (first + recipients).min(*last_end);
                *last = Some(service.post(agent, key, &crowd(first..end)));
                people.end = people.end.max(end);
                (Call::Post, recipients)
            }
            (25..40, _) => {
                let first = people.end;
                let recipients = random.usize(1..=LONGEST);
                service.preview(agent, key, &crowd(first..first + recipients));
                (Call::Preview, 0)
            }
            (40..70, _) => {
                let sequence = Scene::empty().sequence_id;
                let lists = ["/v1/contacts", "/v1/enrollments", &format!("/v1/sequences/{sequence}/contacts")]
                    .map(|list| format!("{list}?limit=50"));
                service.get(agent, key, random.choice(&lists).expect("it is not empty"));
                (Call::List, 0)
            }
            (_, Some(last)) => {
                service.get(agent, key, &format!("/v1/enrollments/{last}"));
                (Call::Poll, 0)
            }
        }
    }
}

const CLIENTS: usize = 6;
const WORKERS: usize = 2;
/// The number of recipients of the longest request.
const LONGEST: usize = 400;
const SAMPLES: u32 = 12;
/// The number of people that `crowd` has phones for.
const PEOPLE: usize = 7_900_000;

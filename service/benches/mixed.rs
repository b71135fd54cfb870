//! Six clients call `enroll serve` on SQLite with a mix of posts, previews, lists and polls. Measures the calls per second,
//! the processor time of the service for each call, and the resident memory while the data grows.
//!
//! `cargo bench -p enroll-service --bench mixed`. `ENROLL_BENCH_MIXED` is the duration in seconds; default four minutes.
//! `ENROLL_BENCH_MIXED_RATE` is the highest number of calls per second; by default, a client calls again at once.
#![expect(clippy::cast_precision_loss, reason = "all counts are small")]

mod support;

use enroll_bench::people::{Scene, crowd};
use fastrand::Rng;
use serde::Serialize;
use std::ops::Range;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use support::{Folder, Service, agent, is_selected, is_test, organizations, path, store};

fn main() {
    if !is_selected("mixed/sqlite") {
        return;
    }
    let seconds = match std::env::var("ENROLL_BENCH_MIXED") {
        Ok(seconds) => seconds.parse().expect("`ENROLL_BENCH_MIXED` is a number of seconds"),
        Err(_) if is_test() => 1,
        Err(_) => 240,
    };
    let rate: Option<f64> =
        std::env::var("ENROLL_BENCH_MIXED_RATE").ok().map(|rate| rate.parse().expect("it is a number"));
    let between = rate.map_or(Duration::ZERO, |rate| Duration::from_secs_f64(CLIENTS as f64 / rate));
    let folder = Folder::new("mixed");
    let database = path(&folder.0.join("enroll.db")).to_owned();
    let key = &organizations(&database, 1)[0];
    let service = Service::start_with(&database, WORKERS);
    println!("\nmixed calls on sqlite, {CLIENTS} clients, {WORKERS} workers, {seconds} s");
    println!(
        "{:>8} {:>8} {:>12} {:>12} {:>10} {:>12} {:>10} {:>10} {:>10}",
        "seconds", "calls/s", "CPU ms/call", "resident MB", "sent", "post ms", "preview ms", "list ms", "poll ms"
    );
    let samples = measure(&service, key, Duration::from_secs(seconds), between);
    let highest = samples.iter().filter_map(|sample| sample.resident_mb).fold(0.0, f64::max);
    println!("highest resident memory: {highest:.0} MB");
    store("mixed-sqlite.json", &samples);
}

/// The kinds of calls.
#[derive(Clone, Copy)]
enum Call {
    Post,
    Preview,
    List,
    Poll,
}

/// The calls that ended since the last sample, and the number of recipients sent so far.
#[derive(Default)]
struct Calls {
    times: [Vec<Duration>; 4],
    sent: usize,
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

/// Each client begins a call at least `between` after the one before.
fn measure(service: &Service, key: &str, duration: Duration, between: Duration) -> Vec<Sample> {
    let calls = Mutex::new(Calls::default());
    let start = Instant::now();
    thread::scope(|scope| {
        for client in 0..CLIENTS {
            let calls = &calls;
            scope.spawn(move || {
                let mut client = Client::new(service, key, client);
                while start.elapsed() < duration {
                    let began = Instant::now();
                    let (call, sent) = client.call();
                    let mut calls = calls.lock().expect("no client panicked");
                    calls.times[call as usize].push(began.elapsed());
                    calls.sent += sent;
                    drop(calls);
                    thread::sleep(between.saturating_sub(began.elapsed()));
                }
            });
        }
        let (mut sampled, mut processor_time) = (start, service.processor_time());
        (1..=SAMPLES)
            .map(|sample| {
                thread::sleep((start + duration * sample / SAMPLES).saturating_duration_since(Instant::now()));
                let mut calls = calls.lock().expect("no client panicked");
                let times = std::mem::take(&mut calls.times);
                let count = times.iter().map(Vec::len).sum::<usize>() as f64;
                let before = std::mem::replace(&mut processor_time, service.processor_time());
                let spent = processor_time.zip(before).map(|(after, before)| after - before);
                let sample = Sample {
                    seconds: start.elapsed().as_secs_f64(),
                    calls_per_second: count / sampled.elapsed().as_secs_f64(),
                    processor_ms_per_call: spent.map(|seconds| seconds * 1000.0 / count),
                    resident_mb: service.resident(),
                    sent: calls.sent,
                    median_ms: times.map(median_ms),
                };
                sampled = Instant::now();
                println!("{sample}");
                sample
            })
            .collect()
    })
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
struct Client<'s> {
    service: &'s Service,
    key: &'s str,
    agent: ureq::Agent,
    random: Rng,
    /// The people that it has sent so far.
    people: Range<usize>,
    /// The last enrollment.
    last: Option<String>,
}

impl<'s> Client<'s> {
    fn new(service: &'s Service, key: &'s str, number: usize) -> Self {
        let first = number * PEOPLE_PER_CLIENT;
        let random = Rng::with_seed(number as u64);
        Self { service, key, agent: agent(), random, people: first..first, last: None }
    }

    /// Makes a call. Returns its kind, and the number of recipients that were enrolled.
    fn call(&mut self) -> (Call, usize) {
        let Self { service, key, agent, random, people, last } = self;
        match (random.u32(0..100), &*last) {
            (0..25, _) | (_, None) => {
                let recipients = random.usize(1..=400);
                // Every fourth post repeats people.
                let first = if random.u32(0..4) == 0 { people.start } else { people.end };
                let end = (first + recipients).min(people.start + PEOPLE_PER_CLIENT);
                *last = Some(service.post(agent, key, &crowd(first..end)));
                people.end = people.end.max(end);
                (Call::Post, recipients)
            }
            (25..40, _) => {
                let first = people.end;
                let recipients = random.usize(1..=400);
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
const SAMPLES: u32 = 12;
/// More people than a client sends.
const PEOPLE_PER_CLIENT: usize = 1_000_000;

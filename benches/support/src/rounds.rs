//! Contenders are timed in turns, so that whatever else the machine does strikes all of them alike.
//!
//! Criterion runs one function to its end before the next; on a busy machine the second may meet another machine than
//! the first. Here each round runs every contender once, in an order that rotates, and criterion is given the times.
#![expect(clippy::cast_precision_loss, reason = "nothing takes so long")]

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use serde::{Deserialize, Serialize};
use std::cell::OnceCell;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// One way to do the work, or a part of it.
pub struct Contender<'a> {
    name: &'a str,
    floor: bool,
    run: Box<dyn FnMut() -> Duration + 'a>,
}

impl<'a> Contender<'a> {
    /// Times `run` as it stands, and drops what it answers outside of the time.
    pub fn new<T>(name: &'a str, mut run: impl FnMut() -> T + 'a) -> Self {
        Self::timing(name, move || {
            let start = Instant::now();
            let answer = run();
            let took = start.elapsed();
            drop(answer);
            took
        })
    }

    /// `run` tells how long its work took, without what comes before and after it.
    pub fn timing(name: &'a str, run: impl FnMut() -> Duration + 'a) -> Self {
        Self { name, floor: false, run: Box::new(run) }
    }

    /// A part of what the work must cost at least. The sum of these is the floor that the others are held against.
    #[must_use]
    pub fn as_floor(mut self) -> Self {
        self.floor = true;
        self
    }
}

impl std::fmt::Debug for Contender<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Contender").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What came out of the rounds of one group.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Outcome {
    /// What was compared.
    pub group: String,
    /// On what.
    pub parameter: String,
    /// How many recipients each run enrolled.
    pub recipients: u64,
    /// How often each ran.
    pub rounds: usize,
    /// How each did, in the order of the group.
    pub contenders: Vec<Timed>,
}

/// How one contender did.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Timed {
    /// Its name.
    pub name: String,
    /// Whether it is a part of the floor.
    pub floor: bool,
    /// The median of its times, in nanoseconds.
    pub median: u64,
}

impl Outcome {
    /// The sum of the floor's parts, in nanoseconds.
    #[must_use]
    pub fn floor(&self) -> u64 {
        self.contenders.iter().filter(|contender| contender.floor).map(|contender| contender.median).sum()
    }
}

/// Runs the contenders in turns, hands their times to criterion, and prints medians and ratios.
///
/// Each run does the work for `recipients`. A single round is run under `--test`.
pub fn compare(
    criterion: &mut Criterion,
    (name, parameter): (&str, &str),
    recipients: usize,
    rounds: usize,
    mut contenders: Vec<Contender<'_>>,
) {
    let rounds = if std::env::args().any(|arg| arg == "--test") { 1 } else { rounds.max(10) };
    let names: Vec<&str> = contenders.iter().map(|contender| contender.name).collect();
    let floors: Vec<bool> = contenders.iter().map(|contender| contender.floor).collect();
    // Only once criterion asks, so that a filter on the command line holds.
    let times = OnceCell::new();
    let mut take = move || take_turns(&mut contenders, rounds);
    let mut group = criterion.benchmark_group(name);
    group
        .sample_size(rounds.max(10))
        .sampling_mode(SamplingMode::Flat)
        .warm_up_time(Duration::from_nanos(1))
        .measurement_time(Duration::from_nanos(1))
        .throughput(Throughput::Elements(recipients as u64));
    for (place, contender) in names.iter().enumerate() {
        let mut next = 0;
        group.bench_function(BenchmarkId::new(*contender, parameter), |bencher| {
            bencher.iter_custom(|iterations| {
                let times: &Vec<Vec<Duration>> = times.get_or_init(&mut take);
                let of_contender = &times[place];
                let mut sum = Duration::ZERO;
                for _ in 0..iterations {
                    sum += of_contender[next % of_contender.len()];
                    next += 1;
                }
                sum
            });
        });
    }
    group.finish();
    let Some(times) = times.into_inner() else { return };
    let did = names.iter().zip(&floors).zip(times).map(|((name, floor), times)| Timed {
        name: (*name).to_owned(),
        floor: *floor,
        median: median(times),
    });
    let outcome = Outcome {
        group: name.to_owned(),
        parameter: parameter.to_owned(),
        recipients: recipients as u64,
        rounds,
        contenders: did.collect(),
    };
    print!("{}", told(&outcome));
    // One round says that it runs, and nothing else.
    if rounds > 1 {
        keep(&outcome);
    }
}

fn take_turns(contenders: &mut [Contender<'_>], rounds: usize) -> Vec<Vec<Duration>> {
    let mut times = vec![Vec::with_capacity(rounds); contenders.len()];
    // The first of each is not counted: it meets cold caches.
    if rounds > 1 {
        contenders.iter_mut().for_each(|contender| {
            (contender.run)();
        });
    }
    for round in 0..rounds {
        for turn in 0..contenders.len() {
            let place = (round + turn) % contenders.len();
            times[place].push((contenders[place].run)());
        }
    }
    times
}

fn median(mut times: Vec<Duration>) -> u64 {
    times.sort_unstable();
    let middle = times.get(times.len() / 2).copied().unwrap_or_default();
    u64::try_from(middle.as_nanos()).unwrap_or(u64::MAX)
}

fn told(outcome: &Outcome) -> String {
    let Outcome { group, parameter, rounds, .. } = outcome;
    let floor = outcome.floor();
    let mut text = format!("\n{group}, {parameter}: medians of {rounds} rounds\n");
    for Timed { name, floor: of_floor, median } in &outcome.contenders {
        let ms = *median as f64 / 1e6;
        let _infallible = match (of_floor, floor) {
            (true, _) => writeln!(text, "  {name:<40} {ms:>10.3} ms   floor"),
            (false, 0) => writeln!(text, "  {name:<40} {ms:>10.3} ms"),
            (false, _) => writeln!(text, "  {name:<40} {ms:>10.3} ms   {:.2} x", *median as f64 / floor as f64),
        };
    }
    text
}

/// Where the report reads it: beside criterion's own files.
fn keep(outcome: &Outcome) {
    let folder = folder();
    let name = format!("{} {}.json", outcome.group, outcome.parameter).replace([' ', '/', ','], "-");
    let kept = std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::write(folder.join(name), serde_json::to_vec_pretty(outcome)?));
    if let Err(e) = kept {
        eprintln!("{}: {e}", folder.display());
    }
}

/// The folder of outcomes.
#[must_use]
pub fn folder() -> PathBuf {
    std::env::var_os("ENROLL_BENCH_RESULTS")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/enroll-bench")), PathBuf::from)
}

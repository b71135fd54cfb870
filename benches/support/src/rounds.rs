//! Measures contenders in turns, so that other load of the machine affects all of them.
//!
//! Criterion finishes one function before the next one, and the load can change in between. Here, each round runs every
//! contender once, in a rotating order, and criterion gets the times.
#![expect(clippy::cast_precision_loss, reason = "the times are short")]

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use serde::{Deserialize, Serialize};
use std::cell::OnceCell;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// An implementation of the work, or a part of it.
pub struct Contender<'a> {
    name: &'a str,
    floor: bool,
    run: Box<dyn FnMut() -> Duration + 'a>,
}

impl<'a> Contender<'a> {
    /// Measures `run`. Its result is dropped after the measurement.
    pub fn new<T>(name: &'a str, mut run: impl FnMut() -> T + 'a) -> Self {
        Self::timing(name, move || {
            let start = Instant::now();
            let answer = run();
            let took = start.elapsed();
            drop(answer);
            took
        })
    }

    /// Uses the time that `run` returns.
    pub fn timing(name: &'a str, run: impl FnMut() -> Duration + 'a) -> Self {
        Self { name, floor: false, run: Box::new(run) }
    }

    /// Marks the contender as a part of the floor. The other contenders are compared with the sum of these parts.
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

/// The results of one group.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Outcome {
    /// The name of the group.
    pub group: String,
    /// The input.
    pub parameter: String,
    /// The number of recipients in each run.
    pub recipients: u64,
    /// The number of runs of each contender.
    pub rounds: usize,
    /// The contenders in order.
    pub contenders: Vec<Timed>,
}

/// The result of one contender.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Timed {
    /// The name.
    pub name: String,
    /// Whether the contender is a part of the floor.
    pub floor: bool,
    /// The median time in nanoseconds.
    pub median: u64,
}

impl Outcome {
    /// Returns the sum of the floor's parts in nanoseconds.
    #[must_use]
    pub fn floor(&self) -> u64 {
        self.contenders.iter().filter(|contender| contender.floor).map(|contender| contender.median).sum()
    }
}

/// Runs the contenders in turns, passes their times to criterion, and prints medians and ratios.
///
/// Each run works on `recipients`. With `--test`, there is one round.
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
    // The contenders run only if criterion calls them, so that a filter on the command line works.
    let times = OnceCell::new();
    let mut take = move || take_turns(&mut contenders, rounds);
    let mut group = criterion.benchmark_group(name);
    group
        .sample_size(rounds.max(10))
        .sampling_mode(SamplingMode::Flat)
        .warm_up_time(Duration::from_nanos(1))
        .measurement_time(Duration::from_nanos(1))
        .throughput(Throughput::Elements(recipients as u64));
    for (index, contender) in names.iter().enumerate() {
        let mut next = 0;
        group.bench_function(BenchmarkId::new(*contender, parameter), |bencher| {
            bencher.iter_custom(|iterations| {
                let times: &Vec<Vec<Duration>> = times.get_or_init(&mut take);
                let of_contender = &times[index];
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
    let contenders = names.iter().zip(&floors).zip(times).map(|((name, floor), times)| Timed {
        name: (*name).to_owned(),
        floor: *floor,
        median: median(times),
    });
    let outcome = Outcome {
        group: name.to_owned(),
        parameter: parameter.to_owned(),
        recipients: recipients as u64,
        rounds,
        contenders: contenders.collect(),
    };
    print!("{}", table(&outcome));
    // One round is only a test, so its times are not stored.
    if rounds > 1 {
        store(&outcome);
    }
}

fn take_turns(contenders: &mut [Contender<'_>], rounds: usize) -> Vec<Vec<Duration>> {
    let mut times = vec![Vec::with_capacity(rounds); contenders.len()];
    // The first run of each contender does not count, since caches are cold.
    if rounds > 1 {
        contenders.iter_mut().for_each(|contender| {
            (contender.run)();
        });
    }
    for round in 0..rounds {
        for turn in 0..contenders.len() {
            let index = (round + turn) % contenders.len();
            times[index].push((contenders[index].run)());
        }
    }
    times
}

fn median(mut times: Vec<Duration>) -> u64 {
    times.sort_unstable();
    let middle = times.get(times.len() / 2).copied().unwrap_or_default();
    u64::try_from(middle.as_nanos()).unwrap_or(u64::MAX)
}

fn table(outcome: &Outcome) -> String {
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

/// Stores the outcome for the report, next to criterion's files.
fn store(outcome: &Outcome) {
    let folder = folder();
    let name = format!("{} {}.json", outcome.group, outcome.parameter).replace([' ', '/', ','], "-");
    let stored = std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::write(folder.join(name), serde_json::to_vec_pretty(outcome)?));
    if let Err(e) = stored {
        eprintln!("{}: {e}", folder.display());
    }
}

/// Returns the folder of stored outcomes.
#[must_use]
pub fn folder() -> PathBuf {
    std::env::var_os("ENROLL_BENCH_RESULTS")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/enroll-bench")), PathBuf::from)
}

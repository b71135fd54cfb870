//! The time of the first request of a process, with and without `warm_up`. The phone crate compiles its patterns at the
//! first use.
//!
//! Each figure needs a new process.
//!
//! `cargo bench --bench warm_up`, and with `--no-default-features` for the light variant.
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock and its environment")]

use enroll::contact::{Libphonenumber, PhoneNormalizer, PhoneNumber, Region};
use enroll::{Engine, EnrollmentCommand, EnrollmentPolicy, EnrollmentRequest};
use enroll_bench::people::Scene;
use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

fn main() {
    match std::env::var(REGIONS) {
        Ok(regions) => child(&regions),
        Err(_) => parent(),
    }
}

fn parent() {
    let rounds = if std::env::args().any(|arg| arg == "--test") { 1 } else { 21 };
    let variant = if cfg!(feature = "phone-regex") { "phone-regex" } else { "light" };
    println!("variant: {variant}; 4000 mixed recipients; medians of {rounds} processes, in ms");
    println!("{:<28}{:>10}{:>16}{:>16}", "", "warm_up", "first command", "second command");
    let regions = regions_of(&Scene::demo().mixed(4000));
    let after = format!("after warm_up of {}", regions.len());
    for (name, regions) in [("without warm_up", Vec::new()), (&after, regions)] {
        let times: Vec<Vec<f64>> = (0..rounds).map(|_| run(&regions)).collect();
        let median = |index: usize| {
            let mut column: Vec<f64> = times.iter().map(|times| times[index]).collect();
            column.sort_by(f64::total_cmp);
            column[column.len() / 2]
        };
        println!("{name:<28}{:>10.1}{:>16.1}{:>16.1}", median(0), median(1), median(2));
    }
}

fn run(regions: &[String]) -> Vec<f64> {
    let this = std::env::current_exe().expect("the executable has a path");
    let output = Command::new(this).env(REGIONS, regions.join(",")).output().expect("the executable runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8_lossy(&output.stdout);
    text.split_whitespace().map(|time| time.parse().expect("a child prints times")).collect()
}

fn child(regions: &str) {
    let scene = Scene::demo();
    let body = scene.mixed(4000);
    let snapshots = scene.given.snapshots().expect("the seed is valid");
    let policy = EnrollmentPolicy::default();
    let warmed = timed(|| Libphonenumber.warm_up(regions.split(',').filter_map(|code| Region::new(code).ok())));
    let command = || {
        let request = EnrollmentRequest::from_json(&body);
        let enrollment = scene.enrollment(&request, "bench");
        EnrollmentCommand::check(&enrollment, &snapshots[0].reference, &Engine::new(&policy))
            .expect("the request is valid");
    };
    let (first, second) = (timed(command), timed(command));
    println!("{} {} {}", ms(warmed), ms(first), ms(second));
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn regions_of(body: &[u8]) -> Vec<String> {
    let us = Region::new("US").ok();
    let request = EnrollmentRequest::from_json(body);
    let phones = request.to.iter().filter_map(|entry| entry.phone.as_deref());
    let numbers = phones.filter_map(|phone| PhoneNumber::parse(phone, us.as_ref()).ok());
    let regions: BTreeSet<String> =
        numbers.filter_map(|number| Libphonenumber.region(&number)).map(|region| region.to_string()).collect();
    regions.into_iter().collect()
}

/// The regions that a child process warms up.
const REGIONS: &str = "ENROLL_BENCH_REGIONS";

//! Instructions for 4000 recipients under valgrind, held against the figures below: `.ci/run` fails where one is passed
//! by more than 3 %. Whoever changes one on purpose writes the new one down.
//!
//! `cargo bench --bench instructions`, which needs valgrind and `cargo install gungraun-runner --version 0.20.0`.
#![allow(
    missing_docs,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::must_use_candidate,
    reason = "what the macros expand to"
)]

use enroll::{
    Engine, EnrollmentCommand, EnrollmentPlan, EnrollmentPolicy, EnrollmentReport, EnrollmentRequest,
    InMemoryRepository, ReferenceData, Repository, Snapshot, enroll_contacts, plan_enrollment,
};
use enroll_bench::people::Scene;
use gungraun::{Callgrind, EventKind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main};
use std::hint::black_box;

const PARSE: u64 = 24_310_000;
const CHECK: u64 = 81_580_000;
const PLAN: u64 = 15_660_000;
const WHOLE: u64 = 146_660_000;

fn at_most(instructions: u64) -> LibraryBenchmarkConfig {
    let limit = instructions + instructions * 3 / 100;
    let mut callgrind = Callgrind::default();
    callgrind.hard_limits([(EventKind::Ir, limit)]);
    let mut config = LibraryBenchmarkConfig::default();
    config.tool(callgrind);
    config
}

/// The request of `enroll demo`, in a process that has compiled the patterns which it needs.
struct Fixture {
    scene: Scene,
    body: Vec<u8>,
    reference: ReferenceData,
    repository: InMemoryRepository,
}

impl Fixture {
    fn new() -> Self {
        let scene = Scene::demo();
        let body = scene.mixed(4000);
        let repository = InMemoryRepository::new();
        scene
            .given
            .snapshots()
            .expect("the scene is whole")
            .into_iter()
            .for_each(|snapshot| repository.insert(snapshot));
        let reference = repository.snapshot(scene.organization_id()).expect("it stands").reference;
        let given = Self { scene, body, reference, repository };
        given.check(&EnrollmentRequest::from_json(&given.body));
        given
    }

    fn check(&self, request: &EnrollmentRequest<'_>) -> EnrollmentCommand {
        let policy = EnrollmentPolicy::default();
        EnrollmentCommand::check(&self.scene.enrollment(request, "bench"), &self.reference, &Engine::new(&policy))
            .expect("the request is whole")
    }
}

fn checked() -> (Fixture, EnrollmentRequest<'static>) {
    let given = Fixture::new();
    let request = EnrollmentRequest::from_json(&given.body).into_owned();
    (given, request)
}

fn loaded() -> (EnrollmentCommand, Snapshot) {
    let (mut given, request) = checked();
    let command = given.check(&request);
    let snapshot = given.repository.load(&command.snapshot_query()).expect("memory answers");
    (command, snapshot)
}

#[library_benchmark(config = at_most(PARSE))]
#[bench::mixed(Fixture::new())]
fn parse(given: Fixture) -> Fixture {
    black_box(EnrollmentRequest::from_json(&given.body));
    given
}

#[library_benchmark(config = at_most(CHECK))]
#[bench::mixed(checked())]
fn check(
    (given, request): (Fixture, EnrollmentRequest<'static>),
) -> (Fixture, EnrollmentRequest<'static>, EnrollmentCommand) {
    let command = given.check(&request);
    (given, request, command)
}

#[library_benchmark(config = at_most(PLAN))]
#[bench::mixed(loaded())]
fn plan((command, snapshot): (EnrollmentCommand, Snapshot)) -> (EnrollmentCommand, Snapshot, EnrollmentPlan) {
    let plan = plan_enrollment(&command, &snapshot).expect("it can be planned");
    (command, snapshot, plan)
}

#[library_benchmark(config = at_most(WHOLE))]
#[bench::mixed(Fixture::new())]
fn whole(mut given: Fixture) -> (Fixture, EnrollmentReport) {
    let policy = EnrollmentPolicy::default();
    let request = EnrollmentRequest::from_json(&given.body);
    let enrollment = given.scene.enrollment(&request, "bench");
    let report =
        enroll_contacts(&mut given.repository, &Engine::new(&policy), &enrollment).expect("they are enrolled").report;
    drop(request);
    (given, report)
}

library_benchmark_group!(name = instructions, benchmarks = [parse, check, plan, whole]);
main!(library_benchmark_groups = instructions);

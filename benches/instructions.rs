//! Counts the instructions for 4000 recipients with valgrind. `.ci/run` fails if a count exceeds its figure below by more
//! than 3 %. If a change is intended, write the new figure here.
//!
//! `cargo bench --bench instructions` needs valgrind and `cargo install gungraun-runner --version 0.20.0`.
#![allow(
    missing_docs,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::must_use_candidate,
    reason = "the macros expand to such code"
)]

use enroll::{
    Engine, EnrollmentCommand, EnrollmentPlan, EnrollmentPolicy, EnrollmentReport, EnrollmentRequest,
    InMemoryRepository, ReferenceData, Repository, Snapshot, enroll_contacts, plan_enrollment,
};
use enroll_bench::people::Scene;
use gungraun::{Callgrind, EventKind, LibraryBenchmarkConfig, library_benchmark, library_benchmark_group, main};
use std::hint::black_box;

const PARSE: u64 = 23_280_000;
const CHECK: u64 = 81_580_000;
const PLAN: u64 = 15_660_000;
const WHOLE: u64 = 144_550_000;

fn at_most(instructions: u64) -> LibraryBenchmarkConfig {
    let limit = instructions + instructions * 3 / 100;
    let mut callgrind = Callgrind::default();
    callgrind.hard_limits([(EventKind::Ir, limit)]);
    let mut config = LibraryBenchmarkConfig::default();
    config.tool(callgrind);
    config
}

/// The request of `enroll demo`, after a warm-up of the phone crate.
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
            .expect("the seed is valid")
            .into_iter()
            .for_each(|snapshot| repository.insert(snapshot));
        let reference = repository.snapshot(scene.organization_id()).expect("the organization exists").reference;
        let fixture = Self { scene, body, reference, repository };
        fixture.check(&EnrollmentRequest::from_json(&fixture.body));
        fixture
    }

    fn check(&self, request: &EnrollmentRequest<'_>) -> EnrollmentCommand {
        let policy = EnrollmentPolicy::default();
        EnrollmentCommand::check(&self.scene.enrollment(request, "bench"), &self.reference, &Engine::new(&policy))
            .expect("the request is valid")
    }
}

fn checked() -> (Fixture, EnrollmentRequest<'static>) {
    let fixture = Fixture::new();
    let request = EnrollmentRequest::from_json(&fixture.body).into_owned();
    (fixture, request)
}

fn loaded() -> (EnrollmentCommand, Snapshot) {
    let (mut fixture, request) = checked();
    let command = fixture.check(&request);
    let snapshot = fixture.repository.load(&command.snapshot_query()).expect("the load in memory succeeds");
    (command, snapshot)
}

#[library_benchmark(config = at_most(PARSE))]
#[bench::mixed(Fixture::new())]
fn parse(fixture: Fixture) -> Fixture {
    black_box(EnrollmentRequest::from_json(&fixture.body));
    fixture
}

#[library_benchmark(config = at_most(CHECK))]
#[bench::mixed(checked())]
fn check(
    (fixture, request): (Fixture, EnrollmentRequest<'static>),
) -> (Fixture, EnrollmentRequest<'static>, EnrollmentCommand) {
    let command = fixture.check(&request);
    (fixture, request, command)
}

#[library_benchmark(config = at_most(PLAN))]
#[bench::mixed(loaded())]
fn plan((command, snapshot): (EnrollmentCommand, Snapshot)) -> (EnrollmentCommand, Snapshot, EnrollmentPlan) {
    let plan = plan_enrollment(&command, &snapshot).expect("the plan succeeds");
    (command, snapshot, plan)
}

#[library_benchmark(config = at_most(WHOLE))]
#[bench::mixed(Fixture::new())]
fn whole(mut fixture: Fixture) -> (Fixture, EnrollmentReport) {
    let policy = EnrollmentPolicy::default();
    let request = EnrollmentRequest::from_json(&fixture.body);
    let enrollment = fixture.scene.enrollment(&request, "bench");
    let report = enroll_contacts(&mut fixture.repository, &Engine::new(&policy), &enrollment)
        .expect("the enrollment succeeds")
        .report;
    drop(request);
    (fixture, report)
}

library_benchmark_group!(name = instructions, benchmarks = [parse, check, plan, whole]);
main!(library_benchmark_groups = instructions);

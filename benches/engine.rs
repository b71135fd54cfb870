//! The time of an enrollment in memory, compared with the crates that it uses, called on the same bytes.
//!
//! `cargo bench --bench engine`
#![expect(clippy::disallowed_methods, reason = "a bench reads the clock")]

use criterion::{Criterion, criterion_group, criterion_main};
use enroll::{
    Engine, EnrollmentCommand, EnrollmentPolicy, EnrollmentRequest, InMemoryRepository, Repository, Snapshot,
    enroll_contacts, plan_enrollment,
};
use enroll_bench::floors;
use enroll_bench::people::{Scene, strangers};
use enroll_bench::rounds::{Contender, compare};
use std::time::{Duration, Instant};

/// A request, and the rows before it.
struct Case {
    name: &'static str,
    scene: Scene,
    body: fn(&Scene, usize) -> Vec<u8>,
    /// Whether the same recipients are enrolled before the measurement.
    known: bool,
}

fn cases() -> [Case; 3] {
    let new: fn(&Scene, usize) -> Vec<u8> = |_, recipients| strangers(0..recipients);
    [
        Case { name: "new", scene: Scene::empty(), body: new, known: false },
        Case { name: "known", scene: Scene::empty(), body: new, known: true },
        Case { name: "mixed", scene: Scene::demo(), body: Scene::mixed, known: false },
    ]
}

const SIZES: [usize; 4] = [1, 100, 1000, 4000];
const ROUNDS: usize = 41;

fn engine(c: &mut Criterion) {
    for Case { name, scene, body, known } in cases() {
        for recipients in SIZES {
            let body = body(&scene, recipients);
            case(c, &format!("{recipients} {name}"), &scene, &body, recipients, known);
        }
    }
}

fn case(c: &mut Criterion, parameter: &str, scene: &Scene, body: &[u8], recipients: usize, known: bool) {
    let policy = EnrollmentPolicy::default();
    let engine = Engine::new(&policy);
    let request = EnrollmentRequest::from_json(body);
    let snapshot = organization(scene, known.then_some(body), &engine);
    let enrollment = scene.enrollment(&request, "bench");
    let command = EnrollmentCommand::check(&enrollment, &snapshot.reference, &engine).expect("the request is valid");
    let loaded = repository(&snapshot).load(&command.snapshot_query()).expect("the load in memory succeeds");
    let times = (SIZES[3] / recipients / 4).max(1);

    let floors = || {
        vec![
            repeated("serde_json into typed structs", times, || floors::json(body)).as_floor(),
            repeated("the phone crate", times, || floors::phones(&request)).as_floor(),
            repeated("the email check", times, || floors::emails(&request)).as_floor(),
        ]
    };
    let mut contenders = floors();
    contenders.push(repeated("bytes to command", times, || {
        let request = EnrollmentRequest::from_json(body);
        EnrollmentCommand::check(&scene.enrollment(&request, "bench"), &snapshot.reference, &engine)
    }));
    contenders.push(repeated("of which the fingerprint", times, || request.fingerprint(scene.sequence_id)));
    contenders.push(Contender::timing("bytes to report", || {
        let mut total = Duration::ZERO;
        for _ in 0..times {
            let mut repository = repository(&snapshot);
            let start = Instant::now();
            let request = EnrollmentRequest::from_json(body);
            let report = enroll_contacts(&mut repository, &engine, &scene.enrollment(&request, "bench"));
            total += start.elapsed();
            assert!(report.is_ok());
        }
        total / u32::try_from(times).expect("the number is small")
    }));
    compare(c, ("engine", parameter), recipients, ROUNDS, contenders);

    compare(
        c,
        ("plan", parameter),
        recipients,
        ROUNDS,
        vec![repeated("command and snapshot to plan", times, || plan_enrollment(&command, &loaded))],
    );
}

/// Returns the organization. With a body, its recipients are enrolled.
fn organization(scene: &Scene, known: Option<&[u8]>, engine: &Engine<'_>) -> Snapshot {
    let snapshots = scene.given.snapshots().expect("the seed is valid");
    let mut repository = InMemoryRepository::new();
    snapshots.into_iter().for_each(|snapshot| repository.insert(snapshot));
    if let Some(body) = known {
        let request = EnrollmentRequest::from_json(body);
        enroll_contacts(&mut repository, engine, &scene.enrollment(&request, "before"))
            .expect("the enrollment succeeds");
    }
    repository.snapshot(scene.organization_id()).expect("the organization exists")
}

fn repository(snapshot: &Snapshot) -> InMemoryRepository {
    let repository = InMemoryRepository::new();
    repository.insert(snapshot.clone());
    repository
}

/// Repeats the work, since one run can be too short for the clock. Drops the results after the measurement.
fn repeated<'a, T: 'a>(name: &'a str, times: usize, mut work: impl FnMut() -> T + 'a) -> Contender<'a> {
    let mut answers = Vec::with_capacity(times);
    Contender::timing(name, move || {
        let start = Instant::now();
        answers.extend((0..times).map(|_| std::hint::black_box(work())));
        let took = start.elapsed();
        answers.clear();
        took / u32::try_from(times).unwrap_or(u32::MAX)
    })
}

criterion_group!(benches, engine);
criterion_main!(benches);

//! What an enrollment costs in memory, stage by stage, for 1 to 4000 new recipients.
//!
//! `cargo bench --bench engine`

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use enroll::lookup::{Version, Versioned};
use enroll::model::{Channel, ChannelKind, Sequence, Step};
use enroll::{
    ChannelId, Context, Engine, Enrollment, EnrollmentCommand, EnrollmentKey, EnrollmentPolicy, EnrollmentRequest,
    InMemoryRepository, OrganizationId, Repository, SequenceId, Snapshot, StepId, Timestamp, enroll_contacts,
    plan_enrollment,
};
use serde_json::json;
use std::hint::black_box;
use uuid::Uuid;

const ORGANIZATION: OrganizationId = OrganizationId::from_uuid(Uuid::from_u128(1));
const SEQUENCE: SequenceId = SequenceId::from_uuid(Uuid::from_u128(2));

fn organization() -> Snapshot {
    let mut context = Context::new(ORGANIZATION);
    let channel = Channel::new(ChannelId::from_uuid(Uuid::from_u128(3)), ChannelKind::Phone, "+12025550100");
    let mut step = Step::new(StepId::from_uuid(Uuid::from_u128(4)), 0, ChannelKind::Phone);
    step.channel_id = Some(channel.id);
    context.channels.insert(channel.id, Versioned::new(Version::FIRST, channel));
    context.sequences.insert(SEQUENCE, Versioned::new(Version::FIRST, Sequence::new(SEQUENCE, "Welcome", vec![step])));
    Snapshot::new(context)
}

fn repository() -> InMemoryRepository {
    let repository = InMemoryRepository::new();
    repository.insert(organization());
    repository
}

fn body(recipients: usize) -> Vec<u8> {
    let entry =
        |n| json!({"phone": format!("(202) 555-{n:04}"), "name": "Ann Lee", "email": format!("ann{n}@example.com")});
    json!({ "to": (0..recipients).map(entry).collect::<Vec<_>>() }).to_string().into_bytes()
}

fn engine(c: &mut Criterion) {
    let policy = EnrollmentPolicy::default();
    let engine = Engine::new(&policy);
    let Ok(at) = Timestamp::from_millis(0) else { return };
    for recipients in [1, 100, 1000, 4000] {
        let bytes = body(recipients);
        let request = EnrollmentRequest::from_json(&bytes);
        let key = EnrollmentKey::Idempotency("bench");
        let enrollment =
            Enrollment { organization_id: ORGANIZATION, sequence_id: SEQUENCE, key, at, request: &request };
        let snapshot = organization();
        let Ok(command) = EnrollmentCommand::check(&enrollment, &snapshot.context, &engine) else { return };
        let mut group = c.benchmark_group("engine");
        group.throughput(Throughput::Elements(recipients as u64)).sample_size(20);
        group.bench_function(BenchmarkId::new("bytes to command", recipients), |b| {
            b.iter(|| {
                let request = EnrollmentRequest::from_json(&bytes);
                let enrollment = Enrollment { request: &request, ..enrollment };
                black_box(EnrollmentCommand::check(&enrollment, &snapshot.context, &engine).is_ok())
            });
        });
        group.bench_function(BenchmarkId::new("command to plan", recipients), |b| {
            b.iter(|| black_box(plan_enrollment(&command, &snapshot).is_ok()));
        });
        group.bench_function(BenchmarkId::new("bytes to report", recipients), |b| {
            b.iter_batched(
                repository,
                |mut repository| {
                    let request = EnrollmentRequest::from_json(&bytes);
                    let enrollment = Enrollment { request: &request, ..enrollment };
                    assert!(enroll_contacts(&mut repository, &engine, &enrollment).is_ok());
                    repository
                },
                BatchSize::PerIteration,
            );
        });
        group.finish();
    }
    // The stages that a repository adds.
    let mut repository = repository();
    let bytes = body(4000);
    let request = EnrollmentRequest::from_json(&bytes);
    let key = EnrollmentKey::Idempotency("standing");
    let enrollment = Enrollment { organization_id: ORGANIZATION, sequence_id: SEQUENCE, key, at, request: &request };
    assert!(enroll_contacts(&mut repository, &engine, &enrollment).is_ok());
    let Ok(command) = EnrollmentCommand::check(&enrollment, &organization().context, &engine) else { return };
    let lookup = command.lookup();
    c.bench_function("engine/load 4000 known", |b| {
        b.iter(|| black_box(Repository::load(&mut repository, &lookup).is_ok()));
    });
}

criterion_group!(benches, engine);
criterion_main!(benches);

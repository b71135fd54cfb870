//! A preview: the same plan, without the commit; and the plan itself, for a host that wants to look inside.
//!
//! `cargo run --example preview`

mod shared;

use enroll::{
    Engine, Enrollment, EnrollmentCommand, EnrollmentKey, EnrollmentPolicy, EnrollmentRequest, InMemoryRepository,
    Repository, enroll_contacts, plan_enrollment, preview,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut repository = InMemoryRepository::new();
    repository.insert(shared::organization());
    let policy = EnrollmentPolicy::default();
    let engine = Engine::new(&policy);
    let request = EnrollmentRequest::from_json(br#"{"to": [{"phone": "(202) 555-0123"}]}"#);
    let enrollment = Enrollment {
        organization_id: shared::ORGANIZATION,
        sequence_id: shared::SEQUENCE,
        key: EnrollmentKey::Idempotency("look-first"),
        at: "2026-02-01T15:00:00Z".parse()?,
        request: &request,
    };

    let foreseen = preview(&mut repository, &engine, &enrollment)?.report;
    println!("would do: {:?}", foreseen.counts());

    // The steps that `preview` takes, one by one: what would be written is a value.
    let reference = repository.reference_data(&enrollment.reference_query())?;
    let command = EnrollmentCommand::check(&enrollment, &reference, &engine)?;
    let snapshot = repository.load(&command.snapshot_query())?;
    let plan = plan_enrollment(&command, &snapshot)?;
    println!("would write: {}", serde_json::to_string_pretty(plan.changes().rows())?);

    // Nothing has changed since, so the enrollment does exactly that.
    assert_eq!(enroll_contacts(&mut repository, &engine, &enrollment)?.report, foreseen);
    Ok(())
}

//! A preview of an enrollment, and the plan behind it. A preview writes nothing.
//!
//! `cargo run --example preview`

mod clock;
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
        key: EnrollmentKey::Idempotency("preview-first"),
        at: clock::now()?,
        list: None,
        request: &request,
    };

    let previewed = preview(&mut repository, &engine, &enrollment)?.report;
    println!("outcomes: {:?}", previewed.counts());

    // These are the steps of `preview`. The plan contains the rows to write as plain data.
    let reference = repository.reference_data(&enrollment.reference_query())?;
    let command = EnrollmentCommand::check(&enrollment, &reference, &engine)?;
    let snapshot = repository.load(&command.snapshot_query())?;
    let plan = plan_enrollment(&command, &snapshot)?;
    println!("rows to write: {}", serde_json::to_string_pretty(plan.changes().rows())?);

    // Nothing has changed since the preview, so the report of the enrollment is the same.
    assert_eq!(enroll_contacts(&mut repository, &engine, &enrollment)?.report, previewed);
    Ok(())
}

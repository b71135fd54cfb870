//! A blocking host: one request in, one report out, and the same request again.
//!
//! `cargo run --example sync_host`

mod shared;

use enroll::{
    Engine, EnrollError, Enrollment, EnrollmentKey, EnrollmentPolicy, EnrollmentRequest, InMemoryRepository,
    enroll_contacts,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut repository = InMemoryRepository::new();
    repository.insert(shared::organization());

    let policy = EnrollmentPolicy::default();
    let engine = Engine::new(&policy);
    let body = br#"{"to": [{"phone": "(202) 555-0123", "name": "Ann"}, {"phone": "12"}, {"phone": "+12025550123"}]}"#;
    let request = EnrollmentRequest::from_json(body);
    let enrollment = Enrollment {
        organization_id: shared::ORGANIZATION,
        sequence_id: shared::SEQUENCE,
        key: EnrollmentKey::Idempotency("spring-list"),
        at: "2026-02-01T15:00:00Z".parse()?,
        request: &request,
    };

    let report = enroll_contacts(&mut repository, &engine, &enrollment)?.report;
    for outcome in &report.outcomes {
        let reasons: Vec<String> = outcome.reasons.iter().map(ToString::to_string).collect();
        println!("{}: {} {}", outcome.index, outcome.disposition, reasons.join("; "));
    }

    // A retry answers with the same report, and writes nothing.
    let again = enroll_contacts(&mut repository, &engine, &enrollment)?;
    assert!(again.replayed);
    assert_eq!(again.report, report);

    // Another request under the same key is refused, and says why.
    let other = EnrollmentRequest::from_json(br#"{"to": [{"phone": "+12025550199"}]}"#);
    match enroll_contacts(&mut repository, &engine, &Enrollment { request: &other, ..enrollment }) {
        Err(EnrollError::Rejected(rejection)) => println!("{}: {rejection}", rejection.status()),
        other => println!("unexpected: {other:?}"),
    }
    Ok(())
}

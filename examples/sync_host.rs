//! A blocking host. It enrolls one request, sends the request again, and then sends another one with the same key.
//!
//! `cargo run --example sync_host`

mod clock;
mod shared;

use enroll::{
    Engine, EnrollError, Enrollment, EnrollmentKey, EnrollmentPolicy, EnrollmentRequest, InMemoryRepository,
    enroll_contacts,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut repository = InMemoryRepository::new();
    repository.insert(shared::organization());

    // The policy contains the rules that a host can change.
    let policy = EnrollmentPolicy::default();
    let engine = Engine::new(&policy);
    let body = br#"{"to": [{"phone": "(202) 555-0123", "name": "Ann"}, {"phone": "12"}, {"phone": "+12025550123"}]}"#;
    let request = EnrollmentRequest::from_json(body);
    let enrollment = Enrollment {
        organization_id: shared::ORGANIZATION,
        sequence_id: shared::SEQUENCE,
        key: EnrollmentKey::Idempotency("spring-list"),
        at: clock::now()?,
        list: None,
        request: &request,
    };

    // Each recipient has one outcome. Ignored recipients have reasons.
    let report = enroll_contacts(&mut repository, &engine, &enrollment)?.report;
    for outcome in &report.outcomes {
        let reasons: Vec<String> = outcome.reasons.iter().map(ToString::to_string).collect();
        println!("{}: {} {}", outcome.index, outcome.disposition, reasons.join("; "));
    }

    // A retry gets the same report, and nothing is written.
    let again = enroll_contacts(&mut repository, &engine, &enrollment)?;
    assert!(again.replayed);
    assert_eq!(again.report, report);

    // Another request with the same key is rejected.
    let other = EnrollmentRequest::from_json(br#"{"to": [{"phone": "+12025550199"}]}"#);
    match enroll_contacts(&mut repository, &engine, &Enrollment { request: &other, ..enrollment }) {
        Err(EnrollError::Rejected(rejection)) => println!("{}: {rejection}", rejection.status()),
        other => println!("unexpected: {other:?}"),
    }
    Ok(())
}

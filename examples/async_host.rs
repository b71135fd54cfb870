//! An async host. The operation is the same, and it works with any runtime.
//!
//! `cargo run --example async_host`

mod clock;
mod shared;

use enroll::{
    Engine, Enrollment, EnrollmentKey, EnrollmentPolicy, EnrollmentRequest, InMemoryRepository, Recipient,
    enroll_contacts_async,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Any executor can run the future, since it is `Send`.
    pollster::block_on(enroll())
}

async fn enroll() -> Result<(), Box<dyn std::error::Error>> {
    let mut repository = InMemoryRepository::new();
    repository.insert(shared::organization());

    // The request is built in code. `EnrollmentRequest::from_json` reads one from a body.
    let mut ann = Recipient::new("+1 202 555 0123");
    ann.email = Some("ann@example.com".into());
    let request = EnrollmentRequest::new([ann, Recipient::new("+1 202 555 0187")]);

    // The policy contains the rules that a host can change.
    let policy = EnrollmentPolicy::default();
    let enrollment = Enrollment {
        organization_id: shared::ORGANIZATION,
        sequence_id: shared::SEQUENCE,
        // A second request with the same key gets the report of the first one.
        key: EnrollmentKey::Idempotency("from-code"),
        at: clock::now()?,
        list: None,
        request: &request,
    };
    let report = enroll_contacts_async(&mut repository, &Engine::new(&policy), &enrollment).await?.report;
    println!("{:?}", report.counts());
    Ok(())
}

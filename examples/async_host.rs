//! An async host: the same operation, for any runtime.
//!
//! `cargo run --example async_host`

mod shared;

use enroll::{
    Engine, Enrollment, EnrollmentKey, EnrollmentPolicy, EnrollmentRequest, InMemoryRepository, Recipient,
    enroll_contacts_async,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // Any executor does; the future is `Send`.
    pollster::block_on(serve())
}

async fn serve() -> Result<(), Box<dyn std::error::Error>> {
    let mut repository = InMemoryRepository::new();
    repository.insert(shared::organization());

    // A request that is built in code rather than read from a body.
    let mut ann = Recipient::new("+1 202 555 0123");
    ann.email = Some("ann@example.com".into());
    let request = EnrollmentRequest::new([ann, Recipient::new("+1 202 555 0187")]);

    let policy = EnrollmentPolicy::default();
    let enrollment = Enrollment {
        organization_id: shared::ORGANIZATION,
        sequence_id: shared::SEQUENCE,
        key: EnrollmentKey::Idempotency("from-code"),
        at: "2026-02-01T15:00:00Z".parse()?,
        request: &request,
    };
    let report = enroll_contacts_async(&mut repository, &Engine::new(&policy), &enrollment).await?.report;
    println!("{:?}", report.counts());
    Ok(())
}

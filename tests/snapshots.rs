//! Snapshots as JSON.
#![cfg(feature = "seed")]

use enroll::seed::Demo;
use enroll::{Engine, EnrollError, Enrollment, EnrollmentKey, InMemoryRepository, Snapshot, enroll_contacts};

#[test]
fn a_snapshot_is_read_back_as_it_was_written() -> Result<(), EnrollError> {
    let demo = Demo::new().unwrap();
    let mut repository = InMemoryRepository::new();
    demo.given.snapshots().unwrap().into_iter().for_each(|snapshot| repository.insert(snapshot));
    let request = demo.request;
    let enrollment = Enrollment {
        organization_id: demo.given.organization_id,
        sequence_id: demo.sequence_id,
        key: EnrollmentKey::Idempotency("snapshot"),
        at: demo.at,
        list: None,
        request: &request,
    };
    enroll_contacts(&mut repository, &Engine::new(&demo.given.policy), &enrollment)?;

    let snapshot = repository.snapshot(demo.given.organization_id).unwrap();
    assert!(snapshot.contacts.len() > 1000 && !snapshot.reference.enrollments.is_empty() && !snapshot.tags.is_empty());
    let json = serde_json::to_string(&snapshot).unwrap();
    assert_eq!(serde_json::from_str::<Snapshot>(&json).unwrap(), snapshot);
    Ok(())
}

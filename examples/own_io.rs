//! A host with its own I/O. It runs each step of the operation itself.
//!
//! `cargo run --example own_io`

mod clock;
mod shared;

use enroll::operation::{self, Step};
use enroll::{
    Engine, EnrollError, Enrolled, Enrollment, EnrollmentKey, EnrollmentPolicy, EnrollmentRequest, InMemoryRepository,
    Repository,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut storage = InMemoryRepository::new();
    storage.insert(shared::organization());

    let request = EnrollmentRequest::from_json(br#"{"to": [{"phone": "(202) 555-0123"}]}"#);
    let enrollment = Enrollment {
        organization_id: shared::ORGANIZATION,
        sequence_id: shared::SEQUENCE,
        key: EnrollmentKey::Idempotency("by-hand"),
        at: clock::now()?,
        list: None,
        request: &request,
    };
    let policy = EnrollmentPolicy::default();
    let enrolled = enroll_by_hand(&mut storage, &Engine::new(&policy), &enrollment)?;
    println!("{:?}", enrolled.report.counts());
    Ok(())
}

/// Between two steps, a host can log, await, or send the query to another process.
fn enroll_by_hand(
    storage: &mut InMemoryRepository,
    engine: &Engine<'_>,
    enrollment: &Enrollment<'_>,
) -> Result<Enrolled, EnrollError> {
    let mut step = operation::enroll(engine, enrollment);
    loop {
        step = match step {
            Step::ReferenceData(read) => {
                println!("read sequence `{}`", read.query().sequence_id);
                let reference = storage.reference_data(read.query())?;
                read.resume(&reference)?
            }
            Step::Snapshot(load) => {
                println!("load the contacts with the phones {:?}", load.query().keys.phones());
                let snapshot = storage.load(load.query())?;
                load.resume(snapshot)?
            }
            Step::Commit(commit) => {
                println!("write {} new contacts", commit.changes().rows().contacts_created.len());
                let committed = storage.commit(commit.changes());
                commit.resume(committed)?
            }
            Step::Done(enrolled) => return Ok(enrolled),
        };
    }
}

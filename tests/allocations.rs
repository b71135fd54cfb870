//! Counts the allocations of one enrollment. The counts are the same on every machine.
//!
//! There is one test, since the counters belong to the process.

use enroll::contact::{Libphonenumber, PhoneNormalizer, Region};
use enroll::seed::Demo;
use enroll::{
    Engine, Enrollment, EnrollmentKey, EnrollmentPolicy, EnrollmentRequest, InMemoryRepository, enroll_contacts,
};
use std::hint::black_box;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

const RECIPIENTS: usize = 4000;

#[test]
fn an_enrollment_allocates_within_its_bounds() {
    let demo = Demo::new().unwrap();
    let plain = Demo::strangers(0..RECIPIENTS);
    let Measured { allocations, peak, body } = measured(&demo, &plain);
    println!("without address and properties: {allocations:.1} allocations a recipient, {peak} bytes at the peak");
    assert!(allocations <= 20.0, "{allocations} allocations a recipient");
    assert!(peak <= 2 * body + 3000 * RECIPIENTS, "{peak} bytes at the peak, of a body of {body}");

    let Measured { allocations, peak, body } = measured(&demo, &demo.request);
    println!("with address and properties:    {allocations:.1} allocations a recipient, {peak} bytes at the peak");
    assert!(allocations <= 20.0, "{allocations} allocations a recipient");
    assert!(peak <= 2 * body + 3000 * RECIPIENTS, "{peak} bytes at the peak, of a body of {body}");
}

struct Measured {
    /// The number per recipient, without the phone crate.
    allocations: f64,
    /// The greatest number of allocated bytes during the work.
    peak: usize,
    body: usize,
}

/// Measures an enrollment from the bytes of the body to the report, after a warm-up of the phone crate.
#[expect(clippy::cast_precision_loss, reason = "a few ten thousand")]
fn measured(demo: &Demo, request: &EnrollmentRequest<'_>) -> Measured {
    let body = serde_json::to_vec(request).unwrap();
    let us = Region::new("US").unwrap();
    let phones = || {
        for phone in request.to.iter().filter_map(|entry| entry.phone.as_deref()) {
            let _ = black_box(Libphonenumber.normalize(phone, Some(&us)));
        }
    };
    phones();
    let (phone_blocks, ..) = counted(phones);

    let mut repository = InMemoryRepository::new();
    demo.given.snapshots().unwrap().into_iter().for_each(|snapshot| repository.insert(snapshot));
    let policy = EnrollmentPolicy::default();
    let (blocks, peak) = counted(|| {
        let request = EnrollmentRequest::from_json(&body);
        let enrollment = Enrollment {
            organization_id: demo.given.organization_id,
            sequence_id: demo.sequence_id,
            key: EnrollmentKey::Idempotency("memory"),
            at: demo.at,
            list: None,
            request: &request,
        };
        let report = enroll_contacts(&mut repository, &Engine::new(&policy), &enrollment).unwrap().report;
        assert_eq!(report.outcomes.len(), RECIPIENTS);
    });
    Measured { allocations: (blocks - phone_blocks) as f64 / RECIPIENTS as f64, peak, body: body.len() }
}

/// Returns the number of allocated blocks, and the greatest number of bytes allocated at a time.
fn counted(work: impl FnOnce()) -> (u64, usize) {
    let profiler = dhat::Profiler::builder().testing().build();
    work();
    let stats = dhat::HeapStats::get();
    drop(profiler);
    (stats.total_blocks, stats.max_bytes)
}

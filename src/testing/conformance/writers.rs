//! Concurrent writers, and random enrollments compared with `ChangeSet::apply`.
#![allow(clippy::wildcard_imports, reason = "the modules of a file share its imports")]

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::setup::{
    BOB, BOBS_PHONE, FAY, FAYS_PHONE, ORGANIZATION, Setup, TestRequest, assert_same, contact, enrollment, given, load,
    must_commit, opt_in, plan, snapshot_query, sorted,
};
use super::{BlockOn, Fixture};
use crate::command::{Engine, Enrollment, EnrollmentCommand, EnrollmentKey};
use crate::ids::ContactId;
use crate::report::EnrollmentReport;
use crate::repository::AsyncRepository;
use crate::request::EnrollmentRequest;
use crate::seed::{HostRow, Seed, WriteKind};
use crate::snapshot::ContactAggregate;
use crate::testing::{Request, Scenario, scenario};

/// Threads with one handle each. Every writer succeeds with the default retries.
#[doc(hidden)]
pub mod concurrent_writers {
    use super::*;

    const WRITERS: u64 = 16;
    const PEOPLE: u64 = 90;

    pub async fn overlapping_requests_succeed_without_duplicate_contacts<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        // Each writer has most of the people in another order, every second one in reverse.
        let batch = |writer: u64| {
            let mut people: Vec<u64> = (0..70).map(|n| (writer * 11 + n) % PEOPLE).collect();
            if writer % 2 == 1 {
                people.reverse();
            }
            people
        };
        let reports: Vec<EnrollmentReport> = thread::scope(|scope| {
            let setup = &setup;
            let writers: Vec<_> = (0..WRITERS)
                .map(|writer| {
                    scope.spawn(move || {
                        let request = TestRequest::new(100 + writer, batch(writer).into_iter().map(person).collect());
                        B::block_on(async { request.enroll(&mut setup.open().await).await })
                    })
                })
                .collect();
            writers.into_iter().map(joined).collect()
        });
        let mut contacts: HashMap<u64, ContactId> = HashMap::new();
        for (writer, report) in (0..).zip(&reports) {
            for (person, outcome) in batch(writer).into_iter().zip(&report.outcomes) {
                assert!(outcome.disposition.is_enrolled(), "{outcome:?}");
                if let Some(contact_id) = outcome.contact_id {
                    assert_eq!(*contacts.entry(person).or_insert(contact_id), contact_id, "person {person}");
                }
            }
        }
        let created: usize = reports.iter().map(|report| report.counts().contacts_created).sum();
        assert_eq!(created as u64, PEOPLE);
        let dump = setup.fixture.dump(ORGANIZATION).await;
        assert_eq!(dump.check_unique(), Ok(()));
        for request in 100..100 + WRITERS {
            assert!(setup.stored(enrollment(request)).await.is_some());
        }
    }

    /// All callers get the same report.
    pub async fn the_same_enrollment_by_many_callers_is_committed_once<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let request = TestRequest::new(1, (0..20).map(person).collect());
        let reports: Vec<EnrollmentReport> = thread::scope(|scope| {
            let (setup, request) = (&setup, &request);
            let callers: Vec<_> = (0..8)
                .map(|_| scope.spawn(move || B::block_on(async { request.enroll(&mut setup.open().await).await })))
                .collect();
            callers.into_iter().map(joined).collect()
        });
        assert!(reports.windows(2).all(|pair| pair[0] == pair[1]));
        let dump = setup.dump().await;
        let runs = dump["runs"].as_array().map_or(0, Vec::len);
        let before = sorted(&given())["runs"].as_array().map_or(0, Vec::len);
        assert_eq!(runs - before, 20);
    }

    /// All requests of a list run at the same time.
    pub async fn requests_of_a_list_share_one_tag<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let request = |n: u64| TestRequest::new(n, (3 * n..3 * n + 3).map(person).collect()).of_list();
        let reports: Vec<EnrollmentReport> = thread::scope(|scope| {
            let setup = &setup;
            let requests: Vec<_> = (1..=8)
                .map(|n| scope.spawn(move || B::block_on(async { request(n).enroll(&mut setup.open().await).await })))
                .collect();
            requests.into_iter().map(joined).collect()
        });
        let tag = request(1).upload_tag();
        for report in &reports {
            assert_eq!(report.counts().added, 3);
            assert_eq!(report.upload_tag.as_ref().map(|tag| (tag.id, &tag.name)), Some((tag.id, &tag.name)));
        }
        assert_eq!(setup.tagged(tag.id).await.len(), 24);
    }

    /// Clause 2: a loaded contact has the rows of its version, or of a later one.
    pub async fn a_load_during_writes_is_consistent<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        let done = AtomicBool::new(false);
        let (seen, written) = thread::scope(|scope| {
            let (setup, done) = (&setup, &done);
            let writer = scope.spawn(move || {
                let _done = Done(done);
                B::block_on(async {
                    let (mut handle, mut written) = (setup.open().await, Vec::new());
                    for n in 0..40 {
                        // The name is different in each version.
                        let mut bob = contact(BOB);
                        bob.profile.name = Some(format!("Bob {n}").into());
                        setup.write(WriteKind::Update, HostRow::Contact(bob)).await;
                        TestRequest::phones(500 + n, &[FAYS_PHONE]).enroll(&mut handle).await;
                        load_both(&mut handle, &mut written).await;
                    }
                    written
                })
            });
            let reader = scope.spawn(move || {
                B::block_on(async {
                    let (mut handle, mut seen) = (setup.open().await, Vec::new());
                    while !done.load(Ordering::Acquire) {
                        load_both(&mut handle, &mut seen).await;
                    }
                    seen
                })
            });
            (joined(reader), joined(writer))
        });
        for seen in seen {
            let same_rows =
                |written: &&ContactAggregate| ContactAggregate { version: seen.version, ..(*written).clone() } == seen;
            if let Some(written) = written.iter().find(same_rows) {
                assert!(
                    seen.version <= written.version,
                    "the rows of version {:?} are loaded with version {:?}",
                    written.version,
                    seen.version
                );
            }
        }
    }

    async fn load_both<R: AsyncRepository>(handle: &mut R, seen: &mut Vec<ContactAggregate>) {
        let people = load(handle, &snapshot_query(&[], &[BOBS_PHONE, FAYS_PHONE], &[])).await.contacts;
        seen.extend([BOB, FAY].map(|contact_id| ContactAggregate::clone(&people[&contact_id])));
        seen.dedup();
    }

    /// Later enrollments see the opt-out.
    pub async fn an_opt_out_during_enrollments_is_kept<F: Fixture, B: BlockOn>() {
        let setup = Setup::<F, B>::new().await;
        thread::scope(|scope| {
            let setup = &setup;
            let writers: Vec<_> = (0..4)
                .map(|writer| {
                    scope.spawn(move || {
                        B::block_on(async {
                            let mut handle = setup.open().await;
                            for n in 0..4 {
                                TestRequest::phones(100 + 10 * writer + n, &[BOBS_PHONE, FAYS_PHONE])
                                    .enroll(&mut handle)
                                    .await;
                            }
                        });
                    })
                })
                .collect();
            joined(scope.spawn(move || B::block_on(setup.write(WriteKind::Insert, opt_in(BOB, false)))));
            writers.into_iter().for_each(joined);
        });
        let report = TestRequest::phones(1, &[BOBS_PHONE]).enroll(&mut setup.open().await).await;
        assert_eq!(report.counts().ignored, 1);
        assert_eq!(setup.fixture.dump(ORGANIZATION).await.check_unique(), Ok(()));
    }

    fn person(n: u64) -> Value {
        json!({ "phone": format!("+1202555{n:04}"), "email": format!("p{n}@example.com"), "external_id": format!("p-{n}") })
    }

    /// Returns the result of a thread, or continues its panic.
    fn joined<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Stops the other thread when it is dropped, also in a panic.
    struct Done<'d>(&'d AtomicBool);

    impl Drop for Done<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Release);
        }
    }
}

/// Random enrollments, on the repository and by [`ChangeSet::apply`](crate::changes::ChangeSet::apply) on a plain snapshot.
#[doc(hidden)]
pub mod model {
    use super::*;

    const SCENARIOS: usize = 24;

    pub async fn random_enrollments_write_what_apply_writes<F: Fixture, B: BlockOn>() {
        // The scenarios are the same each time, so that a failure can be repeated.
        let mut runner = TestRunner::deterministic();
        let strategy = scenario();
        for n in 0..SCENARIOS {
            if let Ok(tree) = strategy.new_tree(&mut runner) {
                agree::<F, B>(n, &tree.current()).await;
            }
        }
    }

    #[expect(clippy::expect_used, reason = "the case fails")]
    async fn agree<F: Fixture, B: BlockOn>(n: usize, scenario: &Scenario) {
        let setup = Setup::<F, B>::from_seed(&scenario.given).await;
        let mut handle = setup.open().await;
        let organization_id = scenario.given.organization_id;
        let mut snapshots = scenario.given.snapshots().expect("a generated seed is valid");
        let index = snapshots.iter().position(|snapshot| snapshot.reference.organization_id == organization_id);
        let index = index.expect("the seed has its organization");
        for (m, request) in scenario.requests.iter().enumerate() {
            let command = command(&mut handle, scenario, request).await;
            let plan_here = plan(&command, &load(&mut handle, &command.snapshot_query()).await);
            let expected_plan = plan(&command, &snapshots[index]);
            assert_eq!(plan_here.report(), expected_plan.report(), "request {m} of scenario {n}: {scenario}");
            must_commit(&mut handle, plan_here.changes()).await;
            expected_plan.changes().apply(&mut snapshots[index]).expect("a plan applies to its snapshot");
            let expected = sorted(&Seed::dump(&snapshots, organization_id));
            let actual = sorted(&setup.fixture.dump(organization_id).await);
            assert_same(&expected, &actual, &format!("request {m} of scenario {n}: {scenario}"));
        }
    }

    #[expect(clippy::expect_used, reason = "the case fails")]
    async fn command<R: AsyncRepository>(handle: &mut R, scenario: &Scenario, request: &Request) -> EnrollmentCommand {
        let body = request.body.to_string();
        let enrollment = Enrollment {
            organization_id: scenario.given.organization_id,
            sequence_id: request.sequence_id,
            key: EnrollmentKey::Id(request.enrollment_id),
            at: request.at,
            list: request.list,
            request: &EnrollmentRequest::from_json(body.as_bytes()),
        };
        let reference = handle.reference_data(&enrollment.reference_query()).await.expect("the reference data loads");
        EnrollmentCommand::check(&enrollment, &reference, &Engine::new(&scenario.given.policy))
            .expect("a generated request is accepted")
    }
}

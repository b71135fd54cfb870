//! Many at once, and a long way: threads that contend, and random enrollments held against the engine's own account.
#![expect(missing_docs, clippy::missing_panics_doc, reason = "a case is its name, and panics where it fails")]
#![allow(clippy::wildcard_imports, reason = "a clause takes what its file has")]

use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::scene::{
    Asked, BOB, BOBS_PHONE, FAY, FAYS_PHONE, ORGANIZATION, Scene, commit_freely, contact, enrollment, given, load,
    opt_in, plan, same, snapshot_query, sorted,
};
use super::{BlockOn, Fixture};
use crate::command::{Engine, Enrollment, EnrollmentCommand, EnrollmentKey};
use crate::contact::Contact;
use crate::ids::ContactId;
use crate::report::EnrollmentReport;
use crate::repository::AsyncRepository;
use crate::request::EnrollmentRequest;
use crate::seed::{HostRow, Seed, WriteKind};
use crate::snapshot::ContactAggregate;
use crate::testing::{Request, World, world};

/// Real threads, each with a handle of its own. Every writer finally succeeds, with the default retry.
pub mod concurrent_writers {
    use super::*;

    const WRITERS: u64 = 16;
    const PEOPLE: u64 = 90;

    pub async fn overlapping_batches_all_succeed_and_nobody_is_made_twice<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        // Each takes most of the people, in an order of its own, half of them backwards.
        let batch = |writer: u64| {
            let mut people: Vec<u64> = (0..70).map(|n| (writer * 11 + n) % PEOPLE).collect();
            if writer % 2 == 1 {
                people.reverse();
            }
            people
        };
        let reports: Vec<EnrollmentReport> = thread::scope(|scope| {
            let scene = &scene;
            let writers: Vec<_> = (0..WRITERS)
                .map(|writer| {
                    scope.spawn(move || {
                        let asked = Asked::new(100 + writer, batch(writer).into_iter().map(person).collect());
                        B::block_on(async { asked.enroll(&mut scene.open().await).await })
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
        let dump = scene.fixture.dump(ORGANIZATION).await;
        assert_eq!(dump.check_unique(), Ok(()));
        for asked in 100..100 + WRITERS {
            assert!(scene.stored(enrollment(asked)).await.is_some());
        }
    }

    /// The same enrollment from everywhere at once happens once, and all are told the same.
    pub async fn one_enrollment_of_many_callers_happens_once<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let asked = Asked::new(1, (0..20).map(person).collect());
        let reports: Vec<EnrollmentReport> = thread::scope(|scope| {
            let (scene, asked) = (&scene, &asked);
            let callers: Vec<_> = (0..8)
                .map(|_| scope.spawn(move || B::block_on(async { asked.enroll(&mut scene.open().await).await })))
                .collect();
            callers.into_iter().map(joined).collect()
        });
        assert!(reports.windows(2).all(|pair| pair[0] == pair[1]));
        let dump = scene.dump().await;
        let runs = dump["runs"].as_array().map_or(0, Vec::len);
        let before = sorted(&given())["runs"].as_array().map_or(0, Vec::len);
        assert_eq!(runs - before, 20);
    }

    /// Clause 2: what is read beside a writer is what stood at that version, or later where the version was read first.
    pub async fn a_load_beside_writers_is_whole<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        let done = AtomicBool::new(false);
        let (seen, stood) = thread::scope(|scope| {
            let (scene, done) = (&scene, &done);
            let writer = scope.spawn(move || {
                let _done = Done(done);
                B::block_on(async {
                    let (mut handle, mut stood) = (scene.open().await, Vec::new());
                    for n in 0..40 {
                        // No two versions look alike.
                        let bob = Contact { name: Some(format!("Bob {n}").into()), ..contact(BOB) };
                        scene.write(WriteKind::Update, HostRow::Contact(bob)).await;
                        Asked::phones(500 + n, &[FAYS_PHONE]).enroll(&mut handle).await;
                        look(&mut handle, &mut stood).await;
                    }
                    stood
                })
            });
            let reader = scope.spawn(move || {
                B::block_on(async {
                    let (mut handle, mut seen) = (scene.open().await, Vec::new());
                    while !done.load(Ordering::Acquire) {
                        look(&mut handle, &mut seen).await;
                    }
                    seen
                })
            });
            (joined(reader), joined(writer))
        });
        for person in seen {
            let alike =
                |stood: &&ContactAggregate| ContactAggregate { version: person.version, ..(*stood).clone() } == person;
            if let Some(stood) = stood.iter().find(alike) {
                assert!(
                    person.version <= stood.version,
                    "what stood at {:?} is told at {:?}",
                    stood.version,
                    person.version
                );
            }
        }
    }

    async fn look<R: AsyncRepository>(handle: &mut R, seen: &mut Vec<ContactAggregate>) {
        let people = load(handle, &snapshot_query(&[], &[BOBS_PHONE, FAYS_PHONE], &[])).await.contacts;
        seen.extend([BOB, FAY].map(|contact_id| ContactAggregate::clone(&people[&contact_id])));
        seen.dedup();
    }

    /// An opt-out beside enrollments stands, and whoever comes after it sees it.
    pub async fn an_opt_out_beside_enrollments_is_not_lost<F: Fixture, B: BlockOn>() {
        let scene = Scene::<F, B>::new().await;
        thread::scope(|scope| {
            let scene = &scene;
            let writers: Vec<_> = (0..4)
                .map(|writer| {
                    scope.spawn(move || {
                        B::block_on(async {
                            let mut handle = scene.open().await;
                            for n in 0..4 {
                                Asked::phones(100 + 10 * writer + n, &[BOBS_PHONE, FAYS_PHONE])
                                    .enroll(&mut handle)
                                    .await;
                            }
                        });
                    })
                })
                .collect();
            joined(scope.spawn(move || B::block_on(scene.write(WriteKind::Insert, opt_in(BOB, false)))));
            writers.into_iter().for_each(joined);
        });
        let report = Asked::phones(1, &[BOBS_PHONE]).enroll(&mut scene.open().await).await;
        assert_eq!(report.counts().ignored, 1);
        assert_eq!(scene.fixture.dump(ORGANIZATION).await.check_unique(), Ok(()));
    }

    fn person(n: u64) -> Value {
        json!({ "phone": format!("+1202555{n:04}"), "email": format!("p{n}@example.com"), "external_id": format!("p-{n}") })
    }

    /// What a thread gave; its panic is this one's.
    fn joined<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Tells the others to stop, also where its thread panics.
    struct Done<'d>(&'d AtomicBool);

    impl Drop for Done<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Release);
        }
    }
}

/// Random enrollments, on the repository and by [`ChangeSet::apply`](crate::ChangeSet::apply) on a plain snapshot.
pub mod model {
    use super::*;

    const WORLDS: usize = 24;

    pub async fn random_enrollments_come_to_what_apply_says<F: Fixture, B: BlockOn>() {
        // The same worlds each time: what fails here fails again.
        let mut runner = TestRunner::deterministic();
        let strategy = world();
        for n in 0..WORLDS {
            if let Ok(tree) = strategy.new_tree(&mut runner) {
                agree::<F, B>(n, &tree.current()).await;
            }
        }
    }

    #[expect(clippy::expect_used, reason = "the case fails")]
    async fn agree<F: Fixture, B: BlockOn>(n: usize, world: &World) {
        let scene = Scene::<F, B>::of(&world.given).await;
        let mut handle = scene.open().await;
        let organization_id = world.given.organization_id;
        let mut snapshots = world.given.snapshots().expect("a generated world can be read");
        let own = snapshots.iter().position(|snapshot| snapshot.reference.organization_id == organization_id);
        let own = own.expect("a world has its organization");
        for (m, request) in world.requests.iter().enumerate() {
            let command = command(&mut handle, world, request).await;
            let found = plan(&command, &load(&mut handle, &command.snapshot_query()).await);
            let told = plan(&command, &snapshots[own]);
            assert_eq!(found.report(), told.report(), "request {m} of world {n}: {world}");
            commit_freely(&mut handle, found.changes()).await;
            told.changes().apply(&mut snapshots[own]).expect("what was planned on a snapshot applies to it");
            let expected = sorted(&Seed::dump(&snapshots, organization_id));
            let stands = sorted(&scene.fixture.dump(organization_id).await);
            same(&expected, &stands, &format!("request {m} of world {n}: {world}"));
        }
    }

    #[expect(clippy::expect_used, reason = "the case fails")]
    async fn command<R: AsyncRepository>(handle: &mut R, world: &World, request: &Request) -> EnrollmentCommand {
        let body = request.body.to_string();
        let enrollment = Enrollment {
            organization_id: world.given.organization_id,
            sequence_id: request.sequence_id,
            key: EnrollmentKey::Id(request.enrollment_id),
            at: request.at,
            request: &EnrollmentRequest::from_json(body.as_bytes()),
        };
        let reference = handle.reference_data(&enrollment.reference_query()).await.expect("the reference is told");
        EnrollmentCommand::check(&enrollment, &reference, &Engine::new(&world.given.policy))
            .expect("generated requests are accepted")
    }
}

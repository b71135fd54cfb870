//! The rivals do the same work: the same outcomes and the same numbers of rows as the engine.

use enroll::{Engine, EnrollmentPolicy, EnrollmentRequest, InMemoryRepository, enroll_contacts};
use enroll_bench::people::{self, Scene};
use enroll_rivals::Error;
use enroll_rivals::arena::{Answer, Contender, Counts, PostgresArena, SqliteArena, warm_up};

#[test]
fn new_recipients_have_the_same_outcomes_on_sqlite() -> Result<(), Error> {
    on_sqlite(&Scene::empty(), &people::strangers(0..4000))
}

#[test]
fn mixed_recipients_have_the_same_outcomes_on_sqlite() -> Result<(), Error> {
    let scene = Scene::demo();
    on_sqlite(&scene, &scene.mixed(4000))
}

#[test]
fn new_recipients_have_the_same_outcomes_on_postgres() -> Result<(), Error> {
    on_postgres(&Scene::empty(), &people::strangers(0..4000))
}

#[test]
fn mixed_recipients_have_the_same_outcomes_on_postgres() -> Result<(), Error> {
    let scene = Scene::demo();
    on_postgres(&scene, &scene.mixed(4000))
}

fn on_sqlite(scene: &Scene, body: &[u8]) -> Result<(), Error> {
    let mut in_memory = InMemory::new(scene)?;
    let arena = SqliteArena::new(scene, 0)?;
    let mut stores = Contender::ALL.map(|contender| arena.store(contender));
    in_memory.enroll("warm-up", &warm_up())?;
    // The second request sends the same recipients, so all of them are known.
    for key in ["first", "second"] {
        let expected = in_memory.enroll(key, body)?;
        for (contender, store) in Contender::ALL.into_iter().zip(&mut stores) {
            let store = store.as_mut().map_err(|e| e.to_string())?;
            same(contender, &store.enroll(key, body)?, &expected);
            assert_eq!(store.counts()?, in_memory.counts(), "{contender:?}");
        }
    }
    Ok(())
}

fn on_postgres(scene: &Scene, body: &[u8]) -> Result<(), Error> {
    let mut in_memory = InMemory::new(scene)?;
    let arena = PostgresArena::new(scene, 0)?;
    let mut stores = Contender::ALL.map(|contender| arena.store(contender));
    in_memory.enroll("warm-up", &warm_up())?;
    for key in ["first", "second"] {
        let expected = in_memory.enroll(key, body)?;
        for (contender, store) in Contender::ALL.into_iter().zip(&mut stores) {
            let store = store.as_mut().map_err(|e| e.to_string())?;
            same(contender, &store.enroll(key, body)?, &expected);
            assert_eq!(store.counts()?, in_memory.counts(), "{contender:?}");
        }
    }
    Ok(())
}

fn same(contender: Contender, answer: &Answer, expected: &Answer) {
    assert_eq!(answer.dispositions(), expected.dispositions(), "{contender:?}");
    for (index, (codes, expected)) in answer.codes().iter().zip(expected.codes()).enumerate() {
        assert_eq!(*codes, expected, "{contender:?}, recipient {index}");
    }
}

struct InMemory<'s> {
    scene: &'s Scene,
    repository: InMemoryRepository,
}

impl<'s> InMemory<'s> {
    fn new(scene: &'s Scene) -> Result<Self, Error> {
        let repository = InMemoryRepository::new();
        scene.given.snapshots()?.into_iter().for_each(|snapshot| repository.insert(snapshot));
        Ok(Self { scene, repository })
    }

    fn enroll(&mut self, key: &str, body: &[u8]) -> Result<Answer, Error> {
        let request = EnrollmentRequest::from_json(body);
        let policy = EnrollmentPolicy::default();
        let enrollment = self.scene.enrollment(&request, key);
        Ok(Answer::Enroll(enroll_contacts(&mut self.repository, &Engine::new(&policy), &enrollment)?.report))
    }

    fn counts(&self) -> Counts {
        let snapshot = self.repository.snapshot(self.scene.organization_id()).expect("the organization exists");
        let mut counts = Counts::default();
        let n = |rows: usize| i64::try_from(rows).expect("the number is small");
        for aggregate in snapshot.contacts.values() {
            counts.contacts += 1;
            counts.conversations += n(aggregate.conversations.len());
            counts.runs += n(aggregate.runs.len());
            counts.step_contacts += n(aggregate.step_contacts.len());
            counts.contact_tags += n(aggregate.tags.len());
            counts.custom_records += n(aggregate.records.len());
        }
        counts
    }
}

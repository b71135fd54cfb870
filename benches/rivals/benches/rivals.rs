//! Compares `enroll` with the same rules written by hand: the whole enrollment, from the bytes of the body to the committed
//! report. See this package's README for how to run it.

use criterion::{Criterion, criterion_group, criterion_main};
use enroll::contact::{Libphonenumber, PhoneNormalizer, PhonenumberCrate};
use enroll::{Engine, EnrollmentPolicy, EnrollmentRequest, InMemoryRepository, enroll_contacts};
use enroll_bench::people::{self, Scene};
use enroll_bench::rounds::{self, compare};
use enroll_rivals::arena::{Contender, PostgresArena, PostgresStore, SqliteArena, SqliteStore};
use std::cell::RefCell;
use std::time::{Duration, Instant};

/// Enrolls a body with a key.
type Enroll<'a> = Box<dyn FnMut(&str, &[u8]) + 'a>;
/// Opens a new database for a contender.
type Fresh<'a> = Box<dyn Fn(Contender) -> Enroll<'a> + 'a>;

fn sqlite(c: &mut Criterion) {
    fn fresh<'a>(arena: &'a SqliteArena<'_>) -> Fresh<'a> {
        Box::new(move |contender| {
            let mut store: SqliteStore<'_> = arena.store(contender).expect("the prepared file can be copied");
            Box::new(move |key, body| drop(store.enroll(key, body).expect("the request is valid")))
        })
    }
    let group = "rivals/sqlite";
    let scene = Scene::empty();
    let arena = SqliteArena::new(&scene, 0).expect("files can be made");
    each_on_a_fresh_copy(c, (group, "4000 new"), &people::strangers(0..RECIPIENTS), &fresh(&arena));
    let scene = Scene::demo();
    let arena = SqliteArena::new(&scene, 0).expect("files can be made");
    each_on_a_fresh_copy(c, (group, "4000 mixed"), &scene.mixed(RECIPIENTS), &fresh(&arena));
    for contacts in existing_contacts() {
        let scene = Scene::empty();
        let arena = SqliteArena::new(&scene, contacts).expect("files can be made");
        with_existing_contacts(c, group, contacts, &fresh(&arena));
    }
}

fn postgres(c: &mut Criterion) {
    fn fresh<'a>(arena: &'a PostgresArena<'_>) -> Fresh<'a> {
        Box::new(move |contender| {
            let mut store: PostgresStore<'_> = arena.store(contender).expect("the prepared database can be copied");
            Box::new(move |key, body| drop(store.enroll(key, body).expect("the request is valid")))
        })
    }
    let group = "rivals/postgres";
    let scene = Scene::empty();
    let arena = PostgresArena::new(&scene, 0).expect("databases can be made");
    each_on_a_fresh_copy(c, (group, "4000 new"), &people::strangers(0..RECIPIENTS), &fresh(&arena));
    let scene = Scene::demo();
    let arena = PostgresArena::new(&scene, 0).expect("databases can be made");
    each_on_a_fresh_copy(c, (group, "4000 mixed"), &scene.mixed(RECIPIENTS), &fresh(&arena));
    for contacts in existing_contacts() {
        let scene = Scene::empty();
        let arena = PostgresArena::new(&scene, contacts).expect("databases can be made");
        with_existing_contacts(c, group, contacts, &fresh(&arena));
    }
}

/// Each run enrolls the same body into a copy of the same database.
fn each_on_a_fresh_copy(c: &mut Criterion, group: (&str, &str), body: &[u8], fresh: &Fresh<'_>) {
    let contender = |contender: Contender| {
        rounds::Contender::timing(contender.name(), move || {
            let mut enroll = fresh(contender);
            timed(|| enroll("run", body))
        })
    };
    compare(c, group, RECIPIENTS, ROUNDS, Contender::ALL.map(contender).into());
}

/// If there are too many existing contacts to copy each time, each run enrolls other recipients into one database.
fn with_existing_contacts(c: &mut Criterion, group: &str, contacts: usize, fresh: &Fresh<'_>) {
    let parameter = format!("4000 new, {contacts} existing");
    if contacts <= COPIED {
        each_on_a_fresh_copy(c, (group, &parameter), &people::strangers(0..RECIPIENTS), fresh);
        return;
    }
    let contender = |contender: Contender| {
        // The first run opens the database, so that a filter on the command line works.
        let enroll: RefCell<Option<Enroll<'_>>> = RefCell::new(None);
        let mut from = 0;
        rounds::Contender::timing(contender.name(), move || {
            let body = people::strangers(from..from + RECIPIENTS);
            let key = format!("from-{from}");
            from += RECIPIENTS;
            let mut enroll = enroll.borrow_mut();
            let enroll = enroll.get_or_insert_with(|| fresh(contender));
            timed(|| enroll(&key, &body))
        })
    };
    compare(c, (group, &parameter), RECIPIENTS, ROUNDS, Contender::ALL.map(contender).into());
}

/// Compares the two phone crates, with the engine in memory. The other crate takes seconds for 4000 recipients.
fn phones(c: &mut Criterion) {
    const FEW: usize = 400;
    let scene = Scene::demo();
    let body = scene.mixed(FEW);
    let contender = |(name, phones): (&'static str, &'static dyn PhoneNormalizer)| {
        let (scene, body) = (&scene, &body);
        rounds::Contender::timing(name, move || {
            let mut repository = InMemoryRepository::new();
            let snapshots = scene.given.snapshots().expect("the demo is valid");
            snapshots.into_iter().for_each(|snapshot| repository.insert(snapshot));
            let policy = EnrollmentPolicy::default();
            let mut engine = Engine::new(&policy);
            engine.phones = phones;
            timed(|| {
                let request = EnrollmentRequest::from_json(body);
                let report = enroll_contacts(&mut repository, &engine, &scene.enrollment(&request, "run"));
                drop(report.expect("the request is valid"));
            })
        })
    };
    let contenders: [(&str, &dyn PhoneNormalizer); 2] =
        [("enroll", &Libphonenumber), ("phonenumber", &PhonenumberCrate)];
    compare(c, ("rivals/phones", "400 mixed"), FEW, ROUNDS, contenders.map(contender).into());
}

fn timed(run: impl FnOnce()) -> Duration {
    let start = Instant::now();
    run();
    start.elapsed()
}

/// Returns the numbers of existing contacts in `ENROLL_BENCH_CONTACTS`, such as `100000,1000000`.
fn existing_contacts() -> Vec<usize> {
    let sizes = std::env::var("ENROLL_BENCH_CONTACTS").unwrap_or_default();
    let sizes = sizes.split(',').map(str::trim).filter(|size| !size.is_empty());
    sizes.map(|size| size.parse().expect("`ENROLL_BENCH_CONTACTS` is a list of numbers")).collect()
}

const RECIPIENTS: usize = 4000;
const ROUNDS: usize = 11;
/// The largest number of existing contacts that are copied for each run.
const COPIED: usize = 100_000;

criterion_group!(benches, sqlite, postgres, phones);
criterion_main!(benches);

//! Measures what an enrollment costs with events, against one without, on a SQLite file and on PostgreSQL.
//!
//! `cargo bench -p enroll-service --bench events`. The bench starts a server of PostgreSQL that flushes to the disk.

use criterion::{Criterion, criterion_group, criterion_main};
use enroll::testing::Blocking;
use enroll_bench::people::Scene;
use enroll_bench::rounds::{Contender, compare};
use enroll_bench::strangers::Target;
use enroll_postgres::testing::Server;
use enroll_postgres::{ConnectOptions, PostgresRepository};
use enroll_sqlite::SqliteRepository;
use std::cell::Cell;
use tokio::runtime::Runtime;

fn events(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("the system has threads");
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the folder can be written");
    let people = DATABASES.map(|_| Cell::new(0));
    let mut people = people.iter();
    let sqlite = DATABASES.map(|(name, enabled)| {
        let path = folder.path().join(name);
        let mut repository = SqliteRepository::open(path).expect("the folder can be written");
        enroll_sqlite::seed::load(repository.connection(), &Scene::empty().given).expect("the demo can be stored");
        repository.enable_events(enabled).expect("the file can be written");
        (name, Target::new(Box::new(Blocking(repository)), people.next().expect("each database has a cell")))
    });
    compare_targets(criterion, &runtime, "sqlite", sqlite);

    let server = Server::start_with(&[("fsync", "on"), ("synchronous_commit", "on"), ("full_page_writes", "on")]);
    let people = DATABASES.map(|_| Cell::new(0));
    let mut people = people.iter();
    let postgresql = DATABASES.map(|(name, enabled)| {
        let url = runtime.block_on(server.database()).expect("the server answers");
        let options = ConnectOptions::from_address(&url).expect("the address is valid");
        let mut repository = PostgresRepository::with_options(&options, 1).expect("the pool can be built");
        let pool = repository.pool().clone();
        runtime.block_on(async {
            let mut client = pool.get().await.expect("the server answers");
            enroll_postgres::seed::load(&mut client, &Scene::empty().given).await.expect("the demo can be stored");
            drop(client);
            repository.enable_events(enabled).await.expect("the database can be written");
        });
        let mut target = Target::new(Box::new(repository), people.next().expect("each database has a cell"));
        // Without statistics, PostgreSQL plans for tables that have almost no rows.
        runtime.block_on(async {
            target.enroll(4000).await;
            let client = pool.get().await.expect("the server answers");
            client.batch_execute("analyze").await.expect("the tables can be read");
        });
        (name, target)
    });
    compare_targets(criterion, &runtime, "postgresql", postgresql);
}

criterion_group!(benches, events);
criterion_main!(benches);

/// Names, and whether events are on. The third one shows how much two equal databases differ.
const DATABASES: [(&str, bool); 3] = [("without events", false), ("with events", true), ("again without", false)];

fn compare_targets(
    criterion: &mut Criterion,
    runtime: &Runtime,
    database: &str,
    mut targets: [(&'static str, Target<'_>); DATABASES.len()],
) {
    for (recipients, rounds) in [(1, 301), (100, 101), (4000, 31)] {
        let contenders = targets
            .iter_mut()
            .map(|(name, target)| Contender::timing(name, move || runtime.block_on(target.enroll(recipients))));
        compare(criterion, (database, &format!("{recipients} new")), recipients, rounds, contenders.collect());
    }
}

//! Measures what an enrollment costs without prepared statements, and through PgBouncer.
//!
//! `cargo bench -p enroll-postgres --features testing --bench poolers`. The bench starts a server that flushes to the disk,
//! and PgBouncer.

use criterion::{Criterion, criterion_group, criterion_main};
use enroll::{Engine, EnrollmentPolicy, EnrollmentRequest, enroll_contacts_async};
use enroll_bench::people::{Scene, strangers};
use enroll_bench::rounds::{Contender, compare};
use enroll_postgres::seed::load;
use enroll_postgres::testing::{Pooler, Server};
use enroll_postgres::{ConnectOptions, PostgresRepository};
use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

fn poolers(criterion: &mut Criterion) {
    let server = Server::start_with(&[("fsync", "on"), ("synchronous_commit", "on"), ("full_page_writes", "on")]);
    let pooler = Pooler::start(&server, &[("pool_mode", "transaction")], &[]);
    let session_pooler = Pooler::start(&server, &[("pool_mode", "session")], &[]);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("the system has threads");
    let url = runtime.block_on(server.database()).expect("the server answers");
    let people = Cell::new(0);
    let target = |address: &str, prepared: bool| {
        let options = ConnectOptions::from_address(address).expect("the address is valid");
        let options = options.with_prepared_statements(prepared);
        let repository = PostgresRepository::with_options(&options, 1).expect("the pool can be built");
        Target { repository: RefCell::new(repository), runtime: &runtime, people: &people }
    };
    let (prepared, texts) = (target(&url, true), target(&url, false));
    let through = [target(&session_pooler.address(&url), true), target(&pooler.address(&url), false)];
    let pool = prepared.repository.borrow().pool().clone();
    runtime.block_on(async {
        let mut client = pool.get().await.expect("the server answers");
        load(&mut client, &Scene::empty().given).await.expect("the demo can be stored");
    });
    for recipients in [1, 100] {
        let contenders = vec![
            Contender::timing("prepared", || prepared.enroll(recipients)),
            Contender::timing("with texts", || texts.enroll(recipients)),
            Contender::timing("session mode, prepared", || through[0].enroll(recipients)),
            Contender::timing("transaction mode, with texts", || through[1].enroll(recipients)),
        ];
        compare(criterion, ("poolers", &format!("{recipients} new")), recipients, 101, contenders);
    }
}

criterion_group!(benches, poolers);
criterion_main!(benches);

struct Target<'r> {
    repository: RefCell<PostgresRepository>,
    runtime: &'r Runtime,
    /// The number of people that all targets have enrolled.
    people: &'r Cell<usize>,
}

impl Target<'_> {
    /// Times the enrollment of new people.
    fn enroll(&self, recipients: usize) -> Duration {
        let first = self.people.replace(self.people.get() + recipients);
        let body = strangers(first..first + recipients);
        let (scene, policy, key) = (Scene::empty(), EnrollmentPolicy::default(), format!("bench-{first}"));
        let mut repository = self.repository.borrow_mut();
        self.runtime.block_on(async {
            let start = Instant::now();
            let request = EnrollmentRequest::from_json(&body);
            let enrollment = scene.enrollment(&request, &key);
            let report = enroll_contacts_async(&mut *repository, &Engine::new(&policy), &enrollment).await;
            let took = start.elapsed();
            assert_eq!(report.expect("the request is valid").report.counts().added, recipients);
            took
        })
    }
}

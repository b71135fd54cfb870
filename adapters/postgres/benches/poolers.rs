//! Measures what an enrollment costs with each driver, without prepared statements, and through PgBouncer.
//!
//! `cargo bench -p enroll-postgres --features sqlx,testing --bench poolers`. The bench starts a server that flushes to the
//! disk, and PgBouncer.

use criterion::{Criterion, criterion_group, criterion_main};
use enroll::{DynAsyncRepository, Engine, EnrollmentPolicy, EnrollmentRequest, enroll_contacts_async};
use enroll_bench::people::{Scene, strangers};
use enroll_bench::rounds::{Contender, compare};
use enroll_postgres::seed::load;
use enroll_postgres::sqlx::postgres::PgPoolOptions;
use enroll_postgres::testing::{Pooler, Server};
use enroll_postgres::{ConnectOptions, PostgresRepository, SqlxRepository};
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
    let target = |repository: Box<dyn DynAsyncRepository>| Target {
        repository: RefCell::new(repository),
        runtime: &runtime,
        people: &people,
    };
    let tokio_postgres = |address: &str, prepared: bool| {
        let options = ConnectOptions::from_address(address).expect("the address is valid");
        let options = options.with_prepared_statements(prepared);
        PostgresRepository::with_options(&options, 1).expect("the pool can be built")
    };
    let sqlx = |prepared: bool| {
        let options = url.parse().expect("the address is valid");
        let pool = PgPoolOptions::new().max_connections(1);
        let pool = runtime.block_on(async { pool.connect_lazy_with(options) });
        target(Box::new(SqlxRepository::new(pool).with_prepared_statements(prepared)))
    };
    let repository = tokio_postgres(&url, true);
    runtime.block_on(async {
        let mut client = repository.pool().get().await.expect("the server answers");
        load(&mut client, &Scene::empty().given).await.expect("the demo can be stored");
    });
    let prepared = target(Box::new(repository));
    let texts = target(Box::new(tokio_postgres(&url, false)));
    let through = [(session_pooler.address(&url), true), (pooler.address(&url), false)];
    let through = through.map(|(address, prepared)| target(Box::new(tokio_postgres(&address, prepared))));
    let (sqlx, sqlx_not_kept) = (sqlx(true), sqlx(false));
    for (recipients, rounds) in [(1, 101), (100, 101), (4000, 15)] {
        let contenders = vec![
            Contender::timing("tokio-postgres", || prepared.enroll(recipients)),
            Contender::timing("sqlx", || sqlx.enroll(recipients)),
            Contender::timing("sqlx, statements not kept", || sqlx_not_kept.enroll(recipients)),
        ];
        compare(criterion, ("drivers", &format!("{recipients} new")), recipients, rounds, contenders);
    }
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
    repository: RefCell<Box<dyn DynAsyncRepository>>,
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

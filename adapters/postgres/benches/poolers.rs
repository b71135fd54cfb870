//! Measures what an enrollment costs with each driver, without prepared statements, and through PgBouncer.
//!
//! `cargo bench -p enroll-postgres --features sqlx,testing --bench poolers`. The bench starts a server that flushes to the
//! disk, and PgBouncer.

use criterion::{Criterion, criterion_group, criterion_main};
use enroll_bench::people::Scene;
use enroll_bench::rounds::{Contender, compare};
use enroll_bench::strangers::Target;
use enroll_postgres::seed::load;
use enroll_postgres::sqlx::postgres::PgPoolOptions;
use enroll_postgres::testing::{Pooler, Server};
use enroll_postgres::{ConnectOptions, PostgresRepository, SqlxRepository};
use std::cell::Cell;

fn poolers(criterion: &mut Criterion) {
    let server = Server::start_with(&[("fsync", "on"), ("synchronous_commit", "on"), ("full_page_writes", "on")]);
    let pooler = Pooler::start(&server, &[("pool_mode", "transaction")], &[]);
    let session_pooler = Pooler::start(&server, &[("pool_mode", "session")], &[]);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("the system has threads");
    let url = runtime.block_on(server.database()).expect("the server answers");
    let people = Cell::new(0);
    let time = |target: &mut Target<'_>, recipients| runtime.block_on(target.enroll(recipients));
    let tokio_postgres = |address: &str, prepared: bool| {
        let options = ConnectOptions::from_address(address).expect("the address is valid");
        let options = options.with_prepared_statements(prepared);
        PostgresRepository::with_options(&options, 1).expect("the pool can be built")
    };
    let sqlx = |prepared: bool| {
        let options = url.parse().expect("the address is valid");
        let pool = PgPoolOptions::new().max_connections(1);
        let pool = runtime.block_on(async { pool.connect_lazy_with(options) });
        Target::new(Box::new(SqlxRepository::new(pool).with_prepared_statements(prepared)), &people)
    };
    let repository = tokio_postgres(&url, true);
    let pool = repository.pool().clone();
    runtime.block_on(async {
        let mut client = pool.get().await.expect("the server answers");
        load(&mut client, &Scene::empty().given).await.expect("the demo can be stored");
    });
    let mut prepared = Target::new(Box::new(repository), &people);
    // Without statistics, PostgreSQL plans the look-up of contacts for a table that has almost no rows, and keeps the plan.
    time(&mut prepared, 4000);
    runtime.block_on(async {
        let client = pool.get().await.expect("the server answers");
        client.batch_execute("analyze").await.expect("the tables can be read");
    });
    let target = |address: &str, prepared| Target::new(Box::new(tokio_postgres(address, prepared)), &people);
    let mut texts = target(&url, false);
    let mut in_sessions = target(&session_pooler.address(&url), true);
    let mut in_transactions = target(&pooler.address(&url), false);
    let (mut sqlx, mut sqlx_not_kept) = (sqlx(true), sqlx(false));
    for (recipients, rounds) in [(1, 101), (100, 101), (4000, 15)] {
        let contenders = vec![
            Contender::timing("tokio-postgres", || time(&mut prepared, recipients)),
            Contender::timing("sqlx", || time(&mut sqlx, recipients)),
            Contender::timing("sqlx, statements not kept", || time(&mut sqlx_not_kept, recipients)),
        ];
        compare(criterion, ("drivers", &format!("{recipients} new")), recipients, rounds, contenders);
    }
    for recipients in [1, 100] {
        let contenders = vec![
            Contender::timing("prepared", || time(&mut prepared, recipients)),
            Contender::timing("with texts", || time(&mut texts, recipients)),
            Contender::timing("session mode, prepared", || time(&mut in_sessions, recipients)),
            Contender::timing("transaction mode, with texts", || time(&mut in_transactions, recipients)),
        ];
        compare(criterion, ("poolers", &format!("{recipients} new")), recipients, 101, contenders);
    }
}

criterion_group!(benches, poolers);
criterion_main!(benches);

//! Orders and enrollments on a real server.

use std::sync::atomic::{AtomicUsize, Ordering};

use enroll_example_seaorm::{Order, OrderError, Placed, Shop};
use enroll_postgres::needs_postgres;
use enroll_postgres::testing::Server;
use enroll_worker::Event;
use sea_orm::{ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement};
use tokio::sync::mpsc;

/// A shop on an empty database, and a connection that looks at it.
async fn shop() -> (Shop, DatabaseConnection) {
    static DATABASES: AtomicUsize = AtomicUsize::new(0);
    let name = format!("shop_{}_{}", std::process::id(), DATABASES.fetch_add(1, Ordering::Relaxed));
    let address = Server::shared().empty_database(&name).await.unwrap();
    let shop = Shop::open(&address).await.unwrap();
    (shop, Database::connect(&address).await.unwrap())
}

fn order(number: i64, name: &str) -> Order {
    Order { number, phone: format!("+1 202 555 {number:04}"), name: name.to_owned() }
}

/// Counts the rows of a table.
async fn count(database: &DatabaseConnection, table: &str) -> i64 {
    let sql = format!("select count(*) as rows from {table}");
    let row = database.query_one_raw(Statement::from_string(DbBackend::Postgres, sql)).await.unwrap();
    row.unwrap().try_get("", "rows").unwrap()
}

async fn orders_and_enrollments(database: &DatabaseConnection) -> [i64; 2] {
    [count(database, "orders").await, count(database, "enroll.enrollments").await]
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = needs_postgres!()]
async fn an_order_and_its_enrollment_are_written_together_and_a_worker_completes_it() {
    let (shop, observer) = shop().await;
    assert_eq!(shop.place(&order(1, "Ann")).await.unwrap(), Placed::Now);
    assert_eq!(orders_and_enrollments(&observer).await, [1, 1]);
    assert_eq!(count(&observer, "enroll.contacts").await, 0);

    let (completed, mut reports) = mpsc::unbounded_channel();
    let on_event = move |event: &Event| {
        if let Event::Completed { report, .. } = event {
            completed.send(report.counts()).unwrap();
        }
    };
    let mut counts = None;
    shop.work(on_event, async { counts = reports.recv().await }).await.unwrap();
    assert_eq!(counts.unwrap().added, 1);
    assert_eq!(count(&observer, "enroll.contacts").await, 1);
    assert_eq!(count(&observer, "enroll.step_contacts").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = needs_postgres!()]
async fn the_same_order_is_written_once_and_another_one_with_its_number_is_a_conflict() {
    let (shop, database) = shop().await;
    let (ann, ben) = (order(1, "Ann"), order(1, "Ben"));
    // Three requests are checked before the first one is written.
    let [first, repeated, other] = [&ann, &ann, &ben].map(|order| shop.check(order));
    let (first, repeated, other) = (first.await.unwrap(), repeated.await.unwrap(), other.await.unwrap());
    assert_eq!(first.unwrap().write(&database).await.unwrap(), Placed::Now);
    assert_eq!(repeated.unwrap().write(&database).await.unwrap(), Placed::Before);
    let refused = other.unwrap().write(&database).await.unwrap_err();
    assert!(matches!(refused, OrderError::Conflict(1)), "{refused:?}");
    // The check sees what was written before it.
    assert_eq!(shop.place(&ann).await.unwrap(), Placed::Before);
    let refused = shop.place(&ben).await.unwrap_err();
    assert!(matches!(&refused, OrderError::Rejected(rejection) if rejection.to_string().contains("key")), "{refused}");
    assert_eq!(orders_and_enrollments(&database).await, [1, 1]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = needs_postgres!()]
async fn an_order_that_cannot_be_written_enrolls_nobody_and_can_be_sent_again() {
    let (shop, database) = shop().await;
    let take = "insert into orders (number, phone, name) values (7, '', 'from elsewhere')";
    database.execute_unprepared(take).await.unwrap();
    let refused = shop.place(&order(7, "Ann")).await.unwrap_err();
    assert!(matches!(refused, OrderError::Database(_)), "{refused:?}");
    assert_eq!(orders_and_enrollments(&database).await, [1, 0]);
    database.execute_unprepared("delete from orders").await.unwrap();
    assert_eq!(shop.place(&order(7, "Ann")).await.unwrap(), Placed::Now);
    assert_eq!(orders_and_enrollments(&database).await, [1, 1]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = needs_postgres!()]
async fn an_order_that_the_engine_refuses_writes_nothing() {
    let (shop, database) = shop().await;
    database.execute_unprepared("update enroll.sequences set status = 'archived'").await.unwrap();
    let refused = shop.place(&order(1, "Ann")).await.unwrap_err();
    let OrderError::Rejected(rejection) = &refused else { panic!("{refused:?}") };
    assert_eq!(rejection.status(), 422);
    assert_eq!(orders_and_enrollments(&database).await, [0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = needs_postgres!()]
async fn seaorm_records_the_migrations_and_runs_each_once() {
    let (shop, database) = shop().await;
    let migrations = enroll_postgres::sql::migrations().count() + 1;
    let recorded = count(&database, "seaql_migrations").await;
    assert_eq!(usize::try_from(recorded).unwrap(), migrations);
    assert_eq!(count(&database, "enroll.schema_version").await, i64::from(enroll_postgres::SCHEMA_VERSION));
    drop(shop);
}

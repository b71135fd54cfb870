//! Orders and enrollments on a real server.

use std::sync::atomic::{AtomicUsize, Ordering};

use diesel::sql_types::BigInt;
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
use enroll_example_diesel::{Order, OrderError, Placed, Shop};
use enroll_postgres::needs_postgres;
use enroll_postgres::testing::Server;
use enroll_worker::Event;
use tokio::sync::mpsc;

/// A shop on an empty database, and a connection that looks at it.
async fn shop() -> (Shop, AsyncPgConnection) {
    static DATABASES: AtomicUsize = AtomicUsize::new(0);
    let name = format!("shop_{}_{}", std::process::id(), DATABASES.fetch_add(1, Ordering::Relaxed));
    let address = Server::shared().empty_database(&name).await.unwrap();
    let shop = Shop::open(&address).await.unwrap();
    (shop, AsyncPgConnection::establish(&address).await.unwrap())
}

fn order(number: i64, name: &str) -> Order {
    Order { number, phone: format!("+1 202 555 {number:04}"), name: name.to_owned() }
}

/// Counts the rows of a table.
async fn count(connection: &mut AsyncPgConnection, table: &str) -> i64 {
    #[derive(QueryableByName)]
    struct Count {
        #[diesel(sql_type = BigInt)]
        rows: i64,
    }
    let rows = sql_query(format!("select count(*) as rows from {table}"));
    rows.get_result::<Count>(connection).await.unwrap().rows
}

async fn orders_and_enrollments(connection: &mut AsyncPgConnection) -> [i64; 2] {
    [count(connection, "orders").await, count(connection, "enroll.enrollments").await]
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = needs_postgres!()]
async fn an_order_and_its_enrollment_are_written_together_and_a_worker_completes_it() {
    let (shop, mut observer) = shop().await;
    assert_eq!(shop.place(&order(1, "Ann")).await.unwrap(), Placed::Now);
    assert_eq!(orders_and_enrollments(&mut observer).await, [1, 1]);
    assert_eq!(count(&mut observer, "enroll.contacts").await, 0);

    let (completed, mut reports) = mpsc::unbounded_channel();
    let on_event = move |event: &Event| {
        if let Event::Completed { report, .. } = event {
            completed.send(report.counts()).unwrap();
        }
    };
    let mut counts = None;
    shop.work(on_event, async { counts = reports.recv().await }).await.unwrap();
    assert_eq!(counts.unwrap().added, 1);
    assert_eq!(count(&mut observer, "enroll.contacts").await, 1);
    assert_eq!(count(&mut observer, "enroll.step_contacts").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = needs_postgres!()]
async fn the_same_order_is_written_once_and_another_one_with_its_number_is_a_conflict() {
    let (shop, mut connection) = shop().await;
    let (ann, ben) = (order(1, "Ann"), order(1, "Ben"));
    // Three requests are checked before the first one is written.
    let [first, repeated, other] = [&ann, &ann, &ben].map(|order| shop.check(order));
    let (first, repeated, other) = (first.await.unwrap(), repeated.await.unwrap(), other.await.unwrap());
    assert_eq!(first.unwrap().write(&mut connection).await.unwrap(), Placed::Now);
    assert_eq!(repeated.unwrap().write(&mut connection).await.unwrap(), Placed::Before);
    let refused = other.unwrap().write(&mut connection).await.unwrap_err();
    assert!(matches!(refused, OrderError::Conflict(1)), "{refused:?}");
    // The check sees what was written before it.
    assert_eq!(shop.place(&ann).await.unwrap(), Placed::Before);
    let refused = shop.place(&ben).await.unwrap_err();
    assert!(matches!(&refused, OrderError::Rejected(rejection) if rejection.to_string().contains("key")), "{refused}");
    assert_eq!(orders_and_enrollments(&mut connection).await, [1, 1]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = needs_postgres!()]
async fn an_order_that_cannot_be_written_enrolls_nobody_and_can_be_sent_again() {
    let (shop, mut connection) = shop().await;
    let take = "insert into orders (number, phone, name) values (7, '', 'from elsewhere')";
    sql_query(take).execute(&mut connection).await.unwrap();
    let refused = shop.place(&order(7, "Ann")).await.unwrap_err();
    assert!(matches!(refused, OrderError::Database(_)), "{refused:?}");
    assert_eq!(orders_and_enrollments(&mut connection).await, [1, 0]);
    sql_query("delete from orders").execute(&mut connection).await.unwrap();
    assert_eq!(shop.place(&order(7, "Ann")).await.unwrap(), Placed::Now);
    assert_eq!(orders_and_enrollments(&mut connection).await, [1, 1]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = needs_postgres!()]
async fn an_order_that_the_engine_refuses_writes_nothing() {
    let (shop, mut connection) = shop().await;
    sql_query("update enroll.sequences set status = 'archived'").execute(&mut connection).await.unwrap();
    let refused = shop.place(&order(1, "Ann")).await.unwrap_err();
    let OrderError::Rejected(rejection) = &refused else { panic!("{refused:?}") };
    assert_eq!(rejection.status(), 422);
    assert_eq!(orders_and_enrollments(&mut connection).await, [0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = needs_postgres!()]
async fn diesel_records_the_migrations_and_runs_each_once() {
    let (shop, mut connection) = shop().await;
    let migrations = enroll_postgres::sql::migrations().count() + 1;
    let recorded = count(&mut connection, "__diesel_schema_migrations").await;
    assert_eq!(usize::try_from(recorded).unwrap(), migrations);
    assert_eq!(count(&mut connection, "enroll.schema_version").await, i64::from(enroll_postgres::SCHEMA_VERSION));
    drop(shop);
}

//! Each operation has a fixed number of statements, for any number of recipients.
#![cfg(feature = "testing")]

mod support;

use enroll::{AsyncInbox, AsyncRepository, Engine, EnrollmentCommand, EnrollmentPolicy, plan_enrollment};
use enroll_postgres::PostgresClient;
use enroll_postgres::needs_postgres;
use support::connection::Connection;
use support::{LEASE, Request, block_on, body, database, id, organization};

#[test]
#[ignore = needs_postgres!()]
fn the_number_of_statements_does_not_depend_on_the_recipients() {
    let counts: Vec<[usize; 5]> = [1, 100, 4000].map(|recipients| block_on(count(recipients, |r| r))).to_vec();
    assert_eq!(counts[0], counts[1]);
    // Half of the 4000 recipients are new, so each of six tables has one copy, in addition to its insert. When they are
    // processed, all exist, and only their tags are copied.
    let [reference, load, commit, accept, process] = counts[0];
    assert_eq!(counts[2], [reference, load, commit + 6, accept, process + 1]);
    // Each call has one answer for the statements that begin its transaction, and one for the commit.
    assert!(reference <= 8 && load <= 15 && commit <= 36, "{counts:?}");
    assert!(accept <= 16 && process <= 55, "{counts:?}");
    // A request of a list reads the tag and the contacts that have it, and locks it.
    assert_eq!(block_on(count(100, Request::of_list)), [reference, load + 2, commit + 1, accept, process + 3]);
}

/// Counts on one thread: the driver then sends all statements that wait, before it receives an answer.
#[test]
#[ignore = needs_postgres!()]
fn the_statements_that_begin_a_transaction_cost_no_round_trip() {
    let url = block_on(database());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let connection = Connection::default();
        let mut repository = PostgresClient::new(connection.connect(&url).await);
        let request = Request::new(1, &body(0, 3));
        let (query, _) = request.snapshot_query(&mut repository).await;
        let (_, command) = Request::new(2, &body(0, 1)).snapshot_query(&mut repository).await;
        let changes = request.plan(&mut repository).await;
        connection.take_round_trips();
        repository.reference_data(&query.reference).await.unwrap();
        let reference = connection.take_round_trips();
        repository.load(&query).await.unwrap();
        let load = connection.take_round_trips();
        repository.commit(&changes).await.unwrap();
        let commit = connection.take_round_trips();
        repository.find(organization(), id(1)).await.unwrap();
        let find = connection.take_round_trips();
        repository.insert(&command).await.unwrap();
        let insert = connection.take_round_trips();
        repository.claim(LEASE).await.unwrap();
        let claim = connection.take_round_trips();
        assert_eq!([reference, load, commit, find, insert, claim], [1, 2, 3, 1, 2, 4]);
    });
}

/// Counts the statements of reference data, load and commit, where half of the contacts exist before, and of accepting and
/// processing, where all exist.
async fn count(recipients: usize, prepare: impl Fn(Request) -> Request) -> [usize; 5] {
    let url = database().await;
    let connection = Connection::default();
    let mut repository = PostgresClient::new(connection.connect(&url).await);
    prepare(Request::new(1, &body(0, recipients.div_ceil(2)))).enroll(&mut repository).await.unwrap();

    let (policy, request) = (EnrollmentPolicy::default(), prepare(Request::new(2, &body(0, recipients))));
    connection.take();
    let reference = repository.reference_data(&request.enrollment().reference_query()).await.unwrap();
    let of_reference_data = connection.take();
    let command = EnrollmentCommand::check(&request.enrollment(), &reference, &Engine::new(&policy)).unwrap();
    let snapshot = repository.load(&command.snapshot_query()).await.unwrap();
    let of_load = connection.take();
    let plan = plan_enrollment(&command, &snapshot).unwrap();
    repository.commit(plan.changes()).await.unwrap();
    assert_eq!(plan.report().outcomes.len(), recipients);
    let of_commit = connection.take();
    let request = prepare(Request::new(3, &body(0, recipients)));
    request.accept(&mut repository).await.unwrap();
    let of_accept = connection.take();
    request.process(&mut repository).await.unwrap();
    [of_reference_data, of_load, of_commit, of_accept, connection.take()]
}

//! `reference_data`, `load` and `commit`, accepting and processing are the same number of statements for any number of recipients.
#![cfg(feature = "testing")]

mod common;

use common::wire::Wire;
use common::{Request, block_on, body, database};
use enroll::{AsyncRepository, Engine, EnrollmentCommand, EnrollmentPolicy, plan_enrollment};
use enroll_postgres::PostgresClient;

#[test]
#[ignore = "needs PostgreSQL: run with --include-ignored, its programs installed or ENROLL_TEST_POSTGRES_URL set"]
fn the_number_of_statements_does_not_depend_on_the_recipients() {
    let counts: Vec<[usize; 5]> = [1, 100, 4000].map(|recipients| block_on(count(recipients))).to_vec();
    assert_eq!(counts[0], counts[1]);
    // Of the 4000 half are new, so each table is copied into once; then all are known, and bear a tag. Each copy is a
    // statement beside the insert that it stands for.
    let [reference, load, commit, accept, process] = counts[0];
    assert_eq!(counts[2], [reference, load, commit + 6, accept, process + 1]);
    assert!(reference <= 6 && load <= 17 && commit <= 34, "{counts:?}");
    assert!(accept <= 11 && process <= 52, "{counts:?}");
}

/// How often the server said that it was ready, for reference data, load and commit, where half of the people exist before;
/// and for accepting and processing, where all do.
async fn count(recipients: usize) -> [usize; 5] {
    let url = database().await;
    let wire = Wire::default();
    let mut repository = PostgresClient::new(wire.connect(&url).await);
    Request::new(1, &body(0, recipients.div_ceil(2))).enroll(&mut repository).await.unwrap();

    let (policy, request) = (EnrollmentPolicy::default(), Request::new(2, &body(0, recipients)));
    wire.take();
    let reference = repository.reference_data(&request.enrollment().reference_query()).await.unwrap();
    let of_context = wire.take();
    let command = EnrollmentCommand::check(&request.enrollment(), &reference, &Engine::new(&policy)).unwrap();
    let snapshot = repository.load(&command.snapshot_query()).await.unwrap();
    let of_load = wire.take();
    let plan = plan_enrollment(&command, &snapshot).unwrap();
    repository.commit(plan.changes()).await.unwrap();
    assert_eq!(plan.report().outcomes.len(), recipients);
    let of_commit = wire.take();
    let request = Request::new(3, &body(0, recipients));
    request.accept(&mut repository).await.unwrap();
    let of_accept = wire.take();
    request.process(&mut repository).await.unwrap();
    [of_context, of_load, of_commit, of_accept, wire.take()]
}

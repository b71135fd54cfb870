//! The connection is cut at each answer of the server, one after the other: what stands is all of it, or nothing.
#![cfg(feature = "testing")]

mod common;

use common::wire::Wire;
use common::{Request, at, block_on, body, connect, database, id, open, organization, pid, rows, told};
use enroll::RepositoryErrorKind::Unavailable;
use enroll::inbox::{Claim, InboxEntry};
use enroll::{AsyncInbox, AsyncRepository, EnrollError};
use enroll_postgres::PostgresClient;
use tokio_postgres::Client;

#[test]
#[ignore = "needs PostgreSQL: run with --include-ignored, its programs installed or ENROLL_TEST_POSTGRES_URL set"]
fn an_enrollment_is_processed_as_a_whole_wherever_the_connection_is_cut() {
    block_on(async {
        let url = database().await;
        let (mut other, asking) = (open(&url).await, connect(&url).await);
        let mut outcomes = Vec::new();
        for answer in 1.. {
            let request = Request::new(answer as u128, &body(answer * 10, 2));
            let accepted = request.accept(&mut other).await.unwrap();
            let before = rows(&asking).await;
            let (wire, mut worker, pid) = prepared(&url).await;
            wire.cut_at(answer);
            let processed = request.process(&mut worker).await;
            drop(worker);
            until_it_is_gone(&asking, pid).await;
            let entry = found(&mut other, &request).await;
            let (state, written) = (entry.enrollment.state.as_str(), rows(&asking).await - before);
            outcomes.push(state);
            let whole = state == "completed" && written == ROWS && entry.command.is_none();
            let nothing = state == "accepted" && written == 0 && entry.command.is_some();
            assert!(whole || nothing, "cut at {answer}: {state}, {written} rows");
            // Whoever comes next finishes it, once.
            assert_eq!(request.process(&mut other).await.unwrap().enrollment_id, accepted.enrollment_id);
            assert_eq!(rows(&asking).await - before, ROWS);
            match processed {
                Ok(report) => {
                    assert_eq!((whole, report.outcomes.len()), (true, 2));
                    break;
                }
                Err(EnrollError::Repository(error)) => assert_eq!(told(&error).0, Unavailable, "{error:?}"),
                Err(error) => panic!("{error}"),
            }
        }
        // Only where the answer of COMMIT is lost does it stand, and the worker not know; the last was not cut any more.
        let (before, last) = outcomes.split_at(outcomes.len() - 2);
        assert!(before.len() > 40 && before.iter().all(|state| *state == "accepted"), "{outcomes:?}");
        assert_eq!(last, ["completed", "completed"]);
    });
}

#[test]
#[ignore = "needs PostgreSQL: run with --include-ignored, its programs installed or ENROLL_TEST_POSTGRES_URL set"]
fn a_request_is_accepted_as_a_whole_wherever_the_connection_is_cut() {
    block_on(async {
        let url = database().await;
        let (mut other, asking) = (open(&url).await, connect(&url).await);
        for answer in 1.. {
            let request = Request::new(answer as u128, &body(answer * 10, 2));
            let (wire, mut sender, pid) = prepared(&url).await;
            wire.cut_at(answer);
            let accepted = request.accept(&mut sender).await;
            drop(sender);
            until_it_is_gone(&asking, pid).await;
            let stands = other.find(organization(), id(request.id)).await.unwrap();
            assert!(stands.is_some() || accepted.is_err(), "a receipt for nothing, cut at {answer}");
            // The sender asks again under the same id.
            let again = request.accept(&mut other).await.unwrap();
            assert!(stands.is_none_or(|entry| entry.enrollment.at == again.accepted_at));
            assert_eq!(request.process(&mut other).await.unwrap().counts().added, 2);
            if accepted.is_ok() {
                assert!(answer >= 10, "{answer}");
                break;
            }
        }
    });
}

#[test]
#[ignore = "needs PostgreSQL: run with --include-ignored, its programs installed or ENROLL_TEST_POSTGRES_URL set"]
fn a_lease_is_given_or_not_wherever_the_connection_is_cut() {
    block_on(async {
        let url = database().await;
        let (mut other, asking) = (open(&url).await, connect(&url).await);
        for answer in 1.. {
            let request = Request::new(answer as u128, &body(answer * 10, 2));
            request.accept(&mut other).await.unwrap();
            let (wire, mut worker, pid) = prepared(&url).await;
            wire.cut_at(answer);
            let claimed = worker.claim(at(0), at(10)).await;
            drop(worker);
            until_it_is_gone(&asking, pid).await;
            let attempts = found(&mut other, &request).await.attempts;
            assert!(attempts == 1 || claimed.is_err(), "cut at {answer}");
            // It waits until the end of a lease that nobody knows of, and no longer.
            assert_eq!(other.claim(at(9), at(20)).await.unwrap().is_some(), attempts == 0);
            let claim = other.claim(at(20), at(30)).await.unwrap();
            assert_eq!(claim, Some(Claim::new(organization(), id(request.id), 2, at(30))));
            request.process(&mut other).await.unwrap();
            if claimed.is_ok() {
                break;
            }
        }
    });
}

/// A connection with its statements prepared, and its session.
async fn prepared(url: &str) -> (Wire, PostgresClient, i32) {
    let wire = Wire::default();
    let mut repository = PostgresClient::new(wire.connect(url).await);
    let query = Request::new(0, &body(0, 1)).enrollment().reference_query();
    repository.reference_data(&query).await.unwrap();
    let pid = pid(repository.client()).await;
    (wire, repository, pid)
}

async fn found(inbox: &mut PostgresClient, request: &Request) -> InboxEntry {
    inbox.find(organization(), id(request.id)).await.unwrap().unwrap()
}

/// The server goes on with what it was sent, for a while.
async fn until_it_is_gone(client: &Client, pid: i32) {
    let there = "select exists (select from pg_stat_activity where pid = $1)";
    while client.query_one(there, &[&pid]).await.unwrap().get(0) {
        tokio::task::yield_now().await;
    }
}

/// Two contacts, conversations, runs, step contacts, tags on contacts, and records; and the tag.
const ROWS: i64 = 13;

//! The connection is cut at each answer of the server, one after the other. Either all rows are stored, or none.
#![cfg(feature = "testing")]

mod support;

use enroll::RepositoryErrorKind::Unavailable;
use enroll::inbox::InboxEntry;
use enroll::{AsyncInbox, AsyncRepository, EnrollError};
use enroll_postgres::PostgresClient;
use enroll_postgres::needs_postgres;
use std::time::Duration;
use support::connection::Connection;
use support::{
    LEASE, Request, block_on, body, connect, count_rows, database, id, open, organization, pid, postgres_error,
    until_session_ended,
};

#[test]
#[ignore = needs_postgres!()]
fn a_cut_connection_leaves_an_enrollment_completed_or_accepted() {
    block_on(async {
        let url = database().await;
        let (mut other, observer) = (open(&url).await, connect(&url).await);
        let mut outcomes = Vec::new();
        for answer in 1.. {
            let request = Request::new(answer as u128, &body(answer * 10, 2));
            let accepted = request.accept(&mut other).await.unwrap();
            let before = count_rows(&observer).await;
            let (connection, mut worker, pid) = prepared(&url).await;
            connection.cut_at(answer);
            let processed = request.process(&mut worker).await;
            drop(worker);
            until_session_ended(&observer, pid).await;
            let entry = found(&mut other, &request).await;
            let (state, written) = (entry.enrollment.state.as_str(), count_rows(&observer).await - before);
            outcomes.push(state);
            let whole = state == "completed" && written == ROWS && entry.command.is_none();
            let nothing = state == "accepted" && written == 0 && entry.command.is_some();
            assert!(whole || nothing, "cut at {answer}: {state}, {written} rows");
            // The next worker completes it, once.
            assert_eq!(request.process(&mut other).await.unwrap().enrollment_id, accepted.enrollment_id);
            assert_eq!(count_rows(&observer).await - before, ROWS);
            match processed {
                Ok(report) => {
                    assert_eq!((whole, report.outcomes.len()), (true, 2));
                    break;
                }
                Err(EnrollError::Repository(error)) => assert_eq!(postgres_error(&error).0, Unavailable, "{error:?}"),
                Err(error) => panic!("{error}"),
            }
        }
        // Only after a lost answer to COMMIT are the rows stored although the worker got an error. The last run was not cut.
        let (before, last) = outcomes.split_at(outcomes.len() - 2);
        assert!(before.len() > 40 && before.iter().all(|state| *state == "accepted"), "{outcomes:?}");
        assert_eq!(last, ["completed", "completed"]);
    });
}

#[test]
#[ignore = needs_postgres!()]
fn a_cut_connection_leaves_a_request_accepted_or_absent() {
    block_on(async {
        let url = database().await;
        let (mut other, observer) = (open(&url).await, connect(&url).await);
        for answer in 1.. {
            let request = Request::new(answer as u128, &body(answer * 10, 2));
            let (connection, mut sender, pid) = prepared(&url).await;
            connection.cut_at(answer);
            let accepted = request.accept(&mut sender).await;
            drop(sender);
            until_session_ended(&observer, pid).await;
            let stored = other.find(organization(), id(request.id)).await.unwrap();
            assert!(stored.is_some() || accepted.is_err(), "a receipt without an enrollment, cut at {answer}");
            // The sender tries again with the same id.
            let again = request.accept(&mut other).await.unwrap();
            assert!(stored.is_none_or(|entry| entry.enrollment.at == again.accepted_at));
            assert_eq!(request.process(&mut other).await.unwrap().counts().added, 2);
            if accepted.is_ok() {
                assert!(answer >= 10, "{answer}");
                break;
            }
        }
    });
}

#[test]
#[ignore = needs_postgres!()]
fn a_cut_connection_leaves_an_enrollment_claimed_or_unclaimed() {
    block_on(async {
        let url = database().await;
        let (mut other, observer) = (open(&url).await, connect(&url).await);
        for answer in 1.. {
            let request = Request::new(answer as u128, &body(answer * 10, 2));
            request.accept(&mut other).await.unwrap();
            let (connection, mut worker, pid) = prepared(&url).await;
            connection.cut_at(answer);
            let claimed = worker.claim(Duration::ZERO).await;
            drop(worker);
            until_session_ended(&observer, pid).await;
            // An unknown claim is a lost lease.
            let claim = other.claim(LEASE).await.unwrap().unwrap();
            assert_eq!((claim.enrollment_id, claim.attempts), (id(request.id), 0));
            assert_eq!(claim.lease, u64::from(claim.lost_leases) + 1);
            assert!(claim.lost_leases == 1 || claimed.is_err(), "cut at {answer}");
            request.process(&mut other).await.unwrap();
            if claimed.is_ok() {
                break;
            }
        }
    });
}

/// Opens a connection with prepared statements. Returns its process id too.
async fn prepared(url: &str) -> (Connection, PostgresClient, i32) {
    let connection = Connection::default();
    let mut repository = PostgresClient::new(connection.connect(url).await);
    let query = Request::new(0, &body(0, 1)).enrollment().reference_query();
    repository.reference_data(&query).await.unwrap();
    let pid = pid(repository.client()).await;
    (connection, repository, pid)
}

async fn found(inbox: &mut PostgresClient, request: &Request) -> InboxEntry {
    inbox.find(organization(), id(request.id)).await.unwrap().unwrap()
}

/// Two contacts with a conversation, a run, a step contact, a tag assignment and a record each, and one tag.
const ROWS: i64 = 14;

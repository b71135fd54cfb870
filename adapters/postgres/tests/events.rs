//! Events of PostgreSQL: concurrent readers and writers, deleted rows, privileges, and isolation levels.
#![cfg(feature = "testing")]

mod support;

use std::num::NonZeroU32;

use enroll::EnrollmentId;
use enroll::events::{AsyncEventLog, Event, EventKind, EventPosition};
use enroll::uuid::{Uuid, Version};
use enroll_postgres::needs_postgres;
use enroll_postgres::{PostgresError, PostgresRepository};
use futures_util::future::join_all;
use support::{Request, block_on, body, connect, database, open, organization, postgres_error};
use tokio_postgres::error::SqlState;

async fn with_events() -> String {
    let url = database().await;
    PostgresRepository::connect(&url, 1).await.unwrap().enable_events(true).await.unwrap();
    url
}

async fn events(url: &str) -> Vec<Event> {
    open(url).await.events(EventPosition::START, NonZeroU32::MAX).await.unwrap()
}

const WRITERS: u128 = 4;
const REQUESTS: u128 = 15;

/// Each reader goes on from its last position, while writers commit and the other readers assign positions.
#[test]
#[ignore = needs_postgres!()]
fn concurrent_readers_see_each_event_once_and_in_one_order() {
    block_on(async {
        let url = with_events().await;
        let writers = (0..WRITERS).map(|writer| {
            let url = url.clone();
            support::RUNTIME.spawn(async move {
                let mut handle = open(&url).await;
                for n in 0..REQUESTS {
                    Request::new(1 + writer * 100 + n, &body(0, 1)).accept(&mut handle).await.unwrap();
                }
            })
        });
        let readers = (0..3).map(|reader| {
            let url = url.clone();
            support::RUNTIME.spawn(async move {
                let mut handle = open(&url).await;
                let limit = NonZeroU32::new([1, 7, 1000][reader]).unwrap();
                let (mut position, mut seen) = (EventPosition::START, Vec::new());
                while (seen.len() as u128) < WRITERS * REQUESTS {
                    let events = handle.events(position, limit).await.unwrap();
                    position = events.last().map_or(position, |event| event.position);
                    seen.extend(events.into_iter().map(|event| (event.position, event.enrollment_id)));
                }
                seen
            })
        });
        let (writers, readers): (Vec<_>, Vec<_>) = (writers.collect(), readers.collect());
        for written in join_all(writers).await {
            written.unwrap();
        }
        let seen: Vec<Vec<(EventPosition, EnrollmentId)>> =
            join_all(readers).await.into_iter().map(Result::unwrap).collect();
        assert!(seen[0].is_sorted_by(|one, next| one.0 < next.0));
        assert!(seen.iter().all(|of_reader| *of_reader == seen[0]));
        let mut ids: Vec<EnrollmentId> = seen[0].iter().map(|(_, id)| *id).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len() as u128, WRITERS * REQUESTS);
    });
}

#[test]
#[ignore = needs_postgres!()]
fn a_deleted_enrollment_keeps_its_events_and_an_organization_does_not() {
    block_on(async {
        let url = with_events().await;
        let mut handle = open(&url).await;
        let request = Request::new(1, &body(0, 2));
        request.accept(&mut handle).await.unwrap();
        request.process(&mut handle).await.unwrap();
        let client = connect(&url).await;
        client.execute("delete from enroll.enrollments", &[]).await.unwrap();
        let kinds: Vec<_> = events(&url).await.iter().map(|event| event.kind).collect();
        assert_eq!(kinds, [EventKind::Accepted, EventKind::Completed]);
        let other = Uuid::from_u128(99);
        let of_another = "insert into enroll.events (organization_id, kind, enrollment_id, sequence_id)
            values ($1, 'accepted', $1, $1)";
        client.execute(of_another, &[&other]).await.unwrap();
        let delete = "delete from enroll.organizations where organization_id = $1";
        client.execute(delete, &[&organization().as_uuid()]).await.unwrap();
        let left = events(&url).await;
        assert_eq!(left.iter().map(|event| event.organization_id.as_uuid()).collect::<Vec<_>>(), [other]);
        assert_eq!(left[0].id.as_uuid().get_version(), Some(Version::Random));
    });
}

/// A role that only uses the tables cannot enable events, but it works with them.
#[test]
#[ignore = needs_postgres!()]
fn only_the_owner_enables_events() {
    block_on(async {
        let url = database().await;
        let owner = connect(&url).await;
        let role = format!("enroll_test_events_{}", std::process::id());
        let grants = format!(
            "create role {role} login; grant usage on schema enroll to {role};
            grant select, insert, update, delete on all tables in schema enroll to {role}"
        );
        owner.batch_execute(&grants).await.unwrap();
        let separator = if url.contains('?') { '&' } else { '?' };
        let options = enroll_postgres::ConnectOptions::from_address(&format!("{url}{separator}user={role}")).unwrap();
        let mut repository = PostgresRepository::with_options(&options, 1).unwrap();
        let error = repository.enable_events(true).await.unwrap_err();
        assert!(matches!(postgres_error(&error).1, PostgresError::Denied(_)), "{error:?}");
        assert!(!repository.events_enabled().await.unwrap());
        PostgresRepository::connect(&url, 1).await.unwrap().enable_events(true).await.unwrap();
        repository.enable_events(true).await.unwrap();
        Request::new(1, &body(0, 1)).accept(&mut repository).await.unwrap();
        assert_eq!(repository.events(EventPosition::START, NonZeroU32::MIN).await.unwrap().len(), 1);
        drop(repository);
    });
}

/// A snapshot from before an assignment would assign a position after one that it does not see.
#[test]
#[ignore = needs_postgres!()]
fn a_host_assigns_no_position_on_an_old_snapshot() {
    block_on(async {
        let url = with_events().await;
        let mut handle = open(&url).await;
        Request::new(1, &body(0, 1)).accept(&mut handle).await.unwrap();
        let host = connect(&url).await;
        host.batch_execute("begin isolation level repeatable read; select from enroll.events").await.unwrap();
        assert_eq!(events(&url).await.len(), 1);
        let read = "select position from enroll.events_after(0, 10)";
        let error = host.query(read, &[]).await.unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::T_R_SERIALIZATION_FAILURE));
    });
}

/// Copied rows keep their positions, and those without one get the next.
#[test]
#[ignore = needs_postgres!()]
fn a_copy_of_the_database_goes_on() {
    block_on(async {
        let url = with_events().await;
        let mut handle = open(&url).await;
        Request::new(1, &body(0, 1)).accept(&mut handle).await.unwrap();
        let before = events(&url).await;
        Request::new(2, &body(0, 1)).accept(&mut handle).await.unwrap();
        // A logical copy writes the rows as they are, also the one without a position.
        let client = connect(&url).await;
        let copy = "create temporary table copied as table enroll.events; delete from enroll.events;
            insert into enroll.events overriding system value select * from copied";
        client.batch_execute(copy).await.unwrap();
        let after = events(&url).await;
        assert_eq!(after[..1], before[..]);
        assert_eq!(after.iter().map(|event| event.enrollment_id).collect::<Vec<_>>(), [1, 2].map(support::id));
        assert!(after[1].position > before[0].position);
    });
}

/// A deletion can still be rolled back. Then its event must not get a later position than a newer one.
#[test]
#[ignore = needs_postgres!()]
fn a_reader_waits_for_the_deletion_of_an_event() {
    block_on(async {
        let url = with_events().await;
        let mut handle = open(&url).await;
        Request::new(1, &body(0, 1)).accept(&mut handle).await.unwrap();
        let host = connect(&url).await;
        host.batch_execute("begin; delete from enroll.events").await.unwrap();
        Request::new(2, &body(0, 1)).accept(&mut handle).await.unwrap();

        let reader = connect(&url).await;
        reader.batch_execute("set lock_timeout = '10ms'").await.unwrap();
        let error = reader.query("select position from enroll.events_after(0, 10)", &[]).await.unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::LOCK_NOT_AVAILABLE));

        host.batch_execute("rollback").await.unwrap();
        let ids: Vec<_> = events(&url).await.iter().map(|event| event.enrollment_id).collect();
        assert_eq!(ids, [1, 2].map(support::id));
    });
}

#[test]
#[ignore = needs_postgres!()]
fn a_fault_without_a_code_does_not_stop_readers() {
    block_on(async {
        let url = with_events().await;
        Request::new(1, &body(0, 1)).accept(&mut open(&url).await).await.unwrap();
        let reject = r#"update enroll.enrollments set state = 'rejected', due_at = null, command = null,
            completed_at = now(), rejection = '{"errors": [{}, {"code": "invalid_type"}]}'"#;
        connect(&url).await.batch_execute(reject).await.unwrap();
        let codes: Vec<_> = events(&url).await.into_iter().map(|event| event.codes).collect();
        assert_eq!(codes, [vec![], vec!["invalid_type".to_owned()]]);
    });
}

/// For example, a host has emptied all tables.
#[test]
#[ignore = needs_postgres!()]
fn a_log_without_its_last_position_is_an_error() {
    block_on(async {
        let url = with_events().await;
        let mut handle = open(&url).await;
        Request::new(1, &body(0, 1)).accept(&mut handle).await.unwrap();
        connect(&url).await.batch_execute("truncate enroll.event_log").await.unwrap();
        handle.events(EventPosition::START, NonZeroU32::MIN).await.unwrap_err();
    });
}

//! A command that a newer build stored is left to newer workers, and a damaged one is an error.
#![cfg(feature = "testing")]

mod support;

use enroll::inbox::InboxEntry;
use enroll::{AsyncInbox, EnrollError, StoredCommand};
use enroll_postgres::needs_postgres;
use support::{LEASE, Request, block_on, body, connect, database, open};

#[test]
#[ignore = needs_postgres!()]
fn a_command_of_a_newer_version_is_released_without_a_failed_attempt() {
    block_on(async {
        let url = database().await;
        let (client, mut repository) = (connect(&url).await, open(&url).await);
        let request = Request::new(1, &body(0, 2));
        request.accept(&mut repository).await.unwrap();
        let newer = "update enroll.enrollments set command =
            jsonb_set(jsonb_set(command::jsonb, '{v}', '3'), '{policy,consent}', '\"new\"')";
        client.batch_execute(newer).await.unwrap();
        let claim = repository.claim(LEASE).await.unwrap().unwrap();
        let error = request.process(&mut repository).await.unwrap_err();
        assert!(matches!(error, EnrollError::NewerVersion { version: 3, .. }), "{error}");
        repository.release(&claim, LEASE).await.unwrap();
        let InboxEntry { command, attempts, error, .. } =
            repository.find(claim.organization_id, claim.enrollment_id).await.unwrap().unwrap();
        assert_eq!((command, attempts, error), (Some(StoredCommand::Newer { version: 3 }), 0, None));
        assert_eq!(repository.claim(LEASE).await.unwrap(), None);
    });
}

#[test]
#[ignore = needs_postgres!()]
fn unknown_fields_of_a_known_version_are_ignored_and_a_damaged_command_is_an_error() {
    block_on(async {
        let url = database().await;
        let (client, mut repository) = (connect(&url).await, open(&url).await);
        let request = Request::new(1, &body(0, 2));
        request.accept(&mut repository).await.unwrap();
        let damaged = "update enroll.enrollments set command = command::jsonb || '{\"at\": 7}'";
        client.batch_execute(damaged).await.unwrap();
        let error = request.process(&mut repository).await.unwrap_err();
        assert!(matches!(error, EnrollError::Repository(_)), "{error}");
        let with_fields = "update enroll.enrollments set command = jsonb_set(
            command::jsonb || jsonb_build_object('at', to_char(at at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS.MS\"Z\"'), 'new', 1),
            '{policy,new}', '1')";
        client.batch_execute(with_fields).await.unwrap();
        assert_eq!(request.process(&mut repository).await.unwrap().counts().added, 2);
    });
}

//! A command that a newer build stored is left to newer workers, and a damaged one is an error.
#![cfg(feature = "testing")]

mod support;

use enroll::inbox::InboxEntry;
use enroll::{EnrollError, Inbox, StoredCommand};
use support::{LEASE, TestRequest, at, in_memory, process};

#[test]
fn a_command_of_a_newer_version_is_released_without_a_failed_attempt() {
    let mut repository = in_memory();
    TestRequest::new("one", 0..2).accept(&mut repository).unwrap();
    let newer = "update enroll_enrollments set command = json_set(command, '$.v', 3, '$.policy.consent', 'new')";
    repository.connection().execute(newer, []).unwrap();
    let claim = repository.claim(LEASE).unwrap().unwrap();
    let error = process(&mut repository, claim, at(1)).unwrap_err();
    assert!(matches!(error, EnrollError::NewerVersion { version: 3, .. }), "{error}");
    repository.release(&claim, LEASE).unwrap();
    let InboxEntry { command, attempts, error, .. } =
        repository.find(claim.organization_id, claim.enrollment_id).unwrap().unwrap();
    assert_eq!((command, attempts, error), (Some(StoredCommand::Newer { version: 3 }), 0, None));
    assert_eq!(repository.claim(LEASE).unwrap(), None);
}

#[test]
fn unknown_fields_of_a_known_version_are_ignored() {
    let mut repository = in_memory();
    TestRequest::new("one", 0..2).accept(&mut repository).unwrap();
    let with_fields = "update enroll_enrollments set command = \
         json_set(command, '$.new', 1, '$.policy.new', 1, '$.recipients[0].new', json('{\"deep\": []}'))";
    repository.connection().execute(with_fields, []).unwrap();
    let claim = repository.claim(LEASE).unwrap().unwrap();
    assert_eq!(process(&mut repository, claim, at(1)).unwrap().counts().added, 2);
}

#[test]
fn a_damaged_command_is_an_error_of_the_repository() {
    let mut repository = in_memory();
    TestRequest::new("one", 0..2).accept(&mut repository).unwrap();
    repository
        .connection()
        .execute("update enroll_enrollments set command = json_remove(command, '$.at')", [])
        .unwrap();
    let claim = repository.claim(LEASE).unwrap().unwrap();
    let error = process(&mut repository, claim, at(1)).unwrap_err();
    assert!(matches!(error, EnrollError::Repository(_)), "{error}");
}

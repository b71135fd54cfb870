//! The operation step by step: races and lost commits as scripts.

#[path = "../examples/shared/mod.rs"]
mod shared;

use enroll::operation::{self, Accepted, CommitStep, ReferenceDataStep, SnapshotStep, Step};
use enroll::{
    Engine, EnrollError, Enrolled, Enrollment, EnrollmentKey, EnrollmentPolicy, EnrollmentRequest, InMemoryRepository,
    Inbox, ProcessOutcome, Recipient, Repository, RepositoryError, RepositoryErrorKind, Retry, Timestamp, accept,
    enroll_contacts, process,
};

fn repository() -> InMemoryRepository {
    let repository = InMemoryRepository::new();
    repository.insert(shared::organization());
    repository
}

fn request() -> EnrollmentRequest<'static> {
    EnrollmentRequest::new([Recipient::new("+1 202 555 0123")])
}

fn enrollment<'a>(request: &'a EnrollmentRequest<'a>, key: &'a str) -> Enrollment<'a> {
    Enrollment {
        organization_id: shared::ORGANIZATION,
        sequence_id: shared::SEQUENCE,
        key: EnrollmentKey::Idempotency(key),
        at: "2026-02-01T15:00:00Z".parse().unwrap(),
        list: None,
        request,
    }
}

fn now() -> Timestamp {
    "2026-02-01T15:01:00Z".parse().unwrap()
}

#[track_caller]
fn reads<T: std::fmt::Debug>(step: Step<'_, T>) -> ReferenceDataStep<'_, T> {
    let Step::ReferenceData(step) = step else { panic!("{step:?}") };
    step
}

#[track_caller]
fn loads<T: std::fmt::Debug>(step: Step<'_, T>) -> SnapshotStep<T> {
    let Step::Snapshot(step) = step else { panic!("{step:?}") };
    step
}

#[track_caller]
fn commits<T: std::fmt::Debug>(step: Step<'_, T>) -> CommitStep<T> {
    let Step::Commit(step) = step else { panic!("{step:?}") };
    step
}

#[track_caller]
fn done<T: std::fmt::Debug>(step: Step<'_, T>) -> T {
    let Step::Done(result) = step else { panic!("{step:?}") };
    result
}

/// Answers the steps from the repository up to the commit.
fn up_to_the_commit(storage: &mut InMemoryRepository, step: Step<'_, Enrolled>) -> CommitStep<Enrolled> {
    let read = reads(step);
    let reference = storage.reference_data(read.query()).unwrap();
    let load = loads(read.resume(&reference).unwrap());
    let snapshot = storage.load(load.query()).unwrap();
    commits(load.resume(snapshot).unwrap())
}

fn conflict() -> Result<(), RepositoryError> {
    Err(RepositoryError::new(RepositoryErrorKind::Conflict, "another writer"))
}

#[test]
fn an_enrollment_reads_loads_and_commits_once_each() {
    let (mut storage, policy, request) = (repository(), EnrollmentPolicy::default(), request());
    let commit = up_to_the_commit(&mut storage, operation::enroll(&Engine::new(&policy), &enrollment(&request, "a")));
    assert_eq!(commit.changes().rows().contacts_created.len(), 1);
    let committed = storage.commit(commit.changes());
    let enrolled = done(commit.resume(committed).unwrap());
    assert!(!enrolled.replayed);
    assert_eq!(enrolled.report.counts().added, 1);
}

#[test]
fn after_a_lost_race_the_operation_plans_again_on_a_new_snapshot() {
    let (mut storage, policy, request) = (repository(), EnrollmentPolicy::default(), request());
    let engine = Engine::new(&policy);
    let commit = up_to_the_commit(&mut storage, operation::enroll(&engine, &enrollment(&request, "slow")));
    // Another writer enrolls the same phone first.
    enroll_contacts(&mut storage, &engine, &enrollment(&request, "fast")).unwrap();
    let committed = storage.commit(commit.changes());
    assert_eq!(committed.as_ref().unwrap_err().kind(), RepositoryErrorKind::Conflict);
    let load = loads(commit.resume(committed).unwrap());
    let snapshot = storage.load(load.query()).unwrap();
    let commit = commits(load.resume(snapshot).unwrap());
    assert_eq!(commit.changes().rows().contacts_created, []);
    let committed = storage.commit(commit.changes());
    let enrolled = done(commit.resume(committed).unwrap());
    assert!(!enrolled.replayed);
    assert_eq!(enrolled.report.counts().reprocessed, 1);
}

#[test]
fn two_workers_of_one_request_end_with_one_report() {
    let (mut storage, policy, request) = (repository(), EnrollmentPolicy::default(), request());
    let engine = Engine::new(&policy);
    let commit = up_to_the_commit(&mut storage, operation::enroll(&engine, &enrollment(&request, "same")));
    let first = enroll_contacts(&mut storage, &engine, &enrollment(&request, "same")).unwrap();
    let committed = storage.commit(commit.changes());
    let load = loads(commit.resume(committed).unwrap());
    let snapshot = storage.load(load.query()).unwrap();
    let second = done(load.resume(snapshot).unwrap());
    assert_eq!((first.replayed, second.replayed), (false, true));
    assert_eq!(second.report, first.report);
}

#[test]
fn a_commit_whose_answer_is_lost_is_reported_and_found_by_the_next_call() {
    let (mut storage, policy, request) = (repository(), EnrollmentPolicy::default(), request());
    let engine = Engine::new(&policy);
    let commit = up_to_the_commit(&mut storage, operation::enroll(&engine, &enrollment(&request, "lost")));
    // The rows are written, and the connection breaks before the answer.
    storage.commit(commit.changes()).unwrap();
    let lost = RepositoryError::new(RepositoryErrorKind::Unavailable, "the connection broke");
    let error = commit.resume(Err(lost)).unwrap_err();
    assert!(matches!(&error, EnrollError::Repository(e) if e.kind() == RepositoryErrorKind::Unavailable), "{error}");
    // The same request again finds the report with its first query.
    let read = reads(operation::enroll(&engine, &enrollment(&request, "lost")));
    let reference = storage.reference_data(read.query()).unwrap();
    let enrolled = done(read.resume(&reference).unwrap());
    assert!(enrolled.replayed);
    assert_eq!(enrolled.report.counts().added, 1);
}

#[test]
fn the_last_conflict_ends_the_operation() {
    for (attempts, expected) in [(0, 1), (1, 1), (3, 3), (32, 32)] {
        let (mut storage, policy, request) = (repository(), EnrollmentPolicy::default(), request());
        let mut engine = Engine::new(&policy);
        engine.retry = Retry { attempts };
        let mut commit = up_to_the_commit(&mut storage, operation::enroll(&engine, &enrollment(&request, "a")));
        let mut commits_done = 1;
        let error = loop {
            match commit.resume(conflict()) {
                Ok(step) => {
                    let load = loads(step);
                    let snapshot = storage.load(load.query()).unwrap();
                    commit = commits(load.resume(snapshot).unwrap());
                    commits_done += 1;
                }
                Err(error) => break error,
            }
        };
        assert!(matches!(error, EnrollError::Contended { attempts } if attempts == expected), "{error}");
        assert_eq!(commits_done, expected);
    }
}

#[test]
fn a_preview_never_needs_a_commit() {
    let (mut storage, policy, request) = (repository(), EnrollmentPolicy::default(), request());
    let engine = Engine::new(&policy);
    let read = reads(operation::preview(&engine, &enrollment(&request, "a")));
    let reference = storage.reference_data(read.query()).unwrap();
    let load = loads(read.resume(&reference).unwrap());
    let snapshot = storage.load(load.query()).unwrap();
    let foreseen = done(load.resume(snapshot).unwrap());
    assert!(!foreseen.replayed);
    assert_eq!(foreseen.report.counts().added, 1);
    // A preview of a request that was completed before is its first report.
    enroll_contacts(&mut storage, &engine, &enrollment(&request, "a")).unwrap();
    let read = reads(operation::preview(&engine, &enrollment(&request, "a")));
    let reference = storage.reference_data(read.query()).unwrap();
    assert!(done(read.resume(&reference).unwrap()).replayed);
}

#[test]
fn accepting_needs_reference_data_and_an_insert() {
    let (mut storage, policy, request) = (repository(), EnrollmentPolicy::default(), request());
    let engine = Engine::new(&policy);
    let read = reads(operation::accept(&engine, &enrollment(&request, "a")));
    let reference = storage.reference_data(read.query()).unwrap();
    let Accepted::Insert(insert) = done(read.resume(&reference).unwrap()) else { panic!("it was accepted before") };
    // Another worker stores the same request first.
    let first = accept(&mut storage, &engine, &enrollment(&request, "a")).unwrap();
    let existing = Inbox::insert(&mut storage, insert.command()).unwrap();
    assert!(existing.is_some());
    let receipt = insert.resume(existing).unwrap();
    assert_eq!((receipt.enrollment_id, receipt.accepted_at), (first.enrollment_id, first.accepted_at));
    assert_eq!((first.replayed, receipt.replayed), (false, true));

    let read = reads(operation::accept(&engine, &enrollment(&request, "a")));
    let reference = storage.reference_data(read.query()).unwrap();
    let accepted = done(read.resume(&reference).unwrap());
    assert!(
        matches!(accepted, Accepted::Before(receipt) if receipt.replayed && receipt.enrollment_id == first.enrollment_id)
    );
}

#[test]
fn processing_that_loses_the_race_returns_the_first_outcome() {
    let (mut storage, policy, request) = (repository(), EnrollmentPolicy::default(), request());
    let id = accept(&mut storage, &Engine::new(&policy), &enrollment(&request, "a")).unwrap().enrollment_id;
    let found = storage.find(shared::ORGANIZATION, id).unwrap();
    let load = loads(operation::process(Retry::default(), id, found, now()).unwrap());
    let snapshot = storage.load(load.query()).unwrap();
    let commit = commits(load.resume(snapshot).unwrap());
    // Another worker completes it.
    let first = process(&mut storage, Retry::default(), shared::ORGANIZATION, id, now()).unwrap();
    let committed = storage.commit(commit.changes());
    let load = loads(commit.resume(committed).unwrap());
    let snapshot = storage.load(load.query()).unwrap();
    let second = done(load.resume(snapshot).unwrap());
    let (ProcessOutcome::Completed(first), ProcessOutcome::Completed(second)) = (&first, &second) else {
        panic!("{first:?}, {second:?}")
    };
    assert_eq!((first.replayed, second.replayed), (false, true));
    assert_eq!(first.report, second.report);
}

#[test]
fn processing_without_an_entry_is_not_found() {
    let request = request();
    let id = enrollment(&request, "a").id().unwrap();
    let error = operation::process(Retry::default(), id, None, now()).unwrap_err();
    assert!(matches!(error, EnrollError::NotFound(missing) if missing == id), "{error}");
}

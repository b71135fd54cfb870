//! Erasures while an enrollment is processed: scripts of calls on two handles.
#![cfg(feature = "testing")]

mod support;

use enroll::erase::{EraseMode, PersonQuery};
use enroll::operation::{self, Step};
use enroll::{EnrollError, Inbox, OrganizationId, Repository, RepositoryErrorKind, Retry};
use enroll_sqlite::SqliteRepository;
use support::{LEASE, ORGANIZATION, TestRequest, at, count, open_seeded, process};

#[test]
fn a_plan_from_before_an_erasure_is_not_committed_and_the_next_claim_works_without_the_person() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("enroll.db");
    let (mut worker, mut other) = (open_seeded(&file), SqliteRepository::open(&file).unwrap());
    let organization_id = OrganizationId::from_uuid(ORGANIZATION);
    let request = TestRequest::new("first", 0..2);
    let receipt = request.accept(&mut worker).unwrap();
    let id = receipt.enrollment_id;
    let claim = worker.claim(LEASE).unwrap().unwrap();
    let found = worker.find(organization_id, id).unwrap();
    let Step::Snapshot(load) = operation::process(Retry::default(), id, found, at(0)).unwrap() else { panic!() };
    let snapshot = worker.load(load.query()).unwrap();
    let Step::Commit(commit) = load.resume(snapshot).unwrap() else { panic!() };

    let person = PersonQuery::any("+12022000001");
    let counted = other.erase(organization_id, &person, EraseMode::Preview).unwrap();
    assert_eq!(other.erase(organization_id, &person, EraseMode::Confirmed).unwrap(), counted);
    assert_eq!((counted.recipients, counted.contacts), (1, 0));

    let refused = worker.commit(commit.changes());
    assert_eq!(refused.as_ref().unwrap_err().kind(), RepositoryErrorKind::Conflict);
    let Step::Snapshot(load) = commit.resume(refused).unwrap() else { panic!() };
    let snapshot = worker.load(load.query()).unwrap();
    let again = load.resume(snapshot);
    assert!(matches!(again, Err(EnrollError::Contended { .. })), "{again:?}");
    assert_eq!(count(worker.connection(), "enroll_contacts"), 0);

    let report = process(&mut worker, claim, at(0)).unwrap();
    assert_eq!((report.counts().added, report.outcomes.len()), (1, 2));
    assert_eq!(count(worker.connection(), "enroll_contacts where phone = '+12022000001'"), 0);
    assert_eq!(request.accept(&mut worker).unwrap().recipients, receipt.recipients, "the request is still recognized");
}

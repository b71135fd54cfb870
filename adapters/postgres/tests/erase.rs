//! Erasures while an enrollment is processed: scripts of calls on two handles.
#![cfg(feature = "testing")]

mod support;

use enroll::erase::{EraseMode, PersonQuery};
use enroll::operation::{self, Step};
use enroll::{AsyncInbox, AsyncRepository, EnrollError, RepositoryErrorKind, Retry};
use enroll_postgres::PostgresRepository;
use support::{Request, at, block_on, body, database, id, organization};

#[test]
#[ignore = enroll_postgres::needs_postgres!()]
fn a_plan_from_before_an_erasure_is_not_committed_and_the_next_call_works_without_the_person() {
    block_on(async {
        let url = database().await;
        let mut worker = PostgresRepository::connect(&url, 2).await.unwrap();
        let mut other = worker.clone();
        let request = Request::new(1, &body(0, 2));
        let receipt = request.accept(&mut worker).await.unwrap();
        let found = worker.find(organization(), id(1)).await.unwrap();
        let Step::Snapshot(load) = operation::process(Retry::default(), id(1), found, at(0)).unwrap() else { panic!() };
        let snapshot = worker.load(load.query()).await.unwrap();
        let Step::Commit(commit) = load.resume(snapshot).unwrap() else { panic!() };

        let person = PersonQuery::any("person1@EXAMPLE.com");
        let counted = other.erase(organization(), &person, EraseMode::Preview).await.unwrap();
        assert_eq!(other.erase(organization(), &person, EraseMode::Confirmed).await.unwrap(), counted);
        assert_eq!((counted.recipients, counted.contacts), (1, 0));

        let refused = worker.commit(commit.changes()).await;
        assert_eq!(refused.as_ref().unwrap_err().kind(), RepositoryErrorKind::Conflict);
        let Step::Snapshot(load) = commit.resume(refused).unwrap() else { panic!() };
        let snapshot = worker.load(load.query()).await.unwrap();
        let again = load.resume(snapshot);
        assert!(matches!(again, Err(EnrollError::Contended { .. })), "{again:?}");

        let report = request.process(&mut worker).await.unwrap();
        assert_eq!((report.counts().added, report.outcomes.len()), (1, 1));
        let erased = worker.query("select 1 from enroll.contacts where email_key = 'person1@example.com'", &[]);
        assert_eq!(erased.await.unwrap().len(), 0);
        assert_eq!(request.accept(&mut worker).await.unwrap().recipients, receipt.recipients);
    });
}

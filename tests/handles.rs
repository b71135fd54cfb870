//! The operations take every kind of handle: a repository, `&mut` of one, a box, and a boxed trait object.

#[path = "../examples/shared/mod.rs"]
mod shared;

use enroll::events::{AsyncEventLog, DynAsyncEventLog, EventKind, EventLog, EventPosition};
use enroll::{
    AsyncInbox, AsyncRepository, Disposition, DynAsyncInbox, DynAsyncRepository, Engine, Enrollment, EnrollmentKey,
    EnrollmentPolicy, EnrollmentRequest, InMemoryRepository, Inbox, ProcessOutcome, Recipient, Repository, Retry,
    Timestamp, accept, accept_async, enroll_contacts, enroll_contacts_async, process, process_async,
};
use std::num::NonZeroU32;

fn repository() -> InMemoryRepository {
    let repository = InMemoryRepository::new();
    repository.insert(shared::organization());
    repository
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

fn is_send<T: Send>(future: T) -> T {
    future
}

/// Enrolls one contact at once and a second one through the inbox.
async fn enroll_accept_process<I: AsyncInbox + ?Sized>(inbox: &mut I) {
    let policy = EnrollmentPolicy::default();
    let engine = Engine::new(&policy);
    let request = EnrollmentRequest::new([Recipient::new("+1 202 555 0123")]);
    let report = is_send(enroll_contacts_async(inbox, &engine, &enrollment(&request, "one"))).await.unwrap().report;
    assert_eq!(report.counts().added, 1);

    let request = EnrollmentRequest::new([Recipient::new("+1 202 555 0187")]);
    let receipt = is_send(accept_async(inbox, &engine, &enrollment(&request, "two"))).await.unwrap();
    let id = receipt.enrollment_id;
    let outcome = is_send(process_async(inbox, Retry::default(), shared::ORGANIZATION, id, now())).await.unwrap();
    let ProcessOutcome::Completed(enrolled) = outcome else { panic!("{outcome:?}") };
    assert_eq!(enrolled.report.outcomes[0].disposition, Disposition::Added);
}

fn enroll_accept_process_blocking<I: Inbox + ?Sized>(inbox: &mut I) {
    let policy = EnrollmentPolicy::default();
    let engine = Engine::new(&policy);
    let request = EnrollmentRequest::new([Recipient::new("+1 202 555 0123")]);
    let report = enroll_contacts(inbox, &engine, &enrollment(&request, "one")).unwrap().report;
    assert_eq!(report.counts().added, 1);

    let request = EnrollmentRequest::new([Recipient::new("+1 202 555 0187")]);
    let receipt = accept(inbox, &engine, &enrollment(&request, "two")).unwrap();
    let outcome = process(inbox, Retry::default(), shared::ORGANIZATION, receipt.enrollment_id, now()).unwrap();
    assert!(matches!(outcome, ProcessOutcome::Completed(_)), "{outcome:?}");
}

#[test]
fn the_async_operations_take_a_boxed_trait_object() {
    let mut inbox: Box<dyn DynAsyncInbox> = Box::new(repository());
    pollster::block_on(enroll_accept_process(&mut *inbox));
    let mut inbox: Box<dyn DynAsyncInbox> = Box::new(repository());
    pollster::block_on(enroll_accept_process(&mut inbox));
}

#[test]
fn the_async_operations_take_a_borrowed_trait_object() {
    let mut concrete = repository();
    let inbox: &mut dyn DynAsyncInbox = &mut concrete;
    pollster::block_on(enroll_accept_process(inbox));
}

#[test]
fn the_async_operations_take_a_mutable_reference_and_a_box() {
    pollster::block_on(enroll_accept_process(&mut &mut repository()));
    pollster::block_on(enroll_accept_process(&mut Box::new(repository())));
}

#[test]
fn enroll_contacts_async_takes_a_boxed_repository_object() {
    let mut boxed: Box<dyn DynAsyncRepository> = Box::new(repository());
    let policy = EnrollmentPolicy::default();
    let engine = Engine::new(&policy);
    let request = EnrollmentRequest::new([Recipient::new("+1 202 555 0123")]);
    let enrollment = enrollment(&request, "one");
    let enrolled = enroll_contacts_async(&mut *boxed, &engine, &enrollment);
    assert_eq!(pollster::block_on(enrolled).unwrap().report.counts().added, 1);
}

#[test]
fn the_blocking_operations_take_a_mutable_reference_a_box_and_a_trait_object() {
    enroll_accept_process_blocking(&mut &mut repository());
    enroll_accept_process_blocking(&mut Box::new(repository()));
    let mut inbox: Box<dyn Inbox> = Box::new(repository());
    enroll_accept_process_blocking(&mut *inbox);
    enroll_accept_process_blocking::<Box<dyn Inbox>>(&mut (Box::new(repository()) as Box<dyn Inbox>));
}

#[test]
fn every_pointer_to_a_repository_is_a_repository() {
    fn is_repository<R: Repository>() {}
    fn is_async_repository<R: AsyncRepository>() {}
    is_repository::<Box<dyn Repository>>();
    is_repository::<&mut dyn Repository>();
    is_async_repository::<Box<dyn DynAsyncRepository>>();
    is_async_repository::<&mut dyn DynAsyncRepository>();
    is_async_repository::<Box<dyn DynAsyncInbox>>();
}

/// Reads the events of one enrollment, and removes them.
async fn read_and_prune<L: AsyncEventLog + ?Sized>(log: &mut L) {
    let limit = NonZeroU32::MIN;
    let events = is_send(log.events(EventPosition::START, limit)).await.unwrap();
    assert_eq!(events.iter().map(|event| event.kind).collect::<Vec<_>>(), [EventKind::Completed]);
    assert_eq!(is_send(log.prune_events(now(), limit)).await.unwrap(), 1);
    assert_eq!(log.events(EventPosition::START, limit).await.unwrap(), []);
}

#[test]
fn every_handle_reads_events() {
    let enrolled = |handle: &mut dyn FnMut(InMemoryRepository)| {
        let mut repository = repository();
        repository.enable_events(true);
        let policy = EnrollmentPolicy::default();
        let request = EnrollmentRequest::new([Recipient::new("+1 202 555 0123")]);
        enroll_contacts(&mut repository, &Engine::new(&policy), &enrollment(&request, "one")).unwrap();
        handle(repository);
    };
    enrolled(&mut |mut log| pollster::block_on(read_and_prune(&mut log)));
    enrolled(&mut |mut log| pollster::block_on(read_and_prune(&mut &mut log)));
    enrolled(&mut |log| pollster::block_on(read_and_prune(&mut Box::new(log))));
    enrolled(&mut |log| {
        let mut log: Box<dyn DynAsyncEventLog> = Box::new(log);
        pollster::block_on(read_and_prune(&mut *log));
    });
    enrolled(&mut |log| {
        let mut log: Box<dyn EventLog> = Box::new(log);
        assert_eq!(log.events(EventPosition::START, NonZeroU32::MIN).unwrap().len(), 1);
        assert_eq!(log.prune_events(now(), NonZeroU32::MIN).unwrap(), 1);
    });
}

//! An error displays what failed, and `source()` returns the next cause: a printed chain repeats no message.

use enroll::changes::{ApplyError, Conflict};
use enroll::contact::{Email, KeyKind};
use enroll::memory::EditError;
use enroll::{
    ContactId, Engine, EnrollError, Enrollment, EnrollmentId, EnrollmentKey, EnrollmentPolicy, EnrollmentRequest,
    InMemoryRepository, OrganizationId, Recipient, Rejection, RepositoryError, RepositoryErrorKind, SequenceId,
    Timestamp, enroll_contacts,
};
use std::error::Error;
use std::fmt;
use uuid::Uuid;

/// A driver's error with a cause, as an adapter hands it over.
#[derive(Debug)]
struct Driver(std::io::Error);

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the statement was cut off")
    }
}

impl Error for Driver {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

fn driver() -> Driver {
    Driver(std::io::Error::other("connection reset by peer"))
}

fn chain(error: &(dyn Error + 'static)) -> Vec<String> {
    let (mut messages, mut next) = (Vec::new(), Some(error));
    while let Some(error) = next {
        messages.push(error.to_string());
        next = error.source();
    }
    messages
}

#[track_caller]
fn assert_repeats_nothing(error: &(dyn Error + 'static)) {
    let messages = chain(error);
    assert!(messages.iter().all(|message| !message.is_empty()), "{messages:?}");
    for (n, message) in messages.iter().enumerate() {
        for later in &messages[n + 1..] {
            assert!(!message.contains(later.as_str()), "`{later}` comes twice: {messages:#?}");
        }
    }
}

fn rejection() -> Rejection {
    let request = EnrollmentRequest::new([Recipient::new("+1 202 555 0123")]);
    let enrollment = Enrollment {
        organization_id: OrganizationId::from_uuid(Uuid::from_u128(1)),
        sequence_id: SequenceId::from_uuid(Uuid::from_u128(2)),
        key: EnrollmentKey::Id(EnrollmentId::from_uuid(Uuid::from_u128(3))),
        at: Timestamp::EPOCH,
        list: None,
        request: &request,
    };
    let policy = EnrollmentPolicy::default();
    match enroll_contacts(&mut InMemoryRepository::new(), &Engine::new(&policy), &enrollment) {
        Err(EnrollError::Rejected(rejection)) => rejection,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_repository_error_displays_what_happened_in_the_storage() {
    let error = RepositoryError::new(RepositoryErrorKind::Unavailable, driver());
    let expected = ["the storage is unavailable: the statement was cut off", "connection reset by peer"];
    assert_eq!(chain(&error), expected);
    assert!(error.inner().downcast_ref::<Driver>().is_some());
    assert!(error.into_inner().downcast::<Driver>().is_ok());
    let error = RepositoryError::new(RepositoryErrorKind::Other, "no such table");
    assert_eq!(chain(&error), ["the storage failed: no such table"]);
}

#[test]
fn no_error_prints_its_source() {
    let id = ContactId::from_uuid(Uuid::from_u128(7));
    let organization_id = OrganizationId::from_uuid(Uuid::from_u128(1));
    let enrollment_id = EnrollmentId::from_uuid(Uuid::from_u128(3));
    let conflict = || Conflict::KeyHeld { key: KeyKind::Phone, text: "+12025550123".into(), holder: id };
    let repository = |kind| RepositoryError::new(kind, driver());
    let errors: Vec<Box<dyn Error>> = vec![
        Box::new(repository(RepositoryErrorKind::Conflict)),
        Box::new(repository(RepositoryErrorKind::Unavailable)),
        Box::new(repository(RepositoryErrorKind::Other)),
        Box::new(RepositoryError::new(RepositoryErrorKind::Conflict, ApplyError::from(conflict()))),
        Box::new(EnrollError::from(repository(RepositoryErrorKind::Other))),
        Box::new(EnrollError::from(rejection())),
        Box::new(EnrollError::Contended { attempts: 32 }),
        Box::new(EnrollError::Unfinished { enrollment_id, state: "accepted" }),
        Box::new(EnrollError::NewerVersion { enrollment_id, version: 2 }),
        Box::new(EnrollError::NotFound(enrollment_id)),
        Box::new(ApplyError::from(conflict())),
        Box::new(ApplyError::IdExists(Uuid::from_u128(9))),
        Box::new(EditError::from(conflict())),
        Box::new(EditError::NoOrganization(organization_id)),
        Box::new(rejection()),
        Box::new("tomorrow".parse::<Timestamp>().unwrap_err()),
        Box::new(Email::parse("ada").unwrap_err()),
    ];
    for error in &errors {
        assert_repeats_nothing(&**error);
    }
}

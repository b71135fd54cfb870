//! The spans of calls and statements. None has personal data.
#![cfg(all(feature = "tracing", feature = "testing"))]

#[path = "support/recorder.rs"]
mod recorder;

use enroll::model::ChannelKind::Phone;
use enroll::testing::fixture;
use enroll::{
    ChangeSet, Engine, Enrollment, EnrollmentKey, EnrollmentPolicy, EnrollmentRequest, Inbox, ReferenceData,
    ReferenceQuery, Repository, RepositoryError, Retry, Snapshot, SnapshotQuery, accept, enroll_contacts, process,
};
use enroll_sqlite::{SqliteRepository, SqliteTransaction, seed};
use recorder::Recorder;
use std::time::Duration;

const BODY: &str = r#"{"to": [{"phone": "+12025550187", "name": "Distinctive Person", "email": "distinctive@example.org",
    "external_id": "distinctive-7", "notes": "distinctive notes"}, {"phone": "+12025550188"}]}"#;
/// Parts of the values above and of the stored contact.
const PERSONAL: [&str; 4] = ["2025550", "distinctive", "example.org", "person"];

/// A repository in which the host changes a contact before each of the first commits.
struct Racing {
    inner: SqliteRepository,
    races: u32,
}

impl Repository for Racing {
    fn reference_data(&mut self, query: &ReferenceQuery) -> Result<ReferenceData, RepositoryError> {
        self.inner.reference_data(query)
    }

    fn load(&mut self, query: &SnapshotQuery) -> Result<Snapshot, RepositoryError> {
        self.inner.load(query)
    }

    fn commit(&mut self, changes: &ChangeSet) -> Result<(), RepositoryError> {
        if self.races > 0 {
            self.races -= 1;
            let sql = "update enroll_contacts set name = name || 'x' where phone = '+12025550188'";
            assert_eq!(self.inner.connection().execute(sql, []).unwrap(), 1);
        }
        self.inner.commit(changes)
    }
}

fn with_enrollment<T>(key: &str, run: impl FnOnce(&Engine<'_>, &Enrollment<'_>) -> T) -> T {
    let world = fixture().sequence("Welcome").step(Phone);
    let request = EnrollmentRequest::from_json(BODY.as_bytes());
    let enrollment = Enrollment {
        organization_id: world.seed().organization_id,
        sequence_id: world.sequence_id(),
        key: EnrollmentKey::Idempotency(key),
        at: world.seed().now.unwrap(),
        list: None,
        request: &request,
    };
    run(&Engine::new(&EnrollmentPolicy::default()), &enrollment)
}

fn repository() -> SqliteRepository {
    let repository = SqliteRepository::open_in_memory().unwrap();
    let world = fixture().sequence("Welcome").step(Phone).contact("+12025550188");
    seed::load(repository.connection(), world.seed()).unwrap();
    repository.connection().execute("update enroll_contacts set name = 'Stored Person'", []).unwrap();
    repository
}

#[test]
fn a_commit_has_its_attempts_its_conflicts_and_its_statements() {
    let recorder = Recorder::default();
    let mut racing = Racing { inner: repository(), races: 2 };
    let enrolled = tracing::subscriber::with_default(recorder.subscriber(), || {
        with_enrollment("first", |engine, enrollment| enroll_contacts(&mut racing, engine, enrollment)).unwrap()
    });
    assert_eq!(enrolled.report.counts().added, 2);

    let commits = recorder.named("commit");
    let of = |field: &str| commits.iter().map(|commit| commit.get(field).to_owned()).collect::<Vec<_>>();
    assert_eq!(of("attempt"), ["1", "2", "3"]);
    assert_eq!(of("outcome"), ["conflict", "conflict", "committed"]);
    let contact = enrolled.report.outcomes[1].contact_id.unwrap();
    assert_eq!(commits[0].get("conflict"), format!("contact `{contact}` changed"));
    assert_eq!(commits[2].get("enrollment"), enrolled.report.enrollment_id.to_string());
    assert_eq!((commits[2].get("contacts_created"), commits[2].get("step_contacts")), ("1", "2"));
    assert_eq!([recorder.named("conflict").len(), recorder.named("committed").len()], [2, 1]);
    assert_eq!(recorder.named("load").len(), 3);

    let statements = recorder.named("statement");
    let rows = |summary: &str, parent: &str| {
        let found = statements.iter().filter(|span| span.get("db.query.summary") == summary && span.parent == parent);
        found.map(|span| span.get("rows").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(rows("insert enroll_step_contacts", "commit").last().unwrap(), "2");
    assert_eq!(rows("insert enroll_contacts", "commit"), ["1"]);
    assert!(rows("select enroll_contacts", "load").contains(&"1".to_owned()), "{statements:?}");
    assert!(statements.iter().all(|span| !span.get("rows").is_empty()), "{statements:?}");
    recorder.assert_without(&PERSONAL);
}

#[test]
fn each_call_has_a_span_without_personal_data() {
    let recorder = Recorder::default();
    tracing::subscriber::with_default(recorder.subscriber(), || {
        let mut repository = repository();
        let receipt =
            with_enrollment("first", |engine, enrollment| accept(&mut repository, engine, enrollment)).unwrap();
        let claim = repository.claim(Duration::from_secs(60)).unwrap().unwrap();
        process(
            &mut repository,
            Retry::default(),
            claim.organization_id,
            claim.enrollment_id,
            "2026-02-01T15:00:01Z".parse().unwrap(),
        )
        .unwrap();
        assert!(repository.find(claim.organization_id, receipt.enrollment_id).unwrap().is_some());
        // In the host's transaction, and with a message of SQLite that quotes a row.
        let sql = "create trigger quote before insert on enroll_enrollments begin
             select raise(abort, 'distinctive person +12025550187'); end";
        repository.connection().execute_batch(sql).unwrap();
        let failed = repository.write(|transaction| {
            let mut transaction = SqliteTransaction::new(transaction)?;
            let failed =
                with_enrollment("second", |engine, enrollment| enroll_contacts(&mut transaction, engine, enrollment));
            assert!(failed.is_err(), "{failed:?}");
            Ok::<_, enroll_sqlite::SqliteError>(())
        });
        failed.unwrap();
    });
    for (call, count) in [("insert", 1), ("claim", 1), ("find", 2), ("reference_data", 2), ("load", 2)] {
        assert_eq!(recorder.named(call).len(), count, "{call}");
    }
    let outcomes: Vec<_> = recorder.named("commit").iter().map(|span| span.get("outcome").to_owned()).collect();
    assert_eq!(outcomes, ["committed", "other"]);
    recorder.assert_without(&PERSONAL);
}

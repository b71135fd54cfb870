//! The spans of calls and statements. None has personal data.
#![cfg(all(feature = "tracing", feature = "testing"))]

#[path = "../../sqlite/tests/support/recorder.rs"]
mod recorder;
mod support;

use enroll::model::ChannelKind::Phone;
use enroll::testing::fixture;
use enroll::{
    AsyncInbox, AsyncRepository, ChangeSet, Engine, Enrollment, EnrollmentKey, EnrollmentPolicy, EnrollmentRequest,
    ReferenceData, ReferenceQuery, RepositoryError, Retry, Snapshot, SnapshotQuery, accept_async,
    enroll_contacts_async, process_async,
};
use enroll_postgres::testing::Server;
use enroll_postgres::tokio_postgres::Client;
use enroll_postgres::{PostgresClient, PostgresTransaction, needs_postgres, seed};
use recorder::Recorder;
use std::time::Duration;
use support::{block_on, connect};
use tracing::instrument::WithSubscriber;

const BODY: &str = r#"{"to": [{"phone": "+12025550187", "name": "Distinctive Person", "email": "distinctive@example.org",
    "external_id": "distinctive-7"}, {"phone": "+12025550188"}]}"#;
/// Parts of the values above and of the stored contact.
const PERSONAL: [&str; 4] = ["2025550", "distinctive", "example.org", "person"];

/// A repository in which the host changes a contact before each of the first commits.
struct Racing {
    inner: PostgresClient,
    host: Client,
    races: u32,
}

impl AsyncRepository for Racing {
    async fn reference_data(&mut self, query: &ReferenceQuery) -> Result<ReferenceData, RepositoryError> {
        self.inner.reference_data(query).await
    }

    async fn load(&mut self, query: &SnapshotQuery) -> Result<Snapshot, RepositoryError> {
        self.inner.load(query).await
    }

    async fn commit(&mut self, changes: &ChangeSet) -> Result<(), RepositoryError> {
        if self.races > 0 {
            self.races -= 1;
            let sql = "update enroll.contacts set name = name || 'x' where phone = '+12025550188'";
            assert_eq!(self.host.execute(sql, &[]).await.unwrap(), 1);
        }
        self.inner.commit(changes).await
    }
}

/// Runs with an enrollment of [`BODY`].
macro_rules! with_enrollment {
    ($key:literal, |$engine:ident, $enrollment:ident| $run:expr) => {{
        let world = fixture().sequence("Welcome").step(Phone);
        let request = EnrollmentRequest::from_json(BODY.as_bytes());
        let $enrollment = Enrollment {
            organization_id: world.seed().organization_id,
            sequence_id: world.sequence_id(),
            key: EnrollmentKey::Idempotency($key),
            at: world.seed().now.unwrap(),
            list: None,
            request: &request,
        };
        let policy = EnrollmentPolicy::default();
        let $engine = Engine::new(&policy);
        $run
    }};
}

/// Returns two connections to a database with a contact.
async fn connections() -> (Client, Client) {
    let url = Server::shared().database().await.unwrap();
    let (mut client, host) = (connect(&url).await, connect(&url).await);
    let world = fixture().sequence("Welcome").step(Phone).contact("+12025550188");
    seed::load(&mut client, world.seed()).await.unwrap();
    host.batch_execute("update enroll.contacts set name = 'Stored Person'").await.unwrap();
    (client, host)
}

#[test]
#[ignore = needs_postgres!()]
fn a_commit_has_its_attempts_its_conflicts_and_its_statements() {
    let recorder = Recorder::default();
    block_on(async {
        let (client, host) = connections().await;
        let mut racing = Racing { inner: PostgresClient::new(client), host, races: 2 };
        let enrolling = async {
            with_enrollment!("first", |engine, enrollment| {
                enroll_contacts_async(&mut racing, &engine, &enrollment).await.unwrap().report
            })
        };
        let report = enrolling.with_subscriber(recorder.subscriber()).await;
        assert_eq!(report.counts().added, 2);

        let commits = recorder.named("commit");
        let of = |field: &str| commits.iter().map(|commit| commit.get(field).to_owned()).collect::<Vec<_>>();
        assert_eq!(of("attempt"), ["1", "2", "3"]);
        assert_eq!(of("outcome"), ["conflict", "conflict", "committed"]);
        let contact = report.outcomes[1].contact_id.unwrap();
        assert_eq!(commits[0].get("conflict"), format!("contact `{contact}` changed"));
        assert_eq!(commits[2].get("enrollment"), report.enrollment_id.to_string());
        assert_eq!((commits[2].get("contacts_created"), commits[2].get("step_contacts")), ("1", "2"));
        assert_eq!([recorder.named("conflict").len(), recorder.named("committed").len()], [2, 1]);
        assert_eq!(recorder.named("load").len(), 3);
    });
    let statements = recorder.named("statement");
    let rows = |name: &str, parent: &str| {
        let found = statements.iter().filter(|span| span.get("db.query.summary") == name && span.parent == parent);
        found.map(|span| span.get("rows").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(rows("insert_step_contacts", "commit"), ["2"]);
    assert_eq!(rows("insert_contacts", "commit"), ["1"]);
    assert_eq!(rows("contacts", "load"), ["1", "1", "1"]);
    recorder.assert_without(&PERSONAL);
}

#[test]
#[ignore = needs_postgres!()]
fn each_call_has_a_span_without_personal_data() {
    let recorder = Recorder::default();
    block_on(async {
        let (client, mut host) = connections().await;
        let calls = async {
            let mut inbox = PostgresClient::new(client);
            let receipt = with_enrollment!("first", |engine, enrollment| {
                accept_async(&mut inbox, &engine, &enrollment).await.unwrap()
            });
            let claim = inbox.claim(Duration::from_secs(60)).await.unwrap().unwrap();
            let now = "2026-02-01T15:00:01Z".parse().unwrap();
            let (organization_id, id) = (claim.organization_id, claim.enrollment_id);
            process_async(&mut inbox, Retry::default(), organization_id, id, now).await.unwrap();
            assert!(inbox.find(organization_id, receipt.enrollment_id).await.unwrap().is_some());
            // In the host's transaction, and with a message of PostgreSQL that quotes a row.
            let sql = "create function quote() returns trigger language plpgsql as $$
                 begin raise exception 'distinctive person +12025550187'; end $$;
                 create trigger quote before insert on enroll.enrollments for each row execute function quote()";
            host.batch_execute(sql).await.unwrap();
            let mut transaction = host.transaction().await.unwrap();
            let mut repository = PostgresTransaction::new(&mut transaction);
            let failed = with_enrollment!("second", |engine, enrollment| {
                enroll_contacts_async(&mut repository, &engine, &enrollment).await
            });
            assert!(failed.is_err(), "{failed:?}");
        };
        calls.with_subscriber(recorder.subscriber()).await;
    });
    for (call, count) in [("insert", 1), ("claim", 1), ("find", 2), ("reference_data", 2), ("load", 2)] {
        assert_eq!(recorder.named(call).len(), count, "{call}");
    }
    let outcomes: Vec<_> = recorder.named("commit").iter().map(|span| span.get("outcome").to_owned()).collect();
    assert_eq!(outcomes, ["committed", "other"]);
    recorder.assert_without(&PERSONAL);
}

#[test]
#[cfg(feature = "sqlx")]
#[ignore = needs_postgres!()]
fn the_statements_of_sqlx_have_the_same_spans() {
    use enroll_postgres::sqlx::{Connection, PgConnection};

    let recorder = Recorder::default();
    block_on(async {
        let url = Server::shared().database().await.unwrap();
        let world = fixture().sequence("Welcome").step(Phone).contact("+12025550188");
        seed::load(&mut connect(&url).await, world.seed()).await.unwrap();
        let mut connection = PgConnection::connect(&url).await.unwrap();
        let mut transaction = connection.begin().await.unwrap();
        let enrolling = async {
            let mut repository = enroll_postgres::SqlxTransaction::new(&mut transaction);
            with_enrollment!("first", |engine, enrollment| {
                enroll_contacts_async(&mut repository, &engine, &enrollment).await.unwrap()
            });
        };
        enrolling.with_subscriber(recorder.subscriber()).await;
        transaction.commit().await.unwrap();
    });
    let commits = recorder.named("commit");
    assert_eq!((commits[0].get("attempt"), commits[0].get("outcome")), ("1", "committed"));
    let statements = recorder.named("statement");
    let inserts: Vec<_> = statements.iter().filter(|span| span.get("otel.name") == "insert_step_contacts").collect();
    assert_eq!((inserts.len(), inserts[0].get("rows"), &*inserts[0].parent), (1, "2", "commit"));
    recorder.assert_without(&PERSONAL);
}

//! The runtime that drives the connections, databases, and an organization with one sequence.
#![allow(dead_code, reason = "each test uses a part of it")]

pub(crate) mod connection;

use std::sync::LazyLock;
use std::time::Duration;

use enroll::seed::Seed;
use enroll::{
    AsyncInbox, AsyncRepository, ChangeSet, Engine, EnrollError, Enrollment, EnrollmentCommand, EnrollmentKey,
    EnrollmentPolicy, EnrollmentReport, EnrollmentRequest, ListRef, OrganizationId, Receipt, RepositoryError,
    RepositoryErrorKind, Retry, SequenceId, SnapshotQuery, Timestamp, accept_async, enroll_contacts_async,
    plan_enrollment, process_async,
};
use enroll_postgres::testing::Server;
use enroll_postgres::{PostgresClient, PostgresError};
use serde_json::{Value, json};
use tokio_postgres::{Client, NoTls};
use uuid::Uuid;

/// Drives all connections, independent of the thread that waits for them.
pub(crate) static RUNTIME: LazyLock<tokio::runtime::Runtime> =
    LazyLock::new(|| tokio::runtime::Runtime::new().unwrap());

/// Blocks on a future. It can be nested, because some cases of the conformance suite start threads in a future.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::task::block_in_place(|| RUNTIME.block_on(future))
}

/// Opens a connection.
pub(crate) async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    RUNTIME.spawn(connection);
    client
}

/// Creates a database with the seed. Returns its address.
pub(crate) async fn database() -> String {
    let url = Server::shared().database().await.unwrap();
    enroll_postgres::seed::load(&mut connect(&url).await, &seed()).await.unwrap();
    url
}

pub(crate) async fn open(url: &str) -> PostgresClient {
    PostgresClient::new(connect(url).await)
}

pub(crate) fn id<T: From<Uuid>>(n: u128) -> T {
    T::from(Uuid::from_u128(n))
}

pub(crate) fn organization() -> OrganizationId {
    id(1)
}

/// Organization 1 with sequence 1 of one phone step on channel 1, and custom object 1.
pub(crate) fn seed() -> Seed {
    let seed = json!({
        "organization_id": Uuid::from_u128(1),
        "channels": [{ "id": Uuid::from_u128(1), "kind": "phone", "address": "+12025550100" }],
        "sequences": [{
            "id": Uuid::from_u128(1), "title": "s", "status": "active",
            "steps": [{
                "id": Uuid::from_u128(1), "position": 1, "channel_kind": "phone", "channel_id": Uuid::from_u128(1)
            }]
        }],
        "custom_objects": [{
            "id": Uuid::from_u128(1), "key": "deal",
            "properties": [{ "key": "amount", "type": "float", "required": false }]
        }],
    });
    serde_json::from_value(seed).unwrap()
}

/// A request for `count` recipients with custom data, from number `first` on.
pub(crate) fn body(first: usize, count: usize) -> Value {
    let entry = |n: usize| {
        json!({
            "phone": format!("+1202{:07}", 5_550_000 + n), "email": format!("person{n}@example.com"),
            "external_id": format!("crm-{n}"), "name": format!("Person {n}"), "properties": { "amount": 3.0 },
        })
    };
    json!({
        "to": (first..first + count).map(entry).collect::<Vec<_>>(),
        "custom_data": { "custom_object_id": Uuid::from_u128(1), "resource": "step_contact" },
    })
}

/// A lease or a delay that does not end during a test.
pub(crate) const LEASE: Duration = Duration::from_secs(3600);

/// The time `seconds` after all requests.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(REQUESTED + (1 + seconds) * 1000).unwrap()
}

/// A request with the id of its enrollment.
#[allow(clippy::struct_field_names, reason = "a request is what the engine calls it")]
pub(crate) struct Request {
    pub(crate) id: u128,
    pub(crate) list: Option<ListRef>,
    pub(crate) request: EnrollmentRequest<'static>,
}

impl Request {
    pub(crate) fn new(id: u128, body: &Value) -> Self {
        let body: &'static str = Box::leak(body.to_string().into_boxed_str());
        Self { id, list: None, request: EnrollmentRequest::from_json(body.as_bytes()) }
    }

    /// Makes the request a part of a list. It is the same list for all requests.
    pub(crate) fn of_list(mut self) -> Self {
        self.list = Some(ListRef { id: id(1), at: Timestamp::from_millis(REQUESTED).unwrap() });
        self
    }

    pub(crate) fn enrollment(&self) -> Enrollment<'_> {
        Enrollment {
            organization_id: organization(),
            sequence_id: id::<SequenceId>(1),
            key: EnrollmentKey::Id(id(self.id)),
            at: Timestamp::from_millis(REQUESTED + i64::try_from(self.id % 1000).unwrap()).unwrap(),
            list: self.list,
            request: &self.request,
        }
    }

    pub(crate) async fn enroll<R: AsyncRepository>(&self, repository: &mut R) -> Result<EnrollmentReport, EnrollError> {
        let policy = EnrollmentPolicy::default();
        let enrolled = enroll_contacts_async(repository, &Engine::new(&policy), &self.enrollment()).await?;
        Ok(enrolled.report)
    }

    pub(crate) async fn accept<I: AsyncInbox>(&self, inbox: &mut I) -> Result<Receipt, EnrollError> {
        let policy = EnrollmentPolicy::default();
        accept_async(inbox, &Engine::new(&policy), &self.enrollment()).await
    }

    pub(crate) async fn process<I: AsyncInbox>(&self, inbox: &mut I) -> Result<EnrollmentReport, EnrollError> {
        process_async(inbox, Retry::default(), organization(), id(self.id), at(60)).await?.report()
    }

    /// Plans the enrollment without a commit.
    pub(crate) async fn plan<R: AsyncRepository>(&self, repository: &mut R) -> ChangeSet {
        let (query, command) = self.snapshot_query(repository).await;
        let snapshot = repository.load(&query).await.unwrap();
        plan_enrollment(&command, &snapshot).unwrap().changes().clone()
    }

    pub(crate) async fn snapshot_query<R: AsyncRepository>(
        &self,
        repository: &mut R,
    ) -> (SnapshotQuery, EnrollmentCommand) {
        let policy = EnrollmentPolicy::default();
        let reference = repository.reference_data(&self.enrollment().reference_query()).await.unwrap();
        let command = EnrollmentCommand::check(&self.enrollment(), &reference, &Engine::new(&policy)).unwrap();
        (command.snapshot_query(), command)
    }
}

/// Returns the kind of an error, and the error of this crate in it.
#[track_caller]
pub(crate) fn postgres_error(error: &RepositoryError) -> (RepositoryErrorKind, &PostgresError) {
    (error.kind(), error.inner().downcast_ref().unwrap())
}

#[track_caller]
pub(crate) fn refused<T: std::fmt::Debug>(result: Result<T, EnrollError>) -> RepositoryError {
    match result {
        Err(EnrollError::Repository(error)) => error,
        other => panic!("{other:?}"),
    }
}

/// Waits until the session waits for a lock.
pub(crate) async fn until_blocked(client: &Client, pid: i32) {
    let waits = "select exists (select from pg_stat_activity where pid = $1 and wait_event_type = 'Lock')";
    while !client.query_one(waits, &[&pid]).await.unwrap().get::<_, bool>(0) {
        tokio::task::yield_now().await;
    }
}

/// Waits until the session has ended: the server first executes the statements that it received.
pub(crate) async fn until_session_ended(client: &Client, pid: i32) {
    let exists = "select exists (select from pg_stat_activity where pid = $1)";
    while client.query_one(exists, &[&pid]).await.unwrap().get(0) {
        tokio::task::yield_now().await;
    }
}

pub(crate) async fn pid(client: &Client) -> i32 {
    client.query_typed_one("select pg_backend_pid()", &[]).await.unwrap().get(0)
}

/// Counts the rows in the tables that an enrollment writes to.
pub(crate) async fn count_rows(client: &Client) -> i64 {
    let tables = [
        "contacts",
        "conversations",
        "runs",
        "step_contacts",
        "tags",
        "contact_tags",
        "custom_records",
        "enrollments",
        "enrollment_outcomes",
    ];
    let counts: Vec<String> = tables.iter().map(|table| format!("(select count(*) from enroll.{table})")).collect();
    client.query_one(&format!("select {}", counts.join(" + ")), &[]).await.unwrap().get(0)
}

const REQUESTED: i64 = 1_769_958_000_123;

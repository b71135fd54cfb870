//! An organization with one sequence, and the requests of the tests.
#![allow(dead_code, reason = "each test uses a part of it")]

use enroll::inbox::Claim;
use enroll::policy::ExistingContact;
use enroll::seed::Seed;
use enroll::{
    Engine, EnrollError, Enrollment, EnrollmentCommand, EnrollmentId, EnrollmentKey, EnrollmentPlan, EnrollmentPolicy,
    EnrollmentReport, EnrollmentRequest, EnrollmentState, Inbox, ListRef, OrganizationId, Receipt, Repository,
    RepositoryError, RepositoryErrorKind, Retry, SequenceId, Timestamp, accept, enroll_contacts, plan_enrollment,
};
use enroll_sqlite::{SqliteError, SqliteRepository, seed};
use rusqlite::Connection;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::env;
use std::error::Error;
use std::io::{BufRead, BufReader};
use std::iter::successors;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use uuid::Uuid;

pub(crate) const ORGANIZATION: Uuid = Uuid::from_u128(1);
pub(crate) const CHANNEL: Uuid = Uuid::from_u128(2);
pub(crate) const SEQUENCE: Uuid = Uuid::from_u128(3);
pub(crate) const STEP: Uuid = Uuid::from_u128(4);
/// The time of every request.
const AT: &str = "2026-02-01T15:00:00Z";
pub(crate) const OBJECT: Uuid = Uuid::from_u128(5);

/// An organization with a phone channel, a sequence of one step on it, and a custom object.
pub(crate) fn seed() -> Seed {
    serde_json::from_value(json!({
        "organization_id": ORGANIZATION,
        "channels": [{ "id": CHANNEL, "kind": "phone", "address": "+12025550100" }],
        "sequences": [{
            "id": SEQUENCE, "status": "active",
            "steps": [{ "id": STEP, "position": 1, "channel_kind": "phone", "channel_id": CHANNEL }],
        }],
        "custom_objects": [{ "id": OBJECT, "key": "visit", "properties": [{ "key": "n", "type": "number" }] }],
    }))
    .unwrap()
}

/// Creates a file with the seed.
pub(crate) fn open_seeded(file: &Path) -> SqliteRepository {
    let repository = SqliteRepository::open(file).unwrap();
    seed::load(repository.connection(), &seed()).unwrap();
    repository
}

/// Creates a database in memory with the seed.
pub(crate) fn in_memory() -> SqliteRepository {
    let repository = SqliteRepository::open_in_memory().unwrap();
    seed::load(repository.connection(), &seed()).unwrap();
    repository
}

/// A request with an idempotency key.
pub(crate) struct TestRequest {
    key: String,
    list: Option<ListRef>,
    body: String,
    policy: EnrollmentPolicy,
}

impl TestRequest {
    /// Returns a request with one recipient per number, and one that is ignored, so that there is always an upload tag.
    ///
    /// The external ids contain the key, so that two requests give the same contact different ones.
    pub(crate) fn new(key: &str, numbers: std::ops::Range<usize>) -> Self {
        let phone = |n: usize| format!("+1202{}", 2_000_000 + n);
        let recipient = |n: usize| {
            json!({
                "phone": phone(n), "email": format!("p{n}@example.com"), "external_id": format!("{key}-{n}"),
                "properties": { "n": n },
            })
        };
        let to: Vec<Value> = numbers.map(recipient).chain([json!({ "phone": "none" })]).collect();
        let custom_data = json!({ "custom_object_id": OBJECT, "resource": "step_contact" });
        let body = json!({ "to": to, "custom_data": custom_data }).to_string();
        Self { key: key.to_owned(), list: None, body, policy: EnrollmentPolicy::default() }
    }

    /// Makes the request a part of a list. It is the same list for all requests.
    pub(crate) fn of_list(mut self) -> Self {
        let id = EnrollmentId::from_idempotency_key(OrganizationId::from_uuid(ORGANIZATION), "list");
        self.list = Some(ListRef { id, at: AT.parse().unwrap() });
        self
    }

    /// Makes the fields of the request replace stored fields.
    pub(crate) fn overwriting(mut self) -> Self {
        self.policy.existing_contact = ExistingContact::Overwrite;
        self
    }

    fn with_enrollment<T>(&self, run: impl FnOnce(&Engine<'_>, &Enrollment<'_>) -> T) -> T {
        let request = EnrollmentRequest::from_json(self.body.as_bytes());
        let enrollment = Enrollment {
            organization_id: OrganizationId::from_uuid(ORGANIZATION),
            sequence_id: SequenceId::from_uuid(SEQUENCE),
            key: EnrollmentKey::Idempotency(&self.key),
            at: AT.parse().unwrap(),
            list: self.list,
            request: &request,
        };
        run(&Engine::new(&self.policy), &enrollment)
    }

    pub(crate) fn enroll(&self, repository: &mut impl Repository) -> Result<EnrollmentReport, EnrollError> {
        self.with_enrollment(|engine, enrollment| enroll_contacts(repository, engine, enrollment))
            .map(|enrolled| enrolled.report)
    }

    pub(crate) fn accept(&self, inbox: &mut impl Inbox) -> Result<Receipt, EnrollError> {
        self.with_enrollment(|engine, enrollment| accept(inbox, engine, enrollment))
    }

    /// Returns the checked command, without storing it.
    pub(crate) fn command(&self, repository: &mut impl Repository) -> EnrollmentCommand {
        self.with_enrollment(|engine, enrollment| {
            let reference = repository.reference_data(&enrollment.reference_query()).unwrap();
            EnrollmentCommand::check(enrollment, &reference, engine).unwrap()
        })
    }

    /// Plans on the stored data, without a commit.
    pub(crate) fn plan(&self, repository: &mut impl Repository) -> EnrollmentPlan {
        let command = self.command(repository);
        plan_enrollment(&command, &repository.load(&command.snapshot_query()).unwrap()).unwrap()
    }
}

/// Returns the reports of all enrollments of the organization, each of which is completed.
pub(crate) fn reports(repository: &mut SqliteRepository) -> Vec<EnrollmentReport> {
    let ids: Vec<Uuid> = {
        let mut statement = repository.connection().prepare("select id from enroll_enrollments order by id").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
    };
    let report = |id: Uuid| {
        let found = repository.find(OrganizationId::from_uuid(ORGANIZATION), EnrollmentId::from_uuid(id));
        match found.unwrap().unwrap().enrollment.state {
            EnrollmentState::Completed { report } => report,
            state => panic!("{id} is {}", state.as_str()),
        }
    };
    ids.into_iter().map(report).collect()
}

/// A lease or a delay that does not end during a test.
pub(crate) const LEASE: Duration = Duration::from_secs(3600);

/// Returns the time some seconds after that of the requests.
pub(crate) fn at(seconds: i64) -> Timestamp {
    let at: Timestamp = AT.parse().unwrap();
    Timestamp::from_millis(at.millis() + seconds * 1000).unwrap()
}

/// Processes a claimed enrollment.
pub(crate) fn process(inbox: &mut impl Inbox, claim: Claim, now: Timestamp) -> Result<EnrollmentReport, EnrollError> {
    enroll::process(inbox, Retry::default(), claim.organization_id, claim.enrollment_id, now)?.report()
}

/// Returns the kind of an error, the adapter's error in it, and the texts of that error and its causes.
pub(crate) fn sqlite_error(error: &RepositoryError) -> (RepositoryErrorKind, &SqliteError, String) {
    let sqlite_error = error.inner().downcast_ref::<SqliteError>().unwrap();
    let first: &dyn Error = sqlite_error;
    let texts: Vec<_> = successors(Some(first), |&error| error.source()).map(ToString::to_string).collect();
    (error.kind(), sqlite_error, texts.join(": "))
}

pub(crate) fn count(connection: &Connection, table: &str) -> usize {
    let sql = format!("select count(*) from {table}");
    let count: i64 = connection.query_row(&sql, [], |row| row.get(0)).unwrap();
    count.try_into().unwrap()
}

/// Checks that no row of any enrollment exists.
pub(crate) fn assert_nothing_stored(connection: &Connection) {
    for table in [
        "enroll_enrollments",
        "enroll_contacts",
        "enroll_conversations",
        "enroll_runs",
        "enroll_step_contacts",
        "enroll_tags",
        "enroll_contact_tags",
        "enroll_custom_records",
    ] {
        assert_eq!(count(connection, table), 0, "{table}");
    }
}

/// The environment variable that names the file of a child process.
pub(crate) const FILE: &str = "ENROLL_TEST_FILE";

/// Runs the test `child` of this program on a file, and kills it.
///
/// The child prints ids, each after `word`. It is killed `spin` after it printed `times` ids more than the first. Adds all
/// printed ids to `printed`, and returns the time that one id took.
pub(crate) fn ids_until_killed(
    file: &Path,
    word: &str,
    times: u32,
    spin: Duration,
    printed: &mut BTreeSet<Uuid>,
) -> Duration {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env(FILE, file)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut id = || lines.find_map(|line| Some(line.unwrap().strip_prefix(word)?.parse::<Uuid>().unwrap()));
    printed.insert(id().unwrap());
    let began = Instant::now();
    for _ in 0..times {
        printed.insert(id().unwrap());
    }
    let took = began.elapsed() / times;
    let until = Instant::now() + spin;
    while Instant::now() < until {
        std::hint::spin_loop();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    while let Some(id) = id() {
        printed.insert(id);
    }
    took
}

//! A world of one sequence, and what the tests ask of it.
#![allow(dead_code, reason = "each test takes what it needs")]

use enroll::inbox::Claim;
use enroll::policy::ExistingContact;
use enroll::repository::{RepositoryError, RepositoryErrorKind};
use enroll::seed::Seed;
use enroll::{
    Engine, EnrollError, Enrollment, EnrollmentCommand, EnrollmentKey, EnrollmentPlan, EnrollmentPolicy,
    EnrollmentReport, EnrollmentRequest, Inbox, OrganizationId, Receipt, Repository, Retry, SequenceId, Timestamp,
    accept, enroll_contacts, plan_enrollment,
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
/// The instant of every request.
const AT: &str = "2026-02-01T15:00:00Z";
pub(crate) const OBJECT: Uuid = Uuid::from_u128(5);

/// An organization with a phone channel, a sequence of one step on it, and a custom object.
pub(crate) fn given() -> Seed {
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

/// A file that holds the world.
pub(crate) fn seeded(file: &Path) -> SqliteRepository {
    let repository = SqliteRepository::open(file).unwrap();
    seed::load(repository.connection(), &given()).unwrap();
    repository
}

/// The world in memory.
pub(crate) fn in_memory() -> SqliteRepository {
    let repository = SqliteRepository::open_in_memory().unwrap();
    seed::load(repository.connection(), &given()).unwrap();
    repository
}

/// A request under an idempotency key.
pub(crate) struct Asked {
    key: String,
    body: String,
    policy: EnrollmentPolicy,
}

impl Asked {
    /// People, as many as the range has numbers, with external ids that no other request gives them; and one that is
    /// ignored, so that there is always an upload tag.
    pub(crate) fn people(key: &str, numbers: std::ops::Range<usize>) -> Self {
        let phone = |n: usize| format!("+1202{}", 2_000_000 + n);
        let person = |n: usize| {
            json!({
                "phone": phone(n), "email": format!("p{n}@example.com"), "external_id": format!("{key}-{n}"),
                "properties": { "n": n },
            })
        };
        let to: Vec<Value> = numbers.map(person).chain([json!({ "phone": "none" })]).collect();
        let custom_data = json!({ "custom_object_id": OBJECT, "resource": "step_contact" });
        let body = json!({ "to": to, "custom_data": custom_data }).to_string();
        Self { key: key.to_owned(), body, policy: EnrollmentPolicy::default() }
    }

    /// What is given replaces what stands.
    pub(crate) fn overwriting(mut self) -> Self {
        self.policy.existing_contact = ExistingContact::Overwrite;
        self
    }

    fn ask<T>(&self, ask: impl FnOnce(&Engine<'_>, &Enrollment<'_>) -> T) -> T {
        let request = EnrollmentRequest::from_json(self.body.as_bytes());
        let enrollment = Enrollment {
            organization_id: OrganizationId::from_uuid(ORGANIZATION),
            sequence_id: SequenceId::from_uuid(SEQUENCE),
            key: EnrollmentKey::Idempotency(&self.key),
            at: AT.parse().unwrap(),
            request: &request,
        };
        ask(&Engine::new(&self.policy), &enrollment)
    }

    pub(crate) fn enroll(&self, repository: &mut impl Repository) -> Result<EnrollmentReport, EnrollError> {
        self.ask(|engine, enrollment| enroll_contacts(repository, engine, enrollment)).map(|enrolled| enrolled.report)
    }

    pub(crate) fn accept(&self, inbox: &mut impl Inbox) -> Result<Receipt, EnrollError> {
        self.ask(|engine, enrollment| accept(inbox, engine, enrollment))
    }

    /// What was checked, and not stored yet.
    pub(crate) fn command(&self, repository: &mut impl Repository) -> EnrollmentCommand {
        self.ask(|engine, enrollment| {
            let reference = repository.reference_data(&enrollment.reference_query()).unwrap();
            EnrollmentCommand::check(enrollment, &reference, engine).unwrap()
        })
    }

    /// The plan on what stands, without its commit.
    pub(crate) fn plan(&self, repository: &mut impl Repository) -> EnrollmentPlan {
        let command = self.command(repository);
        plan_enrollment(&command, &repository.load(&command.snapshot_query()).unwrap()).unwrap()
    }
}

/// So many seconds after the instant of the requests.
pub(crate) fn at(seconds: i64) -> Timestamp {
    let at: Timestamp = AT.parse().unwrap();
    Timestamp::from_millis(at.millis() + seconds * 1000).unwrap()
}

/// Processes what was claimed.
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

/// Nothing of any enrollment stands.
pub(crate) fn assert_nothing_stands(connection: &Connection) {
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

/// The file that a child of a test works on.
pub(crate) const FILE: &str = "ENROLL_TEST_FILE";

/// Runs the test `child` of this very program on a file until it has told so many ids after a word, kills it a little
/// later, takes in what it had told before it died, and tells how long one took.
pub(crate) fn told_until_killed(
    file: &Path,
    word: &str,
    times: u32,
    spin: Duration,
    told: &mut BTreeSet<Uuid>,
) -> Duration {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env(FILE, file)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut id = || lines.find_map(|line| Some(line.unwrap().strip_prefix(word)?.parse::<Uuid>().unwrap()));
    told.insert(id().unwrap());
    let began = Instant::now();
    for _ in 0..times {
        told.insert(id().unwrap());
    }
    let took = began.elapsed() / times;
    let until = Instant::now() + spin;
    while Instant::now() < until {
        std::hint::spin_loop();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    while let Some(id) = id() {
        told.insert(id);
    }
    took
}

//! Test vectors: JSON files that any implementation of the contract can run (spec 8).
//!
//! The vectors are in the folder `tests/vectors` of the repository, in one folder for each section of the contract.
//! [`run`] runs a vector in memory. [`run_on`] runs it on a repository that contains the rows of its `given`.

mod matching;

use serde::Deserialize;
use serde_json::{Map, Value, json};

pub use self::matching::Difference;
use self::matching::matches;
use crate::answer::{EnrollError, Enrolled};
use crate::command::{Engine, Enrollment, EnrollmentCommand, EnrollmentKey, ListRef};
use crate::contact::PhoneNormalizer;
use crate::enroll::enroll_contacts;
use crate::fault::Rejection;
use crate::ids::{EnrollmentId, OrganizationId, SequenceId};
use crate::memory::InMemoryRepository;
use crate::plan::plan_enrollment;
use crate::repository::Repository;
use crate::request::EnrollmentRequest;
use crate::seed::{Seed, SeedError};
use crate::snapshot::{ReferenceData, Snapshot};
use crate::time::Timestamp;

/// A test vector: the rows of an organization, requests, and their expected results.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Vector {
    /// The behaviour that it checks, in plain English.
    pub name: String,
    /// The sections of the contract that it checks, such as `4.6 a`.
    pub rule: String,
    /// Whether no database would accept the rows. Only the first request is planned then.
    #[serde(default)]
    pub plan_only: bool,
    /// The rows before the first request.
    pub given: Seed,
    /// The requests, in order.
    pub when: Vec<When>,
    /// The expected result of each request.
    pub then: Vec<Expected>,
    /// The expected rows after the last request.
    #[serde(default)]
    pub state: Map<String, Value>,
}

/// One request of a vector.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct When {
    /// The organization of the request. The default is the organization of `given`.
    pub organization_id: Option<OrganizationId>,
    /// The sequence.
    pub sequence_id: SequenceId,
    /// The enrollment's id, if there is no idempotency key.
    pub enrollment_id: Option<EnrollmentId>,
    /// The idempotency key.
    pub idempotency_key: Option<String>,
    /// The instant of the request. The default is `now` of `given`.
    pub at: Option<Timestamp>,
    /// The list, if the request is one of several requests of a list.
    pub list: Option<ListRef>,
    /// The body.
    #[serde(default)]
    pub body: Value,
    /// The body as text, if its spelling matters. It replaces `body`.
    pub body_text: Option<String>,
    /// A number of similar entries, which replace `to` of the body.
    pub body_repeat: Option<Repeat>,
}

/// A number of similar entries. The index of the entry, in four digits, replaces `#` in its strings.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repeat {
    count: usize,
    entry: Value,
}

/// The expected result of a request: `{"rejected": …}`, or members of the report with `counts` and `replayed`.
pub type Expected = Value;

impl Vector {
    /// Reads a vector.
    ///
    /// # Errors
    /// The error of `serde_json`, with line and column.
    pub fn from_json(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

/// Runs a vector in memory.
///
/// # Errors
/// The first [`Difference`].
pub fn run(vector: &Vector, phones: &dyn PhoneNormalizer) -> Result<(), Difference> {
    let snapshots = vector.given.snapshots().map_err(invalid_seed)?;
    if vector.plan_only {
        return plan_only(vector, phones, &snapshots);
    }
    vector.given.check_unique().map_err(invalid_seed)?;
    let mut repository = InMemoryRepository::new();
    snapshots.into_iter().for_each(|snapshot| repository.insert(snapshot));
    let handle = repository.clone();
    let dump = || {
        let snapshots: Vec<_> = handle.organizations().into_iter().filter_map(|id| handle.snapshot(id)).collect();
        Seed::dump(&snapshots, vector.given.organization_id)
    };
    run_on(vector, phones, &mut repository, dump)
}

/// Runs a vector on a repository that contains the rows of its `given`. `dump` returns all rows afterwards.
///
/// # Errors
/// The first [`Difference`].
pub fn run_on<R: Repository + ?Sized>(
    vector: &Vector,
    phones: &dyn PhoneNormalizer,
    repository: &mut R,
    dump: impl FnOnce() -> Seed,
) -> Result<(), Difference> {
    check_pairs(vector)?;
    if vector.plan_only {
        return Err(Difference::new("/plan_only", "a run in memory", "a run on a repository"));
    }
    let engine = Engine { phones, ..Engine::new(&vector.given.policy) };
    for (n, (when, then)) in vector.when.iter().zip(&vector.then).enumerate() {
        let answer = run_request(vector, n, when, |enrollment| enroll_contacts(repository, &engine, enrollment))?;
        check_answer(n, then, answer)?;
    }
    let rows = serde_json::to_value(dump()).map_err(|e| Difference::new("/state", "rows", e))?;
    check_state(&vector.state, &rows)
}

fn check_pairs(vector: &Vector) -> Result<(), Difference> {
    let (when, then) = (vector.when.len(), vector.then.len());
    if when == 0 || when != then {
        return Err(Difference::new(
            "/then",
            format!("{when} items, one for each item of `when`, and at least 1"),
            then,
        ));
    }
    Ok(())
}

/// Plans the first request on the rows of `given`.
fn plan_only(vector: &Vector, phones: &dyn PhoneNormalizer, snapshots: &[Snapshot]) -> Result<(), Difference> {
    check_pairs(vector)?;
    let engine = Engine { phones, ..Engine::new(&vector.given.policy) };
    let answer = run_request(vector, 0, &vector.when[0], |enrollment| {
        let of_organization = |snapshot: &&Snapshot| snapshot.reference.organization_id == enrollment.organization_id;
        let empty = Snapshot::new(ReferenceData::new(enrollment.organization_id));
        let snapshot = snapshots.iter().find(of_organization).unwrap_or(&empty);
        let command = EnrollmentCommand::check(enrollment, &snapshot.reference, &engine)?;
        let report = plan_enrollment(&command, snapshot)?.into_report();
        Ok(Enrolled { report, replayed: false, read_as: Vec::new() })
    })?;
    check_answer(0, &vector.then[0], answer)
}

fn run_request(
    vector: &Vector,
    n: usize,
    when: &When,
    enroll: impl FnOnce(&Enrollment<'_>) -> Result<Enrolled, EnrollError>,
) -> Result<Result<Enrolled, Rejection>, Difference> {
    let path = format!("/when/{n}");
    let key = match (&when.idempotency_key, when.enrollment_id) {
        (Some(key), _) => EnrollmentKey::Idempotency(key),
        (None, Some(id)) => EnrollmentKey::Id(id),
        (None, None) => {
            return Err(Difference::new(&path, "an enrollment_id or an idempotency_key", "neither"));
        }
    };
    let Some(at) = when.at.or(vector.given.now) else {
        return Err(Difference::new(&path, "`at`, or `now` in `given`", "neither"));
    };
    let body = when.body_text.clone().unwrap_or_else(|| body(when).to_string());
    let request = EnrollmentRequest::from_json(body.as_bytes());
    let organization_id = when.organization_id.unwrap_or(vector.given.organization_id);
    let enrollment =
        Enrollment { organization_id, sequence_id: when.sequence_id, key, at, list: when.list, request: &request };
    match enroll(&enrollment) {
        Ok(enrolled) => Ok(Ok(enrolled)),
        Err(EnrollError::Rejected(rejection)) => Ok(Err(rejection)),
        Err(e) => Err(Difference::new(&format!("/then/{n}"), "an answer", e)),
    }
}

fn body(when: &When) -> Value {
    let mut body = when.body.clone();
    if let Some(Repeat { count, entry }) = &when.body_repeat {
        body["to"] = (0..*count).map(|n| numbered(entry, &format!("{n:04}"))).collect();
    }
    body
}

fn numbered(value: &Value, number: &str) -> Value {
    match value {
        Value::String(text) => text.replace('#', number).into(),
        Value::Array(items) => items.iter().map(|item| numbered(item, number)).collect(),
        Value::Object(members) => {
            members.iter().map(|(key, value)| (key.clone(), numbered(value, number))).collect::<Map<_, _>>().into()
        }
        other => other.clone(),
    }
}

fn check_answer(n: usize, then: &Expected, answer: Result<Enrolled, Rejection>) -> Result<(), Difference> {
    let actual = match answer {
        Ok(Enrolled { report, replayed, .. }) => {
            let counts = report.counts();
            serde_json::to_value(report).map(|mut report| {
                report["counts"] = json!(counts);
                report["replayed"] = json!(replayed);
                report
            })
        }
        Err(rejection) => serde_json::to_value(rejection).map(|rejection| json!({ "rejected": rejection })),
    };
    let path = format!("/then/{n}");
    let actual = actual.map_err(|e| Difference::new(&path, "an answer", e))?;
    // If only one of the two is a rejection, the difference shows both completely.
    if then.get("rejected").is_some() != actual.get("rejected").is_some() {
        return Err(Difference::new(&path, then, actual));
    }
    matches(&path, then, &actual)
}

fn check_state(expected: &Map<String, Value>, all_rows: &Value) -> Result<(), Difference> {
    // A misspelt table is a difference. Otherwise the vector would check nothing.
    let rows = |path: &str, table: &str| match all_rows.get(table) {
        Some(Value::Array(rows)) => Ok(rows),
        _ => Err(Difference::new(path, "a list of `given`", table)),
    };
    for (table, expected) in expected {
        let path = format!("/state/{table}");
        match (table.as_str(), expected) {
            ("totals", Value::Object(totals)) => {
                for (table, total) in totals {
                    let path = format!("{path}/{table}");
                    matches(&path, total, &json!(rows(&path, table)?.len()))?;
                }
            }
            (_, Value::Array(expected)) => {
                let rows = rows(&path, table)?;
                for (n, expected) in expected.iter().enumerate() {
                    let path = format!("{path}/{n}");
                    if !rows.iter().any(|row| matches(&path, expected, row).is_ok()) {
                        return Err(Difference::new(&path, expected, Value::from(rows.clone())));
                    }
                }
            }
            _ => return Err(Difference::new(&path, "a list of rows, or `totals`", expected)),
        }
    }
    Ok(())
}

fn invalid_seed(e: SeedError) -> Difference {
    Difference::new(&format!("/given{}", e.path), "a valid row", e.message)
}

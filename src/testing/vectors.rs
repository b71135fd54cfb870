//! Test vectors: files that any implementation can run (SPEC 8).

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::matching::{Difference, matches};
use super::{Seed, SeedError};
use crate::contact::PhoneNormalizer;
use crate::report::EnrollmentReport;
use crate::{
    Engine, EnrollError, Enrollment, EnrollmentCommand, EnrollmentId, EnrollmentKey, EnrollmentRequest,
    InMemoryRepository, OrganizationId, ReferenceData, Rejection, Repository, SequenceId, Snapshot, Timestamp,
    enroll_contacts, plan_enrollment,
};

/// A test vector: a world, the requests that come to it, and what must become of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Vector {
    /// What it promises, in words.
    pub name: String,
    /// The rule that it is of.
    pub rule: String,
    /// Whether the world is broken, so that no database would hold it: the first request is planned, no more.
    #[serde(default)]
    pub plan_only: bool,
    /// The world.
    pub given: Seed,
    /// The requests, in order.
    pub when: Vec<When>,
    /// What must become of each.
    pub then: Vec<Expected>,
    /// What must stand afterwards.
    #[serde(default)]
    pub state: Map<String, Value>,
}

/// One request of a vector.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct When {
    /// The organization that asks; absent: the world's own.
    pub organization_id: Option<OrganizationId>,
    /// The sequence.
    pub sequence_id: SequenceId,
    /// The enrollment's id, where there is no idempotency key.
    pub enrollment_id: Option<EnrollmentId>,
    /// The sender's key.
    pub idempotency_key: Option<String>,
    /// The instant; absent: the world's `now`.
    pub at: Option<Timestamp>,
    /// The body.
    #[serde(default)]
    pub body: Value,
    /// The body as raw text, where its spelling matters.
    pub body_text: Option<String>,
    /// Many entries that are alike; `#` in a string of the entry becomes its index in four digits.
    pub body_repeat: Option<Repeat>,
}

/// Many entries that are alike.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repeat {
    count: usize,
    entry: Value,
}

/// What must become of a request: `{"rejected": …}`, or keys of the report.
pub type Expected = Value;

impl Vector {
    /// Reads a vector.
    ///
    /// # Errors
    /// What serde says of it, with line and column.
    pub fn from_json(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

/// Runs a vector in memory.
///
/// # Errors
/// The first [`Difference`].
pub fn run(vector: &Vector, phones: &dyn PhoneNormalizer) -> Result<(), Difference> {
    let snapshots = vector.given.snapshots().map_err(broken)?;
    if vector.plan_only {
        return plan_only(vector, phones, &snapshots);
    }
    vector.given.check_unique().map_err(broken)?;
    let mut repository = InMemoryRepository::new();
    snapshots.into_iter().for_each(|snapshot| repository.insert(snapshot));
    let handle = repository.clone();
    let dump = || {
        let snapshots: Vec<_> = handle.organizations().into_iter().filter_map(|id| handle.snapshot(id)).collect();
        Seed::dump(&snapshots, vector.given.organization_id)
    };
    run_on(vector, phones, &mut repository, dump)
}

/// Runs a vector on a repository that holds its world; `dump` tells what stands afterwards.
///
/// # Errors
/// The first [`Difference`].
pub fn run_on<R: Repository + ?Sized>(
    vector: &Vector,
    phones: &dyn PhoneNormalizer,
    repository: &mut R,
    dump: impl FnOnce() -> Seed,
) -> Result<(), Difference> {
    paired(vector)?;
    if vector.plan_only {
        return Err(Difference::new("/plan_only", "a plain snapshot, which alone can hold this world", "a repository"));
    }
    let engine = Engine { phones, ..Engine::new(&vector.given.policy) };
    for (n, (when, then)) in vector.when.iter().zip(&vector.then).enumerate() {
        let answer = enrolled(vector, n, when, |enrollment| enroll_contacts(repository, &engine, enrollment))?;
        expect(n, then, answer)?;
    }
    let stands = serde_json::to_value(dump()).map_err(|e| Difference::new("/state", "a world", e))?;
    state(&vector.state, &stands)
}

fn paired(vector: &Vector) -> Result<(), Difference> {
    let (when, then) = (vector.when.len(), vector.then.len());
    if when == 0 || when != then {
        return Err(Difference::new("/then", format!("{when} items, as many as in `when`, and at least 1"), then));
    }
    Ok(())
}

/// The first request, planned on the world as it is.
fn plan_only(vector: &Vector, phones: &dyn PhoneNormalizer, snapshots: &[Snapshot]) -> Result<(), Difference> {
    paired(vector)?;
    let engine = Engine { phones, ..Engine::new(&vector.given.policy) };
    let answer = enrolled(vector, 0, &vector.when[0], |enrollment| {
        let of_organization = |snapshot: &&Snapshot| snapshot.reference.organization_id == enrollment.organization_id;
        let nothing = Snapshot::new(ReferenceData::new(enrollment.organization_id));
        let snapshot = snapshots.iter().find(of_organization).unwrap_or(&nothing);
        let command = EnrollmentCommand::check(enrollment, &snapshot.reference, &engine)?;
        Ok(plan_enrollment(&command, snapshot)?.into_report())
    })?;
    expect(0, &vector.then[0], answer)
}

fn enrolled(
    vector: &Vector,
    n: usize,
    when: &When,
    enroll: impl FnOnce(&Enrollment<'_>) -> Result<EnrollmentReport, EnrollError>,
) -> Result<Result<EnrollmentReport, Rejection>, Difference> {
    let path = format!("/when/{n}");
    let key = match (&when.idempotency_key, when.enrollment_id) {
        (Some(key), _) => EnrollmentKey::Idempotency(key),
        (None, Some(id)) => EnrollmentKey::Id(id),
        (None, None) => {
            return Err(Difference::new(&path, "an enrollment_id or an idempotency_key", "neither"));
        }
    };
    let Some(at) = when.at.or(vector.given.now) else {
        return Err(Difference::new(&path, "an instant, here or as `now`", "none"));
    };
    let body = when.body_text.clone().unwrap_or_else(|| body(when).to_string());
    let request = EnrollmentRequest::from_json(body.as_bytes());
    let organization_id = when.organization_id.unwrap_or(vector.given.organization_id);
    let enrollment = Enrollment { organization_id, sequence_id: when.sequence_id, key, at, request: &request };
    match enroll(&enrollment) {
        Ok(report) => Ok(Ok(report)),
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

fn expect(n: usize, then: &Expected, answer: Result<EnrollmentReport, Rejection>) -> Result<(), Difference> {
    let actual = match answer {
        Ok(report) => {
            let counts = report.counts();
            serde_json::to_value(report).map(|mut report| {
                report["counts"] = json!(counts);
                report
            })
        }
        Err(rejection) => serde_json::to_value(rejection).map(|rejection| json!({ "rejected": rejection })),
    };
    let path = format!("/then/{n}");
    let actual = actual.map_err(|e| Difference::new(&path, "an answer", e))?;
    // What is expected to be enrolled and was refused is told with the refusal.
    if then.get("rejected").is_some() != actual.get("rejected").is_some() {
        return Err(Difference::new(&path, then, actual));
    }
    matches(&path, then, &actual)
}

fn state(expected: &Map<String, Value>, stands: &Value) -> Result<(), Difference> {
    // What is misspelt must differ: a vector that asks for nothing would hold for ever.
    let rows = |path: &str, table: &str| match stands.get(table) {
        Some(Value::Array(rows)) => Ok(rows),
        _ => Err(Difference::new(path, "a table", table)),
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
            _ => return Err(Difference::new(&path, "rows of a table, or `totals` by table", expected)),
        }
    }
    Ok(())
}

fn broken(e: SeedError) -> Difference {
    Difference::new(&format!("/given{}", e.path), "a row that can stand", e.message)
}

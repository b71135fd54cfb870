//! Compares the engine with a second planner, written only from the spec, for generated requests.
#![cfg(feature = "testing")]

mod reference;

use enroll::contact::{Email, Libphonenumber, PhoneNormalizer, PhoneNumber, Region};
use enroll::seed::Seed;
use enroll::testing::{Scenario, scenario};
use enroll::{
    Disposition, Engine, Enrollment, EnrollmentKey, EnrollmentReport, EnrollmentRequest, InMemoryRepository, Note,
    Outcome, Reason, enroll_contacts,
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_reference_planner_returns_the_same_report(scenario in scenario()) {
        let mut repository = InMemoryRepository::new();
        scenario.given.snapshots().unwrap().into_iter().for_each(|snapshot| repository.insert(snapshot));
        for (n, request) in scenario.requests.iter().enumerate() {
            let before = dump(&repository, &scenario);
            let report = enroll(&mut repository, &scenario, n);
            let mut when = request.when();
            // The spec does not say how ids are derived.
            if let (Some(_), Some(tag)) = (request.list, &report.upload_tag) {
                when["list"]["tag_id"] = json!(tag.id);
            }
            let planned = reference::plan(&before, &when, &addresses());
            let actual = in_reference_format(&report, &before, &dump(&repository, &scenario));
            for (planned, actual) in list(&planned["outcomes"]).iter().zip(list(&actual["outcomes"])) {
                prop_assert_eq!(planned, actual, "an outcome of request {}, the reference planner on the left", n);
            }
            prop_assert_eq!(planned, actual, "request {}, the reference planner on the left", n);
        }
    }
}

/// Uses the engine's address functions: the reference planner checks rules, not addresses.
fn addresses() -> reference::Addresses<'static> {
    reference::Addresses {
        phone: &|text, region| {
            let region = region.map(|code| Region::new(code).unwrap());
            PhoneNumber::parse(text, region.as_ref()).ok().map(|phone| phone.to_string())
        },
        region: &|text| {
            let phone = PhoneNumber::from_e164(text)?;
            Libphonenumber.region(&phone).map(|region| region.to_string())
        },
        email: &|text| Email::parse(text).ok().map(|email| email.key().to_owned()),
        stored_email: &|text| Some(Email::stored(text).key().to_owned()),
    }
}

fn enroll(repository: &mut InMemoryRepository, scenario: &Scenario, n: usize) -> EnrollmentReport {
    let request = &scenario.requests[n];
    let body = request.body.to_string();
    let enrollment = Enrollment {
        organization_id: scenario.given.organization_id,
        sequence_id: request.sequence_id,
        key: EnrollmentKey::Id(request.enrollment_id),
        at: request.at,
        list: request.list,
        request: &EnrollmentRequest::from_json(body.as_bytes()),
    };
    enroll_contacts(repository, &Engine::new(&scenario.given.policy), &enrollment).unwrap().report
}

/// Returns all rows as the input of the reference planner.
fn dump(repository: &InMemoryRepository, scenario: &Scenario) -> Value {
    let snapshots: Vec<_> = repository.organizations().into_iter().filter_map(|id| repository.snapshot(id)).collect();
    let mut given = Seed::dump(&snapshots, scenario.given.organization_id);
    given.now = scenario.given.now;
    given.policy = scenario.given.policy.clone();
    serde_json::to_value(given).unwrap()
}

/// Returns the report in the format of the reference planner, with the rows afterwards.
fn in_reference_format(report: &EnrollmentReport, before: &Value, after: &Value) -> Value {
    let mut names = Map::new();
    let outcomes: Vec<Value> =
        report.outcomes.iter().map(|outcome| formatted_outcome(outcome, before, after, &mut names)).collect();
    let mut formatted = json!({ "outcomes": outcomes });
    if !report.accepted_keys.is_empty() {
        formatted["accepted_keys"] = json!(report.accepted_keys);
    }
    if let Some(tag) = &report.upload_tag {
        formatted["upload_tag"] = json!(tag.name);
    }
    formatted
}

/// `names` maps new ids to the names of the reference planner.
fn formatted_outcome(outcome: &Outcome, before: &Value, after: &Value, names: &mut Map<String, Value>) -> Value {
    let Outcome { index, disposition, contact_created, conversation_created, .. } = *outcome;
    let new = json!(format!("new:{index}"));
    let mut renamed = |id: Option<Value>, is_new: bool| {
        let id = id?;
        let key = id.to_string();
        if is_new {
            names.insert(key.clone(), new.clone());
        }
        Some(names.get(&key).cloned().unwrap_or(id))
    };
    let added = matches!(disposition, Disposition::Added | Disposition::ReAdded);
    let record = outcome.record_id.map(|id| json!(id));
    let record_created = record.as_ref().is_some_and(|id| row(before, "custom_records", id).is_none());
    let mut formatted = json!({
        "index": index, "disposition": disposition, "contact_created": contact_created,
        "conversation_created": conversation_created, "duplicate_of": outcome.duplicate_of,
        "reasons": outcome.reasons.iter().map(reason).collect::<Vec<_>>(),
        "notes": outcome.notes.iter().map(note).collect::<Vec<_>>(),
        "contact": renamed(outcome.contact_id.map(|id| json!(id)), contact_created),
        "step_contact": renamed(outcome.step_contact_id.map(|id| json!(id)), added),
        "conversation": renamed(outcome.conversation_id.map(|id| json!(id)), conversation_created),
        "record": renamed(record.clone(), record_created),
    });
    if let Some(id) = &outcome.step_contact_id {
        let contact = row(after, "contacts", &json!(outcome.contact_id)).unwrap();
        let step_contact = row(after, "step_contacts", &json!(id)).unwrap();
        formatted["contact_after"] = only(contact, &reference::CONTACT);
        formatted["step_contact_after"] = only(step_contact, &reference::STEP_CONTACT);
    }
    let mut formatted = without_empty(&formatted);
    if let Some(id) = record {
        formatted["record_after"] = row(after, "custom_records", &id).unwrap()["properties"].clone();
    }
    formatted
}

fn reason(reason: &Reason) -> String {
    match reason {
        Reason::IdentityConflict { key, .. } => format!("{}:{key}", reason.code()),
        _ => reason.code().to_owned(),
    }
}

fn note(note: &Note) -> String {
    match note {
        Note::IdentityConflict { key, .. } | Note::KeyTaken { key, .. } | Note::KeyMismatch { key } => {
            format!("{}:{key}", note.code())
        }
        _ => note.code().to_owned(),
    }
}

fn row<'a>(given: &'a Value, table: &str, id: &Value) -> Option<&'a Value> {
    list(&given[table]).iter().find(|row| row["id"] == *id)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn only(row: &Value, fields: &[&str]) -> Value {
    fields.iter().map(|field| ((*field).to_owned(), row[*field].clone())).collect()
}

/// Removes absent members at every depth, like the reference planner.
fn without_empty(value: &Value) -> Value {
    let Value::Object(members) = value else { return value.clone() };
    let members = members.iter().map(|(name, value)| (name.clone(), without_empty(value)));
    let is_kept = |value: &Value| {
        let blank = value.as_str().is_some_and(|text| text.trim().is_empty());
        !blank && !value.is_null() && *value != json!([]) && *value != json!({})
    };
    members.filter(|(_, value)| is_kept(value)).collect()
}

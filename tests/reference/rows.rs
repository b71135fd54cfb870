//! Functions on JSON rows for the reference planner.

use chrono::{DateTime, Datelike, NaiveDate, Timelike};
use serde_json::{Value, json};

/// 4.8: the property types.
pub(super) fn is_of_type(value: &Value, kind: &str) -> bool {
    let is_date = |text: &str| {
        let shape = text.replace(|letter: char| letter.is_ascii_digit(), "9");
        shape == "9999-99-99" && NaiveDate::parse_from_str(text, "%Y-%m-%d").is_ok()
    };
    match kind {
        "text" => value.is_string(),
        "number" => value.is_i64(),
        "float" => value.is_number(),
        "boolean" => value.is_boolean(),
        "date" => value.as_str().is_some_and(is_date),
        "list" => value.is_array(),
        "map" => value.is_object(),
        _ => false,
    }
}

/// 5: returns an outcome without absent members. The two flags are always present.
pub(super) fn outcome(index: usize, disposition: &str, more: &Value) -> Value {
    let mut outcome = json!({
        "index": index, "disposition": disposition,
        "contact_created": false, "conversation_created": false,
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        outcome[name] = value.clone();
    }
    without_empty(outcome)
}

pub(super) fn has(row: &Value, field: &str) -> bool {
    !row[field].is_null()
}

/// Returns a text of a row, or an empty text.
pub(super) fn text<'a>(row: &'a Value, field: &str) -> &'a str {
    row[field].as_str().unwrap_or_default()
}

pub(super) fn only(row: &Value, fields: &[&str]) -> Value {
    let field = |field: &&str| ((*field).to_owned(), row[*field].clone());
    fields.iter().map(field).collect()
}

/// Returns the row with an id. A request can contain the id in upper case.
pub(super) fn by_id<'a>(rows: &'a [Value], id: &Value) -> Option<&'a Value> {
    let id = trimmed_text(id)?.to_lowercase();
    rows.iter().find(|row| text(row, "id") == id)
}

/// 1: `null` and blank strings mean absent.
pub(super) fn present(value: &Value) -> Option<&Value> {
    let is_blank = value.as_str().is_some_and(|text| text.trim().is_empty());
    (!value.is_null() && !is_blank).then_some(value)
}

/// 1: all strings are trimmed.
pub(super) fn trimmed_text(value: &Value) -> Option<String> {
    present(value)?.as_str().map(|text| text.trim().to_owned())
}

/// Trims every string in a value, at every depth. Keys do not change.
pub(super) fn trimmed(value: &Value) -> Value {
    let member = |(key, value): (&String, &Value)| (key.clone(), trimmed(value));
    match value {
        Value::String(text) => json!(text.trim()),
        Value::Array(items) => items.iter().map(trimmed).collect(),
        Value::Object(members) => members.iter().map(member).collect(),
        other => other.clone(),
    }
}

/// 1: returns the known members of an object. `postal_code` is an alias of `post_code`, and the last one counts.
pub(super) fn members(object: &Value, known: &[&str]) -> Value {
    let mut found = json!({});
    for (name, value) in object.as_object().into_iter().flatten() {
        let is_alias = name == "postal_code";
        let name = if is_alias { "post_code" } else { name };
        if known.contains(&name) {
            found[name] = trimmed(value);
        }
    }
    found
}

/// Removes `null`, blank strings, empty lists and empty objects, at every depth.
pub(super) fn without_empty(value: Value) -> Value {
    let Value::Object(members) = value else {
        return value;
    };
    let is_kept = |value: &Value| present(value).is_some() && *value != json!([]) && *value != json!({});
    let members = members.into_iter().map(|(name, value)| (name, without_empty(value)));
    members.filter(|(_, value)| is_kept(value)).collect()
}

/// 3: reads an instant as milliseconds since 1970, truncated.
pub(super) fn millis(instant: &Value) -> Option<i64> {
    let parsed = DateTime::parse_from_rfc3339(&trimmed_text(instant)?);
    Some(parsed.expect("an RFC 3339 instant").timestamp_millis())
}

pub(super) fn rfc3339(millis: i64) -> String {
    let instant = DateTime::from_timestamp_millis(millis).expect("an instant in range");
    let (year, month, day) = (instant.year(), instant.month(), instant.day());
    let (hour, minute, second) = (instant.hour(), instant.minute(), instant.second());
    let milli = instant.timestamp_subsec_millis();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// 4.3: the keys in their order, each with the field that is compared.
pub(super) const KEYS: [(&str, &str); 3] = [("external_id", "external_id"), ("phone", "phone"), ("email", "email_key")];
/// The text fields of a contact that are not keys.
const TEXTS: [&str; 4] = ["name", "first_name", "last_name", "language"];

/// Returns the text fields of an entry that are not keys, trimmed.
pub(super) fn texts(raw: &Value) -> impl Iterator<Item = (&'static str, Option<String>)> {
    let parts = ["first_name", "last_name"].into_iter().filter_map(|part| trimmed_text(&raw[part]));
    let parts: Vec<String> = parts.filter(|part| !part.is_empty()).collect();
    // 1: a blank name is made of the other two.
    let joined = trimmed_text(&raw["name"]).filter(|name| !name.is_empty()).unwrap_or(parts.join(" "));
    TEXTS.into_iter().map(move |field| match field {
        "name" => (field, Some(joined.clone())),
        _ => (field, trimmed_text(&raw[field])),
    })
}

#[rustfmt::skip]
pub(crate) const CONTACT: [&str; 10] = [
    "external_id", "phone", "email", "name", "first_name", "last_name", "language", "default_channel_id", "address",
    "birth_date",
];
pub(crate) const STEP_CONTACT: [&str; 5] =
    ["status", "scheduled_at", "channel_id", "default_call_flow_id", "times_processed"];
pub(super) const ADDRESS: [&str; 6] = ["address_line_one", "address_line_two", "city", "state", "post_code", "country"];
pub(super) const BIRTH_DATE: [&str; 3] = ["day", "month", "year"];

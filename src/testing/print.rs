//! Rows and requests as the `given` and `when` of a test vector, one row on each line.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

use crate::policy::EnrollmentPolicy;
use crate::seed::Seed;

/// Returns the rows as a JSON object: short enough to read in the message of a test that fails.
pub(super) fn given(seed: &Seed) -> String {
    let mut text = String::from("{");
    let Ok(Value::Object(members)) = serde_json::to_value(seed) else { return text };
    let scalars = members.iter().filter(|(_, value)| value.is_string());
    let scalars: Vec<String> = scalars.map(|(name, value)| format!("{}: {value}", json!(name))).collect();
    text.push_str(&scalars.join(", "));
    let policy = changed_policy(&seed.policy);
    if !policy.is_empty() {
        text.push_str(",\n  \"policy\": ");
        text.push_str(&Value::from(policy).to_string());
    }
    for (table, rows) in &members {
        let rows = rows.as_array().map(Vec::as_slice).unwrap_or_default();
        if !rows.is_empty() {
            let _infallible = write!(text, ",\n  {}: {}", json!(table), list(rows, without_nulls));
        }
    }
    text.push('}');
    text
}

/// Returns rows and requests as a JSON object.
pub(super) fn scenario(seed: &Seed, when: &[Value]) -> String {
    format!("{{\"given\": {},\n\"when\": {}}}", given(seed), list(when, Value::clone))
}

fn list(rows: &[Value], print: impl Fn(&Value) -> Value) -> String {
    let rows: Vec<String> = rows.iter().map(|row| format!("\n    {}", print(row))).collect();
    format!("[{}]", rows.join(","))
}

/// Leaves out the absent fields of a row. A `null` inside of properties has a meaning.
fn without_nulls(row: &Value) -> Value {
    let fields = row.as_object().into_iter().flatten().filter(|(_, value)| !value.is_null());
    fields.map(|(name, value)| (name.clone(), value.clone())).collect::<Map<_, _>>().into()
}

/// Returns the switches that differ from the default policy.
fn changed_policy(policy: &EnrollmentPolicy) -> Map<String, Value> {
    let members = |policy| match serde_json::to_value(policy) {
        Ok(Value::Object(members)) => members,
        _ => Map::new(),
    };
    let default = members(EnrollmentPolicy::default());
    members(policy.clone()).into_iter().filter(|(name, value)| default.get(name) != Some(value)).collect()
}

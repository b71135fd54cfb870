//! Compares expected JSON with actual JSON by the rules of spec 8.

use serde_json::Value;
use std::fmt;

use crate::time::Timestamp;

/// The first difference between expected and actual JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Difference {
    /// A JSON Pointer into the vector.
    pub path: String,
    /// The expected value.
    pub expected: String,
    /// The actual value.
    pub actual: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {}, got {}", self.path, self.expected, self.actual)
    }
}

impl std::error::Error for Difference {}

impl Difference {
    pub(super) fn new(path: &str, expected: impl fmt::Display, actual: impl fmt::Display) -> Self {
        Self { path: path.to_owned(), expected: expected.to_string(), actual: actual.to_string() }
    }
}

/// Checks that every expected key matches. Lists match element by element, except `errors` and `notes`: these match in
/// any order.
pub(super) fn matches(path: &str, expected: &Value, actual: &Value) -> Result<(), Difference> {
    match (expected, actual) {
        (Value::Object(expected), Value::Object(actual)) => {
            for (key, expected) in expected {
                let path = format!("{path}/{key}");
                let actual = actual.get(key).unwrap_or(&Value::Null);
                if matches!(key.as_str(), "errors" | "notes") {
                    in_any_order(&path, expected, actual)?;
                } else {
                    matches(&path, expected, actual)?;
                }
            }
            Ok(())
        }
        (Value::Array(expected), actual) if absent_or_list(actual) => {
            let actual = list(actual);
            if expected.len() != actual.len() {
                let (expected, actual) = (Value::from(expected.clone()), Value::from(actual.to_vec()));
                return Err(Difference::new(path, expected, actual));
            }
            expected.iter().zip(actual).enumerate().try_for_each(|(n, (e, a))| matches(&format!("{path}/{n}"), e, a))
        }
        (Value::Null, Value::Array(actual)) if actual.is_empty() => Ok(()),
        (Value::String(e), Value::String(a)) if e == a || same_instant(e, a) => Ok(()),
        _ if expected == actual => Ok(()),
        _ => Err(Difference::new(path, expected, actual)),
    }
}

fn in_any_order(path: &str, expected: &Value, actual: &Value) -> Result<(), Difference> {
    if !absent_or_list(expected) || !absent_or_list(actual) {
        return Err(Difference::new(path, expected, actual));
    }
    let (all, mut rest) = (list(expected), list(actual).to_vec());
    let found = all.len() == rest.len()
        && all.iter().all(|expected| {
            let index = rest.iter().position(|actual| matches(path, expected, actual).is_ok());
            index.map(|index| rest.swap_remove(index)).is_some()
        });
    if found { Ok(()) } else { Err(Difference::new(path, expected, actual)) }
}

fn absent_or_list(value: &Value) -> bool {
    value.is_null() || value.is_array()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn same_instant(a: &str, b: &str) -> bool {
    match (a.parse::<Timestamp>(), b.parse::<Timestamp>()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

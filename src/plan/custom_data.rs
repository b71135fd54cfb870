//! 4.8: the record of a custom object, made or merged into.

use chrono::NaiveDate;
use std::collections::BTreeMap;

use crate::CustomObjectId;
use crate::lookup::Person;
use crate::model::{CustomObject, CustomProperty, CustomRecord, PropertyKind, Resource};
use crate::report::{Note, PropertyFault, PropertyProblem};
use crate::value::{Properties, Value};

/// The record that stands under an (object, resource, resource id).
pub(super) fn standing(
    person: &Person,
    object: CustomObjectId,
    resource: Resource,
    resource_id: uuid::Uuid,
) -> Option<&CustomRecord> {
    person.records.iter().find(|record| {
        record.custom_object_id == object && record.resource == resource && record.resource_id == resource_id
    })
}

/// The values of a record after the given ones are merged into those that stand; or the note of all that does not fit.
pub(super) fn merged(
    object: &CustomObject,
    standing: Option<&Properties>,
    given: &Properties,
) -> Result<Properties, Note> {
    let definitions: BTreeMap<&str, &CustomProperty> =
        object.properties.iter().map(|property| (property.key.as_str(), property)).collect();
    let mut values = standing.cloned().unwrap_or_default();
    values.retain(|_, value| *value != Value::Null);
    let mut faults = BTreeMap::new();
    for (key, value) in given {
        let problem = match (definitions.get(key.as_str()), value) {
            (None, _) => PropertyProblem::UnknownKey,
            (Some(property), Value::Null) if property.required => PropertyProblem::NullForRequired,
            (Some(_), Value::Null) => {
                values.remove(key);
                continue;
            }
            (Some(property), value) if !fits(property.kind, value) => PropertyProblem::WrongType,
            (Some(_), value) => {
                values.insert(key.clone(), value.clone());
                continue;
            }
        };
        faults.insert(key.as_str(), problem);
    }
    for property in definitions.values().filter(|property| property.required) {
        if values.contains_key(&property.key) || faults.contains_key(property.key.as_str()) {
            continue;
        }
        match property.default.as_ref().filter(|default| fits(property.kind, default)) {
            Some(default) => {
                values.insert(property.key.clone(), default.clone());
            }
            None => {
                faults.insert(&property.key, PropertyProblem::MissingRequired);
            }
        }
    }
    if faults.is_empty() {
        return Ok(values);
    }
    let faults = faults.into_iter().map(|(key, problem)| PropertyFault { key: key.to_owned(), problem }).collect();
    Err(Note::CustomDataInvalid { faults, accepted: definitions.keys().map(|key| (*key).to_owned()).collect() })
}

/// Whether a value is of a property's type.
fn fits(kind: PropertyKind, value: &Value<'_>) -> bool {
    match (kind, value) {
        (PropertyKind::Text, Value::Text(_))
        | (PropertyKind::Number | PropertyKind::Float, Value::Integer(_))
        | (PropertyKind::Boolean, Value::Bool(_))
        | (PropertyKind::List, Value::List(_))
        | (PropertyKind::Map, Value::Map(_)) => true,
        (PropertyKind::Float, Value::Float(number)) => number.is_finite(),
        (PropertyKind::Date, Value::Text(text)) => is_date(text),
        _ => false,
    }
}

/// `YYYY-MM-DD`, and a day that exists.
fn is_date(text: &str) -> bool {
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let parts: Vec<&str> = text.split('-').collect();
    let [year, month, day] = parts[..] else {
        return false;
    };
    let shaped = year.len() == 4 && month.len() == 2 && day.len() == 2 && digits(year) && digits(month) && digits(day);
    shaped && text.parse::<NaiveDate>().is_ok()
}

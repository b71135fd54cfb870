//! 4.8: the record of a custom object, made or merged into.

use chrono::NaiveDate;
use std::collections::BTreeMap;

use crate::ids::CustomObjectId;
use crate::model::{CustomObject, CustomProperty, CustomRecord, PropertyKind, Resource};
use crate::report::{Note, PropertyFault, PropertyProblem};
use crate::snapshot::ContactAggregate;
use crate::value::{Properties, Value};

/// The record that stands under an (object, resource, resource id).
pub(super) fn standing(
    person: &ContactAggregate,
    object: CustomObjectId,
    resource: Resource,
    resource_id: uuid::Uuid,
) -> Option<&CustomRecord> {
    person.records.iter().find(|record| {
        record.custom_object_id == object && record.resource == resource && record.resource_id == resource_id
    })
}

/// The properties of a custom object, found once for all recipients.
pub(super) struct Definitions<'a> {
    object_id: CustomObjectId,
    by_key: BTreeMap<&'a str, &'a CustomProperty>,
    /// Those that a record cannot be without, each with its default where that fits.
    required: Vec<(&'a str, Option<&'a Value>)>,
}

impl<'a> Definitions<'a> {
    pub(super) fn of(object: &'a CustomObject) -> Self {
        let by_key: BTreeMap<_, _> =
            object.properties.iter().map(|property| (property.key.as_str(), property)).collect();
        let required = by_key.values().filter(|property| property.required).map(|property| {
            let default = property.default.as_ref().filter(|default| fits(property.kind, default));
            (property.key.as_str(), default)
        });
        Self { object_id: object.id, required: required.collect(), by_key }
    }

    pub(super) fn object_id(&self) -> CustomObjectId {
        self.object_id
    }

    /// The values of a record after the given ones are merged into those that stand; or the note of all that does not
    /// fit. What is as it was given is shared with what was given.
    pub(super) fn merged(&self, standing: Option<&Properties>, given: &Properties) -> Result<Properties, Note> {
        let mut faults: BTreeMap<&str, PropertyProblem> = BTreeMap::new();
        for (key, value) in given {
            let problem = match (self.by_key.get(&**key), value) {
                (None, _) => PropertyProblem::UnknownKey,
                (Some(property), Value::Null) if property.required => PropertyProblem::NullForRequired,
                (Some(_), Value::Null) => continue,
                (Some(property), value) if fits(property.kind, value) => continue,
                _ => PropertyProblem::WrongType,
            };
            faults.insert(key, problem);
        }
        let clears = given.values().any(|value| *value == Value::Null);
        let mut values = match standing {
            None if !clears => given.clone(),
            _ => merge(standing.unwrap_or(&Properties::new()), given),
        };
        for &(key, default) in &self.required {
            if values.contains_key(key) || faults.contains_key(key) {
                continue;
            }
            match default {
                Some(default) => {
                    values.insert(key, default.clone());
                }
                None => {
                    faults.insert(key, PropertyProblem::MissingRequired);
                }
            }
        }
        if faults.is_empty() {
            return Ok(values);
        }
        let faults = faults.into_iter().map(|(key, problem)| PropertyFault { key: key.to_owned(), problem }).collect();
        let accepted = self.by_key.keys().map(|key| (*key).to_owned()).collect();
        Err(Note::CustomDataInvalid { faults, accepted })
    }
}

/// Seed values replace, absent ones stay, `null` clears.
fn merge(standing: &Properties, given: &Properties) -> Properties {
    let stay = standing.iter().filter(|(key, _)| !given.contains_key(key));
    let values = stay.chain(given).filter(|(_, value)| **value != Value::Null);
    values.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Whether a value is of a property's type.
fn fits(kind: PropertyKind, value: &Value) -> bool {
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

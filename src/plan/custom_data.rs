//! spec 4.8: the record of a custom object, created or merged into.

use chrono::NaiveDate;
use std::collections::BTreeMap;

use super::planner::Planner;
use crate::changes::{RecordCreation, RecordUpdate};
use crate::ids::{ContactId, CustomObjectId, RowKind};
use crate::model::{CustomObject, CustomProperty, CustomRecord, PropertyKind, Resource};
use crate::report::{Note, Outcome, PropertyFault, PropertyProblem};
use crate::snapshot::ContactAggregate;
use crate::value::{Properties, Value};

impl Planner<'_> {
    /// Creates the record of the recipient's custom data, or merges the data into the existing record.
    ///
    /// Data that does not fit the custom object gives a note, and no record is written.
    pub(super) fn write_record(
        &mut self,
        contact_id: ContactId,
        aggregate: Option<&ContactAggregate>,
        outcome: &mut Outcome,
    ) {
        let (Some((schema, resource)), Some(step_contact_id)) = (&self.target.custom_data, outcome.step_contact_id)
        else {
            return;
        };
        let resource_id = match resource {
            Resource::Contact => contact_id.as_uuid(),
            Resource::StepContact => step_contact_id.as_uuid(),
        };
        let existing =
            aggregate.and_then(|aggregate| existing_record(aggregate, schema.object_id, *resource, resource_id));
        let given = &self.command.recipients()[outcome.index].properties;
        let properties = match schema.merge(existing.map(|record| &record.properties), given) {
            Ok(properties) => properties,
            Err(note) => {
                outcome.notes.push(note);
                return;
            }
        };
        let id = match existing {
            Some(record) => {
                let update = RecordUpdate { id: record.id, contact_id, properties };
                self.changes.rows.records_updated.push(update);
                record.id
            }
            None => {
                let id = self.minter.mint(RowKind::CustomRecord, outcome.index);
                let record = CustomRecord::new(id, schema.object_id, *resource, resource_id);
                let record = CustomRecord { properties, ..record };
                self.changes.rows.records_created.push(RecordCreation { contact_id, record });
                id
            }
        };
        outcome.record_id = Some(id);
    }

    /// Returns the keys that the custom data may have (spec 5).
    pub(super) fn accepted_keys(&self) -> Vec<String> {
        let schema = self.target.custom_data.iter().map(|(schema, _)| schema);
        schema.flat_map(PropertySchema::keys).map(str::to_owned).collect()
    }
}

/// Returns the contact's record with the key (object, resource, resource id).
fn existing_record(
    aggregate: &ContactAggregate,
    object: CustomObjectId,
    resource: Resource,
    resource_id: uuid::Uuid,
) -> Option<&CustomRecord> {
    aggregate.records.iter().find(|record| {
        record.custom_object_id == object && record.resource == resource && record.resource_id == resource_id
    })
}

/// The properties of a custom object, indexed once for all recipients.
pub(super) struct PropertySchema<'a> {
    object_id: CustomObjectId,
    by_key: BTreeMap<&'a str, &'a CustomProperty>,
    /// The required properties, each with its default if that has the right type.
    required: Vec<(&'a str, Option<&'a Value>)>,
}

impl<'a> PropertySchema<'a> {
    pub(super) fn new(object: &'a CustomObject) -> Self {
        let by_key: BTreeMap<_, _> =
            object.properties.iter().map(|property| (property.key.as_str(), property)).collect();
        let required = by_key.values().filter(|property| property.required).map(|property| {
            let default = property.default.as_ref().filter(|default| has_type(property.kind, default));
            (property.key.as_str(), default)
        });
        Self { object_id: object.id, required: required.collect(), by_key }
    }

    /// Merges given values into existing ones, and adds missing defaults. Returns a note of the faults if there are
    /// any.
    ///
    /// If the result equals the given values, it shares their memory.
    fn merge(&self, existing: Option<&Properties>, given: &Properties) -> Result<Properties, Note> {
        let mut faults: BTreeMap<&str, (PropertyProblem, Option<&Value>)> = BTreeMap::new();
        for (key, value) in given {
            let problem = match (self.by_key.get(&**key), value) {
                (None, _) => PropertyProblem::UnknownKey,
                (Some(property), Value::Null) if property.required => PropertyProblem::NullForRequired,
                (Some(_), Value::Null) => continue,
                (Some(property), value) if has_type(property.kind, value) => continue,
                _ => PropertyProblem::WrongType,
            };
            faults.insert(key, (problem, Some(value)));
        }
        let clears = given.values().any(|value| *value == Value::Null);
        let mut values = match existing {
            None if !clears => given.clone(),
            _ => replace_given(existing.unwrap_or(&Properties::new()), given),
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
                    faults.insert(key, (PropertyProblem::MissingRequired, None));
                }
            }
        }
        if faults.is_empty() {
            return Ok(values);
        }
        let more = faults.len().saturating_sub(PropertyFault::MAX_LISTED);
        let listed = faults.into_iter().take(PropertyFault::MAX_LISTED).map(|(key, (problem, given))| {
            let wanted = self.by_key.get(key).map(|property| property.kind);
            PropertyFault::new(key, problem, given, wanted)
        });
        Err(Note::CustomDataInvalid { faults: listed.collect(), more })
    }

    /// Returns the keys of the object, in order.
    pub(super) fn keys(&self) -> impl Iterator<Item = &'a str> {
        self.by_key.keys().copied()
    }
}

/// Returns the existing values with the given ones on top. `null` clears a value.
fn replace_given(existing: &Properties, given: &Properties) -> Properties {
    let kept = existing.iter().filter(|(key, _)| !given.contains_key(key));
    let values = kept.chain(given).filter(|(_, value)| **value != Value::Null);
    values.map(|(key, value)| (key.clone(), value.clone())).collect()
}

/// Returns true if a value has the type of a property.
fn has_type(kind: PropertyKind, value: &Value) -> bool {
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

/// Returns true if the text is `YYYY-MM-DD` and the day exists.
fn is_date(text: &str) -> bool {
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let parts: Vec<&str> = text.split('-').collect();
    let [year, month, day] = parts[..] else {
        return false;
    };
    let shaped = year.len() == 4 && month.len() == 2 && day.len() == 2 && digits(year) && digits(month) && digits(day);
    shaped && text.parse::<NaiveDate>().is_ok()
}

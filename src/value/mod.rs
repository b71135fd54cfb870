//! The values of custom data.

mod properties;

pub use properties::{Iter, Properties};

use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

use crate::text::Text;
use crate::text::trimmed;

/// The value of a property: a JSON value that distinguishes integers from floats.
///
/// A number outside the range of `i64` is read as the nearest 64-bit float. Exhaustive, because JSON has no other
/// values.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `null`. It clears a property.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number without a fraction and an exponent.
    Integer(i64),
    /// Any other number.
    Float(f64),
    /// Text.
    Text(Text),
    /// A list.
    List(Vec<Value>),
    /// A map.
    Map(Properties),
}

impl Value {
    /// Returns the value as the engine stores it: with trimmed text at every depth.
    #[must_use]
    pub fn trimmed(&self) -> Self {
        match self {
            Self::Null | Self::Bool(_) | Self::Integer(_) | Self::Float(_) => self.clone(),
            Self::Text(text) => Self::Text(match trimmed(text) {
                whole if whole.len() == text.len() => text.clone(),
                part => part.into(),
            }),
            Self::List(items) => Self::List(items.iter().map(Self::trimmed).collect()),
            // spec 1: keys are not trimmed.
            Self::Map(members) => {
                Self::Map(members.iter().map(|(key, value)| (key.clone(), value.trimmed())).collect())
            }
        }
    }

    /// Returns true if all text in the value is trimmed.
    pub(crate) fn is_trimmed(&self) -> bool {
        match self {
            Self::Null | Self::Bool(_) | Self::Integer(_) | Self::Float(_) => true,
            Self::Text(text) => trimmed(text).len() == text.len(),
            Self::List(items) => items.iter().all(Self::is_trimmed),
            Self::Map(members) => members.values().all(Self::is_trimmed),
        }
    }

    /// Returns true if the value is blank text, which means absent.
    pub(crate) fn is_blank(&self) -> bool {
        matches!(self, Self::Text(text) if trimmed(text).is_empty())
    }
}

macro_rules! from {
    ($($type:ty => $variant:ident),*) => {$(
        impl From<$type> for Value {
            fn from(value: $type) -> Self {
                Self::$variant(value.into())
            }
        }
    )*};
}

from!(bool => Bool, i64 => Integer, i32 => Integer, f64 => Float, &str => Text, String => Text, Text => Text);
from!(Vec<Value> => List, Properties => Map);

/// Converts each JSON value. A number beyond `i64` becomes the nearest 64-bit float.
impl From<serde_json::Value> for Value {
    fn from(value: serde_json::Value) -> Self {
        match value {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(value) => Self::Bool(value),
            serde_json::Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(integer), _) => Self::Integer(integer),
                (None, Some(float)) => Self::Float(float),
                // Only with serde_json's feature `arbitrary_precision`.
                (None, None) => Self::Text(number.to_string().into()),
            },
            serde_json::Value::String(text) => Self::Text(text.into()),
            serde_json::Value::Array(items) => Self::List(items.into_iter().map(Self::from).collect()),
            serde_json::Value::Object(members) => {
                Self::Map(members.into_iter().map(|(key, value)| (Text::from(key), Self::from(value))).collect())
            }
        }
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Integer(value) => serializer.serialize_i64(*value),
            Self::Float(value) => serializer.serialize_f64(*value),
            Self::Text(text) => serializer.serialize_str(text),
            Self::List(items) => serializer.collect_seq(items),
            Self::Map(members) => members.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Integer(value))
    }

    #[expect(clippy::cast_precision_loss, reason = "what every JSON reader does with such a number")]
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(i64::try_from(value).map_or(Value::Float(value as f64), Value::Integer))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Value, A::Error> {
        Properties::read(members).map(Value::Map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_and_floats_stay_apart() {
        let text = r#"{"a":3,"b":3.0,"c":18446744073709551615,"d":["x",null],"a":4}"#;
        let value: Value = serde_json::from_str(text).unwrap();
        let Value::Map(map) = &value else { panic!("{value:?}") };
        assert_eq!(map["a"], Value::Integer(4));
        assert_eq!(map["b"], Value::Float(3.0));
        assert!(matches!(map["c"], Value::Float(_)));
        assert_eq!(map["d"], Value::List(vec!["x".into(), Value::Null]));
    }

    #[test]
    fn a_json_value_converts_like_its_text() {
        let text = r#"{"a":3,"b":3.0,"c":18446744073709551615,"d":["x",null,{"e":true}],"f":-1}"#;
        let json: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(Value::from(json), serde_json::from_str::<Value>(text).unwrap());
    }

    #[test]
    fn trimming_reaches_every_depth_and_keeps_keys() {
        let value: Value = serde_json::from_str(r#"{" k ":[" a ", {"b":" "}]}"#).unwrap();
        assert_eq!(serde_json::to_string(&value.trimmed()).unwrap(), r#"{" k ":["a",{"b":""}]}"#);
    }
}

//! Values of custom properties.

mod properties;

pub(crate) use properties::Members;
pub use properties::{Iter, Properties};

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;

use crate::request::trimmed;

/// The value of a property: what JSON can say, with integers kept apart from floats.
///
/// A number beyond `i64` is read as the nearest 64-bit float. Text borrows from the request where it can.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// `null`: clears a property.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number written without fraction and exponent.
    Integer(i64),
    /// Any other number.
    Float(f64),
    /// Text.
    Text(Cow<'a, str>),
    /// A list.
    List(Vec<Value<'a>>),
    /// A map; of a key given twice the last one counts.
    Map(Properties<'a>),
}

impl Value<'_> {
    /// The same value as the engine stores it: owned, and text trimmed at every depth.
    #[must_use]
    pub fn trimmed(&self) -> Value<'static> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(*value),
            Self::Integer(value) => Value::Integer(*value),
            Self::Float(value) => Value::Float(*value),
            Self::Text(text) => Value::Text(Cow::Owned(trimmed(text).to_owned())),
            Self::List(items) => Value::List(items.iter().map(Value::trimmed).collect()),
            Self::Map(members) => Value::Map(members.iter().map(trimmed_member).collect()),
        }
    }

    /// The same value, owned.
    #[must_use]
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(value),
            Self::Integer(value) => Value::Integer(value),
            Self::Float(value) => Value::Float(value),
            Self::Text(text) => Value::Text(Cow::Owned(text.into_owned())),
            Self::List(items) => Value::List(items.into_iter().map(Value::into_owned).collect()),
            Self::Map(members) => Value::Map(members.into_owned()),
        }
    }

    /// Whether the value is blank text, which means absent.
    pub(crate) fn is_blank(&self) -> bool {
        matches!(self, Self::Text(text) if trimmed(text).is_empty())
    }
}

/// A member as the engine stores it: keys stay as they are.
pub(crate) fn trimmed_member((key, value): (&Cow<'_, str>, &Value<'_>)) -> (Cow<'static, str>, Value<'static>) {
    (Cow::Owned(key.clone().into_owned()), value.trimmed())
}

macro_rules! from {
    ($($type:ty => $variant:ident),*) => {$(
        impl<'a> From<$type> for Value<'a> {
            fn from(value: $type) -> Self {
                Self::$variant(value.into())
            }
        }
    )*};
}

from!(bool => Bool, i64 => Integer, i32 => Integer, f64 => Float, &'a str => Text, String => Text);

impl Serialize for Value<'_> {
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

/// Owned, since what is stored outlives the bytes that it is read from.
impl<'de> Deserialize<'de> for Value<'static> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        AnyValue.deserialize(deserializer).map(Value::into_owned)
    }
}

/// Reads any value, borrowed from the bytes where it can be.
pub(crate) struct AnyValue;

impl<'de> DeserializeSeed<'de> for AnyValue {
    type Value = Value<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Value::Integer(value))
    }

    #[expect(clippy::cast_precision_loss, reason = "what every JSON reader does with such a number")]
    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(i64::try_from(value).map_or(Value::Float(value as f64), Value::Integer))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Value::Float(value))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Value::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Value::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(AnyValue)? {
            list.push(item);
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Self::Value, A::Error> {
        Members.read(members).map(Value::Map)
    }
}

/// Reads a key, borrowed where it has no escapes.
pub(crate) struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_and_floats_stay_apart_and_text_borrows() {
        let text = r#"{"a":3,"b":3.0,"c":18446744073709551615,"d":["x",null],"a":4}"#;
        let value = AnyValue.deserialize(&mut serde_json::Deserializer::from_str(text)).unwrap();
        let Value::Map(map) = &value else { panic!("{value:?}") };
        assert_eq!(map["a"], Value::Integer(4));
        assert_eq!(map["b"], Value::Float(3.0));
        assert!(matches!(map["c"], Value::Float(_)));
        let Value::List(items) = &map["d"] else { panic!("{value:?}") };
        assert!(matches!(items[0], Value::Text(Cow::Borrowed("x"))));
    }

    #[test]
    fn trimming_reaches_every_depth_and_keeps_keys() {
        let value: Value<'_> = serde_json::from_str(r#"{" k ":[" a ", {"b":" "}]}"#).unwrap();
        assert_eq!(serde_json::to_string(&value.trimmed()).unwrap(), r#"{" k ":["a",{"b":""}]}"#);
    }
}

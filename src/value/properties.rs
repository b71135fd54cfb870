//! A map of property values.

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::ops::Index;
use std::sync::Arc;

use super::Value;
use crate::text::Text;

/// Values by key, in the order of the keys. If a key is given twice, the last value counts.
///
/// Clones share the values. It is a sorted list and not a tree: most entries have two or three values, and a tree
/// allocates a node for eleven.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Properties(
    /// `None` if the map is empty, so that it needs no allocation.
    Option<Arc<Vec<(Text, Value)>>>,
);

impl Properties {
    /// Creates an empty map.
    #[must_use]
    pub const fn new() -> Self {
        Self(None)
    }

    /// Returns the number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members().len()
    }

    /// Returns true if the map is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Returns the value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.place(key).ok().and_then(|place| self.members().get(place)).map(|(_, value)| value)
    }

    /// Returns true if the key has a value.
    #[must_use]
    pub fn contains_key(&self, key: &str) -> bool {
        self.place(key).is_ok()
    }

    /// Sets the value of a key, and returns the old value.
    pub fn insert(&mut self, key: impl Into<Text>, value: Value) -> Option<Value> {
        let key = key.into();
        let place = self.place(&key);
        let members = Arc::make_mut(self.0.get_or_insert_default());
        match place {
            Ok(place) => members.get_mut(place).map(|(_, stood)| std::mem::replace(stood, value)),
            Err(place) => {
                members.insert(place, (key, value));
                None
            }
        }
    }

    /// Iterates over keys and values in the order of the keys.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        Iter(self.members().iter())
    }

    /// Iterates over the values in the order of their keys.
    pub fn values(&self) -> impl Iterator<Item = &Value> {
        self.members().iter().map(|(_, value)| value)
    }

    /// Creates a map from the members of an object.
    pub(crate) fn read<'de, A: MapAccess<'de>>(mut members: A) -> Result<Self, A::Error> {
        let mut read = Vec::new();
        while let Some(member) = members.next_entry()? {
            read.push(member);
        }
        Ok(Self::sorted(read))
    }

    fn members(&self) -> &[(Text, Value)] {
        self.0.as_deref().map_or(&[], Vec::as_slice)
    }

    /// Returns the position of a key, or the position to insert it at.
    fn place(&self, key: &str) -> Result<usize, usize> {
        self.members().binary_search_by(|(stands, _)| stands.as_str().cmp(key))
    }

    /// Sorts once: inserting one by one takes quadratic time if the keys are reversed.
    fn sorted(mut members: Vec<(Text, Value)>) -> Self {
        if !members.is_sorted_by(|(a, _), (b, _)| a < b) {
            // The sort is stable, and the last of equal keys is kept.
            members.sort_by(|(a, _), (b, _)| a.cmp(b));
            members.dedup_by(|next, kept| {
                let same = next.0 == kept.0;
                if same {
                    std::mem::swap(next, kept);
                }
                same
            });
        }
        Self((!members.is_empty()).then(|| Arc::new(members)))
    }
}

/// The iterator over keys and values in the order of the keys.
#[derive(Clone, Debug)]
pub struct Iter<'p>(std::slice::Iter<'p, (Text, Value)>);

impl<'p> Iterator for Iter<'p> {
    type Item = (&'p Text, &'p Value);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(key, value)| (key, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl<'p> IntoIterator for &'p Properties {
    type Item = (&'p Text, &'p Value);
    type IntoIter = Iter<'p>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<K: Into<Text>> FromIterator<(K, Value)> for Properties {
    fn from_iter<I: IntoIterator<Item = (K, Value)>>(members: I) -> Self {
        Self::sorted(members.into_iter().map(|(key, value)| (key.into(), value)).collect())
    }
}

impl Index<&str> for Properties {
    type Output = Value;

    /// Returns the value of a key, or `null` if the key has no value, like `serde_json`.
    fn index(&self, key: &str) -> &Value {
        self.get(key).unwrap_or(&Value::Null)
    }
}

impl Serialize for Properties {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self)
    }
}

impl<'de> Deserialize<'de> for Properties {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members)
    }
}

struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Properties;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Properties, A::Error> {
        Properties::read(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_order_and_the_last_of_equals_counts() {
        let read: Properties = serde_json::from_str(r#"{"b":1,"a":2,"b":3,"c":4,"b":5}"#).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), r#"{"a":2,"b":5,"c":4}"#);
        assert_eq!((&read["a"], &read["b"], &read["d"]), (&Value::Integer(2), &Value::Integer(5), &Value::Null));
    }

    #[test]
    fn what_is_inserted_stands_where_it_is_found() {
        let mut properties = Properties::new();
        assert!(properties.is_empty());
        for key in ["m", "z", "a"] {
            assert_eq!(properties.insert(key, key.into()), None);
        }
        assert_eq!(properties.insert("m", 1.into()), Some("m".into()));
        assert_eq!(properties.iter().map(|(key, _)| &**key).collect::<Vec<_>>(), ["a", "m", "z"]);
        assert_eq!((properties.len(), properties.get("m"), properties.get("n")), (3, Some(&1.into()), None));
        assert!(properties.contains_key("z") && !properties.contains_key("y"));
    }
}

//! Properties by key.

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::ops::Index;

use super::{AnyValue, Key, Value};

/// Values by key, in the order of the keys; of a key given twice the last one counts.
///
/// A sorted list rather than a tree: most people bring two or three, of which a tree makes a node for eleven.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Properties<'a>(Vec<(Cow<'a, str>, Value<'a>)>);

impl<'a> Properties<'a> {
    /// No properties.
    #[must_use]
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value under a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value<'a>> {
        self.place(key).ok().and_then(|place| self.0.get(place)).map(|(_, value)| value)
    }

    /// Whether there is a value under a key.
    #[must_use]
    pub fn contains_key(&self, key: &str) -> bool {
        self.place(key).is_ok()
    }

    /// Sets the value under a key, and answers the one that stood there.
    pub fn insert(&mut self, key: impl Into<Cow<'a, str>>, value: Value<'a>) -> Option<Value<'a>> {
        let key = key.into();
        match self.place(&key) {
            Ok(place) => self.0.get_mut(place).map(|(_, stood)| std::mem::replace(stood, value)),
            Err(place) => {
                self.0.insert(place, (key, value));
                None
            }
        }
    }

    /// Keys and values, in the order of the keys.
    pub fn iter(&self) -> Iter<'_, 'a> {
        Iter(self.0.iter())
    }

    /// The values, in the order of their keys.
    pub fn values(&self) -> impl Iterator<Item = &Value<'a>> {
        self.0.iter().map(|(_, value)| value)
    }

    /// The same properties, owning their text.
    #[must_use]
    pub fn into_owned(self) -> Properties<'static> {
        let owned = |(key, value): (Cow<'a, str>, Value<'a>)| (Cow::Owned(key.into_owned()), value.into_owned());
        Properties(self.0.into_iter().map(owned).collect())
    }

    /// The place of a key, or where it would be put.
    fn place(&self, key: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(stands, _)| (**stands).cmp(key))
    }

    /// Sorts once, since to insert one by one would take the square of the time of an object with its keys reversed.
    fn sorted(mut members: Vec<(Cow<'a, str>, Value<'a>)>) -> Self {
        if !members.is_sorted_by(|(a, _), (b, _)| a < b) {
            // Stable, and the last of equals stays.
            members.sort_by(|(a, _), (b, _)| a.cmp(b));
            members.dedup_by(|next, kept| {
                let same = next.0 == kept.0;
                if same {
                    std::mem::swap(next, kept);
                }
                same
            });
        }
        Self(members)
    }
}

/// Keys and values, in the order of the keys.
#[derive(Clone, Debug)]
pub struct Iter<'p, 'a>(std::slice::Iter<'p, (Cow<'a, str>, Value<'a>)>);

impl<'p, 'a> Iterator for Iter<'p, 'a> {
    type Item = (&'p Cow<'a, str>, &'p Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|(key, value)| (key, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl<'p, 'a> IntoIterator for &'p Properties<'a> {
    type Item = (&'p Cow<'a, str>, &'p Value<'a>);
    type IntoIter = Iter<'p, 'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a, K: Into<Cow<'a, str>>> FromIterator<(K, Value<'a>)> for Properties<'a> {
    fn from_iter<I: IntoIterator<Item = (K, Value<'a>)>>(members: I) -> Self {
        Self::sorted(members.into_iter().map(|(key, value)| (key.into(), value)).collect())
    }
}

impl<'a> Index<&str> for Properties<'a> {
    type Output = Value<'a>;

    /// The value under a key; `null` where there is none, as in `serde_json`.
    fn index(&self, key: &str) -> &Value<'a> {
        self.get(key).unwrap_or(&Value::Null)
    }
}

impl Serialize for Properties<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self)
    }
}

/// Owned, since what is stored outlives the bytes that it is read from.
impl<'de> Deserialize<'de> for Properties<'static> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Members).map(Properties::into_owned)
    }
}

/// Reads an object, borrowed from the bytes where it can be.
pub(crate) struct Members;

impl Members {
    pub(crate) fn read<'de, A: MapAccess<'de>>(self, mut members: A) -> Result<Properties<'de>, A::Error> {
        let mut read = Vec::new();
        while let Some(key) = members.next_key_seed(Key)? {
            read.push((key, members.next_value_seed(AnyValue)?));
        }
        Ok(Properties::sorted(read))
    }
}

impl<'de> Visitor<'de> for Members {
    type Value = Properties<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Self::Value, A::Error> {
        self.read(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_in_order_and_the_last_of_equals_counts() {
        let read: Properties<'static> = serde_json::from_str(r#"{"b":1,"a":2,"b":3,"c":4,"b":5}"#).unwrap();
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

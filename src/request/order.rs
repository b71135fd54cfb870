//! Where things stand in a body: looked up only when something is wrong with it.

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use std::collections::HashMap;
use std::fmt;

use super::read::Key;
use crate::fault::{Fault, Path};

/// Sorts faults by where their paths stand in the body. A member that is missing stands where its parent does;
/// faults of one place, and all faults where there is no body, stay in the order in which they were found.
pub(crate) fn in_body_order(body: Option<&str>, faults: &mut [Fault]) {
    let Some(body) = body.filter(|_| faults.len() > 1) else {
        return;
    };
    let (mut places, mut place) = (HashMap::new(), 0_usize);
    walk(body, &mut |path, _| {
        place += 1;
        places.insert(path.pointer(), place);
    });
    faults.sort_by_cached_key(|fault| {
        let mut path = fault.path.as_str();
        loop {
            match (places.get(path), path.rfind('/')) {
                (Some(place), _) => return *place,
                (None, Some(parent)) => path = &path[..parent],
                (None, None) => return 0,
            }
        }
    });
}

/// Visits every key and every value of a body, in the order in which they stand: the path, and the text where
/// it is a key or a string.
pub(super) fn walk(body: &str, visit: &mut dyn FnMut(&Path<'_>, Option<&str>)) {
    // A body that is no JSON has one fault, and nothing to order.
    let _: Result<(), _> = Walk { at: Path::Root, visit }.deserialize(&mut serde_json::Deserializer::from_str(body));
}

struct Walk<'p, 'v> {
    at: Path<'p>,
    visit: &'v mut dyn FnMut(&Path<'_>, Option<&str>),
}

impl<'de> DeserializeSeed<'de> for Walk<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        (self.visit)(&self.at, None);
        Ok(())
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<(), E> {
        self.visit_unit()
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<(), E> {
        self.visit_unit()
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<(), E> {
        self.visit_unit()
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<(), E> {
        self.visit_unit()
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        (self.visit)(&self.at, Some(text));
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        (self.visit)(&self.at, None);
        for index in 0.. {
            let item = Walk { at: self.at.item(index), visit: &mut *self.visit };
            if items.next_element_seed(item)?.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        (self.visit)(&self.at, None);
        while let Some(key) = members.next_key_seed(Key)? {
            let at = self.at.member(&key);
            if key.contains(super::NUL) {
                (self.visit)(&at, Some(&key));
            }
            members.next_value_seed(Walk { at, visit: &mut *self.visit })?;
        }
        Ok(())
    }
}

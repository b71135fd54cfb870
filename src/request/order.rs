//! The order of faults in a body. It is computed only if there are faults.

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use std::collections::HashMap;
use std::fmt;

use super::read::Key;
use crate::fault::{Fault, Path};

/// Sorts faults by the position of their paths in the body. A missing member has the position of its parent.
///
/// Faults with the same position keep their order. Without a body, all faults keep their order.
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

/// Visits every key and every value of a body in its order, with the path. For a key or a string it also passes the
/// text.
pub(super) fn walk(body: &str, visit: &mut dyn FnMut(&Path<'_>, Option<&str>)) {
    // A body that is not JSON has one fault only.
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

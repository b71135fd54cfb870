//! Reads a body in one pass and collects its faults (spec 3).
//!
//! A value of a wrong type is skipped: it gives a fault at its path, and reading continues. Only a body that is not
//! JSON ends it.

mod forms;

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

use self::forms::Body;
use super::EnrollmentRequest;
use super::order::walk;
use crate::fault::{Fault, FaultCode, Path};

/// The character that databases refuse. Strings and keys must not contain it.
pub(crate) const NUL: char = '\0';

pub(super) fn request(body: &[u8]) -> EnrollmentRequest<'_> {
    let not_json = |why: &dyn fmt::Display| {
        let description = format!("the body is not JSON: {why}");
        let faults = vec![Fault::new(FaultCode::InvalidType, "", description)];
        EnrollmentRequest { faults, ..EnrollmentRequest::default() }
    };
    let body = match std::str::from_utf8(body) {
        Ok(body) => body,
        Err(e) => return not_json(&e),
    };
    let faults = Faults::default();
    let mut json = serde_json::Deserializer::from_str(body);
    let read = Field { at: Path::Root, faults: &faults, form: Body }.deserialize(&mut json);
    let request = match read.and_then(|request| json.end().map(|()| request)) {
        Ok(request) => request,
        Err(e) => return not_json(&e),
    };
    if request.is_none() && faults.is_empty() {
        faults.wrong_type(&Path::Root, Body::WHAT);
    }
    let mut faults = faults.0.into_inner();
    if body.contains(ESCAPED_NUL) {
        find_nul(body, &mut faults);
    }
    EnrollmentRequest { faults, body: Some(body), ..request.unwrap_or_default() }
}

/// U+0000 as JSON writes it: strings in JSON have no raw control characters.
const ESCAPED_NUL: &str = "\\u0000";

fn find_nul(body: &str, faults: &mut Vec<Fault>) {
    let too_many = faults.iter().any(|fault| fault.code == FaultCode::TooMany);
    walk(body, &mut |path, text| {
        if text.is_some_and(|text| text.contains(NUL)) {
            let path = path.pointer();
            if !(too_many && path.starts_with("/to/")) {
                faults.push(Fault::new(FaultCode::InvalidCharacter, path, "the text contains U+0000; remove it"));
            }
        }
    });
}

/// The faults found so far.
#[derive(Default)]
struct Faults(RefCell<Vec<Fault>>);

impl Faults {
    fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    fn push(&self, code: FaultCode, at: &Path<'_>, description: impl Into<String>) {
        self.0.borrow_mut().push(Fault::new(code, at.pointer(), description));
    }

    fn wrong_type(&self, at: &Path<'_>, what: &str) {
        self.push(FaultCode::InvalidType, at, format!("must be {what}"));
    }

    fn len(&self) -> usize {
        self.0.borrow().len()
    }

    /// Removes and returns the faults after the first `len`.
    fn split_off(&self, len: usize) -> Vec<Fault> {
        self.0.borrow_mut().split_off(len)
    }
}

/// The expected form of a value. Each method returns `Ok(None)` if the value means absent.
trait Form<'de>: Sized {
    type Out;
    /// The expected form, as text for a message.
    const WHAT: &'static str;

    fn absent(self, _: &Path<'_>, _: &Faults) {}

    fn text(self, text: Cow<'de, str>, at: &Path<'_>, faults: &Faults) -> Option<Self::Out> {
        if !text.trim().is_empty() {
            faults.wrong_type(at, Self::WHAT);
        }
        None
    }

    fn integer(self, _: i64, at: &Path<'_>, faults: &Faults) -> Option<Self::Out> {
        faults.wrong_type(at, Self::WHAT);
        None
    }

    fn items<A: SeqAccess<'de>>(
        self,
        mut items: A,
        at: &Path<'_>,
        faults: &Faults,
    ) -> Result<Option<Self::Out>, A::Error> {
        while items.next_element_seed(Skip)?.is_some() {}
        faults.wrong_type(at, Self::WHAT);
        Ok(None)
    }

    fn members<A: MapAccess<'de>>(
        self,
        mut members: A,
        at: &Path<'_>,
        faults: &Faults,
    ) -> Result<Option<Self::Out>, A::Error> {
        while members.next_key_seed(Key)?.is_some() {
            members.next_value_seed(Skip)?;
        }
        faults.wrong_type(at, Self::WHAT);
        Ok(None)
    }
}

/// Reads the value at a path in the expected form.
struct Field<'p, F> {
    at: Path<'p>,
    faults: &'p Faults,
    form: F,
}

impl<'de, F: Form<'de>> DeserializeSeed<'de> for Field<'_, F> {
    type Value = Option<F::Out>;

    fn deserialize<D: serde::Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de, F: Form<'de>> Visitor<'de> for Field<'_, F> {
    type Value = Option<F::Out>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(F::WHAT)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        self.form.absent(&self.at, self.faults);
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        self.faults.wrong_type(&self.at, F::WHAT);
        Ok(None)
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(self.form.integer(number, &self.at, self.faults))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Self::Value, E> {
        self.visit_i64(i64::try_from(number).unwrap_or(i64::MAX))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        self.faults.wrong_type(&self.at, F::WHAT);
        Ok(None)
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(self.form.text(Cow::Borrowed(text), &self.at, self.faults))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(self.form.text(Cow::Owned(text.to_owned()), &self.at, self.faults))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Self::Value, A::Error> {
        self.form.items(items, &self.at, self.faults)
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<Self::Value, A::Error> {
        self.form.members(members, &self.at, self.faults)
    }
}

/// An object that reads its members one by one.
trait Object<'de>: Default {
    /// Reads the member `key`, or skips it.
    fn member<A: MapAccess<'de>>(&mut self, key: &str, value: Member<'_, A>) -> Result<(), A::Error>;
}

/// The value of the current member, not read yet.
struct Member<'m, A> {
    members: &'m mut A,
    at: Path<'m>,
    faults: &'m Faults,
}

impl<'de, A: MapAccess<'de>> Member<'_, A> {
    fn read<F: Form<'de>>(self, form: F) -> Result<Option<F::Out>, A::Error> {
        self.members.next_value_seed(Field { at: self.at, faults: self.faults, form })
    }

    fn skip(self) -> Result<(), A::Error> {
        self.members.next_value_seed(Skip)
    }
}

/// Reads every member of an object into `object`.
fn fill<'de, T: Object<'de>, A: MapAccess<'de>>(
    mut object: T,
    mut members: A,
    at: &Path<'_>,
    faults: &Faults,
) -> Result<T, A::Error> {
    let mut of_key = BTreeMap::new();
    while let Some(key) = members.next_key_seed(Key)? {
        let before = faults.len();
        object.member(&key, Member { members: &mut members, at: at.member(&key), faults })?;
        // spec 1: if a key occurs twice, the last one counts. Faults of the earlier one are dropped.
        if faults.len() > before {
            of_key.insert(unaliased(key), faults.split_off(before));
        } else if !of_key.is_empty() {
            of_key.remove(&unaliased(key));
        }
    }
    faults.0.borrow_mut().extend(of_key.into_values().flatten());
    Ok(object)
}

fn unaliased(key: Cow<'_, str>) -> Cow<'_, str> {
    if key == "postal_code" { Cow::Borrowed("post_code") } else { key }
}

/// Reads a key. It borrows from the body if it has no escapes.
pub(super) struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: serde::Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_str(self)
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

/// Skips the value of an unknown key. The value must be JSON, with valid numbers and escapes.
struct Skip;

impl<'de> DeserializeSeed<'de> for Skip {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Skip {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(Self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while members.next_key_seed(Key)?.is_some() {
            members.next_value_seed(Self)?;
        }
        Ok(())
    }
}

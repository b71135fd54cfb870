//! Reads a body in one pass and collects its faults (spec 3).
//!
//! A value of a wrong type is skipped: it gives a fault at its path, and reading continues. Only a body that is not
//! JSON ends it. Half a surrogate pair is not the end: the body is read again without it.

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
use crate::report::UnknownKeyPaths;

/// The character that databases refuse. Strings and keys must not contain it.
pub(crate) const NUL: char = '\0';

pub(super) fn request(body: &[u8]) -> EnrollmentRequest<'_> {
    let body = match std::str::from_utf8(body) {
        Ok(body) => body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body),
        Err(e) => return not_json(&e),
    };
    read(body).unwrap_or_else(|e| with_halves(body).unwrap_or_else(|| not_json(&e)))
}

fn not_json(why: &dyn fmt::Display) -> EnrollmentRequest<'static> {
    let description = format!("the body is not JSON: {why}");
    EnrollmentRequest {
        faults: vec![Fault::new(FaultCode::InvalidType, "", description)],
        ..EnrollmentRequest::default()
    }
}

fn read(body: &str) -> Result<EnrollmentRequest<'_>, serde_json::Error> {
    let faults = Faults::default();
    let mut json = serde_json::Deserializer::from_str(body);
    let request = Field { at: Path::Root, faults: &faults, form: Body }.deserialize(&mut json)?;
    json.end()?;
    if request.is_none() && faults.is_empty() {
        faults.wrong_type(&Path::Root, Body::WHAT);
    }
    let Faults { faults, unknown_keys } = faults;
    let (mut faults, unknown_keys) = (faults.into_inner(), unknown_keys.into_inner());
    if body.contains(ESCAPED_NUL) {
        find_nul(body, &mut faults, "the text contains U+0000; remove it");
    }
    Ok(EnrollmentRequest { faults, unknown_keys, body: Some(Cow::Borrowed(body)), ..request.unwrap_or_default() })
}

/// Reads a body that serde refuses because a string contains half a surrogate pair. Returns `None` if the body is not JSON
/// for another reason.
#[cold]
fn with_halves(body: &str) -> Option<EnrollmentRequest<'static>> {
    let readable = replace_escapes(body, ESCAPED_REPLACEMENT, ESCAPED_NUL);
    let mut request = read(&readable).ok()?.into_owned();
    // `find_nul` finds the halves, if they and U+0000 change places.
    let halves = replace_escapes(body, ESCAPED_NUL, ESCAPED_REPLACEMENT);
    let before = request.faults.len();
    find_nul(&halves, &mut request.faults, "the text contains half a surrogate pair; remove it, or send both halves");
    for fault in request.faults.iter_mut().skip(before) {
        fault.path = fault.path.replace(NUL, "\u{fffd}");
    }
    request.body = Some(Cow::Owned(readable));
    Some(request)
}

/// Replaces the escapes of halves of surrogate pairs and of U+0000. Both replacements have the length of an escape.
fn replace_escapes(body: &str, half: &str, nul: &str) -> String {
    let mut replaced = String::with_capacity(body.len());
    let mut rest = body;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        replaced.push_str(before);
        let is_pair = || {
            let second = escape.get(6..).and_then(code_unit);
            second.is_some_and(|unit| matches!(unit, 0xdc00..=0xdfff))
        };
        let (replacement, length) = match code_unit(escape) {
            Some(0) => (Some(nul), 6),
            Some(0xd800..=0xdbff) if is_pair() => (None, 12),
            Some(0xd800..=0xdfff) => (Some(half), 6),
            // The second character of an escape can be a backslash.
            _ => (None, 1 + escape.chars().nth(1).map_or(0, char::len_utf8)),
        };
        let (escape, after) = escape.split_at(length);
        replaced.push_str(replacement.unwrap_or(escape));
        rest = after;
    }
    replaced + rest
}

/// Returns the UTF-16 code unit of an escape `\uXXXX` at the start of a text.
fn code_unit(text: &str) -> Option<u16> {
    let digits = text.strip_prefix("\\u")?.get(..4)?;
    let digits = digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some(digits)?;
    u16::from_str_radix(digits, 16).ok()
}

const BYTE_ORDER_MARK: char = '\u{feff}';
/// U+0000 as JSON writes it: strings in JSON have no raw control characters.
const ESCAPED_NUL: &str = "\\u0000";
/// U+FFFD, which stands for text that Unicode cannot express.
const ESCAPED_REPLACEMENT: &str = "\\ufffd";

/// Adds a fault for each key and string that contains U+0000.
fn find_nul(body: &str, faults: &mut Vec<Fault>, description: &str) {
    let too_many = faults.iter().any(|fault| fault.code == FaultCode::TooMany);
    walk(body, &mut |path, text| {
        if text.is_some_and(|text| text.contains(NUL)) {
            let path = path.pointer();
            if !(too_many && path.starts_with("/to/")) {
                faults.push(Fault::new(FaultCode::InvalidCharacter, path, description));
            }
        }
    });
}

/// The faults and the unknown keys found so far.
#[derive(Default)]
struct Faults {
    faults: RefCell<Vec<Fault>>,
    unknown_keys: RefCell<UnknownKeyPaths>,
}

impl Faults {
    fn is_empty(&self) -> bool {
        self.faults.borrow().is_empty()
    }

    fn push(&self, code: FaultCode, at: &Path<'_>, description: impl Into<String>) {
        self.faults.borrow_mut().push(Fault::new(code, at.pointer(), description));
    }

    fn wrong_type(&self, at: &Path<'_>, what: &str) {
        self.push(FaultCode::InvalidType, at, format!("must be {what}"));
    }

    fn len(&self) -> usize {
        self.faults.borrow().len()
    }

    /// Removes and returns the faults after the first `len`.
    fn split_off(&self, len: usize) -> Vec<Fault> {
        self.faults.borrow_mut().split_off(len)
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

    /// Skips the value of a key that no field has.
    #[cold]
    fn skip(self) -> Result<(), A::Error> {
        self.faults.unknown_keys.borrow_mut().add(|| self.at.cut_pointer());
        self.members.next_value_seed(Skip)
    }
}

/// Reads every member of an object into `object`.
///
/// A reference, because a recipient is large: to move it costs more than to read a short member.
fn fill<'de, T: Object<'de>, A: MapAccess<'de>>(
    object: &mut T,
    mut members: A,
    at: &Path<'_>,
    faults: &Faults,
) -> Result<(), A::Error> {
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
    if !of_key.is_empty() {
        faults.faults.borrow_mut().extend(of_key.into_values().flatten());
    }
    Ok(())
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

//! Lower limits of the engine's time: the crates that it uses, called on the same bytes.

use enroll::EnrollmentRequest;
use enroll::contact::Email;
use rlibphonenumber::{PHONE_NUMBER_UTIL, PhoneNumberFormat, Region};
use serde::Deserialize;
use serde::de::{Deserializer, Error, Visitor};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::hint::black_box;

/// Deserializes the body with `serde_json` into typed structs that borrow from it, without checks.
///
/// # Panics
/// Panics if the body is not a request.
pub fn json(body: &[u8]) {
    let text = std::str::from_utf8(body).expect("a body is UTF-8");
    black_box(serde_json::from_str::<Body<'_>>(text).expect("a body is a request"));
}

/// Parses, validates and formats the phones of a request with the phone crate.
pub fn phones(request: &EnrollmentRequest<'_>) {
    for phone in request.to.iter().filter_map(|entry| entry.phone.as_deref()) {
        if let Ok(number) = PHONE_NUMBER_UTIL.parse(phone.trim(), Some(Region::US))
            && PHONE_NUMBER_UTIL.is_valid_number(&number)
        {
            black_box(PHONE_NUMBER_UTIL.format(&number, PhoneNumberFormat::E164));
        }
    }
}

/// Validates the emails of a request.
pub fn emails(request: &EnrollmentRequest<'_>) {
    for email in request.to.iter().filter_map(|entry| entry.email.as_deref()) {
        let _ = black_box(Email::parse(email));
    }
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "it is deserialized and dropped")]
struct Body<'a> {
    #[serde(borrow)]
    to: Vec<Entry<'a>>,
    #[serde(borrow)]
    from: Option<Text<'a>>,
    #[serde(borrow)]
    step_id: Option<Text<'a>>,
    #[serde(borrow)]
    schedule_at: Option<Text<'a>>,
    #[serde(borrow)]
    custom_data: Option<CustomData<'a>>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "it is deserialized and dropped")]
struct CustomData<'a> {
    #[serde(borrow)]
    custom_object_id: Text<'a>,
    #[serde(borrow)]
    resource: Text<'a>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "it is deserialized and dropped")]
struct Entry<'a> {
    #[serde(borrow)]
    phone: Option<Text<'a>>,
    #[serde(borrow)]
    email: Option<Text<'a>>,
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    external_id: Option<Text<'a>>,
    #[serde(borrow)]
    language: Option<Text<'a>>,
    #[serde(borrow)]
    default_channel_id: Option<Text<'a>>,
    #[serde(borrow)]
    address: Option<Box<Address<'a>>>,
    birth_date: Option<BirthDate>,
    #[serde(borrow, default)]
    properties: BTreeMap<Text<'a>, serde_json::Value>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "it is deserialized and dropped")]
#[expect(clippy::struct_field_names, reason = "the body has these names")]
struct Address<'a> {
    #[serde(borrow)]
    address_line_one: Option<Text<'a>>,
    #[serde(borrow)]
    address_line_two: Option<Text<'a>>,
    #[serde(borrow)]
    city: Option<Text<'a>>,
    #[serde(borrow)]
    state: Option<Text<'a>>,
    #[serde(borrow)]
    post_code: Option<Text<'a>>,
    #[serde(borrow)]
    country: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "it is deserialized and dropped")]
struct BirthDate {
    day: Option<u8>,
    month: Option<u8>,
    year: Option<u16>,
}

/// A text that borrows from the body if possible. A derived `Option<Cow<str>>` never borrows.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrowing;

        impl<'de> Visitor<'de> for Borrowing {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }

        deserializer.deserialize_str(Borrowing)
    }
}

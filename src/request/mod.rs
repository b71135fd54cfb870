//! The members of a request, as sent: text is not trimmed, and no value is checked.

pub(crate) mod body;
mod fingerprint;
mod order;
mod read;

pub(crate) use body::{EnrollmentRequest, Recipient};
pub use fingerprint::Fingerprint;
pub(crate) use order::in_body_order;
pub(crate) use read::NUL;

use serde::Serialize;
use std::borrow::Cow;

use crate::ids::{CallFlowId, CustomObjectId, INDEX_BITS};
use crate::model::Resource;

/// The highest number of recipients in one request (spec 1, D13).
pub const MAX_RECIPIENTS: usize = 4000;

/// A minted id contains the recipient's index, in 12 bits.
const _: () = assert!(MAX_RECIPIENTS <= 1 << INDEX_BITS);

/// A postal address as sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are the documented ones")]
pub struct WireAddress<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address_line_one: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address_line_two: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub city: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<Cow<'a, str>>,
    /// `postal_code` is read as an alias.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub post_code: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<Cow<'a, str>>,
}

impl<'a> WireAddress<'a> {
    /// The parts with their names, in the documented order.
    pub(crate) fn parts(&self) -> [(&'static str, Option<&Cow<'a, str>>); 6] {
        [
            ("address_line_one", self.address_line_one.as_ref()),
            ("address_line_two", self.address_line_two.as_ref()),
            ("city", self.city.as_ref()),
            ("state", self.state.as_ref()),
            ("post_code", self.post_code.as_ref()),
            ("country", self.country.as_ref()),
        ]
    }

    fn into_owned(self) -> WireAddress<'static> {
        WireAddress {
            address_line_one: self.address_line_one.map(owned),
            address_line_two: self.address_line_two.map(owned),
            city: self.city.map(owned),
            state: self.state.map(owned),
            post_code: self.post_code.map(owned),
            country: self.country.map(owned),
        }
    }
}

/// A birth date as sent: `day` 1–31, `month` 1–12, `year` 1–9999, each optional.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are the documented ones")]
pub struct WireBirthDate {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub day: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub month: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub year: Option<i64>,
}

impl WireBirthDate {
    /// A birth date of these parts.
    #[must_use]
    pub fn new(day: Option<i64>, month: Option<i64>, year: Option<i64>) -> Self {
        Self { day, month, year }
    }
}

/// The custom object that the entries bring values for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "the fields are the documented ones")]
pub struct CustomData {
    pub custom_object_id: CustomObjectId,
    /// What each record belongs to.
    pub resource: Resource,
}

/// What answers inbound calls of the enrolled contacts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct VoiceOptions {
    /// Takes priority over the sequence's own call flow.
    pub default_call_flow_id: CallFlowId,
}

fn owned(text: Cow<'_, str>) -> Cow<'static, str> {
    Cow::Owned(text.into_owned())
}

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
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = Address))]
#[non_exhaustive]
pub struct WireAddress<'a> {
    /// The first line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address_line_one: Option<Cow<'a, str>>,
    /// The second line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address_line_two: Option<Cow<'a, str>>,
    /// The city.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub city: Option<Cow<'a, str>>,
    /// The state or province.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<Cow<'a, str>>,
    /// The post code. `postal_code` is read as an alias.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub post_code: Option<Cow<'a, str>>,
    /// The country.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<Cow<'a, str>>,
}

impl<'a> WireAddress<'a> {
    /// Returns the parts with their names, in the documented order.
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

/// A birth date as sent. Each part is optional.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = BirthDate))]
#[non_exhaustive]
pub struct WireBirthDate {
    /// The day, 1 to 31.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(minimum = 1, maximum = 31))]
    pub day: Option<i64>,
    /// The month, 1 to 12.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(minimum = 1, maximum = 12))]
    pub month: Option<i64>,
    /// The year.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(minimum = 1900, maximum = 9999))]
    pub year: Option<i64>,
}

impl WireBirthDate {
    /// Creates a birth date with these parts.
    #[must_use]
    pub fn new(day: Option<i64>, month: Option<i64>, year: Option<i64>) -> Self {
        Self { day, month, year }
    }
}

/// The custom object of the request: the `properties` of each entry are its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct CustomData {
    /// The custom object.
    pub custom_object_id: CustomObjectId,
    /// The kind of row that each record belongs to.
    pub resource: Resource,
}

/// The options for inbound calls of the enrolled contacts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
pub struct VoiceOptions {
    /// The call flow, with priority over the sequence's own.
    pub default_call_flow_id: CallFlowId,
}

fn owned(text: Cow<'_, str>) -> Cow<'static, str> {
    Cow::Owned(text.into_owned())
}

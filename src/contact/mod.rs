//! Contacts: their keys, profile and state, and the reading of phone numbers and email addresses.

mod email;
mod keys;
mod phone;
mod phone_text;
#[cfg(feature = "phonenumber")]
mod phonenumber_crate;
mod profile;
mod rlibphonenumber_crate;

pub use crate::text::Text;
pub use email::{Email, EmailError};
pub use keys::ContactKeys;
pub use phone::{PhoneError, PhoneNormalizer, PhoneNumber, Region, RegionError};
#[cfg(feature = "phonenumber")]
pub use phonenumber_crate::PhonenumberCrate;
pub use profile::Profile;
pub(crate) use profile::{Omit, flat_serde, with_profile_fields};
pub use rlibphonenumber_crate::Libphonenumber;

use serde::{Deserialize, Serialize};

use crate::ids::ContactId;
use crate::text::trimmed;
use crate::time::Timestamp;
use crate::words::words;

/// A contact of an organization, as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Contact {
    /// The id.
    pub id: ContactId,
    /// The host's own id of the contact. It is case-sensitive.
    pub external_id: Option<Text>,
    /// The phone number in E.164. A stored number in another form is kept, but matches no recipient.
    pub phone: Option<Text>,
    /// The email address.
    pub email: Option<Email>,
    /// The fields other than keys, such as the name.
    pub profile: Profile,
    /// The state.
    pub state: ContactState,
    /// The instant of the creation, if it is known.
    pub created_at: Option<Timestamp>,
    /// The instant of the last change, if it is known.
    pub updated_at: Option<Timestamp>,
}

with_profile_fields!(flat_serde! {
    Contact { id: ContactId, }
    { external_id: Option<Text>, phone: Option<Text>, email: Option<Email>, }
    profile { state: ContactState, created_at: Option<Timestamp>, updated_at: Option<Timestamp>, }
});

impl Contact {
    /// Creates an open contact with no other fields.
    #[must_use]
    pub fn new(id: ContactId) -> Self {
        Self {
            id,
            external_id: None,
            phone: None,
            email: None,
            profile: Profile::default(),
            state: ContactState::Open,
            created_at: None,
            updated_at: None,
        }
    }

    /// Returns the contact's key of a kind. A merged contact has no keys, and a blank field is not a key.
    #[must_use]
    pub fn key(&self, kind: KeyKind) -> Option<&str> {
        if self.state == ContactState::Merged {
            return None;
        }
        let text = match kind {
            KeyKind::ExternalId => self.external_id.as_deref(),
            KeyKind::Phone => self.phone.as_deref(),
            KeyKind::Email => self.email.as_ref().map(Email::key),
        };
        text.filter(|text| !trimmed(text).is_empty())
    }
}

words! {
    "kind of key",
    /// The kind of a contact's key, in the order of precedence (spec 4.3).
    ///
    /// Exhaustive, because a repository indexes each kind.
    #[cfg_attr(feature = "schema", schema(description = "The kind of a contact's key."))]
    #[derive(PartialOrd, Ord)]
    pub enum KeyKind {
        /// The host's own id of the contact.
        ExternalId = "external_id",
        /// The phone number in E.164.
        Phone = "phone",
        /// The comparison key of the email address.
        Email = "email",
    }
}

words! {
    "contact state",
    /// The state of a contact.
    ///
    /// Exhaustive, because a repository stores each state.
    #[cfg_attr(feature = "schema", schema(description = "The state of a contact."))]
    #[derive(Default)]
    pub enum ContactState {
        /// In use.
        #[default]
        Open = "open",
        /// Archived. The contact can be enrolled, and stays archived.
        Archived = "archived",
        /// Blocked. The contact is ignored, unless the policy leaves consent to the sender.
        Blocked = "blocked",
        /// Merged into another contact. It matches no recipient, and its keys are unclaimed.
        Merged = "merged",
    }
}

impl Omit for ContactState {
    fn is_omitted(&self) -> bool {
        false
    }
}

/// A postal address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = ContactAddress))]
#[non_exhaustive]
pub struct Address {
    /// The first line.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
    pub address_line_one: Option<Text>,
    /// The second line.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
    pub address_line_two: Option<Text>,
    /// The city.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
    pub city: Option<Text>,
    /// The state or province.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
    pub state: Option<Text>,
    /// The postal code. `postal_code` is an alias in JSON.
    #[serde(alias = "postal_code", skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
    pub post_code: Option<Text>,
    /// The country.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(value_type = Option<String>))]
    pub country: Option<Text>,
}

impl Address {
    /// Returns true if no part is given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A birth date. Each part may be unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = ContactBirthDate))]
#[non_exhaustive]
pub struct BirthDate {
    /// The day of the month, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(minimum = 1, maximum = 31))]
    pub day: Option<u8>,
    /// The month, from 1 to 12.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(minimum = 1, maximum = 12))]
    pub month: Option<u8>,
    /// The year, from 1 to 9999.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(minimum = 1, maximum = 9999))]
    pub year: Option<u16>,
}

impl BirthDate {
    /// Creates a date of these parts, or returns `None` if it is impossible. 29 February needs a leap year or no year.
    ///
    /// ```
    /// use enroll::contact::BirthDate;
    /// assert!(BirthDate::new(Some(29), Some(2), None).is_some());
    /// assert!(BirthDate::new(Some(29), Some(2), Some(2023)).is_none());
    /// ```
    #[must_use]
    pub fn new(day: Option<i64>, month: Option<i64>, year: Option<i64>) -> Option<Self> {
        let within = |part: Option<i64>, last: i64| part.is_none_or(|part| (1..=last).contains(&part));
        let last_day = match (month, year) {
            (Some(2), Some(year)) if !(year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)) => 28,
            (Some(2), _) => 29,
            (Some(4 | 6 | 9 | 11), _) => 30,
            _ => 31,
        };
        if !(within(day, last_day) && within(month, 12) && within(year, 9999)) {
            return None;
        }
        Some(Self {
            day: day.and_then(|day| day.try_into().ok()),
            month: month.and_then(|month| month.try_into().ok()),
            year: year.and_then(|year| year.try_into().ok()),
        })
    }

    /// Returns true if no part is given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

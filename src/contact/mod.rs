//! The contact: who it is, where it can be reached, and the keys that it is found by.

mod email;
mod keys;
mod phone;
#[cfg(feature = "phonenumber")]
mod phonenumber_crate;
mod rlibphonenumber_crate;

pub use crate::text::Text;
pub use email::{Email, EmailError};
pub use keys::ContactKeys;
pub use phone::{PhoneError, PhoneNormalizer, PhoneNumber, Region, RegionError};
#[cfg(feature = "phonenumber")]
pub use phonenumber_crate::PhonenumberCrate;
pub use rlibphonenumber_crate::Libphonenumber;

use serde::{Deserialize, Serialize};
use std::sync::Arc;

use crate::ids::{ChannelId, ContactId};
use crate::text::trimmed;
use crate::time::Timestamp;
use crate::words::words;

/// A contact of an organization, as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are the documented ones; what needs a word has it")]
pub struct Contact {
    pub id: ContactId,
    /// The host's own key of the person, case-sensitive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<Text>,
    /// E.164; what is stored in another form is kept, and matches nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phone: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<Email>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_channel_id: Option<ChannelId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<Arc<Address>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub birth_date: Option<BirthDate>,
    #[serde(default)]
    pub state: ContactState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_at: Option<Timestamp>,
}

impl Contact {
    /// An open contact of which nothing but the id is known.
    #[must_use]
    pub fn new(id: ContactId) -> Self {
        Self {
            id,
            external_id: None,
            phone: None,
            email: None,
            name: None,
            language: None,
            default_channel_id: None,
            address: None,
            birth_date: None,
            state: ContactState::Open,
            created_at: None,
            updated_at: None,
        }
    }

    /// What the contact is found by under a kind of key; none for a merged contact, and none where it is blank.
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

/// A postal address, taken or kept as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are the documented ones")]
pub struct Address {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address_line_one: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address_line_two: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub city: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<Text>,
    #[serde(alias = "postal_code", skip_serializing_if = "Option::is_none")]
    pub post_code: Option<Text>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub country: Option<Text>,
}

impl Address {
    /// Whether no part of it is given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A birth date of which any part may be unknown: day 1–31, month 1–12, year 1–9999.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are the documented ones")]
pub struct BirthDate {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub day: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub month: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub year: Option<u16>,
}

impl BirthDate {
    /// The date of these parts, if there can be one: 29 February needs a leap year or no year.
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

    /// Whether no part of it is given.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

//! The body of a request: plain serde derive into owned structs, then each entry checked.

use chrono::{DateTime, Utc};
use enroll::contact::{BirthDate, Email, EmailError, KeyKind, PhoneError, PhoneNumber, Region};
use enroll::model::Resource;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::Error;

/// A request as sent.
#[derive(Debug, Deserialize)]
pub struct Body {
    pub to: Vec<WireEntry>,
    pub from: Option<String>,
    pub step_id: Option<Uuid>,
    pub schedule_at: Option<DateTime<Utc>>,
    pub custom_data: Option<CustomData>,
    pub voice_options: Option<VoiceOptions>,
}

/// An entry of `to` as sent.
#[derive(Debug, Deserialize)]
pub struct WireEntry {
    phone: String,
    email: Option<String>,
    name: Option<String>,
    external_id: Option<String>,
    language: Option<String>,
    default_channel_id: Option<Uuid>,
    address: Option<Address>,
    birth_date: Option<WireBirthDate>,
    #[serde(default)]
    properties: Map<String, Value>,
}

/// The custom object of the entries' values.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct CustomData {
    pub custom_object_id: Uuid,
    pub resource: Resource,
}

/// The call flow for inbound calls.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct VoiceOptions {
    pub default_call_flow_id: Uuid,
}

#[derive(Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
struct Address {
    #[serde(skip_serializing_if = "Option::is_none")]
    address_line_one: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address_line_two: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    city: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    #[serde(alias = "postal_code", skip_serializing_if = "Option::is_none")]
    post_code: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    country: Option<String>,
}

#[derive(Debug, Deserialize)]
struct WireBirthDate {
    day: Option<i64>,
    month: Option<i64>,
    year: Option<i64>,
}

/// An entry of `to`, trimmed and checked.
#[derive(Debug)]
pub struct Entry {
    pub phone: Option<Result<PhoneNumber, PhoneError>>,
    pub email: Option<Result<Email, EmailError>>,
    pub external_id: Option<String>,
    pub name: Option<String>,
    pub language: Option<String>,
    pub default_channel_id: Option<Uuid>,
    /// As JSON.
    pub address: Option<String>,
    pub birth_date: Option<BirthDate>,
    pub properties: Map<String, Value>,
}

impl Body {
    /// Reads a body.
    ///
    /// # Errors
    /// The body is not a request, or has too few or too many entries.
    pub fn read(bytes: &[u8]) -> Result<Self, Error> {
        let body: Self = serde_json::from_slice(bytes)?;
        match body.to.len() {
            1..=enroll::request::MAX_RECIPIENTS => Ok(body),
            n => Err(format!("`to` has {n} entries").into()),
        }
    }
}

/// Checks the entries. Phones without `+` are numbers of `region`.
///
/// # Errors
/// The first fault of an entry, for which the request is refused.
pub fn check(to: Vec<WireEntry>, region: Option<Region>, custom_data: bool) -> Result<Vec<Entry>, Error> {
    to.into_iter().map(|wire| entry(wire, region.as_ref(), custom_data)).collect()
}

fn entry(wire: WireEntry, region: Option<&Region>, custom_data: bool) -> Result<Entry, Error> {
    for text in [&wire.name, &wire.email].into_iter().flatten() {
        if text.len() > 255 && text.chars().count() > 255 {
            return Err("a name or an email has more than 255 characters".into());
        }
    }
    let birth_date = match wire.birth_date {
        None => None,
        Some(date) => Some(BirthDate::new(date.day, date.month, date.year).ok_or("the birth date does not exist")?),
    };
    let address = match wire.address.map(Address::trimmed).transpose()? {
        None => None,
        Some(address) if address == Address::default() => None,
        Some(address) => Some(serde_json::to_string(&address)?),
    };
    Ok(Entry {
        phone: trimmed(Some(wire.phone))?.map(|phone| PhoneNumber::parse(&phone, region)),
        email: trimmed(wire.email)?.map(|email| Email::parse(&email)),
        external_id: trimmed(wire.external_id)?,
        name: trimmed(wire.name)?,
        language: trimmed(wire.language)?,
        default_channel_id: wire.default_channel_id,
        address,
        birth_date: birth_date.filter(|date| !date.is_empty()),
        properties: if custom_data { properties(wire.properties)? } else { Map::new() },
    })
}

impl Address {
    fn trimmed(self) -> Result<Self, Error> {
        Ok(Self {
            address_line_one: trimmed(self.address_line_one)?,
            address_line_two: trimmed(self.address_line_two)?,
            city: trimmed(self.city)?,
            state: trimmed(self.state)?,
            post_code: trimmed(self.post_code)?,
            country: trimmed(self.country)?,
        })
    }
}

impl Entry {
    /// Returns a valid key of the entry.
    #[must_use]
    pub fn key(&self, kind: KeyKind) -> Option<&str> {
        match kind {
            KeyKind::ExternalId => self.external_id.as_deref(),
            KeyKind::Phone => self.phone.as_ref()?.as_ref().ok().map(PhoneNumber::as_str),
            KeyKind::Email => self.email.as_ref()?.as_ref().ok().map(Email::key),
        }
    }
}

/// Trims the text. Blank text is absent.
fn trimmed(text: Option<String>) -> Result<Option<String>, Error> {
    let Some(text) = text else { return Ok(None) };
    if text.contains('\0') {
        return Err("U+0000 is not allowed in text".into());
    }
    Ok(match text.trim() {
        "" => None,
        trimmed if trimmed.len() == text.len() => Some(text),
        trimmed => Some(trimmed.to_owned()),
    })
}

fn properties(given: Map<String, Value>) -> Result<Map<String, Value>, Error> {
    let mut properties = Map::with_capacity(given.len());
    for (key, value) in given {
        match value {
            Value::String(text) => {
                if let Some(text) = trimmed(Some(text))? {
                    properties.insert(key, Value::String(text));
                }
            }
            value => {
                properties.insert(key, trimmed_value(value));
            }
        }
    }
    Ok(properties)
}

fn trimmed_value(value: Value) -> Value {
    match value {
        Value::String(text) => Value::String(text.trim().to_owned()),
        Value::Array(items) => Value::Array(items.into_iter().map(trimmed_value).collect()),
        Value::Object(members) => {
            Value::Object(members.into_iter().map(|(key, value)| (key, trimmed_value(value))).collect())
        }
        value => value,
    }
}

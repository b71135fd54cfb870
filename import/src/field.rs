//! The fields that a column can have.

use enroll::Recipient;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

/// The meaning of a column.
///
/// It displays and serializes as its name, such as `phone`, `city`, `birth_date.day` or `properties.score`. The parts of
/// the address are also read with their prefix: `address.city`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum Field {
    /// The phone number.
    Phone,
    /// The email address.
    Email,
    /// The full name.
    Name,
    /// The given name.
    FirstName,
    /// The names between the given and the family name. They are part of the full name only.
    MiddleName,
    /// The family name.
    LastName,
    /// The host's own id of the contact.
    ExternalId,
    /// Another text of a recipient, such as `language`. It is read from its name.
    Text(TextName),
    /// The channel that the host uses for the contact by default: a uuid.
    DefaultChannelId,
    /// The first line of the address.
    AddressLineOne,
    /// The second line of the address.
    AddressLineTwo,
    /// The city.
    City,
    /// The state or province.
    State,
    /// The post code.
    PostCode,
    /// The country.
    Country,
    /// The whole birth date.
    BirthDate,
    /// The day of the birth date.
    BirthDay,
    /// The month of the birth date.
    BirthMonth,
    /// The year of the birth date.
    BirthYear,
    /// A filled cell means that the person opted out, unless it says `no`.
    OptedOut,
    /// A cell that does not say `yes` means that the person opted out. A blank cell says nothing.
    OptedIn,
    /// A value of the custom object: the key of the property.
    Property(String),
    /// The column is not read.
    Ignore,
}

/// The name of a text of a recipient for which no rule is special: one of [`Recipient::TEXTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TextName(&'static str);

/// The fields that this library has rules for, and their names.
const NAMES: [(Field, &str); 21] = [
    (Field::Phone, "phone"),
    (Field::Email, "email"),
    (Field::Name, "name"),
    (Field::FirstName, "first_name"),
    (Field::MiddleName, "middle_name"),
    (Field::LastName, "last_name"),
    (Field::ExternalId, "external_id"),
    (Field::DefaultChannelId, "default_channel_id"),
    (Field::AddressLineOne, "address_line_one"),
    (Field::AddressLineTwo, "address_line_two"),
    (Field::City, "city"),
    (Field::State, "state"),
    (Field::PostCode, "post_code"),
    (Field::Country, "country"),
    (Field::BirthDate, "birth_date"),
    (Field::BirthDay, "birth_date.day"),
    (Field::BirthMonth, "birth_date.month"),
    (Field::BirthYear, "birth_date.year"),
    (Field::OptedOut, "opted_out"),
    (Field::OptedIn, "opted_in"),
    (Field::Ignore, "ignore"),
];

/// The texts of a recipient: their fields and their names.
static TEXTS: LazyLock<Vec<(Field, &str)>> = LazyLock::new(|| {
    let field = |name| NAMES.iter().find(|(_, known)| *known == name).map(|(field, _)| field.clone());
    Recipient::TEXTS.map(|name| (field(name).unwrap_or(Field::Text(TextName(name))), name)).into()
});

/// The prefix of a column with a value of the custom object.
const PROPERTIES: &str = "properties.";

impl Field {
    /// Returns the names of all fields but `properties.KEY`.
    pub fn names() -> impl Iterator<Item = &'static str> {
        Self::named().map(|(_, name)| *name)
    }

    /// Returns the texts of a recipient with their names.
    pub(crate) fn texts() -> &'static [(Self, &'static str)] {
        &TEXTS
    }

    /// Returns all fields but `properties.KEY`, with their names.
    fn named() -> impl Iterator<Item = &'static (Self, &'static str)> {
        NAMES.iter().chain(TEXTS.iter().filter(|(field, _)| matches!(field, Self::Text(_))))
    }

    /// Returns true if a list needs a column with one of these fields.
    #[must_use]
    pub fn is_key(&self) -> bool {
        matches!(self, Self::Phone | Self::Email | Self::ExternalId)
    }

    /// Returns true if an apostrophe can begin a value: `'t Hart`, `'s-Hertogenbosch`.
    pub(crate) fn keeps_apostrophe(&self) -> bool {
        self.is_name() || self.is_address()
    }

    /// Returns true if each column counts: a row is set aside if one of them says that the person opted out.
    pub(crate) fn is_consent(&self) -> bool {
        matches!(self, Self::OptedOut | Self::OptedIn)
    }

    pub(crate) fn is_name(&self) -> bool {
        matches!(self, Self::Name | Self::FirstName | Self::MiddleName | Self::LastName)
    }

    pub(crate) fn is_address(&self) -> bool {
        matches!(
            self,
            Self::AddressLineOne | Self::AddressLineTwo | Self::City | Self::State | Self::PostCode | Self::Country
        )
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Self::Property(key) = self {
            return write!(f, "{PROPERTIES}{key}");
        }
        f.write_str(Self::named().find(|(field, _)| field == self).map_or("", |(_, name)| name))
    }
}

/// A text is not the name of a field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a field; use one of `{list}` or `properties.KEY`", list = Field::names().collect::<Vec<_>>().join("`, `"))]
pub struct UnknownFieldError(pub(crate) String);

impl FromStr for Field {
    type Err = UnknownFieldError;

    fn from_str(text: &str) -> Result<Self, UnknownFieldError> {
        let text = text.trim();
        if let Some(key) = text.strip_prefix(PROPERTIES).map(str::trim).filter(|key| !key.is_empty()) {
            return Ok(Self::Property(key.to_owned()));
        }
        let name = match text.strip_prefix("address.") {
            Some("postal_code") => "post_code",
            Some(part) => part,
            None if text == "postal_code" => "post_code",
            None => text,
        };
        let known = Self::named().find(|(field, known)| *known == name && (name == text || field.is_address()));
        known.map(|(field, _)| field.clone()).ok_or_else(|| UnknownFieldError(text.to_owned()))
    }
}

impl TryFrom<String> for Field {
    type Error = UnknownFieldError;

    fn try_from(text: String) -> Result<Self, UnknownFieldError> {
        text.parse()
    }
}

impl From<Field> for String {
    fn from(field: Field) -> Self {
        field.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_is_read_from_its_name() {
        for (field, name) in Field::named() {
            assert_eq!(name.parse().as_ref(), Ok(field));
            assert_eq!(field.to_string(), *name);
        }
        for name in Recipient::TEXTS {
            assert!(Field::names().any(|known| known == name), "{name}");
        }
        assert_eq!("properties.a.b".parse(), Ok(Field::Property("a.b".into())));
        for name in ["address.post_code", "address.postal_code", "postal_code", " post_code "] {
            assert_eq!(name.parse(), Ok(Field::PostCode), "{name}");
        }
        for name in ["", "Phone", "address.phone", "properties.", "fax"] {
            assert!(name.parse::<Field>().is_err(), "{name}");
        }
    }
}

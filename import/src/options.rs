//! What a person chooses for a list, and what the host sets.

use enroll::Timestamp;
use enroll::chrono::Datelike;
use enroll::model::{CustomObject, PropertyKind};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::dates::DateFormat;
use crate::edits::Edit;
use crate::mapping::Mapping;

/// What a person chooses for a list. Each choice has a default, and the library finds what is absent.
///
/// The choices are part of the id of the list. In JSON, each of them can be omitted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Options {
    /// The sheet of a spreadsheet. If it is absent, the first visible sheet with a header is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sheet: Option<String>,
    /// The encoding of text: a name such as `windows-1252`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<String>,
    /// The delimiter of text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<Delimiter>,
    /// The fields of columns that were chosen by hand. Other columns have the suggested field.
    #[serde(skip_serializing_if = "Mapping::is_empty")]
    pub mapping: Mapping,
    /// Changes of rows by hand.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub edits: Vec<Edit>,
    /// The format of dates that are not `YYYY-MM-DD`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub date_format: Option<DateFormat>,
}

/// What the host sets: facts about the request, and limits.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Settings {
    /// The properties of the custom object of the request. Without it, a column with properties refuses the list.
    pub properties: Option<BTreeMap<String, PropertyKind>>,
    /// The last year that a birth date can have.
    pub last_birth_year: i64,
    /// The limits.
    pub limits: Limits,
}

impl Settings {
    /// Creates settings without a custom object and with the default limits. `at` is the instant of the list.
    #[must_use]
    pub fn new(at: Timestamp) -> Self {
        Self { properties: None, last_birth_year: at.as_datetime().year().into(), limits: Limits::default() }
    }

    /// Sets the custom object of the request: a column `properties.KEY` has the type of its property.
    #[must_use]
    pub fn with_custom_object(mut self, object: &CustomObject) -> Self {
        let properties = object.properties.iter().map(|property| (property.key.clone(), property.kind));
        self.properties = Some(properties.collect());
        self
    }

    /// Sets the limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }
}

/// The limits of a list. They bound the memory, for hostile files too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The size of the file in bytes. The default is 64 MiB. For CSV, it can be any number.
    pub bytes: u64,
    /// The size of one row of text in bytes. The default is 1 MiB.
    pub row_bytes: usize,
    /// The unzipped size of a spreadsheet in bytes. The default is 256 MiB.
    pub unzipped_bytes: u64,
    /// The number of cells of a spreadsheet that are not blank. The default is 5 million.
    pub cells: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 64 << 20, row_bytes: 1 << 20, unzipped_bytes: 256 << 20, cells: 5_000_000 }
    }
}

impl Limits {
    /// Sets the size of the file in bytes.
    #[must_use]
    pub fn with_bytes(mut self, bytes: u64) -> Self {
        self.bytes = bytes;
        self
    }
}

/// What separates the cells of a text.
///
/// It displays and serializes as the character, and is also read from its name, such as `tab`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum Delimiter {
    /// `,`
    Comma,
    /// `;`
    Semicolon,
    /// A tab.
    Tab,
    /// `|`
    Pipe,
}

impl Delimiter {
    pub(crate) const ALL: [Self; 4] = [Self::Comma, Self::Semicolon, Self::Tab, Self::Pipe];

    pub(crate) fn byte(self) -> u8 {
        match self {
            Self::Comma => b',',
            Self::Semicolon => b';',
            Self::Tab => b'\t',
            Self::Pipe => b'|',
        }
    }
}

impl fmt::Display for Delimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", char::from(self.byte()))
    }
}

/// A text is not a delimiter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not a delimiter; use `,`, `;`, `|` or `tab`", .0.escape_debug())]
pub struct DelimiterError(String);

impl FromStr for Delimiter {
    type Err = DelimiterError;

    fn from_str(text: &str) -> Result<Self, DelimiterError> {
        match text {
            "," | "comma" => Ok(Self::Comma),
            ";" | "semicolon" => Ok(Self::Semicolon),
            "\t" | "\\t" | "tab" => Ok(Self::Tab),
            "|" | "pipe" => Ok(Self::Pipe),
            _ => Err(DelimiterError(text.to_owned())),
        }
    }
}

impl TryFrom<String> for Delimiter {
    type Error = DelimiterError;

    fn try_from(text: String) -> Result<Self, DelimiterError> {
        text.parse()
    }
}

impl From<Delimiter> for String {
    fn from(delimiter: Delimiter) -> Self {
        delimiter.to_string()
    }
}

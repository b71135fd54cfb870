//! What the library found in a file.

use serde::{Deserialize, Serialize};
use std::fmt;

use crate::field::Field;
use crate::options::Delimiter;

/// The format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Format {
    /// CSV, TSV or other text with a delimiter.
    Text,
    /// Office Open XML: `.xlsx`.
    Xlsx,
    /// The older binary format of Excel: `.xls`.
    Xls,
    /// `OpenDocument`: `.ods`.
    Ods,
    /// JSON: a request body, or an array of entries.
    Json,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Xlsx => "XLSX",
            Self::Xls => "XLS",
            Self::Ods => "ODS",
            Self::Json => "JSON",
        })
    }
}

/// What the library found in a file: for a person who chooses the columns.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Inspection {
    /// The format.
    pub format: Format,
    /// The encoding of text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<&'static str>,
    /// True if the encoding is a guess. A warning has examples to check.
    pub encoding_guessed: bool,
    /// The delimiter of text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delimiter: Option<Delimiter>,
    /// The sheets of a spreadsheet, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sheets: Vec<String>,
    /// The sheet that is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sheet: Option<String>,
    /// The number of the row with the titles. A JSON file has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header_row: Option<u64>,
    /// The columns, in order.
    pub columns: Vec<InspectedColumn>,
    /// The number of rows below the header that are not blank, without the dropped ones.
    pub rows: u64,
    /// What a person should look at.
    pub warnings: Vec<Warning>,
}

/// A column of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct InspectedColumn {
    /// The position, from 1.
    pub position: usize,
    /// The title.
    pub title: String,
    /// The field that is read from the column: the one chosen by hand, else the suggested one. Absent if the column is
    /// not read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<Field>,
    /// The field that the title suggests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggested: Option<Field>,
    /// The field to choose if the title speaks of consent: `opted_out` or `opted_in`. It is never chosen without a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consent: Option<Field>,
    /// The first values that are not blank.
    pub samples: Vec<String>,
}

/// A cell for a person to check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CellText {
    /// The row.
    pub row: u64,
    /// The title of the column.
    pub column: String,
    /// The text of the cell.
    pub text: String,
}

/// What a person should look at before the list is enrolled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "code", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Warning {
    /// The encoding is a guess. The cells show whether it is right.
    EncodingGuessed {
        /// The encoding.
        encoding: &'static str,
        /// The first cells with text that is not ASCII.
        examples: Vec<CellText>,
    },
    /// No field is known for the column, so it is not read.
    UnknownColumn {
        /// The position, from 1.
        position: usize,
        /// The title.
        title: String,
    },
    /// The title speaks of consent. The list is refused until the column has a field.
    ConsentNotMapped {
        /// The position, from 1.
        position: usize,
        /// The title.
        title: String,
    },
    /// No column is a phone, an email or an external id. The list is refused until one is.
    NoKeyColumn,
    /// A request body has members next to its recipients. They are not part of a list.
    MembersNotRead {
        /// The names of the members.
        members: Vec<String>,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EncodingGuessed { encoding, examples } => {
                write!(f, "the encoding is guessed as {encoding}; check the text of the cells")?;
                for (n, example) in examples.iter().enumerate() {
                    let separator = if n == 0 { ": " } else { ", " };
                    write!(f, "{separator}row {} `{}`", example.row, example.text.escape_debug())?;
                }
                Ok(())
            }
            Self::UnknownColumn { position, title } => {
                write!(f, "column {position}, `{}`, is not read: no field is known for it", title.escape_debug())
            }
            Self::ConsentNotMapped { position, title } => write!(
                f,
                "column {position}, `{}`, may say who must not be contacted; map it to `opted_out`, `opted_in` or \
                 `ignore`",
                title.escape_debug()
            ),
            Self::NoKeyColumn => {
                f.write_str("no column is a phone, an email or an external id; map one of the columns")
            }
            Self::MembersNotRead { members } => {
                write!(f, "the members `{}` of the file are not read; set them as options", members.join("`, `"))
            }
        }
    }
}

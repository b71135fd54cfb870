//! What the library found in a file.

use serde::{Deserialize, Serialize};
use std::fmt;

use crate::cells::looks_like;
use crate::field::Field;
use crate::options::Delimiter;

/// The format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = ListFormat))]
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
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = ListInspection))]
#[non_exhaustive]
pub struct Inspection {
    /// The format.
    pub format: Format,
    /// The encoding of text.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub encoding: Option<&'static str>,
    /// True if the encoding is a guess. A warning has examples to check.
    pub encoding_guessed: bool,
    /// The delimiter of text.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub delimiter: Option<Delimiter>,
    /// The sheets of a spreadsheet, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sheets: Vec<String>,
    /// The sheet that is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub sheet: Option<String>,
    /// The number of the row with the titles. A JSON file has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
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
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = ListColumn))]
#[non_exhaustive]
pub struct InspectedColumn {
    /// The position, from 1.
    pub position: usize,
    /// The title.
    pub title: String,
    /// The field that is read from the column: the one chosen by hand, else the suggested one. Absent if the column is
    /// not read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub field: Option<Field>,
    /// The field that the title suggests.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub suggested: Option<Field>,
    /// The field to choose if the title speaks of consent: `opted_out` or `opted_in`. It is never chosen without a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub consent: Option<Field>,
    /// The first values that are not blank.
    pub samples: Vec<String>,
}

impl InspectedColumn {
    /// Returns `phone` or `email` if all samples look like one.
    #[must_use]
    pub fn looks_like(&self) -> Option<Field> {
        let mut samples = self.samples.iter().map(|sample| looks_like(sample));
        let first = samples.next()??;
        samples.all(|other| other.as_ref() == Some(&first)).then_some(first)
    }
}

/// A cell for a person to check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
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
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = ListWarning))]
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
    /// The row with the titles looks like a person, who is not enrolled.
    NoTitles {
        /// The row.
        row: u64,
    },
    /// Several columns have one field. In each row, the first of them that has a value counts.
    SeveralColumns {
        /// The field.
        field: Field,
        /// The titles, in the order in which the columns count.
        columns: Vec<String>,
    },
    /// Other visible sheets have a header and rows too. They are not read.
    OtherSheets {
        /// The sheet that is read.
        sheet: String,
        /// The other sheets.
        sheets: Vec<String>,
    },
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
            Self::NoTitles { row } => write!(
                f,
                "row {row} looks like a person, but it is read as the titles; add a row with titles above it, such as \
                 `Phone,Name`"
            ),
            Self::SeveralColumns { field, columns } => {
                let columns: Vec<_> = columns.iter().map(|title| format!("`{}`", title.escape_debug())).collect();
                write!(
                    f,
                    "the columns {} are all `{field}`; in each row, the first of them that has a value counts, in this \
                     order",
                    columns.join(", ")
                )
            }
            Self::OtherSheets { sheet, sheets } => {
                let sheets: Vec<_> = sheets.iter().map(|name| format!("`{}`", name.escape_debug())).collect();
                write!(
                    f,
                    "only the sheet `{}` is read; other sheets have rows too: {}",
                    sheet.escape_debug(),
                    sheets.join(", ")
                )
            }
            Self::MembersNotRead { members } => {
                write!(f, "the members `{}` of the file are not read; set them as options", members.join("`, `"))
            }
        }
    }
}

//! Why a list is refused.

use std::io;

use crate::edits::ColumnRef;
use crate::field::Field;
use crate::inspection::Format;

/// The formats that the library reads, for messages.
const FORMATS: &str = "CSV, TSV or text, XLSX, XLS, ODS, JSON";

/// Why a list is refused as a whole. Nothing of it may be enrolled.
///
/// `Display` says what is wrong, where, and what to do. It does not name the file: the host knows its name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListError {
    /// The input cannot be read.
    #[error("cannot be read")]
    Io(#[from] io::Error),
    /// The input has no bytes, or only blank ones.
    #[error("is empty; the first row must have the titles of the columns, such as `Phone`")]
    Empty,
    /// The input is larger than the limit.
    #[error("is larger than {limit} bytes; split it, or raise the limit")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The content is of a format that the library does not read.
    #[error("is {found}; save the list as one of these formats: {FORMATS}")]
    UnknownFormat {
        /// What the content is.
        found: String,
    },
    /// The file is torn or broken.
    #[error("is a broken {format} file: {problem}; save or download it again. The formats are {FORMATS}")]
    Broken {
        /// The format.
        format: Format,
        /// What is wrong.
        problem: String,
    },
    /// The file is encrypted.
    #[error("is protected by a password; save it without one")]
    Encrypted,
    /// A spreadsheet is larger than the limits.
    #[error("has more than {limit} {what}; save the sheet as CSV, or split it")]
    TooManyCells {
        /// The limit.
        limit: u64,
        /// What is counted.
        what: &'static str,
    },
    /// The caller's encoding does not exist.
    #[error("`{name}` is not an encoding; use a name such as `utf-8`, `windows-1252` or `utf-16le`")]
    UnknownEncoding {
        /// The name.
        name: String,
    },
    /// Bytes are not text in the encoding.
    #[error(
        "row {row}, column {column} has bytes that are not {encoding}; save the file as UTF-8, or set its encoding"
    )]
    BadText {
        /// The row.
        row: u64,
        /// The letters of the column.
        column: String,
        /// The encoding.
        encoding: &'static str,
    },
    /// A quote is not closed: the rest of the file would be one cell.
    #[error("row {row} opens a quote that is never closed; close it, or download the file again")]
    OpenQuote {
        /// The row.
        row: u64,
    },
    /// A row is larger than the limit.
    #[error("row {row} has more than {limit} bytes; check for a quote that is not closed")]
    RowTooLong {
        /// The row.
        row: u64,
        /// The limit in bytes.
        limit: usize,
    },
    /// The given sheet does not exist.
    #[error("has no sheet `{name}`; its sheets are `{list}`", list = sheets.join("`, `"))]
    UnknownSheet {
        /// The given name.
        name: String,
        /// The sheets of the file.
        sheets: Vec<String>,
    },
    /// A sheet is given, but the format has none.
    #[error("has no sheets; omit the sheet")]
    NoSheets,
    /// No sheet has a header.
    #[error(
        "has no sheet with a column for a phone, an email or an external id; name the sheet and map its columns. Its \
         sheets are `{list}`", list = sheets.join("`, `")
    )]
    NoSheetWithHeader {
        /// The sheets of the file.
        sheets: Vec<String>,
    },
    /// No column is a phone, an email or an external id.
    #[error(
        "has no column for a phone, an email or an external id; map one of its columns to `phone`, `email` or \
         `external_id`. The titles are {list}", list = listed(titles)
    )]
    NoKeyColumn {
        /// The titles of the first row.
        titles: Vec<String>,
    },
    /// No column is a phone, an email or an external id, and the row that should have the titles looks like a person.
    #[error(
        "row {row} looks like a person, but the first row must have the titles of the columns; add a row above it, such \
         as `Phone,Name`"
    )]
    NoTitles {
        /// The row.
        row: u64,
    },
    /// Columns speak of consent, and the caller has not decided about them.
    #[error(
        "{list} may say who must not be contacted; map each such column to `opted_out` or `opted_in`, or to `ignore`",
        list = listed(titles)
    )]
    ConsentNotMapped {
        /// The titles.
        titles: Vec<String>,
    },
    /// The mapping names a column that does not exist.
    #[error("has no column {column}, which the mapping or an edit names; the titles are {list}", list = listed(titles))]
    UnknownColumn {
        /// The column.
        column: ColumnRef,
        /// The titles of the list.
        titles: Vec<String>,
    },
    /// The mapping names a column twice.
    #[error("the mapping has two fields for column {column}: `{first}` and `{second}`; remove one")]
    MappedTwice {
        /// The column.
        column: ColumnRef,
        /// A field.
        first: Field,
        /// The other field.
        second: Field,
    },
    /// A column has values of a custom object, but the request has no custom object.
    #[error("column `{title}` is `{field}`, but no custom object is set; set it, or map the column to `ignore`")]
    NoCustomObject {
        /// The title.
        title: String,
        /// The field.
        field: Field,
    },
    /// The list has a header, but no rows.
    #[error("has a header but no people below it")]
    NoRows,
    /// Every row is set aside.
    #[error("has no row that can be enrolled: all {rows} are set aside, the first in row {row}: {reason}")]
    NoRecipients {
        /// The number of rows.
        rows: u64,
        /// The first row.
        row: u64,
        /// Its reason.
        reason: String,
    },
    /// An edit names a row that the list does not have.
    #[error("has no row {row} below its header that is not blank, but an edit names it; remove the edit")]
    UnknownRow {
        /// The row.
        row: u64,
    },
    /// The idempotency key has other characters.
    #[error("the idempotency key must be 1 to 255 visible ASCII characters")]
    InvalidIdempotencyKey,
    /// The bytes differ from those of the first pass.
    #[error("changed while it was read; start again")]
    Changed,
}

impl ListError {
    /// Returns the stable code of the error.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Io(_) => "io",
            Self::Empty => "empty",
            Self::TooLarge { .. } => "too_large",
            Self::UnknownFormat { .. } => "unknown_format",
            Self::Broken { .. } => "broken_file",
            Self::Encrypted => "encrypted",
            Self::TooManyCells { .. } => "too_many_cells",
            Self::UnknownEncoding { .. } => "unknown_encoding",
            Self::BadText { .. } => "bad_text",
            Self::OpenQuote { .. } => "open_quote",
            Self::RowTooLong { .. } => "row_too_long",
            Self::UnknownSheet { .. } => "unknown_sheet",
            Self::NoSheets => "no_sheets",
            Self::NoSheetWithHeader { .. } => "no_sheet_with_header",
            Self::NoKeyColumn { .. } => "no_key_column",
            Self::NoTitles { .. } => "no_titles",
            Self::ConsentNotMapped { .. } => "consent_not_mapped",
            Self::UnknownColumn { .. } => "unknown_column",
            Self::MappedTwice { .. } => "mapped_twice",
            Self::NoCustomObject { .. } => "no_custom_object",
            Self::NoRows => "no_rows",
            Self::NoRecipients { .. } => "no_recipients",
            Self::UnknownRow { .. } => "unknown_row",
            Self::InvalidIdempotencyKey => "invalid_idempotency_key",
            Self::Changed => "changed",
        }
    }
}

/// Lists titles for a message: the first twenty, escaped.
fn listed(titles: &[String]) -> String {
    let mut list: Vec<String> = titles.iter().take(20).map(|title| format!("`{}`", title.escape_debug())).collect();
    if titles.len() > list.len() {
        list.push(format!("and {} more", titles.len() - list.len()));
    }
    if list.is_empty() { "missing".to_owned() } else { list.join(", ") }
}

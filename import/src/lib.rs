//! Reads lists of people as files have them: CSV, TSV and text, XLSX, XLS, ODS and JSON.
//!
//! [`inspect`] shows what a file has: its format, its columns with a suggested [`Field`], samples and warnings. A person
//! chooses [`Options`], such as the [`Mapping`] of columns or an [`Edit`] of a row. [`List::open`] reads the file once to
//! check and count its rows. [`List::rows`] then gives each row as an [`Entry`] with a recipient, or as a row that is
//! [`SetAside`]. [`List::requests`] gives the recipients as requests of balanced sizes.
//!
//! Of text, one row is in memory at a time. The sheet of a spreadsheet and the entries of a JSON file are in memory as a
//! whole. [`Limits`] bound them, for hostile files too.
//!
//! The feature `schema` adds OpenAPI schemas of what is found and chosen in a list, as implementations of `utoipa::ToSchema`.
//!
//! The rules are section 11 of the spec of `enroll`. The README has an example.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable))]

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod cells;
mod dates;
mod edits;
mod entry;
mod error;
mod field;
mod format;
mod inspection;
mod list;
mod mapping;
mod options;
mod requests;
#[cfg(feature = "schema")]
mod schema;
mod sheet;
mod source;
mod titles;

pub use dates::{DateFormat, DateFormatError};
pub use edits::{ColumnRef, Edit};
pub use entry::{Entry, Note, SetAside, SetAsideReason};
pub use error::ListError;
pub use field::{Field, TextName, UnknownFieldError};
pub use inspection::{CellText, Format, InspectedColumn, Inspection, Warning};
pub use list::{List, RowCells, Rows, inspect, inspect_with_rows, spool};
pub use mapping::{Assignment, AssignmentError, Mapping};
pub use options::{Delimiter, DelimiterError, Limits, Options, Settings};
pub use requests::{ListKey, ListRequest, Requests};

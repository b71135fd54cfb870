//! Changes by hand: which column is which field, and what a cell says.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::error::ListError;
use crate::sheet::{Cell, Row, column_letters};

/// A column: its title, or its position from 1.
///
/// In JSON, a number is a position and a text is a title. A title is compared as in the table of synonyms. If several
/// columns have the title, all of them are meant.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
#[cfg_attr(
    feature = "schema",
    derive(utoipa::ToSchema),
    schema(description = "A column: its title, or its position from 1.")
)]
#[non_exhaustive]
pub enum ColumnRef {
    /// The position, from 1.
    Position(u32),
    /// The title.
    Title(String),
}

impl ColumnRef {
    /// Returns the indexes of the columns that are meant.
    pub(crate) fn find(&self, titles: &[String]) -> Result<Vec<usize>, ListError> {
        let columns: Vec<usize> = match self {
            Self::Position(position) => {
                let index = (*position as usize).checked_sub(1);
                index.filter(|index| *index < titles.len()).into_iter().collect()
            }
            Self::Title(title) => {
                let same = |compare: fn(&str) -> String| {
                    let title = compare(title);
                    titles.iter().enumerate().filter(|(_, other)| compare(other) == title).map(|(n, _)| n).collect()
                };
                let exact: Vec<usize> = same(|title| title.trim().to_owned());
                // A title of punctuation alone is equal to itself only.
                if exact.is_empty() && !crate::titles::normalized(title).is_empty() {
                    same(crate::titles::normalized)
                } else {
                    exact
                }
            }
        };
        if columns.is_empty() {
            return Err(ListError::UnknownColumn { column: self.clone(), titles: titles.to_vec() });
        }
        Ok(columns)
    }
}

impl fmt::Display for ColumnRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Position(position) => match (*position as usize).checked_sub(1) {
                Some(index) => write!(f, "{position} ({})", column_letters(index)),
                None => write!(f, "{position}"),
            },
            Self::Title(title) => write!(f, "`{}`", title.escape_debug()),
        }
    }
}

impl From<&str> for ColumnRef {
    fn from(title: &str) -> Self {
        Self::Title(title.to_owned())
    }
}

impl From<u32> for ColumnRef {
    fn from(position: u32) -> Self {
        Self::Position(position)
    }
}

/// A change of one row. Rows have their number in the file. The last edit of a cell counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "edit", rename_all = "snake_case")]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema), schema(as = ListEdit))]
#[non_exhaustive]
pub enum Edit {
    /// Replaces a cell. The rules for cells apply to the text.
    SetCell {
        /// The row.
        #[cfg_attr(feature = "schema", schema(minimum = 1))]
        row: u64,
        /// The column. If several columns have the title, the first one is meant.
        column: ColumnRef,
        /// The new text.
        text: String,
    },
    /// Drops a row.
    DropRow {
        /// The row.
        #[cfg_attr(feature = "schema", schema(minimum = 1))]
        row: u64,
    },
}

/// The edits of a list by row.
#[derive(Debug, Default)]
pub(crate) struct RowEdits {
    cells: BTreeMap<u64, BTreeMap<usize, String>>,
    dropped: BTreeSet<u64>,
}

impl RowEdits {
    pub(crate) fn new(edits: &[Edit], titles: &[String]) -> Result<Self, ListError> {
        let mut rows = Self::default();
        for edit in edits {
            match edit {
                Edit::SetCell { row, column, text } => {
                    let columns = column.find(titles)?;
                    rows.cells.entry(*row).or_default().extend(columns.first().map(|column| (*column, text.clone())));
                }
                Edit::DropRow { row } => {
                    rows.dropped.insert(*row);
                }
            }
        }
        Ok(rows)
    }

    /// Returns the rows that have an edit.
    pub(crate) fn rows(&self) -> BTreeSet<u64> {
        self.cells.keys().chain(&self.dropped).copied().collect()
    }

    /// Changes a row. Returns false if the row is dropped.
    pub(crate) fn apply(&self, row: &mut Row) -> bool {
        if self.dropped.contains(&row.number) {
            return false;
        }
        for (column, text) in self.cells.get(&row.number).into_iter().flatten() {
            if row.cells.len() <= *column {
                row.cells.resize(column + 1, Cell::Blank);
            }
            row.cells[*column] = Cell::text(text.clone());
        }
        true
    }
}

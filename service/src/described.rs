//! Codes for programs, with their texts for people: the reasons, the notes and the warnings of lists.

use std::fmt;

use enroll::{Note, Reason};
use enroll_import::SetAsideReason;
use serde::Serialize;
use utoipa::ToSchema;

/// A code with its parameters, and its text.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Described<T> {
    #[serde(flatten)]
    coded: T,
    /// For people.
    description: String,
}

impl<T: fmt::Display> From<T> for Described<T> {
    fn from(coded: T) -> Self {
        Self { description: coded.to_string(), coded }
    }
}

/// What was changed or left out of a row of a list, or a note of its outcome.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum RowNote {
    Outcome(Note),
    Cells(enroll_import::Note),
}

impl fmt::Display for RowNote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outcome(note) => note.fmt(f),
            Self::Cells(note) => note.fmt(f),
        }
    }
}

/// Why a row of a list is ignored or set aside.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum RowReason {
    Ignored(Reason),
    SetAside(SetAsideCode),
}

/// Why a row is set aside.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SetAsideCode {
    pub(crate) code: SetAsideReason,
}

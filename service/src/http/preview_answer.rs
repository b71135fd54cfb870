//! The answer of a preview of a list.

use std::borrow::Cow;

use enroll::report::{Counts, Warning};
use enroll::{EnrollmentId, Outcome, ReadAs, Recipient, StoredEnrollment, Timestamp};
use enroll_import::{RowCells, SetAside};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::docs::PreviewDisposition;
use super::lists::FileInspection;
use crate::described::{Described, RowNote, RowReason, SetAsideCode};
use crate::sql::people_lists::{EarlierList, ListState};

/// What a list would do, without its rows.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ListPreviewHead)]
pub(crate) struct PreviewHead {
    /// The id that the list will have, and its first request.
    pub(super) list_id: EnrollmentId,
    /// Present if all requests of the list were accepted before. Their outcomes are those of their reports, as far as they
    /// have one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) accepted_before: Option<AcceptedBefore>,
    /// The lists and requests that put the people into the step who would be reprocessed: those with the most people,
    /// the newest first. Absent if no person is in the step already, or if the list was accepted before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) enrolled_before: Vec<EarlierList>,
    #[schema(value_type = FileInspection)]
    pub(super) inspection: Value,
    /// The number of enrollment requests that the list needs.
    pub(super) requests: usize,
    pub(super) recipients: u64,
    /// The number of rows that are not enrolled.
    pub(super) set_aside: u64,
    pub(super) counts: Counts,
    pub(super) warnings: Vec<Described<Warning>>,
}

/// A list that was accepted before.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ListAcceptedBefore)]
pub(super) struct AcceptedBefore {
    accepted_at: Timestamp,
    state: ListState,
}

/// What would become of a row of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RowOutcome {
    #[schema(value_type = PreviewDisposition)]
    disposition: &'static str,
    /// The phone as the list has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    phone: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    name: Option<String>,
    /// Why the row is not enrolled.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    reasons: Vec<RowReason>,
    /// Notes that did not prevent the enrollment, and what was changed or left out of the row.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) notes: Vec<Described<RowNote>>,
    /// The reasons, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    description: Option<String>,
    /// The addresses as the service read them.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) read_as: Option<ReadAs>,
    /// The column that sets the row aside: its title, or its letters.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    column: Option<String>,
    /// An earlier row with the same contact.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub(super) repeats_row: Option<usize>,
}

impl AcceptedBefore {
    /// Returns when a list was accepted, and its state, if all of its requests were.
    pub(super) fn of(before: &[ListState], requests: usize, first: Option<&StoredEnrollment>) -> Option<Self> {
        let first = first.filter(|_| requests > 0 && before.len() == requests)?;
        let state = if before.contains(&ListState::Accepted) {
            ListState::Accepted
        } else if before.contains(&ListState::Failed) {
            ListState::Failed
        } else {
            ListState::Completed
        };
        Some(Self { accepted_at: first.at, state })
    }
}

impl RowOutcome {
    fn new(disposition: &'static str) -> Self {
        Self {
            disposition,
            phone: None,
            email: None,
            name: None,
            reasons: Vec::new(),
            notes: Vec::new(),
            description: None,
            read_as: None,
            column: None,
            repeats_row: None,
        }
    }

    /// Adds the texts of the recipient as the list has them.
    pub(super) fn with_texts_of(self, recipient: &Recipient<'_>) -> Self {
        let text = |text: &Option<Cow<'_, str>>| text.as_deref().filter(|text| !text.is_empty()).map(cut);
        let (phone, email, name) = (text(&recipient.phone), text(&recipient.email), text(&recipient.name));
        Self { phone, email, name, ..self }
    }
}

impl From<&Outcome> for RowOutcome {
    fn from(outcome: &Outcome) -> Self {
        let texts: Vec<String> = outcome.reasons.iter().map(ToString::to_string).collect();
        Self {
            reasons: outcome.reasons.iter().cloned().map(RowReason::Ignored).collect(),
            notes: outcome.notes.iter().cloned().map(|note| RowNote::Outcome(note).into()).collect(),
            description: (!texts.is_empty()).then(|| texts.join("; ")),
            ..Self::new(outcome.disposition.as_str())
        }
    }
}

impl From<SetAside> for RowOutcome {
    fn from(row: SetAside) -> Self {
        Self {
            reasons: vec![RowReason::SetAside(SetAsideCode { code: row.reason })],
            description: Some(row.reason.to_string()),
            column: Some(row.column),
            ..Self::new(SET_ASIDE)
        }
    }
}

/// Shortens the cells of a row for an answer.
pub(super) fn shortened(mut row: RowCells) -> RowCells {
    row.cells.truncate(MAX_CELLS);
    for cell in &mut row.cells {
        *cell = cut(cell);
    }
    row
}

/// Shortens a text for an answer.
fn cut(text: &str) -> String {
    match text.char_indices().nth(MAX_CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The disposition of a row that is not enrolled.
pub(crate) const SET_ASIDE: &str = "set_aside";
/// The number of cells of a row, and of characters of a text, that an answer has.
const MAX_CELLS: usize = 500;
const MAX_CHARACTERS: usize = 500;

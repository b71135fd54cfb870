//! The rows of a list, with what became of each.

use enroll::report::OutcomeCount;
use enroll::{Disposition, EnrollmentId, OrganizationId, Outcome, Reason, RepositoryError};
use enroll_import::SetAsideReason;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::described::{Described, RowNote};
use crate::handles::Handle;
use crate::sql::people_lists::{
    ChunkCounts, Piece, RequestRow, RowEntry, RowTexts, SetAsideRow, has_outcomes, list_counts, list_pieces,
    list_requests, piece_rows,
};
use crate::sql::{self, OutcomeFilter, Pagination};

/// A stored list, without its rows.
pub(crate) struct StoredRows {
    organization_id: OrganizationId,
    id: EnrollmentId,
    pub(crate) requests: Vec<RequestRow>,
    pub(crate) pieces: Vec<Piece>,
}

/// A row of a list.
pub(crate) struct ListedRow {
    pub(crate) row: u64,
    /// A disposition of an outcome, or one of [`OTHER_DISPOSITIONS`]. Absent if the outcomes were removed.
    pub(crate) disposition: Option<&'static str>,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) set_aside: Option<SetAsideRow>,
    pub(crate) texts: Option<RowTexts>,
    /// The row of the person whose outcome says that this one is the same.
    pub(crate) repeats_row: Option<u64>,
}

impl ListedRow {
    /// Returns the codes of the reasons.
    fn reasons<'r>(&'r self) -> impl Iterator<Item = &'r str> {
        let of_outcome =
            self.outcome.iter().flat_map(|outcome| &outcome.reasons).map(|reason| -> &'r str { reason.code() });
        of_outcome.chain(self.set_aside.as_ref().map(|row| &*row.reason))
    }

    /// Returns the reasons as they are in reports, or why the row is set aside.
    pub(crate) fn reasons_json(&self) -> Vec<Value> {
        let of_outcome = self.outcome.iter().flat_map(|outcome| &outcome.reasons).map(|reason| json!(reason));
        of_outcome.chain(self.set_aside.as_ref().map(|row| json!({ "code": row.reason }))).collect()
    }

    /// Returns the reasons and why the row is set aside, for people.
    pub(crate) fn problems(&self) -> Vec<String> {
        let of_outcome = self.outcome.iter().flat_map(|outcome| &outcome.reasons).map(ToString::to_string);
        let set_aside = self.set_aside.as_ref();
        of_outcome.chain(set_aside.map(|row| format!("{}: {}", row.column, row.description))).collect()
    }

    /// Returns the notes of the outcome, and those of the cells if the texts are kept.
    pub(crate) fn notes(&self) -> Vec<Value> {
        let of_outcome = self
            .outcome
            .iter()
            .flat_map(|outcome| &outcome.notes)
            .map(|note| json!(Described::from(RowNote::Outcome(note.clone()))));
        of_outcome.chain(self.texts.iter().flat_map(|texts| texts.notes.iter().cloned())).collect()
    }

    /// Returns true if a person can be enrolled after a correction of the row.
    pub(crate) fn can_be_fixed(&self) -> bool {
        match (&self.outcome, &self.set_aside) {
            (_, Some(row)) => row.reason != SetAsideReason::OptedOutInList.as_str(),
            (Some(outcome), None) => {
                outcome.disposition == Disposition::Ignored && outcome.reasons.iter().all(can_be_fixed)
            }
            (None, None) => false,
        }
    }
}

/// Returns true if a correction of the row removes the reason.
pub(crate) fn can_be_fixed(reason: &Reason) -> bool {
    matches!(
        reason,
        Reason::MissingPhone
            | Reason::InvalidPhone { .. }
            | Reason::MissingEmail
            | Reason::InvalidEmail { .. }
            | Reason::IdentityConflict { .. }
            | Reason::AddressTaken { .. }
    )
}

/// The rows to return: those with one of the dispositions, and with one of the reasons. An empty list allows all.
#[derive(Default)]
pub(crate) struct RowFilter {
    pub(crate) dispositions: Vec<String>,
    pub(crate) reasons: Vec<String>,
}

impl RowFilter {
    /// Returns the words that can be filtered: the dispositions, and the codes of the reasons.
    pub(crate) fn words() -> (Vec<&'static str>, Vec<&'static str>) {
        let dispositions = Disposition::ALL.map(Disposition::as_str).into_iter().chain(OTHER_DISPOSITIONS);
        let reasons = Reason::CODES.iter().map(|(code, _)| *code);
        let reasons = reasons.chain(SetAsideReason::ALL.map(SetAsideReason::as_str));
        (dispositions.collect(), reasons.collect())
    }

    fn is_empty(&self) -> bool {
        self.dispositions.is_empty() && self.reasons.is_empty()
    }

    fn allows<'c>(&self, disposition: Option<&str>, mut codes: impl Iterator<Item = &'c str>) -> bool {
        let is_one = |words: &[String], word: &str| words.iter().any(|known| known == word);
        (self.dispositions.is_empty() || disposition.is_some_and(|word| is_one(&self.dispositions, word)))
            && (self.reasons.is_empty() || codes.any(|code| is_one(&self.reasons, code)))
    }

    /// Returns the number of allowed rows among `count` ones without a reason.
    fn count(&self, disposition: Option<&str>, count: u64) -> u64 {
        if self.allows(disposition, std::iter::empty()) { count } else { 0 }
    }
}

/// What a row can be besides the dispositions of outcomes.
pub(crate) const OTHER_DISPOSITIONS: [&str; 4] = [SET_ASIDE, PENDING, FAILED, ERASED];
const SET_ASIDE: &str = "set_aside";
/// Its request waits.
const PENDING: &str = "pending";
/// Its request failed or was rejected.
const FAILED: &str = "failed";
/// Its person was erased before its request was processed.
const ERASED: &str = "erased";

impl StoredRows {
    /// Reads the requests and the pieces of a list.
    pub(crate) async fn read(
        handle: &mut Handle,
        organization_id: OrganizationId,
        id: EnrollmentId,
    ) -> Result<Self, RepositoryError> {
        let requests = list_requests(handle, organization_id, id).await?;
        let pieces = list_pieces(handle, organization_id, id).await?;
        Ok(Self { organization_id, id, requests, pieces })
    }

    /// Reads a page of the rows that a filter allows, and their number. It reads only the pieces with rows of the page.
    pub(crate) async fn page(
        &self,
        handle: &mut Handle,
        filter: &RowFilter,
        pagination: &Pagination,
    ) -> Result<(Vec<ListedRow>, u64), RepositoryError> {
        let (start, end) = (u64::from(pagination.offset), u64::from(pagination.offset) + u64::from(pagination.limit));
        let mut counts: BTreeMap<u64, Vec<ChunkCounts>> = BTreeMap::new();
        if !filter.is_empty() {
            for chunk in list_counts(handle, self.organization_id, self.id).await? {
                counts.entry(chunk.request).or_default().push(chunk);
            }
        }
        let (mut page, mut total) = (Vec::new(), 0);
        for piece in &self.pieces {
            let chunks = counts.get(&piece.request).map_or(&[][..], Vec::as_slice);
            let (count, rows) = match self.count(piece, filter, chunks) {
                Some(count) if count == 0 || total >= end || total + count <= start => (count, Vec::new()),
                _ => {
                    let mut rows = self.rows(handle, piece).await?;
                    rows.retain(|row| filter.allows(row.disposition, row.reasons()));
                    (rows.len() as u64, rows)
                }
            };
            let of_page = |(number, row): (u64, ListedRow)| (start..end).contains(&(total + number)).then_some(row);
            page.extend((0..).zip(rows).filter_map(of_page));
            total += count;
        }
        Ok((page, total))
    }

    /// Returns the number of rows of a piece that a filter allows, or `None` if its rows must be read for that.
    fn count(&self, piece: &Piece, filter: &RowFilter, chunks: &[ChunkCounts]) -> Option<u64> {
        let set_aside = piece.set_aside.iter();
        let set_aside = set_aside.filter(|(code, _)| filter.allows(Some(SET_ASIDE), std::iter::once(&***code)));
        let set_aside: u64 = set_aside.map(|(_, count)| count).sum();
        if filter.is_empty() || piece.recipients == 0 {
            return Some(set_aside + piece.recipients);
        }
        let request = self.request(piece);
        if !request.is_some_and(has_outcomes) {
            return Some(set_aside + filter.count(without_outcome(request), piece.recipients));
        }
        let (mut allowed, mut all) = (0, 0);
        for chunk in chunks {
            match (piece.has_index(chunk.first_index), piece.has_index(chunk.last_index)) {
                (true, true) => {}
                (false, false) if chunk.first_index > piece.first_index || chunk.last_index < piece.first_index => {
                    continue;
                }
                // A chunk that was stored with another length.
                _ => return None,
            }
            for OutcomeCount { disposition, reasons, count, .. } in &chunk.counts {
                all += *count as u64;
                if filter.allows(Some(disposition.as_str()), reasons.iter().map(|code| &**code)) {
                    allowed += *count as u64;
                }
            }
        }
        let erased = piece.recipients.saturating_sub(all);
        Some(set_aside + allowed + filter.count(Some(ERASED), erased))
    }

    fn request(&self, piece: &Piece) -> Option<&RequestRow> {
        self.requests.iter().find(|request| request.number == piece.request)
    }

    /// Reads the rows of a piece.
    pub(crate) async fn rows(&self, handle: &mut Handle, piece: &Piece) -> Result<Vec<ListedRow>, RepositoryError> {
        let (entries, texts) = piece_rows(handle, self.organization_id, self.id, piece.number).await?;
        let request = self.request(piece);
        let completed = request.filter(|request| has_outcomes(request));
        let mut outcomes: BTreeMap<u64, Outcome> = BTreeMap::new();
        if let Some(request) = completed.filter(|_| piece.recipients > 0) {
            let number = |number: u64| u32::try_from(number).map_err(sql::invalid_data);
            let (offset, limit) = (number(piece.first_index)?, number(piece.recipients)?);
            let range = Pagination { offset, limit, after: None };
            let filter = OutcomeFilter::all();
            let page =
                sql::outcomes(handle, self.organization_id, request.enrollment_id, &filter, &range, usize::MAX).await?;
            outcomes = page.data.into_iter().map(|outcome| (outcome.index as u64, outcome)).collect();
        }
        let without = if completed.is_some() { Some(ERASED) } else { without_outcome(request) };
        let mut texts = texts.map(Vec::into_iter);
        let mut index = piece.first_index;
        let mut rows = Vec::with_capacity(entries.len());
        for entry in entries {
            let texts = texts.as_mut().and_then(Iterator::next);
            let row = entry.row();
            rows.push(match entry {
                RowEntry::SetAside(set_aside) => ListedRow {
                    row,
                    disposition: Some(SET_ASIDE),
                    outcome: None,
                    set_aside: Some(set_aside),
                    texts,
                    repeats_row: None,
                },
                RowEntry::Recipient(_) => {
                    let outcome = outcomes.remove(&index);
                    index += 1;
                    let disposition = outcome.as_ref().map(|outcome| outcome.disposition.as_str()).or(without);
                    ListedRow { row, disposition, outcome, set_aside: None, texts, repeats_row: None }
                }
            });
        }
        self.add_repeated(handle, piece, &mut rows).await?;
        Ok(rows)
    }

    /// Adds the row of the first recipient with the same contact.
    async fn add_repeated(
        &self,
        handle: &mut Handle,
        piece: &Piece,
        rows: &mut [ListedRow],
    ) -> Result<(), RepositoryError> {
        // The rows of the recipients of pieces before this one.
        let mut read: BTreeMap<i64, Vec<u64>> = BTreeMap::new();
        for row in rows {
            let first = row.outcome.as_ref().and_then(|outcome| outcome.duplicate_of);
            let Some(first) = first.map(|index| index as u64) else { continue };
            let found = self.pieces.iter().find(|other| other.request == piece.request && other.has_index(first));
            let Some(other) = found else { continue };
            let place = usize::try_from(first - other.first_index).map_err(sql::invalid_data)?;
            let rows = match read.entry(other.number) {
                Entry::Occupied(rows) => rows.into_mut(),
                Entry::Vacant(rows) => {
                    let (entries, _) = piece_rows(handle, self.organization_id, self.id, other.number).await?;
                    let recipients = entries.iter().filter(|entry| matches!(entry, RowEntry::Recipient(_)));
                    rows.insert(recipients.map(RowEntry::row).collect())
                }
            };
            row.repeats_row = rows.get(place).copied();
        }
        Ok(())
    }
}

/// Returns what a recipient is whose request has no outcomes. `None` if they were removed, or a host deleted them.
fn without_outcome(request: Option<&RequestRow>) -> Option<&'static str> {
    match &*request?.enrollment.as_ref()?.state {
        "accepted" => Some(PENDING),
        "failed" | "rejected" => Some(FAILED),
        _ => None,
    }
}

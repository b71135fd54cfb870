//! Stores a list with all its requests, in one transaction.

use enroll::report::OutcomeChunk;
use enroll::{
    Engine, EnrollError, Enrollment, EnrollmentId, EnrollmentKey, EnrollmentRequest, OrganizationId, Receipt,
    Recipient, RepositoryError, SequenceId, Timestamp,
};
use enroll_import::{Entry, List, ListError, RowCells, Rows, SetAside};
use enroll_sqlite::SqliteError;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;

use crate::audit::{self, Action};
use crate::described::{Described, RowNote};
use crate::keys::Caller;
use crate::sql::people_lists::{INSERT_LIST, INSERT_PIECE, INSERT_REQUEST, Kept, RowEntry, RowTexts, SetAsideRow};
use crate::sql::{Param, invalid_data};

/// A list to store.
pub(crate) struct NewList<'l> {
    pub(crate) list: &'l mut List<File>,
    pub(crate) id: EnrollmentId,
    /// The id that the content has without an idempotency key.
    pub(crate) content_id: EnrollmentId,
    pub(crate) caller: Caller,
    pub(crate) sequence_id: SequenceId,
    /// The name of the file.
    pub(crate) file: &'l str,
    pub(crate) at: Timestamp,
    /// When it was sent: a list that is continued keeps its instant.
    pub(crate) now: Timestamp,
    /// A request with the options of the list, and no recipients.
    pub(crate) request: &'l EnrollmentRequest<'static>,
    pub(crate) options: Value,
    pub(crate) inspection: Value,
}

/// What a transaction did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StoredList {
    /// It stored the list. `replayed` is true if all its requests were accepted before, in another way.
    New { replayed: bool },
    /// A list with the same id exists.
    Exists,
}

/// Why a list was not stored.
#[derive(Debug)]
pub(crate) enum StoreError {
    /// The file cannot be read again.
    List(ListError),
    /// A request was refused. With the row of each of its recipients.
    Request(EnrollError, Vec<u64>),
    Repository(RepositoryError),
}

impl From<RepositoryError> for StoreError {
    fn from(error: RepositoryError) -> Self {
        Self::Repository(error)
    }
}

impl From<SqliteError> for StoreError {
    fn from(error: SqliteError) -> Self {
        Self::Repository(error.into())
    }
}

impl From<ListError> for StoreError {
    fn from(error: ListError) -> Self {
        Self::List(error)
    }
}

/// An open transaction.
pub(crate) trait ListTransaction {
    /// Runs a statement. Returns the number of rows that it wrote.
    async fn execute(&mut self, sql: &str, params: &[Param]) -> Result<u64, RepositoryError>;

    /// Accepts a request.
    async fn accept(&mut self, engine: &Engine<'_>, enrollment: &Enrollment<'_>) -> Result<Receipt, EnrollError>;
}

/// Stores a list and accepts its requests. One request and one piece of rows are in memory at a time.
pub(crate) async fn store(
    transaction: &mut impl ListTransaction,
    engine: &Engine<'_>,
    new: NewList<'_>,
) -> Result<StoredList, StoreError> {
    let organization_id = new.caller.organization_id;
    // If the same list is stored by another transaction, this waits for its end.
    if transaction.execute(INSERT_LIST, &list_params(&new)?).await? == 0 {
        return Ok(StoredList::Exists);
    }
    let NewList { list, id, caller, sequence_id, at, now, request: options, .. } = new;
    let sizes = list.request_sizes();
    let list_ref = list.list_ref(id, at);
    let mut replayed = !sizes.is_empty();
    if sizes.is_empty() {
        let (sql, params) = audit::insert(caller, Action::Enroll, id.as_uuid(), now);
        transaction.execute(sql, &params).await?;
    }
    let mut parts = Parts::new(list.rows()?, sizes);
    while let Some(part) = parts.next()? {
        match part {
            Part::Piece(piece) => {
                let params = piece.params(organization_id, id)?;
                transaction.execute(INSERT_PIECE, &params).await?;
            }
            Part::Request { number, recipients, rows } => {
                let mut request = options.clone();
                request.to = recipients;
                let enrollment = Enrollment {
                    organization_id,
                    sequence_id,
                    key: EnrollmentKey::Id(id.part(number)),
                    at: Timestamp::from_millis(at.millis().saturating_add(number.into())).unwrap_or(at),
                    list: list_ref,
                    request: &request,
                };
                let accepted = transaction.accept(engine, &enrollment).await;
                let receipt = accepted.map_err(|e| StoreError::Request(e, rows))?;
                replayed &= receipt.replayed;
                let enrollment_id = receipt.enrollment_id.as_uuid();
                if !receipt.replayed {
                    let (sql, params) = audit::insert(caller, Action::Enroll, enrollment_id, now);
                    transaction.execute(sql, &params).await?;
                }
                let params = [
                    Param::Id(organization_id.as_uuid()),
                    Param::Id(id.as_uuid()),
                    Param::Number(number.into()),
                    Param::Id(enrollment_id),
                    size(request.to.len())?,
                ];
                transaction.execute(INSERT_REQUEST, &params).await?;
            }
        }
    }
    Ok(StoredList::New { replayed })
}

fn list_params(new: &NewList<'_>) -> Result<[Param; 12], RepositoryError> {
    let kept = Kept { options: new.options.clone(), inspection: new.inspection.clone() };
    let Kept { options, inspection } = without_texts(&kept);
    Ok([
        Param::Id(new.caller.organization_id.as_uuid()),
        Param::Id(new.id.as_uuid()),
        Param::Id(new.content_id.as_uuid()),
        Param::Id(new.sequence_id.as_uuid()),
        // A text in PostgreSQL cannot contain NUL.
        Param::Text(new.file.replace('\0', "\u{fffd}")),
        Param::Number(new.at.millis()),
        count(new.list.recipients())?,
        count(new.list.set_aside())?,
        size(new.list.request_sizes().len())?,
        Param::Text(options.to_string()),
        Param::Text(inspection.to_string()),
        Param::TextOrNull(Some(json!(kept).to_string())),
    ])
}

/// Returns the options and the inspection without the texts of people: no edits, samples and examples.
fn without_texts(kept: &Kept) -> Kept {
    let Kept { mut options, mut inspection } =
        Kept { options: kept.options.clone(), inspection: kept.inspection.clone() };
    if let Some(options) = options.as_object_mut() {
        options.remove("edits");
    }
    for column in inspection["columns"].as_array_mut().into_iter().flatten() {
        column["samples"] = json!([]);
    }
    for warning in inspection["warnings"].as_array_mut().into_iter().flatten() {
        if warning.get("examples").is_some() {
            warning["examples"] = json!([]);
            // It quotes the examples.
            if let Some(warning) = warning.as_object_mut() {
                warning.remove("description");
            }
        }
    }
    Kept { options, inspection }
}

/// A part of a list, in the order of its rows.
enum Part {
    Piece(NewPiece),
    Request {
        number: u32,
        recipients: Vec<Recipient<'static>>,
        /// The row of each recipient.
        rows: Vec<u64>,
    },
}

/// Divides the rows of a list into pieces and requests.
///
/// A piece ends with its request, and after a multiple of the outcomes that are stored together. So the counts of these
/// outcomes say how many rows of a piece match a filter.
struct Parts<'l> {
    rows: Rows<'l, File>,
    sizes: std::vec::IntoIter<usize>,
    /// The number of recipients of the current request.
    size: Option<usize>,
    number: u32,
    recipients: Vec<Recipient<'static>>,
    recipient_rows: Vec<u64>,
    piece: NewPiece,
    /// The request that follows the piece.
    complete: bool,
    ended: bool,
}

impl<'l> Parts<'l> {
    fn new(rows: Rows<'l, File>, sizes: Vec<usize>) -> Self {
        let mut sizes = sizes.into_iter();
        let size = sizes.next();
        Self {
            rows,
            sizes,
            size,
            number: 0,
            recipients: Vec::new(),
            recipient_rows: Vec::new(),
            piece: NewPiece::default(),
            complete: false,
            ended: false,
        }
    }

    fn next(&mut self) -> Result<Option<Part>, ListError> {
        if self.complete {
            return Ok(Some(self.end_request()));
        }
        while let Some(row) = self.rows.next_with_cells() {
            let (cells, read) = row?;
            self.add(cells, read)?;
            self.complete = Some(self.recipients.len()) == self.size;
            if self.complete || self.piece.is_full() {
                return Ok(Some(Part::Piece(self.end_piece())));
            }
        }
        if self.size.is_some() {
            return Err(ListError::Changed);
        }
        let has_rows = !std::mem::replace(&mut self.ended, true) && !self.piece.entries.is_empty();
        Ok(has_rows.then(|| Part::Piece(self.end_piece())))
    }

    fn add(&mut self, cells: RowCells, read: Result<Entry, SetAside>) -> Result<(), ListError> {
        let mut texts = RowTexts { cells: cells.cells, ..RowTexts::default() };
        let entry = match read {
            Ok(Entry { row, recipient, notes, .. }) => {
                if self.size.is_none() {
                    return Err(ListError::Changed);
                }
                let owned = |text: &Option<std::borrow::Cow<'_, str>>| {
                    text.as_deref().filter(|text| !text.is_empty()).map(str::to_owned)
                };
                texts.phone = owned(&recipient.phone);
                texts.email = owned(&recipient.email);
                texts.name = owned(&recipient.name);
                texts.notes = notes.into_iter().map(|note| json!(Described::from(RowNote::Cells(note)))).collect();
                self.recipients.push(recipient);
                self.recipient_rows.push(row);
                self.piece.recipients += 1;
                RowEntry::Recipient(row)
            }
            Err(SetAside { row, column, reason, .. }) => {
                *self.piece.set_aside.entry(reason.as_str().to_owned()).or_default() += 1;
                let description = reason.to_string();
                RowEntry::SetAside(SetAsideRow { row, column, reason: reason.as_str().to_owned(), description })
            }
        };
        self.piece.bytes += texts.cells.iter().map(|cell| cell.len() + CELL_BYTES).sum::<usize>();
        self.piece.entries.push(entry);
        self.piece.texts.push(texts);
        Ok(())
    }

    fn end_piece(&mut self) -> NewPiece {
        let next = NewPiece {
            number: self.piece.number + 1,
            request: self.number,
            first_index: self.recipients.len(),
            ..NewPiece::default()
        };
        std::mem::replace(&mut self.piece, next)
    }

    fn end_request(&mut self) -> Part {
        let number = self.number;
        self.complete = false;
        self.size = self.sizes.next();
        if self.size.is_some() {
            self.number += 1;
            (self.piece.request, self.piece.first_index) = (self.number, 0);
        }
        let (recipients, rows) = (std::mem::take(&mut self.recipients), std::mem::take(&mut self.recipient_rows));
        Part::Request { number, recipients, rows }
    }
}

/// Adjacent rows to store.
#[derive(Default)]
struct NewPiece {
    number: usize,
    request: u32,
    first_index: usize,
    recipients: usize,
    set_aside: BTreeMap<String, u64>,
    entries: Vec<RowEntry>,
    texts: Vec<RowTexts>,
    bytes: usize,
}

impl NewPiece {
    fn is_full(&self) -> bool {
        let ends_with_chunk = (self.first_index + self.recipients).is_multiple_of(PIECE_RECIPIENTS);
        (self.recipients > 0 && ends_with_chunk) || self.entries.len() >= PIECE_ROWS || self.bytes >= PIECE_BYTES
    }

    fn params(&self, organization_id: OrganizationId, id: EnrollmentId) -> Result<[Param; 9], RepositoryError> {
        Ok([
            Param::Id(organization_id.as_uuid()),
            Param::Id(id.as_uuid()),
            size(self.number)?,
            Param::Number(self.request.into()),
            size(self.first_index)?,
            size(self.recipients)?,
            Param::Text(json!(self.set_aside).to_string()),
            Param::Text(serde_json::to_string(&self.entries).map_err(invalid_data)?),
            Param::TextOrNull(Some(serde_json::to_string(&self.texts).map_err(invalid_data)?)),
        ])
    }
}

fn count(number: u64) -> Result<Param, RepositoryError> {
    i64::try_from(number).map(Param::Number).map_err(invalid_data)
}

fn size(number: usize) -> Result<Param, RepositoryError> {
    i64::try_from(number).map(Param::Number).map_err(invalid_data)
}

/// The number of recipients after which a piece ends.
const PIECE_RECIPIENTS: usize = 10 * OutcomeChunk::LENGTH;
/// The number of rows after which a piece ends, also if few of them are recipients.
const PIECE_ROWS: usize = 2 * PIECE_RECIPIENTS;
/// The bytes of cells after which a piece ends.
const PIECE_BYTES: usize = 1 << 20;
/// What a cell needs besides its text.
const CELL_BYTES: usize = 3;

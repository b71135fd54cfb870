//! The OpenAPI schemas of lists and their rows.
#![expect(dead_code, reason = "only their schemas are used")]

use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::docs::{CodedDoc, CountsDoc, ReadAsDoc, WarningDoc};
use super::errors::ErrorBody;
use super::list_options::ListOptions;

/// An upload: a list, and the options of how it is read.
#[derive(ToSchema)]
#[schema(as = Upload)]
pub(crate) struct UploadDoc {
    /// The list: CSV, TSV or text in any encoding, XLSX, XLS, ODS or JSON. The part has a file name.
    #[schema(format = Binary, content_media_type = "application/octet-stream")]
    file: String,
    #[schema(nullable = false)]
    options: Option<ListOptions>,
}

/// What became of a row of a list: a disposition of an outcome, or `set_aside`; `pending` while its request waits; `failed`
/// if its request failed or was rejected; `erased` if its person was erased before.
#[derive(ToSchema)]
#[schema(as = ListDisposition, rename_all = "snake_case")]
pub(crate) enum ListDispositionDoc {
    Added,
    ReAdded,
    Reprocessed,
    Ignored,
    Duplicate,
    SetAside,
    Pending,
    Failed,
    Erased,
}

/// Why a row was ignored or set aside.
#[derive(ToSchema)]
#[schema(as = ListReason, rename_all = "snake_case")]
pub(crate) enum ListReasonDoc {
    MissingPhone,
    InvalidPhone,
    MissingEmail,
    InvalidEmail,
    IdentityConflict,
    AddressTaken,
    Blocked,
    OptedOut,
    ActiveInOtherStep,
    PendingInOtherStep,
    ReAddExcluded,
    MaxRunsReached,
    MaxAddsReached,
    OptedOutInList,
    ConsentUnclear,
    BeyondHeader,
    InvalidUuid,
    TooLong,
    InvalidCharacter,
    NotText,
}

/// The format, the columns and the number of rows of a list.
#[derive(ToSchema)]
#[schema(as = ListInspection)]
pub(crate) struct InspectionDoc {
    /// The name of the file.
    file: String,
    /// The size of the file.
    bytes: u64,
    format: FormatDoc,
    /// Of text.
    #[schema(nullable = false)]
    encoding: Option<String>,
    /// True if the encoding is a guess. A warning has examples to check.
    encoding_guessed: bool,
    /// Of text.
    #[schema(nullable = false)]
    delimiter: Option<String>,
    /// The sheets of a spreadsheet, in order.
    #[schema(nullable = false)]
    sheets: Option<Vec<String>>,
    /// The sheet that is read.
    #[schema(nullable = false)]
    sheet: Option<String>,
    /// The number of the row with the titles. A JSON file has none.
    #[schema(nullable = false)]
    header_row: Option<u64>,
    columns: Vec<InspectedColumnDoc>,
    /// The number of rows below the header that are not blank.
    rows: u64,
    /// What a person should look at.
    warnings: Vec<ListWarningDoc>,
}

/// The first rows of a list, and what was found in it.
#[derive(ToSchema)]
#[schema(as = InspectedList)]
pub(crate) struct InspectedListDoc {
    #[serde(flatten)]
    inspection: InspectionDoc,
    /// The first ten rows that are not blank.
    sample_rows: Vec<RowCellsDoc>,
}

/// The cells of a row.
#[derive(ToSchema)]
#[schema(as = RowCells)]
pub(crate) struct RowCellsDoc {
    /// The number of the row in the file.
    row: u64,
    /// The text of each cell, up to the last one that is not blank.
    cells: Vec<String>,
}

#[derive(ToSchema)]
#[schema(as = ListFormat, rename_all = "snake_case")]
pub(crate) enum FormatDoc {
    Text,
    Xlsx,
    Xls,
    Ods,
    Json,
}

/// A column of a list.
#[derive(ToSchema)]
#[schema(as = ListColumn)]
pub(crate) struct InspectedColumnDoc {
    /// From 1.
    position: usize,
    title: String,
    /// The field that is read. Absent if the column is not read.
    #[schema(nullable = false)]
    field: Option<String>,
    /// The field that the title suggests.
    #[schema(nullable = false)]
    suggested: Option<String>,
    /// The field to choose if the title speaks of consent: `opted_out` or `opted_in`.
    #[schema(nullable = false)]
    consent: Option<String>,
    /// The first values that are not blank.
    samples: Vec<String>,
}

/// What a person should look at before the list is enrolled: a code, with the parameters of that code.
#[derive(ToSchema)]
#[schema(as = ListWarning)]
pub(crate) struct ListWarningDoc {
    code: ListWarningCodeDoc,
    /// The warning, for people.
    description: String,
}

#[derive(ToSchema)]
#[schema(as = ListWarningCode, rename_all = "snake_case")]
pub(crate) enum ListWarningCodeDoc {
    EncodingGuessed,
    UnknownColumn,
    ConsentNotMapped,
    NoKeyColumn,
    MembersNotRead,
}

/// What a list would do.
#[derive(ToSchema)]
#[schema(as = ListPreview)]
pub(crate) struct ListPreviewDoc {
    /// The id that the list will have, and its first request.
    list_id: Uuid,
    /// Present if all requests of the list were accepted before. Their outcomes are those of their reports, as far as they
    /// have one.
    #[schema(nullable = false)]
    accepted_before: Option<AcceptedBeforeDoc>,
    /// The lists and requests that put the people into the step who would be reprocessed: those with the most people,
    /// the newest first. Absent if no person is in the step already, or if the list was accepted before.
    #[schema(nullable = false)]
    enrolled_before: Option<Vec<EarlierListDoc>>,
    inspection: InspectionDoc,
    /// The number of enrollment requests that the list needs.
    requests: usize,
    recipients: u64,
    /// The number of rows that are not enrolled.
    set_aside: u64,
    counts: CountsDoc,
    warnings: Vec<WarningDoc>,
    rows: Vec<ListRowDoc>,
    /// The number of rows that match the filters. An answer has at most 10000 rows, and about 16 MiB of them.
    total: u64,
}

/// A list that was accepted before.
#[derive(ToSchema)]
#[schema(as = ListAcceptedBefore)]
pub(crate) struct AcceptedBeforeDoc {
    #[schema(format = DateTime)]
    accepted_at: String,
    state: ListStateDoc,
}

/// A list or a request that enrolled people of this list before.
#[derive(ToSchema)]
#[schema(as = EarlierList)]
pub(crate) struct EarlierListDoc {
    enrollment_id: Uuid,
    /// Absent if it was not sent as a list over HTTP, or if the list was removed.
    #[schema(nullable = false)]
    list_id: Option<Uuid>,
    /// The name of the file of the list.
    #[schema(nullable = false)]
    file: Option<String>,
    #[schema(format = DateTime)]
    accepted_at: String,
    /// How many of the people it enrolled.
    recipients: u64,
}

/// The state of a list: `accepted` until all of its requests have ended; then `failed` if one failed or was rejected.
#[derive(ToSchema)]
#[schema(as = ListState, rename_all = "snake_case")]
pub(crate) enum ListStateDoc {
    Accepted,
    Completed,
    Failed,
}

/// A row of a list with its outcome.
#[derive(ToSchema)]
#[schema(as = ListRow)]
pub(crate) struct ListRowDoc {
    /// The number of the row in the file.
    row: u64,
    /// The text of each cell, up to the last one that is not blank. At most 500 cells, and 500 characters of each.
    cells: Vec<String>,
    /// The phone as the list has it.
    #[schema(nullable = false)]
    phone: Option<String>,
    #[schema(nullable = false)]
    email: Option<String>,
    #[schema(nullable = false)]
    name: Option<String>,
    disposition: PreviewDispositionDoc,
    /// Why the row is not enrolled: codes with their parameters.
    #[schema(nullable = false)]
    reasons: Option<Vec<CodedDoc>>,
    /// Notes that did not prevent the enrollment, and what was changed or left out of the row: codes with their parameters.
    #[schema(nullable = false)]
    notes: Option<Vec<DescribedDoc>>,
    /// The reasons, for people.
    #[schema(nullable = false)]
    description: Option<String>,
    /// The addresses as the service read them.
    #[schema(nullable = false)]
    read_as: Option<ReadAsDoc>,
    /// The column that sets the row aside: its title, or its letters.
    #[schema(nullable = false)]
    column: Option<String>,
    /// An earlier row with the same contact.
    #[schema(nullable = false)]
    repeats_row: Option<u64>,
}

/// A stable code, with the parameters of that code.
#[derive(ToSchema)]
#[schema(as = Described)]
pub(crate) struct DescribedDoc {
    code: String,
    /// For people.
    description: String,
}

#[derive(ToSchema)]
#[schema(as = PreviewDisposition, rename_all = "snake_case")]
pub(crate) enum PreviewDispositionDoc {
    Added,
    ReAdded,
    Reprocessed,
    Ignored,
    Duplicate,
    SetAside,
}

/// A preview that runs in the background.
#[derive(ToSchema)]
#[schema(as = ListPreviewStarted)]
pub(crate) struct PreviewStartedDoc {
    preview_id: Uuid,
    state: PreviewStateDoc,
    recipients: u64,
    recipients_done: u64,
}

#[derive(ToSchema)]
#[schema(as = ListPreviewState, rename_all = "snake_case")]
pub(crate) enum PreviewStateDoc {
    Running,
    Completed,
    Failed,
}

/// A preview in the background. If it is completed, it has the members of a preview.
#[derive(ToSchema)]
#[schema(as = ListPreviewJob)]
pub(crate) struct PreviewJobDoc {
    #[serde(flatten)]
    started: PreviewStartedDoc,
    /// Why it failed.
    #[schema(nullable = false)]
    error: Option<ErrorBody>,
    #[schema(nullable = false)]
    list_id: Option<Uuid>,
    #[schema(nullable = false)]
    accepted_before: Option<AcceptedBeforeDoc>,
    #[schema(nullable = false)]
    enrolled_before: Option<Vec<EarlierListDoc>>,
    #[schema(nullable = false)]
    inspection: Option<InspectionDoc>,
    #[schema(nullable = false)]
    requests: Option<usize>,
    #[schema(nullable = false)]
    set_aside: Option<u64>,
    #[schema(nullable = false)]
    counts: Option<CountsDoc>,
    #[schema(nullable = false)]
    warnings: Option<Vec<WarningDoc>>,
    #[schema(nullable = false)]
    rows: Option<Vec<ListRowDoc>>,
    /// The number of rows that match the filters.
    #[schema(nullable = false)]
    total: Option<u64>,
}

/// A change of one row by hand. Rows have their number in the file.
#[derive(ToSchema)]
#[schema(as = ListEdit)]
pub(crate) struct EditDoc {
    edit: EditKindDoc,
    #[schema(minimum = 1)]
    row: u64,
    /// Of `set_cell`: the title of the column, or its position from 1.
    #[schema(nullable = false)]
    column: Option<Value>,
    /// Of `set_cell`: the new text.
    #[schema(nullable = false)]
    text: Option<String>,
}

#[derive(ToSchema)]
#[schema(as = ListEditKind, rename_all = "snake_case")]
pub(crate) enum EditKindDoc {
    SetCell,
    DropRow,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::list_preview::{dispositions_of_rows, reasons_of_rows};
    use crate::people_lists::rows::RowFilter;
    use serde_json::json;
    use utoipa::PartialSchema;

    #[test]
    fn words_of_a_preview_match_its_filters() {
        assert_eq!(json!(ListReasonDoc::schema())["enum"], json!(reasons_of_rows()));
        assert_eq!(json!(PreviewDispositionDoc::schema())["enum"], json!(dispositions_of_rows()));
    }

    #[test]
    fn words_of_rows_match_their_filters() {
        let (dispositions, reasons) = RowFilter::words();
        assert_eq!(json!(ListDispositionDoc::schema())["enum"], json!(dispositions));
        assert_eq!(json!(ListReasonDoc::schema())["enum"], json!(reasons));
    }
}

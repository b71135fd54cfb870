//! The routes of lists that were accepted: their history, their rows, and retries.

use axum::Json;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, RawQuery, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::Frame;
use serde::Serialize;
use serde_json::Value;
use std::fmt::Write;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::mpsc;
use utoipa::ToSchema;

use enroll::report::{Counts, UploadTag};
use enroll::{AsyncInbox, ContactId, EnrollmentId, EnrollmentState, RepositoryError, SequenceId, Timestamp};

use super::App;
use super::cursor::{ListPage, Scope};
use super::docs::{CommonErrors, CursorDoc, ListDisposition, ListReason, PaginationDoc, RateLimited};
use super::enrollments::{Data, EnrollmentSummary, parse_id};
use super::errors::{ApiError, ErrorBody};
use super::limits::Streamed;
use super::lists::FileInspection;
use super::query::Parameters;
use super::request_span::in_request;
use crate::audit::{self, Action};
use crate::causes;
use crate::described::{Described, RowNote, RowReason};
use crate::handles::Handle;
use crate::import_job::current_time;
use crate::keys::Caller;
use crate::people_lists::csv::ListFile;
use crate::people_lists::rows::{ListedRow, RowFilter, StoredRows};
use crate::sql::people_lists::{self, ListRow, ListState, ListTexts, RequestRow};
use crate::sql::{self, NamedContact};

/// A list of people, with the progress of its requests.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = List)]
pub(crate) struct ListSummary {
    id: EnrollmentId,
    /// The name of the file.
    file: String,
    sequence_id: SequenceId,
    state: ListState,
    accepted_at: Timestamp,
    /// When its last request was completed, rejected or failed.
    completed_at: Option<Timestamp>,
    /// When the cells of its rows were removed, because they were too old or a person was erased.
    removed_at: Option<Timestamp>,
    recipients: u64,
    /// The number of rows that are not enrolled.
    set_aside: u64,
    /// The number of requests of at most 4000 recipients.
    requests: u64,
    requests_completed: u64,
    /// Of the completed requests.
    counts: Counts,
    upload_tag: Option<UploadTag>,
}

/// A list with a page of its rows.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ListDetail)]
pub(crate) struct ListDetail {
    #[serde(flatten)]
    summary: ListSummary,
    /// The name of the API key that sent it.
    key_name: Option<String>,
    /// The options that it was sent with. Without the edits, if the cells were removed.
    #[schema(value_type = Object)]
    options: Value,
    /// What was found in the file. Without samples, if the cells were removed.
    #[schema(value_type = FileInspection)]
    inspection: Value,
    /// Its requests, in order.
    enrollments: Vec<ListEnrollment>,
    /// A page of the rows that match the filters.
    rows: Vec<RowView>,
    /// The contacts of these rows, as they are stored now.
    contacts: Vec<NamedContact>,
    /// The number of rows that match the filters.
    total: u64,
}

/// A request of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ListEnrollment {
    #[serde(flatten)]
    summary: EnrollmentSummary,
    recipients: u64,
}

/// A row of a list.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ListedRow)]
pub(crate) struct RowView {
    /// The number of the row in the file.
    row: u64,
    /// The text of each cell, by column. Absent if the cells were removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    cells: Option<Vec<String>>,
    /// As it was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    phone: Option<String>,
    /// As it was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    email: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    name: Option<String>,
    /// Absent if the outcomes were removed, because they were too old.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<ListDisposition>, nullable = false)]
    disposition: Option<&'static str>,
    /// The reasons of an ignored row, or why it is set aside.
    #[schema(value_type = Vec<RowReason>)]
    reasons: Vec<Value>,
    /// What was changed or left out, and the notes of the outcome.
    #[schema(value_type = Vec<Described<RowNote>>)]
    notes: Vec<Value>,
    /// All reasons, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    description: Option<String>,
    /// The column because of which the row is set aside.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    column: Option<String>,
    /// The contact that was enrolled, or that the row is ignored for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    contact_id: Option<ContactId>,
    /// The row of the same person, of which this one is a duplicate.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    repeats_row: Option<u64>,
}

impl From<ListRow> for ListSummary {
    fn from(row: ListRow) -> Self {
        let (state, completed_at) = (row.state(), row.ended_at());
        let ListRow { id, sequence_id, file, at, recipients, set_aside, requests, removed_at, progress, .. } = row;
        Self {
            id,
            file,
            sequence_id,
            state,
            accepted_at: at,
            completed_at,
            removed_at,
            recipients,
            set_aside,
            requests,
            requests_completed: progress.completed,
            counts: progress.counts,
            upload_tag: progress.upload_tag,
        }
    }
}

impl From<ListedRow> for RowView {
    fn from(row: ListedRow) -> Self {
        let (reasons, notes, problems) = (row.reasons_json(), row.notes(), row.problems());
        let ListedRow { row, disposition, outcome, set_aside, texts, repeats_row } = row;
        let (mut phone, mut email, mut name) = (None, None, None);
        let cells = texts.map(|texts| {
            (phone, email, name) = (texts.phone, texts.email, texts.name);
            texts.cells
        });
        Self {
            row,
            cells,
            phone,
            email,
            name,
            disposition,
            reasons,
            notes,
            description: (!problems.is_empty()).then(|| problems.join("; ")),
            column: set_aside.map(|row| row.column),
            contact_id: outcome.and_then(|outcome| outcome.contact_id),
            repeats_row,
        }
    }
}

/// List the lists of people, newest first
#[utoipa::path(
    get, path = "/v1/lists", operation_id = "list_lists", tag = "lists",
    params(
        ("state" = Option<Vec<ListState>>, Query, description = "Only lists in one of these states. Separate them with commas, or repeat the parameter"),
        ("sequence_id" = Option<Uuid>, Query, description = "Only lists for this sequence"),
        PaginationDoc,
        CursorDoc,
    ),
    responses((status = 200, description = "A page of the lists", body = ListPage<ListSummary>), CommonErrors),
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Result<Json<ListPage<ListSummary>>, ApiError> {
    let mut parameters = Parameters::parse(query.as_deref());
    let states = parameters.one_of("state", &ListState::WORDS);
    let sequence: Option<SequenceId> = parameters.id("sequence_id");
    let scope = Scope::new(caller.organization_id, "lists", &(&states, sequence));
    let pagination = parameters.page(&scope);
    parameters.finish()?;
    let mut handle = app.handles.acquire(caller.organization_id).await?;
    let page =
        people_lists::people_lists(handle.handle()?, caller.organization_id, &states, sequence, &pagination).await?;
    Ok(Json(ListPage::new(page, &scope)))
}

/// Read a list of people
///
/// Each row has its outcome, if its request is completed.
#[utoipa::path(
    get, path = "/v1/lists/{id}", operation_id = "show_list", tag = "lists",
    params(
        ("id" = Uuid, Path, description = "The list"),
        ("disposition" = Option<Vec<ListDisposition>>, Query, description = "Only rows with one of these dispositions. Separate them with commas, or repeat the parameter"),
        ("reason" = Option<Vec<ListReason>>, Query, description = "Only rows with one of these reasons. Separate them with commas, or repeat the parameter"),
        PaginationDoc,
    ),
    responses(
        (status = 200, description = "The list", body = Data<ListDetail>),
        (status = 404, description = "The organization has no list with this id", body = ErrorBody),
        CommonErrors,
    ),
)]
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    id: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Json<Data<ListDetail>>, ApiError> {
    let mut parameters = Parameters::parse(query.as_deref());
    let pagination = parameters.pagination();
    let (dispositions, reasons) = RowFilter::words();
    let filter = RowFilter {
        dispositions: parameters.one_of("disposition", &dispositions),
        reasons: parameters.one_of("reason", &reasons),
    };
    parameters.finish()?;
    let mut pooled = app.handles.acquire(caller.organization_id).await?;
    let handle = pooled.handle()?;
    let row = find(handle, caller, id).await?;
    let texts = people_lists::list_texts(handle, caller.organization_id, row.id).await?;
    let ListTexts { options, inspection, key_name, .. } = texts.ok_or_else(not_found)?;
    let rows = StoredRows::read(handle, caller.organization_id, row.id).await?;
    let (page, total) = rows.page(handle, &filter, &pagination).await?;
    let outcomes = page.iter().filter_map(|row| row.outcome.as_ref());
    let ids = outcomes.filter_map(|outcome| Some(outcome.contact_id?.as_uuid()));
    let contacts = sql::named_contacts(handle, caller.organization_id, ids).await?;
    let enrollments = rows.requests.into_iter().filter_map(|RequestRow { enrollment, recipients, .. }| {
        Some(ListEnrollment { summary: enrollment?.into(), recipients })
    });
    let detail = ListDetail {
        summary: row.into(),
        key_name,
        options,
        inspection,
        enrollments: enrollments.collect(),
        rows: page.into_iter().map(Into::into).collect(),
        contacts,
        total,
    };
    Ok(Json(Data { data: detail }))
}

/// Download all rows of a list
///
/// A CSV file with the cells of each row and what became of it. A spreadsheet runs no cell of it.
#[utoipa::path(
    get, path = "/v1/lists/{id}/rows.csv", operation_id = "list_rows", tag = "lists",
    params(("id" = Uuid, Path, description = "The list")),
    responses(
        (status = 200, description = "The rows", body = String, content_type = "text/csv"),
        (status = 404, description = "The organization has no list with this id, or its cells were removed", body = ErrorBody),
        CommonErrors,
    ),
)]
pub(crate) async fn rows(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    id: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    Parameters::parse(query.as_deref()).finish()?;
    download(app, caller, id, ListFile::Rows).await
}

/// Download the rows of a list that a person can fix
///
/// A CSV file with the cells of each such row and its problem. After a correction, send it as a list.
#[utoipa::path(
    get, path = "/v1/lists/{id}/to_fix.csv", operation_id = "list_rows_to_fix", tag = "lists",
    params(("id" = Uuid, Path, description = "The list")),
    responses(
        (status = 200, description = "The rows to fix", body = String, content_type = "text/csv"),
        (status = 404, description = "The organization has no list with this id, or its cells were removed", body = ErrorBody),
        CommonErrors,
    ),
)]
pub(crate) async fn to_fix(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    id: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    Parameters::parse(query.as_deref()).finish()?;
    download(app, caller, id, ListFile::ToFix).await
}

/// Retry the failed requests of a list
///
/// They wait for processing again, without attempts.
#[utoipa::path(
    post, path = "/v1/lists/{id}/retry", operation_id = "retry_list", tag = "lists",
    params(("id" = Uuid, Path, description = "The list")),
    responses(
        (status = 202, description = "The requests wait again", body = Data<ListSummary>),
        (status = 404, description = "The organization has no list with this id", body = ErrorBody),
        (status = 409, description = "No request of the list is failed, or its requests were removed", body = ErrorBody),
        RateLimited,
        CommonErrors,
    ),
)]
pub(crate) async fn retry(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    id: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<(StatusCode, Json<Data<ListSummary>>), ApiError> {
    Parameters::parse(query.as_deref()).finish()?;
    app.limits.count(caller.key_id, false)?;
    let now = current_time().map_err(|_| ApiError::internal())?;
    let mut pooled = app.handles.acquire(caller.organization_id).await?;
    let handle = pooled.handle()?;
    let id = find(handle, caller, id).await?.id;
    let requests = people_lists::list_requests(handle, caller.organization_id, id).await?;
    let mut failed: Vec<_> = requests
        .into_iter()
        .filter_map(|request| request.enrollment)
        .filter(|enrollment| enrollment.state == EnrollmentState::Failed.as_str())
        .collect();
    let conflict = |code: &str, problem: String| ApiError::new(StatusCode::CONFLICT, code, problem);
    if failed.is_empty() {
        let problem = format!("no request of list `{id}` is failed; only failed requests can be retried");
        return Err(conflict("list_not_failed", problem));
    }
    failed.retain(|enrollment| enrollment.removed_at.is_none());
    if failed.is_empty() {
        let problem = format!(
            "the failed requests of list `{id}` were removed, because they were too old; send the list again with a new key"
        );
        return Err(conflict("request_removed", problem));
    }
    for enrollment in failed {
        audit::record(handle, caller, Action::Retry, enrollment.id.as_uuid(), now).await?;
        // If another caller retried it first, it waits already.
        handle.inbox().retry(caller.organization_id, enrollment.id).await?;
    }
    app.wake.all();
    let row = people_lists::people_list(handle, caller.organization_id, id).await?.ok_or_else(not_found)?;
    Ok((StatusCode::ACCEPTED, Json(Data { data: row.into() })))
}

fn not_found() -> ApiError {
    ApiError::not_found("list_not_found", "list")
}

async fn find(
    handle: &mut Handle,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
) -> Result<ListRow, ApiError> {
    let id: EnrollmentId = parse_id(id).ok_or_else(not_found)?;
    people_lists::people_list(handle, caller.organization_id, id).await?.ok_or_else(not_found)
}

/// Returns a file of a list. It is read in pieces while the client receives it.
async fn download(
    app: Arc<App>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
    file: ListFile,
) -> Result<Response, ApiError> {
    let mut pooled = app.handles.acquire(caller.organization_id).await?;
    let handle = pooled.handle()?;
    let row = find(handle, caller, id).await?;
    let texts = people_lists::list_texts(handle, caller.organization_id, row.id).await?.ok_or_else(not_found)?;
    if !texts.is_kept {
        let at = row.removed_at.map(|at| format!(" at {at}")).unwrap_or_default();
        let problem = format!("the cells of list `{}` were removed{at}; use the file that was sent", row.id);
        return Err(ApiError::new(StatusCode::NOT_FOUND, "file_not_kept", problem));
    }
    let rows = StoredRows::read(handle, caller.organization_id, row.id).await?;
    drop(pooled);
    let titles: Vec<String> = texts.inspection["columns"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|column| column["title"].as_str().unwrap_or_default().to_owned())
        .collect();
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8")),
        (header::CONTENT_DISPOSITION, disposition(&row.file, file)),
    ];
    let (sender, receiver) = mpsc::channel(1);
    let sending = async move {
        if let Err(error) = send(&app, caller, &rows, file, &titles, &sender).await {
            tracing::warn!(list = %row.id, error = causes(&error), "a download of a list ended early");
            // The client gets an incomplete body, and so an error.
            drop(sender.send(Err(io::Error::other(error))).await);
        }
    };
    tokio::spawn(in_request(sending));
    let mut response = (headers, Body::new(ChannelBody(receiver))).into_response();
    response.extensions_mut().insert(Streamed);
    Ok(response)
}

/// Sends a file in pieces. Ends if the client is gone.
async fn send(
    app: &App,
    caller: Caller,
    rows: &StoredRows,
    file: ListFile,
    titles: &[String],
    sender: &mpsc::Sender<io::Result<Bytes>>,
) -> Result<(), RepositoryError> {
    if sender.send(Ok(file.header(titles).into())).await.is_err() {
        return Ok(());
    }
    for piece in &rows.pieces {
        let mut pooled = app.handles.acquire(caller.organization_id).await?;
        let listed = rows.rows(pooled.handle()?, piece).await?;
        drop(pooled);
        let mut text = String::new();
        for row in &listed {
            if !file.push_row(&mut text, row, titles.len()) {
                return Err(crate::sql::invalid_data("the cells of the list were removed meanwhile"));
            }
        }
        if !text.is_empty() && sender.send(Ok(text.into())).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// Returns the header that names a file, after the name of the list.
fn disposition(name: &str, file: ListFile) -> HeaderValue {
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let suffix = match file {
        ListFile::Rows => "rows",
        ListFile::ToFix => "to-fix",
    };
    let mut encoded = String::new();
    for byte in stem.bytes().take(MAX_NAME) {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' => encoded.push(char::from(byte)),
            _ => {
                let _infallible = write!(encoded, "%{byte:02X}");
            }
        }
    }
    let value = format!("attachment; filename=\"list-{suffix}.csv\"; filename*=UTF-8''{encoded}-{suffix}.csv");
    HeaderValue::from_str(&value).unwrap_or(HeaderValue::from_static("attachment"))
}

/// A body whose parts arrive over a channel.
struct ChannelBody(mpsc::Receiver<io::Result<Bytes>>);

impl HttpBody for ChannelBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        self.0.poll_recv(cx).map(|part| part.map(|part| part.map(Frame::data)))
    }
}

/// The number of bytes of the name of a list in the name of a download.
const MAX_NAME: usize = 100;

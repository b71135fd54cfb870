//! The routes of lists.

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use enroll::SequenceId;
use enroll_import::{Inspection, RowCells, Warning, inspect_with_rows};
use serde::Serialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use utoipa::ToSchema;

use super::body::MAX_BODY;
use super::docs::{
    CommonErrors, ListAnswer, ListPreviewDoc, ListReason, PaginationDoc, PreviewDisposition, PreviewJobDoc,
    RateLimited, UploadDoc,
};
use super::enrollments::{Data, idempotency_key, parse_id};
use super::errors::{ApiError, ErrorBody};
use super::list::UploadedList;
use super::list_accept;
use super::list_preview::{ListPreview, Pace, RowFilter, dispositions_of_rows, reasons_of_rows};
use super::previews::{PreviewState, Previews};
use super::query::Parameters;
use super::{App, list, list_errors, sequence_not_found, upload};
use crate::described::Described;
use crate::import_job::current_time;
use crate::keys::Caller;

/// Look into a list
///
/// Finds the format, the columns and the number of rows, and suggests a field for each column. Nothing is stored.
#[utoipa::path(
    post, path = "/v1/lists/inspect", operation_id = "inspect_list", tag = "lists",
    request_body(content = UploadDoc, content_type = "multipart/form-data", description = "At most 64 MiB, unless the service has another limit"),
    responses(
        (status = 200, description = "What the file has", body = Data<InspectedList>),
        (status = 408, description = "The body did not arrive in time", body = ErrorBody),
        (status = 413, description = "The file is too large", body = ErrorBody),
        (status = 415, description = "The body is not `multipart/form-data`, or has a content encoding", body = ErrorBody),
        RateLimited,
        CommonErrors,
    ),
)]
pub(crate) async fn inspect(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Data<Value>>, ApiError> {
    Parameters::parse(query.as_deref()).finish()?;
    app.limits.count(caller.key_id, true)?;
    let upload = upload::read(&app, caller.organization_id, &headers, body).await?;
    let at = current_time().map_err(|_| ApiError::internal())?;
    let settings = list::settings(&app, at);
    // A small file can need much memory.
    let inspected = app.limits.run_blocking(caller.organization_id, MAX_BODY, async move {
        let (inspection, rows) = inspect_with_rows(&upload.file, &upload.options.reading(), &settings, SAMPLE_ROWS)
            .map_err(|e| list_errors::refused(&upload.name, &upload.options, &e))?;
        let inspection = FileInspection::new(&upload.name, upload.bytes, &inspection);
        Ok(json!(InspectedList { inspection, sample_rows: rows }))
    });
    Ok(Json(Data { data: inspected.await? }))
}

/// The first rows of a list, and what was found in it.
#[derive(Debug, Serialize, ToSchema)]
struct InspectedList {
    #[serde(flatten)]
    inspection: FileInspection,
    /// The first ten rows that are not blank.
    sample_rows: Vec<RowCells>,
}

/// Enroll a list of people, or preview it
///
/// Reads the list, and stores it with all its requests. The response is a receipt; the service processes the requests in
/// the background. The same list, or the same `Idempotency-Key`, is the same list if it is sent again.
///
/// A preview rehearses the requests one after the other, and writes nothing. The answer has each row with its outcome. A
/// list of more than 4000 recipients is previewed in the background.
#[utoipa::path(
    post, path = "/v1/lists", operation_id = "enroll_list", tag = "lists",
    params(
        ("sequence_id" = Uuid, Query, description = "The sequence to add the people to"),
        ("preview" = Option<bool>, Query, description = "Return what would happen, and write nothing"),
        ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]*$",
            description = "The sender's key for this list: 1 to 255 visible ASCII characters. Without it, the same file with the same options is the same list"),
    ),
    request_body(content = UploadDoc, content_type = "multipart/form-data", description = "At most 64 MiB, unless the service has another limit"),
    responses(
        (status = 200, description = "The preview", body = Data<ListPreviewDoc>),
        (status = 202, description = "Accepted, or the preview runs in the background", body = Data<ListAnswer>,
            headers(("Location" = String, description = "The path of the list or of the preview"))),
        (status = 404, description = "The organization has no sequence with this id", body = ErrorBody),
        (status = 408, description = "The body did not arrive in time", body = ErrorBody),
        (status = 409, description = "The key was used for another list or request", body = ErrorBody),
        (status = 413, description = "The file is too large", body = ErrorBody),
        (status = 415, description = "The body is not `multipart/form-data`, or has a content encoding", body = ErrorBody),
        RateLimited,
        CommonErrors,
    ),
)]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let mut parameters = Parameters::parse(query.as_deref());
    let sequence_id: Option<SequenceId> = parameters.required_id("sequence_id");
    let preview = parameters.flag("preview");
    parameters.finish()?;
    let sequence_id = sequence_id.ok_or_else(sequence_not_found)?;
    app.limits.count(caller.key_id, preview)?;
    let key = idempotency_key(&headers)?;
    let organization_id = caller.organization_id;
    let upload = upload::read(&app, organization_id, &headers, body).await?;
    let shared = Arc::clone(&app);
    if !preview {
        // A small file can need much memory.
        let accepting = app.limits.run_blocking(organization_id, MAX_BODY, async move {
            list_accept::accept(&shared, caller, sequence_id, upload, key.as_deref()).await
        });
        return accepting.await;
    }
    let opened = app.limits.run_blocking(organization_id, MAX_BODY, async move {
        UploadedList::open(&shared, organization_id, sequence_id, upload, key.as_deref()).await
    });
    let mut list = opened.await?;
    if list.list.request_sizes().len() > 1 {
        let job = Previews::start(&app, list)?;
        let started = Data { data: job.in_state(PreviewState::Running) };
        let mut response = (StatusCode::ACCEPTED, Json(started)).into_response();
        if let Ok(location) = HeaderValue::from_str(&format!("/v1/lists/previews/{}", job.id)) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        return Ok(response);
    }
    let shared = Arc::clone(&app);
    let text = app.limits.run_blocking(organization_id, MAX_BODY, async move {
        let preview = ListPreview::new(&shared, &mut list, Pace::Held, &AtomicU64::new(0)).await?;
        preview.json(&json!({}), &RowFilter::default(), (0, MAX_ROWS))
    });
    Ok(json_response(text.await?))
}

/// Read a preview of a list
///
/// The preview of a long list runs in the background. The process that made it keeps it for 15 minutes.
#[utoipa::path(
    get, path = "/v1/lists/previews/{id}", operation_id = "show_list_preview", tag = "lists",
    params(
        ("id" = Uuid, Path, description = "The preview"),
        ("disposition" = Option<Vec<PreviewDisposition>>, Query, description = "Only rows with one of these dispositions. Separate them with commas, or repeat the parameter"),
        ("reason" = Option<Vec<ListReason>>, Query, description = "Only rows with one of these reasons. Separate them with commas, or repeat the parameter"),
        PaginationDoc,
    ),
    responses(
        (status = 200, description = "The preview", body = Data<PreviewJobDoc>),
        (status = 404, description = "This process has no preview of the organization with this id", body = ErrorBody),
        CommonErrors,
    ),
)]
pub(crate) async fn show_preview(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    id: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    let mut parameters = Parameters::parse(query.as_deref());
    let page = parameters.pagination();
    let dispositions = parameters.one_of("disposition", &dispositions_of_rows());
    let reasons = parameters.one_of("reason", &reasons_of_rows());
    parameters.finish()?;
    let id = parse_id(id).ok_or_else(preview_not_found)?;
    let job = app.previews.find(caller.organization_id, id).ok_or_else(preview_not_found)?;
    match job.result() {
        None => Ok(Json(Data { data: job.in_state(PreviewState::Running) }).into_response()),
        Some(Err(error)) => {
            let mut failed = json!(job.in_state(PreviewState::Failed));
            failed["error"] = json!(error);
            Ok(Json(json!({ "data": failed })).into_response())
        }
        Some(Ok(preview)) => {
            let filter = RowFilter::new(&dispositions, &reasons);
            let part = (page.offset as usize, page.limit as usize);
            let started = json!(job.in_state(PreviewState::Completed));
            Ok(json_response(preview.json(&started, &filter, part)?))
        }
    }
}

/// Cancel a preview of a list
///
/// A preview that has ended is forgotten.
#[utoipa::path(
    delete, path = "/v1/lists/previews/{id}", operation_id = "cancel_list_preview", tag = "lists",
    params(("id" = Uuid, Path, description = "The preview")),
    responses(
        (status = 204, description = "The preview is cancelled"),
        (status = 404, description = "This process has no preview of the organization with this id", body = ErrorBody),
        CommonErrors,
    ),
)]
pub(crate) async fn cancel_preview(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    id: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<StatusCode, ApiError> {
    Parameters::parse(query.as_deref()).finish()?;
    let id = parse_id(id).ok_or_else(preview_not_found)?;
    let found = app.previews.cancel(caller.organization_id, id);
    if found { Ok(StatusCode::NO_CONTENT) } else { Err(preview_not_found()) }
}

fn preview_not_found() -> ApiError {
    let problem =
        "no preview has this id; the process that made a preview keeps it for 15 minutes. Upload the list again";
    ApiError::new(StatusCode::NOT_FOUND, "preview_not_found", problem)
}

fn json_response(text: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// What was found in a file.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FileInspection {
    /// The name of the file.
    file: String,
    /// The size of the file.
    bytes: u64,
    #[serde(flatten)]
    inspection: Inspection,
    /// What a person should look at.
    // In a JSON value, they replace those of the library.
    warnings: Vec<Described<Warning>>,
}

impl FileInspection {
    fn new(file: &str, bytes: u64, inspection: &Inspection) -> Self {
        let warnings = inspection.warnings.iter().cloned().map(Into::into).collect();
        Self { file: file.to_owned(), bytes, inspection: inspection.clone(), warnings }
    }
}

/// Returns what was found in a file as JSON, with descriptions of the warnings.
pub(crate) fn inspection_json(file: &str, bytes: u64, inspection: &Inspection) -> Value {
    json!(FileInspection::new(file, bytes, inspection))
}

/// The number of rows that an inspection shows.
const SAMPLE_ROWS: usize = 10;
/// The number of rows that a preview at once has.
const MAX_ROWS: usize = 10_000;

//! The routes of lists.

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use enroll::SequenceId;
use enroll_import::{Inspection, inspect_with_rows};
use serde_json::{Value, json};
use std::sync::Arc;

use super::App;
use super::body::MAX_BODY;
use super::docs::{CommonErrors, InspectedListDoc, RateLimited, UploadDoc};
use super::enrollments::{Data, idempotency_key};
use super::errors::{ApiError, ErrorBody};
use super::list_accept::{self, AcceptedList};
use super::query::Parameters;
use super::{list, list_errors, sequence_not_found, upload};
use crate::import_job::current_time;
use crate::keys::Caller;

/// Look into a list
///
/// Finds the format, the columns and the number of rows, and suggests a field for each column. Nothing is stored.
#[utoipa::path(
    post, path = "/v1/lists/inspect", operation_id = "inspect_list", tag = "lists",
    request_body(content = UploadDoc, content_type = "multipart/form-data", description = "At most 64 MiB, unless the service has another limit"),
    responses(
        (status = 200, description = "What the file has", body = Data<InspectedListDoc>),
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
        let mut value = inspection_json(&upload.name, upload.bytes, &inspection);
        value["sample_rows"] = json!(rows);
        Ok(value)
    });
    Ok(Json(Data { data: inspected.await? }))
}

/// Enroll a list of people
///
/// Reads the list, and stores it with all its requests. The response is a receipt; the service processes the requests in
/// the background. The same list, or the same `Idempotency-Key`, is the same list if it is sent again.
#[utoipa::path(
    post, path = "/v1/lists", operation_id = "enroll_list", tag = "lists",
    params(
        ("sequence_id" = Uuid, Query, description = "The sequence"),
        ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]*$",
            description = "The sender's key for this list: 1 to 255 visible ASCII characters. Default: derived from the file and the options"),
    ),
    request_body(content = UploadDoc, content_type = "multipart/form-data", description = "At most 64 MiB, unless the service has another limit"),
    responses(
        (status = 202, description = "Accepted", body = Data<AcceptedList>,
            headers(("Location" = String, description = "The path of the list"))),
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
    parameters.finish()?;
    let sequence_id = sequence_id.ok_or_else(sequence_not_found)?;
    app.limits.count(caller.key_id, false)?;
    let key = idempotency_key(&headers)?;
    let upload = upload::read(&app, caller.organization_id, &headers, body).await?;
    let shared = Arc::clone(&app);
    // A small file can need much memory.
    let accepting = app.limits.run_blocking(caller.organization_id, MAX_BODY, async move {
        list_accept::accept(&shared, caller, sequence_id, upload, key.as_deref()).await
    });
    accepting.await
}

/// Returns what was found in a file as JSON, with descriptions of the warnings.
pub(crate) fn inspection_json(file: &str, bytes: u64, inspection: &Inspection) -> Value {
    let mut value = json!(inspection);
    value["file"] = json!(file);
    value["bytes"] = json!(bytes);
    let warnings = value["warnings"].as_array_mut().into_iter().flatten();
    for (value, warning) in warnings.zip(&inspection.warnings) {
        value["description"] = json!(warning.to_string());
    }
    value
}

/// The number of rows that an inspection shows.
const SAMPLE_ROWS: usize = 10;

//! Accepts a list: stores it with all its requests.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use enroll::fault::FaultCode;
use enroll::{Engine, EnrollmentId, SequenceId, Timestamp};

use super::App;
use super::enrollments::Data;
use super::errors::ApiError;
use super::list::UploadedList;
use super::lists::inspection_json;
use super::upload::Upload;
use crate::import_job::current_time;
use crate::keys::Caller;
use crate::people_lists::store::{NewList, StoreError, StoredList};
use crate::sql::people_lists::people_list;

/// The receipt of an accepted list.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AcceptedList)]
pub(crate) struct AcceptedList {
    list_id: EnrollmentId,
    accepted_at: Timestamp,
    recipients: u64,
    /// The number of rows that are not enrolled.
    set_aside: u64,
    /// The number of requests of at most 4000 recipients.
    requests: u64,
    /// Present if the same list was accepted before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    replayed: bool,
    message: &'static str,
}

/// Accepts a list. Call it on a thread that can block: it reads the file.
pub(super) async fn accept(
    app: &App,
    caller: Caller,
    sequence_id: SequenceId,
    upload: Upload,
    idempotency_key: Option<&str>,
) -> Result<Response, ApiError> {
    let organization_id = caller.organization_id;
    let mut uploaded = UploadedList::open(app, organization_id, sequence_id, upload, idempotency_key).await?;
    let UploadedList { list, target, bytes, .. } = &mut uploaded;
    let of_requests = target.options.of_requests();
    let content_id = of_requests.list_id(list, organization_id, sequence_id, None).map_err(|e| target.refused(&e))?;
    let mut pooled = app.handles.acquire(organization_id).await?;
    let handle = pooled.handle()?;
    let stored = if people_list(handle, organization_id, target.id).await?.is_some() {
        StoredList::Exists
    } else {
        let inspection = inspection_json(&target.file_name, *bytes, list.inspection());
        let new = NewList {
            list,
            id: target.id,
            content_id,
            caller,
            sequence_id,
            file: &target.file_name,
            at: target.at,
            now: current_time().map_err(|_| ApiError::internal())?,
            request: &target.request,
            options: json!(target.options),
            inspection,
        };
        let stored = handle.store_list(&Engine::new(&target.policy), new).await;
        stored.map_err(|error| match error {
            StoreError::List(error) => target.refused(&error),
            StoreError::Request(error, rows) => target.error(&rows, error),
            StoreError::Repository(error) => error.into(),
        })?
    };
    // Absent if it was removed meanwhile.
    let row = people_list(handle, organization_id, target.id).await?.ok_or_else(ApiError::unavailable)?;
    drop(pooled);
    let replayed = match stored {
        StoredList::Exists if row.content_id != content_id => {
            let problem = "another list used this idempotency key; send a new key with a new list";
            return Err(ApiError::new(StatusCode::CONFLICT, FaultCode::IdempotencyConflict.code(), problem));
        }
        StoredList::Exists => true,
        StoredList::New { replayed } => replayed,
    };
    app.wake.one();
    let (id, recipients) = (row.id, row.recipients);
    tracing::info!(organization = %organization_id, list = %id, sequence = %sequence_id, recipients, replayed, "accepted a list");
    let accepted = AcceptedList {
        list_id: id,
        accepted_at: row.at,
        recipients,
        set_aside: row.set_aside,
        requests: row.requests,
        replayed,
        message: "The recipients will be added to the sequence in the background",
    };
    let mut response = (StatusCode::ACCEPTED, Json(Data { data: accepted })).into_response();
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/lists/{id}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

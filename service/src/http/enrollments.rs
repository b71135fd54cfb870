//! The routes of enrollments.

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

use enroll::fault::FaultCode;
use enroll::report::{Counts, UploadTag, Warning};
use enroll::{
    Disposition, Engine, Enrollment, EnrollmentId, EnrollmentKey, EnrollmentRequest, EnrollmentState, Outcome, Reason,
    Receipt, SequenceId, Timestamp, preview_async,
};
use uuid::Uuid;

use super::body::{self, ReadBody};
use super::cursor::{ListPage, Scope};
use super::docs::{CommonErrors, CursorDoc, PaginationDoc, RateLimited, ReasonCode, StateDoc};
use super::errors::{ApiError, ErrorBody, ErrorItem};
use super::query::Parameters;
use super::request_span;
use super::{App, sequence_not_found};
use crate::audit;
use crate::keys::Caller;
use crate::run::EnrolledReport;
use crate::sql::{self, EnrollmentResult, EnrollmentRow, NamedContact, OutcomeFilter};

/// A response with one object.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Data<T> {
    pub(crate) data: T,
}

/// The receipt of an accepted request.
#[derive(Debug, Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "the documented names")]
pub(crate) struct Accepted {
    enrollment_id: EnrollmentId,
    accepted_at: Timestamp,
    recipients: usize,
    /// Present if the same request was accepted before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    replayed: bool,
    /// What is not used of the request. Present if there is any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    warnings: Vec<Warning>,
    message: &'static str,
}

/// The state of an enrollment.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EnrollmentSummary {
    id: EnrollmentId,
    sequence_id: SequenceId,
    #[schema(value_type = StateDoc)]
    state: String,
    accepted_at: Timestamp,
    /// When it was completed or rejected.
    completed_at: Option<Timestamp>,
    /// When its request (if it is failed) or its outcomes (if it is completed) were removed, because they were too old.
    removed_at: Option<Timestamp>,
    /// The number of attempts that ended with an answer. An outage of the database does not count.
    attempts: u32,
    /// Why it was rejected, failed, or must be processed again.
    error: Option<ErrorBody>,
}

/// An enrollment, with its report if it is completed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EnrollmentDetail {
    #[serde(flatten)]
    summary: EnrollmentSummary,
    counts: Option<Counts>,
    upload_tag: Option<UploadTag>,
    /// The keys that `properties` may have. Empty if the request has no custom data.
    accepted_keys: Vec<String>,
    /// What is not used of the request.
    warnings: Vec<Warning>,
    outcomes: Vec<Outcome>,
    /// The contacts of these outcomes, as they are stored now.
    contacts: Vec<NamedContact>,
    /// The number of outcomes that match the filters.
    total: u64,
}

impl EnrollmentDetail {
    fn without_report(summary: EnrollmentSummary) -> Self {
        let (accepted_keys, warnings, outcomes) = (Vec::new(), Vec::new(), Vec::new());
        let contacts = Vec::new();
        Self { summary, counts: None, upload_tag: None, accepted_keys, warnings, outcomes, contacts, total: 0 }
    }
}

/// Enroll people into a sequence
///
/// Creates the people who are not known yet, and adds all of them to a step. The response is a receipt; the service
/// processes the request in the background. A repeated request with the same `Idempotency-Key` returns the same
/// enrollment.
#[utoipa::path(
    post, path = "/v1/sequences/{id}/contacts", operation_id = "enroll", tag = "enrollments",
    params(
        ("id" = Uuid, Path, description = "The sequence"),
        ("preview" = Option<bool>, Query, description = "Return the report, and write nothing"),
        ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]*$",
            description = "The sender's key for this request: 1 to 255 visible ASCII characters"),
    ),
    request_body(content = EnrollmentRequest, description = "At most 8 MiB", examples(
        ("Minimal" = (summary = "Two people, at the first step", value = json!({
            "to": [
                {"phone": "+1 415 555 0132", "name": "Ann Lee", "email": "ann@example.com"},
                {"phone": "+1 415 555 0187", "first_name": "Bo", "last_name": "Berg", "external_id": "crm-17"},
            ],
        }))),
        ("With options" = (summary = "Other fields, and options: a step and a custom object of the demo organization", value = json!({
            "to": [{
                "phone": "+49 30 901820", "name": "Eva Roth", "language": "de", "external_id": "crm-18",
                "address": {"address_line_one": "Hauptstraße 1", "city": "Berlin", "post_code": "10178", "country": "DE"},
                "birth_date": {"day": 24, "month": 12},
                "properties": {"source": "fair", "score": 7},
            }],
            "from": "+12025550100",
            "step_id": "00000000-0000-0000-0000-000000000052",
            "schedule_at": "2030-01-31T09:00:00Z",
            "custom_data": {"custom_object_id": "00000000-0000-0000-0000-00000000000b", "resource": "contact"},
        }))),
    )),
    responses(
        (status = 202, description = "Accepted", body = Data<Accepted>,
            headers(("Location" = String, description = "The path of the enrollment"))),
        (status = 200, description = "The preview", body = Data<EnrolledReport>),
        (status = 404, description = "The organization has no sequence with this id", body = ErrorBody),
        (status = 408, description = "The body did not arrive in time", body = ErrorBody),
        (status = 409, description = "The key was used for another request, or the enrollment of the key has no report yet, or no more",
            body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 415, description = "The body has a content encoding", body = ErrorBody),
        RateLimited,
        CommonErrors,
    ),
)]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    sequence: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let mut parameters = Parameters::parse(query.as_deref());
    let preview = parameters.flag("preview");
    parameters.finish()?;
    app.limits.count(caller.key_id, preview)?;
    let (bodies, timeout) = (&app.limits.bodies, app.limits.timeout);
    let body = body::read(bodies, caller.organization_id, &headers, body, body::MAX_BODY, timeout).await?;
    let submission = Submission {
        caller,
        sequence_id: parse_id(sequence).ok_or_else(sequence_not_found)?,
        key: idempotency_key(&headers)?,
        body,
        preview,
    };
    let (organization_id, bytes) = (caller.organization_id, submission.body.bytes.len());
    let shared = Arc::clone(&app);
    app.limits.run_blocking(organization_id, bytes, async move { submission.answer(&shared).await }).await
}

/// A request of an authenticated caller, with its whole body.
struct Submission {
    caller: Caller,
    sequence_id: SequenceId,
    key: Option<String>,
    body: ReadBody,
    preview: bool,
}

impl Submission {
    async fn answer(&self, app: &App) -> Result<Response, ApiError> {
        let (organization_id, sequence_id) = (self.caller.organization_id, self.sequence_id);
        let request = EnrollmentRequest::from_json(&self.body.bytes);
        let enrollment = Enrollment {
            organization_id,
            sequence_id,
            key: match &self.key {
                Some(key) => EnrollmentKey::Idempotency(key),
                None => EnrollmentKey::Id(EnrollmentId::from_uuid(Uuid::now_v7())),
            },
            at: crate::import_job::current_time().map_err(|_| ApiError::internal())?,
            list: None,
            request: &request,
        };
        let engine = Engine::new(&app.policy);
        let mut handle = app.handles.acquire(organization_id).await?;
        if self.preview {
            let enrolled = preview_async(handle.handle()?.inbox(), &engine, &enrollment).await?;
            return Ok(Json(Data { data: EnrolledReport::from(&enrolled) }).into_response());
        }
        let receipt = audit::accept(handle.handle()?, &engine, &enrollment, self.caller).await?;
        drop(handle);
        app.wake.one();
        let (id, recipients) = (receipt.enrollment_id, receipt.recipients);
        request_span::record("enrollment", id);
        tracing::info!(organization = %organization_id, enrollment = %id, sequence = %sequence_id, recipients, "accepted");
        let message = "The recipients will be added to the sequence in the background";
        let Receipt { accepted_at, replayed, warnings, .. } = receipt;
        let accepted = Accepted { enrollment_id: id, accepted_at, recipients, replayed, warnings, message };
        let mut response = (StatusCode::ACCEPTED, Json(Data { data: accepted })).into_response();
        if let Ok(location) = HeaderValue::from_str(&format!("/v1/enrollments/{id}")) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        Ok(response)
    }
}

/// Read an enrollment
///
/// A completed enrollment has a report.
#[utoipa::path(
    get, path = "/v1/enrollments/{id}", operation_id = "show_enrollment", tag = "enrollments",
    params(
        ("id" = Uuid, Path, description = "The enrollment"),
        ("disposition" = Option<Vec<Disposition>>, Query, description = "Only outcomes with one of these dispositions. Separate them with commas, or repeat the parameter"),
        ("reason" = Option<Vec<ReasonCode>>, Query, description = "Only outcomes with one of these reasons. Separate them with commas, or repeat the parameter"),
        PaginationDoc,
    ),
    responses(
        (status = 200, description = "The enrollment", body = Data<EnrollmentDetail>),
        (status = 404, description = "The organization has no enrollment with this id", body = ErrorBody),
        CommonErrors,
    ),
)]
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    id: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Json<Data<EnrollmentDetail>>, ApiError> {
    let mut parameters = Parameters::parse(query.as_deref());
    let pagination = parameters.pagination();
    let dispositions = parameters.one_of("disposition", &Disposition::ALL.map(Disposition::as_str));
    let codes: Vec<&str> = Reason::CODES.iter().map(|(code, _)| *code).collect();
    let reasons = parameters.one_of("reason", &codes);
    parameters.finish()?;
    let not_found = || ApiError::not_found("enrollment_not_found", "enrollment");
    let id: EnrollmentId = parse_id(id).ok_or_else(not_found)?;
    let mut handle = app.handles.acquire(caller.organization_id).await?;
    let found = sql::enrollment(handle.handle()?, caller.organization_id, id).await?;
    let (row, result) = found.ok_or_else(not_found)?;
    let summary = EnrollmentSummary::from(row);
    let Some(EnrollmentResult { counts, report }) = result else {
        return Ok(Json(Data { data: EnrollmentDetail::without_report(summary) }));
    };
    let filter = OutcomeFilter { dispositions, reasons };
    let all = if summary.removed_at.is_some() { 0 } else { counts.total() };
    let page = sql::outcomes(handle.handle()?, caller.organization_id, id, &filter, &pagination, all).await?;
    let ids = page.data.iter().filter_map(|outcome| Some(outcome.contact_id?.as_uuid()));
    let contacts = sql::named_contacts(handle.handle()?, caller.organization_id, ids).await?;
    let detail = EnrollmentDetail {
        summary,
        counts: Some(counts),
        upload_tag: report.upload_tag,
        accepted_keys: report.accepted_keys,
        warnings: report.warnings,
        outcomes: page.data,
        contacts,
        total: page.total,
    };
    Ok(Json(Data { data: detail }))
}

/// List enrollments, newest first
#[utoipa::path(
    get, path = "/v1/enrollments", operation_id = "list_enrollments", tag = "enrollments",
    params(
        ("state" = Option<Vec<StateDoc>>, Query, description = "Only enrollments in one of these states. Separate them with commas, or repeat the parameter"),
        PaginationDoc,
        CursorDoc,
    ),
    responses((status = 200, description = "A page of the list", body = ListPage<EnrollmentSummary>), CommonErrors),
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Result<Json<ListPage<EnrollmentSummary>>, ApiError> {
    let mut parameters = Parameters::parse(query.as_deref());
    let states = parameters.one_of("state", &EnrollmentState::WORDS);
    let scope = Scope::new(caller.organization_id, "enrollments", &states);
    let pagination = parameters.page(&scope);
    parameters.finish()?;
    let mut handle = app.handles.acquire(caller.organization_id).await?;
    let page = sql::enrollments(handle.handle()?, caller.organization_id, &states, &pagination).await?;
    Ok(Json(ListPage::new(page, &scope)))
}

impl From<EnrollmentRow> for EnrollmentSummary {
    fn from(row: EnrollmentRow) -> Self {
        let EnrollmentRow {
            id,
            sequence_id,
            state,
            accepted_at,
            completed_at,
            removed_at,
            attempts,
            failed_before,
            rejection,
        } = row;
        // The operator finds the error of the database in the log. The caller gets a general message.
        let body = |status, code, description: String| {
            Some(ErrorBody::new(status, vec![ErrorItem::new(code, String::new(), description)]))
        };
        let error = match (&rejection, &*state) {
            (Some(rejection), _) => Some(ErrorBody::from_rejection(rejection)),
            (None, "failed") => {
                let description = match removed_at {
                    None => format!("{NOT_PROCESSED}, and can retry it"),
                    Some(at) => format!("{NOT_PROCESSED}; the request was removed at {at}"),
                };
                body(StatusCode::INTERNAL_SERVER_ERROR, "gave_up", description)
            }
            (None, "accepted") if failed_before => {
                let description = "the last attempt failed; the service will try again".to_owned();
                body(StatusCode::SERVICE_UNAVAILABLE, "attempt_failed", description)
            }
            _ => None,
        };
        Self { id, sequence_id, state, accepted_at, completed_at, removed_at, attempts, error }
    }
}

/// All attempts failed, or the process ended in each of them.
const NOT_PROCESSED: &str = "the service could not process it; the operator sees the cause in `enroll status`";

/// Parses the id in a path. A malformed id is treated as an unknown one.
pub(crate) fn parse_id<Id: std::str::FromStr>(path: Result<Path<String>, PathRejection>) -> Option<Id> {
    path.ok()?.0.parse().ok()
}

/// Returns the `Idempotency-Key` header; the engine checks its form.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let mut values = headers.get_all("idempotency-key").iter();
    let key = values.next().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    match values.next() {
        None => Ok(key),
        Some(_) => {
            let problem = "the header `Idempotency-Key` occurs more than once; send it once";
            Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, FaultCode::InvalidIdempotencyKey.code(), problem))
        }
    }
}

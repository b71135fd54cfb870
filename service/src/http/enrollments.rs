//! Asking for enrollments, and asking after them.

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::json;
use std::sync::Arc;
use std::time::Instant;
use utoipa::ToSchema;

use enroll::inbox::InboxEntry;
use enroll::report::{Counts, UploadTag};
use enroll::{
    AsyncInbox, Disposition, Engine, Enrollment, EnrollmentId, EnrollmentKey, EnrollmentRequest, EnrollmentState,
    Outcome, Reason, SequenceId, Timestamp, accept_async, preview_async,
};
use uuid::Uuid;

use super::docs::{
    CountsDoc, DispositionDoc, OutcomeDoc, ReasonDoc, Refused, ReportDoc, RequestDoc, StateDoc, UploadTagDoc, WindowDoc,
};
use super::errors::{ApiError, ErrorBody, ErrorItem};
use super::query::Parameters;
use super::{App, limits, no_sequence};
use crate::keys::Caller;
use crate::read::{self, EnrollmentRow, Page};
use crate::run::with_replayed;

/// One thing, as it is answered with.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Data<T> {
    pub(crate) data: T,
}

/// What a sender gets for an accepted request.
#[derive(Debug, Serialize, ToSchema)]
#[expect(clippy::struct_field_names, reason = "the documented names")]
pub(crate) struct Accepted {
    #[schema(value_type = Uuid)]
    enrollment_id: EnrollmentId,
    #[schema(value_type = String, format = DateTime)]
    accepted_at: Timestamp,
    recipients: usize,
    /// Present if the same request was accepted before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    #[schema(required = false)]
    replayed: bool,
    message: &'static str,
}

/// How far an enrollment got.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EnrollmentSummary {
    #[schema(value_type = Uuid)]
    id: EnrollmentId,
    #[schema(value_type = Uuid)]
    sequence_id: SequenceId,
    #[schema(value_type = StateDoc)]
    state: String,
    #[schema(value_type = String, format = DateTime)]
    accepted_at: Timestamp,
    /// When it was completed, or rejected.
    #[schema(value_type = Option<String>, format = DateTime)]
    completed_at: Option<Timestamp>,
    /// How often it was tried.
    attempts: u32,
    /// Why it was rejected or failed, or has to be tried again.
    error: Option<ErrorBody>,
}

/// An enrollment with its report, as far as it has one.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EnrollmentDetail {
    #[serde(flatten)]
    summary: EnrollmentSummary,
    #[schema(value_type = Option<CountsDoc>)]
    counts: Option<Counts>,
    #[schema(value_type = Option<UploadTagDoc>)]
    upload_tag: Option<UploadTag>,
    #[schema(value_type = Vec<OutcomeDoc>)]
    outcomes: Vec<Outcome>,
    /// How many outcomes the filters let through.
    total: usize,
}

/// Enroll people into a sequence
///
/// Creates the people who are not known yet, and adds all of them to a step. The answer is a receipt: the work is done
/// in the background. The same request under the same `Idempotency-Key` is the same enrollment, whenever it comes again.
#[utoipa::path(
    post, path = "/v1/sequences/{id}/contacts", operation_id = "enroll", tag = "enrollments",
    params(
        ("id" = Uuid, Path, description = "The sequence"),
        ("preview" = Option<bool>, Query, description = "Tell what would happen, and write nothing"),
        ("Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]*$",
            description = "What the sender calls this request: 1 to 255 visible ASCII characters"),
    ),
    request_body(content = RequestDoc, description = "At most 8 MiB"),
    responses(
        (status = 202, description = "Accepted", body = Data<Accepted>,
            headers(("Location" = String, description = "Where to ask for what becomes of it"))),
        (status = 200, description = "The preview", body = Data<ReportDoc>),
        (status = 404, description = "The organization has no such sequence", body = ErrorBody),
        (status = 408, description = "The body came too slowly", body = ErrorBody),
        (status = 409, description = "The key was used for another request, or what it names has no report to preview yet",
            body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 415, description = "The body has a content encoding", body = ErrorBody),
        (status = 429, description = "Too many writes a minute", body = ErrorBody,
            headers(("Retry-After" = u32, description = "In seconds"))),
        Refused,
    ),
)]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    sequence: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let mut parameters = Parameters::of(query.as_deref());
    let preview = parameters.flag("preview");
    parameters.checked()?;
    if let Some(limit) = app.rate_limit.as_ref().filter(|_| !preview) {
        limit.take(caller.key_id, Instant::now())?;
    }
    let bytes = limits::body(&headers, body, app.timeout).await?;
    let sequence_id: SequenceId = named(sequence).ok_or_else(no_sequence)?;
    let key = idempotency_key(&headers);
    let request = EnrollmentRequest::from_json(&bytes);
    let enrollment = Enrollment {
        organization_id: caller.organization_id,
        sequence_id,
        key: match &key {
            Some(key) => EnrollmentKey::Idempotency(key),
            None => EnrollmentKey::Id(EnrollmentId::from_uuid(Uuid::now_v7())),
        },
        at: crate::ask::clock().map_err(|_| ApiError::internal())?,
        request: &request,
    };
    let engine = Engine::new(&app.policy);
    let mut lent = app.handles.lend().await?;
    if preview {
        let enrolled = preview_async(lent.handle()?, &engine, &enrollment).await?;
        return Ok(Json(json!({ "data": with_replayed(&enrolled) })).into_response());
    }
    let receipt = accept_async(lent.handle()?, &engine, &enrollment).await?;
    drop(lent);
    app.wake.notify_one();
    let (id, recipients) = (receipt.enrollment_id, receipt.recipients);
    tracing::info!(
        organization = %caller.organization_id, enrollment = %id, sequence = %sequence_id, recipients, "accepted"
    );
    let message = "The recipients are being added to the sequence";
    let (accepted_at, replayed) = (receipt.accepted_at, receipt.replayed);
    let accepted = Accepted { enrollment_id: id, accepted_at, recipients, replayed, message };
    let mut response = (StatusCode::ACCEPTED, Json(Data { data: accepted })).into_response();
    if let Ok(location) = HeaderValue::from_str(&format!("/v1/enrollments/{id}")) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// Ask after an enrollment
///
/// With its report, once it is completed.
#[utoipa::path(
    get, path = "/v1/enrollments/{id}", operation_id = "show_enrollment", tag = "enrollments",
    params(
        ("id" = Uuid, Path, description = "The enrollment"),
        ("disposition" = Option<Vec<DispositionDoc>>, Query, description = "Only these outcomes; separated by commas, or repeated"),
        ("reason" = Option<Vec<ReasonDoc>>, Query, description = "Only outcomes with one of these reasons; likewise"),
        WindowDoc,
    ),
    responses(
        (status = 200, description = "The enrollment", body = Data<EnrollmentDetail>),
        (status = 404, description = "The organization has no such enrollment", body = ErrorBody),
        Refused,
    ),
)]
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Json<Data<EnrollmentDetail>>, ApiError> {
    let mut parameters = Parameters::of(query.as_deref());
    let window = parameters.window();
    let dispositions = parameters.words("disposition", &Disposition::ALL.map(Disposition::as_str));
    let codes: Vec<&str> = Reason::CODES.iter().map(|(code, _)| *code).collect();
    let reasons = parameters.words("reason", &codes);
    parameters.checked()?;
    let none = || ApiError::not_found("enrollment_not_found", "enrollment");
    let id: EnrollmentId = named(id).ok_or_else(none)?;
    let found = app.handles.lend().await?.handle()?.find(caller.organization_id, id).await?;
    let InboxEntry { enrollment, attempts, error, .. } = found.ok_or_else(none)?;
    let (report, rejection) = match enrollment.state.clone() {
        EnrollmentState::Completed { report } => (Some(report), None),
        EnrollmentState::Rejected { rejection } => (None, Some(rejection)),
        _ => (None, None),
    };
    let row = EnrollmentRow {
        id,
        sequence_id: enrollment.sequence_id,
        state: enrollment.state.as_str().to_owned(),
        accepted_at: enrollment.at,
        completed_at: enrollment.completed_at,
        attempts,
        failed_before: error.is_some(),
        rejection,
    };
    let counts = report.as_ref().map(enroll::EnrollmentReport::counts);
    let (upload_tag, all) = report.map_or_else(Default::default, |report| (report.upload_tag, report.outcomes));
    let wanted = |outcome: &&Outcome| {
        (dispositions.is_empty() || dispositions.iter().any(|name| name == outcome.disposition.as_str()))
            && (reasons.is_empty() || outcome.reasons.iter().any(|has| reasons.iter().any(|code| code == has.code())))
    };
    let total = all.iter().filter(wanted).count();
    let page = all.iter().filter(wanted).skip(window.offset as usize).take(window.limit as usize);
    let outcomes = page.cloned().collect();
    Ok(Json(Data { data: EnrollmentDetail { summary: row.into(), counts, upload_tag, outcomes, total } }))
}

/// List enrollments, the newest first
#[utoipa::path(
    get, path = "/v1/enrollments", operation_id = "list_enrollments", tag = "enrollments",
    params(
        ("state" = Option<Vec<StateDoc>>, Query, description = "Only those in these states; separated by commas, or repeated"),
        WindowDoc,
    ),
    responses((status = 200, description = "Some of them", body = Page<EnrollmentSummary>), Refused),
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<Page<EnrollmentSummary>>, ApiError> {
    let mut parameters = Parameters::of(query.as_deref());
    let window = parameters.window();
    let states = parameters.words("state", &EnrollmentState::WORDS);
    parameters.checked()?;
    let mut lent = app.handles.lend().await?;
    let page = read::enrollments(lent.handle()?, caller.organization_id, &states, window).await?;
    Ok(Json(Page { data: page.data.into_iter().map(EnrollmentSummary::from).collect(), total: page.total }))
}

impl From<EnrollmentRow> for EnrollmentSummary {
    fn from(row: EnrollmentRow) -> Self {
        let EnrollmentRow { id, sequence_id, state, accepted_at, completed_at, attempts, failed_before, rejection } =
            row;
        // What a database said is for the operator, and no caller's.
        let told =
            |status, code, what: String| Some(ErrorBody::new(status, vec![ErrorItem::new(code, String::new(), what)]));
        let error = match (&rejection, &*state) {
            (Some(rejection), _) => Some(ErrorBody::of(rejection)),
            (None, "failed") => {
                let what = format!("it was given up after {attempts} attempts: its operator can have it tried again");
                told(StatusCode::INTERNAL_SERVER_ERROR, "gave_up", what)
            }
            (None, "accepted") if failed_before => {
                let what = "the last attempt failed, and another follows".to_owned();
                told(StatusCode::SERVICE_UNAVAILABLE, "attempt_failed", what)
            }
            _ => None,
        };
        Self { id, sequence_id, state, accepted_at, completed_at, attempts, error }
    }
}

/// The id in a path; what is malformed names nothing.
pub(crate) fn named<Id: std::str::FromStr>(path: Result<Path<String>, PathRejection>) -> Option<Id> {
    path.ok()?.0.parse().ok()
}

/// What the engine judges. A header that is given twice is one value, as HTTP has it, and then no key.
fn idempotency_key(headers: &HeaderMap) -> Option<String> {
    let given: Vec<_> = headers.get_all("idempotency-key").iter().map(HeaderValue::as_bytes).collect();
    (!given.is_empty()).then(|| String::from_utf8_lossy(&given.join(&b", "[..])).into_owned())
}

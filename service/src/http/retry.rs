//! Retries of failed enrollments.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::StatusCode;
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;

use enroll::{AsyncInbox, EnrollmentId, Timestamp};

use super::App;
use super::docs::{CommonErrors, RateLimited};
use super::enrollments::{Data, EnrollmentSummary, parse_id};
use super::errors::{ApiError, ErrorBody};
use super::query::Parameters;
use crate::audit::{self, Action};
use crate::import_job::current_time;
use crate::keys::Caller;
use crate::retry::retry_failed;
use crate::sql;

/// Retry a failed enrollment
///
/// It waits for processing again, without attempts.
#[utoipa::path(
    post, path = "/v1/enrollments/{id}/retry", operation_id = "retry_enrollment", tag = "enrollments",
    params(("id" = Uuid, Path, description = "The enrollment")),
    responses(
        (status = 202, description = "The enrollment waits again", body = Data<EnrollmentSummary>),
        (status = 404, description = "The organization has no enrollment with this id", body = ErrorBody),
        (status = 409, description = "The enrollment is not failed, or its request was removed", body = ErrorBody),
        RateLimited,
        CommonErrors,
    ),
)]
pub(crate) async fn one(
    State(app): State<Arc<App>>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<(StatusCode, Json<Data<EnrollmentSummary>>), ApiError> {
    Parameters::parse(query.as_deref()).finish()?;
    app.limits.count(caller.key_id, false)?;
    let not_found = || ApiError::not_found("enrollment_not_found", "enrollment");
    let id: EnrollmentId = parse_id(id).ok_or_else(not_found)?;
    let now = current_time().map_err(|_| ApiError::internal())?;
    let mut pooled = app.handles.acquire(caller.organization_id).await?;
    let handle = pooled.handle()?;
    let (found, _) = sql::enrollment(handle, caller.organization_id, id).await?.ok_or_else(not_found)?;
    let not_failed = |state: &str| {
        let problem = format!("enrollment `{id}` is {state}; only a failed enrollment can be retried");
        ApiError::new(StatusCode::CONFLICT, "enrollment_not_failed", problem)
    };
    if found.state != "failed" {
        return Err(not_failed(&found.state));
    }
    if let Some(at) = found.removed_at {
        let problem = format!(
            "the request of enrollment `{id}` was removed at {at}, because it was too old; send it again with a new key"
        );
        return Err(ApiError::new(StatusCode::CONFLICT, "request_removed", problem));
    }
    audit::record(handle, caller, Action::Retry, id.as_uuid(), now).await?;
    let retried = handle.inbox().retry(caller.organization_id, id).await?;
    let (found, _) = sql::enrollment(handle, caller.organization_id, id).await?.ok_or_else(not_found)?;
    if !retried {
        return Err(not_failed(&found.state));
    }
    app.wake.one();
    Ok((StatusCode::ACCEPTED, Json(Data { data: found.into() })))
}

/// The number of enrollments that wait again.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Retried {
    retried: u64,
}

/// Retry all failed enrollments
#[utoipa::path(
    post, path = "/v1/enrollments/retry", operation_id = "retry_enrollments", tag = "enrollments",
    params(
        ("since" = Option<String>, Query, format = DateTime, pattern = "^(19[7-9]|[2-9][0-9])[0-9]",
            description = "Only enrollments that failed at this instant or later. Default: all"),
    ),
    responses(
        (status = 202, description = "The enrollments wait again", body = Data<Retried>),
        RateLimited,
        CommonErrors,
    ),
)]
pub(crate) async fn all(
    State(app): State<Arc<App>>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<(StatusCode, Json<Data<Retried>>), ApiError> {
    let mut parameters = Parameters::parse(query.as_deref());
    let since = parameters.instant("since").unwrap_or(Timestamp::EPOCH);
    parameters.finish()?;
    app.limits.count(caller.key_id, false)?;
    let now = current_time().map_err(|_| ApiError::internal())?;
    let mut handle = app.handles.acquire(caller.organization_id).await?;
    let retried = retry_failed(handle.handle()?, caller.organization_id, since, Some((caller, now))).await?;
    app.wake.all();
    Ok((StatusCode::ACCEPTED, Json(Data { data: Retried { retried } })))
}

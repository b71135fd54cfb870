//! The response of a failed request. It always has the documented body, and no internal details.

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::time::Duration;
use utoipa::ToSchema;

use enroll::{EnrollError, Rejection, RepositoryError, RepositoryErrorKind};
use enroll_postgres::PostgresError;
use enroll_sqlite::SqliteError;

use crate::causes;

/// The error response of a request.
#[derive(Debug)]
pub(crate) struct ApiError {
    body: ErrorBody,
    retry_after: Option<u32>,
    /// How many milliseconds to wait until the next request.
    remaining_interval: Option<u64>,
}

/// An error response.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorBody {
    errors: Vec<ErrorItem>,
    /// The HTTP status.
    status: u16,
}

/// One problem of a request.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorItem {
    /// The problem, for people.
    description: String,
    /// The problem, for programs.
    code: String,
    /// The place: a JSON Pointer into the body, `?name` for a query parameter, or empty. Of an upload, its first member is
    /// the part.
    path: String,
    /// The row of an uploaded list.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    row: Option<u64>,
    /// The column of an uploaded list: its title, its letters or its field.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    column: Option<String>,
}

impl ErrorItem {
    pub(crate) fn new(code: &str, path: String, description: String) -> Self {
        Self { description, code: code.to_owned(), path, row: None, column: None }
    }

    /// Adds the row of an uploaded list, and its column.
    pub(crate) fn at_row(self, row: u64, column: Option<String>) -> Self {
        Self { row: Some(row), column, ..self }
    }
}

impl ErrorBody {
    pub(crate) fn new(status: StatusCode, errors: Vec<ErrorItem>) -> Self {
        Self { errors, status: status.as_u16() }
    }

    /// Returns the body for a rejected enrollment.
    pub(crate) fn from_rejection(rejection: &Rejection) -> Self {
        let errors = rejection.errors().iter();
        let errors =
            errors.map(|fault| ErrorItem::new(fault.code.code(), fault.path.clone(), fault.description.clone()));
        Self { errors: errors.collect(), status: rejection.status() }
    }
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &str, description: impl Into<String>) -> Self {
        Self::with_items(status, vec![ErrorItem::new(code, String::new(), description.into())])
    }

    /// Returns an error for one place of the request.
    pub(crate) fn invalid(code: &str, path: String, description: String) -> Self {
        Self::with_items(StatusCode::UNPROCESSABLE_ENTITY, vec![ErrorItem::new(code, path, description)])
    }

    /// Returns the body of the response.
    pub(crate) fn into_body(self) -> ErrorBody {
        self.body
    }

    /// Returns an error with several problems.
    pub(crate) fn with_items(status: StatusCode, errors: Vec<ErrorItem>) -> Self {
        Self { body: ErrorBody::new(status, errors), retry_after: None, remaining_interval: None }
    }

    /// Adds a `Retry-After` header, in seconds.
    pub(crate) fn retry_after(self, seconds: u32) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// Adds the headers of a 429 response: how long to wait, in seconds and in milliseconds.
    pub(crate) fn rate_limited(self, wait: Duration) -> Self {
        let milliseconds = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        let seconds = u32::try_from(milliseconds.div_ceil(1000)).unwrap_or(u32::MAX);
        Self { remaining_interval: Some(milliseconds), ..self.retry_after(seconds) }
    }

    pub(crate) fn not_authenticated(problem: &str, key_header: &str) -> Self {
        let problem = format!(
            "Not authenticated: {problem}; send one key in the header `{key_header}`, `X-API-Key` or `Authorization: Bearer`"
        );
        Self::new(StatusCode::UNAUTHORIZED, "not_authenticated", problem)
    }

    /// Returns the error for an id that the organization does not have. The id of another organization gets the same error.
    pub(crate) fn not_found(code: &str, kind: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, format!("the organization has no {kind} with this id"))
    }

    pub(crate) fn unavailable() -> Self {
        let problem = "the service is temporarily unavailable; try again with the same idempotency key";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", problem).retry_after(1)
    }

    pub(crate) fn internal() -> Self {
        let problem = "internal error; the log of the service contains the cause";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", problem)
    }
}

impl From<Rejection> for ApiError {
    fn from(rejection: Rejection) -> Self {
        Self { body: ErrorBody::from_rejection(&rejection), retry_after: None, remaining_interval: None }
    }
}

impl From<RepositoryError> for ApiError {
    fn from(error: RepositoryError) -> Self {
        let message = causes(&error);
        match error.kind() {
            // Another process serves the database with a newer build.
            _ if is_newer_schema(&error) => {
                tracing::error!(error = message, "the database needs a newer build");
                Self::unavailable()
            }
            RepositoryErrorKind::Conflict | RepositoryErrorKind::Unavailable => {
                tracing::warn!(error = message, "the database is unavailable");
                Self::unavailable()
            }
            _ => {
                tracing::error!(error = message, "the database failed");
                Self::internal()
            }
        }
    }
}

fn is_newer_schema(error: &RepositoryError) -> bool {
    let inner = error.inner();
    matches!(inner.downcast_ref(), Some(PostgresError::NewerSchema { .. }))
        || matches!(inner.downcast_ref(), Some(SqliteError::NewerSchema { .. }))
}

impl From<EnrollError> for ApiError {
    fn from(error: EnrollError) -> Self {
        match error {
            EnrollError::Rejected(rejection) => rejection.into(),
            EnrollError::Repository(e) => e.into(),
            EnrollError::NotFound(_) => Self::not_found("enrollment_not_found", "enrollment"),
            EnrollError::Unfinished { enrollment_id, state } => {
                let problem = format!("enrollment `{enrollment_id}` is {state} and has no report yet; try again later");
                Self::new(StatusCode::CONFLICT, "enrollment_unfinished", problem)
            }
            EnrollError::ReportRemoved { enrollment_id, removed_at } => {
                let problem = format!(
                    "enrollment `{enrollment_id}` of this key is completed, and its report was removed at {removed_at}; use a new key"
                );
                Self::new(StatusCode::CONFLICT, "report_removed", problem)
            }
            EnrollError::Contended { .. } => Self::unavailable(),
            other => {
                tracing::error!(error = causes(&other), "the engine failed");
                Self::internal()
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.body.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self.body)).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(milliseconds) = self.remaining_interval {
            response.headers_mut().insert(REMAINING_INTERVAL, HeaderValue::from(milliseconds));
        }
        response
    }
}

const REMAINING_INTERVAL: HeaderName = HeaderName::from_static("x-ratelimit-remaining-interval-milliseconds");

//! What a caller is told when a request fails: always the documented body, never an empty one, and nothing of the inside.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use enroll::{EnrollError, Rejection, RepositoryError, RepositoryErrorKind};

use crate::causes;

/// A request that failed.
#[derive(Debug)]
pub(crate) struct ApiError {
    body: ErrorBody,
    retry_after: Option<u32>,
}

/// The documented shape of an error, with `code` and `path` added.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorBody {
    errors: Vec<ErrorItem>,
    /// The HTTP status.
    status: u16,
}

/// One thing that is wrong.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorItem {
    /// What is wrong, in words.
    description: String,
    /// What is wrong, for programs.
    code: String,
    /// Where: a JSON Pointer into the body, `?name` for a query parameter, else empty.
    path: String,
}

impl ErrorItem {
    pub(crate) fn new(code: &str, path: String, description: String) -> Self {
        Self { description, code: code.to_owned(), path }
    }
}

impl ErrorBody {
    pub(crate) fn new(status: StatusCode, errors: Vec<ErrorItem>) -> Self {
        Self { errors, status: status.as_u16() }
    }

    /// Why an enrollment ended `rejected`.
    pub(crate) fn of(rejection: &Rejection) -> Self {
        let errors = rejection.errors().iter();
        let errors =
            errors.map(|fault| ErrorItem::new(fault.code.code(), fault.path.clone(), fault.description.clone()));
        Self { errors: errors.collect(), status: rejection.status() }
    }
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &str, description: impl Into<String>) -> Self {
        Self::all(status, vec![ErrorItem::new(code, String::new(), description.into())])
    }

    /// Several things that are wrong.
    pub(crate) fn all(status: StatusCode, errors: Vec<ErrorItem>) -> Self {
        Self { body: ErrorBody::new(status, errors), retry_after: None }
    }

    /// With the seconds after which it is worth trying again.
    pub(crate) fn retry_after(self, seconds: u32) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    pub(crate) fn not_authenticated() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "not_authenticated", "Not authenticated")
    }

    /// Also for what another organization has.
    pub(crate) fn not_found(code: &str, what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, format!("the organization has no such {what}"))
    }

    pub(crate) fn unavailable() -> Self {
        let what = "the service cannot do this now: try again, with the same idempotency key";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", what).retry_after(1)
    }

    pub(crate) fn internal() -> Self {
        let what = "the service failed, and its log says why";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", what)
    }
}

impl From<Rejection> for ApiError {
    fn from(rejection: Rejection) -> Self {
        Self { body: ErrorBody::of(&rejection), retry_after: None }
    }
}

impl From<RepositoryError> for ApiError {
    fn from(error: RepositoryError) -> Self {
        let told = private(&causes(&error));
        match error.kind() {
            RepositoryErrorKind::Conflict | RepositoryErrorKind::Unavailable => {
                tracing::warn!(error = told, "the database cannot answer");
                Self::unavailable()
            }
            _ => {
                tracing::error!(error = told, "the database failed");
                Self::internal()
            }
        }
    }
}

impl From<EnrollError> for ApiError {
    fn from(error: EnrollError) -> Self {
        match error {
            EnrollError::Rejected(rejection) => rejection.into(),
            EnrollError::Repository(e) => e.into(),
            EnrollError::NotFound(_) => Self::not_found("enrollment_not_found", "enrollment"),
            EnrollError::Unfinished { enrollment_id, state } => {
                let what = format!("enrollment `{enrollment_id}` is {state}, and has no report yet: ask for it later");
                Self::new(StatusCode::CONFLICT, "enrollment_unfinished", what)
            }
            EnrollError::Contended { .. } => Self::unavailable(),
            other => {
                tracing::error!(error = private(&causes(&other)), "the engine failed");
                Self::internal()
            }
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.body.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self.body)).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// Text of a database for the log: without the rows that it may quote, and whatever looks like a phone or an email.
pub(crate) fn private(text: &str) -> String {
    let text = text.split_once("DETAIL:").map_or(text, |(before, _)| before);
    let is_private = |word: &&str| {
        let digits = word.bytes().filter(u8::is_ascii_digit).count();
        word.contains('@') || (digits >= 7 && !word.contains('-')) || (word.contains('+') && digits >= 4)
    };
    let words = text.split(' ').map(|word| if is_private(&word) { "***" } else { word });
    words.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_line_has_no_phone_and_no_email() {
        let text = "key (phone)=(+12025550123) of ann@example.org; 0x1 failed; DETAIL: Ann Lee";
        assert_eq!(private(text), "key *** of *** 0x1 failed; ");
    }
}

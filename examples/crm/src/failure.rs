//! Errors as HTTP answers.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use enroll::EnrollError;
use enroll_import::ListError;
use serde_json::json;

/// Why a request failed. Then nothing was written.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("the header `x-user` is absent; set it to the name of a user")]
    NoUser,
    #[error("the {0} does not exist")]
    NotFound(&'static str),
    /// The file is not a list of people.
    #[error(transparent)]
    List(#[from] ListError),
    #[error(transparent)]
    Enroll(#[from] EnrollError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Internal(Box<dyn std::error::Error + Send + Sync>),
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::NoUser => StatusCode::UNAUTHORIZED,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::List(ListError::Io(_)) => StatusCode::INTERNAL_SERVER_ERROR,
            Self::List(_) => StatusCode::UNPROCESSABLE_ENTITY,
            // 404, 409 or 422, with all faults.
            Self::Enroll(EnrollError::Rejected(rejection)) => {
                return (code(rejection.status()), Json(rejection)).into_response();
            }
            Self::Enroll(e) => code(e.status()),
            // The only key that a request can break is the name of its user.
            Self::Database(sqlx::Error::Database(e)) if e.is_foreign_key_violation() => {
                let error = json!({ "error": "the user of `x-user` does not exist" });
                return (StatusCode::FORBIDDEN, Json(error)).into_response();
            }
            Self::Database(_) | Self::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if !status.is_server_error() {
            return (status, Json(json!({ "error": self.to_string() }))).into_response();
        }
        // What the database says can contain data of people, so it is not in the answer.
        eprintln!("{status}: {self}");
        (status, Json(json!({ "error": "the request failed; try again later" }))).into_response()
    }
}

fn code(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

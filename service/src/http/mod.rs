//! The HTTP service: its routes, and what they share.

mod auth;
mod contacts;
pub(crate) mod docs;
mod enrollments;
mod errors;
pub(crate) mod limits;
pub(crate) mod metrics;
mod openapi;
mod query;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router};
use serde_json::json;
use std::any::Any;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, Semaphore};
use tower_http::catch_panic::CatchPanicLayer;

use enroll::EnrollmentPolicy;

pub(crate) use self::errors::private;
use self::errors::{ApiError, ErrorBody};
use self::limits::RateLimit;
use self::metrics::Metrics;
use crate::store::Handles;

/// What every request is answered from.
pub(crate) struct App {
    pub(crate) handles: Handles,
    pub(crate) policy: EnrollmentPolicy,
    pub(crate) key_header: HeaderName,
    /// As the operator spelled it.
    pub(crate) key_header_name: String,
    pub(crate) rate_limit: Option<RateLimit>,
    /// A permit for each request that may be answered at once.
    pub(crate) free: Semaphore,
    /// How long a request may take.
    pub(crate) timeout: Duration,
    pub(crate) metrics: Metrics,
    /// Wakes a worker.
    pub(crate) wake: Arc<Notify>,
}

/// The service.
pub(crate) fn router(app: Arc<App>) -> Router {
    let document = openapi::document(&app.key_header_name);
    // The page asks with the same header.
    let index = include_str!("page/index.html").replace(openapi::KEY_HEADER, &app.key_header_name);
    let api = Router::new()
        .route("/v1/sequences", get(contacts::sequences))
        .route("/v1/sequences/{id}/contacts", post(enrollments::create).get(contacts::of_sequence))
        .route("/v1/enrollments", get(enrollments::list))
        .route("/v1/enrollments/{id}", get(enrollments::show))
        .route("/v1/contacts", get(contacts::list))
        .route_layer(from_fn_with_state(Arc::clone(&app), limits::bound));
    api.route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics::show))
        .route("/openapi.json", file("application/json", document.to_string()))
        .route("/docs", file(HTML, openapi::page(&document)))
        .route("/", file(HTML, index))
        .route("/app.js", file("text/javascript; charset=utf-8", include_str!("page/app.js").to_owned()))
        .route("/list.js", file("text/javascript; charset=utf-8", include_str!("page/list.js").to_owned()))
        .route("/style.css", file("text/css; charset=utf-8", include_str!("page/style.css").to_owned()))
        .fallback(async || ApiError::new(StatusCode::NOT_FOUND, "route_not_found", "there is no such route"))
        .method_not_allowed_fallback(async || {
            let what = "this route takes another method: the header `Allow` names them";
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", what)
        })
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(Arc::clone(&app), metrics::measure))
        .with_state(app)
}

/// Whether the process answers, whatever the database does
#[utoipa::path(
    get, path = "/healthz", operation_id = "healthz", tag = "operations", security(()),
    responses((status = 200, description = "It does", body = serde_json::Value)),
)]
async fn healthz() -> Json<serde_json::Value> {
    Json(json!({ "status": "ok" }))
}

/// Whether the database answers too
#[utoipa::path(
    get, path = "/readyz", operation_id = "readyz", tag = "operations", security(()),
    responses(
        (status = 200, description = "It does", body = serde_json::Value),
        (status = 503, description = "It does not", body = ErrorBody),
    ),
)]
async fn readyz(State(app): State<Arc<App>>) -> Result<Json<serde_json::Value>, ApiError> {
    let asked = async {
        let sql = "select organization_id from enroll.organizations limit 1";
        app.handles.lend().await?.handle()?.query(sql, &[], |row| row.id()).await
    };
    match tokio::time::timeout(READY, asked).await {
        Ok(Ok(_)) => Ok(Json(json!({ "status": "ready" }))),
        Ok(Err(e)) => {
            // Also what trying again does not mend: it is not ready.
            drop(ApiError::from(e));
            Err(ApiError::unavailable())
        }
        Err(_) => Err(ApiError::unavailable()),
    }
}

/// A file of the page, or about the service: it runs its own script and no other, and asks its own service and no other.
fn file(kind: &'static str, text: String) -> MethodRouter<Arc<App>> {
    let bytes = Bytes::from(text);
    get(async move || {
        let headers = [
            (header::CONTENT_TYPE, kind),
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::CACHE_CONTROL, "no-cache"),
        ];
        (headers, bytes)
    })
}

fn no_sequence() -> ApiError {
    ApiError::not_found("sequence_not_found", "sequence")
}

/// A defect: the caller is told that there is one, and the log where, but not the message, which may quote a recipient.
fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    tracing::error!("a request panicked");
    ApiError::internal().into_response()
}

const HTML: &str = "text/html; charset=utf-8";
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const READY: Duration = Duration::from_secs(2);

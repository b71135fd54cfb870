//! The HTTP service: its routes and their shared state.

pub(crate) mod accept;
mod auth;
mod body;
pub(crate) mod connections;
mod contact_search;
mod contacts;
mod cursor;
mod docs;
mod enrollments;
mod erase;
mod errors;
mod heads;
pub(crate) mod health;
pub(crate) mod limits;
mod list;
mod list_accept;
mod list_errors;
mod list_history;
mod list_options;
mod list_preview;
mod lists;
pub(crate) mod metrics;
pub(crate) mod metrics_server;
mod openapi;
mod organization;
mod page;
mod preview_answer;
pub(crate) mod previews;
mod query;
mod reference;
mod request_span;
mod retry;
mod runs;
mod upload;
mod write_timeout;

use axum::Router;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{from_fn, from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use std::any::Any;
use std::sync::Arc;
use tower_http::catch_panic::CatchPanicLayer;

use enroll::{EnrollmentPolicy, OrganizationId};
use enroll_worker::Wake;

use self::connections::ClientAddress;
use self::errors::ApiError;
use self::health::Probe;
use self::limits::Limits;
use self::metrics::{Metrics, Queue};
use self::previews::Previews;
use crate::handles::HandlePool;
use crate::keys::RecordedUses;

/// The shared state of all requests.
pub(crate) struct App {
    pub(crate) handles: Arc<HandlePool<OrganizationId>>,
    /// The handles that find API keys. They are apart, because the organization is not known yet.
    pub(crate) key_handles: Arc<HandlePool<ClientAddress>>,
    pub(crate) policy: EnrollmentPolicy,
    pub(crate) key_header: HeaderName,
    /// The header name in the spelling of the operator.
    pub(crate) key_header_name: String,
    pub(crate) limits: Limits,
    pub(crate) readiness: Probe<()>,
    pub(crate) queue: Probe<Queue>,
    pub(crate) recorded_uses: RecordedUses,
    pub(crate) metrics: Metrics,
    pub(crate) previews: Previews,
    pub(crate) wake: Wake,
}

/// Returns the router of the service.
pub(crate) fn router(app: Arc<App>) -> Router {
    let api = Router::new()
        .route("/v1/organization", get(organization::show))
        .route("/v1/sequences", get(reference::sequences))
        .route("/v1/sequences/{id}", get(reference::sequence))
        .route("/v1/channels", get(reference::channels))
        .route("/v1/custom_objects", get(reference::custom_objects))
        .route("/v1/sequences/{id}/contacts", post(enrollments::create).get(contacts::list_for_sequence))
        .route("/v1/sequences/{id}/sequence_runs", get(runs::list_for_sequence))
        .route("/v1/sequences/{id}/sequence_runs/{run_id}", get(runs::show_for_sequence))
        .route("/v1/sequence_runs", get(runs::list))
        .route("/v1/sequence_runs/{id}", get(runs::show))
        // Another name of the list, in third-party descriptions of the original API.
        .route("/v1/sequences/runs", get(runs::list))
        .route("/v1/enrollments", get(enrollments::list))
        .route("/v1/enrollments/{id}", get(enrollments::show))
        .route("/v1/enrollments/retry", post(retry::all))
        .route("/v1/enrollments/{id}/retry", post(retry::one))
        .route("/v1/contacts", get(contacts::list))
        .route("/v1/contacts/{id}", get(contacts::show))
        .route("/v1/contacts/search", post(contacts::search))
        .route("/v1/contacts/erase", post(erase::erase))
        .route("/v1/lists/previews/{id}", get(lists::show_preview).delete(lists::cancel_preview))
        .route("/v1/lists/{id}", get(list_history::show))
        .route("/v1/lists/{id}/rows.csv", get(list_history::rows))
        .route("/v1/lists/{id}/to_fix.csv", get(list_history::to_fix))
        .route("/v1/lists/{id}/retry", post(list_history::retry))
        // These responses come after the check of the key: a wrong one is 401 on every path, with every method.
        .route("/v1/", any(route_not_found))
        .route("/v1/{*path}", any(route_not_found))
        .method_not_allowed_fallback(method_not_allowed)
        .route_layer(from_fn_with_state(Arc::clone(&app), limits::limit_requests));
    let uploads = Router::new()
        .route("/v1/lists", post(lists::create).get(list_history::list))
        .route("/v1/lists/inspect", post(lists::inspect))
        .method_not_allowed_fallback(method_not_allowed)
        .route_layer(from_fn_with_state(Arc::clone(&app), limits::limit_uploads));
    let routes = api.merge(uploads).merge(checks()).merge(page::routes(&app.key_header_name));
    with_common_layers(routes.fallback(route_not_found).method_not_allowed_fallback(method_not_allowed), app)
}

async fn route_not_found() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "route_not_found", "no route has this path; `/docs` lists the routes")
}

async fn method_not_allowed() -> ApiError {
    let problem = "this route does not support the method; use one in the `Allow` header";
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", problem)
}

/// Returns the router for the connections above the limit. It answers the checks only.
pub(crate) fn checks_router(app: Arc<App>) -> Router {
    let refuse = async || ([(header::CONNECTION, "close")], limits::overloaded());
    with_common_layers(checks().fallback(refuse), app)
}

fn checks() -> Router<Arc<App>> {
    Router::new()
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(metrics::show))
}

fn with_common_layers(routes: Router<Arc<App>>, app: Arc<App>) -> Router {
    routes
        .layer(CatchPanicLayer::custom(panic_response))
        .layer(from_fn(heads::limit_uri))
        .layer(map_response(forbid_caching))
        .layer(from_fn_with_state(Arc::clone(&app), metrics::measure))
        .layer(from_fn(request_span::identify))
        .with_state(app)
}

/// Forbids caches to keep a response that is not a file, and browsers to guess its type.
async fn forbid_caching(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn sequence_not_found() -> ApiError {
    ApiError::not_found("sequence_not_found", "sequence")
}

/// Returns the response after a panic. Neither it nor the log contains the message, which may quote a recipient.
fn panic_response(_: Box<dyn Any + Send + 'static>) -> Response {
    tracing::error!("panic in a request handler");
    ApiError::internal().into_response()
}

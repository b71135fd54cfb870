//! The files that a browser loads: the page to enroll lists from, and the documentation of the API.

use axum::Router;
use axum::body::Bytes;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, get};
use std::borrow::Cow;
use std::sync::Arc;

use super::{App, openapi};

/// Returns the routes of the files.
pub(crate) fn routes(key_header: &str) -> Router<Arc<App>> {
    // The pages send their key in the same header.
    let html = |text: &str| file(HTML, text.replace(openapi::KEY_HEADER, key_header));
    let mut router = Router::new();
    for (path, text) in MODULES {
        router = router.route(path, file(JAVASCRIPT, *text));
    }
    router
        .route("/", html(include_str!("page/index.html")))
        .route("/style.css", file(CSS, include_str!("page/style.css")))
        .route("/sample.csv", file(CSV, include_str!("page/sample.csv")))
        .route("/docs", html(include_str!("page/docs.html")))
        .route("/docs.css", file(CSS, include_str!("page/docs.css")))
        .route("/docs.js", file(JAVASCRIPT, include_str!("page/docs.js")))
        .route("/docs/swagger-ui.js", swagger_ui(JAVASCRIPT, "swagger-ui-bundle.js"))
        .route("/docs/swagger-ui.css", swagger_ui(CSS, "swagger-ui.css"))
        .route("/openapi.json", file("application/json", openapi::document(key_header).to_string()))
}

/// Returns a route with a file. Its content security policy allows only scripts and requests of this service.
fn file(kind: &'static str, content: impl Into<Bytes>) -> MethodRouter<Arc<App>> {
    let content = content.into();
    get(async move || ([(header::CONTENT_TYPE, kind)], HEADERS, content))
}

/// Returns a route with a file of Swagger UI, which the crate compresses when it is built.
fn swagger_ui(kind: &'static str, name: &str) -> MethodRouter<Arc<App>> {
    let config = utoipa_swagger_ui::Config::from("/openapi.json");
    let content = match utoipa_swagger_ui::serve(name, Arc::new(config)) {
        Ok(Some(file)) => match file.bytes {
            Cow::Borrowed(bytes) => Bytes::from_static(bytes),
            Cow::Owned(bytes) => Bytes::from(bytes),
        },
        Ok(None) | Err(_) => Bytes::new(),
    };
    get(async move || {
        ([(header::CONTENT_TYPE, kind), (header::CONTENT_ENCODING, "gzip")], HEADERS, content).into_response()
    })
}

/// Lists the modules of the page.
macro_rules! modules {
    ($($name:literal),* $(,)?) => {
        &[$((concat!("/", $name, ".js"), include_str!(concat!("page/", $name, ".js")))),*]
    };
}

const MODULES: &[(&str, &str)] = modules![
    "accepted_list",
    "api",
    "app",
    "columns",
    "dom",
    "draft",
    "enrollment",
    "history",
    "new_list",
    "options",
    "organization",
    "people",
    "people_table",
    "preview",
    "sign_in",
    "texts",
];
const HTML: &str = "text/html; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const CSV: &str = "text/csv; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const HEADERS: [(header::HeaderName, &str); 3] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-cache"),
];
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

//! Authentication by API key. A key belongs to one organization.

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName};
use std::sync::Arc;
use std::time::Instant;

use enroll::RepositoryError;

use super::App;
use super::connections::ClientAddress;
use super::errors::ApiError;
use super::request_span::background;
use crate::causes;
use crate::import_job::current_time;
use crate::keys::{self, ApiKey, Caller};

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let refused = |problem| ApiError::not_authenticated(problem, &app.key_header_name);
        let key = find_key(&parts.headers, &app.key_header).map_err(refused)?;
        let now = current_time().map_err(|_| ApiError::internal())?;
        let client = parts.extensions.get::<ClientAddress>().copied().ok_or_else(ApiError::internal)?;
        let mut handle = app.key_handles.acquire(client).await?;
        let caller = keys::authenticate(handle.handle()?, &key, now).await?;
        let caller = caller.ok_or_else(|| refused("the API key is unknown, expired or revoked"))?;
        if app.recorded_uses.is_due(caller.key_id, Instant::now()) {
            let app = Arc::clone(app);
            // A request does not wait for this write, and does not fail with it.
            let recording = async move {
                let recorded = async {
                    let mut handle = app.handles.acquire(caller.organization_id).await?;
                    keys::record_use(handle.handle()?, caller.key_id, now).await
                };
                if let Err(e) = recorded.await as Result<(), RepositoryError> {
                    tracing::warn!(error = causes(&e), "cannot record the last use of an API key");
                }
            };
            tokio::spawn(background("record the use of an API key").around(recording));
        }
        Ok(caller)
    }
}

/// Returns the API key of a request. It can be in several headers, but two different keys are ambiguous.
fn find_key(headers: &HeaderMap, key_header: &HeaderName) -> Result<ApiKey, &'static str> {
    let mut found = None;
    for name in [key_header, &X_API_KEY, &AUTHORIZATION] {
        for value in headers.get_all(name) {
            let text = value.to_str().unwrap_or_default();
            let key = match bearer_token(text) {
                Some(token) if name == AUTHORIZATION => token,
                // Another scheme is for a proxy.
                None if name == AUTHORIZATION && name != key_header => continue,
                _ => text,
            };
            let key = ApiKey::parse(key).ok_or("the API key is malformed")?;
            if found.as_ref().is_some_and(|first| *first != key) {
                return Err("the request has two different API keys");
            }
            found = Some(key);
        }
    }
    found.ok_or("the request has no API key")
}

/// Returns the token of `Bearer TOKEN`. The case of the scheme does not matter.
fn bearer_token(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_start())
}

const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

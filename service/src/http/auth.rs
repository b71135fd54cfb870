//! Authentication by API key. A key belongs to one organization.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use std::sync::Arc;

use super::App;
use super::errors::ApiError;
use crate::keys::{Caller, authenticate, is_well_formed};

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let mut keys = parts.headers.get_all(&app.key_header).iter();
        // Two keys are ambiguous.
        let (Some(key), None) = (keys.next(), keys.next()) else { return Err(ApiError::not_authenticated()) };
        let key = key.to_str().ok().filter(|key| is_well_formed(key)).ok_or_else(ApiError::not_authenticated)?;
        let mut handle = app.handles.acquire().await?;
        authenticate(handle.handle()?, key).await?.ok_or_else(ApiError::not_authenticated)
    }
}

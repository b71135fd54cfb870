//! Who asks: the holder of an API key, on behalf of one organization.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use std::sync::Arc;

use super::App;
use super::errors::ApiError;
use crate::keys::{self, Caller};

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let mut given = parts.headers.get_all(&app.key_header).iter();
        // Of two keys it is not said whose request it is.
        let (Some(key), None) = (given.next(), given.next()) else { return Err(ApiError::not_authenticated()) };
        let key = key.to_str().ok().filter(|key| keys::is_well_formed(key)).ok_or_else(ApiError::not_authenticated)?;
        let mut lent = app.handles.lend().await?;
        keys::caller(lent.handle()?, key).await?.ok_or_else(ApiError::not_authenticated)
    }
}

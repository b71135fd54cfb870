//! The route of the caller's organization.

use axum::Json;
use axum::extract::{Extension, RawQuery, State};
use serde::Serialize;
use std::sync::Arc;
use utoipa::ToSchema;
use uuid::Uuid;

use super::App;
use super::docs::CommonErrors;
use super::enrollments::Data;
use super::errors::ApiError;
use super::query::Parameters;
use crate::keys::Caller;
use crate::sql;

/// An organization.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Organization {
    id: Uuid,
    /// Empty if the organization has no name.
    name: String,
}

/// Show the organization of the API key
///
/// Clients use it to check a key.
#[utoipa::path(
    get, path = "/v1/organization", operation_id = "show_organization", tag = "organization",
    responses((status = 200, description = "The organization", body = Data<Organization>), CommonErrors),
)]
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Result<Json<Data<Organization>>, ApiError> {
    Parameters::parse(query.as_deref()).finish()?;
    let mut handle = app.handles.acquire(caller.organization_id).await?;
    let name = sql::organization_name(handle.handle()?, caller.organization_id).await?;
    Ok(Json(Data { data: Organization { id: caller.organization_id.as_uuid(), name } }))
}

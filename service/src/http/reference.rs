//! The routes that list what a request refers to: sequences, channels and custom objects.

use axum::Json;
use axum::extract::{Extension, RawQuery, State};
use std::sync::Arc;

use super::App;
use super::cursor::{ListPage, Scope};
use super::docs::{CommonErrors, CursorDoc, PaginationDoc};
use super::errors::ApiError;
use super::query::Parameters;
use crate::keys::Caller;
use crate::sql::{self, ChannelRow, CustomObjectRow, SequenceRow};

/// List sequences, ordered by title, then id
#[utoipa::path(
    get, path = "/v1/sequences", operation_id = "list_sequences", tag = "sequences", params(PaginationDoc, CursorDoc),
    responses((status = 200, description = "A page of the list", body = ListPage<SequenceRow>), CommonErrors),
)]
pub(crate) async fn sequences(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Result<Json<ListPage<SequenceRow>>, ApiError> {
    let mut parameters = Parameters::parse(query.as_deref());
    let scope = Scope::new(caller.organization_id, "sequences", &());
    let pagination = parameters.page(&scope);
    parameters.finish()?;
    let mut handle = app.handles.acquire(caller.organization_id).await?;
    let page = sql::sequences(handle.handle()?, caller.organization_id, &pagination).await?;
    Ok(Json(ListPage::new(page, &scope)))
}

/// List channels, ordered by kind, address, then id
#[utoipa::path(
    get, path = "/v1/channels", operation_id = "list_channels", tag = "sequences", params(PaginationDoc),
    responses((status = 200, description = "A part of the list", body = ListPage<ChannelRow>), CommonErrors),
)]
pub(crate) async fn channels(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Result<Json<ListPage<ChannelRow>>, ApiError> {
    let mut parameters = Parameters::parse(query.as_deref());
    let pagination = parameters.pagination();
    parameters.finish()?;
    let mut handle = app.handles.acquire(caller.organization_id).await?;
    let page = sql::channels(handle.handle()?, caller.organization_id, &pagination).await?;
    Ok(Json(ListPage::without_cursor(page)))
}

/// List custom objects, ordered by key, then id
#[utoipa::path(
    get, path = "/v1/custom_objects", operation_id = "list_custom_objects", tag = "sequences", params(PaginationDoc),
    responses((status = 200, description = "A part of the list", body = ListPage<CustomObjectRow>), CommonErrors),
)]
pub(crate) async fn custom_objects(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Result<Json<ListPage<CustomObjectRow>>, ApiError> {
    let mut parameters = Parameters::parse(query.as_deref());
    let pagination = parameters.pagination();
    parameters.finish()?;
    let mut handle = app.handles.acquire(caller.organization_id).await?;
    let page = sql::custom_objects(handle.handle()?, caller.organization_id, &pagination).await?;
    Ok(Json(ListPage::without_cursor(page)))
}

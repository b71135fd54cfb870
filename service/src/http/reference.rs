//! The routes that read what a request refers to: sequences, channels and custom objects.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, RawQuery, State};
use std::sync::Arc;

use enroll::SequenceId;

use super::cursor::{ListPage, Scope};
use super::docs::{CommonErrors, CursorDoc, PaginationDoc};
use super::enrollments::{Data, parse_id};
use super::errors::{ApiError, ErrorBody};
use super::query::Parameters;
use super::{App, sequence_not_found};
use crate::keys::Caller;
use crate::sql::{self, ChannelRow, CustomObjectRow, SequenceRow};

/// List sequences, ordered by title, then id
#[utoipa::path(
    get, path = "/v1/sequences", operation_id = "list_sequences", tag = "sequences",
    params(
        ("title" = Option<String>, Query, pattern = r"^[^\x00]*$", description = "A part of the title. The case of ASCII letters is ignored"),
        PaginationDoc,
        CursorDoc,
    ),
    responses((status = 200, description = "A page of the list", body = ListPage<SequenceRow>), CommonErrors),
)]
pub(crate) async fn sequences(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Result<Json<ListPage<SequenceRow>>, ApiError> {
    let mut parameters = Parameters::parse(query.as_deref());
    let title = parameters.text("title").map(|title| title.trim().to_owned());
    let scope = Scope::new(caller.organization_id, "sequences", &title);
    let pagination = parameters.page(&scope);
    parameters.finish()?;
    let mut handle = app.handles.acquire(caller.organization_id).await?;
    let page = sql::sequences(handle.handle()?, caller.organization_id, title.as_deref(), &pagination).await?;
    Ok(Json(ListPage::new(page, &scope)))
}

/// Get a sequence with its steps
#[utoipa::path(
    get, path = "/v1/sequences/{id}", operation_id = "get_sequence", tag = "sequences",
    params(("id" = Uuid, Path, description = "The sequence")),
    responses(
        (status = 200, description = "The sequence, as in the list", body = Data<SequenceRow>),
        (status = 404, description = "The organization has no sequence with this id", body = ErrorBody),
        CommonErrors,
    ),
)]
pub(crate) async fn sequence(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    sequence: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Json<Data<SequenceRow>>, ApiError> {
    Parameters::parse(query.as_deref()).finish()?;
    let id: SequenceId = parse_id(sequence).ok_or_else(sequence_not_found)?;
    let mut handle = app.handles.acquire(caller.organization_id).await?;
    let found = sql::sequence(handle.handle()?, caller.organization_id, id).await?;
    Ok(Json(Data { data: found.ok_or_else(sequence_not_found)? }))
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

//! The routes of runs.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, RawQuery, State};
use std::sync::Arc;

use enroll::model::RunStatus;
use enroll::{RepositoryError, RunId, SequenceId};

use super::contact_search::{stored_forms, with_plus_of_phone};
use super::cursor::{ListPage, Scope};
use super::docs::{CommonErrors, CursorDoc, PaginationDoc, RunFilterDoc};
use super::enrollments::{Data, parse_id};
use super::errors::{ApiError, ErrorBody};
use super::query::Parameters;
use super::{App, sequence_not_found};
use crate::handles::Handle;
use crate::keys::Caller;
use crate::sql::{self, Page, Pagination, RunFilter, RunRow};

/// List runs, newest first
///
/// A run is one pass of a contact through a sequence. Runs are ordered by the instant of their start, then by id.
#[utoipa::path(
    get, path = "/v1/sequence_runs", operation_id = "list_runs", tag = "contacts",
    params(
        ("sequence_id" = Option<Uuid>, Query, description = "Only runs of this sequence"),
        RunFilterDoc,
        PaginationDoc,
        CursorDoc,
    ),
    responses((status = 200, description = "A page of the list", body = ListPage<RunRow>), CommonErrors),
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Result<Json<ListPage<RunRow>>, ApiError> {
    let mut parameters = Parameters::parse(query.as_deref());
    let sequence_id = parameters.id("sequence_id");
    let filter = RunFilter { sequence_id, ..read_filter(&mut parameters) };
    let scope = Scope::new(caller.organization_id, "runs", &filter);
    let pagination = parameters.page(&scope);
    parameters.finish()?;
    let mut handle = app.handles.acquire(caller.organization_id).await?;
    let page = read_page(&app, handle.handle()?, caller, filter, &pagination).await?;
    Ok(Json(ListPage::new(page, &scope)))
}

/// List the runs of a sequence, newest first
#[utoipa::path(
    get, path = "/v1/sequences/{id}/sequence_runs", operation_id = "list_sequence_runs", tag = "contacts",
    params(("id" = Uuid, Path, description = "The sequence"), RunFilterDoc, PaginationDoc, CursorDoc),
    responses(
        (status = 200, description = "A page of the list", body = ListPage<RunRow>),
        (status = 404, description = "The organization has no sequence with this id", body = ErrorBody),
        CommonErrors,
    ),
)]
pub(crate) async fn list_for_sequence(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    sequence: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Json<ListPage<RunRow>>, ApiError> {
    let mut parameters = Parameters::parse(query.as_deref());
    let sequence_id: Option<SequenceId> = parse_id(sequence);
    let filter = RunFilter { sequence_id, ..read_filter(&mut parameters) };
    let scope = Scope::new(caller.organization_id, "runs", &filter);
    let pagination = parameters.page(&scope);
    parameters.finish()?;
    let sequence_id = sequence_id.ok_or_else(sequence_not_found)?;
    let mut handle = app.handles.acquire(caller.organization_id).await?;
    let handle = handle.handle()?;
    if !sql::has_sequence(handle, caller.organization_id, sequence_id).await? {
        return Err(sequence_not_found());
    }
    let page = read_page(&app, handle, caller, filter, &pagination).await?;
    Ok(Json(ListPage::new(page, &scope)))
}

/// Read a run
#[utoipa::path(
    get, path = "/v1/sequence_runs/{id}", operation_id = "show_run", tag = "contacts",
    params(("id" = Uuid, Path, description = "The run")),
    responses(
        (status = 200, description = "The run, as in the list", body = Data<RunRow>),
        (status = 404, description = "The organization has no run with this id", body = ErrorBody),
        CommonErrors,
    ),
)]
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    id: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Json<Data<RunRow>>, ApiError> {
    Parameters::parse(query.as_deref()).finish()?;
    let id: RunId = parse_id(id).ok_or_else(run_not_found)?;
    let mut handle = app.handles.acquire(caller.organization_id).await?;
    let run = sql::run(handle.handle()?, caller.organization_id, id).await?;
    Ok(Json(Data { data: run.ok_or_else(run_not_found)? }))
}

/// Read a run of a sequence
#[utoipa::path(
    get, path = "/v1/sequences/{id}/sequence_runs/{run_id}", operation_id = "show_sequence_run", tag = "contacts",
    params(("id" = Uuid, Path, description = "The sequence"), ("run_id" = Uuid, Path, description = "The run")),
    responses(
        (status = 200, description = "The run, as in the list", body = Data<RunRow>),
        (status = 404, description = "The organization has no sequence, or the sequence has no run with this id", body = ErrorBody),
        CommonErrors,
    ),
)]
pub(crate) async fn show_for_sequence(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    ids: Result<Path<(String, String)>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Json<Data<RunRow>>, ApiError> {
    Parameters::parse(query.as_deref()).finish()?;
    let (sequence_id, id) = ids.map(|Path(ids)| ids).map_err(|_| run_not_found())?;
    let sequence_id: SequenceId = sequence_id.parse().map_err(|_| sequence_not_found())?;
    let mut handle = app.handles.acquire(caller.organization_id).await?;
    let handle = handle.handle()?;
    if !sql::has_sequence(handle, caller.organization_id, sequence_id).await? {
        return Err(sequence_not_found());
    }
    let id: RunId = id.parse().map_err(|_| run_not_found())?;
    let run = sql::run(handle, caller.organization_id, id).await?;
    let run = run.filter(|run| run.sequence_id == sequence_id.as_uuid());
    Ok(Json(Data { data: run.ok_or_else(run_not_found)? }))
}

/// Reads the filters of a list of runs, without the sequence.
fn read_filter(parameters: &mut Parameters) -> RunFilter {
    RunFilter {
        sequence_id: None,
        contact_id: parameters.id("contact_id"),
        phones: parameters.text("phone").map(with_plus_of_phone).into_iter().collect(),
        channel_id: parameters.id("channel_id"),
        statuses: parameters.one_of("status", &RunStatus::ALL.map(RunStatus::as_str)),
        before: parameters.instant("before"),
        after: parameters.instant("after"),
    }
}

/// Reads a page, with the phone of the filter in the forms in which it can be stored.
async fn read_page(
    app: &App,
    handle: &mut Handle,
    caller: Caller,
    mut filter: RunFilter,
    pagination: &Pagination,
) -> Result<Page<RunRow>, RepositoryError> {
    if let Some(phone) = filter.phones.pop() {
        filter.phones = stored_forms(phone, handle, &app.policy, caller.organization_id).await?;
    }
    sql::runs(handle, caller.organization_id, filter, pagination).await
}

fn run_not_found() -> ApiError {
    ApiError::not_found("sequence_run_not_found", "run")
}

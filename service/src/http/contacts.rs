//! The routes that read contacts.

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, RawQuery, State};
use axum::http::HeaderMap;
use std::sync::Arc;

use enroll::model::StepContactStatus;
use enroll::{ContactId, SequenceId};

use super::contact_search::{ContactSearch, ContactSearchDoc};
use super::cursor::{ListPage, Scope};
use super::docs::{CommonErrors, CursorDoc, PaginationDoc};
use super::enrollments::{Data, parse_id};
use super::errors::{ApiError, ErrorBody};
use super::query::Parameters;
use super::{App, body, sequence_not_found};
use crate::keys::Caller;
use crate::sql::{self, ContactRow, StepContactRow};

/// List the contacts of a sequence, newest first
#[utoipa::path(
    get, path = "/v1/sequences/{id}/contacts", operation_id = "list_sequence_contacts", tag = "contacts",
    params(
        ("id" = Uuid, Path, description = "The sequence"),
        ("status" = Option<Vec<StepContactStatus>>, Query, description = "Only contacts with one of these statuses. Separate them with commas, or repeat the parameter. `complete` is read as `finished`, and `in-active` as `inactive`"),
        ("step_ids" = Option<Vec<Uuid>>, Query, max_items = 100, description = "Only contacts in one of these steps. Separate them with commas, or repeat the parameter"),
        PaginationDoc,
        CursorDoc,
    ),
    responses(
        (status = 200, description = "A page of the list", body = ListPage<StepContactRow>),
        (status = 404, description = "The organization has no sequence with this id", body = ErrorBody),
        CommonErrors,
    ),
)]
pub(crate) async fn list_for_sequence(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    sequence: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Json<ListPage<StepContactRow>>, ApiError> {
    let mut parameters = Parameters::parse(query.as_deref());
    let known = StepContactStatus::ALL.map(StepContactStatus::as_str);
    // The documented words of the original API.
    let statuses = parameters.one_of_spelled("status", &known, &[("complete", "finished"), ("in-active", "inactive")]);
    let steps = parameters.step_ids("step_ids");
    let sequence_id: Option<SequenceId> = parse_id(sequence);
    let scope = Scope::new(caller.organization_id, "step_contacts", &(sequence_id, &statuses, &steps));
    let pagination = parameters.page(&scope);
    parameters.finish()?;
    let sequence_id = sequence_id.ok_or_else(sequence_not_found)?;
    let mut handle = app.handles.acquire(caller.organization_id).await?;
    let handle = handle.handle()?;
    if !sql::has_sequence(handle, caller.organization_id, sequence_id).await? {
        return Err(sequence_not_found());
    }
    let page = sql::step_contacts(handle, caller.organization_id, sequence_id, &statuses, &steps, &pagination).await?;
    Ok(Json(ListPage::new(page, &scope)))
}

/// List contacts, ordered by name, then id
///
/// Names are compared by their bytes. Contacts without a name come last. A contact is listed if it has all that is given.
#[utoipa::path(
    get, path = "/v1/contacts", operation_id = "list_contacts", tag = "contacts",
    params(
        ("phone" = Option<String>, Query, pattern = r"^[^\x00]*$", description = "As in a request to enroll people, or exactly as stored"),
        ("email" = Option<String>, Query, pattern = r"^[^\x00]*$", description = "Case is ignored"),
        ("external_id" = Option<String>, Query, pattern = r"^[^\x00]*$", description = "The sender's own id"),
        ("name" = Option<String>, Query, pattern = r"^[^\x00]*$", description = "A part of the name. The case of ASCII letters is ignored"),
        PaginationDoc,
        CursorDoc,
    ),
    responses((status = 200, description = "A page of the list", body = ListPage<ContactRow>), CommonErrors),
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> Result<Json<ListPage<ContactRow>>, ApiError> {
    let mut parameters = Parameters::parse(query.as_deref());
    let search = ContactSearch::from_query(&mut parameters);
    let scope = Scope::new(caller.organization_id, "contacts", &search);
    let pagination = parameters.page(&scope);
    parameters.finish()?;
    let mut handle = app.handles.acquire(caller.organization_id).await?;
    let handle = handle.handle()?;
    let filter = search.filter(handle, &app.policy, caller.organization_id).await?;
    let page = sql::contacts(handle, caller.organization_id, filter, &pagination).await?;
    Ok(Json(ListPage::new(page, &scope)))
}

/// Search contacts by keys in a body
///
/// The same list as `GET /v1/contacts`, without cursors. A member that is `null` or blank is absent.
#[utoipa::path(
    post, path = "/v1/contacts/search", operation_id = "search_contacts", tag = "contacts",
    request_body(content = ContactSearchDoc, examples(
        ("By phone" = (summary = "By phone", value = json!({"phone": "+12025550123"}))),
        ("By name" = (summary = "By a part of the name", value = json!({"name": "ann", "limit": 10}))),
    )),
    responses(
        (status = 200, description = "A part of the list", body = ListPage<ContactRow>),
        (status = 408, description = "The body did not arrive in time", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 415, description = "The body has a content encoding", body = ErrorBody),
        CommonErrors,
    ),
)]
pub(crate) async fn search(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<ListPage<ContactRow>>, ApiError> {
    Parameters::parse(query.as_deref()).finish()?;
    let (bodies, timeout) = (&app.limits.bodies, app.limits.timeout);
    let body = body::read(bodies, caller.organization_id, &headers, body, body::MAX_FILTERS, timeout).await?;
    let mut parameters = Parameters::parse_body(&body.bytes, &ContactSearch::NAMES, &["limit", "offset"])?;
    let search = ContactSearch::from_body(&mut parameters);
    let pagination = parameters.pagination();
    parameters.finish()?;
    let mut handle = app.handles.acquire(caller.organization_id).await?;
    let handle = handle.handle()?;
    let filter = search.filter(handle, &app.policy, caller.organization_id).await?;
    let page = sql::contacts(handle, caller.organization_id, filter, &pagination).await?;
    Ok(Json(ListPage::without_cursor(page)))
}

/// Get a contact
#[utoipa::path(
    get, path = "/v1/contacts/{id}", operation_id = "get_contact", tag = "contacts",
    params(("id" = Uuid, Path, description = "The contact")),
    responses(
        (status = 200, description = "The contact, as in the list", body = Data<ContactRow>),
        (status = 404, description = "The organization has no contact with this id", body = ErrorBody),
        CommonErrors,
    ),
)]
pub(crate) async fn show(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    contact: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Json<Data<ContactRow>>, ApiError> {
    Parameters::parse(query.as_deref()).finish()?;
    let not_found = || ApiError::not_found("contact_not_found", "contact");
    let id: ContactId = parse_id(contact).ok_or_else(not_found)?;
    let mut handle = app.handles.acquire(caller.organization_id).await?;
    let found = sql::contact(handle.handle()?, caller.organization_id, id).await?;
    Ok(Json(Data { data: found.ok_or_else(not_found)? }))
}

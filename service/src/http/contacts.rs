//! The routes that list contacts.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, RawQuery, State};
use std::sync::Arc;

use enroll::SequenceId;
use enroll::contact::{Email, PhoneNumber};
use enroll::model::StepContactStatus;

use super::cursor::{ListPage, Scope};
use super::docs::{CommonErrors, CursorDoc, PaginationDoc, StatusDoc};
use super::enrollments::parse_id;
use super::errors::{ApiError, ErrorBody};
use super::query::Parameters;
use super::{App, sequence_not_found};
use crate::keys::Caller;
use crate::sql::{self, ContactFilter, ContactRow, StepContactRow};

/// List the contacts of a sequence, newest first
#[utoipa::path(
    get, path = "/v1/sequences/{id}/contacts", operation_id = "list_sequence_contacts", tag = "contacts",
    params(
        ("id" = Uuid, Path, description = "The sequence"),
        ("status" = Option<Vec<StatusDoc>>, Query, description = "Only contacts with one of these statuses. Separate them with commas, or repeat the parameter. `complete` is read as `finished`, and `in-active` as `inactive`"),
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
/// Names are compared by their bytes. Contacts without a name come last. A contact is listed if it has all the given keys.
#[utoipa::path(
    get, path = "/v1/contacts", operation_id = "list_contacts", tag = "contacts",
    params(
        ("phone" = Option<String>, Query, pattern = r"^[^\x00]*$", description = "In international format with `+`, or exactly as stored"),
        ("email" = Option<String>, Query, pattern = r"^[^\x00]*$", description = "Case is ignored"),
        ("external_id" = Option<String>, Query, pattern = r"^[^\x00]*$", description = "The sender's own id"),
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
    let filter = ContactFilter {
        phone: parameters.text("phone").map(stored_phone),
        email_key: parameters.text("email").map(email_key),
        external_id: parameters.text("external_id").map(|id| id.trim().to_owned()),
    };
    let scope = Scope::new(caller.organization_id, "contacts", &filter);
    let pagination = parameters.page(&scope);
    parameters.finish()?;
    let mut handle = app.handles.acquire(caller.organization_id).await?;
    let page = sql::contacts(handle.handle()?, caller.organization_id, filter, &pagination).await?;
    Ok(Json(ListPage::new(page, &scope)))
}

/// Returns a phone number in the stored form. In a query, an unescaped `+` is a space.
fn stored_phone(text: &str) -> String {
    let text = match text.strip_prefix(' ') {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_digit()) => format!("+{rest}"),
        _ => text.trim().to_owned(),
    };
    PhoneNumber::parse(&text, None).map_or(text, |phone| phone.as_str().to_owned())
}

fn email_key(text: &str) -> String {
    let text = text.trim();
    Email::parse(text).unwrap_or_else(|_| Email::stored(text)).key().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_searched_in_their_stored_form() {
        for text in ["+12025550123", " 12025550123", "+1 (202) 555-0123"] {
            assert_eq!(stored_phone(text), "+12025550123");
        }
        assert_eq!(stored_phone(" n/a "), "n/a");
        assert_eq!(email_key(" Ann@Example.ORG"), "ann@example.org");
    }
}

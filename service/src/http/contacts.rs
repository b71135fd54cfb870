//! Who is in a sequence, who is in the organization, and which sequences there are.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use std::sync::Arc;

use enroll::SequenceId;
use enroll::contact::{Email, PhoneNumber};
use enroll::model::StepContactStatus;

use super::docs::{Refused, StatusDoc, WindowDoc};
use super::enrollments::named;
use super::errors::{ApiError, ErrorBody};
use super::query::Parameters;
use super::{App, no_sequence};
use crate::keys::Caller;
use crate::read::{self, ContactFilter, ContactRow, Page, SequenceRow, StepContactRow};

/// List the contacts in a sequence, the newest first
#[utoipa::path(
    get, path = "/v1/sequences/{id}/contacts", operation_id = "list_sequence_contacts", tag = "contacts",
    params(
        ("id" = Uuid, Path, description = "The sequence"),
        ("status" = Option<Vec<StatusDoc>>, Query, description = "Only these; separated by commas, or repeated"),
        ("step_ids" = Option<Vec<Uuid>>, Query, max_items = 100, description = "Only those in these steps; likewise"),
        WindowDoc,
    ),
    responses(
        (status = 200, description = "Some of them", body = Page<StepContactRow>),
        (status = 404, description = "The organization has no such sequence", body = ErrorBody),
        Refused,
    ),
)]
pub(crate) async fn of_sequence(
    State(app): State<Arc<App>>,
    caller: Caller,
    sequence: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Json<Page<StepContactRow>>, ApiError> {
    let mut parameters = Parameters::of(query.as_deref());
    let window = parameters.window();
    let statuses = parameters.words("status", &StepContactStatus::ALL.map(StepContactStatus::as_str));
    let steps = parameters.step_ids("step_ids");
    parameters.checked()?;
    let sequence_id: SequenceId = named(sequence).ok_or_else(no_sequence)?;
    let mut lent = app.handles.lend().await?;
    let handle = lent.handle()?;
    if !read::has_sequence(handle, caller.organization_id, sequence_id).await? {
        return Err(no_sequence());
    }
    Ok(Json(read::step_contacts(handle, caller.organization_id, sequence_id, &statuses, &steps, window).await?))
}

/// List contacts, the newest first
///
/// By one of their keys, or several of them together.
#[utoipa::path(
    get, path = "/v1/contacts", operation_id = "list_contacts", tag = "contacts",
    params(
        ("phone" = Option<String>, Query, pattern = r"^[^\x00]*$", description = "With `+` and country, else exactly as it is stored"),
        ("email" = Option<String>, Query, pattern = r"^[^\x00]*$", description = "Compared without regard to case"),
        ("external_id" = Option<String>, Query, pattern = r"^[^\x00]*$", description = "Your own id"),
        WindowDoc,
    ),
    responses((status = 200, description = "Some of them", body = Page<ContactRow>), Refused),
)]
pub(crate) async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<Page<ContactRow>>, ApiError> {
    let mut parameters = Parameters::of(query.as_deref());
    let window = parameters.window();
    let filter = ContactFilter {
        phone: parameters.text("phone").map(phone),
        email_key: parameters.text("email").map(email_key),
        external_id: parameters.text("external_id").map(|id| id.trim().to_owned()),
    };
    parameters.checked()?;
    let mut lent = app.handles.lend().await?;
    Ok(Json(read::contacts(lent.handle()?, caller.organization_id, filter, window).await?))
}

/// List sequences, by title
#[utoipa::path(
    get, path = "/v1/sequences", operation_id = "list_sequences", tag = "sequences", params(WindowDoc),
    responses((status = 200, description = "Some of them", body = Page<SequenceRow>), Refused),
)]
pub(crate) async fn sequences(
    State(app): State<Arc<App>>,
    caller: Caller,
    RawQuery(query): RawQuery,
) -> Result<Json<Page<SequenceRow>>, ApiError> {
    let mut parameters = Parameters::of(query.as_deref());
    let window = parameters.window();
    parameters.checked()?;
    let mut lent = app.handles.lend().await?;
    Ok(Json(read::sequences(lent.handle()?, caller.organization_id, window).await?))
}

/// As it is stored. A `+` that was not escaped comes as a space.
fn phone(given: &str) -> String {
    let text = match given.strip_prefix(' ') {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_digit()) => format!("+{rest}"),
        _ => given.trim().to_owned(),
    };
    PhoneNumber::parse(&text, None).map_or(text, |phone| phone.as_str().to_owned())
}

fn email_key(given: &str) -> String {
    let given = given.trim();
    Email::parse(given).unwrap_or_else(|_| Email::stored(given)).key().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phone_is_looked_up_as_it_is_stored() {
        for given in ["+12025550123", " 12025550123", "+1 (202) 555-0123"] {
            assert_eq!(phone(given), "+12025550123");
        }
        assert_eq!(phone(" n/a "), "n/a");
        assert_eq!(email_key(" Ann@Example.ORG"), "ann@example.org");
    }
}

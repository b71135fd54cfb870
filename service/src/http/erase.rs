//! Erases a person.

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use std::sync::Arc;
use utoipa::ToSchema;
use uuid::Uuid;

use enroll::ContactId;
use enroll::contact::{Email, PhoneNumber};
use enroll::erase::{EraseError, EraseMode, PersonQuery};

use super::App;
use super::body;
use super::docs::{CommonErrors, RateLimited};
use super::enrollments::Data;
use super::errors::{ApiError, ErrorBody, ErrorItem};
use super::query::Parameters;
use crate::audit::{self, Action};
use crate::erase::{ErasedPerson, OPT_OUT, counts};
use crate::import_job::current_time;
use crate::keys::Caller;

/// The person to erase: exactly one of the id, phone, email and external id of a contact.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Erasure)]
pub(crate) struct ErasureBody {
    #[schema(value_type = Option<Uuid>)]
    id: Option<String>,
    /// The phone with its country code, such as `+12025550123`.
    phone: Option<String>,
    email: Option<String>,
    external_id: Option<String>,
    /// Without it, nothing is erased, and the error says what would be.
    #[serde(default)]
    #[schema(required = false)]
    confirm: bool,
}

/// Erase a person
///
/// Removes the contact with all its rows, and takes the person out of stored requests and reports. The cells of each list
/// that may have the person are removed too. An opt-out of the person
/// is erased too. Without `confirm`, the error counts what would be removed.
#[utoipa::path(
    post, path = "/v1/contacts/erase", operation_id = "erase_contact", tag = "contacts",
    request_body(content = ErasureBody, examples(
        ("By phone" = (summary = "Count what would be removed", value = json!({"phone": "+12025550123"}))),
        ("By external id" = (summary = "Erase", value = json!({"external_id": "crm-17", "confirm": true}))),
    )),
    responses(
        (status = 200, description = "What was removed", body = Data<ErasedPerson>),
        (status = 404, description = "No contact and no stored request matches", body = ErrorBody),
        (status = 408, description = "The body did not arrive in time", body = ErrorBody),
        (status = 409, description = "Several contacts match, or a stored request cannot be read", body = ErrorBody),
        (status = 413, description = "The body is too large", body = ErrorBody),
        (status = 415, description = "The body has a content encoding", body = ErrorBody),
        RateLimited,
        CommonErrors,
    ),
)]
pub(crate) async fn erase(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Data<ErasedPerson>>, ApiError> {
    Parameters::parse(query.as_deref()).finish()?;
    app.limits.count(caller.key_id, false)?;
    let (bodies, timeout) = (&app.limits.bodies, app.limits.timeout);
    let body = body::read(bodies, caller.organization_id, &headers, body, body::MAX_BODY, timeout).await?;
    let invalid = |path: &str, problem: &str| {
        let item = ErrorItem::new("invalid_erasure", path.to_owned(), problem.to_owned());
        ApiError::with_items(StatusCode::UNPROCESSABLE_ENTITY, vec![item])
    };
    let form = "send one of `id`, `phone`, `email` and `external_id` as text, and `\"confirm\": true`";
    let body: ErasureBody = serde_json::from_slice(&body.bytes).map_err(|_| invalid("", form))?;
    let person = person(&body).map_err(|(path, problem)| invalid(path, &problem))?;
    let mode = if body.confirm { EraseMode::Confirmed } else { EraseMode::Preview };
    let mut pooled = app.handles.acquire(caller.organization_id).await?;
    let handle = pooled.handle()?;
    let now = current_time().map_err(|_| ApiError::internal())?;
    if body.confirm {
        // Without the contact, which is personal data.
        audit::record(handle, caller, Action::Erase, Uuid::nil(), now).await?;
    }
    let erased = crate::erase::erase(handle, caller.organization_id, &person, mode, now).await?;
    if body.confirm {
        return Ok(Json(Data { data: erased }));
    }
    let counted = counts(&erased).into_iter().filter(|(_, count)| *count > 0);
    let counted: Vec<String> = counted.map(|(what, count)| format!("{count} {what}")).collect();
    let problem =
        format!("nothing was erased; this would erase {}; {OPT_OUT}; send `\"confirm\": true`", counted.join(", "));
    let item = ErrorItem::new("confirmation_required", "/confirm".to_owned(), problem);
    Err(ApiError::with_items(StatusCode::UNPROCESSABLE_ENTITY, vec![item]))
}

/// Reads the one key of the body. The error has its path.
fn person(body: &ErasureBody) -> Result<PersonQuery, (&'static str, String)> {
    let ErasureBody { id, phone, email, external_id, .. } = body;
    let mut query = PersonQuery::default();
    match (id.as_deref(), phone.as_deref(), email.as_deref(), external_id.as_deref().map(str::trim)) {
        (Some(id), None, None, None) => {
            query.id = Some(id.parse::<ContactId>().map_err(|_| ("/id", "is not a uuid".to_owned()))?);
        }
        (None, Some(phone), None, None) => {
            query.phone = Some(PhoneNumber::parse(phone, None).map_err(|e| ("/phone", e.to_string()))?);
        }
        (None, None, Some(email), None) => {
            query.email = Some(Email::parse(email).map_err(|e| ("/email", e.to_string()))?);
        }
        (None, None, None, Some(external_id)) if !external_id.is_empty() && !external_id.contains('\0') => {
            query.external_id = Some(external_id.into());
        }
        _ => return Err(("", "exactly one of `id`, `phone`, `email` and `external_id` must have a value".to_owned())),
    }
    Ok(query)
}

impl From<EraseError> for ApiError {
    fn from(error: EraseError) -> Self {
        let problem = error.to_string();
        match error {
            EraseError::NotFound => Self::new(StatusCode::NOT_FOUND, "contact_not_found", problem),
            EraseError::Several(_) => Self::new(StatusCode::CONFLICT, "contact_ambiguous", problem),
            EraseError::Unreadable(_) => Self::new(StatusCode::CONFLICT, "request_unreadable", problem),
            EraseError::Repository(e) => e.into(),
            _ => Self::internal(),
        }
    }
}

//! `POST /opt-outs` with `{"phone": "+12025550123"}`: a person replied STOP. No later upload undoes it.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use enroll::contact::PhoneNumber;
use serde::Deserialize;
use uuid::Uuid;

use crate::failure::Failure;
use crate::statements::{DEACTIVATE, OPT_OUT};
use crate::{App, CHANNEL, ORGANIZATION, SEQUENCE};

#[derive(Deserialize)]
pub struct Request {
    /// A phone with `+`, as providers send it.
    phone: String,
}

pub async fn opt_out(State(app): State<App>, Json(request): Json<Request>) -> Result<StatusCode, Failure> {
    // Stored phones are E.164.
    let phone: PhoneNumber = request.phone.parse().map_err(|_| Failure::NotFound("contact"))?;
    let organization = ORGANIZATION.as_uuid();
    let mut transaction = app.pool.begin().await?;
    let find = "select id from enroll.contacts where organization_id = $1 and phone = $2 and state <> 'merged'";
    let contact = sqlx::query_scalar(find).bind(organization).bind(phone.as_str());
    let contact: Option<Uuid> = contact.fetch_optional(&mut *transaction).await?;
    let contact = contact.ok_or(Failure::NotFound("contact"))?;
    // The channel is the one to which the person replied. An enrollment checks it from now on.
    sqlx::query(OPT_OUT).bind(organization).bind(contact).bind(CHANNEL).execute(&mut *transaction).await?;
    // An opt-out does not stop what is live.
    let deactivate = sqlx::query(DEACTIVATE).bind(organization).bind(SEQUENCE.as_uuid()).bind(contact);
    deactivate.execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

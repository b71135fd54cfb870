//! `PUT /uploads/{key}`: the body is a list of people. The header `x-user` names the user, in place of a login.
//!
//! The audit row, the enrollments and the customers are one transaction. The same upload can be sent again.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use enroll::{Engine, Enrollment, EnrollmentKey, EnrollmentRequest, enroll_contacts_async};
use enroll_postgres::SqlxTransaction;
use uuid::Uuid;

use crate::failure::Failure;
use crate::list::Columns;
use crate::outcome::Outcome;
use crate::{App, ORGANIZATION, SEQUENCE, list, outcome};

pub async fn upload(
    State(app): State<App>,
    Path(key): Path<Uuid>,
    Query(columns): Query<Columns>,
    headers: HeaderMap,
    file: Bytes,
) -> Result<Json<Outcome>, Failure> {
    let who = headers.get("x-user").and_then(|name| name.to_str().ok()).ok_or(Failure::NoUser)?;
    let people = list::read(file, columns, key).await?;
    let ids: Vec<Uuid> = people.requests.iter().map(|request| request.id.as_uuid()).collect();

    let mut transaction = app.pool.begin().await?;
    let audit =
        "insert into audit (upload, who, enrollments, set_aside) values ($1, $2, $3, $4) on conflict do nothing";
    let audit = sqlx::query(audit).bind(key).bind(who).bind(ids).bind(people.set_aside);
    audit.execute(&mut *transaction).await?;
    for request in people.requests {
        let body = EnrollmentRequest::new(request.recipients);
        let enrollment = Enrollment {
            organization_id: ORGANIZATION,
            sequence_id: SEQUENCE,
            key: EnrollmentKey::Id(request.id),
            at: request.at,
            list: request.list,
            request: &body,
        };
        let mut repository = SqlxTransaction::new(&mut transaction);
        let report = enroll_contacts_async(&mut repository, &Engine::new(&app.policy), &enrollment).await?.report;
        let contacts = report.outcomes.iter().filter_map(|outcome| outcome.contact_id);
        let contacts: Vec<Uuid> = contacts.map(|contact| contact.as_uuid()).collect();
        let customers = "insert into customers (contact_id, owner, first_upload)
            select distinct contact_id, $2, $3::uuid from unnest($1) as contact_id on conflict do nothing";
        sqlx::query(customers).bind(contacts).bind(who).bind(key).execute(&mut *transaction).await?;
    }
    // Each error before this line drops the transaction, which rolls all of it back.
    transaction.commit().await?;
    Ok(Json(outcome::read(&app.pool, key).await?))
}

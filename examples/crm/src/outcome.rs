//! `GET /uploads/{key}`: what became of each person of an upload.

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

use crate::failure::Failure;
use crate::{App, ORGANIZATION};

/// The outcome of an upload.
#[derive(Serialize)]
pub struct Outcome {
    who: String,
    /// The rows of the file that were not enrolled, each with the reason.
    set_aside: Vec<String>,
    people: Vec<Person>,
}

/// A person, in the order of the file.
#[derive(Serialize, sqlx::FromRow)]
struct Person {
    /// `added`, `re_added`, `reprocessed`, `ignored` or `duplicate`.
    disposition: String,
    /// Why the person was ignored: `docs/rules.md` has all codes.
    reasons: Value,
    name: Option<String>,
    phone: Option<String>,
    /// The user who uploaded the person first.
    owner: Option<String>,
    /// The number of messages so far.
    messages: i64,
}

/// The outcomes are stored in chunks, as JSON arrays: `docs/results.md`.
const PEOPLE: &str = "
select o ->> 'disposition' as disposition, coalesce(o -> 'reasons', '[]') as reasons, c.name, c.phone, u.owner,
    (select count(*) from messages m where m.contact_id = c.id) as messages
from audit a
cross join lateral unnest(a.enrollments) with ordinality as e (id, number)
join enroll.enrollment_outcomes p on p.organization_id = $1 and p.enrollment_id = e.id
cross join lateral json_array_elements(p.outcomes) as o
left join enroll.contacts c on c.organization_id = $1 and c.id = (o ->> 'contact_id')::uuid
left join customers u on u.contact_id = c.id
where a.upload = $2
order by e.number, (o ->> 'index')::bigint";

pub async fn show(State(app): State<App>, Path(key): Path<Uuid>) -> Result<Json<Outcome>, Failure> {
    Ok(Json(read(&app.pool, key).await?))
}

/// Reads the outcome of an upload.
pub async fn read(pool: &PgPool, key: Uuid) -> Result<Outcome, Failure> {
    let audit = sqlx::query_as("select who, set_aside from audit where upload = $1").bind(key);
    let audit: Option<(String, Vec<String>)> = audit.fetch_optional(pool).await?;
    let (who, set_aside) = audit.ok_or(Failure::NotFound("upload"))?;
    let people = sqlx::query_as(PEOPLE).bind(ORGANIZATION.as_uuid()).bind(key).fetch_all(pool).await?;
    Ok(Outcome { who, set_aside, people })
}

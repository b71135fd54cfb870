//! What both rivals on PostgreSQL share: connecting, the target of a request, the enrollment's row.

use sqlx::{Connection, Executor, PgConnection};

use crate::body::Body;
use crate::rules::Report;
use crate::target::{ReferenceRows, Target};
use crate::{Error, Request};

/// Opens a connection. sqlx keeps its statements prepared.
///
/// # Errors
/// The database's error.
pub async fn connect(url: &str) -> Result<PgConnection, Error> {
    Ok(PgConnection::connect(url).await?)
}

/// Creates the tables, with or without their foreign keys.
///
/// # Errors
/// The database's error.
pub async fn migrate(connection: &mut PgConnection, foreign_keys: bool) -> Result<(), Error> {
    let mut sql = include_str!("postgres.sql").to_owned();
    if !foreign_keys {
        for parent in ["contacts", "sequences", "tags"] {
            sql = sql.replace(&format!(" references {parent} on delete cascade"), "");
        }
    }
    connection.execute(sqlx::AssertSqlSafe(sql)).await?;
    Ok(())
}

/// Reads the rows that a request refers to.
///
/// # Errors
/// The request refers to a row that does not exist, or the database failed.
pub async fn target(connection: &mut PgConnection, request: &Request<'_>, body: &Body) -> Result<Target, Error> {
    let sequence =
        sqlx::query_as("select status, settings::text from sequences where id = $1 and organization_id = $2")
            .bind(request.sequence_id)
            .bind(request.organization_id)
            .fetch_optional(&mut *connection)
            .await?;
    let steps = sqlx::query_as("select id, position, channel_kind, channel_id from steps where sequence_id = $1")
        .bind(request.sequence_id)
        .fetch_all(&mut *connection)
        .await?;
    let channels =
        sqlx::query_as("select id, kind, address, enabled from channels where organization_id = $1 order by id")
            .bind(request.organization_id)
            .fetch_all(&mut *connection)
            .await?;
    let custom_object = match body.custom_data {
        None => None,
        Some(data) => {
            sqlx::query_scalar("select properties::text from custom_objects where id = $1 and organization_id = $2")
                .bind(data.custom_object_id)
                .bind(request.organization_id)
                .fetch_optional(&mut *connection)
                .await?
        }
    };
    let call_flow = match body.voice_options {
        None => None,
        Some(options) => {
            sqlx::query_scalar("select id from call_flows where id = $1 and organization_id = $2")
                .bind(options.default_call_flow_id)
                .bind(request.organization_id)
                .fetch_optional(&mut *connection)
                .await?
        }
    };
    Target::find(request, body, ReferenceRows { sequence, steps, channels, custom_object, call_flow })
}

/// Inserts the upload tag.
///
/// # Errors
/// The database's error.
pub async fn insert_tag(connection: &mut PgConnection, target: &Target) -> Result<(), sqlx::Error> {
    if let Some(tag) = &target.upload_tag {
        sqlx::query("insert into tags (id, organization_id, name, system_created) values ($1, $2, $3, true)")
            .bind(tag.id)
            .bind(target.organization_id)
            .bind(&tag.name)
            .execute(connection)
            .await?;
    }
    Ok(())
}

/// Inserts the enrollment with its report.
///
/// # Errors
/// The key exists already, or the database failed.
pub async fn insert_enrollment(
    connection: &mut PgConnection,
    request: &Request<'_>,
    report: &Report,
) -> Result<(), Error> {
    sqlx::query(
        "insert into enrollments (id, organization_id, idempotency_key, sequence_id, at, report)
         values ($1, $2, $3, $4, $5, $6::json)",
    )
    .bind(report.enrollment_id)
    .bind(request.organization_id)
    .bind(request.key)
    .bind(request.sequence_id)
    .bind(request.at.as_datetime())
    .bind(serde_json::to_string(report)?)
    .execute(connection)
    .await?;
    Ok(())
}

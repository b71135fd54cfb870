//! Removes commands and outcomes that are too old. The rows of the enrollments stay, so that a repeated request is
//! recognized.

use enroll::inbox::{Removed, Retention};
use std::time::Duration;
use tokio_postgres::types::Type;

use crate::PostgresError;
use crate::begin::Begin;

/// Removes what is older than the retention, of a limited number of enrollments.
pub(crate) async fn remove_expired(client: &mut impl Begin, retention: &Retention) -> Result<Removed, PostgresError> {
    let transaction = client.begin().await?;
    let client = transaction.client();
    let mut removed = Removed::default();
    for (age, sql, count) in [
        (retention.failed, remove_commands(), &mut removed.commands),
        (retention.completed, remove_reports(), &mut removed.reports),
    ] {
        if let Some(age) = age {
            let seconds = age.min(LONGEST).as_secs_f64();
            *count = transaction.answer(client.execute_typed(&sql, &[(&seconds, Type::FLOAT8)])).await??;
        }
    }
    transaction.commit().await?;
    Ok(removed)
}

/// Selects the enrollments that are due. It passes over those that another transaction has locked.
fn due(state: &str, column: &str) -> String {
    format!(
        "with due as materialized (
            select organization_id, id from enroll.enrollments
            where state = '{state}' and removed_at is null
                and {column} <= (select clock_timestamp() - make_interval(secs => $1))
            order by {column} limit {} for no key update skip locked
        )",
        Retention::BATCH
    )
}

fn remove_commands() -> String {
    due("failed", "failed_at")
        + " update enroll.enrollments e set command = null, removed_at = clock_timestamp()
        from due where e.organization_id = due.organization_id and e.id = due.id"
}

fn remove_reports() -> String {
    due("completed", "completed_at")
        + ", deleted as (
            delete from enroll.enrollment_outcomes o using due
            where o.organization_id = due.organization_id and o.enrollment_id = due.id
        )
        update enroll.enrollments e set removed_at = clock_timestamp()
        from due where e.organization_id = due.organization_id and e.id = due.id"
}

/// The longest age that PostgreSQL can subtract from its clock: a thousand years.
const LONGEST: Duration = Duration::from_secs(1000 * 366 * 24 * 3600);

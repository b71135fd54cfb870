//! Removes commands and outcomes that are too old. The rows of the enrollments stay, so that a repeated request is
//! recognized.
//!
//! The statements are not prepared with the others: to prepare those, a connection waits for the locks of all tables.

use enroll::inbox::{Removed, Retention};
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;

use crate::PostgresError;
use crate::driver::{Begin, Bound, Row, Transaction};
use crate::query::Query;

/// Removes what is older than the retention, of a limited number of enrollments.
pub(crate) async fn remove_expired(client: impl Begin, retention: &Retention) -> Result<Removed, PostgresError> {
    let mut transaction = client.begin().await?;
    let mut removed = Removed::default();
    for (age, kind, count) in
        [(retention.failed, &COMMANDS, &mut removed.commands), (retention.completed, &REPORTS, &mut removed.reports)]
    {
        if let Some(age) = age {
            *count = remove_older(&mut transaction, kind, age).await?;
        }
    }
    transaction.commit().await?;
    Ok(removed)
}

/// Finds the oldest enrollments of all organizations, then removes those of each organization: a distributed database has them
/// in one shard. It passes over those that another transaction has locked.
async fn remove_older(transaction: &mut impl Transaction, kind: &Kind, age: Duration) -> Result<u64, PostgresError> {
    let seconds = age.min(LONGEST).as_secs_f64();
    let found = transaction.query(&Query::new(kind.find()), &[&seconds]).await?;
    let mut expired: BTreeMap<Uuid, Vec<Uuid>> = BTreeMap::new();
    for row in &found {
        expired.entry(row.get(0)?).or_default().push(row.get(1)?);
    }
    let remove = Query::new(kind.remove());
    let removals =
        expired.iter().map(|(organization, ids)| -> Bound<'_> { (&remove, vec![organization, ids, &seconds]) });
    Ok(transaction.execute_all(&removals.collect::<Vec<_>>()).await?.iter().sum())
}

/// What is removed of the enrollments in a state.
struct Kind {
    state: &'static str,
    /// The instant from which the age counts.
    since: &'static str,
    /// Removes the rows of the enrollments in `expired`.
    remove_rows: &'static str,
    /// Changes the enrollments in `expired`.
    set: &'static str,
}

impl Kind {
    /// Selects the enrollments that are older than `$1` seconds: the oldest of all organizations.
    fn find(&self) -> String {
        let Self { state, since, .. } = self;
        format!(
            "select organization_id, id from enroll.enrollments
            where state = '{state}' and removed_at is null and {since} <= statement_timestamp() - make_interval(secs => $1::float8)
            order by {since} limit {}",
            Retention::BATCH
        )
    }

    /// Removes what is older than `$3` seconds of the enrollments `$2` of the organization `$1`.
    fn remove(&self) -> String {
        let Self { state, since, remove_rows, set } = self;
        format!(
            "with expired as materialized (
                select id from enroll.enrollments
                where organization_id = $1 and id = any($2::uuid[]) and state = '{state}' and removed_at is null
                    and {since} <= statement_timestamp() - make_interval(secs => $3::float8)
                for no key update skip locked
            ){remove_rows}
            update enroll.enrollments e set {set}
            from expired where e.organization_id = $1 and e.id = expired.id"
        )
    }
}

const COMMANDS: Kind = Kind {
    state: "failed",
    since: "failed_at",
    remove_rows: "",
    set: "command = null, removed_at = statement_timestamp()",
};
const REPORTS: Kind = Kind {
    state: "completed",
    since: "completed_at",
    remove_rows: ", deleted as (
                delete from enroll.enrollment_outcomes o using expired
                where o.organization_id = $1 and o.enrollment_id = expired.id
            )",
    set: "removed_at = statement_timestamp()",
};

/// The longest age that PostgreSQL can subtract from its clock: a thousand years.
const LONGEST: Duration = Duration::from_secs(1000 * 366 * 24 * 3600);

//! Removes commands and outcomes that are too old. The rows of the enrollments stay, so that a repeated request is
//! recognized.

use enroll::inbox::{Removed, Retention};
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;

use crate::PostgresError;
use crate::begin::{Begin, EngineTransaction};
use crate::query::Query;
use crate::statements::{Bound, Prepared, execute_all, query_all};

/// Removes what is older than the retention, of a limited number of enrollments.
pub(crate) async fn remove_expired(
    client: &mut impl Begin,
    statements: &Prepared,
    retention: &Retention,
) -> Result<Removed, PostgresError> {
    let transaction = client.begin().await?;
    let mut removed = Removed::default();
    for (age, find, remove, count) in [
        (retention.failed, &statements.expired_commands, &statements.remove_commands, &mut removed.commands),
        (retention.completed, &statements.expired_reports, &statements.remove_reports, &mut removed.reports),
    ] {
        if let Some(age) = age {
            *count = remove_older(&transaction, find, remove, age).await?;
        }
    }
    transaction.commit().await?;
    Ok(removed)
}

/// Finds the oldest enrollments of all organizations, then removes those of one organization after the other. It passes over
/// those that another transaction has locked.
async fn remove_older(
    transaction: &EngineTransaction<'_>,
    find: &Query,
    remove: &Query,
    age: Duration,
) -> Result<u64, PostgresError> {
    let seconds = age.min(LONGEST).as_secs_f64();
    let find: Bound<'_> = (find, vec![&seconds]);
    let [found] = query_all(transaction, [find]).await?;
    let mut expired: BTreeMap<Uuid, Vec<Uuid>> = BTreeMap::new();
    for row in &found {
        expired.entry(row.try_get(0)?).or_default().push(row.try_get(1)?);
    }
    let removals: Vec<Bound<'_>> =
        expired.iter().map(|(organization, ids)| (remove, vec![organization as _, ids as _, &seconds as _])).collect();
    Ok(execute_all(transaction, &removals).await?.iter().sum())
}

/// The longest age that PostgreSQL can subtract from its clock: a thousand years.
const LONGEST: Duration = Duration::from_secs(1000 * 366 * 24 * 3600);

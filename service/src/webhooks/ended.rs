//! Deliveries that have ended: the dead ones, sending them again, and their removal.

use enroll::{OrganizationId, RepositoryError, Timestamp};
use uuid::Uuid;

use super::endpoint::type_name;
use super::store::{BATCH, instant};
use crate::handles::Handle;
use crate::sql::{Param, not_null};

/// A delivery that has failed in its last attempt.
pub(crate) struct DeadDelivery {
    pub(crate) endpoint_id: Uuid,
    pub(crate) event_id: Uuid,
    pub(crate) kind: String,
    pub(crate) at: Timestamp,
    pub(crate) attempts: i64,
    pub(crate) code: Option<String>,
    pub(crate) dead_at: Option<Timestamp>,
}

/// Which deliveries are sent again.
pub(crate) struct Replay {
    pub(crate) organization_id: OrganizationId,
    pub(crate) endpoint_id: Uuid,
    /// Also those that were delivered, of events from this instant on.
    pub(crate) since: Option<Timestamp>,
    /// Only the one of this event, also if it was delivered.
    pub(crate) event_id: Option<Uuid>,
}

/// Makes deliveries wait again that have ended, and enables their endpoint. Returns the number of deliveries.
pub(crate) async fn replay(handle: &mut Handle, replay: &Replay, now: Timestamp) -> Result<u64, RepositoryError> {
    let key = [Param::Id(replay.organization_id.as_uuid()), Param::Id(replay.endpoint_id)];
    // First, as deliveries that wait for a disabled endpoint are made dead.
    let sql = "update enroll_service.webhook_endpoints set disabled_at = null, failures = 0, failing_since = null, \
               paused_until = 0 where organization_id = $1 and id = $2";
    handle.execute(sql, &key).await?;
    let mut params = key.to_vec();
    params.push(Param::Number(now.millis()));
    let filter = match (replay.event_id, replay.since) {
        (Some(event_id), _) => {
            params.push(Param::Id(event_id));
            "state <> 'waiting' and event_id = $4"
        }
        (None, Some(since)) => {
            params.push(Param::Number(since.millis()));
            "state <> 'waiting' and at >= $4"
        }
        (None, None) => "state = 'dead'",
    };
    let sql = format!(
        "update enroll_service.webhook_deliveries set state = 'waiting', attempts = 0, queued_at = $3, due_at = 0, \
         ended_at = null where organization_id = $1 and endpoint_id = $2 and {filter}"
    );
    handle.execute(&sql, &params).await
}

/// Returns dead deliveries, of one organization or of all, the latest first, and the number of all.
pub(crate) async fn dead_deliveries(
    handle: &mut Handle,
    organization_id: Option<OrganizationId>,
    limit: u32,
) -> Result<(Vec<DeadDelivery>, u64), RepositoryError> {
    let filter = if organization_id.is_some() { "and organization_id = $1" } else { "" };
    let params: Vec<Param> = organization_id.iter().map(|id| Param::Id(id.as_uuid())).collect();
    let from = format!("from enroll_service.webhook_deliveries where state = 'dead' {filter}");
    let sql = format!(
        "select endpoint_id, event_id, kind, at, attempts, code, ended_at {from} \
         order by ended_at desc, position desc limit {limit}"
    );
    let rows = handle.query(&sql, &params, |row| {
        Ok(DeadDelivery {
            endpoint_id: not_null(row.id()?)?,
            event_id: not_null(row.id()?)?,
            // As text: a newer version can have more kinds.
            kind: type_name(not_null(row.text()?)?),
            at: instant(not_null(row.number()?)?)?,
            attempts: not_null(row.number()?)?,
            code: row.text()?,
            dead_at: row.number()?.map(instant).transpose()?,
        })
    });
    let rows = rows.await?;
    let totals = handle.query(&format!("select count(*) {from}"), &params, |row| not_null(row.number()?)).await?;
    Ok((rows, totals.into_iter().sum::<i64>().unsigned_abs()))
}

/// Removes deliveries that ended before an instant, at most [`BATCH`]. Returns their number.
pub(crate) async fn remove_ended(handle: &mut Handle, before: Timestamp) -> Result<u64, RepositoryError> {
    let sql = format!(
        "delete from enroll_service.webhook_deliveries where (organization_id, endpoint_id, position) in \
         (select organization_id, endpoint_id, position from enroll_service.webhook_deliveries \
         where state <> 'waiting' and ended_at < $1 order by ended_at limit {BATCH})"
    );
    handle.execute(&sql, &[Param::Number(before.millis())]).await
}

/// Makes deliveries dead that wait for a disabled endpoint: they were added while it was disabled.
pub(crate) async fn end_of_disabled(handle: &mut Handle) -> Result<(), RepositoryError> {
    if !handle.has_tables().await? {
        return Ok(());
    }
    let now = handle.now().await?;
    // SQLite keeps the order of a `cross join`. In the other order, it would read all deliveries.
    let sql = format!(
        "update enroll_service.webhook_deliveries set state = 'dead', code = coalesce(code, '410'), ended_at = $1 \
         where state = 'waiting' and (organization_id, endpoint_id, position) in \
         (select d.organization_id, d.endpoint_id, d.position from enroll_service.webhook_endpoints e \
         cross join enroll_service.webhook_deliveries d where d.organization_id = e.organization_id \
         and d.endpoint_id = e.id and e.disabled_at is not null and d.state = 'waiting' limit {BATCH})"
    );
    while handle.execute(&sql, &[Param::Number(now.millis())]).await? > 0 {}
    Ok(())
}

/// Removes deliveries of an endpoint, at most [`BATCH`]. Returns their number.
pub(super) async fn remove_some(handle: &mut Handle, endpoint_id: Uuid) -> Result<u64, RepositoryError> {
    let sql = format!(
        "delete from enroll_service.webhook_deliveries where (organization_id, endpoint_id, position) in \
         (select d.organization_id, d.endpoint_id, d.position from enroll_service.webhook_endpoints e \
         cross join enroll_service.webhook_deliveries d where d.organization_id = e.organization_id \
         and d.endpoint_id = e.id and e.id = $1 limit {BATCH})"
    );
    handle.execute(&sql, &[Param::Id(endpoint_id)]).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handles::counting_repository;
    use enroll_bench::people::Scene;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Returns a handle on a disabled endpoint 1 with 2501 waiting deliveries and an endpoint 2 with a number of others, and the
    /// number of steps that SQLite took.
    async fn handle_on_endpoints(others: i64) -> (Handle, Arc<AtomicU64>) {
        let (repository, steps) = counting_repository();
        let seed = Scene::empty().given;
        enroll_sqlite::seed::load(repository.connection(), &seed).unwrap();
        let mut handle = Handle::on_sqlite(repository);
        handle.create_tables().await.unwrap();
        for (id, deliveries, disabled_at) in [(1, 2501, Some(1)), (2, others, None)] {
            let key = [Param::Id(seed.organization_id.as_uuid()), Param::Id(Uuid::from_u128(id))];
            let endpoint = "insert into enroll_service.webhook_endpoints (organization_id, id, url, secret, kinds, \
                            after_position, created_at, disabled_at, failures, paused_until, leased_until) \
                            values ($1, $2, '', '', 'accepted', 0, 0, $3, 0, 0, 0)";
            let [organization_id, id] = key.clone();
            handle.execute(endpoint, &[organization_id, id, Param::NumberOrNull(disabled_at)]).await.unwrap();
            let rows = "with recursive numbers (n) as (select 1 union all select n + 1 from numbers where n < $3) \
                        insert into enroll_service.webhook_deliveries (organization_id, endpoint_id, position, event_id, \
                        kind, at, body, state, attempts, queued_at, due_at) \
                        select $1, $2, n, $2, 'accepted', 0, '', 'waiting', 0, 0, 0 from numbers";
            let [organization_id, id] = key;
            handle.execute(rows, &[organization_id, id, Param::Number(deliveries)]).await.unwrap();
        }
        (handle, steps)
    }

    async fn number(handle: &mut Handle, condition: &str) -> i64 {
        let sql = format!("select count(*) from enroll_service.webhook_deliveries where {condition}");
        handle.query(&sql, &[], |row| not_null(row.number()?)).await.unwrap()[0]
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_removal_takes_several_statements_and_reads_no_other_endpoint() {
        let mut found = Vec::new();
        for others in [100, 20_000] {
            let (mut handle, steps) = handle_on_endpoints(others).await;
            let before = steps.load(Ordering::Relaxed);
            for expected in [1000, 1000, 501, 0] {
                assert_eq!(remove_some(&mut handle, Uuid::from_u128(1)).await.unwrap(), expected);
            }
            found.push(steps.load(Ordering::Relaxed) - before);
            assert_eq!(number(&mut handle, "state = 'waiting'").await, others);
        }
        assert!(found[1] <= found[0] + found[0] / 5, "{found:?} steps");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn only_what_waits_for_a_disabled_endpoint_ends_and_no_other_endpoint_is_read() {
        let mut found = Vec::new();
        for others in [100, 20_000] {
            let (mut handle, steps) = handle_on_endpoints(others).await;
            let before = steps.load(Ordering::Relaxed);
            end_of_disabled(&mut handle).await.unwrap();
            found.push(steps.load(Ordering::Relaxed) - before);
            assert_eq!(number(&mut handle, "state = 'dead' and code = '410' and ended_at > 0").await, 2501);
            assert_eq!(number(&mut handle, "state = 'waiting'").await, others);
        }
        assert!(found[1] <= found[0] + found[0] / 5, "{found:?} steps");
    }
}

//! Deliveries that have ended: the dead ones, sending them again, and their removal.

use enroll::{OrganizationId, RepositoryError, Timestamp};
use uuid::Uuid;

use super::endpoint::type_name;
use super::store::instant;
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
               paused_until = 0 \
               where organization_id = $1 and id = $2";
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

/// Removes deliveries that ended before an instant, at most a thousand. Returns their number.
pub(crate) async fn remove_ended(handle: &mut Handle, before: Timestamp) -> Result<u64, RepositoryError> {
    let sql = "delete from enroll_service.webhook_deliveries where (organization_id, endpoint_id, position) in \
               (select organization_id, endpoint_id, position from enroll_service.webhook_deliveries \
               where state <> 'waiting' and ended_at < $1 order by ended_at limit 1000)";
    handle.execute(sql, &[Param::Number(before.millis())]).await
}

/// Makes deliveries dead that wait for a disabled endpoint, at most a thousand: they were added while it was disabled.
/// Returns their number.
pub(crate) async fn end_of_disabled(handle: &mut Handle, now: Timestamp) -> Result<u64, RepositoryError> {
    let sql = "update enroll_service.webhook_deliveries set state = 'dead', code = coalesce(code, '410'), \
               ended_at = $1 where state = 'waiting' and (organization_id, endpoint_id, position) in \
               (select d.organization_id, d.endpoint_id, d.position from enroll_service.webhook_endpoints e \
               cross join enroll_service.webhook_deliveries d where d.organization_id = e.organization_id \
               and d.endpoint_id = e.id and e.disabled_at is not null and d.state = 'waiting' limit 1000)";
    handle.execute(sql, &[Param::Number(now.millis())]).await
}

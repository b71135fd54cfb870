//! The tables of webhooks: endpoints, deliveries, and the position in the log of events.
//!
//! A delivery is `waiting` until its endpoint has it (`delivered`) or all attempts have failed (`dead`).

use enroll::events::{Event, EventPosition};
use enroll::{OrganizationId, RepositoryError, Timestamp};
use serde_json::json;
use std::num::NonZeroU32;
use std::time::Duration;
use uuid::Uuid;

use super::ended;
use super::endpoint::{Kinds, type_name};
use crate::handles::Handle;
use crate::sql::{Param, id_places, invalid_data, not_null};

/// An endpoint as the operator sees it. It does not have the secret.
pub(crate) struct EndpointRow {
    pub(crate) id: Uuid,
    pub(crate) organization_id: OrganizationId,
    pub(crate) url: String,
    pub(crate) kinds: Kinds,
    pub(crate) created_at: Timestamp,
    pub(crate) disabled_at: Option<Timestamp>,
    pub(crate) waiting: i64,
    pub(crate) dead: i64,
}

/// A new endpoint.
pub(crate) struct NewEndpoint<'e> {
    pub(crate) id: Uuid,
    pub(crate) organization_id: OrganizationId,
    pub(crate) url: &'e str,
    pub(crate) secret: &'e str,
    pub(crate) kinds: &'e Kinds,
    /// The endpoint gets the events behind this position.
    pub(crate) after: EventPosition,
    pub(crate) at: Timestamp,
}

/// An endpoint with deliveries that are due.
#[derive(Clone)]
pub(crate) struct DueEndpoint {
    pub(crate) id: Uuid,
    pub(crate) organization_id: OrganizationId,
    pub(crate) url: String,
    pub(crate) secret: String,
    pub(crate) health: Health,
    /// The end of the last pause.
    pub(crate) paused_until: Timestamp,
}

/// Whether an endpoint fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Health {
    /// The number of failures in a row.
    pub(crate) failures: u32,
    /// The instant of the first of them.
    pub(crate) failing_since: Option<Timestamp>,
}

impl Health {
    /// Returns the health after one more failure. After a long time without attempts, because no process ran or nothing was due,
    /// the endpoint has a new chance.
    pub(crate) fn after_failure(self, paused_until: Timestamp, now: Timestamp) -> Self {
        let was_tried = paused_until.saturating_add(UNTRIED) >= now;
        let since = self.failing_since.filter(|_| was_tried).unwrap_or(now);
        Self { failures: self.failures.saturating_add(1), failing_since: Some(since) }
    }
}

/// An endpoint that gets events.
pub(crate) struct Subscriber {
    pub(crate) id: Uuid,
    pub(crate) organization_id: OrganizationId,
    pub(crate) kinds: Kinds,
    pub(crate) after: EventPosition,
}

/// A delivery that is due.
pub(crate) struct Delivery {
    pub(crate) position: i64,
    pub(crate) event_id: Uuid,
    pub(crate) body: String,
    pub(crate) attempts: u32,
}

/// The deliveries of all endpoints.
#[derive(Clone, Debug, Default)]
pub(crate) struct Backlog {
    pub(crate) waiting: i64,
    pub(crate) dead: i64,
    /// When the event of the oldest waiting delivery happened, or when that delivery was replayed; or the
    /// instant of the first event without deliveries, if it is earlier.
    pub(crate) oldest: Option<Timestamp>,
}

impl Backlog {
    /// Reads the backlog. It is empty on a database that was never served.
    pub(crate) async fn read(handle: &mut Handle) -> Result<Self, RepositoryError> {
        if !handle.has_tables().await? {
            return Ok(Self::default());
        }
        let sql = "select (select count(*) from enroll_service.webhook_deliveries where state = 'waiting'), \
                   (select count(*) from enroll_service.webhook_deliveries where state = 'dead'), \
                   (select min(queued_at) from enroll_service.webhook_deliveries where state = 'waiting')";
        let rows = handle.query(sql, &[], |row| {
            let (waiting, dead) = (not_null(row.number()?)?, not_null(row.number()?)?);
            Ok(Self { waiting, dead, oldest: row.number()?.map(instant).transpose()? })
        });
        let mut backlog = rows.await?.into_iter().next().unwrap_or_default();
        if has_endpoints(handle).await? {
            let position = position(handle).await?;
            let next = handle.events(position, NonZeroU32::MIN).await?.into_iter().next().map(|event| event.at);
            backlog.oldest = backlog.oldest.into_iter().chain(next).min();
        }
        Ok(backlog)
    }
}

/// Returns the number of endpoints of an organization.
pub(crate) async fn endpoint_count(
    handle: &mut Handle,
    organization_id: OrganizationId,
) -> Result<i64, RepositoryError> {
    let sql = "select count(*) from enroll_service.webhook_endpoints where organization_id = $1";
    let counts = handle.query(sql, &[Param::Id(organization_id.as_uuid())], |row| not_null(row.number()?)).await?;
    Ok(counts.into_iter().sum())
}

/// Returns true if an endpoint gets events.
pub(crate) async fn has_endpoints(handle: &mut Handle) -> Result<bool, RepositoryError> {
    let sql = "select id from enroll_service.webhook_endpoints where disabled_at is null limit 1";
    Ok(!handle.query(sql, &[], |row| row.id()).await?.is_empty())
}

/// Adds an endpoint.
pub(crate) async fn add_endpoint(handle: &mut Handle, new: &NewEndpoint<'_>) -> Result<(), RepositoryError> {
    let sql = "insert into enroll_service.webhook_endpoints (organization_id, id, url, secret, kinds, after_position, \
               created_at, failures, paused_until, leased_until) values ($1, $2, $3, $4, $5, $6, $7, 0, 0, 0)";
    let params = [
        Param::Id(new.organization_id.as_uuid()),
        Param::Id(new.id),
        Param::Text(new.url.to_owned()),
        Param::Text(new.secret.to_owned()),
        Param::Text(new.kinds.to_string()),
        Param::Number(number(new.after)?),
        Param::Number(new.at.millis()),
    ];
    handle.execute(sql, &params).await.map(drop)
}

/// Removes an endpoint with its deliveries. Returns false if it does not exist.
///
/// The deliveries are removed first, in several transactions: others must not wait for long. If it is interrupted, the endpoint
/// is disabled.
pub(crate) async fn remove_endpoint(handle: &mut Handle, id: Uuid, now: Timestamp) -> Result<bool, RepositoryError> {
    let disable = "update enroll_service.webhook_endpoints set disabled_at = coalesce(disabled_at, $2) where id = $1";
    if handle.execute(disable, &[Param::Id(id), Param::Number(now.millis())]).await? == 0 {
        return Ok(false);
    }
    while ended::remove_some(handle, id).await? > 0 {}
    let sql = "delete from enroll_service.webhook_endpoints where id = $1";
    Ok(handle.execute(sql, &[Param::Id(id)]).await? > 0)
}

/// Returns the endpoints, of one organization or of all, in the order of their creation.
pub(crate) async fn endpoints(
    handle: &mut Handle,
    organization_id: Option<OrganizationId>,
) -> Result<Vec<EndpointRow>, RepositoryError> {
    let count = |state: &str| {
        format!(
            "(select count(*) from enroll_service.webhook_deliveries d where d.organization_id = e.organization_id \
             and d.endpoint_id = e.id and d.state = '{state}')"
        )
    };
    let filter = if organization_id.is_some() { "where e.organization_id = $1" } else { "" };
    let sql = format!(
        "select e.id, e.organization_id, e.url, e.kinds, e.created_at, e.disabled_at, {}, {} \
         from enroll_service.webhook_endpoints e {filter} order by e.created_at, e.id",
        count("waiting"),
        count("dead")
    );
    let params: Vec<Param> = organization_id.iter().map(|id| Param::Id(id.as_uuid())).collect();
    let rows = handle.query(&sql, &params, |row| {
        Ok(EndpointRow {
            id: not_null(row.id()?)?,
            organization_id: OrganizationId::from_uuid(not_null(row.id()?)?),
            url: not_null(row.text()?)?,
            kinds: kinds(row.text()?)?,
            created_at: instant(not_null(row.number()?)?)?,
            disabled_at: row.number()?.map(instant).transpose()?,
            waiting: not_null(row.number()?)?,
            dead: not_null(row.number()?)?,
        })
    });
    rows.await
}

/// Returns the endpoints of organizations that get events.
pub(crate) async fn subscribers(
    handle: &mut Handle,
    organizations: impl IntoIterator<Item = OrganizationId>,
) -> Result<Vec<Subscriber>, RepositoryError> {
    let mut params = Vec::new();
    let places = id_places(&mut params, organizations.into_iter().map(OrganizationId::as_uuid));
    let sql = format!(
        "select id, organization_id, kinds, after_position from enroll_service.webhook_endpoints \
         where disabled_at is null and organization_id in ({places}) order by id"
    );
    let rows = handle.query(&sql, &params, |row| {
        Ok(Subscriber {
            id: not_null(row.id()?)?,
            organization_id: OrganizationId::from_uuid(not_null(row.id()?)?),
            kinds: kinds(row.text()?)?,
            after: EventPosition::new(not_null(row.number()?)?.unsigned_abs()),
        })
    });
    rows.await
}

/// Returns the position up to which events were copied into deliveries.
pub(crate) async fn position(handle: &mut Handle) -> Result<EventPosition, RepositoryError> {
    let sql = "select position from enroll_service.webhook_positions";
    let positions = handle.query(sql, &[], |row| not_null(row.number()?)).await?;
    Ok(positions
        .into_iter()
        .next()
        .map_or(EventPosition::START, |position| EventPosition::new(position.unsigned_abs())))
}

/// Moves the position forward. Does nothing if another process has moved it.
pub(crate) async fn move_position(
    handle: &mut Handle,
    from: EventPosition,
    to: EventPosition,
) -> Result<(), RepositoryError> {
    let sql = "update enroll_service.webhook_positions set position = $1 where position = $2";
    handle.execute(sql, &[Param::Number(number(to)?), Param::Number(number(from)?)]).await.map(drop)
}

/// Adds a delivery for each endpoint and event, due at once. Those that exist stay as they are. Returns the number of new ones.
pub(crate) async fn add_deliveries(
    handle: &mut Handle,
    deliveries: &[(&Subscriber, &Event)],
    now: Timestamp,
) -> Result<u64, RepositoryError> {
    let mut added = 0;
    for chunk in deliveries.chunks(ROWS) {
        let mut params = vec![Param::Number(now.millis())];
        let mut places = Vec::with_capacity(chunk.len());
        for (subscriber, event) in chunk {
            let first = params.len() + 1;
            params.extend([
                Param::Id(event.organization_id.as_uuid()),
                Param::Id(subscriber.id),
                Param::Number(number(event.position)?),
                Param::Id(event.id.as_uuid()),
                Param::Text(event.kind.to_string()),
                Param::Number(event.at.millis()),
                Param::Text(body(event)),
            ]);
            let numbers: Vec<String> = (first..=params.len()).map(|number| format!("${number}")).collect();
            places.push(format!("({}, 'waiting', 0, $1, 0)", numbers.join(", ")));
        }
        let sql = format!(
            "insert into enroll_service.webhook_deliveries (organization_id, endpoint_id, position, event_id, kind, at, \
             body, state, attempts, queued_at, due_at) values {} on conflict do nothing",
            places.join(", ")
        );
        added += handle.execute(&sql, &params).await?;
    }
    Ok(added)
}

/// Returns the body of the message of an event: `type`, `timestamp` and `data`.
fn body(event: &Event) -> String {
    json!({ "type": type_name(event.kind), "timestamp": event.at, "data": event }).to_string()
}

/// Returns endpoints with deliveries that are due, those first that no process has served for the longest time. Endpoints of
/// the excluded organizations are left out.
pub(crate) async fn due_endpoints(
    handle: &mut Handle,
    now: Timestamp,
    excluded: impl IntoIterator<Item = OrganizationId>,
    limit: usize,
) -> Result<Vec<DueEndpoint>, RepositoryError> {
    let mut params = vec![Param::Number(now.millis())];
    let places = id_places(&mut params, excluded.into_iter().map(OrganizationId::as_uuid));
    let filter = if places.is_empty() { String::new() } else { format!("and e.organization_id not in ({places})") };
    let sql = format!(
        "select e.id, e.organization_id, e.url, e.secret, e.failures, e.failing_since, e.paused_until \
         from enroll_service.webhook_endpoints e where e.disabled_at is null and e.leased_until <= $1 and e.paused_until <= $1 {filter} \
         and exists (select 1 from enroll_service.webhook_deliveries d where d.organization_id = e.organization_id \
             and d.endpoint_id = e.id and d.state = 'waiting' and d.due_at <= $1) \
         order by e.leased_until, e.id limit {limit}"
    );
    let rows = handle.query(&sql, &params, |row| {
        Ok(DueEndpoint {
            id: not_null(row.id()?)?,
            organization_id: OrganizationId::from_uuid(not_null(row.id()?)?),
            url: not_null(row.text()?)?,
            secret: not_null(row.text()?)?,
            health: Health {
                failures: u32::try_from(not_null(row.number()?)?).unwrap_or(u32::MAX),
                failing_since: row.number()?.map(instant).transpose()?,
            },
            paused_until: instant(not_null(row.number()?)?)?,
        })
    });
    rows.await
}

impl DueEndpoint {
    fn key(&self) -> [Param; 2] {
        [Param::Id(self.organization_id.as_uuid()), Param::Id(self.id)]
    }

    /// Reserves the endpoint for one process until an instant. Returns false if another process has it.
    pub(crate) async fn claim(
        &self,
        handle: &mut Handle,
        lease: Uuid,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool, RepositoryError> {
        let sql = "update enroll_service.webhook_endpoints set leased_until = $3, lease = $4 \
                   where organization_id = $1 and id = $2 and leased_until <= $5 and disabled_at is null";
        let [organization_id, id] = self.key();
        let params =
            [organization_id, id, Param::Number(until.millis()), Param::Id(lease), Param::Number(now.millis())];
        Ok(handle.execute(sql, &params).await? > 0)
    }

    /// Ends the reservation. The deliveries wait until `paused_until`.
    pub(crate) async fn release(
        &self,
        handle: &mut Handle,
        lease: Uuid,
        now: Timestamp,
        health: Health,
        paused_until: Timestamp,
    ) -> Result<(), RepositoryError> {
        let sql = "update enroll_service.webhook_endpoints set leased_until = $3, lease = null, failures = $5, \
                   failing_since = $6, paused_until = $7 where organization_id = $1 and id = $2 and lease = $4";
        let [organization_id, id] = self.key();
        let params = [
            organization_id,
            id,
            Param::Number(now.millis()),
            Param::Id(lease),
            Param::Number(health.failures.into()),
            Param::NumberOrNull(health.failing_since.map(Timestamp::millis)),
            Param::Number(paused_until.millis()),
        ];
        handle.execute(sql, &params).await.map(drop)
    }

    /// Returns the delivery that is next: new ones in the order of the log, then those to repeat.
    pub(crate) async fn next(&self, handle: &mut Handle, now: Timestamp) -> Result<Option<Delivery>, RepositoryError> {
        let sql = "select position, event_id, body, attempts from enroll_service.webhook_deliveries \
                   where organization_id = $1 and endpoint_id = $2 and state = 'waiting' and due_at <= $3 \
                   order by due_at, position limit 1";
        let [organization_id, id] = self.key();
        let params = [organization_id, id, Param::Number(now.millis())];
        let rows = handle.query(sql, &params, |row| {
            Ok(Delivery {
                position: not_null(row.number()?)?,
                event_id: not_null(row.id()?)?,
                body: not_null(row.text()?)?,
                attempts: u32::try_from(not_null(row.number()?)?).unwrap_or(u32::MAX),
            })
        });
        Ok(rows.await?.into_iter().next())
    }

    /// Records the end of a delivery: `delivered` or `dead`. Returns false if another process has ended it.
    pub(crate) async fn end(
        &self,
        handle: &mut Handle,
        delivery: &Delivery,
        state: &'static str,
        code: &str,
        now: Timestamp,
    ) -> Result<bool, RepositoryError> {
        let sql = "update enroll_service.webhook_deliveries set state = $4, attempts = $5, code = $6, ended_at = $7 \
                   where organization_id = $1 and endpoint_id = $2 and position = $3 and state = 'waiting'";
        let [organization_id, id] = self.key();
        let params = [
            organization_id,
            id,
            Param::Number(delivery.position),
            Param::Text(state.to_owned()),
            Param::Number(i64::from(delivery.attempts) + 1),
            Param::Text(code.to_owned()),
            Param::Number(now.millis()),
        ];
        Ok(handle.execute(sql, &params).await? > 0)
    }

    /// Records a failed attempt that another one follows. A result that came meanwhile from another process stays.
    pub(crate) async fn repeat(
        &self,
        handle: &mut Handle,
        delivery: &Delivery,
        code: &str,
        due_at: Timestamp,
    ) -> Result<(), RepositoryError> {
        let sql = "update enroll_service.webhook_deliveries set attempts = $4, code = $5, due_at = $6 \
                   where organization_id = $1 and endpoint_id = $2 and position = $3 and state = 'waiting' \
                   and attempts < $4";
        let [organization_id, id] = self.key();
        let params = [
            organization_id,
            id,
            Param::Number(delivery.position),
            Param::Number(i64::from(delivery.attempts) + 1),
            Param::Text(code.to_owned()),
            Param::Number(due_at.millis()),
        ];
        handle.execute(sql, &params).await.map(drop)
    }

    /// Makes deliveries dead that have waited since before an instant. Returns their number.
    pub(crate) async fn give_up(
        &self,
        handle: &mut Handle,
        queued_before: Timestamp,
        code: &str,
        now: Timestamp,
    ) -> Result<u64, RepositoryError> {
        let sql = format!(
            "update enroll_service.webhook_deliveries set state = 'dead', code = $5, ended_at = $4 \
             where organization_id = $1 and endpoint_id = $2 and state = 'waiting' and position in \
             (select position from enroll_service.webhook_deliveries where organization_id = $1 and endpoint_id = $2 \
             and state = 'waiting' and queued_at < $3 limit {BATCH})"
        );
        let [organization_id, id] = self.key();
        let params = [
            organization_id,
            id,
            Param::Number(queued_before.millis()),
            Param::Number(now.millis()),
            Param::Text(code.to_owned()),
        ];
        let mut total = 0;
        loop {
            let given_up = handle.execute(&sql, &params).await?;
            total += given_up;
            if given_up < BATCH {
                return Ok(total);
            }
        }
    }

    /// Disables the endpoint. It gets no further events.
    pub(crate) async fn disable(&self, handle: &mut Handle, now: Timestamp) -> Result<(), RepositoryError> {
        let sql = "update enroll_service.webhook_endpoints set disabled_at = $3 \
                   where organization_id = $1 and id = $2 and disabled_at is null";
        let [organization_id, id] = self.key();
        handle.execute(sql, &[organization_id, id, Param::Number(now.millis())]).await.map(drop)
    }
}

fn number(position: EventPosition) -> Result<i64, RepositoryError> {
    i64::try_from(position.number()).map_err(invalid_data)
}

pub(super) fn instant(millis: i64) -> Result<Timestamp, RepositoryError> {
    Timestamp::from_millis(millis).map_err(invalid_data)
}

fn kinds(text: Option<String>) -> Result<Kinds, RepositoryError> {
    Ok(Kinds::from_stored(&not_null(text)?))
}

/// After this time without an attempt since the last pause, the failures before it do not count as one long failure.
const UNTRIED: Duration = Duration::from_secs(3600);
/// The number of deliveries in one statement.
const ROWS: usize = 100;
/// The number of deliveries that one statement ends or removes.
pub(super) const BATCH: u64 = 1000;

//! Sends deliveries: the loop of a process, and the turn of an endpoint.
//!
//! A process reserves an endpoint for a turn, and sends its deliveries one at a time. So an endpoint gets each event for the
//! first time in the order of the log, and a slow endpoint uses one of the process' places. An endpoint that fails is left
//! alone for some time.

use enroll::{OrganizationId, RepositoryError};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::fan_out::fan_out;
use super::schedule::{Retries, pause};
use super::send::{Attempt, AttemptResult, Message, Sender};
use super::store::{self, Delivery, DueEndpoint, Health};
use super::{Networks, WEBHOOKS};
use crate::handles::{Handle, HandleFactory, HandlePool};
use crate::retention::earlier;
use crate::{Failure, causes, print_to_stderr};

/// The options of a process that sends webhooks.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The number of endpoints to send to at a time. With 0, the process sends none.
    pub(crate) places: u16,
    /// How long an attempt can take.
    pub(crate) timeout: Duration,
    pub(crate) retries: Retries,
    pub(crate) networks: Networks,
}

/// What happened while webhooks were sent.
#[derive(Debug)]
pub(crate) enum Event<'e> {
    /// An attempt ended.
    Attempted {
        organization_id: OrganizationId,
        endpoint_id: Uuid,
        event_id: Uuid,
        /// The number of this attempt.
        attempt: u32,
        /// The status, or a word for what failed.
        code: &'e str,
        end: End,
    },
    /// Deliveries of an endpoint ended without a last attempt, because the endpoint failed for too long or was disabled.
    GivenUp { organization_id: OrganizationId, endpoint_id: Uuid, deliveries: u64 },
    /// The receiver answered 410.
    Disabled { organization_id: OrganizationId, endpoint_id: Uuid },
    /// The database returned an error. The process tries again.
    DatabaseError(String),
}

/// How a delivery goes on after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Delivered,
    /// Another attempt follows after this delay.
    Failed(Duration),
    Dead,
}

/// Writes an event to the log.
pub(crate) fn log(event: &Event<'_>) {
    match *event {
        Event::Attempted { organization_id: organization, endpoint_id: endpoint, event_id, attempt, code, end } => {
            let event = event_id;
            match end {
                End::Delivered => {
                    tracing::info!(target: WEBHOOKS, %organization, %endpoint, %event, attempt, code, "delivered");
                }
                End::Failed(delay) => {
                    let retry_seconds = delay.as_secs_f32();
                    tracing::warn!(
                        target: WEBHOOKS, %organization, %endpoint, %event, attempt, code, retry_seconds,
                        "attempt failed"
                    );
                }
                End::Dead => {
                    tracing::error!(
                        target: WEBHOOKS, %organization, %endpoint, %event, attempt, code,
                        "webhook is dead"
                    );
                }
            }
        }
        Event::GivenUp { organization_id: organization, endpoint_id: endpoint, deliveries } => {
            tracing::error!(
                target: WEBHOOKS, %organization, %endpoint, deliveries, "webhooks given up with their endpoint"
            );
        }
        Event::Disabled { organization_id: organization, endpoint_id: endpoint } => {
            tracing::warn!(target: WEBHOOKS, %organization, %endpoint, "endpoint disabled: it answered 410");
        }
        Event::DatabaseError(ref error) => {
            tracing::warn!(target: WEBHOOKS, error, "database error, the process tries again");
        }
    }
}

/// Prints an event that an operator must know to standard error.
pub(crate) fn print(event: &Event<'_>) {
    let line = match event {
        Event::Attempted { end: End::Delivered, .. } => return,
        Event::Attempted { endpoint_id, event_id, attempt, code, end: End::Failed(delay), .. } => format!(
            "webhook of {event_id} to {endpoint_id} failed in attempt {attempt} ({code}), next attempt in {} s",
            delay.as_secs()
        ),
        Event::Attempted { endpoint_id, event_id, code, .. } => {
            format!(
                "webhook of {event_id} to {endpoint_id} is dead ({code}); run `enroll webhooks replay {endpoint_id}`"
            )
        }
        Event::GivenUp { endpoint_id, deliveries, .. } => {
            format!("{deliveries} webhooks to {endpoint_id} are dead; run `enroll webhooks replay {endpoint_id}`")
        }
        Event::Disabled { endpoint_id, .. } => format!("webhook endpoint {endpoint_id} answered 410 and is disabled"),
        Event::DatabaseError(error) => format!("database error: {error}"),
    };
    print_to_stderr(&line);
}

/// Receives what happens.
pub(crate) type OnEvent = Arc<dyn Fn(Event<'_>) + Send + Sync>;

/// Sends webhooks until `stop` becomes true, in a separate task: a call of SQLite blocks the whole task. Then it waits a few
/// seconds for the requests that are under way.
pub(crate) async fn send_in_background(
    handles: HandleFactory,
    options: Options,
    on_event: OnEvent,
    stop: watch::Receiver<bool>,
) -> Result<(), Failure> {
    let sending = tokio::spawn(repeat(handles, options, on_event, stop));
    sending.await.map_err(|e| Failure::from_error("webhooks", &e))?
}

async fn repeat(
    handles: HandleFactory,
    options: Options,
    on_event: OnEvent,
    mut stop: watch::Receiver<bool>,
) -> Result<(), Failure> {
    if options.places == 0 {
        return Ok(());
    }
    let sender = Sender::new(options.networks.clone(), options.timeout)?;
    let handles = HandlePool::new(handles, HANDLES);
    let process = Arc::new(Process {
        sender,
        options,
        handles,
        on_event,
        stop: stop.clone(),
        has_tables: AtomicBool::new(false),
    });
    let mut turns = Turns::default();
    while !*stop.borrow() {
        let wait = match process.round(&mut turns).await {
            Ok(wait) => wait,
            Err(e) => {
                (process.on_event)(Event::DatabaseError(causes(&e)));
                AFTER_ERROR
            }
        };
        tokio::select! {
            // `stop` became true, or its sender was dropped.
            _ = stop.changed() => {}
            () = turns.ended() => {}
            () = sleep(wait) => {}
        }
    }
    // A request that is not answered in time is sent again later.
    drop(timeout(SHUTDOWN, turns.all_ended()).await);
    Ok(())
}

/// The turns that are under way, with the number of each organization.
#[derive(Default)]
struct Turns {
    tasks: JoinSet<OrganizationId>,
    by_organization: BTreeMap<OrganizationId, usize>,
}

impl Turns {
    fn start(&mut self, organization_id: OrganizationId, turn: impl Future<Output = ()> + Send + 'static) {
        *self.by_organization.entry(organization_id).or_default() += 1;
        self.tasks.spawn(async move {
            // If a turn panics, its task still ends in order.
            drop(tokio::spawn(turn).await);
            organization_id
        });
    }

    /// Waits for the end of a turn. Without one, it never returns.
    async fn ended(&mut self) {
        match self.tasks.join_next().await {
            Some(Ok(organization_id)) => {
                if let Some(turns) = self.by_organization.get_mut(&organization_id) {
                    *turns -= 1;
                }
                self.by_organization.retain(|_, turns| *turns > 0);
            }
            Some(Err(_)) => {}
            None => std::future::pending().await,
        }
    }

    async fn all_ended(&mut self) {
        while !self.tasks.is_empty() {
            self.ended().await;
        }
    }
}

struct Process {
    sender: Sender,
    options: Options,
    handles: Arc<HandlePool<OrganizationId>>,
    on_event: OnEvent,
    stop: watch::Receiver<bool>,
    /// True when the tables of the service exist: a process of workers does not create them.
    has_tables: AtomicBool,
}

impl Process {
    /// Copies events into deliveries, and starts the turns of endpoints. Returns how long to wait until the next one.
    async fn round(self: &Arc<Self>, turns: &mut Turns) -> Result<Duration, RepositoryError> {
        let mut pooled = self.handles.acquire(OrganizationId::from_uuid(Uuid::nil())).await?;
        let handle = pooled.handle()?;
        if !self.has_tables.load(Ordering::Relaxed) {
            if !handle.has_tables().await? {
                return Ok(WITHOUT_ENDPOINTS);
            }
            self.has_tables.store(true, Ordering::Relaxed);
        }
        if !store::has_endpoints(handle).await? {
            return Ok(WITHOUT_ENDPOINTS);
        }
        let now = handle.now().await?;
        // Deliveries that exist are sent even if no event can be copied.
        let wait = fan_out(handle, now).await.map(|more| if more { Duration::ZERO } else { INTERVAL });
        let places = usize::from(self.options.places).saturating_sub(turns.tasks.len());
        if places == 0 {
            return wait;
        }
        let most = most_of_one(self.options.places);
        let excluded = turns.by_organization.iter().filter(|(_, turns)| **turns >= most).map(|(id, _)| *id);
        let now = handle.now().await?;
        for endpoint in store::due_endpoints(handle, now, excluded.collect::<Vec<_>>(), places).await? {
            if turns.by_organization.get(&endpoint.organization_id).is_some_and(|turns| *turns >= most) {
                continue;
            }
            let (lease, until) = (Uuid::now_v7(), now.saturating_add(self.lease()));
            if endpoint.claim(handle, lease, now, until).await? {
                let process = Arc::clone(self);
                turns.start(endpoint.organization_id, async move { process.turn(endpoint, lease).await });
            }
        }
        wait
    }

    /// How long an endpoint is reserved: longer than a turn takes.
    fn lease(&self) -> Duration {
        TURN + 2 * self.options.timeout + Duration::from_secs(20)
    }

    /// Sends the deliveries of an endpoint that are due, up to a time, and until one fails because the endpoint is down.
    async fn turn(&self, endpoint: DueEndpoint, lease: Uuid) {
        let start = Instant::now();
        let mut health = endpoint.health;
        let mut pause = Duration::ZERO;
        while pause.is_zero() && start.elapsed() < TURN && !*self.stop.borrow() {
            match self.deliver(&endpoint, &mut health).await {
                Ok(Some(Next { pause: next_pause })) => pause = next_pause,
                Ok(None) => break,
                Err(e) => {
                    (self.on_event)(Event::DatabaseError(causes(&e)));
                    break;
                }
            }
        }
        let released = self
            .with_handle(endpoint.organization_id, async |handle: &mut Handle| {
                let now = handle.now().await?;
                endpoint.release(handle, lease, now, health, now.saturating_add(pause)).await
            })
            .await;
        if let Err(e) = released {
            (self.on_event)(Event::DatabaseError(causes(&e)));
        }
    }

    /// Sends the next delivery. Returns `None` if none is due.
    async fn deliver(&self, endpoint: &DueEndpoint, health: &mut Health) -> Result<Option<Next>, RepositoryError> {
        let organization_id = endpoint.organization_id;
        let next = async |handle: &mut Handle| {
            let now = handle.now().await?;
            endpoint.next(handle, now).await
        };
        let Some(delivery) = self.with_handle(organization_id, next).await? else { return Ok(None) };
        let id = delivery.event_id.to_string();
        let message = Message { id: &id, body: &delivery.body };
        // Without a handle on the database: a slow receiver must not keep one.
        let attempt = self.sender.send(&endpoint.url, &endpoint.secret, &message, SystemTime::now()).await;
        let record = async |handle: &mut Handle| self.record(handle, endpoint, &delivery, &attempt, health).await;
        self.with_handle(organization_id, record).await.map(Some)
    }

    /// Records an attempt.
    async fn record(
        &self,
        handle: &mut Handle,
        endpoint: &DueEndpoint,
        delivery: &Delivery,
        attempt: &Attempt,
        health: &mut Health,
    ) -> Result<Next, RepositoryError> {
        let now = handle.now().await?;
        let schedule_ago = earlier(now, self.options.retries.span());
        *health = match attempt.result {
            AttemptResult::Failed { is_down: true, .. } => health.after_failure(endpoint.paused_until, now),
            _ => Health::default(),
        };
        let code = &*attempt.code;
        let number = delivery.attempts.saturating_add(1);
        let (state, end, pause) = match attempt.result {
            AttemptResult::Delivered => ("delivered", End::Delivered, Duration::ZERO),
            AttemptResult::Gone => ("dead", End::Dead, Duration::ZERO),
            AttemptResult::Failed { is_down, retry_after } => {
                let pause = if is_down { pause(health.failures, retry_after) } else { Duration::ZERO };
                match self.options.retries.delay(number, retry_after, random()) {
                    Some(delay) => ("waiting", End::Failed(delay), pause),
                    None => ("dead", End::Dead, pause),
                }
            }
        };
        if let End::Failed(delay) = end {
            endpoint.repeat(handle, delivery, code, now.saturating_add(delay)).await?;
        } else if !endpoint.end(handle, delivery, state, code, now).await? {
            // Another process has ended it.
            return Ok(Next { pause });
        }
        let (organization_id, endpoint_id) = (endpoint.organization_id, endpoint.id);
        let event_id = delivery.event_id;
        (self.on_event)(Event::Attempted { organization_id, endpoint_id, event_id, attempt: number, code, end });
        let given_up = if attempt.result == AttemptResult::Gone {
            // After a crash in between, the next message disables the endpoint.
            let given_up = endpoint.give_up(handle, now.saturating_add(Duration::from_secs(1)), code, now).await?;
            endpoint.disable(handle, now).await?;
            (self.on_event)(Event::Disabled { organization_id, endpoint_id });
            given_up
        } else if health.failing_since.is_some_and(|since| since < schedule_ago) {
            // Deliveries that waited for the whole schedule had fewer attempts, as the endpoint is left alone.
            endpoint.give_up(handle, schedule_ago, code, now).await?
        } else {
            0
        };
        if given_up > 0 {
            (self.on_event)(Event::GivenUp { organization_id, endpoint_id, deliveries: given_up });
        }
        Ok(Next { pause })
    }

    async fn with_handle<T>(
        &self,
        organization_id: OrganizationId,
        work: impl AsyncFnOnce(&mut Handle) -> Result<T, RepositoryError>,
    ) -> Result<T, RepositoryError> {
        let mut pooled = self.handles.acquire(organization_id).await?;
        work(pooled.handle()?).await
    }
}

/// What follows an attempt.
struct Next {
    /// How long the endpoint is left alone.
    pause: Duration,
}

/// Returns the most places that one organization can have.
fn most_of_one(places: u16) -> usize {
    usize::from(places.div_ceil(4))
}

/// Returns a random number, or 0 if the system has no source of random numbers.
fn random() -> u32 {
    getrandom::u32().unwrap_or(0)
}

/// The number of handles on the database of a process.
pub(crate) const HANDLES: usize = 2;
/// How long a process waits until it looks for events again.
const INTERVAL: Duration = Duration::from_millis(500);
/// The same without endpoints.
const WITHOUT_ENDPOINTS: Duration = Duration::from_secs(2);
/// The same after an error of the database.
const AFTER_ERROR: Duration = Duration::from_secs(5);
/// How long an endpoint can send its deliveries before others get its place.
const TURN: Duration = Duration::from_secs(10);
/// How long the end of a process waits for requests that are under way.
const SHUTDOWN: Duration = Duration::from_secs(5);

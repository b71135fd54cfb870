//! Metrics for Prometheus.

use axum::extract::{MatchedPath, Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use enroll::repository::BoxFuture;
use enroll::{EnrollmentReport, EnrollmentState, RepositoryError, Timestamp};
use enroll_worker::Event;

use super::App;
use super::errors::ApiError;
use super::health::Probe;
use super::request_span::{UNMATCHED, method_name};
use crate::handles::{Handle, HandleFactory};
use crate::import_job::current_time;
use crate::shares::Usage;
use crate::sql::not_null;
use crate::webhook_metrics::WebhookMetrics;
use crate::webhooks::Backlog;
use crate::work_metrics::WorkMetrics;

/// The metrics of a process.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    request_seconds: Family<RouteLabels, Histogram>,
    recipients: Family<RecipientLabels, Counter>,
    enrollment_seconds: Histogram,
    enrollments: Family<StateLabels, Gauge>,
    queue_age: Gauge<f64, AtomicU64>,
    queue_organizations: Gauge,
    database_up: Gauge,
    handles: UsageGauges<Family<PoolLabels, Gauge>>,
    connections: UsageGauges<Gauge>,
    pub(crate) work: WorkMetrics,
    pub(crate) webhooks: WebhookMetrics,
}

/// The use of a limited resource.
#[derive(Clone, Default)]
struct UsageGauges<G> {
    limit: G,
    in_use: G,
    waiting: G,
}

impl UsageGauges<Gauge> {
    fn set(&self, usage: Usage) {
        for (gauge, value) in [(&self.limit, usage.limit), (&self.in_use, usage.in_use), (&self.waiting, usage.waiting)]
        {
            gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        }
    }
}

impl UsageGauges<Family<PoolLabels, Gauge>> {
    fn set(&self, pool: &'static str, usage: Usage) {
        let of_pool = |family: &Family<PoolLabels, Gauge>| family.get_or_create(&PoolLabels { pool }).clone();
        let [limit, in_use, waiting] = [&self.limit, &self.in_use, &self.waiting].map(of_pool);
        UsageGauges { limit, in_use, waiting }.set(usage);
    }
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PoolLabels {
    pool: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RouteLabels {
    method: &'static str,
    route: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RecipientLabels {
    disposition: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StateLabels {
    state: String,
}

impl Metrics {
    /// Returns the metrics of a process with workers that serves requests. `has_connections` is true if the handles take
    /// connections from a pool.
    pub(crate) fn of_service(has_connections: bool) -> Self {
        let mut metrics = Self::of_workers(has_connections);
        let registry = &mut metrics.registry;
        registry.register("enroll_http_requests", "HTTP requests", metrics.requests.clone());
        let help = "Duration of HTTP requests";
        registry.register("enroll_http_request_duration_seconds", help, metrics.request_seconds.clone());
        let UsageGauges { limit, in_use, waiting } = metrics.handles.clone();
        registry.register("enroll_handles_limit", "Most handles on the database, by pool", limit);
        registry.register("enroll_handles_in_use", "Handles that a request uses, by pool", in_use);
        registry.register("enroll_handles_waiting", "Requests that wait for a handle, by pool", waiting);
        metrics
    }

    /// Returns the metrics of a process that only has workers.
    pub(crate) fn of_workers(has_connections: bool) -> Self {
        let seconds = || Histogram::new(exponential_buckets(0.001, 2.0, 16));
        let mut metrics = Self {
            registry: Registry::default(),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(seconds),
            recipients: Family::default(),
            enrollment_seconds: seconds(),
            enrollments: Family::default(),
            queue_age: Gauge::default(),
            queue_organizations: Gauge::default(),
            database_up: Gauge::default(),
            handles: UsageGauges::default(),
            connections: UsageGauges::default(),
            work: WorkMetrics::default(),
            webhooks: WebhookMetrics::default(),
        };
        let registry = &mut metrics.registry;
        let help = "Recipients processed by this process, by disposition and first reason";
        registry.register("enroll_recipients", help, metrics.recipients.clone());
        let help = "Duration of enrollments processed by this process";
        registry.register("enroll_enrollment_duration_seconds", help, metrics.enrollment_seconds.clone());
        registry.register("enroll_enrollments", "Enrollments in the database, by state", metrics.enrollments.clone());
        let help = "Age of the oldest waiting enrollment; 0 if none waits";
        registry.register("enroll_queue_age_seconds", help, metrics.queue_age.clone());
        let help = "Organizations with waiting enrollments, which take turns";
        registry.register("enroll_queue_organizations", help, metrics.queue_organizations.clone());
        let help = "1 if the metrics of the database were read for this answer, 0 if they are older";
        registry.register("enroll_database_up", help, metrics.database_up.clone());
        if has_connections {
            let UsageGauges { limit, in_use, waiting } = metrics.connections.clone();
            registry.register("enroll_connections_limit", "Most connections to the database", limit);
            registry.register("enroll_connections_in_use", "Connections to the database that a call uses", in_use);
            registry.register("enroll_connections_waiting", "Calls that wait for a connection", waiting);
        }
        metrics.work.register(registry);
        metrics.webhooks.register(registry);
        metrics
    }

    /// Counts an event of a worker.
    pub(crate) fn record_work(&self, event: &Event) {
        self.work.count(event);
        if let Event::Completed { report, took, .. } = event {
            self.record_completed(report, *took);
        }
    }

    fn record_completed(&self, report: &EnrollmentReport, took: Duration) {
        self.enrollment_seconds.observe(took.as_secs_f64());
        for outcome in &report.outcomes {
            let reason = outcome.reasons.first().map_or("none", enroll::Reason::code);
            let labels = RecipientLabels { disposition: outcome.disposition.as_str(), reason };
            self.recipients.get_or_create(&labels).inc();
        }
    }

    fn record_queue(&self, queue: &Queue) {
        for state in EnrollmentState::WORDS {
            let count = queue.counts.iter().find(|(name, _)| name == state).map_or(0, |(_, count)| *count);
            self.enrollments.get_or_create(&StateLabels { state: state.to_owned() }).set(count);
        }
        let now = current_time().ok();
        self.webhooks.set(&queue.webhooks, now);
        // Without a clock, keep the last age.
        if let Some(now) = now {
            let age = queue.oldest.map_or(0, |at| now.millis().saturating_sub(at.millis()).max(0));
            self.queue_age.set(Duration::from_millis(age.unsigned_abs()).as_secs_f64());
        }
        self.queue_organizations.set(queue.organizations);
    }

    /// Returns all metrics. Without the database, those of the database keep their last values.
    pub(crate) async fn answer(&self, queue: &Probe<Queue>, connections: Option<Usage>) -> Result<Response, ApiError> {
        let queue = queue.result().await;
        self.database_up.set(queue.is_some().into());
        if let Some(queue) = queue {
            self.record_queue(&queue);
        }
        if let Some(usage) = connections {
            self.connections.set(usage);
        }
        let mut body = String::new();
        text::encode(&mut body, &self.registry).map_err(|_| ApiError::internal())?;
        let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        Ok(([(header::CONTENT_TYPE, kind)], body).into_response())
    }

    fn record_request(&self, method: &'static str, route: String, status: u16, took: Duration) {
        let labels = RouteLabels { method, route: route.clone() };
        self.request_seconds.get_or_create(&labels).observe(took.as_secs_f64());
        self.requests.get_or_create(&RequestLabels { method, route, status }).inc();
    }
}

/// Counts and logs a request with its route. A path or a query can contain personal data, so they are not logged.
pub(crate) async fn measure(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let start = Instant::now();
    let route = request.extensions().get::<MatchedPath>().map_or(UNMATCHED, MatchedPath::as_str).to_owned();
    let method = method_name(request.method());
    let response = next.run(request).await;
    let (status, took) = (response.status().as_u16(), start.elapsed());
    let milliseconds = u64::try_from(took.as_millis()).ok();
    if route.starts_with("/v1/") {
        tracing::info!(target: REQUESTS, method, route, status, milliseconds, "request");
    } else {
        tracing::debug!(target: REQUESTS, method, route, status, milliseconds, "request");
    }
    app.metrics.record_request(method, route, status, took);
    response
}

/// Read the metrics for Prometheus
#[utoipa::path(
    get, path = "/metrics", operation_id = "metrics", tag = "operations", security(()),
    responses((status = 200, description = "The metrics", body = String, content_type = "application/openmetrics-text")),
)]
pub(crate) async fn show(State(app): State<Arc<App>>) -> Result<Response, ApiError> {
    app.metrics.handles.set("requests", app.handles.usage());
    app.metrics.handles.set("keys", app.key_handles.usage());
    app.metrics.answer(&app.queue, app.handles.connections()).await
}

/// What waits in the database: accepted enrollments and webhooks.
#[derive(Clone)]
pub(crate) struct Queue {
    /// The number of enrollments in each state.
    counts: Vec<(String, i64)>,
    /// When the oldest waiting enrollment was accepted.
    oldest: Option<Timestamp>,
    /// The number of organizations with waiting enrollments.
    organizations: i64,
    webhooks: Backlog,
}

impl Queue {
    /// Returns what reads the queue, with separate handles.
    pub(crate) fn probe(factory: HandleFactory) -> Probe<Self> {
        Probe::new(factory, MIN_INTERVAL, Self::read)
    }

    fn read(handle: &mut Handle) -> BoxFuture<'_, Result<Self, RepositoryError>> {
        Box::pin(async {
            let sql = "select state, count(*) from enroll.enrollments group by state";
            let counts = handle.query(sql, &[], |row| Ok((not_null(row.text()?)?, not_null(row.number()?)?))).await?;
            let sql = "select min(at) from enroll.enrollments where state = 'accepted'";
            let oldest = handle.query(sql, &[], |row| row.instant()).await?.into_iter().flatten().next();
            let sql = "select count(*) from enroll.queues where due_at is not null";
            let organizations = handle.query(sql, &[], |row| row.number()).await?.into_iter().flatten().sum();
            let webhooks = Backlog::read(handle).await?;
            Ok(Self { counts, oldest, organizations, webhooks })
        })
    }
}

/// The target of the lines of requests.
pub(super) const REQUESTS: &str = "enroll::requests";
/// How long the metrics from the database are used again. Frequent scrapes do not load the database.
const MIN_INTERVAL: Duration = Duration::from_secs(1);

//! `enroll serve`: the HTTP service, with workers in the same process.

use axum::http::HeaderName;
use std::fmt::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::block_in_place;

use enroll::inbox::Removed;
use enroll::{OrganizationId, SequenceId};
use enroll_worker::Event;

use crate::args::ServeArgs;
use crate::database::Database;
use crate::handles::{Handle, HandleFactory, HandlePool};
use crate::http::accept::{Routers, accept_connections};
use crate::http::connections::Connections;
use crate::http::health::{self, Probe};
use crate::http::limits::Limits;
use crate::http::metrics::{Metrics, Queue};
use crate::http::previews::Previews;
use crate::http::{self, App};
use crate::keys::{self, RecordedUses};
use crate::retention::RemovedLists;
use crate::telemetry::Export;
use crate::webhooks::deliver;
use crate::work::Options;
use crate::{Failure, background, demo, import_job, input, log, migrate, print_to_stdout, retention};

/// Serves until Ctrl-C or SIGTERM. Finishes the running requests and enrollments first.
pub(crate) fn run(args: &ServeArgs) -> Result<ExitCode, Failure> {
    let policy = args.policy.as_deref().map(input::policy).transpose()?.unwrap_or_default();
    let name = Database::resolve_name(args.database.as_deref())?;
    let key_header: HeaderName = args.key_header.parse().map_err(|e| Failure::from_error(&args.key_header, &e))?;
    // Dropped after the runtime: the last spans end with that.
    let export = Export::start()?;
    log::start(args.log_format, &args.log, export.as_ref());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Failure::from_error("serve", &e))?;
    runtime.block_on(async {
        // Create the database, or update its tables, unless another process does that.
        block_in_place(|| migrate::prepare(&name, args.migration.migrate))?;
        let handles = usize::from(args.handles);
        let others = KEY_HANDLES + deliver::HANDLES + 1;
        let factory = HandleFactory::open(&name, usize::from(args.workers) + handles + others)?;
        // The checks have connections of their own: they work while all others are in use.
        let check_factory = HandleFactory::open(&name, 2)?;
        let mut handle = factory.handle()?;
        migrate::prepare_service_tables(&mut handle, &name, args.migration.migrate).await?;
        let demo = if args.demo { Some(Demo::create(&name, &factory, &mut handle).await?) } else { None };
        drop(handle);
        let listener = TcpListener::bind(args.listen).await.map_err(|e| Failure::from_error(args.listen, &e))?;
        let address = listener.local_addr().map_err(|e| Failure::from_error(args.listen, &e))?;
        let mut text = format!("listening on http://{address}\n");
        if let Some(Demo { organization_id, sequence_id, key }) = demo {
            let _infallible = writeln!(text, "demo organization {organization_id}, with API key {}", key.as_str());
            let _infallible = writeln!(text, "the page, signed in: http://{address}/#key={}", key.as_str());
            text.push_str("try this request:\n");
            let _infallible = writeln!(
                text,
                "curl -sS -X POST http://{address}/v1/sequences/{sequence_id}/contacts -H '{}: {}' \
                 -H 'Content-Type: application/json' -d '{TWO_PEOPLE}'",
                args.key_header,
                key.as_str()
            );
        }
        let stop = background::shutdown_signal();
        print_to_stdout(&text)?;
        let options = Options {
            workers: args.workers,
            attempts: args.attempts,
            lease: Duration::from_secs(args.lease.into()),
            until_empty: false,
        };
        let workers = options.workers();
        let app = Arc::new(App {
            handles: HandlePool::new(factory.clone(), handles),
            key_handles: HandlePool::new(factory.clone(), KEY_HANDLES),
            policy,
            key_header,
            key_header_name: args.key_header.clone(),
            limits: Limits::new(
                args.concurrency as usize,
                usize::from(args.body_memory) << 20,
                args.list_bytes as usize,
                args.rate_limit,
                Duration::from_secs(args.timeout.into()),
            ),
            readiness: Probe::new(check_factory.clone(), Duration::ZERO, health::check_write),
            queue: Queue::probe(check_factory),
            recorded_uses: RecordedUses::default(),
            metrics: Metrics::of_service(factory.connections().is_some()),
            previews: Previews::default(),
            wake: workers.wake(),
        });
        app.metrics.work.workers.set(options.workers.into());
        let shared = Arc::clone(&app);
        let workers = workers.on_event(move |event| record_event(&shared, event));
        let working = crate::work::work(&factory, options, workers, &stop);
        let retaining = async {
            retention::repeat(&factory, args.retention.ages(), stop.clone(), record_removed).await;
            Ok(())
        };
        let shared = Arc::clone(&app);
        let on_webhook = Arc::new(move |event: deliver::Event<'_>| {
            shared.metrics.webhooks.count(&event);
            deliver::log(&event);
        });
        let sending = deliver::send_in_background(factory.clone(), args.webhooks.options(), on_webhook, stop.clone());
        // In a separate task: a call of SQLite blocks the whole task.
        let routers = Routers { all: http::router(Arc::clone(&app)), checks: http::checks_router(Arc::clone(&app)) };
        let accepting = accept_connections(listener, connections(args), routers, app.limits.timeout, stop.clone());
        let accepting = tokio::spawn(accepting);
        let serving = async {
            accepting.await.map_err(|e| Failure::from_error("serve", &e))?;
            app.previews.stop();
            Ok(())
        };
        let expiring = async {
            app.previews.expire().await;
            Ok(())
        };
        // If the workers fail, the service ends too: accepted enrollments would wait without an end.
        let ended = tokio::try_join!(working, serving, retaining, expiring, sending).map(drop);
        app.previews.stop();
        ended
    })?;
    Ok(ExitCode::SUCCESS)
}

/// The demo organization and its API key.
struct Demo {
    organization_id: OrganizationId,
    sequence_id: SequenceId,
    key: keys::ApiKey,
}

impl Demo {
    async fn create(name: &str, factory: &HandleFactory, handle: &mut Handle) -> Result<Self, Failure> {
        let (seed, sequence_id) = demo::organization()?;
        let organization_id = seed.organization_id;
        block_in_place(|| {
            let mut database = Database::open(name)?;
            if database.organizations()?.contains(&organization_id) { Ok(()) } else { database.load_seed(&seed) }
        })?;
        let key = keys::demo(handle, organization_id, import_job::current_time()?).await;
        Ok(Self { organization_id, sequence_id, key: key.map_err(|e| Failure::from_error(&factory.name, &e))? })
    }
}

/// Returns the table for the connections of the options.
fn connections(args: &ServeArgs) -> Arc<Connections> {
    let by_requests = args.concurrency.saturating_mul(CONNECTIONS_PER_REQUEST).max(MIN_CONNECTION_LIMIT);
    let limit = args.connections.unwrap_or(by_requests);
    let per_address = args.connections_per_address.unwrap_or(limit.div_ceil(2));
    Connections::new(limit as usize, per_address as usize)
}

/// Logs and counts an event of a worker.
fn record_event(app: &App, event: &Event) {
    app.metrics.record_work(event);
    match event {
        Event::Claimed(claim) => tracing::debug!(target: WORK, lost_leases = claim.lost_leases, "claimed"),
        Event::Completed { report, took, .. } => {
            let counts = report.counts();
            tracing::info!(
                target: WORK,
                added = counts.added,
                re_added = counts.re_added,
                reprocessed = counts.reprocessed,
                ignored = counts.ignored,
                duplicate = counts.duplicate,
                milliseconds = u64::try_from(took.as_millis()).ok(),
                "completed"
            );
        }
        Event::Rejected { rejection, .. } => {
            let codes: Vec<&str> = rejection.errors().iter().map(|fault| fault.code.code()).collect();
            tracing::warn!(target: WORK, codes = codes.join(","), "rejected");
        }
        Event::Retried { error, delay, .. } => {
            tracing::warn!(target: WORK, error, retry_seconds = delay.as_secs_f32(), "attempt failed");
        }
        Event::Failed { error, .. } => tracing::error!(target: WORK, error, "enrollment failed in every attempt"),
        Event::Released { error, .. } => tracing::warn!(target: WORK, error, "left for later"),
        Event::Interrupted { error, .. } | Event::ClaimFailed { error } | Event::StorageFailed { error } => {
            tracing::warn!(target: WORK, error, "database error, the worker tries again");
        }
        _ => {}
    }
}

/// Logs what was removed because it was too old.
fn record_removed(event: retention::Event) {
    match event {
        retention::Event::Removed(Removed { commands, reports, .. }) => {
            tracing::info!(target: WORK, requests = commands, reports, "removed what was too old");
        }
        retention::Event::ListsRemoved(RemovedLists { texts, lists }) => {
            tracing::info!(target: WORK, texts, lists, "removed lists that were too old");
        }
        retention::Event::EventsRemoved { events, webhooks } => {
            tracing::info!(target: WORK, events, webhooks, "removed events and webhooks that were too old");
        }
        retention::Event::DatabaseError(error) => {
            tracing::warn!(target: WORK, error, "database error, the process tries again later");
        }
    }
}

/// The target of the events of workers, as of their spans.
pub(crate) const WORK: &str = "enroll::work";
/// The number of requests that find an API key in the database at a time.
const KEY_HANDLES: usize = 2;
/// The limit of open connections, as a multiple of the concurrent requests: idle connections use few resources.
const CONNECTIONS_PER_REQUEST: u32 = 4;
const MIN_CONNECTION_LIMIT: u32 = 1024;
const TWO_PEOPLE: &str =
    r#"{"to":[{"phone":"+1 415 555 0132","name":"Ann Lee"},{"phone":"+1 415 555 0187","name":"Bo Berg"}]}"#;

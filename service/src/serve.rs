//! `enroll serve`: the HTTP service, with workers beside it.

use axum::http::HeaderName;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::fmt::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::block_in_place;

use enroll::{OrganizationId, SequenceId};

use crate::args::{LogFormat, ServeArgs};
use crate::database::Database;
use crate::http::limits::RateLimit;
use crate::http::metrics::Metrics;
use crate::http::{self, App, private};
use crate::store::{Handle, Handles, Store};
use crate::work::{Event, Settings};
use crate::{Failure, ask, background, demo, input, keys, out};

/// Serves until Ctrl-C, or termination. What runs is finished first.
pub(crate) fn run(args: &ServeArgs) -> Result<ExitCode, Failure> {
    let policy = args.policy.as_deref().map(input::policy).transpose()?.unwrap_or_default();
    let name = Database::named(args.database.as_deref())?;
    let key_header: HeaderName = args.key_header.parse().map_err(|e| Failure::new(&args.key_header, e))?;
    log(args.log);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Failure::new("serve", e))?;
    runtime.block_on(async {
        // Made, or brought up to date.
        block_in_place(|| Database::open_or_make(&name).map(drop))?;
        let store = Store::open(&name, usize::from(args.workers) + HANDLES).await?;
        let mut handle = store.handle()?;
        handle.make_tables().await.map_err(|e| Failure::caused(&store.name, &e))?;
        let tried = if args.demo { Some(Demo::new(&name, &store, &mut handle).await?) } else { None };
        drop(handle);
        let listener = TcpListener::bind(args.listen).await.map_err(|e| Failure::new(args.listen, e))?;
        let address = listener.local_addr().map_err(|e| Failure::new(args.listen, e))?;
        let mut text = format!("listening on http://{address}\n");
        if let Some(Demo { organization_id, sequence_id, key }) = tried {
            let _infallible = writeln!(text, "demo organization {organization_id}, its API key: {}", key.as_str());
            text.push_str("try it:\n");
            let _infallible = writeln!(
                text,
                "curl -sS -X POST http://{address}/v1/sequences/{sequence_id}/contacts -H '{}: {}' \
                 -H 'Content-Type: application/json' -d '{TWO_PEOPLE}'",
                args.key_header,
                key.as_str()
            );
        }
        let stop = background::stopped();
        out(&text)?;
        let app = Arc::new(App {
            handles: Handles::new(store.clone(), HANDLES),
            policy,
            key_header,
            key_header_name: args.key_header.clone(),
            rate_limit: args.rate_limit.map(RateLimit::new),
            free: Semaphore::new(args.concurrency as usize),
            timeout: Duration::from_secs(args.timeout.into()),
            metrics: Metrics::new(),
            wake: Arc::new(Notify::new()),
        });
        let settings = Settings {
            workers: args.workers,
            attempts: args.attempts,
            lease: Duration::from_secs(args.lease.into()),
            until_empty: false,
        };
        let told = Arc::clone(&app);
        let working = crate::work::work(&store, settings, &stop, &app.wake, move |event| tell(&told, &event));
        let answering = async {
            answer(listener, Arc::clone(&app), stop.clone()).await;
            Ok(())
        };
        // Without workers nothing that is accepted would be processed: their end is the service's.
        tokio::try_join!(working, answering).map(drop)
    })?;
    Ok(ExitCode::SUCCESS)
}

/// What is printed for somebody to try.
struct Demo {
    organization_id: OrganizationId,
    sequence_id: SequenceId,
    key: keys::ApiKey,
}

impl Demo {
    async fn new(name: &str, store: &Store, handle: &mut Handle) -> Result<Self, Failure> {
        let (given, sequence_id) = demo::organization()?;
        let organization_id = given.organization_id;
        block_in_place(|| {
            let mut database = Database::open(name)?;
            if database.organizations()?.contains(&organization_id) { Ok(()) } else { database.seed(&given) }
        })?;
        let key = keys::create(handle, organization_id, "demo", ask::clock()?).await;
        Ok(Self { organization_id, sequence_id, key: key.map_err(|e| Failure::caused(&store.name, &e))? })
    }
}

/// Answers until it is told to stop; then takes no more connections, and ends when those that stand are answered.
async fn answer(listener: TcpListener, app: Arc<App>, mut stop: watch::Receiver<bool>) {
    let most = app.free.available_permits().saturating_mul(CONNECTIONS_A_REQUEST);
    let connections = Arc::new(Semaphore::new(most.max(MOST_CONNECTIONS)));
    let wait = app.timeout;
    let router = http::router(app);
    let graceful = GracefulShutdown::new();
    let mut http = http1::Builder::new();
    // Who has said everything and closed its side is answered all the same.
    http.timer(TokioTimer::new()).header_read_timeout(wait).half_close(true);
    loop {
        let next = async {
            let permit = Arc::clone(&connections).acquire_owned().await;
            (listener.accept().await, permit)
        };
        let (accepted, permit) = tokio::select! {
            next = next => next,
            _ = stop.changed() => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(e) => {
                // Too many open files, mostly: others will be closed.
                tracing::warn!(error = %e, "no connection can be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        // The last packet of an answer does not wait for more.
        drop(stream.set_nodelay(true));
        let service = TowerToHyperService::new(router.clone());
        let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            // A caller that goes away is its own business.
            drop(connection.await);
            drop(permit);
        });
    }
    // Whoever comes now is refused, and goes elsewhere.
    drop(listener);
    let answered = tokio::time::timeout(wait + Duration::from_secs(1), graceful.shutdown()).await;
    if answered.is_err() {
        tracing::warn!("connections were cut: their requests took too long");
    }
}

/// What workers tell, counted and logged.
fn tell(app: &App, event: &Event) {
    match event {
        Event::Completed(_, report, took) => {
            app.metrics.completed(report, *took);
            let counts = report.counts();
            tracing::info!(
                added = counts.added,
                re_added = counts.re_added,
                reprocessed = counts.reprocessed,
                ignored = counts.ignored,
                duplicate = counts.duplicate,
                milliseconds = u64::try_from(took.as_millis()).ok(),
                "completed"
            );
        }
        Event::Rejected(_, rejection) => {
            let codes: Vec<&str> = rejection.errors().iter().map(|fault| fault.code.code()).collect();
            tracing::warn!(codes = codes.join(","), "rejected");
        }
        Event::Postponed(_, error, at) => tracing::warn!(error = private(error), again = %at, "attempt failed"),
        Event::GivenUp(_, error) => tracing::error!(error = private(error), "gave up"),
        Event::Left(error) => tracing::warn!(error = private(error), "left for a newer worker"),
        Event::Trouble(error) => tracing::warn!(error = private(error), "the database does not answer, trying on"),
    }
}

fn log(format: LogFormat) {
    let to = tracing_subscriber::fmt().with_writer(std::io::stderr).with_target(false);
    match format {
        LogFormat::Json => to.json().init(),
        LogFormat::Text => to.with_ansi(false).init(),
    }
}

/// How many requests use the database at once.
const HANDLES: usize = 8;
/// Connections that wait for the next request, or for an answer, are cheap.
const CONNECTIONS_A_REQUEST: usize = 4;
const MOST_CONNECTIONS: usize = 1024;
const TWO_PEOPLE: &str =
    r#"{"to":[{"phone":"+1 415 555 0132","name":"Ann Lee"},{"phone":"+1 415 555 0187","name":"Bo Berg"}]}"#;

//! The metrics of `enroll work`, over HTTP.

use axum::Router;
use axum::extract::State;
use axum::middleware::{from_fn, map_response};
use axum::response::Response;
use axum::routing::get;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::accept::{CHECK_CONNECTIONS, Routers, accept_connections};
use super::connections::Connections;
use super::errors::ApiError;
use super::forbid_caching;
use super::health::{self, Probe};
use super::metrics::{Metrics, Queue};
use super::request_span::identify;
use crate::handles::HandleFactory;
use crate::{Failure, print_to_stderr};

/// Serves `/metrics` and `/healthz` of a process that only has workers.
pub(crate) struct MetricsServer {
    address: SocketAddr,
    accepting: JoinHandle<()>,
    stop: watch::Sender<bool>,
}

struct Workers {
    metrics: Arc<Metrics>,
    /// The handles of the workers.
    handles: HandleFactory,
    queue: Probe<Queue>,
}

impl MetricsServer {
    /// Starts to listen at an address. `name` is the database: the metrics are read with a separate handle.
    pub(crate) async fn start(
        address: SocketAddr,
        name: &str,
        handles: HandleFactory,
        metrics: Arc<Metrics>,
    ) -> Result<Self, Failure> {
        let queue = Queue::probe(HandleFactory::open(name, 1)?);
        let failed = |e| Failure::from_error(address, &e);
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        print_to_stderr(&format!("metrics at http://{address}/metrics"));
        let router = Router::new()
            .route("/metrics", get(show))
            .route("/healthz", get(health::healthz))
            .layer(map_response(forbid_caching))
            .layer(from_fn(identify))
            .with_state(Arc::new(Workers { metrics, handles, queue }));
        let connections = Connections::new(CHECK_CONNECTIONS, CHECK_CONNECTIONS);
        let routers = Routers { all: router.clone(), checks: router };
        let (stop, stopped) = watch::channel(false);
        let accepting = tokio::spawn(accept_connections(listener, connections, routers, TIMEOUT, stopped));
        Ok(Self { address, accepting, stop })
    }

    /// Finishes the running requests.
    pub(crate) async fn stop(self) -> Result<(), Failure> {
        drop(self.stop);
        self.accepting.await.map_err(|e| Failure::from_error(self.address, &e))
    }
}

async fn show(State(workers): State<Arc<Workers>>) -> Result<Response, ApiError> {
    workers.metrics.answer(&workers.queue, workers.handles.connections()).await
}

/// How long a request can take.
const TIMEOUT: Duration = Duration::from_secs(10);

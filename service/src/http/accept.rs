//! Accepts HTTP connections, and serves them with limits.

use axum::Router;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::connections::{ClientAddress, Connections};
use super::heads::ErrorBodies;
use super::write_timeout::WriteTimeout;
use crate::cancel::for_client;

/// What connections are served with.
pub(crate) struct Routers {
    pub(crate) all: Router,
    /// For the connections above the limit.
    pub(crate) checks: Router,
}

/// Serves connections until `stop` becomes true. Then it accepts no more, and finishes the running requests.
pub(crate) async fn accept_connections(
    listener: TcpListener,
    connections: Arc<Connections>,
    routers: Routers,
    request_timeout: Duration,
    mut stop: watch::Receiver<bool>,
) {
    // The checks are answered while requests use all other connections.
    let checks = Connections::new(CHECK_CONNECTIONS, CHECK_CONNECTIONS);
    let graceful = GracefulShutdown::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(request_timeout).max_buf_size(CONNECTION_BUFFER);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.changed() => break,
        };
        let (stream, client) = match accepted {
            Ok((stream, address)) => (stream, ClientAddress::from(address.ip())),
            Err(e) => {
                // The usual cause is too many open files. Wait until other connections close.
                tracing::warn!(error = %e, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let opened = connections.open(client).map(|connection| (connection, &routers.all));
        let Some((connection, router)) = opened.or_else(|| Some((checks.open(client)?, &routers.checks))) else {
            continue;
        };
        let connection = Arc::new(connection);
        // Send the last packet of a response without delay.
        drop(stream.set_nodelay(true));
        let stream = TokioIo::new(ErrorBodies::new(WriteTimeout::new(stream, request_timeout)));
        let (service, of_request) = (TowerToHyperService::new(router.clone()), Arc::clone(&connection));
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(client);
            let (response, connection) = (for_client(service.call(request)), Arc::clone(&of_request));
            async move {
                connection.set_processing(true);
                let response = response.await;
                connection.set_processing(false);
                response
            }
        });
        let serving = graceful.watch(http.serve_connection(stream, service));
        tokio::spawn(async move {
            // An error here means that the client closed the connection, or does not read the response.
            tokio::select! {
                ended = serving => drop(ended),
                () = connection.closed() => {}
            }
        });
    }
    // Refuse new connections, so that clients use another process.
    drop(listener);
    let finished = tokio::time::timeout(request_timeout + Duration::from_secs(1), graceful.shutdown()).await;
    if finished.is_err() {
        tracing::warn!("closed connections whose requests exceeded the timeout");
    }
}

/// The longest head of a request, in bytes. Each connection can have a buffer of this size.
const CONNECTION_BUFFER: usize = 64 << 10;
/// The connections above the limit, for checks only.
pub(super) const CHECK_CONNECTIONS: usize = 32;

//! A proxy between a client and the server that counts the round trips on the wire.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio_postgres::Config;
use tokio_postgres::config::Host;

use crate::support::RUNTIME;

/// Counts how often a client sent something after it had received something, on all connections.
pub(crate) struct Proxy {
    address: SocketAddr,
    round_trips: Arc<AtomicU64>,
}

impl Proxy {
    /// Starts a proxy in front of the server of the address.
    pub(crate) async fn start(url: &str) -> Self {
        let config: Config = url.parse().unwrap();
        let port = config.get_ports().first().copied().unwrap_or(5432);
        let server = match config.get_hosts().first() {
            Some(Host::Tcp(host)) => (host.clone(), port),
            other => panic!("the test needs a TCP connection, not {other:?}"),
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self { address: listener.local_addr().unwrap(), round_trips: Arc::default() };
        let round_trips = Arc::clone(&proxy.round_trips);
        RUNTIME.spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = TcpStream::connect(server.clone()).await.unwrap().into_split();
                let has_answer = Arc::new(AtomicBool::new(true));
                RUNTIME.spawn(forward(from_server, to_client, {
                    let has_answer = Arc::clone(&has_answer);
                    move || has_answer.store(true, Ordering::SeqCst)
                }));
                let round_trips = Arc::clone(&round_trips);
                RUNTIME.spawn(forward(from_client, to_server, move || {
                    if has_answer.swap(false, Ordering::SeqCst) {
                        round_trips.fetch_add(1, Ordering::SeqCst);
                    }
                }));
            }
        });
        proxy
    }

    /// Returns the port of the proxy, on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn round_trips(&self) -> u64 {
        self.round_trips.load(Ordering::SeqCst)
    }
}

/// Forwards bytes until one side closes. Counts each piece before it is forwarded.
async fn forward(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, count: impl Fn()) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        count();
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}

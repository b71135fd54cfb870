//! Requests to cancel a statement, each on a new connection that stays open until the server closes it.
//!
//! PgBouncer 1.18 ends for all of its clients if a client closes the connection of a request before that, and the driver
//! does.

use futures_util::future::{BoxFuture, join_all};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_postgres::config::Host;
use tokio_postgres::tls::{ChannelBinding, MakeTlsConnect, TlsConnect, TlsStream};
use tokio_postgres::{CancelToken, Config, NoTls};

use super::tls::Connector;

/// Sends requests to cancel to the hosts of an address.
#[derive(Clone)]
pub(crate) struct CancelRequests {
    config: Config,
    connector: Option<Connector>,
}

impl CancelRequests {
    pub(super) fn new(config: Config, connector: Option<Connector>) -> Self {
        Self { config, connector }
    }

    /// Sends a request to each address that the connection can be to. The key of the request belongs to one server, and the
    /// others ignore it. If no request arrives, the statement ends with its timeouts.
    pub(crate) async fn send(&self, token: CancelToken) {
        let (hosts, addresses) = (self.config.get_hosts(), self.config.get_hostaddrs());
        let ports = self.config.get_ports();
        let requests = hosts.iter().enumerate().map(async |(position, host)| {
            let port = ports.get(position).or(ports.first()).copied().unwrap_or(5432);
            match host {
                Host::Tcp(name) => {
                    let found = match addresses.get(position) {
                        Some(address) => vec![(*address, port).into()],
                        None => lookup_host((&**name, port)).await.map(Iterator::collect).unwrap_or_default(),
                    };
                    let requests = found.into_iter().map(async |address: std::net::SocketAddr| {
                        self.request(&token, TcpStream::connect(address).await?, name).await
                    });
                    drop(join_all(requests).await);
                }
                #[cfg(unix)]
                Host::Unix(folder) => {
                    let path = folder.join(format!(".s.PGSQL.{port}"));
                    if let Ok(stream) = tokio::net::UnixStream::connect(path).await {
                        drop(self.request(&token, stream, "").await);
                    }
                }
            }
        });
        drop(timeout(LIMIT, join_all(requests)).await);
    }

    async fn request<S>(&self, token: &CancelToken, stream: S, host: &str) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let stream = UntilClosed(stream);
        let sent = match &self.connector {
            None => token.cancel_query_raw(stream, NoTls).await,
            Some(connector) => {
                let tls = MakeTlsConnect::<UntilClosed<S>>::make_tls_connect(&mut connector.make(), host);
                token.cancel_query_raw(stream, TlsUntilClosed(tls.map_err(io::Error::other)?)).await
            }
        };
        sent.map_err(io::Error::other)
    }
}

/// How long a request can take, from the look-up of the host until the server closes the connection.
const LIMIT: Duration = Duration::from_secs(10);

/// A stream that is shut down after the peer has closed it.
struct UntilClosed<S>(S);

impl<S: AsyncRead + Unpin> AsyncRead for UntilClosed<S> {
    fn poll_read(mut self: Pin<&mut Self>, task: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(task, into)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for UntilClosed<S> {
    fn poll_write(mut self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(task, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut buffer = [0; 64];
            let mut into = ReadBuf::new(&mut buffer);
            // A peer of TLS may close without its last message, which is an error.
            if ready!(Pin::new(&mut self.0).poll_read(task, &mut into)).is_err() || into.filled().is_empty() {
                return Pin::new(&mut self.0).poll_shutdown(task);
            }
        }
    }
}

impl<S: TlsStream + Unpin> TlsStream for UntilClosed<S> {
    fn channel_binding(&self) -> ChannelBinding {
        self.0.channel_binding()
    }
}

/// TLS whose stream is shut down after the peer has closed it.
struct TlsUntilClosed<T>(T);

impl<S, T> TlsConnect<S> for TlsUntilClosed<T>
where
    T: TlsConnect<S>,
    T::Future: Send + 'static,
{
    type Stream = UntilClosed<T::Stream>;
    type Error = T::Error;
    type Future = BoxFuture<'static, Result<Self::Stream, T::Error>>;

    fn connect(self, stream: S) -> Self::Future {
        let connected = self.0.connect(stream);
        Box::pin(async move { connected.await.map(UntilClosed) })
    }
}

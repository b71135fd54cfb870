//! A connection that counts the messages of the server, and that can be cut at any of them.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_postgres::config::Host;
use tokio_postgres::{Client, Config, NoTls};

use super::RUNTIME;

/// Counts how often the server was ready: after a statement, or after the rows of a copy. Clones share the counts.
#[derive(Clone)]
pub(crate) struct Connection {
    ready: Arc<AtomicUsize>,
    copies: Arc<AtomicUsize>,
    left: Arc<AtomicUsize>,
    copies_left: Arc<AtomicUsize>,
}

impl Default for Connection {
    fn default() -> Self {
        let unlimited = || Arc::new(AtomicUsize::new(usize::MAX));
        Self { ready: Arc::default(), copies: Arc::default(), left: unlimited(), copies_left: unlimited() }
    }
}

impl Connection {
    pub(crate) async fn connect(&self, url: &str) -> Client {
        let config: Config = url.parse().unwrap();
        let port = config.get_ports().first().copied().unwrap_or(5432);
        let stream = match config.get_hosts().first() {
            Some(Host::Tcp(host)) => TcpStream::connect((host.as_str(), port)).await.unwrap(),
            other => panic!("the test needs a TCP connection, not {other:?}"),
        };
        let counting = Counting { stream, connection: self.clone(), frame: Frame::default() };
        let (client, driver) = config.connect_raw(counting, NoTls).await.unwrap();
        RUNTIME.spawn(driver);
        client
    }

    /// Returns the count since the last call.
    pub(crate) fn take(&self) -> usize {
        self.ready.swap(0, Ordering::SeqCst)
    }

    /// Returns the number of copies that began since the last call.
    pub(crate) fn take_copies(&self) -> usize {
        self.copies.swap(0, Ordering::SeqCst)
    }

    /// Cuts the connection when the n-th copy from now on begins.
    pub(crate) fn cut_at_copy(&self, n: usize) {
        self.copies_left.store(n, Ordering::SeqCst);
    }

    /// Cuts the connection at the n-th answer from now on: the server sends it, but the client does not receive it.
    pub(crate) fn cut_at(&self, n: usize) {
        self.left.store(n, Ordering::SeqCst);
    }

    fn count(&self, kind: u8) {
        let (count, left) = match kind {
            READY => (&self.ready, &self.left),
            COPY => (&self.copies, &self.copies_left),
            _ => return,
        };
        count.fetch_add(1, Ordering::SeqCst);
        left.store(left.load(Ordering::SeqCst).saturating_sub(1), Ordering::SeqCst);
    }

    fn check(&self) -> io::Result<()> {
        match self.left.load(Ordering::SeqCst).min(self.copies_left.load(Ordering::SeqCst)) {
            0 => Err(io::ErrorKind::ConnectionReset.into()),
            _ => Ok(()),
        }
    }
}

/// `ReadyForQuery`.
const READY: u8 = b'Z';
/// `CopyInResponse`.
const COPY: u8 = b'G';

/// A stream that counts the frames of the server.
struct Counting {
    stream: TcpStream,
    connection: Connection,
    frame: Frame,
}

/// The position in a frame: a type of one byte, a length of four bytes that includes itself, and the rest.
#[derive(Default)]
struct Frame {
    header: Vec<u8>,
    rest: usize,
}

impl Frame {
    fn read(&mut self, byte: u8, connection: &Connection) {
        if self.rest > 0 {
            self.rest -= 1;
            return;
        }
        self.header.push(byte);
        if let [kind, length @ ..] = &*self.header
            && let Ok(length) = <[u8; 4]>::try_from(length)
        {
            connection.count(*kind);
            self.rest = u32::from_be_bytes(length) as usize - 4;
            self.header.clear();
        }
    }
}

impl AsyncRead for Counting {
    fn poll_read(mut self: Pin<&mut Self>, task: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.connection.check()?;
        let before = into.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(task, into))?;
        let Self { connection, frame, .. } = &mut *self;
        into.filled()[before..].iter().for_each(|byte| frame.read(*byte, connection));
        Poll::Ready(connection.check().inspect_err(|_| into.set_filled(before)))
    }
}

impl AsyncWrite for Counting {
    fn poll_write(mut self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.connection.check()?;
        Pin::new(&mut self.stream).poll_write(task, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(task)
    }
}

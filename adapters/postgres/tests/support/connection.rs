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

/// Counts how often the server was ready: after a statement, or after the rows of a copy. Clones share the counts.
#[derive(Clone)]
pub(crate) struct Connection {
    ready: Arc<AtomicUsize>,
    copies: Arc<AtomicUsize>,
    left: Arc<AtomicUsize>,
    copies_left: Arc<AtomicUsize>,
    until_frozen: Arc<AtomicUsize>,
    round_trips: Arc<AtomicUsize>,
}

impl Default for Connection {
    fn default() -> Self {
        let unlimited = || Arc::new(AtomicUsize::new(usize::MAX));
        Self {
            ready: Arc::default(),
            copies: Arc::default(),
            left: unlimited(),
            copies_left: unlimited(),
            until_frozen: unlimited(),
            round_trips: Arc::default(),
        }
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
        let counting = Counting { stream, connection: self.clone(), frame: Frame::default(), has_read: false };
        let (client, driver) = config.connect_raw(counting, NoTls).await.unwrap();
        tokio::spawn(driver);
        client
    }

    /// Returns the count since the last call.
    pub(crate) fn take(&self) -> usize {
        self.ready.swap(0, Ordering::SeqCst)
    }

    /// Returns how often the client sent something after it had received something, since the last call.
    pub(crate) fn take_round_trips(&self) -> usize {
        self.round_trips.swap(0, Ordering::SeqCst)
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

    /// Freezes the client at the n-th answer from now on: it receives that answer no more, and waits forever.
    pub(crate) fn freeze_at(&self, n: usize) {
        self.until_frozen.store(n, Ordering::SeqCst);
    }

    fn is_frozen(&self) -> bool {
        self.until_frozen.load(Ordering::SeqCst) == 0
    }

    fn count(&self, kind: u8) {
        let (count, left): (_, &[_]) = match kind {
            READY => (&self.ready, &[&self.left, &self.until_frozen]),
            COPY => (&self.copies, &[&self.copies_left]),
            _ => return,
        };
        count.fetch_add(1, Ordering::SeqCst);
        for left in left {
            left.store(left.load(Ordering::SeqCst).saturating_sub(1), Ordering::SeqCst);
        }
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
    /// True if it has read since the last write.
    has_read: bool,
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
        if self.connection.is_frozen() {
            return Poll::Pending;
        }
        let before = into.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(task, into))?;
        let Self { connection, frame, has_read, .. } = &mut *self;
        *has_read = true;
        into.filled()[before..].iter().for_each(|byte| frame.read(*byte, connection));
        if connection.is_frozen() {
            into.set_filled(before);
            return Poll::Pending;
        }
        Poll::Ready(connection.check().inspect_err(|_| into.set_filled(before)))
    }
}

impl AsyncWrite for Counting {
    fn poll_write(mut self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.connection.check()?;
        if std::mem::take(&mut self.has_read) {
            self.connection.round_trips.fetch_add(1, Ordering::SeqCst);
        }
        Pin::new(&mut self.stream).poll_write(task, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(task)
    }
}

//! A connection whose answers are counted, and that can be cut at any of them.

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

/// How often the server said that it was ready, for a statement or for the rows of a copy. A clone counts the same.
#[derive(Clone)]
pub(crate) struct Wire {
    ready: Arc<AtomicUsize>,
    copies: Arc<AtomicUsize>,
    left: Arc<AtomicUsize>,
    copies_left: Arc<AtomicUsize>,
}

impl Default for Wire {
    fn default() -> Self {
        let no_end = || Arc::new(AtomicUsize::new(usize::MAX));
        Self { ready: Arc::default(), copies: Arc::default(), left: no_end(), copies_left: no_end() }
    }
}

impl Wire {
    pub(crate) async fn connect(&self, url: &str) -> Client {
        let config: Config = url.parse().unwrap();
        let port = config.get_ports().first().copied().unwrap_or(5432);
        let stream = match config.get_hosts().first() {
            Some(Host::Tcp(host)) => TcpStream::connect((host.as_str(), port)).await.unwrap(),
            other => panic!("the test counts on a TCP connection, and not on {other:?}"),
        };
        let counting = Counting { stream, wire: self.clone(), frame: Frame::default() };
        let (client, connection) = config.connect_raw(counting, NoTls).await.unwrap();
        RUNTIME.spawn(connection);
        client
    }

    /// How often since it was last asked.
    pub(crate) fn take(&self) -> usize {
        self.ready.swap(0, Ordering::SeqCst)
    }

    /// How many copies began since it was last asked.
    pub(crate) fn take_copies(&self) -> usize {
        self.copies.swap(0, Ordering::SeqCst)
    }

    /// Cuts the connection where the so-manieth copy from now on begins.
    pub(crate) fn cut_at_copy(&self, copy: usize) {
        self.copies_left.store(copy, Ordering::SeqCst);
    }

    /// Cuts the connection at the so-manieth answer from now on: the server gives it, and nobody hears it.
    pub(crate) fn cut_at(&self, answer: usize) {
        self.left.store(answer, Ordering::SeqCst);
    }

    fn heard(&self, kind: u8) {
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

/// A stream that counts frames of what the server says.
struct Counting {
    stream: TcpStream,
    wire: Wire,
    frame: Frame,
}

/// Where in a frame the stream is: a type of one byte, a length of four that counts itself, and the rest.
#[derive(Default)]
struct Frame {
    header: Vec<u8>,
    rest: usize,
}

impl Frame {
    fn read(&mut self, byte: u8, wire: &Wire) {
        if self.rest > 0 {
            self.rest -= 1;
            return;
        }
        self.header.push(byte);
        if let [kind, length @ ..] = &*self.header
            && let Ok(length) = <[u8; 4]>::try_from(length)
        {
            wire.heard(*kind);
            self.rest = u32::from_be_bytes(length) as usize - 4;
            self.header.clear();
        }
    }
}

impl AsyncRead for Counting {
    fn poll_read(mut self: Pin<&mut Self>, task: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.wire.check()?;
        let before = into.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(task, into))?;
        let Self { wire, frame, .. } = &mut *self;
        into.filled()[before..].iter().for_each(|byte| frame.read(*byte, wire));
        Poll::Ready(wire.check().inspect_err(|_| into.set_filled(before)))
    }
}

impl AsyncWrite for Counting {
    fn poll_write(mut self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.wire.check()?;
        Pin::new(&mut self.stream).poll_write(task, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(task)
    }
}

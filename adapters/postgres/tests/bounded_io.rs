//! Context, load and commit are the same number of statements for any number of recipients.
#![cfg(feature = "testing")]

mod common;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use common::{RUNTIME, Request, block_on, body, database};
use enroll::{AsyncRepository, Engine, EnrollmentCommand, EnrollmentPolicy, plan_enrollment};
use enroll_postgres::PostgresClient;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_postgres::config::Host;
use tokio_postgres::{Config, NoTls};

#[test]
#[ignore = "needs PostgreSQL: run with --include-ignored, its programs installed or ENROLL_TEST_POSTGRES_URL set"]
fn the_number_of_round_trips_does_not_depend_on_the_recipients() {
    let counts: Vec<[usize; 3]> = [1, 100, 4000].map(|recipients| block_on(count(recipients))).to_vec();
    assert_eq!(counts[0], counts[1]);
    assert_eq!(counts[0], counts[2]);
    let [context, load, commit] = counts[0];
    assert!(context <= 6 && load <= 16 && commit <= 29, "{counts:?}");
}

/// How often the server said that it was ready, for context, load and commit: half of the people exist before.
async fn count(recipients: usize) -> [usize; 3] {
    let url = database().await;
    let ready = Arc::new(AtomicUsize::new(0));
    let mut repository = PostgresClient::new(connect(&url, &ready).await);
    Request::new(1, &body(0, recipients.div_ceil(2))).enroll(&mut repository).await.unwrap();

    let (policy, request) = (EnrollmentPolicy::default(), Request::new(2, &body(0, recipients)));
    ready.store(0, Ordering::SeqCst);
    let context = repository.context(&request.enrollment().context_lookup()).await.unwrap();
    let of_context = ready.swap(0, Ordering::SeqCst);
    let command = EnrollmentCommand::check(&request.enrollment(), &context, &Engine::new(&policy)).unwrap();
    let snapshot = repository.load(&command.lookup()).await.unwrap();
    let of_load = ready.swap(0, Ordering::SeqCst);
    let plan = plan_enrollment(&command, &snapshot).unwrap();
    repository.commit(plan.changes()).await.unwrap();
    assert_eq!(plan.report().outcomes.len(), recipients);
    [of_context, of_load, ready.swap(0, Ordering::SeqCst)]
}

async fn connect(url: &str, ready: &Arc<AtomicUsize>) -> tokio_postgres::Client {
    let config: Config = url.parse().unwrap();
    let port = config.get_ports().first().copied().unwrap_or(5432);
    let stream = match config.get_hosts().first() {
        Some(Host::Tcp(host)) => TcpStream::connect((host.as_str(), port)).await.unwrap(),
        other => panic!("the test counts on a TCP connection, and not on {other:?}"),
    };
    let counting = Counting { stream, ready: ready.clone(), frame: Frame::default() };
    let (client, connection) = config.connect_raw(counting, NoTls).await.unwrap();
    RUNTIME.spawn(connection);
    client
}

/// A stream that counts the frames of type `Z`, `ReadyForQuery`, of what the server says.
struct Counting {
    stream: TcpStream,
    ready: Arc<AtomicUsize>,
    frame: Frame,
}

/// Where in a frame the stream is: a type of one byte, a length of four that counts itself, and the rest.
#[derive(Default)]
struct Frame {
    header: Vec<u8>,
    rest: usize,
}

impl Frame {
    fn read(&mut self, byte: u8, ready: &AtomicUsize) {
        if self.rest > 0 {
            self.rest -= 1;
            return;
        }
        self.header.push(byte);
        if let [kind, length @ ..] = &*self.header
            && let Ok(length) = <[u8; 4]>::try_from(length)
        {
            ready.fetch_add(usize::from(*kind == b'Z'), Ordering::SeqCst);
            self.rest = u32::from_be_bytes(length) as usize - 4;
            self.header.clear();
        }
    }
}

impl AsyncRead for Counting {
    fn poll_read(mut self: Pin<&mut Self>, task: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(task, into))?;
        let Self { ready, frame, .. } = &mut *self;
        into.filled()[before..].iter().for_each(|byte| frame.read(*byte, ready));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Counting {
    fn poll_write(mut self: Pin<&mut Self>, task: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(task, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(task)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(task)
    }
}

//! A stream that fails if its reader is too slow.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

/// A stream whose writes fail with `TimedOut` if the reader takes too long.
///
/// The stream waits for its reader for at most `limit`. Each written byte adds to the rest of this time, up to `limit`, as
/// much as a reader of [`MIN_BYTES_PER_SECOND`] needs for it. So a reader that reads nothing is cut after `limit`, and one
/// that is slower than this rate is cut too.
pub(crate) struct WriteTimeout<S> {
    stream: S,
    limit: Duration,
    /// How long the stream may still wait for its reader.
    rest: Duration,
    /// The end of the current wait.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<S> WriteTimeout<S> {
    pub(crate) fn new(stream: S, limit: Duration) -> Self {
        Self { stream, limit, rest: limit, waiting: None }
    }

    fn after_write(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(written) = written {
            let bytes = written?;
            if let Some(waiting) = self.waiting.take() {
                self.rest = waiting.deadline().saturating_duration_since(Instant::now());
            }
            let earned = Duration::from_millis(bytes as u64 * 1000 / MIN_BYTES_PER_SECOND);
            self.rest = (self.rest + earned).min(self.limit);
            return Poll::Ready(Ok(bytes));
        }
        ready!(self.waiting.get_or_insert_with(|| Box::pin(sleep(self.rest))).as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteTimeout<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.after_write(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.after_write(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteTimeout<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

/// The slowest rate at which a client may read a long response.
const MIN_BYTES_PER_SECOND: u64 = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    const LIMIT: Duration = Duration::from_secs(10);

    fn pair() -> (WriteTimeout<DuplexStream>, DuplexStream) {
        let (writer, reader) = duplex(1 << 10);
        (WriteTimeout::new(writer, LIMIT), reader)
    }

    /// Writes 1 MiB to a reader that reads as many bytes each second.
    async fn write_to(bytes_per_second: usize) -> io::Result<()> {
        let (mut writer, mut reader) = pair();
        tokio::spawn(async move {
            let mut buffer = vec![0; bytes_per_second];
            while reader.read_exact(&mut buffer).await.is_ok() {
                sleep(Duration::from_secs(1)).await;
            }
        });
        writer.write_all(&vec![0; 1 << 20]).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_reads_nothing_is_cut_after_the_limit() {
        let (mut writer, _reader) = pair();
        let start = Instant::now();
        let error = writer.write_all(&vec![0; 1 << 20]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(start.elapsed().as_secs(), LIMIT.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_reader_is_cut_and_a_faster_one_is_not() {
        for slow in [1, 512, 8 << 10] {
            assert_eq!(write_to(slow).await.unwrap_err().kind(), io::ErrorKind::TimedOut, "{slow}");
        }
        write_to(32 << 10).await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_of_the_writer_does_not_count() {
        let (mut writer, mut reader) = pair();
        for _ in 0..10 {
            writer.write_all(&[0; 1 << 10]).await.unwrap();
            reader.read_exact(&mut [0; 1 << 10]).await.unwrap();
            sleep(LIMIT).await;
        }
    }
}

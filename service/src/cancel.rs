//! Ends the work for a client that is gone.
//!
//! A call of SQLite blocks its thread, so dropping its future cannot end it. [`for_client`] runs a request in a separate
//! task, and cancels a token of the task when its client disconnects. [`run_interruptible`] then interrupts the statement.

use rusqlite::InterruptHandle;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::{JoinHandle, block_in_place};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

tokio::task_local! {
    /// Is cancelled when the caller of this task is gone.
    static ABANDONED: CancellationToken;
}

/// Runs a request in a separate task. If the returned future is dropped, the task ends when it next waits, and its calls of
/// SQLite are interrupted.
pub(crate) async fn for_client<T: Send + 'static>(request: impl Future<Output = T> + Send + 'static) -> T {
    let abandoned = CancellationToken::new();
    let mut task = Task(tokio::spawn(with_token(abandoned.clone(), request)));
    let _guard = abandoned.drop_guard();
    match (&mut task.0).await {
        Ok(result) => result,
        Err(e) if e.is_panic() => resume_unwind(e.into_panic()),
        // Only the drop of this future, or the end of the runtime, cancels the task.
        Err(_) => std::future::pending().await,
    }
}

/// Runs work whose calls of SQLite are interrupted when the token is cancelled.
pub(crate) fn with_token<F: Future>(abandoned: CancellationToken, work: F) -> impl Future<Output = F::Output> {
    ABANDONED.scope(abandoned, work)
}

/// Runs a call on the current thread; the runtime moves other tasks to other threads. Interrupts its statement when the
/// caller is gone, or after the limit.
pub(crate) fn run_interruptible<T>(interrupt: InterruptHandle, limit: Option<Duration>, call: impl FnOnce() -> T) -> T {
    let abandoned = ABANDONED.try_with(CancellationToken::clone).ok();
    let is_needed = abandoned.is_some() || limit.is_some();
    let _interrupter = is_needed.then(|| Interrupter::start(interrupt, abandoned, limit));
    block_in_place(call)
}

/// A task that ends with this value.
struct Task<T>(JoinHandle<T>);

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Interrupts a call. Drop ends that: it never interrupts a later call of the same connection.
struct Interrupter {
    is_running: Arc<Mutex<bool>>,
    _task: Task<()>,
}

impl Interrupter {
    fn start(handle: InterruptHandle, abandoned: Option<CancellationToken>, limit: Option<Duration>) -> Self {
        let is_running = Arc::new(Mutex::new(true));
        let shared = Arc::clone(&is_running);
        let task = tokio::spawn(async move {
            let end = async {
                match abandoned {
                    Some(abandoned) => abandoned.cancelled().await,
                    None => std::future::pending().await,
                }
            };
            match limit {
                Some(limit) => drop(timeout(limit, end).await),
                None => end.await,
            }
            // An interrupt between two statements has no effect.
            loop {
                {
                    let is_running = shared.lock().unwrap_or_else(PoisonError::into_inner);
                    if !*is_running {
                        return;
                    }
                    handle.interrupt();
                }
                sleep(BETWEEN_INTERRUPTS).await;
            }
        });
        Self { is_running, _task: Task(task) }
    }
}

impl Drop for Interrupter {
    fn drop(&mut self) {
        *self.is_running.lock().unwrap_or_else(PoisonError::into_inner) = false;
    }
}

const BETWEEN_INTERRUPTS: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::Connection;
    use tokio::sync::oneshot;

    const ENDLESS: &str = "with recursive n (i) as (select 1 union all select i + 1 from n) select count(*) from n";

    fn count(connection: &Connection, limit: Option<Duration>, sql: &str) -> rusqlite::Result<i64> {
        run_interruptible(connection.get_interrupt_handle(), limit, || connection.query_row(sql, [], |row| row.get(0)))
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_statement_is_interrupted_after_its_limit_and_the_connection_stays_usable() {
        let connection = Connection::open_in_memory().unwrap();
        let interrupted = count(&connection, Some(Duration::from_millis(20)), ENDLESS).unwrap_err();
        assert_eq!(interrupted.sqlite_error_code(), Some(rusqlite::ErrorCode::OperationInterrupted));
        assert_eq!(count(&connection, Some(Duration::from_secs(60)), "select 1"), Ok(1));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 3)]
    async fn the_statements_of_a_request_end_if_its_client_is_gone() {
        let (started, is_started) = oneshot::channel();
        let (ended, has_ended) = oneshot::channel();
        let request = for_client(async move {
            let connection = Connection::open_in_memory().unwrap();
            started.send(()).unwrap();
            // The client may be gone before a statement, between two and in the middle of one.
            ended.send([(); 2].map(|()| count(&connection, None, ENDLESS).is_err())).unwrap();
        });
        let client = tokio::spawn(request);
        is_started.await.unwrap();
        client.abort();
        assert_eq!(has_ended.await, Ok([true, true]));
    }
}

//! The workers of a process: tasks of `enroll-worker` on handles of the database.

use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, watch};

use enroll_worker::{Settings, TokioWorkers};

use crate::Failure;
use crate::handles::HandleFactory;

/// The options of workers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) workers: u16,
    /// The number of failed attempts after which an enrollment is `failed`.
    pub(crate) attempts: u32,
    /// How long a claim reserves an enrollment for one worker.
    pub(crate) lease: Duration,
    /// True if the workers end when no enrollment waits.
    pub(crate) until_empty: bool,
}

impl Options {
    /// Returns the workers, which do not run yet.
    pub(crate) fn workers(&self) -> TokioWorkers {
        let mut settings = Settings::default();
        (settings.attempts, settings.lease) = (self.attempts, self.lease);
        TokioWorkers::new(settings)
    }
}

/// Runs workers until `stop` becomes true or, with `until_empty`, no enrollment waits. Each worker finishes its current
/// enrollment.
pub(crate) async fn work(
    handles: &HandleFactory,
    options: Options,
    workers: TokioWorkers,
    stop: &watch::Receiver<bool>,
) -> Result<(), Failure> {
    let inboxes = (0..options.workers).map(|_| Ok(handles.worker_handle()?.into_inbox()));
    let inboxes = inboxes.collect::<Result<Vec<_>, Failure>>()?;
    let mut stop = stop.clone();
    let shutdown = async move {
        // An error means that the sender was dropped.
        let _stopped = stop.wait_for(|stop| *stop).await;
    };
    let worked = if options.until_empty {
        let counting = Arc::new(Mutex::new(handles.handle()?));
        let unfinished = move || {
            let counting = Arc::clone(&counting);
            async move { counting.lock().await.unfinished().await }
        };
        workers.run_until_empty(inboxes, unfinished, shutdown).await
    } else {
        workers.run(inboxes, shutdown).await
    };
    worked.map_err(|e| Failure::from_error(&handles.name, &e))
}

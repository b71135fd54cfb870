//! Previews of lists that run in the background. A process keeps its own ones for a while.

use axum::http::StatusCode;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use enroll::OrganizationId;
use serde::Serialize;
use utoipa::ToSchema;

use super::App;
use super::errors::{ApiError, ErrorBody};
use super::limits::overloaded;
use super::list::UploadedList;
use super::list_preview::{ListPreview, Pace};
use super::request_span::background;

/// The previews of a process.
#[derive(Default)]
pub(crate) struct Previews {
    state: Mutex<State>,
    /// Ends all previews when the service stops.
    stopped: CancellationToken,
}

#[derive(Default)]
struct State {
    jobs: BTreeMap<Uuid, Arc<PreviewJob>>,
    /// The organizations whose preview runs. A cancelled one runs until it notices that.
    running: Vec<OrganizationId>,
}

/// A preview that runs, or has ended.
pub(crate) struct PreviewJob {
    pub(crate) id: Uuid,
    organization_id: OrganizationId,
    pub(crate) recipients: u64,
    done: AtomicU64,
    cancelled: CancellationToken,
    ended: Mutex<Option<Ended>>,
}

/// A preview that runs in the background.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ListPreviewStarted)]
pub(crate) struct PreviewStarted {
    preview_id: Uuid,
    state: PreviewState,
    recipients: u64,
    /// The number of recipients that were planned.
    recipients_done: u64,
}

/// The state of a preview in the background.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = ListPreviewState)]
pub(crate) enum PreviewState {
    Running,
    Completed,
    Failed,
}

struct Ended {
    at: Instant,
    result: PreviewResult,
}

/// A preview, or the error with which it ended.
pub(crate) type PreviewResult = Result<Arc<ListPreview>, Arc<ErrorBody>>;

impl Previews {
    /// Starts a preview. Each organization can have one at a time.
    pub(crate) fn start(app: &Arc<App>, mut list: UploadedList) -> Result<Arc<PreviewJob>, ApiError> {
        let organization_id = list.target.organization_id;
        let job = Arc::new(PreviewJob {
            id: Uuid::now_v7(),
            organization_id,
            recipients: list.list.recipients(),
            done: AtomicU64::new(0),
            cancelled: app.previews.stopped.child_token(),
            ended: Mutex::default(),
        });
        app.previews.add(&job)?;
        let (runtime, app, of_task) = (tokio::runtime::Handle::current(), Arc::clone(app), Arc::clone(&job));
        let spans = background("preview a list");
        tokio::task::spawn_blocking(move || {
            let running = Running { app: &app, organization_id };
            let work = spans.around(ListPreview::new(&app, &mut list, Pace::Shared, &of_task.done));
            let result = runtime.block_on(of_task.cancelled.run_until_cancelled(work));
            if let Some(result) = result {
                let result = result.map(Arc::new).map_err(|e| Arc::new(e.into_body()));
                *of_task.ended() = Some(Ended { at: Instant::now(), result });
            }
            drop(running);
        });
        Ok(job)
    }

    fn add(&self, job: &Arc<PreviewJob>) -> Result<(), ApiError> {
        let mut state = self.state();
        if state.running.contains(&job.organization_id) {
            let problem = "another preview of this organization is running; wait for its end, or cancel it";
            let error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "preview_running", problem);
            return Err(error.rate_limited(RETRY_AFTER));
        }
        if state.running.len() >= MAX_RUNNING || self.stopped.is_cancelled() {
            return Err(overloaded());
        }
        // The oldest preview of the organization makes place. Ids are in the order of time.
        let of_organization = |other: &PreviewJob| other.organization_id == job.organization_id;
        let kept: Vec<Uuid> =
            state.jobs.values().filter(|other| of_organization(other)).map(|other| other.id).collect();
        if kept.len() >= MAX_KEPT {
            state.jobs.remove(&kept[0]);
        }
        state.running.push(job.organization_id);
        state.jobs.insert(job.id, Arc::clone(job));
        Ok(())
    }

    /// Returns a preview of an organization.
    pub(crate) fn find(&self, organization_id: OrganizationId, id: Uuid) -> Option<Arc<PreviewJob>> {
        let mut state = self.state();
        state.jobs.retain(|_, job| !job.is_expired());
        state.jobs.get(&id).filter(|job| job.organization_id == organization_id).cloned()
    }

    /// Cancels a preview, and forgets it. Returns false if the organization has none with this id.
    pub(crate) fn cancel(&self, organization_id: OrganizationId, id: Uuid) -> bool {
        let Some(job) = self.find(organization_id, id) else { return false };
        job.cancelled.cancel();
        self.state().jobs.remove(&id).is_some()
    }

    /// Ends all previews.
    pub(crate) fn stop(&self) {
        self.stopped.cancel();
    }

    /// Removes previews that are too old, again and again.
    pub(crate) async fn expire(&self) {
        loop {
            tokio::select! {
                () = self.stopped.cancelled() => return,
                () = tokio::time::sleep(EXPIRY_INTERVAL) => self.state().jobs.retain(|_, job| !job.is_expired()),
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic cannot leave the lists half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A preview that runs. Drop makes place for the next one, also after a panic.
struct Running<'a> {
    app: &'a App,
    organization_id: OrganizationId,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.app.previews.state().running.retain(|running| *running != self.organization_id);
    }
}

impl PreviewJob {
    /// Returns the answer to a client.
    pub(crate) fn in_state(&self, state: PreviewState) -> PreviewStarted {
        let recipients_done = self.done.load(Ordering::Relaxed);
        PreviewStarted { preview_id: self.id, state, recipients: self.recipients, recipients_done }
    }

    /// Returns how the preview ended. `None` if it still runs.
    pub(crate) fn result(&self) -> Option<PreviewResult> {
        self.ended().as_ref().map(|ended| ended.result.clone())
    }

    fn is_expired(&self) -> bool {
        self.ended().as_ref().is_some_and(|ended| ended.at.elapsed() >= KEPT)
    }

    fn ended(&self) -> MutexGuard<'_, Option<Ended>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many previews run at a time. Each one has the contacts of its list in memory.
const MAX_RUNNING: usize = 4;
/// How many previews are kept for each organization.
const MAX_KEPT: usize = 4;
/// How long a preview is kept after its end.
const KEPT: Duration = Duration::from_secs(15 * 60);
const EXPIRY_INTERVAL: Duration = Duration::from_secs(60);
/// The time after which another preview may start.
const RETRY_AFTER: Duration = Duration::from_secs(5);

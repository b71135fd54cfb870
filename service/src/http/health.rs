//! The checks of the process and of the database. They answer within a second, also if the database hangs.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::time::timeout;

use enroll::repository::BoxFuture;
use enroll::{RepositoryError, RepositoryErrorKind};

use super::App;
use super::errors::{ApiError, ErrorBody};
use super::request_span::background;
use crate::handles::{Handle, HandleFactory};

/// A call of the database on a separate handle.
///
/// It runs at most once at a time. While the database hangs, all callers wait for the same call, each for a limited time.
pub(crate) struct Probe<T> {
    factory: HandleFactory,
    call: Call<T>,
    /// How long a result is used again.
    reuse: Duration,
    /// The handle of the last call, unless that failed.
    handle: Arc<Mutex<Option<Handle>>>,
    last: Mutex<Option<watch::Receiver<Ended<T>>>>,
}

type Call<T> = fn(&mut Handle) -> BoxFuture<'_, Result<T, RepositoryError>>;

/// When a call ended, with its result unless it failed. `None` while it runs.
type Ended<T> = Option<(Instant, Option<T>)>;

impl<T: Clone + Send + Sync + 'static> Probe<T> {
    pub(crate) fn new(factory: HandleFactory, reuse: Duration, call: Call<T>) -> Self {
        Self { factory, call, reuse, handle: Arc::default(), last: Mutex::default() }
    }

    /// Returns the result of the call, or `None` if it failed or takes too long.
    pub(crate) async fn result(&self) -> Option<T> {
        let mut last = self.last_call();
        let ended = timeout(PATIENCE, last.wait_for(Option::is_some)).await.ok()?.ok()?;
        ended.as_ref().and_then(|(_, result)| result.clone())
    }

    /// Returns the running call, or starts one.
    fn last_call(&self) -> watch::Receiver<Ended<T>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_current = |call: &&mut watch::Receiver<Ended<T>>| match &*call.borrow() {
            Some((at, _)) => at.elapsed() < self.reuse,
            // After a panic, the sender is gone.
            None => call.has_changed().is_ok(),
        };
        match last.as_mut().filter(is_current) {
            Some(call) => call.clone(),
            None => last.insert(self.start()).clone(),
        }
    }

    fn start(&self) -> watch::Receiver<Ended<T>> {
        let (sender, receiver) = watch::channel(None);
        let (factory, call, idle) = (self.factory.clone(), self.call, Arc::clone(&self.handle));
        let calling = async move {
            let result = async {
                let kept = idle.lock().unwrap_or_else(PoisonError::into_inner).take();
                let unavailable =
                    |e: crate::Failure| RepositoryError::new(RepositoryErrorKind::Unavailable, e.to_string());
                let mut handle = kept.map_or_else(|| factory.handle().map_err(unavailable), Ok)?;
                let result = call(&mut handle).await?;
                *idle.lock().unwrap_or_else(PoisonError::into_inner) = Some(handle);
                Ok(result)
            };
            // The conversion logs the error.
            let result = result.await.map_err(|e: RepositoryError| drop(ApiError::from(e))).ok();
            sender.send_replace(Some((Instant::now(), result)));
        };
        tokio::spawn(background("check the database").around(calling));
        receiver
    }
}

/// Check the process
///
/// Does not use the database.
#[utoipa::path(
    get, path = "/healthz", operation_id = "healthz", tag = "operations", security(()),
    responses((status = 200, description = "The process runs", body = Value)),
)]
pub(crate) async fn healthz() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// Check the process, and that the database can be written
///
/// Writes a row and removes it. Answers within a second, also if the database hangs.
#[utoipa::path(
    get, path = "/readyz", operation_id = "readyz", tag = "operations", security(()),
    responses(
        (status = 200, description = "The database can be written", body = Value),
        (status = 503, description = "The database cannot be written", body = ErrorBody),
    ),
)]
pub(crate) async fn readyz(State(app): State<Arc<App>>) -> Result<Json<Value>, ApiError> {
    app.readiness.result().await.ok_or_else(ApiError::unavailable)?;
    app.wake.storage_answered();
    Ok(Json(json!({ "status": "ready" })))
}

/// The call of [`App::readiness`].
pub(crate) fn check_write(handle: &mut Handle) -> BoxFuture<'_, Result<(), RepositoryError>> {
    Box::pin(handle.check_write())
}

/// How long a caller waits for the database.
const PATIENCE: Duration = Duration::from_millis(800);

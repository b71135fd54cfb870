//! Limits: requests at a time and their shares, time, and requests per minute.

use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::extract::{Extension, FromRequestParts, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hyper::body::{Frame, SizeHint};
use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use enroll::OrganizationId;

use super::App;
use super::body::{DiscardRest, MAX_BODY};
use super::connections::ClientAddress;
use super::errors::ApiError;
use super::request_span::{self, in_request};
use crate::cancel::with_token;
use crate::keys::Caller;
use crate::shares::{Share, Shares};

/// What the requests share. An organization or an address cannot take all of it: see [`Shares`].
pub(crate) struct Limits {
    /// Requests whose API key is not known yet, by the address of the client.
    unauthenticated: Arc<Shares<ClientAddress>>,
    requests: Arc<Shares<OrganizationId>>,
    /// Bytes of bodies.
    pub(crate) bodies: Arc<Shares<OrganizationId>>,
    /// Bytes of uploaded lists in temporary files.
    pub(crate) uploads: Arc<Shares<OrganizationId>>,
    /// The size limit of an uploaded list.
    pub(crate) list_bytes: u64,
    /// Bytes of bodies that are checked and planned. They need many times their size in memory.
    checked: Arc<Shares<OrganizationId>>,
    writes: Option<RateLimit>,
    previews: Option<RateLimit>,
    /// The time limit of a request.
    pub(crate) timeout: Duration,
}

impl Limits {
    /// Returns the limits for a number of requests at a time, bytes of bodies and of a list, and writes per minute of each
    /// key.
    pub(crate) fn new(
        requests: usize,
        body_bytes: usize,
        list_bytes: usize,
        writes: Option<u32>,
        timeout: Duration,
    ) -> Self {
        let guaranteed_requests = requests.div_ceil(16);
        let rate_limit = |factor: usize| writes.map(|writes| RateLimit::new(writes as usize * factor));
        Self {
            unauthenticated: Shares::new(requests, guaranteed_requests),
            requests: Shares::new(requests, guaranteed_requests),
            bodies: Shares::new(body_bytes, MAX_BODY),
            uploads: Shares::new(UPLOADS.saturating_mul(list_bytes), list_bytes),
            list_bytes: list_bytes as u64,
            checked: Shares::new(CHECKED_BODIES * MAX_BODY, MAX_BODY),
            writes: rate_limit(1),
            previews: rate_limit(PREVIEWS_PER_WRITE),
            timeout,
        }
    }

    /// Counts a write or a preview. Above the limit of the key, returns an error with the seconds to wait.
    pub(crate) fn count(&self, key: Uuid, is_preview: bool) -> Result<(), ApiError> {
        let (limit, kind) = if is_preview { (&self.previews, "previews") } else { (&self.writes, "writes") };
        limit.as_ref().map_or(Ok(()), |limit| limit.count(key, kind, Instant::now()))
    }

    /// Waits for a share of the bodies that are checked and planned at a time.
    pub(crate) async fn share_of_checks(&self, organization_id: OrganizationId, bytes: usize) -> Share<OrganizationId> {
        self.checked.acquire(organization_id, bytes.max(MIN_CHECKED)).await
    }

    /// Runs work that computes much, on a thread outside of the runtime. `bytes` is the size of the body that it reads.
    ///
    /// If the caller's future is dropped, the work is dropped when it next waits, and its calls of SQLite are interrupted.
    pub(crate) async fn run_blocking<T: Send + 'static>(
        &self,
        organization_id: OrganizationId,
        bytes: usize,
        work: impl Future<Output = Result<T, ApiError>> + Send + 'static,
    ) -> Result<T, ApiError> {
        let share = self.share_of_checks(organization_id, bytes).await;
        let (runtime, dropped) = (tokio::runtime::Handle::current(), CancellationToken::new());
        let _guard = dropped.clone().drop_guard();
        let work = in_request(work);
        let work = spawn_blocking(move || {
            let _held = share;
            runtime.block_on(dropped.clone().run_until_cancelled_owned(with_token(dropped, work)))
        });
        match work.await {
            Ok(Some(result)) => result,
            Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
            // The service ends.
            Ok(None) | Err(_) => Err(ApiError::unavailable()),
        }
    }
}

/// Authenticates a request, counts it, and ends it if it exceeds the timeout.
pub(crate) async fn limit_requests(
    State(app): State<Arc<App>>,
    Extension(client): Extension<ClientAddress>,
    request: Request,
    next: Next,
) -> Response {
    let answer = timeout(app.limits.timeout, answer(&app, client, request, next)).await;
    answer.unwrap_or_else(|_| Err(ApiError::unavailable())).into_response()
}

/// The same for the routes of uploads: the time to send a large file does not count as time of the service.
pub(crate) async fn limit_uploads(
    State(app): State<Arc<App>>,
    Extension(client): Extension<ClientAddress>,
    request: Request,
    next: Next,
) -> Response {
    let limit = app.limits.upload_time() + app.limits.timeout;
    let answer = timeout(limit, answer(&app, client, request, next)).await;
    answer.unwrap_or_else(|_| Err(ApiError::unavailable())).into_response()
}

async fn answer(app: &Arc<App>, client: ClientAddress, request: Request, next: Next) -> Result<Response, ApiError> {
    let (mut parts, body) = request.into_parts();
    let body = Body::new(DiscardRest::new(body));
    let entering = timeout(BRIEF_WAIT, app.limits.unauthenticated.acquire(client, 1)).await;
    let entering = entering.map_err(|_| overloaded())?;
    let caller = Caller::from_request_parts(&mut parts, app).await?;
    drop(entering);
    let share = timeout(BRIEF_WAIT, app.limits.requests.acquire(caller.organization_id, 1)).await;
    let share = share.map_err(|_| overloaded())?;
    request_span::record("organization", caller.organization_id);
    parts.extensions.insert(caller);
    let (mut parts, body) = next.run(Request::from_parts(parts, body)).await.into_parts();
    if parts.extensions.remove::<Streamed>().is_some() {
        return Ok(Response::from_parts(parts, Body::new(CountedBody { body, _share: share })));
    }
    // Each other response is complete in memory, so this does not wait.
    let bytes = to_bytes(body, usize::MAX).await.map_err(|_| ApiError::internal())?;
    let sent = Body::from(Bytes::from_owner(CountedBytes { bytes, _share: share }));
    Ok(Response::from_parts(parts, sent))
}

/// Marks a response whose body is produced while it is sent.
#[derive(Clone, Copy)]
pub(crate) struct Streamed;

/// Such a body. It counts as a request until it is sent.
struct CountedBody {
    body: Body,
    _share: Share<OrganizationId>,
}

impl HttpBody for CountedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A response that counts as a request until it is sent: a client that does not read it uses memory.
struct CountedBytes {
    bytes: Bytes,
    _share: Share<OrganizationId>,
}

impl AsRef<[u8]> for CountedBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

pub(crate) fn overloaded() -> ApiError {
    let problem = "too many concurrent requests; try again later";
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", problem).retry_after(1)
}

/// A limit of requests per minute for each API key.
struct RateLimit {
    limit: usize,
    counted: Mutex<HashMap<Uuid, VecDeque<Instant>>>,
}

impl RateLimit {
    fn new(limit: usize) -> Self {
        Self { limit, counted: Mutex::default() }
    }

    fn count(&self, key: Uuid, kind: &str, now: Instant) -> Result<(), ApiError> {
        let mut keys = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = keys.entry(key).or_default();
        while counted.front().is_some_and(|first| now.duration_since(*first) >= MINUTE) {
            counted.pop_front();
        }
        match counted.front() {
            Some(first) if counted.len() >= self.limit => {
                let wait = MINUTE.saturating_sub(now.duration_since(*first));
                let seconds = wait.as_millis().div_ceil(1000);
                let problem =
                    format!("this key has made {} {kind} in the last minute; try again in {seconds} s", self.limit);
                Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", problem).rate_limited(wait))
            }
            _ => {
                counted.push_back(now);
                Ok(())
            }
        }
    }
}

/// How many bodies of the largest size are checked at a time.
const CHECKED_BODIES: usize = 4;
/// How many lists of the largest size are in temporary files at a time.
const UPLOADS: usize = 4;
/// A small body counts as this many bytes, so that the number of busy threads is limited too.
const MIN_CHECKED: usize = 1 << 20;
/// How long a request waits for its turn. Its client can be faster than the return of the share of the request before.
const BRIEF_WAIT: Duration = Duration::from_secs(1);
const PREVIEWS_PER_WRITE: usize = 10;
const MINUTE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_the_writes_per_minute_of_each_key() {
        let limit = RateLimit::new(2);
        let (key, other, start) = (Uuid::from_u128(1), Uuid::from_u128(2), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let is_counted = |key, seconds| limit.count(key, "writes", at(seconds)).is_ok();
        assert!(is_counted(key, 0) && is_counted(key, 30));
        assert!(!is_counted(key, 59) && is_counted(other, 59));
        assert!(is_counted(key, 60));
        assert!(!is_counted(key, 61));
    }
}

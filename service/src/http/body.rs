//! Bodies of requests: their size, their memory, and what happens to a body that is not read.

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout, timeout_at};

use enroll::OrganizationId;

use super::errors::ApiError;
use super::limits::overloaded;
use crate::shares::{Share, Shares};

/// A body that was read. Its bytes count until it is dropped.
pub(crate) struct ReadBody {
    pub(crate) bytes: Vec<u8>,
    _share: Share<OrganizationId>,
}

/// Reads a whole body. Rejects one that is too large or too slow.
///
/// It waits for its share of `memory` before it reads. A body of unknown length counts as one of `max` bytes.
pub(crate) async fn read(
    memory: &Arc<Shares<OrganizationId>>,
    organization_id: OrganizationId,
    headers: &HeaderMap,
    body: Body,
    max: usize,
    request_timeout: Duration,
) -> Result<ReadBody, ApiError> {
    refuse_encoding(headers)?;
    let length = match body.size_hint().upper() {
        Some(length) => usize::try_from(length).ok().filter(|length| *length <= max).ok_or_else(|| too_large(max))?,
        None => max,
    };
    // End before the timeout of the request, to return these errors and not the general one.
    let start = Instant::now();
    let until = |part| start + request_timeout.mul_f64(part);
    let share = timeout_at(until(0.45), memory.acquire(organization_id, length)).await.map_err(|_| overloaded())?;
    let capacity = if body.size_hint().upper().is_some() { length } else { 0 };
    let bytes = timeout_at(until(0.9), collect(body, max, capacity)).await.map_err(|_| slow())??;
    Ok(ReadBody { bytes, _share: share })
}

async fn collect(mut body: Body, max: usize, capacity: usize) -> Result<Vec<u8>, ApiError> {
    let mut bytes = Vec::with_capacity(capacity);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| broken())?.into_data() else { continue };
        if bytes.len() + data.len() > max {
            return Err(too_large(max));
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes)
}

/// Returns an error for a body with a content encoding.
pub(crate) fn refuse_encoding(headers: &HeaderMap) -> Result<(), ApiError> {
    let encoding = headers.get(header::CONTENT_ENCODING);
    if encoding.is_none_or(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Ok(());
    }
    let problem = "the body has a content encoding; send it without one";
    Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding", problem))
}

pub(crate) fn slow() -> ApiError {
    let problem = "the body did not arrive in time; send the request again";
    ApiError::new(StatusCode::REQUEST_TIMEOUT, "timeout", problem)
}

pub(crate) fn broken() -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "broken_body", "the body ended early; send the request again")
}

fn too_large(max: usize) -> ApiError {
    let problem = format!("the body has more than {} KiB; send less in one request", max >> 10);
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", problem)
}

/// A body whose unread rest is read and discarded after the response.
///
/// Many clients read the response only after they have sent everything. If the service closed the connection before, they
/// would get an error of the connection and not the response.
pub(crate) struct DiscardRest(Body);

impl DiscardRest {
    pub(crate) fn new(body: Body) -> Self {
        Self(body)
    }
}

impl HttpBody for DiscardRest {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.0).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

impl Drop for DiscardRest {
    fn drop(&mut self) {
        // The runtime is gone if the service ends.
        if let Ok(runtime) = Handle::try_current()
            && !self.0.is_end_stream()
        {
            let mut body = std::mem::take(&mut self.0);
            runtime.spawn(timeout(DISCARD_TIMEOUT, async move {
                let mut length = 0;
                while let Some(Ok(frame)) = body.frame().await
                    && length <= MAX_DISCARDED
                {
                    length += frame.data_ref().map_or(0, Bytes::len);
                }
            }));
        }
    }
}

/// The size limit of a body, in bytes.
pub(crate) const MAX_BODY: usize = 8 << 20;
/// The same of a body with a few filters. It is checked on a thread of the runtime.
pub(crate) const MAX_FILTERS: usize = 64 << 10;
/// The number of bytes of an unread body that are discarded, and the time for it.
const MAX_DISCARDED: usize = 32 << 20;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);

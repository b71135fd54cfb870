//! Limits: concurrent requests, time, body size, and writes per minute.

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::time::timeout;
use uuid::Uuid;

use super::App;
use super::errors::ApiError;

/// Rejects a request above the concurrency limit, and ends a request that exceeds the timeout.
pub(crate) async fn limit_requests(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let Ok(_permit) = app.request_permits.try_acquire() else {
        let problem = "too many concurrent requests; try again later";
        return ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", problem).retry_after(1).into_response();
    };
    match timeout(app.timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::unavailable().into_response(),
    }
}

/// Reads the whole body. Rejects a body that is too large or too slow.
pub(crate) async fn body(headers: &HeaderMap, body: Body, request_timeout: Duration) -> Result<Bytes, ApiError> {
    let encoding = headers.get(header::CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        let problem = "the body has a content encoding; send it without one";
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding", problem));
    }
    let slow = |_| {
        let problem = "the body did not arrive in time; send the request again";
        ApiError::new(StatusCode::REQUEST_TIMEOUT, "timeout", problem)
    };
    // End before the timeout of the request, to return this error and not the general one.
    timeout(request_timeout.mul_f64(0.9), read(body)).await.map_err(slow)?
}

async fn read(mut body: Body) -> Result<Bytes, ApiError> {
    let mut bytes = Vec::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let broken =
            |_| ApiError::new(StatusCode::BAD_REQUEST, "broken_body", "the body ended early; send the request again");
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        length += data.len();
        // Some clients read the response only after they have sent everything. Read the rest, up to a limit.
        if length > MAX_DRAINED {
            break;
        }
        if length <= MAX_BODY {
            bytes.extend_from_slice(&data);
        }
    }
    if length > MAX_BODY {
        let problem = format!("the body has more than {} MiB; send fewer recipients in one request", MAX_BODY >> 20);
        return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", problem));
    }
    Ok(bytes.into())
}

/// The limit of writes per minute for each API key.
pub(crate) struct RateLimit {
    limit: usize,
    writes: Mutex<HashMap<Uuid, VecDeque<Instant>>>,
}

impl RateLimit {
    pub(crate) fn new(limit: u32) -> Self {
        Self { limit: limit as usize, writes: Mutex::default() }
    }

    /// Counts a write. Above the limit, returns an error with the seconds to wait.
    pub(crate) fn count(&self, key: Uuid, now: Instant) -> Result<(), ApiError> {
        let mut keys = self.writes.lock().unwrap_or_else(PoisonError::into_inner);
        let writes = keys.entry(key).or_default();
        while writes.front().is_some_and(|first| now.duration_since(*first) >= MINUTE) {
            writes.pop_front();
        }
        match writes.front() {
            Some(first) if writes.len() >= self.limit => {
                let wait = MINUTE.saturating_sub(now.duration_since(*first)).as_millis().div_ceil(1000);
                let problem =
                    format!("this key has made {} writes in the last minute; try again in {wait} s", self.limit);
                let error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", problem);
                Err(error.retry_after(u32::try_from(wait).unwrap_or(60)))
            }
            _ => {
                writes.push_back(now);
                Ok(())
            }
        }
    }
}

/// The size limit of a body, in bytes.
const MAX_BODY: usize = 8 << 20;
/// The number of bytes of a too large body that are read before the response.
const MAX_DRAINED: usize = 32 << 20;
const MINUTE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_the_writes_per_minute_of_each_key() {
        let limit = RateLimit::new(2);
        let (key, other, start) = (Uuid::from_u128(1), Uuid::from_u128(2), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(limit.count(key, at(0)).is_ok() && limit.count(key, at(30)).is_ok());
        assert!(limit.count(key, at(59)).is_err() && limit.count(other, at(59)).is_ok());
        assert!(limit.count(key, at(60)).is_ok());
        assert!(limit.count(key, at(61)).is_err());
    }
}

//! How much at once, how large, how long, and how often.

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

/// Refuses a request beyond the bound, and gives up one that takes too long.
pub(crate) async fn bound(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let Ok(_permit) = app.free.try_acquire() else {
        let what = "too many requests are being answered: try again";
        return ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", what).retry_after(1).into_response();
    };
    match timeout(app.timeout, next.run(request)).await {
        Ok(response) => response,
        Err(_) => ApiError::unavailable().into_response(),
    }
}

/// The whole body, unless it is too large or comes too slowly.
pub(crate) async fn body(headers: &HeaderMap, body: Body, wait: Duration) -> Result<Bytes, ApiError> {
    let encoding = headers.get(header::CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        let what = "send the body without a content encoding";
        return Err(ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding", what));
    }
    let slow =
        |_| ApiError::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the body did not come in time: send it again");
    // Before the time of the whole request is up, so that the caller learns that its body was late.
    timeout(wait.mul_f64(0.9), read(body)).await.map_err(slow)?
}

async fn read(mut body: Body) -> Result<Bytes, ApiError> {
    let mut bytes = Vec::new();
    let mut length = 0;
    while let Some(frame) = body.frame().await {
        let broken = |_| ApiError::new(StatusCode::BAD_REQUEST, "broken_body", "the body ended before its end");
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        length += data.len();
        // The rest of one that is somewhat too large is read, for a caller that reads no answer before it has sent all.
        if length > MOST_DRAINED {
            break;
        }
        if length <= MOST {
            bytes.extend_from_slice(&data);
        }
    }
    if length > MOST {
        let what = format!("the body has more than {} MiB: send fewer recipients at once", MOST >> 20);
        return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", what));
    }
    Ok(bytes.into())
}

/// How many writes a key may ask for in any minute.
pub(crate) struct RateLimit {
    most: usize,
    of: Mutex<HashMap<Uuid, VecDeque<Instant>>>,
}

impl RateLimit {
    pub(crate) fn new(most: u32) -> Self {
        Self { most: most as usize, of: Mutex::default() }
    }

    /// Counts a write, or says in how many seconds one may come again.
    pub(crate) fn take(&self, key: Uuid, now: Instant) -> Result<(), ApiError> {
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        let writes = of.entry(key).or_default();
        while writes.front().is_some_and(|first| now.duration_since(*first) >= MINUTE) {
            writes.pop_front();
        }
        match writes.front() {
            Some(first) if writes.len() >= self.most => {
                let wait = MINUTE.saturating_sub(now.duration_since(*first)).as_millis().div_ceil(1000);
                let what = format!("{} writes a minute were made with this key: try again in {wait} s", self.most);
                let error = ApiError::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", what);
                Err(error.retry_after(u32::try_from(wait).unwrap_or(60)))
            }
            _ => {
                writes.push_back(now);
                Ok(())
            }
        }
    }
}

/// Of a body.
const MOST: usize = 8 << 20;
const MOST_DRAINED: usize = 32 << 20;
const MINUTE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_writes_in_any_minute_for_each_key() {
        let limit = RateLimit::new(2);
        let (key, other, start) = (Uuid::from_u128(1), Uuid::from_u128(2), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(limit.take(key, at(0)).is_ok() && limit.take(key, at(30)).is_ok());
        assert!(limit.take(key, at(59)).is_err() && limit.take(other, at(59)).is_ok());
        assert!(limit.take(key, at(60)).is_ok());
        assert!(limit.take(key, at(61)).is_err());
    }
}

//! The id of each request, and the spans around its work.
//!
//! A request has two spans. That of [`LOG_SPANS`] puts the id into each line of the log. That of [`SPANS`] is exported, and
//! continues the trace of the client.

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::Response;
use std::fmt::Display;
use tracing::instrument::Instrumented;
use tracing::{Instrument, Span, field};
use uuid::Uuid;

use crate::telemetry::{LOG_SPANS, SPANS, Trace};

/// The id of a request. It is safe to log: it has at most 128 characters of [`is_safe`].
#[derive(Clone)]
pub(crate) struct RequestId(HeaderValue);

impl RequestId {
    /// Returns a new id, in the order of time.
    pub(crate) fn new() -> Self {
        let id = Uuid::now_v7().to_string();
        // A UUID is a valid header.
        Self(HeaderValue::try_from(id).unwrap_or(HeaderValue::from_static("unknown")))
    }

    /// Returns the id that the client sent if it is the only one and safe, and a new one otherwise.
    fn of(headers: &HeaderMap) -> Self {
        let mut sent = headers.get_all(&X_REQUEST_ID).iter();
        match (sent.next(), sent.next()) {
            (Some(id), None) if is_safe(id.as_bytes()) => Self(id.clone()),
            _ => Self::new(),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

/// Without `@`, spaces and `+`, an id is neither an email nor a text, and cannot forge a line of the log.
fn is_safe(id: &[u8]) -> bool {
    let is_safe = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/=".contains(byte);
    (1..=MAX_ID).contains(&id.len()) && id.iter().all(is_safe)
}

/// What the parts of a request share.
#[derive(Clone)]
struct Current {
    id: RequestId,
    /// The span that is exported.
    exported: Span,
}

tokio::task_local! {
    static CURRENT: Current;
}

/// The two spans around a piece of work. Both are entered: each layer finds the current span among those that it has.
pub(crate) struct Spans {
    exported: Span,
    log: Span,
}

impl Spans {
    /// Runs work inside the spans.
    pub(crate) fn around<F: Future>(self, work: F) -> Instrumented<Instrumented<F>> {
        work.instrument(self.log).instrument(self.exported)
    }
}

/// Gives a request its id and its spans, and its response the id.
pub(crate) async fn identify(request: Request, next: Next) -> Response {
    let id = RequestId::of(request.headers());
    let route = request.extensions().get::<MatchedPath>().map_or(UNMATCHED, MatchedPath::as_str);
    let exported = exported_span(&id, method_name(request.method()), route);
    let trace_id = Trace::of(request.headers()).continue_in(&exported);
    let span = log_span(&exported, &id);
    if let Some(trace_id) = trace_id {
        span.record("trace_id", field::display(trace_id));
    }
    let current = Current { id: id.clone(), exported: exported.clone() };
    let spans = Spans { exported: exported.clone(), log: span };
    let mut response = spans.around(CURRENT.scope(current, next.run(request))).await;
    let status = response.status();
    exported.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        exported.record("otel.status_code", "ERROR");
    }
    response.headers_mut().insert(X_REQUEST_ID, id.0);
    response
}

/// Returns the exported span of a request. The checks have none: they would hide the other requests.
fn exported_span(id: &RequestId, method: &'static str, route: &str) -> Span {
    if ["/healthz", "/readyz", "/metrics"].contains(&route) {
        return Span::none();
    }
    tracing::info_span!(
        target: SPANS,
        parent: None,
        "http",
        otel.name = format!("{method} {route}"),
        otel.kind = "server",
        otel.status_code = field::Empty,
        http.request.method = method,
        http.route = route,
        http.response.status_code = field::Empty,
        request_id = id.as_str(),
        organization = field::Empty,
        enrollment = field::Empty,
    )
}

/// Returns the span of the lines of the log. At the level of errors, so that the lines of every level have the id.
fn log_span(exported: &Span, id: &RequestId) -> Span {
    tracing::error_span!(
        target: LOG_SPANS,
        parent: exported,
        "request",
        request_id = id.as_str(),
        trace_id = field::Empty,
    )
}

/// Adds a field to the exported span of this request: `organization` or `enrollment`.
pub(crate) fn record(field: &'static str, value: impl Display) {
    // A test can call a handler without a request.
    if let Ok(exported) = CURRENT.try_with(|current| current.exported.clone()) {
        exported.record(field, field::display(value));
    }
}

/// Runs a part of this request in another task or thread, with its id and its spans.
pub(crate) fn in_request<F: Future>(work: F) -> impl Future<Output = F::Output> {
    let (current, log) = (CURRENT.try_with(Clone::clone), Span::current());
    async move {
        match current {
            Ok(current) => {
                let spans = Spans { exported: current.exported.clone(), log };
                CURRENT.scope(current, spans.around(work)).await
            }
            Err(_) => work.instrument(log).await,
        }
    }
}

/// Returns the spans of work that this request starts and does not wait for. Lines of the log have the id of the request. In
/// the export, the work is a separate trace with a link to the request: the span of a request ends with its response.
pub(crate) fn background(name: &'static str) -> Spans {
    let Ok(current) = CURRENT.try_with(Clone::clone) else {
        return Spans { exported: Span::none(), log: Span::none() };
    };
    let exported = if current.exported.is_disabled() {
        Span::none()
    } else {
        let span = tracing::info_span!(target: SPANS, parent: None, "background", otel.name = name);
        span.follows_from(&current.exported);
        span
    };
    let log = log_span(&exported, &current.id);
    Spans { exported, log }
}

/// Returns the name of a method. A caller can invent methods of any length: they share one name, in the log, in spans and as
/// one time series.
pub(crate) fn method_name(method: &Method) -> &'static str {
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    known.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}

/// The route of a path that no route has.
pub(crate) const UNMATCHED: &str = "unmatched";
const X_REQUEST_ID: HeaderName = HeaderName::from_static(REQUEST_ID);
/// The name of the header.
pub(super) const REQUEST_ID: &str = "x-request-id";
/// The longest id that is taken from a client, in bytes.
const MAX_ID: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn id_of(sent: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for id in sent {
            headers.append(X_REQUEST_ID, HeaderValue::from_str(id).unwrap());
        }
        RequestId::of(&headers).as_str().to_owned()
    }

    #[test]
    fn a_safe_id_of_the_client_is_taken() {
        let longest = "x".repeat(MAX_ID);
        for id in ["01JDXQ7", "a-b_c.d:e/f=", "7f3a2c9e-0000-7000-8000-000000000001", &longest] {
            assert_eq!(id_of(&[id]), id);
        }
    }

    #[test]
    fn another_id_is_replaced_by_a_new_one() {
        let too_long = "x".repeat(MAX_ID + 1);
        for sent in
            [&[][..], &[""], &["a b"], &["ann@example.org"], &["+12025550187"], &["a\tb"], &[&too_long], &["a", "b"]]
        {
            let id: Uuid = id_of(sent).parse().unwrap();
            assert_eq!(id.get_version_num(), 7, "{sent:?}");
        }
    }
}

//! Requests whose head is refused: it is not HTTP, or too large.
//!
//! hyper answers such a request itself, without a body, before a service sees it. It has no hook for that. [`ErrorBodies`]
//! is the stream below hyper: it adds the documented body to these responses.

use axum::body::Bytes;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::errors::{ApiError, ErrorBody, ErrorItem};
use super::metrics::REQUESTS;
use super::request_span::RequestId;

/// Refuses a request with a URI that no route needs.
pub(crate) async fn limit_uri(request: Request, next: Next) -> Response {
    if request.uri().path_and_query().is_some_and(|uri| uri.as_str().len() > MAX_URI) {
        let (code, problem) = URI_TOO_LONG;
        return ApiError::new(StatusCode::URI_TOO_LONG, code, problem).into_response();
    }
    next.run(request).await
}

/// A stream that adds a body to the error responses that hyper writes itself.
pub(crate) struct ErrorBodies<S> {
    stream: S,
    /// What remains to be written in place of a response of hyper.
    response: Bytes,
}

impl<S> ErrorBodies<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { stream, response: Bytes::new() }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ErrorBodies<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ErrorBodies<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.response.is_empty() {
            match with_body(bytes) {
                Some(response) => self.response = response,
                None => return Pin::new(&mut self.stream).poll_write(cx, bytes),
            }
        }
        let Self { stream, response } = &mut *self;
        while !response.is_empty() {
            match ready!(Pin::new(&mut *stream).poll_write(cx, response))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => drop(response.split_to(written)),
            }
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match slices {
            [only] => self.poll_write(cx, only),
            _ => Pin::new(&mut self.stream).poll_write_vectored(cx, slices),
        }
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

/// Returns a response of hyper with a body. Returns `None` for other bytes: an error response of the service has a body, and
/// no body that the service writes looks like a head.
fn with_body(head: &[u8]) -> Option<Bytes> {
    let status = head.strip_prefix(b"HTTP/1.1 ")?.get(..3)?;
    let (status, (code, problem)) = match status {
        b"400" => (StatusCode::BAD_REQUEST, MALFORMED),
        b"414" => (StatusCode::URI_TOO_LONG, URI_TOO_LONG),
        b"431" => (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, HEADERS_TOO_LARGE),
        _ => return None,
    };
    let head = std::str::from_utf8(head).ok().filter(|head| head.ends_with("\r\n\r\n"))?;
    let (before, after) = head.split_once("content-length: 0\r\n")?;
    let item = ErrorItem::new(code, String::new(), problem.to_owned());
    let body = serde_json::to_string(&ErrorBody::new(status, vec![item])).ok()?;
    let (length, id) = (body.len(), RequestId::new());
    tracing::debug!(target: REQUESTS, request_id = id.as_str(), status = status.as_u16(), code, "refused the head of a request");
    let headers = "content-type: application/json\r\ncache-control: no-store\r\nx-content-type-options: nosniff\r\n";
    let id = id.as_str();
    Some(format!("{before}{headers}x-request-id: {id}\r\ncontent-length: {length}\r\n{after}{body}").into())
}

/// The longest path with its query, in bytes.
const MAX_URI: usize = 8 << 10;
const MALFORMED: (&str, &str) =
    ("malformed_request", "the request is not valid HTTP/1.1; correct its first line and its headers");
const URI_TOO_LONG: (&str, &str) = ("uri_too_long", "the path and the query have more than 8 KiB; shorten them");
const HEADERS_TOO_LARGE: (&str, &str) =
    ("headers_too_large", "the headers are too large or too many; send fewer or shorter ones");

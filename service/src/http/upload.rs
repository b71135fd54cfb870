//! Uploads: a list and the options of how it is read, as `multipart/form-data`.

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderMap, StatusCode, header};
use hyper::body::{Frame, SizeHint};
use multer::{Field, Multipart};
use std::fs::File;
use std::io::Write;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::task::block_in_place;
use tokio::time::{Instant, timeout_at};

use enroll::OrganizationId;

use super::App;
use super::body::{broken, refuse_encoding, slow};
use super::errors::{ApiError, ErrorItem};
use super::limits::{Limits, overloaded};
use super::list_options::ListOptions;
use crate::shares::Share;

/// A list that a client sent. Its bytes count until it is dropped.
pub(crate) struct Upload {
    /// The name of the file, for people.
    pub(crate) name: String,
    /// The file. It has no name on the disk, so that it ends with the process.
    pub(crate) file: File,
    pub(crate) bytes: u64,
    pub(crate) options: ListOptions,
    pub(crate) share: Share<OrganizationId>,
}

/// Reads an upload into a temporary file. Rejects one that is too large or too slow.
pub(crate) async fn read(
    app: &App,
    organization_id: OrganizationId,
    headers: &HeaderMap,
    body: Body,
) -> Result<Upload, ApiError> {
    refuse_encoding(headers)?;
    let boundary = boundary(headers)?;
    let limits = &app.limits;
    let length = match body.size_hint().upper() {
        Some(length) if length > limits.list_bytes + MAX_OPTIONS as u64 + MAX_BUFFERED as u64 => {
            return Err(file_too_large(limits.list_bytes));
        }
        Some(length) => length,
        None => limits.list_bytes,
    };
    let counted = usize::try_from(length.min(limits.list_bytes)).unwrap_or(usize::MAX);
    let until = Instant::now() + limits.timeout.mul_f64(0.45);
    let share = timeout_at(until, limits.uploads.acquire(organization_id, counted)).await;
    let share = share.map_err(|_| overloaded())?;
    let buffered = Arc::new(AtomicUsize::new(0));
    let body = Body::new(BoundedBuffer { body, buffered: Arc::clone(&buffered), yields: false });
    let multipart = Multipart::new(body.into_data_stream(), boundary);
    let (file, options) = Reader { multipart, buffered, limits, end: limits.upload_end() }.read().await?;
    let Some((name, file, bytes)) = file else {
        return Err(invalid_multipart("file", "is missing; send the list as the part `file`, with a file name"));
    };
    Ok(Upload { name, file, bytes, options: options.unwrap_or_default(), share })
}

/// The parts of an upload that arrive.
struct Reader<'a> {
    multipart: Multipart<'static>,
    buffered: Arc<AtomicUsize>,
    limits: &'a Limits,
    /// When the upload must be complete.
    end: Instant,
}

type Parts = (Option<(String, File, u64)>, Option<ListOptions>);

impl Reader<'_> {
    async fn read(mut self) -> Result<Parts, ApiError> {
        let (mut file, mut options) = (None, None);
        while let Some(mut part) = self.next_part().await? {
            let name = part.name().map(ToOwned::to_owned);
            match name.as_deref() {
                Some("file") if file.is_none() => {
                    let name = part.file_name().map(shown_name).filter(|name| !name.is_empty());
                    let name = name.ok_or_else(|| {
                        invalid_multipart("file", "has no file name; send it as a file, with its name")
                    })?;
                    let (spooled, bytes) = self.spool(&mut part).await?;
                    file = Some((name, spooled, bytes));
                }
                Some("options") if options.is_none() => {
                    options = Some(ListOptions::from_json(&self.collect(&mut part).await?)?);
                }
                Some(name @ ("file" | "options")) => {
                    return Err(invalid_multipart(name, "is sent twice; send it once"));
                }
                name => {
                    let problem = "is not a part of an upload; send only the parts `file` and `options`";
                    return Err(invalid_multipart(name.unwrap_or_default(), problem));
                }
            }
        }
        Ok((file, options))
    }

    async fn next_part(&mut self) -> Result<Option<Field<'static>>, ApiError> {
        let until = self.until();
        let part = timeout_at(until, self.multipart.next_field()).await.map_err(|_| slow())?;
        self.buffered.store(0, Ordering::Relaxed);
        part.map_err(|e| failed(&e))
    }

    async fn chunk(&self, part: &mut Field<'static>) -> Result<Option<Bytes>, ApiError> {
        let chunk = timeout_at(self.until(), part.chunk()).await.map_err(|_| slow())?;
        self.buffered.store(0, Ordering::Relaxed);
        chunk.map_err(|e| failed(&e))
    }

    /// Copies a part to a temporary file.
    async fn spool(&self, part: &mut Field<'static>) -> Result<(File, u64), ApiError> {
        let failed = |e: std::io::Error| {
            tracing::error!(error = %e, "cannot write a temporary file");
            ApiError::unavailable()
        };
        let mut file = block_in_place(tempfile::tempfile).map_err(failed)?;
        let (mut bytes, mut buffer) = (0, Vec::with_capacity(WRITE_SIZE));
        while let Some(chunk) = self.chunk(part).await? {
            bytes += chunk.len() as u64;
            if bytes > self.limits.list_bytes {
                return Err(file_too_large(self.limits.list_bytes));
            }
            buffer.extend_from_slice(&chunk);
            if buffer.len() >= WRITE_SIZE {
                block_in_place(|| file.write_all(&buffer)).map_err(failed)?;
                buffer.clear();
            }
        }
        block_in_place(|| file.write_all(&buffer)).map_err(failed)?;
        Ok((file, bytes))
    }

    async fn collect(&self, part: &mut Field<'static>) -> Result<Vec<u8>, ApiError> {
        let mut bytes = Vec::new();
        while let Some(chunk) = self.chunk(part).await? {
            if bytes.len() + chunk.len() > MAX_OPTIONS {
                let problem = format!("the options have more than {} MiB; change the list itself", MAX_OPTIONS >> 20);
                return Err(at_part(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "options", problem));
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }

    /// Returns when the next bytes must arrive.
    fn until(&self) -> Instant {
        self.end.min(Instant::now() + self.limits.timeout.mul_f64(0.9))
    }
}

impl Limits {
    /// Returns the time that an upload of the largest size can take: a client with a slow line is not cut off.
    pub(crate) fn upload_time(&self) -> Duration {
        self.timeout + Duration::from_secs(self.list_bytes / MIN_BYTES_PER_SECOND)
    }

    fn upload_end(&self) -> Instant {
        Instant::now() + self.upload_time() - self.timeout.mul_f64(0.1)
    }
}

/// A body that its reader cannot buffer without limits.
///
/// The parser of parts reads until it finds the end of a head, and it reads all that has arrived.
struct BoundedBuffer {
    body: Body,
    /// The bytes since the parser last returned something.
    buffered: Arc<AtomicUsize>,
    /// True if the last frame was just returned.
    yields: bool,
}

impl HttpBody for BoundedBuffer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if std::mem::take(&mut self.yields) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        self.yields = true;
        if let Some(Ok(frame)) = &frame {
            let length = frame.data_ref().map_or(0, Bytes::len);
            if self.buffered.fetch_add(length, Ordering::Relaxed) > MAX_BUFFERED {
                return Poll::Ready(Some(Err(axum::Error::new(NoPart))));
            }
        }
        Poll::Ready(frame)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Too many bytes without a part.
#[derive(Debug, thiserror::Error)]
#[error("too many bytes without the head of a part")]
struct NoPart;

/// Returns the boundary of the parts.
fn boundary(headers: &HeaderMap) -> Result<String, ApiError> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    kind.and_then(|kind| multer::parse_boundary(kind).ok()).ok_or_else(|| {
        let problem =
            "the body is not `multipart/form-data` with a boundary; send the list as the part `file` of a form";
        ApiError::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", problem)
    })
}

fn failed(error: &multer::Error) -> ApiError {
    let is_no_part = |cause: &multer::Error| {
        let mut cause = std::error::Error::source(cause);
        while let Some(error) = cause {
            if error.is::<NoPart>() {
                return true;
            }
            cause = error.source();
        }
        false
    };
    match error {
        multer::Error::StreamReadFailed(_) if !is_no_part(error) => broken(),
        multer::Error::IncompleteFieldData { .. } | multer::Error::IncompleteStream => broken(),
        _ => {
            let problem = "the body is not a valid form with parts; send it as `multipart/form-data`";
            ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_multipart", problem)
        }
    }
}

fn invalid_multipart(part: &str, problem: &str) -> ApiError {
    let part: String = part.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect();
    let problem = format!("the part `{part}` {problem}");
    at_part(StatusCode::UNPROCESSABLE_ENTITY, "invalid_multipart", &part, problem)
}

pub(crate) fn file_too_large(limit: u64) -> ApiError {
    let problem = format!("the file has more than {limit} bytes; split it");
    at_part(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "file", problem)
}

fn at_part(status: StatusCode, code: &str, part: &str, problem: String) -> ApiError {
    let path = format!("/{}", part.replace('~', "~0").replace('/', "~1"));
    ApiError::with_items(status, vec![ErrorItem::new(code, path, problem)])
}

/// Returns the name of a file as it can be stored and shown: without folders and control characters.
fn shown_name(name: &str) -> String {
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    name.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect::<String>().trim().to_owned()
}

/// The number of bytes that are written to the temporary file at a time.
const WRITE_SIZE: usize = 256 << 10;
/// The size limit of the options, in bytes.
const MAX_OPTIONS: usize = 1 << 20;
/// The number of bytes that the head of a part and the boundary can have.
const MAX_BUFFERED: usize = 128 << 10;
/// The number of characters of the name of a file or of a part.
const MAX_NAME: usize = 255;
/// The slowest line on which an upload of the largest size arrives in time.
const MIN_BYTES_PER_SECOND: u64 = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_no_folder_and_no_control_characters() {
        assert_eq!(shown_name("C:\\lists\\people.csv"), "people.csv");
        assert_eq!(shown_name("../people\0 1.csv "), "people 1.csv");
        assert_eq!(shown_name("lists/"), "");
        assert_eq!(shown_name(&"é".repeat(300)).chars().count(), 255);
    }
}

//! Reads a file of people: CSV, TSV, XLSX, XLS, ODS or JSON.

use std::io::Cursor;
use std::time::SystemTime;

use axum::body::Bytes;
use enroll::{EnrollmentId, Timestamp};
use enroll_import::{Field, List, ListError, ListRequest, Options, Settings};
use serde::Deserialize;
use uuid::Uuid;

use crate::failure::Failure;

/// What the uploader says of the columns. The others are found by their titles. A form would first show
/// `enroll_import::inspect`.
#[derive(Deserialize)]
pub struct Columns {
    /// The title of the column that says who opted out. A list that has such a column is refused without it.
    opted_out: Option<String>,
}

/// The people of a file.
pub struct People {
    /// Requests of at most 4000 recipients. Their ids are derived from the key of the upload.
    pub requests: Vec<ListRequest>,
    /// The rows that are in no request, each with the reason. A person who opted out in the file is one of them.
    pub set_aside: Vec<String>,
}

/// Reads a file, on a thread where it may take its time.
pub async fn read(file: Bytes, columns: Columns, key: Uuid) -> Result<People, Failure> {
    let at = Timestamp::try_from(SystemTime::now()).map_err(|e| Failure::Internal(Box::new(e)))?;
    let read = tokio::task::spawn_blocking(move || read_at(file, columns, key, at));
    Ok(read.await.map_err(|e| Failure::Internal(Box::new(e)))??)
}

fn read_at(file: Bytes, columns: Columns, key: Uuid, at: Timestamp) -> Result<People, ListError> {
    let mut options = Options::default();
    if let Some(title) = columns.opted_out {
        options.mapping.set(&*title, Field::OptedOut);
    }
    let mut list = List::open(Cursor::new(file), options, Settings::new(at))?;
    let rows = list.rows()?.collect::<Result<Vec<_>, _>>()?;
    let set_aside = rows.iter().filter_map(|row| row.as_ref().err().map(ToString::to_string)).collect();
    let requests = list.requests(EnrollmentId::from_uuid(key), at)?.collect::<Result<_, _>>()?;
    Ok(People { requests, set_aside })
}

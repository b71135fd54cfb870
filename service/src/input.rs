//! Reads files. An error names the file and the place in it.

use serde_path_to_error::{Path as JsonPath, Segment};
use std::fmt::Write;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use enroll::seed::Seed;
use enroll::{EnrollmentPolicy, Snapshot};
use enroll_import::Mapping;
use serde::de::DeserializeOwned;

use crate::Failure;

/// Reads a file, or standard input for `-`. Removes a byte order mark.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = if path == Path::new("-") {
        io::stdin().lock().read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|mut file| file.read_to_end(&mut bytes))
    };
    match read {
        Ok(_) => {
            if bytes.starts_with(BYTE_ORDER_MARK) {
                bytes.drain(..BYTE_ORDER_MARK.len());
            }
            Ok(bytes)
        }
        Err(e) => Err(Failure::from_error(name(path), &e)),
    }
}

/// Returns the name of a file for messages.
pub(crate) fn name(path: &Path) -> String {
    if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() }
}

/// A seed, and a snapshot of each organization in it.
pub(crate) struct SeedFile {
    pub(crate) seed: Seed,
    pub(crate) snapshots: Vec<Snapshot>,
}

/// Reads a seed, and checks that a database can store it.
pub(crate) fn seed(path: &Path) -> Result<SeedFile, Failure> {
    let seed: Seed = json(path)?;
    let checked = seed.check_unique().and_then(|()| seed.snapshots());
    let snapshots = checked.map_err(|e| Failure::new(format!("{}#{}", name(path), e.path), e.message))?;
    Ok(SeedFile { seed, snapshots })
}

/// Reads an enrollment policy.
pub(crate) fn policy(path: &Path) -> Result<EnrollmentPolicy, Failure> {
    json(path)
}

/// Reads the fields of the columns of a list.
pub(crate) fn mapping(path: &Path) -> Result<Mapping, Failure> {
    json(path)
}

fn json<T: DeserializeOwned>(path: &Path) -> Result<T, Failure> {
    let bytes = read(path)?;
    let mut json = serde_json::Deserializer::from_slice(&bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|e| {
        let error = e.inner();
        if !error.is_data() {
            let problem = if error.is_eof() { "ends too early" } else { "is not JSON" };
            let problem = format!("{problem}: line {}, column {}; correct the file", error.line(), error.column());
            return Failure::new(name(path), problem);
        }
        let pointer = pointer(e.path());
        let place = format!("{}{}{pointer}", name(path), if pointer.is_empty() { "" } else { "#" });
        Failure::from_error(place, &e.into_inner())
    })?;
    json.end().map_err(|e| Failure::from_error(name(path), &e))?;
    Ok(value)
}

/// Returns a place in JSON as a JSON Pointer.
pub(crate) fn pointer(path: &JsonPath) -> String {
    let mut pointer = String::new();
    for segment in path {
        let _infallible = match segment {
            Segment::Seq { index } => write!(pointer, "/{index}"),
            Segment::Map { key } => write!(pointer, "/{}", key.replace('~', "~0").replace('/', "~1")),
            Segment::Enum { variant } => write!(pointer, "/{variant}"),
            Segment::Unknown => Ok(()),
        };
    }
    pointer
}

/// Some editors write it at the start of UTF-8 files.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

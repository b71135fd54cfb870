//! Reads files. An error names the file and the place in it.

use serde_path_to_error::{Path as JsonPath, Segment};
use std::fmt::Write;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;

use enroll::seed::Seed;
use enroll::{EnrollmentPolicy, Snapshot};
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

/// Input that can be read several times, each time from its beginning and without a byte order mark.
pub(crate) enum RepeatableInput {
    File(File),
    /// The content of an input that can be read only once.
    Bytes(Vec<u8>),
}

impl RepeatableInput {
    /// Opens a file. Standard input, a pipe or a device is read into memory.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        if path == Path::new("-") || !path.metadata().is_ok_and(|metadata| metadata.is_file()) {
            return read(path).map(Self::Bytes);
        }
        File::open(path).map(Self::File).map_err(|e| Failure::from_error(name(path), &e))
    }

    /// Returns a reader that starts at the beginning.
    pub(crate) fn reader(&mut self) -> io::Result<Box<dyn Read + '_>> {
        let file = match self {
            Self::File(file) => file,
            Self::Bytes(bytes) => return Ok(Box::new(&bytes[..])),
        };
        file.rewind()?;
        let mut mark = Vec::new();
        file.take(BYTE_ORDER_MARK.len() as u64).read_to_end(&mut mark)?;
        if mark != BYTE_ORDER_MARK {
            file.rewind()?;
        }
        Ok(Box::new(file))
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

fn json<T: DeserializeOwned>(path: &Path) -> Result<T, Failure> {
    let bytes = read(path)?;
    let mut json = serde_json::Deserializer::from_slice(&bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|e| {
        let place = format!("{}{}", name(path), pointer(e.path()));
        Failure::from_error(place, &e.into_inner())
    })?;
    json.end().map_err(|e| Failure::from_error(name(path), &e))?;
    Ok(value)
}

fn pointer(path: &JsonPath) -> String {
    let mut pointer = String::new();
    for segment in path {
        let _infallible = match segment {
            Segment::Seq { index } => write!(pointer, "/{index}"),
            Segment::Map { key } => write!(pointer, "/{}", key.replace('~', "~0").replace('/', "~1")),
            Segment::Enum { variant } => write!(pointer, "/{variant}"),
            Segment::Unknown => Ok(()),
        };
    }
    if pointer.is_empty() { pointer } else { format!("#{pointer}") }
}

/// Some editors write it at the start of UTF-8 files.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

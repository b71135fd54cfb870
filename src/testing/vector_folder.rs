//! Test vectors in a folder.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;

use crate::vectors::{Difference, Vector};

/// Reads the vectors in a folder and in its folders. The name of each one is its path below the folder, without the
/// extension, such as `4.4-duplicates/same-email`.
///
/// # Errors
/// The error of a file that cannot be read, or that is not a vector. It names the file.
#[expect(clippy::disallowed_methods, reason = "a tool for tests reads files, the engine never does")]
pub fn read_vectors(folder: impl AsRef<Path>) -> io::Result<BTreeMap<String, Vector>> {
    let folder = folder.as_ref();
    let in_file = |path: &Path, e: &dyn fmt::Display| io::Error::other(format!("{}: {e}", path.display()));
    let mut vectors = BTreeMap::new();
    for entry in std::fs::read_dir(folder).map_err(|e| in_file(folder, &e))? {
        let path = entry?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            let folder = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            vectors.extend(read_vectors(&path)?.into_iter().map(|(name, vector)| (format!("{folder}/{name}"), vector)));
        } else if path.extension().is_some_and(|extension| extension == "json") {
            let bytes = std::fs::read(&path).map_err(|e| in_file(&path, &e))?;
            vectors.insert(name, Vector::from_json(&bytes).map_err(|e| in_file(&path, &e))?);
        }
    }
    Ok(vectors)
}

/// Runs the vectors in a folder and in its folders. Returns their number.
///
/// `run` runs one vector: [`vectors::run`](crate::vectors::run) in memory, or [`vectors::run_on`](crate::vectors::run_on)
/// on a database.
///
/// ```no_run
/// use enroll::contact::Libphonenumber;
///
/// let count = enroll::testing::run_vectors("tests/vectors", |vector| enroll::vectors::run(vector, &Libphonenumber))?;
/// assert!(count > 0);
/// # Ok::<(), enroll::testing::VectorsError>(())
/// ```
///
/// # Errors
/// [`VectorsError`] with each vector that fails.
pub fn run_vectors(
    folder: impl AsRef<Path>,
    mut run: impl FnMut(&Vector) -> Result<(), Difference>,
) -> Result<usize, VectorsError> {
    let vectors = read_vectors(folder).map_err(VectorsError::Read)?;
    let count = vectors.len();
    let failed = |(name, vector): (String, Vector)| run(&vector).err().map(|difference| (name, difference));
    let failures: Vec<_> = vectors.into_iter().filter_map(failed).collect();
    if failures.is_empty() { Ok(count) } else { Err(VectorsError::Failed { count, failures }) }
}

/// Why the vectors of a folder did not pass. `Display` and `Debug` print one line for each vector that failed.
#[non_exhaustive]
pub enum VectorsError {
    /// A file cannot be read, or is not a vector.
    Read(io::Error),
    /// Vectors failed.
    Failed {
        /// The number of vectors in the folder.
        count: usize,
        /// The names of those that failed, with the first difference of each.
        failures: Vec<(String, Difference)>,
    },
}

impl fmt::Display for VectorsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(_) => f.write_str("the vectors cannot be read"),
            Self::Failed { count, failures } => {
                write!(f, "{} of {count} vectors fail:", failures.len())?;
                failures.iter().try_for_each(|(name, difference)| write!(f, "\n{name}: {difference}"))
            }
        }
    }
}

impl fmt::Debug for VectorsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // `unwrap` prints no cause.
            Self::Read(e) => write!(f, "{self}: {e}"),
            Self::Failed { .. } => fmt::Display::fmt(self, f),
        }
    }
}

impl std::error::Error for VectorsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Read(e) => Some(e),
            Self::Failed { .. } => None,
        }
    }
}

//! The database file: its identity, and the turns of its writers in this process.

use parking_lot::{FairMutex, FairMutexGuard};
use rusqlite::{Connection, MAIN_DB, OpenFlags};
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use std::{fmt, io};

use crate::error::SqliteError;
use crate::repository::SqliteRepository;

/// An open database file that several handles in one process share.
///
/// [`handle`](Self::handle) opens the same file again. It never creates a file, and refuses one that has replaced this
/// one. So all handles read and write the same data.
///
/// ```
/// use enroll_sqlite::{SqliteError, SqliteFile, SqliteRepository};
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("enroll.db");
/// let file = SqliteFile::new(SqliteRepository::open(&path)?)?;
/// let worker = file.handle()?;
///
/// std::fs::remove_file(&path)?;
/// assert!(matches!(file.handle(), Err(SqliteError::Moved)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct SqliteFile {
    file: DatabaseFile,
    flags: OpenFlags,
    /// An open connection keeps the system from giving the identity of a deleted file to a new one.
    _connection: Mutex<Connection>,
}

impl SqliteFile {
    /// Shares the file of a repository.
    ///
    /// The handles are read-only if the repository is.
    ///
    /// # Errors
    /// [`SqliteError::NoFile`] for a database in memory.
    pub fn new(repository: SqliteRepository) -> Result<Self, SqliteError> {
        let file = repository.file().cloned().ok_or(SqliteError::NoFile)?;
        let connection = repository.into_connection();
        let mut flags = EXISTING;
        if connection.is_readonly(MAIN_DB)? {
            flags.remove(OpenFlags::SQLITE_OPEN_READ_WRITE);
            flags.insert(OpenFlags::SQLITE_OPEN_READ_ONLY);
        }
        Ok(Self { file, flags, _connection: Mutex::new(connection) })
    }

    /// Opens another handle on the file.
    ///
    /// # Errors
    /// [`SqliteError::Moved`] if the path no longer names this file, else as for [`SqliteRepository::open`].
    pub fn handle(&self) -> Result<SqliteRepository, SqliteError> {
        self.check()?;
        let handle = SqliteRepository::open_with_flags(&self.file.name, self.flags)?;
        // The file may have been replaced before it was opened.
        if handle.file().is_some_and(|file| file.identity == self.file.identity) {
            Ok(handle)
        } else {
            Err(SqliteError::Moved)
        }
    }

    /// Checks that the path still names this file.
    ///
    /// # Errors
    /// [`SqliteError::Moved`] if the file was moved, deleted or replaced.
    pub fn check(&self) -> Result<(), SqliteError> {
        self.file.check()
    }
}

impl fmt::Debug for SqliteFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SqliteFile").field(&self.file.path).finish()
    }
}

/// The path and the identity of a file at the time it was opened, and the turns of its writers.
#[derive(Clone, Debug)]
pub(crate) struct DatabaseFile {
    /// A path or a URI.
    name: PathBuf,
    path: PathBuf,
    identity: Identity,
    turns: Arc<FairMutex<()>>,
}

impl DatabaseFile {
    /// Returns `None` for a database in memory, or if the path names no file. `name` is what the connection was opened by,
    /// if it is known.
    pub(crate) fn of(connection: &Connection, name: Option<&Path>) -> Option<Self> {
        let path = PathBuf::from(connection.path().filter(|path| !path.is_empty())?);
        let identity = Identity::of(&path).ok()?;
        let turns = turns(&identity);
        Some(Self { name: name.unwrap_or(&path).to_owned(), path, identity, turns })
    }

    /// Checks that the path still names this file. In WAL mode, SQLite would continue to use the moved or deleted file.
    pub(crate) fn check(&self) -> Result<(), SqliteError> {
        match Identity::of(&self.path) {
            Ok(identity) if identity == self.identity => Ok(()),
            _ => Err(SqliteError::Moved),
        }
    }

    /// Waits until the earlier writers of this process have finished.
    ///
    /// SQLite's own wait is a sleep, after which a later writer may be first.
    pub(crate) fn wait_for_turn(&self, timeout: Duration) -> Result<FairMutexGuard<'_, ()>, SqliteError> {
        self.turns.try_lock_for(timeout).ok_or(SqliteError::Busy)
    }
}

/// Creates an empty file that only its owner can use. SQLite gives the same mode to the files that it creates next to it.
///
/// Does nothing if the file exists, or if the path means something else to SQLite: memory, a temporary file, or a URI.
pub(crate) fn create(path: &Path) -> io::Result<()> {
    let name = path.as_os_str().as_encoded_bytes();
    if matches!(name, b"" | b":memory:") || name.starts_with(b"file:") {
        return Ok(());
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    // Closing the file would end the locks of a connection that another thread opens meanwhile.
    let _open_files = open_files();
    match options.open(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
        _ => Ok(()),
    }
}

/// The flags of a connection that creates no file.
pub(crate) const EXISTING: OpenFlags =
    OpenFlags::SQLITE_OPEN_READ_WRITE.union(OpenFlags::SQLITE_OPEN_NO_MUTEX).union(OpenFlags::SQLITE_OPEN_URI);

/// Returns the turns that all handles of this process on one file share.
fn turns(identity: &Identity) -> Arc<FairMutex<()>> {
    let mut files = open_files();
    if let Some(turns) = files.get(identity).and_then(Weak::upgrade) {
        return turns;
    }
    files.retain(|_, turns| turns.strong_count() > 0);
    let turns = Arc::new(FairMutex::new(()));
    files.insert(identity.clone(), Arc::downgrade(&turns));
    turns
}

fn open_files() -> MutexGuard<'static, BTreeMap<Identity, Weak<FairMutex<()>>>> {
    static OPEN_FILES: Mutex<BTreeMap<Identity, Weak<FairMutex<()>>>> = Mutex::new(BTreeMap::new());
    // A panic cannot leave the map half changed.
    OPEN_FILES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Identifies a file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Identity {
    #[cfg(unix)]
    device: u64,
    #[cfg(unix)]
    number: u64,
    /// On other systems, an open file cannot be moved or replaced.
    #[cfg(not(unix))]
    path: PathBuf,
}

impl Identity {
    #[cfg(unix)]
    fn of(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::MetadataExt;
        let metadata = path.metadata()?;
        Ok(Self { device: metadata.dev(), number: metadata.ino() })
    }

    #[cfg(not(unix))]
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { path: path.canonicalize()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_that_waits_too_long_for_its_turn_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("enroll.db");
        let [first, second] = [(); 2].map(|()| SqliteRepository::open(&path).unwrap().file().cloned().unwrap());
        let turn = first.wait_for_turn(Duration::ZERO).unwrap();
        assert!(matches!(second.wait_for_turn(Duration::ZERO), Err(SqliteError::Busy)));
        drop(turn);
        assert!(second.wait_for_turn(Duration::ZERO).is_ok());
    }
}

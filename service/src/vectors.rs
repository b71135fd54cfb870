//! `enroll vectors`: runs test vectors.

use std::cell::RefCell;
use std::fmt::Write;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use enroll::contact::Libphonenumber;
use enroll::seed::Seed;
use enroll::vectors::{self, Vector};
use enroll::{
    ChangeSet, ReferenceData, ReferenceQuery, Repository, RepositoryError, RepositoryErrorKind, Snapshot, SnapshotQuery,
};

use crate::args::VectorsArgs;
use crate::database::{Address, Database};
use crate::{Failure, causes, input, out};

pub(crate) fn run(args: &VectorsArgs) -> Result<ExitCode, Failure> {
    let files = files(&args.paths)?;
    let mut bench = Bench::new(&args.database)?;
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    // What ended the run is told after the vectors before it.
    let (mut unreadable, mut broken) = (None, None);
    let mut text = String::new();
    for file in files {
        let vector = match Vector::from_json(&input::read(&file)?) {
            Ok(vector) => vector,
            // The others are told all the same.
            Err(e) => {
                failed += 1;
                let _infallible = writeln!(text, "FAILED {}\n    {e}", file.display());
                unreadable.get_or_insert_with(|| Failure::new(input::name(&file), e));
                continue;
            }
        };
        let _infallible = match bench.run(&vector) {
            Ok(Ran::Passed) => {
                passed += 1;
                writeln!(text, "ok {}", vector.name)
            }
            Ok(Ran::Skipped) => {
                skipped += 1;
                writeln!(text, "skipped {} (plan_only: no database would hold its world)", vector.name)
            }
            Ok(Ran::Failed(difference)) => {
                failed += 1;
                writeln!(text, "FAILED {}\n    {difference}\n    in {}", vector.name, file.display())
            }
            Err(failure) => {
                broken = Some(failure);
                break;
            }
        };
    }
    let _infallible = write!(text, "{passed} passed, {failed} failed");
    if skipped > 0 {
        let _infallible = write!(text, ", {skipped} skipped");
    }
    text.push('\n');
    out(&text)?;
    if let Some(failure) = broken.or(unreadable) {
        return Err(failure);
    }
    Ok(ExitCode::from(u8::from(failed > 0)))
}

enum Ran {
    Passed,
    Skipped,
    Failed(String),
}

/// What vectors are run on: each finds it without rows, and leaves it so.
enum Bench {
    Memory,
    File(PathBuf),
    Postgres(RefCell<Database>),
}

impl Bench {
    fn new(name: &str) -> Result<Self, Failure> {
        match Address::of(name)? {
            Address::Memory => Ok(Self::Memory),
            Address::File(path) => {
                if path.starts_with("file:") {
                    return Err(Failure::new(path, "is an address: name the file itself, by its path"));
                }
                let path = PathBuf::from(path);
                if path.symlink_metadata().is_ok() {
                    let what = "exists, and vectors leave nothing behind: name a file that does not";
                    return Err(Failure::new(path.display(), what));
                }
                Ok(Self::File(path))
            }
            Address::Postgres(url) => {
                let mut database = Database::open_or_make(url)?;
                if database.organizations()?.is_empty() {
                    return Ok(Self::Postgres(RefCell::new(database)));
                }
                let what = "has organizations, which vectors would be mixed with: name a database without";
                Err(Failure::new(database.name(), what))
            }
        }
    }

    fn run(&mut self, vector: &Vector) -> Result<Ran, Failure> {
        let ran = match self {
            Self::Memory => match vectors::run(vector, &Libphonenumber) {
                Ok(()) => Ran::Passed,
                Err(difference) => Ran::Failed(difference.to_string()),
            },
            _ if vector.plan_only => Ran::Skipped,
            Self::File(path) => {
                let name = path.display().to_string();
                let ran = Database::open_or_make(&name).and_then(|database| on(&RefCell::new(database), vector));
                remove(path)?;
                ran?
            }
            Self::Postgres(database) => {
                let ran = on(database, vector);
                database.get_mut().remove(&vector.given)?;
                ran?
            }
        };
        Ok(ran)
    }
}

/// On a database without rows.
fn on(database: &RefCell<Database>, vector: &Vector) -> Result<Ran, Failure> {
    let given = &vector.given;
    if let Err(e) = given.snapshots().map(drop).and_then(|()| given.check_unique()) {
        return Ok(Ran::Failed(format!("/given{}: {}", e.path, e.message)));
    }
    database.borrow_mut().seed(given)?;
    let mut handle = Handle { database, lost: None };
    let mut unread = None;
    let dump = || {
        let stands = database.borrow_mut().dump(given.organization_id);
        stands.unwrap_or_else(|failure| {
            unread = Some(failure);
            Seed::new(given.organization_id)
        })
    };
    let ran = vectors::run_on(vector, &Libphonenumber, &mut handle, dump);
    if let Some(failure) = unread {
        return Err(failure);
    }
    Ok(match (ran, handle.lost) {
        (Ok(()), _) => Ran::Passed,
        (Err(difference), None) => Ran::Failed(difference.to_string()),
        (Err(difference), Some(lost)) => Ran::Failed(format!("{difference}\n    {lost}")),
    })
}

/// The database for a vector, while what stands in it is read too; it keeps why it failed.
struct Handle<'d> {
    database: &'d RefCell<Database>,
    lost: Option<String>,
}

impl Handle<'_> {
    fn ask<T>(&mut self, ask: impl FnOnce(&mut Database) -> Result<T, RepositoryError>) -> Result<T, RepositoryError> {
        let answer = ask(&mut self.database.borrow_mut());
        if let Err(e) = &answer
            && e.kind() != RepositoryErrorKind::Conflict
        {
            self.lost = Some(causes(e));
        }
        answer
    }
}

impl Repository for Handle<'_> {
    fn reference_data(&mut self, query: &ReferenceQuery) -> Result<ReferenceData, RepositoryError> {
        self.ask(|database| database.reference_data(query))
    }

    fn load(&mut self, query: &SnapshotQuery) -> Result<Snapshot, RepositoryError> {
        self.ask(|database| database.load(query))
    }

    fn commit(&mut self, changes: &ChangeSet) -> Result<(), RepositoryError> {
        self.ask(|database| database.commit(changes))
    }
}

/// A SQLite file with what may stand beside it.
fn remove(path: &Path) -> Result<(), Failure> {
    for end in ["", "-wal", "-shm", "-journal"] {
        let mut file = path.as_os_str().to_owned();
        file.push(end);
        match std::fs::remove_file(&file) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                return Err(Failure::new(Path::new(&file).display(), e));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The files that are named, and the `.json` files of the folders that are, in order.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let mut found = folder(path).map_err(|e| Failure::new(path.display(), e))?;
            if found.is_empty() {
                return Err(Failure::new(path.display(), "has no `.json` files"));
            }
            found.sort();
            files.append(&mut found);
        } else {
            files.push(path.clone());
        }
    }
    Ok(files)
}

/// The `.json` files in a folder and in its folders.
fn folder(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let path = entry?.path();
        if path.is_dir() {
            found.append(&mut folder(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "json") {
            found.push(path);
        }
    }
    Ok(found)
}

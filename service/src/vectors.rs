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
use crate::{Failure, causes, input, print_to_stdout};

pub(crate) fn run(args: &VectorsArgs) -> Result<ExitCode, Failure> {
    let files = files(&args.paths)?;
    let mut target = Target::open(&args.database)?;
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    // Print the results first, then the error that ended the run.
    let (mut invalid, mut database_failure) = (None, None);
    let mut text = String::new();
    for file in files {
        let vector = match Vector::from_json(&input::read(&file)?) {
            Ok(vector) => vector,
            // Continue with the other vectors.
            Err(e) => {
                failed += 1;
                let _infallible = writeln!(text, "FAILED {}\n    {e}", file.display());
                invalid.get_or_insert_with(|| Failure::from_error(input::name(&file), &e));
                continue;
            }
        };
        let _infallible = match target.run(&vector) {
            Ok(VectorResult::Passed) => {
                passed += 1;
                writeln!(text, "ok {}", vector.name)
            }
            Ok(VectorResult::Skipped) => {
                skipped += 1;
                writeln!(text, "skipped {} (plan_only: a database cannot store its rows)", vector.name)
            }
            Ok(VectorResult::Failed(difference)) => {
                failed += 1;
                writeln!(text, "FAILED {}\n    {difference}\n    in {}", vector.name, file.display())
            }
            Err(failure) => {
                database_failure = Some(failure);
                break;
            }
        };
    }
    let _infallible = write!(text, "{passed} passed, {failed} failed");
    if skipped > 0 {
        let _infallible = write!(text, ", {skipped} skipped");
    }
    text.push('\n');
    print_to_stdout(&text)?;
    if let Some(failure) = database_failure.or(invalid) {
        return Err(failure);
    }
    Ok(ExitCode::from(u8::from(failed > 0)))
}

enum VectorResult {
    Passed,
    Skipped,
    Failed(String),
}

/// The database to run vectors on. It is empty before and after each vector.
enum Target {
    Memory,
    File(PathBuf),
    Postgres(Box<RefCell<Database>>),
}

impl Target {
    fn open(name: &str) -> Result<Self, Failure> {
        match Address::parse(name)? {
            Address::Memory => Ok(Self::Memory),
            Address::File(path) => {
                if path.starts_with("file:") {
                    return Err(Failure::new(path, "is a URL; use the path of the file"));
                }
                let path = PathBuf::from(path);
                if path.symlink_metadata().is_ok() {
                    let problem = "exists already, and `enroll vectors` deletes its file; use the path of a new file";
                    return Err(Failure::new(path.display(), problem));
                }
                Ok(Self::File(path))
            }
            Address::Postgres(url) => {
                let mut database = Database::open_or_create(url)?;
                if database.organizations()?.is_empty() {
                    return Ok(Self::Postgres(Box::new(RefCell::new(database))));
                }
                let problem = "has organizations; use a database without any, since each vector needs an empty one";
                Err(Failure::new(database.name(), problem))
            }
        }
    }

    fn run(&mut self, vector: &Vector) -> Result<VectorResult, Failure> {
        let result = match self {
            Self::Memory => match vectors::run(vector, &Libphonenumber) {
                Ok(()) => VectorResult::Passed,
                Err(difference) => VectorResult::Failed(difference.to_string()),
            },
            _ if vector.plan_only => VectorResult::Skipped,
            Self::File(path) => {
                let name = path.display().to_string();
                let opened = Database::open_or_create(&name);
                let result = opened.and_then(|database| run_on_empty(&RefCell::new(database), vector));
                remove(path)?;
                result?
            }
            Self::Postgres(database) => {
                let result = run_on_empty(database, vector);
                database.get_mut().remove(&vector.given)?;
                result?
            }
        };
        Ok(result)
    }
}

/// Runs a vector on a database without rows.
fn run_on_empty(database: &RefCell<Database>, vector: &Vector) -> Result<VectorResult, Failure> {
    let seed = &vector.given;
    if let Err(e) = seed.snapshots().map(drop).and_then(|()| seed.check_unique()) {
        return Ok(VectorResult::Failed(format!("/given{}: {}", e.path, e.message)));
    }
    database.borrow_mut().load_seed(seed)?;
    let mut repository = RecordingRepository { database, error: None };
    let mut dump_failure = None;
    let dump = || {
        let rows = database.borrow_mut().dump(seed.organization_id);
        rows.unwrap_or_else(|failure| {
            dump_failure = Some(failure);
            Seed::new(seed.organization_id)
        })
    };
    let result = vectors::run_on(vector, &Libphonenumber, &mut repository, dump);
    if let Some(failure) = dump_failure {
        return Err(failure);
    }
    Ok(match (result, repository.error) {
        (Ok(()), _) => VectorResult::Passed,
        (Err(difference), None) => VectorResult::Failed(difference.to_string()),
        (Err(difference), Some(error)) => VectorResult::Failed(format!("{difference}\n    {error}")),
    })
}

/// A repository on a database that is dumped between its calls. It records the last error, except conflicts.
struct RecordingRepository<'d> {
    database: &'d RefCell<Database>,
    error: Option<String>,
}

impl RecordingRepository<'_> {
    fn call<T>(
        &mut self,
        call: impl FnOnce(&mut dyn Repository) -> Result<T, RepositoryError>,
    ) -> Result<T, RepositoryError> {
        let result = call(&mut self.database.borrow_mut().inbox());
        if let Err(e) = &result
            && e.kind() != RepositoryErrorKind::Conflict
        {
            self.error = Some(causes(e));
        }
        result
    }
}

impl Repository for RecordingRepository<'_> {
    fn reference_data(&mut self, query: &ReferenceQuery) -> Result<ReferenceData, RepositoryError> {
        self.call(|repository| repository.reference_data(query))
    }

    fn load(&mut self, query: &SnapshotQuery) -> Result<Snapshot, RepositoryError> {
        self.call(|repository| repository.load(query))
    }

    fn commit(&mut self, changes: &ChangeSet) -> Result<(), RepositoryError> {
        self.call(|repository| repository.commit(changes))
    }
}

/// Deletes a SQLite file with its journal files.
fn remove(path: &Path) -> Result<(), Failure> {
    for end in ["", "-wal", "-shm", "-journal"] {
        let mut file = path.as_os_str().to_owned();
        file.push(end);
        match std::fs::remove_file(&file) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                return Err(Failure::from_error(Path::new(&file).display(), &e));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Returns the named files, and the `.json` files of the named folders, in order.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let mut found = folder(path).map_err(|e| Failure::from_error(path.display(), &e))?;
            if found.is_empty() {
                return Err(Failure::new(path.display(), "contains no `.json` files"));
            }
            found.sort();
            files.append(&mut found);
        } else {
            files.push(path.clone());
        }
    }
    Ok(files)
}

/// Returns the `.json` files in a folder and in its subfolders.
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

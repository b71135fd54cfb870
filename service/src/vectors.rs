//! `enroll vectors`: runs test vectors.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use enroll::contact::Libphonenumber;
use enroll::testing::{self, Vector};

use crate::{Failure, input, out};

pub(crate) fn run(paths: &[PathBuf]) -> Result<ExitCode, Failure> {
    let (mut passed, mut failed, mut unreadable) = (0, 0, None);
    let mut text = String::new();
    for file in files(paths)? {
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
        let _infallible = match testing::run(&vector, &Libphonenumber) {
            Ok(()) => {
                passed += 1;
                writeln!(text, "ok {}", vector.name)
            }
            Err(difference) => {
                failed += 1;
                writeln!(text, "FAILED {}\n    {difference}\n    in {}", vector.name, file.display())
            }
        };
    }
    let _infallible = writeln!(text, "{passed} passed, {failed} failed");
    out(&text)?;
    if let Some(failure) = unreadable {
        return Err(failure);
    }
    Ok(ExitCode::from(u8::from(failed > 0)))
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

fn folder(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            found.push(path);
        }
    }
    Ok(found)
}

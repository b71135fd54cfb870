//! The file of a list, and the choices of how it is read.

use std::fs::File;
use std::io;
use std::path::Path;

use enroll_import::{Assignment, Field, List, ListError, Options, Settings, spool};

use crate::args::ReadingArgs;
use crate::{Failure, input};

/// Opens a file. Standard input, a pipe or a device is copied to a temporary file: a list is read several times.
pub(crate) fn open(path: &Path, settings: &Settings) -> Result<File, Failure> {
    let failed = |e: &io::Error| Failure::from_error(input::name(path), e);
    let from_stdin = path == Path::new("-");
    if !from_stdin && path.metadata().map_err(|e| failed(&e))?.is_file() {
        return File::open(path).map_err(|e| failed(&e));
    }
    let file = tempfile::tempfile().map_err(|e| Failure::from_error("a temporary file", &e))?;
    let spooled = if from_stdin {
        spool(io::stdin().lock(), &file, settings)
    } else {
        spool(File::open(path).map_err(|e| failed(&e))?, &file, settings)
    };
    spooled.map_err(|e| failure(&input::name(path), &e))?;
    Ok(file)
}

/// Reads the list once, to check and count its rows.
pub(crate) fn read(name: &str, file: File, options: Options, settings: Settings) -> Result<List<File>, Failure> {
    List::open(file, options, settings).map_err(|e| failure(name, &e))
}

/// Returns the settings of a list on the command line: a file can have any size, since it is the caller's own.
pub(crate) fn without_limit(settings: Settings) -> Settings {
    let limits = settings.limits.with_bytes(u64::MAX);
    settings.with_limits(limits)
}

/// Returns the choices of the command line. An option for a column replaces its entry in the file with the mapping.
pub(crate) fn options(args: &ReadingArgs) -> Result<Options, Failure> {
    let ReadingArgs { column, ignore, map, sheet, encoding, delimiter, date_format, default_region: _ } = args;
    let mut options = Options::default();
    if let Some(path) = map {
        options.mapping = input::mapping(path)?;
    }
    for Assignment { column, field, .. } in column.iter().cloned() {
        options.mapping.set(column, field);
    }
    for title in ignore {
        let assignment: Assignment = format!("{title}={}", Field::Ignore)
            .parse()
            .map_err(|e| Failure::from_error("--ignore", &e as &dyn std::error::Error))?;
        options.mapping.set(assignment.column, Field::Ignore);
    }
    options.sheet.clone_from(sheet);
    options.encoding.clone_from(encoding);
    options.delimiter = *delimiter;
    options.date_format.clone_from(date_format);
    Ok(options)
}

/// Returns the failure of a list, with the option that helps.
pub(crate) fn failure(name: &str, error: &ListError) -> Failure {
    let failure = Failure::from_error(name, error);
    let first = |titles: &[String]| titles.first().map_or_else(|| "Title".to_owned(), Clone::clone);
    let hint = match error {
        ListError::ConsentNotMapped { titles } => {
            let title = first(titles);
            format!("use `--column \"{title}=opted_out\"` or `--ignore \"{title}\"`")
        }
        ListError::NoKeyColumn { titles } => format!("use `--column \"{}=phone\"`", first(titles)),
        ListError::NoCustomObject { title, .. } => {
            format!("use `--custom-object ID --resource contact`, or `--ignore \"{title}\"`")
        }
        ListError::NoSheetWithHeader { .. } => "use `--sheet NAME --column \"Title=phone\"`".to_owned(),
        ListError::UnknownSheet { .. } => "use another `--sheet`".to_owned(),
        ListError::NoSheets => "remove `--sheet`".to_owned(),
        ListError::BadText { .. } => "use `--encoding NAME`".to_owned(),
        _ => return failure,
    };
    failure.with_hint(&hint)
}

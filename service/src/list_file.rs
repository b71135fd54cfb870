//! The file of a list, and the choices of how it is read.

use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::path::Path;

use enroll_import::{
    Assignment, AssignmentError, ColumnRef, Delimiter, Field, InspectedColumn, Inspection, List, ListError, Options,
    Settings, Warning, inspect, spool,
};

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
pub(crate) fn read(name: &str, file: File, args: &ReadingArgs, settings: &Settings) -> Result<List<File>, Failure> {
    let options = options(args)?;
    let again = file.try_clone().map_err(|e| Failure::from_error(name, &e))?;
    List::open(file, options.clone(), settings.clone()).map_err(|error| match &error {
        ListError::ConsentNotMapped { .. } | ListError::NoKeyColumn { .. } => {
            match inspect(again, &options, settings) {
                Ok(inspection) => refused(name, &error, args, &inspection),
                Err(_) => failure(name, &error),
            }
        }
        ListError::UnknownColumn { column, titles } => unknown_column(name, column, titles, args),
        error => failure(name, error),
    })
}

/// Returns the settings of a list on the command line: a file can have any size, since it is the caller's own.
pub(crate) fn without_limit(settings: Settings) -> Settings {
    let limits = settings.limits.with_bytes(u64::MAX);
    settings.with_limits(limits)
}

/// Reads a column that is not read.
fn ignored(title: &str) -> Result<Assignment, AssignmentError> {
    format!("{title}={}", Field::Ignore).parse()
}

/// Returns the choices of the command line. An option for a column replaces its entry in the file with the mapping.
fn options(args: &ReadingArgs) -> Result<Options, Failure> {
    let ReadingArgs { column, ignore, map, sheet, encoding, delimiter, date_format, default_region: _ } = args;
    let mut options = Options::default();
    if let Some(path) = map {
        options.mapping = input::mapping(path)?;
    }
    for Assignment { column, field, .. } in column.iter().cloned() {
        options.mapping.set(column, field);
    }
    for title in ignore {
        let assignment = ignored(title).map_err(|e| Failure::from_error("--ignore", &e))?;
        options.mapping.set(assignment.column, Field::Ignore);
    }
    options.sheet.clone_from(sheet);
    options.encoding.clone_from(encoding);
    options.delimiter = *delimiter;
    options.date_format.clone_from(date_format);
    Ok(options)
}

/// Returns the failure of a list whose columns a person must choose, with the options that fit its columns.
fn refused(name: &str, error: &ListError, args: &ReadingArgs, inspection: &Inspection) -> Failure {
    let failure = Failure::from_error(name, error);
    let columns = &inspection.columns;
    if matches!(error, ListError::ConsentNotMapped { .. }) {
        let open = inspection.warnings.iter().filter_map(|warning| match warning {
            Warning::ConsentNotMapped { position, .. } => Some(*position),
            _ => None,
        });
        let open: Vec<usize> = open.collect();
        let open = columns.iter().filter(|column| open.contains(&column.position));
        let choices: Vec<String> = open.filter_map(consent_choice).collect();
        let help = "`opted_out` leaves out the people with a yes, `opted_in` those with a no";
        return failure.with_hint(&format!("use {}; {help}", choices.join(", and ")));
    }
    let others = |delimiter: Delimiter| [",", ";", "\t", "|"].into_iter().filter(move |c| *c != delimiter.to_string());
    let hint = match (args.delimiter, &columns[..]) {
        (Some(delimiter), [only]) if others(delimiter).any(|other| only.title.contains(other)) => {
            "its row of titles has another delimiter than `--delimiter`; omit the option".to_owned()
        }
        _ => match columns.iter().find_map(|column| Some((column, column.looks_like()?))) {
            Some((column, field)) => format!("use `--column \"{}={field}\"`", column.title),
            None => "no column has values like a phone or an email; if one is an id of your own, use \
                     `--column \"Title=external_id\"`"
                .to_owned(),
        },
    };
    failure.with_hint(&hint)
}

/// Returns the options for a column whose title speaks of consent: the field that fits the title, or to ignore it.
fn consent_choice(column: &InspectedColumn) -> Option<String> {
    let (title, field) = (&column.title, column.consent.as_ref()?);
    Some(format!("`--column \"{title}={field}\"` or `--ignore \"{title}\"`"))
}

/// Returns the failure of an option that names a column which the list does not have.
fn unknown_column(name: &str, column: &ColumnRef, titles: &[String], args: &ReadingArgs) -> Failure {
    let is_ignored = |title: &String| ignored(title).is_ok_and(|assignment| assignment.column == *column);
    let option = if args.column.iter().any(|assignment| assignment.column == *column) {
        "--column"
    } else if args.ignore.iter().any(is_ignored) {
        "--ignore"
    } else {
        "--map"
    };
    let mut problem = format!("{name} has no column {column}");
    if let ColumnRef::Title(wanted) = column {
        let similarity = |title: &str| strsim::jaro_winkler(&title.to_lowercase(), &wanted.to_lowercase());
        let nearest = titles.iter().filter(|title| !title.is_empty());
        if let Some(nearest) = nearest.max_by(|a, b| similarity(a).total_cmp(&similarity(b))) {
            let _infallible = write!(problem, "; the nearest is `{nearest}`");
        }
    }
    let listed: Vec<String> = titles.iter().take(LISTED).map(|title| format!("`{title}`")).collect();
    let more = if titles.len() > LISTED { ", …" } else { "" };
    let _infallible = write!(problem, "; the titles are {}{more}", listed.join(", "));
    Failure::new(option, problem)
}

/// The number of titles that a message lists.
const LISTED: usize = 20;

/// Returns the failure of a list, with the option that helps.
pub(crate) fn failure(name: &str, error: &ListError) -> Failure {
    let failure = Failure::from_error(name, error);
    let hint = match error {
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

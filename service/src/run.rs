//! `enroll run`: enrolls a list or a request, in a database or in memory.

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::ExitCode;
use utoipa::ToSchema;

use enroll::report::Counts;
use enroll::{
    Disposition, Engine, Enrolled, EnrollmentReport, Outcome, ReadAs, Rehearsal, Repository, Timestamp,
    enroll_contacts, preview,
};

use enroll_demo::print::{self, Listing, RecipientLine};
use enroll_import::Note;

use crate::args::RunArgs;
use crate::database::Database;
use crate::import_job::{Batch, Import, ImportError, ImportJob};
use crate::list_report::{LISTED, ListReport};
use crate::list_request::add_counts;
use crate::people_lists::rows::can_be_fixed;
use crate::repeated_contacts::RepeatedContacts;
use crate::{Failure, print_to_stderr, print_to_stdout, to_fix};

pub(crate) fn run(args: &RunArgs) -> Result<ExitCode, Failure> {
    let (job, mut database) = ImportJob::new(&args.import, args.seed.as_deref())?;
    let mut input = job.open_input()?;
    let mut import = job.read(&mut database, &mut input)?;
    let list = import.list_report(if args.all || args.json { usize::MAX } else { LISTED })?;
    args.to_fix.as_deref().map_or(Ok(()), to_fix::check)?;
    let mut summary = Run { args, job: &job }.enroll_all(&mut database, &mut import)?;
    if let Some(path) = &args.to_fix {
        let written = import.write_to_fix(path, &mut summary.ignored).map_err(|failure| {
            let hint = "the list is enrolled; run the same command with another `--to-fix`";
            if args.preview { failure } else { failure.with_hint(hint) }
        })?;
        let rows = if written == 1 { "row" } else { "rows" };
        print_to_stderr(&format!("wrote {written} {rows} to fix to {}", path.display()));
    }
    summary.print(args, &import, list.as_ref())
}

/// A run of an import.
struct Run<'a> {
    args: &'a RunArgs,
    job: &'a ImportJob<'a>,
}

impl Run<'_> {
    fn enroll_all(&self, database: &mut Database, import: &mut Import<'_>) -> Result<Summary, Failure> {
        let requests = import.requests();
        let mut summary = Summary::new(self.args, requests)?;
        let bar = progress_bar(import.people(), requests);
        let name = database.name().to_owned();
        let mut inbox = database.inbox();
        let mut enroll = |repository: &mut dyn Repository| self.enroll(repository, &name, import, &mut summary, &bar);
        let enrolled = if self.args.preview && requests > 1 {
            enroll(&mut Rehearsal::new(&mut inbox))
        } else {
            enroll(&mut inbox)
        };
        bar.finish_and_clear();
        match enrolled {
            Ok(()) => Ok(summary),
            Err(error) if self.args.preview => Err(error.failure),
            Err(error) => Err(self.job.failure(import, error, summary.requests, "enrolled")),
        }
    }

    /// Enrolls, or previews a single request. For a preview of several requests, the repository is a rehearsal, so that
    /// each request sees the rows of the requests before it.
    fn enroll(
        &self,
        repository: &mut dyn Repository,
        name: &str,
        import: &mut Import<'_>,
        summary: &mut Summary,
        bar: &ProgressBar,
    ) -> Result<(), ImportError> {
        self.job.check_batches(repository, name, import)?;
        let engine = Engine::new(&self.job.policy);
        let preview_only = self.args.preview && import.requests() == 1;
        self.job.for_each_batch(import, |batch| {
            let enrolled = if preview_only {
                preview(repository, &engine, &batch.enrollment)
            } else {
                enroll_contacts(repository, &engine, &batch.enrollment)
            };
            let enrolled = enrolled.map_err(|e| batch.error(name, &e))?;
            bar.inc(enrolled.report.outcomes.len() as u64);
            Ok(summary.add(batch, &engine, &enrolled)?)
        })
    }
}

/// The results of the requests so far.
///
/// It keeps only what is printed at the end. With `--json`, that is all reports.
struct Summary {
    requests: usize,
    /// The requests that were completed before.
    replayed: usize,
    /// The instant of the first request.
    at: Option<Timestamp>,
    target: String,
    counts: Counts,
    tags: String,
    warnings: String,
    accepted_keys: Option<String>,
    listing: Listing,
    /// The title of the number column: `recipient` or `row`.
    number_title: &'static str,
    repeated: Option<RepeatedContacts>,
    /// With `--to-fix`, the outcomes of recipients that a correction can help, by row.
    ignored: BTreeMap<u64, Outcome>,
    keep_ignored: bool,
    /// True if a correction can help a recipient.
    can_be_fixed: bool,
    preview: bool,
    json: Option<Json>,
}

#[derive(Default)]
struct Json {
    reports: Vec<Value>,
    repeated: Vec<Value>,
}

impl Summary {
    fn new(args: &RunArgs, requests: usize) -> Result<Self, Failure> {
        let repeated = (requests > 1).then(RepeatedContacts::new).transpose().map_err(|e| sqlite_failure(&e))?;
        Ok(Self {
            requests: 0,
            replayed: 0,
            at: None,
            target: String::new(),
            counts: Counts::default(),
            tags: String::new(),
            warnings: String::new(),
            accepted_keys: None,
            listing: Listing::new(args.all, args.preview),
            number_title: "recipient",
            repeated,
            ignored: BTreeMap::new(),
            keep_ignored: args.to_fix.is_some(),
            can_be_fixed: false,
            preview: args.preview,
            json: args.json.then(Json::default),
        })
    }

    fn add(&mut self, batch: &Batch<'_>, engine: &Engine<'_>, enrolled: &Enrolled) -> Result<(), Failure> {
        let report = &enrolled.report;
        self.requests += 1;
        self.replayed += usize::from(enrolled.replayed);
        if self.requests == 1 {
            self.target = print::target(report, batch.reference);
            self.at = Some(report.at);
        }
        add_counts(&mut self.counts, &report.counts());
        if let Some(tag) = &report.upload_tag {
            let line = format!("tag                  {} (`{}`)\n", tag.name, tag.id);
            // The requests of a list share one tag.
            if !self.tags.ends_with(&line) {
                self.tags.push_str(&line);
            }
        }
        for warning in &report.warnings {
            let _infallible = writeln!(self.warnings, "{:<20} {}", "warning", print::plain(&warning.to_string()));
        }
        self.accepted_keys = self.accepted_keys.take().or_else(|| print::accepted_keys(report));
        let rows = batch.rows.unwrap_or_default();
        if batch.rows.is_some() {
            self.number_title = "row";
        }
        let first_rows = match &mut self.repeated {
            Some(repeated) => repeated.record(report, rows).map_err(|e| sqlite_failure(&e))?,
            None => Vec::new(),
        };
        let notes = notes_by_index(batch);
        let phone_columns: BTreeMap<usize, &str> = batch.phone_columns.iter().copied().collect();
        let channel = report.channel_id.and_then(|id| batch.reference.channels.get(&id));
        let region = engine.region(batch.reference, channel.map(|channel| &*channel.value));
        for (entry, outcome) in batch.enrollment.request.to.iter().zip(&report.outcomes) {
            let number = rows.get(outcome.index).copied().unwrap_or(outcome.index);
            let first_row = first_rows.get(outcome.index).copied().flatten();
            let row_notes = notes.get(&outcome.index).into_iter().flatten().map(|note| note_text(note)).collect();
            let phone_column = phone_columns.get(&outcome.index).copied();
            if outcome.disposition == Disposition::Ignored && outcome.reasons.iter().all(can_be_fixed) {
                self.can_be_fixed = true;
                if self.keep_ignored {
                    self.ignored.insert(number as u64, outcome.clone());
                }
            }
            let read_as = enrolled.read_as.get(outcome.index).filter(|_| self.preview);
            self.listing.add(&RecipientLine {
                number,
                rows,
                entry,
                outcome,
                first_row,
                row_notes,
                read_as,
                phone_column,
                region,
            });
            if let (Some(json), Some(first)) = (&mut self.json, first_row) {
                json.repeated.push(json!({ "row": number, "first_row": first, "contact_id": outcome.contact_id }));
            }
        }
        if let Some(json) = &mut self.json {
            let mut report = json!(EnrolledReport::from(enrolled));
            add_rows(&mut report, batch);
            json.reports.push(report);
        }
        Ok(())
    }

    fn print(self, args: &RunArgs, import: &Import<'_>, list: Option<&ListReport>) -> Result<ExitCode, Failure> {
        if let Some(Json { reports, repeated }) = self.json {
            // The JSON of a preview and of an enrollment is the same, so the line goes to standard error.
            if args.preview {
                print_to_stderr(PREVIEW);
            }
            let Some(list) = list else { return print_json(&json!(reports.first())) };
            return print_json(&json!({
                "list_id": import.id, "list": list.mapping_json(), "counts": self.counts, "reports": reports,
                "again": repeated, "set_aside": list.set_aside_json(),
            }));
        }
        let mut text = String::new();
        if let (Some(at), true) = (self.at, self.replayed == self.requests) {
            let what = if list.is_some() { "list" } else { "request" };
            let _infallible = writeln!(
                text,
                "This {what} was enrolled at {at}. Running it again changes nothing; `--idempotency-key NEW` enrolls it \
                 again."
            );
        }
        if args.preview {
            let _infallible = writeln!(text, "{PREVIEW}");
        }
        text.push_str(&list.map(ListReport::mapping_text).unwrap_or_default());
        text.push_str(&self.target);
        if self.requests > 1 {
            let _infallible = writeln!(text, "{} requests, list `{}`", self.requests, import.id);
        }
        if self.replayed > 0 {
            let _infallible =
                writeln!(text, "replayed: {} of {} requests were enrolled before", self.replayed, self.requests);
        }
        text.push_str(&print::counts(&self.counts));
        if let Some(list) = list.filter(|list| list.set_aside > 0) {
            let _infallible = writeln!(text, "{:<20} {:>7}", "rows set aside", list.set_aside);
        }
        text.push_str(&self.tags);
        text.push_str(&self.warnings);
        text.push_str(&self.accepted_keys.unwrap_or_default());
        text.push('\n');
        if self.requests > 0 {
            text.push_str(&self.listing.table(self.number_title));
        }
        text.push_str(&list.map(ListReport::set_aside_text).unwrap_or_default());
        if list.is_some_and(|list| self.can_be_fixed || list.can_be_fixed()) && args.to_fix.is_none() {
            text.push_str(TO_FIX);
        }
        print_to_stdout(&text)?;
        Ok(ExitCode::SUCCESS)
    }
}

/// Adds to each outcome its row in the list, and what was changed or left out when the row was read.
fn add_rows(report: &mut Value, batch: &Batch<'_>) {
    let Some(rows) = batch.rows else { return };
    let notes = notes_by_index(batch);
    for (index, outcome) in report["outcomes"].as_array_mut().into_iter().flatten().enumerate() {
        outcome["row"] = json!(rows.get(index));
        if let Some(notes) = notes.get(&index) {
            outcome["row_notes"] = json!(notes);
        }
    }
}

fn notes_by_index<'p>(batch: &Batch<'p>) -> BTreeMap<usize, Vec<&'p Note>> {
    let mut by_index = BTreeMap::<usize, Vec<&Note>>::new();
    for (index, note) in batch.notes {
        by_index.entry(*index).or_default().push(note);
    }
    by_index
}

fn sqlite_failure(error: &rusqlite::Error) -> Failure {
    Failure::from_error("the temporary database of repeated contacts", error)
}

/// Returns what was changed or left out in a row, with the option that helps.
fn note_text(note: &Note) -> String {
    match note.date_format() {
        Some(format) => format!("{note} (`--date-format {format}`)"),
        None => note.to_string(),
    }
}

const PREVIEW: &str = "Preview: nothing was written.";
const TO_FIX: &str = "\nTo get the rows that a correction can help as a file, add `--to-fix FILE.csv`.\n";

pub(crate) fn print_json(report: &serde_json::Value) -> Result<ExitCode, Failure> {
    print_to_stdout(&format!("{report:#}\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// Returns a report with its counts.
pub(crate) fn with_counts(report: &EnrollmentReport) -> serde_json::Value {
    let mut value = json!(report);
    value["counts"] = json!(report.counts());
    value
}

/// A report with its counts, and with the addresses of each recipient as the engine read them.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EnrolledReport {
    #[serde(flatten)]
    report: EnrollmentReport,
    outcomes: Vec<EnrolledOutcome>,
    counts: Counts,
    /// Present if the same request was completed before.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    replayed: bool,
}

/// The outcome of one recipient, with its addresses.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EnrolledOutcome {
    #[serde(flatten)]
    outcome: Outcome,
    /// The addresses as the service read them. Absent if the request was completed before.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    read_as: Option<ReadAs>,
}

impl From<&Enrolled> for EnrolledReport {
    fn from(enrolled: &Enrolled) -> Self {
        let Enrolled { report, replayed, read_as, .. } = enrolled;
        let mut read_as = read_as.iter().cloned();
        let of_outcome = |outcome: &Outcome| EnrolledOutcome { outcome: outcome.clone(), read_as: read_as.next() };
        let outcomes = report.outcomes.iter().map(of_outcome).collect();
        Self { counts: report.counts(), outcomes, report: report.without_outcomes(), replayed: *replayed }
    }
}

/// Returns a progress bar for an import of several requests. It is hidden if standard error is not a terminal.
fn progress_bar(people: u64, requests: usize) -> ProgressBar {
    if requests <= 1 {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(people);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} people, {eta} left") {
        bar.set_style(style);
    }
    bar
}

//! `enroll run`: enrolls a request or a list of people, in a database or in memory.

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::fmt::Write as _;
use std::process::ExitCode;

use enroll::report::Counts;
use enroll::{Engine, Enrolled, EnrollmentReport, Repository, enroll_contacts, preview};

use enroll_demo::print::{self, Listing, RecipientLine};

use crate::args::RunArgs;
use crate::database::Database;
use crate::import_job::{Batch, Import, ImportError, ImportJob};
use crate::repeated_contacts::RepeatedContacts;
use crate::{Failure, print_to_stderr, print_to_stdout};

pub(crate) fn run(args: &RunArgs) -> Result<ExitCode, Failure> {
    let (job, mut database) = ImportJob::new(&args.import, args.seed.as_deref())?;
    let mut input = job.open_input()?;
    let mut import = job.read(&mut database, &mut input)?;
    Run { args, job: &job }.enroll_all(&mut database, &mut import)?.print(args, &job)
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
        let mut enroll = |repository: &mut dyn Repository| self.enroll(repository, &name, import, &mut summary, &bar);
        let enrolled =
            if self.args.preview && requests > 1 { database.dry_run(enroll)? } else { enroll(&mut database.inbox()) };
        bar.finish_and_clear();
        match enrolled {
            Ok(()) => Ok(summary),
            Err(error) if self.args.preview => Err(error.failure),
            Err(error) => Err(self.job.failure(error, (summary.requests, requests), "enrolled")),
        }
    }

    /// Enrolls, or previews a single request. For a preview of several requests, the repository is a dry run, so that each
    /// request sees the rows of the requests before it.
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
            Ok(summary.add(batch, enrolled)?)
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
    target: String,
    counts: Counts,
    tags: String,
    warnings: String,
    accepted_keys: Option<String>,
    listing: Listing,
    /// The title of the number column: `recipient` or `row`.
    number_title: &'static str,
    repeated: Option<RepeatedContacts>,
    json: Option<Json>,
}

#[derive(Default)]
struct Json {
    reports: Vec<Enrolled>,
    repeated: Vec<serde_json::Value>,
}

impl Summary {
    fn new(args: &RunArgs, requests: usize) -> Result<Self, Failure> {
        let repeated = (requests > 1).then(RepeatedContacts::new).transpose().map_err(|e| sqlite_failure(&e))?;
        Ok(Self {
            requests: 0,
            replayed: 0,
            target: String::new(),
            counts: Counts::default(),
            tags: String::new(),
            warnings: String::new(),
            accepted_keys: None,
            listing: Listing::new(args.all),
            number_title: "recipient",
            repeated,
            json: args.json.then(Json::default),
        })
    }

    fn add(&mut self, batch: &Batch<'_>, enrolled: Enrolled) -> Result<(), Failure> {
        let report = &enrolled.report;
        self.requests += 1;
        self.replayed += usize::from(enrolled.replayed);
        if self.requests == 1 {
            self.target = print::target(report, batch.reference);
        }
        self.sum(&report.counts());
        if let Some(tag) = &report.upload_tag {
            let _infallible = writeln!(self.tags, "tag                  {} (`{}`)", tag.name, tag.id);
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
        for (entry, outcome) in batch.enrollment.request.to.iter().zip(&report.outcomes) {
            let number = rows.get(outcome.index).copied().unwrap_or(outcome.index);
            let first_row = first_rows.get(outcome.index).copied().flatten();
            self.listing.add(&RecipientLine { number, rows, entry, outcome, first_row });
            if let (Some(json), Some(first)) = (&mut self.json, first_row) {
                json.repeated.push(json!({ "row": number, "first_row": first, "contact_id": outcome.contact_id }));
            }
        }
        if let Some(json) = &mut self.json {
            json.reports.push(enrolled);
        }
        Ok(())
    }

    fn sum(&mut self, counts: &Counts) {
        let sum = &mut self.counts;
        sum.added += counts.added;
        sum.re_added += counts.re_added;
        sum.reprocessed += counts.reprocessed;
        sum.ignored += counts.ignored;
        sum.duplicate += counts.duplicate;
        sum.contacts_created += counts.contacts_created;
        sum.conversations_created += counts.conversations_created;
    }

    fn print(self, args: &RunArgs, job: &ImportJob<'_>) -> Result<ExitCode, Failure> {
        if let Some(Json { reports, repeated }) = self.json {
            // The JSON of a preview and of an enrollment is the same, so the line goes to standard error.
            if args.preview {
                print_to_stderr(PREVIEW);
            }
            if let [report] = &reports[..] {
                return print_json(&enrolled_json(report));
            }
            let reports: Vec<_> = reports.iter().map(enrolled_json).collect();
            return print_json(&json!({ "import_id": job.id, "reports": reports, "again": repeated }));
        }
        let mut text = String::new();
        if args.preview {
            let _infallible = writeln!(text, "{PREVIEW}");
        }
        text.push_str(&self.target);
        if self.requests > 1 {
            let _infallible = writeln!(text, "{} requests, import `{}`", self.requests, job.id);
        }
        if self.replayed > 0 {
            let _infallible =
                writeln!(text, "replayed: {} of {} requests were enrolled before", self.replayed, self.requests);
        }
        text.push_str(&print::counts(&self.counts));
        text.push_str(&self.tags);
        text.push_str(&self.warnings);
        text.push_str(&self.accepted_keys.unwrap_or_default());
        text.push('\n');
        text.push_str(&self.listing.table(self.number_title));
        print_to_stdout(&text)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn sqlite_failure(error: &rusqlite::Error) -> Failure {
    Failure::from_error("the temporary database of repeated contacts", error)
}

const PREVIEW: &str = "Preview: nothing was written.";

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

/// Returns a report with its counts, and the addresses of each recipient as the engine read them. It has `replayed: true` if
/// the request was completed before.
pub(crate) fn enrolled_json(enrolled: &Enrolled) -> serde_json::Value {
    let mut value = with_counts(&enrolled.report);
    if enrolled.replayed {
        value["replayed"] = json!(true);
    }
    let outcomes = value["outcomes"].as_array_mut().into_iter().flatten();
    for (outcome, read_as) in outcomes.zip(&enrolled.read_as) {
        outcome["read_as"] = json!(read_as);
    }
    value
}

/// Returns a progress bar for an import of several requests. It is hidden if standard error is not a terminal.
fn progress_bar(people: usize, requests: usize) -> ProgressBar {
    if requests == 1 {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(people as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} people, {eta} left") {
        bar.set_style(style);
    }
    bar
}

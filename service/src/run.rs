//! `enroll run`: a request or a list of people, into a database or against a seed.

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::fmt::Write as _;
use std::process::ExitCode;

use enroll::report::Counts;
use enroll::{Engine, Enrolled, EnrollmentReport, Repository, enroll_contacts, preview};

use crate::again::Again;
use crate::args::RunArgs;
use crate::ask::{Asked, Part, Sender, Stop};
use crate::database::Database;
use crate::{Failure, out, tell};
use enroll_demo::print::{self, Listing, RecipientLine};

pub(crate) fn run(args: &RunArgs) -> Result<ExitCode, Failure> {
    let (sender, mut database) = Sender::new(&args.ask, args.seed.as_deref())?;
    let mut input = sender.open()?;
    let mut asked = sender.read(&mut database, &mut input)?;
    Run { args, sender: &sender }.enroll_all(&mut database, &mut asked)?.out(args, &sender)
}

/// An import on its way.
struct Run<'a> {
    args: &'a RunArgs,
    sender: &'a Sender<'a>,
}

impl Run<'_> {
    fn enroll_all(&self, database: &mut Database, asked: &mut Asked<'_>) -> Result<Done, Failure> {
        let parts = asked.parts();
        let mut done = Done::new(self.args, parts)?;
        let bar = progress(asked.people(), parts);
        let name = database.name().to_owned();
        let mut enroll = |repository: &mut dyn Repository| self.enroll(repository, &name, asked, &mut done, &bar);
        let enrolled = if self.args.preview && parts > 1 { database.dry_run(enroll)? } else { enroll(database) };
        bar.finish_and_clear();
        match enrolled {
            Ok(()) => Ok(done),
            Err(stop) if self.args.preview => Err(stop.failure),
            Err(stop) => Err(self.sender.stopped(stop, (done.parts, parts), "enrolled")),
        }
    }

    /// Enrolls, or says what would happen. A preview of several requests is given a repository that keeps nothing: what
    /// the ones before it would write is what each stands on.
    fn enroll(
        &self,
        repository: &mut dyn Repository,
        name: &str,
        asked: &mut Asked<'_>,
        done: &mut Done,
        bar: &ProgressBar,
    ) -> Result<(), Stop> {
        self.sender.check(repository, name, asked)?;
        let engine = Engine::new(&self.sender.policy);
        let foreseen = self.args.preview && asked.parts() == 1;
        self.sender.each(asked, |part| {
            let enrolled = if foreseen {
                preview(repository, &engine, &part.enrollment)
            } else {
                enroll_contacts(repository, &engine, &part.enrollment)
            };
            let enrolled = enrolled.map_err(|e| part.stop(name, &e))?;
            bar.inc(enrolled.report.outcomes.len() as u64);
            Ok(done.add(part, enrolled)?)
        })
    }
}

/// What became of the people so far.
///
/// Of a long list no more is kept than is printed, and that once all of it is done; the whole reports only where they
/// are printed.
struct Done {
    parts: usize,
    /// The requests that were completed before.
    replayed: usize,
    target: String,
    counts: Counts,
    tags: String,
    notable: Listing,
    numbered: &'static str,
    again: Option<Again>,
    json: Option<Json>,
}

#[derive(Default)]
struct Json {
    reports: Vec<Enrolled>,
    again: Vec<serde_json::Value>,
}

impl Done {
    fn new(args: &RunArgs, parts: usize) -> Result<Self, Failure> {
        let again = (parts > 1).then(Again::new).transpose().map_err(|e| failed(&e))?;
        Ok(Self {
            parts: 0,
            replayed: 0,
            target: String::new(),
            counts: Counts::default(),
            tags: String::new(),
            notable: Listing::new(args.all),
            numbered: "recipient",
            again,
            json: args.json.then(Json::default),
        })
    }

    fn add(&mut self, part: &Part<'_>, enrolled: Enrolled) -> Result<(), Failure> {
        let report = &enrolled.report;
        self.parts += 1;
        self.replayed += usize::from(enrolled.replayed);
        if self.parts == 1 {
            self.target = print::target(report, part.reference);
        }
        self.sum(&report.counts());
        if let Some(tag) = &report.upload_tag {
            let _infallible = writeln!(self.tags, "tag                  {} (`{}`)", tag.name, tag.id);
        }
        let rows = part.rows.unwrap_or_default();
        if part.rows.is_some() {
            self.numbered = "row";
        }
        let again = match &mut self.again {
            Some(again) => again.rows(report, rows).map_err(|e| failed(&e))?,
            None => Vec::new(),
        };
        for (entry, outcome) in part.enrollment.request.to.iter().zip(&report.outcomes) {
            let number = rows.get(outcome.index).copied().unwrap_or(outcome.index);
            let again = again.get(outcome.index).copied().flatten();
            self.notable.add(&RecipientLine { number, rows, entry, outcome, first_row: again });
            if let (Some(json), Some(first)) = (&mut self.json, again) {
                json.again.push(json!({ "row": number, "first_row": first, "contact_id": outcome.contact_id }));
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

    fn out(self, args: &RunArgs, sender: &Sender<'_>) -> Result<ExitCode, Failure> {
        if let Some(Json { reports, again }) = self.json {
            // Beside a report as JSON, which is the same either way.
            if args.preview {
                tell(PREVIEW);
            }
            if let [report] = &reports[..] {
                return json_out(&with_replayed(report));
            }
            let reports: Vec<_> = reports.iter().map(with_replayed).collect();
            return json_out(&json!({ "import_id": sender.id, "reports": reports, "again": again }));
        }
        let mut text = String::new();
        if args.preview {
            let _infallible = writeln!(text, "{PREVIEW}");
        }
        text.push_str(&self.target);
        if self.parts > 1 {
            let _infallible = writeln!(text, "{} requests, import `{}`", self.parts, sender.id);
        }
        if self.replayed > 0 {
            let _infallible =
                writeln!(text, "replayed: {} of {} requests were enrolled before", self.replayed, self.parts);
        }
        text.push_str(&print::counts(&self.counts));
        text.push_str(&self.tags);
        text.push('\n');
        text.push_str(&self.notable.table(self.numbered));
        out(&text)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn failed(error: &rusqlite::Error) -> Failure {
    Failure::caused("whom earlier requests enrolled", error)
}

const PREVIEW: &str = "Preview: nothing was written.";

pub(crate) fn json_out(report: &serde_json::Value) -> Result<ExitCode, Failure> {
    out(&format!("{report:#}\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// The whole report, with its counts.
pub(crate) fn with_counts(report: &EnrollmentReport) -> serde_json::Value {
    let mut value = json!(report);
    value["counts"] = json!(report.counts());
    value
}

/// The report with its counts, and `replayed: true` if the request was completed before.
pub(crate) fn with_replayed(enrolled: &Enrolled) -> serde_json::Value {
    let mut value = with_counts(&enrolled.report);
    if enrolled.replayed {
        value["replayed"] = json!(true);
    }
    value
}

/// A bar for an import of several requests; nothing where standard error is no terminal.
fn progress(people: usize, requests: usize) -> ProgressBar {
    if requests == 1 {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(people as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} people, {eta} left") {
        bar.set_style(style);
    }
    bar
}

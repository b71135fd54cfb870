//! `enroll run`: a request or a list of people, into a database or against a seed.

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::process::ExitCode;

use enroll::report::Counts;
use enroll::{
    ContactId, Context, Engine, EnrollError, Enrollment, EnrollmentReport, Repository, enroll_contacts, preview,
};

use crate::args::RunArgs;
use crate::ask::{self, Asked, Sender};
use crate::database::Database;
use crate::print::{self, Place};
use crate::{Failure, input, out, tell};

pub(crate) fn run(args: &RunArgs) -> Result<ExitCode, Failure> {
    let (sender, mut database) = Sender::new(&args.ask, args.seed.as_deref())?;
    let bytes = input::read(&args.ask.request)?;
    let asked = sender.read(&mut database, &bytes)?;
    let reports = Run { args, sender: &sender }.enroll_all(&mut database, &asked)?;
    match &asked.rows {
        Some(rows) => list(args, &sender, &asked, &reports, rows),
        None => request(args, &sender, &asked, &reports),
    }
}

/// An import on its way.
struct Run<'a> {
    args: &'a RunArgs,
    sender: &'a Sender<'a>,
}

impl Run<'_> {
    fn enroll_all(&self, database: &mut Database, asked: &Asked<'_>) -> Result<Vec<EnrollmentReport>, Failure> {
        let enrollments = self.sender.enrollments(&asked.requests);
        let parts = enrollments.len();
        let bar = progress(enrollments.iter().map(|enrollment| enrollment.request.to.len()).sum(), parts);
        let done = |people: usize| bar.inc(people as u64);
        let enrolled = if self.args.preview && parts > 1 {
            database.dry_run(|repository| self.enroll(repository, &enrollments, done))?
        } else {
            self.enroll(database, &enrollments, done)
        };
        bar.finish_and_clear();
        enrolled.map_err(|stopped| {
            let failure = match &stopped.error {
                EnrollError::Rejected(rejection) => asked.refused(stopped.part, rejection),
                e => Failure::caused(database.name(), e),
            };
            if self.args.preview {
                return failure;
            }
            self.sender.stopped(failure, &stopped.error, (stopped.standing, parts), "enrolled")
        })
    }

    /// Enrolls, or says what would happen.
    ///
    /// Of several requests each stands by itself once it is enrolled, so all of them are checked before the first is. A
    /// preview of several is given a repository that keeps nothing: what the ones before it would write is what each
    /// stands on.
    fn enroll(
        &self,
        repository: &mut dyn Repository,
        enrollments: &[Enrollment<'_>],
        done: impl Fn(usize),
    ) -> Result<Vec<EnrollmentReport>, Stopped> {
        let engine = Engine::new(&self.sender.policy);
        let parts = enrollments.len();
        if parts > 1 {
            for (part, enrollment) in enrollments.iter().enumerate() {
                ask::check(repository, &engine, enrollment).map_err(|error| Stopped { part, standing: 0, error })?;
            }
        }
        let mut reports = Vec::with_capacity(parts);
        for (part, enrollment) in enrollments.iter().enumerate() {
            let report = if self.args.preview && parts == 1 {
                preview(repository, &engine, enrollment)
            } else {
                enroll_contacts(repository, &engine, enrollment)
            };
            reports.push(report.map_err(|error| Stopped { part, standing: part, error })?);
            done(enrollment.request.to.len());
        }
        Ok(reports)
    }
}

/// Where an import ended, why, and how many of its requests are enrolled.
struct Stopped {
    part: usize,
    standing: usize,
    error: EnrollError,
}

/// What became of one request.
fn request(
    args: &RunArgs,
    sender: &Sender<'_>,
    asked: &Asked<'_>,
    reports: &[EnrollmentReport],
) -> Result<ExitCode, Failure> {
    if args.json {
        tell_preview(args);
        return reports.first().map_or(Ok(ExitCode::SUCCESS), |report| json_out(&with_counts(report)));
    }
    let entries = asked.requests.iter().flat_map(|request| &request.to);
    let outcomes = reports.iter().flat_map(|report| &report.outcomes);
    let places = entries.zip(outcomes).map(|(entry, outcome)| Place {
        number: outcome.index,
        rows: &[],
        entry,
        outcome,
        again: None,
    });
    let table = print::table(places, "recipient", args.all);
    people(args, sender, reports, &asked.context, &table)
}

/// What became of a list of people.
fn list(
    args: &RunArgs,
    sender: &Sender<'_>,
    asked: &Asked<'_>,
    reports: &[EnrollmentReport],
    rows: &[usize],
) -> Result<ExitCode, Failure> {
    let again = people_again(reports, rows);
    if args.json {
        tell_preview(args);
        if let [report] = reports {
            return json_out(&with_counts(report));
        }
        let again: Vec<_> = again
            .iter()
            .map(|(row, (first_row, contact_id))| json!({"row": row, "first_row": first_row, "contact_id": contact_id}))
            .collect();
        let reports: Vec<_> = reports.iter().map(with_counts).collect();
        return json_out(&json!({"import_id": sender.id, "reports": reports, "again": again}));
    }
    let entries = asked.requests.iter().flat_map(|request| &request.to);
    let mut rest = rows;
    let parts: Vec<&[usize]> = asked.requests.iter().filter_map(|request| rest.split_off(..request.to.len())).collect();
    let outcomes =
        reports.iter().zip(parts).flat_map(|(report, part)| report.outcomes.iter().map(move |outcome| (outcome, part)));
    let again: HashMap<usize, usize> = again.into_iter().map(|(row, (first, _))| (row, first)).collect();
    let places = entries.zip(outcomes).zip(rows).map(|((entry, (outcome, rows)), &number)| Place {
        number,
        rows,
        entry,
        outcome,
        again: again.get(&number).copied(),
    });
    let table = print::table(places, "row", args.all);
    people(args, sender, reports, &asked.context, &table)
}

fn people(
    args: &RunArgs,
    sender: &Sender<'_>,
    reports: &[EnrollmentReport],
    context: &Context,
    table: &str,
) -> Result<ExitCode, Failure> {
    let mut text = String::new();
    if args.preview {
        text.push_str("Preview: nothing was written.\n");
    }
    if let Some(first) = reports.first() {
        text.push_str(&print::target(first, context));
    }
    if reports.len() > 1 {
        let _infallible = writeln!(text, "{} requests, import `{}`", reports.len(), sender.id);
    }
    text.push_str(&print::counts(&sum(reports)));
    for tag in reports.iter().filter_map(|report| report.upload_tag.as_ref()) {
        let _infallible = writeln!(text, "tag                  {} (`{}`)", tag.name, tag.id);
    }
    text.push('\n');
    text.push_str(table);
    out(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Beside a report as JSON, which is the same either way.
fn tell_preview(args: &RunArgs) {
    if args.preview {
        tell("Preview: nothing was written.");
    }
}

/// Rows whose person an earlier request of the import enrolled: the row, the first row, the contact.
fn people_again(reports: &[EnrollmentReport], rows: &[usize]) -> Vec<(usize, (usize, ContactId))> {
    let mut first: HashMap<ContactId, (usize, usize)> = HashMap::new();
    let mut again = Vec::new();
    let outcomes = reports.iter().enumerate().flat_map(|(part, report)| report.outcomes.iter().map(move |o| (part, o)));
    for ((part, outcome), &row) in outcomes.zip(rows) {
        let Some(contact_id) = outcome.contact_id else { continue };
        match first.get(&contact_id) {
            Some(&(first_part, first_row)) if first_part != part => again.push((row, (first_row, contact_id))),
            None if outcome.disposition.is_enrolled() => {
                first.insert(contact_id, (part, row));
            }
            _ => {}
        }
    }
    again
}

fn sum(reports: &[EnrollmentReport]) -> Counts {
    reports.iter().map(EnrollmentReport::counts).fold(Counts::default(), |mut sum, counts| {
        sum.added += counts.added;
        sum.re_added += counts.re_added;
        sum.reprocessed += counts.reprocessed;
        sum.ignored += counts.ignored;
        sum.duplicate += counts.duplicate;
        sum.contacts_created += counts.contacts_created;
        sum.conversations_created += counts.conversations_created;
        sum
    })
}

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

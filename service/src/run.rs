//! `enroll run`: a request or a list of people against a seed.

use chrono::Utc;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use enroll::fault::Fault;
use enroll::report::Counts;
use enroll::request::{CustomData, VoiceOptions};
use enroll::testing::Given;
use enroll::{
    ContactId, Context, Engine, EnrollError, Enrollment, EnrollmentId, EnrollmentKey, EnrollmentReport,
    EnrollmentRequest, InMemoryRepository, OrganizationId, Rejection, Timestamp, enroll_contacts, preview,
};
use uuid::Uuid;

use crate::csv_import::{self, People};
use crate::print::{self, Place};
use crate::{CsvArgs, Failure, Format, RunArgs, input, out};

pub(crate) fn run(args: &RunArgs) -> Result<ExitCode, Failure> {
    let given = input::seed(&args.seed)?;
    let name = input::name(&args.request);
    let host = Host::new(args, &given)?;
    let bytes = input::read(&args.request)?;
    match args.format.unwrap_or_else(|| format_of(&args.request)) {
        Format::Json => {
            if !args.csv.is_empty() {
                let what = "a JSON request says itself what `--from`, `--step` and the other options for a CSV say";
                return Err(Failure::new(name, what));
            }
            host.request(&name, &bytes)
        }
        Format::Csv => {
            let object = args
                .csv
                .custom_object
                .and_then(|id| given.custom_objects.iter().map(|row| &row.row).find(|object| object.id == id));
            host.import(&name, csv_import::read(&name, &bytes, object)?)
        }
    }
}

fn format_of(path: &Path) -> Format {
    let csv = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
    if csv { Format::Csv } else { Format::Json }
}

/// A seed in memory, and who asks for what.
struct Host<'a> {
    args: &'a RunArgs,
    given: &'a Given,
    repository: InMemoryRepository,
    organization_id: OrganizationId,
    at: Timestamp,
    id: EnrollmentId,
}

impl<'a> Host<'a> {
    fn new(args: &'a RunArgs, given: &'a Given) -> Result<Self, Failure> {
        let repository = InMemoryRepository::new();
        let snapshots = given.snapshots();
        let snapshots =
            snapshots.map_err(|e| Failure::new(format!("{}#{}", input::name(&args.seed), e.path), e.message))?;
        snapshots.into_iter().for_each(|snapshot| repository.insert(snapshot));
        let at = match args.at.or(given.now) {
            Some(at) => at,
            None => Timestamp::new(Utc::now()).map_err(|e| Failure::new("the clock", e))?,
        };
        let organization_id = args.organization.unwrap_or(given.organization_id);
        if repository.snapshot(organization_id).is_none() {
            return Err(Failure::new("--organization", format!("the seed has no organization `{organization_id}`")));
        }
        let id = match &args.idempotency_key {
            Some(key) => EnrollmentId::from_idempotency_key(organization_id, key),
            None => EnrollmentId::from_uuid(args.id.unwrap_or_else(Uuid::now_v7)),
        };
        Ok(Self { args, given, repository, organization_id, at, id })
    }

    /// Enrolls, or says what would happen. A preview leaves the copy of the seed as it is, unless it is part of an
    /// import: then what the parts before it would write is what it stands on.
    fn enroll(
        &self,
        key: EnrollmentKey<'_>,
        request: &EnrollmentRequest<'_>,
        parts: usize,
    ) -> Result<EnrollmentReport, EnrollError> {
        let engine = Engine::new(&self.given.policy);
        let enrollment = self.enrollment(key, request);
        let mut repository = self.repository.clone();
        if self.args.preview && parts == 1 {
            preview(&mut repository, &engine, &enrollment)
        } else {
            enroll_contacts(&mut repository, &engine, &enrollment)
        }
    }

    fn enrollment<'r>(&self, key: EnrollmentKey<'r>, request: &'r EnrollmentRequest<'r>) -> Enrollment<'r> {
        let (organization_id, sequence_id, at) = (self.organization_id, self.args.sequence, self.at);
        Enrollment { organization_id, sequence_id, key, at, request }
    }

    /// One request, as JSON.
    fn request(&self, name: &str, bytes: &[u8]) -> Result<ExitCode, Failure> {
        let request = EnrollmentRequest::from_json(bytes);
        let key = self.args.idempotency_key.as_deref().map_or(EnrollmentKey::Id(self.id), EnrollmentKey::Idempotency);
        let report = match self.enroll(key, &request, 1) {
            Ok(report) => report,
            Err(EnrollError::Rejected(rejection)) => return Err(refused(name, &rejection, |_| None)),
            Err(e) => return Err(Failure::new(name, e)),
        };
        if self.args.json {
            self.tell_preview();
            return json_out(&with_counts(&report));
        }
        let places = request.to.iter().zip(&report.outcomes);
        let places =
            places.map(|(entry, outcome)| Place { number: outcome.index, rows: &[], entry, outcome, again: None });
        self.people(&[&report], &print::table(places, "recipient", self.args.all))
    }

    /// A list of people: one request, or as many as it needs.
    fn import(&self, name: &str, people: People) -> Result<ExitCode, Failure> {
        let sizes = csv_import::balanced(people.entries.len());
        if let Some(key) = self.args.idempotency_key.as_deref().filter(|_| sizes.len() > 1)
            && self.enrollment(EnrollmentKey::Idempotency(key), &EnrollmentRequest::default()).id().is_none()
        {
            let what = "must be 1 to 255 visible ASCII characters (invalid_idempotency_key)";
            return Err(Failure::new("--idempotency-key", what));
        }
        let bar = progress(people.entries.len(), sizes.len());
        let mut rest = people.entries.into_iter();
        let (mut requests, mut reports) = (Vec::new(), Vec::<EnrollmentReport>::new());
        let mut first_row = 0;
        for (part, size) in (0_u32..).zip(&sizes) {
            let request = request_of(rest.by_ref().take(*size).collect(), &self.args.csv);
            let key = match &self.args.idempotency_key {
                Some(key) if sizes.len() == 1 => EnrollmentKey::Idempotency(key),
                _ if sizes.len() == 1 => EnrollmentKey::Id(self.id),
                _ => EnrollmentKey::Id(self.id.part(part)),
            };
            let row = |index: usize| people.rows.get(first_row + index).copied();
            match self.enroll(key, &request, sizes.len()) {
                Ok(report) => reports.push(report),
                Err(EnrollError::Rejected(rejection)) => return Err(refused(name, &rejection, row)),
                Err(e) => return Err(Failure::new(name, e)),
            }
            requests.push(request);
            first_row += size;
            bar.inc(*size as u64);
        }
        bar.finish_and_clear();

        let again = people_again(&reports, &people.rows);
        if self.args.json {
            self.tell_preview();
            if let [report] = &reports[..] {
                return json_out(&with_counts(report));
            }
            let again: Vec<_> = again
                .iter()
                .map(|(row, (first_row, contact_id))| json!({"row": row, "first_row": first_row, "contact_id": contact_id}))
                .collect();
            let reports: Vec<_> = reports.iter().map(with_counts).collect();
            return json_out(&json!({"import_id": self.id, "reports": reports, "again": again}));
        }
        let entries = requests.iter().flat_map(|request| &request.to);
        let mut rest = &people.rows[..];
        let parts: Vec<&[usize]> = sizes.iter().filter_map(|size| rest.split_off(..*size)).collect();
        let outcomes = reports
            .iter()
            .zip(parts)
            .flat_map(|(report, part)| report.outcomes.iter().map(move |outcome| (outcome, part)));
        let again: HashMap<usize, usize> = again.into_iter().map(|(row, (first, _))| (row, first)).collect();
        let places = entries.zip(outcomes).zip(&people.rows).map(|((entry, (outcome, rows)), &number)| Place {
            number,
            rows,
            entry,
            outcome,
            again: again.get(&number).copied(),
        });
        let table = print::table(places, "row", self.args.all);
        self.people(&reports.iter().collect::<Vec<_>>(), &table)
    }

    fn people(&self, reports: &[&EnrollmentReport], table: &str) -> Result<ExitCode, Failure> {
        let mut text = String::new();
        if self.args.preview {
            text.push_str("Preview: nothing was written.\n");
        }
        if let Some(first) = reports.first() {
            text.push_str(&print::target(first, &self.context()));
        }
        if reports.len() > 1 {
            let _infallible = writeln!(text, "{} requests, import `{}`", reports.len(), self.id);
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
    fn tell_preview(&self) {
        if self.args.preview {
            // Nothing is left to be done where standard error is gone.
            drop(writeln!(io::stderr(), "Preview: nothing was written."));
        }
    }

    fn context(&self) -> Context {
        let snapshot = self.repository.snapshot(self.organization_id);
        snapshot.map_or_else(|| Context::new(self.organization_id), |snapshot| snapshot.context)
    }
}

fn request_of(to: Vec<enroll::Recipient<'static>>, args: &CsvArgs) -> EnrollmentRequest<'static> {
    let mut request = EnrollmentRequest::new(to);
    request.from = args.from.clone().map(Into::into);
    request.step_id = args.step;
    request.schedule_at = args.schedule_at;
    request.custom_data = args
        .custom_object
        .zip(args.resource)
        .map(|(custom_object_id, resource)| CustomData { custom_object_id, resource: resource.into() });
    request.voice_options = args.call_flow.map(|default_call_flow_id| VoiceOptions { default_call_flow_id });
    request
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

fn sum(reports: &[&EnrollmentReport]) -> Counts {
    reports.iter().map(|report| report.counts()).fold(Counts::default(), |mut sum, counts| {
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

fn json_out(report: &serde_json::Value) -> Result<ExitCode, Failure> {
    out(&format!("{report:#}\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// The whole report, with its counts.
pub(crate) fn with_counts(report: &EnrollmentReport) -> serde_json::Value {
    let mut value = json!(report);
    value["counts"] = json!(report.counts());
    value
}

/// Every fault of a refused request, the first twenty in words.
fn refused(name: &str, rejection: &Rejection, row: impl Fn(usize) -> Option<usize>) -> Failure {
    let faults = rejection.errors();
    let place = |fault: &Fault| {
        let entry = fault.path.strip_prefix("/to/").map(|rest| rest.split_once('/').unwrap_or((rest, "")));
        let row = entry.and_then(|(index, field)| Some((row(index.parse().ok()?)?, field)));
        match row {
            Some((row, field)) => format!("row {row}, `{field}`: "),
            None if fault.path.is_empty() => String::new(),
            None => format!("{}: ", fault.path.escape_debug()),
        }
    };
    let mut what = String::new();
    for (n, fault) in faults.iter().take(20).enumerate() {
        let separator = if n == 0 { "" } else { "; " };
        let _infallible = write!(what, "{separator}{}{} ({})", place(fault), fault.description, fault.code);
    }
    if faults.len() > 20 {
        let _infallible = write!(what, "; and {} more", faults.len() - 20);
    }
    Failure::new(name, what)
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

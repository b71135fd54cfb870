//! `enroll run`: a request or a list of people, into a database or against a seed.

use chrono::Utc;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use enroll::fault::Fault;
use enroll::report::Counts;
use enroll::repository::RepositoryErrorKind;
use enroll::request::{CustomData, VoiceOptions};
use enroll::{
    ContactId, Context, Engine, EnrollError, Enrollment, EnrollmentCommand, EnrollmentId, EnrollmentKey,
    EnrollmentPolicy, EnrollmentReport, EnrollmentRequest, OrganizationId, Rejection, Repository, Timestamp,
    enroll_contacts, preview,
};
use uuid::Uuid;

use crate::args::{CsvArgs, Format, RunArgs};
use crate::csv_import::{self, People};
use crate::database::Database;
use crate::print::{self, Place};
use crate::{Failure, input, out, tell};

pub(crate) fn run(args: &RunArgs) -> Result<ExitCode, Failure> {
    let (host, mut database) = Host::new(args)?;
    let name = input::name(&args.request);
    let bytes = input::read(&args.request)?;
    match args.format.unwrap_or_else(|| format_of(&args.request)) {
        Format::Json => {
            if !args.csv.is_empty() {
                let what = "a JSON request says itself what `--from`, `--step` and the other options for a CSV say";
                return Err(Failure::new(name, what));
            }
            host.request(&mut database, &name, &bytes)
        }
        Format::Csv => {
            // What the columns mean, the database says.
            let context = host.context(&mut database, &request_of(Vec::new(), &args.csv))?;
            let object = args.csv.custom_object.and_then(|id| context.custom_objects.get(&id));
            let people = csv_import::read(&name, &bytes, object.map(|object| &*object.row))?;
            host.import(&mut database, &name, people, &context)
        }
    }
}

fn format_of(path: &Path) -> Format {
    let csv = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
    if csv { Format::Csv } else { Format::Json }
}

/// Who asks for what.
struct Host<'a> {
    args: &'a RunArgs,
    policy: EnrollmentPolicy,
    organization_id: OrganizationId,
    at: Timestamp,
    id: EnrollmentId,
}

impl<'a> Host<'a> {
    fn new(args: &'a RunArgs) -> Result<(Self, Database), Failure> {
        let (mut database, seeded) = match &args.seed {
            Some(path) => {
                let seed = input::seed(path)?;
                (Database::in_memory(input::name(path), seed.snapshots), Some(seed.given))
            }
            None => (Database::open(&Database::named(args.database.as_deref())?)?, None),
        };
        let now = seeded.as_ref().and_then(|given| given.now);
        let at = match args.at.or(now) {
            Some(at) => at,
            None => Timestamp::new(Utc::now()).map_err(|e| Failure::new("the clock", e))?,
        };
        let default = seeded.as_ref().map(|given| given.organization_id);
        let organization_id = organization(&mut database, args.organization, default)?;
        let id = match &args.idempotency_key {
            Some(key) => EnrollmentId::from_idempotency_key(organization_id, key),
            None => EnrollmentId::from_uuid(args.id.unwrap_or_else(Uuid::now_v7)),
        };
        let policy = match &args.policy {
            Some(path) => input::policy(path)?,
            None => seeded.map(|given| given.policy).unwrap_or_default(),
        };
        Ok((Self { args, policy, organization_id, at, id }, database))
    }

    /// What a request refers to.
    fn context(&self, database: &mut Database, request: &EnrollmentRequest<'_>) -> Result<Context, Failure> {
        let enrollment = self.enrollment(EnrollmentKey::Id(self.id), request);
        let context = database.context(&enrollment.context_lookup());
        context.map_err(|e| Failure::caused(database.name(), &e))
    }

    fn enrollment<'r>(&self, key: EnrollmentKey<'r>, request: &'r EnrollmentRequest<'r>) -> Enrollment<'r> {
        let (organization_id, sequence_id, at) = (self.organization_id, self.args.sequence, self.at);
        Enrollment { organization_id, sequence_id, key, at, request }
    }

    /// The key of a request of an import of so many.
    fn key(&self, part: u32, parts: usize) -> EnrollmentKey<'_> {
        match &self.args.idempotency_key {
            Some(key) if parts == 1 => EnrollmentKey::Idempotency(key),
            _ if parts == 1 => EnrollmentKey::Id(self.id),
            _ => EnrollmentKey::Id(self.id.part(part)),
        }
    }

    /// Enrolls, or says what would happen.
    ///
    /// Of several requests each stands by itself once it is enrolled, so all of them are checked before the first is. A
    /// preview of several is given a repository that keeps nothing: what the ones before it would write is what each
    /// stands on.
    fn enroll(
        &self,
        repository: &mut dyn Repository,
        requests: &[EnrollmentRequest<'_>],
        done: impl Fn(usize),
    ) -> Result<Vec<EnrollmentReport>, Stopped> {
        let engine = Engine::new(&self.policy);
        let parts = requests.len();
        let enrollments = (0..).zip(requests).map(|(part, request)| self.enrollment(self.key(part, parts), request));
        if parts > 1 {
            for (part, enrollment) in enrollments.clone().enumerate() {
                check(repository, &engine, &enrollment).map_err(|error| Stopped { part, standing: 0, error })?;
            }
        }
        let mut reports = Vec::with_capacity(parts);
        for (part, enrollment) in enrollments.enumerate() {
            let report = if self.args.preview && parts == 1 {
                preview(repository, &engine, &enrollment)
            } else {
                enroll_contacts(repository, &engine, &enrollment)
            };
            reports.push(report.map_err(|error| Stopped { part, standing: part, error })?);
            done(enrollment.request.to.len());
        }
        Ok(reports)
    }

    /// What is told of an enrollment that failed, and how to go on where something may stand.
    fn failed(&self, database: &Database, stopped: &Stopped, parts: usize) -> Failure {
        let failure = Failure::caused(database.name(), &stopped.error);
        self.stopped(failure, stopped, parts)
    }

    fn stopped(&self, failure: Failure, stopped: &Stopped, parts: usize) -> Failure {
        let unsure = match &stopped.error {
            EnrollError::Repository(e) => e.kind() == RepositoryErrorKind::Unavailable,
            _ => false,
        };
        if self.args.preview || (stopped.standing == 0 && !unsure) {
            return failure;
        }
        let again = match &self.args.idempotency_key {
            Some(_) => "the same command again".to_owned(),
            None => format!("the same again with `--id {}`", self.id.as_uuid()),
        };
        match stopped.standing {
            0 => failure.and(&format!("{again} enrolls nobody twice")),
            standing => {
                failure.and(&format!("{standing} of {parts} requests are enrolled; {again} goes on after them"))
            }
        }
    }

    /// One request, as JSON.
    fn request(&self, database: &mut Database, name: &str, bytes: &[u8]) -> Result<ExitCode, Failure> {
        let requests = [EnrollmentRequest::from_json(bytes)];
        let [request] = &requests;
        let context = self.context(database, request)?;
        let reports = match self.enroll(database, &requests, |_| ()) {
            Ok(reports) => reports,
            Err(Stopped { error: EnrollError::Rejected(rejection), .. }) => {
                return Err(refused(name, &rejection, |_| None));
            }
            Err(stopped) => return Err(self.failed(database, &stopped, 1)),
        };
        if self.args.json {
            self.tell_preview();
            return reports.first().map_or(Ok(ExitCode::SUCCESS), |report| json_out(&with_counts(report)));
        }
        let outcomes = reports.iter().flat_map(|report| &report.outcomes);
        let places = request.to.iter().zip(outcomes).map(|(entry, outcome)| Place {
            number: outcome.index,
            rows: &[],
            entry,
            outcome,
            again: None,
        });
        let table = print::table(places, "recipient", self.args.all);
        self.people(&reports.iter().collect::<Vec<_>>(), &context, &table)
    }

    /// A list of people: one request, or as many as it needs.
    fn import(
        &self,
        database: &mut Database,
        name: &str,
        people: People,
        context: &Context,
    ) -> Result<ExitCode, Failure> {
        let sizes = csv_import::balanced(people.entries.len());
        if let Some(key) = self.args.idempotency_key.as_deref().filter(|_| sizes.len() > 1)
            && self.enrollment(EnrollmentKey::Idempotency(key), &EnrollmentRequest::default()).id().is_none()
        {
            let what = "must be 1 to 255 visible ASCII characters (invalid_idempotency_key)";
            return Err(Failure::new("--idempotency-key", what));
        }
        let bar = progress(people.entries.len(), sizes.len());
        let mut rest = people.entries.into_iter();
        let requests = sizes.iter().map(|size| request_of(rest.by_ref().take(*size).collect(), &self.args.csv));
        let requests: Vec<_> = requests.collect();
        let done = |people: usize| bar.inc(people as u64);
        let enrolled = if self.args.preview && requests.len() > 1 {
            database.dry_run(|repository| self.enroll(repository, &requests, done))?
        } else {
            self.enroll(database, &requests, done)
        };
        bar.finish_and_clear();
        let reports = match enrolled {
            Ok(reports) => reports,
            Err(stopped) => {
                let EnrollError::Rejected(rejection) = &stopped.error else {
                    return Err(self.failed(database, &stopped, sizes.len()));
                };
                let first_row: usize = sizes.iter().take(stopped.part).sum();
                let failure = refused(name, rejection, |index| people.rows.get(first_row + index).copied());
                return Err(self.stopped(failure, &stopped, sizes.len()));
            }
        };

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
        self.people(&reports.iter().collect::<Vec<_>>(), context, &table)
    }

    fn people(&self, reports: &[&EnrollmentReport], context: &Context, table: &str) -> Result<ExitCode, Failure> {
        let mut text = String::new();
        if self.args.preview {
            text.push_str("Preview: nothing was written.\n");
        }
        if let Some(first) = reports.first() {
            text.push_str(&print::target(first, context));
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
            tell("Preview: nothing was written.");
        }
    }
}

/// Where an import ended, why, and how many of its requests are enrolled.
struct Stopped {
    part: usize,
    standing: usize,
    error: EnrollError,
}

/// Refuses what would be refused, unless it stands.
fn check(repository: &mut dyn Repository, engine: &Engine<'_>, enrollment: &Enrollment<'_>) -> Result<(), EnrollError> {
    let context = repository.context(&enrollment.context_lookup())?;
    if enrollment.standing(&context).is_none() {
        EnrollmentCommand::check(enrollment, &context, engine)?;
    }
    Ok(())
}

/// Who asks: the one that is named, else the seed's own, else the only one that there is.
fn organization(
    database: &mut Database,
    named: Option<OrganizationId>,
    default: Option<OrganizationId>,
) -> Result<OrganizationId, Failure> {
    let stand = database.organizations()?;
    let of_seed = default.is_some();
    match (named.or(default), &stand[..]) {
        (Some(id), _) if stand.contains(&id) => Ok(id),
        (Some(id), _) => {
            let what = if of_seed { "the seed" } else { database.name() };
            Err(Failure::new("--organization", format!("{what} has no organization `{id}`")))
        }
        (None, [only]) => Ok(*only),
        (None, []) => {
            let name = database.name();
            let what = format!("has no organization: load one with `enroll seed SEED.json --database {name}`");
            Err(Failure::new(name, what))
        }
        (None, _) => {
            let mut what = format!("{} has {} organizations, say which:", database.name(), stand.len());
            let listed: Vec<String> = stand.iter().take(LISTED).map(|id| format!(" `{id}`")).collect();
            what.push_str(&listed.join(","));
            if stand.len() > LISTED {
                let _infallible = write!(what, " or another");
            }
            Err(Failure::new("--organization", what))
        }
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

/// How many organizations are listed where one must be named.
const LISTED: usize = 10;

//! Turns the options and the file of a command into requests to a database.

use chrono::Utc;
use std::fmt::Write as _;
use std::path::Path;

use enroll::fault::Fault;
use enroll::model::CustomObject;
use enroll::request::{CustomData, VoiceOptions};
use enroll::{
    Engine, EnrollError, Enrollment, EnrollmentCommand, EnrollmentId, EnrollmentKey, EnrollmentPolicy,
    EnrollmentRequest, OrganizationId, ReferenceData, Rejection, Repository, RepositoryErrorKind, Timestamp,
};
use uuid::Uuid;

use crate::args::{CsvArgs, Format, ImportArgs};
use crate::database::Database;
use crate::input::RepeatableInput;
use crate::{Failure, csv_import, input};

/// An import as the command line describes it: the organization, the instant, the id and the policy.
pub(crate) struct ImportJob<'a> {
    pub(crate) args: &'a ImportArgs,
    pub(crate) policy: EnrollmentPolicy,
    pub(crate) id: EnrollmentId,
    organization_id: OrganizationId,
    at: Timestamp,
}

/// The opened file.
pub(crate) enum Input {
    Json(Vec<u8>),
    Csv(RepeatableInput),
}

/// The requests of an import: one, or as many as a list of people needs.
pub(crate) struct Import<'b> {
    name: String,
    source: Source<'b>,
    reference: ReferenceData,
}

enum Source<'b> {
    Request(Box<EnrollmentRequest<'b>>),
    /// A CSV, and the number of people in each request.
    List(&'b mut RepeatableInput, Vec<usize>),
}

impl Import<'_> {
    pub(crate) fn people(&self) -> usize {
        match &self.source {
            Source::Request(request) => request.to.len(),
            Source::List(_, sizes) => sizes.iter().sum(),
        }
    }

    /// Returns the number of requests.
    pub(crate) fn requests(&self) -> usize {
        match &self.source {
            Source::Request(_) => 1,
            Source::List(_, sizes) => sizes.len(),
        }
    }
}

/// One request of an import.
pub(crate) struct Batch<'p> {
    pub(crate) enrollment: Enrollment<'p>,
    /// The row of each person, if the input is a list.
    pub(crate) rows: Option<&'p [usize]>,
    /// The rows that the requests refer to.
    pub(crate) reference: &'p ReferenceData,
    name: &'p str,
}

impl Batch<'_> {
    /// Returns the error of the import if this request failed.
    pub(crate) fn error(&self, database: &str, error: &EnrollError) -> ImportError {
        let failure = match error {
            EnrollError::Rejected(rejection) => {
                rejection_failure(self.name, rejection, |index| self.rows?.get(index).copied())
            }
            e => Failure::from_error(database, e),
        };
        let may_be_written =
            matches!(error, EnrollError::Repository(e) if e.kind() == RepositoryErrorKind::Unavailable);
        ImportError { failure, may_be_written }
    }
}

/// Why an import stopped.
pub(crate) struct ImportError {
    pub(crate) failure: Failure,
    /// True if the request that failed may have been written.
    may_be_written: bool,
}

impl From<Failure> for ImportError {
    fn from(failure: Failure) -> Self {
        Self { failure, may_be_written: false }
    }
}

impl<'a> ImportJob<'a> {
    /// Returns the import and its database. With `seed`, the database is in memory.
    pub(crate) fn new(args: &'a ImportArgs, seed: Option<&Path>) -> Result<(Self, Database), Failure> {
        let (mut database, seed) = match seed {
            Some(path) => {
                let file = input::seed(path)?;
                (Database::in_memory(input::name(path), file.snapshots), Some(file.seed))
            }
            None => (Database::open(&Database::resolve_name(args.at_database.database.as_deref())?)?, None),
        };
        let now = seed.as_ref().and_then(|seed| seed.now);
        let at = match args.at.or(now) {
            Some(at) => at,
            None => current_time()?,
        };
        let default = seed.as_ref().map(|seed| seed.organization_id);
        let organization_id = organization(&mut database, args.organization, default)?;
        let id = match &args.idempotency_key {
            Some(key) => EnrollmentId::from_idempotency_key(organization_id, key),
            None => EnrollmentId::from_uuid(args.id.unwrap_or_else(Uuid::now_v7)),
        };
        let policy = match &args.policy {
            Some(path) => input::policy(path)?,
            None => seed.map(|seed| seed.policy).unwrap_or_default(),
        };
        Ok((Self { args, policy, id, organization_id, at }, database))
    }

    /// Opens the file.
    pub(crate) fn open_input(&self) -> Result<Input, Failure> {
        let path = &self.args.request;
        match self.args.format.unwrap_or_else(|| format_from_name(path)) {
            Format::Json => input::read(path).map(Input::Json),
            Format::Csv => RepeatableInput::open(path).map(Input::Csv),
        }
    }

    /// Reads the file. Of a list, it only counts the people.
    pub(crate) fn read<'b>(&self, database: &mut Database, input: &'b mut Input) -> Result<Import<'b>, Failure> {
        let name = input::name(&self.args.request);
        match input {
            Input::Json(bytes) => {
                if !self.args.csv.is_empty() {
                    let problem = "is a JSON request, which has its own fields for `--from`, `--step` and the other \
                                   options for a CSV; remove these options";
                    return Err(Failure::new(name, problem));
                }
                let request = EnrollmentRequest::from_json(bytes);
                let reference = self.reference_data(database, &request)?;
                Ok(Import { name, source: Source::Request(Box::new(request)), reference })
            }
            Input::Csv(csv) => {
                // The types of the columns depend on the custom object in the database.
                let reference = self.reference_data(database, &empty_request(&self.args.csv))?;
                let people = csv_import::count(&name, csv, self.custom_object(&reference))?;
                let sizes = csv_import::batch_sizes(people);
                if let Some(key) = self.args.idempotency_key.as_deref().filter(|_| sizes.len() > 1)
                    && self.enrollment(EnrollmentKey::Idempotency(key), &EnrollmentRequest::default()).id().is_none()
                {
                    let problem = "must be 1 to 255 visible ASCII characters (invalid_idempotency_key)";
                    return Err(Failure::new("--idempotency-key", problem));
                }
                Ok(Import { name, source: Source::List(csv, sizes), reference })
            }
        }
    }

    /// Calls `work` with each request. Of a list, only the people of one request are in memory at a time; each call of
    /// this method reads the list from its beginning.
    pub(crate) fn for_each_batch(
        &self,
        import: &mut Import<'_>,
        mut work: impl FnMut(&Batch<'_>) -> Result<(), ImportError>,
    ) -> Result<(), ImportError> {
        let requests = import.requests();
        let Import { name, source, reference } = import;
        let (csv, sizes) = match source {
            Source::Request(request) => {
                let enrollment = self.enrollment(self.key(0, requests), request);
                return work(&Batch { enrollment, rows: None, reference, name });
            }
            Source::List(csv, sizes) => (csv, sizes),
        };
        let changed = || Failure::new(&name, "changed during the import; run it again");
        let mut people = csv_import::People::read(name, csv, self.custom_object(reference))?;
        let (mut request, mut rows) = (empty_request(&self.args.csv), Vec::new());
        for (number, size) in (0..).zip(sizes) {
            request.to.clear();
            rows.clear();
            for _ in 0..*size {
                let (person, row) = people.next()?.ok_or_else(changed)?;
                request.to.push(person);
                rows.push(row);
            }
            let enrollment =
                Enrollment { at: self.at(number), ..self.enrollment(self.key(number, requests), &request) };
            work(&Batch { enrollment, rows: Some(&rows), reference, name })?;
        }
        people.next()?.map_or(Ok(()), |_| Err(changed().into()))
    }

    /// Checks all requests of an import before the first one is written: each request commits on its own.
    pub(crate) fn check_batches(
        &self,
        repository: &mut dyn Repository,
        database: &str,
        import: &mut Import<'_>,
    ) -> Result<(), ImportError> {
        if import.requests() == 1 {
            return Ok(());
        }
        let engine = Engine::new(&self.policy);
        self.for_each_batch(import, |batch| {
            check(repository, &engine, &batch.enrollment).map_err(|e| batch.error(database, &e))
        })
    }

    /// Returns the custom object whose properties the columns of a list contain.
    fn custom_object<'c>(&self, reference: &'c ReferenceData) -> Option<&'c CustomObject> {
        Some(&reference.custom_objects.get(&self.args.csv.custom_object?)?.value)
    }

    fn reference_data(
        &self,
        database: &mut Database,
        request: &EnrollmentRequest<'_>,
    ) -> Result<ReferenceData, Failure> {
        let enrollment = self.enrollment(EnrollmentKey::Id(self.id), request);
        let reference = database.inbox().reference_data(&enrollment.reference_query());
        reference.map_err(|e| Failure::from_error(database.name(), &e))
    }

    fn enrollment<'r>(&self, key: EnrollmentKey<'r>, request: &'r EnrollmentRequest<'r>) -> Enrollment<'r> {
        let (organization_id, sequence_id, at) = (self.organization_id, self.args.sequence, self.at);
        Enrollment { organization_id, sequence_id, key, at, request }
    }

    /// Returns the instant of a request: one millisecond after the previous request. So each request has a tag with its
    /// own name, and the ids of its rows follow those of the previous request: ids are ordered by instant and index.
    fn at(&self, number: u32) -> Timestamp {
        Timestamp::from_millis(self.at.millis().saturating_add(number.into())).unwrap_or(self.at)
    }

    /// Returns the key of a request. `requests` is the number of requests of the import.
    fn key(&self, number: u32, requests: usize) -> EnrollmentKey<'_> {
        match &self.args.idempotency_key {
            Some(key) if requests == 1 => EnrollmentKey::Idempotency(key),
            _ if requests == 1 => EnrollmentKey::Id(self.id),
            _ => EnrollmentKey::Id(self.id.part(number)),
        }
    }

    /// Returns the failure of an import after `done` of its `requests`, with a hint how to continue. `verb` is what
    /// happened to the requests before, such as `enrolled`.
    pub(crate) fn failure(&self, error: ImportError, (done, requests): (usize, usize), verb: &str) -> Failure {
        let ImportError { failure, may_be_written } = error;
        let same = match &self.args.idempotency_key {
            Some(_) => "run the same command again".to_owned(),
            None => format!("run the same command with `--id {}`", self.id.as_uuid()),
        };
        match done {
            0 if may_be_written => failure.with_hint(&format!("{same}: it enrolls no one twice")),
            0 => failure,
            _ => failure.with_hint(&format!("{done} of {requests} requests are {verb}; {same} to continue after them")),
        }
    }
}

/// Checks an enrollment, unless it was accepted before.
fn check(
    repository: &mut (impl Repository + ?Sized),
    engine: &Engine<'_>,
    enrollment: &Enrollment<'_>,
) -> Result<(), EnrollError> {
    let reference = repository.reference_data(&enrollment.reference_query())?;
    if enrollment.previous(&reference).is_none() {
        EnrollmentCommand::check(enrollment, &reference, engine)?;
    }
    Ok(())
}

/// Returns the organization: the named one, else that of the seed, else the only one in the database.
pub(crate) fn organization(
    database: &mut Database,
    named: Option<OrganizationId>,
    default: Option<OrganizationId>,
) -> Result<OrganizationId, Failure> {
    let existing = database.organizations()?;
    match (named.or(default), &existing[..]) {
        (Some(id), _) if existing.contains(&id) => Ok(id),
        (Some(id), _) => {
            let place = if default.is_some() { "the seed" } else { database.name() };
            Err(Failure::new("--organization", format!("{place} has no organization `{id}`")))
        }
        (None, [only]) => Ok(*only),
        (None, []) => {
            let name = database.name();
            let problem = format!("has no organization: load one with `enroll seed SEED.json --database {name}`");
            Err(Failure::new(name, problem))
        }
        (None, _) => {
            let mut problem = format!("{} has {} organizations, choose one:", database.name(), existing.len());
            let listed: Vec<String> = existing.iter().take(LISTED).map(|id| format!(" `{id}`")).collect();
            problem.push_str(&listed.join(","));
            if existing.len() > LISTED {
                let _infallible = write!(problem, " or another");
            }
            Err(Failure::new("--organization", problem))
        }
    }
}

/// Returns a request with the options for a CSV and no recipients.
fn empty_request(args: &CsvArgs) -> EnrollmentRequest<'static> {
    let mut request = EnrollmentRequest::default();
    request.from = args.from.clone().map(Into::into);
    request.step_id = args.step;
    request.schedule_at = args.schedule_at;
    request.custom_data = args
        .custom_object
        .zip(args.resource)
        .map(|(custom_object_id, resource)| CustomData { custom_object_id, resource });
    request.voice_options = args.call_flow.map(|default_call_flow_id| VoiceOptions { default_call_flow_id });
    request
}

/// Returns a failure that lists the first twenty faults of a rejected request, and the number of the others.
fn rejection_failure(name: &str, rejection: &Rejection, row: impl Fn(usize) -> Option<usize>) -> Failure {
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
    let mut problem = String::new();
    for (n, fault) in faults.iter().take(20).enumerate() {
        let separator = if n == 0 { "" } else { "; " };
        let _infallible = write!(problem, "{separator}{}{} ({})", place(fault), fault.description, fault.code);
    }
    if faults.len() > 20 {
        let _infallible = write!(problem, "; and {} more", faults.len() - 20);
    }
    Failure::new(name, problem)
}

/// Reads the clock.
pub(crate) fn current_time() -> Result<Timestamp, Failure> {
    Timestamp::try_from(Utc::now()).map_err(|e| Failure::from_error("the clock", &e))
}

fn format_from_name(path: &Path) -> Format {
    let csv = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
    if csv { Format::Csv } else { Format::Json }
}

/// The number of organizations that an error message lists.
const LISTED: usize = 10;

//! Turns the options and the file of a command into requests to a database.

use chrono::Utc;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::path::Path;

use enroll::fault::Fault;
use enroll::request::{CustomData, VoiceOptions};
use enroll::{
    Engine, EnrollError, Enrollment, EnrollmentCommand, EnrollmentId, EnrollmentKey, EnrollmentPolicy,
    EnrollmentRequest, OrganizationId, Outcome, ReferenceData, Rejection, Repository, RepositoryErrorKind, SequenceId,
    Timestamp,
};
use enroll_import::{List, ListRequest, Note, Settings};
use uuid::Uuid;

use crate::args::{ImportArgs, RequestArgs};
use crate::database::Database;
use crate::list_report::ListReport;
use crate::list_request::{ListRequestOptions, UnknownCustomObject};
use crate::{Failure, input, list_file, sequences, to_fix};

/// An import as the command line describes it: the organization, the sequence, the instant and the policy.
pub(crate) struct ImportJob<'a> {
    args: &'a ImportArgs,
    options: ListRequestOptions,
    pub(crate) policy: EnrollmentPolicy,
    organization_id: OrganizationId,
    sequence_id: SequenceId,
    at: Timestamp,
}

/// The opened file.
pub(crate) enum Input {
    Request(Vec<u8>),
    List(File),
}

/// The requests of an import: one, or as many as a list of people needs.
pub(crate) struct Import<'b> {
    name: String,
    /// The id of the list, or of the only request.
    pub(crate) id: EnrollmentId,
    source: Source<'b>,
    reference: ReferenceData,
}

enum Source<'b> {
    Request(Box<EnrollmentRequest<'b>>),
    /// A list, and the instant of its first request.
    List(Box<List<File>>, Timestamp),
}

impl Import<'_> {
    pub(crate) fn people(&self) -> u64 {
        match &self.source {
            Source::Request(request) => request.to.len() as u64,
            Source::List(list, _) => list.recipients(),
        }
    }

    /// Returns the number of requests.
    pub(crate) fn requests(&self) -> usize {
        match &self.source {
            Source::Request(_) => 1,
            Source::List(list, _) => list.request_sizes().len(),
        }
    }

    /// Writes the rows of a list that a correction can help to a new file. `ignored` has the outcomes of such recipients.
    pub(crate) fn write_to_fix(&mut self, path: &Path, ignored: &mut BTreeMap<u64, Outcome>) -> Result<usize, Failure> {
        match &mut self.source {
            Source::Request(_) => Ok(0),
            Source::List(list, _) => to_fix::write(path, &self.name, list, ignored),
        }
    }

    /// Returns the mapping of a list, and the first `most` of its rows that are set aside.
    pub(crate) fn list_report(&mut self, most: usize) -> Result<Option<ListReport>, Failure> {
        match &mut self.source {
            Source::Request(_) => Ok(None),
            Source::List(list, _) => {
                let report = ListReport::read(&self.name, list, most);
                report.map(Some).map_err(|e| list_file::failure(&self.name, &e))
            }
        }
    }
}

/// One request of an import.
pub(crate) struct Batch<'p> {
    pub(crate) enrollment: Enrollment<'p>,
    /// The row of each person, if the input is a list.
    pub(crate) rows: Option<&'p [usize]>,
    /// What was changed or left out when the rows were read, with the index of each person.
    pub(crate) notes: &'p [(usize, Note)],
    /// The title of the column of each phone, with the index of each person, if several columns are phones.
    pub(crate) phone_columns: &'p [(usize, &'p str)],
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
        let (mut database, seed, name) = match seed {
            Some(path) => {
                let file = input::seed(path)?;
                let name = input::name(path);
                (Database::in_memory(name.clone(), file.snapshots), Some(file.seed), name)
            }
            None => {
                let name = Database::resolve_name(args.at_database.database.as_deref())?;
                (Database::open(&name)?, None, name)
            }
        };
        let now = seed.as_ref().and_then(|seed| seed.now);
        let at = match args.at.or(now) {
            Some(at) => at,
            None => current_time()?,
        };
        let default = seed.as_ref().map(|seed| seed.organization_id);
        let organization_id = organization(&mut database, args.organization, default)?;
        let sequences = match &seed {
            Some(seed) => sequences::in_seed(seed, organization_id),
            None => sequences::in_database(&name, organization_id)?,
        };
        let sequence_id = sequences::find(&args.sequence, &sequences)?;
        let policy = match &args.policy {
            Some(path) => input::policy(path)?,
            None => seed.map(|seed| seed.policy).unwrap_or_default(),
        };
        let options = list_options(args);
        let policy = options.policy(&policy);
        Ok((Self { args, options, policy, organization_id, sequence_id, at }, database))
    }

    /// Opens the file.
    pub(crate) fn open_input(&self) -> Result<Input, Failure> {
        match (&self.args.list, &self.args.request) {
            (Some(path), _) => list_file::open(path, &self.settings()).map(Input::List),
            (None, Some(path)) => input::read(path).map(Input::Request),
            (None, None) => Err(Failure::new("--list", "is missing; name the file with the people")),
        }
    }

    /// Reads the file. Of a list, it only checks and counts the rows.
    pub(crate) fn read<'b>(&self, database: &mut Database, input: &'b mut Input) -> Result<Import<'b>, Failure> {
        let path = self.args.list.as_ref().or(self.args.request.as_ref());
        let name = path.map_or_else(String::new, |path| input::name(path));
        match input {
            Input::Request(bytes) => {
                let request = EnrollmentRequest::from_json(bytes);
                let id = self.own_id().unwrap_or_else(|| EnrollmentId::from_uuid(Uuid::now_v7()));
                let reference = self.reference_data(database, id, &request)?;
                Ok(Import { name, id, source: Source::Request(Box::new(request)), reference })
            }
            Input::List(file) => {
                let file = file.try_clone().map_err(|e| Failure::from_error(&name, &e))?;
                let request = self.options.request();
                // The types of the columns depend on the custom object in the database.
                let nil = EnrollmentId::from_uuid(Uuid::nil());
                let reference = self.reference_data(database, nil, &request)?;
                let mut settings = self.settings();
                let custom_object = self.options.custom_object(&reference).map_err(|UnknownCustomObject| {
                    let id = self.args.options.custom_object.map(|id| id.to_string()).unwrap_or_default();
                    Failure::new("--custom-object", format!("the organization has no custom object `{id}`"))
                })?;
                if let Some(object) = custom_object {
                    settings = settings.with_custom_object(object);
                }
                let list = list_file::read(&name, file, &self.args.reading, &settings)?;
                let id = self.list_id(&name, &list)?;
                let reference = self.reference_data(database, id, &request)?;
                // A list that is continued keeps its instant.
                let at = reference.enrollments.get(&id).map_or(self.at, |first| first.at);
                Ok(Import { name, id, source: Source::List(Box::new(list), at), reference })
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
        let Import { name, id, source, reference } = import;
        let (list, at) = match source {
            Source::Request(request) => {
                let enrollment = self.enrollment(self.key(*id), request);
                return work(&Batch { enrollment, rows: None, notes: &[], phone_columns: &[], reference, name });
            }
            Source::List(list, at) => (list, *at),
        };
        let failed = |e| list_file::failure(name, &e);
        let titles: Vec<String> = list.inspection().columns.iter().map(|column| column.title.clone()).collect();
        let mut request = self.options.request();
        for part in list.requests(*id, at).map_err(failed)? {
            let ListRequest { id, at, list, recipients, rows, notes, phone_positions, .. } = part.map_err(failed)?;
            request.to = recipients;
            let title = |position: usize| titles.get(position.wrapping_sub(1)).map_or("", String::as_str);
            let phone_columns: Vec<_> =
                phone_positions.into_iter().map(|(index, position)| (index, title(position))).collect();
            let rows: Vec<usize> = rows.into_iter().map(|row| usize::try_from(row).unwrap_or(usize::MAX)).collect();
            let enrollment = Enrollment { at, list, ..self.enrollment(EnrollmentKey::Id(id), &request) };
            work(&Batch {
                enrollment,
                rows: Some(&rows),
                notes: &notes,
                phone_columns: &phone_columns,
                reference,
                name,
            })?;
        }
        Ok(())
    }

    /// Checks all requests of an import before the first one is written: each request commits on its own.
    pub(crate) fn check_batches(
        &self,
        repository: &mut dyn Repository,
        database: &str,
        import: &mut Import<'_>,
    ) -> Result<(), ImportError> {
        if import.requests() <= 1 {
            return Ok(());
        }
        let engine = Engine::new(&self.policy);
        self.for_each_batch(import, |batch| {
            check(repository, &engine, &batch.enrollment).map_err(|e| batch.error(database, &e))
        })
    }

    /// Returns the settings of a list. A file can have any size, since it is the caller's own.
    fn settings(&self) -> Settings {
        list_file::without_limit(Settings::new(self.at))
    }

    fn reference_data(
        &self,
        database: &mut Database,
        id: EnrollmentId,
        request: &EnrollmentRequest<'_>,
    ) -> Result<ReferenceData, Failure> {
        let enrollment = self.enrollment(EnrollmentKey::Id(id), request);
        let reference = database.inbox().reference_data(&enrollment.reference_query());
        reference.map_err(|e| Failure::from_error(database.name(), &e))
    }

    fn enrollment<'r>(&self, key: EnrollmentKey<'r>, request: &'r EnrollmentRequest<'r>) -> Enrollment<'r> {
        let (organization_id, sequence_id, at) = (self.organization_id, self.sequence_id, self.at);
        Enrollment { organization_id, sequence_id, key, at, list: None, request }
    }

    /// Returns the key of a single request.
    fn key(&self, id: EnrollmentId) -> EnrollmentKey<'_> {
        self.args.idempotency_key.as_deref().map_or(EnrollmentKey::Id(id), EnrollmentKey::Idempotency)
    }

    /// Returns the id that the caller chose: `--id`, or that of the idempotency key.
    fn own_id(&self) -> Option<EnrollmentId> {
        let by_key = |key: &String| EnrollmentId::from_idempotency_key(self.organization_id, key);
        self.args.id.map(EnrollmentId::from_uuid).or_else(|| self.args.idempotency_key.as_ref().map(by_key))
    }

    /// Returns the id of a list: the caller's, else derived from its content and all options.
    fn list_id(&self, name: &str, list: &List<File>) -> Result<EnrollmentId, Failure> {
        if let Some(id) = self.args.id {
            return Ok(EnrollmentId::from_uuid(id));
        }
        let key = self.args.idempotency_key.as_deref();
        let id = self.options.list_id(list, self.organization_id, self.sequence_id, key);
        id.map_err(|e| match e {
            enroll_import::ListError::InvalidIdempotencyKey => {
                Failure::new("--idempotency-key", "must be 1 to 255 visible ASCII characters (invalid_idempotency_key)")
            }
            e => list_file::failure(name, &e),
        })
    }

    /// Returns the failure of an import after `done` of its requests, with a hint how to continue. `verb` is what
    /// happened to the requests before, such as `enrolled`.
    pub(crate) fn failure(&self, import: &Import<'_>, error: ImportError, done: usize, verb: &str) -> Failure {
        let ImportError { failure, may_be_written } = error;
        let has_key = self.args.list.is_some() || self.args.id.is_some() || self.args.idempotency_key.is_some();
        let same = if has_key {
            "run the same command again".to_owned()
        } else {
            format!("run the same command with `--id {}`", import.id)
        };
        match (done, import.requests()) {
            (0, _) if may_be_written => failure.with_hint(&format!("{same}: it enrolls no one twice")),
            (0, _) => failure,
            (_, requests) => {
                let problem = format!("{done} of {requests} requests are {verb}; {same} to continue after them");
                failure.with_hint(&problem)
            }
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

/// Returns what the options of the command line say about the requests of a list.
fn list_options(args: &ImportArgs) -> ListRequestOptions {
    let RequestArgs { from, step, schedule_at, custom_object, resource, call_flow } = &args.options;
    let custom_data = custom_object.zip(*resource);
    ListRequestOptions {
        from: from.clone(),
        step_id: *step,
        schedule_at: *schedule_at,
        custom_data: custom_data.map(|(custom_object_id, resource)| CustomData { custom_object_id, resource }),
        voice_options: call_flow.map(|default_call_flow_id| VoiceOptions { default_call_flow_id }),
        default_region: args.reading.default_region,
    }
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

/// The number of organizations that an error message lists.
const LISTED: usize = 10;

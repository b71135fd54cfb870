//! Who asks for what: the options and the file of a request, as requests to a database.

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

use crate::args::{AskArgs, CsvArgs, Format};
use crate::database::Database;
use crate::input::Source;
use crate::{Failure, csv_import, input};

/// Who asks, when, and by which rules.
pub(crate) struct Sender<'a> {
    pub(crate) args: &'a AskArgs,
    pub(crate) policy: EnrollmentPolicy,
    pub(crate) id: EnrollmentId,
    organization_id: OrganizationId,
    at: Timestamp,
}

/// What the people are read from.
pub(crate) enum Input {
    Json(Vec<u8>),
    Csv(Source),
}

/// What is asked for: one request, or as many as a list of people needs.
pub(crate) struct Asked<'b> {
    name: String,
    who: Who<'b>,
    reference: ReferenceData,
}

enum Who<'b> {
    Request(Box<EnrollmentRequest<'b>>),
    /// With how many people each request holds.
    List(&'b mut Source, Vec<usize>),
}

impl Asked<'_> {
    pub(crate) fn people(&self) -> usize {
        match &self.who {
            Who::Request(request) => request.to.len(),
            Who::List(_, sizes) => sizes.iter().sum(),
        }
    }

    /// How many requests it takes.
    pub(crate) fn parts(&self) -> usize {
        match &self.who {
            Who::Request(_) => 1,
            Who::List(_, sizes) => sizes.len(),
        }
    }
}

/// One of the requests.
pub(crate) struct Part<'p> {
    pub(crate) enrollment: Enrollment<'p>,
    /// Of a list, the row of each person.
    pub(crate) rows: Option<&'p [usize]>,
    /// What the requests refer to.
    pub(crate) reference: &'p ReferenceData,
    name: &'p str,
}

impl Part<'_> {
    /// Why no more is done: this one failed.
    pub(crate) fn stop(&self, database: &str, error: &EnrollError) -> Stop {
        let failure = match error {
            EnrollError::Rejected(rejection) => refused(self.name, rejection, |index| self.rows?.get(index).copied()),
            e => Failure::caused(database, e),
        };
        let unsure = matches!(error, EnrollError::Repository(e) if e.kind() == RepositoryErrorKind::Unavailable);
        Stop { failure, unsure }
    }
}

/// Why no more is done.
pub(crate) struct Stop {
    pub(crate) failure: Failure,
    /// Whether what failed may stand all the same.
    unsure: bool,
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self { failure, unsure: false }
    }
}

impl<'a> Sender<'a> {
    /// The sender, and the database that is asked. `seed` stands in for one.
    pub(crate) fn new(args: &'a AskArgs, seed: Option<&Path>) -> Result<(Self, Database), Failure> {
        let (mut database, seeded) = match seed {
            Some(path) => {
                let seed = input::seed(path)?;
                (Database::in_memory(input::name(path), seed.snapshots), Some(seed.given))
            }
            None => (Database::open(&Database::named(args.at_database.database.as_deref())?)?, None),
        };
        let now = seeded.as_ref().and_then(|given| given.now);
        let at = match args.at.or(now) {
            Some(at) => at,
            None => clock()?,
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
        Ok((Self { args, policy, id, organization_id, at }, database))
    }

    /// Opens the file.
    pub(crate) fn open(&self) -> Result<Input, Failure> {
        let path = &self.args.request;
        match self.args.format.unwrap_or_else(|| format_of(path)) {
            Format::Json => input::read(path).map(Input::Json),
            Format::Csv => Source::open(path).map(Input::Csv),
        }
    }

    /// Reads the file; of a list of people, only how many there are.
    pub(crate) fn read<'b>(&self, database: &mut Database, input: &'b mut Input) -> Result<Asked<'b>, Failure> {
        let name = input::name(&self.args.request);
        match input {
            Input::Json(bytes) => {
                if !self.args.csv.is_empty() {
                    let what = "a JSON request says itself what `--from`, `--step` and the other options for a CSV say";
                    return Err(Failure::new(name, what));
                }
                let request = EnrollmentRequest::from_json(bytes);
                let reference = self.reference_data(database, &request)?;
                Ok(Asked { name, who: Who::Request(Box::new(request)), reference })
            }
            Input::Csv(source) => {
                // What the columns mean, the database says.
                let reference = self.reference_data(database, &request_of(&self.args.csv))?;
                let people = csv_import::count(&name, source, self.object(&reference))?;
                let sizes = csv_import::balanced(people);
                if let Some(key) = self.args.idempotency_key.as_deref().filter(|_| sizes.len() > 1)
                    && self.enrollment(EnrollmentKey::Idempotency(key), &EnrollmentRequest::default()).id().is_none()
                {
                    let what = "must be 1 to 255 visible ASCII characters (invalid_idempotency_key)";
                    return Err(Failure::new("--idempotency-key", what));
                }
                Ok(Asked { name, who: Who::List(source, sizes), reference })
            }
        }
    }

    /// Hands over one request after the other. Of a list only the people of one are held at a time: it is read from its
    /// beginning each time this is called.
    pub(crate) fn each(
        &self,
        asked: &mut Asked<'_>,
        mut work: impl FnMut(&Part<'_>) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let parts = asked.parts();
        let Asked { name, who, reference } = asked;
        let (source, sizes) = match who {
            Who::Request(request) => {
                let enrollment = self.enrollment(self.key(0, parts), request);
                return work(&Part { enrollment, rows: None, reference, name });
            }
            Who::List(source, sizes) => (source, sizes),
        };
        let changed = || Failure::new(&name, "changed while it was read");
        let mut people = csv_import::People::read(name, source, self.object(reference))?;
        let (mut request, mut rows) = (request_of(&self.args.csv), Vec::new());
        for (part, size) in (0..).zip(sizes) {
            request.to.clear();
            rows.clear();
            for _ in 0..*size {
                let (person, row) = people.next()?.ok_or_else(changed)?;
                request.to.push(person);
                rows.push(row);
            }
            let enrollment = Enrollment { at: self.at(part), ..self.enrollment(self.key(part, parts), &request) };
            work(&Part { enrollment, rows: Some(&rows), reference, name })?;
        }
        people.next()?.map_or(Ok(()), |_| Err(changed().into()))
    }

    /// Of several requests each stands by itself once it is done, so all of them are checked before the first is.
    pub(crate) fn check(
        &self,
        repository: &mut dyn Repository,
        database: &str,
        asked: &mut Asked<'_>,
    ) -> Result<(), Stop> {
        if asked.parts() == 1 {
            return Ok(());
        }
        let engine = Engine::new(&self.policy);
        self.each(asked, |part| check(repository, &engine, &part.enrollment).map_err(|e| part.stop(database, &e)))
    }

    /// The custom object that a list's columns are properties of.
    fn object<'c>(&self, reference: &'c ReferenceData) -> Option<&'c CustomObject> {
        Some(&reference.custom_objects.get(&self.args.csv.custom_object?)?.value)
    }

    fn reference_data(
        &self,
        database: &mut Database,
        request: &EnrollmentRequest<'_>,
    ) -> Result<ReferenceData, Failure> {
        let enrollment = self.enrollment(EnrollmentKey::Id(self.id), request);
        let reference = database.reference_data(&enrollment.reference_query());
        reference.map_err(|e| Failure::caused(database.name(), &e))
    }

    fn enrollment<'r>(&self, key: EnrollmentKey<'r>, request: &'r EnrollmentRequest<'r>) -> Enrollment<'r> {
        let (organization_id, sequence_id, at) = (self.organization_id, self.args.sequence, self.at);
        Enrollment { organization_id, sequence_id, key, at, request }
    }

    /// The instant of a request of an import: a millisecond after the one before. So each has a tag of its own name, and its
    /// rows lie together behind those of the others, since ids are ordered by instant and index.
    fn at(&self, part: u32) -> Timestamp {
        Timestamp::from_millis(self.at.millis().saturating_add(part.into())).unwrap_or(self.at)
    }

    /// The key of a request of an import of so many.
    fn key(&self, part: u32, parts: usize) -> EnrollmentKey<'_> {
        match &self.args.idempotency_key {
            Some(key) if parts == 1 => EnrollmentKey::Idempotency(key),
            _ if parts == 1 => EnrollmentKey::Id(self.id),
            _ => EnrollmentKey::Id(self.id.part(part)),
        }
    }

    /// What is told after so many of some requests were `done`, and how to go on where something stands, or may.
    pub(crate) fn stopped(&self, stop: Stop, (standing, parts): (usize, usize), done: &str) -> Failure {
        let Stop { failure, unsure } = stop;
        let again = match &self.args.idempotency_key {
            Some(_) => "the same command again".to_owned(),
            None => format!("the same again with `--id {}`", self.id.as_uuid()),
        };
        match standing {
            0 if unsure => failure.and(&format!("{again} enrolls nobody twice")),
            0 => failure,
            _ => failure.and(&format!("{standing} of {parts} requests are {done}; {again} goes on after them")),
        }
    }
}

/// Refuses what would be refused, unless it stands.
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

/// Who asks: the one that is named, else the seed's own, else the only one that there is.
pub(crate) fn organization(
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

/// A request as the options say, without anyone in it.
fn request_of(args: &CsvArgs) -> EnrollmentRequest<'static> {
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

/// The clock, as the engine takes instants.
pub(crate) fn clock() -> Result<Timestamp, Failure> {
    Timestamp::try_from(Utc::now()).map_err(|e| Failure::new("the clock", e))
}

fn format_of(path: &Path) -> Format {
    let csv = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
    if csv { Format::Csv } else { Format::Json }
}

/// How many organizations are listed where one must be named.
const LISTED: usize = 10;

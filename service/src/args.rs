//! What each command takes.

use axum::http::HeaderName;
use clap::builder::{NonEmptyStringValueParser, PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;

use enroll::model::Resource;
use enroll::{CallFlowId, CustomObjectId, EnrollmentId, OrganizationId, SequenceId, StepId, Timestamp};
use uuid::Uuid;

/// Enroll people into outreach sequences.
///
/// `enroll seed` loads an organization into a database, and `enroll run` enrolls people there. A database is a SQLite
/// file (`enroll.db` unless said otherwise) or PostgreSQL (`postgres://…`).
#[derive(Debug, Parser)]
#[command(name = "enroll", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Enroll the people of a request into a sequence, and print what became of each.
    Run(Box<RunArgs>),
    /// Accept the people of a request, print the receipt, and leave the work to `enroll work`.
    Submit(Box<SubmitArgs>),
    /// Process what was accepted, oldest first, until stopped. Any number of these may share a database. Exits 1 if an
    /// enrollment was given up.
    Work(WorkArgs),
    /// Tell how far an accepted enrollment got. Exits 1 if it was rejected, or failed.
    Status(EnrollmentArgs),
    /// Let an enrollment that failed be tried again.
    Retry(EnrollmentArgs),
    /// Serve the HTTP API, and process what it accepts, until stopped.
    Serve(Box<ServeArgs>),
    /// Make, list and revoke the API keys of `enroll serve`.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Load an organization from a JSON file into a database, all of it or nothing.
    Seed(SeedArgs),
    /// Enroll 4000 realistic recipients into a made-up organization, and print the report and the time it took.
    Demo(DemoArgs),
    /// Run test vectors: `ok` or `FAILED` for each, with the first difference. Exits 1 if any failed.
    Vectors(VectorsArgs),
}

/// What `enroll run` takes.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) ask: AskArgs,
    /// Rather than a database, a JSON file with the organization: a dry run in memory, which leaves nothing behind.
    #[arg(long, value_name = "SEED.json", conflicts_with = "database")]
    pub(crate) seed: Option<PathBuf>,
    /// Say what would happen, and write nothing. More than 4000 people hold the database's write lock meanwhile.
    #[arg(long)]
    pub(crate) preview: bool,
    /// Print the whole report as JSON. It is held in memory until everyone is enrolled.
    #[arg(long)]
    pub(crate) json: bool,
    /// List every recipient that was not simply added, rather than the first 40.
    #[arg(long)]
    pub(crate) all: bool,
}

/// What `enroll submit` takes.
#[derive(Debug, Args)]
pub(crate) struct SubmitArgs {
    #[command(flatten)]
    pub(crate) ask: AskArgs,
    /// Print the receipts as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What is asked for, of which database, and by whom.
#[derive(Debug, Args)]
pub(crate) struct AskArgs {
    #[command(flatten)]
    pub(crate) at_database: DatabaseArgs,
    /// The sequence to add people to.
    #[arg(long, value_name = "ID")]
    pub(crate) sequence: SequenceId,
    /// The people: a request as JSON, a `.csv` whose header names the fields of an entry, or `-` for standard input.
    /// A CSV is read several times, at most 4000 people at once; standard input is held in memory as a whole.
    #[arg(long, value_name = "REQUEST")]
    pub(crate) request: PathBuf,
    /// What standard input is; a file says it by its name.
    #[arg(long, value_enum)]
    pub(crate) format: Option<Format>,
    /// The organization that asks. Default: the only one of the database, or the seed's own.
    #[arg(long, value_name = "ID")]
    pub(crate) organization: Option<OrganizationId>,
    /// The instant of the request; of a list, of its first one, and a millisecond more for each after it. Default: the
    /// seed's `now`, else the clock.
    #[arg(long, value_name = "INSTANT")]
    pub(crate) at: Option<Timestamp>,
    /// The switches of the engine, as the `policy` of a seed. Default: the seed's own, else those as documented.
    #[arg(long, value_name = "POLICY.json")]
    pub(crate) policy: Option<PathBuf>,
    /// The id of the enrollment, or of the import. Default: a new one.
    #[arg(long, value_name = "UUID", conflicts_with = "idempotency_key")]
    pub(crate) id: Option<Uuid>,
    /// What the sender calls this request: the same again answers with the same report.
    #[arg(long, value_name = "KEY")]
    pub(crate) idempotency_key: Option<String>,
    #[command(flatten)]
    pub(crate) csv: CsvArgs,
}

/// Which database.
#[derive(Debug, Args)]
pub(crate) struct DatabaseArgs {
    /// The database: a SQLite file or `postgres://…`, as `enroll seed` made it.
    /// Default: the environment's `ENROLL_DATABASE`, else `enroll.db`.
    #[arg(long, value_name = "FILE|URL", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) database: Option<String>,
}

/// What `enroll work` takes.
#[derive(Debug, Args)]
pub(crate) struct WorkArgs {
    #[command(flatten)]
    pub(crate) at_database: DatabaseArgs,
    /// How many enrollments are processed at once.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) workers: u16,
    /// End when nothing waits any more, rather than wait for more.
    #[arg(long)]
    pub(crate) until_empty: bool,
    /// How often an enrollment is tried before it is given up, and is `failed`.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) attempts: u32,
    /// For how many seconds an enrollment is a worker's own: one that is gone by then is replaced.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=86400))]
    pub(crate) lease: u32,
}

/// What `enroll serve` takes. Each option can come from the environment.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The database: a SQLite file or `postgres://…`, made where there is none.
    /// Default: the environment's `ENROLL_DATABASE`, else `enroll.db`.
    #[arg(long, value_name = "FILE|URL", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) database: Option<String>,
    /// Where to listen. Port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", env = "ENROLL_LISTEN", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,
    /// How many enrollments are processed at once; with 0, `enroll work` has to.
    #[arg(long, env = "ENROLL_WORKERS", default_value_t = 2, value_parser = clap::value_parser!(u16).range(0..=256))]
    pub(crate) workers: u16,
    /// How often an enrollment is tried before it is given up, and is `failed`.
    #[arg(long, value_name = "N", env = "ENROLL_ATTEMPTS", default_value_t = 8,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) attempts: u32,
    /// For how many seconds an enrollment is a worker's own: one that is gone by then is replaced.
    #[arg(long, value_name = "SECONDS", env = "ENROLL_LEASE", default_value_t = 60,
        value_parser = clap::value_parser!(u32).range(1..=86400))]
    pub(crate) lease: u32,
    /// The switches of the engine, as the `policy` of a seed. Default: those as documented.
    #[arg(long, value_name = "POLICY.json", env = "ENROLL_POLICY")]
    pub(crate) policy: Option<PathBuf>,
    /// The header that carries an API key.
    #[arg(long, value_name = "NAME", env = "ENROLL_KEY_HEADER", default_value = "X-WHIPPY-KEY",
        value_parser = header_name)]
    pub(crate) key_header: String,
    /// How many enrollments each API key may ask for in any minute. Default: any number.
    #[arg(long, value_name = "N", env = "ENROLL_RATE_LIMIT", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) rate_limit: Option<u32>,
    /// How many requests are answered at once; beyond, the answer is 503.
    #[arg(long, value_name = "N", env = "ENROLL_CONCURRENCY", default_value_t = 256,
        value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) concurrency: u32,
    /// How many seconds a request may take; beyond, the answer is 408 or 503.
    #[arg(long, value_name = "SECONDS", env = "ENROLL_TIMEOUT", default_value_t = 30,
        value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub(crate) timeout: u32,
    /// How the log is written, on standard error.
    #[arg(long, value_enum, env = "ENROLL_LOG", default_value = "text")]
    pub(crate) log: LogFormat,
    /// Seed the demo organization, unless it is there, and print an API key of it and a `curl` line to try.
    #[arg(long, env = "ENROLL_DEMO")]
    pub(crate) demo: bool,
}

fn header_name(name: &str) -> Result<String, String> {
    name.parse::<HeaderName>().map(|_| name.to_owned()).map_err(|e| e.to_string())
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum LogFormat {
    Json,
    Text,
}

/// What `enroll keys` does.
#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Make an API key of an organization, and print it: it is stored as a hash, and never shown again.
    Create {
        #[command(flatten)]
        at_database: DatabaseArgs,
        /// The organization. Default: the only one of the database.
        #[arg(long, value_name = "ID")]
        organization: Option<OrganizationId>,
        /// What the key is for.
        #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
        name: String,
    },
    /// List API keys, revoked ones too; never the keys themselves.
    List {
        #[command(flatten)]
        at_database: DatabaseArgs,
        /// Only those of this organization.
        #[arg(long, value_name = "ID")]
        organization: Option<OrganizationId>,
    },
    /// Revoke an API key: from the next request on, it is no key.
    Revoke {
        /// The key's id, as `enroll keys list` tells it.
        #[arg(value_name = "ID")]
        id: Uuid,
        #[command(flatten)]
        at_database: DatabaseArgs,
    },
}

/// What `enroll status` and `enroll retry` take.
#[derive(Debug, Args)]
pub(crate) struct EnrollmentArgs {
    /// The enrollment, as its receipt names it.
    #[arg(value_name = "ID")]
    pub(crate) id: EnrollmentId,
    #[command(flatten)]
    pub(crate) at_database: DatabaseArgs,
    /// The organization whose it is. Default: the only one of the database.
    #[arg(long, value_name = "ID")]
    pub(crate) organization: Option<OrganizationId>,
    /// Print it as JSON, with its report.
    #[arg(long)]
    pub(crate) json: bool,
}

/// What a JSON request says itself and a CSV cannot.
#[derive(Debug, Args)]
#[command(next_help_heading = "For a CSV")]
pub(crate) struct CsvArgs {
    /// The phone or email of the channel to use.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) from: Option<String>,
    /// The step. Default: the first.
    #[arg(long, value_name = "ID")]
    pub(crate) step: Option<StepId>,
    /// When the people are activated.
    #[arg(long, value_name = "INSTANT")]
    pub(crate) schedule_at: Option<Timestamp>,
    /// The custom object that the columns `properties.KEY` are values of.
    #[arg(long, value_name = "ID", requires = "resource")]
    pub(crate) custom_object: Option<CustomObjectId>,
    /// What each record belongs to.
    #[arg(long, value_parser = resource(), requires = "custom_object")]
    pub(crate) resource: Option<Resource>,
    /// The call flow that answers inbound calls.
    #[arg(long, value_name = "ID")]
    pub(crate) call_flow: Option<CallFlowId>,
}

impl CsvArgs {
    pub(crate) fn is_empty(&self) -> bool {
        let Self { from, step, schedule_at, custom_object, resource, call_flow } = self;
        from.is_none()
            && step.is_none()
            && schedule_at.is_none()
            && custom_object.is_none()
            && resource.is_none()
            && call_flow.is_none()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Json,
    Csv,
}

/// Reads a resource, and lists the accepted words in the help.
fn resource() -> impl TypedValueParser<Value = Resource> {
    PossibleValuesParser::new(Resource::ALL.map(Resource::as_str)).try_map(|word| word.parse::<Resource>())
}

/// What `enroll seed` takes.
#[derive(Debug, Args)]
pub(crate) struct SeedArgs {
    /// The organization as a JSON file: channels, sequences, contacts and what they did so far
    /// (`enroll demo --write DIR` writes one to look at), or `-` for standard input.
    #[arg(value_name = "SEED.json")]
    pub(crate) seed: PathBuf,
    /// The database: a SQLite file, which is made if there is none, or `postgres://…`.
    /// Default: the environment's `ENROLL_DATABASE`, else `enroll.db`.
    #[arg(long, value_name = "FILE|URL", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) database: Option<String>,
}

/// What `enroll demo` takes.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Enroll in a database, a SQLite file or `postgres://…`, and leave it there; a second time finds everyone again.
    /// Default: in memory.
    #[arg(long, value_name = "FILE|URL", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) database: Option<String>,
    /// Print the whole report as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// List every recipient that was not simply added, rather than the first 40.
    #[arg(long)]
    pub(crate) all: bool,
    /// Write `seed.json` and `request.json` into a folder, for `enroll seed` and `enroll run`, and enroll nobody.
    #[arg(long, value_name = "DIR", conflicts_with = "database")]
    pub(crate) write: Option<PathBuf>,
}

/// What `enroll vectors` takes.
#[derive(Debug, Args)]
pub(crate) struct VectorsArgs {
    /// Files, or folders of `.json` files.
    #[arg(required = true)]
    pub(crate) paths: Vec<PathBuf>,
    /// What to run them on: `memory`, a SQLite file, which must not exist and is gone afterwards, or `postgres://…`
    /// without any organization, which is left without rows.
    #[arg(long, value_name = "memory|FILE|URL", default_value = "memory",
        value_parser = NonEmptyStringValueParser::new())]
    pub(crate) database: String,
}

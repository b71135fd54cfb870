//! The options of each command.

mod import;
mod webhooks;

use axum::http::HeaderName;
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use std::net::SocketAddr;
use std::path::PathBuf;

use enroll::{EnrollmentId, OrganizationId, Timestamp};
use uuid::Uuid;

pub(crate) use self::import::{ImportArgs, ReadingArgs, RequestArgs, RunArgs, SubmitArgs};
pub(crate) use self::webhooks::{
    AddWebhookArgs, ListWebhooksArgs, RemoveWebhookArgs, ReplayWebhooksArgs, WebhookArgs, WebhooksCommand,
};
use crate::log::LogFilter;
use crate::retention::Age;

/// Enroll people into outreach sequences.
///
/// `enroll seed` loads an organization into a database, and `enroll run` enrolls a list of people in it. A database is a
/// SQLite file (default: `enroll.db`) or PostgreSQL (`postgres://…`).
#[derive(Debug, Parser)]
#[command(name = "enroll", version, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Enroll the people of a list into a sequence, and print the outcomes.
    Run(Box<RunArgs>),
    /// Accept a list and print its receipts. `enroll work` processes it later.
    Submit(Box<SubmitArgs>),
    /// Process accepted enrollments until stopped. Organizations take turns. Several processes can share a database. Exits 1 if an
    /// enrollment failed.
    Work(Box<WorkArgs>),
    /// Print the state of an accepted enrollment. Exits 1 if it was rejected or failed.
    Status(EnrollmentArgs),
    /// Make failed enrollments wait for processing again.
    Retry(RetryArgs),
    /// Erase a person: the contact with all its rows, and the person in stored requests and reports. An opt-out is erased too.
    /// Without `--yes`, prints what this would erase, and exits 2.
    Erase(EraseArgs),
    /// List the sequences of an organization, by title.
    Sequences(ListingArgs),
    /// List the enrollments of an organization, the newest first.
    Enrollments(ListingArgs),
    /// List the channels of an organization, by kind and address.
    Channels(ListingArgs),
    /// Serve the HTTP API and process the accepted enrollments, until stopped.
    Serve(Box<ServeArgs>),
    /// Create, list and revoke the API keys of `enroll serve`.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Add, list and remove the endpoints that get the events of enrollments, and send events again. `enroll serve` and
    /// `enroll work` send them.
    #[command(subcommand)]
    Webhooks(WebhooksCommand),
    /// Create the tables in a database, or upgrade them to the version of this build. `enroll serve` does so when it starts, and
    /// `enroll work` upgrades them, unless they have `--migrate never`.
    Migrate(MigrateArgs),
    /// Check a database: the connection, the version, the tables, the privileges, a pooler, the clock. Prints a line for each
    /// check, with what to do. It changes nothing. Exits 1 if a check failed.
    Doctor(DoctorArgs),
    /// Load an organization from a JSON file into a database. Writes all rows or none.
    Seed(SeedArgs),
    /// Enroll 4000 made-up recipients into a made-up organization, and print the report and the times.
    Demo(DemoArgs),
    /// Run test vectors. Prints `ok` or `FAILED` for each, with the first difference. Exits 1 if any failed.
    Vectors(VectorsArgs),
    /// Print the completions of a shell. Bash: `source <(enroll completions bash)`.
    Completions {
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Print a man page. `enroll man | man -l -` shows it.
    Man {
        /// The command to describe, such as `run`. Default: `enroll` itself.
        #[arg(value_name = "COMMAND")]
        command: Vec<String>,
    },
}

/// The database option.
#[derive(Debug, Args)]
pub(crate) struct DatabaseArgs {
    /// The database: a SQLite file or `postgres://…` that `enroll seed` created.
    /// Default: the environment variable `ENROLL_DATABASE`, else `enroll.db`.
    #[arg(long, value_name = "FILE|URL", value_parser = NonEmptyStringValueParser::new(), help_heading = import::DATABASE)]
    pub(crate) database: Option<String>,
}

/// The options of `enroll sequences`, `enroll enrollments` and `enroll channels`.
#[derive(Debug, Args)]
pub(crate) struct ListingArgs {
    /// The number of rows to list.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) limit: u32,
    /// Print the rows as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) at_database: DatabaseArgs,
    /// The organization. Default: the only one in the database.
    #[arg(long, value_name = "ID", help_heading = import::DATABASE)]
    pub(crate) organization: Option<OrganizationId>,
}

/// The options of `enroll work`.
#[derive(Debug, Args)]
pub(crate) struct WorkArgs {
    #[command(flatten)]
    pub(crate) at_database: DatabaseArgs,
    /// The number of enrollments to process at a time.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) workers: u16,
    /// End when no enrollment waits. No webhooks are sent.
    #[arg(long)]
    pub(crate) until_empty: bool,
    /// The number of attempts after which an enrollment is `failed`.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) attempts: u32,
    /// How many seconds a worker has for an enrollment. After that time, another worker can claim it.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=86400))]
    pub(crate) lease: u32,
    #[command(flatten)]
    pub(crate) retention: RetentionArgs,
    #[command(flatten)]
    pub(crate) webhooks: WebhookArgs,
    #[command(flatten)]
    pub(crate) migration: MigrationArgs,
    /// Serve metrics for Prometheus over HTTP at this address, below `/metrics`, such as `0.0.0.0:9464`. Port 0 uses a free
    /// port. Default: not served.
    #[arg(long, value_name = "ADDRESS", env = "ENROLL_METRICS_LISTEN")]
    pub(crate) metrics_listen: Option<SocketAddr>,
}

/// The option for the tables of a process that runs for long.
#[derive(Debug, Args)]
pub(crate) struct MigrationArgs {
    /// What to do if the tables are older than this build: upgrade them, or end with an error. With `auto`, `enroll serve` also
    /// creates them.
    #[arg(long, value_enum, env = "ENROLL_MIGRATE", default_value = "auto")]
    pub(crate) migrate: Migration,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Migration {
    Auto,
    Never,
}

/// The options of `enroll doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// The database: a SQLite file or `postgres://…`.
    /// Default: the environment variable `ENROLL_DATABASE`, else `enroll.db`.
    #[arg(long, value_name = "FILE|URL", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) database: Option<String>,
    /// Print the checks as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// The options of `enroll migrate`.
#[derive(Debug, Args)]
pub(crate) struct MigrateArgs {
    /// The database: a SQLite file or `postgres://…`. A file is created if it does not exist.
    /// Default: the environment variable `ENROLL_DATABASE`, else `enroll.db`.
    #[arg(long, value_name = "FILE|URL", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) database: Option<String>,
    /// Distribute the tables over the servers of Citus, by organization. The URL is the one of the coordinator. Rows that
    /// exist are moved. Stop the service and its workers first.
    #[arg(long)]
    pub(crate) distribute: bool,
}

/// How long stored requests and reports are kept.
#[derive(Debug, Args)]
pub(crate) struct RetentionArgs {
    /// How long the request of a failed enrollment is kept, such as `30d`, `12h` or `90m`; or `never` to never remove it.
    /// After that time, the enrollment cannot be retried. If several processes have different values, the shortest applies.
    #[arg(long, value_name = "AGE", env = "ENROLL_RETAIN_FAILED", default_value = "30d")]
    pub(crate) retain_failed: Age,
    /// How long the outcomes of a completed enrollment are kept, such as `365d`; or `never` to never remove them. Its state
    /// and its counts are always kept.
    #[arg(long, value_name = "AGE", env = "ENROLL_RETAIN", default_value = "never")]
    pub(crate) retain: Age,
    /// How long events are kept, and webhooks that were delivered or are dead, such as `30d`; or `never` to never remove them.
    #[arg(long, value_name = "AGE", env = "ENROLL_RETAIN_EVENTS", default_value = "30d")]
    pub(crate) retain_events: Age,
}

/// The options of `enroll serve`. Each can be set with an environment variable.
#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// The database: a SQLite file or `postgres://…`. It is created if it does not exist.
    /// Default: the environment variable `ENROLL_DATABASE`, else `enroll.db`.
    #[arg(long, value_name = "FILE|URL", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) database: Option<String>,
    /// The address to listen on. Port 0 uses a free port.
    #[arg(long, value_name = "ADDRESS", env = "ENROLL_LISTEN", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,
    /// The number of enrollments to process at a time. With 0, run `enroll work` as well.
    #[arg(long, env = "ENROLL_WORKERS", default_value_t = 2, value_parser = clap::value_parser!(u16).range(0..=256))]
    pub(crate) workers: u16,
    /// The number of attempts after which an enrollment is `failed`.
    #[arg(long, value_name = "N", env = "ENROLL_ATTEMPTS", default_value_t = 8,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) attempts: u32,
    /// How many seconds a worker has for an enrollment. After that time, another worker can claim it.
    #[arg(long, value_name = "SECONDS", env = "ENROLL_LEASE", default_value_t = 60,
        value_parser = clap::value_parser!(u32).range(1..=86400))]
    pub(crate) lease: u32,
    #[command(flatten)]
    pub(crate) retention: RetentionArgs,
    #[command(flatten)]
    pub(crate) webhooks: WebhookArgs,
    #[command(flatten)]
    pub(crate) migration: MigrationArgs,
    /// The enrollment policy, in the format of `policy` in a seed. Default: the default policy.
    #[arg(long, value_name = "POLICY.json", env = "ENROLL_POLICY")]
    pub(crate) policy: Option<PathBuf>,
    /// The request header with the API key. The headers `X-API-Key` and `Authorization: Bearer` can have it too.
    #[arg(long, value_name = "NAME", env = "ENROLL_KEY_HEADER", default_value = "X-WHIPPY-KEY",
        value_parser = header_name)]
    pub(crate) key_header: String,
    /// The number of enrollments that each API key can request per minute, and ten times as many previews.
    /// Default: no limit.
    #[arg(long, value_name = "N", env = "ENROLL_RATE_LIMIT", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) rate_limit: Option<u32>,
    /// The number of HTTP requests to serve at a time. Others get status 503. An organization can use a bit more than
    /// half of them.
    #[arg(long, value_name = "N", env = "ENROLL_CONCURRENCY", default_value_t = 256,
        value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) concurrency: u32,
    /// The number of requests that use the database at a time. An organization can use a bit more than half of them.
    #[arg(long, value_name = "N", env = "ENROLL_HANDLES", default_value_t = 8,
        value_parser = clap::value_parser!(u16).range(4..=1024))]
    pub(crate) handles: u16,
    /// The memory for the bodies of all requests, in MiB. A body waits for its part. An organization can use a bit more
    /// than half of it.
    #[arg(long, value_name = "MIB", env = "ENROLL_BODY_MEMORY", default_value_t = 128,
        value_parser = clap::value_parser!(u16).range(32..))]
    pub(crate) body_memory: u16,
    /// The largest list that can be uploaded, in bytes. Four times as many bytes can be in temporary files at a time.
    #[arg(long, value_name = "BYTES", env = "ENROLL_LIST_BYTES", default_value_t = 64 << 20,
        value_parser = clap::value_parser!(u32).range(1024..))]
    pub(crate) list_bytes: u32,
    /// The number of open connections. Above it, a new connection replaces one that waits for its client.
    /// Default: four times the concurrency, and at least 1024.
    #[arg(long, value_name = "N", env = "ENROLL_CONNECTIONS", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) connections: Option<u32>,
    /// The number of open connections of one address. Default: half of all.
    #[arg(long, value_name = "N", env = "ENROLL_CONNECTIONS_PER_ADDRESS",
        value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) connections_per_address: Option<u32>,
    /// How many seconds an HTTP request can take. After that, it gets status 408 or 503. A client that reads nothing of
    /// a response for this time is disconnected.
    #[arg(long, value_name = "SECONDS", env = "ENROLL_TIMEOUT", default_value_t = 30,
        value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub(crate) timeout: u32,
    /// What the log contains: a level (`off`, `error`, `warn`, `info`, `debug`, `trace`), and levels of single targets, such
    /// as `info,enroll::requests=warn`. Each line of the log names its target.
    #[arg(long, value_name = "FILTER", env = "ENROLL_LOG", default_value = "info")]
    pub(crate) log: LogFilter,
    /// The format of the log on standard error.
    #[arg(long, value_enum, env = "ENROLL_LOG_FORMAT", default_value = "text")]
    pub(crate) log_format: LogFormat,
    /// Load the demo organization, if it does not exist. Print its API key, the same at each start, and an example `curl`
    /// command.
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

/// The subcommands of `enroll keys`.
#[derive(Debug, Subcommand)]
pub(crate) enum KeysCommand {
    /// Create an API key for an organization, and print it. Only its hash is stored, so it cannot be printed again.
    Create {
        #[command(flatten)]
        at_database: DatabaseArgs,
        /// The organization. Default: the only one in the database.
        #[arg(long, value_name = "ID")]
        organization: Option<OrganizationId>,
        /// A name that describes the use of the key.
        #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
        name: String,
        /// Also give the organization this name, in place of an earlier one. `GET /v1/organization` shows it.
        #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new())]
        organization_name: Option<String>,
        /// The instant from which on requests with the key get status 401. Default: never.
        #[arg(long, value_name = "INSTANT")]
        expires: Option<Timestamp>,
    },
    /// List the API keys with their last use, including expired and revoked ones. The list does not contain the keys
    /// themselves.
    List {
        #[command(flatten)]
        at_database: DatabaseArgs,
        /// List only the keys of this organization.
        #[arg(long, value_name = "ID")]
        organization: Option<OrganizationId>,
    },
    /// Revoke an API key. The next request with it gets status 401.
    Revoke {
        /// The id of the key, as `enroll keys list` prints it.
        #[arg(value_name = "ID")]
        id: Uuid,
        #[command(flatten)]
        at_database: DatabaseArgs,
    },
}

/// The options of `enroll status`.
#[derive(Debug, Args)]
pub(crate) struct EnrollmentArgs {
    /// The enrollment id from the receipt.
    #[arg(value_name = "ID")]
    pub(crate) id: EnrollmentId,
    #[command(flatten)]
    pub(crate) at_database: DatabaseArgs,
    /// The organization. Default: the only one in the database.
    #[arg(long, value_name = "ID")]
    pub(crate) organization: Option<OrganizationId>,
    /// Print the enrollment as JSON, with its report.
    #[arg(long)]
    pub(crate) json: bool,
}

/// The options of `enroll retry`.
#[derive(Debug, Args)]
pub(crate) struct RetryArgs {
    /// The enrollment id from the receipt.
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    pub(crate) id: Option<EnrollmentId>,
    /// Retry all failed enrollments: of `--organization`, or else of every organization.
    #[arg(long)]
    pub(crate) all: bool,
    /// Retry only those that failed at this instant or later, such as `2026-02-01T15:00:00Z`.
    #[arg(long, value_name = "INSTANT", requires = "all")]
    pub(crate) since: Option<Timestamp>,
    #[command(flatten)]
    pub(crate) at_database: DatabaseArgs,
    /// The organization. Default: the only one in the database.
    #[arg(long, value_name = "ID")]
    pub(crate) organization: Option<OrganizationId>,
    /// Print the result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// The options of `enroll erase`.
#[derive(Debug, Args)]
pub(crate) struct EraseArgs {
    /// The person: the id, the phone (such as `+12025550123`), the email or the external id of the contact.
    #[arg(long, value_name = "ID|PHONE|EMAIL|EXTERNAL_ID", value_parser = NonEmptyStringValueParser::new(),
        allow_hyphen_values = true)]
    pub(crate) contact: String,
    /// Erase the person. A later request can enroll the person again, also after an opt-out.
    #[arg(long)]
    pub(crate) yes: bool,
    #[command(flatten)]
    pub(crate) at_database: DatabaseArgs,
    /// The organization. Default: the only one in the database.
    #[arg(long, value_name = "ID")]
    pub(crate) organization: Option<OrganizationId>,
    /// Print the counts as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// The options of `enroll seed`.
#[derive(Debug, Args)]
pub(crate) struct SeedArgs {
    /// A JSON file with the organization: channels, sequences, contacts and their history, or `-` for standard input.
    /// `enroll demo --write DIR` writes an example.
    #[arg(value_name = "SEED.json")]
    pub(crate) seed: PathBuf,
    /// The database: a SQLite file or `postgres://…`. It is created if it does not exist.
    /// Default: the environment variable `ENROLL_DATABASE`, else `enroll.db`.
    #[arg(long, value_name = "FILE|URL", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) database: Option<String>,
}

/// The options of `enroll demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Enroll in a database, a SQLite file or `postgres://…`, and keep the rows. A second run finds the same contacts.
    /// Default: in memory.
    #[arg(long, value_name = "FILE|URL", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) database: Option<String>,
    /// Print the whole report as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    /// List every recipient that was not simply added, rather than the first 40.
    #[arg(long)]
    pub(crate) all: bool,
    /// Write `seed.json` and `request.json` for `enroll seed` and `enroll run` into a folder, and enroll no one.
    #[arg(long, value_name = "DIR", conflicts_with = "database")]
    pub(crate) write: Option<PathBuf>,
}

/// The options of `enroll vectors`.
#[derive(Debug, Args)]
pub(crate) struct VectorsArgs {
    /// Files, or folders with `.json` files.
    #[arg(required = true)]
    pub(crate) paths: Vec<PathBuf>,
    /// The database to run them on: `memory`, a new SQLite file, which is deleted afterwards, or an empty `postgres://…`
    /// database, whose rows are deleted afterwards.
    #[arg(long, value_name = "memory|FILE|URL", default_value = "memory",
        value_parser = NonEmptyStringValueParser::new())]
    pub(crate) database: String,
}

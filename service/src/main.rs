//! `enroll`: enrolls a list of people from files, runs the demo and the test vectors.

mod csv_import;
mod demo;
mod input;
mod print;
mod run;
mod vectors;

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use enroll::model::Resource;
use enroll::{CallFlowId, CustomObjectId, OrganizationId, SequenceId, StepId, Timestamp};
use uuid::Uuid;

/// Enroll people into outreach sequences.
#[derive(Debug, Parser)]
#[command(name = "enroll", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Enroll the people of a request into a sequence of a seed, and print what became of each.
    Run(Box<RunArgs>),
    /// Enroll 4000 realistic recipients into a made-up organization, and print the report and the time it took.
    Demo(DemoArgs),
    /// Run test vectors: `ok` or `FAILED` for each, with the first difference. Exits 1 if any failed.
    Vectors {
        /// Files, or folders of `.json` files.
        #[arg(required = true)]
        paths: Vec<PathBuf>,
    },
}

/// What `enroll run` takes.
#[derive(Debug, Args)]
struct RunArgs {
    /// The organization as a JSON file: channels, sequences, contacts and what they did so far.
    #[arg(long, value_name = "SEED.json")]
    seed: PathBuf,
    /// The sequence to add people to.
    #[arg(long, value_name = "ID")]
    sequence: SequenceId,
    /// The people: a request as JSON, a `.csv` whose header names the fields of an entry, or `-` for standard input.
    #[arg(long, value_name = "REQUEST")]
    request: PathBuf,
    /// Say what would happen, and write nothing.
    #[arg(long)]
    preview: bool,
    /// Print the whole report as JSON.
    #[arg(long)]
    json: bool,
    /// List every recipient that was not simply added, rather than the first 40.
    #[arg(long)]
    all: bool,
    /// What standard input is; a file says it by its name.
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// The organization that asks, if it is not the seed's own.
    #[arg(long, value_name = "ID")]
    organization: Option<OrganizationId>,
    /// The instant of the request. Default: the seed's `now`, else the clock.
    #[arg(long, value_name = "INSTANT")]
    at: Option<Timestamp>,
    /// The id of the enrollment, or of the import. Default: a new one.
    #[arg(long, value_name = "UUID", conflicts_with = "idempotency_key")]
    id: Option<Uuid>,
    /// What the sender calls this request: the same again answers with the same report.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    #[command(flatten)]
    csv: CsvArgs,
}

/// What a JSON request says itself and a CSV cannot.
#[derive(Debug, Args)]
#[command(next_help_heading = "For a CSV")]
struct CsvArgs {
    /// The phone or email of the channel to use.
    #[arg(long, value_name = "ADDRESS")]
    from: Option<String>,
    /// The step. Default: the first.
    #[arg(long, value_name = "ID")]
    step: Option<StepId>,
    /// When the people are activated.
    #[arg(long, value_name = "INSTANT")]
    schedule_at: Option<Timestamp>,
    /// The custom object that the columns `properties.KEY` are values of.
    #[arg(long, value_name = "ID", requires = "resource")]
    custom_object: Option<CustomObjectId>,
    /// What each record belongs to.
    #[arg(long, value_enum, requires = "custom_object")]
    resource: Option<ResourceArg>,
    /// The call flow that answers inbound calls.
    #[arg(long, value_name = "ID")]
    call_flow: Option<CallFlowId>,
}

impl CsvArgs {
    fn is_empty(&self) -> bool {
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
enum Format {
    Json,
    Csv,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
#[value(rename_all = "snake_case")]
enum ResourceArg {
    Contact,
    StepContact,
}

impl From<ResourceArg> for Resource {
    fn from(resource: ResourceArg) -> Self {
        match resource {
            ResourceArg::Contact => Self::Contact,
            ResourceArg::StepContact => Self::StepContact,
        }
    }
}

/// What `enroll demo` takes.
#[derive(Debug, Args)]
struct DemoArgs {
    /// Print the whole report as JSON.
    #[arg(long)]
    json: bool,
    /// List every recipient that was not simply added, rather than the first 40.
    #[arg(long)]
    all: bool,
    /// Write `seed.json` and `request.json` into a folder, for `enroll run`, and enroll nobody.
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
}

fn main() -> ExitCode {
    let answer = match Cli::parse().command {
        Command::Run(args) => run::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Vectors { paths } => vectors::run(&paths),
    };
    answer.unwrap_or_else(|failure| {
        // Nothing is left to be done where standard error is gone too.
        drop(writeln!(io::stderr(), "error: {failure}"));
        ExitCode::from(2)
    })
}

/// Bad input: a line that says where, and what.
#[derive(Debug)]
struct Failure(String);

impl Failure {
    fn new(place: impl fmt::Display, what: impl fmt::Display) -> Self {
        Self(plain(&format!("{place}: {what}")))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Prints; a reader that has seen enough is no error.
fn out(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new("standard output", e)),
        _ => Ok(()),
    }
}

/// Text of a user for a line of a terminal: a control character is written as its code.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            plain.extend(c.escape_default());
        } else {
            plain.push(c);
        }
    }
    plain
}

//! The options of `enroll run` and `enroll submit`.

use clap::Args;
use clap::builder::{NonEmptyStringValueParser, PossibleValuesParser, TypedValueParser};
use std::path::PathBuf;

use enroll::contact::Region;
use enroll::model::Resource;
use enroll::{CallFlowId, CustomObjectId, OrganizationId, StepId, Timestamp};
use enroll_import::{Assignment, DateFormat, Delimiter};
use uuid::Uuid;

use super::DatabaseArgs;

/// The options of `enroll run`.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) import: ImportArgs,
    /// A JSON file with the organization, for a dry run in memory without a database.
    #[arg(long, value_name = "SEED.json", conflicts_with = "database", help_heading = DATABASE)]
    pub(crate) seed: Option<PathBuf>,
    /// Print what would happen, with each number as it was read, and write nothing. Of more than 4000 people, the contacts
    /// are kept in memory until the end.
    #[arg(long, help_heading = OUTPUT)]
    pub(crate) preview: bool,
    /// Print the whole report as JSON, with the mapping of the columns. It is kept in memory until the end.
    #[arg(long, help_heading = OUTPUT)]
    pub(crate) json: bool,
    /// Write the rows that a correction can help to a new CSV file: their cells, and the problem of each. The corrected file
    /// can be enrolled as a list. After a run, the same command with this option writes the file and enrolls no one twice.
    #[arg(long, value_name = "FILE.csv", conflicts_with = "request", help_heading = OUTPUT)]
    pub(crate) to_fix: Option<PathBuf>,
    /// List every recipient that was not simply added, and every row that was set aside, rather than the first 40.
    #[arg(long, help_heading = OUTPUT)]
    pub(crate) all: bool,
}

/// The options of `enroll submit`.
#[derive(Debug, Args)]
pub(crate) struct SubmitArgs {
    #[command(flatten)]
    pub(crate) import: ImportArgs,
    /// Print the receipts as JSON, with the mapping of the columns.
    #[arg(long, help_heading = OUTPUT)]
    pub(crate) json: bool,
    /// List every row that was set aside, rather than the first 40.
    #[arg(long, help_heading = OUTPUT)]
    pub(crate) all: bool,
}

/// The options of an import.
#[derive(Debug, Args)]
#[group(skip)]
pub(crate) struct ImportArgs {
    /// The sequence to add people to: its id, or its title if no other sequence of the organization has it.
    /// `enroll sequences` lists them.
    #[arg(long, value_name = "ID|TITLE", help_heading = PEOPLE, value_parser = NonEmptyStringValueParser::new())]
    pub(crate) sequence: String,
    /// The people: a CSV, TSV or text file in any encoding, a spreadsheet (XLSX, XLS, ODS), or JSON; `-` for standard input.
    /// The first rows have the titles of the columns.
    #[arg(long, value_name = "FILE", help_heading = PEOPLE, required_unless_present = "request")]
    pub(crate) list: Option<PathBuf>,
    /// A whole request as JSON, with its own options; `-` for standard input.
    #[arg(long, value_name = "REQUEST.json", help_heading = PEOPLE, conflicts_with = "list")]
    pub(crate) request: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) reading: ReadingArgs,
    #[command(flatten)]
    pub(crate) options: RequestArgs,
    /// The id of the list or of the request. Default for a list: derived from its content and options, so that the same
    /// list is enrolled once. Default for a request: a new id.
    #[arg(long, value_name = "UUID", conflicts_with = "idempotency_key", help_heading = ONCE)]
    pub(crate) id: Option<Uuid>,
    /// The sender's key for this list or request. The same key returns the first report. A new key enrolls the same list
    /// again.
    #[arg(long, value_name = "KEY", help_heading = ONCE)]
    pub(crate) idempotency_key: Option<String>,
    /// The instant of the request. For a list of several requests, that of the first one; each further request is one
    /// millisecond later. Default: `now` of the seed, else the clock.
    #[arg(long, value_name = "INSTANT", help_heading = ONCE)]
    pub(crate) at: Option<Timestamp>,
    #[command(flatten)]
    pub(crate) at_database: DatabaseArgs,
    /// The organization. Default: the only one in the database, or that of the seed.
    #[arg(long, value_name = "ID", help_heading = DATABASE)]
    pub(crate) organization: Option<OrganizationId>,
    /// The enrollment policy, in the format of `policy` in a seed. Default: that of the seed, else the default policy.
    #[arg(long, value_name = "POLICY.json", help_heading = DATABASE)]
    pub(crate) policy: Option<PathBuf>,
}

/// How a list is read.
#[derive(Debug, Args)]
#[command(next_help_heading = "How the list is read")]
#[group(skip)]
pub(crate) struct ReadingArgs {
    /// The field of a column: `Phone Number=phone`, or `#3=phone` for the third column. `Score=properties.score` is a
    /// property of the custom object. Can be repeated.
    #[arg(long, value_name = "TITLE=FIELD", conflicts_with = "request")]
    pub(crate) column: Vec<Assignment>,
    /// A column that is not read: its title, or `#3` for the third column. Can be repeated.
    #[arg(long, value_name = "TITLE", conflicts_with = "request")]
    pub(crate) ignore: Vec<String>,
    /// A JSON file with the fields of columns: `{"Phone Number": "phone", "Company": "ignore"}`. `--column` and `--ignore`
    /// replace its entries.
    #[arg(long, value_name = "FILE.json", conflicts_with = "request")]
    pub(crate) map: Option<PathBuf>,
    /// The sheet of a spreadsheet. Default: the first visible one with a phone, an email or an external id.
    #[arg(long, value_name = "NAME", conflicts_with = "request")]
    pub(crate) sheet: Option<String>,
    /// The encoding of text, such as `utf-8`, `windows-1252` or `utf-16le`. Default: found in the file.
    #[arg(long, value_name = "NAME", conflicts_with = "request")]
    pub(crate) encoding: Option<String>,
    /// What separates the cells of text: `,`, `;`, `|` or `tab`. Default: found in the file.
    #[arg(long, value_name = "CHARACTER", conflicts_with = "request", allow_hyphen_values = true)]
    pub(crate) delimiter: Option<Delimiter>,
    /// The order of the parts of dates that are not `YYYY-MM-DD`, such as `DD.MM.YYYY` or `MM/DD/YYYY`.
    #[arg(long, value_name = "FORMAT", conflicts_with = "request")]
    pub(crate) date_format: Option<DateFormat>,
    /// The country of phone numbers without `+`, such as `US`. Default: that of the policy, else of the sender's phone.
    #[arg(long, value_name = "COUNTRY", conflicts_with = "request")]
    pub(crate) default_region: Option<Region>,
}

/// The fields of a request that a list does not contain.
#[derive(Debug, Args)]
#[command(next_help_heading = "What the people of the list get")]
#[group(skip)]
pub(crate) struct RequestArgs {
    /// The phone or email of the channel to use. `enroll channels` lists them.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "request")]
    pub(crate) from: Option<String>,
    /// The step: its id, which `enroll sequences --json` prints. Default: the first.
    #[arg(long, value_name = "ID", conflicts_with = "request", value_parser = step)]
    pub(crate) step: Option<StepId>,
    /// When to activate the people. Default: at once.
    #[arg(long, value_name = "INSTANT", conflicts_with = "request")]
    pub(crate) schedule_at: Option<Timestamp>,
    /// The custom object with the properties of the columns `properties.KEY`.
    #[arg(long, value_name = "ID", requires = "resource", conflicts_with = "request")]
    pub(crate) custom_object: Option<CustomObjectId>,
    /// What each custom record belongs to.
    #[arg(long, value_parser = resource(), requires = "custom_object", conflicts_with = "request")]
    pub(crate) resource: Option<Resource>,
    /// The call flow that answers inbound calls.
    #[arg(long, value_name = "ID", conflicts_with = "request")]
    pub(crate) call_flow: Option<CallFlowId>,
}

/// Reads the id of a step. A position is not an id: another step can have it tomorrow.
fn step(text: &str) -> Result<StepId, String> {
    let id = text.trim().parse().map(StepId::from_uuid);
    id.map_err(|_| {
        format!("`{text}` is not the id of a step; `enroll sequences --json` prints the steps with their ids")
    })
}

/// Reads a resource, and lists the accepted words in the help.
fn resource() -> impl TypedValueParser<Value = Resource> {
    PossibleValuesParser::new(Resource::ALL.map(Resource::as_str)).try_map(|word| word.parse::<Resource>())
}

const PEOPLE: &str = "Who goes where";
const ONCE: &str = "Enroll once";
pub(super) const DATABASE: &str = "Database";
const OUTPUT: &str = "Output";

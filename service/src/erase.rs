//! `enroll erase`: removes a person.

use std::fmt::Write as _;
use std::process::ExitCode;

use enroll::erase::{EraseMode, Erased, PersonQuery};
use serde_json::json;

use crate::args::EraseArgs;
use crate::background::open_database;
use crate::database::Database;
use crate::handles::{Handle, with_handle};
use crate::run::print_json;
use crate::{Failure, print_to_stdout};

/// Erases a person. Without `--yes`, prints what this would remove, and fails.
pub(crate) fn run(args: &EraseArgs) -> Result<ExitCode, Failure> {
    let (database, organization_id) = open_database(&args.at_database, args.organization)?;
    drop(database);
    let name = Database::resolve_name(args.at_database.database.as_deref())?;
    let query = PersonQuery::any(&args.contact);
    let mode = if args.yes { EraseMode::Confirmed } else { EraseMode::Preview };
    let erased = with_handle(&name, async |handle: &mut Handle| Ok(handle.erase(organization_id, &query, mode).await))?;
    let erased = erased.map_err(|e| Failure::from_error("--contact", &e))?;
    if args.json {
        print_json(&json!({ "erased": args.yes, "rows": erased }))?;
    } else {
        let title = if args.yes { "erased:\n" } else { "this would erase:\n" };
        print_to_stdout(&(title.to_owned() + &text(&erased)))?;
    }
    if args.yes {
        return Ok(ExitCode::SUCCESS);
    }
    Err(Failure::new("nothing was erased", format!("{OPT_OUT}; to erase the person, add `--yes`")))
}

fn text(erased: &Erased) -> String {
    let mut text = String::new();
    for (what, count) in counts(erased) {
        let _infallible = writeln!(text, "  {what:<28}{count}");
    }
    text
}

/// Returns the counts with their names for people.
pub(crate) fn counts(erased: &Erased) -> [(&'static str, u64); 9] {
    let Erased { contacts, communication_preferences, conversations, runs, step_contacts, .. } = *erased;
    let Erased { contact_tags, custom_records, recipients, outcomes, .. } = *erased;
    [
        ("contacts", contacts),
        ("communication preferences", communication_preferences),
        ("conversations", conversations),
        ("runs", runs),
        ("step contacts", step_contacts),
        ("contact tags", contact_tags),
        ("custom records", custom_records),
        ("recipients of requests", recipients),
        ("outcomes of reports", outcomes),
    ]
}

/// What a caller must know before the confirmation.
pub(crate) const OPT_OUT: &str =
    "an opt-out of the person is erased too, so a later request can enroll the person again";

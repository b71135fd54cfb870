//! `enroll erase`: removes a person.

use std::fmt::Write as _;
use std::process::ExitCode;

use enroll::OrganizationId;
use enroll::Timestamp;
use enroll::erase::{EraseError, EraseMode, Erased, PersonQuery};
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeSet;
use utoipa::ToSchema;

use crate::args::EraseArgs;
use crate::background::open_database;
use crate::database::Database;
use crate::handles::{Handle, with_handle};
use crate::import_job::current_time;
use crate::people_lists::erase::PersonTexts;
use crate::run::print_json;
use crate::{Failure, print_to_stdout};

/// Erases a person. Without `--yes`, prints what this would remove, and fails.
pub(crate) fn run(args: &EraseArgs) -> Result<ExitCode, Failure> {
    let (database, organization_id) = open_database(&args.at_database, args.organization)?;
    drop(database);
    let name = Database::resolve_name(args.at_database.database.as_deref())?;
    let query = PersonQuery::any(&args.contact);
    let mode = if args.yes { EraseMode::Confirmed } else { EraseMode::Preview };
    let now = current_time()?;
    let erased =
        with_handle(&name, async |handle: &mut Handle| Ok(erase(handle, organization_id, &query, mode, now).await))?;
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

/// What an erasure removed.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErasedPerson {
    #[serde(flatten)]
    rows: Erased,
    /// The lists that lost the cells of their rows, because one may be of the person.
    lists: u64,
}

/// Erases a person, or counts what that would remove: the rows, and the texts of the lists that may have the person.
///
/// The lists come first: without the contact, they would not be found. If the process ends in between, the erasure can be
/// repeated.
pub(crate) async fn erase(
    handle: &mut Handle,
    organization_id: OrganizationId,
    query: &PersonQuery,
    mode: EraseMode,
    now: Timestamp,
) -> Result<ErasedPerson, EraseError> {
    let person = PersonTexts::find(handle, organization_id, query).await?;
    // It also finds what prevents the erasure.
    let found = rows_of(handle.erase(organization_id, query, EraseMode::Preview).await)?;
    let mut lists = person.lists(handle, &BTreeSet::new()).await?;
    if found.is_none() && lists.is_empty() {
        return Err(EraseError::NotFound);
    }
    if mode == EraseMode::Preview {
        return Ok(ErasedPerson { rows: found.unwrap_or_default(), lists: lists.len() as u64 });
    }
    person.remove(handle, &lists, now).await?;
    let rows = rows_of(handle.erase(organization_id, query, EraseMode::Confirmed).await)?;
    // A list can have been stored meanwhile.
    let later = person.lists(handle, &lists).await?;
    person.remove(handle, &later, now).await?;
    lists.extend(later);
    if !lists.is_empty() {
        handle.empty_log().await?;
    }
    Ok(ErasedPerson { rows: rows.unwrap_or_default(), lists: lists.len() as u64 })
}

/// Returns `None` if the person has no rows.
fn rows_of(erased: Result<Erased, EraseError>) -> Result<Option<Erased>, EraseError> {
    match erased {
        Ok(rows) => Ok(Some(rows)),
        Err(EraseError::NotFound) => Ok(None),
        Err(e) => Err(e),
    }
}

fn text(erased: &ErasedPerson) -> String {
    let mut text = String::new();
    for (what, count) in counts(erased) {
        let _infallible = writeln!(text, "  {what:<28}{count}");
    }
    text
}

/// Returns the counts with their names for people.
pub(crate) fn counts(erased: &ErasedPerson) -> [(&'static str, u64); 10] {
    let ErasedPerson { rows, lists } = *erased;
    let Erased { contacts, communication_preferences, conversations, runs, step_contacts, .. } = rows;
    let Erased { contact_tags, custom_records, recipients, outcomes, .. } = rows;
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
        ("files of lists", lists),
    ]
}

/// What a caller must know before the confirmation.
pub(crate) const OPT_OUT: &str =
    "an opt-out of the person is erased too, so a later request can enroll the person again";

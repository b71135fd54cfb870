//! `enroll sequences`, `enroll enrollments` and `enroll channels`: what an organization has.

use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::ExitCode;

use enroll::{OrganizationId, RepositoryError};
use enroll_demo::print::{plain, table};

use crate::args::ListingArgs;
use crate::database::Database;
use crate::handles::{Handle, with_handle};
use crate::run::print_json;
use crate::sql::{self, ChannelRow, EnrollmentRow, Pagination, SequenceRow};
use crate::{Failure, import_job, print_to_stdout};

/// Lists sequences.
pub(crate) fn sequences(args: &ListingArgs) -> Result<ExitCode, Failure> {
    let page = read(args, async |handle, organization_id, pagination| {
        sql::sequences(handle, organization_id, None, &pagination).await
    })?;
    if args.json {
        return print_json(&page_json(&page.data, page.total));
    }
    let lines = page.data.iter().map(|SequenceRow { id, title, status, steps, .. }| {
        let steps: Vec<&str> = steps.iter().map(|step| &*step.channel_kind).collect();
        [id.to_string(), plain(title), status.clone(), steps.join(", ")]
    });
    print(table(["id", "title", "status", "steps"], lines), page.data.len(), page.total)
}

/// Lists channels.
pub(crate) fn channels(args: &ListingArgs) -> Result<ExitCode, Failure> {
    let page = read(args, async |handle, organization_id, pagination| {
        sql::channels(handle, organization_id, &pagination).await
    })?;
    if args.json {
        return print_json(&page_json(&page.data, page.total));
    }
    let lines = page.data.iter().map(|ChannelRow { id, kind, address, enabled, name }| {
        let enabled = if *enabled { "yes" } else { "no" };
        [id.to_string(), kind.clone(), plain(address), enabled.to_owned(), plain(name.as_deref().unwrap_or("-"))]
    });
    print(table(["id", "kind", "address", "enabled", "name"], lines), page.data.len(), page.total)
}

/// Lists enrollments.
pub(crate) fn enrollments(args: &ListingArgs) -> Result<ExitCode, Failure> {
    let (page, titles) = read(args, async |handle, organization_id, pagination| {
        let page = sql::enrollments(handle, organization_id, &[], &pagination).await?;
        Ok((page, sql::sequence_titles(handle, organization_id).await?))
    })?;
    if args.json {
        let data: Vec<Value> = page.data.iter().map(enrollment_json).collect();
        return print_json(&page_json(&data, page.total));
    }
    let titles: BTreeMap<_, _> = titles.into_iter().map(|sequence| (sequence.id, sequence.title)).collect();
    let lines = page.data.iter().map(|row| {
        let EnrollmentRow { id, sequence_id, state, accepted_at, completed_at, attempts, .. } = row;
        let title = titles.get(sequence_id).map_or_else(|| sequence_id.to_string(), |title| plain(title));
        // `enroll run` makes no attempts: it enrolls at once.
        let attempted = if *attempts == 0 { "-".to_owned() } else { attempts.to_string() };
        let ended = completed_at.map_or_else(|| "-".to_owned(), |at| at.to_string());
        [id.to_string(), title, state.clone(), accepted_at.to_string(), ended, attempted]
    });
    print(table(["id", "sequence", "state", "accepted", "ended", "attempts"], lines), page.data.len(), page.total)
}

fn enrollment_json(row: &EnrollmentRow) -> Value {
    let EnrollmentRow { id, sequence_id, state, accepted_at, completed_at, removed_at, attempts, rejection, .. } = row;
    json!({
        "id": id, "sequence_id": sequence_id, "state": state, "accepted_at": accepted_at, "completed_at": completed_at,
        "removed_at": removed_at, "attempts": attempts, "error": rejection,
    })
}

fn page_json(data: &[impl Serialize], total: u64) -> Value {
    json!({ "data": data, "total": total })
}

fn read<T>(
    args: &ListingArgs,
    work: impl AsyncFnOnce(&mut Handle, OrganizationId, Pagination) -> Result<T, RepositoryError>,
) -> Result<T, Failure> {
    let name = Database::resolve_name(args.at_database.database.as_deref())?;
    let organization_id = import_job::organization(&mut Database::open(&name)?, args.organization, None)?;
    let pagination = Pagination { limit: args.limit, offset: 0, after: None };
    with_handle(&name, async |handle: &mut Handle| work(handle, organization_id, pagination).await)
}

/// Prints a table, and how many rows it does not have.
fn print(mut table: String, rows: usize, total: u64) -> Result<ExitCode, Failure> {
    let more = total.saturating_sub(rows as u64);
    if more > 0 {
        let _infallible = writeln!(table, "… and {more} more (--limit lists them)");
    }
    print_to_stdout(&table)?;
    Ok(ExitCode::SUCCESS)
}

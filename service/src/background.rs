//! `enroll submit`, `work`, `status` and `retry`: background processing.

use serde_json::json;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::watch;

use enroll::inbox::{InboxEntry, Removed};
use enroll::{
    Engine, EnrollmentId, EnrollmentReport, EnrollmentState, Inbox, OrganizationId, Reason, Receipt, Timestamp, accept,
};

use crate::args::{DatabaseArgs, EnrollmentArgs, LogFormat, Migration, RetryArgs, SubmitArgs, WorkArgs};
use crate::audit::{self, Action, AuditRecord};
use crate::database::Database;
use crate::handles::{Handle, HandleFactory, with_handle};
use crate::http::metrics::Metrics;
use crate::http::metrics_server::MetricsServer;
use crate::import_job::{self, ImportJob};
use crate::list_report::{LISTED, ListReport};
use crate::log::{self, LogFilter};
use crate::people_lists::rows::can_be_fixed;
use crate::retention::{self, RemovedLists};
use crate::retry::retry_failed;
use crate::run::{print_json, with_counts};
use crate::telemetry::Export;
use crate::webhooks::deliver;
use crate::work::Options;
use crate::{Failure, migrate, print_to_stderr, print_to_stdout};
use enroll_demo::print;
use enroll_worker::Event;

/// Accepts the requests of an import, and prints their receipts.
pub(crate) fn submit(args: &SubmitArgs) -> Result<ExitCode, Failure> {
    let (job, mut database) = ImportJob::new(&args.import, None)?;
    let mut input = job.open_input()?;
    let mut import = job.read(&mut database, &mut input)?;
    let list = import.list_report(if args.all || args.json { usize::MAX } else { LISTED })?;
    let engine = Engine::new(&job.policy);
    let name = database.name().to_owned();
    let mut inbox = database.inbox();
    let mut receipts: Vec<Receipt> = Vec::with_capacity(import.requests());
    let accepted = job.check_batches(&mut inbox, &name, &mut import).and_then(|()| {
        job.for_each_batch(&mut import, |batch| {
            receipts.push(accept(&mut inbox, &engine, &batch.enrollment).map_err(|e| batch.error(&name, &e))?);
            Ok(())
        })
    });
    accepted.map_err(|error| job.failure(&import, error, receipts.len(), "accepted"))?;
    if args.json {
        let receipts: Vec<_> = receipts.iter().map(receipt_json).collect();
        return print_json(&match (&list, &receipts[..]) {
            (None, [only]) => only.clone(),
            (list, _) => json!({
                "list_id": import.id, "list": list.as_ref().map(ListReport::mapping_json), "receipts": receipts,
                "set_aside": list.as_ref().map(ListReport::set_aside_json),
            }),
        });
    }
    let mut text = list.as_ref().map(ListReport::mapping_text).unwrap_or_default();
    for Receipt { enrollment_id, accepted_at, recipients, replayed, warnings, .. } in &receipts {
        let replayed = if *replayed { " (replayed: it was accepted before)" } else { "" };
        let _infallible =
            writeln!(text, "accepted {enrollment_id}: {recipients} recipients, at {accepted_at}{replayed}");
        for warning in warnings {
            let _infallible = writeln!(text, "warning: {}", print::plain(&warning.to_string()));
        }
    }
    text.push_str(&list.as_ref().map(ListReport::set_aside_text).unwrap_or_default());
    print_to_stdout(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn receipt_json(receipt: &Receipt) -> serde_json::Value {
    let Receipt { enrollment_id, accepted_at, recipients, replayed, warnings, .. } = receipt;
    let mut value = json!({ "enrollment_id": enrollment_id, "accepted_at": accepted_at, "recipients": recipients });
    if *replayed {
        value["replayed"] = json!(true);
    }
    if !warnings.is_empty() {
        value["warnings"] = json!(warnings);
    }
    value
}

/// Processes enrollments until Ctrl-C or SIGTERM or, with `--until-empty`, until none waits.
pub(crate) fn work(args: &WorkArgs) -> Result<ExitCode, Failure> {
    let name = Database::resolve_name(args.at_database.database.as_deref())?;
    if let Migration::Never = args.migration.migrate {
        migrate::check(&name)?;
    }
    // Dropped after the runtime: the last spans end with that.
    let export = Export::start()?;
    if let Some(export) = &export {
        log::start(LogFormat::Text, &LogFilter::warnings(), Some(export));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Failure::from_error("workers", &e))?;
    let tally = Arc::new(Tally::default());
    let worked = runtime.block_on(run_workers(args, &name, &tally));
    let [completed, rejected, failed] = [&tally.completed, &tally.rejected, &tally.failed].map(load);
    print_to_stdout(&format!("{completed} completed, {rejected} rejected, {failed} failed\n"))?;
    worked.map(|()| ExitCode::from(u8::from(failed > 0)))
}

async fn run_workers(args: &WorkArgs, name: &str, tally: &Arc<Tally>) -> Result<(), Failure> {
    let stop = shutdown_signal();
    let options = Options {
        workers: args.workers,
        attempts: args.attempts,
        lease: Duration::from_secs(args.lease.into()),
        until_empty: args.until_empty,
    };
    // One more counts what waits, and one removes what is too old.
    let handles = HandleFactory::open(name, usize::from(options.workers) + deliver::HANDLES + 2)?;
    let metrics = Arc::new(Metrics::of_workers(handles.connections().is_some()));
    let server = match args.metrics_listen {
        Some(address) => Some(MetricsServer::start(address, name, handles.clone(), Arc::clone(&metrics)).await?),
        None => None,
    };
    let (shared, counted) = (Arc::clone(tally), Arc::clone(&metrics));
    metrics.work.workers.set(options.workers.into());
    let workers = options.workers().on_event(move |event| {
        counted.record_work(event);
        shared.record_event(event);
    });
    let ages = args.retention.ages();
    let working = crate::work::work(&handles, options, workers, &stop);
    let worked = if options.until_empty {
        let worked = working.await;
        retention::run(&handles, ages, &print_removed).await;
        worked
    } else {
        let counted = Arc::clone(&metrics);
        let on_webhook = Arc::new(move |event: deliver::Event<'_>| {
            counted.webhooks.count(&event);
            deliver::print(&event);
        });
        let sending = deliver::send_in_background(handles.clone(), args.webhooks.options(), on_webhook, stop.clone());
        let removing = async {
            retention::repeat(&handles, ages, stop.clone(), print_removed).await;
            Ok(())
        };
        tokio::try_join!(working, sending, removing).map(drop)
    };
    match server {
        Some(server) => worked.and(server.stop().await),
        None => worked,
    }
}

/// The number of enrollments that this process finished, by state.
#[derive(Default)]
struct Tally {
    completed: AtomicUsize,
    rejected: AtomicUsize,
    failed: AtomicUsize,
}

fn load(count: &AtomicUsize) -> usize {
    count.load(Ordering::Relaxed)
}

impl Tally {
    /// Counts an event and prints it.
    fn record_event(&self, event: &Event) {
        let add = |count: &AtomicUsize| count.fetch_add(1, Ordering::Relaxed);
        match event {
            Event::Completed { claim, report, .. } => {
                add(&self.completed);
                print_to_stderr(&format!(
                    "completed {}: {}",
                    claim.enrollment_id,
                    print::counts_in_one_line(&report.counts())
                ));
            }
            Event::Rejected { claim, rejection } => {
                add(&self.rejected);
                print_to_stderr(&format!("rejected {}: {rejection}", claim.enrollment_id));
            }
            Event::Retried { claim, error, delay } => {
                let (attempt, id, delay) = (claim.attempts + 1, claim.enrollment_id, delay.as_secs_f32());
                print_to_stderr(&format!("attempt {attempt} of {id} failed, next attempt in {delay:.1} s: {error}"));
            }
            Event::Failed { claim, error } => {
                add(&self.failed);
                let id = claim.enrollment_id;
                print_to_stderr(&format!("failed {id}: {error}; run `enroll retry {id}` to process it again"));
            }
            Event::Released { claim, error, .. } => {
                print_to_stderr(&format!("left {} for later: {error}", claim.enrollment_id));
            }
            Event::Interrupted { error, .. } | Event::ClaimFailed { error } | Event::StorageFailed { error } => {
                print_to_stderr(&format!("database error: {error}"));
            }
            _ => {}
        }
    }
}

/// Prints what was removed because it was too old.
fn print_removed(event: retention::Event) {
    match event {
        retention::Event::Removed(Removed { commands, reports, .. }) => print_to_stderr(&format!(
            "removed the requests of {commands} failed enrollments and the reports of {reports} completed ones, by age"
        )),
        retention::Event::ListsRemoved(RemovedLists { texts, lists }) => {
            print_to_stderr(&format!("removed the cells of {texts} lists, and {lists} whole lists, by age"));
        }
        retention::Event::EventsRemoved { events, webhooks } => {
            print_to_stderr(&format!("removed {events} events and {webhooks} webhooks, by age"));
        }
        retention::Event::DatabaseError(error) => print_to_stderr(&format!("database error: {error}")),
    }
}

/// Returns a flag that becomes true at the first Ctrl-C or SIGTERM. The second one ends the program.
pub(crate) fn shutdown_signal() -> watch::Receiver<bool> {
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        interrupted().await;
        print_to_stderr(
            "finishing the running work; interrupt again to end at once, unfinished enrollments are processed later",
        );
        // An error means that the work has ended and the receiver is gone.
        let _ended = sender.send(true);
        interrupted().await;
        std::process::exit(130);
    });
    receiver
}

#[cfg(unix)]
async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminated) = signal(SignalKind::terminate()) else {
        return drop(tokio::signal::ctrl_c().await);
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminated.recv() => {}
    }
}

#[cfg(not(unix))]
async fn interrupted() {
    drop(tokio::signal::ctrl_c().await);
}

/// Prints the state of an enrollment.
pub(crate) fn status(args: &EnrollmentArgs) -> Result<ExitCode, Failure> {
    let (mut database, organization_id) = open_database(&args.at_database, args.organization)?;
    let entry = find_entry(&mut database, organization_id, args.id)?;
    let name = Database::resolve_name(args.at_database.database.as_deref())?;
    let records = with_handle(&name, async |handle: &mut Handle| {
        audit::records(handle, organization_id, args.id.as_uuid()).await
    })?;
    let ended_badly = matches!(entry.enrollment.state, EnrollmentState::Rejected { .. } | EnrollmentState::Failed);
    if args.json {
        let mut value = entry_json(&entry);
        value["requested_by"] = json!(records);
        print_json(&value)?;
    } else {
        print_to_stdout(&(entry_text(&entry) + &records_text(&records)))?;
    }
    Ok(ExitCode::from(u8::from(ended_badly)))
}

/// Makes one failed enrollment wait for processing again, or all of them.
pub(crate) fn retry(args: &RetryArgs) -> Result<ExitCode, Failure> {
    let RetryArgs { at_database, organization, .. } = args;
    let Some(id) = args.id else { return retry_all(args) };
    let (mut database, organization_id) = open_database(at_database, *organization)?;
    let retried = database.inbox().retry(organization_id, id);
    let retried = retried.map_err(|e| Failure::from_error(database.name(), &e))?;
    let entry = find_entry(&mut database, organization_id, id)?;
    if let (false, EnrollmentState::Failed, Some(at)) = (retried, &entry.enrollment.state, entry.enrollment.removed_at)
    {
        let problem = format!(
            "cannot be retried: its request was removed at {at} (`--retain-failed`); send it again with a new key"
        );
        return Err(Failure::new(format!("enrollment `{id}`"), problem));
    }
    if !retried {
        let problem = format!("is {}; only a failed enrollment can be retried", entry.enrollment.state.as_str());
        return Err(Failure::new(format!("enrollment `{id}`"), problem));
    }
    if args.json {
        return print_json(&entry_json(&entry));
    }
    print_to_stdout(&format!("accepted {id} again; `enroll work` processes it\n"))?;
    Ok(ExitCode::SUCCESS)
}

fn retry_all(args: &RetryArgs) -> Result<ExitCode, Failure> {
    let name = Database::resolve_name(args.at_database.database.as_deref())?;
    let organizations = match args.organization {
        Some(organization_id) => vec![organization_id],
        None => Database::open(&name)?.organizations()?,
    };
    let since = args.since.unwrap_or(Timestamp::EPOCH);
    let retried = with_handle(&name, async |handle: &mut Handle| {
        let mut retried = 0;
        for organization_id in &organizations {
            retried += retry_failed(handle, *organization_id, since, None).await?;
        }
        Ok(retried)
    })?;
    if args.json {
        return print_json(&json!({ "retried": retried }));
    }
    print_to_stdout(&match retried {
        0 => "no enrollment has failed\n".to_owned(),
        1 => "accepted 1 enrollment again; `enroll work` processes it\n".to_owned(),
        _ => format!("accepted {retried} enrollments again; `enroll work` processes them\n"),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Opens the database of a command, and returns the organization that it concerns.
pub(crate) fn open_database(
    at_database: &DatabaseArgs,
    organization: Option<OrganizationId>,
) -> Result<(Database, OrganizationId), Failure> {
    let mut database = Database::open(&Database::resolve_name(at_database.database.as_deref())?)?;
    let organization_id = import_job::organization(&mut database, organization, None)?;
    Ok((database, organization_id))
}

fn find_entry(
    database: &mut Database,
    organization_id: OrganizationId,
    id: EnrollmentId,
) -> Result<InboxEntry, Failure> {
    let entry = database.inbox().find(organization_id, id);
    let entry = entry.map_err(|e| Failure::from_error(database.name(), &e))?;
    let not_found =
        || Failure::new(database.name(), format!("organization `{organization_id}` has no enrollment `{id}`"));
    entry.ok_or_else(not_found)
}

/// Returns an enrollment in the shape of the HTTP API.
fn entry_json(entry: &InboxEntry) -> serde_json::Value {
    let InboxEntry { enrollment, attempts, error, .. } = entry;
    let mut value = json!({
        "id": enrollment.id, "sequence_id": enrollment.sequence_id, "state": enrollment.state.as_str(),
        "accepted_at": enrollment.at, "completed_at": enrollment.completed_at, "attempts": attempts, "error": error,
        "removed_at": enrollment.removed_at,
    });
    match &enrollment.state {
        EnrollmentState::Completed { report } => {
            let json = with_counts(report);
            for member in ["counts", "upload_tag", "outcomes"] {
                value[member] = json[member].clone();
            }
            value["accepted_keys"] = json!(report.accepted_keys);
            value["warnings"] = json!(report.warnings);
        }
        EnrollmentState::Rejected { rejection } => value["error"] = json!(rejection),
        _ => {}
    }
    value
}

fn records_text(records: &[AuditRecord]) -> String {
    let mut text = String::new();
    for AuditRecord { action, key_id, key_name, at } in records {
        let what = match action {
            Action::Enroll => "requested by key",
            Action::Retry => "retried by key",
            Action::Erase => "erased by key",
        };
        let _infallible = writeln!(text, "{what:<21}{} ({key_id}), at {at}", print::plain(key_name));
    }
    text
}

/// Returns the number of recipients with each reason, and how to get the rows of a list that a correction can help.
fn reasons_text(report: &EnrollmentReport) -> String {
    let mut counts = BTreeMap::<&str, usize>::new();
    let reasons = || report.outcomes.iter().flat_map(|outcome| &outcome.reasons);
    for reason in reasons() {
        *counts.entry(reason.code()).or_default() += 1;
    }
    let mut text = String::new();
    for (code, description) in Reason::CODES {
        if let Some(count) = counts.get(code) {
            let _infallible = writeln!(text, "{:<20} {count:>7}  {description}", "ignored because");
        }
    }
    if reasons().any(can_be_fixed) {
        text.push_str(
            "To get the rows of a list that a correction can help, add `--to-fix FILE.csv` to its `enroll run` command; \
             it enrolls no one twice.\n",
        );
    }
    text
}

fn entry_text(entry: &InboxEntry) -> String {
    let InboxEntry { enrollment, attempts, error, .. } = entry;
    let mut text = format!("enrollment {} is {}\n", enrollment.id, enrollment.state.as_str());
    let _infallible = writeln!(text, "accepted             {}", enrollment.at);
    if let Some(at) = enrollment.completed_at {
        let _infallible = writeln!(text, "ended                {at}");
    }
    // `enroll run` makes no attempts: it enrolls at once.
    if *attempts > 0 {
        let _infallible = writeln!(text, "attempts             {attempts}");
    }
    if let Some(error) = error {
        let _infallible = writeln!(text, "last error           {error}");
    }
    if let Some(at) = enrollment.removed_at {
        let what = if enrollment.state == EnrollmentState::Failed { "request removed" } else { "report removed" };
        let _infallible = writeln!(text, "{what:<21}{at}");
    }
    match &enrollment.state {
        EnrollmentState::Completed { report } => {
            text.push_str(&print::counts(&report.counts()));
            text.push_str(&reasons_text(report));
        }
        EnrollmentState::Rejected { rejection } => {
            for fault in rejection.errors() {
                let _infallible = writeln!(text, "reason               {fault} ({})", fault.code);
            }
        }
        EnrollmentState::Failed if enrollment.removed_at.is_none() => {
            let _infallible = writeln!(text, "run `enroll retry {}` to process it again", enrollment.id);
        }
        _ => {}
    }
    text
}

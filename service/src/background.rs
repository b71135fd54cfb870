//! `enroll submit`, `work`, `status` and `retry`: accepted now, processed in the background.

use serde_json::json;
use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::watch;

use enroll::inbox::InboxEntry;
use enroll::{Engine, EnrollmentState, Inbox, OrganizationId, Receipt, accept};

use crate::args::{EnrollmentArgs, SubmitArgs, WorkArgs};
use crate::ask::{self, Sender};
use crate::database::Database;
use crate::run::{json_out, with_counts};
use crate::store::Store;
use crate::work::{Event, Settings};
use crate::{Failure, out, tell};
use enroll_demo::print;

/// Accepts, and prints what to ask after.
pub(crate) fn submit(args: &SubmitArgs) -> Result<ExitCode, Failure> {
    let (sender, mut database) = Sender::new(&args.ask, None)?;
    let mut input = sender.open()?;
    let mut asked = sender.read(&mut database, &mut input)?;
    let engine = Engine::new(&sender.policy);
    let (name, parts) = (database.name().to_owned(), asked.parts());
    let mut receipts: Vec<Receipt> = Vec::with_capacity(parts);
    let accepted = sender.check(&mut database, &name, &mut asked).and_then(|()| {
        sender.each(&mut asked, |part| {
            receipts.push(accept(&mut database, &engine, &part.enrollment).map_err(|e| part.stop(&name, &e))?);
            Ok(())
        })
    });
    accepted.map_err(|stop| sender.stopped(stop, (receipts.len(), parts), "accepted"))?;
    if args.json {
        let receipts: Vec<_> = receipts.iter().map(receipt).collect();
        return json_out(&match &receipts[..] {
            [only] => only.clone(),
            _ => json!({ "import_id": sender.id, "receipts": receipts }),
        });
    }
    let mut text = String::new();
    for Receipt { enrollment_id, accepted_at, recipients, replayed, .. } in &receipts {
        let replayed = if *replayed { " (replayed: it was accepted before)" } else { "" };
        let _infallible =
            writeln!(text, "accepted {enrollment_id}: {recipients} recipients, at {accepted_at}{replayed}");
    }
    out(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn receipt(receipt: &Receipt) -> serde_json::Value {
    let Receipt { enrollment_id, accepted_at, recipients, replayed, .. } = receipt;
    let mut value = json!({ "enrollment_id": enrollment_id, "accepted_at": accepted_at, "recipients": recipients });
    if *replayed {
        value["replayed"] = json!(true);
    }
    value
}

/// Works until Ctrl-C, or until nothing waits. What runs is finished first.
pub(crate) fn work(args: &WorkArgs) -> Result<ExitCode, Failure> {
    let name = Database::named(args.at_database.database.as_deref())?;
    let settings = Settings {
        workers: args.workers,
        attempts: args.attempts,
        lease: Duration::from_secs(args.lease.into()),
        until_empty: args.until_empty,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Failure::new("workers", e))?;
    let tally = Arc::new(Tally::default());
    let worked = runtime.block_on(async {
        let stop = stopped();
        let store = Store::open(&name, usize::from(settings.workers) + 1).await?;
        let told = Arc::clone(&tally);
        crate::work::work(&store, settings, &stop, &Arc::default(), move |event| told.tell(&event)).await
    });
    let [completed, rejected, failed] = [&tally.completed, &tally.rejected, &tally.failed].map(load);
    out(&format!("{completed} completed, {rejected} rejected, {failed} failed\n"))?;
    worked.map(|()| ExitCode::from(u8::from(failed > 0)))
}

/// How enrollments ended here.
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
    fn tell(&self, event: &Event) {
        let add = |count: &AtomicUsize| count.fetch_add(1, Ordering::Relaxed);
        match event {
            Event::Completed(claim, report, _) => {
                add(&self.completed);
                tell(&format!("completed {}: {}", claim.enrollment_id, print::counts_in_one_line(&report.counts())));
            }
            Event::Rejected(claim, rejection) => {
                add(&self.rejected);
                tell(&format!("rejected {}: {rejection}", claim.enrollment_id));
            }
            Event::Postponed(claim, error, at) => {
                tell(&format!("attempt {} at {} failed, again at {at}: {error}", claim.attempt, claim.enrollment_id));
            }
            Event::GivenUp(claim, error) => {
                add(&self.failed);
                let id = claim.enrollment_id;
                tell(&format!("failed {id}, `enroll retry {id}` tries it again: {error}"));
            }
            Event::Left(error) => tell(&format!("left for a newer worker: {error}")),
            Event::Trouble(error) => tell(&format!("the database does not answer, trying on: {error}")),
        }
    }
}

/// Becomes true with the first Ctrl-C, or termination. A second one ends the program.
pub(crate) fn stopped() -> watch::Receiver<bool> {
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        interrupted().await;
        tell("finishing what runs; once more ends at once, and whatever was not finished is processed later");
        // Nobody listens any more where the work has ended.
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

/// Tells how far an enrollment got.
pub(crate) fn status(args: &EnrollmentArgs) -> Result<ExitCode, Failure> {
    let (mut database, organization_id) = asked(args)?;
    let entry = found(&mut database, organization_id, args)?;
    let ended_badly = matches!(entry.enrollment.state, EnrollmentState::Rejected { .. } | EnrollmentState::Failed);
    if args.json {
        json_out(&described(&entry))?;
    } else {
        out(&in_words(&entry))?;
    }
    Ok(ExitCode::from(u8::from(ended_badly)))
}

/// Lets an enrollment that failed be tried again.
pub(crate) fn retry(args: &EnrollmentArgs) -> Result<ExitCode, Failure> {
    let (mut database, organization_id) = asked(args)?;
    let retried = database.retry(organization_id, args.id, ask::clock()?);
    let retried = retried.map_err(|e| Failure::caused(database.name(), &e))?;
    let entry = found(&mut database, organization_id, args)?;
    if !retried {
        let what = format!("is {}: only one that failed is tried again", entry.enrollment.state.as_str());
        return Err(Failure::new(format!("enrollment `{}`", args.id), what));
    }
    if args.json {
        return json_out(&described(&entry));
    }
    out(&format!("accepted {} again: `enroll work` processes it\n", args.id))?;
    Ok(ExitCode::SUCCESS)
}

fn asked(args: &EnrollmentArgs) -> Result<(Database, OrganizationId), Failure> {
    let mut database = Database::open(&Database::named(args.at_database.database.as_deref())?)?;
    let organization_id = ask::organization(&mut database, args.organization, None)?;
    Ok((database, organization_id))
}

fn found(
    database: &mut Database,
    organization_id: OrganizationId,
    args: &EnrollmentArgs,
) -> Result<InboxEntry, Failure> {
    let entry = database.find(organization_id, args.id).map_err(|e| Failure::caused(database.name(), &e))?;
    let none =
        || Failure::new(database.name(), format!("organization `{organization_id}` has no enrollment `{}`", args.id));
    entry.ok_or_else(none)
}

/// As the documented shape of an enrollment.
fn described(entry: &InboxEntry) -> serde_json::Value {
    let InboxEntry { enrollment, attempts, error, .. } = entry;
    let mut value = json!({
        "id": enrollment.id, "sequence_id": enrollment.sequence_id, "state": enrollment.state.as_str(),
        "accepted_at": enrollment.at, "completed_at": enrollment.completed_at, "attempts": attempts, "error": error,
    });
    match &enrollment.state {
        EnrollmentState::Completed { report } => {
            let report = with_counts(report);
            for member in ["counts", "upload_tag", "outcomes"] {
                value[member] = report[member].clone();
            }
        }
        EnrollmentState::Rejected { rejection } => value["error"] = json!(rejection),
        _ => {}
    }
    value
}

fn in_words(entry: &InboxEntry) -> String {
    let InboxEntry { enrollment, attempts, error, .. } = entry;
    let mut text = format!("enrollment {} is {}\n", enrollment.id, enrollment.state.as_str());
    let _infallible = writeln!(text, "accepted             {}", enrollment.at);
    if let Some(at) = enrollment.completed_at {
        let _infallible = writeln!(text, "ended                {at}");
    }
    let _infallible = writeln!(text, "attempts             {attempts}");
    if let Some(error) = error {
        let _infallible = writeln!(text, "last error           {error}");
    }
    match &enrollment.state {
        EnrollmentState::Completed { report } => text.push_str(&print::counts(&report.counts())),
        EnrollmentState::Rejected { rejection } => {
            for fault in rejection.errors() {
                let _infallible = writeln!(text, "because              {fault} ({})", fault.code);
            }
        }
        EnrollmentState::Failed => {
            let _infallible = writeln!(text, "`enroll retry {}` lets it be tried again", enrollment.id);
        }
        _ => {}
    }
    text
}

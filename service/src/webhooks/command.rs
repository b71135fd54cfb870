//! `enroll webhooks`: adds, lists and removes endpoints, and sends deliveries again.

use enroll::RepositoryError;
use enroll::events::EventId;
use enroll_demo::print::{plain, table};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::process::ExitCode;
use url::Host;
use uuid::Uuid;

use super::address::Networks;
use super::ended::{self, DeadDelivery, Replay};
use super::endpoint::EndpointUrl;
use super::fan_out::{add_missing, end_of_log};
use super::sign::Secret;
use super::store::{self, EndpointRow, NewEndpoint};
use crate::args::{AddWebhookArgs, ListWebhooksArgs, RemoveWebhookArgs, ReplayWebhooksArgs, WebhooksCommand};
use crate::background::open_database;
use crate::database::{Database, without_password};
use crate::handles::{Handle, with_handle};
use crate::run::print_json;
use crate::{Failure, print_to_stderr, print_to_stdout};

pub(crate) fn run(command: &WebhooksCommand) -> Result<ExitCode, Failure> {
    match command {
        WebhooksCommand::Add(args) => add(args),
        WebhooksCommand::List(args) => list(args),
        WebhooksCommand::Remove(args) => remove(args),
        WebhooksCommand::Replay(args) => replay(args),
    }
}

/// Adds an endpoint, and prints its secret.
fn add(args: &AddWebhookArgs) -> Result<ExitCode, Failure> {
    let (database, organization_id) = open_database(&args.at_database, args.organization)?;
    drop(database);
    let name = Database::resolve_name(args.at_database.database.as_deref())?;
    let secret = Secret::generate().map_err(|e| Failure::new("the source of random numbers", e))?.to_text();
    let id = Uuid::now_v7();
    let added = with_handle(&name, async |handle: &mut Handle| {
        handle.create_tables().await?;
        if store::endpoint_count(handle, organization_id).await? >= MAX_ENDPOINTS {
            return Ok(false);
        }
        handle.enable_events().await?;
        let after = end_of_log(handle).await?;
        let at = handle.now().await?;
        let url = args.url.to_string();
        let new = NewEndpoint { id, organization_id, url: &url, secret: &secret, kinds: &args.kinds, after, at };
        store::add_endpoint(handle, &new).await?;
        Ok(true)
    })?;
    if !added {
        let problem =
            format!("has {MAX_ENDPOINTS} endpoints, which is the most; remove one with `enroll webhooks remove`");
        return Err(Failure::new(format!("organization `{organization_id}`"), problem));
    }
    if let Some(host) = private_host(&args.url) {
        print_to_stderr(&format!(
            "warning: `{host}` is private; `enroll serve` sends to it only if `--webhook-networks` has its address"
        ));
    }
    if args.json {
        return print_json(&json!({
            "id": id, "organization_id": organization_id, "url": args.url.to_string(), "kinds": args.kinds.words(),
            "secret": secret,
        }));
    }
    print_to_stdout(&format!("endpoint {id}\nsecret   {secret}\n"))?;
    Ok(ExitCode::SUCCESS)
}

/// Returns the host of a URL if it is certainly private.
fn private_host(url: &EndpointUrl) -> Option<String> {
    let is_local = matches!(url.url().host(), Some(Host::Domain(name)) if name.trim_end_matches('.') == "localhost");
    let is_private = is_local || Networks::default().check(url.url()).is_err();
    url.url().host_str().filter(|_| is_private).map(str::to_owned)
}

fn list(args: &ListWebhooksArgs) -> Result<ExitCode, Failure> {
    let name = Database::resolve_name(args.at_database.database.as_deref())?;
    if let Some(organization_id) = args.organization {
        // An unknown one is an error.
        open_database(&args.at_database, Some(organization_id))?;
    }
    if args.dead { list_dead(args, &name) } else { list_endpoints(args, &name) }
}

fn list_endpoints(args: &ListWebhooksArgs, name: &str) -> Result<ExitCode, Failure> {
    let endpoints = read(name, async |handle| store::endpoints(handle, args.organization).await)?;
    if args.json {
        let data: Vec<Value> = endpoints.iter().map(endpoint_json).collect();
        return print_json(&json!({ "data": data, "total": data.len() }));
    }
    let lines = endpoints.iter().map(|row| {
        let state = row.disabled_at.map_or_else(|| "active".to_owned(), |at| format!("disabled {at}"));
        [
            row.id.to_string(),
            row.organization_id.to_string(),
            plain(&row.url),
            row.kinds.to_string(),
            row.created_at.to_string(),
            state,
            row.waiting.to_string(),
            row.dead.to_string(),
        ]
    });
    let header = ["id", "organization", "url", "kinds", "created", "state", "waiting", "dead"];
    print_to_stdout(&table(header, lines))?;
    Ok(ExitCode::SUCCESS)
}

fn endpoint_json(row: &EndpointRow) -> Value {
    let EndpointRow { id, organization_id, url, kinds, created_at, disabled_at, waiting, dead } = row;
    json!({
        "id": id, "organization_id": organization_id, "url": url, "kinds": kinds.words(), "created_at": created_at,
        "disabled_at": disabled_at, "waiting": waiting, "dead": dead,
    })
}

fn list_dead(args: &ListWebhooksArgs, name: &str) -> Result<ExitCode, Failure> {
    let (dead, total) = read(name, async |handle| ended::dead_deliveries(handle, args.organization, args.limit).await)?;
    if args.json {
        let data: Vec<Value> = dead.iter().map(dead_json).collect();
        return print_json(&json!({ "data": data, "total": total }));
    }
    let lines = dead.iter().map(|row| {
        let text = |at: Option<enroll::Timestamp>| at.map_or_else(|| "-".to_owned(), |at| at.to_string());
        [
            row.endpoint_id.to_string(),
            row.event_id.to_string(),
            row.kind.clone(),
            row.at.to_string(),
            row.attempts.to_string(),
            row.code.clone().unwrap_or_else(|| "-".to_owned()),
            text(row.dead_at),
        ]
    });
    let mut text = table(["endpoint", "event", "type", "at", "attempts", "last", "dead since"], lines);
    let more = total.saturating_sub(dead.len() as u64);
    if more > 0 {
        let _infallible = writeln!(text, "… and {more} more (--limit lists them)");
    }
    print_to_stdout(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn dead_json(row: &DeadDelivery) -> Value {
    let DeadDelivery { endpoint_id, event_id, kind, at, attempts, code, dead_at } = row;
    json!({
        "endpoint_id": endpoint_id, "event_id": event_id, "type": kind, "at": at, "attempts": attempts, "last": code,
        "dead_at": dead_at,
    })
}

fn remove(args: &RemoveWebhookArgs) -> Result<ExitCode, Failure> {
    let name = Database::resolve_name(args.at_database.database.as_deref())?;
    let removed = read(&name, async |handle| {
        let now = handle.now().await?;
        store::remove_endpoint(handle, args.id, now).await
    })?;
    if !removed {
        return Err(unknown_endpoint(&name, args.id));
    }
    print_to_stdout(&format!("removed {}\n", args.id))?;
    Ok(ExitCode::SUCCESS)
}

/// Sends deliveries again.
fn replay(args: &ReplayWebhooksArgs) -> Result<ExitCode, Failure> {
    let name = Database::resolve_name(args.at_database.database.as_deref())?;
    let replayed = read(&name, async |handle| {
        let endpoints = store::endpoints(handle, None).await?;
        let Some(endpoint) = endpoints.into_iter().find(|endpoint| endpoint.id == args.id) else { return Ok(None) };
        let replay = Replay {
            organization_id: endpoint.organization_id,
            endpoint_id: endpoint.id,
            since: args.since,
            event_id: args.event.map(EventId::as_uuid),
        };
        let now = handle.now().await?;
        let mut replayed = ended::replay(handle, &replay, now).await?;
        if args.since.is_some() || args.event.is_some() {
            replayed += add_missing(handle, &replay, now).await?;
        }
        Ok(Some(replayed))
    })?;
    let Some(replayed) = replayed else { return Err(unknown_endpoint(&name, args.id)) };
    if args.json {
        return print_json(&json!({ "replayed": replayed }));
    }
    print_to_stdout(&match replayed {
        0 => "nothing to send again\n".to_owned(),
        1 => "1 delivery waits; `enroll serve` sends it\n".to_owned(),
        _ => format!("{replayed} deliveries wait; `enroll serve` sends them\n"),
    })?;
    Ok(ExitCode::SUCCESS)
}

/// Runs work on a database with the tables of the service.
fn read<T>(name: &str, work: impl AsyncFnOnce(&mut Handle) -> Result<T, RepositoryError>) -> Result<T, Failure> {
    with_handle(name, async |handle: &mut Handle| {
        handle.create_tables().await?;
        work(handle).await
    })
}

fn unknown_endpoint(name: &str, id: Uuid) -> Failure {
    let problem = format!("has no endpoint `{id}`; `enroll webhooks list` lists the endpoints");
    Failure::new(without_password(name), problem)
}

/// The most endpoints of an organization: an event is stored and sent once for each.
const MAX_ENDPOINTS: i64 = 16;

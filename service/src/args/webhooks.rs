//! The options of webhooks.

use clap::{Args, Subcommand};
use std::time::Duration;

use enroll::events::EventId;
use enroll::{OrganizationId, Timestamp};
use uuid::Uuid;

use super::DatabaseArgs;
use crate::webhooks::deliver::Options;
use crate::webhooks::{EndpointUrl, Kinds, Networks, Retries};

/// How a process sends webhooks.
#[derive(Debug, Args)]
pub(crate) struct WebhookArgs {
    /// The number of endpoints to send webhooks to at a time; an organization can have a quarter of them. With 0, this process
    /// sends none.
    #[arg(long, value_name = "N", env = "ENROLL_WEBHOOKS", default_value_t = 8,
        value_parser = clap::value_parser!(u16).range(0..=256))]
    webhooks: u16,
    /// How many seconds the receiver of a webhook has for its answer.
    #[arg(long, value_name = "SECONDS", env = "ENROLL_WEBHOOK_TIMEOUT", default_value_t = 15,
        value_parser = clap::value_parser!(u32).range(1..=60))]
    webhook_timeout: u32,
    /// The delays after which a webhook that failed is sent again. After the last one, it is dead. Up to a quarter of a delay
    /// is added at random.
    #[arg(long, value_name = "DELAYS", env = "ENROLL_WEBHOOK_RETRIES", default_value_t = Retries::default())]
    webhook_retries: Retries,
    /// Networks that webhooks can be sent to although they are not public, such as `10.0.0.0/8,fd00::/8`. Default: none.
    #[arg(long, value_name = "NETWORKS", env = "ENROLL_WEBHOOK_NETWORKS")]
    webhook_networks: Option<Networks>,
}

impl WebhookArgs {
    pub(crate) fn options(&self) -> Options {
        Options {
            places: self.webhooks,
            timeout: Duration::from_secs(self.webhook_timeout.into()),
            retries: self.webhook_retries.clone(),
            networks: self.webhook_networks.clone().unwrap_or_default(),
        }
    }
}

/// The subcommands of `enroll webhooks`.
#[derive(Debug, Subcommand)]
pub(crate) enum WebhooksCommand {
    /// Add an endpoint, and print its id and the secret of its signatures. The secret cannot be printed again. The endpoint gets
    /// the events from now on. The first endpoint of a database turns the log of events on.
    Add(AddWebhookArgs),
    /// List the endpoints with the number of deliveries that wait and that are dead. With `--dead`, list the dead deliveries,
    /// the latest first.
    List(ListWebhooksArgs),
    /// Remove an endpoint with its deliveries.
    Remove(RemoveWebhookArgs),
    /// Send the dead deliveries of an endpoint again. An endpoint that was disabled is enabled.
    Replay(ReplayWebhooksArgs),
}

/// The options of `enroll webhooks add`.
#[derive(Debug, Args)]
pub(crate) struct AddWebhookArgs {
    /// Where events are sent to, such as `https://example.com/hooks/enroll`.
    #[arg(value_name = "URL")]
    pub(crate) url: EndpointUrl,
    /// The kinds of events that are sent.
    #[arg(long, value_name = "KINDS", default_value = "accepted,completed,rejected,failed")]
    pub(crate) kinds: Kinds,
    #[command(flatten)]
    pub(crate) at_database: DatabaseArgs,
    /// The organization. Default: the only one in the database.
    #[arg(long, value_name = "ID")]
    pub(crate) organization: Option<OrganizationId>,
    /// Print the endpoint as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

/// The options of `enroll webhooks list`.
#[derive(Debug, Args)]
pub(crate) struct ListWebhooksArgs {
    /// List the dead deliveries.
    #[arg(long)]
    pub(crate) dead: bool,
    /// The number of dead deliveries to list.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) limit: u32,
    /// Print the rows as JSON.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) at_database: DatabaseArgs,
    /// List only what belongs to this organization.
    #[arg(long, value_name = "ID")]
    pub(crate) organization: Option<OrganizationId>,
}

/// The options of `enroll webhooks remove`.
#[derive(Debug, Args)]
pub(crate) struct RemoveWebhookArgs {
    /// The id of the endpoint, as `enroll webhooks list` prints it.
    #[arg(value_name = "ID")]
    pub(crate) id: Uuid,
    #[command(flatten)]
    pub(crate) at_database: DatabaseArgs,
}

/// The options of `enroll webhooks replay`.
#[derive(Debug, Args)]
pub(crate) struct ReplayWebhooksArgs {
    /// The id of the endpoint, as `enroll webhooks list` prints it.
    #[arg(value_name = "ID")]
    pub(crate) id: Uuid,
    /// Send all events from this instant on, also those that were delivered, such as `2026-02-01T15:00:00Z`.
    #[arg(long, value_name = "INSTANT", conflicts_with = "event")]
    pub(crate) since: Option<Timestamp>,
    /// Send only this event, also if it was delivered.
    #[arg(long, value_name = "ID")]
    pub(crate) event: Option<EventId>,
    #[command(flatten)]
    pub(crate) at_database: DatabaseArgs,
    /// Print the result as JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

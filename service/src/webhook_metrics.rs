//! Metrics of webhooks.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use enroll::Timestamp;

use crate::webhooks::Backlog;
use crate::webhooks::deliver::{End, Event};

/// The metrics of webhooks.
#[derive(Default)]
pub(crate) struct WebhookMetrics {
    attempts: Family<ResultLabel, Counter>,
    ended: Family<ResultLabel, Counter>,
    deliveries: Family<StateLabel, Gauge>,
    age: Gauge<f64, AtomicU64>,
}

const DELIVERED: &str = "delivered";
const FAILED: &str = "failed";
const DEAD: &str = "dead";

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

impl WebhookMetrics {
    /// Adds the metrics to a registry. Each result begins at 0: an alert on an increase sees the first one.
    pub(crate) fn register(&self, registry: &mut Registry) {
        let help = "Attempts to send a webhook by this process, by result";
        registry.register("enroll_webhook_attempts", help, self.attempts.clone());
        let help = "Webhooks that this process delivered or gave up, by result";
        registry.register("enroll_webhooks_ended", help, self.ended.clone());
        let help = "Webhooks in the database that wait or are dead";
        registry.register("enroll_webhooks", help, self.deliveries.clone());
        let help = "Age of the oldest waiting webhook; 0 if none waits";
        registry.register("enroll_webhook_age_seconds", help, self.age.clone());
        for result in [DELIVERED, FAILED, DEAD] {
            drop(self.attempts.get_or_create(&ResultLabel { result }));
        }
        for result in [DELIVERED, DEAD] {
            drop(self.ended.get_or_create(&ResultLabel { result }));
        }
    }

    /// Counts an event.
    pub(crate) fn count(&self, event: &Event<'_>) {
        let (result, ended) = match *event {
            Event::Attempted { end: End::Delivered, .. } => (Some(DELIVERED), Some((DELIVERED, 1))),
            Event::Attempted { end: End::Failed(_), .. } => (Some(FAILED), None),
            Event::Attempted { end: End::Dead, .. } => (Some(DEAD), Some((DEAD, 1))),
            Event::GivenUp { deliveries, .. } => (None, Some((DEAD, deliveries))),
            Event::Disabled { .. } | Event::DatabaseError(_) => (None, None),
        };
        if let Some(result) = result {
            self.attempts.get_or_create(&ResultLabel { result }).inc();
        }
        if let Some((result, webhooks)) = ended {
            self.ended.get_or_create(&ResultLabel { result }).inc_by(webhooks);
        }
    }

    /// Sets the metrics of the database.
    pub(crate) fn set(&self, backlog: &Backlog, now: Option<Timestamp>) {
        for (state, number) in [("waiting", backlog.waiting), ("dead", backlog.dead)] {
            self.deliveries.get_or_create(&StateLabel { state }).set(number);
        }
        // Without a clock, keep the last age.
        if let Some(now) = now {
            let age = backlog.oldest.map_or(0, |at| now.millis().saturating_sub(at.millis()).max(0));
            self.age.set(Duration::from_millis(age.unsigned_abs()).as_secs_f64());
        }
    }
}

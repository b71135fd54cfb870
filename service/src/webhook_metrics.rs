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
    deliveries: Family<StateLabel, Gauge>,
    age: Gauge<f64, AtomicU64>,
}

/// How an attempt can end.
const RESULTS: [&str; 3] = ["delivered", "failed", "dead"];

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
        let help = "Webhooks in the database that wait or are dead";
        registry.register("enroll_webhooks", help, self.deliveries.clone());
        let help = "Age of the oldest waiting webhook; 0 if none waits";
        registry.register("enroll_webhook_age_seconds", help, self.age.clone());
        for result in RESULTS {
            drop(self.attempts.get_or_create(&ResultLabel { result }));
        }
    }

    /// Counts an event.
    pub(crate) fn count(&self, event: &Event<'_>) {
        let Event::Attempted { end, .. } = event else { return };
        let result = match end {
            End::Delivered => "delivered",
            End::Failed(_) => "failed",
            End::Dead => "dead",
        };
        self.attempts.get_or_create(&ResultLabel { result }).inc();
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

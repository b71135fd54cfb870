//! Metrics of the workers of a process.

use enroll_worker::{Event, ReleaseReason};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The metrics of workers.
#[derive(Default)]
pub(crate) struct WorkMetrics {
    pub(crate) workers: Gauge,
    busy: Gauge,
    claims: Family<ResultLabel, Counter>,
    attempts: Family<ResultLabel, Counter>,
}

/// How a claim can end.
const CLAIMS: [&str; 3] = ["claimed", "none", "error"];
/// How an attempt to process an enrollment can end.
const ATTEMPTS: [&str; 8] =
    ["completed", "rejected", "retried", "failed", "unavailable", "contended", "newer_version", "superseded"];

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

impl WorkMetrics {
    /// Adds the metrics to a registry. Each result begins at 0: an alert on an increase sees the first one.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("enroll_workers", "Workers of this process", self.workers.clone());
        registry.register("enroll_workers_busy", "Workers that process an enrollment", self.busy.clone());
        registry.register("enroll_claims", "Claims by the workers of this process, by result", self.claims.clone());
        let help = "Attempts to process an enrollment by this process, by result";
        registry.register("enroll_attempts", help, self.attempts.clone());
        for result in CLAIMS {
            drop(self.claims.get_or_create(&ResultLabel { result }));
        }
        for result in ATTEMPTS {
            drop(self.attempts.get_or_create(&ResultLabel { result }));
        }
    }

    /// Counts an event of a worker.
    pub(crate) fn count(&self, event: &Event) {
        let claim = match event {
            Event::Claimed(_) => Some("claimed"),
            Event::NoneDue => Some("none"),
            Event::ClaimFailed { .. } => Some("error"),
            _ => None,
        };
        if let Some(result) = claim {
            self.claims.get_or_create(&ResultLabel { result }).inc();
        }
        if let Event::Claimed(_) = event {
            self.busy.inc();
        }
        if event.ended().is_some() {
            self.busy.dec();
        }
        if let Some(result) = attempt_result(event) {
            self.attempts.get_or_create(&ResultLabel { result }).inc();
        }
    }
}

/// Returns how an attempt ended, if the event is its end.
fn attempt_result(event: &Event) -> Option<&'static str> {
    Some(match event {
        Event::Completed { .. } => "completed",
        Event::Rejected { .. } => "rejected",
        Event::Retried { .. } => "retried",
        Event::Failed { .. } => "failed",
        Event::Interrupted { .. } => "unavailable",
        Event::Released { reason: ReleaseReason::Contended, .. } => "contended",
        Event::Released { reason: ReleaseReason::NewerVersion, .. } => "newer_version",
        Event::Superseded { .. } => "superseded",
        // A claim that is given back at the end of the process does not count.
        _ => return None,
    })
}

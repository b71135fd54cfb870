//! Metrics of the workers of a process.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The metrics of workers. A clone counts into the same ones.
#[derive(Clone, Default)]
pub(crate) struct WorkMetrics {
    pub(crate) workers: Gauge,
    pub(crate) busy: Gauge,
    claims: Family<ResultLabel, Counter>,
    attempts: Family<ResultLabel, Counter>,
}

/// How a claim ended.
#[derive(Clone, Copy)]
pub(crate) enum ClaimResult {
    Claimed,
    /// No enrollment was due.
    None,
    /// The database returned an error.
    Error,
}

/// How an attempt to process an enrollment ended.
#[derive(Clone, Copy)]
pub(crate) enum AttemptResult {
    Completed,
    Rejected,
    /// It failed, and another attempt follows.
    Retried,
    /// It failed, and was the last one.
    Failed,
    /// The database could not be reached or written.
    Unavailable,
    /// Other writers were first each time.
    Contended,
    /// The command needs a newer build.
    NewerVersion,
    /// Another worker finished it before, or a host deleted it.
    Superseded,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

impl WorkMetrics {
    /// Adds the metrics to a registry. Each result begins at 0: an alert on an increase sees the first one.
    pub(crate) fn register(&self, registry: &mut Registry) {
        use {AttemptResult as Attempt, ClaimResult as Claimed};
        registry.register("enroll_workers", "Workers of this process", self.workers.clone());
        registry.register("enroll_workers_busy", "Workers that process an enrollment", self.busy.clone());
        registry.register("enroll_claims", "Claims by the workers of this process, by result", self.claims.clone());
        let help = "Attempts to process an enrollment by this process, by result";
        registry.register("enroll_attempts", help, self.attempts.clone());
        for result in [Claimed::Claimed, Claimed::None, Claimed::Error] {
            drop(self.claims.get_or_create(&result.label()));
        }
        for result in [
            Attempt::Completed,
            Attempt::Rejected,
            Attempt::Retried,
            Attempt::Failed,
            Attempt::Unavailable,
            Attempt::Contended,
            Attempt::NewerVersion,
            Attempt::Superseded,
        ] {
            drop(self.attempts.get_or_create(&result.label()));
        }
    }

    pub(crate) fn count_claim(&self, result: ClaimResult) {
        self.claims.get_or_create(&result.label()).inc();
    }

    pub(crate) fn count_attempt(&self, result: AttemptResult) {
        self.attempts.get_or_create(&result.label()).inc();
    }
}

impl ClaimResult {
    fn label(self) -> ResultLabel {
        let result = match self {
            Self::Claimed => "claimed",
            Self::None => "none",
            Self::Error => "error",
        };
        ResultLabel { result }
    }
}

impl AttemptResult {
    fn label(self) -> ResultLabel {
        let result = match self {
            Self::Completed => "completed",
            Self::Rejected => "rejected",
            Self::Retried => "retried",
            Self::Failed => "failed",
            Self::Unavailable => "unavailable",
            Self::Contended => "contended",
            Self::NewerVersion => "newer_version",
            Self::Superseded => "superseded",
        };
        ResultLabel { result }
    }
}

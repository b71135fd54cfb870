//! The span of an enrollment, with the feature `tracing`.

use enroll::inbox::Claim;

use crate::event::Event;

#[cfg(feature = "tracing")]
use tracing::{Instrument, Span, field};

/// The span of the claim that a worker has, if any.
pub(crate) struct ClaimSpan {
    #[cfg(feature = "tracing")]
    span: Span,
}

#[cfg(feature = "tracing")]
impl ClaimSpan {
    /// Returns the span of a worker without a claim.
    pub(crate) fn none() -> Self {
        Self { span: Span::none() }
    }

    fn of(claim: &Claim) -> Self {
        // At the level of errors, so that the lines of every level have the ids.
        let span = tracing::error_span!(
            target: "enroll::work",
            "enrollment",
            organization = %claim.organization_id,
            enrollment = %claim.enrollment_id,
            attempt = claim.attempts.saturating_add(1),
            sequence = field::Empty,
            recipients = field::Empty,
        );
        Self { span }
    }

    fn record(&self, event: &Event) {
        if let Event::Completed { report, .. } = event {
            self.span
                .record("sequence", field::display(report.sequence_id))
                .record("recipients", report.outcomes.len());
        }
    }

    /// Runs a future inside the span.
    pub(crate) async fn run<T>(&self, future: impl Future<Output = T>) -> T {
        future.instrument(self.span.clone()).await
    }

    fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        self.span.in_scope(work)
    }
}

#[cfg(not(feature = "tracing"))]
impl ClaimSpan {
    /// Returns the span of a worker without a claim.
    pub(crate) fn none() -> Self {
        Self {}
    }

    fn of(_: &Claim) -> Self {
        Self {}
    }

    #[expect(clippy::unused_self, reason = "the twin with the feature uses it")]
    fn record(&self, _: &Event) {}

    /// Runs a future.
    #[expect(clippy::unused_self, reason = "the twin with the feature uses it")]
    pub(crate) fn run<T, F: Future<Output = T>>(&self, future: F) -> F {
        future
    }

    #[expect(clippy::unused_self, reason = "the twin with the feature uses it")]
    fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        work()
    }
}

impl ClaimSpan {
    /// Reports an event inside the span of its claim. The span begins with the claim, and ends with its last event.
    pub(crate) fn report(&mut self, event: &Event, on_event: &(dyn Fn(&Event) + Send + Sync)) {
        if let Event::Claimed(claim) = event {
            *self = Self::of(claim);
        }
        self.record(event);
        self.enter(|| on_event(event));
        if event.ended().is_some() {
            *self = Self::none();
        }
    }
}

//! Processes what was accepted. The workers can run in any process.

use enroll_worker::{Event, Settings, TokioWorkers, WorkersError};

use crate::Shop;

impl Shop {
    /// Runs two workers until `shutdown` completes. `on_event` is a hook for logs and metrics.
    pub async fn work(
        &self,
        on_event: impl Fn(&Event) + Send + Sync + 'static,
        shutdown: impl Future<Output = ()>,
    ) -> Result<(), WorkersError> {
        let handles = [self.repository.clone(), self.repository.clone()];
        TokioWorkers::new(Settings::default()).on_event(on_event).run(handles, shutdown).await
    }
}

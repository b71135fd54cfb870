//! Implements the traits of the engine for the handles of a driver, written once.

/// Implements [`AsyncRepository`](enroll::AsyncRepository), [`AsyncInbox`](enroll::AsyncInbox) and
/// [`AsyncEventLog`](enroll::events::AsyncEventLog) for a handle.
///
/// `$call` is a macro that runs a function of this crate on the handle: `call!(handle, function, arguments…)`. The function
/// takes a session or a transaction first, then the statements. With `call!(unprepared handle, …)`, it takes no statements, and the
/// call prepares none: preparing them waits for a lock on any table. The handle has a field `attempts`.
macro_rules! implement_traits {
    ($handle:ty, $call:ident) => {
        impl enroll::AsyncRepository for $handle {
            async fn reference_data(
                &mut self,
                query: &enroll::ReferenceQuery,
            ) -> Result<enroll::ReferenceData, enroll::RepositoryError> {
                $crate::trace::call!("reference_data", { $call!(self, crate::read::reference_data, query) })
            }

            async fn load(
                &mut self,
                query: &enroll::SnapshotQuery,
            ) -> Result<enroll::Snapshot, enroll::RepositoryError> {
                $crate::trace::call!("load", { $call!(self, crate::read::load, query) })
            }

            async fn commit(&mut self, changes: &enroll::ChangeSet) -> Result<(), enroll::RepositoryError> {
                let mut attempts = std::mem::take(&mut self.attempts);
                let committed = attempts.commit(changes, async { $call!(self, crate::write::commit, changes) }).await;
                self.attempts = attempts;
                committed
            }
        }

        impl enroll::AsyncInbox for $handle {
            async fn insert(
                &mut self,
                command: &enroll::EnrollmentCommand,
            ) -> Result<Option<enroll::StoredEnrollment>, enroll::RepositoryError> {
                $crate::trace::call!("insert", { $call!(self, crate::inbox::insert, command) })
            }

            async fn find(
                &mut self,
                organization_id: enroll::OrganizationId,
                enrollment_id: enroll::EnrollmentId,
            ) -> Result<Option<enroll::inbox::InboxEntry>, enroll::RepositoryError> {
                $crate::trace::call!("find", { $call!(self, crate::inbox::find, organization_id, enrollment_id) })
            }

            async fn claim(
                &mut self,
                lease: std::time::Duration,
            ) -> Result<Option<enroll::inbox::Claim>, enroll::RepositoryError> {
                $crate::trace::call!("claim", { $call!(self, crate::inbox::claim, lease) })
            }

            async fn record_failure(
                &mut self,
                claim: &enroll::inbox::Claim,
                failure: &enroll::inbox::Failure,
            ) -> Result<(), enroll::RepositoryError> {
                $crate::trace::call!("record_failure", { $call!(self, crate::inbox::record_failure, claim, failure) })
            }

            async fn release(
                &mut self,
                claim: &enroll::inbox::Claim,
                delay: std::time::Duration,
            ) -> Result<(), enroll::RepositoryError> {
                $crate::trace::call!("release", { $call!(self, crate::inbox::release, claim, delay) })
            }

            async fn retry(
                &mut self,
                organization_id: enroll::OrganizationId,
                enrollment_id: enroll::EnrollmentId,
            ) -> Result<bool, enroll::RepositoryError> {
                $crate::trace::call!("retry", { $call!(self, crate::inbox::retry, organization_id, enrollment_id) })
            }
        }

        impl enroll::events::AsyncEventLog for $handle {
            async fn events(
                &mut self,
                after: enroll::events::EventPosition,
                limit: std::num::NonZeroU32,
            ) -> Result<Vec<enroll::events::Event>, enroll::RepositoryError> {
                $crate::trace::call!("events", { $call!(unprepared self, crate::events::read, after, limit) })
            }

            async fn prune_events(
                &mut self,
                before: enroll::Timestamp,
                limit: std::num::NonZeroU32,
            ) -> Result<u64, enroll::RepositoryError> {
                $crate::trace::call!("prune_events", { $call!(unprepared self, crate::events::prune, before, limit) })
            }
        }
    };
}
pub(super) use implement_traits;

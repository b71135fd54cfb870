//! Seeds, host writes and dumps of the repository in memory.

use enroll::inbox::Retention;
use enroll::seed::{HostWrite, Seed};
use enroll::{InMemoryRepository, OrganizationId, ReferenceData, RepositoryError, RepositoryErrorKind, Snapshot};
use std::time::Duration;

/// The repository in memory as a database.
pub(crate) struct Memory(pub(crate) InMemoryRepository);

impl Memory {
    pub(crate) fn seed(&self, given: &Seed) {
        for snapshot in given.snapshots().unwrap() {
            self.0.insert(snapshot);
        }
    }

    pub(crate) fn host_write(&self, write: &HostWrite) -> Result<(), RepositoryError> {
        let organization_id = write.organization_id;
        if self.0.snapshot(organization_id).is_none() {
            self.0.insert(Snapshot::new(ReferenceData::new(organization_id)));
        }
        let written = self.0.edit(organization_id, |snapshot| write.apply(snapshot)).unwrap();
        written.map_err(|e| RepositoryError::new(RepositoryErrorKind::Other, e))
    }

    #[allow(dead_code, reason = "not all tests use the inbox")]
    pub(crate) fn remove_failed_commands(&self) {
        let mut retention = Retention::keep();
        retention.failed = Some(Duration::ZERO);
        self.0.remove_expired(&retention);
    }

    pub(crate) fn dump(&self, organization_id: OrganizationId) -> Seed {
        let all: Vec<_> = self.0.organizations().into_iter().filter_map(|id| self.0.snapshot(id)).collect();
        Seed::dump(&all, organization_id)
    }
}

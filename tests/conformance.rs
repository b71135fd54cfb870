//! The conformance suite on the repository in memory, blocking and async.

use enroll::lookup::Context;
use enroll::repository::{RepositoryError, RepositoryErrorKind};
use enroll::testing::conformance::Fixture;
use enroll::testing::{Blocking, Given, HostWrite, block_on};
use enroll::{InMemoryRepository, OrganizationId, Snapshot};

/// What both share: the fixture of the repository in memory.
struct Memory(InMemoryRepository);

impl Memory {
    fn seed(&self, given: &Given) {
        for snapshot in given.snapshots().unwrap() {
            self.0.insert(snapshot);
        }
    }

    fn host_write(&self, write: &HostWrite) -> Result<(), RepositoryError> {
        let organization_id = write.organization_id;
        if self.0.snapshot(organization_id).is_none() {
            self.0.insert(Snapshot::new(Context::new(organization_id)));
        }
        let written = self.0.edit(organization_id, |snapshot| write.apply(snapshot)).unwrap();
        written.map_err(|e| RepositoryError::new(RepositoryErrorKind::Other, e))
    }

    fn dump(&self, organization_id: OrganizationId) -> Given {
        let all: Vec<_> = self.0.organizations().into_iter().filter_map(|id| self.0.snapshot(id)).collect();
        Given::dump(&all, organization_id)
    }
}

macro_rules! fixture {
    ($name:ident, $repository:ty, $open:expr) => {
        struct $name(Memory);

        impl Fixture for $name {
            type Repository = $repository;

            async fn fresh() -> Self {
                Self(Memory(InMemoryRepository::new()))
            }

            async fn open(&self) -> $repository {
                $open(self.0.0.clone())
            }

            async fn seed(&self, given: &Given) {
                self.0.seed(given);
            }

            async fn host_write(&self, write: &HostWrite) -> Result<(), RepositoryError> {
                self.0.host_write(write)
            }

            async fn dump(&self, organization_id: OrganizationId) -> Given {
                self.0.dump(organization_id)
            }
        }
    };
}

fixture!(BlockingMemory, Blocking<InMemoryRepository>, Blocking);
fixture!(AsyncMemory, InMemoryRepository, std::convert::identity);

mod blocking {
    use super::{BlockingMemory, block_on};
    enroll::conformance_tests!(BlockingMemory, block_on);
}

mod with_a_runtime {
    use super::AsyncMemory;
    enroll::conformance_tests!(AsyncMemory, pollster::block_on);
}

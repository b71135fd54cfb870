//! The conformance suite on the repository in memory: blocking, async, and async behind a trait object.

mod memory;

use enroll::seed::{HostWrite, Seed};
use enroll::testing::conformance::{EventFixture, Fixture, InboxFixture};
use enroll::testing::{Blocking, block_on};
use enroll::{DynAsyncInbox, EnrollmentCommand, InMemoryRepository, OrganizationId, RepositoryError};
use memory::Memory;
use std::convert::Infallible;

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

            async fn seed(&self, given: &Seed) {
                self.0.seed(given);
            }

            async fn host_write(&self, write: &HostWrite) -> Result<(), RepositoryError> {
                self.0.host_write(write)
            }

            async fn dump(&self, organization_id: OrganizationId) -> Seed {
                self.0.dump(organization_id)
            }

            fn round_trips(&self) -> Option<u64> {
                None
            }
        }

        impl InboxFixture for $name {
            async fn remove_failed_commands(&self) {
                self.0.remove_failed_commands();
            }
        }
    };
}

macro_rules! event_fixture {
    ($name:ident) => {
        impl EventFixture for $name {
            type Transaction = Infallible;

            async fn enable_events(&self, enabled: bool) {
                self.0.0.enable_events(enabled);
            }

            /// A commit is one call.
            async fn accept_in_transaction(&self, _: &EnrollmentCommand) -> Option<Infallible> {
                None
            }

            async fn end_transaction(&self, transaction: Infallible, _: bool) {
                match transaction {}
            }
        }
    };
}

fixture!(BlockingMemory, Blocking<InMemoryRepository>, Blocking);
fixture!(AsyncMemory, InMemoryRepository, std::convert::identity);
fixture!(DynMemory, Box<dyn DynAsyncInbox>, Box::new);
event_fixture!(BlockingMemory);
event_fixture!(AsyncMemory);

mod blocking {
    use super::{BlockingMemory, block_on};
    enroll::conformance_tests!(BlockingMemory, block_on);
    enroll::inbox_conformance_tests!(BlockingMemory);
    enroll::event_conformance_tests!(BlockingMemory);
}

mod with_a_runtime {
    use super::AsyncMemory;
    enroll::conformance_tests!(AsyncMemory, pollster::block_on);
    enroll::inbox_conformance_tests!(AsyncMemory);
    enroll::event_conformance_tests!(AsyncMemory);
}

mod behind_a_trait_object {
    use super::DynMemory;
    enroll::conformance_tests!(DynMemory, pollster::block_on);
    enroll::inbox_conformance_tests!(DynMemory);
}

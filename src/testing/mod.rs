//! Tools for tests of a host's policy, of a repository, and of the engine.
//!
//! | You want to test | Use |
//! |---|---|
//! | what your policy does in one situation | [`fixture`] |
//! | that your policy keeps a rule in every situation | [`world_with`] |
//! | rules about single rows and requests | [`recipient`], [`request`], [`contact`], [`sequence_with`] |
//! | what a change of the policy or of the engine changes | [`report_difference`] |
//! | your own test vectors, or those of this project on your database | [`run_vectors`] |
//! | your own repository | [`conformance`] |
//!
//! # A policy
//!
//! [`fixture`] builds an organization with defaults: name what matters, and leave out the rest. [`world_with`] generates
//! organizations of any contents, each with two requests. In a test file, each of these functions has `#[test]`:
//!
//! ```
//! use enroll::model::ChannelKind::Phone;
//! use enroll::policy::Reprocess;
//! use enroll::testing::proptest::prelude::*;
//! use enroll::testing::{fixture, world_with};
//! use enroll::{Disposition, EnrollmentPolicy, Recipient};
//!
//! fn policy() -> EnrollmentPolicy {
//!     let mut policy = EnrollmentPolicy::default();
//!     policy.reprocess = Reprocess::LiveOnly;
//!     policy
//! }
//!
//! fn a_contact_that_finished_starts_again() {
//!     let welcome = fixture().policy(policy()).sequence("Welcome").step(Phone);
//!     let report = welcome.contact("+12025550123").finished_run().enroll([Recipient::new("(202) 555-0123")]);
//!     assert_eq!(report.outcomes[0].disposition, Disposition::ReAdded);
//! }
//!
//! fn no_opt_out_is_enrolled() {
//!     proptest!(|(scenario in world_with(policy()))| {
//!         let opt_outs = scenario.given.communication_preferences.iter().map(|row| row.row).filter(|row| !row.opt_in);
//!         let opt_outs: Vec<_> = opt_outs.map(|row| (Some(row.contact_id), Some(row.channel_id))).collect();
//!         for report in scenario.enroll() {
//!             for outcome in report.outcomes.iter().filter(|outcome| outcome.disposition.is_enrolled()) {
//!                 prop_assert!(!opt_outs.contains(&(outcome.contact_id, report.channel_id)), "{outcome:?}");
//!             }
//!         }
//!     });
//! }
//! # a_contact_that_finished_starts_again();
//! # no_opt_out_is_enrolled();
//! ```
//!
//! A failure shrinks to few rows, and prints one row on each line, as the `given` and `when` of a test vector. Save it as a
//! vector, or load it with `enroll seed` and try it.
//!
//! The strategies of single rows combine with a fixture. [`World::add_contact`] makes ids and keys unique:
//!
//! ```
//! use enroll::model::{ChannelKind, OnReAdd, SequenceSettings};
//! use enroll::testing::proptest::collection::vec;
//! use enroll::testing::proptest::prelude::*;
//! use enroll::testing::{contact, fixture, request, sequence_with};
//! use enroll::Disposition;
//!
//! let mut settings = SequenceSettings::default();
//! settings.on_re_add = OnReAdd::Exclude;
//! proptest!(|(sequence in sequence_with(settings), contacts in vec(contact(), 0..5), request in request())| {
//!     let mut world = fixture().add_sequence(sequence);
//!     for contact in contacts {
//!         world = world.add_contact(contact).finished_run();
//!     }
//!     let report = world.enroll_request(&request).unwrap();
//!     prop_assert!(report.outcomes.iter().all(|outcome| outcome.disposition != Disposition::ReAdded), "{world:?}");
//! });
//! ```
//!
//! [`report_difference`] says how two reports of one request differ, recipient by recipient: of two policies, of two
//! versions of the engine, or of a [`Rehearsal`](crate::Rehearsal) and the enrollment.
//!
//! # A repository
//!
//! The [`conformance`] suite needs a fixture: how to create, fill and read a database. The macro makes a test of each case.
//! A fixture that counts round trips lets the suite check that their number does not grow with the recipients (clause 9).
//! This is all that a repository needs:
//!
//! ```
//! use enroll::seed::{HostWrite, Seed};
//! use enroll::testing::conformance::Fixture;
//! use enroll::testing::{Blocking, block_on};
//! use enroll::{OrganizationId, RepositoryError};
//! # use enroll::changes::ApplyError;
//! # use enroll::testing::conformance::{BlockOn, all_cases};
//! # use enroll::{ChangeSet, ReferenceData, ReferenceQuery, Repository, RepositoryErrorKind, Snapshot, SnapshotQuery};
//! # use std::collections::BTreeMap;
//! # use std::sync::atomic::{AtomicU64, Ordering};
//! # use std::sync::{Arc, Mutex};
//! #
//! # #[derive(Clone, Default)]
//! # struct MyRepository {
//! #     organizations: Arc<Mutex<BTreeMap<OrganizationId, Snapshot>>>,
//! #     round_trips: Arc<AtomicU64>,
//! # }
//! #
//! # impl MyRepository {
//! #     fn change<E>(&self, id: OrganizationId, change: impl FnOnce(&mut Snapshot) -> Result<(), E>) -> Result<(), E> {
//! #         let mut organizations = self.organizations.lock().unwrap();
//! #         change(organizations.entry(id).or_insert_with(|| Snapshot::new(ReferenceData::new(id))))
//! #     }
//! #
//! #     fn write(&self, write: &HostWrite) -> Result<(), RepositoryError> {
//! #         let written = self.change(write.organization_id, |snapshot| write.apply(snapshot));
//! #         written.map_err(|e| RepositoryError::new(RepositoryErrorKind::Other, e))
//! #     }
//! #
//! #     fn snapshots(&self) -> Vec<Snapshot> {
//! #         self.organizations.lock().unwrap().values().cloned().collect()
//! #     }
//! # }
//! #
//! # impl Repository for MyRepository {
//! #     fn reference_data(&mut self, query: &ReferenceQuery) -> Result<ReferenceData, RepositoryError> {
//! #         self.round_trips.fetch_add(1, Ordering::Relaxed);
//! #         let empty = || ReferenceData::new(query.organization_id);
//! #         let organizations = self.organizations.lock().unwrap();
//! #         Ok(organizations.get(&query.organization_id).map_or_else(empty, |snapshot| snapshot.reference.clone()))
//! #     }
//! #
//! #     fn load(&mut self, query: &SnapshotQuery) -> Result<Snapshot, RepositoryError> {
//! #         self.round_trips.fetch_add(1, Ordering::Relaxed);
//! #         let id = query.reference.organization_id;
//! #         let empty = || Snapshot::new(ReferenceData::new(id));
//! #         Ok(self.organizations.lock().unwrap().get(&id).cloned().unwrap_or_else(empty))
//! #     }
//! #
//! #     fn commit(&mut self, changes: &ChangeSet) -> Result<(), RepositoryError> {
//! #         self.round_trips.fetch_add(1, Ordering::Relaxed);
//! #         self.change(changes.organization_id(), |snapshot| changes.apply(snapshot)).map_err(|e| match e {
//! #             ApplyError::Conflict(_) => RepositoryError::new(RepositoryErrorKind::Conflict, e),
//! #             e => RepositoryError::new(RepositoryErrorKind::Other, e),
//! #         })
//! #     }
//! # }
//!
//! /// One database. Each case has its own.
//! struct MyFixture(MyRepository);
//!
//! impl Fixture for MyFixture {
//!     type Repository = Blocking<MyRepository>;
//!
//!     async fn fresh() -> Self {
//!         Self(MyRepository::default())
//!     }
//!
//!     async fn open(&self) -> Self::Repository {
//!         Blocking(self.0.clone())
//!     }
//!
//!     async fn seed(&self, given: &Seed) {
//!         given.inserts().iter().for_each(|write| self.0.write(write).unwrap());
//!     }
//!
//!     async fn host_write(&self, write: &HostWrite) -> Result<(), RepositoryError> {
//!         self.0.write(write)
//!     }
//!
//!     async fn dump(&self, organization_id: OrganizationId) -> Seed {
//!         Seed::dump(&self.0.snapshots(), organization_id)
//!     }
//!
//!     fn round_trips(&self) -> Option<u64> {
//!         Some(self.0.round_trips.load(Ordering::Relaxed))
//!     }
//! }
//!
//! enroll::conformance_tests!(MyFixture, block_on);
//! # fn main() {
//! #     for case in all_cases::<MyFixture, ConformanceRuntime>() {
//! #         case.run();
//! #     }
//! # }
//! ```
//!
//! `docs/repositories.md` goes from an empty file to a suite that passes. `inbox_conformance_tests!` adds the cases of an
//! inbox.
//!
//! # Vectors
//!
//! [`run_vectors`] runs the vectors in a folder, in memory or on your database. Write those of your own policy next to your
//! code: a vector has its policy in `given` (spec 8). [`read_vectors`] only reads them.
//!
//! This module uses public items of the crate only.

mod blocking;
pub mod conformance;
mod print;
mod reports;
mod scenario;
mod strategies;
mod vector_folder;
mod world;

pub use blocking::{Blocking, block_on};
// Types of this crate are part of the API.
pub use proptest;
pub use reports::report_difference;
pub use scenario::{Request, Scenario};
pub use strategies::parts::{contact, recipient, request, sequence_with};
pub use strategies::{scenario, world_with};
pub use vector_folder::{VectorsError, read_vectors, run_vectors};
pub use world::{World, fixture};

use crate::memory::InMemoryRepository;
use crate::seed::Seed;

/// Returns a repository in memory with the rows of a seed.
#[expect(clippy::panic, reason = "a test must fail with the fault")]
fn repository(seed: &Seed) -> InMemoryRepository {
    let repository = InMemoryRepository::new();
    match seed.snapshots() {
        Ok(snapshots) => snapshots.into_iter().for_each(|snapshot| repository.insert(snapshot)),
        Err(e) => panic!("the rows are not valid: {e}"),
    }
    repository
}

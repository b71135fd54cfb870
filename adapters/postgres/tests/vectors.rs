//! The engine's test vectors, on PostgreSQL.
#![cfg(feature = "testing")]

mod common;
#[path = "../../../tests/vector_files/mod.rs"]
mod vector_files;

use common::{block_on, connect};
use enroll::contact::Libphonenumber;
use enroll::vectors::run_on;
use enroll::{
    AsyncRepository, ChangeSet, ReferenceData, ReferenceQuery, Repository, RepositoryError, Snapshot, SnapshotQuery,
};
use enroll_postgres::seed::{dump, load};
use enroll_postgres::testing::Server;

/// An async repository as a blocking one.
struct Waiting<R>(R);

impl<R: AsyncRepository> Repository for Waiting<R> {
    fn reference_data(&mut self, query: &ReferenceQuery) -> Result<ReferenceData, RepositoryError> {
        block_on(self.0.reference_data(query))
    }

    fn load(&mut self, query: &SnapshotQuery) -> Result<Snapshot, RepositoryError> {
        block_on(self.0.load(query))
    }

    fn commit(&mut self, changes: &ChangeSet) -> Result<(), RepositoryError> {
        block_on(self.0.commit(changes))
    }
}

#[test]
#[ignore = "needs PostgreSQL: run with --include-ignored, its programs installed or ENROLL_TEST_POSTGRES_URL set"]
fn every_vector_holds_on_postgresql() {
    let vectors = vector_files::read_folder(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors"));
    let url = block_on(Server::shared().database()).unwrap();
    let mut client = block_on(connect(&url));
    let mut repository = Waiting(block_on(common::open(&url)));
    let (mut ran, mut differing) = (0, Vec::new());
    for (name, vector) in vectors {
        if vector.plan_only {
            println!("{name}: only a plain snapshot can hold its world, so it is left out");
            continue;
        }
        block_on(client.batch_execute(EMPTY)).unwrap();
        block_on(load(&mut client, &vector.given)).unwrap_or_else(|e| panic!("{name}: {e:?}"));
        let stands = || block_on(dump(&mut client, vector.given.organization_id)).unwrap();
        if let Err(difference) = run_on(&vector, &Libphonenumber, &mut repository, stands) {
            differing.push(format!("{name}: {difference}"));
        }
        ran += 1;
    }
    assert!(differing.is_empty(), "{} differ:\n{}", differing.len(), differing.join("\n"));
    assert!(ran >= 440, "only {ran} vectors ran");
}

const EMPTY: &str = "truncate enroll.organizations, enroll.channels, enroll.call_flows, enroll.custom_objects, \
    enroll.sequences, enroll.steps, enroll.tags, enroll.enrollments, enroll.contacts, \
    enroll.communication_preferences, enroll.conversations, enroll.runs, enroll.step_contacts, \
    enroll.contact_tags, enroll.custom_records";

//! Runs every test vector on a PostgreSQL database.
#![cfg(feature = "testing")]

#[path = "../../../tests/row_counts/mod.rs"]
mod row_counts;
#[cfg(feature = "sqlx")]
#[path = "support/sqlx_pool.rs"]
mod sqlx_pool;
mod support;

use enroll::contact::Libphonenumber;
use enroll::vectors::run_on;
use enroll::{
    AsyncRepository, ChangeSet, ReferenceData, ReferenceQuery, Repository, RepositoryError, Snapshot, SnapshotQuery,
};
use enroll_postgres::needs_postgres;
use enroll_postgres::seed::{dump, load};
use enroll_postgres::testing::Server;
use support::{block_on, connect};

/// Blocks on an async repository.
struct Blocking<R>(R);

impl<R: AsyncRepository> Repository for Blocking<R> {
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
#[ignore = needs_postgres!()]
fn every_vector_passes() {
    let url = block_on(Server::shared().database()).unwrap();
    run_vectors(&url, block_on(support::open(&url)));
}

#[cfg(feature = "sqlx")]
#[test]
#[ignore = needs_postgres!()]
fn every_vector_passes_on_sqlx() {
    let url = block_on(Server::shared().database()).unwrap();
    run_vectors(&url, enroll_postgres::SqlxRepository::new(block_on(sqlx_pool::pool(&url, 2))));
}

fn run_vectors(url: &str, repository: impl AsyncRepository) {
    let vectors = enroll::testing::read_vectors(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors")).unwrap();
    let mut client = block_on(connect(url));
    let mut repository = Blocking(repository);
    let (mut ran, mut differing) = (0, Vec::new());
    for (name, vector) in vectors {
        if vector.plan_only {
            println!("skipped, because no database can store its rows: {name}");
            continue;
        }
        block_on(client.batch_execute(EMPTY)).unwrap();
        block_on(load(&mut client, &vector.given)).unwrap_or_else(|e| panic!("{name}: {e:?}"));
        let stored = || block_on(dump(&mut client, vector.given.organization_id)).unwrap();
        if let Err(difference) = run_on(&vector, &Libphonenumber, &mut repository, stored) {
            differing.push(format!("{name}: {difference}"));
        }
        if !block_on(client.query(&row_counts::wrong_counts("postgres"), &[])).unwrap().is_empty() {
            differing.push(format!("{name}: the counts of rows"));
        }
        ran += 1;
    }
    assert!(differing.is_empty(), "{} differ:\n{}", differing.len(), differing.join("\n"));
    assert!(ran >= 440, "only {ran} vectors ran");
}

const EMPTY: &str = "truncate enroll.organizations, enroll.channels, enroll.call_flows, enroll.custom_objects, \
    enroll.sequences, enroll.steps, enroll.tags, enroll.enrollments, enroll.contacts, \
    enroll.communication_preferences, enroll.conversations, enroll.runs, enroll.step_contacts, \
    enroll.contact_tags, enroll.custom_records, enroll.enrollment_outcomes, enroll.queues, enroll.counts";

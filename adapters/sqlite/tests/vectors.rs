//! Runs every test vector on a SQLite database.
#![cfg(feature = "testing")]

#[path = "../../../tests/row_counts/mod.rs"]
mod row_counts;

use enroll::contact::Libphonenumber;
use enroll::vectors::run_on;
use enroll_sqlite::{SqliteRepository, seed};
use std::cell::RefCell;
use std::rc::Rc;

#[test]
fn every_vector_passes() {
    let vectors = enroll::testing::read_vectors(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors")).unwrap();
    let (mut ran, mut differing) = (0, Vec::new());
    for (name, vector) in vectors {
        if vector.plan_only {
            println!("skipped, because no database can store its rows: {name}");
            continue;
        }
        ran += 1;
        let repository = SqliteRepository::open_in_memory().unwrap();
        seed::load(repository.connection(), &vector.given).unwrap_or_else(|e| panic!("{name}: {e:?}"));
        let mut shared = Shared(Rc::new(RefCell::new(repository)));
        let handle = shared.clone();
        let dump = || seed::dump(handle.0.borrow().connection(), vector.given.organization_id).unwrap();
        if let Err(difference) = run_on(&vector, &Libphonenumber, &mut shared, dump) {
            differing.push(format!("{name}: {difference}"));
        }
        let repository = handle.0.borrow();
        if repository.connection().prepare(&row_counts::wrong_counts("sqlite")).unwrap().exists([]).unwrap() {
            differing.push(format!("{name}: the counts of rows"));
        }
    }
    assert!(differing.is_empty(), "{} of {ran} differ:\n{}", differing.len(), differing.join("\n"));
    assert!(ran >= 440, "only {ran} vectors ran");
}

/// Shares one connection between the runner and the dump.
#[derive(Clone)]
struct Shared(Rc<RefCell<SqliteRepository>>);

impl enroll::Repository for Shared {
    fn reference_data(
        &mut self,
        query: &enroll::ReferenceQuery,
    ) -> Result<enroll::ReferenceData, enroll::RepositoryError> {
        self.0.borrow_mut().reference_data(query)
    }

    fn load(&mut self, query: &enroll::SnapshotQuery) -> Result<enroll::Snapshot, enroll::RepositoryError> {
        self.0.borrow_mut().load(query)
    }

    fn commit(&mut self, changes: &enroll::ChangeSet) -> Result<(), enroll::RepositoryError> {
        self.0.borrow_mut().commit(changes)
    }
}

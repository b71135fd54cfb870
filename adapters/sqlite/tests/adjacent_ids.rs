//! Related rows of contacts with adjacent ids are read by range, unless the range has many other rows.
#![cfg(feature = "testing")]

mod support;

use enroll::snapshot::{ContactAggregate, Version};
use enroll::{Repository, Snapshot};
use enroll_sqlite::SqliteRepository;
use std::sync::Arc;
use support::{TestRequest, in_memory};

const CONTACTS: usize = 40;

#[test]
fn rows_of_other_sequences_and_objects_do_not_change_a_load() {
    let mut repository = in_memory();
    let request = TestRequest::new("first", 0..CONTACTS);
    request.enroll(&mut repository).unwrap();
    let expected = load(&mut repository, &request);
    assert_eq!(expected.len(), CONTACTS);
    assert!(expected.iter().all(|found| found.runs.len() == 1 && found.records.len() == 1));

    // Few other rows, then more than a range scan allows. The records of another object are not valid for the engine.
    for (times, first) in [(2, 0), (9, 2)] {
        let other_rows = format!(
            "with recursive n (n) as (select {first} union all select n + 1 from n where n + 1 < {first} + {times})
             insert into enroll_runs (organization_id, id, sequence_id, contact_id, status, started_at)
                 select organization_id, randomblob(16), cast('other' || n as blob), id, 'finished', 0 from enroll_contacts, n;
             with recursive n (n) as (select {first} union all select n + 1 from n where n + 1 < {first} + {times})
             insert into enroll_custom_records
                 (organization_id, id, custom_object_id, resource, resource_id, contact_id, properties)
                 select organization_id, randomblob(16), cast('other' || n as blob), 'contact', id, id, '[]'
                     from enroll_contacts, n"
        );
        repository.connection().execute_batch(&other_rows).unwrap();
        assert_eq!(load(&mut repository, &request), expected);
    }
}

/// Loads the contacts of a request. Ignores their versions, which other related rows raise.
fn load(repository: &mut SqliteRepository, request: &TestRequest) -> Vec<ContactAggregate> {
    let query = request.command(repository).snapshot_query();
    let Snapshot { contacts, .. } = repository.load(&query).unwrap();
    let unversioned = |found: Arc<ContactAggregate>| {
        let mut contact = Arc::unwrap_or_clone(found);
        contact.version = Version::FIRST;
        contact
    };
    contacts.into_values().map(unversioned).collect()
}

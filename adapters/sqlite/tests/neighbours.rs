//! What stands round people whose ids lie side by side is read in passing, as long as it is not much.
#![cfg(feature = "testing")]

mod support;

use enroll::snapshot::{ContactAggregate, Version};
use enroll::{Repository, Snapshot};
use enroll_sqlite::SqliteRepository;
use std::sync::Arc;
use support::{Asked, in_memory};

const PEOPLE: usize = 40;

#[test]
fn what_stands_round_neighbours_elsewhere_changes_nothing() {
    let mut repository = in_memory();
    let sent = Asked::people("first", 0..PEOPLE);
    sent.enroll(&mut repository).unwrap();
    let alone = people(&mut repository, &sent);
    assert_eq!(alone.len(), PEOPLE);
    assert!(alone.iter().all(|person| person.runs.len() == 1 && person.records.len() == 1));

    // A little, then more than is read in passing; and of another object a record that no engine could have written.
    for (times, first) in [(2, 0), (9, 2)] {
        let elsewhere = format!(
            "with recursive n (n) as (select {first} union all select n + 1 from n where n + 1 < {first} + {times})
             insert into enroll_runs (organization_id, id, sequence_id, contact_id, status, started_at)
                 select organization_id, randomblob(16), cast('other' || n as blob), id, 'finished', 0 from enroll_contacts, n;
             with recursive n (n) as (select {first} union all select n + 1 from n where n + 1 < {first} + {times})
             insert into enroll_custom_records
                 (organization_id, id, custom_object_id, resource, resource_id, contact_id, properties)
                 select organization_id, randomblob(16), cast('other' || n as blob), 'contact', id, id, '[]'
                     from enroll_contacts, n"
        );
        repository.connection().execute_batch(&elsewhere).unwrap();
        assert_eq!(people(&mut repository, &sent), alone);
    }
}

/// The people, whatever was written round them elsewhere.
fn people(repository: &mut SqliteRepository, sent: &Asked) -> Vec<ContactAggregate> {
    let query = sent.command(repository).snapshot_query();
    let Snapshot { contacts: people, .. } = repository.load(&query).unwrap();
    let unversioned = |person: Arc<ContactAggregate>| {
        let mut person = Arc::unwrap_or_clone(person);
        person.version = Version::FIRST;
        person
    };
    people.into_values().map(unversioned).collect()
}

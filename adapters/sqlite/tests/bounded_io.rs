//! Clause 9: how many statements there are does not depend on how many recipients there are.
#![cfg(feature = "testing")]

mod support;

use enroll::Repository;
use enroll_sqlite::{SqliteRepository, testing};
use rusqlite::Connection;
use rusqlite::trace::{TraceEvent, TraceEventCodes};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use support::{Asked, given};

/// How often each statement ran.
type Ran = BTreeMap<String, usize>;

/// New people, the same again, and the same with other keys: everything is created, raised and replaced.
fn enroll(people: usize) -> (Ran, usize) {
    let ran = Arc::new(Mutex::new(Ran::new()));
    let mut connection = Connection::open_in_memory().unwrap();
    let told = Arc::clone(&ran);
    let trace = move |event: TraceEvent<'_>| {
        // Those of triggers begin with a comment.
        if let TraceEvent::Stmt(_, sql) = event
            && !sql.starts_with("--")
        {
            *told.lock().unwrap().entry(sql.to_owned()).or_default() += 1;
        }
    };
    connection.trace_v2(TraceEventCodes::SQLITE_TRACE_STMT, Some(trace)).unwrap();
    let mut repository = SqliteRepository::from_connection(connection).unwrap();
    testing::seed(repository.connection(), &given()).unwrap();
    ran.lock().unwrap().clear();
    let mut written = 0;
    let people = |key: &str| Asked::people(key, 0..people);
    for asked in [people("first"), people("second"), people("third").overwriting()] {
        let plan = asked.plan(&mut repository);
        let rows = plan.changes().rows();
        written += 1
            + rows.contacts_created.len()
            + rows.contacts_updated.len()
            + rows.conversations_created.len()
            + rows.runs_created.len()
            + rows.runs_reactivated.len()
            + rows.step_contacts_created.len()
            + rows.step_contacts_updated.len()
            + rows.contact_tags_created.len()
            + rows.records_created.len()
            + rows.records_updated.len()
            + usize::from(rows.tag_created.is_some());
        repository.commit(plan.changes()).unwrap();
    }
    let ran = ran.lock().unwrap().clone();
    (ran, written)
}

#[test]
fn statements_do_not_depend_on_the_number_of_recipients() {
    let (one, of_one) = enroll(1);
    let total = |ran: &Ran| ran.values().sum::<usize>();
    let beside_rows = total(&one) - of_one;
    assert!(beside_rows < 100, "{one:#?}");
    // With the one that is ignored 100 and 4000 recipients.
    for people in [99, 3999] {
        let (many, written) = enroll(people);
        assert!(one.keys().eq(many.keys()), "{one:#?}\n{many:#?}");
        assert!(written >= 15 * people, "{written}");
        assert!(total(&many) <= written + beside_rows, "{} for {written} rows: {many:#?}", total(&many));
        for (statement, times) in &many {
            assert!(*times <= one[statement] * people, "{statement} ran {times} times");
        }
    }
}

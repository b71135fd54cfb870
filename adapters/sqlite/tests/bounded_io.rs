//! Clause 9: how many statements there are does not depend on how many recipients there are.
#![cfg(feature = "testing")]

mod support;

use enroll::{EnrollmentPlan, Inbox, Repository};
use enroll_sqlite::{SqliteRepository, seed};
use rusqlite::Connection;
use rusqlite::trace::{TraceEvent, TraceEventCodes};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use support::{Asked, at, given, process};

/// How often each statement ran.
type Ran = BTreeMap<String, usize>;

/// New people, the same again, and the same with other keys: everything is created, raised and replaced.
fn enroll(people: usize) -> (Ran, usize) {
    let (mut repository, ran) = traced();
    let mut written = 0;
    let people = |key: &str| Asked::people(key, 0..people);
    for asked in [people("first"), people("second"), people("third").overwriting()] {
        let plan = asked.plan(&mut repository);
        written += 1 + rows(&plan);
        repository.commit(plan.changes()).unwrap();
    }
    let ran = ran.lock().unwrap().clone();
    (ran, written)
}

/// Accepted, claimed, and processed.
fn work(people: usize) -> (Ran, usize) {
    let (mut repository, ran) = traced();
    let asked = Asked::people("first", 0..people);
    let written = 1 + rows(&asked.plan(&mut repository));
    ran.lock().unwrap().clear();
    asked.accept(&mut repository).unwrap();
    let claim = repository.claim(at(0), at(60)).unwrap().unwrap();
    process(&mut repository, claim, at(1)).unwrap();
    let ran = ran.lock().unwrap().clone();
    (ran, written)
}

/// A database that tells how often each statement ran.
fn traced() -> (SqliteRepository, Arc<Mutex<Ran>>) {
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
    let repository = SqliteRepository::from_connection(connection).unwrap();
    seed::load(repository.connection(), &given()).unwrap();
    ran.lock().unwrap().clear();
    (repository, ran)
}

/// How many rows are written, beside the enrollment's own.
fn rows(plan: &EnrollmentPlan) -> usize {
    let rows = plan.changes().rows();
    rows.contacts_created.len()
        + rows.contacts_updated.len()
        + rows.conversations_created.len()
        + rows.runs_created.len()
        + rows.runs_reactivated.len()
        + rows.step_contacts_created.len()
        + rows.step_contacts_updated.len()
        + rows.contact_tags_created.len()
        + rows.records_created.len()
        + rows.records_updated.len()
        + usize::from(rows.tag_created.is_some())
}

#[test]
fn statements_do_not_depend_on_the_number_of_recipients() {
    bounded(enroll, 13);
}

#[test]
fn nor_do_those_of_what_is_accepted_and_processed() {
    bounded(work, 6);
    let (ran, _) = work(1);
    let begun = ran.iter().filter(|(statement, _)| statement.to_lowercase().starts_with("begin"));
    // Accept: reference data and insert. Claim. Process: find, load and commit.
    assert_eq!(begun.map(|(_, times)| times).sum::<usize>(), 6, "{ran:#?}");
    // What was accepted is flushed, and nothing else is.
    for setting in [2, 1] {
        assert_eq!(ran.get(&format!("PRAGMA synchronous={setting}")), Some(&1), "{ran:#?}");
    }
}

/// So many rows a recipient, and nothing else that depends on them.
fn bounded(run: impl Fn(usize) -> (Ran, usize), rows: usize) {
    let (one, of_one) = run(1);
    let total = |ran: &Ran| ran.values().sum::<usize>();
    let beside_rows = total(&one) - of_one;
    assert!(beside_rows < 105, "{one:#?}");
    // With the one that is ignored 100 and 4000 recipients.
    let lists = [99, 3999].map(|people| (people, run(people)));
    for (people, (many, written)) in &lists {
        assert_eq!(in_passing(&one), in_passing(many));
        assert!(*written >= rows * people, "{written}");
        assert!(total(many) <= written + beside_rows, "{} for {written} rows: {many:#?}", total(many));
        for (statement, times) in many {
            let most = one.get(statement).copied().unwrap_or(1) * people;
            assert!(*times <= most, "{statement} ran {times} times");
        }
    }
    let [(_, (hundred, _)), (_, (all, _))] = &lists;
    assert!(hundred.keys().eq(all.keys()), "{hundred:#?}\n{all:#?}");
}

/// The statements; whether rows are looked up or read in passing, from the first neighbour to the last, they are read.
fn in_passing(ran: &Ran) -> BTreeSet<String> {
    let read = |sql: &str| {
        let (_, table) = sql.split_once("enroll_")?;
        let is_read = sql.starts_with("select") && (sql.contains("= k.value") || sql.contains("between ?2 and ?3"));
        is_read.then(|| format!("reads {}", table.split(' ').next().unwrap_or_default()))
    };
    ran.keys().map(|sql| read(sql).unwrap_or_else(|| sql.clone())).collect()
}

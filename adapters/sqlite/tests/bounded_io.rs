//! Clause 9 of the contract: the number of distinct statements does not depend on the number of recipients.
#![cfg(feature = "testing")]

mod support;

use enroll::{EnrollmentPlan, Inbox, Repository};
use enroll_sqlite::{SqliteRepository, seed};
use rusqlite::Connection;
use rusqlite::trace::{TraceEvent, TraceEventCodes};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use support::{LEASE, TestRequest, at, process, seed};

/// The number of runs of each statement.
type Runs = BTreeMap<String, usize>;

/// Enrolls new contacts, the same again, and the same with other keys: rows are created, raised and replaced.
fn enroll(recipients: usize) -> (Runs, usize) {
    enroll_all(|key| TestRequest::new(key, 0..recipients))
}

/// Does the same with three requests of one list.
fn enroll_list(recipients: usize) -> (Runs, usize) {
    enroll_all(|key| TestRequest::new(key, 0..recipients).of_list())
}

fn enroll_all(request: impl Fn(&str) -> TestRequest) -> (Runs, usize) {
    let (mut repository, ran) = traced();
    let mut written = 0;
    for request in [request("first"), request("second"), request("third").overwriting()] {
        let plan = request.plan(&mut repository);
        written += 1 + rows(&plan);
        repository.commit(plan.changes()).unwrap();
    }
    let ran = ran.lock().unwrap().clone();
    (ran, written)
}

/// Accepts, claims and processes a request.
fn accept_and_process(recipients: usize) -> (Runs, usize) {
    let (mut repository, ran) = traced();
    let request = TestRequest::new("first", 0..recipients);
    let written = 1 + rows(&request.plan(&mut repository));
    ran.lock().unwrap().clear();
    request.accept(&mut repository).unwrap();
    let claim = repository.claim(LEASE).unwrap().unwrap();
    process(&mut repository, claim, at(1)).unwrap();
    let ran = ran.lock().unwrap().clone();
    (ran, written)
}

/// Opens a database that counts the runs of each statement.
fn traced() -> (SqliteRepository, Arc<Mutex<Runs>>) {
    let ran = Arc::new(Mutex::new(Runs::new()));
    let mut connection = Connection::open_in_memory().unwrap();
    let counted = Arc::clone(&ran);
    let trace = move |event: TraceEvent<'_>| {
        // Statements of triggers begin with a comment.
        if let TraceEvent::Stmt(_, sql) = event
            && !sql.starts_with("--")
        {
            *counted.lock().unwrap().entry(sql.to_owned()).or_default() += 1;
        }
    };
    connection.trace_v2(TraceEventCodes::SQLITE_TRACE_STMT, Some(trace)).unwrap();
    let repository = SqliteRepository::from_connection(connection).unwrap();
    seed::load(repository.connection(), &seed()).unwrap();
    ran.lock().unwrap().clear();
    (repository, ran)
}

/// Returns the number of rows that the plan writes, without the enrollment's own.
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
    check_bounded(enroll, 13, 110);
}

#[test]
fn statements_of_a_list_do_not_depend_on_the_number_of_recipients() {
    // Only the first request tags the contacts.
    check_bounded(enroll_list, 11, 120);
    // Each request reads the tag and guards it, and two of them read which contacts have it.
    let [(alone, _), (listed, _)] = [enroll(1), enroll_list(1)];
    let added: Vec<_> = listed.iter().filter(|(sql, _)| !alone.contains_key(*sql)).map(|(_, times)| *times).collect();
    assert_eq!((added.len(), added.iter().sum::<usize>()), (3, 3 + 3 + 2), "{listed:#?}");
}

#[test]
fn statements_of_background_work_do_not_depend_on_the_number_of_recipients() {
    check_bounded(accept_and_process, 6, 110);
    let (ran, _) = accept_and_process(1);
    let begun = ran.iter().filter(|(statement, _)| statement.to_lowercase().starts_with("begin"));
    // Accept: reference data and insert. Claim: one. Process: find, load and commit.
    assert_eq!(begun.map(|(_, times)| times).sum::<usize>(), 6, "{ran:#?}");
    // Only the acceptance is flushed.
    for setting in [2, 1] {
        assert_eq!(ran.get(&format!("PRAGMA synchronous={setting}")), Some(&1), "{ran:#?}");
    }
}

/// Checks that each recipient adds at least `rows` rows, and that nothing else grows with the number of recipients: there
/// are less than `most_fixed` other statements.
fn check_bounded(run: impl Fn(usize) -> (Runs, usize), rows: usize, most_fixed: usize) {
    let (one, written_for_one) = run(1);
    let total = |ran: &Runs| ran.values().sum::<usize>();
    let fixed = total(&one) - written_for_one;
    assert!(fixed < most_fixed, "{fixed}: {one:#?}");
    // 100 and 4000 recipients, the ignored one included.
    let lists = [99, 3999].map(|recipients| (recipients, run(recipients)));
    for (recipients, (many, written)) in &lists {
        assert_eq!(distinct(&one), distinct(many));
        assert!(*written >= rows * recipients, "{written}");
        assert!(total(many) <= written + fixed, "{} for {written} rows: {many:#?}", total(many));
        for (statement, times) in many {
            let most = one.get(statement).copied().unwrap_or(1) * recipients;
            assert!(*times <= most, "{statement} ran {times} times");
        }
    }
    let [(_, (hundred, _)), (_, (all, _))] = &lists;
    assert!(hundred.keys().eq(all.keys()), "{hundred:#?}\n{all:#?}");
}

/// Returns the distinct statements. Reads of a table by id and by range count as one.
fn distinct(ran: &Runs) -> BTreeSet<String> {
    let read = |sql: &str| {
        let (_, table) = sql.split_once("enroll_")?;
        let is_read = sql.starts_with("select") && (sql.contains("= k.value") || sql.contains("between ?2 and ?3"));
        is_read.then(|| format!("reads {}", table.split(' ').next().unwrap_or_default()))
    };
    ran.keys().map(|sql| read(sql).unwrap_or_else(|| sql.clone())).collect()
}

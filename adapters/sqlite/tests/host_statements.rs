//! Runs every SQLite statement of the pages for hosts after a real enrollment, and checks what the engine decides next.
#![cfg(feature = "testing")]

#[path = "../../../tests/host_page/mod.rs"]
mod host_page;

use enroll::policy::Reprocess;
use enroll::seed::Seed;
use enroll::{
    Disposition, Engine, EnrollError, Enrollment, EnrollmentCommand, EnrollmentId, EnrollmentKey, EnrollmentPlan,
    EnrollmentPolicy, EnrollmentReport, EnrollmentRequest, OrganizationId, Outcome, Reason, Recipient, Repository,
    RepositoryErrorKind, SequenceId, StepId, Timestamp, enroll_contacts, plan_enrollment,
};
use enroll_sqlite::{SqliteRepository, seed, sql};
use rusqlite::types::Value;
use rusqlite::{ToSql, Transaction, TransactionBehavior, params_from_iter};
use uuid::Uuid;

const ORGANIZATION: Uuid = Uuid::from_u128(1);
const CHANNEL: Uuid = Uuid::from_u128(2);
const SEQUENCE: Uuid = Uuid::from_u128(3);
const FIRST: Uuid = Uuid::from_u128(11);
const SECOND: Uuid = Uuid::from_u128(12);
const THIRD: Uuid = Uuid::from_u128(13);
/// The id of a step contact that the host makes.
const MADE: Uuid = Uuid::from_u128(21);
const ANN: &str = "+12025550123";
const BEN: &str = "+12025550124";

/// The instant of all requests.
const NOW: i64 = 1_769_958_000_000;
const HOUR: i64 = 3_600_000;

/// An organization that the statements of the pages made: a channel, and a sequence of three steps.
struct Host {
    repository: SqliteRepository,
    policy: EnrollmentPolicy,
    enrollments: u128,
}

impl Host {
    fn new() -> Self {
        let repository = SqliteRepository::open_in_memory().unwrap();
        let host = Self { repository, policy: EnrollmentPolicy::default(), enrollments: 100 };
        host.run("create-organization", &[&ORGANIZATION, &"Acme"]);
        host.run("create-channel", &[&ORGANIZATION, &CHANNEL, &"phone", &"+12025550100"]);
        host.run("create-sequence", &[&ORGANIZATION, &SEQUENCE, &"Welcome", &"{}"]);
        for (position, step) in [(1, FIRST), (2, SECOND), (3, THIRD)] {
            host.create_step(step, position);
        }
        host
    }

    fn create_step(&self, step: Uuid, position: i64) {
        self.run("create-step", &[&ORGANIZATION, &SEQUENCE, &step, &position, &"phone", &CHANNEL]);
    }

    /// Runs a block that writes, in one transaction. Returns how many rows its last statement wrote.
    fn run(&self, name: &str, params: &[&dyn ToSql]) -> usize {
        let connection = self.repository.connection();
        let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate).unwrap();
        let mut written = 0;
        for sql in host_page::statements("sqlite", name) {
            let params = &params[..host_page::parameter_count(&sql)];
            written = transaction.execute(&sql, params_from_iter(params)).unwrap();
        }
        transaction.commit().unwrap();
        written
    }

    /// Runs a block of one statement that reads.
    fn read(&self, name: &str, params: &[&dyn ToSql]) -> Vec<Vec<Value>> {
        let statements = host_page::statements("sqlite", name);
        let [sql] = &statements[..] else { panic!("`{name}` has one statement") };
        self.query(sql, params)
    }

    fn query(&self, sql: &str, params: &[&dyn ToSql]) -> Vec<Vec<Value>> {
        let mut statement = self.repository.connection().prepare(sql).unwrap();
        let columns = statement.column_count();
        let rows = statement.query_map(params, |row| (0..columns).map(|n| row.get(n)).collect()).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }

    fn with_enrollment<T>(
        &mut self,
        request: &EnrollmentRequest<'_>,
        with: impl FnOnce(&mut SqliteRepository, &Engine<'_>, &Enrollment<'_>) -> T,
    ) -> T {
        self.enrollments += 1;
        let enrollment = Enrollment {
            organization_id: OrganizationId::from_uuid(ORGANIZATION),
            sequence_id: SequenceId::from_uuid(SEQUENCE),
            key: EnrollmentKey::Id(EnrollmentId::from_uuid(Uuid::from_u128(self.enrollments))),
            at: Timestamp::from_millis(NOW).unwrap(),
            list: None,
            request,
        };
        with(&mut self.repository, &Engine::new(&self.policy), &enrollment)
    }

    fn try_to_enroll(&mut self, request: &EnrollmentRequest<'_>) -> Result<EnrollmentReport, EnrollError> {
        self.with_enrollment(request, enroll_contacts).map(|enrolled| enrolled.report)
    }

    /// Enrolls a contact into a step.
    fn enroll(&mut self, phone: &str, step: Uuid) -> Outcome {
        self.try_to_enroll(&request(phone, step)).unwrap().outcomes[0].clone()
    }

    /// Returns the disposition of the next enrollment, and the codes of its reasons.
    fn decides(&mut self, phone: &str, step: Uuid) -> (Disposition, Vec<&'static str>) {
        let outcome = self.enroll(phone, step);
        (outcome.disposition, outcome.reasons.iter().map(Reason::code).collect())
    }

    /// Returns the codes of the faults of a request.
    fn faults(&mut self, phone: &str, step: Uuid) -> Vec<&'static str> {
        match self.try_to_enroll(&request(phone, step)) {
            Err(EnrollError::Rejected(rejection)) => rejection.errors().iter().map(|fault| fault.code.code()).collect(),
            other => panic!("{other:?}"),
        }
    }

    fn plan(&mut self, phone: &str, step: Uuid) -> EnrollmentPlan {
        self.with_enrollment(&request(phone, step), |repository, engine, enrollment| {
            let reference = repository.reference_data(&enrollment.reference_query()).unwrap();
            let command = EnrollmentCommand::check(enrollment, &reference, engine).unwrap();
            plan_enrollment(&command, &repository.load(&command.snapshot_query()).unwrap()).unwrap()
        })
    }

    /// Runs a block between the load and the commit of an enrollment of that contact. The commit must be refused, so that
    /// the enrollment is planned again.
    fn overtakes(&mut self, phone: &str, step: Uuid, name: &str, params: &[&dyn ToSql]) -> usize {
        let plan = self.plan(phone, step);
        let written = self.run(name, params);
        let refused = self.repository.commit(plan.changes()).unwrap_err();
        assert_eq!(refused.kind(), RepositoryErrorKind::Conflict, "{name}");
        written
    }

    /// Inserts a custom record of a contact.
    fn insert_record(&self, contact: Uuid) {
        let sql = "insert into enroll_custom_records
            (organization_id, id, custom_object_id, resource, resource_id, contact_id)
            values (?1, ?2, ?2, 'contact', ?3, ?3)";
        self.repository.connection().execute(sql, [ORGANIZATION, Uuid::from_u128(41), contact]).unwrap();
    }

    /// Returns the step, the status and the status of the run of each step contact of a contact, by step.
    fn step_contacts(&self, contact: Uuid) -> Vec<(Uuid, String, String)> {
        let sql = "select s.step_id, s.status, r.status from enroll_step_contacts s
            join enroll_runs r on r.organization_id = s.organization_id and r.id = s.run_id and r.contact_id = s.contact_id
            where s.contact_id = ?1 order by s.step_id, s.id";
        let connection = self.repository.connection();
        let mut statement = connection.prepare(sql).unwrap();
        let rows = statement.query_map([contact], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }
}

fn request(phone: &str, step: Uuid) -> EnrollmentRequest<'_> {
    let mut request = EnrollmentRequest::new([Recipient::new(phone)]);
    request.step_id = Some(StepId::from_uuid(step));
    request
}

fn contact(outcome: &Outcome) -> Uuid {
    outcome.contact_id.unwrap().as_uuid()
}

fn step_contact(outcome: &Outcome) -> Uuid {
    outcome.step_contact_id.unwrap().as_uuid()
}

fn row(step: Uuid, status: &str, run: &str) -> (Uuid, String, String) {
    (step, status.to_owned(), run.to_owned())
}

fn blob(id: Uuid) -> Value {
    Value::Blob(id.as_bytes().to_vec())
}

#[test]
fn the_tests_run_every_block_of_the_pages() {
    host_page::assert_all_tested("sqlite", include_str!("host_statements.rs"));
}

/// The tests `own_sql` run these constants.
#[test]
fn the_pages_have_the_statements_that_accept() {
    assert_eq!(host_page::statements("sqlite", "accept"), [sql::ACCEPT]);
    assert_eq!(host_page::statements("sqlite", "find-accepted"), [sql::FIND]);
}

#[test]
fn an_organization_made_by_statements_accepts_enrollments() {
    let mut host = Host::new();
    assert_eq!(host.decides(ANN, FIRST), (Disposition::Added, vec![]));
    let plan = host.plan(BEN, FIRST);
    host.create_step(Uuid::from_u128(14), 4);
    let refused = host.repository.commit(plan.changes()).unwrap_err();
    assert_eq!(refused.kind(), RepositoryErrorKind::Conflict);
    assert_eq!(host.decides(BEN, Uuid::from_u128(14)), (Disposition::Added, vec![]));
}

#[test]
fn the_seed_file_of_the_pages_makes_an_organization_that_accepts_enrollments() {
    let given: Seed = serde_json::from_str(host_page::seed()).unwrap();
    let mut repository = SqliteRepository::open_in_memory().unwrap();
    seed::load(repository.connection(), &given).unwrap();
    let recipients = EnrollmentRequest::new([Recipient::new(ANN)]);
    let enrollment = Enrollment {
        organization_id: given.organization_id,
        sequence_id: given.sequences[0].row.id,
        key: EnrollmentKey::Idempotency("first"),
        at: Timestamp::from_millis(NOW).unwrap(),
        list: None,
        request: &recipients,
    };
    let policy = EnrollmentPolicy::default();
    let report = enroll_contacts(&mut repository, &Engine::new(&policy), &enrollment).unwrap().report;
    assert_eq!(report.counts().added, 1);
}

#[test]
fn due_step_contacts_are_read_by_time_and_activated_when_their_time_has_come() {
    let mut host = Host::new();
    let ann = host.enroll(ANN, FIRST);
    let mut later = request(BEN, FIRST);
    later.schedule_at = Some(Timestamp::from_millis(NOW + HOUR).unwrap());
    let ben = host.try_to_enroll(&later).unwrap().outcomes[0].clone();
    let due = |host: &Host, now: i64, limit: i64| -> Vec<Value> {
        let rows = host.read("read-due", &[&ORGANIZATION, &now, &limit]);
        rows.into_iter().map(|row| row[0].clone()).collect()
    };
    let both = [blob(step_contact(&ann)), blob(step_contact(&ben))];
    assert_eq!(due(&host, NOW - 1, 10), []);
    assert_eq!(due(&host, NOW, 10), both[..1]);
    assert_eq!(due(&host, NOW + HOUR, 10), both);
    assert_eq!(due(&host, NOW + HOUR, 1), both[..1]);

    host.run("index-due", &[]);
    assert_eq!(due(&host, NOW + HOUR, 10), both);
    let explain = format!("explain query plan {}", host_page::statements("sqlite", "read-due")[0]);
    let plan = format!("{:?}", host.query(&explain, &[&ORGANIZATION, &NOW, &10]));
    assert!(plan.contains("my_due_step_contacts") && !plan.contains("TEMP B-TREE"), "{plan}");

    let step_contact = step_contact(&ben);
    assert_eq!(host.run("activate", &[&ORGANIZATION, &step_contact, &(NOW + HOUR - 1)]), 0);
    let written = host.overtakes(BEN, FIRST, "activate", &[&ORGANIZATION, &step_contact, &(NOW + HOUR)]);
    assert_eq!(written, 1);
    assert_eq!(host.step_contacts(contact(&ben)), [row(FIRST, "active", "active")]);
    assert_eq!(host.decides(BEN, SECOND), (Disposition::Ignored, vec!["active_in_other_step"]));
}

#[test]
fn a_contact_moves_to_the_next_step_in_the_same_run() {
    let mut host = Host::new();
    let ann = host.enroll(ANN, FIRST);
    let next = |host: &Host, step: Uuid| host.read("read-next-step", &[&ORGANIZATION, &SEQUENCE, &step]);
    assert_eq!(next(&host, FIRST), [[blob(SECOND), Value::Text("phone".to_owned()), blob(CHANNEL)]]);
    assert_eq!(next(&host, SECOND)[0][0], blob(THIRD));
    assert_eq!(next(&host, THIRD), Vec::<Vec<Value>>::new());

    let from = step_contact(&ann);
    let unknown = Uuid::from_u128(99);
    assert_eq!(host.run("move-to-next-step", &[&ORGANIZATION, &from, &unknown, &MADE, &(NOW + HOUR)]), 0);
    assert_eq!(host.step_contacts(contact(&ann)), [row(FIRST, "active", "active")]);
    let due = NOW + HOUR;
    let written = host.overtakes(ANN, FIRST, "move-to-next-step", &[&ORGANIZATION, &from, &SECOND, &MADE, &due]);
    assert_eq!(written, 1);
    // A second worker that moves the same step contact writes nothing.
    let again = Uuid::from_u128(22);
    assert_eq!(host.run("move-to-next-step", &[&ORGANIZATION, &from, &SECOND, &again, &due]), 0);
    let moved = [row(FIRST, "moved", "active"), row(SECOND, "pending", "active")];
    assert_eq!(host.step_contacts(contact(&ann)), moved);
    let made = host.query("select scheduled_at, channel_id from enroll_step_contacts where id = ?1", &[&MADE]);
    assert_eq!(made, [[Value::Integer(due), blob(CHANNEL)]]);

    assert_eq!(host.decides(ANN, FIRST), (Disposition::Ignored, vec!["pending_in_other_step"]));
    assert_eq!(host.decides(ANN, THIRD), (Disposition::Ignored, vec!["pending_in_other_step"]));
    assert_eq!(host.decides(ANN, SECOND), (Disposition::Reprocessed, vec![]));
}

#[test]
fn a_finished_contact_is_reprocessed_in_its_step_and_re_added_elsewhere() {
    for (policy, step, disposition) in [
        (Reprocess::AnyStatus, FIRST, Disposition::Reprocessed),
        (Reprocess::LiveOnly, FIRST, Disposition::ReAdded),
        (Reprocess::AnyStatus, SECOND, Disposition::ReAdded),
    ] {
        let mut host = Host::new();
        let ann = host.enroll(ANN, FIRST);
        assert_eq!(host.overtakes(ANN, FIRST, "finish-run", &[&ORGANIZATION, &step_contact(&ann)]), 1);
        assert_eq!(host.step_contacts(contact(&ann)), [row(FIRST, "finished", "finished")]);
        assert_eq!(host.run("finish-run", &[&ORGANIZATION, &step_contact(&ann)]), 0);
        host.policy.reprocess = policy;
        assert_eq!(host.decides(ANN, step), (disposition, vec![]), "{policy:?} {step}");
    }
}

#[test]
fn a_deactivated_contact_leaves_the_sequence() {
    for (step, disposition) in [(FIRST, Disposition::Reprocessed), (SECOND, Disposition::ReAdded)] {
        let mut host = Host::new();
        let ann = host.enroll(ANN, FIRST);
        let ben = host.enroll(BEN, FIRST);
        assert_eq!(host.overtakes(ANN, FIRST, "deactivate", &[&ORGANIZATION, &SEQUENCE, &contact(&ann)]), 1);
        assert_eq!(host.step_contacts(contact(&ann)), [row(FIRST, "inactive", "finished")]);
        assert_eq!(host.step_contacts(contact(&ben)), [row(FIRST, "active", "active")]);
        assert_eq!(host.run("deactivate", &[&ORGANIZATION, &SEQUENCE, &contact(&ann)]), 0);
        assert_eq!(host.decides(ANN, step), (disposition, vec![]));
    }
}

#[test]
fn an_opt_out_is_recorded_read_and_taken_back() {
    let mut host = Host::new();
    let ann = host.enroll(ANN, FIRST);
    let preference: [&dyn ToSql; 3] = [&ORGANIZATION, &contact(&ann), &CHANNEL];
    let recipient = |host: &Host| host.read("read-recipient", &[&ORGANIZATION, &step_contact(&ann)]);
    let read = |opted_out: i64| {
        let text = |text: &str| Value::Text(text.to_owned());
        [[Value::Null, text(ANN), Value::Null, text("open"), Value::Integer(opted_out)]]
    };
    assert_eq!(recipient(&host), read(0));
    for _ in 0..2 {
        assert_eq!(host.overtakes(ANN, FIRST, "opt-out", &preference), 1);
        assert_eq!(recipient(&host), read(1));
        assert_eq!(host.decides(ANN, FIRST), (Disposition::Ignored, vec!["opted_out"]));
        assert_eq!(host.decides(ANN, SECOND), (Disposition::Ignored, vec!["opted_out", "active_in_other_step"]));
        assert_eq!(host.overtakes(ANN, FIRST, "opt-in", &preference), 1);
        assert_eq!(recipient(&host), read(0));
        assert_eq!(host.decides(ANN, FIRST), (Disposition::Reprocessed, vec![]));
    }
}

#[test]
fn a_blocked_contact_is_ignored_and_an_archived_one_enrolled() {
    let mut host = Host::new();
    let ann = contact(&host.enroll(ANN, FIRST));
    for (state, decides) in [
        ("blocked", (Disposition::Ignored, vec!["blocked"])),
        ("archived", (Disposition::Reprocessed, vec![])),
        ("open", (Disposition::Reprocessed, vec![])),
    ] {
        assert_eq!(host.overtakes(ANN, FIRST, "set-contact-state", &[&ORGANIZATION, &ann, &state, &NOW]), 1);
        assert_eq!(host.decides(ANN, FIRST), decides);
        let stored = host.query("select state from enroll_contacts where id = ?1", &[&ann]);
        assert_eq!(stored, [[Value::Text(state.to_owned())]]);
    }
}

#[test]
fn a_merged_contact_gives_its_keys_and_rows_to_the_other() {
    let mut host = Host::new();
    let mut rows = [BEN, "+12025550125"].map(Recipient::new);
    rows[0].external_id = Some("ben".into());
    rows[0].email = Some("ben@example.com".into());
    rows[1].external_id = Some("other".into());
    let mut both = EnrollmentRequest::new(rows);
    both.step_id = Some(StepId::from_uuid(FIRST));
    let outcomes = host.try_to_enroll(&both).unwrap().outcomes;
    let (from, other) = (contact(&outcomes[0]), contact(&outcomes[1]));
    let into = contact(&host.enroll(ANN, SECOND));
    host.run("opt-out", &[&ORGANIZATION, &from, &CHANNEL]);
    host.run("opt-in", &[&ORGANIZATION, &into, &CHANNEL]);
    host.insert_record(from);
    let merge: [&dyn ToSql; 4] = [&ORGANIZATION, &from, &into, &NOW];
    assert_eq!(host.overtakes(BEN, FIRST, "merge-contacts", &merge), 1);

    // Both were live: the one that stays keeps its step, and gets the other's history.
    let history = [row(FIRST, "inactive", "finished"), row(SECOND, "active", "active")];
    assert_eq!(host.step_contacts(into), history);
    assert_eq!(host.step_contacts(from), []);
    let keys = "select state, external_id, phone, email, email_key from enroll_contacts where id = ?1";
    let text = |text: &str| Value::Text(text.to_owned());
    let email = || text("ben@example.com");
    assert_eq!(host.query(keys, &[&into]), [[text("open"), text("ben"), text(ANN), email(), email()]]);
    assert_eq!(host.query(keys, &[&from])[0][0], text("merged"));
    let record = "select resource_id from enroll_custom_records where contact_id = ?1";
    assert_eq!(host.query(record, &[&into]), [[blob(into)]]);
    // A conversation on the same channel stays; a tag goes over.
    let conversations = "select count(*) from enroll_conversations where contact_id = ?1";
    assert_eq!(host.query(conversations, &[&into]), [[Value::Integer(1)]]);
    let tags = "select count(*) from enroll_contact_tags where contact_id = ?1";
    assert_eq!(host.query(tags, &[&into]), [[Value::Integer(1)]]);

    // The external id finds the contact that stays, with the opt-out of either.
    let mut by_key = request("+12025550199", SECOND);
    by_key.to[0].external_id = Some("ben".into());
    let found = host.try_to_enroll(&by_key).unwrap().outcomes[0].clone();
    assert_eq!((contact(&found), found.reasons[0].code()), (into, "opted_out"));
    // The phone that the contact that stays did not need is free.
    let again = host.enroll(BEN, FIRST);
    assert!(again.contact_created && again.contact_id != found.contact_id);

    // A contact that was not in the sequence gets the run, and a block stays.
    let stays = Uuid::from_u128(31);
    let insert = "insert into enroll_contacts (organization_id, id) values (?1, ?2)";
    host.repository.connection().execute(insert, [ORGANIZATION, stays]).unwrap();
    host.run("set-contact-state", &[&ORGANIZATION, &other, &"blocked", &NOW]);
    host.run("merge-contacts", &[&ORGANIZATION, &other, &stays, &NOW]);
    assert_eq!(host.step_contacts(stays), [row(FIRST, "active", "active")]);
    assert_eq!(host.query(conversations, &[&stays]), [[Value::Integer(1)]]);
    assert_eq!(host.decides("+12025550125", FIRST), (Disposition::Ignored, vec!["blocked"]));
}

#[test]
fn an_archived_sequence_and_a_disabled_channel_refuse_requests() {
    let mut host = Host::new();
    assert_eq!(host.overtakes(ANN, FIRST, "disable-channel", &[&ORGANIZATION, &CHANNEL]), 1);
    assert_eq!(host.faults(ANN, FIRST), ["channel_disabled"]);
    let mut host = Host::new();
    assert_eq!(host.overtakes(ANN, FIRST, "archive-sequence", &[&ORGANIZATION, &SEQUENCE]), 1);
    assert_eq!(host.faults(ANN, FIRST), ["sequence_not_active"]);
}

#[test]
fn a_result_is_read_as_counts_and_as_outcomes() {
    let mut host = Host::new();
    let unreachable = (0..60).map(|_| Recipient::new("junk"));
    let mut request = EnrollmentRequest::new([ANN, BEN].map(Recipient::new).into_iter().chain(unreachable));
    request.step_id = Some(StepId::from_uuid(FIRST));
    let report = host.try_to_enroll(&request).unwrap();
    let id = report.enrollment_id.as_uuid();
    let counts = [2, 0, 0, 60, 0, 2, 2].map(Value::Integer);
    let result = host.read("read-result", &[&ORGANIZATION, &id]);
    assert_eq!((&result[0][0], &result[0][1..]), (&Value::Text("completed".to_owned()), &counts[..]));
    let added = host.read("read-outcomes", &[&ORGANIZATION, &id, &"added"]);
    let contact = |n: usize| Value::Text(contact(&report.outcomes[n]).to_string());
    let expected = [[Value::Integer(0), contact(0), Value::Null], [Value::Integer(1), contact(1), Value::Null]];
    assert_eq!(added, expected);
    let ignored = host.read("read-outcomes", &[&ORGANIZATION, &id, &"ignored"]);
    let indexes: Vec<Value> = ignored.iter().map(|row| row[0].clone()).collect();
    assert_eq!(indexes, (2..62).map(Value::Integer).collect::<Vec<_>>());
    assert_eq!(ignored[59][2], Value::Text(r#"[{"code":"invalid_phone","fault":"letters"}]"#.to_owned()));
}

#[test]
fn a_request_whose_enrollment_was_pruned_is_a_new_one() {
    let mut host = Host::new();
    let first = host.enroll(ANN, FIRST);
    host.enrollments -= 1;
    assert_eq!(host.enroll(ANN, FIRST), first);
    assert_eq!(host.run("prune-enrollments", &[&ORGANIZATION, &NOW]), 0);
    assert_eq!(host.run("prune-enrollments", &[&ORGANIZATION, &(NOW + 1)]), 1);
    let outcomes = "select count(*) from enroll_enrollment_outcomes";
    assert_eq!(host.query(outcomes, &[]), [[Value::Integer(0)]]);
    host.enrollments -= 1;
    assert_eq!(host.decides(ANN, FIRST), (Disposition::Reprocessed, vec![]));
}

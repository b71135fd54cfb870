//! Runs every PostgreSQL statement of the pages for hosts after a real enrollment, and checks what the engine decides next.
#![cfg(feature = "testing")]

#[path = "../../../tests/host_page/mod.rs"]
mod host_page;
mod support;

use chrono::{DateTime, Utc};
use enroll::policy::Reprocess;
use enroll::seed::Seed;
use enroll::{
    AsyncRepository, Disposition, Engine, EnrollError, Enrollment, EnrollmentCommand, EnrollmentId, EnrollmentKey,
    EnrollmentPlan, EnrollmentPolicy, EnrollmentReport, EnrollmentRequest, OrganizationId, Outcome, Reason, Recipient,
    RepositoryErrorKind, SequenceId, StepId, Timestamp, enroll_contacts_async, plan_enrollment,
};
use enroll_postgres::needs_postgres;
use enroll_postgres::testing::Server;
use enroll_postgres::{PostgresClient, seed, sql};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, NoTls, Row};
use uuid::Uuid;

const ORGANIZATION: Uuid = Uuid::from_u128(1);
const CHANNEL: Uuid = Uuid::from_u128(2);
const SEQUENCE: Uuid = Uuid::from_u128(3);
const FIRST: Uuid = Uuid::from_u128(11);
const SECOND: Uuid = Uuid::from_u128(12);
const THIRD: Uuid = Uuid::from_u128(13);
/// The id of a step contact that the host creates.
const MADE: Uuid = Uuid::from_u128(21);
const ANN: &str = "+12025550123";
const BEN: &str = "+12025550124";

/// The instant of all requests.
const NOW: i64 = 1_769_958_000_000;
const HOUR: i64 = 3_600_000;

type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// An organization that the statements of the pages made: a channel, and a sequence of three steps.
struct Host {
    url: String,
    client: Client,
    repository: PostgresClient,
    policy: EnrollmentPolicy,
    enrollments: u128,
}

impl Host {
    async fn new() -> Self {
        let url = Server::shared().database().await.unwrap();
        let (client, repository) = (connect(&url).await, PostgresClient::new(connect(&url).await));
        let mut host = Self { url, client, repository, policy: EnrollmentPolicy::default(), enrollments: 100 };
        host.run("create-organization", &[&ORGANIZATION, &"Acme"]).await;
        host.run("create-channel", &[&ORGANIZATION, &CHANNEL, &"phone", &"+12025550100"]).await;
        host.run("create-sequence", &[&ORGANIZATION, &SEQUENCE, &"Welcome", &serde_json::json!({})]).await;
        for (position, step) in [(1, FIRST), (2, SECOND), (3, THIRD)] {
            host.create_step(step, position).await;
        }
        host
    }

    async fn create_step(&mut self, step: Uuid, position: i64) {
        self.run("create-step", &[&ORGANIZATION, &SEQUENCE, &step, &position, &"phone", &CHANNEL]).await;
    }

    /// Runs a block that writes, in one transaction. Returns how many rows its last statement wrote.
    async fn run(&mut self, name: &str, params: Params<'_>) -> u64 {
        let statements = host_page::statements("postgres", name);
        let transaction = self.client.transaction().await.unwrap();
        if statements.len() > 1 || name == "set-contact-state" {
            let lock = &host_page::statements("postgres", "lock-organization")[0];
            transaction.query_one(lock, &params[..1]).await.unwrap();
        }
        let mut written = 0;
        for sql in statements {
            let params = &params[..host_page::parameter_count(&sql)];
            written = transaction.execute(&sql, params).await.unwrap();
        }
        transaction.commit().await.unwrap();
        written
    }

    /// Runs a block of one statement that reads.
    async fn read(&self, name: &str, params: Params<'_>) -> Vec<Row> {
        let statements = host_page::statements("postgres", name);
        let [sql] = &statements[..] else { panic!("`{name}` has one statement") };
        self.client.query(sql, params).await.unwrap()
    }

    fn engine<'a>(
        &'a mut self,
        request: &'a EnrollmentRequest<'a>,
    ) -> (&'a mut PostgresClient, Engine<'a>, Enrollment<'a>) {
        self.enrollments += 1;
        let enrollment = Enrollment {
            organization_id: OrganizationId::from_uuid(ORGANIZATION),
            sequence_id: SequenceId::from_uuid(SEQUENCE),
            key: EnrollmentKey::Id(EnrollmentId::from_uuid(Uuid::from_u128(self.enrollments))),
            at: Timestamp::from_millis(NOW).unwrap(),
            list: None,
            request,
        };
        (&mut self.repository, Engine::new(&self.policy), enrollment)
    }

    async fn try_to_enroll(&mut self, request: &EnrollmentRequest<'_>) -> Result<EnrollmentReport, EnrollError> {
        let (repository, engine, enrollment) = self.engine(request);
        enroll_contacts_async(repository, &engine, &enrollment).await.map(|enrolled| enrolled.report)
    }

    /// Enrolls a contact into a step.
    async fn enroll(&mut self, phone: &str, step: Uuid) -> Outcome {
        self.try_to_enroll(&request(phone, step)).await.unwrap().outcomes[0].clone()
    }

    /// Returns the disposition of the next enrollment, and the codes of its reasons.
    async fn decides(&mut self, phone: &str, step: Uuid) -> (Disposition, Vec<&'static str>) {
        let outcome = self.enroll(phone, step).await;
        (outcome.disposition, outcome.reasons.iter().map(Reason::code).collect())
    }

    /// Returns the codes of the faults of a request.
    async fn faults(&mut self, phone: &str, step: Uuid) -> Vec<&'static str> {
        match self.try_to_enroll(&request(phone, step)).await {
            Err(EnrollError::Rejected(rejection)) => rejection.errors().iter().map(|fault| fault.code.code()).collect(),
            other => panic!("{other:?}"),
        }
    }

    async fn plan(&mut self, phone: &str, step: Uuid) -> EnrollmentPlan {
        let request = request(phone, step);
        let (repository, engine, enrollment) = self.engine(&request);
        let reference = repository.reference_data(&enrollment.reference_query()).await.unwrap();
        let command = EnrollmentCommand::check(&enrollment, &reference, &engine).unwrap();
        plan_enrollment(&command, &repository.load(&command.snapshot_query()).await.unwrap()).unwrap()
    }

    /// Runs a block between the load and the commit of an enrollment of that contact. The commit must be refused, so that
    /// the enrollment is planned again.
    async fn overtakes(&mut self, phone: &str, step: Uuid, name: &str, params: Params<'_>) -> u64 {
        let plan = self.plan(phone, step).await;
        let written = self.run(name, params).await;
        let refused = self.repository.commit(plan.changes()).await.unwrap_err();
        assert_eq!(refused.kind(), RepositoryErrorKind::Conflict, "{name}");
        written
    }

    /// Inserts a custom record of a contact.
    async fn insert_record(&self, contact: Uuid) {
        let sql = "insert into enroll.custom_records
            (organization_id, id, custom_object_id, resource, resource_id, contact_id)
            values ($1, $2, $2, 'contact', $3, $3)";
        self.client.execute(sql, &[&ORGANIZATION, &Uuid::from_u128(41), &contact]).await.unwrap();
    }

    /// Returns the step, the status and the status of the run of each step contact of a contact, by step.
    async fn step_contacts(&self, contact: Uuid) -> Vec<(Uuid, String, String)> {
        let sql = "select s.step_id, s.status, r.status from enroll.step_contacts s
            join enroll.runs r on r.organization_id = s.organization_id and r.id = s.run_id and r.contact_id = s.contact_id
            where s.contact_id = $1 order by s.step_id, s.id";
        let rows = self.client.query(sql, &[&contact]).await.unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
    }

    async fn count(&self, table: &str, contact: Uuid) -> i64 {
        let sql = format!("select count(*) from enroll.{table} where contact_id = $1");
        self.client.query_one(&sql, &[&contact]).await.unwrap().get(0)
    }
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

fn request(phone: &str, step: Uuid) -> EnrollmentRequest<'_> {
    let mut request = EnrollmentRequest::new([Recipient::new(phone)]);
    request.step_id = Some(StepId::from_uuid(step));
    request
}

fn at(millis: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(millis).unwrap()
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

#[test]
fn the_tests_run_every_block_of_the_pages() {
    host_page::assert_all_tested("postgres", include_str!("host_statements.rs"));
}

/// The tests `own_sql` run these constants.
#[test]
fn the_pages_have_the_statements_that_accept() {
    assert_eq!(host_page::statements("postgres", "accept"), [sql::ACCEPT]);
    assert_eq!(host_page::statements("postgres", "find-accepted"), [sql::FIND]);
}

#[tokio::test]
#[ignore = needs_postgres!()]
async fn an_organization_made_by_statements_accepts_enrollments() {
    let mut host = Host::new().await;
    assert_eq!(host.decides(ANN, FIRST).await, (Disposition::Added, vec![]));
    let plan = host.plan(BEN, FIRST).await;
    host.create_step(Uuid::from_u128(14), 4).await;
    let refused = host.repository.commit(plan.changes()).await.unwrap_err();
    assert_eq!(refused.kind(), RepositoryErrorKind::Conflict);
    assert_eq!(host.decides(BEN, Uuid::from_u128(14)).await, (Disposition::Added, vec![]));
}

#[tokio::test]
#[ignore = needs_postgres!()]
async fn the_seed_file_of_the_pages_makes_an_organization_that_accepts_enrollments() {
    let given: Seed = serde_json::from_str(host_page::seed()).unwrap();
    let url = Server::shared().database().await.unwrap();
    seed::load(&mut connect(&url).await, &given).await.unwrap();
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
    let mut repository = PostgresClient::new(connect(&url).await);
    let report = enroll_contacts_async(&mut repository, &Engine::new(&policy), &enrollment).await.unwrap().report;
    assert_eq!(report.counts().added, 1);
}

#[tokio::test]
#[ignore = needs_postgres!()]
async fn due_step_contacts_are_read_by_time_and_by_one_worker_each() {
    let mut host = Host::new().await;
    let ann = host.enroll(ANN, FIRST).await;
    let mut later = request(BEN, FIRST);
    later.schedule_at = Some(Timestamp::from_millis(NOW + HOUR).unwrap());
    let ben = host.try_to_enroll(&later).await.unwrap().outcomes[0].clone();
    host.run("index-due", &[]).await;
    let due = async |host: &Host, now: i64, limit: i64| -> Vec<Uuid> {
        let rows = host.read("read-due", &[&ORGANIZATION, &at(now), &limit]).await;
        rows.iter().map(|row| row.get(0)).collect()
    };
    let both = [step_contact(&ann), step_contact(&ben)];
    assert!(due(&host, NOW - 1, 10).await.is_empty());
    assert_eq!(due(&host, NOW, 10).await, both[..1]);
    assert_eq!(due(&host, NOW + HOUR, 10).await, both);
    assert_eq!(due(&host, NOW + HOUR, 1).await, both[..1]);

    let mut worker = connect(&host.url).await;
    let worker = worker.transaction().await.unwrap();
    let sql = &host_page::statements("postgres", "read-due")[0];
    let rows = worker.query(sql, &[&ORGANIZATION, &at(NOW + HOUR), &1_i64]).await.unwrap();
    assert_eq!(rows[0].get::<_, Uuid>(0), both[0]);
    assert_eq!(due(&host, NOW + HOUR, 10).await, both[1..]);
    worker.rollback().await.unwrap();
    assert_eq!(due(&host, NOW + HOUR, 10).await, both);
}

#[tokio::test]
#[ignore = needs_postgres!()]
async fn a_pending_step_contact_is_activated_when_its_time_has_come() {
    let mut host = Host::new().await;
    let mut later = request(BEN, FIRST);
    later.schedule_at = Some(Timestamp::from_millis(NOW + HOUR).unwrap());
    let ben = host.try_to_enroll(&later).await.unwrap().outcomes[0].clone();
    let step_contact = step_contact(&ben);
    let early = at(NOW + HOUR - 1);
    assert_eq!(host.run("activate", &[&ORGANIZATION, &step_contact, &early]).await, 0);
    let written = host.overtakes(BEN, FIRST, "activate", &[&ORGANIZATION, &step_contact, &at(NOW + HOUR)]).await;
    assert_eq!(written, 1);
    assert_eq!(host.step_contacts(contact(&ben)).await, [row(FIRST, "active", "active")]);
    assert_eq!(host.decides(BEN, SECOND).await, (Disposition::Ignored, vec!["active_in_other_step"]));
}

#[tokio::test]
#[ignore = needs_postgres!()]
async fn a_contact_moves_to_the_next_step_in_the_same_run() {
    let mut host = Host::new().await;
    let ann = host.enroll(ANN, FIRST).await;
    let next = async |host: &Host, step: Uuid| -> Vec<(Uuid, String, Uuid)> {
        let rows = host.read("read-next-step", &[&ORGANIZATION, &SEQUENCE, &step]).await;
        rows.iter().map(|row| (row.get(0), row.get(1), row.get(2))).collect()
    };
    assert_eq!(next(&host, FIRST).await, [(SECOND, "phone".to_owned(), CHANNEL)]);
    assert_eq!(next(&host, SECOND).await[0].0, THIRD);
    assert_eq!(next(&host, THIRD).await, []);

    let from = step_contact(&ann);
    let (unknown, due) = (Uuid::from_u128(99), at(NOW + HOUR));
    assert_eq!(host.run("move-to-next-step", &[&ORGANIZATION, &from, &unknown, &MADE, &due]).await, 0);
    assert_eq!(host.step_contacts(contact(&ann)).await, [row(FIRST, "active", "active")]);
    let params: Params<'_> = &[&ORGANIZATION, &from, &SECOND, &MADE, &due];
    assert_eq!(host.overtakes(ANN, FIRST, "move-to-next-step", params).await, 1);
    // A second worker that moves the same step contact writes nothing.
    let again = Uuid::from_u128(22);
    assert_eq!(host.run("move-to-next-step", &[&ORGANIZATION, &from, &SECOND, &again, &due]).await, 0);
    let moved = [row(FIRST, "moved", "active"), row(SECOND, "pending", "active")];
    assert_eq!(host.step_contacts(contact(&ann)).await, moved);
    let sql = "select scheduled_at, channel_id from enroll.step_contacts where id = $1";
    let made = host.client.query_one(sql, &[&MADE]).await.unwrap();
    assert_eq!((made.get::<_, DateTime<Utc>>(0), made.get::<_, Uuid>(1)), (due, CHANNEL));

    assert_eq!(host.decides(ANN, FIRST).await, (Disposition::Ignored, vec!["pending_in_other_step"]));
    assert_eq!(host.decides(ANN, THIRD).await, (Disposition::Ignored, vec!["pending_in_other_step"]));
    assert_eq!(host.decides(ANN, SECOND).await, (Disposition::Reprocessed, vec![]));
}

#[tokio::test]
#[ignore = needs_postgres!()]
async fn a_finished_contact_is_reprocessed_in_its_step_and_re_added_elsewhere() {
    for (policy, step, disposition) in [
        (Reprocess::AnyStatus, FIRST, Disposition::Reprocessed),
        (Reprocess::LiveOnly, FIRST, Disposition::ReAdded),
        (Reprocess::AnyStatus, SECOND, Disposition::ReAdded),
    ] {
        let mut host = Host::new().await;
        let ann = host.enroll(ANN, FIRST).await;
        assert_eq!(host.overtakes(ANN, FIRST, "finish-run", &[&ORGANIZATION, &step_contact(&ann)]).await, 1);
        assert_eq!(host.step_contacts(contact(&ann)).await, [row(FIRST, "finished", "finished")]);
        assert_eq!(host.run("finish-run", &[&ORGANIZATION, &step_contact(&ann)]).await, 0);
        host.policy.reprocess = policy;
        assert_eq!(host.decides(ANN, step).await, (disposition, vec![]), "{policy:?} {step}");
    }
}

#[tokio::test]
#[ignore = needs_postgres!()]
async fn a_deactivated_contact_leaves_the_sequence() {
    for (step, disposition) in [(FIRST, Disposition::Reprocessed), (SECOND, Disposition::ReAdded)] {
        let mut host = Host::new().await;
        let ann = host.enroll(ANN, FIRST).await;
        let ben = host.enroll(BEN, FIRST).await;
        let params: Params<'_> = &[&ORGANIZATION, &SEQUENCE, &contact(&ann)];
        assert_eq!(host.overtakes(ANN, FIRST, "deactivate", params).await, 1);
        assert_eq!(host.step_contacts(contact(&ann)).await, [row(FIRST, "inactive", "finished")]);
        assert_eq!(host.step_contacts(contact(&ben)).await, [row(FIRST, "active", "active")]);
        assert_eq!(host.run("deactivate", params).await, 0);
        assert_eq!(host.decides(ANN, step).await, (disposition, vec![]));
    }
}

#[tokio::test]
#[ignore = needs_postgres!()]
async fn an_opt_out_is_recorded_read_and_taken_back() {
    let mut host = Host::new().await;
    let ann = host.enroll(ANN, FIRST).await;
    let preference: Params<'_> = &[&ORGANIZATION, &contact(&ann), &CHANNEL];
    let opted_out = async |host: &Host| -> bool {
        let rows = host.read("read-recipient", &[&ORGANIZATION, &step_contact(&ann)]).await;
        assert_eq!((rows[0].get::<_, &str>(1), rows[0].get::<_, &str>(3)), (ANN, "open"));
        rows[0].get(4)
    };
    assert!(!opted_out(&host).await);
    for _ in 0..2 {
        assert_eq!(host.overtakes(ANN, FIRST, "opt-out", preference).await, 1);
        assert!(opted_out(&host).await);
        assert_eq!(host.decides(ANN, FIRST).await, (Disposition::Ignored, vec!["opted_out"]));
        assert_eq!(host.decides(ANN, SECOND).await, (Disposition::Ignored, vec!["opted_out", "active_in_other_step"]));
        assert_eq!(host.overtakes(ANN, FIRST, "opt-in", preference).await, 1);
        assert!(!opted_out(&host).await);
        assert_eq!(host.decides(ANN, FIRST).await, (Disposition::Reprocessed, vec![]));
    }
}

#[tokio::test]
#[ignore = needs_postgres!()]
async fn a_blocked_contact_is_ignored_and_an_archived_one_enrolled() {
    let mut host = Host::new().await;
    let ann = contact(&host.enroll(ANN, FIRST).await);
    for (state, decides) in [
        ("blocked", (Disposition::Ignored, vec!["blocked"])),
        ("archived", (Disposition::Reprocessed, vec![])),
        ("open", (Disposition::Reprocessed, vec![])),
    ] {
        let params: Params<'_> = &[&ORGANIZATION, &ann, &state, &at(NOW)];
        assert_eq!(host.overtakes(ANN, FIRST, "set-contact-state", params).await, 1);
        assert_eq!(host.decides(ANN, FIRST).await, decides);
        let stored = host.client.query_one("select state from enroll.contacts where id = $1", &[&ann]).await.unwrap();
        assert_eq!(stored.get::<_, &str>(0), state);
    }
}

#[tokio::test]
#[ignore = needs_postgres!()]
async fn a_merged_contact_gives_its_keys_and_rows_to_the_other() {
    let mut host = Host::new().await;
    let mut rows = [BEN, "+12025550125"].map(Recipient::new);
    rows[0].external_id = Some("ben".into());
    rows[0].email = Some("ben@example.com".into());
    rows[1].external_id = Some("other".into());
    let mut both = EnrollmentRequest::new(rows);
    both.step_id = Some(StepId::from_uuid(FIRST));
    let outcomes = host.try_to_enroll(&both).await.unwrap().outcomes;
    let (from, other) = (contact(&outcomes[0]), contact(&outcomes[1]));
    let into = contact(&host.enroll(ANN, SECOND).await);
    host.run("opt-out", &[&ORGANIZATION, &from, &CHANNEL]).await;
    host.run("opt-in", &[&ORGANIZATION, &into, &CHANNEL]).await;
    host.insert_record(from).await;
    let merge: Params<'_> = &[&ORGANIZATION, &from, &into, &at(NOW)];
    assert_eq!(host.overtakes(BEN, FIRST, "merge-contacts", merge).await, 1);

    // Both were live: the one that stays keeps its step, and gets the other's history.
    let history = [row(FIRST, "inactive", "finished"), row(SECOND, "active", "active")];
    assert_eq!(host.step_contacts(into).await, history);
    assert_eq!(host.step_contacts(from).await, []);
    let keys = "select state, external_id, phone, email, email_key from enroll.contacts where id = $1";
    let stays = host.client.query_one(keys, &[&into]).await.unwrap();
    let email = "ben@example.com";
    assert_eq!([0, 1, 2, 3, 4].map(|n| stays.get::<_, &str>(n)), ["open", "ben", ANN, email, email]);
    assert_eq!(host.client.query_one(keys, &[&from]).await.unwrap().get::<_, &str>(0), "merged");
    let record = "select resource_id from enroll.custom_records where contact_id = $1";
    assert_eq!(host.client.query_one(record, &[&into]).await.unwrap().get::<_, Uuid>(0), into);
    // A conversation on the same channel stays; a tag goes over.
    assert_eq!(host.count("conversations", into).await, 1);
    assert_eq!(host.count("contact_tags", into).await, 1);

    // The external id finds the contact that stays, with the opt-out of either.
    let mut by_key = request("+12025550199", SECOND);
    by_key.to[0].external_id = Some("ben".into());
    let found = host.try_to_enroll(&by_key).await.unwrap().outcomes[0].clone();
    assert_eq!((contact(&found), found.reasons[0].code()), (into, "opted_out"));
    // The phone that the contact that stays did not need is free.
    let again = host.enroll(BEN, FIRST).await;
    assert!(again.contact_created && again.contact_id != found.contact_id);

    // A contact that was not in the sequence gets the run, and a block stays.
    let stays = Uuid::from_u128(31);
    let insert = "insert into enroll.contacts (organization_id, id) values ($1, $2)";
    host.client.execute(insert, &[&ORGANIZATION, &stays]).await.unwrap();
    host.run("set-contact-state", &[&ORGANIZATION, &other, &"blocked", &at(NOW)]).await;
    host.run("merge-contacts", &[&ORGANIZATION, &other, &stays, &at(NOW)]).await;
    assert_eq!(host.step_contacts(stays).await, [row(FIRST, "active", "active")]);
    assert_eq!(host.count("conversations", stays).await, 1);
    assert_eq!(host.decides("+12025550125", FIRST).await, (Disposition::Ignored, vec!["blocked"]));
}

#[tokio::test]
#[ignore = needs_postgres!()]
async fn an_archived_sequence_and_a_disabled_channel_refuse_requests() {
    let mut host = Host::new().await;
    assert_eq!(host.overtakes(ANN, FIRST, "disable-channel", &[&ORGANIZATION, &CHANNEL]).await, 1);
    assert_eq!(host.faults(ANN, FIRST).await, ["channel_disabled"]);
    let mut host = Host::new().await;
    assert_eq!(host.overtakes(ANN, FIRST, "archive-sequence", &[&ORGANIZATION, &SEQUENCE]).await, 1);
    assert_eq!(host.faults(ANN, FIRST).await, ["sequence_not_active"]);
}

#[tokio::test]
#[ignore = needs_postgres!()]
async fn a_result_is_read_as_counts_and_as_outcomes() {
    let mut host = Host::new().await;
    let unreachable = (0..60).map(|_| Recipient::new("junk"));
    let mut request = EnrollmentRequest::new([ANN, BEN].map(Recipient::new).into_iter().chain(unreachable));
    request.step_id = Some(StepId::from_uuid(FIRST));
    let report = host.try_to_enroll(&request).await.unwrap();
    let id = report.enrollment_id.as_uuid();
    let result = host.read("read-result", &[&ORGANIZATION, &id]).await;
    assert_eq!(result[0].get::<_, &str>(0), "completed");
    let counts: Vec<i64> = (1..8).map(|column| result[0].get(column)).collect();
    assert_eq!(counts, [2, 0, 0, 60, 0, 2, 2]);
    let added = host.read("read-outcomes", &[&ORGANIZATION, &id, &"added"]).await;
    let added: Vec<(i64, String)> = added.iter().map(|row| (row.get(0), row.get(1))).collect();
    let contact = |n: usize| contact(&report.outcomes[n]).to_string();
    assert_eq!(added, [(0, contact(0)), (1, contact(1))]);
    let ignored = host.read("read-outcomes", &[&ORGANIZATION, &id, &"ignored"]).await;
    let indexes: Vec<i64> = ignored.iter().map(|row| row.get(0)).collect();
    assert_eq!(indexes, (2..62).collect::<Vec<_>>());
    let reasons: serde_json::Value = ignored[59].get(2);
    assert_eq!(reasons, serde_json::json!([{ "code": "invalid_phone", "fault": "letters" }]));
}

#[tokio::test]
#[ignore = needs_postgres!()]
async fn a_request_whose_enrollment_was_pruned_is_a_new_one() {
    let mut host = Host::new().await;
    let first = host.enroll(ANN, FIRST).await;
    host.enrollments -= 1;
    assert_eq!(host.enroll(ANN, FIRST).await, first);
    assert_eq!(host.run("prune-enrollments", &[&ORGANIZATION, &at(NOW)]).await, 0);
    assert_eq!(host.run("prune-enrollments", &[&ORGANIZATION, &at(NOW + 1)]).await, 1);
    let outcomes = host.client.query("select from enroll.enrollment_outcomes", &[]).await.unwrap();
    assert_eq!(outcomes.len(), 0);
    host.enrollments -= 1;
    assert_eq!(host.decides(ANN, FIRST).await, (Disposition::Reprocessed, vec![]));
}

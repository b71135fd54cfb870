//! The whole story over HTTP, on a real PostgreSQL server.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use enroll_example_crm::App;
use enroll_example_crm::sender::{BETWEEN_STEPS, send_due};
use enroll_postgres::needs_postgres;
use enroll_postgres::testing::Server;
use serde_json::{Value, json};
use sqlx::types::chrono::{DateTime, Utc};
use tokio::net::TcpListener;
use tokio::task::block_in_place;
use uuid::Uuid;

const LIST: &str = "Name,Mobile Phone,Unsubscribed
Ann,+1 202 555 0123,no
Ben,(202) 555-0124,
Ann again,202-555-0123,
Dan,junk,
Eve,+1 202 555 0125,yes
";
const LATER: &str = "Name,Mobile Phone\nBen,+1 202 555 0124\nCy,+1 202 555 0126\n";
const OPTED_OUT: &str = "?opted_out=Unsubscribed";

/// A running CRM on an empty database.
struct Crm {
    app: App,
    address: SocketAddr,
    agent: ureq::Agent,
}

impl Crm {
    async fn start() -> Self {
        static DATABASES: AtomicUsize = AtomicUsize::new(0);
        let name = format!("crm_{}_{}", std::process::id(), DATABASES.fetch_add(1, Ordering::Relaxed));
        let app = App::open(&Server::shared().empty_database(&name).await.unwrap()).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(axum::serve(listener, app.clone().router()).into_future());
        let agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        Self { app, address, agent }
    }

    /// Uploads a file. Returns the status and the answer.
    fn upload(&self, key: u128, query: &str, user: &str, file: &[u8]) -> (u16, Value) {
        let url = format!("http://{}/uploads/{}{query}", self.address, Uuid::from_u128(key));
        block_in_place(|| {
            let mut answer = self.agent.put(url).header("x-user", user).send(file).unwrap();
            (answer.status().as_u16(), answer.body_mut().read_json().unwrap())
        })
    }

    fn opt_out(&self, phone: &str) -> u16 {
        let url = format!("http://{}/opt-outs", self.address);
        block_in_place(|| self.agent.post(url).send_json(json!({ "phone": phone })).unwrap().status().as_u16())
    }

    fn get(&self, path: &str) -> (u16, String) {
        let url = format!("http://{}{path}", self.address);
        block_in_place(|| {
            let mut answer = self.agent.get(url).call().unwrap();
            (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
        })
    }

    fn outcome(&self, key: u128) -> Value {
        let (status, body) = self.get(&format!("/uploads/{}", Uuid::from_u128(key)));
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    /// Runs the sender some days from now. Returns the number of messages.
    async fn send(&self, days: u32) -> usize {
        // A minute more than the steps are apart, because the steps begin a little after each other.
        let later = (BETWEEN_STEPS + Duration::from_secs(60)) * days;
        let now = DateTime::<Utc>::from(SystemTime::now() + later);
        send_due(&self.app.pool, now).await.unwrap()
    }

    /// Counts the rows of the host and of the engine.
    async fn rows(&self) -> Vec<i64> {
        let mut rows = Vec::new();
        for table in ["audit", "customers", "enroll.contacts", "enroll.enrollments", "enroll.step_contacts"] {
            let count = sqlx::query_scalar(sqlx::AssertSqlSafe(format!("select count(*) from {table}")));
            rows.push(count.fetch_one(&self.app.pool).await.unwrap());
        }
        rows
    }
}

/// The phone, the disposition, the first reason, the owner and the messages of each person.
fn people(outcome: &Value) -> Vec<(&str, &str, &str, &str, i64)> {
    let people = outcome["people"].as_array().unwrap_or_else(|| panic!("{outcome}"));
    people
        .iter()
        .map(|person| {
            let text = |value: &'static str| person[value].as_str().unwrap_or("");
            let reason = person["reasons"][0]["code"].as_str().unwrap_or("");
            (text("phone"), text("disposition"), reason, text("owner"), person["messages"].as_i64().unwrap())
        })
        .collect()
}

const ANN: &str = "+12025550123";
const BEN: &str = "+12025550124";
const CY: &str = "+12025550126";

#[tokio::test(flavor = "multi_thread")]
#[ignore = needs_postgres!()]
async fn a_list_is_uploaded_sent_opted_out_of_and_uploaded_again() {
    let crm = Crm::start().await;
    let (status, outcome) = crm.upload(1, OPTED_OUT, "ada", LIST.as_bytes());
    assert_eq!(status, 200, "{outcome}");
    assert_eq!(outcome["who"], "ada");
    assert_eq!(outcome["set_aside"], json!(["row 6, column `Unsubscribed`: the person opted out"]));
    let first = |messages| {
        vec![
            (ANN, "added", "", "ada", messages),
            (BEN, "added", "", "ada", messages),
            (ANN, "duplicate", "", "ada", messages),
            ("", "ignored", "invalid_phone", "", 0),
        ]
    };
    assert_eq!(people(&outcome), first(0));
    assert_eq!(crm.rows().await, [1, 2, 2, 1, 2]);

    // The same upload again, as after a lost answer: nothing changes, and the answer is the same.
    assert_eq!(crm.upload(1, OPTED_OUT, "ada", LIST.as_bytes()), (200, outcome));
    assert_eq!(crm.rows().await, [1, 2, 2, 1, 2]);

    // The first message of each. The second one is due a day later.
    assert_eq!(crm.send(0).await, 2);
    assert_eq!(crm.send(0).await, 0);
    assert_eq!(people(&crm.outcome(1)), first(1));

    // Ben replies STOP: only Ann gets the second message, and is through.
    assert_eq!(crm.opt_out("+1 202 555 0124"), 204);
    assert_eq!(crm.send(1).await, 1);
    assert_eq!(crm.send(2).await, 0);

    // A later list of another user: Ben stays opted out, and stays the customer of the first user.
    let (status, outcome) = crm.upload(2, "", "grace", LATER.as_bytes());
    assert_eq!(status, 200, "{outcome}");
    let later = [(BEN, "ignored", "opted_out", "ada", 1), (CY, "added", "", "grace", 0)];
    assert_eq!(people(&outcome), later);
    assert_eq!(crm.send(0).await, 1);
    assert_eq!(people(&crm.outcome(2))[0].4, 1);
    assert_eq!(people(&crm.outcome(2))[1].4, 1);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = needs_postgres!()]
async fn an_upload_that_fails_after_its_enrollment_writes_nothing() {
    let crm = Crm::start().await;
    // The audit row names a user, which the database checks.
    for checked_late in [false, true] {
        if checked_late {
            // Now only the customers do: their rows follow the enrollment.
            let drop = "alter table audit drop constraint audit_who_fkey";
            sqlx::raw_sql(drop).execute(&crm.app.pool).await.unwrap();
        }
        let refused = crm.upload(1, OPTED_OUT, "mallory", LIST.as_bytes());
        assert_eq!(refused, (403, json!({ "error": "the user of `x-user` does not exist" })));
        assert_eq!(crm.rows().await, [0, 0, 0, 0, 0]);
        assert_eq!(crm.get(&format!("/uploads/{}", Uuid::from_u128(1))).0, 404);
    }
    // The key is still free.
    assert_eq!(crm.upload(1, OPTED_OUT, "ada", LIST.as_bytes()).0, 200);
    assert_eq!(crm.rows().await, [1, 2, 2, 1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = needs_postgres!()]
async fn another_list_with_the_key_of_an_upload_is_refused() {
    let crm = Crm::start().await;
    assert_eq!(crm.upload(1, OPTED_OUT, "ada", LIST.as_bytes()).0, 200);
    let (status, body) = crm.upload(1, "", "ada", LATER.as_bytes());
    assert_eq!((status, &body["errors"][0]["code"]), (409, &json!("idempotency_conflict")));
    assert_eq!(crm.rows().await, [1, 2, 2, 1, 2]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = needs_postgres!()]
async fn a_spreadsheet_of_many_people_is_one_transaction() {
    let crm = Crm::start().await;
    let sheet = std::fs::read("../../import/tests/lists/xlsx-shared-texts/list.xlsx").unwrap();
    let (status, outcome) = crm.upload(1, "", "ada", &sheet);
    assert_eq!(status, 200, "{outcome}");
    assert_eq!(people(&outcome)[0].1, "added");

    // 5000 people are two requests.
    let before = crm.rows().await;
    let rows: String = (0..5000).map(|n| format!("+1303{:07}\n", 5_550_000 + n)).collect();
    let (status, outcome) = crm.upload(2, "", "ada", format!("phone\n{rows}").as_bytes());
    assert_eq!(status, 200);
    assert_eq!(people(&outcome).iter().filter(|person| person.1 == "added").count(), 5000);
    let after = crm.rows().await;
    let added: Vec<i64> = before.iter().zip(&after).map(|(before, after)| after - before).collect();
    assert_eq!(added, [1, 5000, 5000, 2, 5000]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = needs_postgres!()]
async fn bad_input_is_refused_with_a_reason() {
    let crm = Crm::start().await;
    // A column that may say who must not be contacted is never ignored.
    let (status, body) = crm.upload(1, "", "ada", LIST.as_bytes());
    assert_eq!(status, 422);
    assert!(body["error"].as_str().unwrap().contains("Unsubscribed"), "{body}");
    let (status, body) = crm.upload(1, "", "ada", b"");
    assert_eq!(status, 422, "{body}");
    let url = format!("http://{}/uploads/{}", crm.address, Uuid::from_u128(1));
    assert_eq!(block_in_place(|| crm.agent.put(url).send(LIST).unwrap().status().as_u16()), 401);
    assert_eq!(crm.rows().await, [0, 0, 0, 0, 0]);
    for phone in ["junk", "+1 202 555 0199"] {
        assert_eq!(crm.opt_out(phone), 404);
    }
    let (status, page) = crm.get("/");
    assert!(status == 200 && page.contains("<form>"));
}

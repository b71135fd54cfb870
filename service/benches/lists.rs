//! Reads pages of long lists over HTTP, on SQLite and on PostgreSQL: a million contacts in one sequence.
//!
//! `cargo bench -p enroll-service --bench lists`, with `-- sqlite` or `-- postgresql` for one database, and with
//! `ENROLL_BENCH_LIST=100000` for another length.

mod support;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use enroll_bench::lists::{self, Dialect};
use enroll_bench::people::Scene;
use enroll_postgres::{ConnectOptions, PostgresError};
use rusqlite::Connection;
use serde::Serialize;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

use support::{NewDatabase, Service, agent, is_test, on_each_database, organizations, store};

fn main() {
    on_each_database("lists", &measure);
}

fn measure(name: &str, settings: &str, new_database: NewDatabase<'_>) {
    let length = if is_test() { 2000 } else { length() };
    println!("\nlists of {length} entries on {name} ({settings})");
    println!("{:>34} {:>10} {:>10} {:>10}", "page", "total", "median ms", "99th ms");
    let pages = Pages::measure(&new_database("lists").name, length);
    pages.iter().for_each(|page| println!("{page}"));
    store(&format!("lists-{name}.json"), &pages);
}

fn length() -> u32 {
    let length = std::env::var("ENROLL_BENCH_LIST").unwrap_or_else(|_| "1000000".to_owned());
    length.parse().expect("`ENROLL_BENCH_LIST` is a number")
}

/// The time to read a page.
#[derive(Serialize)]
struct Pages {
    page: String,
    total: u64,
    median_ms: f64,
    p99_ms: f64,
}

impl Pages {
    /// Reads each page, in turns.
    fn measure(database: &str, length: u32) -> Vec<Self> {
        let key = &organizations(database, 1)[0];
        fill(database, length);
        let (service, agent) = (Service::start(database), agent());
        let get = |path: &str| -> Value { serde_json::from_str(&service.get(&agent, key, path)).expect("it is JSON") };
        let in_sequence = format!("/v1/sequences/{}/contacts", Scene::empty().sequence_id);
        let mut pages: Vec<(String, String)> = Vec::new();
        let id = |prefix: &str, n: u32| format!("{prefix}000000-0000-0000-0000-{n:012x}");
        // The place in the middle of each list, as a cursor has it.
        for (name, list, sort, id) in [
            ("step contacts", in_sequence.clone(), json!("None"), id("c0", length / 2)),
            ("step contacts, finished", format!("{in_sequence}?status=finished"), json!("None"), id("c0", length / 4)),
            ("contacts", "/v1/contacts".to_owned(), json!({"Text": "Person 5"}), id("a0", 0)),
            ("enrollments", "/v1/enrollments".to_owned(), json!({"Instant": lists::AT}), id("d0", length / 2)),
            ("runs", "/v1/sequence_runs".to_owned(), json!({"Instant": lists::AT}), id("b0", length / 2)),
            (
                "runs of a sequence, finished",
                format!("/v1/sequences/{}/sequence_runs?status=finished", Scene::empty().sequence_id),
                json!({"Instant": lists::AT}),
                id("b0", length / 4),
            ),
        ] {
            let separator = if list.contains('?') { '&' } else { '?' };
            let cursor = get(&list)["metadata"]["next_cursor"].as_str().map(|first| moved(first, sort, &id));
            let cursor = cursor.expect("more entries follow");
            pages.push((format!("{name}: first"), list.clone()));
            pages.push((format!("{name}: middle"), format!("{list}{separator}cursor={cursor}")));
        }
        // The oldest rows.
        pages.push(("step contacts, inactive: first".to_owned(), format!("{in_sequence}?status=inactive")));
        pages.push(("step contacts: first 500".to_owned(), format!("{in_sequence}?limit=500")));
        pages.push((
            "runs after an instant: first".to_owned(),
            "/v1/sequence_runs?after=2026-03-01T00:00:00Z".to_owned(),
        ));
        pages.push(("runs of a phone: first".to_owned(), "/v1/sequence_runs?phone=%2B12100000007".to_owned()));
        pages.push(("contacts by phone".to_owned(), "/v1/contacts?phone=%2B12100000007".to_owned()));
        let rounds = if is_test() { 3 } else { 200 };
        let mut times: Vec<Vec<Duration>> = vec![Vec::new(); pages.len()];
        for _ in 0..rounds {
            for ((_, path), times) in pages.iter().zip(&mut times) {
                let start = Instant::now();
                service.get(&agent, key, path);
                times.push(start.elapsed());
            }
        }
        let measured = pages.into_iter().zip(times).map(|((page, path), mut times)| {
            times.sort_unstable();
            let ms = |time: Duration| time.as_secs_f64() * 1000.0;
            let total = get(&path)["total"].as_u64().expect("a list has a total");
            Self { page, total, median_ms: ms(times[times.len() / 2]), p99_ms: ms(times[times.len() * 99 / 100]) }
        });
        measured.collect()
    }
}

impl std::fmt::Display for Pages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { page, total, median_ms, p99_ms } = self;
        write!(f, "{page:>34} {total:>10} {median_ms:>10.2} {p99_ms:>10.2}")
    }
}

/// Returns a cursor of the same list for another place.
fn moved(cursor: &str, sort: Value, id: &str) -> String {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).expect("a cursor is Base64");
    let mut parts: Vec<Value> = serde_json::from_slice(&bytes).expect("a cursor is JSON");
    parts[1..].clone_from_slice(&[sort, json!(id)]);
    URL_SAFE_NO_PAD.encode(json!(parts).to_string())
}

/// Inserts the rows of the lists.
fn fill(database: &str, length: u32) {
    let sequence = Scene::empty().sequence_id.as_uuid();
    if !database.starts_with("postgres") {
        let connection = Connection::open(database).expect("the file is a database");
        let rows = lists::rows(Dialect::Sqlite, sequence, length);
        return connection.execute_batch(&rows).expect("the rows can be inserted");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("the runtime can be built");
    let filled: Result<(), PostgresError> = runtime.block_on(async {
        let client = ConnectOptions::new(database)?.pool(1)?.get().await?;
        client.batch_execute(&lists::rows(Dialect::Postgres, sequence, length)).await?;
        client.batch_execute("vacuum analyze").await?;
        Ok(())
    });
    filled.expect("the rows can be inserted");
}

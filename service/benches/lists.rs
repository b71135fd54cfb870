//! Reads pages of long lists over HTTP, on SQLite and on PostgreSQL: a million contacts in one sequence.
//!
//! `cargo bench -p enroll-service --bench lists`, with `-- sqlite` or `-- postgresql` for one database, and with
//! `ENROLL_BENCH_LIST=100000` for another length.

mod support;

use enroll_bench::people::Scene;
use enroll_postgres::{PostgresError, PostgresRepository};
use rusqlite::Connection;
use serde::Serialize;
use serde_json::Value;
use std::time::{Duration, Instant};
use uuid::Uuid;

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
        for (name, list) in [
            ("step contacts", in_sequence.clone()),
            ("step contacts, finished", format!("{in_sequence}?status=finished")),
            ("contacts", "/v1/contacts".to_owned()),
            ("enrollments", "/v1/enrollments".to_owned()),
        ] {
            let separator = if list.contains('?') { '&' } else { '?' };
            let total = get(&list)["total"].as_u64().expect("a list has a total");
            let middle = get(&format!("{list}{separator}limit=1&offset={}", total / 2));
            let cursor = middle["metadata"]["next_cursor"].as_str().expect("more entries follow");
            pages.push((format!("{name}: first"), list.clone()));
            pages.push((format!("{name}: middle"), format!("{list}{separator}cursor={cursor}")));
        }
        // The oldest rows.
        pages.push(("step contacts, inactive: first".to_owned(), format!("{in_sequence}?status=inactive")));
        pages.push(("step contacts: first 500".to_owned(), format!("{in_sequence}?limit=500")));
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

/// Inserts contacts, each with a run and a step contact, and a tenth as many enrollments.
fn fill(database: &str, length: u32) {
    let sequence = Scene::empty().sequence_id.as_uuid();
    let rows = ROWS.replace("LENGTH", &length.to_string());
    if !database.starts_with("postgres") {
        let id = |prefix: &str| format!("unhex(printf('%s%030x', '{prefix}', n))");
        let rows = rows
            .replace("enroll.", "enroll_")
            .replace("SEQUENCE", &format!("x'{}'", sequence.simple()))
            .replace("ORGANIZATION", &format!("x'{}'", ORGANIZATION.simple()))
            .replace("NUMBERS", &format!("(with recursive r(n) as (select 0 union all select n + 1 from r where n < {length} - 1) select n from r)"))
            .replace("NIL", "zeroblob(16)")
            .replace("NOW", "1769958000000")
            .replace("DIGEST", "zeroblob(32)")
            .replace("ID_A", &id("a0"))
            .replace("ID_B", &id("b0"))
            .replace("ID_C", &id("c0"))
            .replace("ID_D", &id("d0"));
        let connection = Connection::open(database).expect("the file is a database");
        // Like a commit of the engine: the triggers do nothing, and the rows are counted at the end.
        let sql = format!(
            "begin; update enroll_engine set writing = 1; {rows} update enroll_engine set writing = 0; commit;"
        );
        return connection.execute_batch(&sql).expect("the rows can be inserted");
    }
    let id = |prefix: &str| format!("('{prefix}' || lpad(to_hex(n), 30, '0'))::uuid");
    let rows = rows
        .replace("SEQUENCE", &format!("'{sequence}'::uuid"))
        .replace("ORGANIZATION", &format!("'{ORGANIZATION}'::uuid"))
        .replace("NUMBERS", &format!("generate_series(0, {length} - 1) as r(n)"))
        .replace("NIL", "'00000000-0000-0000-0000-000000000000'::uuid")
        .replace("NOW", "'2026-02-01T15:00:00Z'::timestamptz")
        .replace("DIGEST", "sha256('')")
        .replace("ID_A", &id("a0"))
        .replace("ID_B", &id("b0"))
        .replace("ID_C", &id("c0"))
        .replace("ID_D", &id("d0"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("the runtime can be built");
    let filled: Result<(), PostgresError> = runtime.block_on(async {
        let client = PostgresRepository::pool_at(database, 1)?.get().await?;
        let sql = format!("begin; set local enroll.engine = 'on'; {rows} commit; vacuum analyze");
        for statement in sql.split(';') {
            client.batch_execute(statement).await?;
        }
        Ok(())
    });
    filled.expect("the rows can be inserted");
}

/// The first of `organizations`.
const ORGANIZATION: Uuid = Uuid::from_u128(1);
/// Names and phones are not in the order of the ids. The oldest step contacts are inactive, then they are finished.
const ROWS: &str = "
insert into enroll.contacts (organization_id, id, phone, name, version)
    select ORGANIZATION, ID_A, '+12' || (100000000 + cast(n as bigint) * 7919 % LENGTH),
        case when n % 10 = 0 then null else 'Person ' || (cast(n as bigint) * 104729 % LENGTH) end, 1
    from NUMBERS;
insert into enroll.runs (organization_id, id, sequence_id, contact_id, status, started_at)
    select ORGANIZATION, ID_B, SEQUENCE, ID_A, 'active', NOW from NUMBERS;
insert into enroll.step_contacts
        (organization_id, id, run_id, sequence_id, step_id, contact_id, status, scheduled_at)
    select ORGANIZATION, ID_C, ID_B, SEQUENCE, SEQUENCE, ID_A,
        case when n < 100 then 'inactive' when n < LENGTH / 2 then 'finished' else 'active' end, NOW
    from NUMBERS;
insert into enroll.enrollments
        (organization_id, id, sequence_id, fingerprint, at, state, command, error, failed_at)
    select ORGANIZATION, ID_D, SEQUENCE, DIGEST, NOW, 'failed', '{}', 'e', NOW from NUMBERS where n % 10 = 0;
insert into enroll.counts (organization_id, list, sequence_id, step_id, status, entries)
    select organization_id, 'contacts', NIL, NIL, '', count(*) from enroll.contacts group by organization_id
    union all select organization_id, 'enrollments', NIL, NIL, state, count(*) from enroll.enrollments
        group by organization_id, state
    union all select organization_id, 'step_contacts', sequence_id, step_id, status, count(*) from enroll.step_contacts
        group by organization_id, sequence_id, step_id, status;
";

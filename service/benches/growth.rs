//! A long CSV through `enroll run` into a SQLite file: what each 4000 of it cost, the floor at that size, and the memory.
//!
//! `cargo bench -p enroll-service --bench growth`; `ENROLL_BENCH_GROWTH` says how many people, a million by default.
//!
//! The command is a process of its own. The file tells when it commits: each commit is a request of the list. Afterwards
//! the very rows that it wrote are written once more into a second file, straight through prepared statements, in the same
//! order and in transactions as large, so that the floor grows as the import did.
#![expect(clippy::cast_precision_loss, reason = "whatever is counted is small")]

mod support;

use enroll::request::MAX_RECIPIENTS;
use enroll::seed::Demo;
use enroll::{EnrollmentRequest, Recipient};
use enroll_bench::floors;
use enroll_bench::people::Scene;
use enroll_sqlite::SqliteRepository;
use rusqlite::types::Value;
use rusqlite::{Connection, Statement, Transaction, TransactionBehavior, params_from_iter};
use serde::Serialize;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::ops::Range;
use std::path::Path;
use std::process::{Child, Stdio};
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use support::{Folder, command, is_asked_for, is_test, keep, path, seed};

fn main() {
    if !is_asked_for("growth") {
        return;
    }
    let people = match std::env::var("ENROLL_BENCH_GROWTH") {
        Ok(people) => people.parse().expect("`ENROLL_BENCH_GROWTH` is a number"),
        Err(_) if is_test() => 12_000,
        Err(_) => 1_000_000,
    };
    let folder = Folder::new("growth");
    let [csv, imported, floor] = ["people.csv", "imported.db", "floor.db"].map(|name| folder.0.join(name));
    write_list(&csv, people).expect("the folder can be written");
    for database in [&imported, &floor] {
        seed(&Scene::empty().given, path(database));
    }
    let import = import(&csv, &imported);
    let floors = floors_of(&csv, &imported, &floor).expect("what stands in one can be written to the other");
    let growth = Growth::of(people, &import, &floors);
    print!("{}", growth.told());
    keep("growth.json", &growth);
}

/// Nobody comes twice, and nobody stood before.
fn write_list(path: &Path, people: usize) -> std::io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    writeln!(file, "phone,name,email")?;
    for first in (0..people).step_by(MAX_RECIPIENTS) {
        for Recipient { phone, name, email, .. } in Demo::crowd(first..(first + MAX_RECIPIENTS).min(people)).to {
            let cells = [phone, name, email].map(Option::unwrap_or_default);
            writeln!(file, "{},{},{}", cells[0], cells[1], cells[2])?;
        }
    }
    file.flush()
}

/// How an import went.
struct Import {
    /// From its start to the first commit: all is read and checked before.
    first: Duration,
    /// From one commit to the next.
    parts: Vec<Duration>,
    /// Resident memory, in kilobytes, and how many commits there were by then.
    resident: Vec<(usize, u64)>,
}

fn import(csv: &Path, database: &Path) -> Import {
    let watched = Connection::open(database).expect("it was just made");
    let mut version = watched.prepare("pragma data_version").expect("SQLite knows it");
    let mut enrolled = watched.prepare("select count(*) from enroll_enrollments").expect("it has the schema");
    let sequence = Scene::empty().sequence_id.to_string();
    let mut run = command(&["run", "--sequence", &sequence, "--request", path(csv), "--database", path(database)]);
    let mut last = ask(&mut version);
    let begun = Instant::now();
    let mut child = run.stdout(Stdio::piped()).spawn().expect("the command can be run");
    let (mut commits, mut resident): (Vec<Duration>, _) = (Vec::new(), Vec::new());
    let (mut sampled, mut ended) = (begun, false);
    while !ended {
        if sampled.elapsed() > Duration::from_millis(100) {
            sampled = Instant::now();
            resident.extend(resident_of(&child).map(|resident| (commits.len(), resident)));
            ended = child.try_wait().expect("it is a child").is_some();
        }
        let now = ask(&mut version);
        if now != last {
            let at = begun.elapsed();
            last = now;
            // Only a commit counts: a log that begins anew is a change too.
            if ask(&mut enrolled) > i64::try_from(commits.len()).expect("they are few") {
                commits.push(at);
            }
        }
        thread::sleep(Duration::from_micros(500));
    }
    let output = child.wait_with_output().expect("it is a child");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && told.ends_with("Every recipient was simply added.\n"), "{told}");
    assert_eq!(ask(&mut enrolled), i64::try_from(commits.len()).expect("they are few"), "a commit was missed");
    let parts = commits.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).collect();
    Import { first: commits[0], parts, resident }
}

fn ask(statement: &mut Statement<'_>) -> i64 {
    statement.query_row([], |row| row.get(0)).expect("the file can be read")
}

fn resident_of(child: &Child) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

/// What a request must cost at least.
struct Floor {
    recipients: usize,
    took: Duration,
}

/// For each request of the import: its part of the list read, the phones and emails checked, the keys looked up, and the
/// rows written.
fn floors_of(csv: &Path, imported: &Path, written: &Path) -> rusqlite::Result<Vec<Floor>> {
    let imported = Connection::open(imported)?;
    let mut tables = TABLES.iter().map(|table| Table::new(table, &imported)).collect::<Result<Vec<_>, _>>()?;
    let sizes = "select json_array_length(report, '$.outcomes') from enroll_enrollments order by rowid";
    let sizes: Vec<i64> = imported.prepare(sizes)?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    // With the settings of the engine.
    let written = SqliteRepository::open(written).expect("it was just made").into_connection();
    let mut list = csv::Reader::from_path(csv).expect("it was just made");
    let (mut floors, mut people) = (Vec::with_capacity(sizes.len()), 0);
    for (request, size) in sizes.into_iter().enumerate() {
        let recipients = usize::try_from(size).expect("it is a length");
        let mut rows = Vec::with_capacity(tables.len());
        for table in &mut tables {
            let places = if table.one_a_request { request..request + 1 } else { people..people + recipients };
            rows.push(table.rows(places)?);
        }
        people += recipients;
        let contacts = TABLES.iter().position(|table| *table == "contacts").expect("they are written");
        let keys = |column: &str| -> Rc<Vec<Value>> {
            let place = tables[contacts].columns.iter().position(|name| name == column).expect("contacts have it");
            Rc::new(rows[contacts].iter().map(|row| row[place].clone()).collect())
        };
        let (phones, emails) = (keys("phone"), keys("email_key"));

        let start = Instant::now();
        let records = list.records().take(recipients).collect::<Result<Vec<_>, _>>().expect("it was just made");
        let read = start.elapsed();
        let sent = EnrollmentRequest::new(records.iter().map(|record| {
            let mut person = Recipient::new(&record[0]);
            person.email = Some(record[2].into());
            person
        }));
        let start = Instant::now();
        floors::phones(&sent);
        floors::emails(&sent);
        look_up(&written, "held_phone", phones)?;
        look_up(&written, "held_email", emails)?;
        let inserts = tables.iter().map(|table| &*table.insert).zip(&rows);
        write(&written, inserts)?;
        floors.push(Floor { recipients, took: read + start.elapsed() });
    }
    Ok(floors)
}

fn look_up(connection: &Connection, held: &str, keys: Rc<Vec<Value>>) -> rusqlite::Result<()> {
    let sql = format!(
        "select c.* from rarray(?2) k cross join enroll_contacts c on c.organization_id = ?1 and c.{held} = k.value"
    );
    let organization = Scene::empty().organization_id().as_uuid();
    assert!(!connection.prepare_cached(&sql)?.exists((organization, keys))?, "nobody stood before");
    Ok(())
}

fn write<'r>(
    connection: &Connection,
    inserts: impl Iterator<Item = (&'r str, &'r Vec<Vec<Value>>)>,
) -> rusqlite::Result<()> {
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    // As a commit does, so that no trigger raises versions.
    transaction.prepare_cached("update enroll_engine set writing = 1")?.execute([])?;
    for (sql, rows) in inserts {
        let mut insert = transaction.prepare_cached(sql)?;
        for row in rows {
            insert.execute(params_from_iter(row))?;
        }
    }
    transaction.prepare_cached("update enroll_engine set writing = 0")?.execute([])?;
    transaction.commit()
}

/// A table that an import writes: its columns, and whether a request has one row of it or each of its people.
struct Table<'c> {
    columns: Vec<String>,
    stand: Statement<'c>,
    insert: String,
    one_a_request: bool,
}

impl<'c> Table<'c> {
    fn new(name: &str, imported: &'c Connection) -> rusqlite::Result<Self> {
        let mut columns = imported.prepare("select name from pragma_table_xinfo(?1) where hidden = 0")?;
        let columns =
            columns.query_map([format!("enroll_{name}")], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
        let names = columns.join(", ");
        // Contacts stand in the order in which they came, and each, being new, has one row of each kind round it.
        let stand = match name {
            "contacts" | "enrollments" | "tags" => {
                format!("select {names} from enroll_{name} where rowid > ?1 and rowid <= ?2 order by rowid")
            }
            _ => format!(
                "select r.{} from enroll_contacts c cross join enroll_{name} r
                 on r.organization_id = c.organization_id and r.contact_id = c.id
                 where c.rowid > ?1 and c.rowid <= ?2 order by c.rowid",
                columns.join(", r.")
            ),
        };
        let places = vec!["?"; columns.len()].join(", ");
        let insert = format!("insert into enroll_{name} ({names}) values ({places})");
        let one_a_request = matches!(name, "enrollments" | "tags");
        Ok(Self { columns, stand: imported.prepare(&stand)?, insert, one_a_request })
    }

    fn rows(&mut self, places: Range<usize>) -> rusqlite::Result<Vec<Vec<Value>>> {
        let columns = self.columns.len();
        let places = [places.start, places.end].map(|place| i64::try_from(place).expect("it is a row"));
        let rows = self.stand.query_map(places, |row| (0..columns).map(|n| row.get(n)).collect())?;
        rows.collect()
    }
}

/// In the order of a commit.
const TABLES: [&str; 7] = ["enrollments", "contacts", "conversations", "runs", "step_contacts", "tags", "contact_tags"];

/// What is kept, and told.
#[derive(Serialize)]
struct Growth {
    people: usize,
    /// Until the first commit, with all that is read and checked before, in milliseconds.
    first_ms: f64,
    /// From the start to the last commit, in seconds.
    whole_s: f64,
    requests: Vec<Request>,
}

/// A request of the list but the first.
#[derive(Serialize)]
struct Request {
    standing: usize,
    recipients: usize,
    ms: f64,
    floor_ms: f64,
    /// The most resident memory that was seen meanwhile, in megabytes.
    resident_mb: Option<f64>,
}

impl Growth {
    fn of(people: usize, import: &Import, floors: &[Floor]) -> Self {
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let Import { first, parts, resident } = import;
        let whole = *first + parts.iter().sum::<Duration>();
        let mut standing = floors[0].recipients;
        let requests = (1..).zip(parts.iter().zip(&floors[1..])).map(|(request, (took, floor))| {
            let meanwhile =
                resident.iter().filter(|(commits, _)| *commits == request).map(|(_, kb)| *kb as f64 / 1024.0);
            let before = standing;
            standing += floor.recipients;
            Request {
                standing: before,
                recipients: floor.recipients,
                ms: ms(*took),
                floor_ms: ms(floor.took),
                resident_mb: meanwhile.reduce(f64::max),
            }
        });
        Self { people, first_ms: ms(*first), whole_s: whole.as_secs_f64(), requests: requests.collect() }
    }

    fn told(&self) -> String {
        let Self { people, first_ms, whole_s, requests } = self;
        let mut text = format!(
            "\ngrowth: {people} people in {whole_s:.1} s, of which {:.1} s until the first request stood: all is read and \
             checked before\n{:>10} {:>14} {:>10} {:>7} {:>14}\n",
            first_ms / 1000.0,
            "standing",
            "ms a request",
            "floor ms",
            "ratio",
            "resident MB"
        );
        let steps = (people / 10).max(1);
        for of_step in requests.chunk_by(|a, b| a.standing / steps == b.standing / steps) {
            let (ms, floor) = (median(of_step, |request| request.ms), median(of_step, |request| request.floor_ms));
            let resident = of_step.iter().filter_map(|request| request.resident_mb).fold(0.0, f64::max);
            let _infallible = writeln!(
                text,
                "{:>10} {ms:>14.1} {floor:>10.1} {:>7.2} {resident:>14.1}",
                of_step[0].standing,
                ms / floor
            );
        }
        text
    }
}

fn median(requests: &[Request], of: impl Fn(&Request) -> f64) -> f64 {
    let mut all: Vec<f64> = requests.iter().map(of).collect();
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

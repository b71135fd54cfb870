//! Imports a long CSV with `enroll run` into a SQLite file. Measures the time and the memory of each request, next to a
//! floor at the same size.
//!
//! `cargo bench -p enroll-service --bench growth`. `ENROLL_BENCH_GROWTH` is the number of people; default one million.
//!
//! The bench runs the command as a separate process, and detects its commits in the file: each commit is one request of the
//! list. For the floor, it writes the same rows into a second file with prepared statements, in the same order and in
//! transactions of the same size. So the second file grows like the first one.

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
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::ops::Range;
use std::path::Path;
use std::process::Stdio;
use std::rc::Rc;
use std::thread;
use std::time::{Duration, Instant};

use support::{Folder, command, is_selected, is_test, load_seed, path, store};

fn main() {
    if !is_selected("growth") {
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
        load_seed(&Scene::empty().given, path(database));
    }
    let import = import(&csv, &imported);
    let floors = measure_floors(&csv, &imported, &floor).expect("the rows of one file can be written to the other");
    let growth = Growth::new(people, &import, &floors);
    print!("{}", growth.text());
    store("growth.json", &growth);
}

/// Writes a list in which each person is new and occurs once.
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

/// The times and the memory of an import.
struct Import {
    /// The time until the first commit. It includes reading and checking the whole list.
    first: Duration,
    /// The times between commits.
    requests: Vec<Duration>,
    /// Samples: the number of commits so far, and the resident memory in megabytes.
    resident: Vec<(usize, f64)>,
}

fn import(csv: &Path, database: &Path) -> Import {
    let watcher = Connection::open(database).expect("the bench created it");
    let mut version = watcher.prepare("pragma data_version").expect("SQLite knows it");
    let mut enrolled = watcher.prepare("select count(*) from enroll_enrollments").expect("it has the schema");
    let sequence = Scene::empty().sequence_id.to_string();
    let mut run = command(&["run", "--sequence", &sequence, "--list", path(csv), "--database", path(database)]);
    let mut last = read_number(&mut version);
    let start = Instant::now();
    let mut child = run.stdout(Stdio::piped()).spawn().expect("the command can be run");
    let (mut commits, mut resident): (Vec<Duration>, _) = (Vec::new(), Vec::new());
    let (mut sampled, mut ended) = (start, false);
    while !ended {
        if sampled.elapsed() > Duration::from_millis(100) {
            sampled = Instant::now();
            resident.extend(support::resident(&child).map(|resident| (commits.len(), resident)));
            ended = child.try_wait().expect("it is a child").is_some();
        }
        let now = read_number(&mut version);
        if now != last {
            let at = start.elapsed();
            last = now;
            // A restart of the write-ahead log also changes the version. Count only commits.
            if read_number(&mut enrolled) > i64::try_from(commits.len()).expect("they are few") {
                commits.push(at);
            }
        }
        thread::sleep(Duration::from_micros(500));
    }
    let output = child.wait_with_output().expect("it is a child");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && printed.ends_with("Every recipient was simply added.\n"), "{printed}");
    assert_eq!(read_number(&mut enrolled), i64::try_from(commits.len()).expect("they are few"), "a commit was missed");
    let requests = commits.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).collect();
    Import { first: commits[0], requests, resident }
}

fn read_number(statement: &mut Statement<'_>) -> i64 {
    statement.query_row([], |row| row.get(0)).expect("the file can be read")
}

/// The lower bound for the time of a request.
struct Floor {
    recipients: usize,
    took: Duration,
}

/// For each request of the import, measures the minimal work: read its part of the list, check the phones and emails, search
/// for the keys, and write the rows.
fn measure_floors(csv: &Path, imported: &Path, written: &Path) -> rusqlite::Result<Vec<Floor>> {
    let imported = Connection::open(imported)?;
    let mut tables = TABLES.iter().map(|table| Table::new(table, &imported)).collect::<Result<Vec<_>, _>>()?;
    let sizes = "select added + re_added + reprocessed + ignored + duplicate from enroll_enrollments order by rowid";
    let sizes: Vec<i64> = imported.prepare(sizes)?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    // Use the connection settings of the engine.
    let written = SqliteRepository::open(written).expect("the bench created it").into_connection();
    let mut list = csv::Reader::from_path(csv).expect("the bench created it");
    let (mut floors, mut people) = (Vec::with_capacity(sizes.len()), 0);
    for (request, size) in sizes.into_iter().enumerate() {
        let recipients = usize::try_from(size).expect("it is a length");
        let mut rows = Vec::with_capacity(tables.len());
        for table in &mut tables {
            let range = if table.one_per_request { request..request + 1 } else { people..people + recipients };
            rows.push(table.rows(range)?);
        }
        people += recipients;
        let contacts = TABLES.iter().position(|table| *table == "contacts").expect("the import writes contacts");
        let keys = |column: &str| -> Rc<Vec<Value>> {
            let index =
                tables[contacts].columns.iter().position(|name| name == column).expect("the table has this column");
            Rc::new(rows[contacts].iter().map(|row| row[index].clone()).collect())
        };
        let (phones, emails) = (keys("phone"), keys("email_key"));

        let start = Instant::now();
        let records = list.records().take(recipients).collect::<Result<Vec<_>, _>>().expect("the bench created it");
        let read = start.elapsed();
        let sent = EnrollmentRequest::new(records.iter().map(|record| {
            let mut person = Recipient::new(&record[0]);
            person.email = Some(record[2].into());
            person
        }));
        let start = Instant::now();
        floors::phones(&sent);
        floors::emails(&sent);
        find_key_holders(&written, "held_phone", phones)?;
        find_key_holders(&written, "held_email", emails)?;
        let inserts = tables.iter().map(|table| &*table.insert).zip(&rows);
        write(&written, inserts)?;
        floors.push(Floor { recipients, took: read + start.elapsed() });
    }
    Ok(floors)
}

fn find_key_holders(connection: &Connection, column: &str, keys: Rc<Vec<Value>>) -> rusqlite::Result<()> {
    let sql = format!(
        "select c.* from rarray(?2) k cross join enroll_contacts c on c.organization_id = ?1 and c.{column} = k.value"
    );
    let organization = Scene::empty().organization_id().as_uuid();
    assert!(!connection.prepare_cached(&sql)?.exists((organization, keys))?, "no contact has these keys yet");
    Ok(())
}

fn write<'r>(
    connection: &Connection,
    inserts: impl Iterator<Item = (&'r str, &'r Vec<Vec<Value>>)>,
) -> rusqlite::Result<()> {
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    // Disable the version triggers, like a commit of the engine.
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

/// A table that an import writes.
struct Table<'c> {
    columns: Vec<String>,
    select: Statement<'c>,
    insert: String,
    /// True if a request has one row, false if each person has one.
    one_per_request: bool,
}

impl<'c> Table<'c> {
    fn new(name: &str, imported: &'c Connection) -> rusqlite::Result<Self> {
        let mut columns = imported.prepare("select name from pragma_table_xinfo(?1) where hidden = 0")?;
        let columns =
            columns.query_map([format!("enroll_{name}")], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?;
        let names = columns.join(", ");
        // Contacts are in the order of the list. Each is new, so it has one related row in each table.
        let select = match name {
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
        let placeholders = vec!["?"; columns.len()].join(", ");
        let insert = format!("insert into enroll_{name} ({names}) values ({placeholders})");
        let one_per_request = matches!(name, "enrollments" | "tags");
        Ok(Self { columns, select: imported.prepare(&select)?, insert, one_per_request })
    }

    fn rows(&mut self, range: Range<usize>) -> rusqlite::Result<Vec<Vec<Value>>> {
        let columns = self.columns.len();
        let range = [range.start, range.end].map(|row| i64::try_from(row).expect("it is a row"));
        let rows = self.select.query_map(range, |row| (0..columns).map(|n| row.get(n)).collect())?;
        rows.collect()
    }
}

/// The tables, in the order in which a commit writes them.
const TABLES: [&str; 7] = ["enrollments", "contacts", "conversations", "runs", "step_contacts", "tags", "contact_tags"];

/// The stored and printed result.
#[derive(Serialize)]
struct Growth {
    people: usize,
    /// The time until the first commit, in milliseconds. It includes reading and checking the whole list.
    first_ms: f64,
    /// From the start to the last commit, in seconds.
    whole_s: f64,
    requests: Vec<Request>,
}

/// A request of the list, except the first.
#[derive(Serialize)]
struct Request {
    /// The number of people enrolled before.
    enrolled: usize,
    recipients: usize,
    ms: f64,
    floor_ms: f64,
    /// The highest sample of the resident memory, in megabytes.
    resident_mb: Option<f64>,
}

impl Growth {
    fn new(people: usize, import: &Import, floors: &[Floor]) -> Self {
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let Import { first, requests: times, resident } = import;
        let whole = *first + times.iter().sum::<Duration>();
        let mut enrolled = floors[0].recipients;
        let requests = (1..).zip(times.iter().zip(&floors[1..])).map(|(request, (took, floor))| {
            let samples = resident.iter().filter(|(commits, _)| *commits == request).map(|(_, resident)| *resident);
            let before = enrolled;
            enrolled += floor.recipients;
            Request {
                enrolled: before,
                recipients: floor.recipients,
                ms: ms(*took),
                floor_ms: ms(floor.took),
                resident_mb: samples.reduce(f64::max),
            }
        });
        Self { people, first_ms: ms(*first), whole_s: whole.as_secs_f64(), requests: requests.collect() }
    }

    fn text(&self) -> String {
        let Self { people, first_ms, whole_s, requests } = self;
        let mut text = format!(
            "\ngrowth: {people} people in {whole_s:.1} s, of which {:.1} s until the first commit (reads and checks the \
             whole list)\n{:>10} {:>14} {:>10} {:>7} {:>14}\n",
            first_ms / 1000.0,
            "enrolled",
            "ms/request",
            "floor ms",
            "ratio",
            "resident MB"
        );
        let steps = (people / 10).max(1);
        for step in requests.chunk_by(|a, b| a.enrolled / steps == b.enrolled / steps) {
            let (ms, floor) = (median(step, |request| request.ms), median(step, |request| request.floor_ms));
            let resident = step.iter().filter_map(|request| request.resident_mb).fold(0.0, f64::max);
            let _infallible = writeln!(
                text,
                "{:>10} {ms:>14.1} {floor:>10.1} {:>7.2} {resident:>14.1}",
                step[0].enrolled,
                ms / floor
            );
        }
        text
    }
}

fn median(requests: &[Request], value: impl Fn(&Request) -> f64) -> f64 {
    let mut all: Vec<f64> = requests.iter().map(value).collect();
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

//! Measures enrollments in a SQLite file, and the parts that the engine and the database need alone.
//!
//! `cargo bench -p enroll-sqlite --features testing`, with `ENROLL_BENCH_CONTACTS=0,100000,1000000` for all sizes.

use criterion::{Criterion, criterion_group, criterion_main};
use enroll::{
    ChangeSet, Engine, Enrollment, EnrollmentCommand, EnrollmentPolicy, EnrollmentReport, EnrollmentRequest,
    Repository, Snapshot, SnapshotQuery, enroll_contacts, plan_enrollment,
};
use enroll_bench::existing::{ExistingContacts, RECIPIENTS, Sent, WARM_UP_RECIPIENT, rounds, sizes};
use enroll_bench::floors;
use enroll_bench::people::{Scene, strangers};
use enroll_bench::rounds::{Contender, compare};
use enroll_bench::writes::{Created, Updated, created, updated};
use enroll_sqlite::{SqliteRepository, SqliteTransaction, seed};
use rusqlite::config::DbConfig;
use rusqlite::types::Value;
use rusqlite::vtab::array::Array;
use rusqlite::{Connection, Transaction, TransactionBehavior, params, params_from_iter};
use std::cell::Cell;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};
use std::{fs, io};
use uuid::Uuid;

fn sqlite(criterion: &mut Criterion) {
    let mut files: Vec<Rc<Prepared>> = Vec::new();
    for size in sizes() {
        let cases: Vec<Case> = Sent::all(size).into_iter().map(|sent| Case::new(sent, size, &mut files)).collect();
        for case in &cases {
            let parameter = format!("{}, {size} existing", case.sent.name());
            compare(criterion, ("sqlite", &parameter), RECIPIENTS, rounds(size), case.contenders());
        }
        // All cases, interleaved.
        let whole = cases.iter().map(|case| Contender::timing(case.sent.name(), || case.whole())).collect();
        compare(criterion, ("sqlite", &format!("whole enrollments, {size} existing")), RECIPIENTS, rounds(size), whole);
    }
}

criterion_group!(benches, sqlite);
criterion_main!(benches);

/// A request body, and a database file to enroll it in.
struct Case {
    sent: Sent,
    scene: Scene,
    file: Rc<Prepared>,
    body: Vec<u8>,
    query: SnapshotQuery,
    changes: ChangeSet,
    look_ups: Vec<LookUp>,
    writes: Vec<Write>,
}

impl Case {
    fn new(sent: Sent, size: usize, files: &mut Vec<Rc<Prepared>>) -> Self {
        let existing = sent.existing_contacts(size);
        let file = match files.iter().find(|file| file.existing == existing) {
            Some(file) => Rc::clone(file),
            None => {
                files.push(Rc::new(Prepared::new(existing)));
                Rc::clone(&files[files.len() - 1])
            }
        };
        let (scene, body) = (Scene::empty(), sent.body(size, 0));
        let policy = EnrollmentPolicy::default();
        let request = EnrollmentRequest::from_json(&body);
        let enrollment = scene.enrollment(&request, KEY);
        let mut planned = None;
        file.run(|repository| {
            let reference = repository.reference_data(&enrollment.reference_query()).expect("the file can be read");
            let command =
                EnrollmentCommand::check(&enrollment, &reference, &Engine::new(&policy)).expect("the request is valid");
            let query = command.snapshot_query();
            let snapshot = repository.load(&query).expect("the file can be read");
            let changes = plan_enrollment(&command, &snapshot).expect("the request is valid").changes().clone();
            repository.commit(&changes).expect("no other writer");
            let look_ups = look_ups(repository.connection(), &query, &snapshot).expect("the file can be read");
            let writes = writes(repository.connection(), &changes).expect("it was written");
            planned = Some((query, changes, look_ups, writes));
            Duration::ZERO
        });
        let (query, changes, look_ups, writes) = planned.expect("it ran");
        Self { sent, scene, file, body, query, changes, look_ups, writes }
    }

    fn contenders(&self) -> Vec<Contender<'_>> {
        let request = EnrollmentRequest::from_json(&self.body).into_owned();
        let of_emails = request.clone();
        vec![
            Contender::timing("whole enrollment", || self.whole()),
            Contender::timing("load", || self.load()),
            Contender::timing("commit", || self.commit()),
            Contender::new("json", || floors::json(&self.body)).as_floor(),
            Contender::new("phones", move || floors::phones(&request)).as_floor(),
            Contender::new("emails", move || floors::emails(&of_emails)).as_floor(),
            Contender::timing("look-ups", || self.look_up()).as_floor(),
            Contender::timing("inserts and updates", || self.write()).as_floor(),
        ]
    }

    /// Times the enrollment, from the bytes of the body to the committed rows.
    fn whole(&self) -> Duration {
        let (policy, mut report) = (EnrollmentPolicy::default(), None);
        let took = self.file.run(|repository| {
            let start = Instant::now();
            let request = EnrollmentRequest::from_json(&self.body);
            report = Some(enroll(repository, &policy, &self.scene.enrollment(&request, KEY)));
            start.elapsed()
        });
        self.sent.check(&report.expect("it ran").counts());
        took
    }

    fn load(&self) -> Duration {
        self.file.run(|repository| {
            let start = Instant::now();
            let snapshot = repository.load(&self.query);
            let took = start.elapsed();
            snapshot.expect("the file can be read");
            took
        })
    }

    fn commit(&self) -> Duration {
        self.file.run(|repository| {
            repository.load(&self.query).expect("the file can be read");
            let start = Instant::now();
            repository.commit(&self.changes).expect("no other writer");
            start.elapsed()
        })
    }

    /// Times the reads of a load with prepared statements only.
    fn look_up(&self) -> Duration {
        self.file.run(|repository| {
            let organization = self.scene.organization_id().as_uuid();
            timed_look_ups(repository.connection(), organization, &self.look_ups).expect("the file can be read")
        })
    }

    /// Times the writes of a commit with prepared statements only, on a connection that has just loaded.
    fn write(&self) -> Duration {
        self.file.run(|repository| {
            repository.load(&self.query).expect("the file can be read");
            timed_writes(repository.connection(), &self.writes).expect("no other writer")
        })
    }
}

fn enroll(
    repository: &mut impl Repository,
    policy: &EnrollmentPolicy,
    enrollment: &Enrollment<'_>,
) -> EnrollmentReport {
    enroll_contacts(repository, &Engine::new(policy), enrollment)
        .expect("the request is valid, and no other process writes")
        .report
}

/// A database file that has the same content at the start of each run.
///
/// A run commits into the write-ahead log, which is deleted afterwards. The file is copied again only if a checkpoint wrote
/// to it. So all runs of a size are equal, and most need no copy.
struct Prepared {
    existing: ExistingContacts,
    original: PathBuf,
    copy: PathBuf,
    copied: Cell<SystemTime>,
}

impl Prepared {
    /// Reuses the file of an earlier process if the schema is the same.
    fn new(existing: ExistingContacts) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let original = folder.join(format!("sqlite-{:016x}-{}.db", schema(), existing.name()));
        if !original.exists() {
            let draft = original.with_extension("draft");
            remove(&draft);
            make(&draft, existing);
            fs::rename(&draft, &original).expect("the folder can be written");
        }
        let copy = original.with_extension("copy");
        remove(&copy);
        let prepared = Self { existing, original, copy, copied: Cell::new(SystemTime::UNIX_EPOCH) };
        prepared.copy_again();
        prepared
    }

    /// Runs `work` on a connection with prepared statements, like that of a long-running host.
    fn run(&self, work: impl FnOnce(&mut SqliteRepository) -> Duration) -> Duration {
        let mut repository = SqliteRepository::open(&self.copy).expect("the file is a database");
        repository
            .connection()
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
            .expect("SQLite knows it");
        warm_up(repository.connection());
        let took = work(&mut repository);
        drop(repository);
        remove_log(&self.copy);
        if written(&self.copy) != self.copied.get() {
            self.copy_again();
        }
        took
    }

    fn copy_again(&self) {
        fs::copy(&self.original, &self.copy).expect("there is room for a copy");
        // Reads the file into the system's cache.
        let mut file = fs::File::open(&self.copy).expect("it was just made");
        io::copy(&mut file, &mut io::sink()).expect("it can be read");
        self.copied.set(written(&self.copy));
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        remove(&self.copy);
    }
}

/// Enrolls the stored contacts with the engine, one request after the other.
fn make(path: &Path, existing: ExistingContacts) {
    let scene = Scene::empty();
    let mut repository = SqliteRepository::open(path).expect("the folder can be written");
    seed::load(repository.connection(), &existing.given()).expect("the demo can be stored");
    let policy = EnrollmentPolicy::default();
    for (body, at, key) in existing.requests() {
        let request = EnrollmentRequest::from_json(&body);
        enroll(&mut repository, &policy, &Enrollment { at, ..scene.enrollment(&request, &key) });
    }
    let all = repository.connection().query_row("pragma wal_checkpoint(truncate)", [], |row| row.get(0));
    assert_eq!(all, Ok(0), "no other reader");
}

/// Enrolls one contact, and rolls back.
fn warm_up(connection: &Connection) {
    let (scene, body) = (Scene::empty(), strangers(WARM_UP_RECIPIENT..WARM_UP_RECIPIENT + 1));
    let request = EnrollmentRequest::from_json(&body);
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate).expect("no other writer");
    let mut repository = SqliteTransaction::new(&transaction).expect("it has the schema");
    enroll(&mut repository, &EnrollmentPolicy::default(), &scene.enrollment(&request, "warm-up"));
    transaction.rollback().expect("it can be taken back");
}

/// Returns a digest of the schema of this build.
fn schema() -> u64 {
    let repository = SqliteRepository::open_in_memory().expect("there is memory");
    let sql = "select group_concat(sql) from sqlite_schema";
    let sql: String = repository.connection().query_row(sql, [], |row| row.get(0)).expect("there is a schema");
    let mut hasher = DefaultHasher::new();
    sql.hash(&mut hasher);
    hasher.finish()
}

fn written(path: &Path) -> SystemTime {
    path.metadata().and_then(|file| file.modified()).expect("it is a file")
}

fn remove_log(path: &Path) {
    for end in ["-wal", "-shm"] {
        let mut log = path.as_os_str().to_owned();
        log.push(end);
        if let Err(e) = fs::remove_file(&log) {
            assert_eq!(e.kind(), io::ErrorKind::NotFound, "{}", log.display());
        }
    }
}

fn remove(path: &Path) {
    remove_log(path);
    if let Err(e) = fs::remove_file(path) {
        assert_eq!(e.kind(), io::ErrorKind::NotFound, "{}", path.display());
    }
}

/// A set of keys, and a statement that finds their rows.
struct LookUp {
    sql: String,
    keys: Array,
    and: Option<Uuid>,
}

fn look_ups(connection: &Connection, query: &SnapshotQuery, snapshot: &Snapshot) -> rusqlite::Result<Vec<LookUp>> {
    let columns = columns(connection, "contacts")?.join(", ");
    let keys = [
        ("held_external_id", query.keys.external_ids()),
        ("held_phone", query.keys.phones()),
        ("held_email", query.keys.emails()),
    ];
    let contacts = keys.into_iter().filter(|(_, keys)| !keys.is_empty()).map(|(held, keys)| LookUp {
        sql: format!(
            "select {columns} from rarray(?2) k \
             cross join enroll_contacts c on c.organization_id = ?1 and c.{held} = k.value"
        ),
        keys: Rc::new(keys.iter().map(|key| Value::Text(key.to_string())).collect()),
        and: None,
    });
    let ids: Array = Rc::new(snapshot.contacts.keys().map(|id| blob(id.as_uuid())).collect());
    let channel = query.channel_id.map(|id| ("channel_id", id.as_uuid()));
    let sequence = Some(("sequence_id", query.reference.sequence_id.as_uuid()));
    let object = query.reference.custom_object_id.map(|id| ("custom_object_id", id.as_uuid()));
    let tables = [
        ("communication_preferences", channel, "contact_id, channel_id, opt_in"),
        ("conversations", channel, "id, contact_id, channel_id, status, created_at"),
        ("runs", sequence, "id, sequence_id, contact_id, status, started_at"),
        (
            "step_contacts",
            sequence,
            "id, run_id, sequence_id, step_id, contact_id, status, scheduled_at, channel_id, default_call_flow_id, \
             times_processed, enrollment_id",
        ),
        ("custom_records", object, "contact_id, id, custom_object_id, resource, resource_id, properties"),
    ];
    let related = tables.into_iter().filter(|_| !ids.is_empty()).filter_map(|(table, and, columns)| {
        let (column, id) = and?;
        let sql = format!(
            "select {columns} from rarray(?2) k cross join enroll_{table} r on r.organization_id = ?1 \
             and r.contact_id = k.value and r.{column} = ?3"
        );
        Some(LookUp { sql, keys: Rc::clone(&ids), and: Some(id) })
    });
    Ok(contacts.chain(related).collect())
}

/// Returns the names of a table's stored columns.
fn columns(connection: &Connection, table: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare("select name from pragma_table_xinfo(?1) where hidden = 0")?;
    statement.query_map([format!("enroll_{table}")], |row| row.get(0))?.collect()
}

fn timed_look_ups(connection: &Connection, organization: Uuid, look_ups: &[LookUp]) -> rusqlite::Result<Duration> {
    let mut statements = Vec::with_capacity(look_ups.len());
    for LookUp { sql, keys, and } in look_ups {
        let mut statement = connection.prepare(sql)?;
        statement.raw_bind_parameter(1, organization)?;
        statement.raw_bind_parameter(2, keys)?;
        if let Some(id) = and {
            statement.raw_bind_parameter(3, id)?;
        }
        statements.push(statement);
    }
    let start = Instant::now();
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Deferred)?;
    for statement in &mut statements {
        let columns = statement.column_count();
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next()? {
            for column in 0..columns {
                black_box(row.get_ref(column)?);
            }
        }
    }
    transaction.commit()?;
    Ok(start.elapsed())
}

/// A statement, and the rows that it runs for.
struct Write {
    sql: String,
    rows: Vec<Vec<Value>>,
}

/// Reads the rows that were just committed, to write them again.
fn writes(connection: &Connection, changes: &ChangeSet) -> rusqlite::Result<Vec<Write>> {
    let organization = changes.organization_id().as_uuid();
    let mut writes = Vec::new();
    for Created { table, by, order, ids } in created(changes) {
        let columns = columns(connection, table)?;
        let places: Vec<String> = (1..=columns.len()).map(|n| format!("?{n}")).collect();
        let (names, places) = (columns.join(", "), places.join(", "));
        let committed = format!(
            "select {names} from enroll_{table} where organization_id = ?1 and {by} in rarray(?2) order by {order}"
        );
        let sql = format!("insert into enroll_{table} ({names}) values ({places})");
        writes.push(Write { sql, rows: rows(connection, &committed, organization, &ids)? });
    }
    for Updated { table, columns, ids } in updated(changes) {
        let sets: Vec<String> = (3..).zip(&columns).map(|(n, column)| format!("{column} = ?{n}")).collect();
        let (names, sets) = (columns.join(", "), sets.join(", "));
        let committed = format!(
            "select organization_id, id, {names} from enroll_{table} \
             where organization_id = ?1 and id in rarray(?2) order by id"
        );
        let sql = format!("update enroll_{table} set {sets} where organization_id = ?1 and id = ?2");
        writes.push(Write { sql, rows: rows(connection, &committed, organization, &ids)? });
    }
    Ok(writes)
}

fn rows(connection: &Connection, sql: &str, organization: Uuid, ids: &[Uuid]) -> rusqlite::Result<Vec<Vec<Value>>> {
    let ids: Array = Rc::new(ids.iter().copied().map(blob).collect());
    let mut statement = connection.prepare(sql)?;
    let columns = statement.column_count();
    let rows = statement.query_map(params![organization, ids], |row| (0..columns).map(|n| row.get(n)).collect())?;
    rows.collect()
}

/// Writes like a commit: in one transaction that acquires the lock first, with the version triggers disabled.
fn timed_writes(connection: &Connection, writes: &[Write]) -> rusqlite::Result<Duration> {
    let mut begin_writing = connection.prepare("update enroll_engine set writing = 1")?;
    let mut end_writing = connection.prepare("update enroll_engine set writing = 0")?;
    let mut statements = Vec::with_capacity(writes.len());
    for write in writes {
        statements.push((connection.prepare(&write.sql)?, &write.rows));
    }
    let start = Instant::now();
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    begin_writing.execute([])?;
    for (statement, rows) in &mut statements {
        for row in *rows {
            statement.execute(params_from_iter(row))?;
        }
    }
    end_writing.execute([])?;
    transaction.commit()?;
    Ok(start.elapsed())
}

fn blob(id: Uuid) -> Value {
    Value::Blob(id.as_bytes().to_vec())
}

const KEY: &str = "bench";

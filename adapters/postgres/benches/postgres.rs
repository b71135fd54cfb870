//! Measures enrollments in PostgreSQL over one connection, and the parts that the engine and the database need alone.
//!
//! `cargo bench -p enroll-postgres --features testing`, with `ENROLL_BENCH_CONTACTS=0,100000,1000000` for all sizes. The
//! bench starts a server that flushes to the disk. It needs PostgreSQL's programs.

use criterion::{Criterion, criterion_group, criterion_main};
use enroll::{
    AsyncRepository, ChangeSet, Engine, EnrollmentCommand, EnrollmentPolicy, EnrollmentRequest, Snapshot,
    SnapshotQuery, enroll_contacts_async, plan_enrollment,
};
use enroll_bench::existing::{ExistingContacts, RECIPIENTS, Sent, WARM_UP_RECIPIENT, rounds, sizes};
use enroll_bench::floors;
use enroll_bench::people::{Scene, strangers};
use enroll_bench::rounds::{Contender, compare};
use enroll_bench::writes::{Created, Updated, created, updated};
use enroll_postgres::seed::load;
use enroll_postgres::testing::Server;
use enroll_postgres::tokio_postgres::types::ToSql;
use enroll_postgres::tokio_postgres::{self, Client, NoTls, Transaction};
use enroll_postgres::{PostgresClient, PostgresTransaction, migrate};
use futures_util::future::try_join_all;
use futures_util::{SinkExt, TryStreamExt};
use std::cell::{Cell, RefCell};
use std::hint::black_box;
use std::io::Cursor;
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use uuid::Uuid;

fn postgres(criterion: &mut Criterion) {
    let databases = Databases::start();
    for size in sizes() {
        // The mixed body has the same contacts each time. In a growing database, the second run would find all of them.
        let sent = Sent::all(size).into_iter().filter(|sent| *sent != Sent::Mixed || size < GROWING);
        let cases: Vec<Case<'_>> = sent.map(|sent| Case::new(sent, size, &databases)).collect();
        for case in &cases {
            let parameter = format!("{}, {size} existing", case.sent.name());
            compare(criterion, ("postgres", &parameter), RECIPIENTS, rounds(size), case.contenders());
        }
        // All cases, interleaved.
        let whole = cases.iter().map(|case| Contender::timing(case.sent.name(), || case.whole())).collect();
        let parameter = format!("whole enrollments, {size} existing");
        compare(criterion, ("postgres", &parameter), RECIPIENTS, rounds(size), whole);
    }
}

criterion_group!(benches, postgres);
criterion_main!(benches);

/// A request body, and a database to enroll it in.
struct Case<'d> {
    sent: Sent,
    size: usize,
    databases: &'d Databases,
    template: String,
    /// A copy of the database for runs that only read.
    reading: String,
    /// The number of runs so far, if the database grows.
    turns: Cell<usize>,
    first: Rc<Turn>,
}

impl<'d> Case<'d> {
    fn new(sent: Sent, size: usize, databases: &'d Databases) -> Self {
        let template = databases.template(sent.existing_contacts(size));
        let (reading, first) = databases.runtime.block_on(async {
            let reading = if size < GROWING { databases.copy(&template).await } else { template.clone() };
            let mut client = databases.connect(&reading).await;
            prewarm(&client).await;
            let first = Turn::rehearse(&mut client, sent.body(size, 0), FIRST_KEY + sent as usize).await;
            (reading, Rc::new(first))
        });
        Self { sent, size, databases, template, reading, turns: Cell::new(0), first }
    }

    fn contenders(&self) -> Vec<Contender<'_>> {
        let request = EnrollmentRequest::from_json(&self.first.body).into_owned();
        let email_request = request.clone();
        vec![
            Contender::timing("whole enrollment", || self.whole()),
            Contender::timing("load", || self.load()),
            Contender::timing("commit", || self.commit()),
            Contender::new("json", || floors::json(&self.first.body)).as_floor(),
            Contender::new("phones", move || floors::phones(&request)).as_floor(),
            Contender::new("emails", move || floors::emails(&email_request)).as_floor(),
            Contender::timing("look-ups", || self.look_up()).as_floor(),
            Contender::timing("inserts and updates", || self.write()).as_floor(),
        ]
    }

    /// Times the enrollment, from the bytes of the body to the committed rows.
    fn whole(&self) -> Duration {
        let policy = EnrollmentPolicy::default();
        self.run(async |repository, turn| {
            let (scene, engine) = (Scene::empty(), Engine::new(&policy));
            let start = Instant::now();
            let request = EnrollmentRequest::from_json(&turn.body);
            let enrollment = scene.enrollment(&request, &turn.key);
            let report = enroll_contacts_async(repository, &engine, &enrollment).await;
            let took = start.elapsed();
            self.sent.check(&report.expect("the request is valid, and no other process writes").report.counts());
            took
        })
    }

    fn load(&self) -> Duration {
        self.read(async |repository, turn| {
            let start = Instant::now();
            let snapshot = repository.load(&turn.query).await;
            let took = start.elapsed();
            snapshot.expect("the database can be read");
            took
        })
    }

    fn commit(&self) -> Duration {
        self.run(async |repository, turn| {
            repository.load(&turn.query).await.expect("the database can be read");
            let start = Instant::now();
            repository.commit(&turn.changes).await.expect("no other writer");
            start.elapsed()
        })
    }

    /// Times the reads of a load with prepared statements only.
    fn look_up(&self) -> Duration {
        self.read(async |repository, turn| {
            timed_look_ups(repository.client(), &turn.look_ups).await.expect("the database can be read")
        })
    }

    /// Times the writes of a commit with prepared statements only, on a connection that has just loaded.
    fn write(&self) -> Duration {
        self.run(async |repository, turn| {
            repository.load(&turn.query).await.expect("the database can be read");
            timed_writes(repository.client(), turn).await.expect("no other writer")
        })
    }

    /// Runs `work`, which writes, on a warm connection to a fresh copy of the database.
    ///
    /// If a copy would take too long, all runs use one database, each with other contacts. They add a few percent to it.
    /// Such a run begins with a rehearsal that is rolled back.
    fn run(&self, work: impl AsyncFnOnce(&mut PostgresClient, &Turn) -> Duration) -> Duration {
        let databases = self.databases;
        databases.runtime.block_on(async {
            if self.size >= GROWING {
                let turn = self.turns.get() + 1;
                self.turns.set(turn);
                let mut client = databases.connect(&self.template).await;
                let (body, key) = (self.sent.body(self.size, turn), 1000 * self.sent as usize + turn);
                let turn = Turn::rehearse(&mut client, body, key).await;
                return on(client, &turn, work).await;
            }
            let name = databases.copy(&self.template).await;
            let mut client = databases.connect(&name).await;
            prewarm(&client).await;
            warm_up(&mut client).await;
            let took = on(client, &self.first, work).await;
            databases.remove(&name).await;
            took
        })
    }

    /// Runs `work`, which only reads, on a warm connection.
    fn read(&self, work: impl AsyncFnOnce(&mut PostgresClient, &Turn) -> Duration) -> Duration {
        self.databases.runtime.block_on(async {
            let mut client = self.databases.connect(&self.reading).await;
            warm_up(&mut client).await;
            on(client, &self.first, work).await
        })
    }
}

async fn on(client: Client, turn: &Turn, work: impl AsyncFnOnce(&mut PostgresClient, &Turn) -> Duration) -> Duration {
    let mut repository = PostgresClient::new(client);
    // Prepares its statements.
    repository.reference_data(&turn.query.reference).await.expect("the database can be read");
    work(&mut repository, turn).await
}

/// Enrolls one contact, and rolls back: the session then has the tables and triggers in its caches.
async fn warm_up(client: &mut Client) {
    Turn::rehearse(client, strangers(WARM_UP_RECIPIENT..WARM_UP_RECIPIENT + 1), WARM_UP_KEY).await;
}

/// The data that one run sends, reads and writes.
struct Turn {
    body: Vec<u8>,
    key: String,
    query: SnapshotQuery,
    changes: ChangeSet,
    look_ups: Vec<Statement>,
    copies: Vec<Copied>,
    updates: Vec<Statement>,
}

impl Turn {
    /// Enrolls, reads the written rows, and rolls back.
    async fn rehearse(client: &mut Client, body: Vec<u8>, key: usize) -> Self {
        let (scene, policy, key) = (Scene::empty(), EnrollmentPolicy::default(), format!("bench-{key}"));
        let (query, changes, look_ups, copies, updates) = {
            let request = EnrollmentRequest::from_json(&body);
            let enrollment = scene.enrollment(&request, &key);
            let mut transaction = client.transaction().await.expect("the server answers");
            let mut repository = PostgresTransaction::new(&mut transaction);
            let reference =
                repository.reference_data(&enrollment.reference_query()).await.expect("the database can be read");
            let command =
                EnrollmentCommand::check(&enrollment, &reference, &Engine::new(&policy)).expect("the request is valid");
            let query = command.snapshot_query();
            let snapshot = repository.load(&query).await.expect("the database can be read");
            let changes = plan_enrollment(&command, &snapshot).expect("the request is valid").changes().clone();
            repository.commit(&changes).await.expect("no other writer");
            let look_ups = look_ups(&transaction, &query, &snapshot).await.expect("the database can be read");
            let copies = copies(&transaction, &changes).await.expect("it was written");
            let updates = updates(&transaction, &changes).await.expect("it was written");
            transaction.rollback().await.expect("it can be rolled back");
            (query, changes, look_ups, copies, updates)
        };
        Self { body, key, query, changes, look_ups, copies, updates }
    }
}

/// A server with the databases in which runs begin.
struct Databases {
    runtime: Runtime,
    admin: Client,
    server: Server,
    templates: RefCell<Vec<String>>,
    copies: Cell<usize>,
}

impl Databases {
    fn start() -> Self {
        let server = Server::start_with(&SETTINGS);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("the system has threads");
        let admin = runtime.block_on(connect(&server, None));
        Self { runtime, admin, server, templates: RefCell::default(), copies: Cell::new(0) }
    }

    /// Returns the name of the database with these contacts. The first call fills it with the engine.
    fn template(&self, existing: ExistingContacts) -> String {
        let name = format!("existing_{}", existing.name());
        if !self.templates.borrow().contains(&name) {
            self.runtime.block_on(self.make(&name, existing));
            self.templates.borrow_mut().push(name.clone());
        }
        name
    }

    async fn make(&self, name: &str, existing: ExistingContacts) {
        self.server.empty_database(name).await.expect("the server answers");
        let mut client = self.connect(name).await;
        migrate(&mut client).await.expect("the database is empty");
        load(&mut client, &existing.given()).await.expect("the demo can be stored");
        client.batch_execute("set synchronous_commit = off").await.expect("it can be set");
        let (scene, policy) = (Scene::empty(), EnrollmentPolicy::default());
        let mut repository = PostgresClient::new(client);
        for (body, at, key) in existing.requests() {
            let request = EnrollmentRequest::from_json(&body);
            let enrollment = enroll::Enrollment { at, ..scene.enrollment(&request, &key) };
            let report = enroll_contacts_async(&mut repository, &Engine::new(&policy), &enrollment).await;
            report.expect("the request is valid, and no other process writes");
        }
        let client = repository.into_client();
        for statement in ["create extension pg_prewarm", "vacuum analyze", "checkpoint"] {
            client.batch_execute(statement).await.expect(statement);
        }
        prewarm(&client).await;
    }

    async fn copy(&self, template: &str) -> String {
        let name = format!("copy_{}", self.copies.replace(self.copies.get() + 1));
        let create = format!("create database {name} template {template}");
        // A closed session may still be connected.
        let mut made = self.admin.batch_execute(&create).await;
        for _ in 0..100 {
            if made.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
            made = self.admin.batch_execute(&create).await;
        }
        made.expect("no session uses the template");
        name
    }

    /// Drops a database. This ends with a checkpoint, so that none starts during the next run.
    async fn remove(&self, name: &str) {
        self.admin.batch_execute(&format!("drop database {name} with (force)")).await.expect("the server answers");
    }

    async fn connect(&self, name: &str) -> Client {
        connect(&self.server, Some(name)).await
    }
}

async fn connect(server: &Server, database: Option<&str>) -> Client {
    let mut config: tokio_postgres::Config = server.url().parse().expect("the address is valid");
    if let Some(database) = database {
        config.dbname(database);
    }
    let (client, connection) = config.connect(NoTls).await.expect("the server answers");
    tokio::spawn(connection);
    client
}

/// Reads all tables and indexes into the memory of the server.
async fn prewarm(client: &Client) {
    let all = "select sum(pg_prewarm(oid::regclass)) from pg_class
        where relnamespace = 'enroll'::regnamespace and relkind in ('r', 'i')";
    client.batch_execute(all).await.expect("the extension `pg_prewarm` is installed");
}

/// A statement with its parameters.
struct Statement {
    sql: String,
    parameters: Vec<Box<dyn ToSql + Sync>>,
}

impl Statement {
    fn parameters(&self) -> Vec<&(dyn ToSql + Sync)> {
        self.parameters.iter().map(|parameter| &**parameter).collect()
    }
}

async fn look_ups(
    transaction: &Transaction<'_>,
    query: &SnapshotQuery,
    snapshot: &Snapshot,
) -> Result<Vec<Statement>, tokio_postgres::Error> {
    let organization = query.reference.organization_id.as_uuid();
    let keys = [
        ("held_external_id", query.keys.external_ids()),
        ("held_phone", query.keys.phones()),
        ("held_email", query.keys.emails()),
    ];
    let columns = stored_columns(transaction, "contacts").await?;
    let contacts = keys.into_iter().filter(|(_, keys)| !keys.is_empty()).map(|(held, keys)| Statement {
        sql: format!("select {columns} from enroll.contacts where organization_id = $1 and {held} = any($2::text[])"),
        parameters: vec![Box::new(organization), Box::new(keys.iter().map(ToString::to_string).collect::<Vec<_>>())],
    });
    let mut look_ups: Vec<Statement> = contacts.collect();
    let ids: Vec<Uuid> = snapshot.contacts.keys().map(|id| id.as_uuid()).collect();
    let channel = query.channel_id.map(|id| ("channel_id", id.as_uuid()));
    let sequence = Some(("sequence_id", query.reference.sequence_id.as_uuid()));
    let object = query.reference.custom_object_id.map(|id| ("custom_object_id", id.as_uuid()));
    let tables = [
        ("communication_preferences", channel),
        ("conversations", channel),
        ("runs", sequence),
        ("step_contacts", sequence),
        ("custom_records", object),
    ];
    for (table, belongs_to) in tables.into_iter().filter(|_| !ids.is_empty()) {
        let Some((column, id)) = belongs_to else { continue };
        let columns = stored_columns(transaction, table).await?;
        let sql = format!(
            "select {columns} from enroll.{table} \
             where organization_id = $1 and contact_id = any($2::uuid[]) and {column} = $3"
        );
        look_ups.push(Statement { sql, parameters: vec![Box::new(organization), Box::new(ids.clone()), Box::new(id)] });
    }
    Ok(look_ups)
}

/// Returns the names of a table's stored columns.
async fn stored_columns(transaction: &Transaction<'_>, table: &str) -> Result<String, tokio_postgres::Error> {
    let columns = "select string_agg(quote_ident(attname), ', ' order by attnum) from pg_attribute
        where attrelid = $1::text::regclass and attnum > 0 and not attisdropped and attgenerated = ''";
    Ok(transaction.query_one(columns, &[&format!("enroll.{table}")]).await?.get(0))
}

/// Runs all statements in one round trip.
async fn timed_look_ups(client: &Client, look_ups: &[Statement]) -> Result<Duration, tokio_postgres::Error> {
    let prepared = try_join_all(look_ups.iter().map(|look_up| client.prepare(&look_up.sql))).await?;
    let parameters: Vec<_> = look_ups.iter().map(Statement::parameters).collect();
    let start = Instant::now();
    black_box(try_join_all(prepared.iter().zip(&parameters).map(|(sql, with)| client.query(sql, with))).await?);
    Ok(start.elapsed())
}

/// Rows of a table in the binary format of `copy`.
struct Copied {
    sql: String,
    bytes: Vec<u8>,
}

/// Reads the rows that were just written, to write them again.
async fn copies(transaction: &Transaction<'_>, changes: &ChangeSet) -> Result<Vec<Copied>, tokio_postgres::Error> {
    let organization = changes.organization_id();
    let mut copies = Vec::new();
    for Created { table, by, order, ids } in created(changes) {
        let columns = stored_columns(transaction, table).await?;
        let ids: Vec<String> = ids.iter().map(Uuid::to_string).collect();
        let copy = format!(
            "copy (select {columns} from enroll.{table} where organization_id = '{organization}' \
             and {by} = any('{{{}}}') order by {order}) to stdout (format binary)",
            ids.join(",")
        );
        let mut bytes = Vec::new();
        let mut chunks = std::pin::pin!(transaction.copy_out(&copy).await?);
        while let Some(chunk) = chunks.try_next().await? {
            bytes.extend_from_slice(&chunk);
        }
        copies.push(Copied { sql: format!("copy enroll.{table} ({columns}) from stdin (format binary)"), bytes });
    }
    Ok(copies)
}

async fn updates(transaction: &Transaction<'_>, changes: &ChangeSet) -> Result<Vec<Statement>, tokio_postgres::Error> {
    let organization = changes.organization_id().as_uuid();
    let mut updates = Vec::new();
    for Updated { table, columns, ids } in updated(changes) {
        let mut parameters: Vec<Box<dyn ToSql + Sync>> = vec![Box::new(organization), Box::new(ids.clone())];
        let (mut sets, mut arrays) = (Vec::new(), Vec::new());
        for (place, column) in (3..).zip(&columns) {
            let values = format!(
                "select {column}::text, pg_typeof({column})::text from enroll.{table} \
                 where organization_id = $1 and id = any($2) order by id"
            );
            let values = transaction.query(&values, &[&organization, &ids]).await?;
            let kind: &str = values[0].get(1);
            sets.push(format!("{column} = u.{column}::{kind}"));
            arrays.push(format!("${place}::text[]"));
            parameters.push(Box::new(values.iter().map(|row| row.get(0)).collect::<Vec<Option<String>>>()));
        }
        let (sets, arrays, columns) = (sets.join(", "), arrays.join(", "), columns.join(", "));
        let sql = format!(
            "update enroll.{table} t set {sets} from (select $1::uuid as organization_id, u.* \
             from unnest($2::uuid[], {arrays}) as u (id, {columns}) offset 0) as u \
             where t.organization_id = u.organization_id and t.id = u.id"
        );
        updates.push(Statement { sql, parameters });
    }
    Ok(updates)
}

/// Writes like a commit: in one transaction, with the version triggers disabled.
async fn timed_writes(client: &mut Client, turn: &Turn) -> Result<Duration, tokio_postgres::Error> {
    let copies = try_join_all(turn.copies.iter().map(|copy| client.prepare(&copy.sql))).await?;
    let updates = try_join_all(turn.updates.iter().map(|update| client.prepare(&update.sql))).await?;
    let rows: Vec<Cursor<Vec<u8>>> = turn.copies.iter().map(|copy| Cursor::new(copy.bytes.clone())).collect();
    let start = Instant::now();
    let transaction = client.transaction().await?;
    transaction.batch_execute("select set_config('enroll.engine', 'on', true)").await?;
    for (copy, rows) in copies.iter().zip(rows) {
        let mut sink = std::pin::pin!(transaction.copy_in(copy).await?);
        sink.send(rows).await?;
        sink.finish().await?;
    }
    for (update, Statement { parameters, .. }) in updates.iter().zip(&turn.updates) {
        let parameters: Vec<_> = parameters.iter().map(|parameter| &**parameter).collect();
        transaction.execute(update, &parameters).await?;
    }
    transaction.batch_execute("select set_config('enroll.engine', 'off', true)").await?;
    transaction.commit().await?;
    Ok(start.elapsed())
}

const WARM_UP_KEY: usize = 1_000_000;
const FIRST_KEY: usize = 2_000_000;
/// The size from which a copy of the database would take longer than the run.
const GROWING: usize = 1_000_000;
/// Commits are flushed to the disk. No vacuum and no timed checkpoint disturbs a single contender.
const SETTINGS: [(&str, &str); 7] = [
    ("fsync", "on"),
    ("synchronous_commit", "on"),
    ("full_page_writes", "on"),
    ("shared_buffers", "1GB"),
    ("max_wal_size", "16GB"),
    ("checkpoint_timeout", "1h"),
    ("autovacuum", "off"),
];

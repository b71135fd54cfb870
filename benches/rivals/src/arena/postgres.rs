//! Databases on one PostgreSQL server, each a copy of a prepared one.

use enroll::{Engine, Enrollment, EnrollmentPolicy, EnrollmentRequest, enroll_contacts_async};
use enroll_bench::people::Scene;
use enroll_postgres::PostgresClient;
use enroll_postgres::testing::Server;
use enroll_postgres::tokio_postgres::{self, NoTls};
use sqlx::{Connection, Executor, PgConnection};
use std::cell::Cell;
use tokio::runtime::Runtime;

use super::{Answer, Contender, Counts, crowd_requests, request_to, warm_up};
use crate::{Error, postgres, seed, sqlx_batched, sqlx_rows};

/// Prepared databases: one with the schema of `enroll-postgres`, and one with the schema of the rivals.
#[derive(Debug)]
pub struct PostgresArena<'s> {
    scene: &'s Scene,
    server: &'static Server,
    runtime: Runtime,
    enroll: Database,
    rivals: Database,
    copies: Cell<u32>,
}

/// A database. Its name is the last part of its address.
#[derive(Clone, Debug)]
struct Database {
    url: String,
    name: String,
}

impl<'s> PostgresArena<'s> {
    /// Prepares the databases, each with a number of existing contacts. They are on the server of
    /// `ENROLL_TEST_POSTGRES_URL`, or on a new one. The rivals have foreign keys unless `ENROLL_BENCH_NO_FOREIGN_KEYS` is
    /// set.
    ///
    /// # Errors
    /// The server's error.
    pub fn new(scene: &'s Scene, contacts: usize) -> Result<Self, Error> {
        let server = Server::shared();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (enroll, rivals) = runtime.block_on(async {
            let enroll = Database::at(server.database().await?).await?;
            let mut client = client(&enroll.url).await?;
            enroll_postgres::seed::load(&mut client, &scene.given).await?;
            let name = format!("{}_rivals", enroll.name);
            let rivals = Database { url: server.empty_database(&name).await?, name };
            let mut connection = postgres::connect(&rivals.url).await?;
            let foreign_keys = std::env::var_os("ENROLL_BENCH_NO_FOREIGN_KEYS").is_none();
            postgres::migrate(&mut connection, foreign_keys).await?;
            seed::postgres(&mut connection, &scene.given).await?;
            connection.close().await?;
            Ok::<_, Error>((enroll, rivals))
        })?;
        let arena = Self { scene, server, runtime, enroll, rivals, copies: Cell::new(0) };
        for contender in [Contender::Enroll, Contender::Batched] {
            let mut store = arena.open(contender, arena.prepared(contender).clone(), false)?;
            for (key, body) in crowd_requests(contacts) {
                store.enroll(&key, &body)?;
            }
            drop(store);
            // With statistics of an empty table, the look-ups of foreign keys would scan the table.
            if !scene.given.contacts.is_empty() || contacts > 0 {
                arena.execute(&arena.prepared(contender).url, "vacuum analyze".to_owned())?;
            }
        }
        Ok(arena)
    }

    /// Copies the prepared database, and warms up a connection to the copy.
    ///
    /// # Errors
    /// The server's error.
    pub fn store(&self, contender: Contender) -> Result<PostgresStore<'_>, Error> {
        self.copies.set(self.copies.get() + 1);
        let prepared = self.prepared(contender);
        let name = format!("{}_{}", prepared.name, self.copies.get());
        let copy = format!("create database {name} template {}", prepared.name);
        self.execute(self.server.url(), copy)?;
        let mut store = self.open(contender, prepared.named(name), true)?;
        store.enroll("warm-up", &warm_up())?;
        Ok(store)
    }

    fn prepared(&self, contender: Contender) -> &Database {
        if contender == Contender::Enroll { &self.enroll } else { &self.rivals }
    }

    fn open(&self, contender: Contender, database: Database, temporary: bool) -> Result<PostgresStore<'_>, Error> {
        let backend = self.runtime.block_on(async {
            Ok::<_, Error>(match contender {
                Contender::Enroll => Backend::Enroll(PostgresClient::new(client(&database.url).await?)),
                Contender::Rows => Backend::Rows(postgres::connect(&database.url).await?),
                Contender::Batched => Backend::Batched(postgres::connect(&database.url).await?),
            })
        })?;
        Ok(PostgresStore { arena: self, backend: Some(backend), database, temporary })
    }

    fn execute(&self, url: &str, sql: String) -> Result<(), Error> {
        self.runtime.block_on(async {
            let mut connection = postgres::connect(url).await?;
            connection.execute(sqlx::AssertSqlSafe(sql)).await?;
            Ok(connection.close().await?)
        })
    }
}

impl Drop for PostgresArena<'_> {
    fn drop(&mut self) {
        for Database { name, .. } in [&self.enroll, &self.rivals] {
            if let Err(e) = self.execute(self.server.url(), format!("drop database {name} with (force)")) {
                eprintln!("{name}: {e}");
            }
        }
    }
}

impl Database {
    async fn at(url: String) -> Result<Self, Error> {
        let mut connection = postgres::connect(&url).await?;
        let name = sqlx::query_scalar("select current_database()::text").fetch_one(&mut connection).await?;
        connection.close().await?;
        Ok(Self { url, name })
    }

    fn named(&self, name: String) -> Self {
        Self { url: self.url.replace(&self.name, &name), name }
    }
}

async fn client(url: &str) -> Result<tokio_postgres::Client, Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(async move {
        if let Err(e) = connection.await {
            eprintln!("{e}");
        }
    });
    Ok(client)
}

/// A contender with its own database. Dropping it drops the database.
pub struct PostgresStore<'a> {
    arena: &'a PostgresArena<'a>,
    backend: Option<Backend>,
    database: Database,
    temporary: bool,
}

enum Backend {
    Enroll(PostgresClient),
    Rows(PgConnection),
    Batched(PgConnection),
}

impl PostgresStore<'_> {
    /// Enrolls contacts, from the bytes of the body to the committed report.
    ///
    /// # Errors
    /// The request is refused, or the database failed.
    pub fn enroll(&mut self, key: &str, body: &[u8]) -> Result<Answer, Error> {
        let PostgresArena { scene, runtime, .. } = self.arena;
        let request = request_to(scene, key, body);
        let at = request.at;
        runtime.block_on(async {
            match self.backend.as_mut().ok_or("the store is closed")? {
                Backend::Enroll(repository) => {
                    let request = EnrollmentRequest::from_json(body);
                    let policy = EnrollmentPolicy::default();
                    let enrollment = Enrollment { at, ..scene.enrollment(&request, key) };
                    let report = enroll_contacts_async(repository, &Engine::new(&policy), &enrollment).await?.report;
                    Ok(Answer::Enroll(report))
                }
                Backend::Rows(connection) => Ok(Answer::Rival(sqlx_rows::enroll(connection, &request).await?)),
                Backend::Batched(connection) => Ok(Answer::Rival(sqlx_batched::enroll(connection, &request).await?)),
            }
        })
    }

    /// Counts the rows of the tables.
    ///
    /// # Errors
    /// The database's error.
    pub fn counts(&mut self) -> Result<Counts, Error> {
        self.arena.runtime.block_on(async {
            let mut connection = postgres::connect(&self.database.url).await?;
            if matches!(self.backend, Some(Backend::Enroll(_))) {
                connection.execute("set search_path to enroll").await?;
            }
            let (contacts, conversations, runs, step_contacts, contact_tags, custom_records) = sqlx::query_as(
                "select (select count(*) from contacts), (select count(*) from conversations),
                     (select count(*) from runs), (select count(*) from step_contacts),
                     (select count(*) from contact_tags), (select count(*) from custom_records)",
            )
            .fetch_one(&mut connection)
            .await?;
            Ok(Counts { contacts, conversations, runs, step_contacts, contact_tags, custom_records })
        })
    }
}

impl Drop for PostgresStore<'_> {
    fn drop(&mut self) {
        let backend = self.backend.take();
        // The driver closes its connection in the runtime.
        self.arena.runtime.block_on(async { drop(backend) });
        if !self.temporary {
            return;
        }
        let name = &self.database.name;
        if let Err(e) = self.arena.execute(self.arena.server.url(), format!("drop database {name} with (force)")) {
            eprintln!("{name}: {e}");
        }
    }
}

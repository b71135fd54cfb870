//! SQLite files, each a copy of a prepared one.

use diesel::prelude::*;
use enroll::{Engine, Enrollment, EnrollmentPolicy, EnrollmentRequest, enroll_contacts};
use enroll_bench::people::Scene;
use enroll_sqlite::SqliteRepository;
use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

use super::{Answer, Contender, Counts, crowd_requests, request_to, warm_up};
use crate::{Error, diesel_batched, diesel_rows, seed, sqlite};

/// Prepared files: one with the schema of `enroll-sqlite`, and one with the schema of the rivals.
#[derive(Debug)]
pub struct SqliteArena<'s> {
    scene: &'s Scene,
    folder: TempDir,
    copies: Cell<u32>,
}

impl<'s> SqliteArena<'s> {
    /// Prepares the files, each with a number of existing contacts.
    ///
    /// # Errors
    /// The database's error.
    pub fn new(scene: &'s Scene, contacts: usize) -> Result<Self, Error> {
        let arena = Self { scene, folder: tempfile::tempdir()?, copies: Cell::new(0) };
        let repository = SqliteRepository::open(arena.prepared(Contender::Enroll))?;
        enroll_sqlite::seed::load(repository.connection(), &scene.given)?;
        arena.prepare(Backend::Enroll(repository), contacts)?;
        let mut rivals = sqlite::open(&arena.prepared(Contender::Batched))?;
        sqlite::migrate(&mut rivals)?;
        seed::sqlite(&mut rivals, &scene.given)?;
        arena.prepare(Backend::Batched(rivals), contacts)?;
        Ok(arena)
    }

    fn prepare(&self, backend: Backend, contacts: usize) -> Result<(), Error> {
        let mut store = SqliteStore { scene: self.scene, backend, path: None };
        for (key, body) in crowd_requests(contacts) {
            store.enroll(&key, &body)?;
        }
        // A copy of the file does not include the write-ahead log.
        match &mut store.backend {
            Backend::Enroll(repository) => repository.connection().execute_batch(CHECKPOINT)?,
            Backend::Rows(rival) | Backend::Batched(rival) => {
                diesel::connection::SimpleConnection::batch_execute(rival, CHECKPOINT)?;
            }
        }
        Ok(())
    }

    /// Copies the prepared file, and warms up a connection to the copy.
    ///
    /// # Errors
    /// The error of the file system or of the database.
    pub fn store(&self, contender: Contender) -> Result<SqliteStore<'s>, Error> {
        self.copies.set(self.copies.get() + 1);
        let path = self.folder.path().join(format!("{}.db", self.copies.get()));
        fs::copy(self.prepared(contender), &path)?;
        let backend = match contender {
            Contender::Enroll => Backend::Enroll(SqliteRepository::open(&path)?),
            Contender::Rows => Backend::Rows(sqlite::open(&path)?),
            Contender::Batched => Backend::Batched(sqlite::open(&path)?),
        };
        let mut store = SqliteStore { scene: self.scene, backend, path: Some(path) };
        store.enroll("warm-up", &warm_up())?;
        Ok(store)
    }

    fn prepared(&self, contender: Contender) -> PathBuf {
        self.folder.path().join(if contender == Contender::Enroll { "enroll.db" } else { "rivals.db" })
    }
}

/// A contender with its own file. Dropping it removes the file.
pub struct SqliteStore<'s> {
    scene: &'s Scene,
    backend: Backend,
    path: Option<PathBuf>,
}

enum Backend {
    Enroll(SqliteRepository),
    Rows(SqliteConnection),
    Batched(SqliteConnection),
}

impl SqliteStore<'_> {
    /// Enrolls contacts, from the bytes of the body to the committed report.
    ///
    /// # Errors
    /// The request is refused, or the database failed.
    pub fn enroll(&mut self, key: &str, body: &[u8]) -> Result<Answer, Error> {
        let request = request_to(self.scene, key, body);
        let at = request.at;
        match &mut self.backend {
            Backend::Enroll(repository) => {
                let request = EnrollmentRequest::from_json(body);
                let policy = EnrollmentPolicy::default();
                let enrollment = Enrollment { at, ..self.scene.enrollment(&request, key) };
                Ok(Answer::Enroll(enroll_contacts(repository, &Engine::new(&policy), &enrollment)?.report))
            }
            Backend::Rows(connection) => Ok(Answer::Rival(diesel_rows::enroll(connection, &request)?)),
            Backend::Batched(connection) => Ok(Answer::Rival(diesel_batched::enroll(connection, &request)?)),
        }
    }

    /// Counts the rows of the tables.
    ///
    /// # Errors
    /// The database's error.
    pub fn counts(&mut self) -> Result<Counts, Error> {
        let mut counted = [0; 6];
        for (table, counted) in TABLES.iter().zip(&mut counted) {
            *counted = match &mut self.backend {
                Backend::Enroll(repository) => {
                    let sql = format!("select count(*) from enroll_{table}");
                    repository.connection().query_row(&sql, [], |row| row.get(0))?
                }
                Backend::Rows(connection) | Backend::Batched(connection) => {
                    let count = diesel::dsl::sql::<diesel::sql_types::BigInt>("select count(*) from ");
                    count.sql(table).get_result(connection)?
                }
            };
        }
        let [contacts, conversations, runs, step_contacts, contact_tags, custom_records] = counted;
        Ok(Counts { contacts, conversations, runs, step_contacts, contact_tags, custom_records })
    }
}

impl Drop for SqliteStore<'_> {
    fn drop(&mut self) {
        let Some(path) = &self.path else { return };
        // The file can still be open: on Unix it can be removed anyway.
        for suffix in ["", "-wal", "-shm"] {
            let mut name = path.clone().into_os_string();
            name.push(suffix);
            if let Err(e) = fs::remove_file(Path::new(&name)) {
                eprintln!("{}: {e}", Path::new(&name).display());
            }
        }
    }
}

const TABLES: [&str; 6] = ["contacts", "conversations", "runs", "step_contacts", "contact_tags", "custom_records"];
const CHECKPOINT: &str = "pragma wal_checkpoint(truncate)";

//! Files of SQLite, each copied from one that was prepared.

use diesel::prelude::*;
use enroll::{Engine, Enrollment, EnrollmentPolicy, EnrollmentRequest, enroll_contacts};
use enroll_bench::people::Scene;
use enroll_sqlite::SqliteRepository;
use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

use super::{Answer, Contender, Counts, asked, crowds, warming};
use crate::{Error, diesel_batched, diesel_rows, seed, sqlite};

/// Prepared files: one with the schema of `enroll-sqlite`, one with that of the rivals.
#[derive(Debug)]
pub struct SqliteArena<'s> {
    scene: &'s Scene,
    folder: TempDir,
    made: Cell<u32>,
}

impl<'s> SqliteArena<'s> {
    /// Prepares the files, and enrolls `crowd` people into each.
    ///
    /// # Errors
    /// The databases' error.
    pub fn new(scene: &'s Scene, crowd: usize) -> Result<Self, Error> {
        let arena = Self { scene, folder: tempfile::tempdir()?, made: Cell::new(0) };
        let ours = SqliteRepository::open(arena.prepared(Contender::Enroll))?;
        enroll_sqlite::seed::load(ours.connection(), &scene.given)?;
        arena.prepare(Opened::Enroll(ours), crowd)?;
        let mut rivals = sqlite::open(&arena.prepared(Contender::Batched))?;
        sqlite::migrate(&mut rivals)?;
        seed::sqlite(&mut rivals, &scene.given)?;
        arena.prepare(Opened::Batched(rivals), crowd)?;
        Ok(arena)
    }

    fn prepare(&self, opened: Opened, crowd: usize) -> Result<(), Error> {
        let mut store = SqliteStore { scene: self.scene, opened, path: None };
        for (key, body) in crowds(crowd) {
            store.enroll(&key, &body)?;
        }
        // A copy of the file does not include the write-ahead log.
        match &mut store.opened {
            Opened::Enroll(ours) => ours.connection().execute_batch(CHECKPOINT)?,
            Opened::Rows(rival) | Opened::Batched(rival) => {
                diesel::connection::SimpleConnection::batch_execute(rival, CHECKPOINT)?;
            }
        }
        Ok(())
    }

    /// A copy of the prepared file, opened and warmed.
    ///
    /// # Errors
    /// The error of the file system or of the database.
    pub fn store(&self, contender: Contender) -> Result<SqliteStore<'s>, Error> {
        self.made.set(self.made.get() + 1);
        let path = self.folder.path().join(format!("{}.db", self.made.get()));
        fs::copy(self.prepared(contender), &path)?;
        let opened = match contender {
            Contender::Enroll => Opened::Enroll(SqliteRepository::open(&path)?),
            Contender::Rows => Opened::Rows(sqlite::open(&path)?),
            Contender::Batched => Opened::Batched(sqlite::open(&path)?),
        };
        let mut store = SqliteStore { scene: self.scene, opened, path: Some(path) };
        store.enroll("warming", &warming())?;
        Ok(store)
    }

    fn prepared(&self, contender: Contender) -> PathBuf {
        self.folder.path().join(if contender == Contender::Enroll { "enroll.db" } else { "rivals.db" })
    }
}

/// A contender with its own file, which is removed with it.
pub struct SqliteStore<'s> {
    scene: &'s Scene,
    opened: Opened,
    path: Option<PathBuf>,
}

enum Opened {
    Enroll(SqliteRepository),
    Rows(SqliteConnection),
    Batched(SqliteConnection),
}

impl SqliteStore<'_> {
    /// The whole enrollment, from the bytes of the body to the committed report.
    ///
    /// # Errors
    /// The request is refused, or the database failed.
    pub fn enroll(&mut self, key: &str, body: &[u8]) -> Result<Answer, Error> {
        let request = asked(self.scene, key, body);
        let at = request.at;
        match &mut self.opened {
            Opened::Enroll(repository) => {
                let request = EnrollmentRequest::from_json(body);
                let policy = EnrollmentPolicy::default();
                let enrollment = Enrollment { at, ..self.scene.enrollment(&request, key) };
                Ok(Answer::Enroll(enroll_contacts(repository, &Engine::new(&policy), &enrollment)?.report))
            }
            Opened::Rows(connection) => Ok(Answer::Rival(diesel_rows::enroll(connection, &request)?)),
            Opened::Batched(connection) => Ok(Answer::Rival(diesel_batched::enroll(connection, &request)?)),
        }
    }

    /// Returns the number of existing rows.
    ///
    /// # Errors
    /// The database's error.
    pub fn counts(&mut self) -> Result<Counts, Error> {
        let mut counted = [0; 6];
        for (table, counted) in TABLES.iter().zip(&mut counted) {
            *counted = match &mut self.opened {
                Opened::Enroll(repository) => {
                    let sql = format!("select count(*) from enroll_{table}");
                    repository.connection().query_row(&sql, [], |row| row.get(0))?
                }
                Opened::Rows(connection) | Opened::Batched(connection) => {
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
        for end in ["", "-wal", "-shm"] {
            let mut name = path.clone().into_os_string();
            name.push(end);
            if let Err(e) = fs::remove_file(Path::new(&name)) {
                eprintln!("{}: {e}", Path::new(&name).display());
            }
        }
    }
}

const TABLES: [&str; 6] = ["contacts", "conversations", "runs", "step_contacts", "contact_tags", "custom_records"];
const CHECKPOINT: &str = "pragma wal_checkpoint(truncate)";

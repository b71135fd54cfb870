//! A repository for another storage: an append-only log with one line for each write. A handle replays the log.
//!
//! Run it with `cargo run --features testing --example own_repository`, and its conformance tests with
//! `cargo test --features testing --example own_repository`. `docs/repositories.md` explains it step by step.
//!
//! A line is written and synced before the commit returns. An enrollment is one line, so it is written completely or not
//! at all: the next writer removes a line that a crash cut off. A lock on the file allows one writer at a time.
#![expect(clippy::disallowed_types, reason = "a host does I/O, the engine never does")]

mod clock;
mod shared;

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use enroll::changes::ApplyError;
use enroll::seed::{HostRow, HostWrite, WriteKind};
use enroll::{
    ChangeSet, Engine, Enrollment, EnrollmentKey, EnrollmentPolicy, EnrollmentRequest, OrganizationId, ReferenceData,
    ReferenceQuery, Repository, RepositoryError, RepositoryErrorKind as Kind, Snapshot, SnapshotQuery, enroll_contacts,
};
use serde::{Deserialize, Serialize};

/// A handle to the log.
struct LogRepository {
    log: File,
    /// The number of bytes that this handle has replayed.
    read: u64,
    /// The organizations after these bytes.
    organizations: BTreeMap<OrganizationId, Snapshot>,
}

/// A line of the log.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    /// A commit of the engine.
    Commit(Box<ChangeSet>),
    /// A write of the host.
    Host(Box<HostWrite>),
}

impl LogRepository {
    fn open(path: &Path) -> io::Result<Self> {
        let log = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
        Ok(Self { log, read: 0, organizations: BTreeMap::new() })
    }

    /// Writes a row as a host, and increments the version of its aggregate (clause 12).
    fn host_write(&mut self, write: &HostWrite) -> Result<(), RepositoryError> {
        self.append(write.organization_id, &Line::Host(Box::new(write.clone())), |snapshot| {
            write.apply(snapshot).map_err(failed)
        })
    }

    /// Replays the lines that other handles have written.
    fn replay(&mut self) -> Result<(), RepositoryError> {
        let mut lines = String::new();
        self.log.seek(SeekFrom::Start(self.read)).map_err(unavailable)?;
        self.log.read_to_string(&mut lines).map_err(unavailable)?;
        // A line that a crash cut off has no line end.
        for line in lines.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            match serde_json::from_str(line).map_err(failed)? {
                Line::Commit(changes) => changes.apply(self.organization(changes.organization_id())).map_err(failed)?,
                Line::Host(write) => write.apply(self.organization(write.organization_id)).map_err(failed)?,
            }
            self.read += line.len() as u64;
        }
        Ok(())
    }

    fn organization(&mut self, id: OrganizationId) -> &mut Snapshot {
        self.organizations.entry(id).or_insert_with(|| Snapshot::new(ReferenceData::new(id)))
    }

    /// Returns the current rows of an organization, under a lock against writers.
    fn current(&mut self, id: OrganizationId) -> Result<Snapshot, RepositoryError> {
        self.log.lock_shared().map_err(unavailable)?;
        let read = self.replay();
        self.log.unlock().map_err(unavailable)?;
        read?;
        Ok(self.organizations.get(&id).cloned().unwrap_or_else(|| Snapshot::new(ReferenceData::new(id))))
    }

    /// Applies a change to the current rows and appends its line, under a lock. A change that does not apply is not written.
    fn append(
        &mut self,
        id: OrganizationId,
        line: &Line,
        apply: impl FnOnce(&mut Snapshot) -> Result<(), RepositoryError>,
    ) -> Result<(), RepositoryError> {
        self.log.lock().map_err(unavailable)?;
        let written = self.append_locked(id, line, apply);
        self.log.unlock().map_err(unavailable)?;
        written
    }

    fn append_locked(
        &mut self,
        id: OrganizationId,
        line: &Line,
        apply: impl FnOnce(&mut Snapshot) -> Result<(), RepositoryError>,
    ) -> Result<(), RepositoryError> {
        self.replay()?;
        let mut next = self.organizations.get(&id).cloned().unwrap_or_else(|| Snapshot::new(ReferenceData::new(id)));
        apply(&mut next)?;
        let mut text = serde_json::to_vec(line).map_err(failed)?;
        text.push(b'\n');
        // Remove a line that a crash cut off. If this write fails, remove its partial line too.
        let end = SeekFrom::Start(self.read);
        let write = |log: &mut File| {
            log.set_len(self.read)?;
            log.seek(end)?;
            log.write_all(&text)?;
            log.sync_data()
        };
        write(&mut self.log).map_err(|e| self.log.set_len(self.read).map_or_else(unavailable, |()| failed(e)))?;
        self.read += text.len() as u64;
        self.organizations.insert(id, next);
        Ok(())
    }
}

/// An error that a retry cannot solve.
fn failed(e: impl Into<Box<dyn Error + Send + Sync>>) -> RepositoryError {
    RepositoryError::new(Kind::Other, e)
}

/// An error of the file.
fn unavailable(e: io::Error) -> RepositoryError {
    RepositoryError::new(Kind::Unavailable, e)
}

impl Repository for LogRepository {
    fn reference_data(&mut self, query: &ReferenceQuery) -> Result<ReferenceData, RepositoryError> {
        Ok(self.current(query.organization_id)?.reference)
    }

    /// Loads the whole organization. A load can return more rows than the query covers.
    fn load(&mut self, query: &SnapshotQuery) -> Result<Snapshot, RepositoryError> {
        self.current(query.reference.organization_id)
    }

    fn commit(&mut self, changes: &ChangeSet) -> Result<(), RepositoryError> {
        let line = Line::Commit(Box::new(changes.clone()));
        self.append(changes.organization_id(), &line, |snapshot| {
            changes.apply(snapshot).map_err(|e| match e {
                ApplyError::Conflict(_) => RepositoryError::new(Kind::Conflict, e),
                _ => failed(e),
            })
        })
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::temp_dir().join(format!("enroll-{}.log", std::process::id()));
    let mut seed = LogRepository::open(&path)?;
    let ReferenceData { channels, sequences, .. } = shared::organization().reference;
    let rows = channels.values().map(|row| HostRow::Channel((*row.value).clone()));
    for row in rows.chain(sequences.values().map(|row| HostRow::Sequence((*row.value).clone()))) {
        seed.host_write(&HostWrite::new(shared::ORGANIZATION, WriteKind::Insert, row))?;
    }
    let policy = EnrollmentPolicy::default();
    let engine = Engine::new(&policy);
    let request = EnrollmentRequest::from_json(br#"{"to": [{"phone": "(202) 555-0123"}]}"#);
    for key in ["first", "second"] {
        // A new handle replays the log, so the second enrollment finds the contact of the first one.
        let mut repository = LogRepository::open(&path)?;
        let enrollment = Enrollment {
            organization_id: shared::ORGANIZATION,
            sequence_id: shared::SEQUENCE,
            key: EnrollmentKey::Idempotency(key),
            at: clock::now()?,
            list: None,
            request: &request,
        };
        let report = enroll_contacts(&mut repository, &engine, &enrollment)?.report;
        let contacts = repository.organizations[&shared::ORGANIZATION].contacts.len();
        println!("{key}: {} of {contacts} contacts", report.outcomes[0].disposition);
    }
    std::fs::remove_file(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use enroll::seed::Seed;
    use enroll::testing::conformance::Fixture;
    use enroll::testing::{Blocking, block_on};
    use std::path::PathBuf;
    use std::sync::atomic::{AtomicU32, Ordering};

    /// A log in the temporary folder. It is removed at the end.
    struct LogFixture(PathBuf);

    impl LogFixture {
        fn handle(&self) -> LogRepository {
            LogRepository::open(&self.0).unwrap()
        }
    }

    impl Drop for LogFixture {
        fn drop(&mut self) {
            std::fs::remove_file(&self.0).unwrap();
        }
    }

    impl Fixture for LogFixture {
        type Repository = Blocking<LogRepository>;

        async fn fresh() -> Self {
            static COUNT: AtomicU32 = AtomicU32::new(0);
            let name = format!("enroll-{}-{}.log", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
            let fixture = Self(std::env::temp_dir().join(name));
            fixture.handle();
            fixture
        }

        async fn open(&self) -> Blocking<LogRepository> {
            Blocking(self.handle())
        }

        async fn seed(&self, given: &Seed) {
            given.inserts().iter().for_each(|write| self.handle().host_write(write).unwrap());
        }

        async fn host_write(&self, write: &HostWrite) -> Result<(), RepositoryError> {
            self.handle().host_write(write)
        }

        async fn dump(&self, organization_id: OrganizationId) -> Seed {
            let mut handle = self.handle();
            handle.replay().unwrap();
            Seed::dump(&handle.organizations.into_values().collect::<Vec<_>>(), organization_id)
        }

        /// A file has none.
        fn round_trips(&self) -> Option<u64> {
            None
        }
    }

    enroll::conformance_tests!(LogFixture, block_on);
}

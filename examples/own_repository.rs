//! One's own repository: an append-only log of change sets, one a line, replayed at the start.
//!
//! `cargo run --example own_repository`
//!
//! A line is written and synced before its change set counts, so an enrollment is in the log whole, or not at all: a line
//! that a crash cut short is dropped at the next start.
#![expect(clippy::disallowed_types, reason = "a host does I/O; the engine does not")]

mod shared;

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Seek, Write};
use std::path::Path;

use enroll::changes::NotApplied;
use enroll::lookup::ContextLookup;
use enroll::repository::{RepositoryError, RepositoryErrorKind as Kind};
use enroll::{
    ChangeSet, Context, Engine, Enrollment, EnrollmentKey, EnrollmentPolicy, EnrollmentRequest, Lookup, Repository,
    Snapshot, enroll_contacts,
};

/// One organization, as the log tells it.
struct LogRepository {
    now: Snapshot,
    log: File,
}

impl LogRepository {
    fn open(path: &Path, seed: Snapshot) -> Result<Self, Box<dyn std::error::Error>> {
        let mut log = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path)?;
        let (mut now, mut whole) = (seed, 0);
        let mut lines = BufReader::new(&log);
        let mut line = String::new();
        while lines.read_line(&mut line)? > 0 && line.ends_with('\n') {
            serde_json::from_str::<ChangeSet>(&line)?.apply(&mut now)?;
            whole += line.len() as u64;
            line.clear();
        }
        log.set_len(whole)?;
        log.seek(io::SeekFrom::End(0))?;
        Ok(Self { now, log })
    }
}

fn failed(e: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> RepositoryError {
    RepositoryError::new(Kind::Other, e)
}

impl Repository for LogRepository {
    fn context(&mut self, lookup: &ContextLookup) -> Result<Context, RepositoryError> {
        Ok(self.now.context.only(lookup))
    }

    /// Everything: more rows than a lookup names are allowed, and change nothing.
    fn load(&mut self, _: &Lookup) -> Result<Snapshot, RepositoryError> {
        Ok(self.now.clone())
    }

    fn commit(&mut self, changes: &ChangeSet) -> Result<(), RepositoryError> {
        let mut next = self.now.clone();
        changes.apply(&mut next).map_err(|e| match e {
            NotApplied::Conflict(_) => RepositoryError::new(Kind::Conflict, e),
            _ => failed(e),
        })?;
        let mut line = serde_json::to_vec(changes).map_err(failed)?;
        line.push(b'\n');
        let before = self.log.stream_position().map_err(failed)?;
        if let Err(e) = self.log.write_all(&line).and_then(|()| self.log.sync_data()) {
            // Half a line must not stay in front of the next one.
            self.log.set_len(before).map_err(failed)?;
            self.log.seek(io::SeekFrom::Start(before)).map_err(failed)?;
            return Err(failed(e));
        }
        self.now = next;
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let path = std::env::temp_dir().join(format!("enroll-{}.log", std::process::id()));
    let policy = EnrollmentPolicy::default();
    let engine = Engine::new(&policy);
    let request = EnrollmentRequest::from_json(br#"{"to": [{"phone": "(202) 555-0123"}]}"#);
    for key in ["first", "second"] {
        // Opened anew each time: the second enrollment finds what the first one wrote.
        let mut repository = LogRepository::open(&path, shared::organization())?;
        let enrollment = Enrollment {
            organization_id: shared::ORGANIZATION,
            sequence_id: shared::SEQUENCE,
            key: EnrollmentKey::Idempotency(key),
            at: "2026-02-01T15:00:00Z".parse()?,
            request: &request,
        };
        let report = enroll_contacts(&mut repository, &engine, &enrollment)?;
        println!("{key}: {} of {} contacts", report.outcomes[0].disposition, repository.now.people.len());
    }
    std::fs::remove_file(path)?;
    Ok(())
}

//! Where the rows are: a SQLite file, PostgreSQL, or memory.

mod postgres;
mod sqlite;

use std::error::Error;

use enroll::inbox::{Claim, Failure as AttemptFailure, InboxEntry};
use enroll::seed::Seed;
use enroll::{
    ChangeSet, EnrollmentCommand, EnrollmentId, InMemoryRepository, Inbox, OrganizationId, ReferenceData,
    ReferenceQuery, Repository, RepositoryError, Snapshot, SnapshotQuery, StoredEnrollment, Timestamp,
};

use self::postgres::Postgres;
use self::sqlite::Sqlite;
use crate::Failure;

/// A database of organizations, by the name that the user gave it.
pub(crate) struct Database {
    name: String,
    store: Store,
}

enum Store {
    Memory(InMemoryRepository),
    Sqlite(Sqlite),
    Postgres(Postgres),
}

/// What a user may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Address<'n> {
    Memory,
    Postgres(&'n str),
    File(&'n str),
}

impl<'n> Address<'n> {
    pub(crate) fn of(name: &'n str) -> Result<Self, Failure> {
        match name.split_once("://") {
            _ if name == "memory" || name == ":memory:" => Ok(Self::Memory),
            Some(("postgres" | "postgresql", _)) => Ok(Self::Postgres(name)),
            Some((scheme, _)) if scheme != "file" && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
                let what = "is no database that this build knows: name a SQLite file, or `postgres://…`";
                Err(Failure::new(without_password(name), what))
            }
            _ => Ok(Self::File(name)),
        }
    }
}

impl Database {
    /// Which database is meant: the one that is named, else the environment's, else `enroll.db`.
    pub(crate) fn named(name: Option<&str>) -> Result<String, Failure> {
        match (name, std::env::var(VARIABLE)) {
            (Some(name), _) => Ok(name.to_owned()),
            (None, Ok(name)) if !name.is_empty() => Ok(name),
            (None, Err(std::env::VarError::NotUnicode(_))) => Err(Failure::new(VARIABLE, "is not UTF-8")),
            (None, _) => Ok("enroll.db".to_owned()),
        }
    }

    /// A database that stands; none is made.
    pub(crate) fn open(name: &str) -> Result<Self, Failure> {
        Self::opened(name, false)
    }

    /// A database, made if there is none, with the tables of this build.
    pub(crate) fn open_or_make(name: &str) -> Result<Self, Failure> {
        Self::opened(name, true)
    }

    /// The world of a file, in memory.
    pub(crate) fn in_memory(name: String, snapshots: Vec<Snapshot>) -> Self {
        let repository = InMemoryRepository::new();
        snapshots.into_iter().for_each(|snapshot| repository.insert(snapshot));
        Self { name, store: Store::Memory(repository) }
    }

    fn opened(name: &str, make: bool) -> Result<Self, Failure> {
        let shown = without_password(name);
        let failed = |e: Box<dyn Error>| Failure::caused(&shown, &*e);
        let store = match Address::of(name)? {
            Address::Memory => {
                let what = "is gone with the command: name a SQLite file or `postgres://…`, or run with `--seed`";
                return Err(Failure::new(shown, what));
            }
            Address::Postgres(url) => Postgres::open(url, make).map_err(failed)?.map(Store::Postgres),
            Address::File(path) => Sqlite::open(path, make).map_err(failed)?.map(Store::Sqlite),
        };
        match store {
            Some(store) => Ok(Self { name: shown, store }),
            None => {
                let what =
                    format!("is no database of `enroll` yet: make it with `enroll seed SEED.json --database {shown}`");
                Err(Failure::new(&shown, what))
            }
        }
    }

    /// As the user named it, but for a password.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Every organization, in order.
    pub(crate) fn organizations(&mut self) -> Result<Vec<OrganizationId>, Failure> {
        let Self { name, store } = self;
        let organizations = match store {
            Store::Memory(repository) => Ok(repository.organizations()),
            Store::Sqlite(sqlite) => sqlite.organizations(),
            Store::Postgres(postgres) => postgres.organizations(),
        };
        organizations.map_err(|e| Failure::caused(name, &*e))
    }

    /// Writes a whole world, all of it or nothing.
    pub(crate) fn seed(&mut self, given: &Seed) -> Result<(), Failure> {
        let Self { name, store } = self;
        let seeded = match store {
            Store::Memory(_) => return Err(Failure::new(name, "holds a world already")),
            Store::Sqlite(sqlite) => sqlite.seed(given),
            Store::Postgres(postgres) => postgres.seed(given),
        };
        seeded.map_err(|e| Failure::caused(name, &*e))
    }

    /// All that stands, of every organization; rows of another than `organization_id` name theirs.
    pub(crate) fn dump(&mut self, organization_id: OrganizationId) -> Result<Seed, Failure> {
        let Self { name, store } = self;
        let given = match store {
            Store::Memory(repository) => return Ok(Seed::dump(&snapshots(repository), organization_id)),
            Store::Sqlite(sqlite) => sqlite.dump(organization_id),
            Store::Postgres(postgres) => postgres.dump(organization_id),
        };
        given.map_err(|e| Failure::caused(name, &*e))
    }

    /// Works on what would be: whatever `work` commits is there for it to read, and is undone afterwards.
    pub(crate) fn dry_run<T>(&mut self, work: impl FnOnce(&mut dyn Repository) -> T) -> Result<T, Failure> {
        let Self { name, store } = self;
        let answer = match store {
            Store::Memory(repository) => {
                let copy = InMemoryRepository::new();
                snapshots(repository).into_iter().for_each(|snapshot| copy.insert(snapshot));
                return Ok(work(&mut { copy }));
            }
            Store::Sqlite(sqlite) => sqlite.dry_run(work),
            Store::Postgres(postgres) => postgres.dry_run(work),
        };
        answer.map_err(|e| Failure::caused(name, &*e))
    }

    /// Takes the organizations of a world away, with all that is theirs.
    pub(crate) fn remove(&mut self, given: &Seed) -> Result<(), Failure> {
        let organizations = given.inserts().into_iter().map(|insert| insert.organization_id);
        let organizations: Vec<_> = organizations.chain([given.organization_id]).collect();
        let Self { name, store } = self;
        let removed = match store {
            Store::Memory(_) | Store::Sqlite(_) => return Err(Failure::new(name, "is removed as a whole")),
            Store::Postgres(postgres) => postgres.remove(&organizations),
        };
        removed.map_err(|e| Failure::caused(name, &*e))
    }
}

impl Repository for Database {
    fn reference_data(&mut self, query: &ReferenceQuery) -> Result<ReferenceData, RepositoryError> {
        self.store.ask(|inbox| inbox.reference_data(query))
    }

    fn load(&mut self, query: &SnapshotQuery) -> Result<Snapshot, RepositoryError> {
        self.store.ask(|inbox| inbox.load(query))
    }

    fn commit(&mut self, changes: &ChangeSet) -> Result<(), RepositoryError> {
        self.store.ask(|inbox| inbox.commit(changes))
    }
}

impl Inbox for Database {
    fn insert(&mut self, command: &EnrollmentCommand) -> Result<Option<StoredEnrollment>, RepositoryError> {
        self.store.ask(|inbox| inbox.insert(command))
    }

    fn find(
        &mut self,
        organization_id: OrganizationId,
        enrollment_id: EnrollmentId,
    ) -> Result<Option<InboxEntry>, RepositoryError> {
        self.store.ask(|inbox| inbox.find(organization_id, enrollment_id))
    }

    fn claim(&mut self, now: Timestamp, lease_end: Timestamp) -> Result<Option<Claim>, RepositoryError> {
        self.store.ask(|inbox| inbox.claim(now, lease_end))
    }

    fn record_failure(&mut self, claim: &Claim, failure: &AttemptFailure) -> Result<(), RepositoryError> {
        self.store.ask(|inbox| inbox.record_failure(claim, failure))
    }

    fn release(&mut self, claim: &Claim, due_at: Timestamp) -> Result<(), RepositoryError> {
        self.store.ask(|inbox| inbox.release(claim, due_at))
    }

    fn retry(
        &mut self,
        organization_id: OrganizationId,
        enrollment_id: EnrollmentId,
        now: Timestamp,
    ) -> Result<bool, RepositoryError> {
        self.store.ask(|inbox| inbox.retry(organization_id, enrollment_id, now))
    }
}

impl Store {
    fn ask<T>(&mut self, ask: impl FnOnce(&mut dyn Inbox) -> T) -> T {
        match self {
            Self::Memory(repository) => ask(repository),
            Self::Sqlite(sqlite) => ask(sqlite.repository()),
            Self::Postgres(postgres) => ask(&mut postgres.repository()),
        }
    }
}

fn snapshots(repository: &InMemoryRepository) -> Vec<Snapshot> {
    repository.organizations().into_iter().filter_map(|id| repository.snapshot(id)).collect()
}

/// A name to be shown. Of a URL, whatever may be its password is left out, however badly it is written.
pub(crate) fn without_password(name: &str) -> String {
    let Some((scheme, rest)) = name.split_once("://") else { return name.to_owned() };
    let rest = match rest.rsplit_once('@') {
        Some((who, rest)) => match who.split_once(':') {
            Some((user, _)) => format!("{user}:***@{rest}"),
            None => format!("{who}@{rest}"),
        },
        None => rest.to_owned(),
    };
    let Some((place, options)) = rest.split_once('?') else { return format!("{scheme}://{rest}") };
    let options = options.split('&').map(|option| match option.split_once('=') {
        Some((key, _)) if key.contains('%') || key.eq_ignore_ascii_case("password") => format!("{key}=***"),
        _ => option.to_owned(),
    });
    format!("{scheme}://{place}?{}", options.collect::<Vec<_>>().join("&"))
}

/// Names the database where no option does.
const VARIABLE: &str = "ENROLL_DATABASE";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        for (name, shown) in [
            ("enroll.db", "enroll.db"),
            ("postgres://localhost:5432/app", "postgres://localhost:5432/app"),
            ("postgres://ann@localhost/app", "postgres://ann@localhost/app"),
            ("postgres://ann:secret@localhost:1/app", "postgres://ann:***@localhost:1/app"),
            ("postgresql://ann:se:c@r/e?t@h/app", "postgresql://ann:***@h/app"),
            ("postgres://h/app?user=ann&password=secret", "postgres://h/app?user=ann&password=***"),
            ("postgres://h/app?pass%77ord=secret&sslmode=disable", "postgres://h/app?pass%77ord=***&sslmode=disable"),
        ] {
            assert_eq!(without_password(name), shown);
        }
    }

    #[test]
    fn a_database_is_named_by_a_path_or_an_address() {
        assert_eq!(Address::of("enroll.db").unwrap(), Address::File("enroll.db"));
        assert_eq!(Address::of("postgres://h/d").unwrap(), Address::Postgres("postgres://h/d"));
        assert_eq!(Address::of("file:///tmp/a?mode=ro").unwrap(), Address::File("file:///tmp/a?mode=ro"));
        assert_eq!(Address::of("memory").unwrap(), Address::Memory);
        let told = Address::of("mysql://ann:secret@h/d").unwrap_err().to_string();
        assert!(told.starts_with("mysql://ann:***@h/d: is no database that this build knows"), "{told}");
    }
}

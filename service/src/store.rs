//! A database that many tasks share: handles for workers, each its own.

use enroll::inbox::{AsyncInbox, Claim, Failure as AttemptFailure, Inbox, InboxEntry};
use enroll::lookup::{Context, ContextLookup, Lookup, Snapshot, StoredEnrollment};
use enroll::repository::{AsyncRepository, Repository, RepositoryError};
use enroll::{ChangeSet, EnrollmentCommand, EnrollmentId, OrganizationId, Timestamp};
use enroll_postgres::PostgresRepository;
use enroll_sqlite::SqliteRepository;
use tokio::task::block_in_place;

use crate::Failure;
use crate::database::{Address, Database, without_password};

/// Where handles come from.
#[derive(Clone)]
pub(crate) struct Store {
    /// As the user named it, but for a password.
    pub(crate) name: String,
    place: Place,
}

#[derive(Clone)]
enum Place {
    Sqlite(String),
    Postgres(PostgresRepository),
}

impl Store {
    /// A database that stands, for so many handles at once.
    pub(crate) async fn open(name: &str, handles: usize) -> Result<Self, Failure> {
        // What is no database of `enroll` yet is told as everywhere, and by one who waits.
        block_in_place(|| Database::open(name).map(drop))?;
        let shown = without_password(name);
        let place = match Address::of(name)? {
            Address::Postgres(url) => {
                let opened = PostgresRepository::connect(url, handles).await;
                Place::Postgres(opened.map_err(|e| Failure::caused(&shown, &e))?)
            }
            Address::File(path) => Place::Sqlite(path.to_owned()),
            Address::Memory => return Err(Failure::new(shown, "is gone with the command")),
        };
        Ok(Self { name: shown, place })
    }

    /// A handle of its own.
    pub(crate) fn handle(&self) -> Result<Handle, Failure> {
        match &self.place {
            Place::Sqlite(path) => {
                let opened = block_in_place(|| SqliteRepository::open(path));
                Ok(Handle::Sqlite(opened.map_err(|e| Failure::caused(&self.name, &e))?))
            }
            Place::Postgres(repository) => Ok(Handle::Postgres(repository.clone())),
        }
    }
}

/// A handle. SQLite blocks the thread that it is used on, and the runtime moves other tasks off it meanwhile.
pub(crate) enum Handle {
    Sqlite(SqliteRepository),
    Postgres(PostgresRepository),
}

impl Handle {
    /// How many enrollments are accepted and have not ended, leased ones too.
    pub(crate) async fn unfinished(&mut self) -> Result<u64, Box<dyn std::error::Error + Send + Sync>> {
        let count: i64 = match self {
            Self::Sqlite(sqlite) => block_in_place(|| {
                let sql = "select count(*) from enroll_enrollments where state = 'accepted'";
                sqlite.connection().query_row(sql, [], |row| row.get(0))
            })?,
            Self::Postgres(postgres) => {
                let client = postgres.pool().get().await?;
                let sql = "select count(*) from enroll.enrollments where state = 'accepted'";
                client.query_one(sql, &[]).await?.try_get(0)?
            }
        };
        Ok(count.unsigned_abs())
    }
}

/// The same call on whichever it is.
macro_rules! ask {
    ($handle:expr, $trait:ident :: $method:ident, $($argument:expr),*) => {
        match $handle {
            Handle::Sqlite(sqlite) => block_in_place(|| sqlite.$method($($argument),*)),
            Handle::Postgres(postgres) => $trait::$method(postgres, $($argument),*).await,
        }
    };
}

impl AsyncRepository for Handle {
    async fn context(&mut self, lookup: &ContextLookup) -> Result<Context, RepositoryError> {
        ask!(self, AsyncRepository::context, lookup)
    }

    async fn load(&mut self, lookup: &Lookup) -> Result<Snapshot, RepositoryError> {
        ask!(self, AsyncRepository::load, lookup)
    }

    async fn commit(&mut self, changes: &ChangeSet) -> Result<(), RepositoryError> {
        ask!(self, AsyncRepository::commit, changes)
    }
}

impl AsyncInbox for Handle {
    async fn insert(&mut self, command: &EnrollmentCommand) -> Result<Option<StoredEnrollment>, RepositoryError> {
        ask!(self, AsyncInbox::insert, command)
    }

    async fn find(
        &mut self,
        organization_id: OrganizationId,
        enrollment_id: EnrollmentId,
    ) -> Result<Option<InboxEntry>, RepositoryError> {
        ask!(self, AsyncInbox::find, organization_id, enrollment_id)
    }

    async fn claim(&mut self, now: Timestamp, lease_end: Timestamp) -> Result<Option<Claim>, RepositoryError> {
        ask!(self, AsyncInbox::claim, now, lease_end)
    }

    async fn note_failure(&mut self, claim: &Claim, failure: &AttemptFailure) -> Result<(), RepositoryError> {
        ask!(self, AsyncInbox::note_failure, claim, failure)
    }

    async fn retry(
        &mut self,
        organization_id: OrganizationId,
        enrollment_id: EnrollmentId,
        now: Timestamp,
    ) -> Result<bool, RepositoryError> {
        ask!(self, AsyncInbox::retry, organization_id, enrollment_id, now)
    }
}

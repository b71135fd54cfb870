//! A database that many tasks share: handles for workers, each its own.

use enroll::inbox::{Claim, Failure as AttemptFailure, InboxEntry};
use enroll::{
    AsyncInbox, AsyncRepository, ChangeSet, EnrollmentCommand, EnrollmentId, Inbox, OrganizationId, ReferenceData,
    ReferenceQuery, Repository, RepositoryError, RepositoryErrorKind, Snapshot, SnapshotQuery, StoredEnrollment,
    Timestamp,
};
use enroll_postgres::PostgresRepository;
use enroll_sqlite::SqliteRepository;
use std::error::Error;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::{Semaphore, SemaphorePermit};
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

/// Handles that are lent and come back, for so many at once.
pub(crate) struct Handles {
    store: Store,
    idle: Mutex<Vec<Handle>>,
    free: Semaphore,
}

impl Handles {
    pub(crate) fn new(store: Store, most: usize) -> Self {
        Self { store, idle: Mutex::default(), free: Semaphore::new(most) }
    }

    /// Waits for a handle.
    pub(crate) async fn lend(&self) -> Result<Lent<'_>, RepositoryError> {
        let unavailable = |e: Box<dyn Error + Send + Sync>| RepositoryError::new(RepositoryErrorKind::Unavailable, e);
        let permit = self.free.acquire().await.map_err(|e| unavailable(e.into()))?;
        let idle = self.idle().pop();
        let handle = match idle {
            Some(handle) => handle,
            None => self.store.handle().map_err(|failure| unavailable(failure.to_string().into()))?,
        };
        Ok(Lent { handle: Some(handle), handles: self, _permit: permit })
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Handle>> {
        // A list of handles is whole whoever panicked.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A handle, until it is dropped.
pub(crate) struct Lent<'h> {
    handle: Option<Handle>,
    handles: &'h Handles,
    _permit: SemaphorePermit<'h>,
}

impl Lent<'_> {
    /// The handle itself.
    pub(crate) fn handle(&mut self) -> Result<&mut Handle, RepositoryError> {
        let gone = || RepositoryError::new(RepositoryErrorKind::Other, "the handle was given back");
        self.handle.as_mut().ok_or_else(gone)
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        // What a panic left half done is not lent again.
        if let Some(handle) = self.handle.take().filter(|_| !std::thread::panicking()) {
            self.handles.idle().push(handle);
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
    pub(crate) async fn unfinished(&mut self) -> Result<u64, RepositoryError> {
        let sql = "select count(*) from enroll.enrollments where state = 'accepted'";
        let counts = self.query(sql, &[], |row| row.number()).await?;
        Ok(counts.into_iter().flatten().sum::<i64>().unsigned_abs())
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
    async fn reference_data(&mut self, query: &ReferenceQuery) -> Result<ReferenceData, RepositoryError> {
        ask!(self, AsyncRepository::reference_data, query)
    }

    async fn load(&mut self, query: &SnapshotQuery) -> Result<Snapshot, RepositoryError> {
        ask!(self, AsyncRepository::load, query)
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

    async fn record_failure(&mut self, claim: &Claim, failure: &AttemptFailure) -> Result<(), RepositoryError> {
        ask!(self, AsyncInbox::record_failure, claim, failure)
    }

    async fn release(&mut self, claim: &Claim, due_at: Timestamp) -> Result<(), RepositoryError> {
        ask!(self, AsyncInbox::release, claim, due_at)
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

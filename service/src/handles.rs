//! Handles on a database that many tasks share. Each worker and each HTTP request uses its own handle.

use enroll::erase::{EraseError, EraseMode, Erased, PersonQuery};
use enroll::events::{DynAsyncEventLog, Event, EventLog, EventPosition};
use enroll::inbox::{Claim, Failure as AttemptFailure, InboxEntry, Removed, Retention};
use enroll::repository::BoxFuture;
use enroll::{
    AsyncInbox, AsyncRepository, ChangeSet, DynAsyncInbox, Engine, EnrollmentCommand, EnrollmentId, Inbox,
    OrganizationId, ReferenceData, ReferenceQuery, Repository, RepositoryError, RepositoryErrorKind, Snapshot,
    SnapshotQuery, StoredEnrollment, Timestamp,
};
use enroll_postgres::PostgresRepository;
use enroll_sqlite::{SqliteError, SqliteFile, SqliteRepository};
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::task::block_in_place;

use crate::Failure;
use crate::cancel::run_interruptible;
use crate::database::{Address, Database, postgres, without_password};
use crate::people_lists::store::{NewList, StoreError, StoredList};
use crate::shares::{Share, Shares, Usage};
use crate::sql::{OnRow, Param, Row, SqlConnection};

/// Opens handles on one database.
#[derive(Clone)]
pub(crate) struct HandleFactory {
    /// The name from the command line, without a password.
    pub(crate) name: String,
    backend: Backend,
    /// The handles for requests that no request uses. All pools share them.
    idle: Arc<Mutex<Vec<Handle>>>,
}

#[derive(Clone)]
enum Backend {
    Sqlite(Arc<SqliteFile>),
    Postgres(PostgresRepository),
}

impl HandleFactory {
    /// Opens an existing database for at most `handles` handles at a time.
    pub(crate) fn open(name: &str, handles: usize) -> Result<Self, Failure> {
        // `Database` reports a database without the tables of `enroll`, with the same message as the other commands.
        let shown = without_password(name);
        let backend = match Address::parse(name)? {
            Address::Postgres(url) => {
                block_in_place(|| Database::open(name).map(drop))?;
                let opened =
                    postgres::options(url).and_then(|options| PostgresRepository::with_options(&options, handles));
                Backend::Postgres(opened.map_err(|e| Failure::from_error(&shown, &e))?)
            }
            Address::File(_) => Backend::Sqlite(Arc::new(block_in_place(|| Database::open(name)?.into_file())?)),
            Address::Memory => return Err(Failure::new(shown, "ends with the command, so nothing can share it")),
        };
        Ok(Self { name: shown, backend, idle: Arc::default() })
    }

    /// Opens a handle for requests.
    pub(crate) fn handle(&self) -> Result<Handle, Failure> {
        self.handle_with_cache(REQUEST_CACHE)
    }

    /// Opens a handle for a worker, which commits thousands of rows at a time.
    pub(crate) fn worker_handle(&self) -> Result<Handle, Failure> {
        self.handle_with_cache(WORKER_CACHE)
    }

    /// Opens a handle. On SQLite, its page cache has a number of MiB.
    fn handle_with_cache(&self, cache: i64) -> Result<Handle, Failure> {
        match &self.backend {
            Backend::Sqlite(file) => {
                let opened = block_in_place(|| {
                    let repository = file.handle()?;
                    repository.connection().pragma_update(None, "cache_size", -1024 * cache)?;
                    Ok::<_, SqliteError>(repository)
                });
                Ok(Handle::on_sqlite(opened.map_err(|e| Failure::from_error(&self.name, &e))?))
            }
            Backend::Postgres(repository) => Ok(Handle(Box::new(repository.clone()))),
        }
    }

    /// Keeps a handle for the next request. If its file was moved, deleted or replaced, closes it and all idle handles.
    fn keep(&self, handle: Handle) {
        if self.is_current() {
            self.idle().push(handle);
        } else {
            // Outside of the lock, because closing takes time.
            let idle = std::mem::take(&mut *self.idle());
            drop((handle, idle));
        }
    }

    /// Returns the connections of the pool. `None` on SQLite, where each handle has its own connection.
    pub(crate) fn connections(&self) -> Option<Usage> {
        let Backend::Postgres(repository) = &self.backend else { return None };
        let status = repository.pool().status();
        let in_use = status.size.saturating_sub(status.available);
        Some(Usage { limit: status.max_size, in_use, waiting: status.waiting })
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Handle>> {
        // A panic cannot leave the list half changed.
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns false if the handles are of no use any more: their file was moved, deleted or replaced.
    fn is_current(&self) -> bool {
        match &self.backend {
            Backend::Sqlite(file) => file.check().is_ok(),
            Backend::Postgres(_) => true,
        }
    }
}

/// Opens a handle on an existing database for one command of the command line.
pub(crate) fn with_handle<T>(
    name: &str,
    work: impl AsyncFnOnce(&mut Handle) -> Result<T, RepositoryError>,
) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|e| Failure::from_error(name, &e))?;
    runtime.block_on(async {
        let handles = HandleFactory::open(name, 1)?;
        let mut handle = handles.handle()?;
        work(&mut handle).await.map_err(|e| Failure::from_error(&handles.name, &e))
    })
}

/// The page cache of a handle for requests, in MiB. A process has many: with the 64 MiB of a single repository, they would
/// hold most of its memory.
const REQUEST_CACHE: i64 = 4;
/// The smallest one with which a commit of 4000 new recipients takes no more time than with 64 MiB.
const WORKER_CACHE: i64 = 16;

/// A pool of handles that users share: see [`Shares`].
pub(crate) struct HandlePool<U: Ord + Clone> {
    factory: HandleFactory,
    shares: Arc<Shares<U>>,
}

impl<U: Ord + Clone> HandlePool<U> {
    pub(crate) fn new(factory: HandleFactory, size: usize) -> Arc<Self> {
        Arc::new(Self { factory, shares: Shares::new(size, 1) })
    }

    /// Returns how many handles are in use.
    pub(crate) fn usage(&self) -> Usage {
        self.shares.usage()
    }

    /// Returns how many connections the handles use: see [`HandleFactory::connections`].
    pub(crate) fn connections(&self) -> Option<Usage> {
        self.factory.connections()
    }

    /// Waits for a handle.
    pub(crate) async fn acquire(self: &Arc<Self>, user: U) -> Result<PooledHandle<U>, RepositoryError> {
        let unavailable = |e: Failure| RepositoryError::new(RepositoryErrorKind::Unavailable, e.to_string());
        let share = self.shares.acquire(user, 1).await;
        let idle = self.factory.idle().pop();
        let handle = match idle {
            Some(handle) => handle,
            None => self.factory.handle().map_err(unavailable)?,
        };
        Ok(PooledHandle { handle: Some(handle), pool: Arc::clone(self), _share: share })
    }
}

/// A handle that returns to its pool when it is dropped.
pub(crate) struct PooledHandle<U: Ord + Clone> {
    handle: Option<Handle>,
    pool: Arc<HandlePool<U>>,
    _share: Share<U>,
}

impl<U: Ord + Clone> PooledHandle<U> {
    /// Returns the handle.
    pub(crate) fn handle(&mut self) -> Result<&mut Handle, RepositoryError> {
        let returned = || RepositoryError::new(RepositoryErrorKind::Other, "the handle was returned to its pool");
        self.handle.as_mut().ok_or_else(returned)
    }
}

impl<U: Ord + Clone> Drop for PooledHandle<U> {
    fn drop(&mut self) {
        // After a panic, a handle may be in the middle of a transaction. It does not return to the pool.
        if let Some(handle) = self.handle.take().filter(|_| !std::thread::panicking()) {
            self.pool.factory.keep(handle);
        }
    }
}

/// A handle on a database of either kind.
pub(crate) struct Handle(Box<dyn ServiceRepository>);

/// The engine's inbox and log of events, and the service's own SQL statements on the same connection.
trait ServiceRepository: DynAsyncInbox + Events + SqlConnection + PersonalData + StoreList {}

impl<R: DynAsyncInbox + Events + SqlConnection + PersonalData + StoreList> ServiceRepository for R {}

/// The engine's log of events, and its switch in the adapters.
trait Events {
    /// Turns the log on.
    fn enable_events(&mut self) -> BoxFuture<'_, Result<(), RepositoryError>>;

    /// Returns the events behind a position.
    fn events(&mut self, after: EventPosition, limit: NonZeroU32)
    -> BoxFuture<'_, Result<Vec<Event>, RepositoryError>>;

    /// Removes events that were written before an instant.
    fn prune_events(&mut self, before: Timestamp, limit: NonZeroU32) -> BoxFuture<'_, Result<u64, RepositoryError>>;
}

impl Events for PostgresRepository {
    fn enable_events(&mut self) -> BoxFuture<'_, Result<(), RepositoryError>> {
        Box::pin(PostgresRepository::enable_events(self, true))
    }

    fn events(
        &mut self,
        after: EventPosition,
        limit: NonZeroU32,
    ) -> BoxFuture<'_, Result<Vec<Event>, RepositoryError>> {
        self.events_boxed(after, limit)
    }

    fn prune_events(&mut self, before: Timestamp, limit: NonZeroU32) -> BoxFuture<'_, Result<u64, RepositoryError>> {
        self.prune_events_boxed(before, limit)
    }
}

impl Events for SqliteHandle {
    fn enable_events(&mut self) -> BoxFuture<'_, Result<(), RepositoryError>> {
        Box::pin(async { self.call(|repository| repository.enable_events(true)) })
    }

    fn events(
        &mut self,
        after: EventPosition,
        limit: NonZeroU32,
    ) -> BoxFuture<'_, Result<Vec<Event>, RepositoryError>> {
        Box::pin(async move { self.call(|repository| repository.events(after, limit)) })
    }

    fn prune_events(&mut self, before: Timestamp, limit: NonZeroU32) -> BoxFuture<'_, Result<u64, RepositoryError>> {
        Box::pin(async move { self.call(|repository| repository.prune_events(before, limit)) })
    }
}

/// Stores a list of people with its requests.
pub(crate) trait StoreList {
    /// Stores a list in one transaction. If a list with the same id exists, writes nothing.
    fn store_list<'a>(
        &'a mut self,
        engine: &'a Engine<'_>,
        new: NewList<'a>,
    ) -> BoxFuture<'a, Result<StoredList, StoreError>>;
}

/// The functions of the adapters that remove personal data.
trait PersonalData {
    /// Empties the log of the database, so that it has no bytes of removed rows.
    fn empty_log(&mut self) -> BoxFuture<'_, Result<(), RepositoryError>>;

    /// Removes what is older than the retention.
    fn remove_expired<'a>(&'a mut self, retention: &'a Retention) -> BoxFuture<'a, Result<Removed, RepositoryError>>;

    /// Erases a person.
    fn erase<'a>(
        &'a mut self,
        organization_id: OrganizationId,
        query: &'a PersonQuery,
        mode: EraseMode,
    ) -> BoxFuture<'a, Result<Erased, EraseError>>;
}

impl PersonalData for PostgresRepository {
    /// The log belongs to the server.
    fn empty_log(&mut self) -> BoxFuture<'_, Result<(), RepositoryError>> {
        Box::pin(async { Ok(()) })
    }

    fn remove_expired<'a>(&'a mut self, retention: &'a Retention) -> BoxFuture<'a, Result<Removed, RepositoryError>> {
        Box::pin(PostgresRepository::remove_expired(self, retention))
    }

    fn erase<'a>(
        &'a mut self,
        organization_id: OrganizationId,
        query: &'a PersonQuery,
        mode: EraseMode,
    ) -> BoxFuture<'a, Result<Erased, EraseError>> {
        Box::pin(PostgresRepository::erase(self, organization_id, query, mode))
    }
}

impl PersonalData for SqliteHandle {
    fn empty_log(&mut self) -> BoxFuture<'_, Result<(), RepositoryError>> {
        Box::pin(async move { Ok(self.call(|repository| repository.empty_log())?) })
    }

    fn remove_expired<'a>(&'a mut self, retention: &'a Retention) -> BoxFuture<'a, Result<Removed, RepositoryError>> {
        Box::pin(async { self.call(|repository| repository.remove_expired(retention)) })
    }

    fn erase<'a>(
        &'a mut self,
        organization_id: OrganizationId,
        query: &'a PersonQuery,
        mode: EraseMode,
    ) -> BoxFuture<'a, Result<Erased, EraseError>> {
        Box::pin(async move { self.call(|repository| repository.erase(organization_id, query, mode)) })
    }
}

impl Handle {
    pub(crate) fn on_sqlite(repository: SqliteRepository) -> Self {
        Self(Box::new(SqliteHandle(repository)))
    }

    /// Returns the inbox of the engine.
    pub(crate) fn inbox(&mut self) -> &mut dyn DynAsyncInbox {
        &mut *self.0
    }

    /// Returns the inbox of the engine, for a worker.
    pub(crate) fn into_inbox(self) -> Box<dyn DynAsyncInbox> {
        self.0
    }

    /// Returns the events of the engine's log behind a position.
    pub(crate) async fn events(
        &mut self,
        after: EventPosition,
        limit: NonZeroU32,
    ) -> Result<Vec<Event>, RepositoryError> {
        self.0.events(after, limit).await
    }

    /// Removes events that were written before an instant, at most `limit`. Returns their number.
    pub(crate) async fn prune_events(&mut self, before: Timestamp, limit: NonZeroU32) -> Result<u64, RepositoryError> {
        self.0.prune_events(before, limit).await
    }

    /// Turns the log of events on.
    pub(crate) async fn enable_events(&mut self) -> Result<(), RepositoryError> {
        self.0.enable_events().await
    }

    /// Removes what is older than the retention, of a limited number of enrollments.
    pub(crate) async fn remove_expired(&mut self, retention: &Retention) -> Result<Removed, RepositoryError> {
        self.0.remove_expired(retention).await
    }

    /// Empties the log of the database, so that it has no bytes of removed rows.
    pub(crate) async fn empty_log(&mut self) -> Result<(), RepositoryError> {
        self.0.empty_log().await
    }

    /// Stores a list of people in one transaction, and accepts its requests.
    pub(crate) async fn store_list(&mut self, engine: &Engine<'_>, new: NewList<'_>) -> Result<StoredList, StoreError> {
        self.0.store_list(engine, new).await
    }

    /// Erases a person, or counts what that would remove.
    pub(crate) async fn erase(
        &mut self,
        organization_id: OrganizationId,
        query: &PersonQuery,
        mode: EraseMode,
    ) -> Result<Erased, EraseError> {
        self.0.erase(organization_id, query, mode).await
    }

    /// Runs a query, and decodes each row.
    pub(crate) async fn query<T: Send>(
        &mut self,
        sql: &str,
        params: &[Param],
        mut decode: impl FnMut(&mut dyn Row) -> Result<T, RepositoryError> + Send,
    ) -> Result<Vec<T>, RepositoryError> {
        let mut decoded = Vec::new();
        let on_row: &mut OnRow<'_> = &mut |row| decode(row).map(|value| decoded.push(value));
        self.0.query(sql, params, on_row).await?;
        Ok(decoded)
    }

    /// Runs a statement. Returns the number of rows that it wrote.
    pub(crate) async fn execute(&mut self, sql: &str, params: &[Param]) -> Result<u64, RepositoryError> {
        self.0.execute(sql, params).await
    }

    /// Returns the time by the clock of the database.
    pub(crate) async fn now(&mut self) -> Result<Timestamp, RepositoryError> {
        self.0.now().await
    }

    /// Writes a row, and undoes that. Returns an error if the database cannot be written.
    pub(crate) async fn check_write(&mut self) -> Result<(), RepositoryError> {
        self.0.check_write().await
    }

    /// Returns true if the service's own tables exist.
    pub(crate) async fn has_tables(&mut self) -> Result<bool, RepositoryError> {
        self.0.has_tables().await
    }

    /// Creates the service's own tables, if they do not exist. A read-only database can be used if they do.
    pub(crate) async fn create_tables(&mut self) -> Result<(), RepositoryError> {
        if self.has_tables().await? { Ok(()) } else { self.0.create_tables().await }
    }

    /// Returns the number of accepted enrollments that are not finished, including leased ones.
    pub(crate) async fn unfinished(&mut self) -> Result<u64, RepositoryError> {
        let sql = "select count(*) from enroll.enrollments where state = 'accepted'";
        let counts = self.query(sql, &[], |row| row.number()).await?;
        Ok(counts.into_iter().flatten().sum::<i64>().unsigned_abs())
    }
}

/// A handle on SQLite as an async repository. Each call blocks its thread, and is interrupted if its client is gone.
pub(crate) struct SqliteHandle(SqliteRepository);

impl SqliteHandle {
    pub(crate) fn call<T>(&mut self, call: impl FnOnce(&mut SqliteRepository) -> T) -> T {
        self.call_within(None, call)
    }

    /// The same with a limit. Afterwards the call is interrupted, too.
    pub(crate) fn call_within<T>(
        &mut self,
        limit: impl Into<Option<Duration>>,
        call: impl FnOnce(&mut SqliteRepository) -> T,
    ) -> T {
        let interrupt = self.0.connection().get_interrupt_handle();
        run_interruptible(interrupt, limit.into(), || call(&mut self.0))
    }
}

impl AsyncRepository for SqliteHandle {
    async fn reference_data(&mut self, query: &ReferenceQuery) -> Result<ReferenceData, RepositoryError> {
        self.call(|repository| repository.reference_data(query))
    }

    async fn load(&mut self, query: &SnapshotQuery) -> Result<Snapshot, RepositoryError> {
        self.call(|repository| repository.load(query))
    }

    async fn commit(&mut self, changes: &ChangeSet) -> Result<(), RepositoryError> {
        self.call(|repository| repository.commit(changes))
    }
}

impl AsyncInbox for SqliteHandle {
    async fn insert(&mut self, command: &EnrollmentCommand) -> Result<Option<StoredEnrollment>, RepositoryError> {
        self.call(|repository| repository.insert(command))
    }

    async fn find(
        &mut self,
        organization_id: OrganizationId,
        enrollment_id: EnrollmentId,
    ) -> Result<Option<InboxEntry>, RepositoryError> {
        self.call(|repository| repository.find(organization_id, enrollment_id))
    }

    async fn claim(&mut self, lease: Duration) -> Result<Option<Claim>, RepositoryError> {
        self.call(|repository| repository.claim(lease))
    }

    async fn record_failure(&mut self, claim: &Claim, failure: &AttemptFailure) -> Result<(), RepositoryError> {
        self.call(|repository| repository.record_failure(claim, failure))
    }

    async fn release(&mut self, claim: &Claim, delay: Duration) -> Result<(), RepositoryError> {
        self.call(|repository| repository.release(claim, delay))
    }

    async fn retry(
        &mut self,
        organization_id: OrganizationId,
        enrollment_id: EnrollmentId,
    ) -> Result<bool, RepositoryError> {
        self.call(|repository| repository.retry(organization_id, enrollment_id))
    }
}

/// Returns a repository in memory, and the number of steps that SQLite has taken for its statements.
#[cfg(test)]
pub(crate) fn counting_repository() -> (SqliteRepository, Arc<std::sync::atomic::AtomicU64>) {
    use std::sync::atomic::Ordering;

    let steps = Arc::<std::sync::atomic::AtomicU64>::default();
    let count = Arc::clone(&steps);
    let mut connection = rusqlite::Connection::open_in_memory().unwrap();
    connection.progress_handler(1, Some(move || count.fetch_add(1, Ordering::Relaxed) == u64::MAX)).unwrap();
    (SqliteRepository::from_connection(connection).unwrap(), steps)
}

//! Workers as tokio tasks. The time of the runtime is paused, so no test waits.
#![cfg(feature = "tokio")]

mod support;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use enroll::inbox::{Claim, Failure, InboxEntry};
use enroll::{
    AsyncInbox, AsyncRepository, ChangeSet, EnrollmentCommand, EnrollmentId, EnrollmentState, InMemoryRepository,
    OrganizationId, ReferenceData, ReferenceQuery, RepositoryError, RepositoryErrorKind as Kind, Snapshot,
    SnapshotQuery, StoredEnrollment,
};
use enroll_worker::{Event, Settings, TokioWorkers, WorkersError};
use support::{accept_one, organization_id, repository, state};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::{Instant, timeout};

/// A handle on an inbox that can be away, hold back commits or panic.
#[derive(Clone)]
struct Handle {
    inner: InMemoryRepository,
    away: Arc<AtomicBool>,
    panics: bool,
    claims: Arc<AtomicUsize>,
    /// The number of commits that may begin.
    commits: Arc<Semaphore>,
}

impl Handle {
    fn new(organizations: usize) -> Self {
        Self {
            inner: repository(organizations),
            away: Arc::default(),
            panics: false,
            claims: Arc::default(),
            commits: Arc::new(Semaphore::new(1000)),
        }
    }

    fn set_away(&self, away: bool) {
        self.away.store(away, Ordering::Relaxed);
    }

    fn check(&self) -> Result<(), RepositoryError> {
        if self.away.load(Ordering::Relaxed) { Err(RepositoryError::new(Kind::Unavailable, "away")) } else { Ok(()) }
    }

    fn claims(&self) -> usize {
        self.claims.load(Ordering::Relaxed)
    }

    fn unfinished(&self) -> u64 {
        let count = |id| {
            let snapshot = self.inner.snapshot(id).unwrap();
            snapshot.reference.enrollments.values().filter(|stored| stored.state == EnrollmentState::Accepted).count()
        };
        self.inner.organizations().into_iter().map(count).sum::<usize>() as u64
    }
}

impl AsyncRepository for Handle {
    async fn reference_data(&mut self, query: &ReferenceQuery) -> Result<ReferenceData, RepositoryError> {
        AsyncRepository::reference_data(&mut self.inner, query).await
    }

    async fn load(&mut self, query: &SnapshotQuery) -> Result<Snapshot, RepositoryError> {
        self.check()?;
        AsyncRepository::load(&mut self.inner, query).await
    }

    async fn commit(&mut self, changes: &ChangeSet) -> Result<(), RepositoryError> {
        self.commits.acquire().await.unwrap().forget();
        self.check()?;
        AsyncRepository::commit(&mut self.inner, changes).await
    }
}

impl AsyncInbox for Handle {
    async fn insert(&mut self, command: &EnrollmentCommand) -> Result<Option<StoredEnrollment>, RepositoryError> {
        AsyncInbox::insert(&mut self.inner, command).await
    }

    async fn find(
        &mut self,
        organization_id: OrganizationId,
        id: EnrollmentId,
    ) -> Result<Option<InboxEntry>, RepositoryError> {
        AsyncInbox::find(&mut self.inner, organization_id, id).await
    }

    async fn claim(&mut self, lease: Duration) -> Result<Option<Claim>, RepositoryError> {
        assert!(!self.panics, "the handle panics");
        self.claims.fetch_add(1, Ordering::Relaxed);
        self.check()?;
        AsyncInbox::claim(&mut self.inner, lease).await
    }

    async fn record_failure(&mut self, claim: &Claim, failure: &Failure) -> Result<(), RepositoryError> {
        self.check()?;
        AsyncInbox::record_failure(&mut self.inner, claim, failure).await
    }

    async fn release(&mut self, claim: &Claim, delay: Duration) -> Result<(), RepositoryError> {
        self.check()?;
        AsyncInbox::release(&mut self.inner, claim, delay).await
    }

    async fn retry(&mut self, organization_id: OrganizationId, id: EnrollmentId) -> Result<bool, RepositoryError> {
        AsyncInbox::retry(&mut self.inner, organization_id, id).await
    }
}

/// Workers that run, their events, and the way to stop them.
struct Running {
    events: Arc<Mutex<Vec<Event>>>,
    wake: enroll_worker::Wake,
    stop: oneshot::Sender<()>,
    ended: tokio::task::JoinHandle<Result<(), WorkersError>>,
}

impl Running {
    fn start(handle: &Handle, workers: usize, settings: Settings) -> Self {
        let events = Arc::<Mutex<Vec<Event>>>::default();
        let shared = Arc::clone(&events);
        let tasks = TokioWorkers::new(settings).on_event(move |event| shared.lock().unwrap().push(event.clone()));
        let wake = tasks.wake();
        let (stop, stopped) = oneshot::channel();
        let handles = vec![handle.clone(); workers];
        let ended = tokio::spawn(tasks.run(handles, async {
            let _dropped = stopped.await;
        }));
        Self { events, wake, stop, ended }
    }

    fn has(&self, wanted: impl Fn(&Event) -> bool) -> bool {
        self.events.lock().unwrap().iter().any(wanted)
    }

    /// Lets the tasks run until there is an event. Time passes.
    async fn wait_for(&self, wanted: impl Fn(&Event) -> bool) {
        let seen = async {
            while !self.has(&wanted) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(Duration::from_secs(600), seen).await.expect("the event comes");
    }

    async fn stop(self) -> Result<(), WorkersError> {
        drop(self.stop);
        self.ended.await.unwrap()
    }
}

/// Settings with which an idle worker waits until it is woken.
fn patient() -> Settings {
    let mut settings = Settings::default();
    settings.idle = Duration::MAX;
    settings
}

/// Lets all tasks run until they wait. No time passes.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn new_work_ends_the_sleep_of_an_idle_worker() {
    let mut handle = Handle::new(1);
    let running = Running::start(&handle, 1, patient());
    settle().await;
    assert!(running.has(|event| *event == Event::NoneDue));
    let start = Instant::now();
    let id = accept_one(&mut handle.inner, organization_id(0), "one");
    running.wake.one();
    settle().await;
    assert!(running.has(|event| matches!(event, Event::Completed { claim, .. } if claim.enrollment_id == id)));
    assert_eq!(start.elapsed(), Duration::ZERO);
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_idle_worker_finds_work_of_other_processes() {
    let mut handle = Handle::new(1);
    let running = Running::start(&handle, 1, Settings::default());
    settle().await;
    accept_one(&mut handle.inner, organization_id(0), "one");
    let start = Instant::now();
    running.wait_for(|event| matches!(event, Event::Completed { .. })).await;
    assert!(start.elapsed() <= Duration::from_millis(201), "{:?}", start.elapsed());
    running.stop().await.unwrap();
}

/// Starts workers during an outage, and lets them fail until they wait for seconds.
async fn long_outage(handle: &Handle, workers: usize) -> Running {
    handle.set_away(true);
    let running = Running::start(handle, workers, patient());
    tokio::time::sleep(Duration::from_secs(60)).await;
    settle().await;
    assert!(running.has(|event| matches!(event, Event::ClaimFailed { .. })));
    running
}

#[tokio::test(start_paused = true)]
async fn the_back_off_after_an_outage_is_five_seconds_at_most() {
    let handle = Handle::new(1);
    let running = long_outage(&handle, 1).await;
    let before = handle.claims();
    tokio::time::sleep(Duration::from_secs(50)).await;
    let claims = handle.claims() - before;
    assert!((10..=20).contains(&claims), "{claims} claims in 50 s");
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_back_off_ends_with_the_outage_and_with_new_work() {
    let handle = Handle::new(1);
    let running = long_outage(&handle, 2).await;
    // The host found that the storage answers, such as its check of readiness.
    let before = handle.claims();
    running.wake.storage_answered();
    settle().await;
    assert_eq!(handle.claims(), before + 2);
    // New work wakes one worker.
    running.wake.one();
    settle().await;
    assert_eq!(handle.claims(), before + 3);
    // One worker gets through, and all continue.
    handle.set_away(false);
    running.wake.one();
    settle().await;
    let claims = handle.claims();
    assert_eq!(claims, before + 6, "the worker that got through claims once more");
    // The outage is over: an answer of the storage wakes no idle worker.
    running.wake.storage_answered();
    settle().await;
    assert_eq!(handle.claims(), claims);
    running.wake.all();
    settle().await;
    assert_eq!(handle.claims(), claims + 2);
    running.stop().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn workers_that_stop_finish_their_enrollment() {
    let mut handle = Handle::new(1);
    let id = accept_one(&mut handle.inner, organization_id(0), "one");
    handle.commits = Arc::new(Semaphore::new(0));
    let running = Running::start(&handle, 2, Settings::default());
    running.wait_for(|event| matches!(event, Event::Claimed(_))).await;
    settle().await;
    let events = Arc::clone(&running.events);
    let stopping = tokio::spawn(running.stop());
    settle().await;
    assert!(!stopping.is_finished());
    handle.commits.add_permits(1);
    stopping.await.unwrap().unwrap();
    let (state, attempts) = state(&mut handle.inner, organization_id(0), id);
    assert!(matches!(state, EnrollmentState::Completed { .. }) && attempts == 1, "{state:?}");
    assert!(events.lock().unwrap().iter().any(|event| matches!(event, Event::Completed { .. })));
}

#[tokio::test(start_paused = true)]
async fn workers_that_stop_give_back_what_an_outage_interrupted() {
    let mut handle = Handle::new(1);
    accept_one(&mut handle.inner, organization_id(0), "one");
    handle.commits = Arc::new(Semaphore::new(0));
    let running = Running::start(&handle, 1, Settings::default());
    running.wait_for(|event| matches!(event, Event::Claimed(_))).await;
    handle.set_away(true);
    handle.commits.add_permits(1);
    running.wait_for(|event| matches!(event, Event::Interrupted { .. })).await;
    assert_eq!(AsyncInbox::claim(&mut handle.inner, Duration::from_secs(1)).await.unwrap(), None, "it has a lease");
    handle.set_away(false);
    running.stop().await.unwrap();
    let claim = AsyncInbox::claim(&mut handle.inner, Duration::from_secs(1)).await.unwrap().unwrap();
    assert_eq!((claim.attempts, claim.lost_leases), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn workers_run_until_the_inbox_is_empty() {
    let mut handle = Handle::new(3);
    for n in 0..9 {
        accept_one(&mut handle.inner, organization_id(n % 3), &format!("key-{n}"));
    }
    let counted = handle.clone();
    let unfinished = move || std::future::ready(Ok(counted.unfinished()));
    let workers = TokioWorkers::new(Settings::default());
    workers.run_until_empty(vec![handle.clone(); 3], unfinished, std::future::pending()).await.unwrap();
    assert_eq!(handle.unfinished(), 0);
}

#[tokio::test(start_paused = true)]
async fn workers_until_empty_end_with_the_error_of_an_outage() {
    let handle = Handle::new(1);
    handle.set_away(true);
    let unfinished = || std::future::ready(Ok(1));
    let workers = TokioWorkers::new(Settings::default());
    let ended = workers.run_until_empty([handle.clone()], unfinished, std::future::pending()).await;
    let WorkersError::Storage(error) = ended.unwrap_err() else { panic!("another error") };
    assert_eq!((error.kind(), handle.claims()), (Kind::Unavailable, 5));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_panics_stops_the_others() {
    let handle = Handle::new(1);
    let broken = Handle { panics: true, ..handle.clone() };
    let workers = TokioWorkers::new(Settings::default());
    let ended = workers.run([handle, broken], std::future::pending()).await;
    let WorkersError::Task(error) = ended.unwrap_err() else { panic!("another error") };
    assert!(error.is_panic());
}

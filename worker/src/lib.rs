//! Workers that process the accepted enrollments of [`enroll`].
//!
//! A host answers 202 when [`accept`](enroll::accept) has stored a command in an [`Inbox`](enroll::Inbox). Workers claim
//! it later and [`process`](enroll::process) it, exactly once. This crate is their loop: when to claim, what counts as a
//! failed attempt, how long to wait after an outage, and how to stop.
//!
//! A host with its own queue (apalis, NATS, SQS) needs no worker of this crate: its queue calls
//! [`process_async`](enroll::process_async).
//!
//! # Workers on tokio
//!
//! `TokioWorkers`, of the default feature `tokio`, runs one task for each handle on the inbox:
#![cfg_attr(feature = "tokio", doc = "```")]
#![cfg_attr(not(feature = "tokio"), doc = "```ignore")]
//! use enroll::{Engine, Enrollment, EnrollmentKey, EnrollmentPolicy, EnrollmentRequest, InMemoryRepository, accept_async};
//! use enroll_worker::{Event, Settings, TokioWorkers};
//! use std::sync::Arc;
//! use std::sync::atomic::{AtomicUsize, Ordering};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let demo = enroll::seed::Demo::new()?;
//! let mut inbox = InMemoryRepository::new();
//! demo.given.snapshots()?.into_iter().for_each(|snapshot| inbox.insert(snapshot));
//!
//! // A hook for metrics and logs.
//! let completed = Arc::new(AtomicUsize::new(0));
//! let counter = Arc::clone(&completed);
//! let workers = TokioWorkers::new(Settings::default()).on_event(move |event| match event {
//!     Event::Completed { report, took, .. } => {
//!         counter.fetch_add(1, Ordering::Relaxed);
//!         println!("{} recipients in {took:?}", report.outcomes.len());
//!     }
//!     Event::Failed { claim, error } => eprintln!("enrollment {} failed: {error}", claim.enrollment_id),
//!     _ => {}
//! });
//! let wake = workers.wake();
//!
//! // Two workers, until the host stops them.
//! let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
//! let running = tokio::spawn(workers.run([inbox.clone(), inbox.clone()], async {
//!     let _sent_or_dropped = stopped.await;
//! }));
//!
//! // The host accepts a request, and wakes a worker.
//! let request = EnrollmentRequest::from_json(br#"{"to": [{"phone": "+1 202 555 0123", "name": "Ada"}]}"#);
//! let enrollment = Enrollment {
//!     organization_id: demo.given.organization_id,
//!     sequence_id: demo.sequence_id,
//!     key: EnrollmentKey::Idempotency("request-1"),
//!     at: "2026-02-01T15:00:00Z".parse()?,
//!     list: None,
//!     request: &request,
//! };
//! let policy = EnrollmentPolicy::default();
//! accept_async(&mut inbox, &Engine::new(&policy), &enrollment).await?;
//! wake.one();
//!
//! while completed.load(Ordering::Relaxed) == 0 {
//!     tokio::task::yield_now().await;
//! }
//! // Each worker finishes its enrollment.
//! drop(stop);
//! running.await??;
//! # Ok(())
//! # }
//! ```
//!
//! `enroll-postgres` has async handles: a clone of `PostgresRepository` for each worker. On SQLite, a handle blocks its
//! thread; a host wraps it as an [`AsyncInbox`](enroll::AsyncInbox), or drives the steps on a thread.
//!
//! # Without tokio
//!
//! [`Workers`] is the loop without I/O. It returns [`Step`]s, and takes the answers and the time. A host drives it with
//! its own runtime, or with a thread and a blocking inbox:
//!
//! ```
//! use enroll::{Inbox, Timestamp, process};
//! use enroll_worker::{Event, Remaining, Settings, Step, Workers};
//! use std::thread;
//! use std::time::{Instant, SystemTime};
//!
//! /// Processes enrollments until none waits.
//! fn work(inbox: &mut impl Inbox, unfinished: impl Fn() -> u64) -> Result<usize, Box<dyn std::error::Error>> {
//!     let (start, mut completed) = (Instant::now(), 0);
//!     let mut workers = Workers::until_empty(Settings::default(), 1);
//!     let mut step = workers.worker();
//!     loop {
//!         let turn = match step {
//!             Step::Claim(claim) => {
//!                 let claimed = inbox.claim(claim.lease());
//!                 claim.resume(&mut workers, claimed, start.elapsed())
//!             }
//!             Step::Process(it) => {
//!                 let (claim, now) = (it.claim(), Timestamp::try_from(SystemTime::now())?);
//!                 let processed = process(inbox, it.retry(), claim.organization_id, claim.enrollment_id, now);
//!                 it.resume(&mut workers, processed, start.elapsed())
//!             }
//!             Step::Record(record) => {
//!                 let recorded = inbox.record_failure(record.claim(), record.failure());
//!                 record.resume(&mut workers, recorded, start.elapsed())
//!             }
//!             Step::Release(release) => {
//!                 let released = inbox.release(release.claim(), release.delay());
//!                 release.resume(&mut workers, released, start.elapsed())
//!             }
//!             Step::Count(count) => {
//!                 // All workers of this host have one build, so those that need a newer one still wait.
//!                 let remaining = Remaining::new(unfinished(), count.newer().to_vec());
//!                 count.resume(&mut workers, Ok(remaining), start.elapsed())
//!             }
//!             Step::Sleep(sleep) => {
//!                 thread::sleep(sleep.until().saturating_sub(start.elapsed()));
//!                 sleep.resume(&workers)
//!             }
//!             Step::Done(ended) => return Ok(ended.map(|()| completed)?),
//!         };
//!         if let Some(Event::Completed { .. }) = turn.event {
//!             completed += 1;
//!         }
//!         step = turn.step;
//!     }
//! }
//!
//! let mut inbox = enroll::InMemoryRepository::new();
//! assert_eq!(work(&mut inbox, || 0)?, 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What a worker does
//!
//! | What happens | An attempt? | What the worker does |
//! |---|---|---|
//! | The enrollment is completed or rejected. | yes | It claims the next one. |
//! | The enrollment cannot be processed. | yes | It records the failure, and the next attempt in 0.5 s, 1 s, 2 s, … up to 5 s. After [`Settings::attempts`], the enrollment is `failed`. |
//! | The storage is unavailable. | no | It waits as long, then gives the claim back. |
//! | Other writers were first in all attempts of a commit. | no | It gives the claim back for up to 0.5 s. |
//! | A newer build must process the enrollment. | no | It gives the claim back for 60 s. |
//! | The last [`MAX_LOST_LEASES`](enroll::inbox::MAX_LOST_LEASES) leases of the enrollment were lost. | yes | It records the enrollment as `failed`. |
//! | No enrollment is due. | | It waits for [`Settings::idle`], or until the host wakes it. |
//!
//! A wait after an outage ends at once when another worker of the process gets through, when the host reports that the
//! storage answers, or when the host accepts an enrollment. Each wait is shortened by a random part of up to a half.
//!
//! The inbox lets the organizations take turns: see the clauses of [`Inbox`](enroll::Inbox).
//!
//! # Features
//!
//! - `tokio` (default): `TokioWorkers`.
//! - `tracing`: each enrollment is processed inside the span `enrollment`, with the target `enroll::work` and the fields
//!   `organization`, `enrollment`, `attempt`, `sequence` and `recipients`. Calls of the event hook are inside it too.

#![cfg_attr(docsrs, feature(doc_cfg))]
#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::unreachable))]

mod back_off;
mod causes;
mod event;
mod settings;
#[cfg(feature = "tokio")]
mod span;
mod step;
#[cfg(feature = "tokio")]
mod tokio_workers;
mod workers;

pub use causes::causes;
pub use event::{Event, ReleaseReason};
pub use settings::Settings;
pub use step::{ClaimStep, CountStep, ProcessStep, RecordStep, ReleaseStep, SleepStep, Step, Turn};
#[cfg(feature = "tokio")]
pub use tokio_workers::{TokioWorkers, Wake, WorkersError};
pub use workers::{Remaining, Workers};

/// Compiles the examples of the README.
#[cfg(all(doctest, feature = "tokio"))]
#[doc = include_str!("../README.md")]
struct Readme;

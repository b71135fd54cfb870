//! The state machine: its rules, and simulations of several workers with outages at any call.

mod support;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use enroll::inbox::{Claim, Failure, InboxEntry, MAX_LOST_LEASES};
use enroll::{
    ChangeSet, EnrollError, EnrollmentCommand, EnrollmentId, EnrollmentState, InMemoryRepository, Inbox,
    OrganizationId, ReferenceData, ReferenceQuery, Repository, RepositoryError, RepositoryErrorKind as Kind, Snapshot,
    SnapshotQuery, StoredCommand, StoredEnrollment, Timestamp, process,
};
use enroll_worker::{Event, ReleaseReason, Remaining, Settings, Step, Workers};
use proptest::collection::vec;
use proptest::prelude::*;
use support::{accept_one, organization_id, repository, state};

const ATTEMPTS: u32 = 3;

fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.attempts = ATTEMPTS;
    settings
}

fn claim() -> Claim {
    Claim::new(organization_id(0), EnrollmentId::from_idempotency_key(organization_id(0), "one"), 1)
}

fn unavailable() -> RepositoryError {
    RepositoryError::new(Kind::Unavailable, "away")
}

/// Claims an enrollment, and returns the step that follows.
fn claimed(workers: &mut Workers, step: Step, claim: Claim) -> Step {
    let Step::Claim(step) = step else { panic!("{step:?}") };
    let turn = step.resume(workers, Ok(Some(claim)), Duration::ZERO);
    assert_eq!(turn.event, Some(Event::Claimed(claim)));
    turn.step
}

/// Claims and processes an enrollment with an error, and returns the step that follows.
fn failed(workers: &mut Workers, claim: Claim, error: EnrollError) -> Step {
    let step = workers.worker();
    let Step::Process(step) = claimed(workers, step, claim) else { panic!("not processed") };
    assert_eq!(step.claim(), claim);
    step.resume(workers, Err(error), Duration::ZERO).step
}

#[test]
fn a_failure_is_an_attempt_and_the_last_one_has_no_next() {
    let mut workers = Workers::new(settings(), 1);
    for attempts in 0..ATTEMPTS {
        let mut claim = claim();
        claim.attempts = attempts;
        let error = RepositoryError::new(Kind::Other, "damaged").into();
        let Step::Record(step) = failed(&mut workers, claim, error) else { panic!("not recorded") };
        assert_eq!(step.failure().error, "the storage failed: damaged");
        let again = step.failure().retry_after;
        assert_eq!(again.is_some(), attempts + 1 < ATTEMPTS);
        let event = step.resume(&mut workers, Ok(()), Duration::ZERO).event.unwrap();
        match again {
            Some(delay) => {
                assert!(delay <= Duration::from_millis(500 << attempts), "{delay:?}");
                assert_eq!(event, Event::Retried { claim, error: "the storage failed: damaged".into(), delay });
            }
            None => assert_eq!(event, Event::Failed { claim, error: "the storage failed: damaged".into() }),
        }
    }
}

#[test]
fn an_outage_is_no_attempt_and_the_claim_is_given_back_after_the_wait() {
    let mut workers = Workers::new(settings(), 1);
    let Step::Sleep(sleep) = failed(&mut workers, claim(), unavailable().into()) else { panic!("no wait") };
    assert!(sleep.until() <= Duration::from_millis(500), "{:?}", sleep.until());
    let Step::Release(release) = sleep.resume(&workers).step else { panic!("not given back") };
    assert_eq!((release.claim(), release.delay()), (&claim(), Duration::ZERO));
    assert!(matches!(release.resume(&mut workers, Ok(()), Duration::ZERO).step, Step::Claim(_)));
}

#[test]
fn a_lost_race_and_a_newer_command_are_no_attempts() {
    let id = claim().enrollment_id;
    let contended = EnrollError::Contended { attempts: 32 };
    let newer = EnrollError::NewerVersion { enrollment_id: id, version: 9 };
    for (error, expected, longest) in [
        (contended, ReleaseReason::Contended, Duration::from_millis(500)),
        (newer, ReleaseReason::NewerVersion, Duration::from_secs(60)),
    ] {
        let mut workers = Workers::new(settings(), 1);
        let text = error.to_string();
        let Step::Release(release) = failed(&mut workers, claim(), error) else { panic!("not given back") };
        assert!(release.delay() <= longest && release.delay() > Duration::ZERO);
        let turn = release.resume(&mut workers, Ok(()), Duration::ZERO);
        assert_eq!(turn.event, Some(Event::Released { claim: claim(), reason: expected, error: text }));
        assert!(matches!(turn.step, Step::Claim(_)));
    }
}

#[test]
fn an_enrollment_that_lost_too_many_leases_is_not_processed() {
    let mut workers = Workers::new(settings(), 1);
    let mut poison = claim();
    poison.lost_leases = MAX_LOST_LEASES;
    let step = workers.worker();
    let Step::Record(step) = claimed(&mut workers, step, poison) else { panic!("processed") };
    assert_eq!(step.failure().retry_after, None);
    assert!(step.failure().error.contains("last 20 leases"), "{}", step.failure().error);
    let step = workers.worker();
    poison.lost_leases -= 1;
    assert!(matches!(claimed(&mut workers, step, poison), Step::Process(_)));
}

#[test]
fn a_claim_that_arrives_while_the_workers_stop_is_given_back() {
    let mut workers = Workers::new(settings(), 1);
    let step = workers.worker();
    workers.stop();
    let Step::Release(release) = claimed(&mut workers, step, claim()) else { panic!("not given back") };
    let turn = release.resume(&mut workers, Ok(()), Duration::ZERO);
    assert!(matches!(turn.event, Some(Event::Released { reason: ReleaseReason::Stopped, .. })));
    assert!(matches!(turn.step, Step::Done(Ok(()))));
    assert!(matches!(workers.worker(), Step::Done(Ok(()))));
}

#[test]
fn the_first_success_after_an_outage_wakes_all_workers() {
    let mut workers = Workers::new(settings(), 1);
    let fail = |workers: &mut Workers| {
        let Step::Claim(step) = workers.worker() else { panic!("no claim") };
        step.resume(workers, Err(unavailable()), Duration::ZERO)
    };
    let none_due = |workers: &mut Workers| {
        let Step::Claim(step) = workers.worker() else { panic!("no claim") };
        step.resume(workers, Ok(None), Duration::ZERO).wake_all
    };
    assert!(!none_due(&mut workers));
    let turn = fail(&mut workers);
    assert_eq!(turn.event, Some(Event::ClaimFailed { error: "the storage is unavailable: away".into() }));
    assert!(!turn.wake_all);
    assert!(none_due(&mut workers));
    assert!(!none_due(&mut workers), "the outage is over");
    // Another part of the host can find out too.
    let _sleeps = fail(&mut workers);
    assert!(workers.storage_answered());
    assert!(!workers.storage_answered());
}

#[test]
fn waits_double_until_a_turn_succeeds() {
    let mut workers = Workers::new(settings(), 1);
    let mut step = workers.worker();
    let mut waits = Vec::new();
    for _ in 0..8 {
        let Step::Claim(claim_step) = step else { panic!("{step:?}") };
        // The claim succeeds, but the storage cannot commit.
        let Step::Process(process) = claim_step.resume(&mut workers, Ok(Some(claim())), Duration::ZERO).step else {
            panic!("not processed")
        };
        let Step::Sleep(sleep) = process.resume(&mut workers, Err(unavailable().into()), Duration::ZERO).step else {
            panic!("no wait")
        };
        waits.push(sleep.until());
        let Step::Release(release) = sleep.resume(&workers).step else { panic!("not given back") };
        step = release.resume(&mut workers, Ok(()), Duration::ZERO).step;
    }
    for (n, wait) in waits.iter().enumerate() {
        let longest = Duration::from_millis(500 << n.min(4)).min(Duration::from_secs(5));
        assert!((longest / 2..=longest).contains(wait), "{waits:?}");
    }
    let Step::Claim(claim_step) = step else { panic!("{step:?}") };
    let Step::Sleep(idle) = claim_step.resume(&mut workers, Ok(None), Duration::ZERO).step else { panic!("no wait") };
    assert_eq!(idle.until(), Settings::default().idle);
    // The next outage begins with the shortest wait.
    let Step::Claim(claim_step) = idle.resume(&workers).step else { panic!("no claim") };
    let turn = claim_step.resume(&mut workers, Err(unavailable()), Duration::ZERO);
    assert!(matches!(turn.step, Step::Sleep(sleep) if sleep.until() <= Duration::from_millis(500)));
}

/// What happens to a call of the storage.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// It has no effect.
    Before,
    /// It has its effect, and the answer is lost.
    After,
}

/// A handle on an inbox with outages.
#[derive(Clone)]
struct Flaky {
    inner: InMemoryRepository,
    faults: Rc<RefCell<VecDeque<Fault>>>,
    /// The enrollments that no worker can process.
    damaged: BTreeSet<EnrollmentId>,
    /// The enrollments that need a newer build.
    newer: BTreeSet<EnrollmentId>,
    /// The enrollments whose lease was lost with the answer of the claim.
    lost: Rc<RefCell<BTreeSet<EnrollmentId>>>,
}

impl Flaky {
    fn call<T>(
        &mut self,
        call: impl FnOnce(&mut InMemoryRepository) -> Result<T, RepositoryError>,
    ) -> Result<T, RepositoryError> {
        match self.faults.borrow_mut().pop_front().unwrap_or(Fault::None) {
            Fault::None => call(&mut self.inner),
            Fault::Before => Err(unavailable()),
            Fault::After => call(&mut self.inner).and(Err(unavailable())),
        }
    }
}

impl Repository for Flaky {
    fn reference_data(&mut self, query: &ReferenceQuery) -> Result<ReferenceData, RepositoryError> {
        self.call(|inner| Repository::reference_data(inner, query))
    }

    fn load(&mut self, query: &SnapshotQuery) -> Result<Snapshot, RepositoryError> {
        self.call(|inner| Repository::load(inner, query))
    }

    fn commit(&mut self, changes: &ChangeSet) -> Result<(), RepositoryError> {
        if self.damaged.contains(&changes.completion().enrollment.id) {
            return Err(RepositoryError::new(Kind::Other, "damaged"));
        }
        self.call(|inner| Repository::commit(inner, changes))
    }
}

impl Inbox for Flaky {
    fn insert(&mut self, command: &EnrollmentCommand) -> Result<Option<StoredEnrollment>, RepositoryError> {
        Inbox::insert(&mut self.inner, command)
    }

    fn find(
        &mut self,
        organization_id: OrganizationId,
        enrollment_id: EnrollmentId,
    ) -> Result<Option<InboxEntry>, RepositoryError> {
        let newer = self.newer.contains(&enrollment_id);
        let found = self.call(|inner| Inbox::find(inner, organization_id, enrollment_id))?;
        Ok(found.map(|mut entry| {
            // A completed enrollment has no command.
            if newer && entry.command.is_some() {
                entry.command = Some(StoredCommand::Newer { version: 9 });
            }
            entry
        }))
    }

    fn claim(&mut self, lease: Duration) -> Result<Option<Claim>, RepositoryError> {
        let lost = Rc::clone(&self.lost);
        let fault = self.faults.borrow().front().copied();
        self.call(|inner| {
            let claimed = Inbox::claim(inner, lease)?;
            if let (Some(claim), Some(Fault::After)) = (claimed, fault) {
                lost.borrow_mut().insert(claim.enrollment_id);
            }
            Ok(claimed)
        })
    }

    fn record_failure(&mut self, claim: &Claim, failure: &Failure) -> Result<(), RepositoryError> {
        self.call(|inner| Inbox::record_failure(inner, claim, failure))
    }

    fn release(&mut self, claim: &Claim, delay: Duration) -> Result<(), RepositoryError> {
        self.call(|inner| Inbox::release(inner, claim, delay))
    }

    fn retry(&mut self, organization_id: OrganizationId, id: EnrollmentId) -> Result<bool, RepositoryError> {
        self.call(|inner| Inbox::retry(inner, organization_id, id))
    }
}

/// What a worker can do with an enrollment.
#[derive(Clone, Copy, Debug)]
enum Work {
    Good,
    Damaged,
    Newer,
}

/// Several workers on one inbox.
#[derive(Clone, Debug)]
struct Simulation {
    enrollments: Vec<(usize, Work)>,
    faults: Vec<Fault>,
    workers: usize,
    /// Which worker makes its step.
    order: Vec<usize>,
    /// After how many steps the workers stop. Without it, they run until the inbox is empty.
    stop: Option<usize>,
    seed: u64,
}

fn simulation() -> impl Strategy<Value = Simulation> {
    let kind = prop_oneof![4 => Just(Work::Good), 1 => Just(Work::Damaged), 1 => Just(Work::Newer)];
    let fault = prop_oneof![3 => Just(Fault::None), 1 => Just(Fault::Before), 1 => Just(Fault::After)];
    (vec((0..2_usize, kind), 0..5), vec(fault, 0..40), 1..4_usize, vec(0..4_usize, 16), any::<u64>()).prop_flat_map(
        |(enrollments, faults, workers, order, seed)| {
            prop::option::of(1..60_usize).prop_map(move |stop| Simulation {
                enrollments: enrollments.clone(),
                faults: faults.clone(),
                workers,
                order: order.clone(),
                stop,
                seed,
            })
        },
    )
}

/// What a simulation leaves.
struct Simulated {
    inbox: Flaky,
    enrollments: Vec<(OrganizationId, EnrollmentId, Work)>,
    events: Vec<Event>,
    ended: Vec<Result<(), RepositoryError>>,
    now: Duration,
}

fn at(now: Duration) -> Timestamp {
    Timestamp::EPOCH.saturating_add(now)
}

impl Simulation {
    fn run(&self) -> Simulated {
        let mut inbox = Flaky {
            inner: repository(2),
            faults: Rc::default(),
            damaged: BTreeSet::new(),
            newer: BTreeSet::new(),
            lost: Rc::default(),
        };
        let mut enrollments = Vec::new();
        for (n, (organization, kind)) in self.enrollments.iter().enumerate() {
            let organization_id = organization_id(*organization);
            let id = accept_one(&mut inbox, organization_id, &format!("key-{n}"));
            match kind {
                Work::Good => {}
                Work::Damaged => _ = inbox.damaged.insert(id),
                Work::Newer => _ = inbox.newer.insert(id),
            }
            enrollments.push((organization_id, id, *kind));
        }
        inbox.faults.borrow_mut().extend(&self.faults);
        let mut workers = match self.stop {
            Some(_) => Workers::new(settings(), self.seed),
            None => Workers::until_empty(settings(), self.seed),
        };
        let mut simulated =
            Simulated { inbox, enrollments, events: Vec::new(), ended: Vec::new(), now: Duration::ZERO };
        let mut steps: Vec<Step> = (0..self.workers).map(|_| workers.worker()).collect();
        let mut order = self.order.iter().cycle();
        let mut count = 0;
        while !steps.is_empty() {
            count += 1;
            assert!(count < 20_000, "the workers do not end: {steps:?}");
            if self.stop == Some(count) {
                // The storage works while they stop.
                simulated.inbox.faults.borrow_mut().clear();
                workers.stop();
                steps = steps.into_iter().map(|step| wake(&workers, step)).collect();
            }
            let first = steps.iter().map(asleep_until).min().unwrap();
            assert!(first <= simulated.now + Duration::from_secs(5), "a wait of more than five seconds");
            // If all sleep, time passes.
            if first > simulated.now {
                simulated.now = first;
                simulated.inbox.inner.set_time(at(first));
            }
            let awake: Vec<usize> = (0..steps.len()).filter(|n| asleep_until(&steps[*n]) <= simulated.now).collect();
            let step = steps.swap_remove(awake[order.next().unwrap() % awake.len()]);
            let (next, wake_all) = simulated.answer(&mut workers, step);
            if wake_all {
                steps = steps.into_iter().map(|step| wake(&workers, step)).collect();
            }
            steps.extend(next);
        }
        simulated
    }
}

/// Returns when a worker makes its next step.
fn asleep_until(step: &Step) -> Duration {
    if let Step::Sleep(sleep) = step { sleep.until() } else { Duration::ZERO }
}

fn wake(workers: &Workers, step: Step) -> Step {
    if let Step::Sleep(sleep) = step { sleep.resume(workers).step } else { step }
}

impl Simulated {
    /// Does a step. Returns the next one, unless the worker has ended.
    fn answer(&mut self, workers: &mut Workers, step: Step) -> (Option<Step>, bool) {
        let now = self.now;
        let turn = match step {
            Step::Claim(claim) => {
                let claimed = self.inbox.claim(claim.lease());
                claim.resume(workers, claimed, now)
            }
            Step::Process(it) => {
                let claim = it.claim();
                let (organization_id, id) = (claim.organization_id, claim.enrollment_id);
                let processed = process(&mut self.inbox, it.retry(), organization_id, id, at(now));
                it.resume(workers, processed, now)
            }
            Step::Record(record) => {
                let recorded = self.inbox.record_failure(record.claim(), record.failure());
                record.resume(workers, recorded, now)
            }
            Step::Release(release) => {
                let released = self.inbox.release(release.claim(), release.delay());
                release.resume(workers, released, now)
            }
            Step::Count(count) => {
                let counted = self.remaining(count.newer());
                count.resume(workers, counted, now)
            }
            Step::Sleep(sleep) => sleep.resume(workers),
            Step::Done(ended) => {
                self.ended.push(ended);
                return (None, false);
            }
        };
        self.events.extend(turn.event);
        (Some(turn.step), turn.wake_all)
    }

    fn remaining(&mut self, newer: &[(OrganizationId, EnrollmentId)]) -> Result<Remaining, RepositoryError> {
        let inner = self.inbox.inner.clone();
        let accepted = |(organization_id, id): &(OrganizationId, EnrollmentId)| {
            state(&mut inner.clone(), *organization_id, *id).0 == EnrollmentState::Accepted
        };
        let ids: Vec<_> = self.enrollments.iter().map(|(organization_id, id, _)| (*organization_id, *id)).collect();
        let waiting = ids.iter().filter(|id| accepted(id)).count() as u64;
        self.inbox.call(|_| Ok(Remaining::new(waiting, newer.iter().copied().filter(accepted).collect())))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_claim_has_one_end(simulation in simulation()) {
        let mut open = BTreeMap::new();
        for event in simulation.run().events {
            if let Event::Claimed(claim) = event {
                prop_assert!(open.insert((claim.enrollment_id, claim.lease), claim).is_none(), "claimed twice: {claim:?}");
            } else if let Some(claim) = event.claim() {
                prop_assert_eq!(event.ended(), Some(claim));
                prop_assert_eq!(open.remove(&(claim.enrollment_id, claim.lease)), Some(*claim));
            }
        }
        prop_assert!(open.is_empty(), "{open:?}");
    }

    #[test]
    fn all_enrollments_end_as_they_must_through_outages(simulation in simulation()) {
        let mut simulated = Simulation { stop: None, ..simulation }.run();
        // Workers that run until the inbox is empty end during a long outage.
        if simulated.ended.iter().any(Result::is_err) {
            return Ok(());
        }
        let completed: Vec<_> = simulated.events.iter().filter_map(|event| match event {
            Event::Completed { claim, .. } => Some(claim.enrollment_id),
            _ => None,
        }).collect();
        let unique: BTreeSet<_> = completed.iter().collect();
        prop_assert_eq!(unique.len(), completed.len(), "an enrollment is completed once");
        for (organization_id, id, kind) in &simulated.enrollments {
            let (state, attempts) = state(&mut simulated.inbox.inner, *organization_id, *id);
            match kind {
                Work::Good => prop_assert!(matches!(state, EnrollmentState::Completed { .. }), "{state:?}"),
                Work::Damaged => prop_assert_eq!((state, attempts), (EnrollmentState::Failed, ATTEMPTS)),
                Work::Newer => prop_assert_eq!((state, attempts), (EnrollmentState::Accepted, 0)),
            }
        }
    }

    #[test]
    fn workers_that_stop_give_all_leases_back(simulation in simulation(), stop in 1..60_usize) {
        let mut simulated = Simulation { stop: Some(stop), ..simulation }.run();
        prop_assert!(simulated.ended.iter().all(Result::is_ok));
        // Later, when every lease and every delay has passed, no enrollment has lost one.
        simulated.inbox.inner.set_time(at(simulated.now + Duration::from_secs(600)));
        let lost = simulated.inbox.lost.borrow().clone();
        while let Some(claim) = Inbox::claim(&mut simulated.inbox.inner, Duration::from_secs(1)).unwrap() {
            prop_assert!(claim.lost_leases == 0 || lost.contains(&claim.enrollment_id), "{claim:?}");
            Inbox::record_failure(&mut simulated.inbox.inner, &claim, &Failure::new("seen", None)).unwrap();
        }
    }
}

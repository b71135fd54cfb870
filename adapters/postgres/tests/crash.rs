//! Processes that accept and work are killed at any moment, and every receipt is completed once, and whole.
#![cfg(feature = "testing")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use common::{Request, block_on, body, connect, database, open, organization};
use enroll::inbox::Claim;
use enroll::{
    AsyncInbox, ContactId, EnrollmentId, EnrollmentState, ProcessOutcome, Retry, StepContactId, Timestamp,
    process_async,
};
use enroll_postgres::PostgresRepository;
use enroll_postgres::seed::dump;
use uuid::Uuid;

#[test]
#[ignore = "needs PostgreSQL: run with --include-ignored, its programs installed or ENROLL_TEST_POSTGRES_URL set"]
fn every_receipt_of_killed_processes_is_completed_once() {
    let kills: u32 = env::var(KILLS).map_or(10, |kills| kills.parse().unwrap());
    assert!(kills >= 1, "`{KILLS}` is a number of kills, from 1");
    let url = block_on(database());
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut told = Told::default();
    // Two at a time, as long as there is somebody left to kill.
    let mut workers: Vec<Worker> = (0..kills.min(2)).map(|n| Worker::start(&url, n)).collect();
    let mut started = kills.min(2);
    for _ in 0..kills {
        let mut worker = workers.swap_remove(random.below(workers.len()));
        // It has worked; and each other that is running has too, so that two are in the middle of it.
        worker.hears(1 + random.below(12));
        workers.iter_mut().for_each(|other| other.hears(1));
        let until = Instant::now() + Duration::from_micros(random.next() % 20_000);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        worker.kill(&mut told);
        if started < kills {
            workers.push(Worker::start(&url, started));
            started += 1;
        }
    }
    assert!(workers.is_empty());
    let interrupted = block_on(async {
        drain(&url).await;
        check(&url, &told).await;
        let again = "select count(*) from enroll.enrollments where attempts > 1";
        connect(&url).await.query_one(again, &[]).await.unwrap().get::<_, i64>(0)
    });
    println!("\n{interrupted} were claimed more than once");
    println!("\nkills: {kills}, receipts: {}, all completed once", told.accepted.len());
}

/// What processes said before they were killed.
#[derive(Default)]
struct Told {
    accepted: BTreeSet<Uuid>,
    completed: BTreeSet<Uuid>,
}

/// A process that accepts and works, and what it says.
struct Worker {
    child: Child,
    lines: Receiver<String>,
    heard: Vec<String>,
    /// Reads all the time, so that the process never waits for this one.
    reader: JoinHandle<()>,
}

impl Worker {
    fn start(url: &str, number: u32) -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "child", "--ignored", "--nocapture"])
            .env(URL, url)
            .env(NUMBER, number.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (said, lines) = channel();
        let reader = thread::spawn(move || {
            // A line that the kill cut short has no end, and says nothing.
            for line in output.split(b'\n') {
                said.send(String::from_utf8(line.unwrap()).unwrap()).unwrap();
            }
        });
        Self { child, lines, heard: Vec::new(), reader }
    }

    /// Waits until it has completed so many more.
    fn hears(&mut self, completed: usize) {
        let mut left = completed;
        while left > 0 {
            let line = self.lines.recv_timeout(PATIENCE).expect("a worker goes on until it is killed");
            left -= usize::from(line.starts_with(COMPLETED));
            self.heard.push(line);
        }
    }

    fn kill(mut self, told: &mut Told) {
        assert!(self.child.try_wait().unwrap().is_none(), "a worker ended by itself");
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.reader.join().unwrap();
        // What it had said before it died.
        for line in self.heard.into_iter().chain(self.lines) {
            let id = |line: &str| line.strip_suffix(END)?.parse::<Uuid>().ok();
            told.accepted.extend(line.strip_prefix(ACCEPTED).and_then(id));
            told.completed.extend(line.strip_prefix(COMPLETED).and_then(id));
        }
    }
}

/// Finishes what the dead have left, as soon as their leases run out.
async fn drain(url: &str) {
    let mut repository = open(url).await;
    let began = Instant::now();
    let waits = "select count(*) from enroll.enrollments where state not in ('completed', 'rejected')";
    loop {
        if let Some(claim) = repository.claim(now(), now_and(LEASE)).await.unwrap() {
            work(&mut repository, claim).await;
        } else if repository.client().query_one(waits, &[]).await.unwrap().get::<_, i64>(0) == 0 {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "something waits and cannot be claimed");
    }
}

async fn check(url: &str, told: &Told) {
    let mut repository = open(url).await;
    let stands = dump(&mut connect(url).await, organization()).await.unwrap();
    stands.check_unique().unwrap();
    let contacts: BTreeSet<ContactId> = stands.contacts.iter().map(|row| row.row.id).collect();
    let times: BTreeMap<StepContactId, u32> =
        stands.step_contacts.iter().map(|row| (row.row.id, row.row.times_processed)).collect();
    let records: BTreeSet<Uuid> = stands.custom_records.iter().map(|row| row.row.resource_id).collect();
    let ids = repository.client().query("select id from enroll.enrollments order by id", &[]).await.unwrap();
    let ids: BTreeSet<Uuid> = ids.iter().map(|row| row.get(0)).collect();
    assert!(ids.is_superset(&told.accepted), "a receipt was given for what is not there");
    assert!(ids.is_superset(&told.completed), "what was told as completed is not there");

    let (mut created, mut added, mut processed) = (0, 0, BTreeMap::<StepContactId, u32>::new());
    for id in &ids {
        let entry = repository.find(organization(), EnrollmentId::from_uuid(*id)).await.unwrap().unwrap();
        assert_eq!((entry.command, entry.error), (None, None));
        let EnrollmentState::Completed { report } = entry.enrollment.state else {
            panic!("{id} is {}", entry.enrollment.state.as_str());
        };
        let counts = report.counts();
        assert_eq!(counts.added + counts.reprocessed, PEOPLE, "{id}");
        (created, added) = (created + counts.contacts_created, added + counts.added);
        let tag = report.upload_tag.unwrap().id;
        assert_eq!(stands.contact_tags.iter().filter(|row| row.row.tag_id == tag).count(), PEOPLE, "{id}");
        for outcome in &report.outcomes {
            let step_contact = outcome.step_contact_id.unwrap();
            assert!(contacts.contains(&outcome.contact_id.unwrap()), "{id}");
            assert!(records.contains(&step_contact.as_uuid()), "{id}");
            *processed.entry(step_contact).or_default() += 1;
        }
    }
    // Each time that a report speaks of happened, and no other did.
    assert_eq!(times, processed);
    assert_eq!((contacts.len(), stands.step_contacts.len(), stands.runs.len()), (created, added, added));
    assert_eq!((stands.conversations.len(), stands.custom_records.len()), (added, added));
    assert_eq!((stands.tags.len(), stands.contact_tags.len()), (ids.len(), ids.len() * PEOPLE));
    assert!(contacts.len() <= CROWD + PEOPLE);
}

/// Accepts and works until it is killed. All processes have the same people in hand.
#[test]
#[ignore = "it is the process that the other test kills"]
fn child() {
    let Ok(url) = env::var(URL) else {
        println!("does nothing by itself: the other test starts it with `{URL}`");
        return;
    };
    let number: u32 = env::var(NUMBER).unwrap().parse().unwrap();
    let mut random = Random(u64::from(number) + 1);
    block_on(async {
        let mut repository = PostgresRepository::connect(&url, 1).await.unwrap();
        for n in 0_u128.. {
            let request = Request::new(u128::from(number + 1) << 64 | n, &body(random.below(CROWD), PEOPLE));
            let receipt = request.accept(&mut repository).await.unwrap();
            // A line of its own: the harness has written `test child ... ` before the first.
            println!("\n{ACCEPTED}{}{END}", receipt.enrollment_id);
            // What is left over grows now and then, and is worked off.
            for _ in 0..random.below(4) {
                let Some(claim) = repository.claim(now(), now_and(LEASE)).await.unwrap() else { break };
                work(&mut repository, claim).await;
                println!("\n{COMPLETED}{}{END}", claim.enrollment_id);
            }
        }
    });
}

async fn work(inbox: &mut impl AsyncInbox, claim: Claim) {
    let Claim { organization_id, enrollment_id, .. } = claim;
    let ending = process_async(inbox, Retry::default(), organization_id, enrollment_id, now()).await;
    assert!(matches!(ending, Ok(ProcessOutcome::Completed(_))), "{ending:?}");
}

fn now() -> Timestamp {
    now_and(Duration::ZERO)
}

fn now_and(later: Duration) -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + later;
    Timestamp::from_millis(i64::try_from(since.as_millis()).unwrap()).unwrap()
}

/// The same for each run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next()).unwrap() % bound
    }
}

const KILLS: &str = "ENROLL_KILLS";
const URL: &str = "ENROLL_POSTGRES_CRASH_URL";
const NUMBER: &str = "ENROLL_POSTGRES_CRASH_NUMBER";
const ACCEPTED: &str = "accepted ";
const COMPLETED: &str = "completed ";
/// Stands at the end of a line that is whole.
const END: &str = ".";
/// Recipients of an enrollment, and among how many people they are.
const PEOPLE: usize = 20;
const CROWD: usize = 100;
/// Short, so that it also runs out under who is slow.
const LEASE: Duration = Duration::from_millis(200);
const PATIENCE: Duration = Duration::from_secs(120);

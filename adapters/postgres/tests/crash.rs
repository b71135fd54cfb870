//! Processes that accept and process are killed at random times. Every receipt is completed once, with all its rows.
#![cfg(feature = "testing")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::io::{BufRead, BufReader};
use std::num::NonZeroU32;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use enroll::events::{AsyncEventLog, EventKind, EventPosition};
use enroll::inbox::Claim;
use enroll::{
    AsyncInbox, ContactId, EnrollmentId, EnrollmentState, ProcessOutcome, Retry, StepContactId, Timestamp,
    process_async,
};
use enroll_postgres::PostgresRepository;
use enroll_postgres::needs_postgres;
use enroll_postgres::seed::dump;
use support::{Request, block_on, body, connect, database, open, organization};
use uuid::Uuid;

#[test]
#[ignore = needs_postgres!()]
fn every_receipt_is_completed_once_although_workers_are_killed() {
    let kills: u32 = env::var(KILLS).map_or(10, |kills| kills.parse().unwrap());
    assert!(kills >= 1, "`{KILLS}` is a number of kills, from 1");
    let url = block_on(async {
        let url = database().await;
        PostgresRepository::connect(&url, 1).await.unwrap().enable_events(true).await.unwrap();
        url
    });
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut output = Output::default();
    // Two processes run at a time, until the last kills.
    let mut workers: Vec<Worker> = (0..kills.min(2)).map(|n| Worker::start(&url, n)).collect();
    let mut started = kills.min(2);
    for _ in 0..kills {
        let mut worker = workers.swap_remove(random.below(workers.len()));
        // Both processes are in the middle of their work.
        worker.wait_for(1 + random.below(12));
        workers.iter_mut().for_each(|other| other.wait_for(1));
        let until = Instant::now() + Duration::from_micros(random.next() % 20_000);
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        worker.kill(&mut output);
        if started < kills {
            workers.push(Worker::start(&url, started));
            started += 1;
        }
    }
    assert!(workers.is_empty());
    let interrupted = block_on(async {
        drain(&url).await;
        check(&url, &output).await;
        let again = "select count(*) from enroll.enrollments where attempts > 1";
        connect(&url).await.query_one(again, &[]).await.unwrap().get::<_, i64>(0)
    });
    println!("\n{interrupted} were claimed more than once");
    println!("\nkills: {kills}, receipts: {}, all completed once", output.accepted.len());
}

/// The ids that the processes printed before they were killed.
#[derive(Default)]
struct Output {
    accepted: BTreeSet<Uuid>,
    completed: BTreeSet<Uuid>,
}

/// A process that accepts and processes, with its output.
struct Worker {
    child: Child,
    lines: Receiver<String>,
    received: Vec<String>,
    /// Reads continuously, so that a full pipe does not block the process.
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
        let (sender, lines) = channel();
        let reader = thread::spawn(move || {
            // A line that the kill cut has no end mark, and is ignored.
            for line in output.split(b'\n') {
                sender.send(String::from_utf8(line.unwrap()).unwrap()).unwrap();
            }
        });
        Self { child, lines, received: Vec::new(), reader }
    }

    /// Waits until the process has completed more enrollments.
    fn wait_for(&mut self, completed: usize) {
        let mut left = completed;
        while left > 0 {
            let line = self.lines.recv_timeout(TIMEOUT).expect("a worker runs until it is killed");
            left -= usize::from(line.starts_with(COMPLETED));
            self.received.push(line);
        }
    }

    fn kill(mut self, output: &mut Output) {
        assert!(self.child.try_wait().unwrap().is_none(), "a worker ended before it was killed");
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.reader.join().unwrap();
        // The lines that it printed before it was killed.
        for line in self.received.into_iter().chain(self.lines) {
            let id = |line: &str| line.strip_suffix(END)?.parse::<Uuid>().ok();
            output.accepted.extend(line.strip_prefix(ACCEPTED).and_then(id));
            output.completed.extend(line.strip_prefix(COMPLETED).and_then(id));
        }
    }
}

/// Completes the enrollments of the killed processes when their leases end.
async fn drain(url: &str) {
    let mut repository = open(url).await;
    let began = Instant::now();
    let waits = "select count(*) from enroll.enrollments where state not in ('completed', 'rejected')";
    loop {
        if let Some(claim) = repository.claim(LEASE).await.unwrap() {
            process_claim(&mut repository, claim).await;
        } else if repository.client().query_one(waits, &[]).await.unwrap().get::<_, i64>(0) == 0 {
            return;
        }
        assert!(began.elapsed() < TIMEOUT, "a waiting enrollment cannot be claimed");
    }
}

async fn check(url: &str, output: &Output) {
    let mut repository = open(url).await;
    let stored = dump(&mut connect(url).await, organization()).await.unwrap();
    stored.check_unique().unwrap();
    let contacts: BTreeSet<ContactId> = stored.contacts.iter().map(|row| row.row.id).collect();
    let times: BTreeMap<StepContactId, u32> =
        stored.step_contacts.iter().map(|row| (row.row.id, row.row.times_processed)).collect();
    let records: BTreeSet<Uuid> = stored.custom_records.iter().map(|row| row.row.resource_id).collect();
    let ids = repository.client().query("select id from enroll.enrollments order by id", &[]).await.unwrap();
    let ids: BTreeSet<Uuid> = ids.iter().map(|row| row.get(0)).collect();
    assert!(ids.is_superset(&output.accepted), "a receipt has no enrollment");
    assert!(ids.is_superset(&output.completed), "a completed enrollment does not exist");

    let events = repository.events(EventPosition::START, NonZeroU32::MAX).await.unwrap();
    let mut events: Vec<_> = events.iter().map(|event| (event.enrollment_id, event.kind, event.counts)).collect();
    events.sort_by_key(|(enrollment_id, ..)| *enrollment_id);
    let mut expected = Vec::new();

    let (mut created, mut added, mut processed) = (0, 0, BTreeMap::<StepContactId, u32>::new());
    for id in &ids {
        let entry = repository.find(organization(), EnrollmentId::from_uuid(*id)).await.unwrap().unwrap();
        assert_eq!((entry.command, entry.error), (None, None));
        let EnrollmentState::Completed { report } = entry.enrollment.state else {
            panic!("{id} is {}", entry.enrollment.state.as_str());
        };
        let counts = report.counts();
        expected.push((report.enrollment_id, EventKind::Accepted, None));
        expected.push((report.enrollment_id, EventKind::Completed, Some(counts)));
        assert_eq!(counts.added + counts.reprocessed, RECIPIENTS, "{id}");
        (created, added) = (created + counts.contacts_created, added + counts.added);
        let tag = report.upload_tag.unwrap().id;
        assert_eq!(stored.contact_tags.iter().filter(|row| row.row.tag_id == tag).count(), RECIPIENTS, "{id}");
        for outcome in &report.outcomes {
            let step_contact = outcome.step_contact_id.unwrap();
            assert!(contacts.contains(&outcome.contact_id.unwrap()), "{id}");
            assert!(records.contains(&step_contact.as_uuid()), "{id}");
            *processed.entry(step_contact).or_default() += 1;
        }
    }
    assert_eq!(events, expected, "each enrollment has two events, in this order");
    // The rows match the reports exactly.
    assert_eq!(times, processed);
    assert_eq!((contacts.len(), stored.step_contacts.len(), stored.runs.len()), (created, added, added));
    assert_eq!((stored.conversations.len(), stored.custom_records.len()), (added, added));
    assert_eq!((stored.tags.len(), stored.contact_tags.len()), (ids.len(), ids.len() * RECIPIENTS));
    assert!(contacts.len() <= CONTACTS + RECIPIENTS);
}

/// Accepts and processes until it is killed. All processes enroll the same contacts.
#[test]
#[ignore = "the other test starts it as a process"]
fn child() {
    let Ok(url) = env::var(URL) else {
        println!("skipped: the other test starts it with `{URL}`");
        return;
    };
    let number: u32 = env::var(NUMBER).unwrap().parse().unwrap();
    let mut random = Random(u64::from(number) + 1);
    block_on(async {
        let mut repository = PostgresRepository::connect(&url, 1).await.unwrap();
        for n in 0_u128.. {
            let request = Request::new(u128::from(number + 1) << 64 | n, &body(random.below(CONTACTS), RECIPIENTS));
            let receipt = request.accept(&mut repository).await.unwrap();
            // A new line, because the harness printed `test child ... ` before the first.
            println!("\n{ACCEPTED}{}{END}", receipt.enrollment_id);
            // The number of waiting enrollments varies.
            for _ in 0..random.below(4) {
                let Some(claim) = repository.claim(LEASE).await.unwrap() else { break };
                process_claim(&mut repository, claim).await;
                println!("\n{COMPLETED}{}{END}", claim.enrollment_id);
            }
        }
    });
}

async fn process_claim(inbox: &mut impl AsyncInbox, claim: Claim) {
    let Claim { organization_id, enrollment_id, .. } = claim;
    let outcome = process_async(inbox, Retry::default(), organization_id, enrollment_id, now()).await;
    assert!(matches!(outcome, Ok(ProcessOutcome::Completed(_))), "{outcome:?}");
}

fn now() -> Timestamp {
    SystemTime::now().try_into().unwrap()
}

/// Random numbers that are the same in each run.
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
/// Marks the end of a complete line.
const END: &str = ".";
/// The number of recipients of an enrollment, and of contacts that they are chosen from.
const RECIPIENTS: usize = 20;
const CONTACTS: usize = 100;
/// Short, so that leases also end while slow workers still process.
const LEASE: Duration = Duration::from_millis(200);
const TIMEOUT: Duration = Duration::from_secs(120);

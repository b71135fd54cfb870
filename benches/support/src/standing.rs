//! The organizations that enrollments into databases are timed in, and what is sent to them.

use enroll::Timestamp;
use enroll::report::Counts;
use enroll::seed::{Demo, Seed};
use std::env;
use std::ops::Range;

use crate::people::{self, Scene};

/// How many each body names: the most that a request can.
pub const RECIPIENTS: usize = 4000;
/// A stranger whom no body names, for what comes before the timing.
pub const LAST_STRANGER: usize = 379_999;

/// How many contacts stand: the sizes that `ENROLL_BENCH_STANDING` names, as in `0,100000,1000000`; 0 without it.
///
/// # Panics
/// If it names no numbers.
#[must_use]
pub fn sizes() -> Vec<usize> {
    let asked = env::var("ENROLL_BENCH_STANDING").unwrap_or_else(|_| "0".to_owned());
    asked.split(',').map(|size| size.trim().parse().expect("`ENROLL_BENCH_STANDING` is numbers with commas")).collect()
}

/// How often each contender runs: the larger, the longer a run takes, and the less its time wavers.
#[must_use]
pub fn rounds(size: usize) -> usize {
    if size == 0 { 15 } else { 11 }
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// People whom nobody knows.
    New,
    /// A list that was sent before: its people stand in the first step, and come into the same step again.
    Reprocessed,
    /// The same list, into the second step: all of them are active in another.
    Ignored,
    /// As many who stand in the first step, into the same step again, but from all over the crowd: no two of them were in
    /// one list, and no two of them lie side by side in the tables.
    Scattered,
    /// The request of `enroll demo`.
    Mixed,
}

impl Sent {
    /// What is sent where so many stand: a crowd of one list lies side by side.
    #[must_use]
    pub fn all(size: usize) -> Vec<Self> {
        let scattered = (size >= 2 * RECIPIENTS).then_some(Self::Scattered);
        [Self::New, Self::Reprocessed, Self::Ignored].into_iter().chain(scattered).chain([Self::Mixed]).collect()
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::New => "4000 new",
            Self::Reprocessed => "4000 known, reprocessed",
            Self::Ignored => "4000 known, ignored",
            Self::Scattered => "4000 known, reprocessed, scattered",
            Self::Mixed => "4000 mixed",
        }
    }

    /// Makes sure that it did what it is sent for.
    ///
    /// # Panics
    /// If it did not.
    pub fn check(self, counts: &Counts) {
        let did = match self {
            Self::New => counts.added == RECIPIENTS,
            Self::Reprocessed | Self::Scattered => counts.reprocessed == RECIPIENTS,
            Self::Ignored => counts.ignored == RECIPIENTS,
            Self::Mixed => counts.added > 0 && counts.re_added > 0 && counts.reprocessed > 0 && counts.ignored > 0,
        };
        assert!(did, "{}: {counts:?}", self.name());
    }

    /// Who stands when it is sent to an organization of that size: where nobody does, those whom it must know.
    #[must_use]
    pub fn standing(self, size: usize) -> Standing {
        match (self, size) {
            (Self::New, 0) => Standing { crowd: 0, demo: false },
            (Self::Reprocessed | Self::Ignored, 0) => Standing { crowd: RECIPIENTS, demo: false },
            _ => Standing { crowd: size, demo: true },
        }
    }

    /// The body. At each turn it names other people, but for the mixed one.
    ///
    /// # Panics
    /// Never: the demo has a second step.
    #[must_use]
    pub fn body(self, size: usize, turn: usize) -> Vec<u8> {
        let scene = Scene::empty();
        let crowd = self.standing(size).crowd;
        let known = || people::bytes(&Demo::crowd(list(crowd, turn)));
        match self {
            Self::New => people::strangers(turn * RECIPIENTS..(turn + 1) * RECIPIENTS),
            Self::Reprocessed => known(),
            Self::Scattered => scattered(crowd, turn),
            Self::Ignored => people::into_step(&known(), scene.second_step().expect("there is a second step")),
            Self::Mixed => Scene::demo().mixed(RECIPIENTS),
        }
    }
}

/// One of the lists that made the crowd: from its middle on, another at each turn.
fn list(crowd: usize, turn: usize) -> Range<usize> {
    let lists = (crowd / RECIPIENTS).max(1);
    let start = (lists / 2 + turn) % lists * RECIPIENTS;
    start..start + RECIPIENTS
}

/// People from all over the crowd, which is of two lists or more, so that they do not lie side by side in the tables.
fn scattered(crowd: usize, turn: usize) -> Vec<u8> {
    let apart = crowd / RECIPIENTS;
    let mut request = Demo::crowd(0..0);
    for n in 0..RECIPIENTS {
        let person = n * apart + turn % apart;
        request.to.append(&mut Demo::crowd(person..person + 1).to);
    }
    people::bytes(&request)
}

/// Who stands in an organization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// How many of the crowd: each has a conversation, a run, a step contact and a tag, as the engine makes them.
    pub crowd: usize,
    /// Whether the people of `enroll demo` stand too.
    pub demo: bool,
}

impl Standing {
    /// Its name, for a file or a database.
    #[must_use]
    pub fn name(self) -> String {
        format!("{}{}", self.crowd, if self.demo { "_demo" } else { "" })
    }

    /// What is there before the crowd comes.
    #[must_use]
    pub fn given(self) -> Seed {
        if self.demo { Scene::demo().given } else { Scene::empty().given }
    }

    /// The crowd in requests, with the instant and the key of each: all of them were sent before.
    ///
    /// # Panics
    /// Never: the instants are of the last few months.
    pub fn requests(self) -> impl Iterator<Item = (Vec<u8>, Timestamp, String)> {
        let at = Scene::empty().at.millis() - EARLIER;
        let starts = (0..self.crowd).step_by(RECIPIENTS);
        starts.zip(0..).map(move |(start, minute)| {
            let people: Range<usize> = start..self.crowd.min(start + RECIPIENTS);
            let at = Timestamp::from_millis(at + minute * 60_000).expect("it is of the last few months");
            (people::crowd(people), at, format!("crowd-{start}"))
        })
    }
}

/// Three months, in milliseconds.
const EARLIER: i64 = 90 * 24 * 3600 * 1000;

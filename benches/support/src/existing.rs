//! The organizations for the benches of databases, and the requests to them.

use enroll::Timestamp;
use enroll::report::Counts;
use enroll::seed::{Demo, Seed};
use std::env;
use std::ops::Range;

use crate::people::{self, Scene};

/// The number of recipients of each body: the maximum of a request.
pub const RECIPIENTS: usize = 4000;
/// A recipient that no body contains, for a warm-up before the measurement.
pub const WARM_UP_RECIPIENT: usize = 379_999;

/// Returns the numbers of existing contacts in `ENROLL_BENCH_CONTACTS`, such as `0,100000,1000000`, or 0 without it.
///
/// # Panics
/// Panics if the variable contains something else than numbers.
#[must_use]
pub fn sizes() -> Vec<usize> {
    let sizes = env::var("ENROLL_BENCH_CONTACTS").unwrap_or_else(|_| "0".to_owned());
    sizes
        .split(',')
        .map(|size| size.trim().parse().expect("`ENROLL_BENCH_CONTACTS` is a list of numbers, such as `0,100000`"))
        .collect()
}

/// Returns the number of rounds. With more contacts, a run takes longer and its time varies less.
#[must_use]
pub fn rounds(size: usize) -> usize {
    if size == 0 { 15 } else { 11 }
}

/// A kind of request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Recipients that match no contact.
    New,
    /// Recipients of one earlier request, for the same step again.
    Reprocessed,
    /// Recipients of one earlier request, for the second step. All are active in the first step.
    Ignored,
    /// Recipients of different earlier requests, for the same step again. Their ids are not adjacent.
    Scattered,
    /// The request of `enroll demo`.
    Mixed,
}

impl Sent {
    /// Returns the kinds for a number of existing contacts. `Scattered` needs contacts of at least two requests.
    #[must_use]
    pub fn all(size: usize) -> Vec<Self> {
        let scattered = (size >= 2 * RECIPIENTS).then_some(Self::Scattered);
        [Self::New, Self::Reprocessed, Self::Ignored].into_iter().chain(scattered).chain([Self::Mixed]).collect()
    }

    /// Returns the name.
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

    /// Checks the outcomes of the request.
    ///
    /// # Panics
    /// Panics if the request has other outcomes.
    pub fn check(self, counts: &Counts) {
        let as_expected = match self {
            Self::New => counts.added == RECIPIENTS,
            Self::Reprocessed | Self::Scattered => counts.reprocessed == RECIPIENTS,
            Self::Ignored => counts.ignored == RECIPIENTS,
            Self::Mixed => counts.added > 0 && counts.re_added > 0 && counts.reprocessed > 0 && counts.ignored > 0,
        };
        assert!(as_expected, "{}: {counts:?}", self.name());
    }

    /// Returns the existing contacts for a number of contacts. With 0, only the contacts that the request needs exist.
    #[must_use]
    pub fn existing_contacts(self, size: usize) -> ExistingContacts {
        match (self, size) {
            (Self::New, 0) => ExistingContacts { contacts: 0, demo: false },
            (Self::Reprocessed | Self::Ignored, 0) => ExistingContacts { contacts: RECIPIENTS, demo: false },
            _ => ExistingContacts { contacts: size, demo: true },
        }
    }

    /// Returns the body. Except for `Mixed`, it has other recipients at each turn.
    ///
    /// # Panics
    /// Never, since the demo has a second step.
    #[must_use]
    pub fn body(self, size: usize, turn: usize) -> Vec<u8> {
        let scene = Scene::empty();
        let contacts = self.existing_contacts(size).contacts;
        let known = || people::bytes(&Demo::crowd(list(contacts, turn)));
        match self {
            Self::New => people::strangers(turn * RECIPIENTS..(turn + 1) * RECIPIENTS),
            Self::Reprocessed => known(),
            Self::Scattered => scattered(contacts, turn),
            Self::Ignored => people::into_step(&known(), scene.second_step().expect("the demo has a second step")),
            Self::Mixed => Scene::demo().mixed(RECIPIENTS),
        }
    }
}

/// Returns the recipients of one earlier request, another one at each turn, starting in the middle.
fn list(contacts: usize, turn: usize) -> Range<usize> {
    let lists = (contacts / RECIPIENTS).max(1);
    let start = (lists / 2 + turn) % lists * RECIPIENTS;
    start..start + RECIPIENTS
}

/// Returns recipients of all earlier requests, so that their ids are not adjacent.
fn scattered(contacts: usize, turn: usize) -> Vec<u8> {
    let distance = contacts / RECIPIENTS;
    let mut request = Demo::crowd(0..0);
    for n in 0..RECIPIENTS {
        let person = n * distance + turn % distance;
        request.to.append(&mut Demo::crowd(person..person + 1).to);
    }
    people::bytes(&request)
}

/// The existing contacts of an organization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExistingContacts {
    /// The number of contacts from [`Demo::crowd`]. The engine enrolled them, so each has a conversation, a run, a step
    /// contact and a tag.
    pub contacts: usize,
    /// Whether the contacts of `enroll demo` exist too.
    pub demo: bool,
}

impl ExistingContacts {
    /// Returns the name of a file or a database.
    #[must_use]
    pub fn name(self) -> String {
        format!("{}{}", self.contacts, if self.demo { "_demo" } else { "" })
    }

    /// Returns the rows before [`requests`](Self::requests).
    #[must_use]
    pub fn given(self) -> Seed {
        if self.demo { Scene::demo().given } else { Scene::empty().given }
    }

    /// Returns the requests that create the contacts, each with its instant and its key.
    ///
    /// # Panics
    /// Never, since all instants are in the last few months.
    pub fn requests(self) -> impl Iterator<Item = (Vec<u8>, Timestamp, String)> {
        let at = Scene::empty().at.millis() - EARLIER;
        let starts = (0..self.contacts).step_by(RECIPIENTS);
        starts.zip(0..).map(move |(start, minute)| {
            let people: Range<usize> = start..self.contacts.min(start + RECIPIENTS);
            let at = Timestamp::from_millis(at + minute * 60_000).expect("the instant is in the range");
            (people::crowd(people), at, format!("crowd-{start}"))
        })
    }
}

/// Three months, in milliseconds.
const EARLIER: i64 = 90 * 24 * 3600 * 1000;

//! A report for people.

use comfy_table::{ContentArrangement, Table, presets};
use std::fmt::Write;

use enroll::model::Sequence;
use enroll::report::{Counts, Note, Outcome};
use enroll::{Disposition, EnrollmentReport, Recipient, ReferenceData};

use crate::plain;

/// How many recipients are listed unless all are asked for.
const LISTED: usize = 40;

/// Where a recipient stands in what was given.
pub(crate) struct Place<'p> {
    pub(crate) number: usize,
    /// The rows of the whole request; empty where recipients are numbered by their index.
    pub(crate) rows: &'p [usize],
    pub(crate) entry: &'p Recipient<'p>,
    pub(crate) outcome: &'p Outcome,
    /// What else is to be told: that the person came in an earlier request of the import.
    pub(crate) again: Option<usize>,
}

/// What people are added to, in a line.
pub(crate) fn target(report: &EnrollmentReport, reference: &ReferenceData) -> String {
    let sequence = reference.sequences.get(&report.sequence_id).map(|sequence| &*sequence.value);
    let title = sequence.map_or("", |sequence| &sequence.title);
    let mut line = format!("Sequence `{title}`");
    if let Some((sequence, step)) = sequence.and_then(|sequence| Some((sequence, sequence.step(report.step_id)?))) {
        let earlier = |other: &&enroll::model::Step| (other.position, other.id) < (step.position, step.id);
        let place = sequence.steps.iter().filter(earlier).count() + 1;
        let _infallible = write!(line, ", step {place} of {} ({})", steps(sequence), step.channel_kind);
    }
    match report.channel_id.and_then(|id| reference.channels.get(&id)) {
        Some(channel) => {
            let _infallible = write!(line, ", from {}", channel.value.address);
        }
        None => line.push_str(", on no channel"),
    }
    line.push('\n');
    line
}

fn steps(sequence: &Sequence) -> usize {
    sequence.steps.len()
}

/// How many recipients had each outcome, as far as any had it.
pub(crate) fn in_a_line(counts: &Counts) -> String {
    let parts = [
        (counts.added, "added"),
        (counts.re_added, "re-added"),
        (counts.reprocessed, "reprocessed"),
        (counts.ignored, "ignored"),
        (counts.duplicate, "duplicates"),
    ];
    let parts: Vec<String> = parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    parts.join(", ")
}

/// How many recipients had each outcome.
pub(crate) fn counts(counts: &Counts) -> String {
    let mut text = String::new();
    let lines = [
        ("recipients", counts.total()),
        ("  added", counts.added),
        ("  re-added", counts.re_added),
        ("  reprocessed", counts.reprocessed),
        ("  ignored", counts.ignored),
        ("  duplicate", counts.duplicate),
        ("contacts created", counts.contacts_created),
        ("conversations begun", counts.conversations_created),
    ];
    for (what, count) in lines {
        let _infallible = writeln!(text, "{what:<20} {count:>7}");
    }
    text
}

/// The recipients that were not simply added, each with its reasons and notes in words.
pub(crate) struct Notable {
    most: usize,
    listed: Vec<[String; 4]>,
    more: usize,
}

impl Notable {
    /// As many as are listed by default, or `all`.
    pub(crate) fn new(all: bool) -> Self {
        Self { most: if all { usize::MAX } else { LISTED }, listed: Vec::new(), more: 0 }
    }

    /// Takes a recipient in, if there is something to be told.
    pub(crate) fn add(&mut self, place: &Place<'_>) {
        let outcome = place.outcome;
        if outcome.disposition == Disposition::Added && outcome.notes.is_empty() && place.again.is_none() {
            return;
        }
        if self.listed.len() < self.most {
            let row = [place.number.to_string(), who(place.entry), outcome.disposition.to_string(), why(place)];
            self.listed.push(row);
        } else {
            self.more += 1;
        }
    }

    /// `what` is numbered.
    pub(crate) fn table(self, what: &str) -> String {
        if self.listed.is_empty() {
            return "Every recipient was simply added.\n".to_owned();
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header([what, "who", "outcome", "why"]);
        table.add_rows(self.listed);
        let mut text = table.trim_fmt();
        text.push('\n');
        if self.more > 0 {
            let _infallible = writeln!(text, "… and {} more that were not simply added (--all lists them)", self.more);
        }
        text
    }
}

fn who(entry: &Recipient<'_>) -> String {
    let said = [&entry.name, &entry.phone, &entry.email, &entry.external_id];
    let said = said.into_iter().flatten().map(|text| text.trim()).find(|text| !text.is_empty()).unwrap_or("(nobody)");
    let plain = said.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c });
    let mut short: String = plain.take(32).collect();
    if said.chars().nth(32).is_some() {
        short.push('…');
    }
    short
}

fn why(place: &Place<'_>) -> String {
    let outcome = place.outcome;
    let mut why: Vec<String> = outcome.reasons.iter().map(ToString::to_string).collect();
    let number = |index: usize| place.rows.get(index).copied().unwrap_or(index);
    why.extend(outcome.duplicate_of.map(|of| format!("same contact as {}", number(of))));
    why.extend(place.again.map(|first| format!("the person of row {first} again")));
    let what = if place.rows.is_empty() { "recipient" } else { "row" };
    why.extend(outcome.notes.iter().map(|note| match note {
        Note::KeyTaken { key, recipient, .. } => {
            format!("note: {key} left out: {what} {} brought it to another contact", number(*recipient))
        }
        note => format!("note: {note}"),
    }));
    // Keys of custom data are the sender's own text.
    plain(&why.join("; "))
}

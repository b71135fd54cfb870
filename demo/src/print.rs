//! A report as text for a terminal.

use comfy_table::{ContentArrangement, Table, presets};
use std::fmt::Write;

use enroll::contact::{PhoneError, Region};
use enroll::report::Counts;
use enroll::{Disposition, EnrollmentReport, Note, Outcome, ReadAs, Reason, Recipient, ReferenceData};

/// The recipients that a listing shows, unless it shows all.
const LISTED: usize = 40;

/// One recipient of a request, with its outcome.
#[derive(Debug)]
pub struct RecipientLine<'p> {
    /// The number shown: a row of the list, or the index of the recipient.
    pub number: usize,
    /// The row of each recipient of the request. Empty if recipients are numbered by their index.
    pub rows: &'p [usize],
    /// The recipient as sent.
    pub entry: &'p Recipient<'p>,
    /// The outcome.
    pub outcome: &'p Outcome,
    /// The row of the same person in an earlier request of the list.
    pub first_row: Option<usize>,
    /// What was changed or left out when the row was read.
    pub row_notes: Vec<String>,
    /// The addresses as the engine read them, for a preview.
    pub read_as: Option<&'p ReadAs>,
    /// The title of the column of the phone, if several columns of the list are phones.
    pub phone_column: Option<&'p str>,
    /// The region in which phones without `+` were read. It is named only for a list, whose caller can set another one.
    pub region: Option<Region>,
}

impl<'p> RecipientLine<'p> {
    /// Returns the line of a recipient that comes from no list.
    #[must_use]
    pub fn new(entry: &'p Recipient<'p>, outcome: &'p Outcome) -> Self {
        Self {
            number: outcome.index,
            rows: &[],
            entry,
            outcome,
            first_row: None,
            row_notes: Vec::new(),
            read_as: None,
            phone_column: None,
            region: None,
        }
    }
}

/// Returns one line: the sequence, the step and the channel.
#[must_use]
pub fn target(report: &EnrollmentReport, reference: &ReferenceData) -> String {
    let sequence = reference.sequences.get(&report.sequence_id).map(|sequence| &*sequence.value);
    let title = sequence.map_or("", |sequence| &sequence.title);
    let mut line = format!("Sequence `{title}`");
    if let Some((sequence, step)) = sequence.and_then(|sequence| Some((sequence, sequence.step(report.step_id)?))) {
        let earlier = |other: &&enroll::model::Step| (other.position, other.id) < (step.position, step.id);
        let place = sequence.steps.iter().filter(earlier).count() + 1;
        let _infallible = write!(line, ", step {place} of {} ({})", sequence.steps.len(), step.channel_kind);
    }
    match report.channel_id.and_then(|id| reference.channels.get(&id)) {
        Some(channel) => {
            let _infallible = write!(line, ", from {}", channel.value.address);
        }
        None => line.push_str(", without a channel"),
    }
    line.push('\n');
    line
}

/// Returns one line with the count of each outcome that occurred.
#[must_use]
pub fn counts_in_one_line(counts: &Counts) -> String {
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

/// Returns a line for each count of the report.
#[must_use]
pub fn counts(counts: &Counts) -> String {
    let mut text = String::new();
    let lines = [
        ("recipients", counts.total()),
        ("  added", counts.added),
        ("  re-added", counts.re_added),
        ("  reprocessed", counts.reprocessed),
        ("  ignored", counts.ignored),
        ("  duplicate", counts.duplicate),
        ("contacts created", counts.contacts_created),
        ("conversations opened", counts.conversations_created),
    ];
    for (what, count) in lines {
        let _infallible = writeln!(text, "{what:<20} {count:>7}");
    }
    text
}

/// Returns a line with the keys that custom data may have, if the custom data of a recipient was left out.
#[must_use]
pub fn accepted_keys(report: &EnrollmentReport) -> Option<String> {
    let left_out = |outcome: &Outcome| outcome.notes.iter().any(|note| matches!(note, Note::CustomDataInvalid { .. }));
    let keys = report.accepted_keys.join("`, `");
    report.outcomes.iter().any(left_out).then(|| plain(&format!("accepted properties  `{keys}`")) + "\n")
}

/// The recipients that were not simply added, each with its reasons and notes. For a preview, also the others.
#[derive(Debug)]
pub struct Listing {
    preview: bool,
    /// True if the addresses of a recipient are known as the engine read them: not for a request of an earlier run.
    has_read_as: bool,
    most: usize,
    listed: Vec<[String; 5]>,
    more: usize,
    added: Vec<[String; 3]>,
    more_added: usize,
}

impl Listing {
    /// Creates an empty listing that shows the first 40 recipients, or all. That of a preview also shows how the addresses
    /// were read.
    #[must_use]
    pub fn new(all: bool, preview: bool) -> Self {
        let most = if all { usize::MAX } else { LISTED };
        Self { preview, has_read_as: false, most, listed: Vec::new(), more: 0, added: Vec::new(), more_added: 0 }
    }

    /// Adds a recipient.
    pub fn add(&mut self, line: &RecipientLine<'_>) {
        let outcome = line.outcome;
        self.has_read_as |= line.read_as.is_some();
        let notes = !outcome.notes.is_empty() || !line.row_notes.is_empty();
        if outcome.disposition == Disposition::Added && !notes && line.first_row.is_none() {
            if self.preview && self.added.len() < self.most {
                self.added.push([line.number.to_string(), who(line.entry), read_as(line)]);
            } else {
                self.more_added += 1;
            }
        } else if self.listed.len() < self.most {
            let outcome = outcome.disposition.to_string();
            self.listed.push([line.number.to_string(), who(line.entry), read_as(line), outcome, why(line)]);
        } else {
            self.more += 1;
        }
    }

    /// Returns the listing as tables. `number` is the title of the first column.
    #[must_use]
    pub fn table(self, number: &str) -> String {
        let mut text = String::new();
        let preview = self.preview && self.has_read_as;
        if self.listed.is_empty() {
            text.push_str("Every recipient was simply added.\n");
        } else if preview {
            text.push_str(&table([number, "who", "read as", "outcome", "why"], self.listed));
        } else {
            let listed = self.listed.into_iter().map(|[number, who, _, outcome, why]| [number, who, outcome, why]);
            text.push_str(&table([number, "who", "outcome", "why"], listed));
        }
        if self.more > 0 {
            let _infallible = writeln!(text, "… and {} more that were not simply added (--all lists them)", self.more);
        }
        if preview && !self.added.is_empty() {
            let _infallible =
                writeln!(text, "\nSimply added:\n{}", table([number, "who", "read as"], self.added).trim_end());
            if self.more_added > 0 {
                let _infallible = writeln!(text, "… and {} more (--all lists them)", self.more_added);
            }
        }
        text
    }
}

/// Returns rows as a table, with a line end after each row.
#[must_use]
pub fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header).add_rows(rows);
    let mut text = table.trim_fmt();
    text.push('\n');
    text
}

fn read_as(line: &RecipientLine<'_>) -> String {
    let Some(read_as) = line.read_as else { return String::new() };
    let texts = [read_as.phone.as_ref().map(ToString::to_string), read_as.email.as_ref().map(ToString::to_string)];
    plain(&texts.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

/// Returns text for one line of a terminal: a control character is written as its escape code.
#[must_use]
pub fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            plain.extend(c.escape_default());
        } else {
            plain.push(c);
        }
    }
    plain
}

/// Returns the first 32 characters of a text, without control characters.
#[must_use]
pub fn short(text: &str) -> String {
    let printable = text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c });
    let mut short: String = printable.take(32).collect();
    if text.chars().nth(32).is_some() {
        short.push('…');
    }
    short
}

fn who(entry: &Recipient<'_>) -> String {
    let texts = [&entry.name, &entry.phone, &entry.email, &entry.external_id];
    let mut texts = texts.into_iter().flatten().map(|text| text.trim());
    short(texts.find(|text| !text.is_empty()).unwrap_or("(blank)"))
}

fn why(line: &RecipientLine<'_>) -> String {
    let outcome = line.outcome;
    let mut why: Vec<String> = outcome.reasons.iter().map(|reason| reason_text(line, reason)).collect();
    let number = |index: usize| line.rows.get(index).copied().unwrap_or(index);
    why.extend(outcome.duplicate_of.map(|of| format!("same contact as {}", number(of))));
    why.extend(line.first_row.map(|first| format!("same person as row {first}")));
    let what = if line.rows.is_empty() { "recipient" } else { "row" };
    why.extend(outcome.notes.iter().map(|note| match note {
        Note::KeyTaken { key, recipient, .. } => {
            format!("note: {key} left out: {what} {} added it to another contact", number(*recipient))
        }
        Note::PhoneDropped { fault } => format!("note: {} left out: {}", phone(line), phone_fault(line, *fault)),
        note => format!("note: {note}"),
    }));
    why.extend(line.row_notes.iter().map(|note| format!("note: {note}")));
    // Keys of custom data are the sender's own text.
    plain(&why.join("; "))
}

fn reason_text(line: &RecipientLine<'_>, reason: &Reason) -> String {
    match reason {
        Reason::InvalidPhone { fault } => format!("{} is not valid: {}", phone(line), phone_fault(line, *fault)),
        Reason::MissingPhone | Reason::MissingEmail if !line.rows.is_empty() && has_no_key(line.entry) => {
            "has no phone, email or external id; correct the row only if it is a person".to_owned()
        }
        reason => reason.to_string(),
    }
}

fn has_no_key(entry: &Recipient<'_>) -> bool {
    [&entry.phone, &entry.email, &entry.external_id].into_iter().flatten().all(|text| text.trim().is_empty())
}

fn phone(line: &RecipientLine<'_>) -> String {
    line.phone_column.map_or_else(|| "phone number".to_owned(), |title| format!("phone number in `{title}`"))
}

/// Says what is wrong with a phone. Of a list, it names the country that was assumed, and how to set another one.
fn phone_fault(line: &RecipientLine<'_>, fault: PhoneError) -> String {
    let text = line.entry.phone.as_deref().unwrap_or_default();
    if fault == PhoneError::NotANumber && has_several_numbers(text) {
        return "two numbers in one cell; keep one of them".to_owned();
    }
    let read_in_region = !line.rows.is_empty() && !text.contains(['+', '\u{ff0b}']);
    let what = match (fault, line.region) {
        _ if !read_in_region => return fault.to_string(),
        (PhoneError::NoSuchNumber, Some(region)) => format!("not a number of the country {}", region.as_str()),
        (PhoneError::TooShort | PhoneError::TooLong, Some(region)) => {
            format!("{fault} for the country {}", region.as_str())
        }
        (PhoneError::UnknownCountry, _) => fault.to_string(),
        _ => return fault.to_string(),
    };
    format!("{what}; begin it with `+` and its country code, or set `--default-region`")
}

/// Returns true if `;` or `,` separates texts that can all be phone numbers.
fn has_several_numbers(text: &str) -> bool {
    let is_number = |part: &str| {
        part.chars().filter(char::is_ascii_digit).count() >= 7
            && part.chars().all(|c| c.is_ascii_digit() || matches!(c, '+' | ' ' | '-' | '.' | '/' | '(' | ')'))
    };
    let parts: Vec<&str> = text.split([';', ',']).map(str::trim).filter(|part| !part.is_empty()).collect();
    parts.len() > 1 && parts.into_iter().all(is_number)
}

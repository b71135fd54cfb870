//! The difference of two reports, as text.

use std::fmt::Write as _;

use crate::report::{EnrollmentReport, Note, Outcome, Reason};

/// Returns how two reports of one request differ: one line for each recipient, and one for each other part. `None` if they
/// are equal.
///
/// ```
/// use enroll::model::ChannelKind;
/// use enroll::policy::Consent;
/// use enroll::testing::{fixture, report_difference};
/// use enroll::{EnrollmentPolicy, Recipient};
///
/// let world = fixture().sequence("Welcome").step(ChannelKind::Phone).contact("+12025550123").opted_out(ChannelKind::Phone);
/// let mut lenient = EnrollmentPolicy::default();
/// lenient.consent = Consent::LeaveToSender;
/// let enroll = |world: enroll::testing::World| world.enroll([Recipient::new("+1 202 555 0123")]);
/// let (before, after) = (enroll(world.clone()), enroll(world.policy(lenient)));
/// assert_eq!(
///     report_difference(&before, &after).unwrap(),
///     "recipient 0: ignored (opted_out) -> added, conversation created\n"
/// );
/// assert_eq!(report_difference(&after, &after), None);
/// ```
#[must_use]
pub fn report_difference(before: &EnrollmentReport, after: &EnrollmentReport) -> Option<String> {
    let mut text = String::new();
    for index in before.differences(after) {
        let [before, after] = [before, after].map(|report| report.outcomes.get(index));
        let (mut old, mut new) = (outcome(before), outcome(after));
        if old == new {
            // The difference is in an id, or in a detail of a reason or a note.
            (old, new) = (details(before), details(after));
        }
        let _infallible = writeln!(text, "recipient {index}: {old} -> {new}");
    }
    let mut part = |name: &str, before: String, after: String| {
        if before != after {
            let _infallible = writeln!(text, "{name}: {before} -> {after}");
        }
    };
    part("enrollment", before.enrollment_id.to_string(), after.enrollment_id.to_string());
    part("instant", before.at.to_string(), after.at.to_string());
    part("sequence", before.sequence_id.to_string(), after.sequence_id.to_string());
    part("step", before.step_id.to_string(), after.step_id.to_string());
    part("channel", format!("{:?}", before.channel_id), format!("{:?}", after.channel_id));
    part("upload tag", tag(before), tag(after));
    part("accepted keys", format!("{:?}", before.accepted_keys), format!("{:?}", after.accepted_keys));
    part("warnings", format!("{:?}", before.warnings), format!("{:?}", after.warnings));
    (!text.is_empty()).then_some(text)
}

fn tag(report: &EnrollmentReport) -> String {
    report.upload_tag.as_ref().map_or_else(|| "none".to_owned(), |tag| tag.name.to_string())
}

/// Returns an outcome without its ids.
fn outcome(outcome: Option<&Outcome>) -> String {
    let Some(outcome) = outcome else { return "absent".to_owned() };
    let mut text = outcome.disposition.to_string();
    let reasons: Vec<&str> = outcome.reasons.iter().map(Reason::code).collect();
    let notes: Vec<&str> = outcome.notes.iter().map(Note::code).collect();
    if !reasons.is_empty() {
        let _infallible = write!(text, " ({})", reasons.join(", "));
    }
    if let Some(of) = outcome.duplicate_of {
        let _infallible = write!(text, " of {of}");
    }
    for (created, what) in [(outcome.contact_created, "contact"), (outcome.conversation_created, "conversation")] {
        if created {
            let _infallible = write!(text, ", {what} created");
        }
    }
    if !notes.is_empty() {
        let _infallible = write!(text, ", notes: {}", notes.join(", "));
    }
    text
}

/// Returns an outcome with all its members, as JSON.
fn details(outcome: Option<&Outcome>) -> String {
    outcome.and_then(|outcome| serde_json::to_string(outcome).ok()).unwrap_or_else(|| "absent".to_owned())
}

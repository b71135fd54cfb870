//! Rows as they are read. Each function takes the columns in the order of `columns!`.

use enroll::contact::{BirthDate, Contact, Email};
use enroll::inbox::{Claim, InboxEntry};
use enroll::model::{
    CallFlow, Channel, CommunicationPreference, Conversation, CustomObject, CustomRecord, Run, Sequence, Step,
    StepContact,
};
use enroll::request::Fingerprint;
use enroll::snapshot::{Version, Versioned};
use enroll::{ContactId, EnrollmentState, SequenceId, StoredCommand, StoredEnrollment, Timestamp, UnknownWordError};
use std::str::FromStr;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::Error;
use crate::write::DateTime;

pub(crate) fn enrollment(row: &Row) -> Result<StoredEnrollment, Error> {
    let bytes: &[u8] = row.try_get(2)?;
    let bytes = bytes.try_into().map_err(|_| unreadable("fingerprint", "it has not 32 bytes"))?;
    let state = match row.try_get(4)? {
        "accepted" => EnrollmentState::Accepted,
        "completed" => EnrollmentState::Completed { report: json("report", row.try_get(5)?)? },
        "rejected" => EnrollmentState::Rejected { rejection: json("rejection", row.try_get(6)?)? },
        "failed" => EnrollmentState::Failed,
        state => return Err(unreadable("state", format!("`{state}` is not known"))),
    };
    let (fingerprint, at) = (Fingerprint::from_bytes(bytes), instant("at", row.try_get(3)?)?);
    let mut enrollment = StoredEnrollment::new(id(row, 0)?, id(row, 1)?, fingerprint, at, state);
    enrollment.completed_at = some_instant("completed_at", row, 7)?;
    Ok(enrollment)
}

/// With what an inbox knows besides.
pub(crate) fn inbox_entry(row: &Row) -> Result<InboxEntry, Error> {
    let command = row.try_get::<_, Option<&str>>(8)?.map(|text| StoredCommand::from_json(text.as_bytes()));
    let command = command.transpose().map_err(|e| unreadable("command", e.to_string()))?;
    let mut entry = InboxEntry::new(enrollment(row)?, command);
    entry.attempts = number("attempts", row.try_get::<_, i64>(9)?)?;
    entry.error = row.try_get(10)?;
    Ok(entry)
}

pub(crate) fn claim(row: &Row, lease_end: Timestamp) -> Result<Claim, Error> {
    let attempt = number("attempts", row.try_get::<_, i64>(2)?)?;
    Ok(Claim::new(id(row, 0)?, id(row, 1)?, attempt, lease_end))
}

pub(crate) fn channel(row: &Row) -> Result<Versioned<Channel>, Error> {
    let mut channel = Channel::new(id(row, 0)?, word("kind", row.try_get(2)?)?, row.try_get(3)?);
    channel.enabled = row.try_get(4)?;
    channel.name = text(row, 5)?;
    Ok(Versioned::new(version(row, 1)?, channel))
}

/// Without its steps.
pub(crate) fn sequence(row: &Row) -> Result<(Version, Sequence), Error> {
    let mut sequence = Sequence::new(id(row, 0)?, row.try_get(2)?, Vec::new());
    sequence.status = word("status", row.try_get(3)?)?;
    sequence.settings = json("settings", row.try_get(4)?)?;
    Ok((version(row, 1)?, sequence))
}

pub(crate) fn step(row: &Row) -> Result<(SequenceId, Step), Error> {
    let mut step = Step::new(id(row, 1)?, row.try_get(2)?, word("channel_kind", row.try_get(3)?)?);
    step.channel_id = some_id(row, 4)?;
    Ok((id(row, 0)?, step))
}

pub(crate) fn custom_object(row: &Row) -> Result<Versioned<CustomObject>, Error> {
    let object = CustomObject::new(id(row, 0)?, row.try_get(2)?, json("properties", row.try_get(3)?)?);
    Ok(Versioned::new(version(row, 1)?, object))
}

pub(crate) fn call_flow(row: &Row) -> Result<Versioned<CallFlow>, Error> {
    Ok(Versioned::new(version(row, 1)?, CallFlow::new(id(row, 0)?, row.try_get(2)?)))
}

pub(crate) fn contact(row: &Row) -> Result<(Version, Contact), Error> {
    let mut contact = Contact::new(id(row, 0)?);
    contact.external_id = text(row, 2)?;
    contact.phone = text(row, 3)?;
    contact.email = match (row.try_get(4)?, row.try_get(5)?) {
        (Some(address), Some(key)) => Some(Email::with_key(address, key)),
        _ => None,
    };
    contact.profile.name = text(row, 6)?;
    contact.profile.language = text(row, 7)?;
    contact.profile.default_channel_id = some_id(row, 8)?;
    contact.profile.address = row.try_get::<_, Option<&str>>(9)?.map(|text| json("address", text)).transpose()?;
    contact.profile.birth_date = birth_date(row.try_get(10)?, row.try_get(11)?, row.try_get(12)?)?;
    contact.state = word("state", row.try_get(13)?)?;
    contact.created_at = some_instant("created_at", row, 14)?;
    contact.updated_at = some_instant("updated_at", row, 15)?;
    Ok((version(row, 1)?, contact))
}

pub(crate) fn preference(row: &Row) -> Result<CommunicationPreference, Error> {
    Ok(CommunicationPreference::new(id(row, 0)?, id(row, 1)?, row.try_get(2)?))
}

pub(crate) fn conversation(row: &Row) -> Result<Conversation, Error> {
    let mut conversation = Conversation::new(id(row, 0)?, id(row, 1)?, id(row, 2)?);
    conversation.status = word("status", row.try_get(3)?)?;
    conversation.created_at = some_instant("created_at", row, 4)?;
    Ok(conversation)
}

pub(crate) fn run(row: &Row) -> Result<Run, Error> {
    let mut run = Run::new(id(row, 0)?, id(row, 1)?, id(row, 2)?, instant("started_at", row.try_get(4)?)?);
    run.status = word("status", row.try_get(3)?)?;
    Ok(run)
}

pub(crate) fn step_contact(row: &Row) -> Result<StepContact, Error> {
    let scheduled_at = instant("scheduled_at", row.try_get(6)?)?;
    let run = Run::new(id(row, 1)?, id(row, 2)?, id(row, 4)?, scheduled_at);
    let mut step_contact = StepContact::new(id(row, 0)?, &run, id(row, 3)?);
    step_contact.status = word("status", row.try_get(5)?)?;
    step_contact.channel_id = some_id(row, 7)?;
    step_contact.default_call_flow_id = some_id(row, 8)?;
    step_contact.times_processed = number("times_processed", row.try_get::<_, i64>(9)?)?;
    step_contact.enrollment_id = some_id(row, 10)?;
    Ok(step_contact)
}

/// With the contact whose record it is.
pub(crate) fn record(row: &Row) -> Result<(ContactId, CustomRecord), Error> {
    let resource = word("resource", row.try_get(3)?)?;
    let mut record = CustomRecord::new(id(row, 1)?, id(row, 2)?, resource, row.try_get(4)?);
    record.properties = json("properties", row.try_get(5)?)?;
    Ok((id(row, 0)?, record))
}

pub(crate) fn id<T: From<Uuid>>(row: &Row, place: usize) -> Result<T, Error> {
    Ok(row.try_get::<_, Uuid>(place)?.into())
}

pub(crate) fn version(row: &Row, place: usize) -> Result<Version, Error> {
    number("version", row.try_get::<_, i64>(place)?).map(Version)
}

/// Reads a word of an enum.
fn word<T: FromStr<Err = UnknownWordError>>(column: &'static str, word: &str) -> Result<T, Error> {
    word.parse().map_err(|e: UnknownWordError| unreadable(column, e.to_string()))
}

fn some_id<T: From<Uuid>>(row: &Row, place: usize) -> Result<Option<T>, Error> {
    Ok(row.try_get::<_, Option<Uuid>>(place)?.map(T::from))
}

fn text<'r, T: From<&'r str>>(row: &'r Row, place: usize) -> Result<Option<T>, Error> {
    Ok(row.try_get::<_, Option<&str>>(place)?.map(T::from))
}

fn some_instant(column: &'static str, row: &Row, place: usize) -> Result<Option<Timestamp>, Error> {
    row.try_get::<_, Option<DateTime>>(place)?.map(|at| instant(column, at)).transpose()
}

fn instant(column: &'static str, at: DateTime) -> Result<Timestamp, Error> {
    Timestamp::try_from(at).map_err(|e| unreadable(column, e.to_string()))
}

fn json<'r, T: serde::Deserialize<'r>>(column: &'static str, text: &'r str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(|e| unreadable(column, e.to_string()))
}

/// A date of which nothing is known is none.
fn birth_date(day: Option<i16>, month: Option<i16>, year: Option<i32>) -> Result<Option<BirthDate>, Error> {
    let mut date = BirthDate::default();
    date.day = day.map(|day| number("birth_day", day)).transpose()?;
    date.month = month.map(|month| number("birth_month", month)).transpose()?;
    date.year = year.map(|year| number("birth_year", year)).transpose()?;
    Ok(Some(date).filter(|date| !date.is_empty()))
}

fn number<T, N: TryFrom<T>>(column: &'static str, number: T) -> Result<N, Error>
where
    T: Copy + std::fmt::Display,
{
    N::try_from(number).map_err(|_| unreadable(column, format!("`{number}` is out of range")))
}

fn unreadable(column: &'static str, reason: impl Into<String>) -> Error {
    Error::Unreadable { column, reason: reason.into() }
}

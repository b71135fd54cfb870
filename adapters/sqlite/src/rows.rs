//! RowChanges as they are stored: their columns, and how the engine's types are read from them.

use enroll::contact::{Address, BirthDate, Contact, Email, Text};
use enroll::model::{
    CallFlow, Channel, CommunicationPreference, Conversation, CustomObject, CustomRecord, Run, Sequence, Step,
    StepContact,
};
use enroll::request::Fingerprint;
use enroll::snapshot::{Version, Versioned};
use enroll::stored_enrollment::{EnrollmentState, StoredEnrollment};
use enroll::{ContactId, StoredCommand, Timestamp, TimestampError, UnknownWordError};
use rusqlite::Row;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ValueRef};
use serde_json::from_str;
use std::str::FromStr;
use std::sync::Arc;
use uuid::Uuid;

/// The columns of a row, taken one after the other.
pub(crate) struct Columns<'r, 's> {
    row: &'r Row<'s>,
    next: usize,
}

impl<'r, 's> Columns<'r, 's> {
    pub(crate) fn of(row: &'r Row<'s>) -> Self {
        Self { row, next: 0 }
    }

    pub(crate) fn take<T: FromSql>(&mut self) -> rusqlite::Result<T> {
        self.next += 1;
        self.row.get(self.next - 1)
    }

    fn text(&mut self) -> rusqlite::Result<Text> {
        self.take::<Shared>().map(|shared| shared.0)
    }

    fn text_or_null(&mut self) -> rusqlite::Result<Option<Text>> {
        Ok(self.take::<Option<Shared>>()?.map(|shared| shared.0))
    }

    pub(crate) fn id<T: From<Uuid>>(&mut self) -> rusqlite::Result<T> {
        self.take::<Uuid>().map(T::from)
    }

    fn id_or_null<T: From<Uuid>>(&mut self) -> rusqlite::Result<Option<T>> {
        Ok(self.take::<Option<Uuid>>()?.map(T::from))
    }

    fn word<T: FromStr<Err = UnknownWordError>>(&mut self) -> rusqlite::Result<T> {
        self.take::<Stored<T>>().map(|stored| stored.0)
    }

    fn at(&mut self) -> rusqlite::Result<Timestamp> {
        self.take::<Millis>().map(|millis| millis.0)
    }

    fn at_or_null(&mut self) -> rusqlite::Result<Option<Timestamp>> {
        Ok(self.take::<Option<Millis>>()?.map(|millis| millis.0))
    }

    pub(crate) fn json<T: serde::de::DeserializeOwned>(&mut self) -> rusqlite::Result<T> {
        self.take::<Json<T>>().map(|json| json.0)
    }

    pub(crate) fn json_or_null<T: serde::de::DeserializeOwned>(&mut self) -> rusqlite::Result<Option<T>> {
        Ok(self.take::<Option<Json<T>>>()?.map(|json| json.0))
    }

    pub(crate) fn command_or_null(&mut self) -> rusqlite::Result<Option<StoredCommand>> {
        Ok(self.take::<Option<Command>>()?.map(|command| command.0))
    }

    fn version(&mut self) -> rusqlite::Result<Version> {
        self.take::<i64>().map(|version| Version(version.unsigned_abs()))
    }
}

pub(crate) fn channel(columns: &mut Columns<'_, '_>) -> rusqlite::Result<Versioned<Channel>> {
    let version = columns.version()?;
    let (id, kind, address) = (columns.id()?, columns.word()?, columns.text()?);
    let mut channel = Channel::new(id, kind, "");
    channel.address = address;
    channel.enabled = columns.take()?;
    channel.name = columns.text_or_null()?;
    Ok(Versioned::new(version, channel))
}

pub(crate) fn call_flow(columns: &mut Columns<'_, '_>) -> rusqlite::Result<Versioned<CallFlow>> {
    let version = columns.version()?;
    let mut call_flow = CallFlow::new(columns.id()?, "");
    call_flow.name = columns.text()?;
    Ok(Versioned::new(version, call_flow))
}

pub(crate) fn custom_object(columns: &mut Columns<'_, '_>) -> rusqlite::Result<Versioned<CustomObject>> {
    let version = columns.version()?;
    let mut object = CustomObject::new(columns.id()?, "", Vec::new());
    object.key = columns.text()?;
    object.properties = columns.json()?;
    Ok(Versioned::new(version, object))
}

/// Without its steps.
pub(crate) fn sequence(columns: &mut Columns<'_, '_>) -> rusqlite::Result<Versioned<Sequence>> {
    let version = columns.version()?;
    let mut sequence = Sequence::new(columns.id()?, "", Vec::new());
    sequence.title = columns.text()?;
    sequence.status = columns.word()?;
    sequence.settings = columns.json()?;
    Ok(Versioned::new(version, sequence))
}

pub(crate) fn step(columns: &mut Columns<'_, '_>) -> rusqlite::Result<Step> {
    let mut step = Step::new(columns.id()?, columns.take()?, columns.word()?);
    step.channel_id = columns.id_or_null()?;
    Ok(step)
}

#[cfg(feature = "seed")]
pub(crate) fn tag(columns: &mut Columns<'_, '_>) -> rusqlite::Result<enroll::model::Tag> {
    let mut tag = enroll::model::Tag::new(columns.id()?, "");
    tag.name = columns.text()?;
    tag.system_created = columns.take()?;
    Ok(tag)
}

pub(crate) fn contact(columns: &mut Columns<'_, '_>) -> rusqlite::Result<(Contact, Version)> {
    let version = columns.version()?;
    let mut contact = Contact::new(columns.id()?);
    contact.external_id = columns.text_or_null()?;
    contact.phone = columns.text_or_null()?;
    let (email, key) = (columns.text_or_null()?, columns.text_or_null()?);
    contact.email = email.zip(key).map(|(email, key)| Email::with_key(&email, &key));
    contact.name = columns.text_or_null()?;
    contact.language = columns.text_or_null()?;
    contact.default_channel_id = columns.id_or_null()?;
    contact.address = columns.json_or_null::<Address>()?.map(Arc::new);
    let mut birth_date = BirthDate::default();
    (birth_date.day, birth_date.month, birth_date.year) = (columns.take()?, columns.take()?, columns.take()?);
    contact.birth_date = (!birth_date.is_empty()).then_some(birth_date);
    contact.state = columns.word()?;
    contact.created_at = columns.at_or_null()?;
    contact.updated_at = columns.at_or_null()?;
    Ok((contact, version))
}

/// A row round a contact, with the contact whose aggregate it belongs to.
pub(crate) type OfContact<T> = (ContactId, T);

pub(crate) fn preference(columns: &mut Columns<'_, '_>) -> rusqlite::Result<OfContact<CommunicationPreference>> {
    let preference = CommunicationPreference::new(columns.id()?, columns.id()?, columns.take()?);
    Ok((preference.contact_id, preference))
}

pub(crate) fn conversation(columns: &mut Columns<'_, '_>) -> rusqlite::Result<OfContact<Conversation>> {
    let mut conversation = Conversation::new(columns.id()?, columns.id()?, columns.id()?);
    conversation.status = columns.word()?;
    conversation.created_at = columns.at_or_null()?;
    Ok((conversation.contact_id, conversation))
}

pub(crate) fn run(columns: &mut Columns<'_, '_>) -> rusqlite::Result<OfContact<Run>> {
    let (id, sequence_id, contact_id) = (columns.id()?, columns.id()?, columns.id()?);
    let status = columns.word()?;
    let mut run = Run::new(id, sequence_id, contact_id, columns.at()?);
    run.status = status;
    Ok((contact_id, run))
}

pub(crate) fn step_contact(columns: &mut Columns<'_, '_>) -> rusqlite::Result<OfContact<StepContact>> {
    let (id, run_id, sequence_id) = (columns.id()?, columns.id()?, columns.id()?);
    let (step_id, contact_id, status) = (columns.id()?, columns.id()?, columns.word()?);
    let run = Run::new(run_id, sequence_id, contact_id, columns.at()?);
    let mut step_contact = StepContact::new(id, &run, step_id);
    step_contact.status = status;
    step_contact.channel_id = columns.id_or_null()?;
    step_contact.default_call_flow_id = columns.id_or_null()?;
    step_contact.times_processed = columns.take()?;
    step_contact.enrollment_id = columns.id_or_null()?;
    Ok((contact_id, step_contact))
}

pub(crate) fn record(columns: &mut Columns<'_, '_>) -> rusqlite::Result<OfContact<CustomRecord>> {
    let contact_id = columns.id()?;
    let mut record = CustomRecord::new(columns.id()?, columns.id()?, columns.word()?, columns.take()?);
    record.properties = columns.json()?;
    Ok((contact_id, record))
}

/// What it ended with comes last, and is not taken while there is none.
pub(crate) fn enrollment(columns: &mut Columns<'_, '_>) -> rusqlite::Result<StoredEnrollment> {
    let (id, sequence_id) = (columns.id()?, columns.id()?);
    let fingerprint = Fingerprint::from_bytes(columns.take()?);
    let (at, completed_at) = (columns.at()?, columns.at_or_null()?);
    let state = columns.text()?;
    let state = match state.as_str() {
        "accepted" => EnrollmentState::Accepted,
        "completed" => EnrollmentState::Completed { report: columns.json()? },
        "rejected" => EnrollmentState::Rejected { rejection: columns.json()? },
        "failed" => EnrollmentState::Failed,
        _ => return Err(other(format!("`{state}` is not the state of an enrollment")).into()),
    };
    let mut enrollment = StoredEnrollment::new(id, sequence_id, fingerprint, at, state);
    enrollment.completed_at = completed_at;
    Ok(enrollment)
}

/// The columns that each function above takes, as the alias names them.
macro_rules! columns {
    (channels) => {
        "c.version, c.id, c.kind, c.address, c.enabled, c.name"
    };
    (call_flows) => {
        "f.version, f.id, f.name"
    };
    (custom_objects) => {
        "o.version, o.id, o.key, o.properties"
    };
    (sequences) => {
        "s.version, s.id, s.title, s.status, s.settings"
    };
    (steps) => {
        "t.id, t.position, t.channel_kind, t.channel_id"
    };
    (tags) => {
        "t.id, t.name, t.system_created"
    };
    (contacts) => {
        "c.version, c.id, c.external_id, c.phone, c.email, c.email_key, c.name, c.language, c.default_channel_id, \
         c.address, c.birth_day, c.birth_month, c.birth_year, c.state, c.created_at, c.updated_at"
    };
    (preferences) => {
        "r.contact_id, r.channel_id, r.opt_in"
    };
    (conversations) => {
        "r.id, r.contact_id, r.channel_id, r.status, r.created_at"
    };
    (runs) => {
        "r.id, r.sequence_id, r.contact_id, r.status, r.started_at"
    };
    (step_contacts) => {
        "r.id, r.run_id, r.sequence_id, r.step_id, r.contact_id, r.status, r.scheduled_at, r.channel_id, \
         r.default_call_flow_id, r.times_processed, r.enrollment_id"
    };
    (records) => {
        "r.contact_id, r.id, r.custom_object_id, r.resource, r.resource_id, r.properties"
    };
    (enrollments) => {
        "e.id, e.sequence_id, e.fingerprint, e.at, e.completed_at, e.state, coalesce(e.report, e.rejection)"
    };
}
pub(crate) use columns;

struct Shared(Text);

impl FromSql for Shared {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_str().map(|text| Self(text.into()))
    }
}

struct Stored<T>(T);

impl<T: FromStr<Err = UnknownWordError>> FromSql for Stored<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        value.as_str()?.parse().map(Self).map_err(FromSqlError::other)
    }
}

struct Millis(Timestamp);

impl FromSql for Millis {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Timestamp::from_millis(value.as_i64()?).map(Self).map_err(|e: TimestampError| FromSqlError::other(e))
    }
}

struct Json<T>(T);

impl<T: serde::de::DeserializeOwned> FromSql for Json<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        from_str(value.as_str()?).map(Self).map_err(FromSqlError::other)
    }
}

struct Command(StoredCommand);

impl FromSql for Command {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        StoredCommand::from_json(value.as_bytes()?).map(Self).map_err(FromSqlError::other)
    }
}

fn other(message: String) -> FromSqlError {
    FromSqlError::Other(message.into())
}

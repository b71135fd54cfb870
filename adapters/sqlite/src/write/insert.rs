//! RowChanges that are created: never an update of one that exists.

use enroll::changes::{Conflict, RecordCreation};
use enroll::contact::{BirthDate, Email};
use enroll::model::{Conversation, Run, StepContact};
use enroll::{CallFlowId, ChannelId, ContactId, EnrollmentId, Timestamp};
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::vtab::array::Array;
use rusqlite::{Params, ToSql, ffi, params};
use uuid::Uuid;

use super::Commit;
use crate::error::{SqliteError, extended_code};
use crate::read::array;

/// How rows are put into a table.
struct Insert {
    sql: &'static str,
    /// Whether a row stands under an id.
    stands: &'static str,
    /// What a constraint of the table, other than its primary key, refuses.
    once: &'static str,
}

macro_rules! cells {
    ($($cell:expr),* $(,)?) => {
        &[$(Cell::from($cell)),*]
    };
}

impl Commit<'_> {
    pub(super) fn insert_contacts(&self) -> Result<(), SqliteError> {
        let mut rows = Inserting::new(self, &CONTACT);
        for row in &self.rows().contacts_created {
            let address = row.address.as_deref().map(serde_json::to_string).transpose()?;
            let birth_date: BirthDate = row.birth_date.unwrap_or_default();
            rows.insert(
                row.id.as_uuid(),
                cells![
                    self.organization,
                    row.id.as_uuid(),
                    row.external_id.as_deref(),
                    row.phone.as_deref(),
                    row.email.as_ref().map(Email::as_str),
                    row.email.as_ref().map(Email::key),
                    row.name.as_deref(),
                    row.language.as_deref(),
                    row.default_channel_id.map(ChannelId::as_uuid),
                    address.as_deref(),
                    birth_date.day,
                    birth_date.month,
                    birth_date.year,
                    Cell::Word(row.state.as_str()),
                    row.created_at.map(Timestamp::millis),
                    row.updated_at.map(Timestamp::millis),
                ],
            )?;
        }
        Ok(())
    }

    pub(super) fn insert_conversations(&self) -> Result<(), SqliteError> {
        let alike = |row: &Conversation| (row.channel_id, row.status, row.created_at);
        for rows in self.rows().conversations_created.chunk_by(|a, b| alike(a) == alike(b)) {
            let Some(row) = rows.first() else { continue };
            let (ids, places) = self.packed(rows, |row| ([row.id.as_uuid()], row.contact_id))?;
            let params = params![
                self.organization,
                places,
                ids,
                row.channel_id.as_uuid(),
                row.status.as_str(),
                row.created_at.map(Timestamp::millis),
            ];
            self.insert_all(&CONVERSATIONS, params, rows.iter().map(|row| row.id.as_uuid()))?;
        }
        Ok(())
    }

    pub(super) fn insert_runs(&self) -> Result<(), SqliteError> {
        let alike = |row: &Run| (row.sequence_id, row.status, row.started_at);
        for rows in self.rows().runs_created.chunk_by(|a, b| alike(a) == alike(b)) {
            let Some(row) = rows.first() else { continue };
            let (ids, places) = self.packed(rows, |row| ([row.id.as_uuid()], row.contact_id))?;
            let params = params![
                self.organization,
                places,
                ids,
                row.sequence_id.as_uuid(),
                row.status.as_str(),
                row.started_at.millis(),
            ];
            self.insert_all(&RUNS, params, rows.iter().map(|row| row.id.as_uuid()))?;
        }
        Ok(())
    }

    pub(super) fn insert_step_contacts(&self) -> Result<(), SqliteError> {
        let alike = |a: &StepContact, b: &StepContact| {
            let mut b = *b;
            (b.id, b.run_id, b.contact_id) = (a.id, a.run_id, a.contact_id);
            *a == b
        };
        for rows in self.rows().step_contacts_created.chunk_by(alike) {
            let Some(row) = rows.first() else { continue };
            let (ids, places) = self.packed(rows, |row| ([row.id.as_uuid(), row.run_id.as_uuid()], row.contact_id))?;
            let params = params![
                self.organization,
                places,
                ids,
                row.sequence_id.as_uuid(),
                row.step_id.as_uuid(),
                row.status.as_str(),
                row.scheduled_at.millis(),
                row.channel_id.map(ChannelId::as_uuid),
                row.default_call_flow_id.map(CallFlowId::as_uuid),
                row.times_processed,
                row.enrollment_id.map(EnrollmentId::as_uuid),
            ];
            self.insert_all(&STEP_CONTACTS, params, rows.iter().map(|row| row.id.as_uuid()))?;
        }
        Ok(())
    }

    pub(super) fn insert_tag(&self) -> Result<(), SqliteError> {
        let Some(row) = &self.rows().tag_created else { return Ok(()) };
        let cells = cells![self.organization, row.id.as_uuid(), row.name.as_str(), row.system_created];
        Inserting::new(self, &TAG).insert(row.id.as_uuid(), cells)
    }

    pub(super) fn insert_contact_tags(&self) -> Result<(), SqliteError> {
        for rows in self.rows().contact_tags_created.chunk_by(|a, b| a.tag_id == b.tag_id) {
            let Some(row) = rows.first() else { continue };
            let (ids, places) = self.packed(rows, |row| ([], row.contact_id))?;
            let params = params![self.organization, places, ids, row.tag_id.as_uuid()];
            self.insert_all(&CONTACT_TAGS, params, [row.tag_id.as_uuid()])?;
        }
        Ok(())
    }

    pub(super) fn insert_records(&self) -> Result<(), SqliteError> {
        let mut rows = Inserting::new(self, &RECORD);
        for RecordCreation { contact_id, record: row, .. } in &self.rows().records_created {
            rows.insert(
                row.id.as_uuid(),
                cells![
                    self.organization,
                    row.id.as_uuid(),
                    row.custom_object_id.as_uuid(),
                    Cell::Word(row.resource.as_str()),
                    row.resource_id,
                    self.written(*contact_id)?,
                    &*serde_json::to_string(&row.properties)?,
                ],
            )?;
        }
        Ok(())
    }
}

/// RowChanges that differ in their ids alone go in with one statement, which looks for the place of each from where the one
/// before went: a table's rows come in the order of their ids.
impl Commit<'_> {
    /// The ids of all rows, end to end, each row's contact behind its own; and where in it each row begins.
    fn packed<T, const IDS: usize>(
        &self,
        rows: &[T],
        ids: impl Fn(&T) -> ([Uuid; IDS], ContactId),
    ) -> Result<(Vec<u8>, Array), Conflict> {
        let width = (IDS + 1) * size_of::<Uuid>();
        let mut packed = Vec::with_capacity(rows.len() * width);
        for row in rows {
            let (ids, contact_id) = ids(row);
            let contact = self.written(contact_id)?;
            ids.iter().chain([&contact]).for_each(|id| packed.extend_from_slice(id.as_bytes()));
        }
        let places = (1..).step_by(width).take(rows.len()).map(Value::Integer);
        Ok((packed, array(places)))
    }

    fn insert_all(
        &self,
        into: &'static Insert,
        params: impl Params,
        ids: impl IntoIterator<Item = Uuid>,
    ) -> Result<(), SqliteError> {
        let inserted = self.connection.prepare_cached(into.sql)?.execute(params);
        inserted.map(drop).or_else(|e| self.refused(into, ids, e))
    }

    /// Why rows of these ids were refused, none of which went in.
    fn refused(
        &self,
        into: &Insert,
        ids: impl IntoIterator<Item = Uuid>,
        e: rusqlite::Error,
    ) -> Result<(), SqliteError> {
        let code = extended_code(&e);
        if !matches!(code, Some(ffi::SQLITE_CONSTRAINT_PRIMARYKEY | ffi::SQLITE_CONSTRAINT_UNIQUE)) {
            return Err(e.into());
        }
        // An id counts before anything else that is there twice: planning again derives the same.
        let mut stands = self.connection.prepare_cached(into.stands)?;
        for id in ids {
            if stands.exists([self.organization, id])? {
                return Err(SqliteError::IdExists(id));
            }
        }
        Err(match code {
            Some(ffi::SQLITE_CONSTRAINT_UNIQUE) => SqliteError::NotUnique(into.once),
            // Of a table that is not ours: a host's trigger wrote to it.
            _ => e.into(),
        })
    }
}

/// A value of a row.
#[derive(Clone, Copy, PartialEq)]
enum Cell<'r> {
    Null,
    Id(Uuid),
    Integer(i64),
    Word(&'static str),
    Text(&'r str),
}

impl From<Uuid> for Cell<'_> {
    fn from(id: Uuid) -> Self {
        Self::Id(id)
    }
}

macro_rules! integers {
    ($($integer:ty),*) => {$(
        impl From<$integer> for Cell<'_> {
            fn from(number: $integer) -> Self {
                Self::Integer(number.into())
            }
        }
    )*};
}
integers!(i64, u8, u16, u32, bool);

impl<'r> From<&'r str> for Cell<'r> {
    fn from(text: &'r str) -> Self {
        Self::Text(text)
    }
}

impl<T: Into<Self>> From<Option<T>> for Cell<'_> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl Cell<'_> {
    /// What stays bound for the next row; text of people is never the same.
    fn kept(self) -> Option<Cell<'static>> {
        match self {
            Self::Null => Some(Cell::Null),
            Self::Id(id) => Some(Cell::Id(id)),
            Self::Integer(number) => Some(Cell::Integer(number)),
            Self::Word(word) => Some(Cell::Word(word)),
            Self::Text(_) => None,
        }
    }
}

impl ToSql for Cell<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Id(id) => ValueRef::Blob(id.as_bytes()),
            Self::Integer(number) => ValueRef::Integer(*number),
            Self::Word(word) => ValueRef::Text(word.as_bytes()),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

/// The rows of one table on their way in. Most of a row is as in the one before, and stays bound.
struct Inserting<'c> {
    commit: &'c Commit<'c>,
    into: &'static Insert,
    statement: Option<rusqlite::CachedStatement<'c>>,
    bound: Vec<Option<Cell<'static>>>,
}

impl<'c> Inserting<'c> {
    fn new(commit: &'c Commit<'c>, into: &'static Insert) -> Self {
        Self { commit, into, statement: None, bound: Vec::new() }
    }

    fn insert(&mut self, id: Uuid, row: &[Cell<'_>]) -> Result<(), SqliteError> {
        let statement = match &mut self.statement {
            Some(statement) => statement,
            none => none.insert(self.commit.connection.prepare_cached(self.into.sql)?),
        };
        self.bound.resize(row.len(), None);
        for (parameter, (cell, bound)) in (1..).zip(row.iter().zip(&mut self.bound)) {
            let kept = cell.kept();
            if kept.is_none() || kept != *bound {
                statement.raw_bind_parameter(parameter, cell)?;
                *bound = kept;
            }
        }
        statement.raw_execute().map(drop).or_else(|e| self.commit.refused(self.into, [id], e))
    }
}

macro_rules! stands {
    ($table:literal, $id:literal) => {
        concat!("select 1 from ", $table, " where organization_id = ?1 and ", $id, " = ?2")
    };
}

static CONTACT: Insert = Insert {
    sql: "insert into enroll_contacts (organization_id, id, version, external_id, phone, email, email_key, name, \
          language, default_channel_id, address, birth_day, birth_month, birth_year, state, created_at, updated_at) \
          values (?1, ?2, 1, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
    stands: stands!("enroll_contacts", "id"),
    once: "a contact with the external id, the phone or the email",
};
static CONVERSATIONS: Insert = Insert {
    sql: "insert into enroll_conversations \
          (organization_id, id, contact_id, channel_id, one_at_most, status, created_at) \
          select ?1, substr(?3, k.value, 16), substr(?3, k.value + 16, 16), ?4, coalesce((select kind <> 'email' \
          from enroll_channels where organization_id = ?1 and id = ?4), 1), ?5, ?6 from rarray(?2) k",
    stands: stands!("enroll_conversations", "id"),
    once: "a conversation of the contact on the channel",
};
static RUNS: Insert = Insert {
    sql: "insert into enroll_runs (organization_id, id, contact_id, sequence_id, status, started_at) \
          select ?1, substr(?3, k.value, 16), substr(?3, k.value + 16, 16), ?4, ?5, ?6 from rarray(?2) k",
    stands: stands!("enroll_runs", "id"),
    once: "a run",
};
static STEP_CONTACTS: Insert = Insert {
    sql: "insert into enroll_step_contacts (organization_id, id, run_id, contact_id, sequence_id, step_id, \
          status, scheduled_at, channel_id, default_call_flow_id, times_processed, enrollment_id) \
          select ?1, substr(?3, k.value, 16), substr(?3, k.value + 16, 16), substr(?3, k.value + 32, 16), \
          ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11 from rarray(?2) k",
    stands: stands!("enroll_step_contacts", "id"),
    once: "a live step contact of the contact in the sequence",
};
static TAG: Insert = Insert {
    sql: "insert into enroll_tags (organization_id, id, name, system_created) values (?1, ?2, ?3, ?4)",
    stands: stands!("enroll_tags", "id"),
    once: "a tag",
};
static CONTACT_TAGS: Insert = Insert {
    sql: "insert into enroll_contact_tags (organization_id, contact_id, tag_id) \
          select ?1, substr(?3, k.value, 16), ?4 from rarray(?2) k",
    stands: stands!("enroll_contact_tags", "tag_id"),
    once: "a tag on the contact",
};
static RECORD: Insert = Insert {
    sql: "insert into enroll_custom_records \
          (organization_id, id, custom_object_id, resource, resource_id, contact_id, properties) \
          values (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    stands: stands!("enroll_custom_records", "id"),
    once: "a record of the custom object for the resource",
};

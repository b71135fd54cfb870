//! Diesel's tables, and what both rivals on SQLite share: opening, the target of a request, the enrollment's row.

use diesel::backend::Backend;
use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::expression::AsExpression;
use diesel::prelude::*;
use diesel::serialize::{self, IsNull, Output, ToSql};
use diesel::sql_types::{Binary, Bool};
use diesel::sqlite::Sqlite;
use std::path::Path;
use uuid::Uuid;

use crate::body::Body;
use crate::rules::{self, Report};
use crate::target::{ChannelRow, ReferenceRows, StepRow, Target};
use crate::{Error, Request};

diesel::table! {
    channels { id -> Binary, organization_id -> Binary, kind -> Text, address -> Text, enabled -> Bool, }
}
diesel::table! {
    call_flows { id -> Binary, organization_id -> Binary, }
}
diesel::table! {
    custom_objects { id -> Binary, organization_id -> Binary, properties -> Text, }
}
diesel::table! {
    sequences { id -> Binary, organization_id -> Binary, status -> Text, settings -> Text, }
}
diesel::table! {
    steps {
        id -> Binary,
        sequence_id -> Binary,
        position -> BigInt,
        channel_kind -> Text,
        channel_id -> Nullable<Binary>,
    }
}
diesel::table! {
    tags { id -> Binary, organization_id -> Binary, name -> Text, system_created -> Bool, }
}
diesel::table! {
    contacts {
        id -> Binary,
        organization_id -> Binary,
        external_id -> Nullable<Text>,
        phone -> Nullable<Text>,
        email -> Nullable<Text>,
        email_key -> Nullable<Text>,
        name -> Nullable<Text>,
        language -> Nullable<Text>,
        default_channel_id -> Nullable<Binary>,
        address -> Nullable<Text>,
        birth_day -> Nullable<Integer>,
        birth_month -> Nullable<Integer>,
        birth_year -> Nullable<Integer>,
        state -> Text,
        created_at -> Nullable<BigInt>,
        updated_at -> Nullable<BigInt>,
    }
}
diesel::table! {
    communication_preferences (contact_id, channel_id) {
        contact_id -> Binary,
        channel_id -> Binary,
        opt_in -> Bool,
    }
}
diesel::table! {
    conversations {
        id -> Binary,
        organization_id -> Binary,
        contact_id -> Binary,
        channel_id -> Binary,
        status -> Text,
        created_at -> Nullable<BigInt>,
    }
}
diesel::table! {
    runs {
        id -> Binary,
        organization_id -> Binary,
        sequence_id -> Binary,
        contact_id -> Binary,
        status -> Text,
        started_at -> BigInt,
    }
}
diesel::table! {
    step_contacts {
        id -> Binary,
        organization_id -> Binary,
        run_id -> Binary,
        sequence_id -> Binary,
        step_id -> Binary,
        contact_id -> Binary,
        status -> Text,
        scheduled_at -> BigInt,
        channel_id -> Nullable<Binary>,
        default_call_flow_id -> Nullable<Binary>,
        times_processed -> Integer,
        enrollment_id -> Nullable<Binary>,
    }
}
diesel::table! {
    contact_tags (contact_id, tag_id) { contact_id -> Binary, tag_id -> Binary, }
}
diesel::table! {
    custom_records {
        id -> Binary,
        organization_id -> Binary,
        custom_object_id -> Binary,
        resource -> Text,
        resource_id -> Binary,
        contact_id -> Binary,
        properties -> Text,
    }
}
diesel::table! {
    enrollments {
        id -> Binary,
        organization_id -> Binary,
        idempotency_key -> Text,
        sequence_id -> Binary,
        at -> BigInt,
        report -> Text,
    }
}

/// An id in 16 bytes. Diesel supports `Uuid` only on PostgreSQL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, AsExpression, FromSqlRow)]
#[diesel(sql_type = Binary)]
pub struct Id(pub Uuid);

impl ToSql<Binary, Sqlite> for Id {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Sqlite>) -> serialize::Result {
        out.set_value(self.0.as_bytes().as_slice());
        Ok(IsNull::No)
    }
}

impl FromSql<Binary, Sqlite> for Id {
    fn from_sql(mut bytes: <Sqlite as Backend>::RawValue<'_>) -> deserialize::Result<Self> {
        Ok(Self(Uuid::from_slice(bytes.read_blob())?))
    }
}

/// A row of `contacts`.
#[derive(Debug, Queryable, Selectable)]
#[diesel(table_name = contacts)]
pub struct Contact {
    id: Id,
    external_id: Option<String>,
    phone: Option<String>,
    email: Option<String>,
    email_key: Option<String>,
    name: Option<String>,
    language: Option<String>,
    default_channel_id: Option<Id>,
    address: Option<String>,
    birth_day: Option<i32>,
    birth_month: Option<i32>,
    birth_year: Option<i32>,
    state: String,
}

impl From<Contact> for rules::Contact {
    fn from(row: Contact) -> Self {
        Self {
            id: row.id.0,
            external_id: row.external_id,
            phone: row.phone,
            email: row.email,
            email_key: row.email_key,
            name: row.name,
            language: row.language,
            default_channel_id: row.default_channel_id.map(|id| id.0),
            address: row.address,
            birth_day: row.birth_day,
            birth_month: row.birth_month,
            birth_year: row.birth_year,
            state: row.state,
        }
    }
}

/// A row to insert into `contacts`. Absent values are written as null, so that the statement is always the same. The row
/// owns its text, or Diesel would prepare each insert of several rows again.
#[derive(Debug, Insertable)]
#[diesel(table_name = contacts, treat_none_as_default_value = false)]
pub struct NewContact {
    id: Id,
    organization_id: Id,
    external_id: Option<String>,
    phone: Option<String>,
    email: Option<String>,
    email_key: Option<String>,
    name: Option<String>,
    language: Option<String>,
    default_channel_id: Option<Id>,
    address: Option<String>,
    birth_day: Option<i32>,
    birth_month: Option<i32>,
    birth_year: Option<i32>,
    state: String,
    created_at: Option<i64>,
    updated_at: Option<i64>,
}

impl NewContact {
    #[must_use]
    pub fn new(contact: rules::Contact, organization_id: Uuid, created_at: Option<i64>) -> Self {
        Self {
            id: Id(contact.id),
            organization_id: Id(organization_id),
            external_id: contact.external_id,
            phone: contact.phone,
            email: contact.email,
            email_key: contact.email_key,
            name: contact.name,
            language: contact.language,
            default_channel_id: contact.default_channel_id.map(Id),
            address: contact.address,
            birth_day: contact.birth_day,
            birth_month: contact.birth_month,
            birth_year: contact.birth_year,
            state: contact.state,
            created_at,
            updated_at: created_at,
        }
    }
}

/// The columns of a contact that an enrollment may change.
#[derive(Debug, AsChangeset)]
#[diesel(table_name = contacts, treat_none_as_null = true)]
pub struct ContactChanges<'a> {
    external_id: Option<&'a str>,
    phone: Option<&'a str>,
    email: Option<&'a str>,
    email_key: Option<&'a str>,
    name: Option<&'a str>,
    language: Option<&'a str>,
    default_channel_id: Option<Id>,
    address: Option<&'a str>,
    birth_day: Option<i32>,
    birth_month: Option<i32>,
    birth_year: Option<i32>,
    updated_at: Option<i64>,
}

impl<'a> ContactChanges<'a> {
    #[must_use]
    pub fn new(contact: &'a rules::Contact, at: i64) -> Self {
        Self {
            external_id: contact.external_id.as_deref(),
            phone: contact.phone.as_deref(),
            email: contact.email.as_deref(),
            email_key: contact.email_key.as_deref(),
            name: contact.name.as_deref(),
            language: contact.language.as_deref(),
            default_channel_id: contact.default_channel_id.map(Id),
            address: contact.address.as_deref(),
            birth_day: contact.birth_day,
            birth_month: contact.birth_month,
            birth_year: contact.birth_year,
            updated_at: Some(at),
        }
    }
}

#[derive(Debug, Insertable)]
#[diesel(table_name = conversations, treat_none_as_default_value = false)]
pub struct NewConversation<'a> {
    pub id: Id,
    pub organization_id: Id,
    pub contact_id: Id,
    pub channel_id: Id,
    pub status: &'a str,
    pub created_at: Option<i64>,
}

#[derive(Debug, Insertable)]
#[diesel(table_name = runs)]
pub struct NewRun<'a> {
    pub id: Id,
    pub organization_id: Id,
    pub sequence_id: Id,
    pub contact_id: Id,
    pub status: &'a str,
    pub started_at: i64,
}

#[derive(Debug, Insertable)]
#[diesel(table_name = step_contacts, treat_none_as_default_value = false)]
pub struct NewStepContact<'a> {
    pub id: Id,
    pub organization_id: Id,
    pub run_id: Id,
    pub sequence_id: Id,
    pub step_id: Id,
    pub contact_id: Id,
    pub status: &'a str,
    pub scheduled_at: i64,
    pub channel_id: Option<Id>,
    pub default_call_flow_id: Option<Id>,
    pub times_processed: i32,
    pub enrollment_id: Option<Id>,
}

#[derive(Debug, Insertable)]
#[diesel(table_name = contact_tags)]
pub struct NewContactTag {
    pub contact_id: Id,
    pub tag_id: Id,
}

#[derive(Debug, Insertable)]
#[diesel(table_name = custom_records)]
pub struct NewRecord<'a> {
    pub id: Id,
    pub organization_id: Id,
    pub custom_object_id: Id,
    pub resource: &'a str,
    pub resource_id: Id,
    pub contact_id: Id,
    pub properties: String,
}

/// Opens a file with the settings of `enroll-sqlite`, so that they make no difference.
///
/// # Errors
/// The database's error.
pub fn open(path: &Path) -> Result<SqliteConnection, Error> {
    let path = path.to_str().ok_or("the path is not UTF-8")?;
    let mut connection = SqliteConnection::establish(path)?;
    diesel::connection::SimpleConnection::batch_execute(&mut connection, SETTINGS)?;
    Ok(connection)
}

/// Makes the tables.
///
/// # Errors
/// The database's error.
pub fn migrate(connection: &mut SqliteConnection) -> Result<(), Error> {
    Ok(diesel::connection::SimpleConnection::batch_execute(connection, include_str!("sqlite.sql"))?)
}

/// Returns the condition of the unique indexes on keys. SQLite uses the index only if the query has it as literal text.
pub fn not_merged() -> diesel::expression::SqlLiteral<Bool> {
    diesel::dsl::sql("state <> 'merged'")
}

/// Reads the rows that a request refers to.
///
/// # Errors
/// The request refers to a row that does not exist, or the database failed.
pub fn target(connection: &mut SqliteConnection, request: &Request<'_>, body: &Body) -> Result<Target, Error> {
    let organization_id = Id(request.organization_id);
    let sequence = sequences::table
        .filter(sequences::id.eq(Id(request.sequence_id)).and(sequences::organization_id.eq(organization_id)))
        .select((sequences::status, sequences::settings))
        .first(connection)
        .optional()?;
    let steps = steps::table
        .filter(steps::sequence_id.eq(Id(request.sequence_id)))
        .select((steps::id, steps::position, steps::channel_kind, steps::channel_id))
        .load::<(Id, i64, String, Option<Id>)>(connection)?;
    let channels = channels::table
        .filter(channels::organization_id.eq(organization_id))
        .order(channels::id)
        .select((channels::id, channels::kind, channels::address, channels::enabled))
        .load::<(Id, String, String, bool)>(connection)?;
    let custom_object = match body.custom_data {
        None => None,
        Some(data) => custom_objects::table
            .filter(custom_objects::id.eq(Id(data.custom_object_id)))
            .filter(custom_objects::organization_id.eq(organization_id))
            .select(custom_objects::properties)
            .first(connection)
            .optional()?,
    };
    let call_flow = match body.voice_options {
        None => None,
        Some(options) => call_flows::table
            .filter(call_flows::id.eq(Id(options.default_call_flow_id)))
            .filter(call_flows::organization_id.eq(organization_id))
            .select(call_flows::id)
            .first::<Id>(connection)
            .optional()?,
    };
    let step = |(id, position, channel_kind, channel_id): (Id, i64, String, Option<Id>)| StepRow {
        id: id.0,
        position,
        channel_kind,
        channel_id: channel_id.map(|id| id.0),
    };
    let channel =
        |(id, kind, address, enabled): (Id, String, String, bool)| ChannelRow { id: id.0, kind, address, enabled };
    let rows = ReferenceRows {
        sequence,
        steps: steps.into_iter().map(step).collect(),
        channels: channels.into_iter().map(channel).collect(),
        custom_object,
        call_flow: call_flow.map(|id| id.0),
    };
    Target::find(request, body, rows)
}

/// Inserts the upload tag.
///
/// # Errors
/// The database's error.
pub fn insert_tag(connection: &mut SqliteConnection, target: &Target) -> QueryResult<()> {
    if let Some(tag) = &target.upload_tag {
        diesel::insert_into(tags::table)
            .values((
                tags::id.eq(Id(tag.id)),
                tags::organization_id.eq(Id(target.organization_id)),
                tags::name.eq(&tag.name),
                tags::system_created.eq(true),
            ))
            .execute(connection)?;
    }
    Ok(())
}

/// Inserts the enrollment with its report.
///
/// # Errors
/// The key exists already, or the database failed.
pub fn insert_enrollment(
    connection: &mut SqliteConnection,
    request: &Request<'_>,
    report: &Report,
) -> Result<(), Error> {
    diesel::insert_into(enrollments::table)
        .values((
            enrollments::id.eq(Id(report.enrollment_id)),
            enrollments::organization_id.eq(Id(request.organization_id)),
            enrollments::idempotency_key.eq(request.key),
            enrollments::sequence_id.eq(Id(request.sequence_id)),
            enrollments::at.eq(request.at.millis()),
            enrollments::report.eq(serde_json::to_string(report)?),
        ))
        .execute(connection)?;
    Ok(())
}

const SETTINGS: &str = "
    pragma journal_mode = wal;
    pragma synchronous = normal;
    pragma foreign_keys = on;
    pragma busy_timeout = 10000;
    pragma temp_store = memory;
    pragma cache_size = -65536;
    pragma wal_autocheckpoint = 10000;
";

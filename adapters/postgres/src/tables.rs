//! The columns of each table, listed once: every statement that selects, inserts, copies, updates, seeds or dumps a row is
//! built from these lists.
//!
//! To add a column to a contact, add it to the migration and to the list of `contact_table`.

use enroll::changes::ContactFields;
use enroll::contact::Contact;
use enroll::model::{
    CallFlow, Channel, ChannelKind, CommunicationPreference, ContactTag, Conversation, CustomObject, CustomRecord,
    Resource, Run, Sequence, Step, StepContact, Tag,
};
use enroll::request::Fingerprint;
use enroll::snapshot::Versioned;
use enroll::{EnrollmentReport, EnrollmentState, Outcome, StoredEnrollment, Timestamp};
use uuid::Uuid;

use crate::PostgresError;
use crate::driver::Row;
use crate::fields::{Arrays, ColumnReader, Field, JsonText};

/// A column of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: &'static str,
    pub(crate) sql_type: &'static str,
}

/// A row type that is stored in one table. Its columns exclude `organization_id` and `version`.
pub(crate) trait Table: Sized {
    const NAME: &'static str;

    /// Returns the columns in their order.
    fn columns() -> Vec<Column>;

    /// Reads the columns in their order.
    fn read(columns: &mut ColumnReader<'_, impl Row>) -> Result<Self, PostgresError>;

    /// Appends one array per column, in the same order.
    fn push_arrays<'r>(rows: impl Iterator<Item = &'r Self> + Clone, arrays: &mut Arrays<'r>)
    where
        Self: 'r;

    /// Reads a row that `version` precedes.
    fn read_versioned(columns: &mut ColumnReader<'_, impl Row>) -> Result<Versioned<Self>, PostgresError> {
        Ok(Versioned::new(columns.version()?, Self::read(columns)?))
    }
}

/// Returns the names of a table's columns, separated by commas.
pub(crate) fn names<T: Table>() -> String {
    T::columns().iter().map(|column| column.name).collect::<Vec<_>>().join(", ")
}

/// Declares a table: its name, its row type, an empty row to read into, and for each field the column or columns.
macro_rules! table {
    ($name:literal: $row:ty = $empty:expr; $($($column:ident)+ => $($field:ident).+;)+) => {
        impl Table for $row {
            const NAME: &'static str = $name;

            fn columns() -> Vec<Column> {
                let mut columns = Vec::new();
                $(push_columns(&mut columns, &[$(stringify!($column)),+], |row: &Self| &row.$($field).+);)+
                columns
            }

            fn read(columns: &mut ColumnReader<'_, impl Row>) -> Result<Self, PostgresError> {
                let mut row = $empty;
                $(row.$($field).+ = columns.read()?;)+
                Ok(row)
            }

            fn push_arrays<'r>(rows: impl Iterator<Item = &'r Self> + Clone, arrays: &mut Arrays<'r>) {
                $(Field::push_arrays(rows.clone().map(|row| &row.$($field).+), arrays);)+
            }
        }
    };
}

/// Declares the table of contacts: the columns that an enrollment can replace, and the others.
///
/// For updates, it also defines `contact_assignments`, `contact_update_columns` and `push_contact_updates`.
macro_rules! contact_table {
    (
        replaceable { $($($column:ident)+ => $($field:ident).+;)+ }
        others { $($other:ident;)+ }
    ) => {
        table! {
            "contacts": Contact = Contact::new(nil());
            id => id;
            $($($column)+ => $($field).+;)+
            $($other => $other;)+
        }

        /// Returns one assignment per replaceable column: of the row `u` if the update has the field, else of `c`.
        pub(crate) fn contact_assignments() -> String {
            [$(assignments(&[$(stringify!($column)),+], replace_flag!($($column)+))),+].join(", ")
        }

        /// Returns the columns that `contact_assignments` reads of the row `u`.
        pub(crate) fn contact_update_columns() -> Vec<Column> {
            let mut columns = Vec::new();
            $(
                push_columns(&mut columns, &[$(stringify!($column)),+], |fields: &ContactFields| &fields.$($field).+);
                columns.extend(replace_flag!($($column)+).map(|name| Column { name, sql_type: "boolean" }));
            )+
            columns
        }

        /// Appends one array per column of `contact_update_columns`.
        pub(crate) fn push_contact_updates<'r>(
            updates: impl Iterator<Item = &'r ContactFields> + Clone,
            arrays: &mut Arrays<'r>,
        ) {
            $(
                Field::push_arrays(updates.clone().map(|fields| &fields.$($field).+), arrays);
                if replace_flag!($($column)+).is_some() {
                    let flags = updates.clone().map(|fields| fields.$($field).+.is_some());
                    arrays.push(Box::new(flags.collect::<Vec<bool>>()));
                }
            )+
        }
    };
}

/// Expands to the name of the flag that replaces a field of several columns. Any of them may be null then.
macro_rules! replace_flag {
    ($column:ident) => {
        None::<&'static str>
    };
    ($first:ident $($more:ident)+) => {
        Some(concat!("replace_", stringify!($first)))
    };
}

fn push_columns<R, F: Field>(columns: &mut Vec<Column>, names: &[&'static str], _: impl Fn(&R) -> &F) {
    debug_assert_eq!(names.len(), F::TYPES.len(), "each column of {names:?} has a type");
    columns.extend(names.iter().zip(F::TYPES).map(|(name, sql_type)| Column { name, sql_type }));
}

fn assignments(columns: &[&str], flag: Option<&str>) -> String {
    let assign = |column: &&str| match flag {
        None => format!("{column} = coalesce(u.{column}, c.{column})"),
        Some(flag) => format!("{column} = case when u.{flag} then u.{column} else c.{column} end"),
    };
    columns.iter().map(assign).collect::<Vec<_>>().join(", ")
}

contact_table! {
    replaceable {
        external_id => external_id;
        phone => phone;
        email email_key => email;
        name => profile.name;
        first_name => profile.first_name;
        last_name => profile.last_name;
        language => profile.language;
        default_channel_id => profile.default_channel_id;
        address => profile.address;
        birth_day birth_month birth_year => profile.birth_date;
    }
    others {
        state;
        created_at;
        updated_at;
    }
}

table! {
    "channels": Channel = Channel::new(nil(), ChannelKind::Phone, "");
    id => id;
    kind => kind;
    address => address;
    enabled => enabled;
    name => name;
}

table! {
    "call_flows": CallFlow = CallFlow::new(nil(), "");
    id => id;
    name => name;
}

table! {
    "custom_objects": CustomObject = CustomObject::new(nil(), "", Vec::new());
    id => id;
    key => key;
    properties => properties;
}

// Its steps are rows of `steps`.
table! {
    "sequences": Sequence = Sequence::new(nil(), "", Vec::new());
    id => id;
    title => title;
    status => status;
    settings => settings;
}

table! {
    "steps": Step = Step::new(nil(), 0, ChannelKind::Phone);
    id => id;
    position => position;
    channel_kind => channel_kind;
    channel_id => channel_id;
}

table! {
    "tags": Tag = Tag::new(nil(), "");
    id => id;
    name => name;
    system_created => system_created;
}

table! {
    "communication_preferences": CommunicationPreference = CommunicationPreference::new(nil(), nil(), false);
    contact_id => contact_id;
    channel_id => channel_id;
    opt_in => opt_in;
}

table! {
    "conversations": Conversation = Conversation::new(nil(), nil(), nil());
    id => id;
    contact_id => contact_id;
    channel_id => channel_id;
    status => status;
    created_at => created_at;
}

table! {
    "runs": Run = Run::new(nil(), nil(), nil(), Timestamp::EPOCH);
    id => id;
    sequence_id => sequence_id;
    contact_id => contact_id;
    status => status;
    started_at => started_at;
}

table! {
    "step_contacts": StepContact =
        StepContact::new(nil(), &Run::new(nil(), nil(), nil(), Timestamp::EPOCH), nil());
    id => id;
    run_id => run_id;
    sequence_id => sequence_id;
    step_id => step_id;
    contact_id => contact_id;
    status => status;
    scheduled_at => scheduled_at;
    channel_id => channel_id;
    default_call_flow_id => default_call_flow_id;
    times_processed => times_processed;
    enrollment_id => enrollment_id;
}

table! {
    "contact_tags": ContactTag = ContactTag { contact_id: nil(), tag_id: nil() };
    contact_id => contact_id;
    tag_id => tag_id;
}

// The column `contact_id` is not a field of the record: it is the resource, or the contact of the step contact.
table! {
    "custom_records": CustomRecord = CustomRecord::new(nil(), nil(), Resource::Contact, Uuid::nil());
    id => id;
    custom_object_id => custom_object_id;
    resource => resource;
    resource_id => resource_id;
    properties => properties;
}

/// The columns that are inserted in front of the listed ones.
pub(crate) const CONTACT_EXTRA: &[Column] = &[Column { name: "version", sql_type: "bigint" }];
pub(crate) const CONVERSATION_EXTRA: &[Column] = &[Column { name: "one_at_most", sql_type: "boolean" }];
pub(crate) const RECORD_EXTRA: &[Column] = &[Column { name: "contact_id", sql_type: "uuid" }];

/// The columns of an enrollment without its command, and its outcomes. The report or the rejection precedes the outcomes.
pub(crate) const ENROLLMENT: &str =
    "id, sequence_id, fingerprint, at, completed_at, removed_at, erased_recipients, state,
    coalesce(report, rejection),
    array(select o.outcomes from enroll.enrollment_outcomes o
        where o.organization_id = $1 and o.enrollment_id = enrollments.id
        order by o.first_index) as outcomes";

/// Reads the columns of [`ENROLLMENT`].
pub(crate) fn read_enrollment(columns: &mut ColumnReader<'_, impl Row>) -> Result<StoredEnrollment, PostgresError> {
    let (id, sequence_id) = (columns.read()?, columns.read()?);
    let fingerprint: &[u8] = columns.get()?;
    let fingerprint = fingerprint.try_into().map(Fingerprint::from_bytes).map_err(|e| columns.invalid(e))?;
    let (at, completed_at) = (columns.read()?, columns.read()?);
    let (removed_at, erased_recipients) = (columns.read()?, columns.read()?);
    let state = match columns.get()? {
        "accepted" => EnrollmentState::Accepted,
        "completed" => {
            let mut report: EnrollmentReport = columns.json()?;
            let chunks: Vec<JsonText<'_>> = columns.get()?;
            let chunks = chunks.iter().map(|chunk| serde_json::from_slice::<Vec<Outcome>>(chunk.0));
            let chunks = chunks.collect::<Result<Vec<_>, _>>().map_err(|e| columns.invalid(e))?;
            report.outcomes = chunks.into_iter().flatten().collect();
            EnrollmentState::Completed { report }
        }
        "rejected" => EnrollmentState::Rejected { rejection: columns.json()? },
        "failed" => EnrollmentState::Failed,
        state => return Err(columns.invalid(format!("`{state}` is not a state of an enrollment"))),
    };
    let mut enrollment = StoredEnrollment::new(id, sequence_id, fingerprint, at, state);
    enrollment.completed_at = completed_at;
    (enrollment.removed_at, enrollment.erased_recipients) = (removed_at, erased_recipients);
    Ok(enrollment)
}

fn nil<T: From<Uuid>>() -> T {
    Uuid::nil().into()
}

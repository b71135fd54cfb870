//! The columns of each table, listed once: every statement that selects, inserts, updates, seeds or dumps a row is built
//! from these lists.
//!
//! The macros of this module are in scope in all modules of the crate.
//!
//! To add a column to a contact, add it to the migration and to the list of `contacts`.

use enroll::changes::ContactFields;
use enroll::contact::{Contact, Text};
use enroll::model::{
    CallFlow, Channel, ChannelKind, CommunicationPreference, ContactTag, Conversation, CustomObject, CustomRecord,
    Resource, Run, Sequence, Step, StepContact, Tag,
};
use enroll::request::Fingerprint;
use enroll::snapshot::Versioned;
use enroll::{ContactId, EnrollmentState, StoredEnrollment, Timestamp};
use uuid::Uuid;

use crate::error::SqliteError;
use crate::fields::{Bind, ColumnReader, Field, other};

/// A row of a table. Its columns exclude `organization_id` and `version`.
pub(crate) trait Row: Sized {
    #[cfg(feature = "seed")]
    const TABLE: &'static str;
    #[cfg(feature = "seed")]
    const COLUMNS: &'static [&'static str];

    /// Reads the columns in their order.
    fn read(columns: &mut ColumnReader<'_, '_>) -> rusqlite::Result<Self>;

    /// Binds one cell per column, in the same order.
    fn bind(&self, to: &mut impl Bind) -> Result<(), SqliteError>;

    /// Reads a row that `version` precedes.
    fn read_versioned(columns: &mut ColumnReader<'_, '_>) -> rusqlite::Result<Versioned<Self>> {
        Ok(Versioned::new(columns.version()?, Self::read(columns)?))
    }
}

/// A row that one statement inserts together with others that differ from it only in their ids.
pub(crate) trait PackedRow: Row {
    /// Inserts rows of the organization `?1`. `?3` holds the ids of all rows, 16 bytes each; `?2` is an array of the
    /// positions at which each row's ids begin. The shared cells follow from `?4` on.
    const INSERT: &'static str;
    /// The bytes that the ids of one row need.
    const WIDTH: usize;

    fn contact_id(&self) -> ContactId;

    /// Appends the ids of the row.
    fn pack(&self, ids: &mut Vec<u8>);

    /// Returns true if all columns but the ids are equal.
    fn shares_cells(&self, other: &Self) -> bool;

    fn bind_shared(&self, to: &mut impl Bind) -> Result<(), SqliteError>;
}

/// Declares a table: its name, its row type, an empty row to read into, and for each field the column or columns.
///
/// Implements [`Row`], and defines a macro of the table's name: `columns` expands to the names, `parameters` to named
/// parameters in the same order.
macro_rules! table {
    (
        $table:ident = $name:literal: $row:ty = $empty:expr;
        $first:ident => $first_field:ident;
        $($($column:ident)+ => $($field:ident).+;)*
    ) => {
        macro_rules! $table {
            (columns) => {
                concat!(stringify!($first) $($(, ", ", stringify!($column))+)*)
            };
            (parameters) => {
                concat!(":", stringify!($first) $($(, ", :", stringify!($column))+)*)
            };
        }

        impl Row for $row {
            #[cfg(feature = "seed")]
            const TABLE: &'static str = $name;
            #[cfg(feature = "seed")]
            const COLUMNS: &'static [&'static str] = &[stringify!($first) $($(, stringify!($column))+)*];

            fn read(columns: &mut ColumnReader<'_, '_>) -> rusqlite::Result<Self> {
                let mut row = $empty;
                row.$first_field = columns.read()?;
                $(row.$($field).+ = columns.read()?;)*
                Ok(row)
            }

            fn bind(&self, to: &mut impl Bind) -> Result<(), SqliteError> {
                self.$first_field.bind(to)?;
                $(self.$($field).+.bind(to)?;)*
                Ok(())
            }
        }
    };
}

/// Declares a table of [`PackedRow`]s: the ids in which rows of one request differ, and the columns that they share.
///
/// An extra column may follow, which an insert computes.
macro_rules! packed_table {
    (
        $table:ident = $name:literal: $row:ty = $empty:expr;
        ids $id:ident $($more:ident)*;
        shared $($shared:ident)+;
        $($extra:ident = $expression:literal;)?
    ) => {
        table! {
            $table = $name: $row = $empty;
            $id => $id;
            $($more => $more;)*
            $($shared => $shared;)+
        }

        impl PackedRow for $row {
            const INSERT: &'static str = concat!(
                "insert into ", $name, " (organization_id, ", $table!(columns) $(, ", ", stringify!($extra))?,
                ") select ?1, ", unpacked!($id $($more)*) $(, ", :", stringify!($shared))+ $(, ", ", $expression)?,
                " from rarray(?2) k"
            );
            const WIDTH: usize = size_of::<Uuid>() * [stringify!($id) $(, stringify!($more))*].len();

            fn contact_id(&self) -> ContactId {
                self.contact_id
            }

            fn pack(&self, ids: &mut Vec<u8>) {
                ids.extend_from_slice(self.$id.as_uuid().as_bytes());
                $(ids.extend_from_slice(self.$more.as_uuid().as_bytes());)*
            }

            fn shares_cells(&self, other: &Self) -> bool {
                true $(&& self.$shared == other.$shared)+
            }

            fn bind_shared(&self, to: &mut impl Bind) -> Result<(), SqliteError> {
                $(self.$shared.bind(to)?;)+
                Ok(())
            }
        }
    };
}

/// Expands to SQL that reads one, two or three ids of the row at `k.value`.
macro_rules! unpacked {
    ($a:ident) => {
        "substr(?3, k.value, 16)"
    };
    ($a:ident $b:ident) => {
        concat!(unpacked!($a), ", substr(?3, k.value + 16, 16)")
    };
    ($a:ident $b:ident $c:ident) => {
        concat!(unpacked!($a $b), ", substr(?3, k.value + 32, 16)")
    };
}

/// Declares the table of contacts: the columns that an enrollment can replace, and the others.
///
/// For updates, it also defines the macro `contact_assignments` and the function [`bind_contact_fields`].
macro_rules! contact_table {
    (
        replaceable {
            $($column:ident $($more:ident)* => $($field:ident).+;)+
        }
        others {
            $($other:ident;)+
        }
    ) => {
        table! {
            contacts = "enroll_contacts": Contact = Contact::new(nil());
            id => id;
            $($column $($more)* => $($field).+;)+
            $($other => $other;)+
        }

        /// Expands to one assignment per column: a flag decides between the parameter and the stored value.
        macro_rules! contact_assignments {
            () => {
                concat!($(
                    ", ", stringify!($column), " = iif(:replace_", stringify!($column), ", :", stringify!($column),
                    ", ", stringify!($column), ")",
                    $(
                        ", ", stringify!($more), " = iif(:replace_", stringify!($column), ", :", stringify!($more),
                        ", ", stringify!($more), ")",
                    )*
                )+)
            };
        }

        /// Binds the parameters of `contact_assignments`, in the order of their first use.
        pub(crate) fn bind_contact_fields(fields: &ContactFields, to: &mut impl Bind) -> Result<(), SqliteError> {
            $(
                fields.$($field).+.is_some().bind(to)?;
                fields.$($field).+.bind(to)?;
            )+
            Ok(())
        }
    };
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
    channels = "enroll_channels": Channel = Channel::new(nil(), ChannelKind::Phone, "");
    id => id;
    kind => kind;
    address => address;
    enabled => enabled;
    name => name;
}

table! {
    call_flows = "enroll_call_flows": CallFlow = CallFlow::new(nil(), "");
    id => id;
    name => name;
}

table! {
    custom_objects = "enroll_custom_objects": CustomObject = CustomObject::new(nil(), "", Vec::new());
    id => id;
    key => key;
    properties => properties;
}

// Its steps are rows of `enroll_steps`.
table! {
    sequences = "enroll_sequences": Sequence = Sequence::new(nil(), "", Vec::new());
    id => id;
    title => title;
    status => status;
    settings => settings;
}

table! {
    steps = "enroll_steps": Step = Step::new(nil(), 0, ChannelKind::Phone);
    id => id;
    position => position;
    channel_kind => channel_kind;
    channel_id => channel_id;
}

table! {
    tags = "enroll_tags": Tag = Tag::new(nil(), "");
    id => id;
    name => name;
    system_created => system_created;
}

table! {
    preferences = "enroll_communication_preferences":
        CommunicationPreference = CommunicationPreference::new(nil(), nil(), false);
    contact_id => contact_id;
    channel_id => channel_id;
    opt_in => opt_in;
}

packed_table! {
    conversations = "enroll_conversations": Conversation = Conversation::new(nil(), nil(), nil());
    ids id contact_id;
    shared channel_id status created_at;
    one_at_most = "coalesce((select kind <> 'email' from enroll_channels \
        where organization_id = ?1 and id = :channel_id), 1)";
}

packed_table! {
    runs = "enroll_runs": Run = Run::new(nil(), nil(), nil(), Timestamp::EPOCH);
    ids id contact_id;
    shared sequence_id status started_at;
}

packed_table! {
    step_contacts = "enroll_step_contacts": StepContact =
        StepContact::new(nil(), &Run::new(nil(), nil(), nil(), Timestamp::EPOCH), nil());
    ids id run_id contact_id;
    shared sequence_id step_id status scheduled_at channel_id default_call_flow_id times_processed enrollment_id;
}

packed_table! {
    contact_tags = "enroll_contact_tags": ContactTag = ContactTag { contact_id: nil(), tag_id: nil() };
    ids contact_id;
    shared tag_id;
}

// The column `contact_id` is not a field of the record: it is the resource, or the contact of the step contact.
table! {
    records = "enroll_custom_records": CustomRecord = CustomRecord::new(nil(), nil(), Resource::Contact, Uuid::nil());
    id => id;
    custom_object_id => custom_object_id;
    resource => resource;
    resource_id => resource_id;
    properties => properties;
}

/// The columns of an enrollment without its command and its outcomes. The last one depends on the state.
macro_rules! enrollments {
    (columns) => {
        "id, sequence_id, fingerprint, at, completed_at, removed_at, erased_recipients, state, \
         coalesce(report, rejection)"
    };
    (counts) => {
        "added, re_added, reprocessed, ignored, duplicate, contacts_created, conversations_created"
    };
}

/// Reads the columns of `enrollments`. The caller adds the outcomes.
pub(crate) fn read_enrollment(columns: &mut ColumnReader<'_, '_>) -> rusqlite::Result<StoredEnrollment> {
    let (id, sequence_id) = (columns.read()?, columns.read()?);
    let fingerprint = Fingerprint::from_bytes(columns.get()?);
    let (at, completed_at) = (columns.read()?, columns.read()?);
    let (removed_at, erased_recipients) = (columns.read()?, columns.read()?);
    let state: Text = columns.read()?;
    let state = match state.as_str() {
        "accepted" => EnrollmentState::Accepted,
        "completed" => EnrollmentState::Completed { report: columns.json()? },
        "rejected" => EnrollmentState::Rejected { rejection: columns.json()? },
        "failed" => EnrollmentState::Failed,
        _ => return Err(other(format!("`{state}` is not a state of an enrollment")).into()),
    };
    let mut enrollment = StoredEnrollment::new(id, sequence_id, fingerprint, at, state);
    enrollment.completed_at = completed_at;
    (enrollment.removed_at, enrollment.erased_recipients) = (removed_at, erased_recipients);
    Ok(enrollment)
}

fn nil<T: From<Uuid>>() -> T {
    Uuid::nil().into()
}

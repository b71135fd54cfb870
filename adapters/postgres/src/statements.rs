//! Every statement of a repository, in the order of use. Each takes lists as arrays. All but those of a claim that look for an
//! organization take it as `$1`, and read and write only its rows, so that a distributed database finds them in one shard.

use enroll::contact::Contact;
use enroll::model::{
    CallFlow, Channel, CommunicationPreference, ContactTag, Conversation, CustomObject, CustomRecord, Run, Sequence,
    Step, StepContact, Tag,
};
use std::sync::{Arc, LazyLock};

use crate::PostgresError;
use crate::driver::{Begin, Execute, Row, Transaction};
use crate::id_ranges::{select_contacts, select_related};
use crate::query::{Query, Text};
use crate::tables::{
    CONTACT_EXTRA, CONVERSATION_EXTRA, Column, ENROLLMENT, RECORD_EXTRA, Table, contact_assignments,
    contact_update_columns, names,
};

/// The statements of a repository: prepared on one connection, or as texts for any connection. It is cheap to clone.
#[derive(Clone, Debug)]
pub struct Statements(pub(crate) Arc<Prepared>);

impl Statements {
    /// Returns the statements that are sent with their texts, on any connection to the same database.
    pub(crate) async fn texts_in(client: impl Begin) -> Result<Self, PostgresError> {
        let mut transaction = client.begin_read().await?;
        let is_distributed = is_distributed(&mut transaction).await?;
        transaction.commit().await?;
        Self::texts(is_distributed)
    }

    pub(crate) fn texts(is_distributed: bool) -> Result<Self, PostgresError> {
        Self::new(texts(is_distributed).iter().map(Query::of_text))
    }

    pub(crate) fn new(statements: impl Iterator<Item = Query>) -> Result<Self, PostgresError> {
        let prepared = Prepared::new(statements).ok_or(PostgresError::MissingStatement)?;
        Ok(Self(Arc::new(prepared)))
    }
}

/// Returns true if the tables of the schema `enroll` are distributed.
pub(crate) async fn is_distributed(client: &mut impl Execute) -> Result<bool, PostgresError> {
    let rows = client.query(&Query::new(format!("select {IS_DISTRIBUTED}")), &[]).await?;
    rows.first().map_or(Ok(false), |row| row.get(0))
}

/// Whether the tables are distributed. The catalog of Citus does not exist on other servers, but Citus adds a trigger to each
/// distributed table.
pub(crate) const IS_DISTRIBUTED: &str = "exists (
    select from pg_catalog.pg_trigger
    where tgrelid = pg_catalog.to_regclass('enroll.contacts')
        and tgfoid = pg_catalog.to_regproc('pg_catalog.citus_truncate_trigger')
)";

/// Returns the texts of the statements.
///
/// Statements that join a table with arrays have the placeholder `@u` or `@k` for the organization. On one server, it is the column
/// of the arrays: PostgreSQL does not know its value, so it finds each row by its whole key. For a known value it could read
/// the whole organization. Citus needs `$1` to find the shard.
pub(crate) fn texts(is_distributed: bool) -> &'static [Text] {
    static ON_ONE_SERVER: LazyLock<Vec<Text>> =
        LazyLock::new(|| with_organization(["u.organization_id", "k.organization_id"]));
    static DISTRIBUTED: LazyLock<Vec<Text>> = LazyLock::new(|| with_organization(["$1", "$1"]));
    if is_distributed { &DISTRIBUTED } else { &ON_ONE_SERVER }
}

fn with_organization([of_rows, of_keys]: [&str; 2]) -> Vec<Text> {
    SQL.iter().map(|sql| Text::new(sql.replace("@u", of_rows).replace("@k", of_keys))).collect()
}

macro_rules! statements {
    ($($name:ident = $sql:expr;)*) => {
        /// The statements by name.
        #[derive(Debug)]
        pub(crate) struct Prepared {
            $(pub(crate) $name: Query,)*
        }

        impl Prepared {
            fn new(mut statements: impl Iterator<Item = Query>) -> Option<Self> {
                Some(Self { $($name: statements.next()?.named(stringify!($name)),)* })
            }
        }

        /// The texts, with placeholders of the organization: see [`texts`].
        static SQL: LazyLock<Vec<String>> = LazyLock::new(|| vec![$(String::from($sql)),*]);
    };
}

fn select<T: Table>(first_columns: &str) -> String {
    format!("select {first_columns}{} from enroll.{} where organization_id = $1", names::<T>(), T::NAME)
}

/// Inserts rows from one array per column, the extra columns first.
fn insert<T: Table>(extra: &[Column]) -> String {
    let (columns, arrays) = inserted::<T>(extra);
    insert_rows(T::NAME, &columns, "", &arrays)
}

/// Inserts rows from arrays. `constants` are values between the organization and the arrays.
///
/// The organization's row, which a commit has locked, is joined: on a distributed database, it shows that all rows go to the
/// shard of the organization.
fn insert_rows(table: &str, columns: &str, constants: &str, arrays: &str) -> String {
    format!(
        "insert into enroll.{table} ({columns}) select o.organization_id, {constants}u.*
        from enroll.organizations o cross join unnest({arrays}) as u where o.organization_id = $1"
    )
}

fn copy<T: Table>(extra: &[Column]) -> String {
    let (columns, _) = inserted::<T>(extra);
    format!("copy enroll.{} ({columns}) from stdin (format binary)", T::NAME)
}

/// Returns the names of the columns of a new row, and its parameters.
fn inserted<T: Table>(extra: &[Column]) -> (String, String) {
    let columns: Vec<Column> = extra.iter().copied().chain(T::columns()).collect();
    let names: Vec<&str> = ["organization_id"].into_iter().chain(columns.iter().map(|column| column.name)).collect();
    (names.join(", "), arrays(&columns, 2).join(", "))
}

fn arrays(columns: &[Column], first: usize) -> Vec<String> {
    (first..).zip(columns).map(|(n, column)| format!("${n}::{}[]", column.sql_type)).collect()
}

/// The rows of several arrays as a table `u`, with the organization.
///
/// `(select …)` hides their number from the planner. It then finds each row by its key, in this order. Otherwise it would
/// read all of a table that is not much longer, and write in the order of that table.
fn rows_of_arrays(columns: &[Column], first: usize) -> String {
    let arrays: Vec<String> = arrays(columns, first).iter().map(|array| format!("(select {array})")).collect();
    let names: Vec<&str> = columns.iter().map(|column| column.name).collect();
    let (arrays, names) = (arrays.join(", "), names.join(", "));
    format!("(select $1::uuid as organization_id, u.* from unnest({arrays}) as u ({names}) offset 0) as u")
}

/// Columns that only an update has.
macro_rules! columns {
    ($($name:ident: $sql_type:ident),*) => {
        [$(Column { name: stringify!($name), sql_type: stringify!($sql_type) }),*]
    };
}

/// Selects the contacts that own some keys. No key is blank, so that `enroll.held`, which costs more than finding the
/// contact, is not called. `except` can remove some of the keys.
fn key_owners(columns: &str, held_column: &str, keys: &str, except: &str) -> String {
    format!(
        "select {columns} from (
            select case when octet_length(key) <= 1024 then key else enroll.digest(key) end as key
            from unnest((select {keys}::text[])) as key {except} offset 0
        ) as k cross join lateral (
            select * from enroll.contacts where organization_id = $1 and {held_column} = k.key offset 0
        ) as c"
    )
}

/// Selects the ids of the contacts that own some keys, each kind of key in turn.
///
/// Keys are unique: a key of a contact that was already found belongs to no other contact, so it is not searched.
fn owners_of_keys() -> String {
    let by_external_id = key_owners("id, held_phone, held_email", "held_external_id", "$2", "");
    let by_phone = key_owners("id, held_email", "held_phone", "$3", "except all select held_phone from by_external_id");
    let by_email = key_owners("id", "held_email", "$4", "except all select held_email from held_emails");
    format!(
        "with by_external_id as materialized ({by_external_id}), by_phone as materialized ({by_phone}), held_emails as (
            select held_email from by_external_id union all select held_email from by_phone
        ) select id from by_external_id union all select id from by_phone union all {by_email}"
    )
}

/// Locks related rows of contacts, in the order of the array.
fn lock_related(table: &str, columns: &str) -> String {
    format!(
        "select r.* from unnest($2::uuid[]) as k (key) cross join lateral (
            select {columns} from enroll.{table} where organization_id = $1 and id = k.key for no key update
        ) as r"
    )
}

fn update_contacts() -> String {
    let first = columns! { id: uuid, expected: bigint };
    let columns: Vec<Column> = first.into_iter().chain(contact_update_columns()).collect();
    format!(
        "update enroll.contacts c set version = c.version + 1, updated_at = $2::timestamptz, {} from {}
            where c.organization_id = @u and c.id = u.id and c.version = u.expected",
        contact_assignments(),
        rows_of_arrays(&columns, 3)
    )
}

// `offset 0` keeps a sub-query separate, so that PostgreSQL finds each row by its whole key. Otherwise it may read all
// rows of an organization, where it estimates that organizations are small.
statements! {
    // Reference data.
    enrollment = format!("select {ENROLLMENT} from enroll.enrollments
        where organization_id = $1 and id = any($2::uuid[])");
    channels = select::<Channel>("version, ");
    // The version is read before the steps that it covers.
    sequence = select::<Sequence>("version, ") + " and id = $2::uuid";
    steps = select::<Step>("") + " and sequence_id = $2::uuid order by position, id";
    custom_object = select::<CustomObject>("version, ") + " and id = any($2::uuid[])";
    call_flow = select::<CallFlow>("version, ") + " and id = any($2::uuid[])";

    tag = select::<Tag>("") + " and id = $2::uuid";

    // A load: the owners of the keys, then these contacts with their versions, then their related rows.
    owners = owners_of_keys();
    contacts = select_contacts();
    preferences = select_related::<CommunicationPreference>("channel_id", "", "true");
    // Two statements in one: each of two indexes contains a part of the rows.
    conversations = format!(
        "{} union all {}",
        select_related::<Conversation>("channel_id", "", "one_at_most"),
        select_related::<Conversation>("channel_id", "", "not one_at_most")
    );
    runs = select_related::<Run>("sequence_id", "", "true");
    step_contacts = format!(
        "{} union all {}",
        select_related::<StepContact>("sequence_id", "", "status in ('pending', 'active')"),
        select_related::<StepContact>("sequence_id", "", "status not in ('pending', 'active')")
    );
    records = select_related::<CustomRecord>("custom_object_id", "contact_id, ", "true");
    contact_tags = select_related::<ContactTag>("tag_id", "", "true");

    // A commit: first the organization's lock, then the guards. Each locks the rows that it reads.
    disable_triggers = "set local enroll.engine = 'on'";
    // PostgreSQL refuses a copy into a table with row security, and a copy ignores rules. A copy into a table that Citus
    // distributed fails without the SQLSTATE. A host whose pooler cannot forward a copy sets
    // `enroll.copy` to `off`.
    may_copy = format!("select coalesce(pg_catalog.current_setting('enroll.copy', true), '') <> 'off' and count(*) = 6
            and bool_and(relkind in ('r', 'p') and not relhasrules and not pg_catalog.row_security_active(oid))
            and not {IS_DISTRIBUTED}
        from pg_catalog.pg_class
        where relnamespace = pg_catalog.to_regnamespace('enroll') and relname in (
            'contacts', 'conversations', 'runs', 'step_contacts', 'contact_tags', 'custom_records'
        )");
    add_organization = "insert into enroll.organizations (organization_id) values ($1) on conflict do nothing";
    lock_organization = "select from enroll.organizations where organization_id = $1 for update";
    lock_enrollment = "select state, erased_recipients from enroll.enrollments
        where organization_id = $1 and id = $2::uuid for no key update";
    lock_sequence = "select id, version from enroll.sequences where organization_id = $1 and id = $2::uuid for share";
    lock_channels = "select id, version, kind from enroll.channels
        where organization_id = $1 and id = any($2::uuid[]) order by id for share";
    lock_custom_object = "select id, version from enroll.custom_objects
        where organization_id = $1 and id = any($2::uuid[]) for share";
    lock_call_flow = "select id, version from enroll.call_flows
        where organization_id = $1 and id = any($2::uuid[]) for share";
    // The tag before its contacts, as when a host deletes it.
    lock_tag = "select name from enroll.tags where organization_id = $1 and id = $2::uuid for share";
    // Related rows before their contacts. A host's own write locks them in the same order: the row, then the contact, by
    // the trigger.
    lock_runs = lock_related("runs", "");
    lock_step_contacts = lock_related("step_contacts", "id, step_id, status");
    lock_records = lock_related("custom_records", "");
    lock_contacts = "select c.id, c.version from unnest($2::uuid[]) as k (key) cross join lateral (
            select id, version from enroll.contacts where organization_id = $1 and id = k.key for no key update
        ) as c";
    external_id_owners = key_owners("id, external_id", "held_external_id", "$2", "");
    phone_owners = key_owners("id, phone", "held_phone", "$2", "");
    email_owners = key_owners("id, email_key", "held_email", "$2", "");

    // The writes. Keys that updates replace are removed first, because another row may claim them.
    insert_enrollment = "insert into enroll.enrollments
        (organization_id, id, sequence_id, fingerprint, at, state, report, rejection, completed_at,
            added, re_added, reprocessed, ignored, duplicate, contacts_created, conversations_created)
        values ($1, $2::uuid, $3::uuid, $4::bytea, $5::timestamptz, $6::text, $7::json, $8::json, $9::timestamptz,
            $10::bigint, $11::bigint, $12::bigint, $13::bigint, $14::bigint, $15::bigint, $16::bigint)";
    finish_enrollment = "update enroll.enrollments set
            sequence_id = $3::uuid, fingerprint = $4::bytea, at = $5::timestamptz, state = $6::text,
            report = $7::json, rejection = $8::json, completed_at = $9::timestamptz,
            added = $10::bigint, re_added = $11::bigint, reprocessed = $12::bigint, ignored = $13::bigint,
            duplicate = $14::bigint, contacts_created = $15::bigint, conversations_created = $16::bigint,
            command = null, due_at = null, error = null, attempts = attempts + 1
        where organization_id = $1 and id = $2::uuid and state = 'accepted'";
    insert_outcomes = insert_rows(
        "enrollment_outcomes",
        "organization_id, enrollment_id, first_index, last_index, counts, outcomes",
        "$2::uuid, ",
        "$3::bigint[], $4::bigint[], $5::json[], $6::json[]"
    );
    release_keys = format!(
        "update enroll.contacts c set
            external_id = case when u.external_id <> c.external_id then null else c.external_id end,
            phone = case when u.phone <> c.phone then null else c.phone end,
            email = case when u.email_key <> c.email_key then null else c.email end,
            email_key = case when u.email_key <> c.email_key then null else c.email_key end
        from {}
        where c.organization_id = @u and c.id = u.id
            and (u.external_id <> c.external_id or u.phone <> c.phone or u.email_key <> c.email_key)",
        rows_of_arrays(&columns! { id: uuid, external_id: text, phone: text, email_key: text }, 2)
    );
    // Most updates only raise the version. They need two arrays.
    raise_contacts = format!(
        "update enroll.contacts c set version = c.version + 1 from {}
        where c.organization_id = @u and c.id = u.id and c.version = u.expected",
        rows_of_arrays(&columns! { id: uuid, expected: bigint }, 2)
    );
    update_contacts = update_contacts();
    reactivate_runs = format!(
        "update enroll.runs r set status = 'active' from {}
        where r.organization_id = @u and r.id = u.id and r.contact_id = u.contact_id",
        rows_of_arrays(&columns! { id: uuid, contact_id: uuid }, 2)
    );
    // It runs twice: step contacts that stop being live are updated before those that become live.
    update_step_contacts = format!(
        "update enroll.step_contacts s set
            status = u.status,
            scheduled_at = u.scheduled_at,
            enrollment_id = u.enrollment_id,
            times_processed = u.times_processed,
            channel_id = coalesce(u.channel_id, s.channel_id),
            default_call_flow_id = coalesce(u.default_call_flow_id, s.default_call_flow_id)
        from {}
        where s.organization_id = @u and s.id = u.id and s.contact_id = u.contact_id",
        rows_of_arrays(&columns! {
            id: uuid, contact_id: uuid, status: text, scheduled_at: timestamptz, enrollment_id: uuid,
            times_processed: bigint, channel_id: uuid, default_call_flow_id: uuid
        }, 2)
    );
    update_records = format!(
        "update enroll.custom_records r set properties = u.properties from {}
        where r.organization_id = @u and r.id = u.id and r.contact_id = u.contact_id",
        rows_of_arrays(&columns! { id: uuid, contact_id: uuid, properties: json }, 2)
    );
    insert_contacts = insert::<Contact>(CONTACT_EXTRA);
    copy_contacts = copy::<Contact>(CONTACT_EXTRA);
    insert_conversations = insert::<Conversation>(CONVERSATION_EXTRA);
    copy_conversations = copy::<Conversation>(CONVERSATION_EXTRA);
    insert_runs = insert::<Run>(&[]);
    copy_runs = copy::<Run>(&[]);
    insert_step_contacts = insert::<StepContact>(&[]);
    copy_step_contacts = copy::<StepContact>(&[]);
    insert_tags = insert::<Tag>(&[]);
    insert_contact_tags = insert::<ContactTag>(&[]);
    copy_contact_tags = copy::<ContactTag>(&[]);
    insert_records = insert::<CustomRecord>(RECORD_EXTRA);
    copy_records = copy::<CustomRecord>(RECORD_EXTRA);
    count_rows = insert_rows(
        "counts",
        "organization_id, list, sequence_id, step_id, status, entries",
        "",
        "$2::text[], $3::uuid[], $4::uuid[], $5::text[], $6::bigint[]"
    );
    enable_triggers = "set local enroll.engine = 'off'";

    // The inbox.
    accept = crate::sql::ACCEPT;
    find = format!("select attempts, error, command, {ENROLLMENT} from enroll.enrollments
        where organization_id = $1 and id = $2::uuid");
    // The clock is `statement_timestamp()`: unlike `clock_timestamp()`, a distributed database accepts it in an update. The
    // time is that of the database, not of the worker.
    wake_queue = "select enroll.wake_queue($1)";
    // A claim first selects the organization whose turn it is, among those with due work and without a lease. It passes
    // over those that another claim has locked, and those in `$1`.
    next_queue = "select q.organization_id, nextval('enroll.turns') from (
            select organization_id from enroll.queues
            where due_at <= statement_timestamp() and (lease_end is null or lease_end <= statement_timestamp())
                and organization_id <> all ($1::uuid[])
            order by turn limit 1 for no key update skip locked
        ) as q";
    claim = "with oldest as materialized (
            select id from enroll.enrollments
            where organization_id = $1 and state = 'accepted' and due_at <= statement_timestamp()
            order by at, id limit 1 for update skip locked
        )
        update enroll.enrollments e set
            lease = e.lease + 1, unanswered = e.unanswered + 1, due_at = statement_timestamp() + make_interval(secs => $2::float8)
        from oldest where e.organization_id = $1 and e.id = oldest.id
        returning e.id, e.lease, e.attempts, e.unanswered - 1, e.due_at";
    lease_queue = "update enroll.queues set turn = $2::bigint, leased_id = $3::uuid, lease_end = $4::timestamptz
        where organization_id = $1";
    lock_queue = "select from enroll.queues where organization_id = $1 for update skip locked";
    next_due = "select min(due_at) from enroll.enrollments where organization_id = $1 and state = 'accepted'";
    postpone_queue = "update enroll.queues set due_at = $2::timestamptz where organization_id = $1";
    // `$5` is the delay, or null. Then `$6` is 0.
    record_failure = "update enroll.enrollments set
            attempts = attempts + 1, unanswered = 0, error = $4::text,
            due_at = statement_timestamp() + make_interval(secs => $5::float8),
            failed_at = statement_timestamp() + make_interval(secs => $6::float8),
            state = case when $5 is null then 'failed' else 'accepted' end
        where organization_id = $1 and id = $2::uuid and state = 'accepted' and lease = $3::bigint and unanswered > 0";
    release = "update enroll.enrollments set unanswered = 0, due_at = statement_timestamp() + make_interval(secs => $4::float8)
        where organization_id = $1 and id = $2::uuid and state = 'accepted' and lease = $3::bigint and unanswered > 0";
    end_lease = "update enroll.queues set leased_id = null, lease_end = null
        where organization_id = $1 and leased_id = $2::uuid";
    retry = "update enroll.enrollments set
            state = 'accepted', attempts = 0, unanswered = 0, due_at = statement_timestamp(), failed_at = null
        where organization_id = $1 and id = $2::uuid and state = 'failed' and removed_at is null";
}

#[cfg(test)]
mod tests {
    use postgres_types::Type;

    use super::texts;

    #[test]
    fn each_parameter_has_a_type() {
        for text in [false, true].into_iter().flat_map(texts) {
            assert!(!text.types.contains(&Type::UNKNOWN), "{:?} of {}", text.types, text.sql);
        }
    }
}

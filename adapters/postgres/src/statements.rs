//! Every statement of a repository, in the order of its use. Each but a claim names the organization, and takes lists as
//! arrays.

use futures_util::future::{join_all, try_join_all};
use std::sync::Arc;
use tokio_postgres::types::ToSql;
use tokio_postgres::{GenericClient, Row, Statement};

use crate::Error;

/// The statements of a repository, prepared on one connection. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Statements(pub(crate) Arc<Prepared>);

impl Statements {
    /// Prepares all of them, in one round trip.
    ///
    /// # Errors
    /// [`Error::SchemaMissing`] if the schema is not there; whatever the database says otherwise.
    pub async fn prepare(client: &impl GenericClient) -> Result<Self, Error> {
        let statements = try_join_all(Prepared::SQL.iter().map(|sql| client.prepare(sql))).await?;
        Self::of(statements)
    }

    /// The same, where the pool keeps what was prepared before.
    pub(crate) async fn cached(client: &deadpool_postgres::ClientWrapper) -> Result<Self, Error> {
        let statements = try_join_all(Prepared::SQL.iter().map(|sql| client.prepare_cached(sql))).await?;
        Self::of(statements)
    }

    fn of(statements: Vec<Statement>) -> Result<Self, Error> {
        let prepared =
            Prepared::of(statements).ok_or_else(|| Error::Unstorable("a statement is missing".to_owned()))?;
        Ok(Self(Arc::new(prepared)))
    }
}

/// A statement with its parameters.
pub(crate) type Bound<'a> = (&'a Statement, Vec<&'a (dyn ToSql + Sync)>);

/// Runs queries in one round trip, in this order. Of several errors the first counts: the others follow from it.
pub(crate) async fn query_all<const N: usize>(
    client: &impl GenericClient,
    queries: [Bound<'_>; N],
) -> Result<[Vec<Row>; N], Error> {
    // A query is sent when it is first polled, and these are polled in order.
    let answers = join_all(queries.iter().map(|(statement, parameters)| client.query(*statement, parameters))).await;
    let mut rows = [const { Vec::new() }; N];
    for (place, answer) in rows.iter_mut().zip(answers) {
        *place = answer?;
    }
    Ok(rows)
}

/// Runs writes in one round trip, in this order, and tells how many rows each wrote. The first error counts.
pub(crate) async fn execute_all(client: &impl GenericClient, writes: &[Bound<'_>]) -> Result<Vec<u64>, Error> {
    let answers = join_all(writes.iter().map(|(statement, parameters)| client.execute(*statement, parameters))).await;
    Ok(answers.into_iter().collect::<Result<_, _>>()?)
}

macro_rules! statements {
    ($($name:ident = $sql:expr;)*) => {
        /// The statements by name.
        #[derive(Debug)]
        pub(crate) struct Prepared {
            $(pub(crate) $name: Statement,)*
        }

        impl Prepared {
            const SQL: &[&str] = &[$($sql),*];

            fn of(statements: Vec<Statement>) -> Option<Self> {
                let mut statements = statements.into_iter();
                Some(Self { $($name: statements.next()?,)* })
            }
        }
    };
}

/// The columns of a row, in the order in which `rows` reads them.
macro_rules! columns {
    (enrollment) => {
        "id, sequence_id, fingerprint, at, state, report::text, rejection::text, completed_at"
    };
    (channel) => {
        "id, version, kind, address, enabled, name"
    };
    (sequence) => {
        "id, version, title, status, settings::text"
    };
    (step) => {
        "sequence_id, id, position, channel_kind, channel_id"
    };
    (custom_object) => {
        "id, version, key, properties::text"
    };
    (call_flow) => {
        "id, version, name"
    };
    (contact) => {
        "id, version, external_id, phone, email, email_key, name, language, default_channel_id, address::text, \
         birth_day, birth_month, birth_year, state, created_at, updated_at"
    };
    (preference) => {
        "contact_id, channel_id, opt_in"
    };
    (conversation) => {
        "id, contact_id, channel_id, status, created_at"
    };
    (run) => {
        "id, sequence_id, contact_id, status, started_at"
    };
    (step_contact) => {
        "id, run_id, sequence_id, step_id, contact_id, status, scheduled_at, channel_id, default_call_flow_id, \
         times_processed, enrollment_id"
    };
    (record) => {
        "contact_id, id, custom_object_id, resource, resource_id, properties::text"
    };
}
#[cfg(feature = "seed")]
pub(crate) use columns;

/// The table and columns of new rows, in the order in which `write::insert` has them.
macro_rules! written {
    (contacts) => {
        "enroll.contacts (organization_id, id, version, external_id, phone, email, email_key, name, language, \
         default_channel_id, address, birth_day, birth_month, birth_year, state, created_at, updated_at)"
    };
    (conversations) => {
        "enroll.conversations (organization_id, id, contact_id, channel_id, status, created_at, one_at_most)"
    };
    (runs) => {
        "enroll.runs (organization_id, id, sequence_id, contact_id, status, started_at)"
    };
    (step_contacts) => {
        "enroll.step_contacts (organization_id, id, run_id, sequence_id, step_id, contact_id, status, scheduled_at, \
         channel_id, default_call_flow_id, times_processed, enrollment_id)"
    };
    (contact_tags) => {
        "enroll.contact_tags (organization_id, contact_id, tag_id)"
    };
    (custom_records) => {
        "enroll.custom_records (organization_id, id, custom_object_id, resource, resource_id, contact_id, properties)"
    };
}

macro_rules! copied {
    ($table:ident) => {
        concat!("copy ", written!($table), " from stdin (format binary)")
    };
}

/// The contacts that hold one of some keys, none of which is blank: so `enroll.held` need not be asked, which costs more
/// than the look-up. `$but` takes some of the keys away.
macro_rules! holders {
    ($what:literal, $held:literal, $keys:literal) => {
        holders!($what, $held, $keys, "")
    };
    ($what:literal, $held:literal, $keys:literal, $but:literal) => {
        concat!(
            "select ",
            $what,
            " from (
                select case when octet_length(key) <= 1024 then key else enroll.digest(key) end as key
                from unnest((select ",
            $keys,
            "::text[])) as key ",
            $but,
            " offset 0
            ) as k
            cross join lateral (select * from enroll.contacts where organization_id = $1 and ",
            $held,
            " = k.key offset 0) as c"
        )
    };
}

/// The rows of several arrays, with the organization. `(select …)` keeps from the planner how many they are: it then looks
/// up what they name one by one, in their order, where it would read all of a table that is not much longer, and write in
/// the order of that.
macro_rules! listed {
    ($columns:literal; $first:literal $(, $array:literal)*) => {
        concat!(
            "(select $1::uuid as organization_id, u.* from unnest((select ",
            $first,
            ")",
            $(", (select ", $array, ")",)*
            ") as u (",
            $columns,
            ") offset 0) as u"
        )
    };
}

/// Locks rows round contacts, in the order of the array.
macro_rules! locked_round {
    ($table:literal) => {
        concat!(
            "select from unnest($2::uuid[]) as k (key) cross join lateral (
                select from enroll.",
            $table,
            " where organization_id = $1 and id = k.key for no key update
            ) as r"
        )
    };
}

/// Rows of a table round contacts, `$and` something, of that part of the table which an index holds.
///
/// `$2` are all contacts. `$3` and `$4` are the first and the last of each stretch of neighbours, whose rows are read in
/// passing, with those of whoever lies between: a tenth of what it costs to look up each. But an index has to pass what
/// stands round them elsewhere too, so first it is tried on a few of them: where from `$5` to `$6` there are `$7` rows or
/// more, all are looked up.
///
/// The planner is kept from knowing how long the lists are and whose: what it would make of a stretch, which it takes for a
/// two hundredth of the organization, it would compile.
macro_rules! round {
    ($columns:expr, $table:literal, $and:literal) => {
        round!($columns, $table, $and, "true")
    };
    ($columns:expr, $table:literal, $and:literal, $part:literal) => {
        concat!(
            "(with few as materialized (
                select count(*) < $7 as stand from (
                    select from enroll.",
            $table,
            " where organization_id = $1 and contact_id between $5 and $6 and ",
            $part,
            " limit $7
                ) as r
            ) select ",
            $columns,
            " from (
                select (select $1::uuid) as organization_id, first, last
                from unnest((select $3::uuid[]), (select $4::uuid[])) as k (first, last)
                where (select stand from few) offset 0
            ) as k cross join lateral (
                select * from enroll.",
            $table,
            " where organization_id = k.organization_id and contact_id between k.first and k.last and ",
            $and,
            " and ",
            $part,
            " offset 0
            ) as r union all select ",
            $columns,
            " from (
                select (select $1::uuid) as organization_id, key
                from unnest((select $2::uuid[])) as key where not (select stand from few) offset 0
            ) as k cross join lateral (
                select * from enroll.",
            $table,
            " where organization_id = k.organization_id and contact_id = k.key and ",
            $and,
            " and ",
            $part,
            " offset 0
            ) as r)"
        )
    };
}

// `offset 0` keeps a sub-query apart, so that lists are always looked up key by key in an index that has the whole key.
// Left to itself, PostgreSQL may read all of an organization instead, where it thinks that organizations are small.
statements! {
    // ReferenceData.
    enrollment = concat!("select ", columns!(enrollment), " from enroll.enrollments
        where organization_id = $1 and id = any($2::uuid[])");
    channels = concat!("select ", columns!(channel), " from enroll.channels where organization_id = $1");
    // With its version before the steps that this covers.
    sequence = concat!("select ", columns!(sequence), " from enroll.sequences where organization_id = $1 and id = $2");
    steps = concat!("select ", columns!(step), " from enroll.steps
        where organization_id = $1 and sequence_id = $2 order by position, id");
    custom_object = concat!("select ", columns!(custom_object), " from enroll.custom_objects
        where organization_id = $1 and id = any($2::uuid[])");
    call_flow = concat!("select ", columns!(call_flow), " from enroll.call_flows
        where organization_id = $1 and id = any($2::uuid[])");

    // People: who holds the keys, then these contacts with their versions, then what stands round them.
    // Whoever was found holds its other keys too, and nobody else does: these are not looked up.
    holders = concat!(
        "with by_external_id as materialized (",
        holders!("id, held_phone, held_email", "held_external_id", "$2"),
        "), by_phone as materialized (",
        holders!("id, held_email", "held_phone", "$3", "except all select held_phone from by_external_id"),
        "), held_email as (
            select held_email from by_external_id union all select held_email from by_phone
        ) select id from by_external_id union all select id from by_phone union all ",
        holders!("id", "held_email", "$4", "except all select held_email from held_email")
    );
    contacts = concat!("select ", columns!(contact), " from (
            select (select $1::uuid) as organization_id, first, last
            from unnest((select $2::uuid[]), (select $3::uuid[])) as k (first, last) offset 0
        ) as k cross join lateral (
            select * from enroll.contacts
            where organization_id = k.organization_id and id between k.first and k.last offset 0
        ) as c");
    preferences = round!(columns!(preference), "communication_preferences", "channel_id = $8");
    // Where each of two indexes holds a part of the rows.
    conversations = concat!(
        round!(columns!(conversation), "conversations", "channel_id = $8", "one_at_most"),
        " union all ",
        round!(columns!(conversation), "conversations", "channel_id = $8", "not one_at_most")
    );
    runs = round!(columns!(run), "runs", "sequence_id = $8");
    step_contacts = concat!(
        round!(columns!(step_contact), "step_contacts", "sequence_id = $8", "status in ('pending', 'active')"),
        " union all ",
        round!(columns!(step_contact), "step_contacts", "sequence_id = $8", "status not in ('pending', 'active')")
    );
    records = round!(columns!(record), "custom_records", "custom_object_id = $8");

    // A commit: the lock, then the guards, each of which holds what it finds until the commit is visible.
    engine_writes = "select pg_catalog.set_config('enroll.engine', 'on', true) where $1::uuid is not null";
    // A copy is refused where rows are secured one by one, and asks no rules. Who cannot have one at all sets
    // `enroll.copy` to `off`.
    may_copy = "select coalesce(pg_catalog.current_setting('enroll.copy', true), '') <> 'off' and count(*) = 6
            and bool_and(relkind in ('r', 'p') and not relhasrules and not pg_catalog.row_security_active(oid))
        from pg_catalog.pg_class
        where relnamespace = pg_catalog.to_regnamespace('enroll') and relname in (
            'contacts', 'conversations', 'runs', 'step_contacts', 'contact_tags', 'custom_records'
        )";
    add_organization = "insert into enroll.organizations (organization_id) values ($1) on conflict do nothing";
    lock_organization = "select from enroll.organizations where organization_id = $1 for update";
    lock_enrollment = "select state from enroll.enrollments
        where organization_id = $1 and id = $2 for no key update";
    lock_sequence = "select id, version from enroll.sequences where organization_id = $1 and id = $2 for share";
    lock_channels = "select id, version, kind from enroll.channels
        where organization_id = $1 and id = any($2::uuid[]) order by id for share";
    lock_custom_object = "select id, version from enroll.custom_objects
        where organization_id = $1 and id = any($2::uuid[]) for share";
    lock_call_flow = "select id, version from enroll.call_flows
        where organization_id = $1 and id = any($2::uuid[]) for share";
    // In the order of the array.
    // RowChanges round contacts before the contacts, as a host's own write of one takes them: the row, then, by its trigger,
    // the contact.
    lock_runs = locked_round!("runs");
    lock_step_contacts = locked_round!("step_contacts");
    lock_records = locked_round!("custom_records");
    lock_contacts = "select c.id, c.version from unnest($2::uuid[]) as k (key) cross join lateral (
            select id, version from enroll.contacts where organization_id = $1 and id = k.key for no key update
        ) as c";
    held_external_ids = holders!("id, external_id", "held_external_id", "$2");
    held_phones = holders!("id, phone", "held_phone", "$2");
    held_emails = holders!("id, email_key", "held_email", "$2");

    // The writes. Keys that updates replace are given up first: another row may claim them.
    insert_enrollment = "insert into enroll.enrollments
        (organization_id, id, sequence_id, fingerprint, at, state, report, rejection, completed_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    finish_enrollment = "update enroll.enrollments set
            sequence_id = $3, fingerprint = $4, at = $5, state = $6, report = $7,
            rejection = $8, completed_at = $9, command = null, due_at = null, error = null
        where organization_id = $1 and id = $2 and state = 'accepted'";
    release_keys = concat!("update enroll.contacts c set
            external_id = case when u.external_id <> c.external_id then null else c.external_id end,
            phone = case when u.phone <> c.phone then null else c.phone end,
            email = case when u.email_key <> c.email_key then null else c.email end,
            email_key = case when u.email_key <> c.email_key then null else c.email_key end
        from ", listed!("id, external_id, phone, email_key"; "$2::uuid[]", "$3::text[]", "$4::text[]", "$5::text[]"), "
        where c.organization_id = u.organization_id and c.id = u.id
            and (u.external_id <> c.external_id or u.phone <> c.phone or u.email_key <> c.email_key)");
    // Most are only raised, which takes two arrays and not fourteen.
    raise_contacts = concat!("update enroll.contacts c set version = c.version + 1
        from ", listed!("id, expected"; "$2::uuid[]", "$3::bigint[]"), "
        where c.organization_id = u.organization_id and c.id = u.id and c.version = u.expected");
    update_contacts = concat!("update enroll.contacts c set
            version = c.version + 1,
            external_id = coalesce(u.external_id, c.external_id),
            phone = coalesce(u.phone, c.phone),
            email = coalesce(u.email, c.email),
            email_key = coalesce(u.email_key, c.email_key),
            name = coalesce(u.name, c.name),
            language = coalesce(u.language, c.language),
            default_channel_id = coalesce(u.default_channel_id, c.default_channel_id),
            address = coalesce(u.address, c.address),
            birth_day = case when u.born then u.birth_day else c.birth_day end,
            birth_month = case when u.born then u.birth_month else c.birth_month end,
            birth_year = case when u.born then u.birth_year else c.birth_year end,
            updated_at = $2::timestamptz
        from ", listed!(
            "id, expected, external_id, phone, email, email_key, name, \
             language, default_channel_id, address, birth_day, birth_month, birth_year, born";
            "$3::uuid[]", "$4::bigint[]", "$5::text[]", "$6::text[]", "$7::text[]", "$8::text[]",
            "$9::text[]", "$10::text[]", "$11::uuid[]", "$12::json[]", "$13::smallint[]", "$14::smallint[]",
            "$15::integer[]", "$16::boolean[]"
        ), "
        where c.organization_id = u.organization_id and c.id = u.id and c.version = u.expected");
    reactivate_runs = concat!("update enroll.runs r set status = 'active'
        from ", listed!("id, contact_id"; "$2::uuid[]", "$3::uuid[]"), "
        where r.organization_id = u.organization_id and r.id = u.id and r.contact_id = u.contact_id");
    // Run twice: those that are not live afterwards make room for those that are.
    update_step_contacts = concat!("update enroll.step_contacts s set
            status = u.status,
            scheduled_at = u.scheduled_at,
            enrollment_id = u.enrollment_id,
            times_processed = u.times_processed,
            channel_id = coalesce(u.channel_id, s.channel_id),
            default_call_flow_id = coalesce(u.default_call_flow_id, s.default_call_flow_id)
        from ", listed!(
            "id, contact_id, status, scheduled_at, \
             enrollment_id, times_processed, channel_id, default_call_flow_id";
            "$2::uuid[]", "$3::uuid[]", "$4::text[]", "$5::timestamptz[]", "$6::uuid[]", "$7::bigint[]",
            "$8::uuid[]", "$9::uuid[]"
        ), "
        where s.organization_id = u.organization_id and s.id = u.id and s.contact_id = u.contact_id");
    update_records = concat!("update enroll.custom_records r set properties = u.properties
        from ", listed!("id, contact_id, properties"; "$2::uuid[]", "$3::uuid[]", "$4::json[]"), "
        where r.organization_id = u.organization_id and r.id = u.id and r.contact_id = u.contact_id");
    insert_contacts = concat!("insert into ", written!(contacts), " select $1, u.* from unnest(
            $2::uuid[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
            $10::uuid[], $11::json[], $12::smallint[], $13::smallint[], $14::integer[], $15::text[],
            $16::timestamptz[], $17::timestamptz[]
        ) as u");
    copy_contacts = copied!(contacts);
    insert_conversations = concat!("insert into ", written!(conversations), " select $1, u.* from unnest(
            $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::timestamptz[], $7::boolean[]
        ) as u");
    copy_conversations = copied!(conversations);
    insert_runs = concat!("insert into ", written!(runs), " select $1, u.* from unnest(
            $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::timestamptz[]
        ) as u");
    copy_runs = copied!(runs);
    insert_step_contacts = concat!("insert into ", written!(step_contacts), " select $1, u.* from unnest(
            $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::uuid[], $7::text[], $8::timestamptz[],
            $9::uuid[], $10::uuid[], $11::bigint[], $12::uuid[]
        ) as u");
    copy_step_contacts = copied!(step_contacts);
    insert_tags = "insert into enroll.tags (organization_id, id, name, system_created)
        select $1, u.* from unnest($2::uuid[], $3::text[], $4::boolean[]) as u";
    insert_contact_tags = concat!("insert into ", written!(contact_tags), "
        select $1, u.* from unnest($2::uuid[], $3::uuid[]) as u");
    copy_contact_tags = copied!(contact_tags);
    insert_records = concat!("insert into ", written!(custom_records), " select $1, u.* from unnest(
            $2::uuid[], $3::uuid[], $4::text[], $5::uuid[], $6::uuid[], $7::json[]
        ) as u");
    copy_records = copied!(custom_records);
    engine_wrote = "select pg_catalog.set_config('enroll.engine', 'off', true) where $1::uuid is not null";

    // The inbox.
    insert_accepted = "insert into enroll.enrollments
        (organization_id, id, sequence_id, fingerprint, at, state, command, due_at)
        values ($1, $2, $3, $4, $5, 'accepted', $6, 'epoch')
        on conflict (organization_id, id) do nothing returning id";
    find = concat!("select ", columns!(enrollment), ", command::text, attempts, error from enroll.enrollments
        where organization_id = $1 and id = $2");
    // A worker is of all organizations: from one that has something waiting to the next, each one's oldest that is due,
    // and of these the oldest. So it costs the organizations, and not what waits. What another claims now, or finishes,
    // is left to it.
    claim = "with recursive waiting (organization_id) as (
            (select organization_id from enroll.enrollments
                where state = 'accepted' order by organization_id limit 1)
            union all
            select (select e.organization_id from enroll.enrollments e
                where e.state = 'accepted' and e.organization_id > w.organization_id
                order by e.organization_id limit 1)
            from waiting w where w.organization_id is not null
        ), first as materialized (
            select w.organization_id from waiting w cross join lateral (
                select e.at, e.id from enroll.enrollments e
                where e.organization_id = w.organization_id and e.state = 'accepted' and e.due_at <= $1
                order by e.at, e.id limit 1
            ) as e
            order by e.at, e.id, w.organization_id limit 1
        ), oldest as materialized (
            select e.organization_id, e.id from enroll.enrollments e
            where e.organization_id = (select organization_id from first) and e.state = 'accepted' and e.due_at <= $1
            order by e.at, e.id limit 1 for update skip locked
        )
        update enroll.enrollments e set attempts = e.attempts + 1, due_at = $2
        from oldest where e.organization_id = oldest.organization_id and e.id = oldest.id
        returning e.organization_id, e.id, e.attempts";
    record_failure = "update enroll.enrollments set
            error = $4, due_at = $5, state = case when $5::timestamptz is null then 'failed' else 'accepted' end
        where organization_id = $1 and id = $2 and state = 'accepted' and attempts = $3
            and due_at = $6";
    release = "update enroll.enrollments set attempts = greatest(attempts - 1, 0), due_at = $4
        where organization_id = $1 and id = $2 and state = 'accepted' and attempts = $3
            and due_at = $5";
    retry = "update enroll.enrollments set state = 'accepted', attempts = 0, due_at = $3
        where organization_id = $1 and id = $2 and state = 'failed'";
}

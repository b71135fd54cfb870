-- Every primary key and unique constraint begins with organization_id, and only a worker's claim and the retention read
-- several organizations. So the tables can be distributed by organization_id. Tables that grow with the contacts have no foreign
-- keys, which would slow down each insert of the engine. Triggers below check the same rules.

-- A digest of a key that is too long for an index entry. It is longer than any key that is indexed as given, so that the two
-- never collide.
create function enroll.digest(key text) returns text
    language sql immutable parallel safe
    return rpad(encode(sha256(convert_to(key, 'UTF8')), 'hex'), 1025, '=');

-- The indexed form of a key: null if the key is blank (Unicode white space), the digest if it is too long.
create function enroll.held(key text) returns text
    language sql immutable parallel safe
    return case
        when btrim(key, U&'\0009\000A\000B\000C\000D\0020\0085\00A0\1680\2000\2001\2002\2003\2004\2005\2006\2007\2008\2009\200A\2028\2029\202F\205F\3000') = '' then null
        when octet_length(key) <= 1024 then key
        else enroll.digest(key)
    end;

-- A commit locks the organization's row, so that one commit per organization runs at a time.
create table enroll.organizations (
    organization_id uuid primary key,
    name text not null default ''
);

create table enroll.channels (
    organization_id uuid not null references enroll.organizations on delete cascade,
    id uuid not null,
    kind text not null check (kind in ('phone', 'whatsapp', 'fax', 'email')),
    address text not null,
    enabled boolean not null default true,
    name text,
    version bigint not null default (extract(epoch from clock_timestamp()) * 1000000)::bigint check (version >= 1),
    primary key (organization_id, id)
);

create table enroll.call_flows (
    organization_id uuid not null references enroll.organizations on delete cascade,
    id uuid not null,
    name text not null default '',
    version bigint not null default (extract(epoch from clock_timestamp()) * 1000000)::bigint check (version >= 1),
    primary key (organization_id, id)
);

-- `json` keeps the digits of a number as written. `jsonb` does not.
create table enroll.custom_objects (
    organization_id uuid not null references enroll.organizations on delete cascade,
    id uuid not null,
    key text not null,
    properties json not null default '[]',
    version bigint not null default (extract(epoch from clock_timestamp()) * 1000000)::bigint check (version >= 1),
    primary key (organization_id, id)
);

create table enroll.sequences (
    organization_id uuid not null references enroll.organizations on delete cascade,
    id uuid not null,
    title text collate "C" not null default '',
    status text not null check (status in ('draft', 'active', 'archived')),
    settings json not null default '{}',
    version bigint not null default (extract(epoch from clock_timestamp()) * 1000000)::bigint check (version >= 1),
    primary key (organization_id, id)
);

create index sequences_listed on enroll.sequences (organization_id, substr(title, 1, 255), id);

create table enroll.steps (
    organization_id uuid not null,
    sequence_id uuid not null,
    id uuid not null,
    position bigint not null,
    channel_kind text not null check (channel_kind in ('phone', 'whatsapp', 'fax', 'email')),
    channel_id uuid,
    primary key (organization_id, sequence_id, id),
    foreign key (organization_id, sequence_id) references enroll.sequences on delete cascade
);

create table enroll.tags (
    organization_id uuid not null references enroll.organizations on delete cascade,
    id uuid not null,
    name text not null,
    system_created boolean not null default false,
    primary key (organization_id, id)
);

-- No foreign key: with one, an acceptance would wait for a commit that has locked the organization's row.
create table enroll.enrollments (
    organization_id uuid not null,
    id uuid not null,
    sequence_id uuid not null,
    fingerprint bytea not null check (octet_length(fingerprint) = 32),
    at timestamptz not null,
    state text not null check (state in ('accepted', 'completed', 'rejected', 'failed')),
    -- The accepted command, until the enrollment has ended.
    command json,
    -- The report without its outcomes, and its counts.
    report json,
    added bigint,
    re_added bigint,
    reprocessed bigint,
    ignored bigint,
    duplicate bigint,
    contacts_created bigint,
    conversations_created bigint,
    rejection json,
    completed_at timestamptz,
    attempts bigint not null default 0 check (attempts >= 0),
    error text,
    -- The time from which it can be claimed: immediately, after a back-off, or at the end of a lease.
    due_at timestamptz,
    -- The number of the latest lease, and the number of leases in a row without an answer.
    lease bigint not null default 0 check (lease >= 0),
    unanswered bigint not null default 0 check (unanswered >= 0),
    failed_at timestamptz,
    -- When the command (of a failed enrollment) or the outcomes (of a completed one) were removed because they were too old.
    removed_at timestamptz,
    -- The number of recipients that were erased from the command.
    erased_recipients bigint not null default 0 check (erased_recipients >= 0),
    primary key (organization_id, id),
    constraint enrollments_command check (
        (command is not null) = (state = 'accepted' or (state = 'failed' and removed_at is null))
    ),
    constraint enrollments_removed_at check (removed_at is null or state in ('completed', 'failed')),
    constraint enrollments_report check ((report is not null) = (state = 'completed')),
    constraint enrollments_counts check (
        num_nulls(added, re_added, reprocessed, ignored, duplicate, contacts_created, conversations_created)
            = case when state = 'completed' then 0 else 7 end
    ),
    constraint enrollments_rejection check ((rejection is not null) = (state = 'rejected')),
    constraint enrollments_completed_at check ((completed_at is not null) = (state in ('completed', 'rejected'))),
    constraint enrollments_due_at check ((due_at is not null) = (state = 'accepted')),
    constraint enrollments_error check (error is not null or state <> 'failed'),
    constraint enrollments_failed_at check ((failed_at is not null) = (state = 'failed'))
);

-- The outcomes of a completed enrollment, in chunks. `counts` has the number of outcomes with each disposition and list of
-- reasons, so that a filter reads only the chunks that it needs.
create table enroll.enrollment_outcomes (
    organization_id uuid not null,
    enrollment_id uuid not null,
    first_index bigint not null,
    last_index bigint not null,
    counts json not null,
    outcomes json not null,
    primary key (organization_id, enrollment_id, first_index)
);

-- These columns are large. lz4 halves the time to store them, but not every server supports it.
do $$ begin
    alter table enroll.enrollments alter column command set compression lz4;
    alter table enroll.enrollment_outcomes alter column outcomes set compression lz4;
exception when feature_not_supported or syntax_error then null;
end $$;

-- Contains only waiting enrollments.
create index enrollments_waiting on enroll.enrollments (organization_id, at, id, due_at) where state = 'accepted';
create index enrollments_failed on enroll.enrollments (organization_id, id) where state = 'failed';
-- The retention of all organizations, oldest first.
create index enrollments_failed_at on enroll.enrollments (failed_at) where state = 'failed' and removed_at is null;
create index enrollments_completed_at on enroll.enrollments (completed_at)
    where state = 'completed' and removed_at is null;
-- A page of the list merges the rows of its states.
create index enrollments_listed on enroll.enrollments (organization_id, state, at, id);

-- What happened to enrollments. A trigger writes a row in the transaction that gives an enrollment another state, with any driver.
-- The trigger is disabled until `enroll.enable_events` enables it. A row has no personal data.
--
-- An insert assigns no position: transactions commit in another order than they insert, and a reader that has seen a later
-- position would miss an earlier one. `enroll.events_after` assigns the positions of committed events, under a lock.
create table enroll.events (
    organization_id uuid not null,
    id uuid not null default gen_random_uuid(),
    -- The place in the log. Null until a reader has seen the event.
    position bigint,
    -- The order of the inserts.
    number bigint generated by default as identity,
    kind text not null check (kind in ('accepted', 'completed', 'rejected', 'failed')),
    enrollment_id uuid not null,
    sequence_id uuid not null,
    at timestamptz(3) not null default clock_timestamp(),
    -- The counts of a completed enrollment.
    added bigint,
    re_added bigint,
    reprocessed bigint,
    ignored bigint,
    duplicate bigint,
    contacts_created bigint,
    conversations_created bigint,
    -- The codes of the faults of a rejected enrollment.
    codes text[],
    primary key (organization_id, id)
);
create index events_position on enroll.events (position) where position is not null;
create index events_without_position on enroll.events (number) where position is null;
-- The removal of old events of all organizations.
create index events_at on enroll.events (at, number);

-- The last position that was assigned. Its lock lets one reader assign positions at a time.
create table enroll.event_log (
    one boolean primary key default true check (one),
    last_position bigint not null default 0
);
insert into enroll.event_log default values;

create function enroll.write_event() returns trigger
    language plpgsql set search_path = '' as $$
begin
    insert into enroll.events (
        organization_id, kind, enrollment_id, sequence_id,
        added, re_added, reprocessed, ignored, duplicate, contacts_created, conversations_created, codes
    ) values (
        new.organization_id, new.state, new.id, new.sequence_id,
        new.added, new.re_added, new.reprocessed, new.ignored, new.duplicate, new.contacts_created,
        new.conversations_created,
        case when new.state = 'rejected' then array(
            select f.fault ->> 'code'
            from pg_catalog.json_array_elements(new.rejection -> 'errors') with ordinality as f (fault, place)
            where f.fault ->> 'code' is not null order by f.place
        ) end
    );
    return null;
end $$;

create trigger write_event after insert on enroll.enrollments
    for each row execute function enroll.write_event();
create trigger write_event_of_change after update of state on enroll.enrollments
    for each row when (old.state is distinct from new.state) execute function enroll.write_event();
alter table enroll.enrollments disable trigger write_event;
alter table enroll.enrollments disable trigger write_event_of_change;

create function enroll.events_enabled() returns boolean
    language sql stable set search_path = '' as $$
    select exists (
        select from pg_catalog.pg_trigger t
        where t.tgrelid = 'enroll.enrollments'::pg_catalog.regclass and t.tgname = 'write_event' and t.tgenabled <> 'D'
    )
$$;

-- Turns events on or off, for all writers. Only the owner of the table can change it.
create function enroll.enable_events(enabled boolean) returns void
    language plpgsql set search_path = '' as $$
begin
    if enabled and not enroll.events_enabled() then
        alter table enroll.enrollments enable trigger write_event;
        alter table enroll.enrollments enable trigger write_event_of_change;
    elsif not enabled and enroll.events_enabled() then
        alter table enroll.enrollments disable trigger write_event;
        alter table enroll.enrollments disable trigger write_event_of_change;
    end if;
end $$;

-- Returns the events behind a position, in order. If there are not enough, committed events without a position get the next
-- ones, in the order of their inserts. The lock of the log ends with the transaction, so the next reader sees these positions
-- before it assigns others. At isolation levels other than READ COMMITTED, PostgreSQL refuses a second assignment. An empty table has no
-- statistics, so the function never scans it.
create function enroll.events_after(after bigint, max_events bigint) returns setof enroll.events
    language plpgsql set search_path = '' set enable_seqscan = off as $$
declare
    found_events bigint;
    last bigint;
    assigned bigint;
begin
    select pg_catalog.count(*) into found_events from (
        select from enroll.events e where e.position > after order by e.position limit max_events
    ) f;
    if found_events < max_events and exists (select from enroll.events e where e.position is null) then
        select l.last_position into strict last from enroll.event_log l for update;
        -- Waits for a deletion that can still be rolled back: an event must not get a later position than a newer one.
        with new_events as (
            select n.organization_id, n.id, pg_catalog.row_number() over (order by n.number) as place from (
                select e.organization_id, e.id, e.number from enroll.events e
                where e.position is null order by e.number limit max_events for update
            ) n
        )
        update enroll.events e set position = last + n.place from new_events n
            where e.organization_id = n.organization_id and e.id = n.id;
        get diagnostics assigned = row_count;
        update enroll.event_log l set last_position = last + assigned;
    end if;
    return query select * from enroll.events e where e.position > after order by e.position limit max_events;
end $$;

-- The turns of the organizations: one row for each that has accepted an enrollment. A claim selects an organization here,
-- then an enrollment of it. No foreign key: with one, an acceptance would wait for a commit of its organization.
create table enroll.queues (
    organization_id uuid primary key,
    -- Not later than `due_at` of each accepted enrollment. Null if no enrollment waits.
    due_at timestamptz,
    -- The number of the last claim.
    turn bigint not null default 0,
    -- The enrollment that a worker processes, and the end of its lease.
    leased_id uuid,
    lease_end timestamptz,
    constraint queues_lease check ((leased_id is null) = (lease_end is null))
);
create index queues_turn on enroll.queues (turn) where due_at is not null;
create sequence enroll.turns;

-- Half of each page is left free, here and for step contacts. A new row version then fits on the same page, and no index
-- changes.
create table enroll.contacts (
    organization_id uuid not null,
    id uuid not null,
    external_id text collate "C",
    phone text collate "C",
    email text collate "C",
    email_key text collate "C",
    name text collate "C",
    first_name text,
    last_name text,
    language text,
    default_channel_id uuid,
    address json,
    birth_day smallint,
    birth_month smallint,
    birth_year integer,
    state text not null default 'open' check (state in ('open', 'archived', 'blocked', 'merged')),
    created_at timestamptz,
    updated_at timestamptz,
    version bigint not null default (extract(epoch from clock_timestamp()) * 1000000)::bigint check (version >= 1),
    -- A key that begins with a visible ASCII character is not blank. This check costs less than a call of `enroll.held`, which
    -- would run for all three keys in each insert or update of a contact.
    held_external_id text collate "C" generated always as (case
        when state = 'merged' or external_id is null then null
        when external_id >= '!' and external_id < U&'\007F' and octet_length(external_id) <= 1024 then external_id
        else enroll.held(external_id)
    end) stored,
    held_phone text collate "C" generated always as (case
        when state = 'merged' or phone is null then null
        when phone >= '!' and phone < U&'\007F' and octet_length(phone) <= 1024 then phone
        else enroll.held(phone)
    end) stored,
    held_email text collate "C" generated always as (case
        when state = 'merged' or email_key is null then null
        when email_key >= '!' and email_key < U&'\007F' and octet_length(email_key) <= 1024 then email_key
        else enroll.held(email_key)
    end) stored,
    primary key (organization_id, id),
    constraint contacts_email_with_key check ((email is null) = (email_key is null)),
    constraint contacts_held_external_id unique (organization_id, held_external_id),
    constraint contacts_held_phone unique (organization_id, held_phone),
    constraint contacts_held_email unique (organization_id, held_email)
) with (fillfactor = 50);

-- The order of the list: by name, then id. An index entry has no room for a name of any length.
create index contacts_listed on enroll.contacts (organization_id, substr(name, 1, 255), id);

create table enroll.communication_preferences (
    organization_id uuid not null,
    contact_id uuid not null,
    channel_id uuid not null,
    opt_in boolean not null,
    primary key (organization_id, contact_id, channel_id)
);

create table enroll.conversations (
    organization_id uuid not null,
    id uuid not null,
    contact_id uuid not null,
    channel_id uuid not null,
    status text not null check (status in ('automated', 'open', 'closed', 'spam')),
    created_at timestamptz,
    -- True if the contact can have only one conversation on the channel: for all kinds except email.
    one_at_most boolean not null default true,
    primary key (organization_id, id)
);

-- Two partial indexes: an insert adds an entry to one of them. A unique index and an index over all rows would need two.
create unique index conversations_one_at_most
    on enroll.conversations (organization_id, contact_id, channel_id) where one_at_most;
create index conversations_of_contact
    on enroll.conversations (organization_id, contact_id, channel_id) where not one_at_most;

create table enroll.runs (
    organization_id uuid not null,
    id uuid not null,
    sequence_id uuid not null,
    contact_id uuid not null,
    status text not null check (status in ('active', 'finished')),
    -- Cursors of lists have whole milliseconds.
    started_at timestamptz(3) not null,
    primary key (organization_id, id)
);

create index runs_of_contact on enroll.runs (organization_id, contact_id, sequence_id);
-- A page of a list merges the rows of its statuses, each in the order of one of these indexes: for one sequence, or for all.
-- The status comes before the sequence: otherwise PostgreSQL would read all runs of a sequence to find those of a contact in it.
create index runs_of_sequence on enroll.runs (organization_id, status, sequence_id, started_at, id);
create index runs_listed on enroll.runs (organization_id, status, started_at, id);

create table enroll.step_contacts (
    organization_id uuid not null,
    id uuid not null,
    run_id uuid not null,
    sequence_id uuid not null,
    step_id uuid not null,
    contact_id uuid not null,
    status text not null check (status in ('pending', 'active', 'inactive', 'moved', 'finished')),
    scheduled_at timestamptz not null,
    channel_id uuid,
    default_call_flow_id uuid,
    times_processed bigint not null default 1 check (times_processed >= 0),
    enrollment_id uuid,
    primary key (organization_id, id)
) with (fillfactor = 50);

create unique index step_contacts_live
    on enroll.step_contacts (organization_id, contact_id, sequence_id) where status in ('pending', 'active');
create index step_contacts_of_contact
    on enroll.step_contacts (organization_id, contact_id, sequence_id) where status not in ('pending', 'active');

-- A page of a sequence's list merges the rows of its statuses, each in the order of this index.
create index step_contacts_listed on enroll.step_contacts (organization_id, sequence_id, status, id);

create table enroll.contact_tags (
    organization_id uuid not null,
    contact_id uuid not null,
    tag_id uuid not null,
    primary key (organization_id, contact_id, tag_id)
);

create table enroll.custom_records (
    organization_id uuid not null,
    id uuid not null,
    custom_object_id uuid not null,
    resource text not null check (resource in ('contact', 'step_contact')),
    resource_id uuid not null,
    -- The contact of the record, or of its step contact. A trigger derives it if an insert omits it.
    contact_id uuid not null,
    properties json not null default '{}',
    primary key (organization_id, id),
    constraint custom_records_resource unique (organization_id, custom_object_id, resource, resource_id)
);

create index custom_records_of_contact on enroll.custom_records (organization_id, contact_id, custom_object_id);

-- The number of rows of each list, so that a page reads its total instead of counting. `list` is `contacts`, `enrollments`,
-- `runs` or `step_contacts`. Contacts are counted together, with an empty status. An id that a list does not need is nil.
-- A key can have several rows, and their sum counts: a transaction inserts its differences, and updates no row of another
-- one. So no writer waits for another. The trigger below merges rows.
create table enroll.counts (
    organization_id uuid not null,
    list text not null,
    sequence_id uuid not null default '00000000-0000-0000-0000-000000000000',
    step_id uuid not null default '00000000-0000-0000-0000-000000000000',
    status text not null default '',
    id bigint generated by default as identity,
    entries bigint not null,
    primary key (organization_id, list, sequence_id, step_id, status, id)
);

-- If most organizations have one or two rows, PostgreSQL estimates that any index on the organization is as good as the
-- index on the whole key. It would then read all rows of a large organization for each key. This setting makes it expect
-- a hundredth of the table per organization.
alter table enroll.contacts alter column organization_id set (n_distinct = 100);
alter table enroll.communication_preferences alter column organization_id set (n_distinct = 100);
alter table enroll.conversations alter column organization_id set (n_distinct = 100);
alter table enroll.runs alter column organization_id set (n_distinct = 100);
alter table enroll.step_contacts alter column organization_id set (n_distinct = 100);
alter table enroll.contact_tags alter column organization_id set (n_distinct = 100);
alter table enroll.custom_records alter column organization_id set (n_distinct = 100);
alter table enroll.enrollment_outcomes alter column organization_id set (n_distinct = 100);
alter table enroll.enrollments alter column organization_id set (n_distinct = 100);

-- Triggers for a host's own writes. The engine raises versions and counts rows itself: it sets `enroll.engine` during its
-- commit, and then no trigger function runs. All triggers are for each row: a distributed table has no others. Each of their
-- statements concerns one organization.

-- Raises the version of an updated row.
create function enroll.raise_own_version() returns trigger
    language plpgsql set search_path = '' as $$
begin
    new.version := old.version + 1;
    return new;
end $$;

create trigger raise_own_version before update on enroll.channels
    for each row when (new.version <= old.version) execute function enroll.raise_own_version();
create trigger raise_own_version before update on enroll.call_flows
    for each row when (new.version <= old.version) execute function enroll.raise_own_version();
create trigger raise_own_version before update on enroll.custom_objects
    for each row when (new.version <= old.version) execute function enroll.raise_own_version();
create trigger raise_own_version before update on enroll.sequences
    for each row when (new.version <= old.version) execute function enroll.raise_own_version();
create trigger raise_own_version before update on enroll.contacts
    for each row
    when (new.version <= old.version and pg_catalog.current_setting('enroll.engine', true) is distinct from 'on')
    execute function enroll.raise_own_version();

-- A write of a key waits for a commit that depends on the key being unclaimed: it locks the organization's row too.
create function enroll.share_organization() returns trigger
    language plpgsql set search_path = '' as $$
begin
    perform from enroll.organizations where organization_id = new.organization_id for key share;
    if not found then
        raise foreign_key_violation using
            message = pg_catalog.format('there is no organization %s: insert it first', new.organization_id),
            schema = 'enroll', table = tg_table_name, constraint = 'contacts_organization_id';
    end if;
    return new;
end $$;

create trigger share_organization before insert on enroll.contacts
    for each row when (pg_catalog.current_setting('enroll.engine', true) is distinct from 'on')
    execute function enroll.share_organization();
create trigger share_organization_of_key before update on enroll.contacts
    for each row
    when (
        (old.organization_id, old.external_id, old.phone, old.email_key, old.state)
            is distinct from (new.organization_id, new.external_id, new.phone, new.email_key, new.state)
        and pg_catalog.current_setting('enroll.engine', true) is distinct from 'on'
    )
    execute function enroll.share_organization();

-- Checks that the contact of a related row exists, and raises its version. If the row moved, it also raises the version of
-- the previous contact.
create function enroll.raise_contact() returns trigger
    language plpgsql set search_path = '' as $$
begin
    if tg_op <> 'DELETE' then
        update enroll.contacts c set version = c.version + 1
            where c.organization_id = new.organization_id and c.id = new.contact_id;
        if not found then
            raise foreign_key_violation using
                message = 'a row belongs to a contact that does not exist: insert the contact first',
                schema = 'enroll', table = tg_table_name, constraint = tg_table_name || '_contact_id';
        end if;
    end if;
    if tg_op = 'DELETE'
        or (tg_op = 'UPDATE' and (old.organization_id, old.contact_id) is distinct from (new.organization_id, new.contact_id))
    then
        update enroll.contacts c set version = c.version + 1
            where c.organization_id = old.organization_id and c.id = old.contact_id;
    end if;
    return null;
end $$;

create trigger raise_contact after insert or update or delete on enroll.communication_preferences
    for each row when (pg_catalog.current_setting('enroll.engine', true) is distinct from 'on')
    execute function enroll.raise_contact();
create trigger raise_contact after insert or update or delete on enroll.conversations
    for each row when (pg_catalog.current_setting('enroll.engine', true) is distinct from 'on')
    execute function enroll.raise_contact();
create trigger raise_contact after insert or update or delete on enroll.runs
    for each row when (pg_catalog.current_setting('enroll.engine', true) is distinct from 'on')
    execute function enroll.raise_contact();
create trigger raise_contact after insert or update or delete on enroll.step_contacts
    for each row when (pg_catalog.current_setting('enroll.engine', true) is distinct from 'on')
    execute function enroll.raise_contact();
create trigger raise_contact after insert or update or delete on enroll.contact_tags
    for each row when (pg_catalog.current_setting('enroll.engine', true) is distinct from 'on')
    execute function enroll.raise_contact();
create trigger raise_contact after insert or update or delete on enroll.custom_records
    for each row when (pg_catalog.current_setting('enroll.engine', true) is distinct from 'on')
    execute function enroll.raise_contact();

-- Raises the version of the sequence when a step changes.
create function enroll.raise_sequence() returns trigger
    language plpgsql set search_path = '' as $$
begin
    if tg_op <> 'DELETE' then
        update enroll.sequences s set version = s.version + 1
            where s.organization_id = new.organization_id and s.id = new.sequence_id;
    end if;
    if tg_op = 'DELETE'
        or (tg_op = 'UPDATE' and (old.organization_id, old.sequence_id) is distinct from (new.organization_id, new.sequence_id))
    then
        update enroll.sequences s set version = s.version + 1
            where s.organization_id = old.organization_id and s.id = old.sequence_id;
    end if;
    return null;
end $$;

create trigger raise_sequence after insert or update or delete on enroll.steps
    for each row execute function enroll.raise_sequence();

-- Checks that the tag of a contact exists.
create function enroll.require_tag() returns trigger
    language plpgsql set search_path = '' as $$
begin
    perform from enroll.tags t
        where t.organization_id = new.organization_id and t.id = new.tag_id for key share;
    if not found then
        raise foreign_key_violation using
            message = 'the tag of a contact does not exist: insert the tag first',
            schema = 'enroll', table = tg_table_name, constraint = 'contact_tags_tag_id';
    end if;
    return null;
end $$;

create trigger require_tag after insert or update on enroll.contact_tags
    for each row when (pg_catalog.current_setting('enroll.engine', true) is distinct from 'on')
    execute function enroll.require_tag();

-- Merges rows of the same key, at most 1000. It passes over rows that another transaction has locked or not committed.
--
-- A setting of the transaction keeps the key and the id of the last merged row. Otherwise each merge of a bulk write would scan
-- all rows that the merges before it have deleted. There are 64 settings, so that a session does not keep one for each key. In a
-- new table without statistics, PostgreSQL would read the whole table, so only the primary key is left to it.
create function enroll.merge_counts() returns trigger
    language plpgsql set search_path = '' set enable_seqscan = off set enable_bitmapscan = off set enable_sort = off as $$
declare
    key text := pg_catalog.concat_ws('/', new.organization_id, new.list, new.sequence_id, new.step_id, new.status);
    setting text := 'enroll.merged_' || (pg_catalog.hashtext(key) & 63);
    last text := pg_catalog.current_setting(setting, true);
    last_id bigint := 0;
    ids bigint[];
    total bigint;
begin
    -- Any other level would fail on a row that another transaction has merged.
    if pg_catalog.current_setting('transaction_isolation') <> 'read committed' then
        return null;
    end if;
    if pg_catalog.split_part(last, ' ', 1) = key then
        last_id := pg_catalog.split_part(last, ' ', 2)::bigint;
    end if;
    select pg_catalog.array_agg(f.id), pg_catalog.sum(f.entries) into ids, total from (
        select c.id, c.entries from enroll.counts c
        where c.organization_id = new.organization_id and c.list = new.list and c.sequence_id = new.sequence_id
            and c.step_id = new.step_id and c.status = new.status and c.id >= last_id
        order by c.id desc limit 1000 for update skip locked
    ) as f;
    if pg_catalog.cardinality(ids) < 2 then
        return null;
    end if;
    delete from enroll.counts c
        where c.organization_id = new.organization_id and c.list = new.list and c.sequence_id = new.sequence_id
            and c.step_id = new.step_id and c.status = new.status
            and c.id >= ids[pg_catalog.cardinality(ids)] and c.id = any (ids);
    last_id := new.id;
    if total <> 0 then
        insert into enroll.counts (organization_id, list, sequence_id, step_id, status, entries)
            values (new.organization_id, new.list, new.sequence_id, new.step_id, new.status, total)
            returning id into last_id;
    end if;
    perform pg_catalog.set_config(setting, key || ' ' || last_id, true);
    return null;
end $$;

-- The hash selects rows as if at random, so that each key is merged, also if rows of several keys take turns.
create trigger merge_counts after insert on enroll.counts
    for each row when ((pg_catalog.hashint8(new.id) & 31) = 0) execute function enroll.merge_counts();

-- Count rows of the host.
create function enroll.count_contact() returns trigger
    language plpgsql set search_path = '' as $$
begin
    if tg_op <> 'DELETE' then
        insert into enroll.counts (organization_id, list, entries)
            values (new.organization_id, 'contacts', 1);
    end if;
    if tg_op <> 'INSERT' then
        insert into enroll.counts (organization_id, list, entries)
            values (old.organization_id, 'contacts', -1);
    end if;
    return null;
end $$;

create trigger count_rows after insert or delete on enroll.contacts
    for each row when (pg_catalog.current_setting('enroll.engine', true) is distinct from 'on')
    execute function enroll.count_contact();
create function enroll.count_run() returns trigger
    language plpgsql set search_path = '' as $$
begin
    if tg_op <> 'DELETE' then
        insert into enroll.counts (organization_id, list, sequence_id, status, entries)
            values (new.organization_id, 'runs', new.sequence_id, new.status, 1);
    end if;
    if tg_op <> 'INSERT' then
        insert into enroll.counts (organization_id, list, sequence_id, status, entries)
            values (old.organization_id, 'runs', old.sequence_id, old.status, -1);
    end if;
    return null;
end $$;

create trigger count_rows after insert or delete on enroll.runs
    for each row when (pg_catalog.current_setting('enroll.engine', true) is distinct from 'on')
    execute function enroll.count_run();
create trigger count_updated after update on enroll.runs
    for each row
    when (
        (old.organization_id, old.sequence_id, old.status) is distinct from (new.organization_id, new.sequence_id, new.status)
        and pg_catalog.current_setting('enroll.engine', true) is distinct from 'on'
    )
    execute function enroll.count_run();

create function enroll.count_step_contact() returns trigger
    language plpgsql set search_path = '' as $$
begin
    if tg_op <> 'DELETE' then
        insert into enroll.counts (organization_id, list, sequence_id, step_id, status, entries)
            values (new.organization_id, 'step_contacts', new.sequence_id, new.step_id, new.status, 1);
    end if;
    if tg_op <> 'INSERT' then
        insert into enroll.counts (organization_id, list, sequence_id, step_id, status, entries)
            values (old.organization_id, 'step_contacts', old.sequence_id, old.step_id, old.status, -1);
    end if;
    return null;
end $$;

create trigger count_rows after insert or delete on enroll.step_contacts
    for each row when (pg_catalog.current_setting('enroll.engine', true) is distinct from 'on')
    execute function enroll.count_step_contact();
create trigger count_updated after update on enroll.step_contacts
    for each row
    when (
        (old.organization_id, old.sequence_id, old.step_id, old.status) is distinct from (new.organization_id, new.sequence_id, new.step_id, new.status)
        and pg_catalog.current_setting('enroll.engine', true) is distinct from 'on'
    )
    execute function enroll.count_step_contact();

create function enroll.count_enrollment() returns trigger
    language plpgsql set search_path = '' as $$
begin
    if tg_op <> 'DELETE' then
        insert into enroll.counts (organization_id, list, status, entries)
            values (new.organization_id, 'enrollments', new.state, 1);
    end if;
    if tg_op <> 'INSERT' then
        insert into enroll.counts (organization_id, list, status, entries)
            values (old.organization_id, 'enrollments', old.state, -1);
    end if;
    return null;
end $$;

create trigger count_rows after insert or delete on enroll.enrollments
    for each row when (pg_catalog.current_setting('enroll.engine', true) is distinct from 'on')
    execute function enroll.count_enrollment();
create trigger count_updated after update on enroll.enrollments
    for each row
    when (
        (old.organization_id, old.state) is distinct from (new.organization_id, new.state)
        and pg_catalog.current_setting('enroll.engine', true) is distinct from 'on'
    )
    execute function enroll.count_enrollment();

-- Derives the contact of a record that is inserted without it, or that moves to another resource.
create function enroll.derive_contact_of_record() returns trigger
    language plpgsql set search_path = '' as $$
begin
    if new.resource = 'contact' then
        new.contact_id := new.resource_id;
    else
        new.contact_id := (
            select s.contact_id from enroll.step_contacts s
            where s.organization_id = new.organization_id and s.id = new.resource_id
        );
    end if;
    return new;
end $$;

create trigger derive_contact_inserted before insert on enroll.custom_records
    for each row when (new.contact_id is null) execute function enroll.derive_contact_of_record();
create trigger derive_contact_updated before update of resource, resource_id on enroll.custom_records
    for each row when ((old.resource, old.resource_id) is distinct from (new.resource, new.resource_id))
    execute function enroll.derive_contact_of_record();

-- Deletes related rows together with their row. The engine deletes nothing.
create function enroll.delete_rows_of_organization() returns trigger
    language plpgsql set search_path = '' as $$
declare
    engine text := coalesce(pg_catalog.current_setting('enroll.engine', true), '');
begin
    -- Nothing is left to count, so the triggers of these rows need not run.
    perform pg_catalog.set_config('enroll.engine', 'on', true);
    delete from enroll.custom_records r where r.organization_id = old.organization_id;
    delete from enroll.contact_tags r where r.organization_id = old.organization_id;
    delete from enroll.step_contacts r where r.organization_id = old.organization_id;
    delete from enroll.runs r where r.organization_id = old.organization_id;
    delete from enroll.conversations r where r.organization_id = old.organization_id;
    delete from enroll.communication_preferences r where r.organization_id = old.organization_id;
    delete from enroll.contacts c where c.organization_id = old.organization_id;
    delete from enroll.enrollment_outcomes r where r.organization_id = old.organization_id;
    delete from enroll.enrollments e where e.organization_id = old.organization_id;
    delete from enroll.counts c where c.organization_id = old.organization_id;
    delete from enroll.events v where v.organization_id = old.organization_id;
    perform pg_catalog.set_config('enroll.engine', engine, true);
    return null;
end $$;

create trigger delete_related after delete on enroll.organizations
    for each row execute function enroll.delete_rows_of_organization();

create function enroll.delete_rows_of_enrollment() returns trigger
    language plpgsql set search_path = '' as $$
begin
    delete from enroll.enrollment_outcomes r
        where r.organization_id = old.organization_id and r.enrollment_id = old.id;
    return null;
end $$;

create trigger delete_related after delete on enroll.enrollments
    for each row when (pg_catalog.current_setting('enroll.engine', true) is distinct from 'on')
    execute function enroll.delete_rows_of_enrollment();

create function enroll.delete_rows_of_contact() returns trigger
    language plpgsql set search_path = '' as $$
begin
    delete from enroll.communication_preferences r
        where r.organization_id = old.organization_id and r.contact_id = old.id;
    delete from enroll.contact_tags r where r.organization_id = old.organization_id and r.contact_id = old.id;
    delete from enroll.custom_records r where r.organization_id = old.organization_id and r.contact_id = old.id;
    -- Two partial indexes share the rows, so that each needs a statement.
    delete from enroll.step_contacts r
        where r.organization_id = old.organization_id and r.contact_id = old.id and r.status in ('pending', 'active');
    delete from enroll.step_contacts r
        where r.organization_id = old.organization_id and r.contact_id = old.id and r.status not in ('pending', 'active');
    delete from enroll.runs r where r.organization_id = old.organization_id and r.contact_id = old.id;
    delete from enroll.conversations r
        where r.organization_id = old.organization_id and r.contact_id = old.id and r.one_at_most;
    delete from enroll.conversations r
        where r.organization_id = old.organization_id and r.contact_id = old.id and not r.one_at_most;
    return null;
end $$;

create trigger delete_related after delete on enroll.contacts
    for each row when (pg_catalog.current_setting('enroll.engine', true) is distinct from 'on')
    execute function enroll.delete_rows_of_contact();

create function enroll.delete_records_of_step_contact() returns trigger
    language plpgsql set search_path = '' as $$
begin
    delete from enroll.custom_records r
        where r.organization_id = old.organization_id and r.contact_id = old.contact_id
            and r.resource = 'step_contact' and r.resource_id = old.id;
    return null;
end $$;

create trigger delete_related after delete on enroll.step_contacts
    for each row when (pg_catalog.current_setting('enroll.engine', true) is distinct from 'on')
    execute function enroll.delete_records_of_step_contact();

create function enroll.delete_rows_of_tag() returns trigger
    language plpgsql set search_path = '' as $$
begin
    delete from enroll.contact_tags r where r.organization_id = old.organization_id and r.tag_id = old.id;
    return null;
end $$;

create trigger delete_related after delete on enroll.tags
    for each row execute function enroll.delete_rows_of_tag();

-- Moves the records of a step contact that moves to another contact.
create function enroll.move_records_of_step_contact() returns trigger
    language plpgsql set search_path = '' as $$
begin
    update enroll.custom_records r set contact_id = new.contact_id
        where r.organization_id = old.organization_id and r.contact_id = old.contact_id
            and r.resource = 'step_contact' and r.resource_id = new.id;
    return null;
end $$;

create trigger move_records after update on enroll.step_contacts
    for each row
    when (
        new.contact_id <> old.contact_id
        and pg_catalog.current_setting('enroll.engine', true) is distinct from 'on'
    )
    execute function enroll.move_records_of_step_contact();

-- Lets a claim find work of an organization at once. The transaction shares the row of the queue with other acceptances until
-- it ends. A claim that finds no work locks the row alone before it postpones the queue, so it cannot miss an enrollment that
-- is about to commit. At READ COMMITTED, each statement sees what was committed before it began, so the update sees a queue
-- that was postponed before the row was shared. At other isolation levels it may not see that. There it always updates the
-- row, and PostgreSQL refuses the transaction if the row was changed.
create function enroll.wake_queue(organization uuid) returns void
    language plpgsql set search_path = '' as $$
declare
    always constant boolean := pg_catalog.current_setting('transaction_isolation') <> 'read committed';
begin
    insert into enroll.queues (organization_id, due_at) values (organization, 'epoch') on conflict do nothing;
    perform from enroll.queues q where q.organization_id = organization for key share;
    update enroll.queues q set due_at = 'epoch'
        where q.organization_id = organization and (always or q.due_at is null or q.due_at > 'epoch');
end $$;

-- Accepts an enrollment, for the engine and for a host with any driver: organization, id, sequence, fingerprint, instant, command,
-- number of erased recipients. Returns false if the id exists. The organization comes first, as in a commit, so that the two
-- cannot deadlock. It is not a trigger: on Citus, a trigger cannot reach the queues.
create function enroll.accept(uuid, uuid, uuid, bytea, timestamptz, json, bigint) returns boolean
    language plpgsql set search_path = '' as $$
begin
    insert into enroll.organizations (organization_id) values ($1) on conflict do nothing;
    insert into enroll.enrollments
            (organization_id, id, sequence_id, fingerprint, at, state, command, erased_recipients, due_at)
        values ($1, $2, $3, $4, $5, 'accepted', $6, $7, 'epoch')
        on conflict (organization_id, id) do nothing;
    if not found then
        return false;
    end if;
    perform enroll.wake_queue($1);
    return true;
end $$;

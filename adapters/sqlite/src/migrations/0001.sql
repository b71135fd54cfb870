-- Schema version 1. An id is a blob of 16 bytes. A time is a number of milliseconds since 1970. JSON is stored as text.
-- Every key and every index begins with organization_id, except those that serve all organizations: the turns of the queues,
-- and the retention.

-- Checks of words use `or` instead of `in`: for a list of more than two values, SQLite builds a temporary table for each
-- row that it writes.

-- `writing` is 1 during a commit of the engine, which raises versions itself. No version trigger fires then. The same
-- transaction sets it back to 0, so other connections never see the 1. `events` is 1 if changes of enrollments write events.
create table enroll_engine (
    one integer primary key check (one = 1),
    writing integer not null check (writing in (0, 1)),
    events integer not null default 0 check (events in (0, 1))
) strict;
insert into enroll_engine (one, writing) values (1, 0);

create table enroll_organizations (
    organization_id blob not null primary key,
    name text not null default ''
) strict;

create table enroll_channels (
    organization_id blob not null references enroll_organizations on delete cascade,
    id blob not null,
    version integer not null default (cast((julianday('now') - 2440587.5) * 86400000 as integer)) check (version >= 1),
    kind text not null check (kind = 'phone' or kind = 'whatsapp' or kind = 'fax' or kind = 'email'),
    address text not null,
    enabled integer not null default 1 check (enabled in (0, 1)),
    name text,
    primary key (organization_id, id)
) strict;

create table enroll_call_flows (
    organization_id blob not null references enroll_organizations on delete cascade,
    id blob not null,
    version integer not null default (cast((julianday('now') - 2440587.5) * 86400000 as integer)) check (version >= 1),
    name text not null default '',
    primary key (organization_id, id)
) strict;

create table enroll_custom_objects (
    organization_id blob not null references enroll_organizations on delete cascade,
    id blob not null,
    version integer not null default (cast((julianday('now') - 2440587.5) * 86400000 as integer)) check (version >= 1),
    key text not null,
    properties text not null default '[]' check (json_valid(properties)),
    primary key (organization_id, id)
) strict;

create table enroll_sequences (
    organization_id blob not null references enroll_organizations on delete cascade,
    id blob not null,
    version integer not null default (cast((julianday('now') - 2440587.5) * 86400000 as integer)) check (version >= 1),
    title text not null default '',
    status text not null check (status = 'draft' or status = 'active' or status = 'archived'),
    settings text not null default '{}' check (json_valid(settings)),
    primary key (organization_id, id)
) strict;
create index enroll_sequences_listed on enroll_sequences (organization_id, substr(title, 1, 255), id);

-- The channel of a step need not exist: a request that uses such a step is rejected.
create table enroll_steps (
    organization_id blob not null,
    sequence_id blob not null,
    id blob not null,
    position integer not null,
    channel_kind text not null
        check (channel_kind = 'phone' or channel_kind = 'whatsapp' or channel_kind = 'fax' or channel_kind = 'email'),
    channel_id blob,
    primary key (organization_id, sequence_id, id),
    foreign key (organization_id, sequence_id) references enroll_sequences on delete cascade
) strict;

create table enroll_tags (
    organization_id blob not null references enroll_organizations on delete cascade,
    id blob not null,
    name text not null,
    system_created integer not null default 0 check (system_created in (0, 1)),
    primary key (organization_id, id)
) strict;

-- The columns held_… contain the keys by which a contact is found. They are null for a merged contact, and for a key of
-- only white space. The list of characters is Unicode's White_Space. A key that begins with a printable ASCII character
-- skips the slower check. The engine computes email_key from the email.
create table enroll_contacts (
    organization_id blob not null references enroll_organizations on delete cascade,
    id blob not null,
    version integer not null default (cast((julianday('now') - 2440587.5) * 86400000 as integer)) check (version >= 1),
    external_id text,
    phone text,
    email text,
    email_key text,
    name text,
    first_name text,
    last_name text,
    language text,
    default_channel_id blob,
    address text check (address is null or json_valid(address)),
    birth_day integer check (birth_day between 1 and 31),
    birth_month integer check (birth_month between 1 and 12),
    birth_year integer check (birth_year between 1 and 9999),
    state text not null default 'open'
        check (state = 'open' or state = 'archived' or state = 'blocked' or state = 'merged'),
    created_at integer check (created_at between 0 and 253402300799999),
    updated_at integer check (updated_at between 0 and 253402300799999),
    held_external_id text generated always as (case when state <> 'merged' and (unicode(external_id) between 33 and 126
        or trim(external_id, char(
        9, 10, 11, 12, 13, 32, 133, 160, 5760, 8192, 8193, 8194, 8195, 8196, 8197, 8198, 8199, 8200, 8201, 8202,
        8232, 8233, 8239, 8287, 12288)) <> '') then external_id end) virtual,
    held_phone text generated always as (case when state <> 'merged' and (unicode(phone) between 33 and 126
        or trim(phone, char(
        9, 10, 11, 12, 13, 32, 133, 160, 5760, 8192, 8193, 8194, 8195, 8196, 8197, 8198, 8199, 8200, 8201, 8202,
        8232, 8233, 8239, 8287, 12288)) <> '') then phone end) virtual,
    held_email text generated always as (case when state <> 'merged' and (unicode(email_key) between 33 and 126
        or trim(email_key, char(
        9, 10, 11, 12, 13, 32, 133, 160, 5760, 8192, 8193, 8194, 8195, 8196, 8197, 8198, 8199, 8200, 8201, 8202,
        8232, 8233, 8239, 8287, 12288)) <> '') then email_key end) virtual,
    -- The order of the list. It is a column, since SQLite does not search an index by an expression and an id together.
    listed_name text generated always as (substr(name, 1, 255)) virtual,
    primary key (organization_id, id),
    check ((email is null) = (email_key is null))
) strict;
-- The order of the list: by name, then id.
create index enroll_contacts_listed on enroll_contacts (organization_id, listed_name, id);
create unique index enroll_contacts_external_id on enroll_contacts (organization_id, held_external_id)
    where held_external_id is not null;
create unique index enroll_contacts_phone on enroll_contacts (organization_id, held_phone)
    where held_phone is not null;
create unique index enroll_contacts_email on enroll_contacts (organization_id, held_email)
    where held_email is not null;

create table enroll_communication_preferences (
    organization_id blob not null,
    contact_id blob not null,
    channel_id blob not null,
    opt_in integer not null check (opt_in in (0, 1)),
    primary key (organization_id, contact_id, channel_id),
    foreign key (organization_id, contact_id) references enroll_contacts on delete cascade
) strict;

-- The primary key of a related row begins with its contact. Without a rowid, the rows of a contact are adjacent in the
-- table itself: no other index is needed to find them.

-- one_at_most is 1 if the channel is of a phone kind or does not exist. For an email conversation, insert 0.
create table enroll_conversations (
    organization_id blob not null,
    id blob not null,
    contact_id blob not null,
    channel_id blob not null,
    one_at_most integer not null default 1 check (one_at_most in (0, 1)),
    status text not null default 'automated'
        check (status = 'automated' or status = 'open' or status = 'closed' or status = 'spam'),
    created_at integer check (created_at between 0 and 253402300799999),
    primary key (organization_id, contact_id, channel_id, id),
    unique (organization_id, id),
    foreign key (organization_id, contact_id) references enroll_contacts on delete cascade
) strict, without rowid;
create unique index enroll_conversations_one on enroll_conversations (organization_id, contact_id, channel_id)
    where one_at_most = 1;

create table enroll_runs (
    organization_id blob not null,
    id blob not null,
    sequence_id blob not null,
    contact_id blob not null,
    status text not null default 'active' check (status in ('active', 'finished')),
    started_at integer not null check (started_at between 0 and 253402300799999),
    primary key (organization_id, contact_id, sequence_id, id),
    unique (organization_id, id),
    foreign key (organization_id, contact_id) references enroll_contacts on delete cascade
) strict, without rowid;
-- A page of a list merges the rows of its statuses, each in the order of one of these indexes: for one sequence, or for all.
create index enroll_runs_of_sequence on enroll_runs (organization_id, sequence_id, status, started_at, id);
create index enroll_runs_listed on enroll_runs (organization_id, status, started_at, id);

create table enroll_step_contacts (
    organization_id blob not null,
    id blob not null,
    run_id blob not null,
    sequence_id blob not null,
    step_id blob not null,
    contact_id blob not null,
    status text not null check (
        status = 'pending' or status = 'active' or status = 'inactive' or status = 'moved' or status = 'finished'
    ),
    scheduled_at integer not null check (scheduled_at between 0 and 253402300799999),
    channel_id blob,
    default_call_flow_id blob,
    times_processed integer not null default 1 check (times_processed between 0 and 4294967295),
    enrollment_id blob,
    primary key (organization_id, contact_id, sequence_id, id),
    unique (organization_id, id),
    foreign key (organization_id, contact_id) references enroll_contacts on delete cascade
) strict, without rowid;
create unique index enroll_step_contacts_live on enroll_step_contacts (organization_id, sequence_id, contact_id)
    where status in ('pending', 'active');

-- A page of a sequence's list merges the rows of its statuses, each in the order of this index.
create index enroll_step_contacts_listed on enroll_step_contacts (organization_id, sequence_id, status, id);

create table enroll_contact_tags (
    organization_id blob not null,
    contact_id blob not null,
    tag_id blob not null,
    primary key (organization_id, contact_id, tag_id),
    foreign key (organization_id, contact_id) references enroll_contacts on delete cascade,
    foreign key (organization_id, tag_id) references enroll_tags on delete cascade
) strict, without rowid;
create index enroll_contact_tags_of_tag on enroll_contact_tags (organization_id, tag_id);

-- contact_id is the resource itself, or the contact of the step contact.
create table enroll_custom_records (
    organization_id blob not null,
    id blob not null,
    custom_object_id blob not null,
    resource text not null check (resource in ('contact', 'step_contact')),
    resource_id blob not null,
    contact_id blob not null,
    properties text not null default '{}' check (json_valid(properties)),
    primary key (organization_id, id),
    foreign key (organization_id, contact_id) references enroll_contacts on delete cascade,
    check (resource <> 'contact' or contact_id = resource_id)
) strict;
create index enroll_custom_records_of_contact on enroll_custom_records (organization_id, contact_id, custom_object_id);
create unique index enroll_custom_records_one
    on enroll_custom_records (organization_id, resource_id, resource, custom_object_id);

-- `command` is the accepted request. It is removed when the enrollment is completed or rejected. It is the last column
-- because it is large and rarely read. `report` is the report without its outcomes. The columns from `added` on are its
-- counts.
-- `removed_at` is when the command (of a failed enrollment) or the outcomes (of a completed one) were removed because they
-- were too old. `erased_recipients` is the number of recipients that were erased from the command.
-- A worker may claim an accepted enrollment from `due_at` on: immediately, after a delay, or when a lease has ended.
create table enroll_enrollments (
    organization_id blob not null references enroll_organizations on delete cascade,
    id blob not null,
    sequence_id blob not null,
    fingerprint blob not null check (length(fingerprint) = 32),
    at integer not null check (at between 0 and 253402300799999),
    state text not null check (state = 'accepted' or state = 'completed' or state = 'rejected' or state = 'failed'),
    attempts integer not null default 0 check (attempts between 0 and 4294967295),
    due_at integer check (due_at between 0 and 253402300799999),
    -- The number of the latest lease, and the number of leases in a row without an answer.
    lease integer not null default 0 check (lease >= 0),
    unanswered integer not null default 0 check (unanswered between 0 and 4294967295),
    failed_at integer check (failed_at between 0 and 253402300799999),
    completed_at integer check (completed_at between 0 and 253402300799999),
    removed_at integer check (removed_at between 0 and 253402300799999),
    erased_recipients integer not null default 0 check (erased_recipients between 0 and 4294967295),
    error text,
    added integer,
    re_added integer,
    reprocessed integer,
    ignored integer,
    duplicate integer,
    contacts_created integer,
    conversations_created integer,
    rejection text check (rejection is null or json_valid(rejection)),
    report text check (report is null or json_valid(report)),
    command text check (command is null or json_valid(command)),
    primary key (organization_id, id),
    check ((due_at is not null) = (state = 'accepted')),
    check ((command is not null) = (state = 'accepted' or (state = 'failed' and removed_at is null))),
    check (removed_at is null or state = 'failed' or state = 'completed'),
    check ((completed_at is not null) = (state in ('completed', 'rejected'))),
    check ((report is not null) = (state = 'completed')),
    check ((added + re_added + reprocessed + ignored + duplicate + contacts_created + conversations_created is not null)
        = (state = 'completed')),
    check (coalesce(added, re_added, reprocessed, ignored, duplicate, contacts_created, conversations_created) is null
        or state = 'completed'),
    check ((rejection is not null) = (state = 'rejected')),
    check (error is not null or state <> 'failed'),
    check ((failed_at is not null) = (state = 'failed'))
) strict;
-- Contains only waiting enrollments.
create index enroll_enrollments_waiting on enroll_enrollments (organization_id, at, id, due_at)
    where state = 'accepted';
create index enroll_enrollments_failed on enroll_enrollments (organization_id, id) where state = 'failed';
-- The retention of all organizations, oldest first.
create index enroll_enrollments_failed_at on enroll_enrollments (failed_at)
    where state = 'failed' and removed_at is null;
create index enroll_enrollments_completed_at on enroll_enrollments (completed_at)
    where state = 'completed' and removed_at is null;
-- A page of the list merges the rows of its states.
create index enroll_enrollments_listed on enroll_enrollments (organization_id, state, at, id);

-- The outcomes of a completed enrollment, in chunks. `counts` has the number of outcomes with each disposition and list of
-- reasons, so that a filter reads only the chunks that it needs. `outcomes` is the last column because it is large.
create table enroll_enrollment_outcomes (
    organization_id blob not null,
    enrollment_id blob not null,
    first_index integer not null,
    last_index integer not null,
    counts text not null check (json_valid(counts)),
    outcomes text not null check (json_valid(outcomes)),
    primary key (organization_id, enrollment_id, first_index)
) strict, without rowid;
create trigger enroll_enrollments_outcomes_go after delete on enroll_enrollments begin
    delete from enroll_enrollment_outcomes where organization_id = old.organization_id and enrollment_id = old.id;
end;

-- The turns of the organizations: one row for each that has accepted an enrollment. A claim selects an organization here,
-- then an enrollment of it.
-- `due_at` is not later than that of each accepted enrollment, and null if no enrollment waits. `turn` is the number of the
-- last claim. `leased_id` is the enrollment that a worker processes until `lease_end`.
create table enroll_queues (
    organization_id blob primary key not null references enroll_organizations on delete cascade,
    due_at integer,
    turn integer not null default 0,
    leased_id blob,
    lease_end integer,
    check ((leased_id is null) = (lease_end is null))
) strict;
create index enroll_queues_turn on enroll_queues (turn);

-- What happened to enrollments, if `events` of `enroll_engine` is 1. Triggers write a row in the transaction that gives an
-- enrollment another state, with any driver. A row has no personal data. Only one transaction writes at a time,
-- so the positions are in the order of the commits. A removed position is never used again. The columns from `added` on
-- are the counts of a completed enrollment. `codes` are the codes of the faults of a rejected one, as JSON.
create table enroll_events (
    position integer primary key autoincrement,
    -- A random UUID.
    id blob not null default (unhex(hex(randomblob(6)) || '4' || substr(hex(randomblob(2)), 2)
        || 'a' || substr(hex(randomblob(2)), 2) || hex(randomblob(6)))),
    kind text not null check (kind = 'accepted' or kind = 'completed' or kind = 'rejected' or kind = 'failed'),
    organization_id blob not null references enroll_organizations on delete cascade,
    enrollment_id blob not null,
    sequence_id blob not null,
    at integer not null default (cast((julianday('now') - 2440587.5) * 86400000 as integer)),
    added integer,
    re_added integer,
    reprocessed integer,
    ignored integer,
    duplicate integer,
    contacts_created integer,
    conversations_created integer,
    codes text check (codes is null or json_valid(codes))
) strict;
create index enroll_events_of_organization on enroll_events (organization_id);
-- The removal of old events of all organizations.
create index enroll_events_at on enroll_events (at);
create trigger enroll_enrollments_event_insert after insert on enroll_enrollments
when (select events from enroll_engine) = 1 begin
    insert into enroll_events (
        kind, organization_id, enrollment_id, sequence_id,
        added, re_added, reprocessed, ignored, duplicate, contacts_created, conversations_created, codes
    )
    select
        new.state, new.organization_id, new.id, new.sequence_id,
        new.added, new.re_added, new.reprocessed, new.ignored, new.duplicate, new.contacts_created,
        new.conversations_created,
        case when new.state = 'rejected' then
            (select json_group_array(value ->> 'code') from json_each(new.rejection, '$.errors')
                where value ->> 'code' is not null)
        end;
end;
create trigger enroll_enrollments_event_update after update of state on enroll_enrollments
when old.state <> new.state and (select events from enroll_engine) = 1 begin
    insert into enroll_events (
        kind, organization_id, enrollment_id, sequence_id,
        added, re_added, reprocessed, ignored, duplicate, contacts_created, conversations_created, codes
    )
    select
        new.state, new.organization_id, new.id, new.sequence_id,
        new.added, new.re_added, new.reprocessed, new.ignored, new.duplicate, new.contacts_created,
        new.conversations_created,
        case when new.state = 'rejected' then
            (select json_group_array(value ->> 'code') from json_each(new.rejection, '$.errors')
                where value ->> 'code' is not null)
        end;
end;

-- The number of rows of each list, so that a page reads its total instead of counting. `list` is `contacts`, `enrollments`,
-- `runs` or `step_contacts`. Contacts are counted together, with an empty status. An id that a list does not need is zero.
-- A commit of the engine writes one difference for each key. The triggers below count all other writes.
create table enroll_counts (
    organization_id blob not null,
    list text not null,
    sequence_id blob not null,
    step_id blob not null,
    status text not null,
    entries integer not null,
    primary key (organization_id, list, sequence_id, step_id, status)
) strict, without rowid;
create trigger enroll_counts_go after delete on enroll_organizations begin
    delete from enroll_counts where organization_id = old.organization_id;
end;
create trigger enroll_contacts_counted_insert after insert on enroll_contacts
when (select writing from enroll_engine) = 0 begin
    insert into enroll_counts values (new.organization_id, 'contacts', zeroblob(16), zeroblob(16), '', 1)
    on conflict do update set entries = entries + 1;
end;
create trigger enroll_contacts_counted_delete after delete on enroll_contacts
when (select writing from enroll_engine) = 0 begin
    insert into enroll_counts values (old.organization_id, 'contacts', zeroblob(16), zeroblob(16), '', -1)
    on conflict do update set entries = entries - 1;
end;
create trigger enroll_enrollments_counted_insert after insert on enroll_enrollments
when (select writing from enroll_engine) = 0 begin
    insert into enroll_counts values (new.organization_id, 'enrollments', zeroblob(16), zeroblob(16), new.state, 1)
    on conflict do update set entries = entries + 1;
end;
create trigger enroll_enrollments_counted_update after update of state on enroll_enrollments
when old.state <> new.state and (select writing from enroll_engine) = 0 begin
    insert into enroll_counts values (old.organization_id, 'enrollments', zeroblob(16), zeroblob(16), old.state, -1)
    on conflict do update set entries = entries - 1;
    insert into enroll_counts values (new.organization_id, 'enrollments', zeroblob(16), zeroblob(16), new.state, 1)
    on conflict do update set entries = entries + 1;
end;
create trigger enroll_enrollments_counted_delete after delete on enroll_enrollments
when (select writing from enroll_engine) = 0 begin
    insert into enroll_counts values (old.organization_id, 'enrollments', zeroblob(16), zeroblob(16), old.state, -1)
    on conflict do update set entries = entries - 1;
end;
create trigger enroll_runs_counted_insert after insert on enroll_runs
when (select writing from enroll_engine) = 0 begin
    insert into enroll_counts values (new.organization_id, 'runs', new.sequence_id, zeroblob(16), new.status, 1)
    on conflict do update set entries = entries + 1;
end;
create trigger enroll_runs_counted_update after update of sequence_id, status on enroll_runs
when (old.sequence_id, old.status) <> (new.sequence_id, new.status) and (select writing from enroll_engine) = 0 begin
    insert into enroll_counts values (old.organization_id, 'runs', old.sequence_id, zeroblob(16), old.status, -1)
    on conflict do update set entries = entries - 1;
    insert into enroll_counts values (new.organization_id, 'runs', new.sequence_id, zeroblob(16), new.status, 1)
    on conflict do update set entries = entries + 1;
end;
create trigger enroll_runs_counted_delete after delete on enroll_runs
when (select writing from enroll_engine) = 0 begin
    insert into enroll_counts values (old.organization_id, 'runs', old.sequence_id, zeroblob(16), old.status, -1)
    on conflict do update set entries = entries - 1;
end;
create trigger enroll_step_contacts_counted_insert after insert on enroll_step_contacts
when (select writing from enroll_engine) = 0 begin
    insert into enroll_counts
    values (new.organization_id, 'step_contacts', new.sequence_id, new.step_id, new.status, 1)
    on conflict do update set entries = entries + 1;
end;
create trigger enroll_step_contacts_counted_update after update of sequence_id, step_id, status on enroll_step_contacts
when (old.sequence_id, old.step_id, old.status) <> (new.sequence_id, new.step_id, new.status)
    and (select writing from enroll_engine) = 0 begin
    insert into enroll_counts
    values (old.organization_id, 'step_contacts', old.sequence_id, old.step_id, old.status, -1)
    on conflict do update set entries = entries - 1;
    insert into enroll_counts
    values (new.organization_id, 'step_contacts', new.sequence_id, new.step_id, new.status, 1)
    on conflict do update set entries = entries + 1;
end;
create trigger enroll_step_contacts_counted_delete after delete on enroll_step_contacts
when (select writing from enroll_engine) = 0 begin
    insert into enroll_counts
    values (old.organization_id, 'step_contacts', old.sequence_id, old.step_id, old.status, -1)
    on conflict do update set entries = entries - 1;
end;

-- The records of a step contact are deleted and moved with it.
create trigger enroll_step_contacts_records_go after delete on enroll_step_contacts begin
    delete from enroll_custom_records
    where organization_id = old.organization_id and resource_id = old.id and resource = 'step_contact';
end;
create trigger enroll_step_contacts_records_move after update of contact_id on enroll_step_contacts begin
    update enroll_custom_records set contact_id = new.contact_id
    where organization_id = new.organization_id and resource_id = new.id and resource = 'step_contact';
end;

-- Versions. An update of an aggregate's own row raises the version, unless the update did so itself. The condition also
-- ends the recursion if `pragma recursive_triggers` is on.
create trigger enroll_channels_raised after update on enroll_channels
when new.version <= old.version and (select writing from enroll_engine) = 0 begin
    update enroll_channels set version = old.version + 1
    where organization_id = new.organization_id and id = new.id;
end;
create trigger enroll_call_flows_raised after update on enroll_call_flows
when new.version <= old.version and (select writing from enroll_engine) = 0 begin
    update enroll_call_flows set version = old.version + 1
    where organization_id = new.organization_id and id = new.id;
end;
create trigger enroll_custom_objects_raised after update on enroll_custom_objects
when new.version <= old.version and (select writing from enroll_engine) = 0 begin
    update enroll_custom_objects set version = old.version + 1
    where organization_id = new.organization_id and id = new.id;
end;
create trigger enroll_sequences_raised after update on enroll_sequences
when new.version <= old.version and (select writing from enroll_engine) = 0 begin
    update enroll_sequences set version = old.version + 1
    where organization_id = new.organization_id and id = new.id;
end;
create trigger enroll_contacts_raised after update on enroll_contacts
when new.version <= old.version and (select writing from enroll_engine) = 0 begin
    update enroll_contacts set version = old.version + 1
    where organization_id = new.organization_id and id = new.id;
end;

-- A change of a step raises the version of its sequence.
create trigger enroll_steps_inserted after insert on enroll_steps
when (select writing from enroll_engine) = 0 begin
    update enroll_sequences set version = version + 1
    where organization_id = new.organization_id and id = new.sequence_id;
end;
create trigger enroll_steps_updated after update on enroll_steps
when (select writing from enroll_engine) = 0 begin
    update enroll_sequences set version = version + 1
    where (organization_id, id) in
        (values (old.organization_id, old.sequence_id), (new.organization_id, new.sequence_id));
end;
create trigger enroll_steps_deleted after delete on enroll_steps
when (select writing from enroll_engine) = 0 begin
    update enroll_sequences set version = version + 1
    where organization_id = old.organization_id and id = old.sequence_id;
end;

-- A change of a related row raises the version of its contact. A row that moves to another contact raises both.
create trigger enroll_communication_preferences_inserted after insert on enroll_communication_preferences
when (select writing from enroll_engine) = 0 begin
    update enroll_contacts set version = version + 1
    where organization_id = new.organization_id and id = new.contact_id;
end;
create trigger enroll_communication_preferences_updated after update on enroll_communication_preferences
when (select writing from enroll_engine) = 0 begin
    update enroll_contacts set version = version + 1
    where (organization_id, id) in
        (values (old.organization_id, old.contact_id), (new.organization_id, new.contact_id));
end;
create trigger enroll_communication_preferences_deleted after delete on enroll_communication_preferences
when (select writing from enroll_engine) = 0 begin
    update enroll_contacts set version = version + 1
    where organization_id = old.organization_id and id = old.contact_id;
end;
create trigger enroll_conversations_inserted after insert on enroll_conversations
when (select writing from enroll_engine) = 0 begin
    update enroll_contacts set version = version + 1
    where organization_id = new.organization_id and id = new.contact_id;
end;
create trigger enroll_conversations_updated after update on enroll_conversations
when (select writing from enroll_engine) = 0 begin
    update enroll_contacts set version = version + 1
    where (organization_id, id) in
        (values (old.organization_id, old.contact_id), (new.organization_id, new.contact_id));
end;
create trigger enroll_conversations_deleted after delete on enroll_conversations
when (select writing from enroll_engine) = 0 begin
    update enroll_contacts set version = version + 1
    where organization_id = old.organization_id and id = old.contact_id;
end;
create trigger enroll_runs_inserted after insert on enroll_runs
when (select writing from enroll_engine) = 0 begin
    update enroll_contacts set version = version + 1
    where organization_id = new.organization_id and id = new.contact_id;
end;
create trigger enroll_runs_updated after update on enroll_runs
when (select writing from enroll_engine) = 0 begin
    update enroll_contacts set version = version + 1
    where (organization_id, id) in
        (values (old.organization_id, old.contact_id), (new.organization_id, new.contact_id));
end;
create trigger enroll_runs_deleted after delete on enroll_runs
when (select writing from enroll_engine) = 0 begin
    update enroll_contacts set version = version + 1
    where organization_id = old.organization_id and id = old.contact_id;
end;
create trigger enroll_step_contacts_inserted after insert on enroll_step_contacts
when (select writing from enroll_engine) = 0 begin
    update enroll_contacts set version = version + 1
    where organization_id = new.organization_id and id = new.contact_id;
end;
create trigger enroll_step_contacts_updated after update on enroll_step_contacts
when (select writing from enroll_engine) = 0 begin
    update enroll_contacts set version = version + 1
    where (organization_id, id) in
        (values (old.organization_id, old.contact_id), (new.organization_id, new.contact_id));
end;
create trigger enroll_step_contacts_deleted after delete on enroll_step_contacts
when (select writing from enroll_engine) = 0 begin
    update enroll_contacts set version = version + 1
    where organization_id = old.organization_id and id = old.contact_id;
end;
create trigger enroll_contact_tags_inserted after insert on enroll_contact_tags
when (select writing from enroll_engine) = 0 begin
    update enroll_contacts set version = version + 1
    where organization_id = new.organization_id and id = new.contact_id;
end;
create trigger enroll_contact_tags_updated after update on enroll_contact_tags
when (select writing from enroll_engine) = 0 begin
    update enroll_contacts set version = version + 1
    where (organization_id, id) in
        (values (old.organization_id, old.contact_id), (new.organization_id, new.contact_id));
end;
create trigger enroll_contact_tags_deleted after delete on enroll_contact_tags
when (select writing from enroll_engine) = 0 begin
    update enroll_contacts set version = version + 1
    where organization_id = old.organization_id and id = old.contact_id;
end;
create trigger enroll_custom_records_inserted after insert on enroll_custom_records
when (select writing from enroll_engine) = 0 begin
    update enroll_contacts set version = version + 1
    where organization_id = new.organization_id and id = new.contact_id;
end;
create trigger enroll_custom_records_updated after update on enroll_custom_records
when (select writing from enroll_engine) = 0 begin
    update enroll_contacts set version = version + 1
    where (organization_id, id) in
        (values (old.organization_id, old.contact_id), (new.organization_id, new.contact_id));
end;
create trigger enroll_custom_records_deleted after delete on enroll_custom_records
when (select writing from enroll_engine) = 0 begin
    update enroll_contacts set version = version + 1
    where organization_id = old.organization_id and id = old.contact_id;
end;

-- What accepting an enrollment needs besides its row. Triggers do it, so that a host can accept with any driver by one insert.
create trigger enroll_enrollments_organization before insert on enroll_enrollments when new.state = 'accepted' begin
    insert into enroll_organizations (organization_id) values (new.organization_id) on conflict do nothing;
end;
-- Lets a claim find work of an organization at once.
create trigger enroll_enrollments_queued_insert after insert on enroll_enrollments when new.state = 'accepted' begin
    insert into enroll_queues (organization_id, due_at) values (new.organization_id, new.due_at)
    on conflict do update set due_at = excluded.due_at where due_at is null or due_at > excluded.due_at;
end;
create trigger enroll_enrollments_queued_update after update of state on enroll_enrollments
when new.state = 'accepted' and old.state <> 'accepted' begin
    insert into enroll_queues (organization_id, due_at) values (new.organization_id, new.due_at)
    on conflict do update set due_at = excluded.due_at where due_at is null or due_at > excluded.due_at;
end;

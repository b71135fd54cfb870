-- The tables as one makes them for sqlx on PostgreSQL.
create table channels (
    id uuid not null primary key,
    organization_id uuid not null,
    kind text not null,
    address text not null,
    enabled boolean not null
);
create index channels_of_organization on channels (organization_id);

create table call_flows (
    id uuid not null primary key,
    organization_id uuid not null
);

create table custom_objects (
    id uuid not null primary key,
    organization_id uuid not null,
    properties jsonb not null
);

create table sequences (
    id uuid not null primary key,
    organization_id uuid not null,
    status text not null,
    settings jsonb not null
);

create table steps (
    id uuid not null primary key,
    sequence_id uuid not null references sequences on delete cascade,
    position bigint not null,
    channel_kind text not null,
    channel_id uuid
);
create index steps_of_sequence on steps (sequence_id);

create table tags (
    id uuid not null primary key,
    organization_id uuid not null,
    name text not null,
    system_created boolean not null
);

create table contacts (
    id uuid not null primary key,
    organization_id uuid not null,
    external_id text collate "C",
    phone text collate "C",
    email text,
    email_key text collate "C",
    name text,
    language text,
    default_channel_id uuid,
    address jsonb,
    birth_day integer,
    birth_month integer,
    birth_year integer,
    state text not null,
    created_at timestamptz,
    updated_at timestamptz
);
create unique index contacts_external_id on contacts (organization_id, external_id)
    where external_id is not null and state <> 'merged';
create unique index contacts_phone on contacts (organization_id, phone)
    where phone is not null and state <> 'merged';
create unique index contacts_email on contacts (organization_id, email_key)
    where email_key is not null and state <> 'merged';

create table communication_preferences (
    contact_id uuid not null references contacts on delete cascade,
    channel_id uuid not null,
    opt_in boolean not null,
    primary key (contact_id, channel_id)
);

create table conversations (
    id uuid not null primary key,
    organization_id uuid not null,
    contact_id uuid not null references contacts on delete cascade,
    channel_id uuid not null,
    status text not null,
    created_at timestamptz
);
create unique index conversations_of_contact on conversations (contact_id, channel_id);

create table runs (
    id uuid not null primary key,
    organization_id uuid not null,
    sequence_id uuid not null,
    contact_id uuid not null references contacts on delete cascade,
    status text not null,
    started_at timestamptz not null
);
create index runs_of_contact on runs (contact_id, sequence_id);

create table step_contacts (
    id uuid not null primary key,
    organization_id uuid not null,
    run_id uuid not null,
    sequence_id uuid not null,
    step_id uuid not null,
    contact_id uuid not null references contacts on delete cascade,
    status text not null,
    scheduled_at timestamptz not null,
    channel_id uuid,
    default_call_flow_id uuid,
    times_processed integer not null,
    enrollment_id uuid
);
create index step_contacts_of_contact on step_contacts (contact_id, sequence_id);
create unique index step_contacts_live on step_contacts (contact_id, sequence_id)
    where status in ('pending', 'active');

create table contact_tags (
    contact_id uuid not null references contacts on delete cascade,
    tag_id uuid not null references tags on delete cascade,
    primary key (contact_id, tag_id)
);
create index contact_tags_of_tag on contact_tags (tag_id);

create table custom_records (
    id uuid not null primary key,
    organization_id uuid not null,
    custom_object_id uuid not null,
    resource text not null,
    resource_id uuid not null,
    contact_id uuid not null references contacts on delete cascade,
    properties jsonb not null
);
create unique index custom_records_of_resource on custom_records (resource_id, resource, custom_object_id);
create index custom_records_of_contact on custom_records (contact_id);

create table enrollments (
    id uuid not null primary key,
    organization_id uuid not null,
    idempotency_key text not null,
    sequence_id uuid not null,
    at timestamptz not null,
    report json not null
);
create unique index enrollments_idempotency_key on enrollments (organization_id, idempotency_key);

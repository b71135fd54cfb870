-- The tables as one makes them for Diesel on SQLite: ids are 16 bytes, instants milliseconds since 1970.
create table channels (
    id blob not null primary key,
    organization_id blob not null,
    kind text not null,
    address text not null,
    enabled boolean not null
);
create index channels_of_organization on channels (organization_id);

create table call_flows (
    id blob not null primary key,
    organization_id blob not null
);

create table custom_objects (
    id blob not null primary key,
    organization_id blob not null,
    properties text not null
);

create table sequences (
    id blob not null primary key,
    organization_id blob not null,
    status text not null,
    settings text not null
);

create table steps (
    id blob not null primary key,
    sequence_id blob not null references sequences on delete cascade,
    position bigint not null,
    channel_kind text not null,
    channel_id blob
);
create index steps_of_sequence on steps (sequence_id);

create table tags (
    id blob not null primary key,
    organization_id blob not null,
    name text not null,
    system_created boolean not null
);

create table contacts (
    id blob not null primary key,
    organization_id blob not null,
    external_id text,
    phone text,
    email text,
    email_key text,
    name text,
    language text,
    default_channel_id blob,
    address text,
    birth_day integer,
    birth_month integer,
    birth_year integer,
    state text not null,
    created_at bigint,
    updated_at bigint
);
create unique index contacts_external_id on contacts (organization_id, external_id)
    where external_id is not null and state <> 'merged';
create unique index contacts_phone on contacts (organization_id, phone)
    where phone is not null and state <> 'merged';
create unique index contacts_email on contacts (organization_id, email_key)
    where email_key is not null and state <> 'merged';

create table communication_preferences (
    contact_id blob not null references contacts on delete cascade,
    channel_id blob not null,
    opt_in boolean not null,
    primary key (contact_id, channel_id)
);

create table conversations (
    id blob not null primary key,
    organization_id blob not null,
    contact_id blob not null references contacts on delete cascade,
    channel_id blob not null,
    status text not null,
    created_at bigint
);
create unique index conversations_of_contact on conversations (contact_id, channel_id);

create table runs (
    id blob not null primary key,
    organization_id blob not null,
    sequence_id blob not null,
    contact_id blob not null references contacts on delete cascade,
    status text not null,
    started_at bigint not null
);
create index runs_of_contact on runs (contact_id, sequence_id);

create table step_contacts (
    id blob not null primary key,
    organization_id blob not null,
    run_id blob not null,
    sequence_id blob not null,
    step_id blob not null,
    contact_id blob not null references contacts on delete cascade,
    status text not null,
    scheduled_at bigint not null,
    channel_id blob,
    default_call_flow_id blob,
    times_processed integer not null,
    enrollment_id blob
);
create index step_contacts_of_contact on step_contacts (contact_id, sequence_id);
create unique index step_contacts_live on step_contacts (contact_id, sequence_id)
    where status in ('pending', 'active');

create table contact_tags (
    contact_id blob not null references contacts on delete cascade,
    tag_id blob not null references tags on delete cascade,
    primary key (contact_id, tag_id)
);
create index contact_tags_of_tag on contact_tags (tag_id);

create table custom_records (
    id blob not null primary key,
    organization_id blob not null,
    custom_object_id blob not null,
    resource text not null,
    resource_id blob not null,
    contact_id blob not null references contacts on delete cascade,
    properties text not null
);
create unique index custom_records_of_resource on custom_records (resource_id, resource, custom_object_id);
create index custom_records_of_contact on custom_records (contact_id);

create table enrollments (
    id blob not null primary key,
    organization_id blob not null,
    idempotency_key text not null,
    sequence_id blob not null,
    at bigint not null,
    report text not null
);
create unique index enrollments_idempotency_key on enrollments (organization_id, idempotency_key);

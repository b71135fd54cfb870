-- The host's own tables.

-- People who use the CRM.
create table users (name text primary key);
insert into users (name) values ('ada'), ('grace');

-- One row for each upload: who did it, and which enrollments it made.
create table audit (
    upload uuid primary key,
    who text not null references users,
    at timestamptz not null default now(),
    enrollments uuid[] not null default '{}',
    set_aside text[] not null
);

-- What the CRM knows of a contact. Names, phones and emails are in `enroll.contacts`.
create table customers (
    contact_id uuid primary key,
    owner text not null references users,
    first_upload uuid not null references audit
);

-- What the pretended sender sent.
create table messages (
    step_contact_id uuid primary key,
    contact_id uuid not null,
    address text not null,
    text text not null
);

-- What an enrollment needs: an organization, a channel, and an active sequence with steps. `docs/hosts.md` explains the
-- statements. A real CRM writes these rows in its own forms.
insert into enroll.organizations (organization_id, name)
values ('00000000-0000-7000-8000-000000000001', 'CRM');
insert into enroll.channels (organization_id, id, kind, address)
values ('00000000-0000-7000-8000-000000000001', '00000000-0000-7000-8000-000000000002', 'phone', '+12025550100');
insert into enroll.sequences (organization_id, id, title, status, settings)
values ('00000000-0000-7000-8000-000000000001', '00000000-0000-7000-8000-000000000003', 'Welcome', 'active', '{}');
insert into enroll.steps (organization_id, sequence_id, id, position, channel_kind, channel_id) values
    ('00000000-0000-7000-8000-000000000001', '00000000-0000-7000-8000-000000000003',
        '00000000-0000-7000-8000-000000000004', 1, 'phone', '00000000-0000-7000-8000-000000000002'),
    ('00000000-0000-7000-8000-000000000001', '00000000-0000-7000-8000-000000000003',
        '00000000-0000-7000-8000-000000000005', 2, 'phone', '00000000-0000-7000-8000-000000000002');

-- For the sender: `docs/sending.md`.
create index my_due_step_contacts on enroll.step_contacts (organization_id, scheduled_at, id)
where status in ('pending', 'active');

-- The host's own table.
create table orders (
    number bigint primary key,
    phone text not null,
    name text not null check (name <> '')
);

-- What an enrollment needs: an organization, a channel, and an active sequence with a step. `docs/hosts.md` explains the
-- statements. Most hosts write these rows in their own forms.
insert into enroll.organizations (organization_id, name)
values ('00000000-0000-7000-8000-000000000001', 'Shop');
insert into enroll.channels (organization_id, id, kind, address)
values ('00000000-0000-7000-8000-000000000001', '00000000-0000-7000-8000-000000000002', 'phone', '+12025550100');
insert into enroll.sequences (organization_id, id, title, status, settings)
values ('00000000-0000-7000-8000-000000000001', '00000000-0000-7000-8000-000000000003', 'After an order', 'active', '{}');
insert into enroll.steps (organization_id, sequence_id, id, position, channel_kind, channel_id)
values ('00000000-0000-7000-8000-000000000001', '00000000-0000-7000-8000-000000000003',
    '00000000-0000-7000-8000-000000000004', 1, 'phone', '00000000-0000-7000-8000-000000000002');

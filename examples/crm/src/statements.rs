//! Statements of `docs/sending.md` and `docs/contacts.md`. A test compares them with the pages.

/// `$1` organization, `$2` now, `$3` how many at most.
pub const READ_DUE: &str = "
select id, contact_id, sequence_id, step_id, run_id, channel_id, status, scheduled_at
from enroll.step_contacts
where organization_id = $1 and status in ('pending', 'active') and scheduled_at <= $2
order by scheduled_at, id
limit $3
for update skip locked";

/// `$1` organization, `$2` step contact.
pub const READ_RECIPIENT: &str = "
select c.name, c.phone, c.email, c.state, coalesce(not p.opt_in, false) as opted_out
from enroll.step_contacts s
join enroll.contacts c on c.organization_id = s.organization_id and c.id = s.contact_id
left join enroll.communication_preferences p
    on p.organization_id = s.organization_id and p.contact_id = s.contact_id and p.channel_id = s.channel_id
where s.organization_id = $1 and s.id = $2";

/// `$1` organization, `$2` sequence, `$3` step.
pub const READ_NEXT_STEP: &str = "
select n.id, n.channel_kind, n.channel_id
from enroll.steps s
join enroll.steps n on n.organization_id = s.organization_id and n.sequence_id = s.sequence_id
    and (n.position, n.id) > (s.position, s.id)
where s.organization_id = $1 and s.sequence_id = $2 and s.id = $3
order by n.position, n.id
limit 1";

/// `$1` organization, `$2` step contact, `$3` next step, `$4` id of the new step contact, `$5` when it is due.
pub const MOVE_TO_NEXT_STEP: &str = "
with moved as (
    update enroll.step_contacts s set status = 'moved'
    from enroll.steps n
    where s.organization_id = $1 and s.id = $2 and s.status in ('pending', 'active')
        and n.organization_id = s.organization_id and n.sequence_id = s.sequence_id and n.id = $3
    returning s.*, n.channel_id as next_channel_id
)
insert into enroll.step_contacts (organization_id, id, run_id, sequence_id, step_id, contact_id, status, scheduled_at,
    channel_id, default_call_flow_id, enrollment_id)
select organization_id, $4, run_id, sequence_id, $3, contact_id, 'pending', $5,
    next_channel_id, default_call_flow_id, enrollment_id
from moved";

/// `$1` organization, `$2` step contact.
pub const FINISH_RUN: &str = "
with finished as (
    update enroll.step_contacts set status = 'finished'
    where organization_id = $1 and id = $2 and status in ('pending', 'active')
    returning organization_id, run_id
)
update enroll.runs r set status = 'finished'
from finished f
where r.organization_id = f.organization_id and r.id = f.run_id";

/// `$1` organization, `$2` sequence, `$3` contact.
pub const DEACTIVATE: &str = "
with deactivated as (
    update enroll.step_contacts set status = 'inactive'
    where organization_id = $1 and sequence_id = $2 and contact_id = $3 and status in ('pending', 'active')
    returning organization_id, run_id
)
update enroll.runs r set status = 'finished'
from deactivated d
where r.organization_id = d.organization_id and r.id = d.run_id";

/// `$1` organization, `$2` contact, `$3` channel.
pub const OPT_OUT: &str = "
insert into enroll.communication_preferences (organization_id, contact_id, channel_id, opt_in)
values ($1, $2, $3, false)
on conflict (organization_id, contact_id, channel_id) do update set opt_in = false";

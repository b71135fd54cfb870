//! spec 4.5: consent. No stage of the planner grants or weakens it.

use crate::contact::ContactState;
use crate::ids::ChannelId;
use crate::policy::{Consent, EnrollmentPolicy};
use crate::report::Reason;
use crate::snapshot::ContactAggregate;

/// Returns the reasons that forbid messages to a contact on the channel used: blocked, opted out, or both.
pub(super) fn refusals(
    aggregate: &ContactAggregate,
    channel_id: Option<ChannelId>,
    policy: &EnrollmentPolicy,
) -> impl Iterator<Item = Reason> {
    let enforced = policy.consent == Consent::Enforce;
    let blocked = enforced && aggregate.contact.state == ContactState::Blocked;
    let opted_out = channel_id.filter(|id| {
        enforced && aggregate.preferences.iter().any(|preference| preference.channel_id == *id && !preference.opt_in)
    });
    let blocked = blocked.then_some(Reason::Blocked);
    blocked.into_iter().chain(opted_out.map(|channel_id| Reason::OptedOut { channel_id }))
}

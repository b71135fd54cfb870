//! 4.5: consent. No path of the engine grants or weakens it.

use crate::contact::ContactState;
use crate::ids::ChannelId;
use crate::policy::{Consent, EnrollmentPolicy};
use crate::report::Reason;
use crate::snapshot::ContactAggregate;

/// Why a contact may not be reached on the channel used.
pub(super) fn refusals(
    person: &ContactAggregate,
    channel_id: Option<ChannelId>,
    policy: &EnrollmentPolicy,
) -> impl Iterator<Item = Reason> {
    let enforced = policy.consent == Consent::Enforce;
    let blocked = enforced && person.contact.state == ContactState::Blocked;
    let opted_out = channel_id.filter(|id| {
        enforced && person.preferences.iter().any(|preference| preference.channel_id == *id && !preference.opt_in)
    });
    let blocked = blocked.then_some(Reason::Blocked);
    blocked.into_iter().chain(opted_out.map(|channel_id| Reason::OptedOut { channel_id }))
}

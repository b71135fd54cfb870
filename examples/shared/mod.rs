//! A small organization for the examples.

use enroll::model::{Channel, ChannelKind, Sequence, Step};
use enroll::snapshot::{Version, Versioned};
use enroll::{ChannelId, OrganizationId, ReferenceData, SequenceId, Snapshot, StepId};
use uuid::Uuid;

pub(crate) const ORGANIZATION: OrganizationId = OrganizationId::from_uuid(Uuid::from_u128(1));
pub(crate) const SEQUENCE: SequenceId = SequenceId::from_uuid(Uuid::from_u128(2));

/// Returns an organization with an SMS channel and a sequence of two steps on it.
pub(crate) fn organization() -> Snapshot {
    let channel = Channel::new(ChannelId::from_uuid(Uuid::from_u128(3)), ChannelKind::Phone, "+12025550100");
    let steps = [4, 5].map(|n| {
        let mut step = Step::new(StepId::from_uuid(Uuid::from_u128(n)), 0, ChannelKind::Phone);
        step.channel_id = Some(channel.id);
        step
    });
    let sequence = Sequence::new(SEQUENCE, "Welcome", steps.to_vec());
    let mut reference = ReferenceData::new(ORGANIZATION);
    reference.channels.insert(channel.id, Versioned::new(Version::FIRST, channel));
    reference.sequences.insert(SEQUENCE, Versioned::new(Version::FIRST, sequence));
    Snapshot::new(reference)
}

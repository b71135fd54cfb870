//! Organizations in memory with accepted enrollments.

use enroll::model::{Channel, ChannelKind, Sequence, Step};
use enroll::snapshot::{Version, Versioned};
use enroll::uuid::Uuid;
use enroll::{
    ChannelId, Engine, Enrollment, EnrollmentId, EnrollmentKey, EnrollmentPolicy, EnrollmentRequest, EnrollmentState,
    InMemoryRepository, Inbox, OrganizationId, ReferenceData, SequenceId, Snapshot, StepId, Timestamp, accept,
};

pub(crate) const SEQUENCE: SequenceId = SequenceId::from_uuid(Uuid::from_u128(4));

pub(crate) fn organization_id(n: usize) -> OrganizationId {
    OrganizationId::from_uuid(Uuid::from_u128(0x100 + n as u128))
}

/// Returns a repository with a number of organizations. Each has one sequence with one step.
pub(crate) fn repository(organizations: usize) -> InMemoryRepository {
    let repository = InMemoryRepository::new();
    for n in 0..organizations {
        let channel = Channel::new(ChannelId::from_uuid(Uuid::from_u128(2)), ChannelKind::Phone, "+12025550100");
        let mut step = Step::new(StepId::from_uuid(Uuid::from_u128(3)), 1, ChannelKind::Phone);
        step.channel_id = Some(channel.id);
        let mut reference = ReferenceData::new(organization_id(n));
        reference.channels.insert(channel.id, Versioned::new(Version::FIRST, channel));
        let sequence = Sequence::new(SEQUENCE, "Welcome", vec![step]);
        reference.sequences.insert(SEQUENCE, Versioned::new(Version::FIRST, sequence));
        repository.insert(Snapshot::new(reference));
    }
    repository
}

/// Accepts a request of one person.
pub(crate) fn accept_one(inbox: &mut impl Inbox, organization_id: OrganizationId, key: &str) -> EnrollmentId {
    let request = EnrollmentRequest::from_json(br#"{"to": [{"phone": "+1 202 555 0123"}]}"#);
    let enrollment = Enrollment {
        organization_id,
        sequence_id: SEQUENCE,
        key: EnrollmentKey::Idempotency(key),
        at: Timestamp::EPOCH,
        list: None,
        request: &request,
    };
    let policy = EnrollmentPolicy::default();
    accept(inbox, &Engine::new(&policy), &enrollment).unwrap().enrollment_id
}

/// Returns the state of an enrollment, and the number of its attempts.
pub(crate) fn state(
    inbox: &mut impl Inbox,
    organization_id: OrganizationId,
    id: EnrollmentId,
) -> (EnrollmentState, u32) {
    let entry = inbox.find(organization_id, id).unwrap().unwrap();
    (entry.enrollment.state, entry.attempts)
}

//! Who stands, and who is sent.

use enroll::seed::{Demo, Seed};
use enroll::{Enrollment, EnrollmentKey, EnrollmentRequest, OrganizationId, SequenceId, StepId, Timestamp};
use std::ops::Range;

/// An organization with a sequence, and the bodies that are sent to it.
#[derive(Clone, Debug)]
pub struct Scene {
    /// The organization.
    pub given: Seed,
    /// Its sequence.
    pub sequence_id: SequenceId,
    /// The instant of what is sent.
    pub at: Timestamp,
    mixed: EnrollmentRequest<'static>,
}

impl Scene {
    /// The organization of `enroll demo` with the 1200 people that it knows.
    ///
    /// # Panics
    /// Never: a test of `enroll` makes it.
    #[must_use]
    pub fn demo() -> Self {
        let Demo { given, sequence_id, request, at, .. } = Demo::new().expect("the demo is whole");
        Self { given, sequence_id, at, mixed: request }
    }

    /// The same organization, which knows nobody yet.
    #[must_use]
    pub fn empty() -> Self {
        let mut scene = Self::demo();
        let given = &mut scene.given;
        given.contacts.clear();
        given.communication_preferences.clear();
        given.conversations.clear();
        given.runs.clear();
        given.step_contacts.clear();
        scene
    }

    /// The organization.
    #[must_use]
    pub fn organization_id(&self) -> OrganizationId {
        self.given.organization_id
    }

    /// The first `recipients` entries of the request of `enroll demo`.
    #[must_use]
    pub fn mixed(&self, recipients: usize) -> Vec<u8> {
        let mut request = self.mixed.clone();
        request.to.truncate(recipients);
        bytes(&request)
    }

    /// A request to this organization. What has the same key is the same enrollment.
    #[must_use]
    pub fn enrollment<'a>(&self, request: &'a EnrollmentRequest<'a>, key: &'a str) -> Enrollment<'a> {
        Enrollment {
            organization_id: self.organization_id(),
            sequence_id: self.sequence_id,
            key: EnrollmentKey::Idempotency(key),
            at: self.at,
            request,
        }
    }

    /// The second step of the sequence: whoever is sent there is ignored where they are sent without a step.
    #[must_use]
    pub fn second_step(&self) -> Option<StepId> {
        Some(self.given.sequences.first()?.row.steps.get(1)?.id)
    }
}

/// People whom nobody knows: see [`Demo::strangers`].
#[must_use]
pub fn strangers(people: Range<usize>) -> Vec<u8> {
    bytes(&Demo::strangers(people))
}

/// People of a large organization: see [`Demo::crowd`].
#[must_use]
pub fn crowd(people: Range<usize>) -> Vec<u8> {
    bytes(&Demo::crowd(people))
}

/// The same people, sent into another step.
///
/// # Panics
/// If the body is none that this crate made.
#[must_use]
pub fn into_step(body: &[u8], step: StepId) -> Vec<u8> {
    let mut request = EnrollmentRequest::from_json(body).into_owned();
    request.step_id = Some(step);
    bytes(&request)
}

/// A request as its sender writes it.
///
/// # Panics
/// Never: a request can be written.
#[must_use]
pub fn bytes(request: &EnrollmentRequest<'_>) -> Vec<u8> {
    serde_json::to_vec(request).expect("a request can be written")
}

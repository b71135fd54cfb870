//! The organization of the benches, and requests to it.

use enroll::seed::{Demo, Seed};
use enroll::{Enrollment, EnrollmentKey, EnrollmentRequest, OrganizationId, SequenceId, StepId, Timestamp};
use std::ops::Range;

/// An organization with a sequence, and a request to it.
#[derive(Clone, Debug)]
pub struct Scene {
    /// The organization.
    pub given: Seed,
    /// Its sequence.
    pub sequence_id: SequenceId,
    /// The instant of requests.
    pub at: Timestamp,
    mixed: EnrollmentRequest<'static>,
}

impl Scene {
    /// Returns the organization of `enroll demo` with its 1200 contacts.
    ///
    /// # Panics
    /// Never, since a test of `enroll` checks the demo.
    #[must_use]
    pub fn demo() -> Self {
        let Demo { given, sequence_id, request, at, .. } = Demo::new().expect("the demo is valid");
        Self { given, sequence_id, at, mixed: request }
    }

    /// Returns the same organization without contacts.
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

    /// Returns the id of the organization.
    #[must_use]
    pub fn organization_id(&self) -> OrganizationId {
        self.given.organization_id
    }

    /// Returns the body of `enroll demo` with its first `recipients` entries.
    #[must_use]
    pub fn mixed(&self, recipients: usize) -> Vec<u8> {
        let mut request = self.mixed.clone();
        request.to.truncate(recipients);
        bytes(&request)
    }

    /// Returns an enrollment of the request. The same key means the same enrollment.
    #[must_use]
    pub fn enrollment<'a>(&self, request: &'a EnrollmentRequest<'a>, key: &'a str) -> Enrollment<'a> {
        Enrollment {
            organization_id: self.organization_id(),
            sequence_id: self.sequence_id,
            key: EnrollmentKey::Idempotency(key),
            at: self.at,
            list: None,
            request,
        }
    }

    /// Returns the second step of the sequence. Contacts of the first step are ignored there.
    #[must_use]
    pub fn second_step(&self) -> Option<StepId> {
        Some(self.given.sequences.first()?.row.steps.get(1)?.id)
    }
}

/// Returns the body of [`Demo::strangers`].
#[must_use]
pub fn strangers(people: Range<usize>) -> Vec<u8> {
    bytes(&Demo::strangers(people))
}

/// Returns the body of [`Demo::crowd`].
#[must_use]
pub fn crowd(people: Range<usize>) -> Vec<u8> {
    bytes(&Demo::crowd(people))
}

/// Returns the body with another step.
///
/// # Panics
/// Panics if the body does not come from this crate.
#[must_use]
pub fn into_step(body: &[u8], step: StepId) -> Vec<u8> {
    let mut request = EnrollmentRequest::from_json(body).into_owned();
    request.step_id = Some(step);
    bytes(&request)
}

/// Returns the request as a body.
///
/// # Panics
/// Never, since every request serializes.
#[must_use]
pub fn bytes(request: &EnrollmentRequest<'_>) -> Vec<u8> {
    serde_json::to_vec(request).expect("a request serializes")
}

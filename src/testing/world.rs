//! Organizations for tests of a host, built row by row.

use super::print;
use super::strategies::pool::{
    CHANNEL, CONTACT, DAY, ENROLLMENT, NOW, ORGANIZATION, RUN, SEQUENCE, STEP, STEP_CONTACT, uuid,
};
use crate::answer::EnrollError;
use crate::command::{Engine, Enrollment, EnrollmentKey};
use crate::contact::{Contact, ContactState, Email, KeyKind};
use crate::enroll::enroll_contacts;
use crate::fault::Rejection;
use crate::ids::{ChannelId, ContactId, EnrollmentId, OrganizationId, RunId, SequenceId, StepContactId, StepId};
use crate::memory::InMemoryRepository;
use crate::model::{
    Channel, ChannelKind, CommunicationPreference, Run, RunStatus, Sequence, SequenceSettings, Step, StepContact,
    StepContactStatus,
};
use crate::policy::EnrollmentPolicy;
use crate::report::EnrollmentReport;
use crate::request::{EnrollmentRequest, Recipient};
use crate::seed::Seed;
use crate::time::Timestamp;

/// Returns an organization without rows, under the default policy.
///
/// ```
/// use enroll::model::ChannelKind;
/// use enroll::testing::fixture;
/// use enroll::{Disposition, Recipient};
///
/// let world = fixture().sequence("Welcome").step(ChannelKind::Phone).contact("+12025550123").finished_run();
/// let report = world.enroll([Recipient::new("(202) 555-0123"), Recipient::new("(202) 555-0187")]);
/// assert_eq!(report.outcomes[0].disposition, Disposition::Reprocessed);
/// assert_eq!(report.outcomes[1].disposition, Disposition::Added);
/// ```
pub fn fixture() -> World {
    let mut seed = Seed::new(OrganizationId::from_uuid(uuid(ORGANIZATION, 0)));
    seed.now = instant(NOW);
    World { seed }
}

/// An organization that a test builds. Each method adds a row, or completes the last one; the others have defaults.
///
/// The rows are those of a [`Seed`], so a test can also load them into a database. `Debug` prints one row on each line.
#[derive(Clone)]
#[must_use = "a method returns the world with another row"]
pub struct World {
    seed: Seed,
}

impl World {
    /// Sets the policy of all requests.
    pub fn policy(mut self, policy: EnrollmentPolicy) -> Self {
        self.seed.policy = policy;
        self
    }

    /// Adds an active sequence without steps. The following methods are about the last sequence.
    pub fn sequence(self, title: &str) -> Self {
        let id = SequenceId::from_uuid(uuid(SEQUENCE, self.seed.sequences.len()));
        self.add_sequence(Sequence::new(id, title, Vec::new()))
    }

    /// Sets the settings of the last sequence.
    ///
    /// # Panics
    /// Panics without a sequence.
    pub fn settings(mut self, settings: SequenceSettings) -> Self {
        self.last_sequence("settings").settings = settings;
        self
    }

    /// Adds a step to the end of the last sequence. Its channel is the organization's channel of this kind, which is
    /// added too if it does not exist.
    ///
    /// # Panics
    /// Panics without a sequence.
    pub fn step(mut self, kind: ChannelKind) -> Self {
        let channel_id = self.channel(kind);
        let number = self.seed.sequences.iter().map(|row| row.row.steps.len()).sum();
        let sequence = self.last_sequence("step");
        let position = sequence.steps.iter().map(|step| step.position).max().unwrap_or(0) + 1;
        let mut step = Step::new(StepId::from_uuid(uuid(STEP, number)), position, kind);
        step.channel_id = Some(channel_id);
        sequence.steps.push(step);
        self
    }

    /// Adds a sequence, such as one of [`sequence_with`](super::sequence_with). Steps without a channel get one.
    pub fn add_sequence(mut self, mut sequence: Sequence) -> Self {
        for step in &mut sequence.steps {
            step.channel_id = step.channel_id.or_else(|| Some(self.channel(step.channel_kind)));
        }
        self.seed.sequences.push(sequence.into());
        self
    }

    /// Adds a contact by a key: a phone in E.164 if it begins with `+`, an email address if it contains `@`, otherwise an
    /// external id. The following methods are about the last contact.
    pub fn contact(self, key: &str) -> Self {
        let mut contact = Contact::new(ContactId::from_uuid(uuid(CONTACT, self.seed.contacts.len())));
        if key.starts_with('+') {
            contact.phone = Some(key.into());
        } else if key.contains('@') {
            contact.email = Some(Email::stored(key));
        } else {
            contact.external_id = Some(key.into());
        }
        self.add_contact(contact)
    }

    /// Adds a contact, such as one of [`contact`](super::contact). If its id or a key belongs to another contact, it gets
    /// another id, or loses the key.
    pub fn add_contact(mut self, mut contact: Contact) -> Self {
        let contacts = &self.seed.contacts;
        if contacts.iter().any(|row| row.row.id == contact.id) {
            contact.id = ContactId::from_uuid(uuid(CONTACT, contacts.len()));
        }
        for kind in KeyKind::ALL {
            let key = contact.key(kind);
            if key.is_some() && contacts.iter().any(|row| row.row.key(kind) == key) {
                match kind {
                    KeyKind::ExternalId => contact.external_id = None,
                    KeyKind::Phone => contact.phone = None,
                    KeyKind::Email => contact.email = None,
                }
            }
        }
        self.seed.contacts.push(contact.into());
        self
    }

    /// Sets the state of the last contact.
    ///
    /// # Panics
    /// Panics without a contact.
    pub fn state(mut self, state: ContactState) -> Self {
        let Some(row) = self.seed.contacts.last_mut() else { missing("state", "a contact") };
        row.row.state = state;
        self
    }

    /// Adds an opt-out of the last contact, from the organization's channel of a kind.
    ///
    /// # Panics
    /// Panics without a contact.
    pub fn opted_out(mut self, kind: ChannelKind) -> Self {
        let contact_id = self.last_contact("opted_out");
        let preference = CommunicationPreference::new(contact_id, self.channel(kind), false);
        self.seed.communication_preferences.push(preference.into());
        self
    }

    /// Adds a finished run of the last contact through the last sequence, in its first step, ten days ago.
    ///
    /// # Panics
    /// Panics without a contact, or without a step.
    pub fn finished_run(self) -> Self {
        self.run("finished_run", StepContactStatus::Finished)
    }

    /// Adds a run of the last contact through the last sequence: active in its first step, since ten days.
    ///
    /// # Panics
    /// Panics without a contact, or without a step.
    pub fn active_run(self) -> Self {
        self.run("active_run", StepContactStatus::Active)
    }

    /// Adds a run of the last contact through the last sequence: pending in its first step, since ten days.
    ///
    /// # Panics
    /// Panics without a contact, or without a step.
    pub fn pending_run(self) -> Self {
        self.run("pending_run", StepContactStatus::Pending)
    }

    fn run(mut self, method: &str, status: StepContactStatus) -> Self {
        let contact_id = self.last_contact(method);
        let sequence = self.last_sequence(method);
        let (sequence_id, first) = (sequence.id, sequence.first_step().copied());
        let Some(step) = first else { missing(method, "a step") };
        let number = self.seed.runs.len();
        let started_at = instant(NOW - 10 * DAY).unwrap_or(Timestamp::EPOCH);
        let mut run = Run::new(RunId::from_uuid(uuid(RUN, number)), sequence_id, contact_id, started_at);
        let step_contact_id = StepContactId::from_uuid(uuid(STEP_CONTACT, number));
        let mut step_contact = StepContact::new(step_contact_id, &run, step.id);
        (step_contact.status, step_contact.channel_id) = (status, step.channel_id);
        run.status = if status.is_live() { RunStatus::Active } else { RunStatus::Finished };
        self.seed.runs.push(run.into());
        self.seed.step_contacts.push(step_contact.into());
        self
    }

    /// Returns the rows, also to load them into a database.
    #[must_use]
    pub fn seed(&self) -> &Seed {
        &self.seed
    }

    /// Returns the id of the last sequence.
    ///
    /// # Panics
    /// Panics without a sequence.
    #[must_use]
    pub fn sequence_id(&self) -> SequenceId {
        let Some(row) = self.seed.sequences.last() else { missing("sequence_id", "a sequence") };
        row.row.id
    }

    /// Returns the id of the last contact.
    ///
    /// # Panics
    /// Panics without a contact.
    #[must_use]
    pub fn contact_id(&self) -> ContactId {
        self.last_contact("contact_id")
    }

    /// Returns a repository in memory with the rows.
    ///
    /// # Panics
    /// Panics if a row refers to a contact that does not exist.
    #[must_use]
    pub fn repository(&self) -> InMemoryRepository {
        super::repository(&self.seed)
    }

    /// Enrolls recipients into the first step of the last sequence, in memory.
    ///
    /// # Panics
    /// Panics if the request is refused.
    #[must_use]
    #[expect(clippy::panic, reason = "a test must fail with the faults")]
    pub fn enroll<'a>(&self, to: impl IntoIterator<Item = Recipient<'a>>) -> EnrollmentReport {
        match self.enroll_request(&EnrollmentRequest::new(to)) {
            Ok(report) => report,
            Err(rejection) => panic!("the request is refused: {rejection}\n{self:?}"),
        }
    }

    /// Enrolls a request into the last sequence, in memory. The rows of the world stay as they are.
    ///
    /// # Errors
    /// The [`Rejection`] with all faults, if the request is refused.
    ///
    /// # Panics
    /// Panics without a sequence.
    #[expect(clippy::panic, reason = "a test must fail with the error")]
    pub fn enroll_request(&self, request: &EnrollmentRequest<'_>) -> Result<EnrollmentReport, Rejection> {
        let enrollment = Enrollment {
            organization_id: self.seed.organization_id,
            sequence_id: self.sequence_id(),
            key: EnrollmentKey::Id(EnrollmentId::from_uuid(uuid(ENROLLMENT, 0))),
            at: self.seed.now.unwrap_or(Timestamp::EPOCH),
            list: None,
            request,
        };
        match enroll_contacts(&mut self.repository(), &Engine::new(&self.seed.policy), &enrollment) {
            Ok(enrolled) => Ok(enrolled.report),
            Err(EnrollError::Rejected(rejection)) => Err(rejection),
            Err(e) => panic!("{e}\n{self:?}"),
        }
    }

    /// Returns the organization's channel of a kind, and adds it if it does not exist.
    fn channel(&mut self, kind: ChannelKind) -> ChannelId {
        if let Some(row) = self.seed.channels.iter().find(|row| row.row.kind == kind) {
            return row.row.id;
        }
        let id = ChannelId::from_uuid(uuid(CHANNEL, self.seed.channels.len()));
        let address = if kind.is_phone() { "+12025550100" } else { "hello@example.com" };
        self.seed.channels.push(Channel::new(id, kind, address).into());
        id
    }

    fn last_sequence(&mut self, method: &str) -> &mut Sequence {
        match self.seed.sequences.last_mut() {
            Some(row) => &mut row.row,
            None => missing(method, "a sequence"),
        }
    }

    fn last_contact(&self, method: &str) -> ContactId {
        match self.seed.contacts.last() {
            Some(row) => row.row.id,
            None => missing(method, "a contact"),
        }
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&print::given(&self.seed))
    }
}

#[expect(clippy::panic, reason = "a mistake of the test")]
fn missing(method: &str, what: &str) -> ! {
    panic!("`{method}` needs {what}: call the method that adds it first")
}

fn instant(millis: i64) -> Option<Timestamp> {
    Timestamp::from_millis(millis).ok()
}

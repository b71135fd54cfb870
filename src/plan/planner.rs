//! The planner: runs the stages for each recipient, in input order.

use std::collections::BTreeMap;

use super::change_set::{ChangeSetBuilder, reference_guards};
use super::enrollment::{Decision, decide};
use super::key_index::{ContactIndex, KeyIndex};
use super::target::Target;
use super::{consent, eligibility, identity};
use crate::changes::{ChangeSet, Completion, CompletionMode, RowChanges};
use crate::command::{CheckedRecipient, EnrollmentCommand};
use crate::fault::Rejection;
use crate::ids::{ContactId, Minter, TagId};
use crate::model::Tag;
use crate::policy::AddressSource;
use crate::report::{Disposition, EnrollmentReport, Outcome, Outcomes, ReportVersion, UploadTag};
use crate::snapshot::{ContactAggregate, ReferenceData, Snapshot};
use crate::stored_enrollment::EnrollmentState;
use crate::time::Timestamp;

/// The result of planning an enrollment: the change set to commit, and the report about it.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct EnrollmentPlan {
    changes: ChangeSet,
    report: EnrollmentReport,
}

impl EnrollmentPlan {
    /// Returns the rows to write, with their guards and the completion of the enrollment.
    #[must_use]
    pub fn changes(&self) -> &ChangeSet {
        &self.changes
    }

    /// Returns the report: one outcome for each recipient.
    #[must_use]
    pub fn report(&self) -> &EnrollmentReport {
        &self.report
    }

    pub(crate) fn into_parts(self) -> (ChangeSet, EnrollmentReport) {
        (self.changes, self.report)
    }

    /// Returns the report and drops the change set.
    #[must_use]
    pub fn into_report(self) -> EnrollmentReport {
        self.report
    }
}

/// Plans an enrollment on the facts of a snapshot. It applies all rules of spec section 4 and does no I/O.
///
/// The same command and the same facts always give the same plan, byte for byte. The plan guards each fact that its
/// rows depend on. Other facts do not change it.
///
/// ```
/// use enroll::model::{ChannelKind, Sequence, Step};
/// use enroll::snapshot::{Version, Versioned};
/// use enroll::{
///     Engine, Enrollment, EnrollmentCommand, EnrollmentKey, EnrollmentPolicy, EnrollmentRequest, OrganizationId,
///     ReferenceData, SequenceId, Snapshot, StepId, plan_enrollment,
/// };
/// use uuid::Uuid;
///
/// // The organization has an active sequence with one step, and no contacts.
/// let organization_id = OrganizationId::from_uuid(Uuid::from_u128(1));
/// let sequence_id = SequenceId::from_uuid(Uuid::from_u128(2));
/// let step = Step::new(StepId::from_uuid(Uuid::from_u128(3)), 1, ChannelKind::Phone);
/// let sequence = Sequence::new(sequence_id, "Welcome", vec![step]);
/// let mut reference = ReferenceData::new(organization_id);
/// reference.sequences.insert(sequence_id, Versioned::new(Version::FIRST, sequence));
///
/// let enrollment = Enrollment {
///     organization_id,
///     sequence_id,
///     key: EnrollmentKey::Idempotency("import-7"),
///     at: "2026-02-01T15:00:00Z".parse()?,
///     list: None,
///     request: &EnrollmentRequest::from_json(br#"{"to": [{"phone": "+1 202 555 0123", "name": "Ann"}]}"#),
/// };
/// let command = EnrollmentCommand::check(&enrollment, &reference, &Engine::new(&EnrollmentPolicy::default()))?;
/// let plan = plan_enrollment(&command, &Snapshot::new(reference))?;
///
/// assert_eq!(plan.report().counts().added, 1);
/// let contact = &plan.changes().rows().contacts_created[0];
/// assert_eq!(contact.phone.as_deref(), Some("+12025550123"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// Returns a [`Rejection`] if the sequence, step, channel, custom object or call flow became unusable after the
/// check of the command. Its codes are those of spec section 3.
pub fn plan_enrollment(command: &EnrollmentCommand, snapshot: &Snapshot) -> Result<EnrollmentPlan, Rejection> {
    let target = Target::find(command, &snapshot.reference)?;
    let mut planner = Planner {
        command,
        reference: &snapshot.reference,
        tags: &snapshot.tags,
        target,
        keys: KeyIndex::new(snapshot, command.recipients()),
        minter: Minter::new(command.organization_id(), command.enrollment_id(), command.at()),
        upload_tag: None,
        changes: ChangeSetBuilder::new(command.recipients().len(), snapshot.contacts.len()),
    };
    let recipients = command.recipients().iter().enumerate();
    let outcomes = recipients.map(|(index, recipient)| planner.plan_recipient(index, recipient)).collect();
    Ok(planner.finish(outcomes))
}

/// Returns the change set for an accepted enrollment that [`plan_enrollment`] rejects. It writes only the rejection.
pub(crate) fn reject_enrollment(
    command: &EnrollmentCommand,
    snapshot: &Snapshot,
    rejection: Rejection,
    at: Timestamp,
) -> ChangeSet {
    let mut enrollment = command.stored(EnrollmentState::Rejected { rejection });
    enrollment.completed_at = Some(at);
    let completion = Completion { mode: CompletionMode::Finish, enrollment };
    let guards = reference_guards(command, &snapshot.reference);
    ChangeSet::new(command.organization_id(), command.at(), guards, RowChanges::default(), completion)
}

/// The state of planning: the facts, the current owners of keys, and the changes so far.
pub(super) struct Planner<'a> {
    pub(super) command: &'a EnrollmentCommand,
    pub(super) reference: &'a ReferenceData,
    pub(super) tags: &'a BTreeMap<TagId, Tag>,
    pub(super) target: Target<'a>,
    pub(super) keys: KeyIndex<'a>,
    pub(super) minter: Minter,
    /// The upload tag, once a contact has it.
    pub(super) upload_tag: Option<UploadTag>,
    pub(super) changes: ChangeSetBuilder<'a>,
}

impl<'a> Planner<'a> {
    /// Runs all stages for one recipient.
    fn plan_recipient(&mut self, index: usize, recipient: &'a CheckedRecipient) -> Outcome {
        let (policy, kind) = (self.command.policy(), self.target.step.channel_kind);
        // spec 4.3: the first key that finds a contact decides.
        let found = self.keys.find(recipient);
        let contact = found.map(|found| self.keys.contact(found));
        let reserved_by = contact.and_then(|contact| contact.reserved_by);
        // spec 4.2
        let eligibility = eligibility::check(recipient, kind, policy, contact);

        let mut outcome = Outcome::new(index, Disposition::Ignored);
        outcome.contact_id = contact.map(|contact| contact.id);
        outcome.reasons.extend(eligibility.reason);
        let eligible = outcome.reasons.is_empty();

        // A new contact needs no record: it gets all its keys, and claiming a key guards it. A recipient that is
        // rejected on its entry alone depends on no stored fact.
        let rejected_by_entry = !eligible && policy.address_source == AddressSource::EntryOnly;
        if !rejected_by_entry && (found.is_some() || !eligible) {
            self.changes.record_dependencies(recipient, &self.keys);
        }

        // spec 4.4: an earlier recipient reserved this contact. The other stages do not run.
        if reserved_by.is_some() {
            outcome.notes = eligibility.notes;
            if eligible {
                outcome.disposition = Disposition::Duplicate;
                outcome.duplicate_of = reserved_by;
            }
            return outcome;
        }
        outcome.notes.extend(identity::unknown_default_channel(recipient, self.reference));
        outcome.notes.extend(eligibility.notes);

        match found {
            None if eligible => self.enroll_new(recipient, &mut outcome),
            None => {}
            Some(found) => self.enroll_existing(found, recipient, &mut outcome),
        }
        outcome
    }

    /// Creates a contact for a recipient whose keys find none, and adds it to the step (D2).
    fn enroll_new(&mut self, recipient: &'a CheckedRecipient, outcome: &mut Outcome) {
        let contact_id = self.create_contact(outcome.index, recipient);
        outcome.contact_id = Some(contact_id);
        outcome.contact_created = true;
        outcome.disposition = Disposition::Added;
        outcome.step_contact_id = Some(self.add_to_step(outcome.index, contact_id));
        self.add_related_rows(contact_id, None, outcome);
    }

    /// Enrolls a contact that exists and that no earlier recipient reserved.
    ///
    /// All gates run, also after one has refused: the outcome reports every reason (spec 5).
    fn enroll_existing(&mut self, found: ContactIndex, recipient: &'a CheckedRecipient, outcome: &mut Outcome) {
        let (command, kind) = (self.command, self.target.step.channel_kind);
        let Some(aggregate) = self.keys.contact(found).aggregate else {
            return;
        };
        let eligible = outcome.reasons.is_empty();

        // spec 4.3
        let mut identity =
            identity::reconcile(&self.keys, found, aggregate, recipient, self.reference, command.policy());
        outcome.notes.append(&mut identity.notes);
        outcome.reasons.append(&mut identity.reasons);
        if eligible {
            outcome.reasons.extend(identity::unreachable(&identity, aggregate, kind));
        }
        // spec 4.5
        let channel_id = self.target.channel.map(|channel| channel.id);
        outcome.reasons.extend(consent::refusals(aggregate, channel_id, command.policy()));
        // spec 4.6
        let decision = decide(aggregate, self.target.sequence, self.target.step.id, command);
        let disposition = decision.disposition();
        let reprocessed = match decision {
            Decision::Refuse(reason) => {
                outcome.reasons.push(reason);
                None
            }
            Decision::Reprocess(step_contact) => Some(step_contact),
            Decision::Add | Decision::ReAdd => None,
        };
        if !outcome.reasons.is_empty() {
            return;
        }

        self.update_contact(found, aggregate, recipient, identity, outcome.index);
        let contact_id = aggregate.contact.id;
        outcome.disposition = disposition;
        outcome.step_contact_id = Some(match reprocessed {
            Some(step_contact) => self.reprocess(step_contact, aggregate),
            None => self.add_to_step(outcome.index, contact_id),
        });
        self.add_related_rows(contact_id, Some(aggregate), outcome);
    }

    /// Adds the rows of spec 4.7 and 4.8 that an enrolled contact gets. `aggregate` is absent for a new contact.
    fn add_related_rows(
        &mut self,
        contact_id: ContactId,
        aggregate: Option<&'a ContactAggregate>,
        outcome: &mut Outcome,
    ) {
        self.add_conversation(contact_id, aggregate, outcome);
        self.add_upload_tag(contact_id, aggregate);
        self.write_record(contact_id, aggregate, outcome);
    }

    fn finish(mut self, outcomes: Outcomes) -> EnrollmentPlan {
        let command = self.command;
        let channel_id = self.target.channel.map(|channel| channel.id);
        if let Some(id) = channel_id {
            self.changes.guard_channel(id, self.reference);
        }
        let accepted_keys = self.accepted_keys();
        let report = EnrollmentReport {
            v: ReportVersion::FIRST,
            enrollment_id: command.enrollment_id(),
            at: command.at(),
            sequence_id: command.sequence_id(),
            step_id: self.target.step.id,
            channel_id,
            upload_tag: self.upload_tag,
            accepted_keys,
            warnings: command.warnings().to_vec(),
            outcomes,
        };
        let (rows, guards) = self.changes.build(self.reference, command, &self.keys);
        let mut enrollment = command.stored(EnrollmentState::Completed { report: report.clone() });
        enrollment.completed_at = Some(command.at());
        let completion = Completion::create(enrollment);
        let changes = ChangeSet::new(command.organization_id(), command.at(), guards, rows, completion);
        EnrollmentPlan { changes, report }
    }
}

//! The rules (SPEC 4): facts in, decisions out, one file a stage, in the order of the SPEC.
//!
//! - `eligibility`: 4.2, the address that the step needs
//! - `identity`: 4.3 and 4.4, who the recipient is
//! - `consent`: 4.5
//! - `enrollment`: 4.6, what becomes of them
//! - `conversation`, `tag`, `custom_data`: 4.7 and 4.8, what goes with it
//!
//! Phones and emails are normalized (4.1) when the request is checked.

mod consent;
mod conversation;
mod custom_data;
mod eligibility;
mod enrollment;
mod identity;
mod rows;
mod tag;

pub use enrollment::Row;

use crate::changes::{ChangeSet, Completion, CompletionMode, ContactFields, RowChanges};
use crate::command;
use crate::command::{CheckedRecipient, EnrollmentCommand};
use crate::fault::{Fault, Rejection};
use crate::ids::{ChannelId, Minter};
use crate::model::{Channel, Resource, Sequence, Step};
use crate::policy::AddressSource;
use crate::report::{Disposition, EnrollmentReport, Outcome, Outcomes};
use crate::snapshot::{ContactAggregate, ReferenceData, Snapshot};
use crate::stored_enrollment::{EnrollmentState, StoredEnrollment};
use crate::time::Timestamp;
use custom_data::Definitions;
use identity::{Slot, World};
use rows::Draft;

/// What an enrollment would do: the change set to commit, and the report of it.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct EnrollmentPlan {
    changes: ChangeSet,
    report: EnrollmentReport,
}

impl EnrollmentPlan {
    /// What it writes.
    #[must_use]
    pub fn changes(&self) -> &ChangeSet {
        &self.changes
    }

    /// What it does, in words for the sender.
    #[must_use]
    pub fn report(&self) -> &EnrollmentReport {
        &self.report
    }

    pub(crate) fn into_parts(self) -> (ChangeSet, EnrollmentReport) {
        (self.changes, self.report)
    }

    /// The report alone.
    #[must_use]
    pub fn into_report(self) -> EnrollmentReport {
        self.report
    }
}

/// Plans an enrollment on the facts of a snapshot: all the rules of SPEC 4, and no I/O.
///
/// Pure: the same command and the same facts give the same plan, to the byte. Facts that it does not rest on do not
/// change it; those that something written rests on are its guards.
///
/// # Errors
/// [`Rejection`] if the sequence, step, channel, custom object or call flow has become unusable since the command
/// was checked, with the codes of SPEC 3.
pub fn plan_enrollment(command: &EnrollmentCommand, snapshot: &Snapshot) -> Result<EnrollmentPlan, Rejection> {
    let target = Target::find(command, &snapshot.reference)?;
    let mut planner = Planner {
        command,
        reference: &snapshot.reference,
        world: World::new(snapshot, command.recipients()),
        minter: Minter::new(command.organization_id(), command.enrollment_id(), command.at()),
        draft: Draft::new(command.recipients().len(), snapshot.contacts.len()),
        target,
    };
    let outcomes = command.recipients().iter().enumerate().map(|(index, r)| planner.recipient(index, r)).collect();
    Ok(planner.finish(outcomes))
}

/// The end of an accepted enrollment that [`plan_enrollment`] refuses: it is rejected, and nothing else is written.
pub(crate) fn reject_enrollment(
    command: &EnrollmentCommand,
    snapshot: &Snapshot,
    rejection: Rejection,
    at: Timestamp,
) -> ChangeSet {
    let mut enrollment = StoredEnrollment::new(
        command.enrollment_id(),
        command.sequence_id(),
        command.fingerprint(),
        command.at(),
        EnrollmentState::Rejected { rejection },
    );
    enrollment.completed_at = Some(at);
    let completion = Completion { verb: CompletionMode::Finish, enrollment };
    let guards = rows::reference_guards(command, &snapshot.reference);
    ChangeSet::new(command.organization_id(), command.at(), guards, RowChanges::default(), completion)
}

/// What contacts are added to, found again on today's facts.
struct Target<'a> {
    sequence: &'a Sequence,
    step: &'a Step,
    channel: Option<&'a Channel>,
    custom_data: Option<(Definitions<'a>, Resource)>,
}

impl<'a> Target<'a> {
    fn find(command: &EnrollmentCommand, reference: &'a ReferenceData) -> Result<Self, Rejection> {
        let id = command.sequence_id();
        let Some(versioned) = reference.sequences.get(&id) else {
            return Err(command::sequence_not_found(id).into());
        };
        let sequence = &*versioned.value;
        let mut faults: Vec<Fault> = command::sequence_fault(sequence, Some(command.step_id())).into_iter().collect();
        let step = sequence.step(command.step_id());
        let mut channel = None;
        if let Some(used) = command.channel() {
            channel = reference.channels.get(&used.id).map(|channel| &*channel.value);
            let path = if used.from_request { "/from" } else { "/step_id" };
            let what = format!("channel `{}`", used.id);
            faults.extend(command::channel_fault(channel, step.map(|step| step.channel_kind), path, &what));
        }
        let mut custom_data = None;
        if let Some((id, resource)) = command.custom_data() {
            faults.extend(command::custom_object_fault(reference, id));
            custom_data = reference.custom_objects.get(&id).map(|object| (Definitions::of(&object.value), resource));
        }
        faults.extend(command.call_flow_id().and_then(|id| command::call_flow_fault(reference, id)));
        match (Rejection::of(faults), step) {
            (None, Some(step)) => Ok(Self { sequence, step, channel, custom_data }),
            (Some(rejection), _) => Err(rejection),
            (None, None) => Err(command::sequence_not_found(id).into()),
        }
    }
}

/// The state of planning: the facts, who took whom, and what is to be written so far.
struct Planner<'a> {
    command: &'a EnrollmentCommand,
    reference: &'a ReferenceData,
    world: World<'a>,
    minter: Minter,
    draft: Draft<'a>,
    target: Target<'a>,
}

impl<'a> Planner<'a> {
    fn recipient(&mut self, index: usize, recipient: &'a CheckedRecipient) -> Outcome {
        let (command, kind) = (self.command, self.target.step.channel_kind);
        let found = self.world.find(recipient);
        let eligibility =
            eligibility::judge(recipient, kind, command.policy(), found.map(|slot| self.world.slot(slot)));

        let mut outcome = Outcome::new(index, Disposition::Ignored);
        outcome.contact_id = found.map(|slot| self.world.slot(slot).id);
        outcome.reasons.extend(eligibility.reason);

        // A new contact claims all its keys; whoever can never be enrolled rests on nothing.
        let never = !outcome.reasons.is_empty() && command.policy().address_source == AddressSource::EntryOnly;
        if !never && (found.is_some() || !outcome.reasons.is_empty()) {
            self.draft.consult(recipient, &self.world);
        }

        // 4.4: whom an earlier recipient took is a duplicate, and is asked no further.
        if let Some(taken_by) = found.and_then(|slot| self.world.slot(slot).taken_by) {
            outcome.notes = eligibility.notes;
            if outcome.reasons.is_empty() {
                outcome.disposition = Disposition::Duplicate;
                outcome.duplicate_of = Some(taken_by);
            }
            return outcome;
        }
        outcome.notes.extend(identity::unknown_default_channel(recipient, self.reference));
        outcome.notes.extend(eligibility.notes);

        match found {
            None if outcome.reasons.is_empty() => self.enroll_new(index, recipient, &mut outcome),
            None => {}
            Some(slot) => self.enroll_existing(slot, recipient, &mut outcome),
        }
        outcome
    }

    /// No contact corresponds to the entry: one is made (D2).
    fn enroll_new(&mut self, index: usize, recipient: &'a CheckedRecipient, outcome: &mut Outcome) {
        let contact = self.draft.contact(&self.minter, index, recipient, self.reference, self.command.at());
        outcome.contact_id = Some(contact);
        outcome.contact_created = true;
        self.world.create(contact, index, recipient);
        self.guard_default_channel(recipient);
        let entered = self.draft.enter(&self.minter, index, contact, &self.target, self.command);
        outcome.disposition = Disposition::Added;
        outcome.step_contact_id = Some(entered);
        self.goes_with_it(contact, None, outcome);
    }

    /// The entry's keys find a contact that nobody took: every gate is asked, and every reason told (SPEC 5).
    fn enroll_existing(&mut self, slot: Slot, recipient: &'a CheckedRecipient, outcome: &mut Outcome) {
        let (command, index) = (self.command, outcome.index);
        let Some(person) = self.world.slot(slot).person else {
            return;
        };
        let eligible = outcome.reasons.is_empty();

        let identity = identity::reconcile(&self.world, slot, person, recipient, self.reference, command.policy());
        outcome.notes.extend(identity.notes.iter().cloned());
        outcome.reasons.extend(identity.reasons.iter().cloned());
        if eligible {
            outcome.reasons.extend(identity::unreachable(&identity, person, self.target.step.channel_kind));
        }
        let channel_id = self.target.channel.map(|channel| channel.id);
        outcome.reasons.extend(consent::refusals(person, channel_id, command.policy()));
        let decision = enrollment::decide(person, self.target.sequence, self.target.step.id, command);
        outcome.reasons.extend(decision.refusal());
        if !outcome.reasons.is_empty() {
            return;
        }

        self.world.take(slot, index, &identity);
        self.guard_default_channel(recipient);
        self.draft.update(person, identity.set);
        let contact = person.contact.id;
        outcome.disposition = decision.disposition();
        outcome.step_contact_id = Some(match decision.reprocessed() {
            Some(step_contact) => self.draft.reprocess(step_contact, person, &self.target, command),
            None => self.draft.enter(&self.minter, index, contact, &self.target, command),
        });
        self.goes_with_it(contact, Some(person), outcome);
    }

    /// 4.7 and 4.8: what goes with an enrollment.
    fn goes_with_it(
        &mut self,
        contact: crate::ids::ContactId,
        person: Option<&'a ContactAggregate>,
        outcome: &mut Outcome,
    ) {
        let index = outcome.index;
        if let Some(channel) = self.target.channel {
            let standing = person.and_then(|person| conversation::standing(person, channel));
            outcome.conversation_created = standing.is_none();
            outcome.conversation_id = Some(standing.unwrap_or_else(|| {
                self.draft.conversation(&self.minter, index, contact, channel.id, self.command.at())
            }));
        }
        self.draft.tag(&self.minter, contact, self.command);
        if let (Some((definitions, resource)), Some(step_contact)) = (&self.target.custom_data, outcome.step_contact_id)
        {
            let object_id = definitions.object_id();
            let resource_id = match resource {
                Resource::Contact => contact.as_uuid(),
                Resource::StepContact => step_contact.as_uuid(),
            };
            let standing = person.and_then(|person| custom_data::standing(person, object_id, *resource, resource_id));
            let given = &self.command.recipients()[index].properties;
            match definitions.merged(standing.map(|record| &record.properties), given) {
                Ok(properties) => {
                    let record = self.draft.record(
                        &self.minter,
                        index,
                        contact,
                        standing,
                        (object_id, *resource, resource_id),
                        properties,
                    );
                    outcome.record_id = Some(record);
                }
                Err(note) => outcome.notes.push(note),
            }
        }
    }

    fn guard_default_channel(&mut self, recipient: &CheckedRecipient) {
        if let Some(id) = recipient.default_channel_id {
            self.draft.guard_channel(id, self.reference);
        }
    }

    fn finish(mut self, outcomes: Outcomes) -> EnrollmentPlan {
        let (command, target) = (self.command, &self.target);
        if let Some(channel) = target.channel {
            self.draft.guard_channel(channel.id, self.reference);
        }
        let report = EnrollmentReport {
            v: 1,
            enrollment_id: command.enrollment_id(),
            at: command.at(),
            sequence_id: command.sequence_id(),
            step_id: target.step.id,
            channel_id: target.channel.map(|channel| channel.id),
            upload_tag: self.draft.upload_tag(),
            outcomes,
        };
        let guards = self.draft.guards(self.reference, command, &self.world);
        let completion = Completion::create(StoredEnrollment::completed(command.fingerprint(), report.clone()));
        let rows = self.draft.into_rows();
        let changes = ChangeSet::new(command.organization_id(), command.at(), guards, rows, completion);
        EnrollmentPlan { changes, report }
    }
}

/// Whether the organization has such a channel.
fn known_channel(id: Option<ChannelId>, reference: &ReferenceData) -> Option<ChannelId> {
    id.filter(|id| reference.channels.contains_key(id))
}

/// The fields of an entry that are not keys.
fn plain_fields(recipient: &CheckedRecipient, reference: &ReferenceData) -> ContactFields {
    let mut fields = ContactFields::default();
    fields.name.clone_from(&recipient.name);
    fields.language.clone_from(&recipient.language);
    fields.default_channel_id = known_channel(recipient.default_channel_id, reference);
    fields.address.clone_from(&recipient.address);
    fields.birth_date = recipient.birth_date;
    fields
}

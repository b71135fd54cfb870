//! spec 4.6: the decision table over the contact's step contacts in the sequence, and the step contact of 4.7.

use super::planner::Planner;
use crate::changes::{RunReactivation, StepContactUpdate};
use crate::command::EnrollmentCommand;
use crate::ids::{ContactId, RowKind, StepContactId, StepId};
use crate::model::{OnReAdd, Run, RunStatus, Sequence, StepContact, StepContactStatus};
use crate::policy::Reprocess;
use crate::report::{Disposition, Reason};
use crate::snapshot::ContactAggregate;
use crate::time::Timestamp;

/// A row of the decision table of spec 4.6. The first row whose condition holds decides.
///
/// The enum documents the table: `docs/rules.md` is generated from it. It is exhaustive, since the table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Row {
    /// spec 4.6 a: live in another step.
    A,
    /// spec 4.6 b: in the specified step.
    B,
    /// spec 4.6 c: not in the sequence before.
    C,
    /// spec 4.6 d: the sequence adds no contact again.
    D,
    /// spec 4.6 e: all runs are used.
    E,
    /// spec 4.6 f: all adds of the period are used.
    F,
    /// spec 4.6 g: otherwise.
    G,
}

impl Row {
    /// All rows, in the order in which the planner checks them.
    pub const ALL: [Self; 7] = [Self::A, Self::B, Self::C, Self::D, Self::E, Self::F, Self::G];

    /// Returns the condition under which the row decides, if no earlier row does.
    #[must_use]
    pub const fn condition(self) -> &'static str {
        match self {
            Self::A => "a step contact is live in another step",
            Self::B => "a step contact is in the specified step (under `reprocess: live_only`: live in it)",
            Self::C => "the contact has no step contact in the sequence",
            Self::D => "the sequence has `on_re_add: exclude`",
            Self::E => "the contact has `max_runs` runs or more",
            Self::F => "the number of its runs that started within the period reaches the cap of `max_adds_per_period`",
            Self::G => "otherwise",
        }
    }

    /// Returns the recipient's disposition if the row decides.
    #[must_use]
    pub const fn outcome(self) -> Disposition {
        match self {
            Self::A | Self::D | Self::E | Self::F => Disposition::Ignored,
            Self::B => Disposition::Reprocessed,
            Self::C => Disposition::Added,
            Self::G => Disposition::ReAdded,
        }
    }

    /// Returns the codes of the reasons that the row can give.
    #[must_use]
    pub const fn reasons(self) -> &'static [&'static str] {
        match self {
            Self::A => &["active_in_other_step", "pending_in_other_step"],
            Self::D => &["re_add_excluded"],
            Self::E => &["max_runs_reached"],
            Self::F => &["max_adds_reached"],
            Self::B | Self::C | Self::G => &[],
        }
    }
}

/// The decision about an existing contact.
pub(super) enum Decision<'a> {
    /// Row c: a new run and a new step contact.
    Add,
    /// Row g: a new run and a new step contact, again.
    ReAdd,
    /// Row b: this step contact is processed again.
    Reprocess(&'a StepContact),
    /// Rows a, d, e and f.
    Refuse(Reason),
}

impl Decision<'_> {
    pub(super) fn disposition(&self) -> Disposition {
        match self {
            Self::Add => Disposition::Added,
            Self::ReAdd => Disposition::ReAdded,
            Self::Reprocess(_) => Disposition::Reprocessed,
            Self::Refuse(_) => Disposition::Ignored,
        }
    }
}

/// Decides about an existing contact by the table of spec 4.6.
pub(super) fn decide<'a>(
    aggregate: &'a ContactAggregate,
    sequence: &Sequence,
    step_id: StepId,
    command: &EnrollmentCommand,
) -> Decision<'a> {
    let settings = &sequence.settings;
    let in_sequence = || aggregate.step_contacts.iter().filter(|row| row.sequence_id == sequence.id);

    // spec 4.6 a: live in another step. An active step contact comes before a pending one.
    let in_other_step =
        |status| newest(aggregate, in_sequence().filter(|row| row.step_id != step_id && row.status == status));
    if let Some(row) = in_other_step(StepContactStatus::Active) {
        return Decision::Refuse(Reason::ActiveInOtherStep { step_id: row.step_id, step_contact_id: row.id });
    }
    if let Some(row) = in_other_step(StepContactStatus::Pending) {
        return Decision::Refuse(Reason::PendingInOtherStep { step_id: row.step_id, step_contact_id: row.id });
    }

    // spec 4.6 b: in the specified step. The live step contact is taken, else the newest.
    let in_step = || in_sequence().filter(|row| row.step_id == step_id);
    let live = newest(aggregate, in_step().filter(|row| row.status.is_live()));
    let reprocessed = match command.policy().reprocess {
        Reprocess::AnyStatus => live.or_else(|| newest(aggregate, in_step())),
        Reprocess::LiveOnly => live,
    };
    if let Some(step_contact) = reprocessed {
        return Decision::Reprocess(step_contact);
    }

    // spec 4.6 c: not in the sequence before.
    if in_sequence().next().is_none() {
        return Decision::Add;
    }

    // spec 4.6 d: the sequence adds no contact again.
    if settings.on_re_add == OnReAdd::Exclude {
        return Decision::Refuse(Reason::ReAddExcluded);
    }

    // spec 4.6 e: the contact has `max_runs` runs or more.
    let runs = || aggregate.runs.iter().filter(|run| run.sequence_id == sequence.id);
    if let Some(max_runs) = settings.max_runs {
        let runs = runs().count();
        if runs >= max_runs as usize {
            return Decision::Refuse(Reason::MaxRunsReached { runs, max_runs });
        }
    }

    // spec 4.6 f: the adds within the sliding period, which ends at the request, reach the cap.
    if let Some(cap) = settings.max_adds_per_period {
        let (since, until) = (command.at().millis_before(cap.seconds), command.at().millis());
        let within = |run: &&Run| since < run.started_at.millis() && run.started_at.millis() <= until;
        let adds = runs().filter(within).count();
        if adds >= cap.count as usize {
            let (count, seconds) = (cap.count, cap.seconds);
            return Decision::Refuse(Reason::MaxAddsReached { adds, count, seconds });
        }
    }

    // spec 4.6 g: otherwise.
    Decision::ReAdd
}

/// Returns the step contact with the latest run start, then the greatest id.
fn newest<'a>(aggregate: &ContactAggregate, rows: impl Iterator<Item = &'a StepContact>) -> Option<&'a StepContact> {
    let started = |row: &StepContact| aggregate.runs.iter().find(|run| run.id == row.run_id).map(|run| run.started_at);
    rows.max_by_key(|row| (started(row), row.id))
}

impl Planner<'_> {
    /// Creates a run and a step contact in the specified step (spec 4.6 c and g).
    pub(super) fn add_to_step(&mut self, index: usize, contact_id: ContactId) -> StepContactId {
        let (command, target) = (self.command, &self.target);
        let run = Run::new(self.minter.mint(RowKind::Run, index), target.sequence.id, contact_id, command.at());
        let id = self.minter.mint(RowKind::StepContact, index);
        let (status, scheduled_at) = schedule(command);
        self.changes.rows.step_contacts_created.push(StepContact {
            status,
            scheduled_at,
            channel_id: target.channel.map(|channel| channel.id),
            default_call_flow_id: command.call_flow_id(),
            enrollment_id: Some(command.enrollment_id()),
            ..StepContact::new(id, &run, target.step.id)
        });
        self.changes.rows.runs_created.push(run);
        id
    }

    /// Updates a step contact that is processed again, and reactivates its run (spec 4.6 b).
    pub(super) fn reprocess(&mut self, step_contact: &StepContact, aggregate: &ContactAggregate) -> StepContactId {
        let StepContact { id, run_id, contact_id, times_processed, .. } = *step_contact;
        let command = self.command;
        let (status, scheduled_at) = schedule(command);
        let from_request = command.channel().is_some_and(|channel| channel.from_request);
        self.changes.rows.step_contacts_updated.push(StepContactUpdate {
            id,
            contact_id,
            status,
            scheduled_at,
            enrollment_id: command.enrollment_id(),
            times_processed: times_processed.saturating_add(1),
            channel_id: self.target.channel.filter(|_| from_request).map(|channel| channel.id),
            default_call_flow_id: command.call_flow_id(),
        });
        if aggregate.runs.iter().any(|run| run.id == run_id && run.status != RunStatus::Active) {
            self.changes.rows.runs_reactivated.push(RunReactivation { run_id, contact_id });
        }
        id
    }
}

/// Returns the status and the instant of a step contact (spec 4.7): pending if `schedule_at` is in the future.
fn schedule(command: &EnrollmentCommand) -> (StepContactStatus, Timestamp) {
    match command.schedule_at() {
        Some(at) if at > command.at() => (StepContactStatus::Pending, at),
        _ => (StepContactStatus::Active, command.at()),
    }
}

//! 4.6: what becomes of a contact, by its step contacts in the sequence. The first row that holds decides.

use crate::command::EnrollmentCommand;
use crate::ids::StepId;
use crate::model::{OnReAdd, Run, Sequence, StepContact, StepContactStatus};
use crate::policy::Reprocess;
use crate::report::{Disposition, Reason};
use crate::snapshot::ContactAggregate;

/// A row of the decision table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each has its condition and its outcome in words")]
pub enum Row {
    A,
    B,
    C,
    D,
    E,
    F,
    G,
}

impl Row {
    /// The table, in the order in which its rows are asked.
    pub const ALL: [Self; 7] = [Self::A, Self::B, Self::C, Self::D, Self::E, Self::F, Self::G];

    /// When the row decides, given that none before it does.
    #[must_use]
    pub const fn condition(self) -> &'static str {
        match self {
            Self::A => "one is live in another step",
            Self::B => "one is in the specified step (under `reprocess: live_only`: live in it)",
            Self::C => "there is none",
            Self::D => "the sequence says `on_re_add: exclude`",
            Self::E => "the contact has `max_runs` runs or more",
            Self::F => "its runs begun within the period reach the cap of `max_adds_per_period`",
            Self::G => "otherwise",
        }
    }

    /// What becomes of the recipient then.
    #[must_use]
    pub const fn outcome(self) -> Disposition {
        match self {
            Self::A | Self::D | Self::E | Self::F => Disposition::Ignored,
            Self::B => Disposition::Reprocessed,
            Self::C => Disposition::Added,
            Self::G => Disposition::ReAdded,
        }
    }

    /// The codes of the reasons that the row gives.
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

/// The row that decides, and what goes with it.
pub(super) struct Decision<'a> {
    pub(super) row: Row,
    refusal: Option<Reason>,
    reprocessed: Option<&'a StepContact>,
}

impl<'a> Decision<'a> {
    fn of(row: Row) -> Self {
        Self { row, refusal: None, reprocessed: None }
    }

    fn refused(row: Row, reason: Reason) -> Self {
        Self { refusal: Some(reason), ..Self::of(row) }
    }

    pub(super) fn disposition(&self) -> Disposition {
        self.row.outcome()
    }

    pub(super) fn refusal(&self) -> Option<Reason> {
        self.refusal.clone()
    }

    pub(super) fn reprocessed(&self) -> Option<&'a StepContact> {
        self.reprocessed
    }
}

/// Decides over an existing contact.
pub(super) fn decide<'a>(
    person: &'a ContactAggregate,
    sequence: &Sequence,
    step: StepId,
    command: &EnrollmentCommand,
) -> Decision<'a> {
    let settings = &sequence.settings;
    let here = || person.step_contacts.iter().filter(|row| row.sequence_id == sequence.id);

    // 4.6 a
    let elsewhere = |status| newest(person, here().filter(|row| row.step_id != step && row.status == status));
    if let Some(row) = elsewhere(StepContactStatus::Active) {
        let reason = Reason::ActiveInOtherStep { step_id: row.step_id, step_contact_id: row.id };
        return Decision::refused(Row::A, reason);
    }
    if let Some(row) = elsewhere(StepContactStatus::Pending) {
        let reason = Reason::PendingInOtherStep { step_id: row.step_id, step_contact_id: row.id };
        return Decision::refused(Row::A, reason);
    }

    // 4.6 b: the live one, else the newest.
    let in_step = || here().filter(|row| row.step_id == step);
    let live = newest(person, in_step().filter(|row| row.status.is_live()));
    let reprocessed = match command.policy().reprocess {
        Reprocess::AnyStatus => live.or_else(|| newest(person, in_step())),
        Reprocess::LiveOnly => live,
    };
    if reprocessed.is_some() {
        return Decision { reprocessed, ..Decision::of(Row::B) };
    }

    // 4.6 c
    if here().next().is_none() {
        return Decision::of(Row::C);
    }
    // 4.6 d
    if settings.on_re_add == OnReAdd::Exclude {
        return Decision::refused(Row::D, Reason::ReAddExcluded);
    }
    // 4.6 e
    let runs = || person.runs.iter().filter(|run| run.sequence_id == sequence.id);
    if let Some(max_runs) = settings.max_runs {
        let runs = runs().count();
        if runs >= max_runs as usize {
            return Decision::refused(Row::E, Reason::MaxRunsReached { runs, max_runs });
        }
    }
    // 4.6 f: the period slides, and ends at the request.
    if let Some(cap) = settings.max_adds_per_period {
        let (since, until) = (command.at().millis_before(cap.seconds), command.at().millis());
        let within = |run: &&Run| since < run.started_at.millis() && run.started_at.millis() <= until;
        let adds = runs().filter(within).count();
        if adds >= cap.count as usize {
            let (count, seconds) = (cap.count, cap.seconds);
            return Decision::refused(Row::F, Reason::MaxAddsReached { adds, count, seconds });
        }
    }
    // 4.6 g
    Decision::of(Row::G)
}

/// The latest run start, then the greatest id.
fn newest<'a>(person: &ContactAggregate, rows: impl Iterator<Item = &'a StepContact>) -> Option<&'a StepContact> {
    let started = |row: &StepContact| person.runs.iter().find(|run| run.id == row.run_id).map(|run| run.started_at);
    rows.max_by_key(|row| (started(row), row.id))
}

//! Checks that the rows which a request refers to exist and are usable (spec 3).
//!
//! Two places use them: the check of a request, and the planner, which runs later on newer rows.

use std::fmt::Display;

use crate::fault::{Fault, FaultCode};
use crate::ids::{CallFlowId, CustomObjectId, SequenceId, StepId};
use crate::model::{Channel, ChannelKind, Sequence, SequenceStatus};
use crate::snapshot::ReferenceData;

/// Returns the fault of a sequence that does not exist.
pub(crate) fn sequence_not_found(id: SequenceId) -> Fault {
    let description =
        format!("sequence `{id}` does not exist in this organization; use the id of one of its sequences");
    Fault::new(FaultCode::SequenceNotFound, "", description)
}

/// Returns the first fault that holds: the sequence is not active, has no steps, or does not have the given step.
pub(crate) fn sequence_fault(sequence: &Sequence, step_id: Option<StepId>) -> Option<Fault> {
    let id = sequence.id;
    if sequence.status != SequenceStatus::Active {
        let description = format!("sequence `{id}` has the status `{}`; activate it first", sequence.status);
        return Some(Fault::new(FaultCode::SequenceNotActive, "", description));
    }
    if sequence.steps.is_empty() {
        let description = format!("sequence `{id}` has no steps; add a step first");
        return Some(Fault::new(FaultCode::SequenceHasNoSteps, "", description));
    }
    let step_id = step_id.filter(|step_id| sequence.step(*step_id).is_none())?;
    let description = format!("sequence `{id}` has no step `{step_id}`; use one of its steps or omit `step_id`");
    Some(Fault::new(FaultCode::StepNotFound, "/step_id", description))
}

/// The member of a request that decides the channel used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChannelRole {
    /// `from` names the channel.
    From,
    /// The channel is the step's own.
    Step,
}

/// Returns the fault that prevents the use of a channel in a step of a kind.
///
/// `name` is the channel's id, or the text of `from`, with its quotes. `kind` is absent if the step is unknown.
pub(crate) fn channel_fault(
    channel: Option<&Channel>,
    kind: Option<ChannelKind>,
    role: ChannelRole,
    name: impl Display,
) -> Option<Fault> {
    let (path, of_step, other) = match role {
        ChannelRole::From => ("/from", "", "use another `from` or omit it"),
        ChannelRole::Step => ("/step_id", " of the step", "give the step another channel or set `from`"),
    };
    let Some(channel) = channel else {
        let description = format!("channel {name}{of_step} does not exist in this organization; {other}");
        return Some(Fault::new(FaultCode::ChannelNotFound, path, description));
    };
    if !channel.enabled {
        let description = format!("channel {name}{of_step} is disabled; enable it, or {other}");
        return Some(Fault::new(FaultCode::ChannelDisabled, path, description));
    }
    let kind = kind.filter(|kind| *kind != channel.kind)?;
    let description =
        format!("channel {name}{of_step} has the kind `{}`, but the step has the kind `{kind}`; {other}", channel.kind);
    Some(Fault::new(FaultCode::ChannelKindMismatch, path, description))
}

/// Returns a fault if the custom object does not exist.
pub(crate) fn custom_object_fault(reference: &ReferenceData, id: CustomObjectId) -> Option<Fault> {
    if reference.custom_objects.contains_key(&id) {
        return None;
    }
    let description = format!("custom object `{id}` does not exist in this organization; create it first");
    Some(Fault::new(FaultCode::CustomObjectNotFound, "/custom_data/custom_object_id", description))
}

/// Returns a fault if the call flow does not exist.
pub(crate) fn call_flow_fault(reference: &ReferenceData, id: CallFlowId) -> Option<Fault> {
    if reference.call_flows.contains_key(&id) {
        return None;
    }
    let description =
        format!("call flow `{id}` does not exist in this organization; create it first or omit `voice_options`");
    Some(Fault::new(FaultCode::CallFlowNotFound, "/voice_options/default_call_flow_id", description))
}

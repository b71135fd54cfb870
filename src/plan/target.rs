//! The rows that an enrollment refers to: sequence, step, channel, custom object and call flow.

use super::custom_data::PropertySchema;
use crate::command::EnrollmentCommand;
use crate::fault::{Fault, Rejection};
use crate::model::{Channel, Resource, Sequence, Step};
use crate::reference_checks::{
    ChannelRole, call_flow_fault, channel_fault, custom_object_fault, sequence_fault, sequence_not_found,
};
use crate::snapshot::ReferenceData;

/// The rows that a command refers to, as they are in the snapshot.
pub(super) struct Target<'a> {
    pub(super) sequence: &'a Sequence,
    pub(super) step: &'a Step,
    pub(super) channel: Option<&'a Channel>,
    pub(super) custom_data: Option<(PropertySchema<'a>, Resource)>,
}

impl<'a> Target<'a> {
    /// Finds the rows again, and checks that each of them is still usable (spec 6, *Rejection*).
    pub(super) fn find(command: &EnrollmentCommand, reference: &'a ReferenceData) -> Result<Self, Rejection> {
        let id = command.sequence_id();
        let Some(versioned) = reference.sequences.get(&id) else {
            return Err(sequence_not_found(id).into());
        };
        let sequence = &*versioned.value;
        let mut faults: Vec<Fault> = sequence_fault(sequence, Some(command.step_id())).into_iter().collect();
        let step = sequence.step(command.step_id());
        let mut channel = None;
        if let Some(used) = command.channel() {
            channel = reference.channels.get(&used.id).map(|channel| &*channel.value);
            let role = if used.from_request { ChannelRole::From } else { ChannelRole::Step };
            faults.extend(channel_fault(
                channel,
                step.map(|step| step.channel_kind),
                role,
                format_args!("`{}`", used.id),
            ));
        }
        let mut custom_data = None;
        if let Some((id, resource)) = command.custom_data() {
            faults.extend(custom_object_fault(reference, id));
            custom_data =
                reference.custom_objects.get(&id).map(|object| (PropertySchema::new(&object.value), resource));
        }
        faults.extend(command.call_flow_id().and_then(|id| call_flow_fault(reference, id)));
        match (Rejection::from_faults(faults), step) {
            (None, Some(step)) => Ok(Self { sequence, step, channel, custom_data }),
            (Some(rejection), _) => Err(rejection),
            (None, None) => Err(sequence_not_found(id).into()),
        }
    }
}

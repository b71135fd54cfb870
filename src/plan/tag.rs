//! 4.7: the upload tag.

use crate::command::EnrollmentCommand;

/// The name of the request's tag, if its `to` has more than one entry, ignored ones and duplicates counted (D4).
pub(super) fn name(command: &EnrollmentCommand) -> Option<String> {
    (command.recipients().len() > 1).then(|| format!("Upload {}", command.at()))
}

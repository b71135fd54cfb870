//! 4.2: the address that the step needs.

use super::identity::Standing;
use crate::command::{Checked, CheckedRecipient};
use crate::contact::KeyKind;
use crate::model::ChannelKind;
use crate::policy::{AddressSource, EnrollmentPolicy};
use crate::report::{Note, Reason};

/// Whether a recipient can be enrolled at all, and which of its addresses were left out.
pub(super) struct Eligibility {
    pub(super) reason: Option<Reason>,
    pub(super) notes: Vec<Note>,
}

/// The address that a step of a kind needs.
pub(super) fn needed(kind: ChannelKind) -> KeyKind {
    if kind.is_phone() { KeyKind::Phone } else { KeyKind::Email }
}

/// Judges the entry, or under `EntryThenContact` the entry and the contact that it found.
pub(super) fn judge(
    recipient: &CheckedRecipient,
    kind: ChannelKind,
    policy: &EnrollmentPolicy,
    found: Option<&Standing<'_>>,
) -> Eligibility {
    let needed = needed(kind);
    let contact_has_it = policy.address_source == AddressSource::EntryThenContact
        && found.is_some_and(|standing| standing.key(needed).is_some());
    let (mut reason, mut notes) = (None, Vec::new());
    let refuses = |key| key == needed && !contact_has_it;
    match recipient.phone {
        Checked::Absent if refuses(KeyKind::Phone) => reason = Some(Reason::MissingPhone),
        Checked::Invalid(fault) if refuses(KeyKind::Phone) => reason = Some(Reason::InvalidPhone { fault }),
        Checked::Invalid(fault) => notes.push(Note::PhoneDropped { fault }),
        _ => {}
    }
    match recipient.email {
        Checked::Absent if refuses(KeyKind::Email) => reason = Some(Reason::MissingEmail),
        Checked::Invalid(fault) if refuses(KeyKind::Email) => reason = Some(Reason::InvalidEmail { fault }),
        Checked::Invalid(fault) => notes.push(Note::EmailDropped { fault }),
        _ => {}
    }
    Eligibility { reason, notes }
}
